//! Tuning: every handcrafted method at its best, on problems apart from the test problems.
//!
//! A candidate is a method with a step in units of `1/L` of the problem at hand, so one tuned value serves a family whose `L`
//! varies. A candidate that misses the target gap on fewer problems wins, then the one with the smaller median number of rounds
//! to it, then the one with the smaller median final gap. First a coarse grid (with every mixing matrix that the method may use), then a finer one
//! around the best. A best value on the grid's edge is flagged.

use super::{Options, simulate};
use crate::graph::{Graph, MixingKind};
use crate::network::Network;
use crate::problem::{Optimum, Problem};
use crate::rule::{AlgorithmError, AlgorithmSpec, Constants};
use rayon::prelude::*;

/// A problem with its optimum.
pub type Certified = (Problem, Optimum);

/// A method with parameters in units that carry over between problems of one family.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    method: AlgorithmSpec,
    /// Step in units of `1/L`.
    factor: f64,
    /// The second parameter where there is one: `a`, `τ` or `penalty`.
    second: f64,
    kind: MixingKind,
}

/// A tuned method.
#[derive(Clone, Debug)]
pub struct Tuned {
    candidate: Candidate,
    /// `Constants` are tuned coordinate by coordinate.
    constants: Option<Constants>,
    /// Median rounds to the target on the tuning problems.
    pub rounds: Option<u64>,
    /// Parameters whose best value lies on the grid's edge.
    pub on_edge: Vec<&'static str>,
    /// Candidates tried.
    pub tried: usize,
}

/// What tuning aims at.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Relative gap.
    pub target: f64,
    /// Rounds after which a run is given up.
    pub rounds: u64,
}

/// How a candidate did, best first: problems missed, median rounds, median final gap.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score {
    missed: usize,
    rounds: u64,
    gap: f64,
}

impl Score {
    fn better(&self, other: &Score) -> bool {
        let key = |s: &Score| (s.missed, s.rounds);
        key(self) < key(other)
            || (key(self) == key(other) && self.rounds == u64::MAX && self.gap < other.gap)
    }
}

const STEPS: [f64; 12] = [
    0.1, 0.25, 0.5, 0.75, 1.0, 1.4, 1.9, 2.6, 3.6, 5.0, 7.0, 10.0,
];
const REFINE: [f64; 4] = [0.8, 0.9, 1.1, 1.22];
const MOMENTA: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5];
const COUPLINGS: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.7];
const PENALTIES: [f64; 5] = [0.25, 0.5, 1.0, 1.5, 2.0];

impl Candidate {
    /// The method with absolute parameters for `problem`.
    fn at(&self, problem: &Problem) -> AlgorithmSpec {
        let step = Some(self.factor / problem.smoothness_max());
        let (second, mixing) = (Some(self.second), self.kind);
        match self.method {
            AlgorithmSpec::ProxDgd { .. } => AlgorithmSpec::ProxDgd { step, mixing },
            AlgorithmSpec::PgExtra { .. } => AlgorithmSpec::PgExtra { step, mixing },
            AlgorithmSpec::Nids { .. } => AlgorithmSpec::Nids {
                step: Some(self.factor),
                mixing,
            },
            AlgorithmSpec::ProxEd { .. } => AlgorithmSpec::ProxEd { step, mixing },
            AlgorithmSpec::ProxAtc { .. } => AlgorithmSpec::ProxAtc { step, mixing },
            AlgorithmSpec::SemiAtc { .. } => AlgorithmSpec::SemiAtc { step, mixing },
            AlgorithmSpec::Diging { .. } => AlgorithmSpec::Diging { step, mixing },
            AlgorithmSpec::Dlm { .. } => AlgorithmSpec::Dlm {
                step,
                penalty: second,
            },
            AlgorithmSpec::Dapg { mixings, .. } => AlgorithmSpec::Dapg {
                step,
                a: second,
                mixings,
                mixing,
            },
            AlgorithmSpec::Odapg { mixings, .. } => AlgorithmSpec::Odapg {
                step,
                tau: second,
                mixings,
                mixing,
            },
            AlgorithmSpec::Constants { .. } | AlgorithmSpec::Rule(_) => self.method.clone(),
        }
    }

    fn second_grid(&self) -> (&'static str, &'static [f64]) {
        match self.method {
            AlgorithmSpec::Dapg { .. } => ("a", &MOMENTA),
            AlgorithmSpec::Odapg { .. } => ("tau", &COUPLINGS),
            AlgorithmSpec::Dlm { .. } => ("penalty", &PENALTIES),
            _ => ("", &[1.0]),
        }
    }
}

impl Tuned {
    /// The tuned method with absolute parameters for `problem`.
    pub fn at(&self, problem: &Problem) -> AlgorithmSpec {
        match &self.constants {
            Some(c) => spec_of(c),
            None => self.candidate.at(problem),
        }
    }
}

