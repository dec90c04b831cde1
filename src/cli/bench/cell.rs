//! One cell: its opponents tuned for every target, everyone run on its test problems.
//!
//! Every opponent is tuned coarsely; those with the lowest price on the tuning problems, the finalists of that target, are tuned
//! finely; all of them run. Each contestant's figures, and each coarse tuning, are kept in a file of their own under a hash of
//! everything that determines them, so that an interrupted bench continues.

use super::super::contest::{Contestant, test_problems};
use super::super::{stop, tune::problems};
use super::direct::Direct;
use super::suite::{Plan, file_stem};
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use starling::files::{FileError, write_atomic};
use starling::graph::{Graph, Mixing, MixingKind};
use starling::network::Network;
use starling::problem::{ProblemSpec, Role, optimum};
use starling::roster::AlgorithmSpec;
use starling::simulate::tuning::{Certified, Goal, Tuned, coarse, fine};
use starling::simulate::{Options, Status, Trace};
use std::cell::OnceCell;
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
    /// The best opponent with one gradient per iteration, its step chosen with hindsight for every test problem.
    Oracle,
}

/// A contestant before it is tuned.
struct Entrant {
    kind: Kind,
    /// The rule it is a seed of, else its own name.
    group: String,
    contestant: Contestant,
    /// Of everything that determines its figures, but for which targets it is tuned finely.
    key: String,
}

/// A contestant as it runs, and the targets that it runs for, largest first.
struct Runner {
    contestant: Contestant,
    targets: Vec<f64>,
}

/// An entrant's runners, and how tuning went, target by target.
type Lineup = (Vec<Runner>, Vec<(Tuning, Tuned)>);

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
    /// Rows of the agent that has most, on the first problem.
    pub rows: usize,
    /// The largest spectral gap `1 − σ` among the mixing matrices that tuning chooses from.
    pub spectral_gap: f64,
    /// `κ` of every test problem on the coordinates that are free at `x*`.
    pub conditions: Vec<Option<f64>>,
    /// The problem whose `κ` is the median: curves are drawn of it.
    pub median_problem: usize,
    /// What sending the data would take, on the first problem.
    pub direct: Direct,
}

/// How a run went for one target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Rounds to the target, if it was reached.
    pub rounds: Option<u64>,
    pub floats_sent: Option<u64>,
    /// Of one agent.
    pub gradient_evaluations: Option<u64>,
    /// Local minimisations of one agent.
    pub local_solves: Option<u64>,
    /// Gap of the worst agent there, where it was measured: at the smallest target of a run.
    pub worst_gap: Option<f64>,
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
    /// Tuning problems missed.
    pub missed: usize,
    /// Whether it was among the opponents that are tuned finely.
    pub finalist: bool,
    /// Whether a run twice as long ends below the target on every tuning problem (finalists only).
    pub settled: bool,
    pub on_grid_edge: Vec<String>,
    pub candidates: usize,
}

/// A contestant's figures for one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AtTarget {
    pub target: f64,
    /// The method as it ran on the first test problem.
    pub algorithm: String,
    pub tuning: Option<Tuning>,
    /// What it was tuned to.
    tuned: Option<Tuned>,
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
    /// Whether its agents minimise by themselves in every iteration.
    pub solves_locally: bool,
    pub outside_envelope: Vec<String>,
    pub targets: Vec<AtTarget>,
    /// Largest certificate of a gap over the test problems.
    pub gap_certificate: f64,
    /// Rounds and gap on the median problem, as run for the smallest target.
    pub curve: Vec<(u64, f64)>,
}

/// A method tuned coarsely, target by target.
#[derive(Serialize, Deserialize)]
struct Heat {
    key: String,
    tuned: Vec<Tuned>,
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

/// Steps of the oracle, in units of the tuned one.
const HINDSIGHT: [f64; 9] = [0.4, 0.55, 0.7, 0.85, 1.0, 1.15, 1.35, 1.6, 2.0];

/// The oracle's name.
pub const ORACLE: &str = "oracle";

/// Raised whenever a method, the tuner or a metric changes, so that figures of before are not kept.
const FIGURES: u32 = 4;

/// The problems of a cell, drawn when somebody needs them: all of it may be kept from before.
struct Problems<'a> {
    cell: &'a Cell,
    bar: &'a ProgressBar,
    tests: OnceCell<Vec<Certified>>,
    tuning: OnceCell<Vec<Certified>>,
}

