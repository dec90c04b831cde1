//! The losses of [`crate::problem::Loss`] as tensors: margins `u`, targets `b`, `[n·B, m, 1]`, row by row.

use crate::problem::Loss;
use burn::tensor::{Tensor, activation};

/// `φ'(u, b)`
pub fn slope(loss: Loss, u: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    match loss {
        Loss::LeastSquares => u - b,
        // −b σ(−b u)
        Loss::Logistic => -b.clone() * activation::sigmoid(-(b * u)),
        Loss::Huber { delta } => (u - b).clamp(-delta, delta),
        Loss::SquaredHinge => -b.clone() * activation::relu(1.0 - b * u),
        Loss::Quantile { level, smoothing } => ((u - b) / smoothing).clamp(-level, 1.0 - level),
    }
}

/// `φ(u, b)`
pub fn value(loss: Loss, u: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    match loss {
        Loss::LeastSquares => (u - b).square() * 0.5,
        Loss::Logistic => activation::softplus(-(b * u), 1.0),
        Loss::Huber { .. } => clipped(slope(loss, u.clone(), b.clone()), u - b, 1.0),
        Loss::SquaredHinge => activation::relu(1.0 - b * u).square() * 0.5,
        Loss::Quantile { smoothing, .. } => {
            clipped(slope(loss, u.clone(), b.clone()), u - b, smoothing)
        }
    }
}

/// `φ(u + moved) − φ(u) − φ'(u)·moved ≥ 0`, without cancellation.
pub fn bregman(loss: Loss, u: Tensor<3>, moved: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    match loss {
        Loss::LeastSquares => moved.square() * 0.5,
        Loss::Logistic => logistic_bregman(u, moved, b),
        Loss::Huber { .. } => clipped_bregman(loss, u, moved, b, 1.0),
        // With t = 1 − bu and h = max(0, t): (h⁺ − h)²/2 + h max(0, −t⁺).
        Loss::SquaredHinge => {
            let before: Tensor<3> = 1.0 - b.clone() * u;
            let after: Tensor<3> = before.clone() - b * moved;
            let (h, beyond) = (activation::relu(before), activation::relu(-after.clone()));
            (activation::relu(after) - h.clone()).square() * 0.5 + h * beyond
        }
        Loss::Quantile { smoothing, .. } => clipped_bregman(loss, u, moved, b, smoothing),
    }
}

/// `c e − h c²/2`, `c` the clipped slope.
fn clipped(c: Tensor<3>, e: Tensor<3>, h: f64) -> Tensor<3> {
    c.clone() * e - c.square() * (0.5 * h)
}

/// Of `c e − h c²/2`: `(c⁺ − c)(e⁺ − h(c⁺ + c)/2)`.
fn clipped_bregman(loss: Loss, u: Tensor<3>, moved: Tensor<3>, b: Tensor<3>, h: f64) -> Tensor<3> {
    let after = u.clone() + moved;
    let (c, d) = (
        slope(loss, u, b.clone()),
        slope(loss, after.clone(), b.clone()),
    );
    (d.clone() - c.clone()) * (after - b - (d + c) * (0.5 * h))
}

/// `φ(u) − φ(u*) − φ'(u*)(u − u*)` for the logistic loss: its Taylor series to sixth order where `|u − u*| < 0.3`
/// (relative error there below 1e-6, as that of the formula in f32).
fn logistic_bregman(margin: Tensor<3>, moved: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let p: Tensor<3> = activation::sigmoid(-(b.clone() * margin.clone()));
    // With q = p(1−p) and s = −b(1−2p), φ'' and on: q, qs, q(1−6q), qs(1−12q), q(1−30q+120q²).
    let q: Tensor<3> = p.clone() * (1.0 - p.clone());
    let s: Tensor<3> = b.clone() * (p.clone() * 2.0 - 1.0);
    let fourth: Tensor<3> = q.clone() * (-6.0) + 1.0;
    let fifth: Tensor<3> = s.clone() * (q.clone() * (-12.0) + 1.0);
    let sixth: Tensor<3> = q.clone() * (q.clone() * 120.0 - 30.0) + 1.0;
    let small: Tensor<3> = moved.clone().clamp(-0.3, 0.3);
    let mut series: Tensor<3> = sixth / 720.0;
    for coefficient in [fifth / 120.0, fourth / 24.0, s / 6.0] {
        series = coefficient + small.clone() * series;
    }
    let series = q * small.clone().square() * (small * series + 0.5);
    let softplus = |t: Tensor<3>| activation::softplus(t, 1.0);
    let direct = softplus(-(b.clone() * (margin.clone() + moved.clone())))
        - softplus(-(b.clone() * margin))
        + b * p * moved.clone();
    let near = moved.abs().lower_scalar(0.3);
    direct.mask_where(near, series)
}
