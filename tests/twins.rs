//! The training half against its plain twins: `Batch` and `Problem`, `SharedModule` and `SharedRule`; meta-gradients against
//! central differences; round trips; independence of the number of threads.

#![cfg(feature = "cpu")]

mod common;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use common::training::{solved, wgpu};
use common::{largest, path, random_problem, relative_error, ring, star};
use rand::RngExt;
use rand_distr::StandardNormal;
use starling::algorithm::Algorithm;
use starling::field::{Field, dot};
use starling::graph::Graph;
use starling::network::Network;
use starling::problem::{Loss, Optimum, Problem, Regularizer};
use starling::random;
#[cfg(feature = "wgpu")]
use starling::ron::parse_ron;
use starling::rule::shared::Ranges;
use starling::rule::{Constants, Milodo, Shared, SharedRule};
use starling::train::TrainDevice;
use starling::train::batch::{Batch, Place};
use starling::train::meta_loss::MetaLoss;
use starling::train::milodo::MilodoModule;
use starling::train::parameters;
use starling::train::shared::{SharedModule, initial};
use starling::train::unroll::{RuleModule, Tape, window, windows};
#[cfg(feature = "wgpu")]
use starling::train::{Recipe, train, trainer::Settings};

fn cpu(dtype: DType) -> Place {
    let device = TrainDevice::cpu().unwrap().device;
    Place { device, dtype }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.detach().try_into_vec_as::<f64>().unwrap()
}

