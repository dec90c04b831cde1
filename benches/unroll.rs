//! One meta-training window (forward and backward) on the CPU: 32 LASSO problems, 10 rows per agent, window of 10, f32.
//!
//! Throughput is in agent-coordinate-steps: agents × problems × dimension × steps.

#[path = "../src/allocator.rs"]
mod allocator;
mod common;

use common::{chunks, milodo_module, ring, shared_module};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use starling::train::batch::Batch;
use starling::train::meta_loss::MetaLoss;
use starling::train::milodo::MilodoModule;
use starling::train::shared::SharedModule;
use starling::train::unroll::{RuleModule, Tape, windows};

const STEPS: usize = 10;
const PROBLEMS: usize = 32;

fn measure<M: RuleModule>(c: &mut Criterion, name: &str, size: &str, module: &M, chunks: &[Batch]) {
    let mut group = c.benchmark_group("window");
    let numbers: usize = chunks
        .iter()
        .map(|b| b.agents * b.problems * b.dimension)
        .sum();
    group
        .sample_size(10)
        .throughput(Throughput::Elements((numbers * STEPS) as u64));
    group.bench_function(BenchmarkId::new(name, size), |b| {
        b.iter(|| {
            let states = chunks.iter().map(|c| module.start(c)).collect();
            windows(
                module,
                chunks,
                states,
                STEPS,
                MetaLoss::MeanObjective,
                Tape::Whole,
                true,
            )
        });
    });
}

fn benches(c: &mut Criterion) {
    allocator::keep_pages();
    let graph = ring(10);
    let batch = chunks::<SharedModule>(&graph, 300, PROBLEMS);
    let size = "ring 10, d 300";
    measure(c, "shared", size, &shared_module(false), &batch);
    measure(
        c,
        "shared, full gradient",
        size,
        &shared_module(true),
        &batch,
    );
    measure(
        c,
        "shared, op by op",
        size,
        &shared_module(false).op_by_op(),
        &batch,
    );
    let batch = chunks::<MilodoModule>(&graph, 300, PROBLEMS);
    measure(c, "milodo", size, &milodo_module(&graph), &batch);
    measure(
        c,
        "milodo, op by op",
        size,
        &milodo_module(&graph).op_by_op(),
        &batch,
    );
    // Growth: more agents or more coordinates, in at least two chunks.
    for (agents, dimension, problems) in [
        (100, 300, 4),
        (1000, 300, 2),
        (10, 30, 320),
        (10, 3_000, 4),
        (10, 30_000, 2),
    ] {
        let graph = ring(agents);
        let batch = chunks::<SharedModule>(&graph, dimension, problems);
        let size = format!("ring {agents}, d {dimension}");
        measure(c, "shared", &size, &shared_module(false), &batch);
    }
}

criterion_group!(unroll, benches);
criterion_main!(unroll);
