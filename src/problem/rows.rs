//! Passes over the rows `a_r` of a dense row-major matrix, four rows at a time: `u_r = a_r·x`, and `g += Σ_r s_r a_r`.
//!
//! Four rows share every load of `x` and of `g`, and are still in cache when `g` takes them. Additions are in the order of one row
//! after the other ([`dot`], then `g += s a`), so the result does not depend on the instruction set.

use crate::field::{dot, dots};
use pulp::{Simd, WithSimd};

const ROWS: usize = 4;

/// `out += Σ_r slope(r, a_r·x) a_r`; `features`: `[rows, d]`, `x` and `out`: `[d]`.
pub fn add_gradient(
    features: &[f64],
    x: &[f64],
    slope: impl Fn(usize, f64) -> f64,
    out: &mut [f64],
) {
    pulp::Arch::new().dispatch(AddGradient {
        features,
        x,
        slope,
        out,
    });
}

/// Calls `each(r, a_r·x)` for every row in order; `features`: `[rows, d]`, `x`: `[d]`.
pub fn products(features: &[f64], x: &[f64], each: impl FnMut(usize, f64)) {
    pulp::Arch::new().dispatch(Products { features, x, each });
}

/// Structs, not closures: pulp compiles these for the processor at hand.
struct AddGradient<'a, F> {
    features: &'a [f64],
    x: &'a [f64],
    slope: F,
    out: &'a mut [f64],
}

impl<F: Fn(usize, f64) -> f64> WithSimd for AddGradient<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.x.len();
        let out = &mut self.out[..d];
        let mut blocks = self.features.chunks_exact(ROWS * d);
        let mut r = 0;
        for block in &mut blocks {
            add(four(block, d), r, self.x, &self.slope, out);
            r += ROWS;
        }
        for row in blocks.remainder().chunks_exact(d) {
            add([row], r, self.x, &self.slope, out);
            r += 1;
        }
    }
}

struct Products<'a, F> {
    features: &'a [f64],
    x: &'a [f64],
    each: F,
}

impl<F: FnMut(usize, f64)> WithSimd for Products<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let d = self.x.len();
        let mut blocks = self.features.chunks_exact(ROWS * d);
        let mut r = 0;
        for block in &mut blocks {
            for u in dots(four(block, d), self.x) {
                (self.each)(r, u);
                r += 1;
            }
        }
        for row in blocks.remainder().chunks_exact(d) {
            (self.each)(r, dot(row, self.x));
            r += 1;
        }
    }
}

/// The rows of a `[ROWS, d]` array.
#[inline(always)]
fn four(block: &[f64], d: usize) -> [&[f64]; ROWS] {
    std::array::from_fn(|r| &block[r * d..(r + 1) * d])
}

/// `out += Σ_r slope(first + r, a_r·x) a_r`
#[inline(always)]
fn add<const R: usize>(
    rows: [&[f64]; R],
    first: usize,
    x: &[f64],
    slope: &impl Fn(usize, f64) -> f64,
    out: &mut [f64],
) {
    let u = dots(rows, x);
    let s: [f64; R] = std::array::from_fn(|r| slope(first + r, u[r]));
    for (k, g) in out.iter_mut().enumerate() {
        let mut sum = *g;
        for (row, s) in rows.iter().zip(s) {
            sum += s * row[k];
        }
        *g = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal to one row after the other, bit for bit, whatever the remainders.
    #[test]
    fn blocks_equal_single_rows() {
        for (rows, d) in [(1, 1), (4, 3), (5, 4), (7, 9), (10, 30), (3, 17)] {
            let number = |k: usize| ((k * 7919 + 13) % 1009) as f64 / 313.0 - 1.5;
            let features: Vec<f64> = (0..rows * d).map(number).collect();
            let x: Vec<f64> = (0..d).map(|k| number(k + 50_000)).collect();
            let slope = |r: usize, u: f64| u * 0.3 - r as f64;
            let (mut expected, mut out) = (vec![0.25; d], vec![0.25; d]);
            let mut found = Vec::new();
            products(&features, &x, |r, u| found.push((r, u)));
            for (r, row) in features.chunks_exact(d).enumerate() {
                let u = dot(row, &x);
                assert_eq!(found[r], (r, u));
                for (g, a) in expected.iter_mut().zip(row) {
                    *g += slope(r, u) * a;
                }
            }
            add_gradient(&features, &x, slope, &mut out);
            assert_eq!(out, expected, "{rows} × {d}");
        }
    }
}
