//! A step of `shared` in four operations: the two networks, which see their features without a tape, and the two updates.
//!
//! ```text
//! node network   rows of an agent, parameters → P, β, δ, γ          node update   rows, coefficients → z
//! edge network   rows of an edge, parameters → S, C, θ               exchange      z, y, F, coefficients → x⁺, y⁺, F⁺
//! ```
//!
//! The equations are those of [`crate::rule::shared`]. The backward passes keep the rows, which the steps share, and recompute
//! features, layers and intermediate results: a step adds little more than its coefficients to the tape. For training that does not
//! differentiate through the features, on the CPU and in f32; elsewhere `train::shared` writes the same operation by operation.

use super::PerceptronShape;
use crate::problem::Regularizer;
use crate::rule::features::Common;
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops};
use std::sync::Arc;

use super::autodiff::{Outputs, put, record, taken};

/// Smaller and larger end of every edge row.
pub type Ends = Arc<[(usize, usize)]>;

/// What the node network sees: `x, x⁻, x⁻⁻, y, y⁻, g, g⁻` as `[rows, d]`, `L` `[rows, 1]`, conditioning `[rows, 2]`, memory `[rows, 3]`.
type NodeTensors<T> = [T; 10];
/// What the node update works on: `x, x⁻, y, y⁻, g, g⁻` as `[rows, d]`, coefficients `[4, rows·d]`, `L` `[rows, 1]`.
type UpdateTensors<T> = [T; 8];
/// What the edge network sees: `D, D⁻, F` as `[rows, d]`, `z` `[node rows, d]`, the agents' shared features
/// `[NODE_SHARED, node rows]`, `L_e` `[rows, 1]`.
type EdgeTensors<T> = [T; 6];
/// What the exchange works on: `z, y` as `[node rows, d]`, `F` `[rows, d]`, coefficients `[3, rows·d]`, `D` `[rows, d]`, `w L_e` and `w`
/// `[rows, 1]`.
type ExchangeTensors<T> = [T; 7];

/// How the node network's features are made of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// `r`
    pub regularizer: Regularizer,
    /// What is common to all agents.
    pub common: Common,
}

