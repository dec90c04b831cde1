//! The fused cells on burn-flex: tensors in, slices through [`perceptron`] and [`lstm`], tensors out.

pub mod lstm;
pub mod perceptron;
mod step;

use super::{CellGradients, CellOps, LstmShape, PerceptronShape, Wanted};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;
use std::ops::Range;

type Primitive = FloatTensor<Flex>;

fn tensor(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape.into()))
}

/// The tensor's numbers in row-major order; without a copy if they lie so.
fn with<T>(tensors: [&Primitive; 3], f: impl FnOnce([&[f32]; 3]) -> T) -> T {
    let contiguous = tensors.map(Primitive::to_contiguous);
    f(contiguous.each_ref().map(slice))
}

fn slice(t: &Primitive) -> &[f32] {
    t.as_slice()
        .expect("the fused cells are called with f32 tensors only")
}

/// Whether the tensor is the whole of its storage, in order.
fn owns_its_storage(t: &Primitive) -> bool {
    t.as_slice::<f32>()
        .is_some_and(|numbers| numbers.len() == t.storage::<f32>().len())
}

/// A range of columns of the rows of a row-major `[rows, columns]` array, into blocks; the rest of a block is zero.
#[inline(always)]
fn load<const C: usize>(
    values: &[f32],
    columns: usize,
    range: Range<usize>,
    blocks: &mut [[f32; C]],
) {
    for (row, block) in values.chunks_exact(columns).zip(blocks) {
        let row = &row[range.clone()];
        match row.as_array() {
            Some(whole) => *block = *whole,
            None => {
                block[..row.len()].copy_from_slice(row);
                block[row.len()..].fill(0.0);
            }
        }
    }
}

/// Splits every row of a row-major `[rows, columns]` array at the tasks' ends: `[task][row]`.
fn split_rows(
    values: &mut [f32],
    columns: usize,
    ends: impl Iterator<Item = usize> + Clone,
) -> Vec<Vec<&mut [f32]>> {
    let mut tasks: Vec<Vec<&mut [f32]>> = ends.clone().map(|_| Vec::new()).collect();
    if columns == 0 {
        return tasks;
    }
    for mut row in values.chunks_exact_mut(columns) {
        let mut start = 0;
        for (task, end) in tasks.iter_mut().zip(ends.clone()) {
            let (mine, rest) = row.split_at_mut(end - start);
            task.push(mine);
            (row, start) = (rest, end);
        }
    }
    tasks
}

fn perceptron_inputs<'a>(
    [varying, shared, parameters]: [&'a [f32]; 3],
    items: usize,
    shape: &'a PerceptronShape,
) -> perceptron::Inputs<'a> {
    perceptron::Inputs {
        shape,
        varying,
        shared,
        parameters,
        items,
        columns: varying.len() / shape.varying,
    }
}

fn lstm_inputs<'a>(
    [input, state, parameters]: [&'a [f32]; 3],
    [groups, columns]: [usize; 2],
    shape: LstmShape,
) -> lstm::Inputs<'a> {
    lstm::Inputs {
        shape,
        groups,
        columns,
        input,
        state,
        parameters,
    }
}

impl CellOps for Flex {
    fn perceptron(
        varying: Primitive,
        shared: Primitive,
        parameters: Primitive,
        shape: PerceptronShape,
    ) -> Vec<Primitive> {
        let (columns, items) = (varying.shape()[1], shared.shape()[1]);
        let out = with([&varying, &shared, &parameters], |slices| {
            perceptron::forward(perceptron_inputs(slices, items, &shape))
        });
        let outputs = shape.ranges.len();
        let out = tensor(out, [outputs, columns]);
        (0..outputs)
            .map(|o| out.narrow(0, o, 1).reshape([columns].into()))
            .collect()
    }

    fn lstm(
        input: Primitive,
        state: Primitive,
        parameters: Primitive,
        shape: LstmShape,
    ) -> (Primitive, Primitive) {
        let sizes = [input.shape()[0], input.shape()[2]];
        let [groups, columns] = sizes;
        let (out, next) = with([&input, &state, &parameters], |slices| {
            lstm::forward(lstm_inputs(slices, sizes, shape))
        });
        (
            tensor(out, [groups, shape.outputs, columns]),
            tensor(next, state.shape().to_vec()),
        )
    }
}

impl CellGradients for Flex {
    fn perceptron_backward(
        [varying, shared, parameters]: [Primitive; 3],
        gradients: Primitive,
        shape: &PerceptronShape,
        by_inputs: bool,
    ) -> (Primitive, Option<[Primitive; 2]>) {
        let (columns, items) = (varying.shape()[1], shared.shape()[1]);
        let gradients = gradients.to_contiguous();
        let found = with([&varying, &shared, &parameters], |slices| {
            let inputs = perceptron_inputs(slices, items, shape);
            perceptron::backward(inputs, slice(&gradients), by_inputs)
        });
        let by_inputs = by_inputs.then(|| {
            [
                tensor(found.varying, [shape.varying, columns]),
                tensor(found.shared, [shape.shared, items]),
            ]
        });
        (tensor(found.parameters, [shape.parameters()]), by_inputs)
    }

    fn lstm_backward(
        [input, state, parameters]: [Primitive; 3],
        out: Option<Primitive>,
        next: Option<Primitive>,
        shape: LstmShape,
        wanted: Wanted,
    ) -> [Primitive; 3] {
        let [groups, _, columns] = input.shape().dims();
        let out = out.map(|t| t.to_contiguous());
        // In place, if nobody else holds it.
        let mut by_state = match next {
            Some(t) if owns_its_storage(&t) => t,
            Some(t) => tensor(slice(&t.to_contiguous()).to_vec(), t.shape().to_vec()),
            None => Primitive::zeros(state.shape(), state.dtype()),
        };
        let found = with([&input, &state, &parameters], |slices| {
            let inputs = lstm_inputs(slices, [groups, columns], shape);
            lstm::backward(
                inputs,
                out.as_ref().map(slice),
                by_state.storage_mut(),
                wanted,
            )
        });
        [
            tensor(found.input, [groups, shape.inputs, columns]),
            by_state,
            tensor(found.parameters, [groups, parameters.shape()[1]]),
        ]
    }
}
