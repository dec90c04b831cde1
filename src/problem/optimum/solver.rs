//! The solver: accelerated proximal gradient with restart, and Newton steps on the free coordinates.
//!
//! ```text
//! x⁺ = prox_{r,P}(y − P ∇f(y)),   y⁺ = x⁺ + (t − 1)/t⁺ (x⁺ − x),   t⁺ = (1 + √(1 + 4t²))/2      P_k = 1/(L s_k²)
//! ```
//!
//! `s_k` is the length of column `k` and `L` the smoothness of the losses in the coordinates `s_k x_k`: columns in different units
//! (metres beside nanometres) cost nothing. Every 50 iterations Newton steps on the coordinates that are free are tried, and
//! the iteration goes on from there if they lead down.
//! (Beck & Teboulle 2009; O'Donoghue & Candès 2015 for the restart.)

use super::{MAX_ACTIVE, Pooled, gram_norm};
use crate::field::dot;
use crate::problem::ProblemError;
use crate::problem::loss::{RowLoss, with_loss};
use nalgebra::{Cholesky, DVector};

const MAX_ITERATIONS: usize = 200_000;
/// Gradient iterations between two tries of Newton steps.
const CHECK_EVERY: usize = 50;
/// Newton steps of one try.
const NEWTON_STEPS: usize = 20;
/// Tries without improvement near the rounding level, after which the best point is taken.
const STALE: usize = 8;
/// Below this share of `λ_max` the weight of the l1 norm is approached step by step: from far away a minimiser with few
/// coordinates that are not zero is not found (Friedman, Hastie & Tibshirani 2010).
const SMALL_L1: f64 = 0.02;
/// One step of that path.
const PATH: f64 = 0.3;
/// How far a minimiser on the way is computed, as a share of `l1`; and by how many iterations at most.
const ON_THE_WAY: f64 = 1e-2;
const MAX_ITERATIONS_ON_THE_WAY: usize = 2_000;
/// With `l2` above this share of the smoothness there is no need for a path.
const STRONG: f64 = 1e-5;

/// A point with its gradient, its objective and its KKT residual in scaled coordinates.
#[derive(Clone)]
struct Point {
    x: Vec<f64>,
    gradient: Vec<f64>,
    objective: f64,
    residual: f64,
}

impl Point {
    /// Whether it is lower than `other` beyond rounding, or as low with a smaller residual. (The residual alone would prefer points far
    /// away, where the slopes of a logistic loss vanish.)
    fn better(&self, other: &Point) -> bool {
        let margin = 1e-12 * other.objective.abs();
        let level = self.objective <= other.objective + margin;
        self.objective < other.objective - margin || level && self.residual < other.residual
    }
}

/// Minimises the pooled problem; returns the point with the least KKT residual, and words on how it was found.
///
/// # Errors
/// Iterates that leave every bound.
pub(super) fn minimise(pooled: &mut Pooled) -> Result<(Vec<f64>, String), ProblemError> {
    let problem = pooled.problem;
    let r = *problem.regularizer();
    let d = problem.dimension();
    let norms = pooled.column_norms();
    let bound = pooled.data.loss().curvature_bound();
    let weighted: Vec<f64> = pooled
        .rows
        .iter()
        .flat_map(|row| {
            let root = row.weight.sqrt();
            let entries = row.features.iter().zip(&norms);
            entries.map(move |(a, s)| a / s * root)
        })
        .collect();
    // Without any feature every step is as good.
    let smoothness = match bound * gram_norm(&weighted, d) {
        0.0 => 1.0,
        smoothness => smoothness,
    };
    drop(weighted);
    let mut descent = Descent {
        steps: norms.iter().map(|s| 1.0 / (smoothness * s) / s).collect(),
        norms,
        smoothness,
        iterations: 0,
        newton_steps: 0,
    };
    let mut x: Vec<f64> = (0..d).map(|_| r.prox(0.0, 0.0)).collect();
    // λ_max in scaled coordinates.
    let mut g = vec![0.0; d];
    pooled.gradient(&x, &mut g);
    let scaled = g.iter().zip(&descent.norms).map(|(g, s)| g.abs() / s);
    let mut l1 = SMALL_L1 * scaled.fold(0.0, f64::max);
    let smallest = descent
        .norms
        .iter()
        .map(|s| r.l1 / s)
        .fold(f64::MAX, f64::min);
    let strong = descent.norms.iter().map(|s| r.l2 / s / s);
    let strong = strong.fold(f64::MAX, f64::min) > STRONG * smoothness;
    while r.l1 > 0.0 && smallest < l1 && !strong {
        // In the units of `r`, for its largest coordinate.
        pooled.regularizer.l1 = r.l1 * (l1 / smallest);
        x = descent.run(pooled, x, Some(l1 * ON_THE_WAY))?;
        l1 *= PATH;
    }
    pooled.regularizer = r;
    let x = descent.run(pooled, x, None)?;
    let how = format!(
        "restarted FISTA ({} iterations) + active-set Newton ({} steps)",
        descent.iterations, descent.newton_steps
    );
    Ok((x, how))
}

/// The iteration, and what it has cost so far.
struct Descent {
    /// `P_k`
    steps: Vec<f64>,
    /// `s_k`
    norms: Vec<f64>,
    /// `L`, in scaled coordinates.
    smoothness: f64,
    iterations: usize,
    newton_steps: usize,
}

impl Descent {
    fn point(&self, pooled: &Pooled, x: Vec<f64>) -> Point {
        let mut gradient = vec![0.0; x.len()];
        pooled.gradient(&x, &mut gradient);
        Point {
            residual: pooled.kkt_residual(&x, &gradient, |k| self.norms[k]),
            objective: pooled.objective(&x),
            gradient,
            x,
        }
    }