impl Problems<'_> {
    fn tests(&self) -> anyhow::Result<&[Certified]> {
        if let Some(tests) = self.tests.get() {
            return Ok(tests);
        }
        let plan = &self.cell.plan;
        self.bar
            .set_message(format!("{}: test problems", plan.name));
        let tests = test_problems(&plan.problem, &self.cell.graph, plan.trials, plan.seed)?;
        Ok(self.tests.get_or_init(|| tests))
    }

    fn tuning(&self) -> anyhow::Result<&[Certified]> {
        if let Some(tuning) = self.tuning.get() {
            return Ok(tuning);
        }
        let plan = &self.cell.plan;
        self.bar
            .set_message(format!("{}: tuning problems", plan.name));
        let graph = &self.cell.graph;
        let tuning = problems(&plan.tuning, graph, plan.tuning_problems, plan.seed)?;
        Ok(self.tuning.get_or_init(|| tuning))
    }
}

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
        let opponents: Vec<String> = plan.opponents.iter().map(|m| m.to_string()).collect();
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
            // Constants start from what the others were tuned to.
            if contestant.method.constants().is_some() {
                all["relatives"] = opponents.join(" ").into();
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
        for method in &plan.opponents {
            let kind = match method.about().published {
                true => Kind::Published,
                false => Kind::Rung,
            };
            let name = method.to_string();
            let contestant = Contestant {
                name: name.clone(),
                ..Contestant::handcrafted(method.clone(), None)
            };
            entrants.push(entrant(kind, &name, contestant, name.clone()));
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

    /// How many contestants, without the oracle.
    pub fn contestants(&self) -> usize {
        self.entrants.len()
    }

    fn opponents(&self) -> impl Iterator<Item = &Entrant> {
        self.entrants.iter().filter(|e| e.contestant.rule.is_none())
    }

    /// Runs to make; either stage of tuning for a target counts as much as running for it.
    pub fn work(&self) -> u64 {
        let opponents = self.opponents().count() as u64;
        let rules = self.entrants.len() as u64 - opponents;
        (rules + opponents * 3 * self.plan.targets.len() as u64) * self.plan.trials
    }

    fn file(&self, folder: &str, contestant: &str) -> PathBuf {
        let name = file_stem(contestant);
        self.out
            .join(format!("{folder}/{}/{name}.json", self.plan.name))
    }

    /// Measures what is not kept from an earlier bench; with it, how many contestants were. Ctrl-C ends it between two runs,
    /// and what was finished stays.
    pub fn run(
        &self,
        fresh: bool,
        bar: &ProgressBar,
    ) -> anyhow::Result<(Ground, Vec<Measured>, usize)> {
        let plan = &self.plan;
        let problems = Problems {
            cell: self,
            bar,
            tests: OnceCell::new(),
            tuning: OnceCell::new(),
        };
        let heats = self.heats(&problems, fresh, bar)?;
        let finalists = self.finalists(&heats);
        let flags = |name: &str| -> Vec<bool> {
            let of_target = |names: &Vec<String>| names.iter().any(|n| n == name);
            finalists.iter().map(of_target).collect()
        };
        let key = |entrant: &Entrant| match entrant.contestant.rule {
            Some(_) => entrant.key.clone(),
            None => {
                let name = &entrant.contestant.name;
                let all = (&entrant.key, flags(name), self.origins(entrant, &finalists));
                sha256(serde_json::json!(all).to_string())
            }
        };
        let keys: Vec<String> = self.entrants.iter().map(key).collect();
        let keep = |(entrant, key): (&Entrant, &String)| {
            let fits = |m: &Measured| m.key == *key && m.targets.len() == plan.targets.len();
            kept(&self.file("cells", &entrant.contestant.name), fits).filter(|_| !fresh)
        };
        let mut measured: Vec<Option<Measured>> =
            self.entrants.iter().zip(&keys).map(keep).collect();
        // Seconds of another day are not compared with today's.
        if plan.seconds && measured.iter().any(Option::is_none) {
            measured.fill_with(|| None);
        }
        let skipped = measured.iter().flatten().count();
        for (entrant, _) in self
            .entrants
            .iter()
            .zip(&measured)
            .filter(|(_, m)| m.is_some())
        {
            bar.inc(match entrant.contestant.rule {
                Some(_) => plan.trials,
                None => 2 * plan.trials * plan.targets.len() as u64,
            });
        }
        let ground_file = self.out.join(format!("problems/{}.json", plan.name));
        let known = kept(&ground_file, |g: &Ground| g.key == self.key).filter(|_| !fresh);
        let ground = match known {
            Some(ground) => ground,
            None => {
                let ground = self.ground(problems.tests()?)?;
                write_atomic(&ground_file, &serde_json::to_vec_pretty(&ground)?)?;
                ground
            }
        };
        let mut waiting = Vec::new();
        // What every opponent so far was tuned to, target by target.
        let mut before: Vec<Vec<Tuned>> = Vec::new();
        for (number, entrant) in self.entrants.iter().enumerate() {
            if let Some(kept) = &measured[number] {
                if entrant.contestant.rule.is_none() {
                    before.push(
                        kept.targets
                            .iter()
                            .filter_map(|at| at.tuned.clone())
                            .collect(),
                    );
                }
                continue;
            }
            let name = &entrant.contestant.name;
            let tuned = match heats.iter().find(|(of, _)| of == name) {
                Some((_, heat)) => {
                    let flags = flags(name);
                    let tuned = self.finely(entrant, heat, &flags, &before, &problems, bar)?;
                    before.push(tuned.clone());
                    Some((tuned, flags))
                }
                None => None,
            };
            let lineup = self.lineup(entrant, tuned, &problems.tests()?[0])?;
            if plan.seconds {
                waiting.push((number, lineup));
                continue;
            }
            bar.set_message(format!("{}: running {name}", plan.name));
            let tests = problems.tests()?;
            let traces = lineup.0.iter();
            let traces = traces.map(|runner| self.traces(runner, tests, bar));
            let traces = traces.collect::<anyhow::Result<_>>()?;
            let key = keys[number].clone();
            measured[number] =
                Some(self.keep(entrant, key, tests, lineup, traces, ground.median_problem)?);
        }
        if !waiting.is_empty() {
            let tests = problems.tests()?;
            let lineups: Vec<&Lineup> = waiting.iter().map(|(_, lineup)| lineup).collect();
            let traces = self.in_turn(&lineups, tests, bar)?;
            for ((number, lineup), traces) in waiting.into_iter().zip(traces) {
                let (entrant, key) = (&self.entrants[number], keys[number].clone());
                measured[number] =
                    Some(self.keep(entrant, key, tests, lineup, traces, ground.median_problem)?);
            }
        }
        let mut measured: Vec<Measured> = measured.into_iter().flatten().collect();
        if !plan.seconds {
            measured.extend(self.oracle(&measured, &problems, fresh, bar)?);
        }
        Ok((ground, measured, skipped))
    }

    /// What the figures of an opponent depend on beside itself: of Constants, who the finalists are.
    fn origins<'f>(&self, entrant: &Entrant, finalists: &'f [Vec<String>]) -> &'f [Vec<String>] {
        match entrant.contestant.method.constants() {
            Some(_) => finalists,
            None => &[],
        }
    }

    fn goal(&self, target: f64) -> Goal {
        Goal {
            target,
            rounds: self.plan.steps,
        }
    }

    /// Every opponent by name, tuned coarsely for every target.
    fn heats(
        &self,
        problems: &Problems,
        fresh: bool,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<(String, Vec<Tuned>)>> {
        let plan = &self.plan;
        let mut heats: Vec<(String, Vec<Tuned>)> = Vec::new();
        for entrant in self.opponents() {
            let name = &entrant.contestant.name;
            let file = self.file("tuning", name);
            let fits =
                |heat: &Heat| heat.key == entrant.key && heat.tuned.len() == plan.targets.len();
            let heat = match kept(&file, fits).filter(|_| !fresh) {
                Some(heat) => heat,
                None => {
                    let of_target = |(k, &target): (usize, &f64)| {
                        bar.set_message(format!("{}: {name} for {target:e}, coarsely", plan.name));
                        let relatives: Vec<Tuned> =
                            heats.iter().map(|(_, tuned)| tuned[k].clone()).collect();
                        let (method, goal) = (&entrant.contestant.method, self.goal(target));
                        let go_on = || {
                            bar.tick();
                            !stop::requested()
                        };
                        let on = problems.tuning()?;
                        anyhow::Ok(coarse(method, &relatives, on, &self.graph, goal, &go_on)?)
                    };
                    let tuned = plan.targets.iter().enumerate().map(of_target);
                    let heat = Heat {
                        key: entrant.key.clone(),
                        tuned: tuned.collect::<anyhow::Result<_>>()?,
                    };
                    write_atomic(&file, &serde_json::to_vec_pretty(&heat)?)?;
                    heat
                }
            };
            bar.inc(plan.trials * plan.targets.len() as u64);
            heats.push((name.clone(), heat.tuned));
        }
        Ok(heats)
    }

    /// For every target the opponents with the lowest price after the coarse stage.
    fn finalists(&self, heats: &[(String, Vec<Tuned>)]) -> Vec<Vec<String>> {
        let of_target = |k: usize| {
            let mut ranked: Vec<(f64, &String)> = heats
                .iter()
                .map(|(name, tuned)| (tuned[k].price, name))
                .collect();
            ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
            let first = ranked.iter().take(self.plan.finalists);
            first.map(|(_, name)| (*name).clone()).collect()
        };
        (0..self.plan.targets.len()).map(of_target).collect()
    }

    /// An opponent tuned for every target: finely where it is a finalist, those before it known.
    fn finely(
        &self,
        entrant: &Entrant,
        heat: &[Tuned],
        flags: &[bool],
        before: &[Vec<Tuned>],
        problems: &Problems,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Tuned>> {
        let plan = &self.plan;
        let mut all = Vec::new();
        for (k, (&target, coarse)) in plan.targets.iter().zip(heat).enumerate() {
            anyhow::ensure!(!stop::requested(), "stopped while tuning");
            if flags[k] {
                let name = &entrant.contestant.name;
                bar.set_message(format!("{}: {name} for {target:e}, finely", plan.name));
                let relatives = before.iter().filter_map(|tuned| tuned.get(k).cloned());
                let relatives: Vec<Tuned> = relatives.collect();
                let go_on = || {
                    bar.tick();
                    !stop::requested()
                };
                let (method, goal) = (&entrant.contestant.method, self.goal(target));
                let (on, graph) = (problems.tuning()?, &self.graph);
                all.push(fine(coarse, method, &relatives, on, graph, goal, &go_on)?);
            } else {
                all.push(coarse.clone());
            }
            bar.inc(plan.trials);
        }
        Ok(all)
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
        let first = &tests[0].0;
        let rows = first.shards().iter().map(|shard| shard.targets.len());
        Ok(Ground {
            key: self.key.clone(),
            agents: self.graph.agents(),
            edges: self.graph.edges().len(),
            dimension: first.dimension(),
            rows: rows.max().unwrap_or(0),
            spectral_gap,
            median_problem: order[order.len() / 2],
            conditions,
            direct: Direct::new(first, &self.graph),
        })
    }

    /// Who runs, and for which targets: one run serves all targets that tuning gave the same parameters for. With how tuning
    /// went, target by target; a rule is not tuned.
    fn lineup(
        &self,
        entrant: &Entrant,
        tuned: Option<(Vec<Tuned>, Vec<bool>)>,
        (first, _): &Certified,
    ) -> anyhow::Result<Lineup> {
        let plan = &self.plan;
        let contestant = &entrant.contestant;
        let Some((tuned, flags)) = tuned else {
            let rule = Runner {
                contestant: contestant.clone(),
                targets: plan.targets.clone(),
            };
            return Ok((vec![rule], Vec::new()));
        };
        let (mut runners, mut tunings): (Vec<Runner>, _) = (Vec::new(), Vec::new());
        for ((&target, tuned), finalist) in plan.targets.iter().zip(tuned).zip(flags) {
            let tuning = Tuning {
                rounds: tuned.rounds,
                missed: tuned.missed,
                finalist,
                settled: tuned.settled,
                on_grid_edge: tuned.on_edge.clone(),
                candidates: tuned.tried,
            };
            tunings.push((tuning, tuned.clone()));
            let as_run = tuned.at(first);
            match runners
                .iter_mut()
                .find(|r| r.contestant.at(first) == as_run)
            {
                Some(runner) => runner.targets.push(target),
                None => runners.push(Runner {
                    contestant: Contestant::handcrafted(contestant.method.clone(), Some(tuned)),
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
        lineups: &[&Lineup],
        tests: &[Certified],
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Vec<Vec<Trace>>>> {
        bar.set_message(format!("{}: running all in turn", self.plan.name));
        let places = |(runners, _): &&Lineup| vec![Vec::with_capacity(tests.len()); runners.len()];
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

    /// What the traces, runner by runner, say; kept in its file.
    fn keep(
        &self,
        entrant: &Entrant,
        key: String,
        tests: &[Certified],
        (runners, tunings): Lineup,
        traces: Vec<Vec<Trace>>,
        median_problem: usize,
    ) -> anyhow::Result<Measured> {
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
                    tuned: None,
                    outcomes: traces
                        .iter()
                        .map(|t| outcome(t, target, plan.seconds))
                        .collect(),
                }
            }));
        }
        targets.sort_by(|a, b| b.target.total_cmp(&a.target));
        for (at, (tuning, tuned)) in targets.iter_mut().zip(tunings) {
            (at.tuning, at.tuned) = (Some(tuning), Some(tuned));
        }
        let contestant = &entrant.contestant;
        let figures = Measured {
            key,
            contestant: contestant.name.clone(),
            kind: entrant.kind,
            group: entrant.group.clone(),
            solves_locally: contestant.method.about().solves_locally,
            outside_envelope: contestant.outside_envelope(&tests[0].0),
            targets,
            gap_certificate,
            curve,
        };
        let file = self.file("cells", &contestant.name);
        write_atomic(&file, &serde_json::to_vec_pretty(&figures)?)?;
        Ok(figures)
    }

    /// The opponent that came out best among those with one gradient per iteration, with the best step for every test problem
    /// by itself: how much a constant step, however well chosen, leaves to be gained by steps that adapt. `None` without one.
    fn oracle(
        &self,
        measured: &[Measured],
        problems: &Problems,
        fresh: bool,
        bar: &ProgressBar,
    ) -> anyhow::Result<Option<Measured>> {
        let plan = &self.plan;
        let eligible =
            |m: &&Measured| matches!(m.kind, Kind::Published | Kind::Rung) && !m.solves_locally;
        let mut targets = Vec::new();
        let mut key = vec![self.key.clone()];
        for (k, target) in plan.targets.iter().enumerate() {
            let best = measured.iter().filter(eligible).min_by_key(|m| m.rank(k));
            let Some(best) = best else {
                return Ok(None);
            };
            key.extend([best.key.clone(), target.to_string()]);
            targets.push((k, *target, best));
        }
        let key = sha256(key.join(" "));
        let file = self.file("cells", ORACLE);
        if let Some(known) = kept(&file, |m: &Measured| m.key == key).filter(|_| !fresh) {
            return Ok(Some(known));
        }
        bar.set_message(format!("{}: steps with hindsight", plan.name));
        let mut figures = Measured {
            key,
            contestant: ORACLE.into(),
            kind: Kind::Oracle,
            group: ORACLE.into(),
            solves_locally: false,
            outside_envelope: Vec::new(),
            targets: Vec::new(),
            gap_certificate: 0.0,
            curve: Vec::new(),
        };
        for (k, target, best) in targets {
            let method = AlgorithmSpec::parse("opponent", &best.contestant)?;
            let tests = problems.tests()?;
            let Some(tuned) = &best.targets[k].tuned else {
                return Ok(None);
            };
            let with = |scale: f64| Runner {
                contestant: Contestant::handcrafted(method.clone(), Some(tuned.scaled(scale))),
                targets: vec![target],
            };
            let hidden = ProgressBar::hidden();
            let mut outcomes: Vec<Outcome> = best.targets[k].outcomes.clone();
            for runner in HINDSIGHT.map(with) {
                let traces = self.traces(&runner, tests, &hidden)?;
                for (kept, trace) in outcomes.iter_mut().zip(&traces) {
                    figures.gap_certificate = figures.gap_certificate.max(trace.gap_certificate);
                    let own = outcome(trace, target, false);
                    let rounds = |o: &Outcome| o.rounds.unwrap_or(u64::MAX);
                    if rounds(&own) < rounds(kept) {
                        *kept = own;
                    }
                }
            }
            let algorithm = format!("{} with the best step of every problem", best.contestant);
            figures.targets.push(AtTarget {
                target,
                algorithm,
                tuning: None,
                tuned: None,
                outcomes,
            });
        }
        write_atomic(&file, &serde_json::to_vec_pretty(&figures)?)?;
        Ok(Some(figures))
    }
}

impl Measured {
    /// By which the best for target number `k` is the least: median rounds, then misses.
    pub fn rank(&self, k: usize) -> (u64, usize) {
        let outcomes = self.targets[k].outcomes.iter();
        let misses = outcomes.filter(|o| o.rounds.is_none()).count();
        (self.median(k).unwrap_or(u64::MAX), misses)
    }

    /// Median rounds to target number `k`, the upper one of two.
    pub fn median(&self, k: usize) -> Option<u64> {
        let mut rounds: Vec<u64> = self.targets[k]
            .outcomes
            .iter()
            .map(|o| o.rounds.unwrap_or(u64::MAX))
            .collect();
        rounds.sort_unstable();
        rounds
            .get(rounds.len() / 2)
            .copied()
            .filter(|r| *r != u64::MAX)
    }
}

fn outcome(trace: &Trace, target: f64, seconds: bool) -> Outcome {
    let rounds = trace.rounds_to(target);
    let sample = rounds.and_then(|r| trace.samples.iter().find(|s| s.rounds == r));
    Outcome {
        rounds,
        floats_sent: sample.map(|s| s.floats_sent),
        gradient_evaluations: sample.map(|s| s.gradient_evaluations),
        local_solves: sample.map(|s| s.local_solves),
        worst_gap: sample.and_then(|s| s.worst_gap),
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
