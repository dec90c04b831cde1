//! The loop: step, and now and then measure, outside the clock.
//!
//! The optimality gap is `(F(x̄) − F*)/|F*|` (absolute where `F* = 0`), measured after every iteration up to 1,000 and then
//! each time the iteration count has grown by 1 %; consensus error, dual drift and the worst agent's gap about twenty times
//! per decade. The clock runs only during steps.
//!
//! `F*` is known up to its certificate, and nothing is claimed beyond it: a target below the certificate is never reached, a run
//! with a useless certificate never converges, and a gap below minus the certificate refutes `F*` and ends the run with an error.
//!
//! Without `F*` gaps are NaN, and a run is judged by the stationarity residual of the mean,
//! `‖x̄ − prox_{r/L̄}(x̄ − ∇f(x̄)/L̄)‖` in units of the start's, `f = (1/n) Σ_i f_i`: zero exactly at the minimisers.

use crate::algorithm::{Process, Work};
use crate::field::{Field, larger};
use crate::network::Network;
use crate::problem::{Optimum, Problem};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How a run ended; never an error, never hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The last gap is at or below the tolerance, and `F*` is certified well enough to know.
    Converged,
    /// All steps were made, and the gap was still falling.
    HorizonReached,
    /// The iterates left every bound, noticed at this iteration.
    Diverged {
        /// The iteration.
        step: u64,
    },
    /// All steps were made; the gap stopped falling above the tolerance.
    Stalled,
    /// The user stopped the run; everything up to there is reported.
    Interrupted,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Diverged { step } => write!(f, "Diverged at iteration {step}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A run that found a lower objective than the optimum allows: `F*` is wrong, and so would be every gap.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "F* is wrong: iteration {step} reached the objective {objective:e}, below F* = {optimum:e} by more than its certificate \
     {certificate:.1e}; are columns of very different units in the data? Standardise them (`standardize: true`)"
)]
pub struct OptimumRefuted {
    /// The iteration.
    pub step: u64,
    /// `F(x̄)` there.
    pub objective: f64,
    /// `F*` as it was given.
    pub optimum: f64,
    /// Its certificate (absolute).
    pub certificate: f64,
}

/// What to run and when to stop.
#[derive(Clone, Debug)]
pub struct Options {
    /// Iterations.
    pub steps: u64,
    /// Stop when this many rounds have been used, if given.
    pub rounds: Option<u64>,
    /// Stop as soon as the gap is known to be at or below this, if given.
    pub until: Option<f64>,
    /// Stop as soon as the stationarity residual is at or below this, if given; it is measured with every gap then.
    pub until_residual: Option<f64>,
    /// A final gap at or below this (or below the certificate) counts as converged.
    pub tolerance: f64,
    /// Gaps whose first round is recorded.
    pub targets: Vec<f64>,
    /// Asked before every step: whether the user wants the run to end.
    pub stop: fn() -> bool,
}

/// The gaps that reports speak of.
pub const TARGETS: [f64; 6] = [1e-1, 1e-3, 1e-6, 1e-8, 1e-10, 1e-12];

