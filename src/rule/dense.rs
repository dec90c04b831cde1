//! Dense layers on blocks of columns, in registers: `Y = W X + b`, and for training `G += Ȳ Xᵀ` (`X̄ = Wᵀ Ȳ` is the first one again).
//!
//! A block holds one number of each of `C` columns per row: `X` is `[inputs][C]`, `C` a multiple of 32. Twelve sums stay in vector
//! registers at a time: enough to hide the latency of a fused multiply-add, with room for the operands in sixteen registers;
//! every load feeds several of them. Sums run over rows (`Y`) or lanes (`G`) in an order that depends on neither threads nor
//! neighbours.

use pulp::{Simd, WithSimd};

/// Rows of `Y` (of `Ȳ`) that are worked on together, with two registers of columns (two rows of `X`).
const ROWS: usize = 6;

/// A matrix whose rows are interleaved six by six, in the order in which [`affine`] reads them.
#[derive(Clone, Debug)]
pub struct Packed {
    inputs: usize,
    values: Vec<f32>,
}

impl Packed {
    /// From a row-major matrix with `inputs` columns.
    pub fn new(matrix: &[f32], inputs: usize) -> Self {
        let mut values = vec![0.0; matrix.len()];
        let size = ROWS * inputs;
        for (rows, packed) in matrix.chunks(size).zip(values.chunks_mut(size)) {
            let outputs = rows.len() / inputs;
            for (i, to) in packed.chunks_exact_mut(outputs).enumerate() {
                for (to, row) in to.iter_mut().zip(rows.chunks_exact(inputs)) {
                    *to = row[i];
                }
            }
        }
        Self { inputs, values }
    }

    /// From the transpose of a row-major matrix with `columns` columns.
    pub fn transposed(matrix: &[f32], columns: usize) -> Self {
        let mut values = Vec::with_capacity(matrix.len());
        for first in (0..columns).step_by(ROWS) {
            let mine = first..columns.min(first + ROWS);
            for row in matrix.chunks_exact(columns) {
                values.extend_from_slice(&row[mine.clone()]);
            }
        }
        Self {
            inputs: matrix.len() / columns,
            values,
        }
    }
}

/// What a layer's sums start from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// One number per row of `Y`.
    Bias(&'a [f32]),
    /// Zero.
    Zero,
    /// What `Y` holds.
    Held,
}

/// What becomes of a layer's sums while they are still in registers.
#[derive(Clone, Copy)]
pub enum Finish {
    /// They are kept as they are.
    Keep,
    /// `max(y, 0)`
    Relu,
}

/// `y[o] = finish(start + Σ_i weight[o, i] x[i])`; `weight`: `[y.len(), x.len()]`.
#[inline(always)]
pub fn affine<S: Simd, const C: usize>(
    simd: S,
    weight: &Packed,
    start: Start,
    x: &[[f32; C]],
    y: &mut [[f32; C]],
    finish: Finish,
) {
    // A function of its own: one copy of the loops, whatever calls them.
    simd.vectorize(Affine {
        weight,
        start,
        x,
        y,
        finish,
    });
}

struct Affine<'a, const C: usize> {
    weight: &'a Packed,
    start: Start<'a>,
    x: &'a [[f32; C]],
    y: &'a mut [[f32; C]],
    finish: Finish,
}

impl<const C: usize> WithSimd for Affine<'_, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match (S::F32_LANES, C / S::F32_LANES) {
            (1, _) => self.rows::<S, 1, 1>(simd),
            (_, 4) => self.rows::<S, 2, 4>(simd),
            (_, 6) => self.rows::<S, 2, 3>(simd),
            _ => self.rows::<S, 2, 2>(simd),
        }
    }
}

