//! Ctrl-C: the first asks the work under way to stop and save, and ends the process within a second all the same: whatever cannot
//! be asked (an eigenvalue solver, a backward pass) has nothing to save. The second ends it at once.

use super::{INTERRUPTED, output};
use starling::files;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Guards of [`saving`] that are alive.
static SAVING: AtomicUsize = AtomicUsize::new(0);
/// What is to be saved if the work under way does not stop by itself.
static RESCUE: Mutex<Option<Rescue>> = Mutex::new(None);

/// How long the work may take to stop by itself.
const GRACE: Duration = Duration::from_millis(600);
/// How long it may take to save once it has stopped.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Saves, and says what was saved.
pub type Rescue = Box<dyn FnOnce() -> anyhow::Result<String> + Send>;

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// [`requested`], and from the first yes on the process waits: what follows measures and writes the results.
pub fn requested_and_saving() -> bool {
    static ONCE: AtomicBool = AtomicBool::new(false);
    let stop = requested();
    if stop && !ONCE.swap(true, Ordering::SeqCst) {
        // Never dropped: the process is about to end.
        std::mem::forget(saving());
    }
    stop
}

/// Alive while results are being written: the process waits for it.
pub struct Saving;

/// Says that what follows writes results, until the guard is dropped.
pub fn saving() -> Saving {
    SAVING.fetch_add(1, Ordering::SeqCst);
    Saving
}

impl Drop for Saving {
    fn drop(&mut self) {
        SAVING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sets what is saved, in place of what was set before, if the work under way is ended by force; `None`: nothing.
#[cfg(feature = "train")]
pub fn rescue(save: Option<Rescue>) {
    *RESCUE.lock().unwrap_or_else(PoisonError::into_inner) = save;
}

/// Installs the handler.
fn install() {
    let handler = || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            end();
        }
        output::note("\nstopping: saving what there is (Ctrl-C again ends at once)");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will not be caught: {error}");
    }
}

/// Ends the process, never in the middle of a file.
fn end() -> ! {
    let _all_written = files::hold();
    std::process::exit(i32::from(INTERRUPTED))
}

/// Does `work` on a thread of its own and watches over it: once the user asks to stop, it may stop by itself and save; if it does
/// not, what was set with [`rescue`] is saved and the process ends.
pub fn watch(work: impl FnOnce() -> ExitCode + Send + 'static) -> ExitCode {
    install();
    let (done, finished) = channel();
    let (send, work_again) = channel::<Box<dyn FnOnce() -> ExitCode + Send>>();
    let worker = std::thread::Builder::new()
        .name("work".into())
        .stack_size(16 << 20)
        .spawn(move || {
            if let Ok(work) = work_again.recv() {
                let _ = done.send(work());
            }
        });
    let work: Box<dyn FnOnce() -> ExitCode + Send> = Box::new(work);
    if worker.is_err() {
        // No thread to be had: without a watch, then.
        return work();
    }
    if let Err(refused) = send.send(work) {
        return (refused.0)();
    }
    let mut asked: Option<Instant> = None;
    loop {
        match finished.recv_timeout(POLL) {
            Ok(code) => return code,
            // It panicked, and said so.
            Err(RecvTimeoutError::Disconnected) => return ExitCode::from(101),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !requested() {
            continue;
        }
        let waited = asked.get_or_insert_with(Instant::now).elapsed();
        let allowed = if SAVING.load(Ordering::SeqCst) > 0 {
            PATIENCE
        } else {
            GRACE
        };
        if waited < allowed {
            continue;
        }
        let save = RESCUE.lock().unwrap_or_else(PoisonError::into_inner).take();
        match save.map(|save| save()) {
            Some(Ok(saved)) => output::line(saved),
            Some(Err(error)) => output::note(format!("error: {error}")),
            None => output::note("stopped; there was nothing to save"),
        }
        end();
    }
}
