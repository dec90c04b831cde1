//! Tuning: every handcrafted method at its best, on problems apart from the test problems.
//!
//! A candidate is a method with a step in units of `1/L` of the problem at hand, so one tuned value serves a family whose `L`
//! varies. A candidate that misses the target gap on fewer problems wins, then the one with the smaller median number of rounds
//! to it, then the one with the smaller median final gap. First a coarse grid (with every mixing matrix and every number of
//! mixings that the method may use), then a finer one around the best. Options that are given stay. A best value on the grid's
//! edge is flagged. `Constants`, seven of them, are searched from several starts instead: from those given too.

use super::{OptimumRefuted, Options, simulate};
use crate::graph::{Graph, Mixing, MixingKind};
use crate::network::Network;
use crate::problem::{Optimum, Problem};
use crate::random;
use crate::rule::{AlgorithmError, AlgorithmSpec, Constants};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// A problem with its optimum.
pub type Certified = (Problem, Optimum);

/// A method with parameters in units that carry over between problems of one family.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    method: AlgorithmSpec,
    /// Step in units of `1/L`.
    factor: f64,
    /// The second parameter where there is one (see [`AlgorithmSpec::second_mut`]), `μ` in units of `L`.
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

/// Why there is no tuned method.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The method cannot run on these problems at all.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
    /// The optimum of a tuning problem is wrong.
    #[error(transparent)]
    Optimum(#[from] OptimumRefuted),
    /// `go_on` said no.
    #[error("stopped while tuning")]
    Stopped,
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
const MOMENTA: [f64; 8] = [0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 0.8];
const COUPLINGS: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.7];
const PENALTIES: [f64; 5] = [0.25, 0.5, 1.0, 1.5, 2.0];
const BETAS: [f64; 6] = [0.2, 0.35, 0.5, 0.65, 0.8, 0.9];
const BLENDS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.95];
/// The likeliest first: what comes later is given up at three times the rounds, and a bad penalty costs many gradients.
const ADMM_PENALTIES: [f64; 9] = [0.12, 0.2, 0.08, 0.4, 0.04, 0.8, 0.02, 1.6, 0.01];
const RELAXATIONS: [f64; 5] = [0.8, 0.9, 0.65, 0.96, 0.5];
const CONVEXITIES: [f64; 7] = [1e-4, 4e-4, 1e-3, 4e-3, 1e-2, 4e-2, 0.1];
/// Of a parameter that the method does not have, or whose value is given.
const HELD: [f64; 1] = [1.0];

impl Candidate {
    /// The method with absolute parameters for `problem`; options that are given stay.
    fn at(&self, problem: &Problem) -> AlgorithmSpec {
        let l = problem.smoothness_max();
        let (step, second) = match self.method {
            AlgorithmSpec::Nids { .. }
            | AlgorithmSpec::DiagonalNids { .. }
            | AlgorithmSpec::Admm { .. } => (self.factor, self.second),
            // In theory η = 1/(4τL), and τ grows as √(μ/L).
            AlgorithmSpec::Opapc { .. } => {
                (0.5 * self.factor / l / self.second.sqrt(), self.second * l)
            }
            _ => (self.factor / l, self.second),
        };
        let mut method = self.method.clone();
        if let Some(option) = method.step_mut() {
            option.get_or_insert(step);
        }
        if let Some(option) = method.second_mut() {
            option.get_or_insert(second);
        }
        if let Some(mixing) = method.mixing_mut() {
            *mixing = self.kind;
        }
        method
    }

    /// Name and values of the second parameter.
    fn second_grid(&self) -> (&'static str, &'static [f64]) {
        if matches!(self.method.clone().second_mut(), None | Some(Some(_))) {
            return ("", &HELD);
        }
        match self.method {
            AlgorithmSpec::Dapg { .. } => ("a", &MOMENTA),
            AlgorithmSpec::Odapg { .. } => ("tau", &COUPLINGS),
            AlgorithmSpec::Dlm { .. } => ("penalty", &PENALTIES),
            AlgorithmSpec::DiagonalNids { .. } => ("blend", &BLENDS),
            AlgorithmSpec::ProxEdMomentum { .. } => ("beta", &BETAS),
            AlgorithmSpec::Opapc { .. } => ("mu", &CONVEXITIES),
            AlgorithmSpec::Admm { .. } => ("relaxation", &RELAXATIONS),
            _ => ("", &HELD),
        }
    }

