//! A rule's networks as one operation each: all columns through all layers in one pass, with a backward pass of its own that
//! keeps only inputs and states and recomputes the rest.
//!
//! Written with tensor operations, every layer's activations are stored for the backward pass and travel through memory several
//! times; here they stay in cache (CPU) or registers (GPU). [`perceptron`] is the cell of `shared`, [`lstm`] that of `milodo`;
//! both are f32. The versions written operation by operation stay where they were (`train::shared`, `train::milodo`) as the
//! reference: for f64, and for the tests that compare values and all gradients. [`step`] goes further: a whole step of `shared` in four
//! operations, its features among them.

mod autodiff;
#[cfg(feature = "cpu")]
pub mod cpu;
#[cfg(feature = "wgpu")]
pub(crate) mod gpu;
pub mod step;

use super::batch::Place;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};

/// Features `[varying, rows·d]` and `[shared, rows]` of all rows.
pub struct Features {
    /// Those that differ between coordinates.
    pub varying: Tensor<2>,
    /// Those that do not.
    pub shared: Tensor<2>,
}

/// Sizes of a perceptron `[varying + shared] → hidden → outputs` and how far it moves its outputs.
///
/// Its parameters are one vector: weight (row-major `[outputs, inputs]`) and bias of every layer, then the constants.
#[derive(Clone, Debug, PartialEq)]
pub struct PerceptronShape {
    /// Inputs that differ from column to column.
    pub varying: usize,
    /// Inputs that are equal for all columns of an item.
    pub shared: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Ranges of the outputs: `constant + range · tanh(·)`.
    pub ranges: Vec<f32>,
}

impl PerceptronShape {
    /// Outputs of every layer.
    pub fn widths(&self) -> Vec<usize> {
        let mut widths = self.hidden.clone();
        widths.push(self.ranges.len());
        widths
    }

    /// Whether the fused cell can be used at `place`: it is f32, and a GPU must grant what it asks for.
    pub fn fits(&self, place: &Place) -> bool {
        #[cfg(feature = "wgpu")]
        let on_gpu = || gpu::perceptron_fits(self, &place.device);
        #[cfg(not(feature = "wgpu"))]
        let on_gpu = || false;
        place.dtype == DType::F32 && (place.is_cpu() || on_gpu())
    }

    /// Length of the vector of parameters.
    pub fn parameters(&self) -> usize {
        let mut inputs = self.varying + self.shared;
        let mut total = self.ranges.len();
        for outputs in self.widths() {
            total += (inputs + 1) * outputs;
            inputs = outputs;
        }
        total
    }
}

/// Sizes of an LSTM(20) with its head.
///
/// A group's parameters are one vector: `W_ih [80, inputs]`, `W_hh [80, 20]`, bias `[80]`, `W [20, 20]`, `b [20]`,
/// `W_out [outputs, 20]`, `b_out [outputs]`; gates in the order input, forget, cell, output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmShape {
    /// Inputs per column.
    pub inputs: usize,
    /// Outputs per column.
    pub outputs: usize,
}

impl LstmShape {
    /// As [`PerceptronShape::fits`], for a number of groups.
    pub fn fits(&self, place: &Place, groups: usize) -> bool {
        #[cfg(feature = "wgpu")]
        let on_gpu = || gpu::lstm_fits(self, groups, &place.device);
        #[cfg(not(feature = "wgpu"))]
        let on_gpu = || false;
        place.dtype == DType::F32 && (place.is_cpu() || on_gpu())
    }

    /// Columns that the state of a group of `columns` has at `place`: on the CPU whole blocks.
    pub fn state_columns(place: &Place, columns: usize) -> usize {
        #[cfg(feature = "cpu")]
        if place.is_cpu() {
            return columns.next_multiple_of(cpu::lstm::C);
        }
        columns
    }

    /// Length of a group's vector of parameters.
    pub fn parameters(&self) -> usize {
        const H: usize = crate::rule::lstm::HIDDEN;
        4 * H * (self.inputs + H + 1) + (H + 1) * (H + self.outputs)
    }
}

/// The cells, forward.
#[backend_extension(Flex: cfg(feature = "cpu"), Cube: cfg(feature = "wgpu"), Autodiff)]
pub trait CellOps: Backend {
    /// `varying`: `[varying, columns]`; `shared`: `[shared, items]`, column `j` belongs to item `j / (columns / items)`;
    /// `parameters`: `[parameters]`. Returns the outputs, `[columns]` each.
    fn perceptron(
        varying: FloatTensor<Self>,
        shared: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: PerceptronShape,
    ) -> Vec<FloatTensor<Self>>;

    /// `input`: `[groups, inputs, columns]`; `state`: hidden above cell state, `[groups, 40, columns]`, on the CPU `[groups, 40,
    /// state_columns]` in blocks of `cpu::lstm::C` columns; `parameters`: `[groups, parameters]`. Returns the outputs `[groups,
    /// outputs, columns]` and the new state.
    fn lstm(
        input: FloatTensor<Self>,
        state: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: LstmShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// Which of the LSTM's gradients are asked for beside those by the parameters; the others may be anything.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// By the input.
    pub input: bool,
    /// By the state.
    pub state: bool,
}

/// The cells, backward; implemented by the backends that compute.
pub trait CellGradients: CellOps {
    /// Gradients of `Σ_o gradients[o] ⊙ y[o]` by parameters and, if `by_inputs`, by `varying` and `shared`; `gradients`: `[outputs, columns]`.
    fn perceptron_backward(
        inputs: [FloatTensor<Self>; 3],
        gradients: FloatTensor<Self>,
        shape: &PerceptronShape,
        by_inputs: bool,
    ) -> (FloatTensor<Self>, Option<[FloatTensor<Self>; 2]>);

    /// Gradients by input, state and parameters, from those by output and new state (`None` is zero).
    fn lstm_backward(
        inputs: [FloatTensor<Self>; 3],
        out: Option<FloatTensor<Self>>,
        state: Option<FloatTensor<Self>>,
        shape: LstmShape,
        wanted: Wanted,
    ) -> [FloatTensor<Self>; 3];
}

/// The perceptron of every column: outputs `[items, columns per item]` each.
///
/// `varying`: `[varying, columns]`, `shared`: `[shared, items]`, `parameters`: `[parameters]`, all f32.
pub fn perceptron(
    varying: Tensor<2>,
    shared: Tensor<2>,
    parameters: Tensor<1>,
    shape: &PerceptronShape,
) -> Vec<Tensor<2>> {
    let ([_, columns], [_, items]) = (varying.dims(), shared.dims());
    <Dispatch as CellOps>::perceptron(
        varying.into_dispatch(),
        shared.into_dispatch(),
        parameters.into_dispatch(),
        shape.clone(),
    )
    .into_iter()
    .map(|t| Tensor::<1>::from_dispatch(t).reshape([items, columns / items]))
    .collect()
}

/// One LSTM step of every group and column; see [`CellOps::lstm`].
pub fn lstm(
    input: Tensor<3>,
    state: Tensor<3>,
    parameters: Tensor<2>,
    shape: LstmShape,
) -> (Tensor<3>, Tensor<3>) {
    let (out, state) = <Dispatch as CellOps>::lstm(
        input.into_dispatch(),
        state.into_dispatch(),
        parameters.into_dispatch(),
        shape,
    );
    (Tensor::from_dispatch(out), Tensor::from_dispatch(state))
}