impl<const C: usize> Affine<'_, C> {
    /// One or two rows alone would wait for their sums: they take `W` registers of columns at a time.
    #[inline(always)]
    fn rows<S: Simd, const V: usize, const W: usize>(&mut self, simd: S) {
        for row in (0..self.y.len()).step_by(ROWS) {
            match self.y.len() - row {
                1 => self.tile::<S, 1, W>(simd, row),
                2 => self.tile::<S, 2, W>(simd, row),
                3 => self.tile::<S, 3, V>(simd, row),
                4 => self.tile::<S, 4, V>(simd, row),
                5 => self.tile::<S, 5, V>(simd, row),
                _ => self.tile::<S, ROWS, V>(simd, row),
            }
        }
    }

    /// Rows `row .. row + O` of `y`, `V` registers of columns at a time.
    #[inline(always)]
    fn tile<S: Simd, const O: usize, const V: usize>(&mut self, simd: S, row: usize) {
        let inputs = self.weight.inputs;
        let (weights, _) = self.weight.values[row * inputs..][..O * inputs].as_chunks::<O>();
        let y = &mut self.y[row..row + O];
        let zero = simd.splat_f32s(0.0);
        for first in (0..columns::<S, C>()).step_by(V) {
            let mut sum = [[zero; V]; O];
            match self.start {
                Start::Bias(bias) => {
                    for (sum, bias) in sum.iter_mut().zip(&bias[row..row + O]) {
                        *sum = [simd.splat_f32s(*bias); V];
                    }
                }
                Start::Zero => {}
                Start::Held => {
                    for o in 0..O {
                        sum[o].copy_from_slice(&S::as_simd_f32s(&y[o]).0[first..first + V]);
                    }
                }
            }
            // Two inputs at a time: fewer instructions that only count.
            let ((weights, last_weights), (x, last_x)) = (weights.as_chunks(), self.x.as_chunks());
            for (w, x) in weights.iter().zip(x) {
                accumulate::<S, 2, C, O, V>(simd, w, x, first, &mut sum);
            }
            for (w, x) in last_weights.iter().zip(last_x) {
                accumulate::<S, 1, C, O, V>(simd, &[*w], &[*x], first, &mut sum);
            }
            for o in 0..O {
                for v in 0..V {
                    sum[o][v] = match self.finish {
                        Finish::Keep => sum[o][v],
                        Finish::Relu => simd.max_f32s(sum[o][v], zero),
                    };
                }
                S::as_mut_simd_f32s(&mut y[o]).0[first..first + V].copy_from_slice(&sum[o]);
            }
        }
    }
}

/// `sum[o] += Σ_i weights[i][o] x[i]` of `I` inputs, in the registers `first .. first + V` of the columns.
#[inline(always)]
fn accumulate<S: Simd, const I: usize, const C: usize, const O: usize, const V: usize>(
    simd: S,
    weights: &[[f32; O]; I],
    x: &[[f32; C]; I],
    first: usize,
    sum: &mut [[S::f32s; V]; O],
) {
    for (w, x) in weights.iter().zip(x) {
        let x = &S::as_simd_f32s(x).0[first..first + V];
        for o in 0..O {
            let w = simd.splat_f32s(w[o]);
            for v in 0..V {
                sum[o][v] = simd.mul_add_e_f32s(w, x[v], sum[o][v]);
            }
        }
    }
}

/// Registers of a row. Opaque, so that loops over it stay loops: unrolled, all sizes of tiles together would not fit the
/// cache of instructions.
#[inline(always)]
fn columns<S: Simd, const C: usize>() -> usize {
    std::hint::black_box(C / S::F32_LANES)
}

/// `sums[o, i] += y[o] ⊙ x[i]`, lane by lane: row-major `[y.len(), x.len()]` of vectors, to be reduced at the end.
#[inline(always)]
pub fn outer<S: Simd, const C: usize>(
    simd: S,
    y: &[[f32; C]],
    x: &[[f32; C]],
    sums: &mut [S::f32s],
) {
    let sums = pulp::bytemuck::cast_slice_mut(sums);
    simd.vectorize(Outer { y, x, sums });
}

struct Outer<'a, const C: usize> {
    y: &'a [[f32; C]],
    x: &'a [[f32; C]],
    sums: &'a mut [f32],
}

