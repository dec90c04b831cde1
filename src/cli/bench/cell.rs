//! One cell: its contestants tuned for every target and run on its test problems. Each contestant's figures are kept in a file
//! of their own under a hash of everything that determines them, so that an interrupted bench continues.

use super::super::contest::{Contestant, test_problems};
use super::super::{stop, tune::problems};
use super::suite::{Plan, file_stem};
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use starling::files::{FileError, write_atomic};
use starling::graph::{Graph, Mixing, MixingKind};
use starling::network::Network;
use starling::problem::{ProblemSpec, Role, optimum};
use starling::simulate::tuning::{Certified, Goal, tune};
use starling::simulate::{Options, Status, Trace};
use std::path::{Path, PathBuf};

/// At most this many points of a curve are kept.
const CURVE_POINTS: usize = 400;

/// What a contestant is in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A learned rule.
    Rule,
    /// The same recipe trained from another seed.
    Seed,
    /// A published method.
    Published,
    /// A method that nobody published.
    Rung,
}

/// A contestant before it is tuned.
struct Entrant {
    kind: Kind,
    /// The rule it is a seed of, else its own name.
    group: String,
    contestant: Contestant,
    /// Of everything that determines its figures.
    key: String,
}

/// A contestant as it runs, and the targets that it runs for, largest first.
struct Runner {
    contestant: Contestant,
    targets: Vec<f64>,
}

/// An entrant's runners, and how tuning went, target by target.
type Lineup = (Vec<Runner>, Vec<Tuning>);

/// A cell ready to run.
pub struct Cell {
    pub plan: Plan,
    pub graph: Graph,
    /// Of everything that determines the test problems.
    key: String,
    entrants: Vec<Entrant>,
    out: PathBuf,
}

/// What the test problems of a cell are like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ground {
    key: String,
    pub agents: usize,
    pub edges: usize,
    pub dimension: usize,
    /// The largest spectral gap `1 − σ` among the mixing matrices that tuning chooses from.
    pub spectral_gap: f64,
    /// `κ` of every test problem on the coordinates that are free at `x*`.
    pub conditions: Vec<Option<f64>>,
    /// The problem whose `κ` is the median: curves are drawn of it.
    pub median_problem: usize,
}

/// How a run went for one target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Rounds to the target, if it was reached.
    pub rounds: Option<u64>,
    pub floats_sent: Option<u64>,
    /// Of one agent.
    pub gradient_evaluations: Option<u64>,
    /// Seconds in steps, where the cell measures them.
    pub seconds: Option<f64>,
    /// It did not reach the target because it diverged.
    pub diverged: bool,
}

/// How tuning went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Median rounds on the tuning problems.
    pub rounds: Option<u64>,
    pub on_grid_edge: Vec<String>,
    pub candidates: usize,
}

/// A contestant's figures for one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtTarget {
    pub target: f64,
    /// The method as it ran on the first test problem.
    pub algorithm: String,
    pub tuning: Option<Tuning>,
    /// One per test problem.
    pub outcomes: Vec<Outcome>,
}

/// A contestant's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    key: String,
    pub contestant: String,
    pub kind: Kind,
    pub group: String,
    pub outside_envelope: Vec<String>,
    pub targets: Vec<AtTarget>,
    /// Largest certificate of a gap over the test problems.
    pub gap_certificate: f64,
    /// Rounds and gap on the median problem, as run for the smallest target.
    pub curve: Vec<(u64, f64)>,
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_hash(path: &Path) -> Result<String, FileError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(sha256(bytes)),
        Err(source) => Err(FileError {
            action: "read",
            path: path.into(),
            source,
        }),
    }
}

/// What `file` holds, if that is what is asked for.
fn kept<T: serde::de::DeserializeOwned>(file: &Path, fits: impl Fn(&T) -> bool) -> Option<T> {
    let text = std::fs::read_to_string(file).ok()?;
    serde_json::from_str(&text).ok().filter(fits)
}

/// Runs of a contestant on a problem where seconds are measured.
const TURNS: usize = 3;

/// Raised whenever a method, the tuner or a metric changes, so that figures of before are not kept.
const FIGURES: u32 = 3;

