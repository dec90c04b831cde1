//! Peak memory of one training window of 40 steps, counted by the allocator: fused, operation by operation, and with the steps
//! recomputed. 8 LASSO problems, ring of 10, d = 300, half of them at a time on one thread.

mod common;

use common::{chunks, milodo_module, ring, shared_module};
use starling::train::batch::Batch;
use starling::train::meta_loss::MetaLoss;
use starling::train::shared::SharedModule;
use starling::train::unroll::{RuleModule, Tape, windows};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, counting.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const STEPS: usize = 40;
const PROBLEMS: usize = 8;

fn measure<M: RuleModule>(name: &str, module: &M, batch: &[Batch], tape: Tape) -> f64 {
    let numbers: usize = batch
        .iter()
        .map(|b| b.agents * b.problems * b.dimension)
        .sum();
    let run = || {
        let states = batch.iter().map(|b| module.start(b)).collect();
        windows(
            module,
            batch,
            states,
            STEPS,
            MetaLoss::MeanObjective,
            tape,
            false,
        )
    };
    drop(run());
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    drop(run());
    let peak = PEAK.load(Relaxed) - before;
    let each = peak as f64 / (numbers * STEPS) as f64;
    println!(
        "{name:<34} {:8.1} MB, {each:7.1} bytes per agent, coordinate and step",
        peak as f64 / 1e6
    );
    each
}

/// A module as it is trained, against the same written operation by operation.
fn compare<M: RuleModule>(name: &str, module: &M, op_by_op: &M, batch: &[Batch]) {
    let reference = measure(&format!("{name}, op by op"), op_by_op, batch, Tape::Whole);
    for (name, tape) in [
        (name, Tape::Whole),
        ("  with gradient checkpointing", Tape::Segments),
    ] {
        let each = measure(name, module, batch, tape);
        println!("  1/{:.1} of op by op", reference / each);
    }
}

fn main() {
    let graph = ring(10);
    // The same chunks for both kinds of rule.
    let batch = chunks::<SharedModule>(&graph, 300, PROBLEMS);
    for (name, track) in [("shared", false), ("shared, full gradient", true)] {
        let module = shared_module(track);
        compare(name, &module, &module.clone().op_by_op(), &batch);
    }
    let module = milodo_module(&graph);
    compare("milodo", &module, &module.clone().op_by_op(), &batch);
}