impl<const C: usize> WithSimd for Outer<'_, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for row in (0..self.y.len()).step_by(ROWS) {
            match self.y.len() - row {
                1 => self.across::<S, 1>(simd, row),
                2 => self.across::<S, 2>(simd, row),
                3 => self.across::<S, 3>(simd, row),
                4 => self.across::<S, 4>(simd, row),
                5 => self.across::<S, 5>(simd, row),
                _ => self.across::<S, ROWS>(simd, row),
            }
        }
    }
}

impl<const C: usize> Outer<'_, C> {
    #[inline(always)]
    fn across<S: Simd, const O: usize>(&mut self, simd: S, row: usize) {
        let inputs = self.x.len();
        for column in (0..inputs - inputs % 2).step_by(2) {
            self.tile::<S, O, 2>(simd, row, column);
        }
        if inputs % 2 == 1 {
            self.tile::<S, O, 1>(simd, row, inputs - 1);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const O: usize, const I: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
    ) {
        let inputs = self.x.len();
        let (y, x) = (&self.y[row..row + O], &self.x[column..column + I]);
        let mut sum = [[simd.splat_f32s(0.0); I]; O];
        for v in 0..columns::<S, C>() {
            for o in 0..O {
                let y = S::as_simd_f32s(&y[o]).0[v];
                for i in 0..I {
                    let x = S::as_simd_f32s(&x[i]).0[v];
                    sum[o][i] = simd.mul_add_e_f32s(y, x, sum[o][i]);
                }
            }
        }
        let totals = S::as_mut_simd_f32s(self.sums).0;
        for o in 0..O {
            for i in 0..I {
                let total = &mut totals[(row + o) * inputs + column + i];
                *total = simd.add_f32s(*total, sum[o][i]);
            }
        }
    }
}

/// Zero wherever `h` is not positive: the way back through ReLU.
#[inline(always)]
pub fn mask<S: Simd, const C: usize>(simd: S, slopes: &mut [[f32; C]], h: &[[f32; C]]) {
    let zero = simd.splat_f32s(0.0);
    let slopes = S::as_mut_simd_f32s(slopes.as_flattened_mut()).0;
    for (slope, h) in slopes.iter_mut().zip(S::as_simd_f32s(h.as_flattened()).0) {
        *slope = simd.select_f32s(simd.greater_than_f32s(*h, zero), *slope, zero);
    }
}

/// `totals[o] += Σ y[o]`, six rows at a time.
#[inline(always)]
pub fn add_sums<S: Simd, const C: usize>(simd: S, y: &[[f32; C]], totals: &mut [f32]) {
    simd.vectorize(Sums { y, totals });
}

struct Sums<'a, const C: usize> {
    y: &'a [[f32; C]],
    totals: &'a mut [f32],
}

impl<const C: usize> WithSimd for Sums<'_, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (y, totals) in self.y.chunks(ROWS).zip(self.totals.chunks_mut(ROWS)) {
            // Rows that are missing in the last group count twice, and are not added.
            let row = |o: usize| S::as_simd_f32s(&y[o.min(y.len() - 1)]).0;
            let mut sums = [simd.splat_f32s(0.0); ROWS];
            for v in 0..columns::<S, C>() {
                for o in 0..ROWS {
                    sums[o] = simd.add_f32s(sums[o], row(o)[v]);
                }
            }
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total += simd.reduce_sum_f32s(sum);
            }
        }
    }
}

/// A block column by column, a one behind every column's numbers and zeros up to a multiple of a register: `[C][stride]`.
#[derive(Clone, Debug)]
pub struct Transpose {
    stride: usize,
    values: Vec<f32>,
}

impl Transpose {
    /// Room for blocks of `C` columns with `rows` rows.
    pub fn new<S: Simd, const C: usize>(rows: usize) -> Self {
        let stride = (rows + 1).next_multiple_of(S::F32_LANES.max(8));
        let mut values = vec![0.0; C * stride];
        values[rows..]
            .iter_mut()
            .step_by(stride)
            .for_each(|one| *one = 1.0);
        Self { stride, values }
    }

