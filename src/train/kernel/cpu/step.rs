//! The operations of [`crate::train::kernel::step`] on burn-flex: features by [`crate::rule::features`], which the simulator runs too,
//! networks by [`perceptron`], and the updates with their derivatives.

use super::perceptron;
use super::{Primitive, load, perceptron_inputs, slice, tensor};
use crate::problem::Regularizer;
use crate::rule::features::{
    Common, Conditioning, EDGE_SHARED, EDGE_VARYING, EdgeRows, LANES, Lanes, NODE_SHARED,
    NODE_VARYING, NodeMemory, NodeRows, edge_features, node_features,
};
use crate::rule::shared::{
    EDGE_LINKS, EDGE_OUTPUTS, Link, NODE_LINKS, NODE_OUTPUTS, link_all, split,
};
use crate::train::kernel::PerceptronShape;
use crate::train::kernel::step::{Ends, Seen, StepGradients, StepOps};
use burn::backend::{Flex, TensorMetadata};
use pulp::{Simd, WithSimd};

/// The first columns of a block into columns `at..` of a row-major `[rows, stride]` array.
#[inline(always)]
fn store(block: &[Lanes], out: &mut [f32], stride: usize, at: usize, used: usize) {
    for (row, lanes) in out.chunks_exact_mut(stride).zip(block) {
        row[at..at + used].copy_from_slice(&lanes[..used]);
    }
}

struct NodePass<'a> {
    x: [&'a [f32]; 3],
    y: [&'a [f32]; 2],
    g: [&'a [f32]; 2],
    smoothness: &'a [f32],
    /// `[rows, 2]`
    conditioning: &'a [f32],
    /// `[rows, 3]`
    memory: &'a [f32],
    regularizer: Regularizer,
    common: Common,
    varying: &'a mut [f32],
    shared: &'a mut [f32],
    next: &'a mut [f32],
}

impl WithSimd for NodePass<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (rows, columns) = (self.smoothness.len(), self.x[0].len());
        let d = columns / rows;
        let mut block = [[0.0; LANES]; NODE_VARYING];
        for i in 0..rows {
            let own = i * d..(i + 1) * d;
            let agent = NodeRows {
                x: self.x.map(|t| &t[own.clone()]),
                y: self.y.map(|t| &t[own.clone()]),
                g: self.g.map(|t| &t[own.clone()]),
                smoothness: f64::from(self.smoothness[i]),
            };
            let (varying, shared) = (&mut *self.varying, &mut *self.shared);
            let [last_u, first_u, rate] = [0, 1, 2].map(|k| f64::from(self.memory[3 * i + k]));
            let memory = NodeMemory {
                last_u,
                first_u,
                rate,
            };
            let conditioning = Conditioning {
                spread: self.conditioning[2 * i],
                weight: self.conditioning[2 * i + 1],
            };
            let next = agent.features(
                &self.regularizer,
                (memory, conditioning),
                self.common,
                |context| {
                    for (f, value) in context.shared.iter().enumerate() {
                        shared[f * rows + i] = *value;
                    }
                },
                |(), start, used, raw| {
                    node_features(raw, &mut block);
                    store(&block, varying, columns, i * d + start, used);
                },
            );
            let next = [next.last_u, next.first_u, next.rate].map(|v| v as f32);
            self.next[3 * i..3 * i + 3].copy_from_slice(&next);
        }
    }
}

struct EdgePass<'a> {
    d: [&'a [f32]; 2],
    flow: &'a [f32],
    z: &'a [f32],
    smoothness: &'a [f32],
    ends: &'a [(usize, usize)],
    /// `[NODE_SHARED, node rows]`
    nodes: &'a [f32],
    conditioning: bool,
    varying: &'a mut [f32],
    shared: &'a mut [f32],
}