impl Cell {
    /// Reads the rules, draws the graph and the first test problem, and starts everyone on it: what is missing or does not fit
    /// is found out before any work.
    pub fn new(plan: Plan, out: &Path) -> anyhow::Result<Self> {
        let graph = plan.graph.build(plan.seed)?;
        let file = |problem: &ProblemSpec| match problem {
            ProblemSpec::Data { path, .. } => file_hash(path).map(Some),
            _ => Ok(None),
        };
        let data = file(&plan.problem)?;
        // Where methods are tuned on another file than they are compared on.
        let other_data = file(&plan.tuning)?.filter(|hash| Some(hash) != data.as_ref());
        let ground = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "figures": FIGURES, "problem": plan.problem, "data": data, "agents": graph.agents(),
            "edges": graph.edges(), "seed": plan.seed, "trials": plan.trials,
        });
        let key = sha256(ground.to_string());
        let entrant = |kind, group: &str, contestant: Contestant, content: String| {
            // A rule is not tuned.
            let tuned_on = contestant
                .rule
                .is_none()
                .then_some((&plan.tuning, plan.tuning_problems));
            let mut all = serde_json::json!({
                "ground": key, "kind": kind, "name": contestant.name, "group": group, "content": content,
                "targets": plan.targets, "steps": plan.steps, "seconds": plan.seconds, "tuned_on": tuned_on,
            });
            if let (Some(_), Some(hash)) = (tuned_on, &other_data) {
                all["tuning_data"] = hash.as_str().into();
            }
            Entrant {
                kind,
                group: group.into(),
                contestant,
                key: sha256(all.to_string()),
            }
        };
        let mut entrants = Vec::new();
        for (name, files) in &plan.rules {
            for (k, file) in files.iter().enumerate() {
                let (kind, own) = match k {
                    0 => (Kind::Rule, name.clone()),
                    _ => (Kind::Seed, format!("{name} seed {}", k + 1)),
                };
                let contestant = Contestant {
                    name: own,
                    ..Contestant::learned(file)?
                };
                entrants.push(entrant(kind, name, contestant, file_hash(file)?));
            }
        }
        for (kind, methods) in [
            (Kind::Published, &plan.baselines),
            (Kind::Rung, &plan.rungs),
        ] {
            for method in methods {
                let name = method.to_string();
                let contestant = Contestant {
                    name: name.clone(),
                    ..Contestant::handcrafted(method.clone(), None)
                };
                entrants.push(entrant(kind, &name, contestant, name.clone()));
            }
        }
        let first = plan
            .problem
            .sample(graph.agents(), plan.seed, Role::Test, 0)?;
        for entrant in &entrants {
            entrant
                .contestant
                .start(&first, &mut Network::new(&graph))?;
        }
        Ok(Self {
            plan,
            graph,
            key,
            entrants,
            out: out.into(),
        })
    }

    /// How many contestants.
    pub fn contestants(&self) -> usize {
        self.entrants.len()
    }

    /// Runs to make; tuning for a target counts as much as running for it.
    pub fn work(&self) -> u64 {
        self.entrants.iter().map(|e| self.work_of(e)).sum()
    }

    fn work_of(&self, entrant: &Entrant) -> u64 {
        let rounds = match entrant.contestant.rule {
            Some(_) => 1,
            None => 2 * self.plan.targets.len() as u64,
        };
        rounds * self.plan.trials
    }

    fn file(&self, entrant: &Entrant) -> PathBuf {
        let name = file_stem(&entrant.contestant.name);
        self.out
            .join(format!("cells/{}/{name}.json", self.plan.name))
    }

    /// Measures what is not kept from an earlier bench; with it, how many contestants were. Ctrl-C ends it between two runs,
    /// and what was finished stays.
    pub fn run(
        &self,
        fresh: bool,
        bar: &ProgressBar,
    ) -> anyhow::Result<(Ground, Vec<Measured>, usize)> {
        let plan = &self.plan;
        let ground_file = self.out.join(format!("problems/{}.json", plan.name));
        let keep = |entrant: &Entrant| {
            let fits = |m: &Measured| m.key == entrant.key && m.targets.len() == plan.targets.len();
            kept(&self.file(entrant), fits).filter(|_| !fresh)
        };
        let mut measured: Vec<Option<Measured>> = self.entrants.iter().map(keep).collect();
        // Seconds of another day are not compared with today's.
        if plan.seconds && measured.iter().any(Option::is_none) {
            measured.fill_with(|| None);
        }
        for (entrant, _) in self
            .entrants
            .iter()
            .zip(&measured)
            .filter(|(_, m)| m.is_some())
        {
            bar.inc(self.work_of(entrant));
        }
        let skipped = measured.iter().flatten().count();
        let known = kept(&ground_file, |g: &Ground| g.key == self.key).filter(|_| !fresh);
        if let (Some(ground), true) = (&known, skipped == self.entrants.len()) {
            let measured = measured.into_iter().flatten().collect();
            return Ok((ground.clone(), measured, skipped));
        }
        bar.set_message(format!("{}: test problems", plan.name));
        let tests = test_problems(&plan.problem, &self.graph, plan.trials, plan.seed)?;
        let ground = match known {
            Some(ground) => ground,
            None => self.ground(&tests)?,
        };
        write_atomic(&ground_file, &serde_json::to_vec_pretty(&ground)?)?;
        let mut tuning = Vec::new();
        let mut lineup = |entrant: &Entrant| {
            if entrant.contestant.rule.is_none() && tuning.is_empty() {
                tuning = problems(&plan.tuning, &self.graph, plan.tuning_problems, plan.seed)?;
            }
            self.lineup(entrant, &tests, &tuning, bar)
        };
        let finish = |entrant: &Entrant, slot: &mut Option<Measured>, lineup, traces| {
            let figures = self.measure(entrant, &tests, lineup, traces, ground.median_problem);
            write_atomic(&self.file(entrant), &serde_json::to_vec_pretty(&figures)?)?;
            *slot = Some(figures);
            anyhow::Ok(())
        };
        let missing = self.entrants.iter().zip(&mut measured);
        let missing = missing.filter(|(_, slot)| slot.is_none());
        if plan.seconds {
            let missing: Vec<_> = missing.collect();
            let lineups = missing.iter().map(|(entrant, _)| lineup(entrant));
            let lineups = lineups.collect::<anyhow::Result<Vec<Lineup>>>()?;
            let traces = self.in_turn(&lineups, &tests, bar)?;
            for (((entrant, slot), lineup), traces) in missing.into_iter().zip(lineups).zip(traces)
            {
                finish(entrant, slot, lineup, traces)?;
            }
        } else {
            for (entrant, slot) in missing {
                let lineup = lineup(entrant)?;
                bar.set_message(format!(
                    "{}: running {}",
                    plan.name, entrant.contestant.name
                ));
                let traces = lineup
                    .0
                    .iter()
                    .map(|runner| self.traces(runner, &tests, bar));
                let traces = traces.collect::<anyhow::Result<_>>()?;
                finish(entrant, slot, lineup, traces)?;
            }
        }
        Ok((ground, measured.into_iter().flatten().collect(), skipped))
    }

    fn ground(&self, tests: &[Certified]) -> anyhow::Result<Ground> {
        let mut spectral_gap = 0.0_f64;
        for kind in [
            MixingKind::LazyMetropolis,
            MixingKind::Metropolis,
            MixingKind::Laplacian,
            MixingKind::Fastest,
        ] {
            let spectrum = Mixing::new(&self.graph, kind).spectrum(&self.graph)?;
            spectral_gap = spectral_gap.max(spectrum.gap);
        }
        let conditions: Vec<Option<f64>> = tests
            .par_iter()
            .map(|(problem, best)| optimum::restricted_condition(problem, &best.x))
            .collect();
        let mut order: Vec<usize> = (0..tests.len()).collect();
        let key = |k: &usize| conditions[*k].unwrap_or(f64::INFINITY);
        order.sort_by(|a, b| key(a).total_cmp(&key(b)));
        Ok(Ground {
            key: self.key.clone(),
            agents: self.graph.agents(),
            edges: self.graph.edges().len(),
            dimension: tests[0].0.dimension(),
            spectral_gap,
            median_problem: order[order.len() / 2],
            conditions,
        })
    }

    /// Who runs, and for which targets: one run serves all targets that tuning gave the same parameters for. With how tuning
    /// went, target by target; a rule is not tuned.
    fn lineup(
        &self,
        entrant: &Entrant,
        tests: &[Certified],
        tuning: &[Certified],
        bar: &ProgressBar,
    ) -> anyhow::Result<Lineup> {
        let plan = &self.plan;
        let contestant = &entrant.contestant;
        if contestant.rule.is_some() {
            let rule = Runner {
                contestant: contestant.clone(),
                targets: plan.targets.clone(),
            };
            return Ok((vec![rule], Vec::new()));
        }
        let first = &tests[0].0;
        let (mut runners, mut tunings): (Vec<Runner>, _) = (Vec::new(), Vec::new());
        for &target in &plan.targets {
            anyhow::ensure!(!stop::requested(), "stopped while tuning");
            bar.set_message(format!(
                "{}: tuning {} for {target:e}",
                plan.name, contestant.name
            ));
            let goal = Goal {
                target,
                rounds: plan.steps,
            };
            let method = &contestant.method;
            let tuned = tune(method, tuning, &self.graph, goal, &|| {
                bar.tick();
                !stop::requested()
            })?;
            bar.inc(plan.trials);
            tunings.push(Tuning {
                rounds: tuned.rounds,
                on_grid_edge: tuned.on_edge.iter().map(|e| e.to_string()).collect(),
                candidates: tuned.tried,
            });
            let as_run = tuned.at(first);
            match runners
                .iter_mut()
                .find(|r| r.contestant.at(first) == as_run)
            {
                Some(runner) => runner.targets.push(target),
                None => runners.push(Runner {
                    contestant: Contestant::handcrafted(method.clone(), Some(tuned)),
                    targets: vec![target],
                }),
            }
        }
        Ok((runners, tunings))
    }

    /// One run per test problem.
    fn traces(
        &self,
        runner: &Runner,
        tests: &[Certified],
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Trace>> {
        let one = |test| self.trace(runner, test, bar);
        tests.par_iter().map(one).collect()
    }

    /// The same for seconds, of every contestant: one run after the other, problem by problem all contestants in turn,
    /// [`TURNS`] times, of which the fastest counts. What else the machine does slows all of them alike, and only adds time.
    fn in_turn(
        &self,
        lineups: &[Lineup],
        tests: &[Certified],
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Vec<Vec<Trace>>>> {
        bar.set_message(format!("{}: running all in turn", self.plan.name));
        let places = |(runners, _): &Lineup| vec![Vec::with_capacity(tests.len()); runners.len()];
        let mut fastest: Vec<Vec<Vec<Trace>>> = lineups.iter().map(places).collect();
        let hidden = ProgressBar::hidden();
        for test in tests {
            for turn in 0..TURNS {
                let bar = if turn == 0 { bar } else { &hidden };
                for ((runners, _), traces) in lineups.iter().zip(&mut fastest) {
                    for (runner, traces) in runners.iter().zip(traces) {
                        let trace = self.trace(runner, test, bar)?;
                        match traces.last_mut().filter(|_| turn > 0) {
                            None => traces.push(trace),
                            Some(best) if trace.last().seconds < best.last().seconds => {
                                *best = trace;
                            }
                            Some(_) => {}
                        }
                    }
                }
            }
        }
        Ok(fastest)
    }

    fn trace(&self, runner: &Runner, test: &Certified, bar: &ProgressBar) -> anyhow::Result<Trace> {
        let options = Options {
            steps: self.plan.steps,
            rounds: Some(self.plan.steps),
            until: runner.targets.last().copied(),
            targets: runner.targets.clone(),
            ..Options::default()
        };
        let learned = runner.contestant.rule.is_some();
        let work = if learned { 1 } else { runner.targets.len() };
        let trace = runner.contestant.run(test, &self.graph, &options)?;
        anyhow::ensure!(!stop::requested(), "stopped while running");
        bar.inc(work as u64);
        Ok(trace)
    }

    /// What the traces, runner by runner, say.
    fn measure(
        &self,
        entrant: &Entrant,
        tests: &[Certified],
        (runners, tunings): Lineup,
        traces: Vec<Vec<Trace>>,
        median_problem: usize,
    ) -> Measured {
        let plan = &self.plan;
        let (mut targets, mut curve) = (Vec::new(), Vec::new());
        let mut gap_certificate = 0.0_f64;
        for (runner, traces) in runners.iter().zip(traces) {
            for trace in &traces {
                gap_certificate = gap_certificate.max(trace.gap_certificate);
            }
            if runner.targets.last() == plan.targets.last() {
                curve = traces.get(median_problem).map_or(Vec::new(), thinned);
            }
            let algorithm = runner.contestant.at(&tests[0].0).to_string();
            targets.extend(runner.targets.iter().map(|&target| {
                AtTarget {
                    target,
                    algorithm: algorithm.clone(),
                    tuning: None,
                    outcomes: traces
                        .iter()
                        .map(|t| outcome(t, target, plan.seconds))
                        .collect(),
                }
            }));
        }
        targets.sort_by(|a, b| b.target.total_cmp(&a.target));
        for (at, tuning) in targets.iter_mut().zip(tunings) {
            at.tuning = Some(tuning);
        }
        Measured {
            key: entrant.key.clone(),
            contestant: entrant.contestant.name.clone(),
            kind: entrant.kind,
            group: entrant.group.clone(),
            outside_envelope: entrant.contestant.outside_envelope(&tests[0].0),
            targets,
            gap_certificate,
            curve,
        }
    }
}

fn outcome(trace: &Trace, target: f64, seconds: bool) -> Outcome {
    let rounds = trace.rounds_to(target);
    let sample = rounds.and_then(|r| trace.samples.iter().find(|s| s.rounds == r));
    Outcome {
        rounds,
        floats_sent: sample.map(|s| s.floats_sent),
        gradient_evaluations: sample.map(|s| s.gradient_evaluations),
        seconds: sample.filter(|_| seconds).map(|s| s.seconds),
        diverged: rounds.is_none() && matches!(trace.status, Status::Diverged { .. }),
    }
}

/// Rounds and gap of a run, evenly thinned, up to where the gap is no number any more.
fn thinned(trace: &Trace) -> Vec<(u64, f64)> {
    let finite = trace.samples.iter().take_while(|s| s.gap.is_finite());
    let points: Vec<(u64, f64)> = finite.map(|s| (s.rounds, s.gap)).collect();
    let every = points.len().div_ceil(CURVE_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.iter().enumerate();
    kept.filter(|(k, _)| k % every == 0 || *k == last)
        .map(|(_, point)| *point)
        .collect()
}
