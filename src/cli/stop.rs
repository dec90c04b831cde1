//! Ctrl-C: the first asks the work under way to stop and save, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Installs the handler. `at_once`: the verb has nothing to save, and the first Ctrl-C ends it.
pub fn install(at_once: bool) {
    let handler = move || {
        if at_once || REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(super::INTERRUPTED));
        }
        super::output::note("\nstopping: saving what there is (Ctrl-C again ends at once)");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will not be caught: {error}");
    }
}
