//! The stateless cell of `shared`: `h ← relu(W h + b)` per hidden layer, linear at the end. f32, whole blocks of rows at once.

use super::math::fma;
use serde::{Deserialize, Serialize};

/// Rows evaluated together: four AVX2 registers wide.
pub const LANES: usize = 32;
/// Widest layer that a block evaluation holds on the stack.
pub const MAX_WIDTH: usize = 64;

/// One number of each of [`LANES`] rows.
pub type Lanes = [f32; LANES];

/// `W h + b`: `weight` is row-major `[outputs, inputs]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Number of inputs.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// Row-major `[outputs, inputs]`.
    pub weight: Vec<f32>,
    /// `[outputs]`
    pub bias: Vec<f32>,
}

/// A multilayer perceptron with ReLU between its layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mlp {
    /// First layer first.
    pub layers: Vec<Linear>,
}

impl Mlp {
    /// Checks that the layers fit each other, `inputs` and `outputs`, and that every weight is finite.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn check(&self, name: &str, inputs: usize, outputs: usize) -> Result<(), String> {
        let mut width = inputs;
        if self.layers.is_empty() {
            return Err(format!("the {name} network has no layers"));
        }
        for (k, layer) in self.layers.iter().enumerate() {
            let Linear {
                inputs: i,
                outputs: o,
                weight,
                bias,
            } = layer;
            if *i != width {
                return Err(format!(
                    "layer {k} of the {name} network has {i} inputs, expected {width}"
                ));
            }
            if *o == 0 || *o > MAX_WIDTH {
                return Err(format!(
                    "layer {k} of the {name} network has {o} outputs, expected 1 to {MAX_WIDTH}"
                ));
            }
            if weight.len() != i * o || bias.len() != *o {
                return Err(format!(
                    "layer {k} of the {name} network has {} weights and {} biases, expected {} and {o}",
                    weight.len(),
                    bias.len(),
                    i * o
                ));
            }
            if weight.iter().chain(bias).any(|w| !w.is_finite()) {
                return Err(format!(
                    "layer {k} of the {name} network holds a weight that is not finite"
                ));
            }
            width = *o;
        }
        if width != outputs {
            return Err(format!(
                "the {name} network has {width} outputs, expected {outputs}"
            ));
        }
        Ok(())
    }

    /// Evaluates a block of rows; `inputs[k]` is input `k` of every row.
    ///
    /// `inputs` and `outputs` are as long as the first layer's inputs and the last layer's outputs.
    #[inline(always)]
    pub(crate) fn evaluate<const FUSED: bool>(&self, inputs: &[Lanes], outputs: &mut [Lanes]) {
        let mut a = [[0.0; LANES]; MAX_WIDTH];
        let mut b = [[0.0; LANES]; MAX_WIDTH];
        a[..inputs.len()].copy_from_slice(inputs);
        let (mut from, mut to) = (&mut a, &mut b);
        let last = self.layers.len() - 1;
        for (k, layer) in self.layers.iter().enumerate() {
            let from_used = &from[..layer.inputs];
            for (o, (weights, bias)) in layer
                .weight
                .chunks_exact(layer.inputs)
                .zip(&layer.bias)
                .enumerate()
            {
                let mut sum = [*bias; LANES];
                for (w, x) in weights.iter().zip(from_used) {
                    for l in 0..LANES {
                        sum[l] = fma::<FUSED>(*w, x[l], sum[l]);
                    }
                }
                if k < last {
                    sum.iter_mut().for_each(|s| *s = s.max(0.0));
                }
                to[o] = sum;
            }
            std::mem::swap(&mut from, &mut to);
        }
        outputs.copy_from_slice(&from[..outputs.len()]);
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.layers
            .iter()
            .map(|l| l.weight.len() + l.bias.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_equals_row_by_row() {
        let mlp = Mlp {
            layers: vec![
                Linear {
                    inputs: 2,
                    outputs: 3,
                    weight: vec![1.0, -1.0, 0.5, 2.0, -0.3, 0.1],
                    bias: vec![0.1, -0.2, 0.3],
                },
                Linear {
                    inputs: 3,
                    outputs: 1,
                    weight: vec![1.0, 2.0, 3.0],
                    bias: vec![-1.0],
                },
            ],
        };
        mlp.check("test", 2, 1).unwrap();
        let mut inputs = [[0.0; LANES]; 2];
        for l in 0..LANES {
            inputs[0][l] = l as f32 * 0.1;
            inputs[1][l] = 1.0 - l as f32 * 0.05;
        }
        let mut out = [[0.0; LANES]; 1];
        mlp.evaluate::<false>(&inputs, &mut out);
        for l in 0..LANES {
            let (u, v) = (inputs[0][l], inputs[1][l]);
            let h = [
                u - v + 0.1,
                0.5 * u + 2.0 * v - 0.2,
                -0.3 * u + 0.1 * v + 0.3,
            ]
            .map(|x: f32| x.max(0.0));
            let expected = h[0] + 2.0 * h[1] + 3.0 * h[2] - 1.0;
            assert!((out[0][l] - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn misfits_are_named() {
        let layer = |i, o| Linear {
            inputs: i,
            outputs: o,
            weight: vec![0.0; i * o],
            bias: vec![0.0; o],
        };
        let mlp = Mlp {
            layers: vec![layer(2, 3), layer(4, 1)],
        };
        assert!(
            mlp.check("node", 2, 1)
                .unwrap_err()
                .contains("layer 1 of the node network has 4 inputs, expected 3")
        );
        let mut nan = Mlp {
            layers: vec![layer(2, 1)],
        };
        nan.layers[0].weight[0] = f32::NAN;
        assert!(nan.check("node", 2, 1).unwrap_err().contains("not finite"));
    }
}
