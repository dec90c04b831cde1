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
use crate::rule::dense::{
    Finish, Packed, Start, Transpose, add_sums, affine, mask, outer, outer_columns,
};
use crate::rule::lstm::HIDDEN as H;
use crate::rule::math;
use crate::train::kernel::{LstmShape, Wanted};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Columns of a block. A state is stored block by block, `[groups, blocks, 40, C]`: its rows would lie pages apart, and nothing but
/// the cell reads it. What stands behind a group's last column is no number of anybody's, and its gradient is zero.
pub const C: usize = 48;
/// Blocks of a task of the backward pass.
const TASK: usize = 64;
const GATES: usize = 4 * H;

type Block = [f32; C];
/// A number per unit and column.
type Units = [Block; H];

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
    /// `[groups, 2 H, columns]`, block by block: see [`C`].
    pub state: &'a [f32],
    /// `[groups, parameters]`
    pub parameters: &'a [f32],
}

/// Gradients with respect to the tensors of [`Inputs`] but the state.
pub struct InputGradients {
    /// `[groups, inputs, columns]`
    pub input: Vec<f32>,
    /// `[groups, parameters]`
    pub parameters: Vec<f32>,
}

/// One group's weights.
struct Weights<'a> {
    input: &'a [f32],
    hidden: &'a [f32],
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
        Self {
            input: take(GATES * shape.inputs),
            hidden: take(GATES * H),
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
    /// Scaled by [`EXPONENTS`], as is the bias.
    gates: Packed,
    gates_bias: Vec<f32>,
    linear: Packed,
    out: Packed,
    weights: &'a Weights<'a>,
}

/// `σ(x) = 1/(1 + 2ᵗ)` with `t = −x log₂ e`, `tanh(x) = (1 − 2ᵗ)/(1 + 2ᵗ)` with twice that: `t/x` of every gate.
const EXPONENTS: [f32; 4] = [-LOG2_E, -LOG2_E, -2.0 * LOG2_E, -LOG2_E];

impl<'a> Layers<'a> {
    fn new(weights: &'a Weights) -> Self {
        let inputs = weights.input.len() / GATES;
        // The two matrices side by side.
        let mut gates = Vec::with_capacity(weights.input.len() + weights.hidden.len());
        let mut gates_bias = Vec::with_capacity(GATES);
        let rows = weights.input.chunks_exact(inputs);
        let rows = rows.zip(weights.hidden.chunks_exact(H)).zip(weights.bias);
        for (k, ((input, hidden), bias)) in rows.enumerate() {
            let t = EXPONENTS[k / H];
            gates.extend(input.iter().map(|w| t * w));
            gates.extend(hidden.iter().map(|w| t * w));
            gates_bias.push(t * bias);
        }
        Self {
            gates: Packed::new(&gates, inputs + H),
            gates_bias,
            linear: Packed::new(weights.linear, H),
            out: Packed::new(weights.out, H),
            weights,
        }
    }
}

/// Hidden above cell, of the columns of a block.
type State = [Units; 2];

/// A state as blocks.
fn states(values: &[f32]) -> &[State] {
    let (rows, _) = values.as_chunks::<C>();
    let (units, _) = rows.as_chunks::<H>();
    units.as_chunks().0
}

/// As [`states`].
fn states_mut(values: &mut [f32]) -> &mut [State] {
    let (rows, _) = values.as_chunks_mut::<C>();
    let (units, _) = rows.as_chunks_mut::<H>();
    units.as_chunks_mut().0
}

/// Everything that one block needs, forward.
struct Work {
    /// `u` above `h`.
    input: Vec<Block>,
    /// σ(i), σ(f), tanh(g), σ(o).
    gates: Box<[Units; 4]>,
    /// tanh(c⁺)
    squashed: Box<Units>,
    linear: Box<Units>,
    out: Vec<Block>,
}

impl Work {
    fn new(shape: LstmShape) -> Self {
        let rows = |n: usize| vec![[0.0; C]; n];
        let units = || Box::new([[0.0; C]; H]);
        Self {
            input: rows(shape.inputs + H),
            gates: Box::new([[[0.0; C]; H]; 4]),
            squashed: units(),
            linear: units(),
            out: rows(shape.outputs),
        }
    }

    /// Takes the columns `range` of a group's input, and `h`.
    #[inline(always)]
    fn load(&mut self, inputs: &Inputs, group: usize, range: Range<usize>, hidden: &Units) {
        let input = inputs.of(group, inputs.input);
        load(input, inputs.columns, range, &mut self.input);
        self.input[inputs.shape.inputs..].copy_from_slice(hidden);
    }