    /// Minimises from `start`, until the residual is at or below `enough`, or to the rounding level.
    fn run(
        &mut self,
        pooled: &Pooled,
        start: Vec<f64>,
        enough: Option<f64>,
    ) -> Result<Vec<f64>, ProblemError> {
        let (r, d) = (&pooled.regularizer, start.len());
        let (mut x, mut y, mut t) = (start.clone(), start, 1.0_f64);
        let mut g = vec![0.0; d];
        let mut best: Option<Point> = None;
        let mut stale = 0;
        let last = if enough.is_some() {
            (self.iterations + MAX_ITERATIONS_ON_THE_WAY).min(MAX_ITERATIONS)
        } else {
            MAX_ITERATIONS
        };
        while self.iterations < last && stale < STALE {
            for _ in 0..CHECK_EVERY {
                pooled.gradient(&y, &mut g);
                let next: Vec<f64> = (0..d)
                    .map(|k| r.prox(self.steps[k], y[k] - self.steps[k] * g[k]))
                    .collect();
                let uphill: f64 = (0..d)
                    .map(|k| (y[k] - next[k]) / self.steps[k] * (next[k] - x[k]))
                    .sum();
                if uphill > 0.0 {
                    t = 1.0;
                }
                let t_next = 0.5 * (1.0 + (1.0 + 4.0 * t * t).sqrt());
                let momentum = (t - 1.0) / t_next;
                for k in 0..d {
                    y[k] = next[k] + momentum * (next[k] - x[k]);
                }
                x = next;
                t = t_next;
                self.iterations += 1;
            }
            let here = self.point(pooled, x.clone());
            let candidate = self.newton_steps(pooled, here.clone());
            if !candidate.residual.is_finite() || candidate.x.iter().any(|v| v.abs() > 1e100) {
                return Err(ProblemError::Optimum {
                    problem: pooled.problem.name().into(),
                    reason: "the iterates left every bound; is F bounded below, are the data small enough for f64? \
                        A regularizer (l2: 1e-6) or smaller numbers help"
                        .into(),
                });
            }
            if candidate.objective < here.objective {
                // Newton steps know the free coordinates; the next gradient iterations correct which they are.
                x.copy_from_slice(&candidate.x);
                y.copy_from_slice(&candidate.x);
                t = 1.0;
            }
            let before = best.as_ref().map_or(f64::INFINITY, |b| b.residual);
            // What rounding leaves of a gradient: of its terms, and of x.
            let size = self.norms.iter().zip(&candidate.x);
            let size: f64 = size.map(|(s, x)| (s * x).powi(2)).sum();
            let slopes: f64 = with_loss!(pooled.data.loss(), l => pooled.rows.iter()
                .map(|row| row.weight * l.slope(dot(row.features, &candidate.x), row.target).powi(2))
                .sum());
            let scale = self.smoothness * size.sqrt() + slopes.sqrt() + f64::MIN_POSITIVE;
            for found in [here, candidate] {
                if best.as_ref().is_none_or(|b| found.better(b)) {
                    best = Some(found);
                }
            }
            let b = best.as_ref().map_or(f64::INFINITY, |b| b.residual);
            if b <= enough.unwrap_or(4e-16 * scale) {
                break;
            }
            stale = if b < 0.5 * before || b > 1e-12 * scale {
                0
            } else {
                stale + 1
            };
        }
        Ok(best.map_or(x, |b| b.x))
    }

    /// Newton steps as long as the residual or, far from the solution, the objective falls.
    fn newton_steps(&mut self, pooled: &Pooled, from: Point) -> Point {
        let mut best = from;
        for _ in 0..NEWTON_STEPS {
            let Some(next) = newton(pooled, &best, &self.norms) else {
                break;
            };
            self.newton_steps += 1;
            let next = self.point(pooled, next);
            if !next.better(&best) {
                break;
            }
            best = next;
        }
        best
    }
}

/// One Newton step on the free coordinates, scaled, clipped to keep the signs. `None` where it does not apply.
fn newton(pooled: &Pooled, at: &Point, norms: &[f64]) -> Option<Vec<f64>> {
    let r = &pooled.regularizer;
    let x = &at.x;
    let free = pooled.free(x);
    let s = free.len();
    if s == 0 || s > MAX_ACTIVE {
        return None;
    }
    let half = pooled.half_hessian(x, &free, |k| norms[k]);
    let mut hessian = half.transpose() * &half;
    let trace: f64 = (0..s).map(|k| hessian[(k, k)]).sum();
    let damping = 1e-14 * trace / s as f64;
    for k in 0..s {
        hessian[(k, k)] += r.l2 / norms[free[k]].powi(2) + damping;
    }
    let slope = |j: usize| {
        at.gradient[j] + r.l2 * x[j] + r.l1 * if x[j] == 0.0 { 0.0 } else { x[j].signum() }
    };
    let rhs = DVector::from_fn(s, |k, _| -slope(free[k]) / norms[free[k]]);
    let step = Cholesky::new(hessian)?.solve(&rhs);
    let mut next = x.clone();
    for (k, &j) in free.iter().enumerate() {
        let moved = x[j] + step[k] / norms[j];
        // A coordinate that would change its sign under l1 stops at zero.
        next[j] = if r.l1 > 0.0 && moved * x[j] < 0.0 {
            0.0
        } else {
            moved
        };
        if let Some((lo, hi)) = r.bounds {
            next[j] = next[j].max(lo).min(hi);
        }
    }
    next.iter().all(|v| v.is_finite()).then_some(next)
}
