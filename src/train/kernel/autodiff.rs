//! The tape's side of the fused cells.
//!
//! An operation with several outputs is one node of the tape with a child per output: a child's backward pass leaves its
//! gradient with the operation instead of adding a zero-padded copy to it.

use super::{CellGradients, CellOps, LstmShape, PerceptronShape};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use std::sync::{Arc, Mutex, PoisonError};

/// Gradients of an operation's outputs, left by its children.
type Outputs<B> = Arc<Mutex<Vec<Option<FloatTensor<B>>>>>;

fn outputs<B: Backend>(n: usize) -> Outputs<B> {
    Arc::new(Mutex::new(vec![None; n]))
}

fn taken<B: Backend>(outputs: &Outputs<B>) -> Vec<Option<FloatTensor<B>>> {
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

/// The children of `operation`, one per value.
fn children<B: Backend, C: CheckpointStrategy>(
    operation: &FloatTensor<Autodiff<B, C>>,
    values: Vec<FloatTensor<B>>,
    outputs: &Outputs<B>,
) -> Vec<FloatTensor<Autodiff<B, C>>> {
    values
        .into_iter()
        .enumerate()
        .map(|(k, value)| {
            let prepared = <Output as Backward<B, 1>>::prepare::<C>(Output, [operation.node()]);
            match prepared.compute_bound().stateful() {
                OpsKind::Tracked(p) => p.finish((outputs.clone(), k), value),
                OpsKind::UnTracked(p) => p.finish(value),
            }
        })
        .collect()
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
        let gradients = B::lstm_backward(inputs, out, state, shape);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// Guards and primitives of an operation's inputs; guards must be taken first.
fn parts<B: Backend, C: CheckpointStrategy, const N: usize>(
    tensors: [FloatTensor<Autodiff<B, C>>; N],
) -> ([NodeGuard; N], [FloatTensor<B>; N]) {
    let guards = tensors.each_ref().map(|t| t.node());
    (guards, tensors.map(|t| t.into_primitive()))
}

impl<B: CellGradients, C: CheckpointStrategy> CellOps for Autodiff<B, C> {
    fn perceptron(
        varying: FloatTensor<Self>,
        shared: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: PerceptronShape,
    ) -> Vec<FloatTensor<Self>> {
        let (guards, inputs) = parts::<B, C, 3>([varying, shared, parameters]);
        let [v, s, p] = inputs.clone();
        let values = B::perceptron(v, s, p, shape.clone());
        let outputs = outputs::<B>(values.len());
        let node = B::float_zeros([1].into(), &inputs[0].device(), inputs[0].dtype().into());
        let prepared = <Perceptron as Backward<B, 3>>::prepare::<C>(Perceptron, guards);
        let operation = match prepared.compute_bound().stateful() {
            OpsKind::Tracked(p) => p.finish((inputs, outputs.clone(), shape), node),
            OpsKind::UnTracked(p) => p.finish(node),
        };
        children::<B, C>(&operation, values, &outputs)
    }

    fn lstm(
        input: FloatTensor<Self>,
        state: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: LstmShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (guards, inputs) = parts::<B, C, 3>([input, state, parameters]);
        let [u, s, p] = inputs.clone();
        let (out, next) = B::lstm(u, s, p, shape);
        let outputs = outputs::<B>(2);
        let node = B::float_zeros([1].into(), &inputs[0].device(), inputs[0].dtype().into());
        let prepared = <Lstm as Backward<B, 3>>::prepare::<C>(Lstm, guards);
        let operation = match prepared.compute_bound().stateful() {
            OpsKind::Tracked(p) => p.finish((inputs, outputs.clone(), shape), node),
            OpsKind::UnTracked(p) => p.finish(node),
        };
        let mut children = children::<B, C>(&operation, vec![out, next], &outputs).into_iter();
        match (children.next(), children.next()) {
            (Some(out), Some(next)) => (out, next),
            _ => unreachable!("two values have two children"),
        }
    }
}