impl WithSimd for EdgePass<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (rows, columns) = (self.smoothness.len(), self.flow.len());
        let d = columns / rows;
        let mut block = [[0.0; LANES]; EDGE_VARYING];
        let node_rows = self.nodes.len() / NODE_SHARED;
        for (e, &(i, j)) in self.ends.iter().enumerate() {
            let row = |k: usize| k * d..(k + 1) * d;
            let edge = EdgeRows {
                d: self.d.map(|t| &t[row(e)]),
                flow: &self.flow[row(e)],
                ends: [&self.z[row(i)], &self.z[row(j)]],
                smoothness: f64::from(self.smoothness[e]),
            };
            let known = |k: usize| -> [f32; NODE_SHARED] {
                std::array::from_fn(|f| self.nodes[f * node_rows + k])
            };
            let (varying, shared) = (&mut *self.varying, &mut *self.shared);
            edge.features(
                [&known(i), &known(j)],
                self.conditioning,
                |context| {
                    for (f, value) in context.shared.iter().enumerate() {
                        shared[f * rows + e] = *value;
                    }
                },
                |(), start, used, raw| {
                    edge_features(raw, &mut block);
                    store(&block, varying, columns, e * d + start, used);
                },
            );
        }
    }
}

/// The numbers of contiguous tensors.
fn slices<const N: usize>(tensors: &[Primitive; N]) -> [&[f32]; N] {
    tensors.each_ref().map(slice)
}

/// Features of all agents: `[NODE_VARYING, rows·d]`, `[NODE_SHARED, rows]`, and the next memory `[rows, 3]`.
fn node_pass(rows: &[Primitive; 10], seen: Seen) -> [Vec<f32>; 3] {
    let count = rows[0].shape()[0];
    let [
        x,
        x_last,
        x_older,
        y,
        y_last,
        g,
        g_last,
        smoothness,
        conditioning,
        memory,
    ] = slices(rows);
    let mut varying = vec![0.0; NODE_VARYING * x.len()];
    let mut shared = vec![0.0; NODE_SHARED * count];
    let mut next = vec![0.0; 3 * count];
    pulp::Arch::new().dispatch(NodePass {
        x: [x, x_last, x_older],
        y: [y, y_last],
        g: [g, g_last],
        smoothness,
        conditioning,
        memory,
        regularizer: seen.regularizer,
        common: seen.common,
        varying: &mut varying,
        shared: &mut shared,
        next: &mut next,
    });
    [varying, shared, next]
}

/// Features of all edges: `[EDGE_VARYING, rows·d]` and `[EDGE_SHARED, rows]`.
fn edge_pass(rows: &[Primitive; 6], ends: &Ends, conditioning: bool) -> [Vec<f32>; 2] {
    let count = rows[0].shape()[0];
    let [d, d_last, flow, z, nodes, smoothness] = slices(rows);
    let mut varying = vec![0.0; EDGE_VARYING * d.len()];
    let mut shared = vec![0.0; EDGE_SHARED * count];
    pulp::Arch::new().dispatch(EdgePass {
        d: [d, d_last],
        flow,
        z,
        smoothness,
        ends,
        nodes,
        conditioning,
        varying: &mut varying,
        shared: &mut shared,
    });
    [varying, shared]
}

/// Coefficients, row-major `[outputs, columns]`.
struct Linked<'a>(&'a [Link], &'a mut [f32]);

impl WithSimd for Linked<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        link_all(self.0, self.1);
    }
}

/// From gradients by coefficients to those by outputs, in place; the coefficients tell the slopes.
struct Slopes<'a> {
    links: &'a [Link],
    coefficients: &'a [f32],
    gradient: &'a mut [f32],
}

impl WithSimd for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = (self.gradient.len() / self.links.len()).max(1);
        let rows = self.gradient.chunks_exact_mut(columns);
        let coefficients = self.coefficients.chunks_exact(columns);
        for ((link, row), coefficients) in self.links.iter().zip(rows).zip(coefficients) {
            let pairs = row.iter_mut().zip(coefficients);
            match *link {
                Link::Plain => {}
                Link::Exp => pairs.for_each(|(g, c)| *g *= c),
                Link::Positive => pairs.for_each(|(g, c)| *g = if *c > 0.0 { *g } else { 0.0 }),
                Link::Within(bound) => {
                    pairs.for_each(|(g, c)| *g = if c.abs() < bound { *g } else { 0.0 });
                }
            }
        }
    }
}