    /// Takes a block's numbers.
    #[inline(always)]
    pub fn set<const C: usize>(&mut self, block: &[[f32; C]]) {
        // Four by four, which stays in registers.
        let (whole, rest) = block.as_chunks::<4>();
        for (at, [a, b, c, d]) in whole.iter().enumerate() {
            let columns = self.values.chunks_exact_mut(4 * self.stride);
            for (k, to) in columns.enumerate() {
                let [a, b, c, d] = [quad(a, k), quad(b, k), quad(c, k), quad(d, k)];
                for l in 0..4 {
                    to[l * self.stride + 4 * at..][..4].copy_from_slice(&[a[l], b[l], c[l], d[l]]);
                }
            }
        }
        for (row, numbers) in rest.iter().enumerate() {
            let to = self.values[4 * whole.len() + row..].iter_mut();
            for (to, x) in to.step_by(self.stride).zip(numbers) {
                *to = *x;
            }
        }
    }

    /// Registers that hold the sums of `rows` rows: see [`outer_columns`].
    pub fn sums<S: Simd>(&self, simd: S, rows: usize) -> Vec<S::f32s> {
        vec![simd.splat_f32s(0.0); rows * self.stride / S::F32_LANES]
    }

    /// The sums row by row, `[stride]` each.
    pub fn rows<'a, S: Simd>(&self, sums: &'a [S::f32s]) -> impl Iterator<Item = &'a [f32]> {
        pulp::bytemuck::cast_slice::<_, f32>(sums).chunks_exact(self.stride)
    }
}

#[inline(always)]
fn quad<const C: usize>(row: &[f32; C], k: usize) -> [f32; 4] {
    row.as_chunks::<4>().0[k]
}

/// Rows of `Ȳ` that are worked on together in [`outer_columns`], with three registers of `X`: nine sums, as a broadcast cannot be
/// an operand of a multiply-add and twelve of them would spill.
const SQUARE: usize = 3;

/// `sums[o, i] += Σ_c y[o, c] x[i, c]`, row-major `[y.len(), stride]`; behind the last `i` stand the sums of `y`'s rows.
///
/// Unlike [`outer`] it sums columns in registers, not lanes in memory: for layers whose sums would not fit the first-level cache.
#[inline(always)]
pub fn outer_columns<S: Simd, const C: usize>(
    simd: S,
    y: &[[f32; C]],
    x: &Transpose,
    sums: &mut [S::f32s],
) {
    let sums = pulp::bytemuck::cast_slice_mut(sums);
    simd.vectorize(OuterColumns { y, x, sums });
}

struct OuterColumns<'a, const C: usize> {
    y: &'a [[f32; C]],
    x: &'a Transpose,
    sums: &'a mut [f32],
}

impl<const C: usize> WithSimd for OuterColumns<'_, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (whole, rest) = self.y.as_chunks::<SQUARE>();
        for (k, y) in whole.iter().enumerate() {
            self.across::<S, SQUARE>(simd, SQUARE * k, y);
        }
        let row = SQUARE * whole.len();
        match rest {
            [] => {}
            [y] => self.across::<S, 1>(simd, row, &[*y]),
            [y, z] => self.across::<S, 2>(simd, row, &[*y, *z]),
            _ => unreachable!("fewer than three remain"),
        }
    }
}

