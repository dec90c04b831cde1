//! The guard of `shared`: networks that would blow the run up are trusted less and less, and the run converges all the same.

use starling::graph::GraphSpec;
use starling::network::Network;
use starling::problem::{Loss, Role, Synthetic, optimum};
use starling::rule::features::{EDGE_FEATURES, NODE_FEATURES};
use starling::rule::mlp::{Linear, Mlp};
use starling::rule::shared::{EDGE_OUTPUTS, NODE_OUTPUTS};
use starling::rule::spec::start_frozen;
use starling::rule::{Constants, Shared, Structure};
use starling::simulate::{Options, Status, Trace, simulate};

/// A network whose every output is at the upper end of its range, whatever it sees.
fn saturated(inputs: usize, outputs: usize) -> Option<Mlp> {
    Some(Mlp {
        layers: vec![Linear {
            inputs,
            outputs,
            weight: vec![0.0; inputs * outputs],
            bias: vec![20.0; outputs],
        }],
    })
}

fn run(graph: &GraphSpec, loss: Loss, heterogeneity: f64, guard: f64) -> Trace {
    let rule = Shared {
        node: saturated(NODE_FEATURES, NODE_OUTPUTS),
        edge: saturated(EDGE_FEATURES, EDGE_OUTPUTS),
        clock_cap: 100,
        guard,
        ..Shared::constant(Constants::default())
    };
    let graph = graph.build(1).unwrap();
    let family = Synthetic {
        heterogeneity,
        l1: 0.02,
        ..Synthetic::new(loss, 20, 10)
    };
    let problem = family.sample(graph.agents(), 1, Role::Test, 0).unwrap();
    let best = optimum::solve(&problem).unwrap();
    let mut network = Network::new(&graph);
    let mut process =
        start_frozen("saturated", Structure::Shared(rule), &problem, &mut network).unwrap();
    let options = Options {
        steps: 30_000,
        until: Some(1e-8),
        ..Options::default()
    };
    simulate(
        process.as_mut(),
        &problem,
        &mut network,
        &best,
        &options,
        |_| true,
    )
    .unwrap()
}

#[test]
fn a_rule_that_would_diverge_converges_under_the_guard() {
    for graph in [GraphSpec::Ring(8), GraphSpec::Star(8), GraphSpec::Path(5)] {
        for loss in [Loss::LeastSquares, Loss::Logistic] {
            for heterogeneity in [0.0, 1.0] {
                let bare = run(&graph, loss, heterogeneity, 0.0);
                assert!(
                    matches!(bare.status, Status::Diverged { .. }),
                    "{graph} {loss:?} {heterogeneity}: without a guard {:?}",
                    bare.status
                );
                let guarded = run(&graph, loss, heterogeneity, 30.0);
                let gap = guarded.last().gap;
                assert!(
                    gap <= 1e-8,
                    "{graph} {loss:?} {heterogeneity}: {:?}, gap {gap:e}",
                    guarded.status
                );
            }
        }
    }
}