/// Names, losses and regularizers that are tried one by one.
fn kinds() -> [(&'static str, Loss, Regularizer); 8] {
    let r = |l1, l2, bounds| Regularizer::new(l1, l2, bounds).unwrap();
    [
        ("lasso", Loss::LeastSquares, r(0.02, 0.0, None)),
        ("logistic", Loss::Logistic, r(0.01, 0.0, None)),
        ("elastic net", Loss::LeastSquares, r(0.02, 0.1, None)),
        ("huber", Loss::Huber { delta: 0.3 }, r(0.02, 0.0, None)),
        ("squared hinge", Loss::SquaredHinge, r(0.01, 0.05, None)),
        (
            "quantile",
            Loss::Quantile {
                level: 0.7,
                smoothing: 0.4,
            },
            r(0.01, 0.02, None),
        ),
        ("box", Loss::LeastSquares, r(0.0, 0.0, Some((-0.15, 0.2)))),
        (
            "boxed elastic net",
            Loss::Logistic,
            r(0.01, 0.05, Some((-0.4, 0.3))),
        ),
    ]
}

/// `count` problems of one kind with unequal numbers of rows, and their optima.
fn problems(
    loss: Loss,
    regularizer: Regularizer,
    agents: usize,
    count: u64,
) -> Vec<(Problem, Optimum)> {
    let rows = |i| 3 + 2 * (i % 3);
    let one = |seed| random_problem(loss, regularizer, agents, 7, rows, 40 + seed);
    solved((0..count).map(one).collect())
}

/// A rule whose networks move its coefficients: random weights in every layer, the last included.
fn lively(seed: u64) -> Shared {
    let mut rule = initial(Constants::default(), Ranges::default(), &[8, 6], 20, seed);
    // In training there is neither guard nor safeguard.
    rule.guard = 0.0;
    rule.safeguard.reach = 0.0;
    for (key, network) in [&mut rule.node, &mut rule.edge].into_iter().enumerate() {
        let mut rng = random::stream(seed, "test/weights", &[key as u64]);
        for layer in &mut network.as_mut().unwrap().layers {
            let scale = 1.0 / (layer.inputs as f32).sqrt();
            layer
                .weight
                .iter_mut()
                .for_each(|w| *w = scale * rng.sample::<f32, _>(StandardNormal));
            layer
                .bias
                .iter_mut()
                .for_each(|b| *b = 0.1 * rng.sample::<f32, _>(StandardNormal));
        }
    }
    rule
}

/// The largest difference between module and plain rule over `steps` steps, relative to the largest value of the step.
fn distance(
    rule: &Shared,
    graph: &Graph,
    problems: &[(Problem, Optimum)],
    place: &Place,
    steps: usize,
) -> f64 {
    let module = SharedModule::new(rule, &place.device, place.dtype, false);
    let batch = Batch::new(graph, problems, place).unwrap();
    let mut state = module.start(&batch);
    let plain = SharedRule::new(rule.clone(), graph).unwrap();
    let mut networks: Vec<Network> = problems.iter().map(|_| Network::new(graph)).collect();
    let mut states: Vec<_> = problems
        .iter()
        .zip(&mut networks)
        .map(|((p, _), network)| plain.init(p, network))
        .collect();
    let mut worst = 0.0f64;
    for _ in 0..steps {
        state = module.step(&batch, state);
        let x = host(state.x.clone());
        for (k, (problem, _)) in problems.iter().enumerate() {
            plain.step(&mut states[k], problem, &mut networks[k]);
            let d = problem.dimension();
            let rows = x.chunks_exact(d).skip(k).step_by(problems.len());
            let ours: Vec<f64> = rows.flatten().copied().collect();
            let error = relative_error(&ours, plain.iterate(&states[k]).values());

            assert!(error.is_finite(), "not finite");
            worst = worst.max(error);
        }
    }
    worst
}

/// The module follows the plain rule on every kind of problem and graph within `tolerance`.
fn compare_trajectories(place: &Place, tolerance: f64) {
    for graph in [path(1), ring(5), star(5), path(4)] {
        for (name, loss, regularizer) in kinds() {
            let problems = problems(loss, regularizer, graph.agents(), 2);
            for (refresh, conditioning) in [(1, true), (3, true), (1, false)] {
                let rule = Shared {
                    refresh,
                    conditioning,
                    ..lively(5)
                };
                let error = distance(&rule, &graph, &problems, place, 12);
                assert!(
                    error <= tolerance,
                    "{name} on a {}, refresh {refresh}: {error:e}",
                    graph.name()
                );
            }
        }
    }
}

#[test]
fn shared_follows_its_twin_in_f64() {
    // The plain rule's networks run in f32.
    compare_trajectories(&cpu(DType::F64), 1e-4);
}

#[test]
fn shared_follows_its_twin_in_f32() {
    compare_trajectories(&cpu(DType::F32), 1e-3);
}

#[test]
fn shared_follows_its_twin_on_wgpu() {
    if let Some((wgpu, _alone)) = wgpu() {
        let place = Place {
            device: wgpu.device,
            dtype: DType::F32,
        };
        compare_trajectories(&place, 1e-3);
    }
}

/// Without networks nothing is f32: the twins agree to rounding, over many steps.
#[test]
fn constants_follow_their_twin() {
    let constants = Constants {
        gradient_difference: 0.2,
        memory: -0.3,
        ..Constants::default()
    };
    for graph in [path(1), path(2), ring(5), star(5)] {
        for (name, loss, regularizer) in kinds() {
            let problems = problems(loss, regularizer, graph.agents(), 2);
            let mut rule = Shared::constant(constants);
            // In training there is no safeguard, and one agent alone diverges with these.
            rule.safeguard.reach = 0.0;
            let error = distance(&rule, &graph, &problems, &cpu(DType::F64), 60);
            assert!(error <= 1e-11, "{name} on a {}: {error:e}", graph.name());
        }
    }
}

/// A point for every agent of every problem, `[n·B, d]`, uniform in ±`radius`.
fn points(rows: usize, dimension: usize, radius: f64) -> Vec<f64> {
    let mut rng = random::stream(9, "test/points", &[]);
    (0..rows * dimension)
        .map(|_| rng.random_range(-radius..radius))
        .collect()
}

#[test]
fn gradients_objectives_and_prox_equal_the_problem() {
    let graph = star(4);
    for (name, loss, regularizer) in kinds() {
        let problems = problems(loss, regularizer, 4, 3);
        let place = cpu(DType::F64);
        let batch = Batch::new(&graph, &problems, &place).unwrap();
        let (count, d) = (problems.len(), batch.dimension);
        // Inside the box: outside of it the plain objective is infinite, the tensor's only of use to the gap.
        let x = points(4 * count, d, 0.15);
        let tensor = || place.tensor(x.clone(), [4 * count, d]);
        let mut gradient = vec![0.0; x.len()];
        for (row, own) in gradient.chunks_exact_mut(d).enumerate() {
            problems[row % count]
                .0
                .gradient(row / count, &x[row * d..][..d], own);
        }
        let error = relative_error(&host(batch.gradient(tensor())), &gradient);
        assert!(error <= 1e-10, "{name}: the gradient differs by {error:e}");

        let objective: Vec<f64> = (0..count)
            .map(|k| problems[k].0.objective(&mean(&x, k, count, d)))
            .collect();
        let error = relative_error(&host(batch.objective(tensor())), &objective);
        assert!(error <= 1e-10, "{name}: the objective differs by {error:e}");

        let v = points(4 * count, d, 1.0);
        let step: Vec<f64> = points(4 * count, d, 2.0).iter().map(|p| p.abs()).collect();
        let prox: Vec<f64> = step
            .iter()
            .zip(&v)
            .map(|(p, v)| regularizer.prox(*p, *v))
            .collect();
        let shape = [4 * count, d];
        let ours = batch.prox(place.tensor(step, shape), place.tensor(v, shape));
        let error = relative_error(&host(ours), &prox);
        assert!(error <= 1e-10, "{name}: the prox differs by {error:e}");
    }
}

/// `x̄` of problem `k` out of `[n·B, d]`.
fn mean(x: &[f64], k: usize, count: usize, d: usize) -> Vec<f64> {
    let rows: Vec<f64> = x
        .chunks_exact(d)
        .skip(k)
        .step_by(count)
        .flatten()
        .copied()
        .collect();
    Field::from_values(d, rows).mean()
}

/// `(F(x) − F*)/|F*|` without cancellation, by another road than `Batch`: the curvature integrated along the way,
/// `∫₀¹ (1 − t) φ''(u* + t δ) δ² dt`, and the regularizer's slack coordinate by coordinate.
fn reference_gap(problem: &Problem, optimum: &Optimum, x: &[f64]) -> f64 {
    const NODES: usize = 2_000;
    let d = problem.dimension();
    let loss = problem.rows().unwrap().loss();
    let mut total = 0.0;
    for shard in problem.shards() {
        let weight = 1.0 / (problem.agents() * shard.targets.len()) as f64;
        for (number, row) in shard.features.chunks_exact(d).enumerate() {
            let (start, end) = (dot(row, &optimum.x), dot(row, x));
            let moved = end - start;
            let curvature = |t: f64| match loss {
                Loss::LeastSquares => 1.0,
                Loss::Logistic => 1.0 / (2.0 + 2.0 * (start + t * moved).cosh()),
                _ => f64::NAN,
            };
            // ∫₀¹ (φ'(u* + tδ) − φ'(u*)) δ dt where the curvature jumps: slopes are continuous, so Simpson's rule holds there too.
            let b = shard.targets[number];
            let slope = |u: f64| match loss {
                Loss::Huber { delta } => (u - b).clamp(-delta, delta),
                Loss::SquaredHinge => -b * (1.0 - b * u).max(0.0),
                Loss::Quantile { level, smoothing } => {
                    ((u - b) / smoothing).clamp(-level, 1.0 - level)
                }
                _ => f64::NAN,
            };
            let jumps = curvature(0.0).is_nan();
            let integrand = |t: f64| match jumps {
                true => (slope(start + t * moved) - slope(start)) / moved,
                false => (1.0 - t) * curvature(t),
            };
            // Simpson's rule.
            let integral: f64 = (0..=NODES)
                .map(|k| {
                    let t = k as f64 / NODES as f64;
                    let factor = if k == 0 || k == NODES {
                        1.0
                    } else {
                        2.0 + 2.0 * (k % 2) as f64
                    };
                    factor * integrand(t)
                })
                .sum();
            total += weight * integral / (3 * NODES) as f64 * moved * moved;
        }
    }
    let mut gradient = vec![0.0; d];
    for i in 0..problem.agents() {
        let mut own = vec![0.0; d];
        problem.gradient(i, &optimum.x, &mut own);
        gradient
            .iter_mut()
            .zip(&own)
            .for_each(|(g, o)| *g += o / problem.agents() as f64);
    }
    let r = problem.regularizer();
    for k in 0..d {
        let (at, step) = (optimum.x[k], x[k] - optimum.x[k]);
        total +=
            r.l1 * (x[k].abs() - at.abs()) + gradient[k] * step + 0.5 * r.l2 * step * (x[k] + at);
    }
    total / optimum.objective.abs()
}

/// Near the optimum, where the difference of objectives is rounding, and far from it.
#[test]
fn gaps_equal_the_problem_near_and_far() {
    let graph = star(4);
    // Between, rows of the logistic loss change from series to formula: its truncation error at the border.
    for (radius, tolerance, logistic, single) in [
        (1e-4, 1e-8, 1e-8, 1e-3),
        (1e-2, 1e-10, 1e-10, 1e-3),
        (0.3, 1e-10, 1e-6, 1e-4),
        (10.0, 1e-10, 1e-6, 1e-5),
    ] {
        for (name, loss, regularizer) in kinds() {
            let problems = problems(loss, regularizer, 4, 3);
            let (count, d) = (problems.len(), problems[0].0.dimension());
            let mut x = points(4 * count, d, radius);
            for (row, x) in x.chunks_exact_mut(d).enumerate() {
                for (x, at) in x.iter_mut().zip(&problems[row % count].1.x) {
                    *x += at;
                    if let Some((lo, hi)) = regularizer.bounds {
                        *x = x.clamp(lo, hi);
                    }
                }
            }
            let expected: Vec<f64> = (0..count)
                .map(|k| reference_gap(&problems[k].0, &problems[k].1, &mean(&x, k, count, d)))
                .collect();
            let tolerance = match loss {
                Loss::Logistic => logistic,
                // Simpson's rule across a kink.
                Loss::LeastSquares => tolerance,
                _ => 1e-6_f64.max(tolerance),
            };
            for (dtype, tolerance) in [(DType::F64, tolerance), (DType::F32, single)] {
                let place = cpu(dtype);
                let batch = Batch::new(&graph, &problems, &place).unwrap();
                let gap = host(batch.gap(place.tensor(x.clone(), [4 * count, d])));
                for (ours, expected) in gap.iter().zip(&expected) {
                    let error = (ours / expected - 1.0).abs();
                    assert!(
                        error <= tolerance,
                        "{name} at {radius} in {dtype:?}: {ours:e}, expected {expected:e}"
                    );
                }
            }
            if radius >= 0.3 {
                for (k, (problem, optimum)) in problems.iter().enumerate() {
                    let objective = problem.objective(&mean(&x, k, count, d));
                    let plain = (objective - optimum.objective) / optimum.objective.abs();
                    let simpson = match loss {
                        Loss::LeastSquares | Loss::Logistic => 1e-8,
                        _ => 1e-6,
                    };
                    assert!(
                        (expected[k] / plain - 1.0).abs() <= simpson,
                        "{name}: {plain} is not {}",
                        expected[k]
                    );
                }
            }
        }
    }
}

/// A module in f64, and a batch to unroll it on.
fn differentiable(
    track_features: bool,
    loss: Loss,
    regularizer: Regularizer,
    graph: &Graph,
) -> (SharedModule, Batch) {
    let place = cpu(DType::F64);
    let problems = problems(loss, regularizer, graph.agents(), 2);
    let batch = Batch::new(graph, &problems, &place).unwrap();
    (
        SharedModule::new(&lively(7), &place.device, place.dtype, track_features),
        batch,
    )
}

/// The meta-gradient is the derivative of the window's loss, from the start and from a state that has a past.
#[test]
fn meta_gradients_equal_central_differences() {
    let mut worst = 0.0f64;
    for (name, loss, regularizer) in kinds() {
        let graph = if loss == Loss::Logistic {
            path(4)
        } else {
            star(4)
        };
        let (module, batch) = differentiable(true, loss, regularizer, &graph);
        for meta_loss in [MetaLoss::MeanObjective, MetaLoss::LogGap] {
            let start = module.start(&batch);
            let (_, later) = window(&module, &batch, start.clone(), 3, meta_loss, Tape::Whole);
            for (state, when) in [(start, "from the start"), (later, "later")] {
                let at = |values: &[f64]| {
                    let module = parameters::with_values(module.clone(), values);
                    window(&module, &batch, state.clone(), 4, meta_loss, Tape::Whole).0
                };
                let mut values = parameters::values(&module);
                let gradient = at(&values).gradient;
                let mut rng = random::stream(2, "test/entries", &[]);
                let mut offset = 0;
                for slot in parameters::slots(&module) {
                    let length: usize = slot.shape.iter().product();
                    let scale = largest(&gradient[offset..][..length]);
                    assert!(scale > 0.0, "{name}: no gradient of {}", slot.name);
                    for _ in 0..4 {
                        let k = offset + rng.random_range(0..length);
                        let (here, h) = (values[k], 1e-6);
                        let mut moved = |by: f64| {
                            values[k] = here + by;
                            at(&values).loss
                        };
                        let difference = (moved(h) - moved(-h)) / (2.0 * h);
                        values[k] = here;
                        let error = (gradient[k] - difference).abs() / scale;
                        assert!(
                            error <= 1e-4,
                            "{name}, {meta_loss:?} {when}: {} entry {}: {} by backpropagation, {difference} by differences",
                            slot.name,
                            k - offset,
                            gradient[k]
                        );
                        worst = worst.max(error);
                    }
                    offset += length;
                }
            }
        }
    }
    println!("worst entry: {worst:.1e}");
}

/// An edge field without rows once stopped the unrolling.
#[test]
fn a_single_agent_is_differentiated_too() {
    let (_, loss, regularizer) = kinds()[0];
    let (module, batch) = differentiable(true, loss, regularizer, &path(1));
    let found = window(
        &module,
        &batch,
        module.start(&batch),
        4,
        MetaLoss::LogGap,
        Tape::Whole,
    )
    .0;
    let mut offset = 0;
    for slot in parameters::slots(&module) {
        let length: usize = slot.shape.iter().product();
        let size = largest(&found.gradient[offset..][..length]);
        assert_eq!(
            size == 0.0,
            slot.name.starts_with("edge"),
            "{}: {size:e}",
            slot.name
        );
        assert!(size.is_finite(), "{}", slot.name);
        offset += length;
    }
}

/// Without tracking, features count as given numbers: the same loss, and not its full derivative. Where no feature depends
/// on a parameter, the two gradients are one.
#[test]
fn untracked_features_change_the_gradient_only() {
    let (_, loss, regularizer) = kinds()[0];
    let graph = star(4);
    let (tracked, batch) = differentiable(true, loss, regularizer, &graph);
    let (frozen, _) = differentiable(false, loss, regularizer, &graph);
    let run = |module: &SharedModule, steps| {
        window(
            module,
            &batch,
            module.start(&batch),
            steps,
            MetaLoss::LogGap,
            Tape::Whole,
        )
        .0
    };
    let (full, cut) = (run(&tracked, 6), run(&frozen, 6));
    assert_eq!(full.loss, cut.loss);
    let difference = relative_error(&cut.gradient, &full.gradient);
    assert!(
        difference > 1e-3,
        "the gradients differ by {difference:e} only"
    );

    // The first step's node features are given, and mixing does not move the mean.
    assert_eq!(run(&tracked, 1).gradient, run(&frozen, 1).gradient);

    let place = cpu(DType::F64);
    let constant = |track| {
        SharedModule::new(
            &Shared::constant(Constants::default()),
            &place.device,
            place.dtype,
            track,
        )
    };
    assert_eq!(
        run(&constant(true), 6).gradient,
        run(&constant(false), 6).gradient
    );
}

fn module(rule: &Shared, device: &Device, dtype: DType) -> SharedModule {
    SharedModule::new(rule, device, dtype, true)
}

#[test]
fn parameters_survive_the_way_to_the_host_and_back() {
    for dtype in [DType::F32, DType::F64] {
        let place = cpu(dtype);
        let a = module(&lively(5), &place.device, dtype);
        let b = module(&lively(6), &place.device, dtype);
        let (of_a, of_b) = (parameters::values(&a), parameters::values(&b));
        let lengths = parameters::slots(&a)
            .iter()
            .map(|s| s.shape.iter().product::<usize>())
            .sum::<usize>();
        assert_eq!((of_a.len(), lengths), (a.num_params(), a.num_params()));
        assert_ne!(of_a, of_b);
        let replaced = parameters::with_values(a.clone(), &of_b);
        assert_eq!(parameters::values(&replaced), of_b);
        assert_eq!(replaced.to_shared(), b.to_shared());
        assert_eq!(parameters::values(&a), of_a);

        // A replaced parameter still gets a gradient.
        let (_, loss, regularizer) = kinds()[0];
        let batch = Batch::new(&ring(4), &problems(loss, regularizer, 4, 1), &place).unwrap();
        let gradient = |m: &SharedModule| {
            window(m, &batch, m.start(&batch), 3, MetaLoss::LogGap, Tape::Whole)
                .0
                .gradient
        };
        assert_eq!(gradient(&replaced), gradient(&b));
        assert!(largest(&gradient(&b)) > 0.0);
    }
}

#[test]
fn rules_survive_the_way_into_a_module_and_back() {
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
        let device = cpu(dtype).device;
        let rule = lively(5);
        let back = module(&rule, &device, dtype).to_shared();
        back.check().unwrap();
        let numbers = |c: &Constants| {
            [
                c.primal,
                c.momentum,
                c.gradient_difference,
                c.extrapolation,
                c.dual,
                c.mixing,
                c.memory,
            ]
        };
        let error = relative_error(&numbers(&back.constants), &numbers(&rule.constants));
        assert!(error <= tolerance, "constants differ by {error:e}");
        // Constants pass through a logarithm; everything else comes back bit for bit.
        assert_eq!(
            Shared {
                constants: rule.constants,
                ..back
            },
            rule
        );
        let constant = Shared::constant(Constants::default());
        let back = module(&constant, &device, dtype).to_shared();
        assert_eq!((back.node, back.edge), (None, None));
    }

    // Unequal degrees: the padding goes and comes.
    let rule = Milodo::initial(&star(5), 0.1, 7);
    let back = MilodoModule::new(&rule, &cpu(DType::F64).device, DType::F64).to_milodo();
    assert_eq!(back, rule);
    let single = MilodoModule::new(&rule, &cpu(DType::F32).device, DType::F32).to_milodo();
    single.check().unwrap();
    let again = MilodoModule::new(&single, &cpu(DType::F32).device, DType::F32).to_milodo();
    assert_eq!(again, single);
}

