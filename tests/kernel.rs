//! The fused cells against the same equations written operation by operation in f64: values and all gradients, random shapes, on
//! the CPU and, where an adapter answers, on wgpu.
#![cfg(feature = "cpu")]

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData, activation};
use rand::RngExt;
use starling::random;
use starling::train::kernel::{LstmShape, PerceptronShape, cpu, lstm, perceptron};

const H: usize = 20;

/// A device with a float type; tensors are leaves with gradients.
struct Place(Device, DType);

impl Place {
    fn leaf<const D: usize>(&self, values: &[f64], shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, (&self.0.clone().autodiff(), self.1)).require_grad()
    }
    fn constant<const D: usize>(&self, values: &[f64], shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, (&self.0.clone().autodiff(), self.1))
    }
}

fn host<const D: usize>(t: Tensor<D>) -> Vec<f64> {
    t.try_into_vec_as::<f64>().unwrap()
}

fn numbers(seed: u64, key: u64, n: usize) -> Vec<f64> {
    let mut rng = random::stream(seed, "test/kernel", &[key]);
    // Rounded to f32, so that every device sees the same numbers.
    (0..n)
        .map(|_| f64::from(rng.random_range(-1.0f32..1.0)))
        .collect()
}

fn close(name: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (k, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= 2e-5 * scale,
            "{name}[{k}]: {f}, expected {e}"
        );
    }
}

/// The perceptron, operation by operation.
fn plain_perceptron(
    v: Tensor<2>,
    s: Tensor<2>,
    p: Tensor<1>,
    shape: &PerceptronShape,
) -> Tensor<2> {
    let ([_, columns], [shared, items]) = (v.dims(), s.dims());
    let mut at = 0;
    let mut take = |rows: usize, columns: usize| {
        at += rows * columns;
        p.clone()
            .narrow(0, at - rows * columns, rows * columns)
            .reshape([rows, columns])
    };
    let mut h = v;
    if shared > 0 {
        let spread = s
            .reshape([shared, items, 1])
            .expand([shared, items, columns / items])
            .reshape([shared, columns]);
        h = Tensor::cat(vec![h, spread], 0);
    }
    let outputs = shape.ranges.len();
    let mut width = shape.varying + shape.shared;
    for (k, &next) in shape.widths().iter().enumerate() {
        let (weight, bias) = (take(next, width), take(next, 1));
        h = weight.matmul(h) + bias;
        if k < shape.hidden.len() {
            h = activation::relu(h);
        }
        width = next;
    }
    let constants = take(outputs, 1);
    let ranges: Vec<f64> = shape.ranges.iter().map(|r| f64::from(*r)).collect();
    let device = h.device();
    let ranges =
        Tensor::<2>::from_data(TensorData::new(ranges, [outputs, 1]), (&device, h.dtype()));
    constants + ranges * h.tanh()
}

fn check_perceptron(
    device: &Device,
    seed: u64,
    shape: &PerceptronShape,
    items: usize,
    each: usize,
) {
    let columns = items * each;
    let outputs = shape.ranges.len();
    let v = numbers(seed, 0, shape.varying * columns);
    let s = numbers(seed, 1, shape.shared * items);
    let p = numbers(seed, 2, shape.parameters());
    let weight = numbers(seed, 3, outputs * columns);
    let run = |place: &Place, fused: bool| {
        let (v, s, p) = (
            place.leaf(&v, [shape.varying, columns]),
            place.leaf(&s, [shape.shared, items]),
            place.leaf(&p, [shape.parameters()]),
        );
        let y = if fused {
            let rows = perceptron(v.clone(), s.clone(), p.clone(), shape);
            let rows = rows.into_iter().map(|t| t.reshape([1, columns])).collect();
            Tensor::cat(rows, 0)
        } else {
            plain_perceptron(v.clone(), s.clone(), p.clone(), shape)
        };
        let loss = (y.clone() * place.constant(&weight, [outputs, columns])).sum();
        let mut grads = loss.backward();
        let by_shared = s.grad_remove(&mut grads).map(host).unwrap_or_default();
        [
            host(y),
            host(v.grad_remove(&mut grads).unwrap()),
            if shape.shared > 0 {
                by_shared
            } else {
                Vec::new()
            },
            host(p.grad_remove(&mut grads).unwrap()),
        ]
    };
    let expected = run(&Place(Device::flex(), DType::F64), false);
    let found = run(&Place(device.clone(), DType::F32), true);
    for (name, (f, e)) in ["y", "by v", "by s", "by parameters"]
        .iter()
        .zip(found.iter().zip(&expected))
    {
        close(&format!("{name} of {shape:?}, {items} × {each}"), f, e);
    }
}

