//! A learned rule and a handcrafted method on one problem, with a certified optimum.
//!
//! `cargo run --release --example run_rule`

use starling::graph::GraphSpec;
use starling::network::Network;
use starling::problem::{ProblemSpec, Role, optimum};
use starling::ron::parse_ron;
use starling::roster::AlgorithmSpec;
use starling::simulate::{Options, simulate};

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph = GraphSpec::Grid {
        rows: 3,
        columns: 4,
    }
    .build(1)?;
    let family: ProblemSpec = parse_ron("problem", "Lasso(dimension: 60, rows: 10, l1: 0.1)")?;
    let problem = family.sample(graph.agents(), 1, Role::Test, 0)?;
    let best = optimum::solve(&problem)?;
    println!(
        "F* = {:.12}, certified to {:.0e}",
        best.objective, best.certificate
    );

    for text in ["Rule(\"models/universal/rule.ron\")", "ProxEd", "Dapg"] {
        let algorithm = AlgorithmSpec::parse("algorithm", text)?;
        let mut network = Network::new(&graph);
        let mut process = algorithm.start(&problem, &mut network)?;
        let goal = Options {
            steps: 2_000,
            until: Some(1e-6),
            ..Options::default()
        };
        let trace = simulate(&mut *process, &problem, &mut network, &best, &goal, |_| {})?;
        let last = trace.last();
        println!(
            "{:10} {}: gap {:.1e} after {} rounds",
            algorithm.name(),
            trace.status,
            last.gap,
            last.rounds
        );
    }
    Ok(())
}