fn spec_of(c: &Constants) -> AlgorithmSpec {
    AlgorithmSpec::Constants {
        primal: Some(c.primal),
        momentum: Some(c.momentum),
        gradient_difference: Some(c.gradient_difference),
        extrapolation: Some(c.extrapolation),
        dual: Some(c.dual),
        mixing: Some(c.mixing),
        memory: Some(c.memory),
    }
}

/// Median over problems; a problem where the method fails counts as unreachable.
fn score(
    spec: impl Fn(&Problem) -> AlgorithmSpec + Sync,
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
) -> Result<Score, AlgorithmError> {
    let mut scores = problems
        .par_iter()
        .map(|(problem, optimum)| {
            let mut network = Network::new(graph);
            let mut process = spec(problem).start(problem, &mut network)?;
            let options = Options {
                steps: goal.rounds,
                rounds: Some(goal.rounds),
                until: Some(goal.target),
                targets: vec![goal.target],
                ..Options::default()
            };
            let trace = simulate(
                process.as_mut(),
                problem,
                &mut network,
                optimum,
                &options,
                |_| true,
            );
            let gap = trace.last().gap;
            let gap = if gap.is_finite() { gap } else { f64::MAX };
            Ok((trace.rounds_to(goal.target).unwrap_or(u64::MAX), gap))
        })
        .collect::<Result<Vec<(u64, f64)>, AlgorithmError>>()?;
    let missed = scores.iter().filter(|(r, _)| *r == u64::MAX).count();
    scores.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (rounds, gap) = scores[scores.len() / 2];
    Ok(Score {
        missed,
        rounds,
        gap,
    })
}

/// Tunes `method` on `problems`; `progress` is called once per candidate.
///
/// # Errors
/// A method that cannot run on these problems at all.
pub fn tune(
    method: &AlgorithmSpec,
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    progress: &(dyn Fn() + Sync),
) -> Result<Tuned, AlgorithmError> {
    if matches!(method, AlgorithmSpec::Constants { .. }) {
        return tune_constants(method, problems, graph, goal, progress);
    }
    let mut first = Candidate {
        method: method.clone(),
        factor: 1.0,
        second: 1.0,
        kind: MixingKind::LazyMetropolis,
    };
    let (second_name, second_grid) = first.second_grid();
    first.second = second_grid[second_grid.len() / 2];
    let kinds: &[MixingKind] = match method {
        AlgorithmSpec::Dlm { .. } => &[MixingKind::LazyMetropolis],
        _ => &[
            MixingKind::LazyMetropolis,
            MixingKind::Metropolis,
            MixingKind::Laplacian,
        ],
    };
    let mut best: Option<(Score, Candidate)> = None;
    let mut tried = 0;
    let mut consider = |candidate: Candidate, best: &mut Option<(Score, Candidate)>| {
        // A run three times as long as the best median so far will not win.
        let known = best
            .as_ref()
            .map_or(u64::MAX, |(s, _)| s.rounds.saturating_mul(3));
        let goal = Goal {
            rounds: goal.rounds.min(known),
            ..goal
        };
        let score = score(|p| candidate.at(p), problems, graph, goal)?;
        tried += 1;
        progress();
        if best.as_ref().is_none_or(|(s, _)| score.better(s)) {
            *best = Some((score, candidate));
        }
        Ok::<(), AlgorithmError>(())
    };
    for kind in kinds {
        for factor in STEPS {
            for second in second_grid {
                let candidate = Candidate {
                    factor,
                    second: *second,
                    kind: *kind,
                    ..first.clone()
                };
                consider(candidate, &mut best)?;
            }
        }
    }
    // Refine around the best, first the step, then the second parameter.
    let centre = best.as_ref().map_or(first, |(_, c)| c.clone());
    for scale in REFINE {
        let candidate = Candidate {
            factor: significant(centre.factor * scale),
            ..centre.clone()
        };
        consider(candidate, &mut best)?;
    }
    if second_grid.len() > 1 {
        let centre = best.as_ref().map_or(centre.clone(), |(_, c)| c.clone());
        for scale in REFINE {
            let second = significant(centre.second * scale);
            if second <= 1.0 || second_name == "penalty" {
                consider(
                    Candidate {
                        second,
                        ..centre.clone()
                    },
                    &mut best,
                )?;
            }
        }
    }
    let (score, candidate) = match best {
        Some(found) => found,
        None => (
            Score {
                missed: problems.len(),
                rounds: u64::MAX,
                gap: f64::MAX,
            },
            centre,
        ),
    };
    let (score, candidate) = back_off(score, candidate, problems, graph, goal)?;
    let mut on_edge = Vec::new();
    let outside = |v: f64, grid: &[f64]| v <= grid[0] || v >= grid[grid.len() - 1];
    if outside(candidate.factor, &STEPS) {
        on_edge.push("step");
    }
    if second_grid.len() > 1 && outside(candidate.second, second_grid) {
        on_edge.push(second_name);
    }
    Ok(Tuned {
        candidate,
        constants: None,
        rounds: (score.rounds != u64::MAX).then_some(score.rounds),
        on_edge,
        tried,
    })
}

