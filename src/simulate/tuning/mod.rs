//! Tuning: every handcrafted method at its best, on problems apart from the test problems.
//!
//! The price of a candidate is the geometric mean, over the tuning problems, of its rounds to the target; a miss costs twice the
//! limit on rounds (PAR-2). Steps are in units that carry over between problems ([`StepUnit`]). Two stages:
//!
//! - [`coarse`], on the first few problems: a grid over step and second parameter, then a descent over the lattice of all knobs
//!   (mixing matrix, rounds of gossip, restarts too);
//! - [`fine`], on all of them: finer steps around the best few, in every unit. The winner must be settled: twice as long a run
//!   stays below the target on every problem; and it leaves the cliff, see [`back_off`].
//!
//! A run is cut, and counts as missed, at three times the fewest rounds that any candidate of the method needed on that problem.
//! Options that are given stay. A best value on the edge of its grid is flagged. `Constants`, seven of them, are searched from
//! several starts instead ([`constants`]).

mod constants;
mod knobs;
mod race;

use super::OptimumRefuted;
use crate::algorithm::AlgorithmError;
use crate::graph::Graph;
use crate::problem::{Optimum, Problem};
use crate::roster::AlgorithmSpec;
use crate::rule::Constants;
use knobs::{Candidate, Knobs};
use race::{Race, Raced};
use serde::{Deserialize, Serialize};

pub use knobs::StepUnit;

/// A problem with its optimum.
pub type Certified = (Problem, Optimum);

/// Problems of the coarse stage.
pub const COARSE_PROBLEMS: usize = 4;
/// The same for methods with local solves, of which each is worth a hundred gradients.
const COARSE_PROBLEMS_OF_SOLVERS: usize = 2;
/// Problems of the fine stage for these; others take all that there are.
const FINE_PROBLEMS_OF_SOLVERS: usize = 6;
/// The best of the coarse stage, which the fine one starts from.
const KEPT: usize = 5;
/// Moves of a descent at most.
const MOVES: usize = 12;

/// A tuned method.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tuned {
    best: Choice,
    /// What else did well, best first.
    others: Vec<Choice>,
    /// Median rounds to the target on the tuning problems.
    pub rounds: Option<u64>,
    /// Logarithm of the price, see the head of the file.
    pub price: f64,
    /// Tuning problems missed.
    pub missed: usize,
    /// Whether a run twice as long ends below the target on every tuning problem.
    pub settled: bool,
    /// Parameters whose best value lies on the grid's edge.
    pub on_edge: Vec<String>,
    /// Candidates tried.
    pub tried: usize,
}

/// A method with parameters in units that carry over between problems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Knobs(Candidate),
    Constants(Constants),
}

impl Choice {
    fn at(&self, problem: &Problem) -> AlgorithmSpec {
        match self {
            Self::Knobs(candidate) => candidate.at(problem),
            Self::Constants(constants) => constants::spec_of(constants),
        }
    }

    /// The choice with its step multiplied.
    fn scaled(&self, scale: f64) -> Self {
        match self {
            Self::Knobs(c) => Self::Knobs(c.scaled(scale)),
            Self::Constants(c) => Self::Constants(Constants {
                primal: significant(c.primal * scale),
                ..*c
            }),
        }
    }
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

impl Tuned {
    /// The tuned method with absolute parameters for `problem`.
    pub fn at(&self, problem: &Problem) -> AlgorithmSpec {
        self.best.at(problem)
    }

    /// The tuned method with its step multiplied.
    pub fn scaled(&self, scale: f64) -> Self {
        Self {
            best: self.best.scaled(scale),
            ..self.clone()
        }
    }

    /// What a race ended with, the best first; the rest is kept to go on from.
    fn new(mut ranked: Vec<Raced>, on_edge: Vec<String>, tried: usize) -> Self {
        let best = ranked.remove(0);
        Self {
            others: ranked.into_iter().map(|raced| raced.choice).collect(),
            rounds: best.median(),
            price: best.price,
            missed: best.missed(),
            settled: best.missed() == 0,
            best: best.choice,
            on_edge,
            tried,
        }
    }

