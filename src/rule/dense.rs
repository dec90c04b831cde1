//! Dense layers on blocks of columns, in registers: `Y += W X`, and for training `G += Ȳ Xᵀ` (`X̄ = Wᵀ Ȳ` is the first one again).
//!
//! A block holds one number of each of `C` columns per row: `X` is `[inputs][C]`. Sums stay in eight vector registers at a
//! time, which is what hides the latency of a fused multiply-add on the machines of today; every load feeds several of them.
//! Sums run over rows (`Y`) or lanes (`G`) in an order that depends on neither threads nor neighbours.

use pulp::Simd;

/// `y[o] += Σ_i weight[o, i] x[i]`; `weight` is row-major `[y.len(), x.len()]`.
#[inline(always)]
pub fn accumulate<S: Simd, const C: usize>(
    simd: S,
    weight: &[f32],
    x: &[[f32; C]],
    y: &mut [[f32; C]],
) {
    match S::F32_LANES {
        16 => rows::<S, 4, 2, C>(simd, weight, x, y),
        8 => rows::<S, 2, 4, C>(simd, weight, x, y),
        _ => rows::<S, 1, 8, C>(simd, weight, x, y),
    }
}

/// `O` rows of `y` at a time, the rest one by one.
#[inline(always)]
fn rows<S: Simd, const O: usize, const V: usize, const C: usize>(
    simd: S,
    weight: &[f32],
    x: &[[f32; C]],
    y: &mut [[f32; C]],
) {
    let mut weights = weight.chunks_exact(O * x.len());
    let mut blocks = y.chunks_exact_mut(O);
    for (weight, y) in weights.by_ref().zip(blocks.by_ref()) {
        tile::<S, O, V, C>(simd, weight, x, y);
    }
    let rest = weights.remainder().chunks_exact(x.len());
    for (weight, y) in rest.zip(blocks.into_remainder().chunks_exact_mut(1)) {
        tile::<S, 1, V, C>(simd, weight, x, y);
    }
}

#[inline(always)]
fn tile<S: Simd, const O: usize, const V: usize, const C: usize>(
    simd: S,
    weight: &[f32],
    x: &[[f32; C]],
    y: &mut [[f32; C]],
) {
    let inputs = x.len();
    let rows: [&[f32]; O] = std::array::from_fn(|o| &weight[o * inputs..][..inputs]);
    let vectors = C / S::F32_LANES;
    for start in (0..vectors).step_by(V) {
        let mut sum = [[simd.splat_f32s(0.0); V]; O];
        for (o, sum) in sum.iter_mut().enumerate() {
            let y = &S::as_simd_f32s(&y[o]).0[start..start + V];
            sum.copy_from_slice(y);
        }
        for (i, x) in x.iter().enumerate() {
            let x = &S::as_simd_f32s(x).0[start..start + V];
            for o in 0..O {
                let w = simd.splat_f32s(rows[o][i]);
                for v in 0..V {
                    sum[o][v] = simd.mul_add_e_f32s(w, x[v], sum[o][v]);
                }
            }
        }
        for (o, sum) in sum.iter().enumerate() {
            S::as_mut_simd_f32s(&mut y[o]).0[start..start + V].copy_from_slice(sum);
        }
    }
}

/// `sums[o, i] += y[o] ⊙ x[i]`, lane by lane: row-major `[y.len(), x.len()]` of vectors, to be reduced at the end.
#[inline(always)]
pub fn outer<S: Simd, const C: usize>(
    simd: S,
    y: &[[f32; C]],
    x: &[[f32; C]],
    sums: &mut [S::f32s],
) {
    const WIDE: usize = 4;
    let inputs = x.len();
    let whole = inputs - inputs % WIDE;
    let mut pairs = y.chunks_exact(2);
    let mut rows = sums.chunks_exact_mut(2 * inputs);
    for (y, sums) in pairs.by_ref().zip(rows.by_ref()) {
        for i in (0..whole).step_by(WIDE) {
            products::<S, 2, WIDE, C>(simd, y, &x[i..i + WIDE], sums, inputs, i);
        }
        for i in whole..inputs {
            products::<S, 2, 1, C>(simd, y, &x[i..i + 1], sums, inputs, i);
        }
    }
    for (y, sums) in pairs
        .remainder()
        .chunks_exact(1)
        .zip(rows.into_remainder().chunks_exact_mut(inputs))
    {
        for i in (0..whole).step_by(WIDE) {
            products::<S, 1, WIDE, C>(simd, y, &x[i..i + WIDE], sums, inputs, i);
        }
        for i in whole..inputs {
            products::<S, 1, 1, C>(simd, y, &x[i..i + 1], sums, inputs, i);
        }
    }
}

