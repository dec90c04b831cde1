//! Our side of the comparison with the published implementation: one JSON object per call.
//!
//! `train shared|milodo`: one window (forward and backward through `WINDOW` steps, default 10) for `BATCH` problems (default 32);
//! `inference K`: one step of the simulator with the networks asked every `K` steps. LASSO, ring of 10, d = 300, 10 rows per agent.
//! The median of `REPEATS` (default 5) after one that does not count; inference takes 2,000 steps each time.

use starling::graph::{Graph, GraphSpec};
use starling::network::Network;
use starling::problem::{Optimum, ProblemSpec, Role};
use starling::rule::{Constants, Milodo, Structure, parse_ron, shared::Ranges, spec};
use starling::train::batch::{Batch, Place};
use starling::train::meta_loss::MetaLoss;
use starling::train::milodo::MilodoModule;
use starling::train::shared::{self, SharedModule};
use starling::train::trainer::chunk_size;
use starling::train::unroll::{RuleModule, Tape, windows};
use std::time::Instant;

const AGENTS: usize = 10;
const DIMENSION: usize = 300;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

/// Median, smallest and largest of the repeats, in seconds per `per`.
fn time(per: usize, mut run: impl FnMut()) -> [f64; 3] {
    run();
    let mut seconds: Vec<f64> = (0..number("REPEATS", 5))
        .map(|_| {
            let clock = Instant::now();
            run();
            clock.elapsed().as_secs_f64() / per as f64
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    [
        seconds[seconds.len() / 2],
        seconds[0],
        seconds[seconds.len() - 1],
    ]
}

fn train<M: RuleModule>(module: &M, chunks: &[Batch], steps: usize) -> [f64; 3] {
    time(1, || {
        let states = chunks.iter().map(|c| module.start(c)).collect();
        let loss = MetaLoss::MeanObjective;
        windows(module, chunks, states, steps, loss, Tape::Whole, true);
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let spec: GraphSpec = parse_ron("graph", &format!("Ring({AGENTS})")).expect("legal");
    let graph: Graph = spec.build(1).expect("a ring");
    let text = format!("Lasso(dimension: {DIMENSION}, rows: 10, l1: 0.1)");
    let family: ProblemSpec = parse_ron("family", &text).expect("legal");
    let place = Place {
        device: burn::tensor::Device::flex(),
        dtype: burn::tensor::DType::F32,
    };
    let rule = shared::initial(Constants::default(), Ranges::default(), &[16, 16], 100, 1);
    let (what, key, [median, low, high], numbers) = match words[..] {
        ["train", which] => {
            let (problems, steps) = (number("BATCH", 32), number("WINDOW", 10));
            let sampled: Vec<_> = (0..problems as u64)
                .map(|trial| {
                    let problem = family
                        .sample(AGENTS, 1, Role::Train, trial)
                        .expect("sampled");
                    // The published meta-loss, F(x̄), needs no optimum.
                    let optimum = Optimum {
                        x: vec![0.0; DIMENSION],
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
            let chunks: Vec<Batch> = sampled
                .chunks(chunk_size(AGENTS, DIMENSION))
                .map(|part| Batch::new(&graph, part, &place).expect("a batch"))
                .collect();
            let seconds = if which == "milodo" {
                let rule = Milodo::initial(&graph, 0.05, 1);
                train(
                    &MilodoModule::new(&rule, &place.device, place.dtype),
                    &chunks,
                    steps,
                )
            } else {
                let module = SharedModule::new(&rule, &place.device, place.dtype, false);
                train(&module, &chunks, steps)
            };
            ("train", "seconds_per_window", seconds, problems * steps)
        }
        ["inference", refresh] => {
            rayon::ThreadPoolBuilder::new()
                .use_current_thread()
                .build_global()
                .expect("the first pool");
            let problem = family.sample(AGENTS, 1, Role::Test, 0).expect("sampled");
            let mut rule = rule;
            rule.refresh = refresh.parse().expect("a number of steps");
            let mut network = Network::new(&graph);
            let structure = Structure::Shared(rule);
            let mut process =
                spec::start_frozen("ours", structure, &problem, &mut network).expect("started");
            let steps = 2_000;
            let seconds = time(steps, || {
                (0..steps).for_each(|_| process.step(&problem, &mut network));
            });
            ("inference", "seconds_per_step", seconds, 1)
        }
        _ => panic!("train shared | train milodo | inference K"),
    };
    let name = words.join(" ");
    let each = median * 1e9 / (numbers * AGENTS * DIMENSION) as f64;
    println!(
        "{}",
        serde_json::json!({
            "who": "ours", "what": what, "rule": name, key: median, "low": low, "high": high,
            "ns_per_agent_coordinate_step": each, "threads": rayon::current_num_threads(),
        })
    );
}
