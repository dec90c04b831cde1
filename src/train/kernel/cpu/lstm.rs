//! The cell of `milodo` on the CPU, forward and backward in one pass over blocks of columns:
//!
//! ```text
//! (i, f, g, o) = W [u; h] + b      c⁺ = σ(f) ⊙ c + σ(i) ⊙ tanh(g)      h⁺ = σ(o) ⊙ tanh(c⁺)
//! y = W_out relu(W_lin h⁺ + b_lin) + b_out
//! ```
//!
//! Every group (an agent) has weights of its own. The backward pass keeps inputs and states only and recomputes the rest, block by
//! block, in cache. Tasks have fixed sizes and their weight gradients are added in order: the result does not depend on the threads.

use super::{load, split_rows};
use crate::rule::dense::{Packed, Start, add_sums, affine, mask, outer};
use crate::rule::lstm::HIDDEN as H;
use crate::rule::math;
use crate::train::kernel::LstmShape;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a block: its gates fit the first-level cache.
const C: usize = 96;
/// Columns of a task.
const TASK: usize = 2048;
const GATES: usize = 4 * H;

type Block = [f32; C];

/// The tensors of one call; see [`crate::train::kernel::CellOps::lstm`] for shapes.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Sizes.
    pub shape: LstmShape,
    /// Number of groups.
    pub groups: usize,
    /// Number of columns of a group.
    pub columns: usize,
    /// `[groups, inputs, columns]`
    pub input: &'a [f32],
    /// `[groups, 2 H, columns]`
    pub state: &'a [f32],
    /// `[groups, parameters]`
    pub parameters: &'a [f32],
}

/// Gradients with respect to the tensors of [`Inputs`].
pub struct InputGradients {
    /// `[groups, inputs, columns]`
    pub input: Vec<f32>,
    /// `[groups, 2 H, columns]`
    pub state: Vec<f32>,
    /// `[groups, parameters]`
    pub parameters: Vec<f32>,
}

/// One group's weights.
struct Weights<'a> {
    /// Row-major `[80, inputs + 20]`.
    gates: Vec<f32>,
    bias: &'a [f32],
    linear: &'a [f32],
    linear_bias: &'a [f32],
    out: &'a [f32],
    out_bias: &'a [f32],
}

impl<'a> Weights<'a> {
    fn new(shape: LstmShape, parameters: &'a [f32]) -> Self {
        let mut rest = parameters;
        let mut take = |n: usize| {
            let (mine, others) = rest.split_at(n);
            rest = others;
            mine
        };
        let (input, hidden) = (take(GATES * shape.inputs), take(GATES * H));
        let rows = input.chunks_exact(shape.inputs).zip(hidden.chunks_exact(H));
        Self {
            gates: rows.flat_map(|(i, h)| i.iter().chain(h)).copied().collect(),
            bias: take(GATES),
            linear: take(H * H),
            linear_bias: take(H),
            out: take(shape.outputs * H),
            out_bias: take(shape.outputs),
        }
    }
}

/// One group's layers as the forward pass reads them.
struct Layers<'a> {
    gates: Packed,
    linear: Packed,
    out: Packed,
    weights: &'a Weights<'a>,
}

impl<'a> Layers<'a> {
    fn new(weights: &'a Weights) -> Self {
        Self {
            gates: Packed::new(&weights.gates, weights.gates.len() / GATES),
            linear: Packed::new(weights.linear, H),
            out: Packed::new(weights.out, H),
            weights,
        }
    }
}

/// Everything that one block needs, forward.
struct Work {
    /// `u` above `h`.
    input: Vec<Block>,
    cell: Vec<Block>,
    /// σ(i), σ(f), tanh(g), σ(o).
    gates: Vec<Block>,
    cell_next: Vec<Block>,
    /// tanh(c⁺)
    squashed: Vec<Block>,
    hidden_next: Vec<Block>,
    linear: Vec<Block>,
    out: Vec<Block>,
}

