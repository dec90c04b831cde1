//! The training loop: fresh problems → unroll a window → meta-gradient → clip → Adam → next window; now and then validate.

use super::batch::{Batch, Place};
use super::checkpoint::{Folder, Moments, Position, recipe_hash};
use super::chunks::chunk_for_device;
use super::device::TrainDevice;
use super::error::TrainError;
use super::milodo::MilodoModule;
use super::parameters;
use super::recipe::{Recipe, RuleRecipe, Stage};
use super::shared::{SharedModule, initial};
use super::unroll::{RuleModule, Tape, windows};
use crate::graph::Graph;
use crate::network::Network;
use crate::problem::{Optimum, Problem, ProblemSpec, Role, optimum};
use crate::random;
use crate::rule::frozen::start_frozen;
use crate::rule::{FrozenRule, Milodo, Provenance, Structure};
use crate::simulate::{Options, Status, simulate};
use burn::tensor::DType;
use rand::RngExt;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What an observer sees after every window.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Stage, from 1.
    pub stage: usize,
    /// Batches finished, and in all.
    pub batches: (u64, u64),
    /// Meta-steps made.
    pub meta_steps: u64,
    /// Meta-loss of the window.
    pub meta_loss: f64,
    /// Mean `log₁₀` relative gap at the window's end.
    pub gap: f64,
    /// Global norm of the meta-gradient before clipping.
    pub gradient_norm: f64,
    /// Agent-coordinate-steps per second.
    pub throughput: f64,
    /// Windows skipped so far because their gradient was not finite.
    pub skipped: u64,
    /// Validation of the rule that training started from: mean `log₁₀` gap.
    pub start: Option<f64>,
    /// Newest validation: mean `log₁₀` gap, if one was made after this window.
    pub validation: Option<f64>,
    /// Best validation so far.
    pub best: Option<f64>,
}

/// How training goes.
pub struct Settings<'a> {
    /// Checkpoint folder.
    pub out: &'a Path,
    /// Continue from the checkpoint there.
    pub resume: bool,
    /// The device.
    pub device: TrainDevice,
    /// Called after every window; `false` stops: the batch under way is dropped, the checkpoint before it is written.
    pub observe: &'a mut dyn FnMut(&Progress) -> bool,
    /// Given, at every border between two batches, what saves the checkpoint of that border: for whoever must end training in the
    /// middle of the next batch, from another thread. `None` once training saves by itself.
    pub border: &'a mut dyn FnMut(Option<Save>),
}

/// Writes a checkpoint; returns its position.
pub type Save = Box<dyn FnOnce() -> Result<Position, TrainError> + Send>;

/// How training ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all stages were finished.
    pub finished: bool,
    /// Where it stands.
    pub position: Position,
    /// The best rule.
    pub best: PathBuf,
}

const SAVE_EVERY: Duration = Duration::from_secs(30);
/// Score of a validation problem on which the rule diverged.
const DIVERGED: f64 = 10.0;
/// Training fails once more than this share of its windows was skipped …
const SKIPPED_SHARE: f64 = 0.25;
/// … of at least so many, or at its end.
const FIRST_WINDOWS: u64 = 40;

/// Trains what the recipe says.
///
/// # Errors
/// A recipe out of range, data that cannot be read, an unwritable folder, a checkpoint that does not fit.
pub fn train<'a>(recipe: &'a Recipe, settings: Settings<'a>) -> Result<Outcome, TrainError> {
    recipe.check().map_err(TrainError::Recipe)?;
    let device = settings.device.device.clone();
    match &recipe.rule {
        RuleRecipe::Shared {
            hidden,
            constants,
            ranges,
            track_features,
            refresh,
            conditioning,
        } => {
            let mut start = initial(
                *constants,
                *ranges,
                hidden,
                recipe.horizon() as u32,
                recipe.seed,
            );
            if hidden.is_empty() {
                (start.node, start.edge) = (None, None);
            }
            start.refresh = *refresh;
            start.conditioning = *conditioning;
            start.check().map_err(TrainError::Recipe)?;
            let module = SharedModule::new(&start, &device, DType::F32, *track_features);
            Trainer::new(recipe, settings, module)?.run()
        }
        RuleRecipe::Milodo { step } => {
            let graph = recipe.graphs[0].build(recipe.seed)?;
            let start = Milodo::initial(&graph, *step, recipe.seed);
            let module = MilodoModule::new(&start, &device, DType::F32);
            Trainer::new(recipe, settings, module)?.run()
        }
    }
}

