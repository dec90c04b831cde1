//! `starling`: parse → run → exit code.

mod allocator;
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::keep_pages();
    cli::main()
}