#[allow(clippy::too_many_arguments)]
#[cfg_attr(not(feature = "cpu"), allow(unused_variables))]
#[backend_extension(Flex: cfg(feature = "cpu"), Autodiff)]
pub(super) trait StepOps: Backend {
    /// Coefficients `[4, rows·d]`, shared features `[NODE_SHARED, rows]`, next memory `[rows, 3]`.
    fn node_network(
        x: FloatTensor<Self>,
        x_last: FloatTensor<Self>,
        x_older: FloatTensor<Self>,
        y: FloatTensor<Self>,
        y_last: FloatTensor<Self>,
        g: FloatTensor<Self>,
        g_last: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        conditioning: FloatTensor<Self>,
        memory: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        seen: Seen,
        shape: PerceptronShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `z` `[rows, d]`.
    fn node_update(
        x: FloatTensor<Self>,
        x_last: FloatTensor<Self>,
        y: FloatTensor<Self>,
        y_last: FloatTensor<Self>,
        g: FloatTensor<Self>,
        g_last: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        regularizer: Regularizer,
    ) -> FloatTensor<Self>;

    /// Coefficients `[3, rows·d]`.
    fn edge_network(
        d: FloatTensor<Self>,
        d_last: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        z: FloatTensor<Self>,
        shared: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        ends: Ends,
        conditioning: bool,
        shape: PerceptronShape,
    ) -> FloatTensor<Self>;

    /// `x⁺`, `y⁺` `[node rows, d]` and `F⁺` `[rows, d]`.
    fn exchange(
        z: FloatTensor<Self>,
        y: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        d: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        ends: Ends,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The operations, backward; implemented by the backend that computes.
pub(super) trait StepGradients: StepOps {
    /// By the parameters, from the gradient by `coefficients`, which the forward pass gave.
    fn node_network_backward(
        rows: NodeTensors<FloatTensor<Self>>,
        parameters: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        seen: Seen,
        shape: &PerceptronShape,
    ) -> FloatTensor<Self>;

    /// By all of the rows but `L`.
    fn node_update_backward(
        rows: UpdateTensors<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        regularizer: Regularizer,
    ) -> [FloatTensor<Self>; 7];

    /// As [`Self::node_network_backward`].
    fn edge_network_backward(
        rows: EdgeTensors<FloatTensor<Self>>,
        parameters: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        ends: &Ends,
        conditioning: bool,
        shape: &PerceptronShape,
    ) -> FloatTensor<Self>;

    /// By `z, y, F` and the coefficients, from those by `x⁺, y⁺, F⁺` (`None` is zero).
    fn exchange_backward(
        rows: ExchangeTensors<FloatTensor<Self>>,
        gradients: [Option<FloatTensor<Self>>; 3],
        ends: &Ends,
    ) -> [FloatTensor<Self>; 4];
}

/// A network's coefficients and what else it found out about its agents.
pub struct NodeAnswer {
    /// `[4, rows·d]`
    pub coefficients: Tensor<2>,
    /// `[NODE_SHARED, rows]`, without a tape.
    pub shared: Tensor<2>,
    /// `[rows, 3]`, without a tape.
    pub memory: Tensor<2>,
}

/// `P, β, δ, γ` of every coordinate. `x`: the iterate and the two before it, `y` and `g` the last two, `[rows, d]`; `smoothness`:
/// `[rows, 1]`; `conditioning`: `[rows, 2]`; `memory`: `[rows, 3]`, in the order of [`crate::rule::features::NodeMemory`].
#[allow(clippy::too_many_arguments)]
pub fn node_network(
    x: [Tensor<2>; 3],
    y: [Tensor<2>; 2],
    g: [Tensor<2>; 2],
    smoothness: Tensor<2>,
    conditioning: Tensor<2>,
    memory: Tensor<2>,
    parameters: Tensor<1>,
    seen: Seen,
    shape: &PerceptronShape,
) -> NodeAnswer {
    let plain = |t: Tensor<2>| t.inner().into_dispatch();
    let [x, x_last, x_older] = x.map(plain);
    let ([y, y_last], [g, g_last]) = (y.map(plain), g.map(plain));
    let (coefficients, shared, memory) = <Dispatch as StepOps>::node_network(
        x,
        x_last,
        x_older,
        y,
        y_last,
        g,
        g_last,
        plain(smoothness),
        plain(conditioning),
        plain(memory),
        parameters.into_dispatch(),
        seen,
        shape.clone(),
    );
    let untracked = |t| Tensor::<2>::from_dispatch(t).inner();
    NodeAnswer {
        coefficients: Tensor::from_dispatch(coefficients),
        shared: untracked(shared),
        memory: untracked(memory),
    }
}

/// `z` `[rows, d]`; `x`, `y`, `g`: now and before, `[rows, d]`; `coefficients`: `[4, rows·d]`; `smoothness`: `[rows, 1]`.
pub fn node_update(
    [x, y, g]: [[Tensor<2>; 2]; 3],
    coefficients: Tensor<2>,
    smoothness: Tensor<2>,
    regularizer: Regularizer,
) -> Tensor<2> {
    let dispatch = |pair: [Tensor<2>; 2]| pair.map(Tensor::into_dispatch);
    let ([x, x_last], [y, y_last], [g, g_last]) = (dispatch(x), dispatch(y), dispatch(g));
    Tensor::from_dispatch(<Dispatch as StepOps>::node_update(
        x,
        x_last,
        y,
        y_last,
        g,
        g_last,
        coefficients.into_dispatch(),
        smoothness.into_dispatch(),
        regularizer,
    ))
}

/// `S, C, θ` of every coordinate, `[3, rows·d]`. `d`: `z_i − z_j` and the one before, `flow`: `F`, `[rows, d]`; `z`: `[node rows, d]`;
/// `shared`: the agents' shared features `[NODE_SHARED, node rows]`; `smoothness`: `L_e` `[rows, 1]`.
#[allow(clippy::too_many_arguments)]
pub fn edge_network(
    d: [Tensor<2>; 2],
    flow: Tensor<2>,
    z: Tensor<2>,
    shared: Tensor<2>,
    smoothness: Tensor<2>,
    parameters: Tensor<1>,
    ends: Ends,
    conditioning: bool,
    shape: &PerceptronShape,
) -> Tensor<2> {
    let plain = |t: Tensor<2>| t.inner().into_dispatch();
    let [d, d_last] = d.map(plain);
    Tensor::from_dispatch(<Dispatch as StepOps>::edge_network(
        d,
        d_last,
        plain(flow),
        plain(z),
        plain(shared),
        plain(smoothness),
        parameters.into_dispatch(),
        ends,
        conditioning,
        shape.clone(),
    ))
}

/// `x⁺`, `y⁺` and `F⁺`. `z`, `y`: `[node rows, d]`; `flow`: `F`, `d`: `z_i − z_j`, `[rows, d]`; `coefficients`: `[3, rows·d]`; `scale`: `w L_e`,
/// `weight`: `w`, `[rows, 1]`. Gradients flow through `z`, not through `d`.
pub fn exchange(
    [z, y, flow, coefficients]: [Tensor<2>; 4],
    d: Tensor<2>,
    [scale, weight]: [Tensor<2>; 2],
    ends: Ends,
) -> [Tensor<2>; 3] {
    let (x, y, flow) = <Dispatch as StepOps>::exchange(
        z.into_dispatch(),
        y.into_dispatch(),
        flow.into_dispatch(),
        coefficients.into_dispatch(),
        d.inner().into_dispatch(),
        scale.into_dispatch(),
        weight.into_dispatch(),
        ends,
    );
    [x, y, flow].map(Tensor::from_dispatch)
}

#[derive(Debug)]
struct NodeNetwork;

impl<B: StepGradients> Backward<B, 1> for NodeNetwork {
    type State = (
        NodeTensors<FloatTensor<B>>,
        [FloatTensor<B>; 2],
        Seen,
        PerceptronShape,
    );

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (rows, [parameters, coefficients], seen, shape) = ops.state;
        if let [Some(node)] = ops.parents {
            let by_parameters =
                B::node_network_backward(rows, parameters, coefficients, gradient, seen, &shape);
            grads.register::<B>(node.id, by_parameters);
        }
    }
}

#[derive(Debug)]
struct NodeUpdate;

impl<B: StepGradients> Backward<B, 7> for NodeUpdate {
    type State = (UpdateTensors<FloatTensor<B>>, Regularizer);

    fn backward(self, ops: Ops<Self::State, 7>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (rows, regularizer) = ops.state;
        let gradients = B::node_update_backward(rows, gradient, regularizer);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct EdgeNetwork;

impl<B: StepGradients> Backward<B, 1> for EdgeNetwork {
    type State = (
        EdgeTensors<FloatTensor<B>>,
        [FloatTensor<B>; 2],
        (Ends, bool),
        PerceptronShape,
    );

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (rows, [parameters, coefficients], (ends, conditioning), shape) = ops.state;
        if let [Some(node)] = ops.parents {
            let by_parameters = B::edge_network_backward(
                rows,
                parameters,
                coefficients,
                gradient,
                &ends,
                conditioning,
                &shape,
            );
            grads.register::<B>(node.id, by_parameters);
        }
    }
}

#[derive(Debug)]
struct Exchange;

impl<B: StepGradients> Backward<B, 4> for Exchange {
    type State = (ExchangeTensors<FloatTensor<B>>, Outputs<B>, Ends);

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _ = grads.consume::<B>(&ops.node);
        let (rows, outputs, ends) = ops.state;
        let mut outputs = taken::<B>(&outputs).into_iter();
        let gradients = std::array::from_fn(|_| outputs.next().flatten());
        let gradients = B::exchange_backward(rows, gradients, &ends);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: StepGradients, C: CheckpointStrategy> StepOps for Autodiff<B, C> {
    fn node_network(
        x: FloatTensor<Self>,
        x_last: FloatTensor<Self>,
        x_older: FloatTensor<Self>,
        y: FloatTensor<Self>,
        y_last: FloatTensor<Self>,
        g: FloatTensor<Self>,
        g_last: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        conditioning: FloatTensor<Self>,
        memory: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        seen: Seen,
        shape: PerceptronShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
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
        .map(|t| t.into_primitive());
        let (parameters, guard) = parameters.into_parts();
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
        ] = rows.clone();
        let (coefficients, shared, next) = B::node_network(
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
            parameters.clone(),
            seen,
            shape.clone(),
        );
        let kept = [parameters, coefficients.clone()];
        let coefficients = put::<B, C, _, 1>(NodeNetwork, [guard], coefficients, || {
            (rows, kept, seen, shape)
        });
        let untracked = <Self as AutodiffBackend>::from_inner;
        (coefficients, untracked(shared), untracked(next))
    }

    fn node_update(
        x: FloatTensor<Self>,
        x_last: FloatTensor<Self>,
        y: FloatTensor<Self>,
        y_last: FloatTensor<Self>,
        g: FloatTensor<Self>,
        g_last: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        regularizer: Regularizer,
    ) -> FloatTensor<Self> {
        let tracked = [x, x_last, y, y_last, g, g_last, coefficients];
        let guards = tracked.each_ref().map(|t| t.node());
        let [x, x_last, y, y_last, g, g_last, coefficients] = tracked.map(|t| t.into_primitive());
        let smoothness = smoothness.into_primitive();
        let rows = [x, x_last, y, y_last, g, g_last, coefficients, smoothness];
        let [x, x_last, y, y_last, g, g_last, coefficients, smoothness] = rows.clone();
        let z = B::node_update(
            x,
            x_last,
            y,
            y_last,
            g,
            g_last,
            coefficients,
            smoothness,
            regularizer,
        );
        put::<B, C, _, 7>(NodeUpdate, guards, z, || (rows, regularizer))
    }

    fn edge_network(
        d: FloatTensor<Self>,
        d_last: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        z: FloatTensor<Self>,
        shared: FloatTensor<Self>,
        smoothness: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        ends: Ends,
        conditioning: bool,
        shape: PerceptronShape,
    ) -> FloatTensor<Self> {
        let rows = [d, d_last, flow, z, shared, smoothness].map(|t| t.into_primitive());
        let (parameters, guard) = parameters.into_parts();
        let [d, d_last, flow, z, shared, smoothness] = rows.clone();
        let coefficients = B::edge_network(
            d,
            d_last,
            flow,
            z,
            shared,
            smoothness,
            parameters.clone(),
            ends.clone(),
            conditioning,
            shape.clone(),
        );
        let kept = [parameters, coefficients.clone()];
        put::<B, C, _, 1>(EdgeNetwork, [guard], coefficients, || {
            (rows, kept, (ends, conditioning), shape)
        })
    }

    fn exchange(
        z: FloatTensor<Self>,
        y: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        d: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        ends: Ends,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [d, scale, weight] = [d, scale, weight].map(|t| t.into_primitive());
        let constants = [d, scale, weight];
        let kept = |[z, y, flow, coefficients]: [FloatTensor<B>; 4]| {
            let [d, scale, weight] = constants.clone();
            [z, y, flow, coefficients, d, scale, weight]
        };
        let children = record::<B, C, _, 4>(
            Exchange,
            [z, y, flow, coefficients],
            |tracked| {
                let [z, y, flow, coefficients, d, scale, weight] = kept(tracked);
                let (x, y, flow) =
                    B::exchange(z, y, flow, coefficients, d, scale, weight, ends.clone());
                vec![x, y, flow]
            },
            |tracked, outputs| (kept(tracked), outputs, ends.clone()),
        );
        match <[_; 3]>::try_from(children) {
            Ok([x, y, flow]) => (x, y, flow),
            Err(_) => unreachable!("three values have three children"),
        }
    }
}