/// The LSTM with its head, operation by operation: output above the new state.
fn plain_lstm(
    u: Tensor<3>,
    state: Tensor<3>,
    p: Tensor<2>,
    shape: LstmShape,
) -> (Tensor<3>, Tensor<3>) {
    let [groups, _, columns] = u.dims();
    let mut at = 0;
    let mut take = |rows: usize, columns: usize| -> Tensor<3> {
        at += rows * columns;
        p.clone()
            .slice([0..groups, at - rows * columns..at])
            .reshape([groups, rows, columns])
    };
    let part =
        |t: &Tensor<3>, k: usize| t.clone().slice([0..groups, k * H..(k + 1) * H, 0..columns]);
    let (h, c) = (part(&state, 0), part(&state, 1));
    let gates = take(4 * H, shape.inputs).matmul(u) + take(4 * H, H).matmul(h) + take(4 * H, 1);
    let c = activation::sigmoid(part(&gates, 1)) * c
        + activation::sigmoid(part(&gates, 0)) * part(&gates, 2).tanh();
    let h = activation::sigmoid(part(&gates, 3)) * c.clone().tanh();
    let hidden = activation::relu(take(H, H).matmul(h.clone()) + take(H, 1));
    let out = take(shape.outputs, H).matmul(hidden) + take(shape.outputs, 1);
    (out, Tensor::cat(vec![h, c], 1))
}

/// A state `[groups, 40, columns]` in the order in which the cell on the CPU keeps it, zeros behind the last column.
fn blocks(rows: &[f64], columns: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(rows.len());
    for group in rows.chunks_exact(2 * H * columns) {
        for from in (0..columns).step_by(cpu::lstm::C) {
            let to = (from + cpu::lstm::C).min(columns);
            for row in group.chunks_exact(columns) {
                values.extend(&row[from..to]);
                values.extend(std::iter::repeat_n(0.0, from + cpu::lstm::C - to));
            }
        }
    }
    values
}

/// The other way.
fn rows(blocks: &[f64], columns: usize) -> Vec<f64> {
    let wide = columns.next_multiple_of(cpu::lstm::C);
    let mut values = Vec::new();
    for group in blocks.chunks_exact(2 * H * wide) {
        for row in 0..2 * H {
            let parts = group.chunks_exact(2 * H * cpu::lstm::C);
            let parts = parts.flat_map(|block| &block[row * cpu::lstm::C..][..cpu::lstm::C]);
            values.extend(parts.take(columns));
        }
    }
    values
}

fn check_lstm(
    device: &Device,
    seed: u64,
    shape: LstmShape,
    groups: usize,
    columns: usize,
    used: [bool; 2],
) {
    let u = numbers(seed, 0, groups * shape.inputs * columns);
    let state = numbers(seed, 1, groups * 2 * H * columns);
    let p: Vec<f64> = numbers(seed, 2, groups * shape.parameters());
    let w_out = numbers(seed, 3, groups * shape.outputs * columns);
    let w_state = numbers(seed, 4, groups * 2 * H * columns);
    let run = |place: &Place, fused: bool| {
        let in_blocks = fused && *device == Device::flex();
        let state_tensor = |rows: &[f64], leaf: bool| {
            let (values, columns) = match in_blocks {
                true => (
                    blocks(rows, columns),
                    columns.next_multiple_of(cpu::lstm::C),
                ),
                false => (rows.to_vec(), columns),
            };
            let shape = [groups, 2 * H, columns];
            match leaf {
                true => place.leaf(&values, shape),
                false => place.constant(&values, shape),
            }
        };
        let state_rows = |t: Tensor<3>| match in_blocks {
            true => rows(&host(t), columns),
            false => host(t),
        };
        let (u, state, p) = (
            place.leaf(&u, [groups, shape.inputs, columns]),
            state_tensor(&state, true),
            place.leaf(&p, [groups, shape.parameters()]),
        );
        let cell = if fused { lstm } else { plain_lstm };
        let (out, next) = cell(u.clone(), state.clone(), p.clone(), shape);
        let mut loss = (p.clone() * 0.0).sum();
        if used[0] {
            let w = place.constant(&w_out, [groups, shape.outputs, columns]);
            loss = loss + (out.clone() * w).sum();
        }
        if used[1] {
            let w = state_tensor(&w_state, false);
            loss = loss + (next.clone() * w).sum();
        }
        let mut grads = loss.backward();
        [
            host(out),
            state_rows(next),
            host(u.grad_remove(&mut grads).unwrap()),
            state_rows(state.grad_remove(&mut grads).unwrap()),
            host(p.grad_remove(&mut grads).unwrap()),
        ]
    };
    let expected = run(&Place(Device::flex(), DType::F64), false);
    let found = run(&Place(device.clone(), DType::F32), true);
    for (name, (f, e)) in ["out", "state", "by input", "by state", "by parameters"]
        .iter()
        .zip(found.iter().zip(&expected))
    {
        close(
            &format!("{name} of {shape:?}, {groups} × {columns}, {used:?}"),
            f,
            e,
        );
    }
}

