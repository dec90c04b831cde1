//! Certified optimum: `F*` from accelerated proximal gradient with restart, finished by Newton steps on the active set,
//! with a duality gap.
//!
//! Primal `P(x) = Σ_r w_r φ(a_r·x, b_r) + r(x)`, `w_r = 1/(n m_i)`; dual `D(ν) = −Σ_r w_r φ*(ν_r, b_r) − Σ_k r*(−(Aᵀ(w⊙ν))_k)`.
//! For `ν_r = s·φ'(a_r·x, b_r)` with `s ∈ [0, 1]` chosen so that `ν` is feasible, `F(x) − F* ≤ P(x) − D(ν)`: the certificate.
//! Where `r` does not bound a coordinate (no l1, no l2, no box on one side) no such `ν` exists; there the certificate is
//! `‖ξ‖²/(2μ(1 − t))`, `ξ ∈ ∂F(x)` the smallest subgradient, `μ` the least eigenvalue of the Hessian at `x`; `t = 0` for least
//! squares, `t = ‖ξ‖ max_r‖a_r‖/μ < 1` for the logistic loss, whose Hessian changes at a bounded rate (generalized
//! self-concordance, Bach 2010). (Beck & Teboulle 2009; O'Donoghue & Candès 2015 for the restart.)

use super::loss::{RowLoss, with_loss};
use super::rows::add_gradient;
use super::{Loss, Problem, ProblemError, Shard};
use crate::field::{dot, larger};
use nalgebra::{Cholesky, DMatrix, DVector};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A minimiser with its certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Optimum {
    /// The minimiser found.
    pub x: Vec<f64>,
    /// `F(x)`.
    pub objective: f64,
    /// `F(x) − F*` is at most this (absolute, same unit as the objective).
    pub certificate: f64,
    /// How the certificate was obtained: `"duality gap"` or `"gradient norm"`.
    pub certificate_kind: String,
    /// The solver, with its iterations.
    pub solver: String,
    /// Number of coordinates of `x` that are not zero.
    pub nonzeros: usize,
    /// Largest distance of `−∇f(x)` to `∂r(x)` over coordinates.
    pub kkt_residual: f64,
}