/// What becomes of training after a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    /// Stopped at the end of the batch: it counts.
    Stop,
    /// Stopped in the middle of the batch: it is dropped whole.
    Drop,
}

struct Trainer<'a, M: RuleModule> {
    recipe: &'a Recipe,
    settings: Settings<'a>,
    folder: Folder,
    graphs: Vec<Graph>,
    validation: Vec<(usize, Problem, Optimum)>,
    /// The rule that training starts from.
    start: Structure,
    /// The best rule so far.
    best: Option<FrozenRule>,
    module: M,
    values: Vec<f64>,
    moments: Moments,
    position: Position,
}

impl<'a, M: RuleModule> Trainer<'a, M> {
    fn new(recipe: &'a Recipe, settings: Settings<'a>, module: M) -> Result<Self, TrainError> {
        let folder = Folder::new(settings.out);
        let graphs = recipe
            .graphs
            .iter()
            .map(|g| g.build(recipe.seed))
            .collect::<Result<Vec<_>, _>>()?;
        let mut validation = Vec::new();
        for (g, graph) in graphs.iter().enumerate() {
            for family in &recipe.problems {
                for trial in 0..recipe.validation.problems {
                    let problem = family.sample(
                        graph.agents(),
                        recipe.seed,
                        Role::Validation,
                        trial as u64,
                    )?;
                    chunk_for_device(&module, &settings.device, graph, &problem, 1)?;
                    let optimum = optimum::solve(&problem)?;
                    validation.push((g, problem, optimum));
                }
            }
        }
        let length = module.num_params();
        let fresh = Moments {
            first: vec![0.0; length],
            second: vec![0.0; length],
            average: parameters::values(&module),
        };
        let start = module.frozen();
        let (module, moments, position, best) = if settings.resume {
            folder.load(module, recipe)?
        } else {
            folder.clear()?;
            let position = Position {
                seed: recipe.seed,
                device: settings.device.name.clone(),
                ..Position::default()
            };
            folder.save(&module, &fresh, &position, None, recipe)?;
            folder.write_recipe(recipe)?;
            (module, fresh, position, None)
        };
        Ok(Self {
            values: parameters::values(&module),
            recipe,
            settings,
            folder,
            graphs,
            validation,
            start,
            best,
            module,
            moments,
            position,
        })
    }

    fn run(mut self) -> Result<Outcome, TrainError> {
        let total = self.recipe.batches();
        let mut saved = Instant::now();
        if let Some((_, stage)) = self.recipe.stage(self.position.batches)
            && self.position.horizon == 0
        {
            self.announce_border();
            // The start is the first of the best.
            self.measure_again(self.validation_horizon(stage))?;
        }
        while let Some((stage_index, stage)) = self.recipe.stage(self.position.batches) {
            let stage = *stage;
            self.announce_border();
            // A stopped batch is dropped whole: training continues from its start, as if nothing had happened.
            let before = (
                self.values.clone(),
                self.moments.clone(),
                self.position.clone(),
            );
            let flow = self.batch(stage_index, &stage, total)?;
            if flow == Flow::Drop {
                (self.values, self.moments, self.position) = before;
            }
            let p = &self.position;
            let too_many = p.skipped as f64 > SKIPPED_SHARE * p.meta_steps as f64;
            if too_many && (p.meta_steps >= FIRST_WINDOWS || p.batches == total) {
                let error = TrainError::Skipped {
                    skipped: p.skipped,
                    meta_steps: p.meta_steps,
                };
                self.save()?;
                return Err(error);
            }
            if flow != Flow::GoOn {
                self.save()?;
                let finished = self.position.batches == total;
                return Ok(self.outcome(finished));
            }
            if saved.elapsed() > SAVE_EVERY {
                self.save()?;
                saved = Instant::now();
            }
        }
        self.save()?;
        Ok(self.outcome(true))
    }