fn perceptrons(device: &Device, cases: u64) {
    for seed in 0..cases {
        let mut rng = random::stream(seed, "test/kernel/shape", &[]);
        let hidden = (0..rng.random_range(1..3))
            .map(|_| rng.random_range(8..33))
            .collect();
        let shape = PerceptronShape {
            varying: rng.random_range(1..25),
            shared: if seed % 4 == 3 {
                0
            } else {
                rng.random_range(1..9)
            },
            hidden,
            ranges: (0..rng.random_range(1..9))
                .map(|k| 0.3 + 0.2 * k as f32)
                .collect(),
        };
        let (items, each) = (rng.random_range(1..8), rng.random_range(1..400));
        check_perceptron(device, seed, &shape, items, each);
    }
    // A first layer of one input, and an item longer than a task.
    let shape = PerceptronShape {
        varying: 10,
        shared: 8,
        hidden: vec![16, 16],
        ranges: vec![1.0; 4],
    };
    check_perceptron(device, 99, &shape, 2, 4500);
}

fn lstms(device: &Device, cases: u64) {
    for seed in 0..cases {
        let mut rng = random::stream(seed, "test/kernel/lstm", &[]);
        let shape = LstmShape {
            inputs: rng.random_range(1..5),
            outputs: rng.random_range(1..5),
        };
        let (groups, columns) = (rng.random_range(1..5), rng.random_range(1..300));
        for used in [[true, true], [true, false], [false, true]] {
            check_lstm(device, seed, shape, groups, columns, used);
        }
    }
    check_lstm(
        device,
        98,
        LstmShape {
            inputs: 2,
            outputs: 2,
        },
        2,
        4000,
        [true, true],
    );
}

#[test]
fn fused_perceptron_equals_op_by_op_on_the_cpu() {
    perceptrons(&Device::flex(), 24);
}

#[test]
fn fused_lstm_equals_op_by_op_on_the_cpu() {
    lstms(&Device::flex(), 8);
}

#[test]
fn fused_cells_on_the_cpu_do_not_depend_on_the_number_of_threads() {
    let shape = PerceptronShape {
        varying: 5,
        shared: 2,
        hidden: vec![9],
        ranges: vec![0.5; 3],
    };
    let place = Place(Device::flex(), DType::F32);
    let run = || {
        let p = place.leaf(&numbers(1, 2, shape.parameters()), [shape.parameters()]);
        let v = place.constant(&numbers(1, 0, 5 * 20_000), [5, 20_000]);
        let s = place.constant(&numbers(1, 1, 2 * 40), [2, 40]);
        let y = perceptron(v, s, p.clone(), &shape);
        let mut grads = y[0].clone().sum().backward();
        host(p.grad_remove(&mut grads).unwrap())
    };
    let pool = |n: usize| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap()
    };
    assert_eq!(pool(1).install(run), pool(4).install(run));
}

#[cfg(feature = "wgpu")]
#[test]
fn fused_cells_equal_op_by_op_on_wgpu() {
    if let Some((wgpu, _alone)) = common::training::wgpu() {
        perceptrons(&wgpu.device, 8);
        lstms(&wgpu.device, 3);
    }
}

/// A cell that no workgroup can hold is written operation by operation there instead.
#[cfg(feature = "wgpu")]
#[test]
fn cells_too_large_for_a_workgroup_still_train_on_wgpu() {
    use starling::graph::Graph;
    use starling::rule::{Constants, shared::Ranges};
    use starling::train::batch::{Batch, Place};
    use starling::train::shared::{SharedModule, initial};

    let lstm = |n| LstmShape {
        inputs: n,
        outputs: n,
    };
    let Some((wgpu, _alone)) = common::training::wgpu() else {
        return;
    };
    let gpu = Place {
        device: wgpu.device,
        dtype: DType::F32,
    };
    let cpu = Place {
        device: Device::flex(),
        dtype: DType::F32,
    };
    assert!(lstm(4).fits(&gpu, 10) && !lstm(600).fits(&gpu, 10) && !lstm(4).fits(&gpu, 100_000));
    assert!(lstm(600).fits(&cpu, 100_000));

    let graph = Graph::from_edges("pair", 2, [(0, 1)]).unwrap();
    let problems = common::training::solved(vec![common::random_problem(
        starling::problem::Loss::LeastSquares,
        starling::problem::Regularizer::new(0.1, 0.0, None).unwrap(),
        2,
        3,
        |_| 4,
        1,
    )]);
    let hidden = [64; 10];
    let rule = initial(Constants::default(), Ranges::default(), &hidden, 10, 1);
    let module = SharedModule::new(&rule, &gpu.device, gpu.dtype, false);
    let batch = Batch::new(&graph, &problems, &gpu).unwrap();
    let state = module.step(&batch, module.start(&batch));
    assert!(host(state.x).iter().all(|x| x.is_finite()));
}
