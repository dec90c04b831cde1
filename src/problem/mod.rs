//! The problem: minimise `F(x) = (1/n) Σ_i f_i(x) + r(x)`, where agent `i` alone knows `f_i`.
//!
//! Here `f_i(x) = (1/m_i) Σ_r φ(a_r·x, b_r)` is the mean loss of the agent's own rows ([`Loss`]) and `r` the shared
//! [`Regularizer`]. [`ProblemSpec`] samples problems from families and files; [`optimum`] finds `F*` with a certificate.

mod compact;
mod data_rows;
mod family;
mod huber;
mod least_squares;
mod logistic;
mod loss;
mod objective;
pub mod optimum;
mod quantile;
mod regularizer;
mod rows;
mod squared_hinge;

pub use data_rows::Rows;
pub use family::{ProblemSpec, Role, Synthetic};
pub use loss::Loss;
pub use objective::Objective;
pub use optimum::Optimum;
pub use regularizer::Regularizer;

use crate::data::DataError;
use crate::field::{Field, dot};
use objective::Curvature;
use std::sync::{Arc, OnceLock};

/// What is wrong with a problem's description or data.
#[derive(Debug, thiserror::Error)]
pub enum ProblemError {
    /// A parameter outside its range.
    #[error("{name} is {found}, expected {expected}")]
    Parameter {
        /// The parameter's name in RON.
        name: String,
        /// The value given.
        found: String,
        /// The range allowed.
        expected: String,
    },
    /// The data file could not be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Rows and targets that do not fit together.
    #[error("agent {agent}: {found}, expected {expected}")]
    Shape {
        /// The agent whose data are wrong.
        agent: usize,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The solver for `F*` failed.
    #[error("no optimum for {problem}: {reason}")]
    Optimum {
        /// The problem.
        problem: String,
        /// Why.
        reason: String,
    },
}

impl ProblemError {
    fn parameter(name: &str, found: impl ToString, expected: &str) -> Self {
        Self::Parameter {
            name: name.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}

/// One agent's rows: `features` is row-major `[rows, dimension]`.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Row-major `[rows, dimension]`.
    pub features: Vec<f64>,
    /// One target per row; ±1 for losses of labels.
    pub targets: Vec<f64>,
}

/// `F(x) = (1/n) Σ_i f_i(x) + r(x)`: the agents' functions and their regularizer. Clones share the functions.
#[derive(Clone)]
pub struct Problem {
    name: String,
    objective: Arc<dyn Objective>,
    /// The same as the objective, where it is that of rows.
    rows: Option<Arc<Rows>>,
    regularizer: Regularizer,
    /// Of every agent.
    curvature: Vec<Curvature>,
    /// [`Problem::smoothness_of_mean`], computed when first asked for.
    of_mean: OnceLock<f64>,
}

impl std::fmt::Debug for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Problem")
            .field("name", &self.name)
            .field("regularizer", &self.regularizer)
            .finish_non_exhaustive()
    }
}

impl Problem {
    /// The mean loss of every agent's rows. Checks shapes and values and computes every `L_i`.
    ///
    /// # Errors
    /// No agent, an agent without rows, features that are not `rows × dimension`, a value that is not finite.
    pub fn new(
        name: impl Into<String>,
        dimension: usize,
        loss: Loss,
        shards: Vec<Shard>,
        regularizer: Regularizer,
    ) -> Result<Self, ProblemError> {
        let rows = Arc::new(Rows::new(dimension, loss, shards)?);
        let curvature = (0..rows.agents()).map(|agent| Curvature {
            smoothness: rows.smoothness(agent).unwrap_or(f64::NAN),
            trace: rows.trace(agent),
        });
        Ok(Self {
            name: name.into(),
            curvature: curvature.collect(),
            objective: rows.clone(),
            rows: Some(rows),
            regularizer,
            of_mean: OnceLock::new(),
        })
    }

