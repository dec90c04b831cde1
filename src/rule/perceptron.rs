//! The cell of `shared`, forward, on blocks of columns; the simulator and the training half run this same code.
//!
//! ```text
//! h₀ = [v; s]      h_k = relu(W_k h_{k−1} + b_k)      y = constants + ranges ⊙ tanh(W_K h_{K−1} + b_K)
//! ```
//!
//! `v` differs from column to column (a column is a coordinate of an agent or edge), `s` from item to item (an agent or an edge: a run
//! of columns), so `W_1 s + b_1` is computed once per item.

use super::dense::{Finish, Packed, Start, affine};
use super::math;
use super::mlp::Mlp;
use pulp::Simd;

/// A layer's weights, as the kernels read them.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Number of inputs; of the first layer those in `v` only.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// `[outputs, inputs]`
    pub weight: Packed,
    /// `[outputs]`
    pub bias: Vec<f32>,
}

/// A perceptron whose first layer is split into what `v` and what `s` meets.
#[derive(Clone, Debug)]
pub struct Perceptron {
    /// First layer first.
    pub layers: Vec<Layer>,
    /// Row-major `[h₁, shared]`: the first layer's columns of `s`.
    pub weight_shared: Vec<f32>,
    /// `[outputs]`
    pub constants: Vec<f32>,
    /// `[outputs]`
    pub ranges: Vec<f32>,
}

/// `h₀` (the part `v`) and the output of every layer, for one block of `C` columns; the last one ends as `tanh(·)`.
pub type Work<const C: usize> = Vec<Vec<[f32; C]>>;

impl Perceptron {
    /// From `(weight, bias)` of every layer, weights row-major `[outputs, inputs]`, the first one's inputs being `v` then `s`.
    pub fn new<'a>(
        layers: impl IntoIterator<Item = (&'a [f32], &'a [f32])>,
        varying: usize,
        constants: &[f32],
        ranges: &[f32],
    ) -> Self {
        let mut weight_shared = Vec::new();
        let layers = layers
            .into_iter()
            .enumerate()
            .map(|(k, (weight, bias))| {
                let outputs = bias.len();
                let width = weight.len() / outputs;
                let inputs = if k == 0 { varying } else { width };
                let mut mine = Vec::with_capacity(inputs * outputs);
                for row in weight.chunks_exact(width) {
                    mine.extend_from_slice(&row[..inputs]);
                    weight_shared.extend_from_slice(&row[inputs..]);
                }
                Layer {
                    inputs,
                    outputs,
                    weight: Packed::new(&mine, inputs),
                    bias: bias.to_vec(),
                }
            })
            .collect();
        Self {
            layers,
            weight_shared,
            constants: constants.to_vec(),
            ranges: ranges.to_vec(),
        }
    }

    /// From a frozen network; its first `varying` inputs are `v`.
    pub fn of(mlp: &Mlp, varying: usize, constants: &[f32], ranges: &[f32]) -> Self {
        let layers = mlp.layers.iter().map(|l| (&l.weight[..], &l.bias[..]));
        Self::new(layers, varying, constants, ranges)
    }

    /// Room for one block.
    pub fn work<const C: usize>(&self) -> Work<C> {
        std::iter::once(self.layers[0].inputs)
            .chain(self.layers.iter().map(|l| l.outputs))
            .map(|width| vec![[0.0; C]; width])
            .collect()
    }

    /// `W_1 s + b_1` of one item, `[h₁]`.
    pub fn first(&self, shared: &[f32], out: &mut [f32]) {
        let bias = &self.layers[0].bias;
        for (o, (out, bias)) in out.iter_mut().zip(bias).enumerate() {
            let weights = &self.weight_shared[o * shared.len()..][..shared.len()];
            *out = bias + weights.iter().zip(shared).map(|(w, s)| w * s).sum::<f32>();
        }
    }

    /// Evaluates a block: `work[0]` holds `v`; the first layer's sums start from [`Self::first`] of the columns' items: from `first`
    /// where the block lies in one item, else from what `work[1]` holds. The last entry gets `tanh(·)`.
    #[inline(always)]
    pub fn forward<S: Simd, const C: usize>(
        &self,
        simd: S,
        first: Option<&[f32]>,
        work: &mut [Vec<[f32; C]>],
    ) {
        let last = self.layers.len();
        for (k, layer) in self.layers.iter().enumerate() {
            let (before, after) = work.split_at_mut(k + 1);
            let (x, y) = (&before[k][..], &mut after[0][..]);
            let start = match first {
                _ if k > 0 => Start::Bias(&layer.bias),
                Some(first) => Start::Bias(first),
                None => Start::Held,
            };
            let finish = if k + 1 < last {
                Finish::Relu
            } else {
                Finish::Keep
            };
            affine(simd, &layer.weight, start, x, y, finish);
            if k + 1 == last {
                math::tanh_all(simd, y.as_flattened_mut());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run<'a>(&'a Perceptron, &'a [[f32; 32]], &'a [f32]);

    impl pulp::WithSimd for Run<'_> {
        type Output = Vec<[f32; 32]>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Run(cell, v, s) = self;
            let mut work = cell.work::<32>();
            work[0].copy_from_slice(v);
            let mut first = vec![0.0; cell.layers[0].outputs];
            cell.first(s, &mut first);
            cell.forward(simd, Some(&first), &mut work);
            work.pop().unwrap()
        }
    }

    #[test]
    fn a_block_equals_column_by_column() {
        let (w1, b1) = ([1.0, -1.0, 0.5, 2.0, -0.3, 0.1], [0.1, -0.2, 0.3]);
        let (w2, b2) = ([1.0, 2.0, 3.0], [-1.0]);
        // Two inputs: one of every column, one of the item.
        let layers = [(&w1[..], &b1[..]), (&w2[..], &b2[..])];
        let cell = Perceptron::new(layers, 1, &[0.0], &[1.0]);
        let v: [f32; 32] = std::array::from_fn(|l| l as f32 * 0.1 - 1.0);
        let s = 0.7;
        let out = pulp::Arch::new().dispatch(Run(&cell, &[v], &[s]));
        for l in 0..32 {
            let h: f32 = (0..3)
                .map(|o| w2[o] * (w1[2 * o] * v[l] + w1[2 * o + 1] * s + b1[o]).max(0.0))
                .sum();
            assert!((out[0][l] - (h + b2[0]).tanh()).abs() < 1e-6);
        }
    }
}