    /// One batch: fresh problems, unrolled window by window.
    fn batch(&mut self, stage_index: usize, stage: &Stage, total: u64) -> Result<Flow, TrainError> {
        let number = self.position.batches;
        let (graph, chunks) = self.draw(number, stage)?;
        let numbers = graph.agents()
            * chunks
                .iter()
                .map(|c| c.problems * c.dimension)
                .sum::<usize>();
        let mut states: Vec<M::State> = chunks.iter().map(|c| self.module.start(c)).collect();
        let mut done = 0;
        while done < stage.horizon {
            let steps = stage.truncation.min(stage.horizon - done);
            let clock = Instant::now();
            let parallel = self.settings.device.parallel;
            let tape = if self.recipe.gradient_checkpointing {
                Tape::Segments
            } else {
                Tape::Whole
            };
            let (window, next) = windows(
                &self.module,
                &chunks,
                states,
                steps,
                self.recipe.meta_loss,
                tape,
                parallel,
            );
            states = next;
            done += steps;
            self.position.meta_steps += 1;
            let norm = window.gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            if !(norm.is_finite() && window.loss.is_finite()) {
                self.position.skipped += 1;
                // At once, and then ever more rarely.
                if self.position.skipped.is_power_of_two() {
                    tracing::warn!(
                        "window {}: skipped, its loss is {} and its gradient's norm {norm}; {} of {} so far",
                        self.position.meta_steps,
                        window.loss,
                        self.position.skipped,
                        self.position.meta_steps
                    );
                }
            } else if norm > 0.0 {
                self.adam(&window.gradient, norm, stage.learning_rate);
                self.module = parameters::with_values(self.module.clone(), &self.values);
            } else {
                self.position.idle += 1;
            }
            let throughput = (numbers * steps) as f64 / clock.elapsed().as_secs_f64();
            // The states of a diverged unroll are of no use to the windows after it, and a solved one has nothing left to teach:
            // easy families take the share of the horizon that they need.
            let ended = !window.loss.is_finite() || window.last_gap < self.recipe.target.log10();
            let last_window = ended || done >= stage.horizon;
            let mut validation = None;
            if last_window {
                self.position.batches += 1;
                let end = self.position.batches == total;
                if self
                    .position
                    .batches
                    .is_multiple_of(self.recipe.validation.every as u64)
                    || end
                {
                    validation = Some(self.validate(stage)?);
                }
            }
            let progress = Progress {
                stage: stage_index + 1,
                batches: (self.position.batches, total),
                meta_steps: self.position.meta_steps,
                meta_loss: window.loss,
                gap: window.last_gap,
                gradient_norm: norm,
                throughput,
                skipped: self.position.skipped,
                start: self.position.start_score,
                validation,
                best: self.position.best_score,
            };
            let go_on = (self.settings.observe)(&progress);
            if !go_on {
                return Ok(if last_window { Flow::Stop } else { Flow::Drop });
            }
            if last_window {
                break;
            }
        }
        Ok(Flow::GoOn)
    }

    /// The graph and the problems of batch `number`, in chunks.
    fn draw(&self, number: u64, stage: &Stage) -> Result<(&Graph, Vec<Batch>), TrainError> {
        let mut rng = random::stream(self.recipe.seed, "train/choice", &[number]);
        let graph = &self.graphs[rng.random_range(0..self.graphs.len())];
        let family: &ProblemSpec =
            &self.recipe.problems[rng.random_range(0..self.recipe.problems.len())];
        let problems = (0..stage.batch as u64)
            .into_par_iter()
            .map(|k| {
                let trial = number * 1_000_003 + k;
                Ok(family.sample(graph.agents(), self.recipe.seed, Role::Train, trial)?)
            })
            .collect::<Result<Vec<Problem>, TrainError>>()?;
        let place = Place {
            device: self.settings.device.device.clone(),
            dtype: DType::F32,
        };
        let size = match problems.first() {
            Some(first) => {
                let device = &self.settings.device;
                chunk_for_device(&self.module, device, graph, first, problems.len())?
            }
            None => 1,
        };
        let chunks: Vec<Batch> = if self.recipe.meta_loss.needs_optimum() {
            let solved = problems
                .into_par_iter()
                .map(|problem| {
                    let optimum = optimum::solve(&problem)?;
                    Ok((problem, optimum))
                })
                .collect::<Result<Vec<_>, TrainError>>()?;
            solved
                .chunks(size)
                .map(|c| Batch::new(graph, c, &place))
                .collect::<Result<_, _>>()?
        } else {
            let alone: Vec<&Problem> = problems.iter().collect();
            alone
                .chunks(size)
                .map(|c| Batch::without_optima(graph, c, &place))
                .collect::<Result<_, _>>()?
        };
        Ok((graph, chunks))
    }

