//! Algorithms as written in RON, and how they are put to work on a problem and a graph.
//!
//! `ProxEd`, `ProxEd(step: 0.03)`, `Rule("models/lasso/rule.ron")`. A step that is not given comes from theory.

use super::{Constants, FrozenRule, RuleError, Shared, SharedRule, Structure, milodo::MilodoRule};
use crate::algorithm::{
    Abc, AbcKind, AdaptiveTracking, Admm, Chebyshev, Dapg, FastMix, Nids, Odapg, Opapc, Process,
    ProxDgd, ProxEdMomentum, Sonata, StepRule, diagonal_steps, start,
};
use crate::graph::{Graph, GraphError, Mixing, MixingKind};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The most numbers in one field of agents and edges (2 GiB of `f64`).
const MOST_NUMBERS: f64 = (1_u64 << 28) as f64;
/// The most rounds of one gossip: an iteration cannot be interrupted.
const MAX_MIXINGS: usize = 1_000;

/// Why an algorithm could not be put to work.
#[derive(Debug, thiserror::Error)]
pub enum AlgorithmError {
    /// An option outside its range.
    #[error("{algorithm}: {option} is {found}, expected {expected}")]
    Option {
        /// The algorithm's name.
        algorithm: String,
        /// The option's name in RON.
        option: &'static str,
        /// The value given.
        found: f64,
        /// The range allowed.
        expected: &'static str,
    },
    /// The mixing matrix could not be analysed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The rule file was refused.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The rule does not fit the problem or the graph.
    #[error("{rule}: {reason}")]
    Misfit {
        /// The rule.
        rule: String,
        /// What does not fit.
        reason: String,
    },
    /// Problem and graph disagree.
    #[error("the problem has {problem} agents, the graph {graph}")]
    Agents {
        /// Agents of the problem.
        problem: usize,
        /// Agents of the graph.
        graph: usize,
    },
}