/// Many methods are fastest just before the step at which they diverge, and the cliff moves from problem to problem: the step is
/// shortened by 4 % (at most three times) while a step 5 % longer misses the target somewhere.
fn back_off(
    mut score_of_best: Score,
    mut best: Candidate,
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
) -> Result<(Score, Candidate), AlgorithmError> {
    if score_of_best.missed > 0 {
        return Ok((score_of_best, best));
    }
    let goal = Goal {
        rounds: goal.rounds.min(score_of_best.rounds.saturating_mul(3)),
        ..goal
    };
    for _ in 0..3 {
        let scaled = |scale: f64| Candidate {
            factor: significant(best.factor * scale),
            ..best.clone()
        };
        let longer = scaled(1.05);
        if score(|p| longer.at(p), problems, graph, goal)?.missed == 0 {
            break;
        }
        let shorter = scaled(0.96);
        let score_of_shorter = score(|p| shorter.at(p), problems, graph, goal)?;
        if score_of_shorter.missed > 0 {
            break;
        }
        (score_of_best, best) = (score_of_shorter, shorter);
    }
    Ok((score_of_best, best))
}

/// One constant of the structure, by name.
struct Knob {
    name: &'static str,
    get: fn(&mut Constants) -> &mut f64,
    range: (f64, f64),
    /// Multiplied by these (where positive by nature), or these are added.
    moves: &'static [f64],
    multiplicative: bool,
}

const KNOBS: [Knob; 7] = [
    Knob {
        name: "primal",
        get: |c| &mut c.primal,
        range: (0.2, 4.0),
        moves: &[0.6, 0.8, 1.2, 1.5],
        multiplicative: true,
    },
    Knob {
        name: "momentum",
        get: |c| &mut c.momentum,
        range: (0.0, 0.95),
        moves: &[-0.3, -0.1, 0.1, 0.2],
        multiplicative: false,
    },
    Knob {
        name: "dual",
        get: |c| &mut c.dual,
        range: (0.02, 4.0),
        moves: &[0.4, 0.7, 1.4, 2.0],
        multiplicative: true,
    },
    Knob {
        name: "extrapolation",
        get: |c| &mut c.extrapolation,
        range: (-0.5, 1.0),
        moves: &[-0.3, -0.1, 0.1, 0.3],
        multiplicative: false,
    },
    Knob {
        name: "mixing",
        get: |c| &mut c.mixing,
        range: (0.0, 1.8),
        moves: &[0.7, 0.85, 1.2, 1.4],
        multiplicative: true,
    },
    Knob {
        name: "memory",
        get: |c| &mut c.memory,
        range: (-0.5, 0.9),
        moves: &[-0.2, 0.1, 0.3],
        multiplicative: false,
    },
    Knob {
        name: "gradient_difference",
        get: |c| &mut c.gradient_difference,
        range: (-0.5, 1.0),
        moves: &[-0.2, 0.2],
        multiplicative: false,
    },
];

/// Coordinate search over the seven constants, three sweeps.
fn tune_constants(
    method: &AlgorithmSpec,
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    progress: &(dyn Fn() + Sync),
) -> Result<Tuned, AlgorithmError> {
    let mut best = method.constants().unwrap_or_default();
    let mut best_score = score(|_| spec_of(&best), problems, graph, goal)?;
    let mut tried = 1;
    for _ in 0..3 {
        let before = best;
        for knob in &KNOBS {
            let centre = best;
            for &m in knob.moves {
                let mut candidate = centre;
                let value = (knob.get)(&mut candidate);
                let moved = if knob.multiplicative {
                    *value * m
                } else {
                    *value + m
                };
                *value = significant(moved.clamp(knob.range.0, knob.range.1));
                if candidate == centre {
                    continue;
                }
                let s = score(|_| spec_of(&candidate), problems, graph, goal)?;
                tried += 1;
                progress();
                if s.better(&best_score) {
                    (best, best_score) = (candidate, s);
                }
            }
        }
        if best == before {
            break;
        }
    }
    let on_edge = KNOBS
        .iter()
        .filter(|k| {
            let v = *(k.get)(&mut best.clone());
            v <= k.range.0 || v >= k.range.1
        })
        .map(|k| k.name)
        .collect();
    Ok(Tuned {
        candidate: Candidate {
            method: method.clone(),
            factor: 1.0,
            second: 1.0,
            kind: MixingKind::Metropolis,
        },
        constants: Some(best),
        rounds: (best_score.rounds != u64::MAX).then_some(best_score.rounds),
        on_edge,
        tried,
    })
}

/// Three significant digits, so that a tuned value can be typed.
fn significant(v: f64) -> f64 {
    format!("{v:.2e}").parse().unwrap_or(v)
}