    /// Adam (Kingma & Ba 2015) on the clipped gradient, weight decay added to it.
    fn adam(&mut self, gradient: &[f64], norm: f64, learning_rate: f64) {
        const BETA: (f64, f64) = (0.9, 0.99);
        const EPSILON: f64 = 1e-8;
        self.position.adam_steps += 1;
        let t = self.position.adam_steps as i32;
        let scale = (self.recipe.gradient_clip / norm.max(1e-300)).min(1.0);
        let correction = (1.0 - BETA.0.powi(t), 1.0 - BETA.1.powi(t));
        // The mean forgets faster at first, when the parameters move most.
        let keep = self.recipe.averaging.min(1.0 - 1.0 / f64::from(t + 1));
        let Moments {
            first,
            second,
            average,
        } = &mut self.moments;
        for ((((value, mean), g), m), v) in self
            .values
            .iter_mut()
            .zip(average)
            .zip(gradient)
            .zip(first)
            .zip(second)
        {
            let g = scale * g + self.recipe.weight_decay * *value;
            // Rounded to f32, as the checkpoint stores them: resuming changes nothing.
            *m = f64::from((BETA.0 * *m + (1.0 - BETA.0) * g) as f32);
            *v = f64::from((BETA.1 * *v + (1.0 - BETA.1) * g * g) as f32);
            let step = learning_rate * (*m / correction.0) / ((*v / correction.1).sqrt() + EPSILON);
            *value = f64::from((*value - step) as f32);
            *mean = f64::from((keep * *mean + (1.0 - keep) * *value) as f32);
        }
    }

    /// Validates the averaged parameters; the best rule is written.
    fn validate(&mut self, stage: &Stage) -> Result<f64, TrainError> {
        let horizon = self.validation_horizon(stage);
        if self.position.horizon != horizon {
            self.measure_again(horizon)?;
        }
        let structure =
            parameters::with_values(self.module.clone(), &self.moments.average).frozen();
        let score = self.score(&structure, horizon)?;
        // A NaN is no better than anything.
        if self.position.best_score.is_none_or(|best| score < best) {
            let (batch, meta_steps) = (self.position.batches, self.position.meta_steps);
            self.keep_best(structure, score, batch, meta_steps)?;
        }
        Ok(score)
    }

    /// Steps of a validation: scores of different horizons are not compared.
    fn validation_horizon(&self, stage: &Stage) -> u64 {
        (stage.horizon * self.recipe.validation.horizon_factor) as u64
    }

    /// Measures the start and the best so far over another horizon.
    fn measure_again(&mut self, horizon: u64) -> Result<(), TrainError> {
        let start = self.start.clone();
        let score = self.score(&start, horizon)?;
        self.position.start_score = Some(score);
        self.position.horizon = horizon;
        match self.best.take() {
            Some(best) if self.position.best_batch > 0 => {
                let again = self.score(&best.structure, horizon)?;
                // One that does worse than the start over the longer horizon is not the best.
                if again < score {
                    let (batch, meta_steps) =
                        (self.position.best_batch, best.provenance.meta_steps);
                    return self.keep_best(best.structure, again, batch, meta_steps);
                }
            }
            _ => {}
        }
        self.keep_best(start, score, 0, 0)
    }

