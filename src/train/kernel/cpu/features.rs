//! [`crate::rule::features`] on burn-flex, row by row.

use super::{Primitive, slice, tensor};
use crate::problem::Regularizer;
use crate::rule::features::{
    Common, Conditioning, EDGE_SHARED, EDGE_VARYING, EdgeRows, LANES, Lanes, NODE_SHARED,
    NODE_VARYING, NodeMemory, NodeRows, edge_features, node_features,
};
use crate::train::kernel::features::{Ends, FeatureOps};
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

impl FeatureOps for Flex {
    fn node_features(
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
        regularizer: Regularizer,
        common: Common,
    ) -> (Primitive, Primitive, Primitive) {
        let (rows, d) = (x.shape()[0], x.shape()[1]);
        let tensors = [
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
        ] = tensors.each_ref().map(slice);
        let mut varying = vec![0.0; NODE_VARYING * rows * d];
        let mut shared = vec![0.0; NODE_SHARED * rows];
        let mut next = vec![0.0; 3 * rows];
        pulp::Arch::new().dispatch(NodePass {
            x: [x, x_last, x_older],
            y: [y, y_last],
            g: [g, g_last],
            smoothness,
            conditioning,
            memory,
            regularizer,
            common,
            varying: &mut varying,
            shared: &mut shared,
            next: &mut next,
        });
        (
            tensor(varying, [NODE_VARYING, rows * d]),
            tensor(shared, [NODE_SHARED, rows]),
            tensor(next, [rows, 3]),
        )
    }

    fn edge_features(
        d: Primitive,
        d_last: Primitive,
        flow: Primitive,
        z: Primitive,
        nodes: Primitive,
        smoothness: Primitive,
        ends: Ends,
        conditioning: bool,
    ) -> (Primitive, Primitive) {
        let (rows, columns) = (d.shape()[0], d.shape()[1]);
        let tensors = [d, d_last, flow, z, nodes, smoothness].map(|t| t.to_contiguous());
        let [d, d_last, flow, z, nodes, smoothness] = tensors.each_ref().map(slice);
        let mut varying = vec![0.0; EDGE_VARYING * rows * columns];
        let mut shared = vec![0.0; EDGE_SHARED * rows];
        pulp::Arch::new().dispatch(EdgePass {
            d: [d, d_last],
            flow,
            z,
            smoothness,
            ends: &ends,
            nodes,
            conditioning,
            varying: &mut varying,
            shared: &mut shared,
        });
        (
            tensor(varying, [EDGE_VARYING, rows * columns]),
            tensor(shared, [EDGE_SHARED, rows]),
        )
    }
}
