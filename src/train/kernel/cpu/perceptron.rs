//! The cell of `shared` on all columns of a batch, forward ([`crate::rule::perceptron`]) and backward, block by block in cache.
//!
//! ```text
//! ȳ_K = ranges ⊙ ȳ ⊙ (1 − tanh²)      W̄_k = ȳ_k h_{k−1}ᵀ      h̄_{k−1} = W_kᵀ ȳ_k      ȳ_{k−1} = h̄_{k−1} ⊙ [h_{k−1} > 0]
//! ```
//!
//! The backward pass keeps the inputs only and recomputes the rest. Tasks have fixed sizes and their weight gradients are
//! added in order: the result does not depend on the threads.

use super::{load, split_rows};
use crate::rule::dense::{Finish, Packed, Start, add_sums, affine, mask, outer};
use crate::rule::perceptron::{Perceptron, Work};
use crate::train::kernel::PerceptronShape;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a block: the hidden layers of a block fit the first-level cache.
const C: usize = 96;
/// Columns that one task takes at least.
const TASK: usize = 2048;

/// The tensors of one call; see [`crate::train::kernel::CellOps::perceptron`] for shapes.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Sizes and ranges.
    pub shape: &'a PerceptronShape,
    /// `[varying, columns]`
    pub varying: &'a [f32],
    /// `[shared, items]`
    pub shared: &'a [f32],
    /// `[parameters]`
    pub parameters: &'a [f32],
    /// Number of items; divides the number of columns.
    pub items: usize,
    /// Number of columns.
    pub columns: usize,
}

/// Gradients with respect to the tensors of [`Inputs`].
pub struct InputGradients {
    /// `[varying, columns]`; empty unless asked for.
    pub varying: Vec<f32>,
    /// `[shared, items]`; empty unless asked for.
    pub shared: Vec<f32>,
    /// `[parameters]`
    pub parameters: Vec<f32>,
}

/// The cell as it stands in the parameters.
struct Cell<'a> {
    inputs: Inputs<'a>,
    net: Perceptron,
    /// Where every layer's weights begin in the parameters.
    at: Vec<usize>,
}

impl<'a> Cell<'a> {
    fn new(inputs: Inputs<'a>) -> Self {
        let shape = inputs.shape;
        let (mut at, mut next, mut width) = (Vec::new(), 0, shape.varying + shape.shared);
        let mut layers = Vec::new();
        for outputs in shape.widths() {
            let (weight, rest) = inputs.parameters[next..].split_at(width * outputs);
            layers.push((weight, &rest[..outputs]));
            at.push(next);
            next += (width + 1) * outputs;
            width = outputs;
        }
        let constants = &inputs.parameters[next..];
        let net = Perceptron::new(layers, shape.varying, constants, &shape.ranges);
        Self { inputs, net, at }
    }

    /// `[inputs, outputs]` of every layer; of the first one the columns of `v` only.
    fn transposed(&self) -> Vec<Packed> {
        let shape = self.inputs.shape;
        let mut width = shape.varying + shape.shared;
        let mut transposed = Vec::new();
        for (layer, at) in self.net.layers.iter().zip(&self.at) {
            let weight = &self.inputs.parameters[*at..][..width * layer.outputs];
            let rows = weight.chunks_exact(width);
            let seen: Vec<f32> = rows.flat_map(|r| &r[..layer.inputs]).copied().collect();
            transposed.push(Packed::transposed(&seen, layer.inputs));
            width = layer.outputs;
        }
        transposed
    }

    fn columns_per_item(&self) -> usize {
        self.inputs.columns / self.inputs.items
    }

    /// Runs of whole items, of fixed size.
    fn tasks(&self) -> Vec<Range<usize>> {
        let items = self.inputs.items;
        let size = TASK.div_ceil(self.columns_per_item()).max(1);
        (0..items)
            .step_by(size)
            .map(|start| start..(start + size).min(items))
            .collect()
    }

    /// The segments of columns `[from, to)` that belong to one item each: `(item, range within the block)`.
    fn segments(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let d = self.columns_per_item();
        (from / d..(to - 1) / d + 1).map(move |item| {
            let (start, end) = ((item * d).max(from), ((item + 1) * d).min(to));
            (item, start - from..end - from)
        })
    }