    /// All but the output; `cell`: `c`. Gates and tanh(c⁺) are of use afterwards only if they are to be kept.
    #[inline(always)]
    fn forward<S: Simd, const KEEP: bool>(
        &mut self,
        simd: S,
        layers: &Layers,
        cell: &Units,
        next: &mut State,
    ) {
        let bias = Start::Bias(&layers.gates_bias);
        let gates = self.gates.as_flattened_mut();
        affine(simd, &layers.gates, bias, &self.input, gates, Finish::Keep);
        simd.vectorize(Activation::<KEEP> {
            gates: &mut self.gates,
            squashed: &mut self.squashed,
            cell,
            next,
        });
        let bias = Start::Bias(layers.weights.linear_bias);
        let (hidden, linear) = (&next[0], &mut self.linear[..]);
        affine(simd, &layers.linear, bias, hidden, linear, Finish::Relu);
    }
}

/// From the exponents `t` of [`EXPONENTS`] to the next state, and to the gates and tanh(c⁺) if they are kept.
struct Activation<'a, const KEEP: bool> {
    gates: &'a mut [Units; 4],
    squashed: &'a mut Units,
    cell: &'a Units,
    next: &'a mut State,
}

impl<const KEEP: bool> WithSimd for Activation<'_, KEEP> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let one = simd.splat_f32s(1.0);
        let two = simd.splat_f32s(EXPONENTS[2]);
        let mul = |a, b| simd.mul_f32s(a, b);
        // Several short loops: none holds so long a chain that the processor's look-ahead is full of what waits. One division serves
        // several quotients.
        math::exp2_all(simd, self.gates.as_flattened_mut().as_flattened_mut());
        let [i, f, g, o] = self.gates;
        let [h, c] = self.next;
        for k in 0..H {
            let (i, f) = (registers_mut::<S>(&mut i[k]), registers_mut::<S>(&mut f[k]));
            let (g, c) = (registers_mut::<S>(&mut g[k]), registers_mut::<S>(&mut c[k]));
            let t = registers_mut::<S>(&mut self.squashed[k]);
            let cell = registers::<S>(&self.cell[k]);
            for v in 0..cell.len() {
                let (ei, ef, eg) = (i[v], f[v], g[v]);
                let (qi, qf) = (simd.add_f32s(one, ei), simd.add_f32s(one, ef));
                let (qg, pg) = (simd.add_f32s(one, eg), simd.sub_f32s(one, eg));
                let qig = mul(qi, qg);
                let all = simd.div_f32s(one, mul(qig, qf));
                c[v] = mul(simd.mul_add_e_f32s(cell[v], qig, mul(pg, qf)), all);
                t[v] = mul(two, c[v]);
                if KEEP {
                    let rig = mul(all, qf);
                    f[v] = mul(all, qig);
                    i[v] = mul(rig, qg);
                    g[v] = mul(pg, mul(rig, qi));
                }
            }
        }
        math::exp2_all(simd, self.squashed.as_flattened_mut());
        for k in 0..H {
            let (o, t) = (
                registers_mut::<S>(&mut o[k]),
                registers_mut::<S>(&mut self.squashed[k]),
            );
            let h = registers_mut::<S>(&mut h[k]);
            for v in 0..h.len() {
                let (eo, ec) = (o[v], t[v]);
                let (qo, qc) = (simd.add_f32s(one, eo), simd.add_f32s(one, ec));
                let both = simd.div_f32s(one, mul(qo, qc));
                h[v] = mul(simd.sub_f32s(one, ec), both);
                if KEEP {
                    o[v] = mul(both, qc);
                    t[v] = mul(h[v], qo);
                }
            }
        }
    }
}

#[inline(always)]
fn registers<S: Simd>(row: &Block) -> &[S::f32s] {
    S::as_simd_f32s(row).0
}

#[inline(always)]
fn registers_mut<S: Simd>(row: &mut Block) -> &mut [S::f32s] {
    S::as_mut_simd_f32s(row).0
}

/// Blocks into the task's part of some rows.
#[inline(always)]
fn store<'a>(blocks: &[Block], rows: impl Iterator<Item = &'a mut [f32]>) {
    for (block, row) in blocks.iter().zip(rows) {
        match row.as_mut_array() {
            Some(whole) => *whole = *block,
            None => row.copy_from_slice(&block[..row.len()]),
        }
    }
}

impl<'a> Inputs<'a> {
    /// A group's part of an array.
    fn of(&self, group: usize, values: &'a [f32]) -> &'a [f32] {
        let size = values.len() / self.groups;
        &values[group * size..][..size]
    }

    fn weights(&self, group: usize) -> Weights<'a> {
        Weights::new(self.shape, self.of(group, self.parameters))
    }