#[test]
fn windows_do_not_depend_on_the_number_of_threads() {
    let graph = star(5);
    let place = cpu(DType::F32);
    let (_, loss, regularizer) = kinds()[1];
    let problems = problems(loss, regularizer, 5, 7);
    let chunks: Vec<Batch> = problems
        .chunks(2)
        .map(|c| Batch::new(&graph, c, &place).unwrap())
        .collect();
    let module = module(&lively(5), &place.device, place.dtype);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let states = chunks.iter().map(|c| module.start(c)).collect();
            let (first, states) = windows(
                &module,
                &chunks,
                states,
                4,
                MetaLoss::LogGap,
                Tape::Whole,
                true,
            );
            let (second, states) = windows(
                &module,
                &chunks,
                states,
                4,
                MetaLoss::LogGap,
                Tape::Whole,
                true,
            );
            let x: Vec<Vec<f64>> = states
                .iter()
                .map(|s| host(RuleModule::iterate(&module, s).clone()))
                .collect();
            let numbers = |w: starling::train::unroll::Window| (w.loss, w.last_gap, w.gradient);
            (numbers(first), numbers(second), x)
        })
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert!(largest(&one.1.2) > 0.0 && largest(&one.1.2).is_finite());

    // Chunks are a matter of speed: one batch of all problems gives the same up to rounding.
    let whole = [Batch::new(&graph, &problems, &place).unwrap()];
    let start = vec![module.start(&whole[0])];
    let (all, _) = windows(
        &module,
        &whole,
        start,
        4,
        MetaLoss::LogGap,
        Tape::Whole,
        false,
    );
    let error = relative_error(&one.0.2, &all.gradient);
    assert!(error <= 1e-3, "chunked gradients differ by {error:e}");
}

