//! One meta-training window (forward and backward) on the CPU: 32 LASSO problems, 10 rows per agent, window of 10, f32.
//!
//! Throughput is in agent-coordinate-steps: agents × problems × dimension × steps.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use starling::graph::{Graph, GraphSpec};
use starling::problem::{Optimum, Problem, ProblemSpec, Role};
use starling::rule::{Constants, Milodo, parse_ron, shared::Ranges};
use starling::train::batch::{Batch, Place};
use starling::train::meta_loss::MetaLoss;
use starling::train::milodo::MilodoModule;
use starling::train::shared::{self, SharedModule};
use starling::train::trainer::chunk_size;
use starling::train::unroll::{RuleModule, Tape, windows};

const STEPS: usize = 10;
const PROBLEMS: usize = 32;

fn place() -> Place {
    Place {
        device: burn::tensor::Device::flex(),
        dtype: burn::tensor::DType::F32,
    }
}

/// Problems whose optimum is not needed: the meta-loss is the published `F(x̄)`.
fn chunks(graph: &Graph, dimension: usize, problems: usize) -> Vec<Batch> {
    let text = format!("Lasso(dimension: {dimension}, rows: 10, l1: 0.1)");
    let family: ProblemSpec = parse_ron("the family", &text).expect("a legal family");
    let sampled: Vec<(Problem, Optimum)> = (0..problems as u64)
        .map(|trial| {
            let problem = family
                .sample(graph.agents(), 1, Role::Train, trial)
                .expect("sampled");
            let optimum = Optimum {
                x: vec![0.0; dimension],
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
    sampled
        .chunks(chunk_size(graph.agents(), dimension))
        .map(|part| Batch::new(graph, part, &place()).expect("a batch"))
        .collect()
}

fn shared_module(track_features: bool) -> SharedModule {
    let rule = shared::initial(Constants::default(), Ranges::default(), &[16, 16], 100, 1);
    let place = place();
    SharedModule::new(&rule, &place.device, place.dtype, track_features)
}

fn milodo_module(graph: &Graph) -> MilodoModule {
    let rule = Milodo::initial(graph, 0.05, 1);
    let place = place();
    MilodoModule::new(&rule, &place.device, place.dtype)
}

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

fn ring(agents: usize) -> Graph {
    let spec: GraphSpec = parse_ron("the graph", &format!("Ring({agents})")).expect("legal");
    spec.build(1).expect("a ring")
}

fn benches(c: &mut Criterion) {
    let graph = ring(10);
    let batch = chunks(&graph, 300, PROBLEMS);
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
        let batch = chunks(&graph, dimension, problems);
        let size = format!("ring {agents}, d {dimension}");
        measure(c, "shared", &size, &shared_module(false), &batch);
    }
}

criterion_group!(unroll, benches);
criterion_main!(unroll);