    /// Blocks of a group.
    fn blocks(&self) -> usize {
        self.columns.div_ceil(C)
    }

    /// The blocks of all groups.
    fn states(&self) -> &'a [State] {
        let states = states(self.state);
        // Loops over blocks end with the shorter side: a narrower state would leave zeros.
        assert_eq!(states.len(), self.groups * self.blocks(), "blocks of state");
        states
    }

    /// The columns of a group's blocks.
    fn range(&self, blocks: Range<usize>) -> Range<usize> {
        blocks.start * C..self.columns.min(blocks.end * C)
    }

    /// Every group's rows of a `[groups, rows, columns]` array, split behind every `blocks` blocks: `[groups · tasks][row]`.
    fn split<'b>(&self, values: &'b mut [f32], blocks: usize) -> Vec<Vec<&'b mut [f32]>> {
        let ends = (0..self.blocks()).step_by(blocks);
        let ends = ends.map(|k| self.columns.min((k + blocks) * C));
        let size = (values.len() / self.groups).max(1);
        values
            .chunks_exact_mut(size)
            .flat_map(|group| split_rows(group, self.columns, ends.clone()))
            .collect()
    }
}

/// Successive blocks, counted over all groups.
struct Forward<'a, 'b, 'c> {
    inputs: Inputs<'a>,
    /// Every group's.
    layers: &'b [Layers<'a>],
    first: usize,
    before: &'a [State],
    out: &'b mut [Vec<&'c mut [f32]>],
    next: &'b mut Vec<State>,
}

impl WithSimd for Forward<'_, '_, '_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let blocks = self.inputs.blocks();
        let mut work = Work::new(self.inputs.shape);
        for (k, (before, out)) in (self.first..).zip(self.before.iter().zip(self.out)) {
            let (group, block) = (k / blocks, k % blocks);
            let (layers, [hidden, cell]) = (&self.layers[group], before);
            let range = self.inputs.range(block..block + 1);
            work.load(&self.inputs, group, range, hidden);
            self.next.push([[[0.0; C]; H]; 2]);
            if let Some(next) = self.next.last_mut() {
                work.forward::<S, false>(simd, layers, cell, next);
            }
            let bias = Start::Bias(layers.weights.out_bias);
            let linear = &work.linear[..];
            affine(simd, &layers.out, bias, linear, &mut work.out, Finish::Keep);
            store(&work.out, out.iter_mut().map(|row| &mut row[..]));
        }
    }
}

/// `(y, [h⁺; c⁺])`: `[groups, outputs, columns]` and the new state.
pub fn forward(inputs: Inputs) -> (Vec<f32>, Vec<f32>) {
    let mut out = vec![0.0; inputs.groups * inputs.columns * inputs.shape.outputs];
    let before = inputs.states();
    if before.is_empty() {
        return (out, Vec::new());
    }
    let weights: Vec<Weights> = (0..inputs.groups).map(|g| inputs.weights(g)).collect();
    let layers: Vec<Layers> = weights.iter().map(Layers::new).collect();
    // Pushed block by block: a whole state of zeros would travel through memory once more. A part per thread; on one thread, as in
    // training by chunks, nothing is put together afterwards.
    let size = before.len().div_ceil(rayon::current_num_threads());
    let mut parts: Vec<Vec<State>> = before
        .par_chunks(size)
        .zip(inputs.split(&mut out, 1).par_chunks_mut(size))
        .enumerate()
        .map(|(part, (before, out))| {
            let mut next = Vec::with_capacity(before.len());
            pulp::Arch::new().dispatch(Forward {
                inputs,
                layers: &layers,
                first: part * size,
                before,
                out,
                next: &mut next,
            });
            next
        })
        .collect();
    let next = match parts.len() {
        1 => parts.swap_remove(0),
        _ => parts.concat(),
    };
    (out, next.into_flattened().into_flattened().into_flattened())
}

/// From the gates to their slopes before the activations, in place; `d_cell` becomes the gradient by c.
struct Slopes<'a> {
    gates: &'a mut [Units; 4],
    squashed: &'a Units,
    cell: &'a Units,
    d_hidden: &'a Units,
    d_cell: &'a mut Units,
}