/// A step in four operations against the step written operation by operation, in f32 against f64: losses, iterates and gradients, in
/// one window and in segments.
#[test]
fn steps_in_four_operations_equal_op_by_op() {
    for (graph, refresh) in [(star(5), 1), (star(5), 3), (ring(4), 1)] {
        for (name, loss, regularizer) in kinds() {
            // Less than a block of coordinates, and more than two.
            let d = if refresh == 1 { 70 } else { 7 };
            let rows = |i| 3 + 2 * (i % 3);
            let one = |seed| random_problem(loss, regularizer, graph.agents(), d, rows, seed);
            let problems = solved((40..43).map(one).collect());
            let rule = Shared {
                refresh,
                ..lively(9)
            };
            let run = |dtype, tape| {
                let place = cpu(dtype);
                let batch = Batch::new(&graph, &problems, &place).unwrap();
                let module = SharedModule::new(&rule, &place.device, place.dtype, false);
                // The second window starts from a state with memories and, between two evaluations, with kept coefficients.
                let (_, state) = window(
                    &module,
                    &batch,
                    module.start(&batch),
                    4,
                    MetaLoss::LogGap,
                    tape,
                );
                let (found, state) = window(&module, &batch, state, 7, MetaLoss::LogGap, tape);
                (found, host(module.iterate(&state).clone()))
            };
            let (expected, x) = run(DType::F64, Tape::Whole);
            assert!(largest(&expected.gradient) > 0.0);
            for tape in [Tape::Whole, Tape::Segments] {
                let (found, at) = run(DType::F32, tape);
                let errors = [
                    (found.loss - expected.loss).abs() / expected.loss.abs(),
                    relative_error(&at, &x),
                    relative_error(&found.gradient, &expected.gradient),
                ];
                assert!(
                    errors[0] <= 1e-4 && errors[1] <= 1e-4 && errors[2] <= 2e-3,
                    "{name}, refresh {refresh}, {tape:?}: loss, iterate, gradient differ by {errors:?}"
                );
            }
        }
    }
}

