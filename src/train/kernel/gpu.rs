//! The fused cells on wgpu: CubeCL kernels, each with its backward pass; one launch instead of one per operation.
//!
//! **Perceptron** on columns `[v; s]`, up to two hidden layers:
//!
//! ```text
//! h_0 = [v; s],  h_k = relu(W_k h_{k-1} + b_k),  y = constants + ranges ∘ tanh(W_K h_{K-1} + b_K)
//! ```
//!
//! **LSTM** of 20 units with a head, one set of parameters per group (σ: the logistic function):
//!
//! ```text
//! (i, f, g, o) = W_ih u + W_hh h + bias
//! c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(c'),  out = W_out relu(W h' + b) + b_out
//! ```
//!
//! Matrices are row-major, a column's feature `k` is at `k · columns + column`, and neighbouring columns are neighbours in memory.
//!
//! A workgroup takes a *tile* of up to 32 columns into shared memory, all features and activations as rows, and its units share
//! the entries of each layer. The backward pass recomputes the forward pass in the tile, writes the errors (the derivatives
//! with respect to what enters the activations) beside the activations, and sums `error · input` over the columns for every
//! weight. Each workgroup adds those of its tiles to a row of its own, and a second kernel adds the rows: no atomics, so the sums
//! are the same on every run. A bias is a weight on the row of ones that every tile has.
//!
//! Within WebGPU's default limits: 128 units and 16 KiB of shared memory a workgroup, 8 storage buffers a kernel, one of them
//! CubeCL's. The device is asked for its own before a cell is fused.

// A kernel takes its tensors one by one, and a step of it the tile's position.
#![allow(clippy::too_many_arguments)]

use super::{CellGradients, CellOps, LstmShape, PerceptronShape, Wanted};
use burn::backend::ops::FloatTensorOps;
use burn::backend::{DispatchDevice, TensorMetadata};
use burn::tensor::{DType, Device, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{into_contiguous, slice};
use burn_cubecl::ops::numeric::{empty_device_contiguous_dtype, zeros_client};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Units of a workgroup.
const UNITS: usize = 128;
/// Shared memory of a workgroup, in fours of numbers.
const SHARED_FOURS: usize = 1024;
/// Fours of columns in a tile, unless its rows leave less space.
const TILE_FOURS: usize = 8;
/// Workgroups along one dimension.
const MAX_WORKGROUPS: usize = 65_535;
/// Workgroups of a backward pass, hence rows of partial sums: enough to fill a GPU.
const BACKWARD_WORKGROUPS: usize = 512;
/// Storage buffers of the largest kernel, the LSTM's backward pass.
const BUFFERS: u32 = 7;
/// Units that add the partial sums of one output.
const SUM_UNITS: usize = 64;
/// Units of the LSTM.
const H: usize = 20;
/// The tile's row of ones.
const ONES: usize = 0;
/// Why a plan is there.
const FITS: &str = "modules ask whether the cell fits before they use it";

/// Whether the device grants what the kernels ask for, whatever the cell.
fn grants(device: &Device) -> bool {
    let device = device.clone().inner();
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return false;
    };
    let client = device.client();
    let hardware = &client.properties().hardware;
    let (units, workgroups) = (UNITS as u32, MAX_WORKGROUPS as u32);
    hardware.max_units_per_cube >= units
        && hardware.max_cube_dim.0 >= units
        && hardware.max_cube_count.0 >= workgroups
        && hardware.max_cube_count.1 >= workgroups
        && hardware.max_shared_memory_size >= SHARED_FOURS * 4 * size_of::<f32>()
        && hardware.max_bindings >= BUFFERS
}

/// Bytes of the largest tensor that a kernel can be given; as many as you like where the device is no GPU of ours.
pub fn largest_tensor(device: &Device) -> usize {
    let device = device.clone().inner();
    match device.as_dispatch() {
        DispatchDevice::Cube(device) => {
            let largest = device.client().properties().memory.max_page_size;
            usize::try_from(largest).unwrap_or(usize::MAX)
        }
        _ => usize::MAX,
    }
}

/// Whether the device can run the cell, forward and backward: its limits, and whether a workgroup's shared memory holds the cell.
pub fn perceptron_fits(shape: &PerceptronShape, device: &Device) -> bool {
    Perceptron::new(shape, true).is_some() && grants(device)
}

/// As [`perceptron_fits`], and whether the groups can be launched.
pub fn lstm_fits(shape: &LstmShape, groups: usize, device: &Device) -> bool {
    groups <= MAX_WORKGROUPS && Lstm::new(shape, true).is_some() && grants(device)
}

// ---------------------------------------------------------------------------------------------------------------------
// What a cell looks like: fixed when its kernel is compiled
// ---------------------------------------------------------------------------------------------------------------------

/// Shared memory of a workgroup: `rows` rows of `4 · fours` columns.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Tile {
    rows: usize,
    fours: usize,
}

impl Tile {
    /// None where the shared memory does not hold the rows.
    fn new(rows: usize) -> Option<Self> {
        (1..=TILE_FOURS)
            .rev()
            .map(|fours| Self { rows, fours })
            .find(|tile| rows * tile.stride() <= SHARED_FOURS)
    }

    /// Distance of two rows, in fours: odd, so that units that read one column of successive rows hit different banks.
    fn stride(&self) -> usize {
        self.fours | 1
    }

    fn columns(&self) -> usize {
        4 * self.fours
    }
}

