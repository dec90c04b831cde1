//! Recipe = graphs × problem families × rule × stages, as written in RON.

use super::meta_loss::MetaLoss;
use crate::graph::GraphSpec;
use crate::problem::ProblemSpec;
use crate::rule::{Constants, mlp::MAX_WIDTH, shared::Ranges};
use serde::{Deserialize, Serialize};

/// What is trained on what, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The rule.
    pub rule: RuleRecipe,
    /// Graphs; every batch draws one. `milodo` takes exactly one.
    pub graphs: Vec<GraphSpec>,
    /// Problem families; every batch draws one.
    pub problems: Vec<ProblemSpec>,
    /// Meta-loss.
    #[serde(default)]
    pub meta_loss: MetaLoss,
    /// The curriculum, in order.
    pub stages: Vec<Stage>,
    /// Mean relative gap (geometric, over the problems) below which a batch is solved and ends before its horizon: what comes after
    /// it is not trained for. As small as f32 iterates get if left out.
    #[serde(default = "default_target", skip_serializing_if = "is_default_target")]
    pub target: f64,
    /// Largest global norm of a meta-gradient; longer ones are shortened to it.
    #[serde(default = "default_clip")]
    pub gradient_clip: f64,
    /// Record only `√truncation` steps at a time and recompute the others: less memory for one more forward pass.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Weight decay (added to the gradient).
    #[serde(default)]
    pub weight_decay: f64,
    /// Share that the running mean of the parameters keeps at every meta-step; the mean is what is validated and exported.
    /// 0: the newest parameters themselves.
    #[serde(default)]
    pub averaging: f64,
    /// How the best rule is chosen.
    #[serde(default)]
    pub validation: Validation,
    /// Seed of everything drawn; `--seed` replaces it.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

fn default_clip() -> f64 {
    1.0
}
fn default_target() -> f64 {
    1e-11
}
/// Left out where it is the default: recipes from before it was there keep their hash.
fn is_default_target(target: &f64) -> bool {
    *target == default_target()
}
fn default_seed() -> u64 {
    1
}

/// Which rule, and where it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum RuleRecipe {
    /// One node and one edge network.
    Shared {
        /// Widths of the hidden layers; empty: constants only.
        #[serde(default = "default_hidden")]
        hidden: Vec<usize>,
        /// Where the constants start; what is left out is at its default.
        #[serde(default, with = "SomeConstants")]
        constants: Constants,
        /// How far the networks move them; what is left out is at its default.
        #[serde(default, with = "SomeRanges")]
        ranges: Ranges,
        /// Full meta-gradient (`true`), or only through the update and not through what the networks see.
        #[serde(default)]
        track_features: bool,
        /// Steps between two evaluations of the networks, in training and when the rule runs.
        #[serde(default = "default_refresh")]
        refresh: u32,
        /// Whether the networks see the conditioning features (see `rule::features`).
        #[serde(default = "default_conditioning")]
        conditioning: bool,
    },
    /// The published rule, networks per agent.
    Milodo {
        /// `P` at the start; `S = 1/(2(deg+1)·step)`, `C = 1/(2(deg+1))`.
        step: f64,
    },
}

/// [`Constants`] of which some may be left out: of a recipe, never of a rule file.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "Constants",
    deny_unknown_fields,
    default = "Constants::default"
)]
struct SomeConstants {
    primal: f64,
    momentum: f64,
    gradient_difference: f64,
    extrapolation: f64,
    dual: f64,
    mixing: f64,
    memory: f64,
}

/// [`Ranges`] of which some may be left out.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Ranges", deny_unknown_fields, default = "Ranges::default")]
struct SomeRanges {
    primal: f64,
    momentum: f64,
    gradient_difference: f64,
    extrapolation: f64,
    dual: f64,
    mixing: f64,
    memory: f64,
}

fn default_refresh() -> u32 {
    1
}
fn default_conditioning() -> bool {
    true
}
fn default_hidden() -> Vec<usize> {
    vec![16, 16]
}

/// One stage of the curriculum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Steps per truncation window; one meta-step each.
    pub truncation: usize,
    /// Steps that a batch is unrolled for.
    pub horizon: usize,
    /// Problems per batch.
    pub batch: usize,
    /// Batches.
    pub batches: usize,
}

/// How the best rule is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Problems per (graph, family) pair.
    pub problems: usize,
    /// Batches between two validations.
    pub every: usize,
    /// Steps, as a multiple of the stage's horizon.
    pub horizon_factor: usize,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            problems: 4,
            every: 10,
            horizon_factor: 2,
        }
    }
}