    /// Name and values of the step, or of what stands in its place.
    fn step_grid(&self) -> (&'static str, &'static [f64]) {
        match (&self.method, self.method.clone().step_mut()) {
            (_, Some(Some(_))) => ("step", &HELD),
            (AlgorithmSpec::Admm { .. }, _) => ("penalty", &ADMM_PENALTIES),
            _ => ("step", &STEPS),
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
) -> Result<Score, TuneError> {
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
                |_| {},
            )?;
            let gap = trace.last().gap;
            let gap = if gap.is_finite() { gap } else { f64::MAX };
            Ok((trace.rounds_to(goal.target).unwrap_or(u64::MAX), gap))
        })
        .collect::<Result<Vec<(u64, f64)>, TuneError>>()?;
    let missed = scores.iter().filter(|(r, _)| *r == u64::MAX).count();
    scores.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (rounds, gap) = scores[scores.len() / 2];
    Ok(Score {
        missed,
        rounds,
        gap,
    })
}

/// The method with every choice of those counts and switches that were left out.
fn variants(method: &AlgorithmSpec) -> Vec<AlgorithmSpec> {
    let mixings: &[usize] = match method {
        AlgorithmSpec::ProxEdFast { .. } => &[2, 3],
        AlgorithmSpec::Opapc { .. } => &[1, 2, 3],
        _ => &[1, 2],
    };
    let all = with_all(vec![method.clone()], mixings, AlgorithmSpec::mixings_mut);
    with_all(all, &[false, true], AlgorithmSpec::restart_mut)
}

/// Every method once with each of the values, where it has the option and leaves it out.
fn with_all<T: Copy>(
    methods: Vec<AlgorithmSpec>,
    values: &[T],
    option: fn(&mut AlgorithmSpec) -> Option<&mut Option<T>>,
) -> Vec<AlgorithmSpec> {
    let mut all = Vec::new();
    for mut method in methods {
        if !matches!(option(&mut method), Some(None)) {
            all.push(method);
            continue;
        }
        for &value in values {
            let mut variant = method.clone();
            if let Some(left_out) = option(&mut variant) {
                *left_out = Some(value);
            }
            all.push(variant);
        }
    }
    all
}

/// The mixing matrices that a method may use, those that are the same on this graph counted once.
fn kinds(method: &AlgorithmSpec, graph: &Graph) -> Vec<MixingKind> {
    if let Some(given) = method.clone().mixing_mut()
        && *given != MixingKind::default()
    {
        return vec![*given];
    }
    let all: &[MixingKind] = match method {
        AlgorithmSpec::Dlm { .. } | AlgorithmSpec::Admm { .. } => {
            return vec![MixingKind::LazyMetropolis];
        }
        // Chebyshev gossip scales the spectrum itself.
        AlgorithmSpec::ProxEdFast { .. }
        | AlgorithmSpec::ProxEdMomentum { .. }
        | AlgorithmSpec::Opapc { .. } => &[
            MixingKind::Metropolis,
            MixingKind::Laplacian,
            MixingKind::Fastest,
        ],
        _ => &[
            MixingKind::LazyMetropolis,
            MixingKind::Metropolis,
            MixingKind::Laplacian,
            MixingKind::Fastest,
        ],
    };
    let mut distinct: Vec<Mixing> = Vec::new();
    for kind in all {
        let mixing = Mixing::new(graph, *kind);
        let same = |other: &Mixing| {
            other
                .edge_weights()
                .iter()
                .zip(mixing.edge_weights())
                .all(|(a, b)| (a - b).abs() <= 1e-6 * b)
        };
        if !distinct.iter().any(same) {
            distinct.push(mixing);
        }
    }
    distinct.iter().map(Mixing::kind).collect()
}

