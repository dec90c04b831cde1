//! The tape's side of the fused cells.
//!
//! An operation with several outputs is one node of the tape with a child per output: a child's backward pass leaves its
//! gradient with the operation instead of adding a zero-padded copy to it.

use super::{CellGradients, CellOps, LstmShape, PerceptronShape, Wanted};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use std::sync::{Arc, Mutex, PoisonError};

/// Gradients of an operation's outputs, left by its children.
pub(super) type Outputs<B> = Arc<Mutex<Vec<Option<FloatTensor<B>>>>>;

pub(super) fn taken<B: Backend>(outputs: &Outputs<B>) -> Vec<Option<FloatTensor<B>>> {
    std::mem::take(&mut *outputs.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Debug)]
struct Output;

impl<B: Backend> Backward<B, 1> for Output {
    type State = (Outputs<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let [Some(operation)] = ops.parents else {
            return;
        };
        let (outputs, index) = ops.state;
        let mut outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
        // The first child to come announces the operation with a placeholder; its backward pass reads `outputs`.
        if outputs.iter().all(Option::is_none) {
            let (device, dtype) = (gradient.device(), gradient.dtype());
            let placeholder = B::float_zeros([1].into(), &device, dtype.into());
            grads.register::<B>(operation.id, placeholder);
        }
        outputs[index] = Some(gradient);
    }
}

#[derive(Debug)]
struct Perceptron;

impl<B: CellGradients> Backward<B, 3> for Perceptron {
    type State = ([FloatTensor<B>; 3], Outputs<B>, PerceptronShape);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _ = grads.consume::<B>(&ops.node);
        let (inputs, outputs, shape) = ops.state;
        let (device, dtype) = (inputs[0].device(), inputs[0].dtype());
        let columns = inputs[0].shape()[1];
        let rows = taken::<B>(&outputs)
            .into_iter()
            .map(|g| match g {
                Some(g) => B::float_reshape(g, [1, columns].into()),
                None => B::float_zeros([1, columns].into(), &device, dtype.into()),
            })
            .collect();
        let gradient = B::float_cat(rows, 0);
        let [varying, shared, parameters] = ops.parents;
        let by_inputs = varying.is_some() || shared.is_some();
        let (by_parameters, by_input) = B::perceptron_backward(inputs, gradient, &shape, by_inputs);
        let [by_varying, by_shared] = match by_input {
            Some(gradients) => gradients.map(Some),
            None => [None, None],
        };
        for (node, gradient) in [
            (varying, by_varying),
            (shared, by_shared),
            (parameters, Some(by_parameters)),
        ] {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct Lstm;

impl<B: CellGradients> Backward<B, 3> for Lstm {
    type State = ([FloatTensor<B>; 3], Outputs<B>, LstmShape);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _ = grads.consume::<B>(&ops.node);
        let (inputs, outputs, shape) = ops.state;
        let mut gradients = taken::<B>(&outputs).into_iter();
        let (out, state) = (gradients.next().flatten(), gradients.next().flatten());
        let wanted = Wanted {
            input: ops.parents[0].is_some(),
            state: ops.parents[1].is_some(),
        };
        let gradients = B::lstm_backward(inputs, out, state, shape, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// Puts `op` on the tape with its one value; `state` makes what the backward pass keeps, where there is one.
pub(super) fn put<B, C, Op, const N: usize>(
    op: Op,
    guards: [NodeGuard; N],
    value: FloatTensor<B>,
    state: impl FnOnce() -> Op::State,
) -> FloatTensor<Autodiff<B, C>>
where
    B: Backend,
    C: CheckpointStrategy,
    Op: Backward<B, N>,
{
    match op.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(p) => p.finish(state(), value),
        OpsKind::UnTracked(p) => p.finish(value),
    }
}

/// Records `op` on the tape with a child per value; `state` makes what the backward pass keeps.
pub(super) fn record<B, C, Op, const N: usize>(
    op: Op,
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    values: impl FnOnce([FloatTensor<B>; N]) -> Vec<FloatTensor<B>>,
    state: impl FnOnce([FloatTensor<B>; N], Outputs<B>) -> Op::State,
) -> Vec<FloatTensor<Autodiff<B, C>>>
where
    B: Backend,
    C: CheckpointStrategy,
    Op: Backward<B, N>,
{
    // Guards first: they keep the inputs' nodes until the operation is on the tape.
    let guards = inputs.each_ref().map(|t| t.node());
    let inputs = inputs.map(|t| t.into_primitive());
    let node = B::float_zeros([1].into(), &inputs[0].device(), inputs[0].dtype().into());
    let values = values(inputs.clone());
    let outputs: Outputs<B> = Arc::new(Mutex::new(vec![None; values.len()]));
    let operation = put::<B, C, Op, N>(op, guards, node, || state(inputs, outputs.clone()));
    values
        .into_iter()
        .enumerate()
        .map(|(k, value)| {
            let guard = [operation.node()];
            put::<B, C, Output, 1>(Output, guard, value, || (outputs.clone(), k))
        })
        .collect()
}

impl<B: CellGradients, C: CheckpointStrategy> CellOps for Autodiff<B, C> {
    fn perceptron(
        varying: FloatTensor<Self>,
        shared: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: PerceptronShape,
    ) -> Vec<FloatTensor<Self>> {
        record::<B, C, _, 3>(
            Perceptron,
            [varying, shared, parameters],
            |[v, s, p]| B::perceptron(v, s, p, shape.clone()),
            |inputs, outputs| (inputs, outputs, shape.clone()),
        )
    }

    fn lstm(
        input: FloatTensor<Self>,
        state: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: LstmShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let values = |[u, s, p]: [FloatTensor<B>; 3]| {
            let (out, next) = B::lstm(u, s, p, shape);
            vec![out, next]
        };
        let inputs = [input, state, parameters];
        let children = record::<B, C, _, 3>(Lstm, inputs, values, |inputs, outputs| {
            (inputs, outputs, shape)
        });
        let mut children = children.into_iter();
        match (children.next(), children.next()) {
            (Some(out), Some(next)) => (out, next),
            _ => unreachable!("two values have two children"),
        }
    }
}