/// A network on features, its coefficients `[outputs, columns]`.
fn network(
    [varying, shared]: [&[f32]; 2],
    items: usize,
    parameters: &Primitive,
    shape: &PerceptronShape,
    links: &[Link],
) -> Primitive {
    let parameters = parameters.to_contiguous();
    let inputs = perceptron_inputs([varying, shared, slice(&parameters)], items, shape);
    let columns = inputs.columns;
    let mut out = perceptron::forward(inputs);
    pulp::Arch::new().dispatch(Linked(links, &mut out));
    tensor(out, [links.len(), columns])
}

/// The gradient of [`network`] by its parameters.
fn network_backward(
    [varying, shared]: [&[f32]; 2],
    items: usize,
    [parameters, coefficients, gradient]: [Primitive; 3],
    shape: &PerceptronShape,
    links: &[Link],
) -> Primitive {
    let [parameters, coefficients] = [parameters, coefficients].map(|t| t.to_contiguous());
    let mut gradient = slice(&gradient.to_contiguous()).to_vec();
    pulp::Arch::new().dispatch(Slopes {
        links,
        coefficients: slice(&coefficients),
        gradient: &mut gradient,
    });
    let inputs = perceptron_inputs([varying, shared, slice(&parameters)], items, shape);
    let found = perceptron::backward(inputs, &gradient, false);
    tensor(found.parameters, [shape.parameters()])
}

/// [`Regularizer`] in f32; no bounds are infinite ones.
#[derive(Clone, Copy)]
struct Prox {
    l1: f32,
    l2: f32,
    bounds: [f32; 2],
}

impl Prox {
    fn new(r: Regularizer) -> Self {
        let (low, high) = r.bounds.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        Self {
            l1: r.l1 as f32,
            l2: r.l2 as f32,
            bounds: [low as f32, high as f32],
        }
    }

    /// `prox_{P r}(v)`
    #[inline(always)]
    fn at(&self, p: f32, v: f32) -> f32 {
        let threshold = p * self.l1;
        let shrunk = (v - v.max(-threshold).min(threshold)) / (1.0 + p * self.l2);
        let [lo, hi] = self.bounds;
        // A NaN stays one: the window that it comes from is skipped.
        let raised = if shrunk < lo { lo } else { shrunk };
        if raised > hi { hi } else { raised }
    }

    /// Derivatives of [`Self::at`] by `P` and `v`.
    #[inline(always)]
    fn slopes(&self, p: f32, v: f32) -> [f32; 2] {
        let (threshold, scale) = (p * self.l1, 1.0 / (1.0 + p * self.l2));
        let shrunk = (v - v.max(-threshold).min(threshold)) * scale;
        let free = shrunk >= self.bounds[0] && shrunk <= self.bounds[1];
        let moves = self.l1 == 0.0 || v.abs() > threshold;
        let by_v = if free && moves { scale } else { 0.0 };
        let by_p = if free { -shrunk * self.l2 * scale } else { 0.0 };
        [by_p - self.l1.copysign(v) * by_v, by_v]
    }
}

/// A block of numbers from `from` on; lanes beyond `used` are zero.
#[inline(always)]
fn lanes(values: &[f32], from: usize, used: usize) -> Lanes {
    let mut block = [0.0; LANES];
    let row = std::slice::from_mut(&mut block);
    load(values, values.len(), from..from + used, row);
    block
}

/// The way back of [`lanes`].
#[inline(always)]
fn put(block: &Lanes, out: &mut [f32], from: usize, used: usize) {
    out[from..from + used].copy_from_slice(&block[..used]);
}

/// The blocks of a row of `d` numbers: first number and how many.
fn blocks(d: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..d).step_by(LANES).map(move |k| (k, LANES.min(d - k)))
}

/// What the node update works on: `x, x⁻, y, y⁻, g, g⁻, P, β, δ, γ`, row-major `[rows, d]` each.
struct UpdateRows<'a> {
    values: [&'a [f32]; 6 + NODE_OUTPUTS],
    smoothness: &'a [f32],
    prox: Prox,
}

