//! The stateless cell of `shared` as it stands in a frozen file: `h ← relu(W h + b)` per hidden layer, linear at the end.
//! [`super::perceptron`] evaluates it.

use serde::{Deserialize, Serialize};

/// Widest layer that a file may hold.
pub const MAX_WIDTH: usize = 64;

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