/// A matrix `[layer.outputs, inputs]` at `start` of the parameters, applied to `inputs` rows of the tile from `row`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Weight {
    start: usize,
    row: usize,
    inputs: usize,
}

/// A sum of matrix products: its `outputs` values and their errors each have rows of the tile.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Layer {
    weights: Vec<Weight>,
    outputs: usize,
    values: usize,
    errors: usize,
}

/// Hands out rows of the tile and ranges of the parameters, in order.
struct Plan {
    rows: usize,
    parameters: usize,
}

impl Plan {
    fn new() -> Self {
        Self {
            rows: ONES + 1,
            parameters: 0,
        }
    }

    fn rows(&mut self, count: usize) -> usize {
        self.rows += count;
        self.rows - count
    }

    /// A layer on `inputs` (row, count), with a weight for each and a bias.
    fn layer(&mut self, outputs: usize, inputs: &[(usize, usize)], values: usize) -> Layer {
        let weights = inputs
            .iter()
            .chain(&[(ONES, 1)])
            .map(|&(row, inputs)| {
                let start = self.parameters;
                self.parameters += outputs * inputs;
                Weight { start, row, inputs }
            })
            .collect();
        Layer {
            weights,
            outputs,
            values,
            errors: values,
        }
    }
}

/// Plan of a perceptron.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Perceptron {
    varying: usize,
    shared: usize,
    /// First row of the features.
    features: usize,
    hidden: Vec<Layer>,
    last: Layer,
    /// No input but the ones; its errors are the gradient of the outputs.
    constants: Layer,
    /// Bits of the ranges: a kernel is looked up by this plan's hash.
    ranges: Vec<u32>,
    parameters: usize,
    tile: Tile,
}

impl Perceptron {
    /// None for a cell too large for a workgroup.
    fn new(shape: &PerceptronShape, backward: bool) -> Option<Self> {
        let outputs = shape.ranges.len();
        let mut plan = Plan::new();
        let features = plan.rows(shape.varying + shape.shared);
        let mut inputs = (features, shape.varying + shape.shared);
        let mut hidden = Vec::new();
        for &units in &shape.hidden {
            let values = plan.rows(units);
            hidden.push(plan.layer(units, &[inputs], values));
            inputs = (values, units);
        }
        // In the backward pass the errors of the last layer replace its values.
        let values = plan.rows(if backward { outputs } else { 0 });
        let last = plan.layer(outputs, &[inputs], values);
        let mut constants = plan.layer(outputs, &[], ONES);
        if backward {
            for layer in &mut hidden {
                layer.errors = plan.rows(layer.outputs);
            }
            constants.errors = plan.rows(outputs);
        }
        Some(Self {
            varying: shape.varying,
            shared: shape.shared,
            features,
            hidden,
            last,
            constants,
            ranges: shape.ranges.iter().map(|range| range.to_bits()).collect(),
            parameters: plan.parameters,
            tile: Tile::new(plan.rows)?,
        })
    }

    /// In the order of the parameters.
    fn layers(&self) -> Vec<Layer> {
        let ends = [self.last.clone(), self.constants.clone()];
        self.hidden.iter().cloned().chain(ends).collect()
    }
}

/// Plan of an LSTM cell.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Lstm {
    inputs: usize,
    outputs: usize,
    /// First rows of the features; of `h`, then `c`; of `h'`, then `c'`.
    features: usize,
    state: usize,
    next: usize,
    /// On the features and `h`. In the backward pass its errors replace its values.
    gates: Layer,
    /// On `h'`.
    hidden: Layer,
    /// On the hidden layer.
    head: Layer,
    parameters: usize,
    tile: Tile,
}

impl Lstm {
    /// None for a cell too large for a workgroup.
    fn new(shape: &LstmShape, backward: bool) -> Option<Self> {
        let mut plan = Plan::new();
        let features = plan.rows(shape.inputs);
        let state = plan.rows(2 * H);
        let values = plan.rows(4 * H);
        let gates = plan.layer(4 * H, &[(features, shape.inputs), (state, H)], values);
        let next = plan.rows(2 * H);
        let values = plan.rows(H);
        let mut hidden = plan.layer(H, &[(next, H)], values);
        let mut head = plan.layer(shape.outputs, &[(values, H)], ONES);
        if backward {
            hidden.errors = plan.rows(H);
            head.errors = plan.rows(shape.outputs);
        }
        Some(Self {
            inputs: shape.inputs,
            outputs: shape.outputs,
            features,
            state,
            next,
            gates,
            hidden,
            head,
            parameters: plan.parameters,
            tile: Tile::new(plan.rows)?,
        })
    }

