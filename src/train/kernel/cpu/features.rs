//! [`crate::rule::features`] on burn-flex, row by row.

use super::{Primitive, slice, tensor};
use crate::problem::Regularizer;
use crate::rule::features::{
    EDGE_FEATURES, EDGE_VARYING, EdgeRows, LANES, Lanes, NODE_FEATURES, NODE_VARYING, NodeRows,
    edge_features, node_features,
};
use crate::train::kernel::features::{Common, Ends, FeatureOps};
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
    last_u: &'a [f32],
    regularizer: Regularizer,
    common: Common,
    varying: &'a mut [f32],
    shared: &'a mut [f32],
    sigma: &'a mut [f32],
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
            let sigma = agent.features(
                &self.regularizer,
                f64::from(self.last_u[i]),
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
            self.sigma[i] = sigma as f32;
        }
    }
}

struct EdgePass<'a> {
    d: [&'a [f32]; 2],
    flow: &'a [f32],
    z: &'a [f32],
    smoothness: &'a [f32],
    ends: &'a [(usize, usize)],
    common: Common,
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
        for (e, &(i, j)) in self.ends.iter().enumerate() {
            let row = |k: usize| k * d..(k + 1) * d;
            let edge = EdgeRows {
                d: self.d.map(|t| &t[row(e)]),
                flow: &self.flow[row(e)],
                ends: [&self.z[row(i)], &self.z[row(j)]],
                smoothness: f64::from(self.smoothness[e]),
            };
            let (varying, shared) = (&mut *self.varying, &mut *self.shared);
            edge.features(
                self.common,
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
        last_u: Primitive,
        regularizer: Regularizer,
        common: Common,
    ) -> (Primitive, Primitive, Primitive) {
        let (rows, d) = (x.shape()[0], x.shape()[1]);
        let tensors = [x, x_last, x_older, y, y_last, g, g_last, smoothness, last_u]
            .map(|t| t.to_contiguous());
        let [x, x_last, x_older, y, y_last, g, g_last, smoothness, last_u] =
            tensors.each_ref().map(slice);
        let mut varying = vec![0.0; NODE_VARYING * rows * d];
        let mut shared = vec![0.0; (NODE_FEATURES - NODE_VARYING) * rows];
        let mut sigma = vec![0.0; rows];
        pulp::Arch::new().dispatch(NodePass {
            x: [x, x_last, x_older],
            y: [y, y_last],
            g: [g, g_last],
            smoothness,
            last_u,
            regularizer,
            common,
            varying: &mut varying,
            shared: &mut shared,
            sigma: &mut sigma,
        });
        (
            tensor(varying, [NODE_VARYING, rows * d]),
            tensor(shared, [NODE_FEATURES - NODE_VARYING, rows]),
            tensor(sigma, [rows, 1]),
        )
    }

    fn edge_features(
        d: Primitive,
        d_last: Primitive,
        flow: Primitive,
        z: Primitive,
        smoothness: Primitive,
        ends: Ends,
        common: Common,
    ) -> (Primitive, Primitive) {
        let (rows, columns) = (d.shape()[0], d.shape()[1]);
        let tensors = [d, d_last, flow, z, smoothness].map(|t| t.to_contiguous());
        let [d, d_last, flow, z, smoothness] = tensors.each_ref().map(slice);
        let mut varying = vec![0.0; EDGE_VARYING * rows * columns];
        let mut shared = vec![0.0; (EDGE_FEATURES - EDGE_VARYING) * rows];
        pulp::Arch::new().dispatch(EdgePass {
            d: [d, d_last],
            flow,
            z,
            smoothness,
            ends: &ends,
            common,
            varying: &mut varying,
            shared: &mut shared,
        });
        (
            tensor(varying, [EDGE_VARYING, rows * columns]),
            tensor(shared, [EDGE_FEATURES - EDGE_VARYING, rows]),
        )
    }
}