    /// Evaluates columns `[from, to)` into `work`; `first`: `[items of the task, h₁]`, beginning at item `task`.
    #[inline(always)]
    fn forward<S: Simd>(
        &self,
        simd: S,
        (from, to): (usize, usize),
        first: &[f32],
        task: usize,
        work: &mut Work<C>,
    ) {
        load(
            self.inputs.varying,
            self.inputs.columns,
            from..to,
            &mut work[0],
        );
        let h = self.net.layers[0].outputs;
        let d = self.columns_per_item();
        let of = |item: usize| &first[(item - task) * h..][..h];
        if from / d == (to - 1) / d {
            return self.net.forward(simd, Some(of(from / d)), work);
        }
        for (item, columns) in self.segments(from, to) {
            for (y, b) in work[1].iter_mut().zip(of(item)) {
                y[columns.clone()].fill(*b);
            }
        }
        self.net.forward(simd, None, work);
    }

    /// [`Perceptron::first`] of every item of a task, `[items, h₁]`.
    fn firsts(&self, items: &Range<usize>) -> Vec<f32> {
        let h = self.net.layers[0].outputs;
        let mut firsts = vec![0.0; items.len() * h];
        let mut shared = vec![0.0; self.inputs.shape.shared];
        for (item, out) in items.clone().zip(firsts.chunks_exact_mut(h)) {
            for (s, value) in shared.iter_mut().enumerate() {
                *value = self.inputs.shared[s * self.inputs.items + item];
            }
            self.net.first(&shared, out);
        }
        firsts
    }
}

struct Forward<'a, 'b> {
    cell: &'a Cell<'a>,
    items: Range<usize>,
    out: Vec<&'b mut [f32]>,
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let cell = self.cell;
        let d = cell.columns_per_item();
        let (start, end) = (self.items.start * d, self.items.end * d);
        let firsts = cell.firsts(&self.items);
        let mut work = cell.net.work();
        for from in (start..end).step_by(C) {
            let to = (from + C).min(end);
            cell.forward(simd, (from, to), &firsts, self.items.start, &mut work);
            let outputs = &work[cell.net.layers.len()];
            for (o, (out, tanh)) in self.out.iter_mut().zip(outputs).enumerate() {
                let (constant, range) = (cell.net.constants[o], cell.net.ranges[o]);
                for (out, t) in out[from - start..to - start].iter_mut().zip(tanh) {
                    *out = constant + range * t;
                }
            }
        }
    }
}

/// `y`, row-major `[outputs, columns]`.
pub fn forward(inputs: Inputs) -> Vec<f32> {
    let mut out = vec![0.0; inputs.shape.ranges.len() * inputs.columns];
    if inputs.columns == 0 {
        return out;
    }
    let cell = Cell::new(inputs);
    let tasks = cell.tasks();
    let d = cell.columns_per_item();
    let rows = split_rows(&mut out, inputs.columns, tasks.iter().map(|t| t.end * d));
    tasks.into_par_iter().zip(rows).for_each(|(items, out)| {
        pulp::Arch::new().dispatch(Forward {
            cell: &cell,
            items,
            out,
        });
    });
    out
}

struct Backward<'a, 'b> {
    cell: &'a Cell<'a>,
    transposed: &'a [Packed],
    items: Range<usize>,
    /// `[outputs, columns]`
    gradient: &'a [f32],
    /// Rows of the task's part of the gradients by `v` and `s`; empty unless asked for.
    varying: Vec<&'b mut [f32]>,
    shared: Vec<&'b mut [f32]>,
}

