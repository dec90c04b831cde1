//! The plain `milodo` against trajectories of the published implementation, and against the method that it contains.
//!
//! Fixtures are the `*.safetensors` in `STARLING_REFERENCE_DIR`, by default the copies in `fixtures/reference`.

use safetensors::SafeTensors;
use starling::algorithm::{Abc, AbcKind, Algorithm};
use starling::field::Field;
use starling::graph::Graph;
use starling::network::Network;
use starling::problem::{Loss, Problem, Regularizer, Shard};
use starling::random;
use starling::rule::milodo::{Milodo, MilodoRule};
use std::path::{Path, PathBuf};

use rand::RngExt;

/// Largest difference of a tensor from the published one, relative to the latter's largest value.
const TOLERANCE: f64 = 1e-9;

fn fixtures() -> Vec<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference");
    let folder = std::env::var_os("STARLING_REFERENCE_DIR").map_or(default, PathBuf::from);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| {
        panic!(
            "cannot read the folder of fixtures {}: {e}",
            folder.display()
        )
    });
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder of fixtures").path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    assert!(
        !files.is_empty(),
        "no *.safetensors in {}, expected at least one fixture",
        folder.display()
    );
    files.sort();
    files
}

/// A fixture: the rule, its problem and the published trajectory.
struct Fixture {
    name: String,
    rule: Milodo,
    problem: Problem,
    steps: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    z: Vec<f64>,
    objective: Vec<f64>,
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (_, header) =
            SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let metadata = header.metadata().clone().unwrap_or_default();
        let text = |key: &str| {
            metadata
                .get(key)
                .unwrap_or_else(|| panic!("{name}: no {key} in its metadata"))
        };
        let number = |key: &str| {
            text(key)
                .parse::<f64>()
                .unwrap_or_else(|e| panic!("{name}: {key}: {e}"))
        };
        let tensor = |key: &str| -> Vec<f64> {
            let tensor = file.tensor(key).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(tensor.dtype(), safetensors::Dtype::F64, "{name}: {key}");
            tensor
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b))
                .collect()
        };
        let [agents, rows, dimension] =
            ["agents", "rows", "dimension"].map(|key| number(key) as usize);
        let (loss, label): (_, fn(f64) -> f64) = match text("problem").as_str() {
            "lasso" => (Loss::LeastSquares, |b| b),
            "logistic" => (Loss::Logistic, |b| 2.0 * b - 1.0),
            other => panic!("{name}: problem {other}, expected lasso or logistic"),
        };
        let (features, targets) = (tensor("problem.A"), tensor("problem.b"));
        let own = rows / agents;
        let shards = features
            .chunks_exact(own * dimension)
            .zip(targets.chunks_exact(own))
            .map(|(features, targets)| Shard {
                features: features.to_vec(),
                targets: targets.iter().map(|&b| label(b)).collect(),
            })
            .collect();
        let regularizer = Regularizer::new(number("l1_weight"), 0.0, None).unwrap();
        Self {
            rule: Milodo::from_safetensors(&bytes).unwrap_or_else(|e| panic!("{name}: {e}")),
            problem: Problem::new(&name, dimension, loss, shards, regularizer).unwrap(),
            steps: number("steps") as usize,
            x: tensor("trajectory.x"),
            y: tensor("trajectory.y"),
            z: tensor("trajectory.z"),
            objective: tensor("trajectory.objective_at_mean"),
            name,
        }
    }
}

/// `max |a − b| / max |b|`
fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |m: f64, v| if v.is_nan() { v } else { m.max(v.abs()) })
    };
    largest(&mut a.iter().zip(b).map(|(a, b)| a - b)) / largest(&mut b.iter().copied())
}

#[test]
fn parity_of_the_plain_trajectory() {
    for path in fixtures() {
        let f = Fixture::read(&path);
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
    let shard = |i| {
        let mut rng = random::stream(5, "test/parity", &[i as u64]);
        let rows = dimension + 3;
        Shard {
            features: (0..rows * dimension)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect(),
            targets: (0..rows).map(|_| rng.random_range(-1.0..1.0)).collect(),
        }
    };
    let regularizer = Regularizer::new(l1, 0.0, None).unwrap();
    Problem::new(
        "test",
        dimension,
        Loss::LeastSquares,
        (0..agents).map(shard).collect(),
        regularizer,
    )
    .unwrap()
}

fn ring(agents: usize) -> Graph {
    Graph::from_edges("ring", agents, (0..agents).map(|i| (i, (i + 1) % agents))).unwrap()
}

fn star(agents: usize) -> Graph {
    Graph::from_edges("star", agents, (1..agents).map(|i| (0, i))).unwrap()
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
