//! Meta-training in a user's program: a small rule for a data set of your own, trained for seconds on resampled rows, then run.
//! `cargo run --release --example train_rule`

use starling::problem::{Role, optimum};
use starling::simulate::{Options, simulate};
use starling::train::trainer::{Settings, train};
use starling::train::{DeviceChoice, Recipe, TrainDevice};
use starling::{graph::GraphSpec, network::Network, ron::parse_ron, roster::AlgorithmSpec};

const RECIPE: &str = r#"(
    rule: Shared(hidden: [8], refresh: 4),
    graphs: [Ring(6)],
    problems: [Data(path: "datasets/diabetes.libsvm.gz", loss: LeastSquares, l1: 5)],
    stages: [(learning_rate: 3e-3, truncation: 10, horizon: 40, batch: 4, batches: 20)],
    validation: (problems: 2, every: 10, horizon_factor: 2),
)"#;

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recipe: Recipe = parse_ron("recipe", RECIPE)?;
    let folder = std::env::temp_dir().join(format!("starling-train-{}", std::process::id()));
    let settings = Settings {
        out: &folder,
        resume: false,
        device: TrainDevice::open(DeviceChoice::Cpu)?,
        observe: &mut |_| true,
        border: &mut |_| {},
    };
    let outcome = train(&recipe, settings)?;
    let graph = GraphSpec::Ring(6).build(1)?;
    let problem = recipe.problems[0].sample(6, 1, Role::Test, 0)?;
    let best = optimum::solve(&problem)?;
    for algorithm in [
        AlgorithmSpec::Rule(outcome.best),
        AlgorithmSpec::parse("method", "ProxEd")?,
    ] {
        let mut network = Network::new(&graph);
        let mut process = algorithm.start(&problem, &mut network)?;
        let goal = Options {
            steps: 2_000,
            until: Some(1e-6),
            ..Options::default()
        };
        let run = simulate(&mut *process, &problem, &mut network, &best, &goal, |_| {})?;
        println!(
            "{}: {} after {} rounds",
            algorithm.name(),
            run.status,
            run.last().rounds
        );
    }
    Ok(std::fs::remove_dir_all(folder)?)
}