impl WithSimd for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let one = simd.splat_f32s(1.0);
        let mul = |a, b| simd.mul_f32s(a, b);
        // 1 − a b
        let but = |a, b| simd.negate_mul_add_e_f32s(a, b, one);
        let [i, f, g, o] = self.gates;
        for k in 0..H {
            let (i, f) = (registers_mut::<S>(&mut i[k]), registers_mut::<S>(&mut f[k]));
            let (g, o) = (registers_mut::<S>(&mut g[k]), registers_mut::<S>(&mut o[k]));
            let d_c = registers_mut::<S>(&mut self.d_cell[k]);
            let (c, t) = (
                registers::<S>(&self.cell[k]),
                registers::<S>(&self.squashed[k]),
            );
            let d_h = registers::<S>(&self.d_hidden[k]);
            for v in 0..d_h.len() {
                let (input, forget, candidate, output) = (i[v], f[v], g[v], o[v]);
                let through = mul(d_h[v], output);
                let d = simd.mul_add_e_f32s(through, but(t[v], t[v]), d_c[v]);
                let through = mul(through, t[v]);
                o[v] = simd.sub_f32s(through, mul(through, output));
                let di = mul(d, input);
                g[v] = mul(di, but(candidate, candidate));
                let through = mul(di, candidate);
                i[v] = simd.sub_f32s(through, mul(through, input));
                d_c[v] = mul(d, forget);
                let through = mul(d_c[v], c[v]);
                f[v] = simd.sub_f32s(through, mul(through, forget));
            }
        }
    }
}

struct Backward<'a, 'b> {
    inputs: Inputs<'a>,
    /// `[groups, outputs, columns]`, or nothing for zero.
    out_gradient: Option<&'a [f32]>,
    wanted: Wanted,
    group: usize,
    /// Within the group.
    blocks: Range<usize>,
    before: &'a [State],
    input: Vec<&'b mut [f32]>,
    /// The gradient by the new state, then that by the state.
    slopes: &'b mut [State],
}

impl WithSimd for Backward<'_, '_> {
    /// The task's part of the parameters' gradient.
    type Output = Vec<f32>;
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
        let shape = self.inputs.shape;
        let weights = self.inputs.weights(self.group);
        let layers = Layers::new(&weights);
        let mut back = Back::new(simd, shape, &weights);
        let slopes = std::mem::take(&mut self.slopes).iter_mut();
        for ((k, before), slopes) in self.blocks.clone().zip(self.before).zip(slopes) {
            self.block(simd, &layers, &mut back, k, before, slopes);
        }
        back.gradient(simd, shape)
    }
}

/// Everything that one block needs on the way back, and the sums of the weights' gradients.
struct Back<S: Simd> {
    work: Work,
    next: Box<State>,
    input_transposed: Packed,
    hidden_transposed: Packed,
    linear_transposed: Packed,
    out_transposed: Packed,
    d_out: Vec<Block>,
    d_linear: Vec<Block>,
    d_input: Vec<Block>,
    /// `[u; h]` and `h⁺` column by column.
    input: Transpose,
    hidden: Transpose,
    gates: Vec<S::f32s>,
    linear: Vec<S::f32s>,
    outs: Vec<S::f32s>,
    out_bias: Vec<f32>,
}

impl<S: Simd> Back<S> {
    #[inline(always)]
    fn new(simd: S, shape: LstmShape, weights: &Weights) -> Self {
        let width = shape.inputs + H;
        let rows = |n: usize| vec![[0.0; C]; n];
        let input = Transpose::new::<S, C>(width);
        let hidden = Transpose::new::<S, C>(H);
        Self {
            work: Work::new(shape),
            next: Box::new([[[0.0; C]; H]; 2]),
            input_transposed: Packed::transposed(weights.input, shape.inputs),
            hidden_transposed: Packed::transposed(weights.hidden, H),
            linear_transposed: Packed::transposed(weights.linear, H),
            out_transposed: Packed::transposed(weights.out, H),
            d_out: rows(shape.outputs),
            d_linear: rows(H),
            d_input: rows(shape.inputs),
            gates: input.sums(simd, GATES),
            linear: hidden.sums(simd, H),
            input,
            hidden,
            outs: vec![simd.splat_f32s(0.0); shape.outputs * H],
            out_bias: vec![0.0; shape.outputs],
        }
    }

    /// The sums in the order of the parameters.
    #[inline(always)]
    fn gradient(self, simd: S, shape: LstmShape) -> Vec<f32> {
        let width = shape.inputs + H;
        let mut gradient = Vec::with_capacity(shape.parameters());
        for columns in [0..shape.inputs, shape.inputs..width, width..width + 1] {
            for row in self.input.rows::<S>(&self.gates) {
                gradient.extend_from_slice(&row[columns.clone()]);
            }
        }
        for columns in [0..H, H..H + 1] {
            for row in self.hidden.rows::<S>(&self.linear) {
                gradient.extend_from_slice(&row[columns.clone()]);
            }
        }
        let outs = self.outs.into_iter();
        gradient.extend(outs.map(|sums| simd.reduce_sum_f32s(sums)));
        gradient.extend(self.out_bias);
        gradient
    }
}

