//! The differentiable `milodo` against the published meta-loss and meta-gradient, and against central differences.

#![cfg(feature = "cpu")]

mod common;

use burn::tensor::{DType, Device};
use common::training::{solved, wgpu};
use common::{fixtures, random_problem, relative_error, star};
use rand::RngExt;
use starling::algorithm::Algorithm;
use starling::graph::Graph;
use starling::network::Network;
use starling::problem::{Loss, Problem, Regularizer};
use starling::random;
use starling::rule::milodo::{AgentCells, Cell, Milodo, MilodoRule};
use starling::train::TrainDevice;
use starling::train::batch::{Batch, Place};
use starling::train::meta_loss::MetaLoss;
use starling::train::milodo::MilodoModule;
use starling::train::parameters::{self, Slot};
use starling::train::unroll::{RuleModule, Window, window};

/// The mean objective over the first `steps` steps of one problem, with its gradient.
fn meta(
    module: &MilodoModule,
    graph: &Graph,
    problem: Problem,
    place: &Place,
    steps: usize,
) -> Window {
    let batch = Batch::new(graph, &solved(vec![problem]), place).unwrap();
    window(
        module,
        &batch,
        module.start(&batch),
        steps,
        MetaLoss::MeanObjective,
        starling::train::unroll::Tape::Whole,
    )
    .0
}

/// `M.0.lstm.weight_ih_l0` for agent 0's part of `primal.weight_ih`.
fn published_name(slot: &Slot, agent: usize) -> String {
    let (network, tensor) = slot.name.split_once('.').unwrap();
    let network = match network {
        "primal" => "M",
        "dual" => "S",
        "mixing" => "C",
        other => panic!("network {other}"),
    };
    let tensor = match tensor {
        "linear_weight" => "linear.weight".into(),
        "linear_bias" => "linear.bias".into(),
        "out_weight" => "linear_out.weight".into(),
        "out_bias" => "linear_out.bias".into(),
        lstm => format!("lstm.{lstm}_l0"),
    };
    format!("{network}.{agent}.{tensor}")
}

/// Where entry `(row, column)` of an agent's part lies in the slot's stacked `[agents, rows, columns]`.
fn position(slot: &Slot, agent: usize, row: usize, column: usize) -> usize {
    (agent * slot.shape[1] + row) * slot.shape[2] + column
}

/// Rows and columns of agent `i`'s part of a slot: without the padding to the largest degree.
fn own_shape(slot: &Slot, degree: usize) -> [usize; 2] {
    let own = |stacked: usize, depends: bool| if depends { degree } else { stacked };
    let per_edge = !slot.name.starts_with("primal");
    [
        own(slot.shape[1], per_edge && slot.name.contains(".out_")),
        own(slot.shape[2], per_edge && slot.name.ends_with("weight_ih")),
    ]
}

fn compare_with_published(device: &Device, dtype: DType, tolerance: f64) {
    for f in fixtures() {
        let graph = f.rule.graph().unwrap();
        let module = MilodoModule::new(&f.rule, device, dtype);
        let place = Place {
            device: device.clone(),
            dtype,
        };
        let found = meta(&module, &graph, f.problem, &place, f.window);
        let error = relative_error(&[found.loss], &[f.meta_loss]);
        assert!(
            error <= tolerance,
            "{}: meta.loss differs by {error:e}",
            f.name
        );

        let (mut worst, mut compared, mut offset) = ((0.0, String::new()), 0, 0);
        for slot in parameters::slots(&module) {
            let stacked = &found.gradient[offset..][..slot.shape.iter().product()];
            offset += stacked.len();
            for agent in 0..graph.agents() {
                let name = published_name(&slot, agent);
                let (shape, expected) = &f.meta_gradient[&name];
                let [rows, columns] = own_shape(&slot, graph.degree(agent));
                assert_eq!(
                    [shape[0], shape.get(1).copied().unwrap_or(1)],
                    [rows, columns],
                    "{name}"
                );
                let ours: Vec<f64> = (0..rows * columns)
                    .map(|k| stacked[position(&slot, agent, k / columns, k % columns)])
                    .collect();
                let error = relative_error(&ours, expected);
                assert!(
                    error <= tolerance,
                    "{}: meta.grad.{name} differs by {error:e}",
                    f.name
                );
                if error > worst.0 {
                    worst = (error, name);
                }
                compared += 1;
            }
        }
        assert_eq!(
            (compared, offset),
            (f.meta_gradient.len(), found.gradient.len())
        );
        println!(
            "{}: worst of {compared} tensors: {:.1e} in meta.grad.{}",
            f.name, worst.0, worst.1
        );
    }
}

