//! The audit of a rule: are the conditions that make its limit exact kept, in figures, on random problems and graphs?
//!
//! - *stationary*: placed at `x*` with the dual `y_i = −g_i(x*) + ḡ`, it stays there;
//! - *dual sum*: `Σ_i y_i` stays zero over a long run; *exact*: the gap at its end;
//! - *scale*: multiplying the objective, or the variables, by a constant changes nothing but units;
//! - *permutation*: renaming the agents renames the iterates;
//! - *clipped*: how often the safeguard held a step back (none at all where a rule works by itself);
//! - *held out*: the share of fresh problems and graphs on which it diverged, with a 95 % Wilson interval.

use super::{OptimumRefuted, Options, Status, simulate};
use crate::algorithm::AlgorithmError;
use crate::algorithm::Process;
use crate::field::{Field, larger};
use crate::graph::{Graph, GraphSpec};
use crate::network::Network;
use crate::problem::{Loss, Problem, ProblemError, Regularizer, Role, Shard, Synthetic, optimum};
use crate::random;
use crate::rule::Structure;
use crate::rule::frozen::start_frozen;
use rand::RngExt;
use rayon::prelude::*;
use serde::Serialize;

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A problem.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// The rule did not start.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
    /// A graph.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// The optimum of a problem is wrong.
    #[error(transparent)]
    Optimum(#[from] OptimumRefuted),
}

/// One line of the audit.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The condition.
    pub check: String,
    /// What was measured.
    pub figure: f64,
    /// Where it passes: at or below this.
    pub limit: f64,
    /// Whether it passes.
    pub passed: bool,
    /// How it was measured.
    pub how: String,
}

/// All findings of a rule.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// The conditions, in order.
    pub findings: Vec<Finding>,
    /// Held-out problems tried.
    pub trials: usize,
    /// Held-out problems on which the rule diverged.
    pub diverged: usize,
    /// 95 % Wilson interval of the share that diverges.
    pub diverged_interval: (f64, f64),
}

impl Audit {
    /// Whether every condition holds.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|f| f.passed)
    }
}

/// How much to try.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Steps of the long run.
    pub steps: u64,
    /// Held-out problems.
    pub trials: usize,
    /// Steps on each.
    pub trial_steps: u64,
    /// Seed of everything drawn.
    pub seed: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            steps: 100_000,
            trials: 40,
            trial_steps: 2_000,
            seed: 1,
        }
    }
}