/// A block of [`UpdateRows`].
struct UpdateBlock {
    values: [Lanes; 6 + NODE_OUTPUTS],
    /// `1/L`
    unit: f32,
}

/// Intermediate results at one coordinate.
struct At {
    /// `P/L`
    p: f32,
    dx: f32,
    dg: f32,
    dy: f32,
    force: f32,
    /// What the prox is taken of.
    v: f32,
}

impl<'a> UpdateRows<'a> {
    fn new(rows: &'a [Primitive; 8], regularizer: Regularizer) -> Self {
        let [x, x_last, y, y_last, g, g_last, coefficients, smoothness] = slices(rows);
        let [primal, momentum, difference, extrapolation] = split(coefficients);
        Self {
            values: [
                x,
                x_last,
                y,
                y_last,
                g,
                g_last,
                primal,
                momentum,
                difference,
                extrapolation,
            ],
            smoothness,
            prox: Prox::new(regularizer),
        }
    }

    /// Hands every block to `each(block, first number, how many)`.
    #[inline(always)]
    fn blocks(&self, mut each: impl FnMut(&UpdateBlock, usize, usize)) {
        let d = self.values[0].len() / self.smoothness.len();
        for (i, l) in self.smoothness.iter().enumerate() {
            for (start, used) in blocks(d) {
                let from = i * d + start;
                let block = UpdateBlock {
                    values: self.values.map(|row| lanes(row, from, used)),
                    unit: 1.0 / l,
                };
                each(&block, from, used);
            }
        }
    }
}

impl UpdateBlock {
    #[inline(always)]
    fn at(&self, l: usize) -> At {
        let [
            x,
            x_last,
            y,
            y_last,
            g,
            g_last,
            primal,
            momentum,
            difference,
            extrapolation,
        ] = self.values.each_ref().map(|lanes| lanes[l]);
        let p = primal * self.unit;
        let (dx, dg, dy) = (x - x_last, g - g_last, y - y_last);
        let force = g + difference * dg + y + extrapolation * dy;
        At {
            p,
            dx,
            dg,
            dy,
            force,
            v: x + momentum * dx - p * force,
        }
    }
}

struct Update<'a> {
    rows: UpdateRows<'a>,
    z: &'a mut [f32],
}

impl WithSimd for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let prox = self.rows.prox;
        self.rows.blocks(|block, from, used| {
            let mut z = [0.0; LANES];
            for (l, z) in z.iter_mut().enumerate() {
                let at = block.at(l);
                *z = prox.at(at.p, at.v);
            }
            put(&z, self.z, from, used);
        });
    }
}

struct UpdateBackward<'a> {
    rows: UpdateRows<'a>,
    gradient: &'a [f32],
    /// In the order of [`UpdateRows`].
    by: [&'a mut [f32]; 6 + NODE_OUTPUTS],
}

impl WithSimd for UpdateBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (prox, mut by) = (self.rows.prox, self.by);
        self.rows.blocks(|block, from, used| {
            let gradient = lanes(self.gradient, from, used);
            let [_, _, _, _, _, _, _, momentum, difference, extrapolation] = &block.values;
            let mut out = [[0.0; LANES]; 6 + NODE_OUTPUTS];
            for l in 0..LANES {
                let at = block.at(l);
                let [slope_p, slope_v] = prox.slopes(at.p, at.v);
                let by_v = gradient[l] * slope_v;
                let by_force = -at.p * by_v;
                let by_dx = momentum[l] * by_v;
                let by_dy = extrapolation[l] * by_force;
                let by_dg = difference[l] * by_force;
                (out[0][l], out[1][l]) = (by_v + by_dx, -by_dx);
                (out[2][l], out[3][l]) = (by_force + by_dy, -by_dy);
                (out[4][l], out[5][l]) = (by_force + by_dg, -by_dg);
                out[6][l] = (gradient[l] * slope_p - by_v * at.force) * block.unit;
                out[7][l] = by_v * at.dx;
                out[8][l] = by_force * at.dg;
                out[9][l] = by_force * at.dy;
            }
            for (out, by) in out.iter().zip(&mut by) {
                put(out, by, from, used);
            }
        });
    }
}