    /// The agents' own functions. Values and gradients are checked against each other at a point; an `L_i` that is not given is
    /// estimated there and at two more: give it where curvature differs much from place to place.
    ///
    /// # Errors
    /// No agent or dimension, a value or gradient that is not finite, a gradient that is not that of the value.
    pub fn own(
        name: impl Into<String>,
        objective: impl Objective + 'static,
        regularizer: Regularizer,
    ) -> Result<Self, ProblemError> {
        for (what, count) in [
            ("agents", objective.agents()),
            ("dimension", objective.dimension()),
        ] {
            if count == 0 {
                return Err(ProblemError::parameter(what, 0, "at least 1"));
            }
        }
        Ok(Self {
            name: name.into(),
            curvature: objective::examine(&objective)?,
            objective: Arc::new(objective),
            rows: None,
            regularizer,
            of_mean: OnceLock::new(),
        })
    }

    /// How the problem was described.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Number of agents `n`.
    pub fn agents(&self) -> usize {
        self.objective.agents()
    }
    /// Length `d` of `x`.
    pub fn dimension(&self) -> usize {
        self.objective.dimension()
    }
    /// Every agent's rows; none where its function is another.
    pub fn shards(&self) -> &[Shard] {
        self.rows().map_or(&[], Rows::shards)
    }
    /// The rows, where the agents' functions are mean losses of rows.
    pub fn rows(&self) -> Option<&Rows> {
        self.rows.as_deref()
    }
    /// The shared regularizer `r`.
    pub fn regularizer(&self) -> &Regularizer {
        &self.regularizer
    }
    /// `λ_max = ‖∇f(0)‖_∞`, `f = (1/n) Σ_i f_i`: the least `l1` at which 0 minimises `f + l1‖x‖₁`.
    pub fn l1_max(&self) -> f64 {
        let zero = Field::zeros(self.agents(), self.dimension());
        let mut gradients = zero.clone();
        self.gradients(&zero, &mut gradients);
        gradients
            .mean()
            .iter()
            .fold(0.0, |largest, g| g.abs().max(largest))
    }
    /// `L_i`: the gradient of `f_i` is `L_i`-Lipschitz (0 where all features are zero).
    pub fn smoothness(&self, agent: usize) -> f64 {
        self.curvature[agent].smoothness
    }
    /// Trace of the matrix whose largest eigenvalue is `L_i`; of own functions an estimate.
    pub fn trace(&self, agent: usize) -> f64 {
        self.curvature[agent].trace
    }
    /// `L = max_i L_i`; 1 where all features are zero, so that steps in units of `1/L` stay finite.
    pub fn smoothness_max(&self) -> f64 {
        let largest = self
            .curvature
            .iter()
            .map(|c| c.smoothness)
            .fold(0.0, f64::max);
        if largest > 0.0 { largest } else { 1.0 }
    }

    /// `L̄ = (1/n) Σ_i L_i`; 1 where all features are zero.
    pub fn smoothness_mean(&self) -> f64 {
        let sum: f64 = self.curvature.iter().map(|c| c.smoothness).sum();
        let mean = sum / self.agents() as f64;
        if mean > 0.0 { mean } else { 1.0 }
    }

    /// `λ_max` of the mean over agents of the matrices that bound the Hessians: the mean loss is smooth with it. At most
    /// [`Self::smoothness_mean`], far below it where agents see different directions. By power iteration, to about 1e-4; 1 where
    /// all features are zero.
    pub fn smoothness_of_mean(&self) -> f64 {
        *self.of_mean.get_or_init(|| {
            let value = match &self.rows {
                Some(rows) => self.largest_of_mean(rows),
                None => {
                    let gradient = |x: &[f64], out: &mut [f64]| self.mean_gradient(x, out);
                    objective::largest_curvature(self.dimension(), 0, &gradient)
                }
            };
            if value > 0.0 { value } else { 1.0 }
        })
    }