/// Audits `structure`; a rule tied to its graph is audited there. `progress` is called with a share in `[0, 1]`.
///
/// # Errors
/// A rule that does not start on the graph at all.
pub fn audit(
    structure: &Structure,
    effort: Effort,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Audit, AuditError> {
    let tied = match structure {
        Structure::Milodo(milodo) => Some(milodo.graph()?),
        Structure::Shared(_) => None,
    };
    let graph = match &tied {
        Some(graph) => graph.clone(),
        None => GraphSpec::ErdosRenyi {
            agents: 10,
            probability: 0.3,
        }
        .build(effort.seed)?,
    };
    let n = graph.agents();
    let problem =
        Synthetic::new(Loss::LeastSquares, 30, 10).sample(n, effort.seed, Role::Test, 900_001)?;
    let best = optimum::solve(&problem)?;
    let mut findings = Vec::new();
    let mut find = |check: &str, figure: f64, limit: f64, how: String| {
        findings.push(Finding {
            check: check.into(),
            figure,
            limit,
            passed: figure <= limit,
            how,
        });
    };
    let begin = |problem: &Problem, network: &mut Network| {
        start_frozen("rule", structure.clone(), problem, network)
    };

    // Stationary at the solution.
    let mut network = Network::new(&graph);
    let mut process = begin(&problem, &mut network)?;
    let mut dual = Field::zeros(n, problem.dimension());
    problem.gradients(&repeated(&best.x, n), &mut dual);
    let mean = dual.mean();
    for i in 0..n {
        dual.row_mut(i)
            .iter_mut()
            .zip(&mean)
            .for_each(|(g, m)| *g = m - *g);
    }
    if process.rest_at(&best.x, &dual) {
        (0..20).for_each(|_| process.step(&problem, &mut network));
        let moved = relative(process.iterate().values(), repeated(&best.x, n).values());
        find(
            "stationary",
            moved,
            1e-9,
            "moved from the solution in 20 steps, relative".into(),
        );
    }

    // Scale: objective × 7, variables × 3.
    let steps = 60;
    let base = trajectory(
        &mut *begin(&problem, &mut Network::new(&graph))?,
        &problem,
        &graph,
        steps,
    );
    let (c, s) = (7.0_f64, 3.0_f64);
    let scaled = rescaled(&problem, c, s)?;
    let other = trajectory(
        &mut *begin(&scaled, &mut Network::new(&graph))?,
        &scaled,
        &graph,
        steps,
    );
    let back: Vec<f64> = other.values().iter().map(|v| v / s).collect();
    let scale_limit = if tied.is_some() { f64::INFINITY } else { 1e-4 };
    let note = if tied.is_some() {
        " (the published rule does not promise it)"
    } else {
        ""
    };
    find(
        "scale-equivariant",
        relative(&back, base.values()),
        scale_limit,
        format!(
            "objective × {c} and variables × {s}: difference after {steps} steps, relative{note}"
        ),
    );

    // Permutation of the agents.
    if tied.is_none() {
        let shift = |i: usize| (i + 3) % n;
        let renamed = Graph::from_edges(
            "renamed",
            n,
            graph.edges().iter().map(|&(i, j)| (shift(i), shift(j))),
        )?;
        let mut shards = problem.shards().to_vec();
        for (i, shard) in problem.shards().iter().enumerate() {
            shards[shift(i)] = shard.clone();
        }
        let permuted = Problem::new(
            "renamed",
            problem.dimension(),
            Loss::LeastSquares,
            shards,
            *problem.regularizer(),
        )?;
        let other = trajectory(
            &mut *begin(&permuted, &mut Network::new(&renamed))?,
            &permuted,
            &renamed,
            steps,
        );
        let back: Vec<f64> = (0..n).flat_map(|i| other.row(shift(i)).to_vec()).collect();
        find(
            "permutation-equivariant",
            relative(&back, base.values()),
            1e-4,
            format!("agents renamed: difference after {steps} steps, relative"),
        );
    }
    progress(0.02);

    // The long run.
    let mut network = Network::new(&graph);
    let mut process = begin(&problem, &mut network)?;
    let options = Options {
        steps: effort.steps,
        ..Options::default()
    };
    let total = effort.steps as f64;
    let trace = simulate(
        process.as_mut(),
        &problem,
        &mut network,
        &best,
        &options,
        |s| {
            progress(0.02 + 0.6 * s.iteration as f64 / total);
        },
    )?;
    let how = format!(
        "LASSO(d = 30) on the graph {}, {} steps: {}",
        graph.name(),
        trace.last().iteration,
        trace.status
    );
    find(
        "exact",
        trace.last().gap,
        1e-10,
        format!("relative gap, {how}"),
    );
    if let Some(share) = trace.clipped {
        find(
            "clipped",
            share,
            f64::INFINITY,
            format!("share of the safeguard's bounds that held a step back, {how}"),
        );
    }
    find(
        "dual sum",
        trace.last().dual_drift.unwrap_or(f64::NAN),
        1e-9,
        format!("largest |Σ y|, {how}"),
    );
    find(
        "consensus",
        trace.last().consensus_error.unwrap_or(f64::NAN),
        1e-9,
        format!("consensus error, {how}"),
    );

    // Held-out problems and graphs.
    let done = std::sync::atomic::AtomicUsize::new(0);
    let held_out = (0..effort.trials)
        .into_par_iter()
        .map(|trial| {
            let mut rng = random::stream(effort.seed, "audit/held-out", &[trial as u64]);
            let graph = match &tied {
                Some(graph) => graph.clone(),
                None => held_out_graph(trial, rng.random_range(5..20))
                    .build(effort.seed.wrapping_add(trial as u64))?,
            };
            let number = 910_000 + trial as u64;
            let problem =
                held_out_family(trial).sample(graph.agents(), effort.seed, Role::Test, number)?;
            let best = optimum::solve(&problem)?;
            let mut network = Network::new(&graph);
            let mut process = start_frozen("rule", structure.clone(), &problem, &mut network)?;
            let options = Options {
                steps: effort.trial_steps,
                targets: Vec::new(),
                ..Options::default()
            };
            let trace = simulate(
                process.as_mut(),
                &problem,
                &mut network,
                &best,
                &options,
                |_| {},
            )?;
            let finished = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress(0.62 + 0.38 * finished as f64 / effort.trials as f64);
            let diverged = matches!(trace.status, Status::Diverged { .. });
            Ok((diverged, trace.clipped))
        })
        .collect::<Result<Vec<(bool, Option<f64>)>, AuditError>>()?;
    let diverged = held_out.iter().filter(|(diverged, _)| *diverged).count();
    let clipped: Vec<f64> = held_out.iter().filter_map(|(_, share)| *share).collect();
    if !clipped.is_empty() {
        find(
            "clipped, held out",
            clipped.iter().sum::<f64>() / clipped.len() as f64,
            f64::INFINITY,
            format!("the same on {} problems on fresh graphs", clipped.len()),
        );
    }
    Ok(Audit {
        findings,
        trials: effort.trials,
        diverged,
        diverged_interval: wilson(diverged, effort.trials),
    })
}

fn held_out_graph(trial: usize, agents: usize) -> GraphSpec {
    match trial % 6 {
        0 => GraphSpec::Ring(agents),
        1 => GraphSpec::Star(agents),
        2 => GraphSpec::ErdosRenyi {
            agents,
            probability: 0.4,
        },
        3 => GraphSpec::Path(agents),
        4 => GraphSpec::Exponential(agents),
        _ => GraphSpec::Tree {
            agents,
            branching: 2,
        },
    }
}

fn held_out_family(trial: usize) -> Synthetic {
    let dimension = [20, 50, 100, 200][trial % 4];
    if trial % 3 == 2 {
        Synthetic {
            l1: 0.02,
            heterogeneity: 0.3,
            ..Synthetic::new(Loss::Logistic, dimension, 10)
        }
    } else {
        Synthetic {
            heterogeneity: [0.0, 0.5][trial % 2],
            ..Synthetic::new(Loss::LeastSquares, dimension, 10)
        }
    }
}

fn repeated(x: &[f64], agents: usize) -> Field {
    Field::from_values(x.len(), x.repeat(agents))
}

fn trajectory(process: &mut dyn Process, problem: &Problem, graph: &Graph, steps: usize) -> Field {
    let mut network = Network::new(graph);
    (0..steps).for_each(|_| process.step(problem, &mut network));
    process.iterate().clone()
}

/// The problem with its objective multiplied by `c` and its variables by `s`.
fn rescaled(problem: &Problem, c: f64, s: f64) -> Result<Problem, ProblemError> {
    let shards = problem
        .shards()
        .iter()
        .map(|shard| Shard {
            features: shard.features.iter().map(|a| a * c.sqrt() / s).collect(),
            targets: shard.targets.iter().map(|b| b * c.sqrt()).collect(),
        })
        .collect();
    let r = problem.regularizer();
    let regularizer = Regularizer::new(
        c * r.l1 / s,
        c * r.l2 / (s * s),
        r.bounds.map(|(a, b)| (s * a, s * b)),
    )?;
    Problem::new(
        "rescaled",
        problem.dimension(),
        Loss::LeastSquares,
        shards,
        regularizer,
    )
}

/// Largest difference over the largest absolute value of `b`.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, larger);
    let scale = largest(&mut b.iter().map(|v| v.abs()));
    largest(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs())) / scale.max(f64::MIN_POSITIVE)
}

