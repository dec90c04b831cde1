//! Candidates against each other on the same problems: who is slow is stopped early, who is clearly slow on the first problems is
//! not run on the others.

use super::{Certified, Choice, Goal, TuneError};
use crate::graph::Graph;
use crate::network::Network;
use crate::simulate::{Options, simulate};
use rayon::prelude::*;
use std::cmp::Ordering;

/// A run is cut at this many times the fewest rounds that were needed on its problem.
const CUT: u64 = 3;
/// Problems after which a candidate may be dropped …
const FIRST: usize = 5;
/// … if it is this much slower than the best on them (logarithm of the ratio).
const CLEARLY_SLOWER: f64 = 0.22;

/// A candidate with its figures.
#[derive(Clone, Debug)]
pub(super) struct Raced {
    pub choice: Choice,
    /// Rounds to the target, problem by problem: all of them, or the first few.
    rounds: Vec<Option<u64>>,
    /// Mean logarithm of rounds, misses priced.
    pub price: f64,
    /// Mean logarithm of final gaps: what counts where nobody reaches the target.
    gap: f64,
    /// Dropped after the first problems.
    dropped: bool,
}

impl Raced {
    pub fn missed(&self) -> usize {
        self.rounds.iter().filter(|r| r.is_none()).count()
    }

    /// Median rounds, the upper one of two.
    pub fn median(&self) -> Option<u64> {
        let mut rounds = self.rounds.clone();
        rounds.sort_by_key(|r| r.unwrap_or(u64::MAX));
        rounds.get(rounds.len() / 2).copied().flatten()
    }

    fn before(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }

    /// The better one first.
    fn order(&self, other: &Self) -> Ordering {
        let gap = || self.gap.total_cmp(&other.gap);
        let price = || self.price.total_cmp(&other.price).then_with(gap);
        self.dropped.cmp(&other.dropped).then_with(price)
    }
}

/// A race, open to further candidates until its result is asked for.
pub(super) struct Race<'a> {
    problems: &'a [Certified],
    graph: &'a Graph,
    goal: Goal,
    go_on: &'a (dyn Fn() -> bool + Sync),
    /// The fewest rounds of any candidate, problem by problem.
    fewest: Vec<Option<u64>>,
    raced: Vec<Raced>,
    best: Option<usize>,
}

impl<'a> Race<'a> {
    pub fn new(
        problems: &'a [Certified],
        graph: &'a Graph,
        goal: Goal,
        go_on: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self {
            problems,
            graph,
            goal,
            go_on,
            fewest: vec![None; problems.len()],
            raced: Vec::new(),
            best: None,
        }
    }

    /// Candidates tried.
    pub fn tried(&self) -> usize {
        self.raced.len()
    }

    pub fn best(&self) -> Option<&Raced> {
        self.best.map(|k| &self.raced[k])
    }

    /// The best of those that are meant.
    pub fn best_among(&self, meant: impl Fn(&Choice) -> bool) -> Option<&Choice> {
        let among = self.raced.iter().filter(|raced| meant(&raced.choice));
        let best = among.reduce(|best, raced| if raced.before(best) { raced } else { best });
        best.map(|raced| &raced.choice)
    }

