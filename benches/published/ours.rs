//! Our side of the comparison with the published implementation: one JSON object per call.
//!
//! `train shared|milodo`: one window (forward and backward through `WINDOW` steps, default 10) for `BATCH` problems (default 32);
//! `inference K`: one step of the simulator with the networks asked every `K` steps. LASSO, ring of 10, d = 300, 10 rows per agent.
//! The median of `REPEATS` (default 5) after one that does not count; inference takes 2,000 steps each time.

#[path = "../../src/allocator.rs"]
mod allocator;
#[path = "../common/mod.rs"]
mod common;

use common::{chunks, lasso, milodo_module, ring, shared_module, shared_rule};
use starling::network::Network;
use starling::problem::Role;
use starling::rule::{Shared, Structure, frozen};
use starling::train::batch::Batch;
use starling::train::meta_loss::MetaLoss;
use starling::train::milodo::MilodoModule;
use starling::train::shared::SharedModule;
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
    allocator::keep_pages();
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let graph = ring(AGENTS);
    let (what, key, [median, low, high], numbers) = match words[..] {
        ["train", which] => {
            let (problems, steps) = (number("BATCH", 32), number("WINDOW", 10));
            let seconds = if which == "milodo" {
                let chunks = chunks::<MilodoModule>(&graph, DIMENSION, problems);
                train(&milodo_module(&graph), &chunks, steps)
            } else {
                let chunks = chunks::<SharedModule>(&graph, DIMENSION, problems);
                train(&shared_module(false), &chunks, steps)
            };
            ("train", "seconds_per_window", seconds, problems * steps)
        }
        ["inference", refresh] => {
            rayon::ThreadPoolBuilder::new()
                .use_current_thread()
                .build_global()
                .expect("the first pool");
            let problem = lasso(AGENTS, DIMENSION, Role::Test, 0);
            let structure = Structure::Shared(Shared {
                refresh: refresh.parse().expect("a number of steps"),
                ..shared_rule()
            });
            let mut network = Network::new(&graph);
            let mut process =
                frozen::start_frozen("ours", structure, &problem, &mut network).expect("started");
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