/// The rows of a row-major `[R, columns]` array.
fn split_mut<const R: usize>(values: &mut [f32]) -> [&mut [f32]; R] {
    let columns = values.len() / R;
    let mut rest = values;
    std::array::from_fn(|_| {
        let (row, after) = std::mem::take(&mut rest).split_at_mut(columns);
        rest = after;
        row
    })
}

/// What the exchange works on: `D, F, S, C, θ`, row-major `[rows, d]` each.
struct ExchangeRows<'a> {
    values: [&'a [f32]; 2 + EDGE_OUTPUTS],
    /// `w L_e` and `w`, `[rows]` each.
    scales: [&'a [f32]; 2],
    ends: &'a [(usize, usize)],
}

/// A block of [`ExchangeRows`].
struct ExchangeBlock {
    values: [Lanes; 2 + EDGE_OUTPUTS],
    /// `w L_e`
    scale: f32,
    /// `w`
    weight: f32,
}

impl<'a> ExchangeRows<'a> {
    fn new(rows: &'a [Primitive; 7], ends: &'a Ends) -> Self {
        let [_, _, flow, coefficients, difference, scale, weight] = slices(rows);
        let [dual, mixing, memory] = split(coefficients);
        Self {
            values: [difference, flow, dual, mixing, memory],
            scales: [scale, weight],
            ends,
        }
    }

    /// Hands every block to `each(block, [first number, that of its smaller and of its larger end], how many)`.
    #[inline(always)]
    fn blocks(&self, mut each: impl FnMut(&ExchangeBlock, [usize; 3], usize)) {
        let d = self.values[0].len() / self.ends.len().max(1);
        for (e, &(i, j)) in self.ends.iter().enumerate() {
            for (start, used) in blocks(d) {
                let at = [e, i, j].map(|row| row * d + start);
                let block = ExchangeBlock {
                    values: self.values.map(|row| lanes(row, at[0], used)),
                    scale: self.scales[0][e],
                    weight: self.scales[1][e],
                };
                each(&block, at, used);
            }
        }
    }
}

/// Adds a block to one row and subtracts it from another.
#[inline(always)]
fn flow_between(values: &mut [f32], [i, j]: [usize; 2], used: usize, block: &Lanes) {
    let (mut to, mut from) = (lanes(values, i, used), lanes(values, j, used));
    for l in 0..LANES {
        to[l] += block[l];
        from[l] -= block[l];
    }
    put(&to, values, i, used);
    put(&from, values, j, used);
}

struct Exchange<'a> {
    rows: ExchangeRows<'a>,
    /// `z`, becomes `x⁺`.
    x: &'a mut [f32],
    /// Becomes `y⁺`.
    y: &'a mut [f32],
    /// Becomes `F⁺`.
    flow: &'a mut [f32],
}

impl WithSimd for Exchange<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.rows.blocks(|block, [e, i, j], used| {
            let [difference, before, dual, mixing, memory] = &block.values;
            let (mut flow, mut mixed) = ([0.0; LANES], [0.0; LANES]);
            for l in 0..LANES {
                flow[l] = dual[l] * block.scale * difference[l] + memory[l] * before[l];
                mixed[l] = -mixing[l] * block.weight * difference[l];
            }
            put(&flow, self.flow, e, used);
            flow_between(self.y, [i, j], used, &flow);
            flow_between(self.x, [i, j], used, &mixed);
        });
    }
}

struct ExchangeBackward<'a> {
    rows: ExchangeRows<'a>,
    /// By `x⁺` and `y⁺`.
    x: &'a [f32],
    y: &'a [f32],
    /// By `F⁺`; becomes that by `F`.
    flow: &'a mut [f32],
    /// That by `x⁺`; becomes that by `z`.
    z: &'a mut [f32],
    by_coefficients: [&'a mut [f32]; EDGE_OUTPUTS],
}