impl Default for Options {
    fn default() -> Self {
        Self {
            steps: 1_000,
            rounds: None,
            until: None,
            until_residual: None,
            tolerance: 1e-10,
            targets: TARGETS.to_vec(),
            stop: || false,
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Iterations made.
    pub iteration: u64,
    /// Rounds of communication used.
    pub rounds: u64,
    /// d-vectors sent over each directed edge.
    pub vectors_per_edge: u64,
    /// Numbers sent over all directed edges together.
    pub floats_sent: u64,
    /// Gradients that an agent has computed, at most over the agents.
    pub gradient_evaluations: u64,
    /// Local minimisations that it has made.
    pub local_solves: u64,
    /// Seconds spent in steps.
    pub seconds: f64,
    /// `F(x̄)`
    pub objective: f64,
    /// `(F(x̄) − F*)/|F*|`; NaN without `F*`.
    pub gap: f64,
    /// Stationarity residual of the mean in units of the start's; only where it was asked for, or with the sparse metrics where
    /// there is no `F*`.
    pub residual: Option<f64>,
    /// The same for the worst agent's own `x_i` (of more than [`ALL_AGENTS`] agents the [`FARTHEST`] farthest from the mean were
    /// asked); only where the sparse metrics were taken.
    pub worst_gap: Option<f64>,
    /// `‖X − 1x̄‖/√n`; only where the sparse metrics were taken.
    pub consensus_error: Option<f64>,
    /// Largest `|Σ_i y_i|` over coordinates; only where the sparse metrics were taken, `None` without a dual.
    pub dual_drift: Option<f64>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Trace {
    /// How it ended.
    pub status: Status,
    /// All measurements, the start first, the end last.
    pub samples: Vec<Sample>,
    /// For every target: rounds at the first measurement after a step that is at or below it, within the limit on rounds.
    /// `None` below the certificate: nobody knows.
    pub rounds_to: Vec<(f64, Option<u64>)>,
    /// Certificate of the gap: `(F(x*) − F*)/|F*|` is at most this.
    pub gap_certificate: f64,
    /// Whether gaps are in units of `F*`, or absolute because `F*` is zero to rounding of `F(0)`.
    pub relative: bool,
    /// Share of the safeguard's bounds that clipped a step, where the method has a safeguard.
    pub clipped: Option<f64>,
}

impl Trace {
    /// The last measurement.
    pub fn last(&self) -> &Sample {
        &self.samples[self.samples.len() - 1]
    }

    /// Rounds to `target`, `None` if it was not reached (or not watched).
    pub fn rounds_to(&self, target: f64) -> Option<u64> {
        self.rounds_to
            .iter()
            .find(|(t, _)| *t == target)
            .and_then(|(_, r)| *r)
    }
}

/// A gap below its certificate is as good as zero, unless the certificate is coarser than this: it is useless then.
pub const COARSE: f64 = 1e-3;
/// Up to this many agents, the worst agent's gap is that of all.
pub const ALL_AGENTS: usize = 100;
/// Of more agents, those farthest from the mean whose gap is computed: each costs a pass over everybody's data.
pub const FARTHEST: usize = 8;

/// A run whose objective is this many times that of its start has diverged; one under a safeguard may rise as far and come back.
const LOST: f64 = 1e6;

/// `F` at the nearest point to `x` where it is finite: a start may lie outside the box.
fn start_objective(problem: &Problem, x: &[f64]) -> f64 {
    let bounds = problem.regularizer().bounds;
    let inside = |&v: &f64| bounds.map_or(v, |(lo, hi)| v.max(lo).min(hi));
    problem.objective(&x.iter().map(inside).collect::<Vec<f64>>())
}

/// The unit of gaps: `F*`, or 1 where that is zero to rounding of `F(0)`; and which of the two.
fn unit(optimum: f64, start: f64) -> (f64, bool) {
    let relative = optimum.abs() > 1e-13 * start.abs();
    (if relative { optimum.abs() } else { 1.0 }, relative)
}

/// [`Trace::gap_certificate`] of a run from zero.
pub fn gap_certificate(problem: &Problem, optimum: &Optimum) -> f64 {
    let start = start_objective(problem, &vec![0.0; problem.dimension()]);
    optimum.certificate / unit(optimum.objective, start).0
}

/// Largest `F(x_i)` over the agents; of more than [`ALL_AGENTS`] over the [`FARTHEST`] farthest from `mean`.
fn worst_objective(problem: &Problem, x: &Field, mean: &[f64]) -> f64 {
    let mut agents: Vec<usize> = (0..x.rows()).collect();
    if agents.len() > ALL_AGENTS {
        let distances: Vec<f64> = agents
            .iter()
            .map(|&i| {
                x.row(i)
                    .iter()
                    .zip(mean)
                    .map(|(a, m)| (a - m).powi(2))
                    .sum()
            })
            .collect();
        agents.select_nth_unstable_by(FARTHEST, |&i, &j| distances[j].total_cmp(&distances[i]));
        agents.truncate(FARTHEST);
    }
    let objectives: Vec<f64> = agents
        .into_par_iter()
        .map(|i| problem.objective(x.row(i)))
        .collect();
    objectives.into_iter().fold(f64::NEG_INFINITY, larger)
}

/// Length of the prox-gradient step at `x` with step `1/L̄`, `f` the mean of the agents' functions.
fn prox_gradient_step(problem: &Problem, x: &[f64]) -> f64 {
    let step = 1.0 / problem.smoothness_mean();
    let mut gradient = vec![0.0; x.len()];
    problem.mean_gradient(x, &mut gradient);
    let r = problem.regularizer();
    let moved = x.iter().zip(&gradient);
    let square = |(x, g): (&f64, &f64)| (x - r.prox(step, x - step * g)).powi(2);
    moved.map(square).sum::<f64>().sqrt()
}

/// Runs `process`, with `F*` or without; `observe` sees every measurement ([`Options::stop`] ends a run).
///
/// # Errors
/// An objective below what the certificate of `optimum` allows.
pub fn simulate<'o>(
    process: &mut dyn Process,
    problem: &Problem,
    network: &mut Network,
    optimum: impl Into<Option<&'o Optimum>>,
    options: &Options,
    mut observe: impl FnMut(&Sample),
) -> Result<Trace, OptimumRefuted> {
    let optimum: Option<&Optimum> = optimum.into();
    let start = start_objective(problem, &process.iterate().mean());
    let (lowest_known, certificate) =
        optimum.map_or((f64::NAN, f64::INFINITY), |o| (o.objective, o.certificate));
    let (unit, relative) = match optimum {
        Some(optimum) => unit(optimum.objective, start),
        None => (1.0, false),
    };
    let gap_certificate = certificate / unit;
    let watched = options.until_residual.is_some();
    let residual_at_start = match watched || optimum.is_none() {
        true => prox_gradient_step(problem, &process.iterate().mean()),
        false => 1.0,
    };
    let most = match process.clipped() {
        Some(_) => f64::INFINITY,
        None => LOST * (start.abs() + unit),
    };
    let lowest = optimum.map_or(f64::NEG_INFINITY, |o| o.objective - o.slack(problem));
    // At or below a target, and known to be.
    let reached = |gap: f64, target: f64| gap <= target && gap_certificate <= target;
    let mut clock = Duration::ZERO;
    let measure = |process: &dyn Process,
                   network: &Network,
                   iteration: u64,
                   clock: Duration,
                   sparse: bool| {
        let x = process.iterate();
        let mean = x.mean();
        let objective = problem.objective(&mean);
        let bill = network.bill();
        let work = process.work().unwrap_or(Work {
            gradients: iteration,
            solves: 0,
        });
        let gap = |f: f64| (f - lowest_known) / unit;
        let residual = || match prox_gradient_step(problem, &mean) {
            0.0 => 0.0,
            step => step / residual_at_start,
        };
        Sample {
            iteration,
            rounds: bill.rounds,
            vectors_per_edge: bill.vectors_per_edge,
            floats_sent: bill.floats,
            gradient_evaluations: work.gradients,
            local_solves: work.solves,
            seconds: clock.as_secs_f64(),
            objective,
            gap: gap(objective),
            residual: (watched || (sparse && optimum.is_none())).then(residual),
            worst_gap: sparse.then(|| gap(worst_objective(problem, x, &mean))),
            consensus_error: sparse.then(|| x.consensus_error()),
            dual_drift: process.dual().filter(|_| sparse).map(|y| y.sum_drift()),
        }
    };

    let mut samples = vec![measure(process, network, 0, clock, true)];
    let mut rounds_to: Vec<(f64, Option<u64>)> =
        options.targets.iter().map(|t| (*t, None)).collect();
    let (mut next, mut next_sparse) = (1, 1);
    let mut status = None;
    let mut k = 0;
    while k < options.steps && status.is_none() {
        if (options.stop)() {
            status = Some(Status::Interrupted);
            break;
        }
        let before = Instant::now();
        process.step(problem, network);
        clock += before.elapsed();
        k += 1;
        let out_of_rounds = options.rounds.is_some_and(|r| network.bill().rounds >= r);
        let end = k == options.steps || out_of_rounds;
        if k < next && !end {
            continue;
        }
        next = k + 1 + if k >= 1_000 { k / 100 } else { 0 };
        let sparse = k >= next_sparse || end;
        if sparse {
            next_sparse = k + 1 + k / 8;
        }
        let sample = measure(process, network, k, clock, sparse);
        samples.push(sample);
        // The last iteration of a method with several rounds may end beyond the limit.
        let within = options.rounds.is_none_or(|r| sample.rounds <= r);
        for (target, rounds) in &mut rounds_to {
            if rounds.is_none() && reached(sample.gap, *target) && within {
                *rounds = Some(sample.rounds);
            }
        }
        let known = optimum.is_none() || sample.gap.is_finite();
        let finite = known && sample.objective.is_finite();
        // Functions of one's own may fall below zero for long: only what rises is lost.
        let risen = match optimum {
            Some(_) => sample.objective.abs(),
            None => sample.objective - start,
        };
        let lost = !finite || risen > most;
        let settled = |until| sample.residual.is_some_and(|r| r <= until);
        observe(&sample);
        if sample.objective < lowest {
            break;
        } else if lost {
            status = Some(Status::Diverged { step: k });
        } else if options.until.is_some_and(|u| reached(sample.gap, u))
            || options.until_residual.is_some_and(settled)
        {
            status = Some(Status::Converged);
        } else if out_of_rounds {
            break;
        }
    }
    // A run that was stopped between two sparse measurements still ends with a full one.
    samples.pop_if(|last| last.iteration == k && last.consensus_error.is_none());
    if samples.last().is_none_or(|last| last.iteration < k) {
        samples.push(measure(process, network, k, clock, true));
    }
    if let Some(sample) = samples.iter().find(|s| s.objective < lowest) {
        return Err(OptimumRefuted {
            step: sample.iteration,
            objective: sample.objective,
            optimum: lowest_known,
            certificate,
        });
    }
    // Below a useless certificate nobody knows.
    let tolerance = if gap_certificate <= COARSE {
        options.tolerance.max(gap_certificate)
    } else {
        f64::NEG_INFINITY
    };
    let status = status.unwrap_or_else(|| final_status(&samples, tolerance));
    Ok(Trace {
        status,
        samples,
        rounds_to,
        gap_certificate,
        relative,
        clipped: process.clipped(),
    })
}

/// Converged, stalled (the second half of the iterations gained less than 1 %) or still falling.
fn final_status(samples: &[Sample], tolerance: f64) -> Status {
    let last = &samples[samples.len() - 1];
    if last.gap <= tolerance {
        return Status::Converged;
    }
    if last.gap.is_nan() {
        return Status::HorizonReached;
    }
    let best = |range: &[Sample]| range.iter().map(|s| s.gap).fold(f64::INFINITY, f64::min);
    let half = samples.partition_point(|s| 2 * s.iteration < last.iteration);
    if last.iteration >= 10 && best(&samples[half..]) > 0.99 * best(&samples[..half]) {
        Status::Stalled
    } else {
        Status::HorizonReached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphSpec;
    use crate::problem::{ProblemSpec, Role, optimum};
    use crate::ron::parse_ron;
    use crate::roster::AlgorithmSpec;

    fn run(
        problem: &str,
        graph: &GraphSpec,
        options: &Options,
        change: fn(&mut Optimum),
    ) -> Result<Trace, OptimumRefuted> {
        let graph = graph.build(1).unwrap();
        let spec: ProblemSpec = parse_ron("problem", problem).unwrap();
        let problem = spec.sample(graph.agents(), 1, Role::Test, 0).unwrap();
        let mut optimum = optimum::solve(&problem).unwrap();
        change(&mut optimum);
        let mut network = Network::new(&graph);
        let method = AlgorithmSpec::parse("method", "ProxEd").unwrap();
        let mut process = method.start(&problem, &mut network).unwrap();
        simulate(
            process.as_mut(),
            &problem,
            &mut network,
            &optimum,
            options,
            |_| {},
        )
    }

    const LASSO: &str = "Lasso(dimension: 10, rows: 5)";
    const RING: GraphSpec = GraphSpec::Ring(5);

    #[test]
    fn no_target_below_the_certificate_is_reached() {
        let targets = vec![1e-3, 1e-300];
        let options = Options {
            steps: 3_000,
            until: Some(1e-300),
            targets,
            ..Options::default()
        };
        let trace = run(LASSO, &RING, &options, |_| {}).unwrap();
        assert!(trace.rounds_to(1e-3).is_some());
        assert_eq!(trace.rounds_to(1e-300), None);
        assert_eq!(trace.last().iteration, 3_000);
        // A coarser certificate knows less.
        let trace = run(LASSO, &RING, &options, |o| {
            o.certificate = 0.01 * o.objective
        })
        .unwrap();
        assert_eq!(trace.rounds_to(1e-3), None);
        assert_ne!(trace.status, Status::Converged);
    }

    #[test]
    fn an_objective_below_what_the_certificate_allows_is_an_error() {
        let options = Options::default();
        let error = run(LASSO, &RING, &options, |o| o.objective *= 1.1).unwrap_err();
        assert!(error.objective < error.optimum - error.certificate);
        assert!(error.to_string().contains("F* is wrong"), "{error}");
        // Within it, it is not.
        let trace = run(LASSO, &RING, &options, |o| {
            o.objective *= 1.1;
            o.certificate = 0.2 * o.objective;
        });
        assert!(trace.unwrap().last().gap < 0.0);
    }

    #[test]
    fn gaps_are_absolute_where_the_optimum_is_zero() {
        let options = Options::default();
        assert!(run(LASSO, &RING, &options, |_| {}).unwrap().relative);
        // A start outside the box has no objective, but its place in the box has.
        let boxed = "Lasso(dimension: 10, rows: 5, box: (0.5, 2))";
        assert!(run(boxed, &RING, &options, |_| {}).unwrap().relative);
        let interpolated = "Lasso(dimension: 30, rows: 2, l1: 0)";
        assert!(!run(interpolated, &RING, &options, |_| {}).unwrap().relative);
    }

    /// Of many agents a few are asked, and the worst of them is the worst of all where the start is far behind it.
    #[test]
    fn the_worst_of_many_agents_is_among_the_farthest() {
        let graph = GraphSpec::Star(ALL_AGENTS + 50).build(1).unwrap();
        let spec: ProblemSpec = parse_ron("problem", LASSO).unwrap();
        let problem = spec.sample(graph.agents(), 1, Role::Test, 0).unwrap();
        let mut x = Field::zeros(graph.agents(), 10);
        x.row_mut(77).fill(5.0);
        let all = (0..x.rows()).map(|i| problem.objective(x.row(i)));
        let worst = all.fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(worst_objective(&problem, &x, &x.mean()), worst);
        assert_eq!(worst, problem.objective(&[5.0; 10]));
    }

    /// `f_i(x) = x²/2 − 10⁵ x` falls to −5·10⁹ from 0: far below where it started is not lost.
    struct Deep;

    impl crate::problem::Objective for Deep {
        fn agents(&self) -> usize {
            5
        }
        fn dimension(&self) -> usize {
            1
        }
        fn value(&self, _: usize, x: &[f64]) -> f64 {
            0.5 * x[0] * x[0] - 1e5 * x[0]
        }
        fn gradient(&self, _: usize, x: &[f64], out: &mut [f64]) {
            out[0] = x[0] - 1e5;
        }
    }

    #[test]
    fn without_an_optimum_a_run_is_judged_by_its_residual() {
        let graph = RING.build(1).unwrap();
        let r = crate::problem::Regularizer::default();
        let problem = Problem::own("deep", Deep, r).unwrap();
        let until = |until_residual| Options {
            until_residual,
            ..Options::default()
        };
        for text in ["ProxEd", "Constants", "Admm", "Sonata"] {
            let method = AlgorithmSpec::parse("method", text).unwrap();
            let mut network = Network::new(&graph);
            let mut process = method.start(&problem, &mut network).unwrap();
            let options = until(Some(1e-9));
            let trace = simulate(
                process.as_mut(),
                &problem,
                &mut network,
                None,
                &options,
                |_| {},
            )
            .unwrap();
            assert_eq!(trace.status, Status::Converged, "{text}");
            let last = trace.last();
            assert!(last.gap.is_nan() && last.residual.unwrap() <= 1e-9);
            assert!(
                (process.iterate().mean()[0] / 1e5 - 1.0).abs() < 1e-6,
                "{text}"
            );
            // Solves that end where they should take far fewer gradients than they may.
            assert!(last.gradient_evaluations < 1_000 * last.iteration, "{text}");
            assert_eq!(trace.rounds_to(1e-3), None);
        }
    }

    #[test]
    fn a_run_that_is_stopped_says_so_and_is_measured() {
        let options = Options {
            stop: || true,
            ..Options::default()
        };
        let trace = run(LASSO, &RING, &options, |_| {}).unwrap();
        assert_eq!(
            (trace.status, trace.last().iteration),
            (Status::Interrupted, 0)
        );
        assert!(trace.last().worst_gap.is_some());
    }
}