/// An algorithm as written in RON. Steps are absolute; without one, theory's is taken (see [`AlgorithmSpec::step_origin`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum AlgorithmSpec {
    /// Decentralized proximal gradient descent (biased).
    ProxDgd {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// PG-EXTRA.
    PgExtra {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// NIDS; `step` multiplies `1/L_i`.
    Nids {
        /// `α_i L_i`
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// NIDS preconditioned by the diagonal of the local curvature.
    DiagonalNids {
        /// `α_ik L_i` where the coordinate has the largest curvature
        #[serde(default)]
        step: Option<f64>,
        /// `ω`, the share of the diagonal in the preconditioner
        #[serde(default)]
        blend: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Exact Diffusion with prox.
    ProxEd {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Exact Diffusion with prox and Chebyshev gossip.
    ProxEdFast {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// Rounds of the gossip.
        #[serde(default)]
        mixings: Option<usize>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Exact Diffusion with prox, momentum and Chebyshev gossip.
    ProxEdMomentum {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `β`
        #[serde(default)]
        beta: Option<f64>,
        /// Whether an agent drops its momentum where it points uphill.
        #[serde(default)]
        restart: Option<bool>,
        /// Rounds of the gossip.
        #[serde(default)]
        mixings: Option<usize>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// ATC gradient tracking with prox.
    ProxAtc {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Semi-ATC gradient tracking (NEXT).
    SemiAtc {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// DIGing.
    Diging {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Linearized ADMM with prox.
    Dlm {
        /// `α`
        #[serde(default)]
        step: Option<f64>,
        /// `αρ`, in units of `1/(2(1 + d_max))`
        #[serde(default)]
        penalty: Option<f64>,
    },
    /// Decentralized accelerated proximal gradient.
    Dapg {
        /// `η`
        #[serde(default)]
        step: Option<f64>,
        /// `a`; the momentum is `(1−a)/(1+a)`.
        #[serde(default)]
        a: Option<f64>,
        /// Rounds of each FastMix.
        #[serde(default)]
        mixings: Option<usize>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Optimal decentralized accelerated proximal gradient.
    Odapg {
        /// `η`
        #[serde(default)]
        step: Option<f64>,
        /// `τ`
        #[serde(default)]
        tau: Option<f64>,
        /// Rounds of each FastMix.
        #[serde(default)]
        mixings: Option<usize>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Optimal proximal alternating predictor-corrector; for smooth problems only.
    Opapc {
        /// `η`
        #[serde(default)]
        step: Option<f64>,
        /// `μ`
        #[serde(default)]
        mu: Option<f64>,
        /// Rounds of the gossip.
        #[serde(default)]
        mixings: Option<usize>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Over-relaxed edge ADMM with exact local solves.
    Admm {
        /// `ρ` in units of the mean `L_i`
        #[serde(default)]
        penalty: Option<f64>,
        /// `a`
        #[serde(default)]
        relaxation: Option<f64>,
    },
    /// Gradient tracking with exact local models.
    Sonata {
        /// `β` in units of the mean `L_i`
        #[serde(default)]
        similarity: Option<f64>,
        /// Rounds of each FastMix.
        #[serde(default)]
        mixings: Option<usize>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Gradient tracking with steps from the local curvature.
    AdGt {
        /// Multiplies every agent's own step.
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// Gradient tracking with local Barzilai–Borwein steps.
    BbTracking {
        /// Multiplies every agent's own step.
        #[serde(default)]
        step: Option<f64>,
        /// `W`
        #[serde(default)]
        mixing: MixingKind,
    },
    /// `shared` without networks.
    Constants {
        /// `P L_i`
        #[serde(default)]
        primal: Option<f64>,
        /// `β`
        #[serde(default)]
        momentum: Option<f64>,
        /// `δ`
        #[serde(default)]
        gradient_difference: Option<f64>,
        /// `γ`
        #[serde(default)]
        extrapolation: Option<f64>,
        /// `S`
        #[serde(default)]
        dual: Option<f64>,
        /// `C`
        #[serde(default)]
        mixing: Option<f64>,
        /// `θ`
        #[serde(default)]
        memory: Option<f64>,
    },
    /// A frozen rule.
    Rule(PathBuf),
}

/// A malformed RON text.
#[derive(Debug, thiserror::Error)]
#[error("{origin}:{line}:{column}: {reason} in `{excerpt}`")]
pub struct SpecError {
    /// What was parsed: an option or a file.
    pub origin: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What the parser expected.
    pub reason: String,
    /// The line itself, shortened.
    pub excerpt: String,
}

/// Parses RON text of any kind; `origin` names where it comes from.
///
/// # Errors
/// Line, column and what was expected.
pub fn parse_ron<T: serde::de::DeserializeOwned>(origin: &str, text: &str) -> Result<T, SpecError> {
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options
        .from_str(text)
        .map_err(|e: ron::error::SpannedError| {
            let line = e.span.start.line;
            let excerpt: String = text
                .lines()
                .nth(line.saturating_sub(1))
                .unwrap_or("")
                .trim()
                .chars()
                .take(80)
                .collect();
            SpecError {
                origin: origin.into(),
                line,
                column: e.span.start.col,
                reason: e.code.to_string(),
                excerpt,
            }
        })
}

impl AlgorithmSpec {
    /// Parses an algorithm; a bare name is the name with all options left out.
    ///
    /// # Errors
    /// Line, column and what was expected.
    pub fn parse(origin: &str, text: &str) -> Result<Self, SpecError> {
        let bare = text.trim();
        let is_name =
            !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name && bare != "Rule" {
            parse_ron(origin, &format!("{bare}()"))
        } else {
            parse_ron(origin, text)
        }
    }

    /// The handcrafted methods that take every problem, with all options left out, in the order of reports.
    pub fn handcrafted() -> Vec<Self> {
        [
            "ProxDgd",
            "PgExtra",
            "Nids",
            "DiagonalNids",
            "ProxEd",
            "ProxEdFast",
            "ProxEdMomentum",
            "ProxAtc",
            "SemiAtc",
            "Diging",
            "Dlm",
            "Dapg",
            "Odapg",
            "AdGt",
            "BbTracking",
            "Sonata",
            "Admm",
        ]
        .iter()
        .filter_map(|name| Self::parse("handcrafted", name).ok())
        .collect()
    }

    /// The name without options; a rule is named by its file's folder or stem.
    pub fn name(&self) -> String {
        match self {
            Self::ProxDgd { .. } => "ProxDgd".into(),
            Self::PgExtra { .. } => "PgExtra".into(),
            Self::Nids { .. } => "Nids".into(),
            Self::DiagonalNids { .. } => "DiagonalNids".into(),
            Self::ProxEd { .. } => "ProxEd".into(),
            Self::ProxEdFast { .. } => "ProxEdFast".into(),
            Self::ProxEdMomentum { .. } => "ProxEdMomentum".into(),
            Self::ProxAtc { .. } => "ProxAtc".into(),
            Self::SemiAtc { .. } => "SemiAtc".into(),
            Self::Diging { .. } => "Diging".into(),
            Self::Dlm { .. } => "Dlm".into(),
            Self::Dapg { .. } => "Dapg".into(),
            Self::Odapg { .. } => "Odapg".into(),
            Self::Opapc { .. } => "Opapc".into(),
            Self::Admm { .. } => "Admm".into(),
            Self::Sonata { .. } => "Sonata".into(),
            Self::AdGt { .. } => "AdGt".into(),
            Self::BbTracking { .. } => "BbTracking".into(),
            Self::Constants { .. } => "Constants".into(),
            Self::Rule(path) => {
                let stem = path
                    .file_stem()
                    .map(|s| s.to_string_lossy().into_owned())
                    .unwrap_or_default();
                let parent = path
                    .parent()
                    .and_then(|p| p.file_name())
                    .map(|s| s.to_string_lossy().into_owned());
                match parent {
                    Some(folder) if stem == "rule" => folder,
                    _ => stem,
                }
            }
        }
    }

    /// Where the step comes from: `"given"`, `"theory"`, or `"learned"` for a rule.
    pub fn step_origin(&self) -> &'static str {
        match (self, self.options().first()) {
            (Self::Rule(_), _) => "learned",
            (_, Some((_, Some(_)))) => "given",
            (Self::Constants { .. }, _) => "default",
            _ => "theory",
        }
    }

    /// The options by their names in RON, the step first, as text where they are given.
    fn options(&self) -> Vec<(&'static str, Option<String>)> {
        let number = |value: Option<f64>| value.map(significant);
        let count = |value: Option<usize>| value.map(|v| v.to_string());
        let kind = |kind| (kind != MixingKind::default()).then(|| format!("{kind:?}"));
        match *self {
            Self::ProxDgd { step, mixing }
            | Self::PgExtra { step, mixing }
            | Self::Nids { step, mixing }
            | Self::ProxEd { step, mixing }
            | Self::ProxAtc { step, mixing }
            | Self::SemiAtc { step, mixing }
            | Self::Diging { step, mixing }
            | Self::AdGt { step, mixing }
            | Self::BbTracking { step, mixing } => {
                vec![("step", number(step)), ("mixing", kind(mixing))]
            }
            Self::DiagonalNids {
                step,
                blend,
                mixing,
            } => vec![
                ("step", number(step)),
                ("blend", number(blend)),
                ("mixing", kind(mixing)),
            ],
            Self::ProxEdFast {
                step,
                mixings,
                mixing,
            } => vec![
                ("step", number(step)),
                ("mixings", count(mixings)),
                ("mixing", kind(mixing)),
            ],
            Self::ProxEdMomentum {
                step,
                beta,
                restart,
                mixings,
                mixing,
            } => vec![
                ("step", number(step)),
                ("beta", number(beta)),
                ("restart", restart.map(|r| r.to_string())),
                ("mixings", count(mixings)),
                ("mixing", kind(mixing)),
            ],
            Self::Dlm { step, penalty } => {
                vec![("step", number(step)), ("penalty", number(penalty))]
            }
            Self::Admm {
                penalty,
                relaxation,
            } => vec![
                ("penalty", number(penalty)),
                ("relaxation", number(relaxation)),
            ],
            Self::Sonata {
                similarity,
                mixings,
                mixing,
            } => vec![
                ("similarity", number(similarity)),
                ("mixings", count(mixings)),
                ("mixing", kind(mixing)),
            ],
            Self::Dapg {
                step,
                a,
                mixings,
                mixing,
            } => vec![
                ("step", number(step)),
                ("a", number(a)),
                ("mixings", count(mixings)),
                ("mixing", kind(mixing)),
            ],
            Self::Odapg {
                step,
                tau,
                mixings,
                mixing,
            } => vec![
                ("step", number(step)),
                ("tau", number(tau)),
                ("mixings", count(mixings)),
                ("mixing", kind(mixing)),
            ],
            Self::Opapc {
                step,
                mu,
                mixings,
                mixing,
            } => vec![
                ("step", number(step)),
                ("mu", number(mu)),
                ("mixings", count(mixings)),
                ("mixing", kind(mixing)),
            ],
            Self::Constants {
                primal,
                momentum,
                gradient_difference,
                extrapolation,
                dual,
                mixing,
                memory,
            } => vec![
                ("primal", number(primal)),
                ("momentum", number(momentum)),
                ("gradient_difference", number(gradient_difference)),
                ("extrapolation", number(extrapolation)),
                ("dual", number(dual)),
                ("mixing", number(mixing)),
                ("memory", number(memory)),
            ],
            Self::Rule(_) => Vec::new(),
        }
    }

    /// The step, where the method has one.
    pub(crate) fn step_mut(&mut self) -> Option<&mut Option<f64>> {
        match self {
            Self::ProxDgd { step, .. }
            | Self::PgExtra { step, .. }
            | Self::Nids { step, .. }
            | Self::DiagonalNids { step, .. }
            | Self::ProxEd { step, .. }
            | Self::ProxEdFast { step, .. }
            | Self::ProxEdMomentum { step, .. }
            | Self::ProxAtc { step, .. }
            | Self::SemiAtc { step, .. }
            | Self::Diging { step, .. }
            | Self::Dlm { step, .. }
            | Self::Dapg { step, .. }
            | Self::Odapg { step, .. }
            | Self::Opapc { step, .. }
            | Self::AdGt { step, .. }
            | Self::BbTracking { step, .. }
            | Self::Sonata {
                similarity: step, ..
            }
            | Self::Admm { penalty: step, .. } => Some(step),
            Self::Constants { .. } | Self::Rule(_) => None,
        }
    }

    /// The parameter beside the step, where the method has one.
    pub(crate) fn second_mut(&mut self) -> Option<&mut Option<f64>> {
        match self {
            Self::DiagonalNids { blend: second, .. }
            | Self::ProxEdMomentum { beta: second, .. }
            | Self::Dlm {
                penalty: second, ..
            }
            | Self::Dapg { a: second, .. }
            | Self::Odapg { tau: second, .. }
            | Self::Opapc { mu: second, .. }
            | Self::Admm {
                relaxation: second, ..
            } => Some(second),
            _ => None,
        }
    }

    /// The mixing matrix, where the method has the option.
    pub(crate) fn mixing_mut(&mut self) -> Option<&mut MixingKind> {
        match self {
            Self::ProxDgd { mixing, .. }
            | Self::PgExtra { mixing, .. }
            | Self::Nids { mixing, .. }
            | Self::DiagonalNids { mixing, .. }
            | Self::ProxEd { mixing, .. }
            | Self::ProxEdFast { mixing, .. }
            | Self::ProxEdMomentum { mixing, .. }
            | Self::ProxAtc { mixing, .. }
            | Self::SemiAtc { mixing, .. }
            | Self::Diging { mixing, .. }
            | Self::Dapg { mixing, .. }
            | Self::Odapg { mixing, .. }
            | Self::AdGt { mixing, .. }
            | Self::BbTracking { mixing, .. }
            | Self::Sonata { mixing, .. }
            | Self::Opapc { mixing, .. } => Some(mixing),
            Self::Dlm { .. } | Self::Admm { .. } | Self::Constants { .. } | Self::Rule(_) => None,
        }
    }

    /// The rounds of one gossip, where the method has the option.
    pub(crate) fn mixings_mut(&mut self) -> Option<&mut Option<usize>> {
        match self {
            Self::ProxEdFast { mixings, .. }
            | Self::ProxEdMomentum { mixings, .. }
            | Self::Dapg { mixings, .. }
            | Self::Odapg { mixings, .. }
            | Self::Sonata { mixings, .. }
            | Self::Opapc { mixings, .. } => Some(mixings),
            _ => None,
        }
    }

    /// Whether agents restart, where the method has the option.
    pub(crate) fn restart_mut(&mut self) -> Option<&mut Option<bool>> {
        match self {
            Self::ProxEdMomentum { restart, .. } => Some(restart),
            _ => None,
        }
    }

    /// Whether agents minimise by themselves in every iteration: worth many gradients.
    pub fn solves_locally(&self) -> bool {
        matches!(self, Self::Admm { .. } | Self::Sonata { .. })
    }

    /// Whether the method is our own: the rules' structure without networks, or a published method with something added.
    pub fn is_rung(&self) -> bool {
        matches!(
            self,
            Self::Constants { .. }
                | Self::DiagonalNids { .. }
                | Self::ProxEdFast { .. }
                | Self::ProxEdMomentum { .. }
        )
    }

    /// Whether the method's limit is the optimum; only Prox-DGD's is not.
    pub fn is_exact(&self) -> bool {
        !matches!(self, Self::ProxDgd { .. })
    }

    /// Starts the algorithm on a problem.
    ///
    /// # Errors
    /// An option outside its range, a rule file that was refused or does not fit, another number of agents than the graph's.
    pub fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let graph = network.graph();
        fits(&self.name(), problem, graph)?;
        let positive = |option: &'static str, value: f64| -> Result<f64, AlgorithmError> {
            if value.is_finite() && value > 0.0 {
                Ok(value)
            } else {
                Err(self.out_of_range(option, value, "a finite number > 0"))
            }
        };
        let l = problem.smoothness_max();
        // α = factor/L where none is given.
        let step_or = |step: Option<f64>, factor: f64| positive("step", step.unwrap_or(factor / l));
        let abc =
            |kind, step: Option<f64>, factor: f64, mixing: MixingKind, network: &mut Network| {
                let mixing = Mixing::new(graph, mixing);
                let rule = Abc::new(kind, step_or(step, factor)?, mixing.edge_weights());
                Ok(start(rule, problem, network))
            };
        let tracking = |rule, step: Option<f64>, mixing, network: &mut Network| {
            let mixing = Mixing::new(graph, mixing);
            let scale = positive("step", step.unwrap_or(1.0))?;
            let rule = AdaptiveTracking::new(rule, scale, mixing.edge_weights());
            Ok(start(rule, problem, network))
        };
        match *self {
            Self::ProxDgd { step, mixing } => {
                // Stable up to (1 + λ_min(W))/L.
                let m = Mixing::new(graph, mixing);
                let factor = (1.0 + m.spectrum(graph)?.lambda_min).max(0.1);
                Ok(start(
                    ProxDgd::new(step_or(step, factor)?, m.edge_weights()),
                    problem,
                    network,
                ))
            }
            Self::ProxEd { step, mixing } => abc(AbcKind::ProxEd, step, 1.0, mixing, network),
            Self::PgExtra { step, mixing } => abc(AbcKind::PgExtra, step, 1.0, mixing, network),
            Self::ProxAtc { step, mixing } => abc(AbcKind::ProxAtc, step, 1.0, mixing, network),
            Self::SemiAtc { step, mixing } => abc(AbcKind::SemiAtc, step, 1.0, mixing, network),
            Self::Diging { step, mixing } => abc(AbcKind::Diging, step, 0.5, mixing, network),
            Self::Dlm { step, penalty } => {
                let largest = (0..graph.agents())
                    .map(|i| graph.degree(i))
                    .max()
                    .unwrap_or(0);
                let unit = 0.5 / (1.0 + largest as f64);
                let weight = positive("penalty", penalty.unwrap_or(1.0))? * unit;
                let weights = vec![weight; graph.edges().len()];
                Ok(start(
                    Abc::new(AbcKind::Dlm, step_or(step, 1.0)?, &weights),
                    problem,
                    network,
                ))
            }
            Self::Nids { step, mixing } => {
                let steps = diagonal_steps(problem, positive("step", step.unwrap_or(1.0))?, 0.0);
                let mixing = Mixing::new(graph, mixing);
                Ok(start(
                    Nids::new(steps, mixing.edge_weights()),
                    problem,
                    network,
                ))
            }
            Self::DiagonalNids {
                step,
                blend,
                mixing,
            } => {
                let blend = blend.unwrap_or(0.5);
                if !(0.0..1.0).contains(&blend) {
                    return Err(self.out_of_range("blend", blend, "a number in [0, 1)"));
                }
                let steps = diagonal_steps(problem, positive("step", step.unwrap_or(1.0))?, blend);
                let mixing = Mixing::new(graph, mixing);
                Ok(start(
                    Nids::new(steps, mixing.edge_weights()),
                    problem,
                    network,
                ))
            }
            Self::ProxEdFast {
                step,
                mixings,
                mixing,
            } => {
                let rule = ProxEdMomentum {
                    step: step_or(step, 1.0)?,
                    beta: 0.0,
                    restart: false,
                    gossip: self.chebyshev(graph, Some(mixings.unwrap_or(2)), mixing)?,
                };
                Ok(start(rule, problem, network))
            }
            Self::ProxEdMomentum {
                step,
                beta,
                restart,
                mixings,
                mixing,
            } => {
                let beta = beta.unwrap_or(0.5);
                if !(0.0..1.0).contains(&beta) {
                    return Err(self.out_of_range("beta", beta, "a number in [0, 1)"));
                }
                let rule = ProxEdMomentum {
                    step: step_or(step, 1.0)?,
                    beta,
                    restart: restart.unwrap_or(false),
                    gossip: self.chebyshev(graph, Some(mixings.unwrap_or(1)), mixing)?,
                };
                Ok(start(rule, problem, network))
            }
            Self::Dapg {
                step,
                a,
                mixings,
                mixing,
            } => {
                let step = step_or(step, 0.5)?;
                // Theory's a = √(μη) where r is strongly convex; else a value that is safe in practice.
                let mu = problem.regularizer().l2;
                let a = a.unwrap_or(if mu > 0.0 {
                    (mu * step).sqrt().min(1.0)
                } else {
                    0.15
                });
                if !(a > 0.0 && a <= 1.0) {
                    return Err(self.out_of_range("a", a, "a number in (0, 1]"));
                }
                let fast_mix = self.fast_mix(graph, mixings, mixing)?;
                Ok(start(Dapg { step, a, fast_mix }, problem, network))
            }
            Self::Odapg {
                step,
                tau,
                mixings,
                mixing,
            } => {
                let tau = tau.unwrap_or(0.3);
                if !(tau > 0.0 && tau <= 1.0) {
                    return Err(self.out_of_range("tau", tau, "a number in (0, 1]"));
                }
                let step = step_or(step, 0.5 / tau)?;
                let fast_mix = self.fast_mix(graph, mixings, mixing)?;
                Ok(start(
                    Odapg {
                        step,
                        tau,
                        fast_mix,
                    },
                    problem,
                    network,
                ))
            }
            Self::Opapc {
                step,
                mu,
                mixings,
                mixing,
            } => {
                let r = problem.regularizer();
                if r.l1 > 0.0 || r.bounds.is_some() {
                    return Err(AlgorithmError::Misfit {
                        rule: self.name(),
                        reason: format!(
                            "takes smooth problems only, found {}; expected l1 = 0 and no box",
                            if r.l1 > 0.0 {
                                format!("l1 = {}", r.l1)
                            } else {
                                "a box".into()
                            }
                        ),
                    });
                }
                let l = l + r.l2;
                // Theory's μ where r is strongly convex; else a value that is safe in practice.
                let mu = positive("mu", mu.unwrap_or(if r.l2 > 0.0 { r.l2 } else { 0.01 * l }))?;
                let gossip = self.chebyshev(graph, mixings, mixing)?;
                let condition = gossip.largest() / gossip.smallest();
                let tau = (0.5 * (condition * mu / l).sqrt()).min(1.0);
                let step = positive("step", step.unwrap_or(0.25 / (tau * l)))?;
                let rule = Opapc {
                    step,
                    tau,
                    mu,
                    gossip,
                };
                Ok(start(rule, problem, network))
            }
            Self::Admm {
                penalty,
                relaxation,
            } => {
                let penalty = positive("penalty", penalty.unwrap_or(0.12))?;
                let relaxation = relaxation.unwrap_or(0.75);
                if !(relaxation > 0.0 && relaxation < 1.0) {
                    return Err(self.out_of_range(
                        "relaxation",
                        relaxation,
                        "a number above 0 and below 1",
                    ));
                }
                // The unit: one number that every agent averages once.
                let rule = Admm {
                    penalty: penalty * problem.smoothness_mean(),
                    relaxation,
                };
                Ok(start(rule, problem, network))
            }
            Self::Sonata {
                similarity,
                mixings,
                mixing,
            } => {
                let similarity = positive("similarity", similarity.unwrap_or(0.5))?;
                let rule = Sonata {
                    similarity: similarity * problem.smoothness_mean(),
                    fast_mix: self.fast_mix(graph, mixings, mixing)?,
                };
                Ok(start(rule, problem, network))
            }
            Self::AdGt { step, mixing } => tracking(StepRule::Curvature, step, mixing, network),
            Self::BbTracking { step, mixing } => {
                tracking(StepRule::BarzilaiBorwein, step, mixing, network)
            }
            Self::Constants { .. } => {
                let shared = Shared::constant(self.constants().unwrap_or_default());
                shared.check().map_err(|reason| AlgorithmError::Misfit {
                    rule: self.name(),
                    reason,
                })?;
                Ok(start(SharedRule::new(shared, graph)?, problem, network))
            }
            Self::Rule(ref path) => {
                let rule = FrozenRule::read(path)?;
                for note in rule.outside_envelope(problem.agents(), problem.dimension()) {
                    tracing::warn!("{}: outside the trained envelope: {note}", path.display());
                }
                start_frozen(
                    &path.display().to_string(),
                    rule.structure,
                    problem,
                    network,
                )
            }
        }
    }

    /// The constants of `Constants(…)`, defaults filled in.
    pub fn constants(&self) -> Option<Constants> {
        let &Self::Constants {
            primal,
            momentum,
            gradient_difference,
            extrapolation,
            dual,
            mixing,
            memory,
        } = self
        else {
            return None;
        };
        let d = Constants::default();
        Some(Constants {
            primal: primal.unwrap_or(d.primal),
            momentum: momentum.unwrap_or(d.momentum),
            gradient_difference: gradient_difference.unwrap_or(d.gradient_difference),
            extrapolation: extrapolation.unwrap_or(d.extrapolation),
            dual: dual.unwrap_or(d.dual),
            mixing: mixing.unwrap_or(d.mixing),
            memory: memory.unwrap_or(d.memory),
        })
    }

    fn out_of_range(
        &self,
        option: &'static str,
        found: f64,
        expected: &'static str,
    ) -> AlgorithmError {
        AlgorithmError::Option {
            algorithm: self.name(),
            option,
            found,
            expected,
        }
    }

    fn fast_mix(
        &self,
        graph: &Graph,
        mixings: Option<usize>,
        kind: MixingKind,
    ) -> Result<FastMix, AlgorithmError> {
        let mixings = self.mixings(mixings.unwrap_or(1))?;
        let mixing = Mixing::new(graph, kind);
        Ok(FastMix::new(
            mixing.spectrum(graph)?.sigma,
            mixings,
            mixing.edge_weights(),
        ))
    }

    /// Without `mixings`, `⌊√(λ_max/λ_2)⌋` rounds, after which the eigenvalues of the gossip are all of one size.
    fn chebyshev(
        &self,
        graph: &Graph,
        mixings: Option<usize>,
        kind: MixingKind,
    ) -> Result<Chebyshev, AlgorithmError> {
        let mixing = Mixing::new(graph, kind);
        let spectrum = mixing.spectrum(graph)?;
        let root = (spectrum.laplacian_max / (1.0 - spectrum.lambda_2)).sqrt();
        let mixings = self.mixings(mixings.unwrap_or((root as usize).clamp(1, MAX_MIXINGS)))?;
        Ok(Chebyshev::new(&spectrum, mixings, mixing.edge_weights()))
    }

    fn mixings(&self, mixings: usize) -> Result<usize, AlgorithmError> {
        if (1..=MAX_MIXINGS).contains(&mixings) {
            Ok(mixings)
        } else {
            Err(self.out_of_range("mixings", mixings as f64, "1 to 1000"))
        }
    }
}

/// Whether problem and graph go together and fit the memory; `name` is for messages.
fn fits(name: &str, problem: &Problem, graph: &Graph) -> Result<(), AlgorithmError> {
    if problem.agents() != graph.agents() {
        return Err(AlgorithmError::Agents {
            problem: problem.agents(),
            graph: graph.agents(),
        });
    }
    // Iterates are `[agents, d]`, edge flows `[edges, d]`: refused here rather than by the allocator.
    let rows = graph.agents() + graph.edges().len();
    if rows as f64 * problem.dimension() as f64 > MOST_NUMBERS {
        return Err(AlgorithmError::Misfit {
            rule: name.into(),
            reason: format!(
                "{} agents and {} edges in dimension {} are too many; expected (agents + edges) × dimension at most {MOST_NUMBERS}",
                graph.agents(),
                graph.edges().len(),
                problem.dimension()
            ),
        });
    }
    Ok(())
}

/// Starts a rule that is already in memory; `name` is for messages.
///
/// # Errors
/// Another number of agents than the graph's, more numbers than fit, a `milodo` rule on another graph than its own.
pub fn start_frozen(
    name: &str,
    structure: Structure,
    problem: &Problem,
    network: &mut Network,
) -> Result<Box<dyn Process>, AlgorithmError> {
    let graph = network.graph();
    fits(name, problem, graph)?;
    match structure {
        Structure::Shared(shared) => Ok(start(SharedRule::new(shared, graph)?, problem, network)),
        Structure::Milodo(milodo) => {
            let rule = MilodoRule::new(milodo, graph).map_err(|reason| AlgorithmError::Misfit {
                rule: name.into(),
                reason,
            })?;
            Ok(start(rule, problem, network))
        }
    }
}

impl std::fmt::Display for AlgorithmSpec {
    /// As typed in RON, options that were left out left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Self::Rule(path) = self {
            return write!(f, "Rule({:?})", path.to_string_lossy());
        }
        let given: Vec<String> = self
            .options()
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}", value?)))
            .collect();
        if given.is_empty() {
            write!(f, "{}", self.name())
        } else {
            write!(f, "{}({})", self.name(), given.join(", "))
        }
    }
}

/// Four significant digits, as short as possible.
fn significant(v: f64) -> String {
    let rounded = format!("{v:.3e}").parse().unwrap_or(v);
    let (plain, scientific) = (rounded.to_string(), format!("{rounded:e}"));
    if plain.len() <= scientific.len() + 3 {
        plain
    } else {
        scientific
    }
}