#[inline(always)]
fn products<S: Simd, const O: usize, const I: usize, const C: usize>(
    simd: S,
    y: &[[f32; C]],
    x: &[[f32; C]],
    sums: &mut [S::f32s],
    stride: usize,
    column: usize,
) {
    let y: [&[S::f32s]; O] = std::array::from_fn(|o| S::as_simd_f32s(&y[o]).0);
    let x: [&[S::f32s]; I] = std::array::from_fn(|i| S::as_simd_f32s(&x[i]).0);
    let mut sum = [[simd.splat_f32s(0.0); I]; O];
    for v in 0..C / S::F32_LANES {
        for o in 0..O {
            let y = y[o][v];
            for i in 0..I {
                sum[o][i] = simd.mul_add_e_f32s(y, x[i][v], sum[o][i]);
            }
        }
    }
    for o in 0..O {
        for i in 0..I {
            let total = &mut sums[o * stride + column + i];
            *total = simd.add_f32s(*total, sum[o][i]);
        }
    }
}

/// The sum of all numbers, eight partial sums at a time.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut partial = [0.0; 8];
    for chunk in chunks {
        for l in 0..8 {
            partial[l] += chunk[l];
        }
    }
    partial.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: usize = 32;

    struct Both<'a>(&'a [f32], &'a [[f32; C]], &'a [[f32; C]]);

    impl pulp::WithSimd for Both<'_> {
        type Output = (Vec<[f32; C]>, Vec<f32>);
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Both(weight, x, start) = self;
            let mut y = start.to_vec();
            accumulate(simd, weight, x, &mut y);
            let mut sums = vec![simd.splat_f32s(0.0); start.len() * x.len()];
            outer(simd, start, x, &mut sums);
            (
                y,
                sums.into_iter().map(|s| simd.reduce_sum_f32s(s)).collect(),
            )
        }
    }

    #[test]
    fn products_equal_their_definition() {
        for (inputs, outputs) in [(1, 1), (3, 5), (10, 16), (18, 7), (20, 80)] {
            let number = |k: usize| ((k * k % 97) as f32 / 48.0) - 1.0;
            let weight: Vec<f32> = (0..inputs * outputs).map(number).collect();
            let block = |rows: usize, at: usize| -> Vec<[f32; C]> {
                (0..rows)
                    .map(|r| std::array::from_fn(|c| number(at + r * C + c)))
                    .collect()
            };
            let (x, y) = (block(inputs, 3), block(outputs, 11));
            let simd = pulp::Arch::new().dispatch(Both(&weight, &x, &y));
            let scalar = pulp::Scalar::new().vectorize(Both(&weight, &x, &y));
            for (found, outers) in [simd, scalar] {
                for o in 0..outputs {
                    for c in 0..C {
                        let products = (0..inputs).map(|i| weight[o * inputs + i] * x[i][c]);
                        let expected = y[o][c] + products.sum::<f32>();
                        assert!((found[o][c] - expected).abs() < 1e-5);
                    }
                    for i in 0..inputs {
                        let expected: f32 = (0..C).map(|c| y[o][c] * x[i][c]).sum();
                        assert!((outers[o * inputs + i] - expected).abs() < 1e-4);
                    }
                }
            }
        }
    }

    #[test]
    fn sums_of_every_length() {
        for n in 0..40 {
            let values: Vec<f32> = (0..n).map(|k| k as f32).collect();
            assert_eq!(sum(&values), (0..n).sum::<i32>() as f32);
        }
    }
}
