//! The plain `milodo` against trajectories of the published implementation, and against the method that it contains.

mod common;

use common::{fixtures, random_problem, relative_error, ring, star};
use starling::algorithm::Algorithm;
use starling::field::Field;
use starling::graph::Graph;
use starling::method::{Abc, AbcKind};
use starling::network::Network;
use starling::problem::{Loss, Problem, Regularizer};
use starling::rule::milodo::{Milodo, MilodoRule};

/// Largest difference of a tensor from the published one, relative to the latter's largest value.
const TOLERANCE: f64 = 1e-9;

#[test]
fn parity_of_the_plain_trajectory() {
    for f in fixtures() {
        let graph = f.rule.graph().unwrap();
        let rule = MilodoRule::new(f.rule, &graph).unwrap();
        let mut network = Network::new(&graph);
        let mut state = rule.init(&f.problem, &mut network);
        let (mut x, mut y, mut z, mut objective) = (vec![], vec![], vec![], vec![]);
        for _ in 0..f.steps {
            rule.step(&mut state, &f.problem, &mut network);
            x.extend_from_slice(rule.iterate(&state).values());
            y.extend_from_slice(rule.dual(&state).unwrap().values());
            z.extend_from_slice(state.z().values());
            objective.push(f.problem.objective(&rule.iterate(&state).mean()));
        }
        let compared = [
            ("x", &x, &f.x),
            ("y", &y, &f.y),
            ("z", &z, &f.z),
            ("objective_at_mean", &objective, &f.objective),
        ];
        for (tensor, ours, published) in compared {
            let error = relative_error(ours, published);
            println!("{}: trajectory.{tensor}: {error:.1e}", f.name);
            assert!(
                error <= TOLERANCE,
                "{}: trajectory.{tensor} differs by {error:e}",
                f.name
            );
        }
        let bill = network.bill();
        assert_eq!(
            (bill.rounds, bill.vectors_per_edge),
            (2 * f.steps as u64, 2 * f.steps as u64)
        );
    }
}

fn least_squares(agents: usize, dimension: usize, l1: f64) -> Problem {
    let regularizer = Regularizer::new(l1, 0.0, None).unwrap();
    let rows = |_| 22;
    random_problem(Loss::LeastSquares, regularizer, agents, dimension, rows, 5)
}

fn run<A: Algorithm>(
    algorithm: &A,
    problem: &Problem,
    graph: &Graph,
    steps: usize,
) -> (Field, Field) {
    let mut network = Network::new(graph);
    let mut state = algorithm.init(problem, &mut network);
    for _ in 0..steps {
        algorithm.step(&mut state, problem, &mut network);
    }
    (
        algorithm.iterate(&state).clone(),
        algorithm.dual(&state).unwrap().clone(),
    )
}

/// `P = α`, `S = w/(2α)`, `C = w/2`, `r = 0`.
#[test]
fn parity_of_constant_coefficients_with_exact_diffusion() {
    let (problem, graph) = (least_squares(6, 11, 0.0), ring(6));
    let w = 1.0 / 3.0;
    let step = 1.0 / problem.smoothness_max();
    let rule = MilodoRule::new(
        Milodo::constant(&graph, step, w / (2.0 * step), w / 2.0),
        &graph,
    )
    .unwrap();
    let diffusion = Abc::new(AbcKind::ProxEd, step, &[w; 6]);
    for steps in [1, 2, 10, 500] {
        let (ours, _) = run(&rule, &problem, &graph, steps);
        let (expected, _) = run(&diffusion, &problem, &graph, steps);
        let error = relative_error(ours.values(), expected.values());
        assert!(error <= 1e-12, "{error:e} after {steps} steps");
    }
}

/// Unequal degrees: the rule runs, keeps `Σ_i y_i = 0`, converges, and does not care about the number of threads.
#[test]
fn parity_of_ends_and_threads_on_a_star() {
    let (problem, graph) = (least_squares(5, 19, 0.05), star(5));
    let rule = MilodoRule::new(
        Milodo::initial(&graph, 0.5 / problem.smoothness_max(), 1),
        &graph,
    )
    .unwrap();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| run(&rule, &problem, &graph, 4_000))
    };
    let (x, y) = on(1);
    assert!(
        y.sum_drift() <= 1e-11 && y.values().iter().any(|v| *v != 0.0),
        "drift {:e}",
        y.sum_drift()
    );
    assert!(
        x.consensus_error() <= 1e-10,
        "consensus error {:e}",
        x.consensus_error()
    );
    assert_eq!((x, y), on(2));
}
