//! `starling`: parse → run → exit code.

mod cli;

use std::process::ExitCode;

/// A training window allocates and frees hundreds of megabytes: the system's allocator gives them back every time and pays
/// for their pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