/// Recomputing changes no gradient: seven steps are three segments.
#[test]
fn segments_of_the_tape_give_the_same_gradient() {
    fn compare<M: RuleModule>(module: &M, batch: &Batch) {
        // From a state in mid-run, whose tensors are all there.
        let start = window(
            module,
            batch,
            module.start(batch),
            2,
            MetaLoss::LogGap,
            Tape::Whole,
        )
        .1;
        let run = |tape| window(module, batch, start.clone(), 7, MetaLoss::LogGap, tape);
        let ((whole, x), (parts, y)) = (run(Tape::Whole), run(Tape::Segments));
        assert!(largest(&whole.gradient) > 0.0);
        assert!(relative_error(&parts.gradient, &whole.gradient) <= 1e-10);
        assert!((parts.loss - whole.loss).abs() <= 1e-12 * whole.loss.abs());
        assert_eq!(parts.last_gap, whole.last_gap);
        let host_of = |s: &M::State| host(module.iterate(s).clone());
        assert_eq!(host_of(&x), host_of(&y));
    }
    let graph = star(5);
    let place = cpu(DType::F64);
    let (_, loss, regularizer) = kinds()[1];
    let batch = Batch::new(&graph, &problems(loss, regularizer, 5, 3), &place).unwrap();
    for (track, refresh) in [(false, 1), (true, 1), (false, 2)] {
        let rule = Shared {
            refresh,
            ..lively(5)
        };
        compare(
            &SharedModule::new(&rule, &place.device, place.dtype, track),
            &batch,
        );
    }
    let milodo = MilodoModule::new(&Milodo::initial(&graph, 0.1, 7), &place.device, place.dtype);
    compare(&milodo, &batch);
}