impl WithSimd for ExchangeBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let mut by_coefficients = self.by_coefficients;
        self.rows.blocks(|block, [e, i, j], used| {
            let [difference, before, dual, mixing, memory] = &block.values;
            let [xi, yi] = [self.x, self.y].map(|t| lanes(t, i, used));
            let [xj, yj] = [self.x, self.y].map(|t| lanes(t, j, used));
            let after = lanes(self.flow, e, used);
            let mut out = [[0.0; LANES]; EDGE_OUTPUTS];
            let (mut by_flow, mut by_difference) = ([0.0; LANES], [0.0; LANES]);
            for l in 0..LANES {
                let by_after = after[l] + yi[l] - yj[l];
                let by_mixed = (xj[l] - xi[l]) * block.weight;
                out[0][l] = by_after * block.scale * difference[l];
                out[1][l] = by_mixed * difference[l];
                out[2][l] = by_after * before[l];
                by_flow[l] = by_after * memory[l];
                by_difference[l] = by_after * block.scale * dual[l] + by_mixed * mixing[l];
            }
            for (out, by) in out.iter().zip(&mut by_coefficients) {
                put(out, by, e, used);
            }
            put(&by_flow, self.flow, e, used);
            flow_between(self.z, [i, j], used, &by_difference);
        });
    }
}

impl StepOps for Flex {
    fn node_network(
        x: Primitive,
        x_last: Primitive,
        x_older: Primitive,
        y: Primitive,
        y_last: Primitive,
        g: Primitive,
        g_last: Primitive,
        smoothness: Primitive,
        conditioning: Primitive,
        memory: Primitive,
        parameters: Primitive,
        seen: Seen,
        shape: PerceptronShape,
    ) -> (Primitive, Primitive, Primitive) {
        let rows = [
            x,
            x_last,
            x_older,
            y,
            y_last,
            g,
            g_last,
            smoothness,
            conditioning,
            memory,
        ]
        .map(|t| t.to_contiguous());
        let items = rows[0].shape()[0];
        let [varying, shared, next] = node_pass(&rows, seen);
        let coefficients = network([&varying, &shared], items, &parameters, &shape, &NODE_LINKS);
        (
            coefficients,
            tensor(shared, [NODE_SHARED, items]),
            tensor(next, [items, 3]),
        )
    }

    fn node_update(
        x: Primitive,
        x_last: Primitive,
        y: Primitive,
        y_last: Primitive,
        g: Primitive,
        g_last: Primitive,
        coefficients: Primitive,
        smoothness: Primitive,
        regularizer: Regularizer,
    ) -> Primitive {
        let rows =
            [x, x_last, y, y_last, g, g_last, coefficients, smoothness].map(|t| t.to_contiguous());
        let shape = rows[0].shape().to_vec();
        let mut z = vec![0.0; shape[0] * shape[1]];
        pulp::Arch::new().dispatch(Update {
            rows: UpdateRows::new(&rows, regularizer),
            z: &mut z,
        });
        tensor(z, shape)
    }

    fn edge_network(
        d: Primitive,
        d_last: Primitive,
        flow: Primitive,
        z: Primitive,
        nodes: Primitive,
        smoothness: Primitive,
        parameters: Primitive,
        ends: Ends,
        conditioning: bool,
        shape: PerceptronShape,
    ) -> Primitive {
        let rows = [d, d_last, flow, z, nodes, smoothness].map(|t| t.to_contiguous());
        let [varying, shared] = edge_pass(&rows, &ends, conditioning);
        let items = rows[0].shape()[0];
        network([&varying, &shared], items, &parameters, &shape, &EDGE_LINKS)
    }

    fn exchange(
        z: Primitive,
        y: Primitive,
        flow: Primitive,
        coefficients: Primitive,
        d: Primitive,
        scale: Primitive,
        weight: Primitive,
        ends: Ends,
    ) -> (Primitive, Primitive, Primitive) {
        let rows = [z, y, flow, coefficients, d, scale, weight].map(|t| t.to_contiguous());
        let (nodes, edges) = (rows[0].shape().to_vec(), rows[2].shape().to_vec());
        let [mut x, mut y] = [&rows[0], &rows[1]].map(|t| slice(t).to_vec());
        let mut next = vec![0.0; edges.iter().product()];
        pulp::Arch::new().dispatch(Exchange {
            rows: ExchangeRows::new(&rows, &ends),
            x: &mut x,
            y: &mut y,
            flow: &mut next,
        });
        (
            tensor(x, nodes.clone()),
            tensor(y, nodes),
            tensor(next, edges),
        )
    }
}

