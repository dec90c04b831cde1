//! The certificate: `F(x) − F*` is at most the smallest of what applies.
//!
//! - Duality gap `P(x) − D(ν)`, `D(ν) = −Σ_r w_r φ*(ν_r, b_r) − Σ_k r*(−(Aᵀ(w⊙ν))_k)`, for `ν_r = s·φ'(a_r·x, b_r)` with
//!   `s ∈ [0, 1]` chosen so that `ν` is feasible.
//! - Where `r` does not bound a coordinate (no l1, no l2, no box on one side) no such `ν` exists; there it is
//!   `‖ξ‖²/(2μ(1 − t))`, `ξ ∈ ∂F(x)` the smallest subgradient, `μ` the least eigenvalue of the Hessian at `x`; `t = 0` for least
//!   squares, `t = ‖ξ‖ max_r‖a_r‖/μ < 1` for the logistic loss, whose Hessian changes at a bounded rate (generalized
//!   self-concordance, Bach 2010); losses whose curvature jumps have it where no row is near its jump.
//! - `F(x)` itself: neither losses nor regularizers are negative.
//!
//! None is finer than what rounding may do to `F`.

use super::{MAX_ACTIVE, Optimum, Pooled, Row};
use crate::field::dot;
use crate::problem::ProblemError;
use crate::problem::loss::{RowLoss, with_loss};

/// `x` with its objective and its certificate; `solver`: words on where it comes from.
///
/// # Errors
/// A point where `F` or the certificate is not a number; a logistic problem without a minimiser.
pub(super) fn certify(
    pooled: &Pooled,
    x: Vec<f64>,
    solver: String,
) -> Result<Optimum, ProblemError> {
    let problem = pooled.problem;
    let r = problem.regularizer();
    let mut g = vec![0.0; x.len()];
    pooled.gradient(&x, &mut g);
    let objective = problem.objective(&x);
    let fail = |reason: String| ProblemError::Optimum {
        problem: problem.name().into(),
        reason,
    };
    let bounded = r
        .bounds
        .is_some_and(|(lo, hi)| lo.is_finite() && hi.is_finite());
    let (certificate, kind) = if r.l1 > 0.0 || r.l2 > 0.0 || bounded {
        (duality_gap(pooled, &x, &g), "duality gap")
    } else {
        (gradient_certificate(pooled, &x, &g), "gradient norm")
    };
    if !objective.is_finite() || certificate.is_nan() {
        return Err(fail(format!(
            "F is {objective} there; are the features too large for f64? Smaller units help"
        )));
    }
    if certificate.is_infinite() && pooled.data.loss().change() > 0.0 && x.len() <= MAX_ACTIVE {
        return Err(fail(
            "F may have no minimiser (separable data without a regularizer?): the Hessian vanishes with the gradient; \
             l1 or l2 above 0 helps"
                .into(),
        ));
    }
    let (certificate, kind) = if objective < certificate {
        (objective, "F ≥ 0")
    } else {
        (certificate, kind)
    };
    let rounding = rounding(pooled, &x, objective);
    Ok(Optimum {
        objective,
        certificate: certificate.max(rounding),
        rounding,
        certificate_kind: kind.into(),
        solver,
        nonzeros: x.iter().filter(|v| **v != 0.0).count(),
        kkt_residual: pooled.kkt_residual(&x, &g, |_| 1.0),
        x,
    })
}

/// What rounding may do to `F(x)`: to the sum over rows, and to every prediction, whose error the loss multiplies by its slope.
fn rounding(pooled: &Pooled, x: &[f64], objective: f64) -> f64 {
    let sum = (4.0 + (pooled.rows.len() as f64).sqrt()) * objective.abs();
    let predictions: f64 = with_loss!(pooled.data.loss(), l => pooled.rows.iter().map(|row| {
        let terms = row.features.iter().zip(x);
        let length = terms.map(|(a, x)| (a * x).powi(2)).sum::<f64>().sqrt();
        // Errors of the terms are independent: their root mean square counts. The second term: of a loss at its minimum.
        let error = f64::EPSILON * (length + row.target.abs());
        row.weight * (l.slope(dot(row.features, x), row.target).abs() + error) * error
    }).sum());
    f64::EPSILON * sum + predictions
}

/// `P(x) − D(ν)`, infinite where no feasible `ν` was found.
fn duality_gap(pooled: &Pooled, x: &[f64], gradient: &[f64]) -> f64 {
    let r = pooled.problem.regularizer();
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
    let losses: f64 = with_loss!(pooled.data.loss(), l => pooled.rows.iter().map(|row| {
        let (u, b) = (dot(row.features, x), row.target);
        row.weight * (l.value(u, b) + l.conjugate(scale * l.slope(u, b), b))
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

/// `‖ξ‖²/(2μ(1 − t))` as above, in coordinates scaled to columns of length 1; infinite where `t ≥ 1`, or the Hessian is singular or
/// too large to factor.
///
/// Without a regularizer nothing changes along the null space of the data, which is left out of `μ`: what is zero to rounding of the
/// singular values. (Those of the data, not of their Gram matrix: squares would take a small direction for none.)
fn gradient_certificate(pooled: &Pooled, x: &[f64], g: &[f64]) -> f64 {
    let (d, r) = (x.len(), pooled.problem.regularizer());
    let norms = pooled.column_norms();
    let norm2: f64 = (0..d)
        .map(|k| (r.stationarity(x[k], g[k]) / norms[k]).powi(2))
        .sum();
    if norm2 == 0.0 {
        return 0.0;
    }
    let size = d.min(pooled.rows.len());
    if size > MAX_ACTIVE {
        return f64::INFINITY;
    }
    let all: Vec<usize> = (0..d).collect();
    // The singular values of a Hessian's root that are not zero to rounding: the smallest, and their number.
    let smallest = |half: nalgebra::DMatrix<f64>| {
        let values = half.singular_values();
        let floor = 10.0 * f64::EPSILON * d.max(pooled.rows.len()) as f64 * values.max();
        let positive = values.iter().copied().filter(|v| *v > floor);
        (
            positive.clone().fold(f64::INFINITY, f64::min),
            positive.count(),
        )
    };
    let (sigma, rank) = smallest(pooled.half_hessian(x, &all, |k| norms[k]));
    // Only directions without data may be flat: curvatures at x vanish in others where F has no minimiser there, or none that is
    // known to be one.
    let expected = if r.is_none() {
        smallest(pooled.half_bound(&all, |k| norms[k])).1
    } else {
        d
    };
    if rank < expected || rank == 0 {
        return f64::INFINITY;
    }
    let mu = sigma * sigma;
    let length = |row: &Row| -> f64 {
        let entries = row.features.iter().zip(&norms);
        entries.map(|(a, s)| (a / s).powi(2)).sum::<f64>().sqrt()
    };
    let t = with_loss!(pooled.data.loss(), l => {
        // The minimiser is at most ‖ξ‖/μ away: no row's curvature may jump on the way there.
        let jumps = pooled.rows.iter().any(|row| {
            let far = 2.0 * norm2.sqrt() / mu * length(row);
            l.kink(dot(row.features, x), row.target) <= far
        });
        match l.change() {
            _ if jumps => f64::INFINITY,
            0.0 => 0.0,
            m => {
                let longest = pooled.rows.iter().map(length).fold(0.0, f64::max);
                m * norm2.sqrt() * longest / mu
            }
        }
    });
    if t < 1.0 {
        norm2 / (2.0 * mu * (1.0 - t))
    } else {
        f64::INFINITY
    }
}
