//! The cell of `milodo`, as published: LSTM(20) → Linear(20, 20) → ReLU → Linear(out). f64, whole blocks of coordinates at once.
//!
//! ```text
//! (i, f, g, o) = W_ih u + b_ih + W_hh h + b_hh                  rows of the four gates in this order, as in PyTorch
//! c⁺ = σ(f) ⊙ c + σ(i) ⊙ tanh(g)      h⁺ = σ(o) ⊙ tanh(c⁺)
//! output = W_out relu(W h⁺ + b) + b_out
//! ```

use serde::{Deserialize, Serialize};

/// Width of the LSTM and of the linear layer behind it.
pub const HIDDEN: usize = 20;
const GATES: usize = 4;

/// Coordinates evaluated together: two AVX2 registers wide.
pub(crate) const LANES: usize = 8;

/// One number of each of [`LANES`] coordinates.
pub(crate) type Lanes = [f64; LANES];

/// Hidden and cell state of a block of coordinates, zero before the first step.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    h: [Lanes; HIDDEN],
    c: [Lanes; HIDDEN],
}

/// The weights of one network; matrices are row-major, as PyTorch stores them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Number of inputs per coordinate.
    pub inputs: usize,
    /// Number of outputs per coordinate, before any activation.
    pub outputs: usize,
    /// `lstm.weight_ih_l0`, `[80, inputs]`
    pub weight_ih: Vec<f64>,
    /// `lstm.weight_hh_l0`, `[80, 20]`
    pub weight_hh: Vec<f64>,
    /// `lstm.bias_ih_l0`, `[80]`
    pub bias_ih: Vec<f64>,
    /// `lstm.bias_hh_l0`, `[80]`
    pub bias_hh: Vec<f64>,
    /// `linear.weight`, `[20, 20]`
    pub linear_weight: Vec<f64>,
    /// `linear.bias`, `[20]`
    pub linear_bias: Vec<f64>,
    /// `linear_out.weight`, `[outputs, 20]`
    pub out_weight: Vec<f64>,
    /// `linear_out.bias`, `[outputs]`
    pub out_bias: Vec<f64>,
}

impl Cell {
    /// A cell whose tensors come one by one from `tensor(name, shape)`, under PyTorch's names.
    ///
    /// # Errors
    /// The first error of `tensor`.
    pub fn build<E>(
        inputs: usize,
        outputs: usize,
        mut tensor: impl FnMut(&'static str, &[usize]) -> Result<Vec<f64>, E>,
    ) -> Result<Self, E> {
        const ROWS: usize = GATES * HIDDEN;
        Ok(Self {
            inputs,
            outputs,
            weight_ih: tensor("lstm.weight_ih_l0", &[ROWS, inputs])?,
            weight_hh: tensor("lstm.weight_hh_l0", &[ROWS, HIDDEN])?,
            bias_ih: tensor("lstm.bias_ih_l0", &[ROWS])?,
            bias_hh: tensor("lstm.bias_hh_l0", &[ROWS])?,
            linear_weight: tensor("linear.weight", &[HIDDEN, HIDDEN])?,
            linear_bias: tensor("linear.bias", &[HIDDEN])?,
            out_weight: tensor("linear_out.weight", &[outputs, HIDDEN])?,
            out_bias: tensor("linear_out.bias", &[outputs])?,
        })
    }

    fn tensors(&self) -> [(&'static str, &[f64]); 8] {
        [
            ("weight_ih", &self.weight_ih),
            ("weight_hh", &self.weight_hh),
            ("bias_ih", &self.bias_ih),
            ("bias_hh", &self.bias_hh),
            ("linear_weight", &self.linear_weight),
            ("linear_bias", &self.linear_bias),
            ("out_weight", &self.out_weight),
            ("out_bias", &self.out_bias),
        ]
    }

    /// Checks that the cell maps `inputs` to `outputs`, that every tensor has its size and every weight is finite.
    ///
    /// # Errors
    /// What does not fit, in words; `name` says whose cell it is.
    pub fn check(&self, name: &str, inputs: usize, outputs: usize) -> Result<(), String> {
        if (self.inputs, self.outputs) != (inputs, outputs) {
            return Err(format!(
                "{name} has {} inputs and {} outputs, expected {inputs} and {outputs}",
                self.inputs, self.outputs
            ));
        }
        let rows = GATES * HIDDEN;
        let sizes = [
            rows * inputs,
            rows * HIDDEN,
            rows,
            rows,
            HIDDEN * HIDDEN,
            HIDDEN,
            outputs * HIDDEN,
            outputs,
        ];
        for ((tensor, values), size) in self.tensors().into_iter().zip(sizes) {
            if values.len() != size {
                return Err(format!(
                    "{tensor} of {name} has {} numbers, expected {size}",
                    values.len()
                ));
            }
            if let Some(v) = values.iter().find(|v| !v.is_finite()) {
                return Err(format!(
                    "{tensor} of {name} holds {v}, expected finite numbers"
                ));
            }
        }
        Ok(())
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, values)| values.len()).sum()
    }

