//! Certified optimum: `F*` of the pooled problem with a bound on its error.
//!
//! `F(x) = P(x) = Σ_r w_r φ(a_r·x, b_r) + r(x)`, `w_r = 1/(n m_i)`. [`solver`] finds a minimiser, [`certificate`] says by how much
//! `F` at a point may exceed the minimum, [`cache`] keeps minimisers between commands and certifies them anew when it reads them.

mod cache;
mod certificate;
mod solver;

pub use cache::{cache_dir, solve_cached};

use super::Rows;
use super::loss::{RowLoss, with_loss};
use super::rows::add_gradient;
use super::{Problem, ProblemError, Regularizer, Shard};
use crate::field::{dot, larger};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// A minimiser with its certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Optimum {
    /// The minimiser found.
    pub x: Vec<f64>,
    /// `F(x)`.
    pub objective: f64,
    /// `F(x) − F*` is at most this (absolute, same unit as the objective); at least `rounding`.
    pub certificate: f64,
    /// What rounding may add to `F` near `x` or take from it.
    pub rounding: f64,
    /// How the certificate was obtained: `"duality gap"`, `"gradient norm"` or `"F ≥ 0"`.
    pub certificate_kind: String,
    /// The solver, with its iterations.
    pub solver: String,
    /// Number of coordinates of `x` that are not zero.
    pub nonzeros: usize,
    /// Largest distance of `−∇f(x)` to `∂r(x)` over coordinates.
    pub kkt_residual: f64,
}

impl Optimum {
    /// A minimum that somebody knows to within `certificate` (absolute), without its point.
    pub fn given(objective: f64, certificate: f64) -> Self {
        Self {
            x: Vec::new(),
            objective,
            certificate,
            rounding: 16.0 * f64::EPSILON * objective.abs(),
            certificate_kind: "given".into(),
            solver: "given".into(),
            nonzeros: 0,
            kkt_residual: f64::NAN,
        }
    }

    /// By how much `F` at a feasible point may lie below [`Self::objective`] without contradicting the certificate.
    ///
    /// Points that leave a box by rounding count as inside it ([`super::Regularizer::value`]), and may gain what the slope
    /// gives them there.
    pub fn slack(&self, problem: &Problem) -> f64 {
        let at_bounds = match problem.regularizer().bounds {
            None => 0.0,
            // Given, without a point.
            Some(_) if self.x.len() != problem.dimension() => 0.0,
            Some(_) => {
                let mut slope = vec![0.0; self.x.len()];
                problem.mean_gradient(&self.x, &mut slope);
                let terms = self.x.iter().zip(&slope);
                terms.map(|(x, g)| 2e-9 * (1.0 + x.abs()) * g.abs()).sum()
            }
        };
        self.certificate + self.rounding + at_bounds
    }
}

/// Solves the pooled problem to the limit of f64.
///
/// # Errors
/// A problem without a minimiser that the solver could reach (for instance separable data without a regularizer).
pub fn solve(problem: &Problem) -> Result<Optimum, ProblemError> {
    let mut pooled = Pooled::new(problem)?;
    let (x, solver) = solver::minimise(&mut pooled)?;
    certificate::certify(&pooled, x, solver)
}

/// Beyond this many coordinates (or rows, where they are fewer) a Hessian is not formed.
const MAX_ACTIVE: usize = 4_000;

/// Eigenvalues of a symmetric matrix, ascending.
fn eigenvalues(symmetric: DMatrix<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = symmetric.symmetric_eigenvalues().iter().copied().collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Largest eigenvalue of `AᵀA` for a row-major `A` with `columns` columns.
///
/// Exact (dense eigenvalues of the smaller Gram matrix) up to 400; power iteration beyond, rounded up by 1e-6.
pub(crate) fn gram_norm(features: &[f64], columns: usize) -> f64 {
    let rows = features.len() / columns;
    if rows.min(columns) <= 400 {
        // The slice by columns is Aᵀ.
        let transposed = DMatrix::from_column_slice(columns, rows, features);
        let gram = if rows <= columns {
            transposed.transpose() * &transposed
        } else {
            &transposed * transposed.transpose()
        };
        return eigenvalues(gram).last().copied().unwrap_or(0.0).max(0.0);
    }
    let mut v: Vec<f64> = (0..columns).map(|k| 1.0 + 0.1 * (k as f64).sin()).collect();
    let (mut value, mut image) = (0.0, vec![0.0; columns]);
    for _ in 0..5_000 {
        let norm = dot(&v, &v).sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        v.iter_mut().for_each(|x| *x /= norm);
        image.fill(0.0);
        for row in features.chunks_exact(columns) {
            let u = dot(row, &v);
            image.iter_mut().zip(row).for_each(|(g, a)| *g += u * a);
        }
        let next = dot(&v, &image);
        let settled = (next - value).abs() <= 1e-10 * next;
        value = next;
        std::mem::swap(&mut v, &mut image);
        if settled {
            break;
        }
    }
    value * (1.0 + 1e-6)
}

/// The pooled problem: all rows with their weights.
struct Pooled<'a> {
    problem: &'a Problem,
    data: &'a Rows,
    /// The problem's own, or one with another `l1` on the way there.
    regularizer: Regularizer,
    rows: Vec<Row<'a>>,
}

/// A row of the pooled problem.
struct Row<'a> {
    features: &'a [f64],
    target: f64,
    weight: f64,
}

/// Weight of every row of an agent in `F`: `1/(n m_i)`.
fn weight(problem: &Problem, shard: &Shard) -> f64 {
    1.0 / (problem.agents() as f64 * shard.targets.len() as f64)
}