impl StepGradients for Flex {
    fn node_network_backward(
        rows: [Primitive; 10],
        parameters: Primitive,
        coefficients: Primitive,
        gradient: Primitive,
        seen: Seen,
        shape: &PerceptronShape,
    ) -> Primitive {
        let rows = rows.map(|t| t.to_contiguous());
        let items = rows[0].shape()[0];
        let [varying, shared, _] = node_pass(&rows, seen);
        let tensors = [parameters, coefficients, gradient];
        network_backward([&varying, &shared], items, tensors, shape, &NODE_LINKS)
    }

    fn node_update_backward(
        rows: [Primitive; 8],
        gradient: Primitive,
        regularizer: Regularizer,
    ) -> [Primitive; 7] {
        let rows = rows.map(|t| t.to_contiguous());
        let gradient = gradient.to_contiguous();
        let shape = gradient.shape().to_vec();
        let columns = shape[0] * shape[1];
        let mut by_rows: [Vec<f32>; 6] = std::array::from_fn(|_| vec![0.0; columns]);
        let mut by_coefficients = vec![0.0; NODE_OUTPUTS * columns];
        let [x, x_last, y, y_last, g, g_last] = by_rows.each_mut().map(Vec::as_mut_slice);
        let [primal, momentum, difference, extrapolation] = split_mut(&mut by_coefficients);
        pulp::Arch::new().dispatch(UpdateBackward {
            rows: UpdateRows::new(&rows, regularizer),
            gradient: slice(&gradient),
            by: [
                x,
                x_last,
                y,
                y_last,
                g,
                g_last,
                primal,
                momentum,
                difference,
                extrapolation,
            ],
        });
        let [x, x_last, y, y_last, g, g_last] = by_rows.map(|t| tensor(t, shape.clone()));
        let by_coefficients = tensor(by_coefficients, [NODE_OUTPUTS, columns]);
        [x, x_last, y, y_last, g, g_last, by_coefficients]
    }

    fn edge_network_backward(
        rows: [Primitive; 6],
        parameters: Primitive,
        coefficients: Primitive,
        gradient: Primitive,
        ends: &Ends,
        conditioning: bool,
        shape: &PerceptronShape,
    ) -> Primitive {
        let rows = rows.map(|t| t.to_contiguous());
        let items = rows[0].shape()[0];
        let [varying, shared] = edge_pass(&rows, ends, conditioning);
        let tensors = [parameters, coefficients, gradient];
        network_backward([&varying, &shared], items, tensors, shape, &EDGE_LINKS)
    }

    fn exchange_backward(
        rows: [Primitive; 7],
        gradients: [Option<Primitive>; 3],
        ends: &Ends,
    ) -> [Primitive; 4] {
        let rows = rows.map(|t| t.to_contiguous());
        let (nodes, edges) = (rows[0].shape().to_vec(), rows[2].shape().to_vec());
        let columns: usize = edges.iter().product();
        let zero = |shape: &[usize]| tensor(vec![0.0; shape.iter().product()], shape);
        let [x, y, by_flow] = gradients;
        let [x, y] = [x, y].map(|t| t.map_or_else(|| zero(&nodes), |t| t.to_contiguous()));
        let mut by_flow = match by_flow {
            Some(t) => slice(&t.to_contiguous()).to_vec(),
            None => vec![0.0; columns],
        };
        let mut by_z = slice(&x).to_vec();
        let mut by_coefficients = vec![0.0; EDGE_OUTPUTS * columns];
        pulp::Arch::new().dispatch(ExchangeBackward {
            rows: ExchangeRows::new(&rows, ends),
            x: slice(&x),
            y: slice(&y),
            flow: &mut by_flow,
            z: &mut by_z,
            by_coefficients: split_mut(&mut by_coefficients),
        });
        [
            tensor(by_z, nodes),
            y,
            tensor(by_flow, edges),
            tensor(by_coefficients, [EDGE_OUTPUTS, columns]),
        ]
    }
}
