//! Printing: results, progress bars, log lines that do not tear the bars.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// A progress bar on standard error; hidden where that is no terminal.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ");
    bars().add(ProgressBar::new(length).with_style(style))
}

static LOST: AtomicBool = AtomicBool::new(false);

/// Whether a result could not be written.
pub fn lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// A line on standard output; a closed pipe is not an error.
pub fn line(text: impl AsRef<str>) {
    if let Err(error) = writeln!(io::stdout().lock(), "{}", text.as_ref())
        && error.kind() != io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        note(format!("error: cannot write to standard output: {error}"));
    }
}

/// A result as one JSON object on one line.
pub fn json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(text),
        Err(error) => note(format!(
            "error: a result could not be written as JSON: {error}"
        )),
    }
}

/// A line on standard error; a closed pipe is not an error (`eprintln!` would panic).
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Where log lines go: standard error, above the progress bars.
pub fn log_writer() -> impl Write {
    LogLine
}

struct LogLine;

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The logger would report a closed pipe on that very pipe.
        let _ = bars().suspend(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A number for people: four significant digits.
pub fn number(v: f64) -> String {
    if v == 0.0 || (1e-3..1e5).contains(&v.abs()) {
        let digits = (3 - v.abs().max(1e-9).log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{v:.digits$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else {
            text
        }
    } else {
        format!("{v:.2e}")
    }
}

/// A number of rounds or of other things, in groups of three digits; `∞` where there was no end.
pub fn count(value: Option<u64>) -> String {
    let Some(value) = value else {
        return "∞".into();
    };
    let digits = value.to_string();
    let mut text = String::new();
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A gap for people: `≤` where it is below its certificate.
pub fn gap(value: f64, certificate: f64) -> String {
    if value <= certificate {
        format!("≤ {certificate:.1e}")
    } else {
        format!("{value:.2e}")
    }
}

/// `2/50`, or `2/50 (1 diverged)`.
pub fn failed_text(failed: usize, runs: usize, diverged: usize) -> String {
    match diverged {
        0 => format!("{failed}/{runs}"),
        d => format!("{failed}/{runs} ({d} diverged)"),
    }
}