impl Backward<'_, '_> {
    /// `slopes`: from the gradient by the new state to that by the state.
    #[inline(always)]
    fn block<S: Simd>(
        &mut self,
        simd: S,
        layers: &Layers,
        back: &mut Back<S>,
        block: usize,
        [hidden, cell]: &State,
        [d_hidden, d_cell]: &mut State,
    ) {
        let range = self.inputs.range(block..block + 1);
        let work = &mut back.work;
        work.load(&self.inputs, self.group, range.clone(), hidden);
        work.forward::<S, true>(simd, layers, cell, &mut back.next);

        // Head.
        if let Some(g) = self.out_gradient {
            let mine = self.inputs.of(self.group, g);
            load(mine, self.inputs.columns, range.clone(), &mut back.d_out);
        }
        let (start, d_linear) = (Start::Zero, &mut back.d_linear);
        affine(
            simd,
            &back.out_transposed,
            start,
            &back.d_out,
            d_linear,
            Finish::Keep,
        );
        mask(simd, d_linear, &work.linear[..]);
        let start = Start::Held;
        affine(
            simd,
            &back.linear_transposed,
            start,
            d_linear,
            &mut d_hidden[..],
            Finish::Keep,
        );
        outer(simd, &back.d_out, &work.linear[..], &mut back.outs);
        add_sums(simd, &back.d_out, &mut back.out_bias);
        back.hidden.set(&back.next[0]);
        outer_columns(simd, d_linear, &back.hidden, &mut back.linear);

        // Gates. A padding column has a zero gradient throughout.
        simd.vectorize(Slopes {
            gates: &mut work.gates,
            squashed: &work.squashed,
            cell,
            d_hidden,
            d_cell,
        });
        let d_gates = work.gates.as_flattened();
        back.input.set(&work.input);
        outer_columns(simd, d_gates, &back.input, &mut back.gates);
        if self.wanted.input {
            let (start, d_input) = (Start::Zero, &mut back.d_input);
            affine(
                simd,
                &back.input_transposed,
                start,
                d_gates,
                d_input,
                Finish::Keep,
            );
            let first = self.blocks.start * C;
            let part = range.start - first..range.end - first;
            let rows = self.input.iter_mut().map(|row| &mut row[part.clone()]);
            store(&back.d_input, rows);
        }
        if self.wanted.state {
            let (start, d_hidden) = (Start::Zero, &mut d_hidden[..]);
            affine(
                simd,
                &back.hidden_transposed,
                start,
                d_gates,
                d_hidden,
                Finish::Keep,
            );
        }
    }
}

/// Gradients of `Σ out_gradient ⊙ y + Σ state_gradient ⊙ [h⁺; c⁺]`, nothing standing for zero; `state_gradient`, laid out as the
/// state, becomes the gradient by the state; what is not `wanted` may be anything.
pub fn backward(
    inputs: Inputs,
    out_gradient: Option<&[f32]>,
    state_gradient: &mut [f32],
    wanted: Wanted,
) -> InputGradients {
    let mut gradients = InputGradients {
        input: vec![0.0; inputs.input.len()],
        parameters: vec![0.0; inputs.parameters.len()],
    };
    let blocks = inputs.blocks();
    let before = inputs.states();
    if before.is_empty() {
        return gradients;
    }
    let starts = || (0..blocks).step_by(TASK);
    let tasks: Vec<(usize, Range<usize>)> = (0..inputs.groups)
        .flat_map(|g| starts().map(move |k| (g, k..blocks.min(k + TASK))))
        .collect();
    let groups = before.chunks_exact(blocks);
    let before: Vec<&[State]> = groups.flat_map(|g| g.chunks(TASK)).collect();
    let groups = states_mut(state_gradient).chunks_exact_mut(blocks);
    let slopes: Vec<&mut [State]> = groups.flat_map(|g| g.chunks_mut(TASK)).collect();
    let parts: Vec<(usize, Vec<f32>)> = tasks
        .into_par_iter()
        .zip(before)
        .zip(slopes)
        .zip(inputs.split(&mut gradients.input, TASK))
        .map(|((((group, blocks), before), slopes), input)| {
            let part = pulp::Arch::new().dispatch(Backward {
                inputs,
                out_gradient,
                wanted,
                group,
                blocks,
                before,
                input,
                slopes,
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
