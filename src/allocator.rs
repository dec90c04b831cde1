//! The allocator of the binary and of the benchmarks; a file of theirs, not a module of the library.
//!
//! A training window allocates and frees hundreds of megabytes. The system's allocator gives them back every time and pays for
//! their pages again; mimalloc does so after 10 ms, that is within a window.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, which the crate does not name.
const PURGE_DELAY: mi_option_t = 15;
/// Never.
const NO_PURGING: i64 = -1;

/// Keeps freed pages as long as the process lives: a batch's windows use the same ones again and again, and a purge takes
/// whatever happens to be free. `MIMALLOC_PURGE_DELAY` in the environment has the last word.
pub fn keep_pages() {
    // SAFETY: the option exists and takes any number; nothing else reads or sets it.
    unsafe { mi_option_set_default(PURGE_DELAY, NO_PURGING as _) }
}