/// The largest of every count in a recipe: products of two of them stay exact.
const MAX_NUMBER: usize = 1_000_000;

impl Recipe {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// The first that is out of range: name, value, expectation.
    pub fn check(&self) -> Result<(), String> {
        let need = |ok: bool, message: String| if ok { Ok(()) } else { Err(message) };
        need(
            !self.graphs.is_empty(),
            "graphs is empty, expected at least one graph".into(),
        )?;
        need(
            !self.problems.is_empty(),
            "problems is empty, expected at least one family".into(),
        )?;
        for problem in &self.problems {
            let by_share = matches!(
                problem,
                ProblemSpec::Data {
                    l1_share: Some(_),
                    ..
                }
            );
            need(
                !by_share,
                format!("{problem}: l1_share differs from draw to draw, expected l1"),
            )?;
        }
        need(
            !self.stages.is_empty(),
            "stages is empty, expected at least one stage".into(),
        )?;
        need(
            self.gradient_clip.is_finite() && self.gradient_clip > 0.0,
            format!(
                "gradient_clip is {}, expected a finite number > 0",
                self.gradient_clip
            ),
        )?;
        need(
            self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            format!(
                "weight_decay is {}, expected a finite number ≥ 0",
                self.weight_decay
            ),
        )?;
        need(
            (0.0..1.0).contains(&self.averaging),
            format!(
                "averaging is {}, expected at least 0 and below 1",
                self.averaging
            ),
        )?;
        need(
            self.target > 0.0 && self.target < 1.0,
            format!("target is {}, expected a gap between 0 and 1", self.target),
        )?;
        let v = &self.validation;
        need(
            [v.problems, v.every, v.horizon_factor]
                .iter()
                .all(|n| (1..=MAX_NUMBER).contains(n)),
            format!("validation is {v:?}, expected numbers from 1 to {MAX_NUMBER}"),
        )?;
        for (k, s) in self.stages.iter().enumerate() {
            need(
                s.learning_rate.is_finite() && s.learning_rate > 0.0,
                format!(
                    "learning_rate of stage {} is {}, expected a finite number > 0",
                    k + 1,
                    s.learning_rate
                ),
            )?;
            for (name, value) in [
                ("truncation", s.truncation),
                ("horizon", s.horizon),
                ("batch", s.batch),
                ("batches", s.batches),
            ] {
                need(
                    (1..=MAX_NUMBER).contains(&value),
                    format!(
                        "{name} of stage {} is {value}, expected 1 to {MAX_NUMBER}",
                        k + 1
                    ),
                )?;
            }
            need(
                s.truncation <= s.horizon,
                format!(
                    "truncation of stage {} is {}, expected at most its horizon {}",
                    k + 1,
                    s.truncation,
                    s.horizon
                ),
            )?;
        }
        match &self.rule {
            RuleRecipe::Shared {
                hidden, refresh, ..
            } => {
                need(
                    hidden.iter().all(|w| (1..=MAX_WIDTH).contains(w)),
                    format!("hidden is {hidden:?}, expected widths from 1 to {MAX_WIDTH}"),
                )?;
                for (k, s) in self.stages.iter().enumerate() {
                    need(
                        hidden.is_empty() || s.truncation >= *refresh as usize,
                        format!(
                            "truncation of stage {} is {}, expected at least refresh {refresh}: a window in which the networks \
                             are not asked teaches them nothing",
                            k + 1,
                            s.truncation
                        ),
                    )?;
                }
                Ok(())
            }
            RuleRecipe::Milodo { step } => {
                need(
                    step.is_finite() && *step > 0.0,
                    format!("step is {step}, expected a finite number > 0"),
                )?;
                need(
                    self.graphs.len() == 1,
                    format!(
                        "milodo is tied to one graph, the recipe names {}",
                        self.graphs.len()
                    ),
                )
            }
        }
    }

    /// Batches of all stages together.
    pub fn batches(&self) -> u64 {
        self.stages.iter().map(|s| s.batches as u64).sum()
    }

    /// The stage that batch number `batch` (from 0) belongs to.
    pub fn stage(&self, batch: u64) -> Option<(usize, &Stage)> {
        let mut before = 0;
        self.stages.iter().enumerate().find(|(_, s)| {
            before += s.batches as u64;
            batch < before
        })
    }

    /// Longest horizon of all stages.
    pub fn horizon(&self) -> usize {
        self.stages.iter().map(|s| s.horizon).max().unwrap_or(1)
    }
}
