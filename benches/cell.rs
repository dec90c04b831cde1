//! The fused cells on one core, in multiply-adds per second, beside the core's peak measured by a loop of nothing else.
//!
//! The peak is that of the same vector unit: 12 independent sums in registers.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pulp::{Simd, WithSimd};
use starling::rule::features::{EDGE_SHARED, EDGE_VARYING, NODE_SHARED, NODE_VARYING};
use starling::rule::lstm::HIDDEN as H;
use starling::train::kernel::{LstmShape, PerceptronShape, Wanted, cpu};
use std::hint::black_box;

/// Twelve sums, `ROUNDS` multiply-adds each.
struct Peak;
const SUMS: usize = 12;
const ROUNDS: usize = 10_000;

impl WithSimd for Peak {
    type Output = f32;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat_f32s(black_box(1.0)); SUMS];
        let (a, b) = (
            simd.splat_f32s(black_box(0.999)),
            simd.splat_f32s(black_box(1e-3)),
        );
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(a, *sum, b);
            }
        }
        sums.into_iter().map(|s| simd.reduce_sum_f32s(s)).sum()
    }
}

/// Lanes of a vector of this machine.
struct Lanes;
impl WithSimd for Lanes {
    type Output = usize;
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n)
        .map(|k| ((k * 7919) % 1000) as f32 / 500.0 - 1.0)
        .collect()
}

fn peak(c: &mut Criterion) {
    let arch = pulp::Arch::new();
    let lanes = arch.dispatch(Lanes);
    let mut group = c.benchmark_group("cell");
    group.throughput(Throughput::Elements((SUMS * ROUNDS * lanes) as u64));
    group.bench_function("peak", |b| b.iter(|| arch.dispatch(Peak)));
}

fn perceptron(c: &mut Criterion) {
    const ITEMS: usize = 40;
    const EACH: usize = 300;
    for (varying, shared, hidden, outputs) in [
        (NODE_VARYING, NODE_SHARED, vec![16, 16], 4),
        (EDGE_VARYING, EDGE_SHARED, vec![16, 16], 3),
        (NODE_VARYING, NODE_SHARED, vec![24, 24], 4),
        (NODE_VARYING, NODE_SHARED, vec![32, 32], 8),
    ] {
        let shape = PerceptronShape {
            varying,
            shared,
            hidden,
            ranges: vec![0.5; outputs],
        };
        let columns = ITEMS * EACH;
        let (v, s, p) = (
            numbers(varying * columns),
            numbers(shared * ITEMS),
            numbers(shape.parameters()),
        );
        let gradient = numbers(outputs * columns);
        let inputs = cpu::perceptron::Inputs {
            shape: &shape,
            varying: &v,
            shared: &s,
            parameters: &p,
            items: ITEMS,
            columns,
        };
        // Multiply-adds of a column; what an item's columns share is computed once per item.
        let mut width = varying;
        let mut per_column = 0;
        for next in shape.widths() {
            per_column += width * next;
            width = next;
        }
        let name = format!("{varying}+{shared} {:?} {outputs}", shape.hidden);
        let mut group = c.benchmark_group("cell");
        group.throughput(Throughput::Elements((per_column * columns) as u64));
        group.bench_function(BenchmarkId::new("perceptron forward", &name), |b| {
            b.iter(|| cpu::perceptron::forward(inputs));
        });
        // Recomputation, weights, and inputs of every layer but the first.
        let backward = 3 * per_column - varying * shape.hidden[0];
        group.throughput(Throughput::Elements((backward * columns) as u64));
        group.bench_function(BenchmarkId::new("perceptron backward", &name), |b| {
            b.iter(|| cpu::perceptron::backward(inputs, &gradient, false));
        });
    }
}

fn lstm(c: &mut Criterion) {
    const GROUPS: usize = 10;
    const COLUMNS: usize = 1200;
    let shape = LstmShape {
        inputs: 2,
        outputs: 2,
    };
    let n = GROUPS * COLUMNS;
    let (u, state, p) = (
        numbers(n * shape.inputs),
        numbers(n * 2 * H),
        numbers(GROUPS * shape.parameters()),
    );
    let (out, mut slopes) = (numbers(n * shape.outputs), numbers(n * 2 * H));
    let inputs = cpu::lstm::Inputs {
        shape,
        groups: GROUPS,
        columns: COLUMNS,
        input: &u,
        state: &state,
        parameters: &p,
    };
    let per_column = 4 * H * (shape.inputs + H) + H * H + H * shape.outputs;
    let mut group = c.benchmark_group("cell");
    group.throughput(Throughput::Elements((per_column * n) as u64));
    group.bench_function("lstm forward", |b| b.iter(|| cpu::lstm::forward(inputs)));
    group.throughput(Throughput::Elements((3 * per_column * n) as u64));
    group.bench_function("lstm backward", |b| {
        // In place: from the second time on with the gradient that the last one left.
        let wanted = Wanted {
            input: true,
            state: true,
        };
        b.iter(|| cpu::lstm::backward(inputs, Some(&out), &mut slopes, wanted));
    });
}

/// All on this thread.
fn all(c: &mut Criterion) {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    peak(c);
    perceptron(c);
    lstm(c);
}

criterion_group!(cell, all);
criterion_main!(cell);