impl Work {
    fn new(shape: LstmShape) -> Self {
        let rows = |n: usize| vec![[0.0; C]; n];
        Self {
            input: rows(shape.inputs + H),
            cell: rows(H),
            gates: rows(GATES),
            cell_next: rows(H),
            squashed: rows(H),
            hidden_next: rows(H),
            linear: rows(H),
            out: rows(shape.outputs),
        }
    }

    #[inline(always)]
    fn forward<S: Simd>(&mut self, simd: S, layers: &Layers) {
        let w = layers.weights;
        let bias = Start::Bias(w.bias);
        affine(
            simd,
            &layers.gates,
            bias,
            &self.input,
            &mut self.gates,
            false,
        );
        for (k, gate) in self.gates.chunks_exact_mut(H).enumerate() {
            if k == 2 {
                math::tanh_all(simd, gate.as_flattened_mut());
            } else {
                math::sigmoid_all(simd, gate.as_flattened_mut());
            }
        }
        for k in 0..H {
            let (i, f, g, o) = (
                &self.gates[k],
                &self.gates[H + k],
                &self.gates[2 * H + k],
                &self.gates[3 * H + k],
            );
            for l in 0..C {
                self.cell_next[k][l] = f[l] * self.cell[k][l] + i[l] * g[l];
            }
            self.squashed[k] = self.cell_next[k];
            math::tanh_all(simd, &mut self.squashed[k]);
            for l in 0..C {
                self.hidden_next[k][l] = o[l] * self.squashed[k][l];
            }
        }
        let bias = Start::Bias(w.linear_bias);
        affine(
            simd,
            &layers.linear,
            bias,
            &self.hidden_next,
            &mut self.linear,
            true,
        );
        let bias = Start::Bias(w.out_bias);
        affine(simd, &layers.out, bias, &self.linear, &mut self.out, false);
    }
}

/// Blocks into the task's part of some rows.
#[inline(always)]
fn store(blocks: &[Block], rows: &mut [&mut [f32]], at: usize, length: usize) {
    for (block, row) in blocks.iter().zip(rows) {
        row[at..at + length].copy_from_slice(&block[..length]);
    }
}

impl<'a> Inputs<'a> {
    fn group(&self, g: usize) -> (&'a [f32], &'a [f32], &'a [f32]) {
        let part = |values: &'a [f32]| {
            let size = values.len() / self.groups;
            &values[g * size..][..size]
        };
        (part(self.input), part(self.state), part(self.parameters))
    }

    fn ranges(&self) -> Vec<Range<usize>> {
        (0..self.columns)
            .step_by(TASK)
            .map(|start| start..(start + TASK).min(self.columns))
            .collect()
    }

    /// `(group, columns)` of every task, in order.
    fn tasks(&self) -> Vec<(usize, Range<usize>)> {
        let ranges = self.ranges();
        (0..self.groups)
            .flat_map(|g| ranges.iter().map(move |r| (g, r.clone())))
            .collect()
    }

    /// Every group's rows of a `[groups, rows, columns]` array, split at the tasks' ends: `[task][row]`.
    fn split<'b>(&self, values: &'b mut [f32]) -> Vec<Vec<&'b mut [f32]>> {
        let ends: Vec<usize> = self.ranges().iter().map(|r| r.end).collect();
        let size = (values.len() / self.groups).max(1);
        values
            .chunks_exact_mut(size)
            .flat_map(|group| split_rows(group, self.columns, ends.iter().copied()))
            .collect()
    }
}

struct Forward<'a, 'b> {
    inputs: Inputs<'a>,
    group: usize,
    range: Range<usize>,
    out: Vec<&'b mut [f32]>,
    state: Vec<&'b mut [f32]>,
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let shape = self.inputs.shape;
        let (input, state, parameters) = self.inputs.group(self.group);
        let weights = Weights::new(shape, parameters);
        let layers = Layers::new(&weights);
        let mut work = Work::new(shape);
        let columns = self.inputs.columns;
        for from in self.range.clone().step_by(C) {
            let to = (from + C).min(self.range.end);
            load(input, columns, from..to, &mut work.input);
            load(state, columns, from..to, &mut work.input[shape.inputs..]);
            load(&state[H * columns..], columns, from..to, &mut work.cell);
            work.forward(simd, &layers);
            let (at, length) = (from - self.range.start, to - from);
            store(&work.out, &mut self.out, at, length);
            store(&work.hidden_next, &mut self.state[..H], at, length);
            store(&work.cell_next, &mut self.state[H..], at, length);
        }
    }
}