    fn largest_of_mean(&self, rows: &Rows) -> f64 {
        let d = self.dimension();
        let mut v: Vec<f64> = (0..d).map(|k| 1.0 + 0.1 * (k as f64).sin()).collect();
        let (mut value, mut image) = (0.0, vec![0.0; d]);
        for _ in 0..200 {
            let norm = dot(&v, &v).sqrt();
            if norm == 0.0 {
                return 0.0;
            }
            v.iter_mut().for_each(|x| *x /= norm);
            image.fill(0.0);
            rows.add_mean_curvature(&v, &mut image);
            let next = dot(&v, &image);
            let settled = (next - value).abs() <= 1e-5 * next;
            value = next;
            std::mem::swap(&mut v, &mut image);
            if settled {
                break;
            }
        }
        value
    }

    /// Writes `(1/n) Σ_i ∇f_i(x)` to `out` (length `d`).
    pub fn mean_gradient(&self, x: &[f64], out: &mut [f64]) {
        let n = self.agents() as f64;
        let mut own = vec![0.0; x.len()];
        out.fill(0.0);
        for agent in 0..self.agents() {
            self.gradient(agent, x, &mut own);
            for (g, own) in out.iter_mut().zip(&own) {
                *g += own / n;
            }
        }
    }

    /// Writes `∇f_i(x)` to `out` (length `d`).
    pub fn gradient(&self, agent: usize, x: &[f64], out: &mut [f64]) {
        self.objective.gradient(agent, x, out);
    }

    /// Writes every agent's gradient at its own row of `x`; `x`, `out`: `[agents, dimension]`.
    pub fn gradients(&self, x: &Field, out: &mut Field) {
        out.for_each_row(|i, g| self.gradient(i, x.row(i), g));
    }

    /// Writes to `out` (length `d`) the diagonal of a matrix that bounds `∇²f_i` from above: `L_i` everywhere where no better is
    /// known.
    pub fn curvature_diagonal(&self, agent: usize, out: &mut [f64]) {
        if !self.objective.curvature(agent, out) {
            out.fill(self.smoothness(agent));
        }
    }

    /// `f_i(x)`.
    pub fn local_loss(&self, agent: usize, x: &[f64]) -> f64 {
        self.objective.value(agent, x)
    }

    /// `F(x) = (1/n) Σ_i f_i(x) + r(x)` at one point `x` of length `d`.
    pub fn objective(&self, x: &[f64]) -> f64 {
        self.loss_at(x) + self.regularizer.value(x)
    }