#[test]
fn parity_of_the_meta_gradient_on_the_cpu_in_f64() {
    compare_with_published(&TrainDevice::cpu().unwrap().device, DType::F64, 1e-9);
}

#[test]
fn parity_of_the_meta_gradient_on_the_cpu_in_f32() {
    compare_with_published(&TrainDevice::cpu().unwrap().device, DType::F32, 1e-3);
}

#[test]
fn parity_of_the_meta_gradient_on_wgpu() {
    if let Some((wgpu, _alone)) = wgpu() {
        compare_with_published(&wgpu.device, DType::F32, 1e-3);
    }
}

/// A rule whose networks matter: the published start with output weights that are not small.
fn lively(graph: &Graph, step: f64) -> Milodo {
    let mut rule = Milodo::initial(graph, step, 4);
    let louder = |cell: &mut Cell, by: f64| cell.out_weight.iter_mut().for_each(|w| *w *= by);
    for AgentCells {
        primal,
        dual,
        mixing,
    } in &mut rule.cells
    {
        louder(primal, 100.0);
        louder(dual, 300.0);
        louder(mixing, 50.0);
    }
    rule
}

/// Unequal degrees pad the networks; the loss that is differentiated here is the plain rule's.
#[test]
fn parity_of_the_meta_gradient_with_central_differences_on_a_star() {
    const STEPS: usize = 6;
    let graph = star(5);
    let regularizer = Regularizer::new(0.02, 0.0, None).unwrap();
    let problem = random_problem(Loss::LeastSquares, regularizer, 5, 4, |i| 3 + i, 6);
    let rule = lively(&graph, 0.5 / problem.smoothness_max());
    let device = TrainDevice::cpu().unwrap().device;
    let module = MilodoModule::new(&rule, &device, DType::F64);
    let place = Place {
        device,
        dtype: DType::F64,
    };
    let found = meta(&module, &graph, problem.clone(), &place, STEPS);

    let plain = |values: &[f64]| {
        let rule = parameters::with_values(module.clone(), values).to_milodo();
        let rule = MilodoRule::new(rule, &graph).unwrap();
        let mut network = Network::new(&graph);
        let mut state = rule.init(&problem, &mut network);
        let mut total = 0.0;
        for _ in 0..STEPS {
            rule.step(&mut state, &problem, &mut network);
            total += problem.objective(&rule.iterate(&state).mean());
        }
        total / STEPS as f64
    };
    let mut values = parameters::values(&module);
    let error = relative_error(&[found.loss], &[plain(&values)]);
    assert!(error <= 1e-12, "the loss differs by {error:e}");

    let mut rng = random::stream(1, "test/entries", &[]);
    let (mut worst, mut offset) = (0.0f64, 0);
    for slot in parameters::slots(&module) {
        let length: usize = slot.shape.iter().product();
        let stacked = &found.gradient[offset..][..length];
        let scale = common::largest(stacked);
        assert!(scale > 0.0, "{}: no gradient", slot.name);
        for agent in 0..graph.agents() {
            let [rows, columns] = own_shape(&slot, graph.degree(agent));
            for _ in 0..3 {
                let (row, column) = (rng.random_range(0..rows), rng.random_range(0..columns));
                let at = position(&slot, agent, row, column);
                let (here, h) = (values[offset + at], 1e-5);
                let mut moved = |by: f64| {
                    values[offset + at] = here + by;
                    plain(&values)
                };
                let difference = (moved(h) - moved(-h)) / (2.0 * h);
                values[offset + at] = here;
                let error = (stacked[at] - difference).abs() / scale;
                assert!(
                    error <= 1e-5,
                    "{} of agent {agent} at ({row}, {column}): {} by backpropagation, {difference} by differences",
                    slot.name,
                    stacked[at]
                );
                worst = worst.max(error);
            }
            // The padding must stay what it is.
            for k in 0..slot.shape[1] * slot.shape[2] {
                let (row, column) = (k / slot.shape[2], k % slot.shape[2]);
                if row >= rows || column >= columns {
                    let gradient = stacked[position(&slot, agent, row, column)];
                    assert_eq!(gradient, 0.0, "padding of {} of agent {agent}", slot.name);
                }
            }
        }
        offset += length;
    }
    println!("worst entry: {worst:.1e}");
}