impl<const C: usize> OuterColumns<'_, C> {
    #[inline(always)]
    fn across<S: Simd, const O: usize>(&mut self, simd: S, row: usize, y: &[[f32; C]; O]) {
        let registers = self.x.stride / S::F32_LANES;
        let mut at = 0;
        while at < registers {
            at += match registers - at {
                1 => self.tile::<S, O, 1>(simd, row, y, at),
                2 | 4 => self.tile::<S, O, 2>(simd, row, y, at),
                _ => self.tile::<S, O, 3>(simd, row, y, at),
            };
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const O: usize, const I: usize>(
        &mut self,
        simd: S,
        row: usize,
        y: &[[f32; C]; O],
        at: usize,
    ) -> usize {
        let registers = self.x.stride / S::F32_LANES;
        let columns = S::as_simd_f32s(&self.x.values).0.chunks_exact(registers);
        let totals = S::as_mut_simd_f32s(self.sums).0;
        let mut sum = [[simd.splat_f32s(0.0); I]; O];
        for (c, x) in (0..C).zip(columns) {
            let x = &x[at..at + I];
            for o in 0..O {
                let y = simd.splat_f32s(y[o][c]);
                for i in 0..I {
                    sum[o][i] = simd.mul_add_e_f32s(y, x[i], sum[o][i]);
                }
            }
        }
        for o in 0..O {
            let totals = &mut totals[(row + o) * registers + at..][..I];
            for i in 0..I {
                totals[i] = simd.add_f32s(totals[i], sum[o][i]);
            }
        }
        I
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: usize = 32;

    struct Both<'a>(&'a [f32], &'a [[f32; C]], &'a [[f32; C]]);

    impl pulp::WithSimd for Both<'_> {
        type Output = (Vec<[f32; C]>, [Vec<f32>; 2], Vec<f32>);
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Both(weight, x, start) = self;
            let mut y = start.to_vec();
            let packed = Packed::new(weight, x.len());
            affine(simd, &packed, Start::Held, x, &mut y, Finish::Keep);
            let mut sums = vec![simd.splat_f32s(0.0); start.len() * x.len()];
            outer(simd, start, x, &mut sums);
            let lanes = sums.into_iter().map(|s| simd.reduce_sum_f32s(s)).collect();
            let mut transpose = Transpose::new::<S, C>(x.len());
            transpose.set(x);
            let mut sums = transpose.sums(simd, start.len());
            outer_columns(simd, start, &transpose, &mut sums);
            let rows = transpose.rows::<S>(&sums);
            let (mut columns, mut behind) = (Vec::new(), Vec::new());
            for row in rows {
                columns.extend_from_slice(&row[..x.len()]);
                behind.push(row[x.len()]);
            }
            let mut totals = vec![1.0; start.len()];
            add_sums(simd, start, &mut totals);
            for (total, sum) in totals.iter().zip(behind) {
                assert!((total - 1.0 - sum).abs() < 1e-4);
            }
            (y, [lanes, columns], totals)
        }
    }

    #[test]
    fn the_transpose_is_packed_like_any_matrix() {
        for (rows, columns) in [(1, 1), (20, 80), (7, 6), (12, 13)] {
            let matrix: Vec<f32> = (0..rows * columns).map(|k| k as f32).collect();
            let entry = |k: usize| matrix[k % rows * columns + k / rows];
            let transpose: Vec<f32> = (0..matrix.len()).map(entry).collect();
            let expected = Packed::new(&transpose, rows);
            assert_eq!(Packed::transposed(&matrix, columns).values, expected.values);
        }
    }

    #[test]
    fn products_equal_their_definition() {
        for (inputs, outputs) in [(1, 1), (3, 5), (10, 16), (18, 7), (25, 4), (20, 80)] {
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
            for (found, outers, totals) in [simd, scalar] {
                for o in 0..outputs {
                    let expected = 1.0 + y[o].iter().sum::<f32>();
                    assert!((totals[o] - expected).abs() < 1e-4);
                    for c in 0..C {
                        let products = (0..inputs).map(|i| weight[o * inputs + i] * x[i][c]);
                        let expected = y[o][c] + products.sum::<f32>();
                        assert!((found[o][c] - expected).abs() < 1e-5);
                    }
                    for i in 0..inputs {
                        let expected: f32 = (0..C).map(|c| y[o][c] * x[i][c]).sum();
                        for outer in &outers {
                            assert!((outer[o * inputs + i] - expected).abs() < 1e-4);
                        }
                    }
                }
            }
        }
    }
}