    /// Runs those that have not run yet, all at once: what is cut is known before, so the outcome does not depend on threads.
    pub fn enter(&mut self, choices: impl IntoIterator<Item = Choice>) -> Result<(), TuneError> {
        let mut fresh: Vec<Choice> = Vec::new();
        for choice in choices {
            let known = self.raced.iter().map(|raced| &raced.choice);
            if !known.chain(&fresh).any(|c| *c == choice) {
                fresh.push(choice);
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let first = FIRST.min(self.problems.len());
        let runs = self.rounds_of(&fresh.iter().collect::<Vec<_>>(), 0..first)?;
        // The best on the same problems, if it ran before.
        let bar = self
            .best()
            .map(|best| self.price(&best.rounds[..first]) + CLEARLY_SLOWER);
        let stays: Vec<bool> = runs
            .iter()
            .map(|run| {
                let rounds: Vec<Option<u64>> = run.iter().map(|(r, _)| *r).collect();
                bar.is_none_or(|bar| self.price(&rounds) <= bar)
            })
            .collect();
        let staying: Vec<&Choice> = fresh
            .iter()
            .zip(&stays)
            .filter_map(|(choice, stays)| stays.then_some(choice))
            .collect();
        let mut rest = self
            .rounds_of(&staying, first..self.problems.len())?
            .into_iter();
        for ((choice, mut run), stays) in fresh.into_iter().zip(runs).zip(stays) {
            if stays {
                run.extend(rest.next().unwrap_or_default());
            }
            let raced = self.raced(choice, run, !stays);
            let number = self.raced.len();
            if self.best().is_none_or(|best| raced.before(best)) {
                self.best = Some(number);
            }
            self.raced.push(raced);
        }
        Ok(())
    }

    /// One candidate on all problems, apart from the race.
    pub fn run(&mut self, choice: &Choice) -> Result<Raced, TuneError> {
        let mut runs = self.rounds_of(&[choice], 0..self.problems.len())?;
        Ok(self.raced(choice.clone(), runs.remove(0), false))
    }

    fn raced(&self, choice: Choice, run: Vec<(Option<u64>, f64)>, dropped: bool) -> Raced {
        let (rounds, gaps): (Vec<Option<u64>>, Vec<f64>) = run.into_iter().unzip();
        let mean = gaps.iter().map(|g| g.ln()).sum::<f64>() / gaps.len() as f64;
        Raced {
            choice,
            price: self.price(&rounds),
            gap: mean,
            rounds,
            dropped,
        }
    }

    /// Mean logarithm of rounds, a miss at twice the limit.
    fn price(&self, rounds: &[Option<u64>]) -> f64 {
        let priced = |r: &Option<u64>| (r.unwrap_or(2 * self.goal.rounds).max(1) as f64).ln();
        rounds.iter().map(priced).sum::<f64>() / rounds.len() as f64
    }

    /// Rounds to the target and final gap of every candidate on every problem of the range.
    #[allow(clippy::type_complexity)]
    fn rounds_of(
        &mut self,
        choices: &[&Choice],
        range: std::ops::Range<usize>,
    ) -> Result<Vec<Vec<(Option<u64>, f64)>>, TuneError> {
        let pairs: Vec<(&Choice, usize)> = choices
            .iter()
            .flat_map(|choice| range.clone().map(|k| (*choice, k)))
            .collect();
        let runs = pairs
            .into_par_iter()
            .map(|(choice, k)| {
                let cut = self.fewest[k].map_or(u64::MAX, |r| r.max(2).saturating_mul(CUT));
                self.once(choice, k, self.goal.rounds.min(cut), Some(self.goal.target))
            })
            .collect::<Result<Vec<_>, TuneError>>()?;
        if range.is_empty() {
            return Ok(vec![Vec::new(); choices.len()]);
        }
        let runs: Vec<Vec<(Option<u64>, f64)>> =
            runs.chunks(range.len()).map(<[_]>::to_vec).collect();
        for run in &runs {
            for ((rounds, _), fewest) in run.iter().zip(&mut self.fewest[range.clone()]) {
                *fewest = [*fewest, *rounds].into_iter().flatten().min();
            }
        }
        Ok(runs)
    }

    fn once(
        &self,
        choice: &Choice,
        k: usize,
        rounds: u64,
        until: Option<f64>,
    ) -> Result<(Option<u64>, f64), TuneError> {
        // Before every run: a batch may take long.
        if !(self.go_on)() {
            return Err(TuneError::Stopped);
        }
        let (problem, optimum) = &self.problems[k];
        let mut network = Network::new(self.graph);
        let mut process = choice.at(problem).start(problem, &mut network)?;
        let options = Options {
            steps: rounds,
            rounds: Some(rounds),
            until,
            targets: vec![self.goal.target],
            ..Options::default()
        };
        let observe = |_: &_| {};
        let trace = simulate(
            process.as_mut(),
            problem,
            &mut network,
            optimum,
            &options,
            observe,
        )?;
        let gap = trace.last().gap;
        // What diverged is as bad as can be; a gap at rounding level may be zero or below.
        let gap = if gap.is_finite() {
            gap.max(1e-16)
        } else {
            1e300
        };
        Ok((trace.rounds_to(self.goal.target), gap))
    }

    /// Whether twice as long a run ends below the target on every problem.
    pub fn stays_below(&self, raced: &Raced) -> Result<bool, TuneError> {
        let ends = raced
            .rounds
            .par_iter()
            .enumerate()
            .map(|(k, rounds)| {
                let Some(rounds) = rounds else {
                    return Ok(false);
                };
                let (_, gap) = self.once(&raced.choice, k, (2 * rounds).max(2), None)?;
                Ok(gap <= self.goal.target)
            })
            .collect::<Result<Vec<bool>, TuneError>>()?;
        Ok(ends.into_iter().all(|stays| stays))
    }

    /// The best few, best first; at least one.
    pub fn ranked(&self, most: usize) -> Vec<Raced> {
        let mut ranked: Vec<&Raced> = self.raced.iter().collect();
        ranked.sort_by(|a, b| a.order(b));
        ranked.into_iter().take(most).cloned().collect()
    }
}
