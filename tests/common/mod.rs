//! What several test files share: the published fixtures, small random problems, graphs, and a comparison.
//!
//! Fixtures are the `*.safetensors` in `STARLING_REFERENCE_DIR`, by default the copies in `fixtures/reference`.

// Every test file is a crate of its own and uses its share.
#![allow(dead_code)]

use rand::RngExt;
use safetensors::SafeTensors;
use starling::graph::Graph;
use starling::problem::{Loss, Problem, Regularizer, Shard};
use starling::random;
use starling::rule::Milodo;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All fixtures, in the order of their names.
pub fn fixtures() -> Vec<Fixture> {
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
    files.iter().map(|path| Fixture::read(path)).collect()
}

/// A fixture: the rule, its problem, the published trajectory and the published meta-gradient.
pub struct Fixture {
    pub name: String,
    pub rule: Milodo,
    pub problem: Problem,
    pub steps: usize,
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    pub z: Vec<f64>,
    pub objective: Vec<f64>,
    /// Steps that the meta-loss is taken over.
    pub window: usize,
    pub meta_loss: f64,
    /// Shape and values of the gradient, by the parameter's published name, such as `M.0.lstm.weight_ih_l0`.
    pub meta_gradient: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
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
        let gradient = |key: &str| {
            let name = key.strip_prefix("meta.grad.")?.to_string();
            Some((name, (header.info(key)?.shape.clone(), tensor(key))))
        };
        Self {
            rule: Milodo::from_safetensors(&bytes).unwrap_or_else(|e| panic!("{name}: {e}")),
            problem: Problem::new(&name, dimension, loss, shards, regularizer).unwrap(),
            steps: number("steps") as usize,
            x: tensor("trajectory.x"),
            y: tensor("trajectory.y"),
            z: tensor("trajectory.z"),
            objective: tensor("trajectory.objective_at_mean"),
            window: number("window") as usize,
            meta_loss: tensor("meta.loss")[0],
            meta_gradient: file
                .names()
                .iter()
                .filter_map(|key| gradient(key))
                .collect(),
            name,
        }
    }
}

/// `max |a − b| / max |b|`; the difference itself where `b` is zero, NaN where a value is.
pub fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let scale = largest(b);
    largest(&difference) / if scale == 0.0 { 1.0 } else { scale }
}

/// `max |v|`, NaN where a value is.
pub fn largest(values: &[f64]) -> f64 {
    let larger = |m: f64, v: &f64| {
        if m.is_nan() || v.is_nan() {
            f64::NAN
        } else {
            m.max(v.abs())
        }
    };
    values.iter().fold(0.0, larger)
}

/// Rows uniform in ±1, targets uniform in ±1 or labels; agent `i` has `rows(i)` of them.
pub fn random_problem(
    loss: Loss,
    regularizer: Regularizer,
    agents: usize,
    dimension: usize,
    rows: fn(usize) -> usize,
    seed: u64,
) -> Problem {
    let shard = |i| {
        let mut rng = random::stream(seed, "test/problem", &[i as u64]);
        let features = (0..rows(i) * dimension)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        let target = |_| {
            let t: f64 = rng.random_range(-1.0..1.0);
            if loss.labels() { t.signum() } else { t }
        };
        Shard {
            features,
            targets: (0..rows(i)).map(target).collect(),
        }
    };
    let shards = (0..agents).map(shard).collect();
    Problem::new("random", dimension, loss, shards, regularizer).unwrap()
}

pub fn ring(agents: usize) -> Graph {
    Graph::from_edges("ring", agents, (0..agents).map(|i| (i, (i + 1) % agents))).unwrap()
}

pub fn star(agents: usize) -> Graph {
    Graph::from_edges("star", agents, (1..agents).map(|i| (0, i))).unwrap()
}

pub fn path(agents: usize) -> Graph {
    Graph::from_edges("path", agents, (1..agents).map(|i| (i - 1, i))).unwrap()
}

#[cfg(feature = "train")]
pub mod training {
    //! What the tests of the training half share.

    use starling::problem::{Optimum, Problem, optimum};
    use starling::train::TrainDevice;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Every problem with its optimum, as a batch wants it.
    pub fn solved(problems: Vec<Problem>) -> Vec<(Problem, Optimum)> {
        let solve = |problem| {
            let optimum = optimum::solve(&problem).unwrap();
            (problem, optimum)
        };
        problems.into_iter().map(solve).collect()
    }

    /// A wgpu device, and the right to be the only one on it; `None`, and a word about it, where no adapter answers.
    pub fn wgpu() -> Option<(TrainDevice, MutexGuard<'static, ()>)> {
        static ALONE: Mutex<()> = Mutex::new(());
        let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        match TrainDevice::wgpu(true) {
            Ok(device) => {
                println!("on {}", device.name);
                Some((device, guard))
            }
            Err(error) => {
                println!("skipped: no wgpu adapter ({error})");
                None
            }
        }
    }
}