    /// Writes the best rule.
    fn keep_best(
        &mut self,
        structure: Structure,
        score: f64,
        batch: u64,
        meta_steps: u64,
    ) -> Result<(), TrainError> {
        let provenance = Provenance {
            meta_steps,
            ..self.provenance(score)
        };
        let rule = FrozenRule::new(structure, provenance);
        rule.write(&self.folder.best())?;
        self.position.best_score = Some(score);
        self.position.best_batch = batch;
        self.best = Some(rule);
        Ok(())
    }

    /// Mean score of a rule on the validation problems, in f64.
    fn score(&self, structure: &Structure, horizon: u64) -> Result<f64, TrainError> {
        let graphs = &self.graphs;
        let scores = self
            .validation
            .par_iter()
            .map(|(g, problem, optimum)| score(structure, &graphs[*g], problem, optimum, horizon))
            .collect::<Result<Vec<f64>, TrainError>>()?;
        Ok(scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// Says how to save the border at which training stands.
    fn announce_border(&mut self) {
        let (folder, module) = (self.folder.clone(), self.module.clone());
        let (values, moments) = (self.values.clone(), self.moments.clone());
        let (position, recipe, best) = (
            self.position.clone(),
            self.recipe.clone(),
            self.best.clone(),
        );
        (self.settings.border)(Some(Box::new(move || {
            let module = parameters::with_values(module, &values);
            folder.save(&module, &moments, &position, best.as_ref(), &recipe)
        })));
    }

    fn provenance(&self, validation: f64) -> Provenance {
        let agents = self.graphs.iter().map(Graph::agents);
        let dimensions = self.validation.iter().map(|(_, p, _)| p.dimension());
        let range = |v: &mut dyn Iterator<Item = usize>| {
            v.fold((usize::MAX, 0), |(a, b), x| (a.min(x), b.max(x)))
        };
        Provenance {
            name: self
                .folder
                .path()
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
            recipe_hash: recipe_hash(self.recipe),
            seed: self.recipe.seed,
            meta_steps: self.position.meta_steps,
            horizon: self.recipe.horizon() as u32,
            graphs: self.recipe.graphs.iter().map(ToString::to_string).collect(),
            problems: self
                .recipe
                .problems
                .iter()
                .map(ToString::to_string)
                .collect(),
            agents: range(&mut agents.into_iter()),
            dimension: range(&mut dimensions.into_iter()),
            validation: Some(validation),
            device: self.position.device.clone(),
        }
    }

    /// Saves the border at which training stands.
    fn save(&mut self) -> Result<(), TrainError> {
        self.module = parameters::with_values(self.module.clone(), &self.values);
        self.folder.save(
            &self.module,
            &self.moments,
            &self.position,
            self.best.as_ref(),
            self.recipe,
        )?;
        Ok(())
    }

    fn outcome(self, finished: bool) -> Outcome {
        (self.settings.border)(None);
        Outcome {
            finished,
            best: self.folder.best(),
            position: self.position,
        }
    }
}

/// Mean of `log₁₀` gap at a quarter, a half and the whole of the horizon; a diverged run counts as [`DIVERGED`].
fn score(
    structure: &Structure,
    graph: &Graph,
    problem: &Problem,
    optimum: &Optimum,
    horizon: u64,
) -> Result<f64, TrainError> {
    let mut network = Network::new(graph);
    let mut process = start_frozen("rule in training", structure.clone(), problem, &mut network)?;
    let options = Options {
        steps: horizon,
        targets: Vec::new(),
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
    if matches!(trace.status, Status::Diverged { .. }) {
        return Ok(DIVERGED);
    }
    let log = |gap: f64| gap.max(trace.gap_certificate).max(1e-15).log10();
    let at = |k: u64| {
        trace
            .samples
            .iter()
            .find(|s| s.iteration >= k)
            .map_or(f64::NAN, |s| log(s.gap))
    };
    let points = [horizon / 4, horizon / 2, horizon];
    Ok(points.iter().map(|k| at(*k)).sum::<f64>() / 3.0)
}