/// Training of a recipe's first window: the norm of its meta-gradient, or why there is none.
#[cfg(feature = "wgpu")]
fn first_gradient(recipe: &str, device: TrainDevice) -> Result<f64, String> {
    let recipe: Recipe = parse_ron("recipe", recipe).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut norm = f64::NAN;
    let outcome = train(
        &recipe,
        Settings {
            out: folder.path(),
            resume: false,
            device,
            observe: &mut |progress| {
                norm = progress.gradient_norm;
                true
            },
            border: &mut |_| {},
        },
    );
    outcome.map(|_| norm).map_err(|e| e.to_string())
}

/// Problems too large for a kernel are split or refused, never trained wrongly: sums over more coordinates than CubeCL adds up, tensors
/// larger than a binding.
#[cfg(feature = "wgpu")]
#[test]
fn large_problems_on_wgpu_are_split_or_refused() {
    let recipe = |hidden: &str, dimension: usize, batch: usize| {
        format!(
            "(rule: Shared(hidden: {hidden}), graphs: [Ring(10)], problems: [Lasso(dimension: {dimension}, rows: 1, l1: 0.1, l2: 100)],
            stages: [(learning_rate: 1e-3, truncation: 1, horizon: 1, batch: {batch}, batches: 1)],
            validation: (problems: 1, every: 1, horizon_factor: 1))"
        )
    };
    let Some((device, _alone)) = wgpu() else {
        return;
    };
    for dimension in [65_537, 262_141, 262_148] {
        let refused = first_gradient(&recipe("[]", dimension, 1), device.clone()).unwrap_err();
        assert!(
            refused.contains(&format!("sums over {dimension}")),
            "{refused}"
        );
        assert!(refused.contains("--device cpu"), "{refused}");
    }
    // One tensor of all eight problems would be larger than lavapipe's largest binding, 128 MiB.
    for (hidden, dimension, batch) in [("[]", 65_536, 1), ("[]", 70_000, 1), ("[2]", 20_000, 8)] {
        let recipe = recipe(hidden, dimension, batch);
        let expected = first_gradient(&recipe, TrainDevice::cpu().unwrap()).unwrap();
        let found = first_gradient(&recipe, device.clone()).unwrap();
        assert!(
            (found - expected).abs() <= 1e-3 * expected,
            "{hidden} d = {dimension}: {found} on wgpu, {expected} on the CPU"
        );
    }
}