    /// In the order of the parameters.
    fn layers(&self) -> Vec<Layer> {
        vec![self.gates.clone(), self.hidden.clone(), self.head.clone()]
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Steps on a tile
// ---------------------------------------------------------------------------------------------------------------------

/// Four neighbouring columns.
type Four = Vector<f32, Const<4>>;

/// Fills the row of ones.
#[cube]
fn fill_ones(memory: &mut Shared<[Four]>, #[comptime] tile: Tile) {
    for four in range_stepped(UNIT_POS as usize, tile.fours, UNITS) {
        memory[ONES * tile.stride() + four] = Four::new(1.0);
    }
}

/// Columns `column..column + 4` of row `row`; those past the end are 0.
#[cube]
fn read(source: &[f32], row: usize, column: usize, columns: usize) -> Four {
    let mut values = Four::new(0.0);
    #[unroll]
    for k in 0..4usize {
        if column + k < columns {
            values.insert(k, source[row * columns + column + k]);
        }
    }
    values
}

/// The reverse of [`read`].
#[cube]
fn write(target: &mut [f32], row: usize, column: usize, columns: usize, values: Four) {
    #[unroll]
    for k in 0..4usize {
        if column + k < columns {
            target[row * columns + column + k] = values.extract(k);
        }
    }
}

/// Copies `count` rows of `source`, from `first`, into the tile from row `row`.
#[cube]
fn load(
    memory: &mut Shared<[Four]>,
    source: &[f32],
    first: usize,
    begin: usize,
    columns: usize,
    #[comptime] row: usize,
    #[comptime] count: usize,
    #[comptime] tile: Tile,
) {
    for entry in range_stepped(UNIT_POS as usize, count * tile.fours, UNITS) {
        let k = entry / tile.fours;
        let four = entry % tile.fours;
        memory[(row + k) * tile.stride() + four] =
            read(source, first + k, begin + 4 * four, columns);
    }
}

/// Entries of `Σ W · inputs` (the bias included) for one output; `base`: where the parameters start.
#[cube]
fn product(
    memory: &Shared<[Four]>,
    parameters: &[f32],
    base: usize,
    output: usize,
    four: usize,
    #[comptime] layer: Layer,
    #[comptime] tile: Tile,
) -> Four {
    let mut sum = Four::new(0.0);
    #[unroll]
    for w in 0..layer.weights.len() {
        let weight = comptime!(layer.weights[w]);
        let first = base + weight.start + output * weight.inputs;
        for i in 0..weight.inputs {
            sum +=
                Four::new(parameters[first + i]) * memory[(weight.row + i) * tile.stride() + four];
        }
    }
    sum
}

/// Entries of `Wᵀ · errors` for one input of the layer's weight number `which`.
#[cube]
fn transposed_product(
    memory: &Shared<[Four]>,
    parameters: &[f32],
    base: usize,
    input: usize,
    four: usize,
    #[comptime] which: usize,
    #[comptime] layer: Layer,
    #[comptime] tile: Tile,
) -> Four {
    let weight = comptime!(layer.weights[which]);
    let first = base + weight.start + input;
    let mut sum = Four::new(0.0);
    for o in 0..layer.outputs {
        sum += Four::new(parameters[first + o * weight.inputs])
            * memory[(layer.errors + o) * tile.stride() + four];
    }
    sum
}

/// `values = relu(W inputs + b)`.
#[cube]
fn relu_layer(
    memory: &mut Shared<[Four]>,
    parameters: &[f32],
    base: usize,
    #[comptime] layer: Layer,
    #[comptime] tile: Tile,
) {
    for entry in range_stepped(UNIT_POS as usize, layer.outputs * tile.fours, UNITS) {
        let k = entry / tile.fours;
        let four = entry % tile.fours;
        let values = product(&*memory, parameters, base, k, four, layer.clone(), tile);
        memory[(layer.values + k) * tile.stride() + four] = max(values, Four::new(0.0));
    }
    sync_cube();
}

/// Errors of a relu layer, whose values are the first input of `next`.
#[cube]
fn relu_errors(
    memory: &mut Shared<[Four]>,
    parameters: &[f32],
    base: usize,
    #[comptime] layer: Layer,
    #[comptime] next: Layer,
    #[comptime] tile: Tile,
) {
    for entry in range_stepped(UNIT_POS as usize, layer.outputs * tile.fours, UNITS) {
        let k = entry / tile.fours;
        let four = entry % tile.fours;
        let zero = Four::new(0.0);
        let values = memory[(layer.values + k) * tile.stride() + four];
        let errors = transposed_product(
            &*memory,
            parameters,
            base,
            k,
            four,
            0usize,
            next.clone(),
            tile,
        );
        memory[(layer.errors + k) * tile.stride() + four] =
            select_many(values.greater_than(&zero), errors, zero);
    }
    sync_cube();
}

/// Adds the tile's `Σ_columns error · input` to row `row` of `partial`, where no other workgroup writes; the workgroup's first
/// tile starts the row.
#[cube]
fn accumulate(
    memory: &Shared<[Four]>,
    partial: &mut [f32],
    row: usize,
    first: bool,
    #[comptime] layers: Vec<Layer>,
    #[comptime] parameters: usize,
    #[comptime] tile: Tile,
) {
    for parameter in range_stepped(UNIT_POS as usize, parameters, UNITS) {
        // The rows of the last weight that starts at or before the parameter.
        let mut error = 0usize;
        let mut input = 0usize;
        #[unroll]
        for l in 0..layers.len() {
            let layer = comptime!(layers[l].clone());
            #[unroll]
            for w in 0..layer.weights.len() {
                let weight = comptime!(layer.weights[w]);
                if parameter >= weight.start {
                    error = layer.errors + (parameter - weight.start) / weight.inputs;
                    input = weight.row + (parameter - weight.start) % weight.inputs;
                }
            }
        }
        let mut sum = Four::new(0.0);
        for four in 0..tile.fours {
            sum += memory[error * tile.stride() + four] * memory[input * tile.stride() + four];
        }
        let at = row * parameters + parameter;
        let mut total = sum.vector_sum();
        if !first {
            total += partial[at];
        }
        partial[at] = total;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Perceptron
// ---------------------------------------------------------------------------------------------------------------------

/// Loads the features of a tile and computes the hidden layers.
#[cube]
fn perceptron_hidden(
    memory: &mut Shared<[Four]>,
    varying: &[f32],
    shared: &[f32],
    parameters: &[f32],
    begin: usize,
    columns: usize,
    columns_per_item: usize,
    #[comptime] cell: Perceptron,
) {
    let tile = comptime!(cell.tile);
    load(
        memory,
        varying,
        0usize,
        begin,
        columns,
        cell.features,
        cell.varying,
        tile,
    );
    let items = columns / columns_per_item;
    for entry in range_stepped(UNIT_POS as usize, cell.shared * tile.fours, UNITS) {
        let k = entry / tile.fours;
        let four = entry % tile.fours;
        let mut values = Four::new(0.0);
        #[unroll]
        for lane in 0..4usize {
            let column = begin + 4 * four + lane;
            if column < columns {
                values.insert(lane, shared[k * items + column / columns_per_item]);
            }
        }
        memory[(cell.features + cell.varying + k) * tile.stride() + four] = values;
    }
    sync_cube();
    #[unroll]
    for l in 0..cell.hidden.len() {
        relu_layer(
            memory,
            parameters,
            0usize,
            comptime!(cell.hidden[l].clone()),
            tile,
        );
    }
}

/// Range of one output.
#[cube]
fn range_of(output: usize, #[comptime] ranges: Vec<u32>) -> f32 {
    let mut range = 0.0f32;
    #[unroll]
    for k in 0..ranges.len() {
        if output == k {
            range = comptime!(f32::from_bits(ranges[k]));
        }
    }
    range
}

#[cube(launch)]
fn perceptron_kernel(
    varying: &[f32],
    shared: &[f32],
    parameters: &[f32],
    outputs: &mut [f32],
    columns: usize,
    columns_per_item: usize,
    #[comptime] cell: Perceptron,
) {
    let tile = comptime!(cell.tile);
    let last = comptime!(cell.last.clone());
    let constants = comptime!(cell.constants.clone());
    let mut memory = Shared::<[Four]>::new_slice(comptime!(tile.rows * tile.stride()));
    fill_ones(&mut memory, tile);
    let tiles = columns.div_ceil(4 * tile.fours);
    for t in range_stepped(CUBE_POS_X as usize, tiles, CUBE_COUNT_X as usize) {
        let begin = 4 * t * tile.fours;
        perceptron_hidden(
            &mut memory,
            varying,
            shared,
            parameters,
            begin,
            columns,
            columns_per_item,
            cell.clone(),
        );
        for entry in range_stepped(UNIT_POS as usize, last.outputs * tile.fours, UNITS) {
            let k = entry / tile.fours;
            let four = entry % tile.fours;
            let y = product(&memory, parameters, 0usize, k, four, last.clone(), tile).tanh();
            let range = Four::new(range_of(k, comptime!(cell.ranges.clone())));
            let constant = product(
                &memory,
                parameters,
                0usize,
                k,
                four,
                constants.clone(),
                tile,
            );
            write(outputs, k, begin + 4 * four, columns, constant + range * y);
        }
        sync_cube();
    }
}

/// `feature_gradient`: `[varying + shared, columns]`.
#[cube(launch)]
fn perceptron_backward_kernel(
    varying: &[f32],
    shared: &[f32],
    parameters: &[f32],
    gradient: &[f32],
    feature_gradient: &mut [f32],
    partial: &mut [f32],
    columns: usize,
    columns_per_item: usize,
    #[comptime] cell: Perceptron,
) {
    let tile = comptime!(cell.tile);
    let last = comptime!(cell.last.clone());
    let incoming = comptime!(cell.constants.errors);
    let layers = comptime!(cell.layers());
    let mut memory = Shared::<[Four]>::new_slice(comptime!(tile.rows * tile.stride()));
    fill_ones(&mut memory, tile);
    let tiles = columns.div_ceil(4 * tile.fours);
    let row = CUBE_POS_X as usize;
    for t in range_stepped(row, tiles, CUBE_COUNT_X as usize) {
        let begin = 4 * t * tile.fours;
        // Past the end the gradient is 0, hence every error.
        load(
            &mut memory,
            gradient,
            0usize,
            begin,
            columns,
            incoming,
            last.outputs,
            tile,
        );
        perceptron_hidden(
            &mut memory,
            varying,
            shared,
            parameters,
            begin,
            columns,
            columns_per_item,
            cell.clone(),
        );
        for entry in range_stepped(UNIT_POS as usize, last.outputs * tile.fours, UNITS) {
            let k = entry / tile.fours;
            let four = entry % tile.fours;
            let y = product(&memory, parameters, 0usize, k, four, last.clone(), tile).tanh();
            let range = Four::new(range_of(k, comptime!(cell.ranges.clone())));
            memory[(last.errors + k) * tile.stride() + four] =
                range * memory[(incoming + k) * tile.stride() + four] * (Four::new(1.0) - y * y);
        }
        sync_cube();
        #[unroll]
        for l in 0..cell.hidden.len() {
            let layer = comptime!(cell.hidden.len() - 1 - l);
            relu_errors(
                &mut memory,
                parameters,
                0usize,
                comptime!(layers[layer].clone()),
                comptime!(layers[layer + 1].clone()),
                tile,
            );
        }
        let features = comptime!(cell.varying + cell.shared);
        for entry in range_stepped(UNIT_POS as usize, features * tile.fours, UNITS) {
            let k = entry / tile.fours;
            let four = entry % tile.fours;
            let errors = transposed_product(
                &memory,
                parameters,
                0usize,
                k,
                four,
                0usize,
                comptime!(layers[0].clone()),
                tile,
            );
            write(feature_gradient, k, begin + 4 * four, columns, errors);
        }
        accumulate(
            &memory,
            partial,
            row,
            t == row,
            layers.clone(),
            cell.parameters,
            tile,
        );
        sync_cube();
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// LSTM
// ---------------------------------------------------------------------------------------------------------------------

/// Loads features and state of a tile and computes gates, next state and hidden layer.
#[cube]
fn lstm_hidden(
    memory: &mut Shared<[Four]>,
    input: &[f32],
    state: &[f32],
    parameters: &[f32],
    group: usize,
    begin: usize,
    columns: usize,
    #[comptime] cell: Lstm,
) {
    let tile = comptime!(cell.tile);
    let gates = comptime!(cell.gates.clone());
    let base = group * cell.parameters;
    load(
        memory,
        input,
        group * cell.inputs,
        begin,
        columns,
        cell.features,
        cell.inputs,
        tile,
    );
    load(
        memory,
        state,
        group * (2 * H),
        begin,
        columns,
        cell.state,
        comptime!(2 * H),
        tile,
    );
    sync_cube();
    for entry in range_stepped(UNIT_POS as usize, gates.outputs * tile.fours, UNITS) {
        let k = entry / tile.fours;
        let four = entry % tile.fours;
        // σ(x) = (1 + tanh(x / 2)) / 2, which cannot overflow; the third gate is tanh(x).
        let half = select(k / H == 2, 1.0f32, 0.5f32);
        let x = product(&*memory, parameters, base, k, four, gates.clone(), tile);
        memory[(gates.values + k) * tile.stride() + four] =
            Four::new(1.0 - half) + Four::new(half) * (Four::new(half) * x).tanh();
    }
    sync_cube();
    let across = comptime!(H * tile.stride());
    for entry in range_stepped(UNIT_POS as usize, H * tile.fours, UNITS) {
        let at = entry / tile.fours * tile.stride() + entry % tile.fours;
        let gate = gates.values * tile.stride() + at;
        let c = memory[gate + across] * memory[cell.state * tile.stride() + across + at]
            + memory[gate] * memory[gate + 2 * across];
        memory[cell.next * tile.stride() + at] = memory[gate + 3 * across] * c.tanh();
        memory[cell.next * tile.stride() + across + at] = c;
    }
    sync_cube();
    relu_layer(
        memory,
        parameters,
        base,
        comptime!(cell.hidden.clone()),
        tile,
    );
}

#[cube(launch)]
fn lstm_kernel(
    input: &[f32],
    state: &[f32],
    parameters: &[f32],
    output: &mut [f32],
    next_state: &mut [f32],
    columns: usize,
    #[comptime] cell: Lstm,
) {
    let tile = comptime!(cell.tile);
    let head = comptime!(cell.head.clone());
    let group = CUBE_POS_Y as usize;
    let base = group * cell.parameters;
    let mut memory = Shared::<[Four]>::new_slice(comptime!(tile.rows * tile.stride()));
    fill_ones(&mut memory, tile);
    let tiles = columns.div_ceil(4 * tile.fours);
    for t in range_stepped(CUBE_POS_X as usize, tiles, CUBE_COUNT_X as usize) {
        let begin = 4 * t * tile.fours;
        lstm_hidden(
            &mut memory,
            input,
            state,
            parameters,
            group,
            begin,
            columns,
            cell.clone(),
        );
        for entry in range_stepped(UNIT_POS as usize, 2 * H * tile.fours, UNITS) {
            let k = entry / tile.fours;
            let four = entry % tile.fours;
            let values = memory[(cell.next + k) * tile.stride() + four];
            write(
                next_state,
                group * (2 * H) + k,
                begin + 4 * four,
                columns,
                values,
            );
        }
        for entry in range_stepped(UNIT_POS as usize, head.outputs * tile.fours, UNITS) {
            let k = entry / tile.fours;
            let four = entry % tile.fours;
            let values = product(&memory, parameters, base, k, four, head.clone(), tile);
            write(
                output,
                group * head.outputs + k,
                begin + 4 * four,
                columns,
                values,
            );
        }
        sync_cube();
    }
}

/// `row_gradient`: `[groups, inputs + 40, columns]`, the gradients of the input and of the state.
#[cube(launch)]
fn lstm_backward_kernel(
    input: &[f32],
    state: &[f32],
    parameters: &[f32],
    output_gradient: &[f32],
    state_gradient: &[f32],
    row_gradient: &mut [f32],
    partial: &mut [f32],
    columns: usize,
    #[comptime] cell: Lstm,
) {
    let tile = comptime!(cell.tile);
    let gates = comptime!(cell.gates.clone());
    let hidden = comptime!(cell.hidden.clone());
    let head = comptime!(cell.head.clone());
    let group = CUBE_POS_Y as usize;
    let base = group * cell.parameters;
    let first_row = group * comptime!(cell.inputs + 2 * H);
    let mut memory = Shared::<[Four]>::new_slice(comptime!(tile.rows * tile.stride()));
    fill_ones(&mut memory, tile);
    let tiles = columns.div_ceil(4 * tile.fours);
    let workgroup = CUBE_POS_X as usize;
    let workgroups = CUBE_COUNT_X as usize;
    for t in range_stepped(workgroup, tiles, workgroups) {
        let begin = 4 * t * tile.fours;
        // Past the end both gradients are 0, hence every error.
        load(
            &mut memory,
            output_gradient,
            group * head.outputs,
            begin,
            columns,
            head.errors,
            head.outputs,
            tile,
        );
        lstm_hidden(
            &mut memory,
            input,
            state,
            parameters,
            group,
            begin,
            columns,
            cell.clone(),
        );
        relu_errors(
            &mut memory,
            parameters,
            base,
            hidden.clone(),
            head.clone(),
            tile,
        );
        let one = Four::new(1.0);
        let across = comptime!(H * tile.stride());
        for entry in range_stepped(UNIT_POS as usize, H * tile.fours, UNITS) {
            let k = entry / tile.fours;
            let four = entry % tile.fours;
            let column = begin + 4 * four;
            let at = k * tile.stride() + four;
            let gate = gates.values * tile.stride() + at;
            let i = memory[gate];
            let f = memory[gate + across];
            let g = memory[gate + 2 * across];
            let o = memory[gate + 3 * across];
            let y = memory[cell.next * tile.stride() + across + at].tanh();
            let dh = read(state_gradient, group * (2 * H) + k, column, columns)
                + transposed_product(
                    &memory,
                    parameters,
                    base,
                    k,
                    four,
                    0usize,
                    hidden.clone(),
                    tile,
                );
            let dc = read(state_gradient, group * (2 * H) + H + k, column, columns)
                + dh * o * (one - y * y);
            // This unit alone reads and writes these four entries.
            memory[gate] = dc * g * i * (one - i);
            memory[gate + across] =
                dc * memory[cell.state * tile.stride() + across + at] * f * (one - f);
            memory[gate + 2 * across] = dc * i * (one - g * g);
            memory[gate + 3 * across] = dh * y * o * (one - o);
            write(
                row_gradient,
                first_row + cell.inputs + H + k,
                column,
                columns,
                dc * f,
            );
        }
        sync_cube();
        // The gates' first weight is on the features, the second on h.
        #[unroll]
        for which in 0..2usize {
            let count = comptime!(gates.weights[which].inputs);
            for entry in range_stepped(UNIT_POS as usize, count * tile.fours, UNITS) {
                let k = entry / tile.fours;
                let four = entry % tile.fours;
                let errors = transposed_product(
                    &memory,
                    parameters,
                    base,
                    k,
                    four,
                    which,
                    gates.clone(),
                    tile,
                );
                let row = first_row + which * cell.inputs + k;
                write(row_gradient, row, begin + 4 * four, columns, errors);
            }
        }
        accumulate(
            &memory,
            partial,
            group * workgroups + workgroup,
            t == workgroup,
            comptime!(cell.layers()),
            cell.parameters,
            tile,
        );
        sync_cube();
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Sums and launches
// ---------------------------------------------------------------------------------------------------------------------

/// `output[a, b] = Σ_i input[a, i, b]`, `i < length`, `b < inner`, from `offset` of the input: one workgroup per output at a time.
#[cube(launch)]
fn sum_kernel(
    input: &[f32],
    output: &mut [f32],
    offset: usize,
    length: usize,
    inner: usize,
    outputs: usize,
) {
    let unit = UNIT_POS as usize;
    let mut memory = Shared::<[f32]>::new_slice(SUM_UNITS);
    for k in range_stepped(CUBE_POS_X as usize, outputs, CUBE_COUNT_X as usize) {
        let first = offset + k / inner * length * inner + k % inner;
        let mut sum = 0.0f32;
        for i in range_stepped(unit, length, SUM_UNITS) {
            sum += input[first + i * inner];
        }
        memory[unit] = sum;
        sync_cube();
        if unit == 0 {
            let mut total = 0.0f32;
            for i in 0..SUM_UNITS {
                total += memory[i];
            }
            output[k] = total;
        }
        sync_cube();
    }
}

/// Launches [`sum_kernel`] for an output of shape `shape`.
fn sum(input: CubeTensor, offset: usize, length: usize, inner: usize, shape: Shape) -> CubeTensor {
    let output = empty_like(&input, shape.clone());
    let outputs = shape.num_elements();
    if outputs > 0 {
        sum_kernel::launch(
            &output.client,
            workgroups(outputs, 1),
            CubeDim::new_1d(SUM_UNITS as u32),
            input.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            offset,
            length,
            inner,
            outputs,
        );
    }
    output
}

fn empty_like(like: &CubeTensor, shape: Shape) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, DType::F32)
}

fn zeros_like(like: &CubeTensor, shape: Shape) -> CubeTensor {
    if shape.num_elements() == 0 {
        return empty_like(like, shape);
    }
    zeros_client(like.client.clone(), like.device.clone(), shape, DType::F32)
}

/// `count` workgroups per group; kernels loop where more would be needed.
fn workgroups(count: usize, groups: usize) -> CubeCount {
    assert!(groups <= MAX_WORKGROUPS, "{groups} groups");
    CubeCount::Static(count.min(MAX_WORKGROUPS) as u32, groups as u32, 1)
}

/// Checks type and shape, and packs the memory.
fn operand<const D: usize>(tensor: CubeTensor, shape: [usize; D], name: &str) -> CubeTensor {
    assert_eq!(tensor.dtype, DType::F32, "type of {name}");
    assert_eq!(tensor.shape(), Shape::from(shape), "shape of {name}");
    into_contiguous(tensor)
}

/// Columns, items and the checked operands of a perceptron.
struct PerceptronCall {
    columns: usize,
    items: usize,
    varying: CubeTensor,
    shared: CubeTensor,
    parameters: CubeTensor,
}

impl PerceptronCall {
    fn new(
        varying: CubeTensor,
        shared: CubeTensor,
        parameters: CubeTensor,
        shape: &PerceptronShape,
    ) -> Self {
        let columns = varying.shape()[1];
        let items = shared.shape()[1];
        assert!(
            columns == 0 || (items > 0 && columns.is_multiple_of(items)),
            "{columns} columns over {items} items"
        );
        let varying = operand(varying, [shape.varying, columns], "varying");
        let shared = operand(shared, [shape.shared, items], "shared");
        let parameters = operand(parameters, [shape.parameters()], "parameters");
        Self {
            columns,
            items,
            varying,
            // An empty tensor cannot be bound; nothing is read from what takes its place.
            shared: if shape.shared == 0 {
                parameters.clone()
            } else {
                shared
            },
            parameters,
        }
    }
}

/// Forward pass of the perceptron.
///
/// `varying`: `[varying, c]`; `shared`: `[shared, items]`, column `j` belongs to item `j / (c / items)`; `parameters`:
/// `[shape.parameters()]`, see there. Returns `[outputs, c]`. All f32, any strides; `c` may be 0, and `shared` may be 0
/// (`[0, items]`, or `[0, 1]`).
///
/// # Panics
/// On other shapes or types.
pub fn perceptron(
    varying: CubeTensor,
    shared: CubeTensor,
    parameters: CubeTensor,
    shape: &PerceptronShape,
) -> CubeTensor {
    let call = PerceptronCall::new(varying, shared, parameters, shape);
    let output = empty_like(&call.varying, [shape.ranges.len(), call.columns].into());
    if call.columns == 0 {
        return output;
    }
    let cell = Perceptron::new(shape, false).expect(FITS);
    perceptron_kernel::launch(
        &output.client,
        workgroups(call.columns.div_ceil(cell.tile.columns()), 1),
        CubeDim::new_1d(UNITS as u32),
        call.varying.into_buffer_arg(),
        call.shared.into_buffer_arg(),
        call.parameters.into_buffer_arg(),
        output.clone().into_buffer_arg(),
        call.columns,
        call.columns / call.items,
        cell,
    );
    output
}

/// Backward pass of the perceptron, which recomputes the forward pass; `relu'(0) = 0`.
///
/// Operands as in [`perceptron`]; `gradient`: `[outputs, c]`. Returns the gradients of `varying` `[varying, c]`, `shared`
/// `[shared, items]` and the parameters `[shape.parameters()]`.
///
/// # Panics
/// On other shapes or types.
pub fn perceptron_backward(
    varying: CubeTensor,
    shared: CubeTensor,
    parameters: CubeTensor,
    gradient: CubeTensor,
    shape: &PerceptronShape,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let call = PerceptronCall::new(varying, shared, parameters, shape);
    let PerceptronCall { columns, items, .. } = call;
    let gradient = operand(gradient, [shape.ranges.len(), columns], "gradient");
    if columns == 0 {
        return (
            zeros_like(&gradient, [shape.varying, 0].into()),
            zeros_like(&gradient, [shape.shared, items].into()),
            zeros_like(&gradient, [shape.parameters()].into()),
        );
    }
    let cell = Perceptron::new(shape, true).expect(FITS);
    let parameters = cell.parameters;
    let rows = columns
        .div_ceil(cell.tile.columns())
        .min(BACKWARD_WORKGROUPS);
    let features = empty_like(&gradient, [shape.varying + shape.shared, columns].into());
    let partial = empty_like(&gradient, [rows, parameters].into());
    perceptron_backward_kernel::launch(
        &features.client,
        workgroups(rows, 1),
        CubeDim::new_1d(UNITS as u32),
        call.varying.into_buffer_arg(),
        call.shared.into_buffer_arg(),
        call.parameters.into_buffer_arg(),
        gradient.into_buffer_arg(),
        features.clone().into_buffer_arg(),
        partial.clone().into_buffer_arg(),
        columns,
        columns / items,
        cell,
    );
    (
        slice(features.clone(), &[0..shape.varying, 0..columns]),
        sum(
            features,
            shape.varying * columns,
            columns / items,
            1,
            [shape.shared, items].into(),
        ),
        sum(partial, 0, rows, parameters, [parameters].into()),
    )
}

/// Forward pass of the LSTM cell.
///
/// `input`: `[groups, inputs, c]`; `state`: `[groups, 40, c]`, `h` in rows 0 to 19, then `c`; `parameters`:
/// `[groups, shape.parameters()]`, see there. Returns the outputs `[groups, outputs, c]` and the next state `[groups, 40, c]`.
/// All f32, any strides; `c` may be 0; at most 65,535 groups.
///
/// # Panics
/// On other shapes or types.
pub fn lstm(
    input: CubeTensor,
    state: CubeTensor,
    parameters: CubeTensor,
    shape: &LstmShape,
) -> (CubeTensor, CubeTensor) {
    let [groups, _, columns] = input.shape().dims();
    let cell = Lstm::new(shape, false).expect(FITS);
    let input = operand(input, [groups, shape.inputs, columns], "input");
    let state = operand(state, [groups, 2 * H, columns], "state");
    let parameters = operand(parameters, [groups, cell.parameters], "parameters");
    let output = empty_like(&input, [groups, shape.outputs, columns].into());
    let next_state = empty_like(&input, [groups, 2 * H, columns].into());
    if groups * columns > 0 {
        lstm_kernel::launch(
            &output.client,
            workgroups(columns.div_ceil(cell.tile.columns()), groups),
            CubeDim::new_1d(UNITS as u32),
            input.into_buffer_arg(),
            state.into_buffer_arg(),
            parameters.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            next_state.clone().into_buffer_arg(),
            columns,
            cell,
        );
    }
    (output, next_state)
}

/// Backward pass of the LSTM cell, which recomputes the forward pass.
///
/// Operands as in [`lstm`]; `output_gradient`: `[groups, outputs, c]`; `state_gradient`: `[groups, 40, c]`, of the next state.
/// Returns the gradients of `input` `[groups, inputs, c]`, `state` `[groups, 40, c]` and the parameters
/// `[groups, shape.parameters()]`.
///
/// # Panics
/// On other shapes or types.
pub fn lstm_backward(
    input: CubeTensor,
    state: CubeTensor,
    parameters: CubeTensor,
    output_gradient: CubeTensor,
    state_gradient: CubeTensor,
    shape: &LstmShape,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [groups, inputs, columns] = input.shape().dims();
    let cell = Lstm::new(shape, true).expect(FITS);
    let count = cell.parameters;
    let input = operand(input, [groups, shape.inputs, columns], "input");
    let state = operand(state, [groups, 2 * H, columns], "state");
    let parameters = operand(parameters, [groups, count], "parameters");
    let output_gradient = operand(
        output_gradient,
        [groups, shape.outputs, columns],
        "output gradient",
    );
    let state_gradient = operand(state_gradient, [groups, 2 * H, columns], "state gradient");
    if groups * columns == 0 {
        return (
            zeros_like(&input, [groups, inputs, columns].into()),
            zeros_like(&input, [groups, 2 * H, columns].into()),
            zeros_like(&input, [groups, count].into()),
        );
    }
    let tiles = columns.div_ceil(cell.tile.columns());
    let per_group = tiles.min(BACKWARD_WORKGROUPS.div_ceil(groups));
    // One buffer for two gradients: a kernel may have no more than eight, CubeCL's own included.
    let rows = empty_like(&input, [groups, inputs + 2 * H, columns].into());
    let partial = empty_like(&input, [groups, per_group, count].into());
    lstm_backward_kernel::launch(
        &rows.client,
        workgroups(per_group, groups),
        CubeDim::new_1d(UNITS as u32),
        input.into_buffer_arg(),
        state.into_buffer_arg(),
        parameters.into_buffer_arg(),
        output_gradient.into_buffer_arg(),
        state_gradient.into_buffer_arg(),
        rows.clone().into_buffer_arg(),
        partial.clone().into_buffer_arg(),
        columns,
        cell,
    );
    (
        slice(rows.clone(), &[0..groups, 0..inputs, 0..columns]),
        slice(rows, &[0..groups, inputs..inputs + 2 * H, 0..columns]),
        sum(partial, 0, per_group, count, [groups, count].into()),
    )
}

impl CellOps for CubeBackend {
    fn perceptron(
        varying: CubeTensor,
        shared: CubeTensor,
        parameters: CubeTensor,
        shape: PerceptronShape,
    ) -> Vec<CubeTensor> {
        let columns = varying.shape()[1];
        let out = perceptron(varying, shared, parameters, &shape);
        (0..shape.ranges.len())
            .map(|o| {
                let row = slice(out.clone(), &[o..o + 1, 0..columns]);
                Self::float_reshape(row, [columns].into())
            })
            .collect()
    }

    fn lstm(
        input: CubeTensor,
        state: CubeTensor,
        parameters: CubeTensor,
        shape: LstmShape,
    ) -> (CubeTensor, CubeTensor) {
        lstm(input, state, parameters, &shape)
    }
}

impl CellGradients for CubeBackend {
    fn perceptron_backward(
        [varying, shared, parameters]: [CubeTensor; 3],
        gradients: CubeTensor,
        shape: &PerceptronShape,
        by_inputs: bool,
    ) -> (CubeTensor, Option<[CubeTensor; 2]>) {
        let (by_varying, by_shared, by_parameters) =
            perceptron_backward(varying, shared, parameters, gradients, shape);
        (by_parameters, by_inputs.then_some([by_varying, by_shared]))
    }

    fn lstm_backward(
        [input, state, parameters]: [CubeTensor; 3],
        out: Option<CubeTensor>,
        next: Option<CubeTensor>,
        shape: LstmShape,
        _: Wanted,
    ) -> [CubeTensor; 3] {
        let [groups, _, columns] = input.shape().dims();
        let or_zero = |gradient: Option<CubeTensor>, rows: usize| {
            gradient.unwrap_or_else(|| zeros_like(&input, [groups, rows, columns].into()))
        };
        let (out, next) = (or_zero(out, shape.outputs), or_zero(next, 2 * H));
        let (by_input, by_state, by_parameters) =
            lstm_backward(input, state, parameters, out, next, &shape);
        [by_input, by_state, by_parameters]
    }
}