    /// `(1/n) Σ_i f_i(x)` at one point `x` of length `d`.
    pub fn loss_at(&self, x: &[f64]) -> f64 {
        let total: f64 = (0..self.agents()).map(|i| self.local_loss(i, x)).sum();
        total / self.agents() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::loss::RowLoss;
    use super::*;
    use crate::random;
    use rand::RngExt;

    fn random_problem(loss: Loss) -> Problem {
        let mut rng = random::stream(3, "test/problem", &[]);
        let d = 5;
        let shards = (0..3)
            .map(|i| {
                let rows = 4 + i;
                Shard {
                    features: (0..rows * d).map(|_| rng.random_range(-1.0..1.0)).collect(),
                    targets: (0..rows)
                        .map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 })
                        .collect(),
                }
            })
            .collect();
        Problem::new("random", d, loss, shards, Regularizer::default()).unwrap()
    }

    #[test]
    fn gradients_match_central_differences() {
        for loss in [Loss::LeastSquares, Loss::Logistic] {
            let problem = random_problem(loss);
            let x = [0.3, -1.2, 0.5, 2.0, -0.1];
            let mut g = [0.0; 5];
            for agent in 0..3 {
                problem.gradient(agent, &x, &mut g);
                for k in 0..5 {
                    let at = |h: f64| {
                        let mut y = x;
                        y[k] += h;
                        problem.local_loss(agent, &y)
                    };
                    let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!((g[k] - difference).abs() < 1e-8, "{loss:?} {agent} {k}");
                }
            }
        }
    }

    #[test]
    fn curvature_diagonal_bounds_gradient_differences_and_is_attained() {
        // At x = 0 the logistic curvature is at its bound; that of least squares is the same everywhere.
        for loss in [Loss::LeastSquares, Loss::Logistic] {
            let problem = random_problem(loss);
            let (mut diagonal, mut ahead, mut behind) = ([0.0; 5], [0.0; 5], [0.0; 5]);
            for agent in 0..3 {
                problem.curvature_diagonal(agent, &mut diagonal);
                for k in 0..5 {
                    let mut x = [0.0; 5];
                    x[k] = 1e-4;
                    problem.gradient(agent, &x, &mut ahead);
                    x[k] = -1e-4;
                    problem.gradient(agent, &x, &mut behind);
                    let difference = (ahead[k] - behind[k]) / 2e-4;
                    assert!(
                        (diagonal[k] - difference).abs() < 1e-7,
                        "{loss:?} {agent} {k}"
                    );
                }
            }
        }
    }

    #[test]
    fn smoothness_bounds_gradient_differences_and_is_attained() {
        let problem = random_problem(Loss::LeastSquares);
        let mut rng = random::stream(4, "test/smoothness", &[]);
        for agent in 0..3 {
            let mut largest: f64 = 0.0;
            let mut direction = vec![1.0; 5];
            let (mut g0, mut g1) = ([0.0; 5], [0.0; 5]);
            problem.gradient(agent, &[0.0; 5], &mut g0);
            for _ in 0..300 {
                problem.gradient(agent, &direction, &mut g1);
                let image: Vec<f64> = g1.iter().zip(&g0).map(|(a, b)| a - b).collect();
                let norm = |v: &[f64]| dot(v, v).sqrt();
                largest = largest.max(norm(&image) / norm(&direction));
                let scale = 1.0 / norm(&image);
                direction = image
                    .iter()
                    .map(|v| v * scale + 1e-6 * rng.random::<f64>())
                    .collect();
            }
            let bound = problem.smoothness(agent);
            assert!(largest <= bound * (1.0 + 1e-9) && largest >= bound * 0.999);
        }
    }

    /// The triangular factor gives the values and gradients of the rows, for collinear and constant columns too.
    #[test]
    fn few_rows_stand_for_many() {
        let mut rng = random::stream(5, "test/compact", &[]);
        let d = 6;
        let rows = 40;
        let mut features: Vec<f64> = (0..rows * d).map(|_| rng.random_range(-1.0..1.0)).collect();
        for row in features.chunks_exact_mut(d) {
            (row[2], row[4]) = (2.0 * row[1], 1.0);
        }
        let targets: Vec<f64> = (0..rows).map(|_| rng.random_range(3.0..9.0)).collect();
        let shard = Shard { features, targets };
        let problem = |shard: &Shard| {
            let r = Regularizer::default();
            Problem::new("many", d, Loss::LeastSquares, vec![shard.clone()], r).unwrap()
        };
        let many = problem(&shard);
        assert!(compact::Compact::new(Loss::LeastSquares, &shard, d).is_some());
        let x = [0.3, -1.2, 0.5, 2.0, -0.1, 7.0];
        let (mut value, mut expected) = (0.0, vec![0.0; d]);
        for (row, b) in shard.features.chunks_exact(d).zip(&shard.targets) {
            let error = dot(row, &x) - b;
            value += 0.5 * error * error / rows as f64;
            for (e, a) in expected.iter_mut().zip(row) {
                *e += error * a / rows as f64;
            }
        }
        let mut gradient = vec![0.0; d];
        many.gradient(0, &x, &mut gradient);
        assert!((many.local_loss(0, &x) / value - 1.0).abs() < 1e-14);
        for (g, e) in gradient.iter().zip(&expected) {
            assert!((g - e).abs() < 1e-13 * (1.0 + e.abs()), "{g} {e}");
        }
    }

    /// `f_i(x) = w_i‖x − c_i‖²/2` through the door for own functions: values and gradients as given, `L_i` found.
    struct Own {
        wrong: bool,
    }

    impl Objective for Own {
        fn agents(&self) -> usize {
            3
        }
        fn dimension(&self) -> usize {
            4
        }
        fn value(&self, agent: usize, x: &[f64]) -> f64 {
            let weight = 1.0 + agent as f64;
            x.iter().map(|x| 0.5 * weight * (x - weight).powi(2)).sum()
        }
        fn gradient(&self, agent: usize, x: &[f64], out: &mut [f64]) {
            let weight = 1.0 + agent as f64;
            for (g, x) in out.iter_mut().zip(x) {
                *g = weight * (x - weight) * if self.wrong { 1.1 } else { 1.0 };
            }
        }
    }

    #[test]
    fn own_functions_are_examined() {
        let problem = Problem::own("own", Own { wrong: false }, Regularizer::default()).unwrap();
        for agent in 0..3 {
            let l = problem.smoothness(agent) / (1.0 + agent as f64);
            assert!((1.0..1.1).contains(&l), "{l}");
            let trace = problem.trace(agent) / (4.0 + 4.0 * agent as f64);
            assert!((trace - 1.0).abs() < 1e-3, "{trace}");
        }
        assert!((problem.smoothness_of_mean() / 2.0 - 1.0).abs() < 1e-6);
        assert!(problem.rows().is_none() && problem.shards().is_empty());
        let error = optimum::solve(&problem).unwrap_err().to_string();
        assert!(error.contains("Optimum::given"), "{error}");
        let wrong = Problem::own("own", Own { wrong: true }, Regularizer::default());
        let error = wrong.unwrap_err().to_string();
        assert!(
            error.contains("agent 0") && error.contains("gradient"),
            "{error}"
        );
    }

    /// Two agents who see one coordinate each: the mean Hessian is half of what each of them has.
    #[test]
    fn the_mean_is_smoother_than_the_agents() {
        let shard = |features: &[f64]| Shard {
            features: features.to_vec(),
            targets: vec![1.0],
        };
        let shards = vec![shard(&[2.0, 0.0]), shard(&[0.0, 4.0])];
        let problem =
            Problem::new("p", 2, Loss::LeastSquares, shards, Regularizer::default()).unwrap();
        let bound = problem.smoothness(0) / 4.0;
        assert!((problem.smoothness_mean() - 10.0 * bound).abs() < 1e-12);
        assert!((problem.smoothness_of_mean() / (8.0 * bound) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn row_losses_match_their_derivatives_and_conjugates() {
        fn check(l: impl RowLoss) {
            for b in [-1.0, 1.0] {
                for u in [-30.0, -2.0, -0.1, 0.0, 0.7, 5.0, 30.0] {
                    let h = 1e-5;
                    let slope = (l.value(u + h, b) - l.value(u - h, b)) / (2.0 * h);
                    assert!((slope - l.slope(u, b)).abs() < 1e-8);
                    let curvature = (l.slope(u + h, b) - l.slope(u - h, b)) / (2.0 * h);
                    assert!((curvature - l.curvature(u, b)).abs() < 1e-8);
                    let nu = l.slope(u, b);
                    let fenchel = l.value(u, b) + l.conjugate(nu, b) - u * nu;
                    assert!(fenchel.abs() < 1e-9 * (1.0 + u.abs()), "{u} {b} {fenchel}");
                }
            }
        }
        check(least_squares::LeastSquares);
        check(logistic::Logistic);
        check(huber::Huber { delta: 0.7 });
        check(squared_hinge::SquaredHinge);
        check(quantile::Quantile {
            level: 0.3,
            smoothing: 0.5,
        });
        assert!(Logistic.value(-800.0, 1.0) == 800.0 && Logistic.value(800.0, 1.0) == 0.0);
        use logistic::Logistic;
    }

    #[test]
    fn bad_data_are_named() {
        let shard = |features: Vec<f64>, targets: Vec<f64>| Shard { features, targets };
        let build = |s| Problem::new("p", 2, Loss::Logistic, vec![s], Regularizer::default());
        let message = |s| build(s).unwrap_err().to_string();
        assert!(message(shard(vec![1.0, f64::NAN], vec![1.0])).contains("NaN"));
        assert!(message(shard(vec![1.0, 2.0], vec![3.0])).contains("label 3"));
        assert!(message(shard(vec![1.0], vec![1.0])).contains("1 rows × 2"));
        assert!(message(shard(vec![], vec![])).contains("no rows"));
    }
}
