//! Dense fields: one d-vector per agent (`[agents, dimension]`) or per undirected edge (`[edges, dimension]`), row-major.

use rayon::prelude::*;

/// Below this many numbers a field is processed on the calling thread: waking a worker costs more than it saves.
const PARALLEL_FROM: usize = 8_192;

/// A dense row-major array of `rows` vectors of length `dimension`, f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    dimension: usize,
    values: Vec<f64>,
}

impl Field {
    /// A field of zeros.
    pub fn zeros(rows: usize, dimension: usize) -> Self {
        Self {
            dimension,
            values: vec![0.0; rows * dimension],
        }
    }

    /// A field that takes over `values`, whose length is a multiple of `dimension`.
    pub fn from_values(dimension: usize, values: Vec<f64>) -> Self {
        debug_assert!(dimension > 0 && values.len().is_multiple_of(dimension));
        Self { dimension, values }
    }

    /// Length of one row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dimension.max(1)
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.dimension..(i + 1) * self.dimension]
    }

    /// Row `i`, mutable.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.dimension..(i + 1) * self.dimension]
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All values, row after row, mutable.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// Copies every value of `other`, which has the same shape.
    pub fn copy_from(&mut self, other: &Field) {
        self.values.copy_from_slice(&other.values);
    }

    /// `self += factor · other`.
    pub fn add_scaled(&mut self, factor: f64, other: &Field) {
        for (a, b) in self.values.iter_mut().zip(&other.values) {
            *a += factor * b;
        }
    }

    /// Calls `body(i, row_i)` for every row, in parallel where there is enough to do.
    ///
    /// Rows are disjoint and each is computed by one thread, so the result does not depend on the number of threads.
    pub fn for_each_row(&mut self, body: impl Fn(usize, &mut [f64]) + Sync + Send) {
        if self.dimension == 0 {
            return;
        }
        if self.values.len() < PARALLEL_FROM {
            self.values
                .chunks_exact_mut(self.dimension)
                .enumerate()
                .for_each(|(i, row)| body(i, row));
        } else {
            self.values
                .par_chunks_exact_mut(self.dimension)
                .enumerate()
                .for_each(|(i, row)| body(i, row));
        }
    }

    /// The mean row `x̄`.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.dimension];
        for i in 0..self.rows() {
            for (m, v) in mean.iter_mut().zip(self.row(i)) {
                *m += v;
            }
        }
        let n = self.rows().max(1) as f64;
        mean.iter_mut().for_each(|m| *m /= n);
        mean
    }

    /// Largest absolute value of `Σ_i row_i` over coordinates; NaN if any value is NaN.
    pub fn sum_drift(&self) -> f64 {
        let n = self.rows().max(1) as f64;
        self.mean().iter().map(|m| (m * n).abs()).fold(0.0, larger)
    }

    /// Consensus error `‖X − 1x̄‖_F / √rows`.
    pub fn consensus_error(&self) -> f64 {
        let mean = self.mean();
        let total: f64 = (0..self.rows())
            .flat_map(|i| self.row(i).iter().zip(&mean).map(|(x, m)| (x - m).powi(2)))
            .sum();
        (total / self.rows().max(1) as f64).sqrt()
    }
}

/// The larger of both; NaN, once met, stays (`f64::max` forgets it).
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

/// `Σ_k a_k b_k`, accumulated in four fixed lanes: the same sum on every thread count.
#[inline]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let [sum] = dots([&a[..n]], &b[..n]);
    sum
}

/// [`dot`] of several rows with one vector, which is loaded once for all; rows are as long as `x`.
#[inline(always)]
pub(crate) fn dots<const R: usize>(rows: [&[f64]; R], x: &[f64]) -> [f64; R] {
    let (x4, rest) = x.as_chunks::<4>();
    let rows4 = rows.map(|row| &row.as_chunks::<4>().0[..x4.len()]);
    let mut lanes = [[0.0; 4]; R];
    for (k, x) in x4.iter().enumerate() {
        for (lanes, row) in lanes.iter_mut().zip(rows4) {
            for l in 0..4 {
                lanes[l] += row[k][l] * x[l];
            }
        }
    }
    std::array::from_fn(|r| {
        let tail = rows[r][4 * x4.len()..].iter().zip(rest);
        let tail: f64 = tail.map(|(a, x)| a * x).sum();
        let lanes = lanes[r];
        (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + tail
    })
}