/// `(y, [h⁺; c⁺])`: `[groups, outputs, columns]` and `[groups, 2 H, columns]`.
pub fn forward(inputs: Inputs) -> (Vec<f32>, Vec<f32>) {
    let n = inputs.groups * inputs.columns;
    let mut out = vec![0.0; n * inputs.shape.outputs];
    let mut state = vec![0.0; n * 2 * H];
    if n > 0 {
        let (outs, states) = (inputs.split(&mut out), inputs.split(&mut state));
        inputs
            .tasks()
            .into_par_iter()
            .zip(outs)
            .zip(states)
            .for_each(|(((group, range), out), state)| {
                pulp::Arch::new().dispatch(Forward {
                    inputs,
                    group,
                    range,
                    out,
                    state,
                });
            });
    }
    (out, state)
}

struct Backward<'a, 'b> {
    inputs: Inputs<'a>,
    /// `[groups, outputs, columns]`, or nothing for zero.
    out_gradient: Option<&'a [f32]>,
    /// `[groups, 2 H, columns]`, or nothing for zero.
    state_gradient: Option<&'a [f32]>,
    group: usize,
    range: Range<usize>,
    input: Vec<&'b mut [f32]>,
    state: Vec<&'b mut [f32]>,
}

impl WithSimd for Backward<'_, '_> {
    /// The task's part of the parameters' gradient.
    type Output = Vec<f32>;
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
        let shape = self.inputs.shape;
        let (input, state, parameters) = self.inputs.group(self.group);
        let weights = Weights::new(shape, parameters);
        let layers = Layers::new(&weights);
        let mut work = Work::new(shape);
        let columns = self.inputs.columns;
        let width = shape.inputs + H;
        let gates_transposed = Packed::transposed(&weights.gates, width);
        let linear_transposed = Packed::transposed(weights.linear, H);
        let out_transposed = Packed::transposed(weights.out, H);
        let group = self.group;
        let mine = |rows: usize| group * rows * columns..(group + 1) * rows * columns;
        let out_gradient = self.out_gradient.map(|v| &v[mine(shape.outputs)]);
        let state_gradient = self.state_gradient.map(|v| &v[mine(2 * H)]);
        let rows = |n: usize| vec![[0.0; C]; n];
        let (mut d_out, mut d_linear, mut d_h, mut d_c) =
            (rows(shape.outputs), rows(H), rows(H), rows(H));
        let (mut d_gates, mut d_input) = (rows(GATES), rows(width));
        let zero = simd.splat_f32s(0.0);
        let mut gates = vec![zero; GATES * width];
        let mut linear = vec![zero; H * H];
        let mut outs = vec![zero; shape.outputs * H];
        let (mut gates_bias, mut linear_bias, mut out_bias) =
            (vec![0.0; GATES], vec![0.0; H], vec![0.0; shape.outputs]);
        for from in self.range.clone().step_by(C) {
            let to = (from + C).min(self.range.end);
            load(input, columns, from..to, &mut work.input);
            load(state, columns, from..to, &mut work.input[shape.inputs..]);
            load(&state[H * columns..], columns, from..to, &mut work.cell);
            work.forward(simd, &layers);

            // Head.
            if let Some(g) = out_gradient {
                load(g, columns, from..to, &mut d_out);
            }
            let start = Start::Zero;
            affine(simd, &out_transposed, start, &d_out, &mut d_linear, false);
            mask(simd, &mut d_linear, &work.linear);
            d_h.fill([0.0; C]);
            d_c.fill([0.0; C]);
            if let Some(g) = state_gradient {
                load(g, columns, from..to, &mut d_h);
                load(&g[H * columns..], columns, from..to, &mut d_c);
            }
            let start = Start::Held;
            affine(simd, &linear_transposed, start, &d_linear, &mut d_h, false);
            outer(simd, &d_out, &work.linear, &mut outs);
            outer(simd, &d_linear, &work.hidden_next, &mut linear);
            add_sums(simd, &d_out, &mut out_bias);
            add_sums(simd, &d_linear, &mut linear_bias);

            // Gates, before their activations; d_c becomes the gradient by c. A padding column has a zero gradient throughout.
            for k in 0..H {
                let at = |gate: usize| gate * H + k;
                for l in 0..C {
                    let (i, f, g, o) = (
                        work.gates[at(0)][l],
                        work.gates[at(1)][l],
                        work.gates[at(2)][l],
                        work.gates[at(3)][l],
                    );
                    let t = work.squashed[k][l];
                    let c = d_c[k][l] + d_h[k][l] * o * (1.0 - t * t);
                    d_gates[at(0)][l] = c * g * i * (1.0 - i);
                    d_gates[at(1)][l] = c * work.cell[k][l] * f * (1.0 - f);
                    d_gates[at(2)][l] = c * i * (1.0 - g * g);
                    d_gates[at(3)][l] = d_h[k][l] * t * o * (1.0 - o);
                    d_c[k][l] = c * f;
                }
            }
            let start = Start::Zero;
            affine(
                simd,
                &gates_transposed,
                start,
                &d_gates,
                &mut d_input,
                false,
            );
            outer(simd, &d_gates, &work.input, &mut gates);
            add_sums(simd, &d_gates, &mut gates_bias);
            let (at, length) = (from - self.range.start, to - from);
            store(&d_input, &mut self.input, at, length);
            store(&d_input[shape.inputs..], &mut self.state[..H], at, length);
            store(&d_c, &mut self.state[H..], at, length);
        }