    /// One step of a block of coordinates: advances `memory` and writes the outputs.
    ///
    /// `inputs[m]` and `outputs[m]` hold input and output `m` of every coordinate; both are as long as the cell says.
    pub(crate) fn evaluate(&self, memory: &mut Memory, inputs: &[Lanes], outputs: &mut [Lanes]) {
        pulp::Arch::new().dispatch(Evaluation {
            cell: self,
            memory,
            inputs,
            outputs,
        });
    }
}

/// The arguments of [`Cell::evaluate`]. A closure would not do: what pulp calls is then a shim that is not inlined, so the
/// body would be compiled for the oldest processor.
struct Evaluation<'a> {
    cell: &'a Cell,
    memory: &'a mut Memory,
    inputs: &'a [Lanes],
    outputs: &'a mut [Lanes],
}

impl pulp::WithSimd for Evaluation<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            cell,
            memory,
            inputs,
            outputs,
        } = self;
        let mut h = [[0.0; LANES]; HIDDEN];
        for (k, (h, c)) in h.iter_mut().zip(&mut memory.c).enumerate() {
            let bias =
                |gate: usize| cell.bias_ih[gate * HIDDEN + k] + cell.bias_hh[gate * HIDDEN + k];
            let mut gates = [
                [bias(0); LANES],
                [bias(1); LANES],
                [bias(2); LANES],
                [bias(3); LANES],
            ];
            accumulate(&mut gates, &cell.weight_ih, k, HIDDEN, inputs);
            accumulate(&mut gates, &cell.weight_hh, k, HIDDEN, &memory.h);
            let [i, f, g, o] = gates;
            for l in 0..LANES {
                c[l] = sigmoid(f[l]) * c[l] + sigmoid(i[l]) * tanh(g[l]);
                h[l] = sigmoid(o[l]) * tanh(c[l]);
            }
        }
        memory.h = h;
        let mut hidden = [[0.0; LANES]; HIDDEN];
        let blocks = hidden.as_chunks_mut::<4>().0.iter_mut();
        for ((block, bias), row) in blocks
            .zip(cell.linear_bias.as_chunks::<4>().0)
            .zip((0..).step_by(4))
        {
            for (sum, bias) in block.iter_mut().zip(bias) {
                *sum = [*bias; LANES];
            }
            accumulate(block, &cell.linear_weight, row, 1, &memory.h);
            block
                .as_flattened_mut()
                .iter_mut()
                .for_each(|v| *v = relu(*v));
        }
        for (row, (out, &bias)) in outputs.iter_mut().zip(&cell.out_bias).enumerate() {
            let mut sum = [[bias; LANES]];
            accumulate(&mut sum, &cell.out_weight, row, 1, &hidden);
            [*out] = sum;
        }
    }
}

/// `sums[r] += Σ_m weight[row + r·stride, m] · inputs[m]`; several rows at once, so that no sum waits for itself.
#[inline(always)]
fn accumulate<const R: usize>(
    sums: &mut [Lanes; R],
    weight: &[f64],
    row: usize,
    stride: usize,
    inputs: &[Lanes],
) {
    let n = inputs.len();
    let mut rows = [&weight[..0]; R];
    for (r, w) in rows.iter_mut().enumerate() {
        *w = &weight[(row + r * stride) * n..][..n];
    }
    let mut local = *sums;
    for (m, u) in inputs.iter().enumerate() {
        for r in 0..R {
            let w = rows[r][m];
            for l in 0..LANES {
                local[r][l] += w * u[l];
            }
        }
    }
    *sums = local;
}

/// `max(x, 0)`
#[inline(always)]
pub(crate) fn relu(x: f64) -> f64 {
    x.max(0.0)
}

/// Exponential without branches, so that a loop over lanes becomes SIMD; saturates beyond ±708.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    let (a, b) = exp_ratio(x);
    a / b
}

#[inline(always)]
fn sigmoid(x: f64) -> f64 {
    let (a, b) = exp_ratio(x);
    a / (a + b)
}

#[inline(always)]
fn tanh(x: f64) -> f64 {
    let (a, b) = exp_ratio(2.0 * x);
    (a - b) / (a + b)
}