    fn choices(&self) -> impl Iterator<Item = &Choice> {
        std::iter::once(&self.best).chain(&self.others)
    }
}

/// The coarse stage. `relatives`: methods tuned before, whose parameters `Constants` start from.
///
/// # Errors
/// A method that cannot run on these problems at all; `go_on`, which is asked before every run, said no.
pub fn coarse(
    method: &AlgorithmSpec,
    relatives: &[Tuned],
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Tuned, TuneError> {
    let few = match method.about().solves_locally {
        true => COARSE_PROBLEMS_OF_SOLVERS,
        false => COARSE_PROBLEMS,
    };
    let problems = &problems[..few.min(problems.len())];
    let mut race = Race::new(problems, graph, goal, go_on);
    if method.constants().is_some() {
        constants::coarse(method, relatives, &mut race)?;
        let tried = race.tried();
        return Ok(Tuned::new(race.ranked(KEPT), Vec::new(), tried));
    }
    let knobs = Knobs::of(method, graph);
    // From what theory says outwards: what comes later is cut early.
    for block in knobs.start().chunks(8) {
        race.enter(block.iter().cloned().map(Choice::Knobs))?;
    }
    descend(&mut race, |candidate| knobs.neighbors(candidate))?;
    let (tried, ranked) = (race.tried(), race.ranked(KEPT));
    let on_edge = on_edge(&knobs, &ranked[0].choice);
    Ok(Tuned::new(ranked, on_edge, tried))
}

/// The fine stage, from where the coarse one ended; `Constants` start from their relatives as well.
///
/// # Errors
/// As [`coarse`].
pub fn fine(
    from: &Tuned,
    method: &AlgorithmSpec,
    relatives: &[Tuned],
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Tuned, TuneError> {
    let most = match method.about().solves_locally {
        true => FINE_PROBLEMS_OF_SOLVERS,
        false => problems.len(),
    };
    let problems = &problems[..most.min(problems.len())];
    let mut race = Race::new(problems, graph, goal, go_on);
    race.enter(from.choices().take(1).cloned())?;
    race.enter(from.choices().skip(1).cloned())?;
    let mut on_edge_of = None;
    if method.constants().is_some() {
        constants::fine(relatives, &mut race)?;
    } else {
        let knobs = Knobs::of(method, graph);
        let reference = &problems[0].0;
        descend(&mut race, |c| knobs.refined(c, reference))?;
        on_edge_of = Some(knobs);
    }
    let tried = race.tried();
    // The best that stays below the target, at a step that is not the last before the cliff.
    let mut ranked = race.ranked(KEPT);
    let mut settled = None;
    for (place, raced) in ranked.iter().enumerate() {
        if raced.missed() > 0 {
            break;
        }
        if race.stays_below(raced)? {
            settled = Some(place);
            break;
        }
    }
    if let Some(place) = settled {
        let found = ranked.remove(place);
        ranked.insert(0, back_off(&mut race, found)?);
    }
    let on_edge = match on_edge_of {
        Some(knobs) => on_edge(&knobs, &ranked[0].choice),
        None => constants::on_edge(&ranked[0].choice),
    };
    Ok(Tuned {
        settled: settled.is_some(),
        ..Tuned::new(ranked, on_edge, from.tried + tried)
    })
}

/// Both stages.
///
/// # Errors
/// As [`coarse`].
pub fn tune(
    method: &AlgorithmSpec,
    relatives: &[Tuned],
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Tuned, TuneError> {
    let start = coarse(method, relatives, problems, graph, goal, go_on)?;
    fine(&start, method, relatives, problems, graph, goal, go_on)
}

/// Moves to the best neighbour while that is better.
fn descend(
    race: &mut Race<'_>,
    neighbors: impl Fn(&Candidate) -> Vec<Candidate>,
) -> Result<(), TuneError> {
    for _ in 0..MOVES {
        let Some(Choice::Knobs(centre)) = race.best().map(|best| best.choice.clone()) else {
            break;
        };
        race.enter(neighbors(&centre).into_iter().map(Choice::Knobs))?;
        if race.best().map(|best| &best.choice) == Some(&Choice::Knobs(centre)) {
            break;
        }
    }
    Ok(())
}

fn on_edge(knobs: &Knobs, choice: &Choice) -> Vec<String> {
    match choice {
        Choice::Knobs(candidate) => knobs.on_edge(candidate),
        Choice::Constants(_) => Vec::new(),
    }
}

/// Many methods are fastest just before the step at which they diverge, and the cliff moves from problem to problem: the step is
/// shortened by 4 % (at most three times) while a step 5 % longer misses the target somewhere.
fn back_off(race: &mut Race<'_>, mut best: Raced) -> Result<Raced, TuneError> {
    for _ in 0..3 {
        if race.run(&best.choice.scaled(1.05))?.missed() == 0 {
            break;
        }
        let shorter = race.run(&best.choice.scaled(0.96))?;
        if shorter.missed() > 0 {
            break;
        }
        best = shorter;
    }
    Ok(best)
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
    use crate::ron::parse_ron;

    fn problems(count: u64, text: &str, agents: usize) -> Vec<Certified> {
        let spec: ProblemSpec = parse_ron("problem", text).unwrap();
        let problem = |trial| spec.sample(agents, 1, Role::Tuning, trial).unwrap();
        let certified = |p: Problem| (p.clone(), optimum::solve(&p).unwrap());
        (0..count).map(|trial| certified(problem(trial))).collect()
    }

    fn method(text: &str) -> AlgorithmSpec {
        AlgorithmSpec::parse("method", text).unwrap()
    }

    const LASSO: &str = "Lasso(dimension: 20, rows: 6, l1: 0.1)";

    /// What it contains is among its starts, so that constants are never worse than Prox-ED and its heavy ball where `L_i` are alike.
    #[test]
    fn constants_end_no_worse_than_at_any_start() {
        let graph = GraphSpec::Ring(5).build(1).unwrap();
        let problems = problems(3, LASSO, 5);
        let goal = Goal {
            target: 1e-6,
            rounds: 1_000,
        };
        let tune = |text, relatives: &[Tuned]| {
            tune(&method(text), relatives, &problems, &graph, goal, &|| true).unwrap()
        };
        let relatives = [tune("ProxEd", &[]), tune("ProxEdMomentum(mixings: 1)", &[])];
        let tuned = tune("Constants", &relatives);
        assert!(tuned.settled && tuned.missed == 0);
        let starts = constants::starts(&method("Constants"), &relatives);
        assert_eq!(starts.len(), 6);
        let mut race = Race::new(&problems, &graph, goal, &|| true);
        for start in starts {
            let price = race.run(&Choice::Constants(start)).unwrap().price;
            assert!(tuned.price <= price, "{tuned:?}, {price}");
        }
    }

    #[test]
    fn options_that_are_given_stay() {
        let graph = GraphSpec::Ring(5).build(1).unwrap();
        let problems = problems(1, "Lasso(dimension: 8, rows: 6, l1: 0.1)", 5);
        let goal = Goal {
            target: 1e-3,
            rounds: 200,
        };
        let tuned = |text| tune(&method(text), &[], &problems, &graph, goal, &|| true).unwrap();
        let problem = &problems[0].0;
        let all = "ProxEd(step: 0.1, mixing: Fastest)";
        assert_eq!(tuned(all).at(problem).to_string(), all);
        assert!(tuned(all).on_edge.is_empty());
        let text = tuned("Dapg(a: 0.3, mixings: 1)").at(problem).to_string();
        assert!(
            text.contains("a: 0.3, mixings: 1") && text.contains("step: "),
            "{text}"
        );
        let text = tuned("Dlm(step: 0.1)").at(problem).to_string();
        assert!(text.starts_with("Dlm(step: 0.1, penalty: "), "{text}");
    }

    /// Biased for every step: no step is long enough to be fast and short enough to be exact.
    #[test]
    fn what_never_arrives_costs_twice_the_limit_and_is_not_settled() {
        let graph = GraphSpec::Ring(5).build(1).unwrap();
        let problems = problems(2, LASSO, 5);
        let goal = Goal {
            target: 1e-9,
            rounds: 100,
        };
        let tuned = tune(&method("ProxDgd"), &[], &problems, &graph, goal, &|| true).unwrap();
        assert_eq!(
            (tuned.missed, tuned.rounds, tuned.settled),
            (2, None, false)
        );
        assert!((tuned.price - 200_f64.ln()).abs() < 1e-12);
    }

    /// Finer steps on the same problems never cost more than what the coarse stage chose.
    #[test]
    fn the_fine_stage_improves_on_the_coarse_one() {
        let graph = GraphSpec::Star(6).build(1).unwrap();
        let problems = problems(4, "Lasso(dimension: 20, rows: 6, heterogeneity: 1.0)", 6);
        let goal = Goal {
            target: 1e-6,
            rounds: 2_000,
        };
        for text in ["ProxEd", "Dapg", "Admm", "Sonata", "AdGt"] {
            let method = method(text);
            let coarse = coarse(&method, &[], &problems, &graph, goal, &|| true).unwrap();
            let fine = fine(&coarse, &method, &[], &problems, &graph, goal, &|| true).unwrap();
            let mut race = Race::new(&problems, &graph, goal, &|| true);
            let price = race.run(&coarse.best).unwrap().price;
            // Leaving the cliff may cost three times 4 %.
            assert!(fine.price <= price + 0.15, "{text}: {} {price}", fine.price);
            assert!(fine.tried > coarse.tried);
        }
    }

    #[test]
    fn a_tuned_method_is_a_file() {
        let graph = GraphSpec::Ring(5).build(1).unwrap();
        let problems = problems(1, LASSO, 5);
        let goal = Goal {
            target: 1e-3,
            rounds: 200,
        };
        let tuned = tune(&method("Nids"), &[], &problems, &graph, goal, &|| true).unwrap();
        let text = serde_json::to_string(&tuned).unwrap();
        let back: Tuned = serde_json::from_str(&text).unwrap();
        assert_eq!(back.at(&problems[0].0), tuned.at(&problems[0].0));
    }
}