const MAX_ITERATIONS: usize = 200_000;
/// Gradient iterations between two tries of the Newton finish.
const CHECK_EVERY: usize = 50;
/// Beyond this many active coordinates a Newton system is not formed.
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
    let small = rows.min(columns);
    if small <= 400 {
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
    rows: Vec<(&'a [f64], f64, f64)>,
}

/// Of every row of an agent in `F`: `1/(n m_i)`.
fn weight(problem: &Problem, shard: &Shard) -> f64 {
    1.0 / (problem.agents() as f64 * shard.targets.len() as f64)
}

impl<'a> Pooled<'a> {
    fn new(problem: &'a Problem) -> Self {
        let rows = problem
            .shards()
            .iter()
            .flat_map(|s| {
                let weight = weight(problem, s);
                s.features
                    .chunks_exact(problem.dimension())
                    .zip(&s.targets)
                    .map(move |(row, &b)| (row, b, weight))
            })
            .collect();
        Self { problem, rows }
    }

    fn gradient(&self, x: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        with_loss!(self.problem.loss(), L => for shard in self.problem.shards() {
            let weight = weight(self.problem, shard);
            let slope = |r: usize, u| weight * L::slope(u, shard.targets[r]);
            add_gradient(&shard.features, x, slope, out);
        });
    }

    fn kkt_residual(&self, x: &[f64], gradient: &[f64]) -> f64 {
        let r = self.problem.regularizer();
        x.iter()
            .zip(gradient)
            .map(|(&x, &g)| r.stationarity(x, g))
            .fold(0.0, larger)
    }

    /// `P(x) − D(ν)`, infinite where no feasible `ν` was found.
    fn duality_gap(&self, x: &[f64], gradient: &[f64]) -> f64 {
        let r = self.problem.regularizer();
        // Where x is unbounded above (below), r* is infinite beyond l1 (−l1), unless l2 > 0.
        let limits = |end: Option<f64>| {
            if r.l2 > 0.0 || end.is_some_and(f64::is_finite) {
                f64::INFINITY
            } else {
                r.l1
            }
        };
        let (below, above) = (limits(r.bounds.map(|b| b.0)), limits(r.bounds.map(|b| b.1)));
        let outside = |g: &&f64| -**g > above || **g > below;
        let largest = gradient
            .iter()
            .filter(outside)
            .fold(0.0_f64, |a, g| a.max(g.abs()));
        // A hair inside, so that rounding does not leave the domain of r*.
        let scale = if largest == 0.0 {
            1.0
        } else {
            r.l1 / largest * (1.0 - 1e-16)
        };
        let losses: f64 = with_loss!(self.problem.loss(), L => self.rows.iter().map(|&(row, b, weight)| {
            let u = dot(row, x);
            weight * (L::value(u, b) + L::conjugate(scale * L::slope(u, b), b))
        }).sum());
        let regularizers: f64 = x
            .iter()
            .zip(gradient)
            .map(|(&x, &g)| r.value(&[x]) + r.conjugate((-scale * g).clamp(-below, above)))
            .sum();
        let gap = losses + regularizers;
        // Rounding may leave a hair less than nothing; `max` would lose a NaN.
        if gap < 0.0 { 0.0 } else { gap }
    }

    /// The coordinates that are free at `x` (not zero where l1 acts, not at a bound) and the Hessian of the losses on them.
    /// `None` if there are none or too many.
    fn free_hessian(&self, x: &[f64]) -> Option<(Vec<usize>, DMatrix<f64>)> {
        let r = self.problem.regularizer();
        let free: Vec<usize> = (0..x.len())
            .filter(|&k| {
                let at_bound = r.bounds.is_some_and(|(lo, hi)| x[k] <= lo || x[k] >= hi);
                !at_bound && (r.l1 == 0.0 || x[k] != 0.0)
            })
            .collect();
        if free.is_empty() || free.len() > MAX_ACTIVE {
            return None;
        }
        let roots: Vec<f64> = with_loss!(self.problem.loss(), L => self.rows.iter()
            .map(|&(row, b, weight)| (weight * L::curvature(dot(row, x), b)).sqrt())
            .collect());
        let half = DMatrix::from_fn(self.rows.len(), free.len(), |i, k| {
            roots[i] * self.rows[i].0[free[k]]
        });
        Some((free, half.transpose() * &half))
    }

    /// One Newton step on the free coordinates, clipped to keep the signs. `None` where it does not apply.
    fn newton(&self, x: &[f64], gradient: &[f64]) -> Option<Vec<f64>> {
        let r = self.problem.regularizer();
        let (active, mut hessian) = self.free_hessian(x)?;
        let s = active.len();
        let trace: f64 = (0..s).map(|k| hessian[(k, k)]).sum();
        let damping = 1e-14 * trace / s as f64;
        for k in 0..s {
            hessian[(k, k)] += r.l2 + damping;
        }
        let rhs = DVector::from_fn(s, |k, _| {
            let j = active[k];
            -(gradient[j] + r.l2 * x[j] + r.l1 * if x[j] == 0.0 { 0.0 } else { x[j].signum() })
        });
        let step = Cholesky::new(hessian)?.solve(&rhs);
        let mut next = x.to_vec();
        for (k, &j) in active.iter().enumerate() {
            let moved = x[j] + step[k];
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
}

/// Solves the pooled problem to the limit of f64.
///
/// # Errors
/// A problem without a minimiser that the solver could reach (for instance separable data without a regularizer).
pub fn solve(problem: &Problem) -> Result<Optimum, ProblemError> {
    let pooled = Pooled::new(problem);
    let r = problem.regularizer();
    let d = problem.dimension();
    let bound = with_loss!(problem.loss(), L => L::CURVATURE_BOUND);
    let weighted: Vec<f64> = pooled
        .rows
        .iter()
        .flat_map(|&(row, _, w)| row.iter().map(move |a| a * w.sqrt()))
        .collect();
    let smoothness = (bound * gram_norm(&weighted, d)).max(f64::MIN_POSITIVE);
    drop(weighted);
    let step = 1.0 / smoothness;

    let (mut x, mut y, mut t) = (vec![0.0; d], vec![0.0; d], 1.0_f64);
    for v in x.iter_mut().chain(&mut y) {
        *v = r.prox(0.0, *v);
    }
    let mut g = vec![0.0; d];
    let mut best: Option<(f64, Vec<f64>)> = None;
    let (mut iterations, mut newton_steps, mut stale) = (0, 0, 0);
    while iterations < MAX_ITERATIONS && stale < 8 {
        // FISTA with gradient restart.
        for _ in 0..CHECK_EVERY {
            pooled.gradient(&y, &mut g);
            let next: Vec<f64> = (0..d).map(|k| r.prox(step, y[k] - step * g[k])).collect();
            let uphill: f64 = (0..d).map(|k| (y[k] - next[k]) * (next[k] - x[k])).sum();
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
            iterations += 1;
        }
        // Newton finish from here, as long as it improves.
        pooled.gradient(&x, &mut g);
        let mut residual = pooled.kkt_residual(&x, &g);
        let mut candidate = x.clone();
        for _ in 0..20 {
            let Some(next) = pooled.newton(&candidate, &g) else {
                break;
            };
            newton_steps += 1;
            let mut g_next = vec![0.0; d];
            pooled.gradient(&next, &mut g_next);
            let r_next = pooled.kkt_residual(&next, &g_next);
            if r_next.is_nan() || r_next >= residual {
                break;
            }
            (candidate, g, residual) = (next, g_next, r_next);
        }
        if !residual.is_finite() || candidate.iter().any(|v| v.abs() > 1e100) {
            return Err(ProblemError::Optimum {
                problem: problem.name().into(),
                reason: "the iterates left every bound; is F bounded below, are the data small enough for f64?".into(),
            });
        }
        let before = best.as_ref().map_or(f64::INFINITY, |(b, _)| *b);
        let improved = residual < 0.5 * before;
        if residual < before {
            best = Some((residual, candidate));
        }
        let b = residual.min(before);
        // Stop at the rounding level of the gradient, or where nothing has improved for a while near it.
        let scale = smoothness * dot(&x, &x).sqrt().max(1e-300) + r.l1;
        if b <= 4e-16 * scale {
            break;
        }
        stale = if improved || b > 1e-12 * scale {
            0
        } else {
            stale + 1
        };
    }
    let x = best.map(|(_, x)| x).unwrap_or(x);
    pooled.gradient(&x, &mut g);
    let objective = problem.objective(&x);
    let bounded = r
        .bounds
        .is_some_and(|(lo, hi)| lo.is_finite() && hi.is_finite());
    let (certificate, kind) = if r.l1 > 0.0 || r.l2 > 0.0 || bounded {
        (pooled.duality_gap(&x, &g), "duality gap")
    } else {
        (gradient_certificate(&pooled, &x, &g), "gradient norm")
    };
    if !objective.is_finite() || certificate.is_nan() {
        return Err(ProblemError::Optimum {
            problem: problem.name().into(),
            reason: format!("F is {objective} there; are the features too large for f64?"),
        });
    }
    if certificate.is_infinite() && problem.loss() == Loss::Logistic && d <= MAX_ACTIVE {
        return Err(ProblemError::Optimum {
            problem: problem.name().into(),
            reason: "F may have no minimiser (separable data without a regularizer?): the Hessian vanishes with the gradient".into(),
        });
    }
    // No certificate is finer than the rounding of the sum over rows itself.
    let rounding = f64::EPSILON * (4.0 + (pooled.rows.len() as f64).sqrt());
    let certificate = certificate.max(rounding * objective.abs());
    Ok(Optimum {
        objective,
        certificate,
        certificate_kind: kind.into(),
        solver: format!(
            "restarted FISTA ({iterations} iterations) + active-set Newton ({newton_steps} steps)"
        ),
        nonzeros: x.iter().filter(|v| **v != 0.0).count(),
        kkt_residual: pooled.kkt_residual(&x, &g),
        x,
    })
}

/// `κ`: the largest over the smallest eigenvalue of `∇²f(x) + l2 I`, `f = (1/n) Σ_i f_i`, on the coordinates that are free
/// at the minimiser `x` (not zero where l1 acts, not at a bound): the conditioning that methods meet near it.
///
/// `None` where no coordinate is free, or the smallest eigenvalue is zero to rounding.
pub fn restricted_condition(problem: &Problem, x: &[f64]) -> Option<f64> {
    let (_, hessian) = Pooled::new(problem).free_hessian(x)?;
    let values = eigenvalues(hessian);
    let l2 = problem.regularizer().l2;
    let (smallest, largest) = (values.first()? + l2, values.last()? + l2);
    (smallest > 1e-12 * largest).then(|| largest / smallest)
}

/// `‖ξ‖²/(2μ(1 − t))` as above; infinite where `t ≥ 1`, or the Hessian is singular or too large to factor.
///
/// Without a regularizer nothing changes along the null space of the data, which is left out of `μ`.
fn gradient_certificate(pooled: &Pooled, x: &[f64], g: &[f64]) -> f64 {
    let (d, r) = (x.len(), pooled.problem.regularizer());
    let norm2: f64 = x
        .iter()
        .zip(g)
        .map(|(&x, &g)| r.stationarity(x, g).powi(2))
        .sum();
    if norm2 == 0.0 {
        return 0.0;
    }
    if d > MAX_ACTIVE {
        return f64::INFINITY;
    }
    // Eigenvalues of the Hessian at `point`, ascending, and how many of them are at rounding level.
    let spectrum = |point: &[f64]| {
        let half = with_loss!(pooled.problem.loss(), L => DMatrix::from_fn(pooled.rows.len(), d, |i, k| {
            let (row, b, weight) = pooled.rows[i];
            row[k] * (weight * L::curvature(dot(row, point), b)).sqrt()
        }));
        let values = eigenvalues(half.transpose() * &half);
        let floor = 1e-12 * values[d - 1];
        let null = values.partition_point(|v| *v <= floor);
        (values, null)
    };
    let (values, null) = spectrum(x);
    // Curvatures differ by orders of magnitude at x, not at 0: there only directions without data are flat.
    let flat = if r.is_none() {
        spectrum(&vec![0.0; d]).1
    } else {
        0
    };
    if null > flat || null == d {
        return f64::INFINITY;
    }
    let mu = values[null];
    let t = match pooled.problem.loss() {
        Loss::LeastSquares => 0.0,
        Loss::Logistic => {
            let longest = pooled
                .rows
                .iter()
                .map(|(row, ..)| dot(row, row))
                .fold(0.0, f64::max);
            (norm2 * longest).sqrt() / mu
        }
    };
    if t < 1.0 {
        norm2 / (2.0 * mu * (1.0 - t))
    } else {
        f64::INFINITY
    }
}

/// SHA-256 over everything that determines `F`: loss, regularizer, data.
fn content_hash(problem: &Problem) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"starling optimum 2");
    hasher.update(format!(
        "{:?} {:?} {}",
        problem.loss(),
        problem.regularizer(),
        problem.dimension()
    ));
    for shard in problem.shards() {
        hasher.update((shard.targets.len() as u64).to_le_bytes());
        for v in shard.features.iter().chain(&shard.targets) {
            hasher.update(v.to_le_bytes());
        }
    }
    hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Where optima are kept: `$STARLING_CACHE`, else `starling` in the user's cache folder.
pub fn cache_dir() -> Option<PathBuf> {
    std::env::var_os("STARLING_CACHE")
        .map(PathBuf::from)
        .or_else(|| dirs::cache_dir().map(|d| d.join("starling")))
        .map(|d| d.join("optimum"))
}

/// [`solve`], looked up first under the content hash in `cache`; an unreadable entry is solved again, an unwritable
/// folder only costs the time of solving.
pub fn solve_cached(problem: &Problem, cache: Option<&Path>) -> Result<Optimum, ProblemError> {
    let file = cache.map(|dir| dir.join(format!("{}.ron", content_hash(problem))));
    if let Some(optimum) = file
        .as_deref()
        .and_then(|f| std::fs::read_to_string(f).ok())
        // RON, whose numbers come back bit for bit: what is cached must change no figure.
        .and_then(|text| ron::from_str::<Optimum>(&text).ok())
        .filter(|o| o.x.len() == problem.dimension())
    {
        return Ok(optimum);
    }
    let optimum = solve(problem)?;
    if let (Some(file), true) = (file, optimum.certificate.is_finite())
        && let Ok(text) = ron::to_string(&optimum)
        && let Err(error) = crate::files::write_atomic(&file, text.as_bytes())
    {
        tracing::debug!("the optimum was not cached: {error}");
    }
    Ok(optimum)
}