impl WithSimd for Backward<'_, '_> {
    /// The task's part of the parameters' gradient.
    type Output = Vec<f32>;
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
        let cell = self.cell;
        let shape = cell.inputs.shape;
        let d = cell.columns_per_item();
        let (start, end) = (self.items.start * d, self.items.end * d);
        let firsts = cell.firsts(&self.items);
        let mut work = cell.net.work();
        let mut slopes = cell.net.work::<C>();
        let count = cell.net.layers.len();
        let zero = simd.splat_f32s(0.0);
        // Weight gradients lane by lane, bias gradients as numbers; the first layer's bias belongs to the items.
        let layers = &cell.net.layers;
        let mut weights: Vec<Vec<S::f32s>> = layers
            .iter()
            .map(|l| vec![zero; l.inputs * l.outputs])
            .collect();
        let mut biases: Vec<Vec<f32>> = layers.iter().map(|l| vec![0.0; l.outputs]).collect();
        let h = layers[0].outputs;
        let mut items = vec![0.0; self.items.len() * h];
        let mut constants = vec![0.0; shape.ranges.len()];
        for from in (start..end).step_by(C) {
            let to = (from + C).min(end);
            cell.forward(simd, (from, to), &firsts, self.items.start, &mut work);
            load(
                self.gradient,
                cell.inputs.columns,
                from..to,
                &mut slopes[count],
            );
            add_sums(simd, &slopes[count], &mut constants);
            for (o, slope) in slopes[count].iter_mut().enumerate() {
                let (range, tanh) = (shape.ranges[o], &work[count][o]);
                for l in 0..C {
                    slope[l] *= range * (1.0 - tanh[l] * tanh[l]);
                }
            }
            for k in (0..count).rev() {
                let (before, after) = slopes.split_at_mut(k + 1);
                let slope = &after[0][..];
                outer(simd, slope, &work[k], &mut weights[k]);
                if k == 0 {
                    for (item, columns) in cell.segments(from, to) {
                        let item = &mut items[(item - self.items.start) * h..][..h];
                        if columns == (0..to - from) {
                            add_sums(simd, slope, item);
                            continue;
                        }
                        for (total, slope) in item.iter_mut().zip(slope) {
                            *total += slope[columns.clone()].iter().sum::<f32>();
                        }
                    }
                    if self.varying.is_empty() {
                        continue;
                    }
                } else {
                    add_sums(simd, slope, &mut biases[k]);
                }
                let below = &mut before[k][..];
                let transposed = &self.transposed[k];
                affine(simd, transposed, Start::Zero, slope, below, Finish::Keep);
                if k > 0 {
                    mask(simd, below, &work[k]);
                }
            }
            for (out, slope) in self.varying.iter_mut().zip(&slopes[0]) {
                out[from - start..to - start].copy_from_slice(&slope[..to - from]);
            }
        }

        // From items to the first layer's bias and its columns of s.
        let mut parameters = vec![0.0; cell.inputs.parameters.len()];
        let width = shape.varying + shape.shared;
        for (j, item) in self.items.clone().enumerate() {
            for (o, slope) in items[j * h..][..h].iter().enumerate() {
                biases[0][o] += slope;
                for s in 0..shape.shared {
                    parameters[o * width + shape.varying + s] +=
                        slope * cell.inputs.shared[s * cell.inputs.items + item];
                }
            }
            for (s, out) in self.shared.iter_mut().enumerate() {
                out[j] = (0..h)
                    .map(|o| cell.net.weight_shared[o * shape.shared + s] * items[j * h + o])
                    .sum();
            }
        }
        for (k, layer) in layers.iter().enumerate() {
            let stride = if k == 0 { width } else { layer.inputs };
            for (t, lanes) in weights[k].iter().enumerate() {
                let (o, i) = (t / layer.inputs, t % layer.inputs);
                parameters[cell.at[k] + o * stride + i] = simd.reduce_sum_f32s(*lanes);
            }
            parameters[cell.at[k] + stride * layer.outputs..][..layer.outputs]
                .copy_from_slice(&biases[k]);
        }
        let at = parameters.len() - constants.len();
        parameters[at..].copy_from_slice(&constants);
        parameters
    }
}

/// Gradients of `Σ gradient ⊙ y`; those by `v` and `s` only if `by_inputs`.
pub fn backward(inputs: Inputs, gradient: &[f32], by_inputs: bool) -> InputGradients {
    let shape = inputs.shape;
    let rows = |wanted: usize| vec![0.0; if by_inputs { wanted } else { 0 }];
    let mut gradients = InputGradients {
        varying: rows(shape.varying * inputs.columns),
        shared: rows(shape.shared * inputs.items),
        parameters: vec![0.0; inputs.parameters.len()],
    };
    if inputs.columns == 0 {
        return gradients;
    }
    let cell = Cell::new(inputs);
    let tasks = cell.tasks();
    let d = cell.columns_per_item();
    let transposed = cell.transposed();
    let varying = split_rows(
        &mut gradients.varying,
        inputs.columns,
        tasks.iter().map(|t| t.end * d),
    );
    let shared = split_rows(
        &mut gradients.shared,
        inputs.items,
        tasks.iter().map(|t| t.end),
    );
    let parts: Vec<Vec<f32>> = tasks
        .into_par_iter()
        .zip(varying)
        .zip(shared)
        .map(|((items, varying), shared)| {
            pulp::Arch::new().dispatch(Backward {
                cell: &cell,
                transposed: &transposed,
                items,
                gradient,
                varying,
                shared,
            })
        })
        .collect();
    for part in parts {
        for (total, part) in gradients.parameters.iter_mut().zip(part) {
            *total += part;
        }
    }
    gradients
}