/// 95 % Wilson score interval.
fn wilson(hits: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, z) = (trials as f64, 1.959_964);
    let p = hits as f64 / n;
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (
        ((centre - half) / scale).max(0.0),
        ((centre + half) / scale).min(1.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Constants, Safeguard, Shared};

    #[test]
    fn constants_pass_and_a_broken_rule_does_not() {
        let effort = Effort {
            steps: 3_000,
            trials: 6,
            trial_steps: 200,
            seed: 1,
        };
        let good = Structure::Shared(Shared::constant(Constants::default()));
        let report = audit(&good, effort, &|_| {}).unwrap();
        assert!(report.passed(), "{report:#?}");
        assert_eq!(report.diverged, 0);
        let constants = Constants {
            primal: 9.0,
            ..Constants::default()
        };
        // With the safeguard it converges, if late.
        let wild = Structure::Shared(Shared {
            safeguard: Safeguard {
                reach: 0.0,
                ..Safeguard::default()
            },
            ..Shared::constant(constants)
        });
        let report = audit(&wild, effort, &|_| {}).unwrap();
        assert!(!report.passed() && report.diverged > 0, "{report:#?}");
    }

    #[test]
    fn wilson_interval_of_known_values() {
        let (low, high) = wilson(0, 40);
        assert!(low == 0.0 && (high - 0.0876).abs() < 1e-3);
    }
}