impl<'a> Pooled<'a> {
    /// # Errors
    /// Functions that are not mean losses of rows: their optimum is not certified.
    fn new(problem: &'a Problem) -> Result<Self, ProblemError> {
        let data = problem.rows().ok_or_else(|| ProblemError::Optimum {
            problem: problem.name().into(),
            reason: "no certificate is known for own functions; run without F*, or give it (`Optimum::given`)".into(),
        })?;
        let rows = data
            .shards()
            .iter()
            .flat_map(|s| {
                let weight = weight(problem, s);
                s.features
                    .chunks_exact(problem.dimension())
                    .zip(&s.targets)
                    .map(move |(features, &target)| Row {
                        features,
                        target,
                        weight,
                    })
            })
            .collect();
        Ok(Self {
            problem,
            data,
            regularizer: *problem.regularizer(),
            rows,
        })
    }

    /// `f(x) + r(x)`.
    fn objective(&self, x: &[f64]) -> f64 {
        self.problem.loss_at(x) + self.regularizer.value(x)
    }

    /// `∇f(x)`, `f` the weighted sum of losses.
    fn gradient(&self, x: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        with_loss!(self.data.loss(), l => for shard in self.data.shards() {
            let weight = weight(self.problem, shard);
            let slope = |r: usize, u| weight * l.slope(u, shard.targets[r]);
            add_gradient(&shard.features, x, slope, out);
        });
    }

    /// `s_k = √(Σ_r w_r a_rk² + l2)`, the columns' lengths; 1 where that is zero.
    fn column_norms(&self) -> Vec<f64> {
        let d = self.problem.dimension();
        // In units of the largest entry, so that no square overflows or vanishes.
        let mut largest = vec![0.0_f64; d];
        for row in &self.rows {
            for (m, a) in largest.iter_mut().zip(row.features) {
                *m = m.max(a.abs());
            }
        }
        let mut squares = vec![0.0; d];
        for row in &self.rows {
            for ((s, a), m) in squares.iter_mut().zip(row.features).zip(&largest) {
                if *m > 0.0 {
                    *s += row.weight * (a / m) * (a / m);
                }
            }
        }
        squares
            .iter()
            .zip(&largest)
            .map(
                |(s, m)| match (m * s.sqrt()).hypot(self.regularizer.l2.sqrt()) {
                    0.0 => 1.0,
                    length => length,
                },
            )
            .collect()
    }

    /// Largest distance of `−∇f(x)` to `∂r(x)` over coordinates, each divided by its `scale`.
    fn kkt_residual(&self, x: &[f64], gradient: &[f64], scale: impl Fn(usize) -> f64) -> f64 {
        let r = &self.regularizer;
        let each = x.iter().zip(gradient).enumerate();
        each.map(|(k, (&x, &g))| r.stationarity(x, g) / scale(k))
            .fold(0.0, larger)
    }

    /// The coordinates that are free at `x`: not zero where l1 acts, not at a bound.
    fn free(&self, x: &[f64]) -> Vec<usize> {
        let r = &self.regularizer;
        let is_free = |&k: &usize| {
            let at_bound = r.bounds.is_some_and(|(lo, hi)| x[k] <= lo || x[k] >= hi);
            !at_bound && (r.l1 == 0.0 || x[k] != 0.0)
        };
        (0..x.len()).filter(is_free).collect()
    }

    /// `√(w φ''(a·x))·a_k/s_k` for the coordinates `k` of `free`, `[rows, free]`: its Gram matrix is the Hessian of the losses on
    /// them, in coordinates scaled by `s`.
    fn half_hessian(
        &self,
        x: &[f64],
        free: &[usize],
        scale: impl Fn(usize) -> f64,
    ) -> DMatrix<f64> {
        let roots: Vec<f64> = with_loss!(self.data.loss(), l => self.rows.iter()
            .map(|row| (row.weight * l.curvature(dot(row.features, x), row.target)).sqrt())
            .collect());
        self.scaled_rows(&roots, free, scale)
    }

    /// The same with the largest curvature that the loss can have: its rank is that of the data.
    fn half_bound(&self, free: &[usize], scale: impl Fn(usize) -> f64) -> DMatrix<f64> {
        let bound = self.data.loss().curvature_bound();
        let roots = self.rows.iter().map(|row| (row.weight * bound).sqrt());
        self.scaled_rows(&roots.collect::<Vec<f64>>(), free, scale)
    }

    fn scaled_rows(
        &self,
        roots: &[f64],
        free: &[usize],
        scale: impl Fn(usize) -> f64,
    ) -> DMatrix<f64> {
        DMatrix::from_fn(self.rows.len(), free.len(), |i, k| {
            roots[i] * (self.rows[i].features[free[k]] / scale(free[k]))
        })
    }
}

/// `κ`: the largest over the smallest eigenvalue of `∇²f(x) + l2 I`, `f = (1/n) Σ_i f_i`, on the coordinates that are free
/// at the minimiser `x` (not zero where l1 acts, not at a bound): the conditioning that methods meet near it.
///
/// `None` where no coordinate is free, or the smallest eigenvalue is zero to rounding.
pub fn restricted_condition(problem: &Problem, x: &[f64]) -> Option<f64> {
    let pooled = Pooled::new(problem).ok()?;
    let free = pooled.free(x);
    if free.is_empty() || free.len() > MAX_ACTIVE {
        return None;
    }
    let half = pooled.half_hessian(x, &free, |_| 1.0);
    let values = eigenvalues(half.transpose() * &half);
    let l2 = problem.regularizer().l2;
    let (smallest, largest) = (values.first()? + l2, values.last()? + l2);
    (smallest > 1e-12 * largest).then(|| largest / smallest)
}
