//! One step of the plain simulator, in agent-coordinate-steps per second: handcrafted and learned, over sizes.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use starling::algorithm::Process;
use starling::graph::GraphSpec;
use starling::network::Network;
use starling::problem::{ProblemSpec, Role};
use starling::ron::parse_ron;
use starling::roster::AlgorithmSpec;
use starling::rule::features::{EDGE_FEATURES, NODE_FEATURES};
use starling::rule::mlp::{Linear, Mlp};
use starling::rule::shared::{EDGE_OUTPUTS, NODE_OUTPUTS};
use starling::rule::{Constants, Shared, Structure, frozen};

/// A network with small weights: its speed is that of any other.
fn network(inputs: usize, outputs: usize) -> Mlp {
    let mut width = inputs;
    let layers = [16, 16, outputs]
        .into_iter()
        .map(|next| {
            let number = |k: usize| (((k * 7919) % 1000) as f32 / 500.0 - 1.0) * 0.1;
            let layer = Linear {
                inputs: width,
                outputs: next,
                weight: (0..width * next).map(number).collect(),
                bias: vec![0.0; next],
            };
            width = next;
            layer
        })
        .collect();
    Mlp { layers }
}

fn learned(refresh: u32) -> Structure {
    Structure::Shared(Shared {
        node: Some(network(NODE_FEATURES, NODE_OUTPUTS)),
        edge: Some(network(EDGE_FEATURES, EDGE_OUTPUTS)),
        clock_cap: 100,
        refresh,
        ..Shared::constant(Constants::default())
    })
}

/// Starts an algorithm.
type Begin<'a> = Box<dyn Fn(&mut Network) -> Box<dyn Process> + 'a>;

fn benches(c: &mut Criterion) {
    // This thread is a worker, as under the command line.
    rayon::ThreadPoolBuilder::new()
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    for (agents, dimension) in [
        (10, 300),
        (100, 300),
        (1000, 300),
        (10, 30),
        (10, 3_000),
        (10, 30_000),
    ] {
        let spec: GraphSpec = parse_ron("graph", &format!("Ring({agents})")).expect("legal");
        let graph = spec.build(1).expect("a ring");
        let text = format!("Lasso(dimension: {dimension}, rows: 10, l1: 0.1)");
        let family: ProblemSpec = parse_ron("family", &text).expect("legal");
        let problem = family.sample(agents, 1, Role::Test, 0).expect("sampled");
        let size = format!("ring {agents}, d {dimension}");
        let mut group = c.benchmark_group("step");
        group
            .sample_size(20)
            .throughput(Throughput::Elements((agents * dimension) as u64));
        let handcrafted = AlgorithmSpec::parse("method", "ProxEd").expect("legal");
        let mut ways: Vec<(String, Begin)> = vec![(
            "ProxEd".into(),
            Box::new(|network| handcrafted.start(&problem, network).expect("started")),
        )];
        for refresh in [1, 4, 8, 16] {
            let problem = &problem;
            ways.push((
                format!("shared, refresh {refresh}"),
                Box::new(move |network| {
                    frozen::start_frozen("bench", learned(refresh), problem, network)
                        .expect("started")
                }),
            ));
        }
        for (name, begin) in &ways {
            let mut network = Network::new(&graph);
            let mut process = begin(&mut network);
            group.bench_function(BenchmarkId::new(name, &size), |b| {
                b.iter(|| process.step(&problem, &mut network));
            });
        }
    }
}

criterion_group!(simulator, benches);
criterion_main!(simulator);