        let reduced = |sums: &[S::f32s]| -> Vec<f32> {
            sums.iter().map(|s| simd.reduce_sum_f32s(*s)).collect()
        };
        let gates = reduced(&gates);
        let columns_of = |columns: Range<usize>| {
            gates
                .chunks_exact(width)
                .flat_map(move |row| row[columns.clone()].to_vec())
        };
        let mut gradient = Vec::with_capacity(parameters.len());
        gradient.extend(columns_of(0..shape.inputs));
        gradient.extend(columns_of(shape.inputs..width));
        gradient.extend(gates_bias);
        gradient.extend(reduced(&linear));
        gradient.extend(linear_bias);
        gradient.extend(reduced(&outs));
        gradient.extend(out_bias);
        gradient
    }
}

/// Gradients of `Σ out_gradient ⊙ y + Σ state_gradient ⊙ [h⁺; c⁺]`; nothing stands for zero.
pub fn backward(
    inputs: Inputs,
    out_gradient: Option<&[f32]>,
    state_gradient: Option<&[f32]>,
) -> InputGradients {
    let mut gradients = InputGradients {
        input: vec![0.0; inputs.input.len()],
        state: vec![0.0; inputs.state.len()],
        parameters: vec![0.0; inputs.parameters.len()],
    };
    if inputs.groups * inputs.columns == 0 {
        return gradients;
    }
    let (input, state) = (
        inputs.split(&mut gradients.input),
        inputs.split(&mut gradients.state),
    );
    let parts: Vec<(usize, Vec<f32>)> = inputs
        .tasks()
        .into_par_iter()
        .zip(input)
        .zip(state)
        .map(|(((group, range), input), state)| {
            let part = pulp::Arch::new().dispatch(Backward {
                inputs,
                out_gradient,
                state_gradient,
                group,
                range,
                input,
                state,
            });
            (group, part)
        })
        .collect();
    let size = inputs.parameters.len() / inputs.groups;
    for (group, part) in parts {
        let total = &mut gradients.parameters[group * size..][..size];
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    gradients
}
