//! Peak memory of one training window of 40 steps, counted by the allocator: fused, operation by operation, and with the steps
//! recomputed. 8 LASSO problems, ring of 10, d = 300, one chunk on one thread.

use starling::graph::{Graph, GraphSpec};
use starling::problem::{Optimum, ProblemSpec, Role};
use starling::rule::{Constants, Milodo, parse_ron, shared::Ranges};
use starling::train::batch::{Batch, Place};
use starling::train::meta_loss::MetaLoss;
use starling::train::milodo::MilodoModule;
use starling::train::shared::{self, SharedModule};
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
const PROBLEMS: u64 = 8;

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

fn main() {
    let spec: GraphSpec = parse_ron("graph", "Ring(10)").expect("legal");
    let graph: Graph = spec.build(1).expect("a ring");
    let family: ProblemSpec =
        parse_ron("family", "Lasso(dimension: 300, rows: 10, l1: 0.1)").expect("legal");
    let problems: Vec<_> = (0..PROBLEMS)
        .map(|trial| {
            let problem = family.sample(10, 1, Role::Train, trial).expect("sampled");
            let optimum = Optimum {
                x: vec![0.0; 300],
                objective: 1.0,
                certificate: 0.0,
                certificate_kind: String::new(),
                solver: String::new(),
                nonzeros: 0,
                kkt_residual: 0.0,
            };
            (problem, optimum)
        })
        .collect();
    let place = Place {
        device: burn::tensor::Device::flex(),
        dtype: burn::tensor::DType::F32,
    };
    let batch = [Batch::new(&graph, &problems, &place).expect("a batch")];
    let rule = shared::initial(Constants::default(), Ranges::default(), &[16, 16], 100, 1);
    let module = |track| SharedModule::new(&rule, &place.device, place.dtype, track);
    let reference = measure(
        "shared, op by op",
        &module(false).op_by_op(),
        &batch,
        Tape::Whole,
    );
    let full = measure(
        "shared, full gradient, op by op",
        &module(true).op_by_op(),
        &batch,
        Tape::Whole,
    );
    for (name, module, reference) in [
        ("shared", module(false), reference),
        ("shared, full gradient", module(true), full),
    ] {
        let fused = measure(name, &module, &batch, Tape::Whole);
        println!("  1/{:.1} of op by op", reference / fused);
        let segments = measure(
            "  with gradient checkpointing",
            &module,
            &batch,
            Tape::Segments,
        );
        println!("  1/{:.1} of op by op", reference / segments);
    }
    let rule = Milodo::initial(&graph, 0.05, 1);
    let module = || MilodoModule::new(&rule, &place.device, place.dtype);
    let reference = measure(
        "milodo, op by op",
        &module().op_by_op(),
        &batch,
        Tape::Whole,
    );
    let fused = measure("milodo", &module(), &batch, Tape::Whole);
    println!("  1/{:.1} of op by op", reference / fused);
    let segments = measure(
        "  with gradient checkpointing",
        &module(),
        &batch,
        Tape::Segments,
    );
    println!("  1/{:.1} of op by op", reference / segments);
}