/// Tunes `method` on `problems`; `go_on` is asked before every candidate.
///
/// # Errors
/// A method that cannot run on these problems at all; `go_on` said no.
pub fn tune(
    method: &AlgorithmSpec,
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Tuned, TuneError> {
    if matches!(method, AlgorithmSpec::Constants { .. }) {
        return tune_constants(method, problems, graph, goal, go_on);
    }
    let mut first = Candidate {
        method: method.clone(),
        factor: 1.0,
        second: 1.0,
        kind: MixingKind::LazyMetropolis,
    };
    let ((step_name, step_grid), (second_name, second_grid)) =
        (first.step_grid(), first.second_grid());
    first.second = second_grid[second_grid.len() / 2];
    let mut best: Option<(Score, Candidate)> = None;
    let mut tried = 0;
    let mut consider = |candidate: Candidate, best: &mut Option<(Score, Candidate)>| {
        if !go_on() {
            return Err(TuneError::Stopped);
        }
        // Given up, and counted as missed: a run three times as long as the median of one that misses nothing.
        let known = best
            .as_ref()
            .filter(|(s, _)| s.missed == 0)
            .map_or(u64::MAX, |(s, _)| s.rounds.saturating_mul(3));
        let goal = Goal {
            rounds: goal.rounds.min(known),
            ..goal
        };
        let score = score(|p| candidate.at(p), problems, graph, goal)?;
        tried += 1;
        if best.as_ref().is_none_or(|(s, _)| score.better(s)) {
            *best = Some((score, candidate));
        }
        Ok(())
    };
    for variant in variants(method) {
        for kind in kinds(&variant, graph) {
            for &factor in step_grid {
                for second in second_grid {
                    let candidate = Candidate {
                        method: variant.clone(),
                        factor,
                        second: *second,
                        kind,
                    };
                    consider(candidate, &mut best)?;
                }
            }
        }
    }
    // Refine around the best, first the step, then the second parameter.
    let centre = best.as_ref().map_or(first, |(_, c)| c.clone());
    if step_grid.len() > 1 {
        for scale in REFINE {
            let candidate = Candidate {
                factor: significant(centre.factor * scale),
                ..centre.clone()
            };
            consider(candidate, &mut best)?;
        }
    }
    if second_grid.len() > 1 {
        let centre = best.as_ref().map_or(centre.clone(), |(_, c)| c.clone());
        for scale in REFINE {
            let second = significant(centre.second * scale);
            if second < 1.0 || second_name == "penalty" {
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
    let found = best.unwrap_or((
        Score {
            missed: problems.len(),
            rounds: u64::MAX,
            gap: f64::MAX,
        },
        centre,
    ));
    let scaled = |c: &Candidate, scale: f64| Candidate {
        factor: significant(c.factor * scale),
        ..c.clone()
    };
    let (score, candidate) = back_off(found, goal, scaled, |c, goal| {
        score(|p| c.at(p), problems, graph, goal)
    })?;
    let mut on_edge = Vec::new();
    let outside =
        |v: f64, grid: &[f64]| grid.iter().all(|g| v <= *g) || grid.iter().all(|g| v >= *g);
    if step_grid.len() > 1 && outside(candidate.factor, step_grid) {
        on_edge.push(step_name);
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
/// shortened by 4 % (at most three times) while a step 5 % longer misses the target somewhere. `scaled`: a candidate with
/// its step multiplied.
fn back_off<C>(
    (mut score_of_best, mut best): (Score, C),
    goal: Goal,
    scaled: impl Fn(&C, f64) -> C,
    mut score: impl FnMut(&C, Goal) -> Result<Score, TuneError>,
) -> Result<(Score, C), TuneError> {
    if score_of_best.missed > 0 {
        return Ok((score_of_best, best));
    }
    let goal = Goal {
        rounds: goal.rounds.min(score_of_best.rounds.saturating_mul(3)),
        ..goal
    };
    for _ in 0..3 {
        if score(&scaled(&best, 1.05), goal)?.missed == 0 {
            break;
        }
        let shorter = scaled(&best, 0.96);
        let score_of_shorter = score(&shorter, goal)?;
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

impl Knob {
    /// Moves the constant, rounded and kept in range.
    fn set(&self, constants: &mut Constants, moved: impl Fn(f64) -> f64) {
        let value = (self.get)(constants);
        *value = significant(moved(*value).clamp(self.range.0, self.range.1));
    }
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
        range: (0.0, 0.99),
        moves: &[-0.3, -0.1, 0.1, 0.2],
        multiplicative: false,
    },
    Knob {
        name: "dual",
        get: |c| &mut c.dual,
        range: (0.002, 4.0),
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

/// Lengths of the moves of a coordinate search; two sweeps with each, one where nothing is gained.
const LENGTHS: [f64; 3] = [1.0, 0.5, 0.25];
/// Joint moves after the coordinate searches.
const JOINT_MOVES: u64 = 200;

/// Where the search over constants starts: at the given ones; at high momentum, where the dual step has to be short, twice; at
/// Exact Diffusion with heavy-ball momentum (`S = 1/P`, no extrapolation).
fn starts(method: &AlgorithmSpec) -> [Constants; 4] {
    let given = method.constants().unwrap_or_default();
    let start = |primal, momentum, extrapolation, dual| Constants {
        primal,
        momentum,
        extrapolation,
        dual,
        ..Constants::default()
    };
    [
        given,
        start(1.0, 0.8, 0.5, 0.3),
        start(1.5, 0.9, 0.5, 0.1),
        start(2.0, 0.4, 0.0, 0.5),
    ]
}

/// Coordinate search over the seven constants from every start; then, from the best end, random moves of all constants at once,
/// for constants are coupled (more momentum wants a shorter dual step): a (1+1) evolution strategy with the one-fifth rule.
fn tune_constants(
    method: &AlgorithmSpec,
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Tuned, TuneError> {
    let (mut tried, mut fewest) = (0, u64::MAX);
    let mut consider = |candidate: Constants, best: &mut (Score, Constants)| {
        if !go_on() {
            return Err(TuneError::Stopped);
        }
        // Given up, and counted as missed: a run three times as long as the best median of those that miss nothing.
        let goal = Goal {
            rounds: goal.rounds.min(fewest.saturating_mul(3)),
            ..goal
        };
        let score = score(|_| spec_of(&candidate), problems, graph, goal)?;
        tried += 1;
        if score.missed == 0 {
            fewest = fewest.min(score.rounds);
        }
        let better = score.better(&best.0);
        if better {
            *best = (score, candidate);
        }
        Ok(better)
    };
    let worst = Score {
        missed: problems.len(),
        rounds: u64::MAX,
        gap: f64::INFINITY,
    };
    let mut overall = (worst, Constants::default());
    for start in starts(method) {
        let mut best = (worst, start);
        consider(start, &mut best)?;
        for length in LENGTHS {
            for _ in 0..2 {
                let before = best.1;
                for knob in &KNOBS {
                    let centre = best.1;
                    for &m in knob.moves {
                        let mut candidate = centre;
                        if knob.multiplicative {
                            knob.set(&mut candidate, |v| v * m.powf(length));
                        } else {
                            knob.set(&mut candidate, |v| v + m * length);
                        }
                        if candidate != centre {
                            consider(candidate, &mut best)?;
                        }
                    }
                }
                if best.1 == before {
                    break;
                }
            }
        }
        if best.0.better(&overall.0) {
            overall = best;
        }
    }
    let mut length = 0.2;
    for k in 0..JOINT_MOVES {
        let mut rng = random::stream(0, "tuning/constants", &[k]);
        let mut candidate = overall.1;
        for knob in &KNOBS {
            let draw: f64 = StandardNormal.sample(&mut rng);
            if knob.multiplicative {
                knob.set(&mut candidate, |v| v * (length * draw).exp());
            } else {
                knob.set(&mut candidate, |v| v + 0.3 * length * draw);
            }
        }
        // Four failures undo the growth of one success.
        let better = consider(candidate, &mut overall)?;
        length = (length * if better { 1.5 } else { 0.904 }).clamp(0.02, 1.0);
    }
    let scaled = |c: &Constants, scale: f64| Constants {
        primal: significant(c.primal * scale),
        ..*c
    };
    let (best_score, best) = back_off(overall, goal, scaled, |c, goal| {
        score(|_| spec_of(c), problems, graph, goal)
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphSpec;
    use crate::problem::{ProblemSpec, Role, optimum};
    use crate::rule::parse_ron;

    #[test]
    fn constants_end_no_worse_than_at_any_start() {
        let graph = GraphSpec::Ring(5).build(1).unwrap();
        let spec: ProblemSpec =
            parse_ron("problem", "Lasso(dimension: 20, rows: 6, l1: 0.1)").unwrap();
        let problem = spec.sample(5, 1, Role::Tuning, 0).unwrap();
        let problems = [(problem.clone(), optimum::solve(&problem).unwrap())];
        let goal = Goal {
            target: 1e-6,
            rounds: 1_000,
        };
        let method = AlgorithmSpec::parse("method", "Constants").unwrap();
        let tuned = tune(&method, &problems, &graph, goal, &|| true).unwrap();
        for start in starts(&method) {
            let rounds = score(|_| spec_of(&start), &problems, &graph, goal)
                .unwrap()
                .rounds;
            assert!(tuned.rounds.unwrap() <= rounds, "{tuned:?}, {rounds}");
        }
    }

    #[test]
    fn mixing_matrices_that_coincide_count_once() {
        let method = AlgorithmSpec::parse("method", "ProxEd").unwrap();
        let count = |spec: GraphSpec| kinds(&method, &spec.build(1).unwrap()).len();
        // On a ring all edges are alike, so that the fastest weights are the best constant.
        assert_eq!(count(GraphSpec::Ring(8)), 3);
        assert_eq!(
            count(GraphSpec::ErdosRenyi {
                agents: 10,
                probability: 0.4
            }),
            4
        );
    }

    #[test]
    fn options_that_are_given_stay_and_others_take_every_value() {
        let count = |text| variants(&AlgorithmSpec::parse("method", text).unwrap()).len();
        assert_eq!(count("ProxEd"), 1);
        assert_eq!(count("Dapg(mixings: 3)"), 1);
        assert_eq!(count("ProxEdMomentum"), 4);
        assert_eq!(count("ProxEdMomentum(restart: true)"), 2);

        let graph = GraphSpec::Ring(5).build(1).unwrap();
        let spec: ProblemSpec =
            parse_ron("problem", "Lasso(dimension: 8, rows: 6, l1: 0.1)").unwrap();
        let problem = spec.sample(5, 1, Role::Tuning, 0).unwrap();
        let problems = [(problem.clone(), optimum::solve(&problem).unwrap())];
        let goal = Goal {
            target: 1e-3,
            rounds: 200,
        };
        let tuned = |text| {
            let method = AlgorithmSpec::parse("method", text).unwrap();
            tune(&method, &problems, &graph, goal, &|| true).unwrap()
        };
        let all = "ProxEd(step: 0.1, mixing: Fastest)";
        assert_eq!(tuned(all).at(&problem).to_string(), all);
        assert!(tuned(all).on_edge.is_empty());
        let text = tuned("Dapg(a: 0.3, mixings: 1)").at(&problem).to_string();
        assert!(
            text.contains("a: 0.3, mixings: 1") && text.contains("step: "),
            "{text}"
        );
        let text = tuned("Dlm(step: 0.1)").at(&problem).to_string();
        assert!(text.starts_with("Dlm(step: 0.1, penalty: "), "{text}");
    }
}