/// `(a, b)` with `a/b = eˣ` to about one ulp: `eˣ = 2ⁿ e^t`, `e^t = (q + p)/(q − p)` by the Padé form of Cephes (Moshier).
///
/// The quotient is left open because `σ` and `tanh` then need one division instead of two.
#[inline(always)]
#[allow(clippy::excessive_precision)]
fn exp_ratio(x: f64) -> (f64, f64) {
    // Adding 1.5·2⁵² rounds to an integer and leaves it in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let x = x.clamp(-708.0, 708.0);
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln 2 in two parts, the first short enough for an exact product.
    let t = x - n * 6.931_457_519_531_25e-1 - n * 1.428_606_820_309_417_232_12e-6;
    let tt = t * t;
    let p = (1.261_771_930_748_105_908_78e-4 * tt + 3.029_944_077_074_419_613e-2) * tt + 1.0;
    let q = (3.001_985_051_386_644_550_42e-6 * tt + 2.524_483_403_496_841_041_92e-3) * tt;
    let q = (q + 2.272_655_482_081_550_287_66e-1) * tt + 2.0;
    let p = t * p;
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    (power * (q + p), q - p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_equal_those_of_the_standard_library() {
        for k in -70_000..=70_000 {
            let x = f64::from(k) * 0.01 + 1e-3;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-15, "exp {x}");
            assert!((tanh(x) - x.tanh()).abs() < 4e-16, "tanh {x}");
            let expected = 1.0 / (1.0 + (-x).exp());
            assert!((sigmoid(x) - expected).abs() < 4e-16, "sigmoid {x}");
        }
        assert!(exp(0.0) == 1.0 && tanh(0.0) == 0.0 && sigmoid(0.0) == 0.5);
        assert!(exp(f64::NAN).is_nan() && tanh(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan());
        assert!(tanh(1e300) == 1.0 && tanh(-1e300) == -1.0 && sigmoid(-1e300) < 1e-300);
    }

    fn random_cell(inputs: usize, outputs: usize) -> Cell {
        let mut n = 0.0;
        let cell = Cell::build::<()>(inputs, outputs, |_, shape| {
            let draw = |_| {
                n += 1.0;
                0.4 * f64::sin(n * n)
            };
            Ok((0..shape.iter().product()).map(draw).collect())
        });
        cell.unwrap()
    }

    /// The equation at the top of the file, one coordinate at a time, with the standard library's functions.
    #[test]
    fn a_block_equals_coordinate_by_coordinate() {
        let cell = random_cell(3, 2);
        cell.check("the cell", 3, 2).unwrap();
        let product = |weight: &[f64], row: usize, u: &[f64]| -> f64 {
            let weights = &weight[row * u.len()..][..u.len()];
            weights.iter().zip(u).map(|(w, u)| w * u).sum()
        };
        let input = |m: usize, lane: usize, step: usize| ((m + 3 * lane + 7 * step) as f64).cos();
        let mut memory = Memory::default();
        let mut h = [[0.0; HIDDEN]; LANES];
        let mut c = h;
        for step in 0..4 {
            let inputs: [Lanes; 3] =
                std::array::from_fn(|m| std::array::from_fn(|lane| input(m, lane, step)));
            let mut outputs = [[0.0; LANES]; 2];
            cell.evaluate(&mut memory, &inputs, &mut outputs);
            for lane in 0..LANES {
                let u = [0, 1, 2].map(|m| input(m, lane, step));
                let before = h[lane];
                for k in 0..HIDDEN {
                    let gate = |gate: usize| {
                        let row = gate * HIDDEN + k;
                        let bias = cell.bias_ih[row] + cell.bias_hh[row];
                        bias + product(&cell.weight_ih, row, &u)
                            + product(&cell.weight_hh, row, &before)
                    };
                    let sigma = |x: f64| 1.0 / (1.0 + (-x).exp());
                    c[lane][k] = sigma(gate(1)) * c[lane][k] + sigma(gate(0)) * gate(2).tanh();
                    h[lane][k] = sigma(gate(3)) * c[lane][k].tanh();
                }
                let hidden: [f64; HIDDEN] = std::array::from_fn(|k| {
                    (product(&cell.linear_weight, k, &h[lane]) + cell.linear_bias[k]).max(0.0)
                });
                for (o, output) in outputs.iter().enumerate() {
                    let expected = product(&cell.out_weight, o, &hidden) + cell.out_bias[o];
                    assert!((output[lane] - expected).abs() < 1e-14, "{step} {lane} {o}");
                }
            }
        }
    }

    #[test]
    fn misfits_are_named() {
        let cell = random_cell(2, 1);
        let message = |cell: &Cell| cell.check("the dual cell of agent 3", 2, 1).unwrap_err();
        assert_eq!(
            cell.check("the dual cell of agent 3", 4, 4).unwrap_err(),
            "the dual cell of agent 3 has 2 inputs and 1 outputs, expected 4 and 4"
        );
        let mut short = cell.clone();
        short.linear_bias.pop();
        assert!(
            message(&short)
                .contains("linear_bias of the dual cell of agent 3 has 19 numbers, expected 20")
        );
        let mut nan = cell;
        nan.weight_hh[7] = f64::NAN;
        assert!(message(&nan).contains("weight_hh of the dual cell of agent 3 holds NaN"));
    }
}
