//! The roster: every algorithm there is, a row each. RON, `--help`, error messages, tuning, tests and tables follow from it.
//!
//! `ProxEd`, `ProxEd(step: 0.03)`, `Rule("models/lasso/rule.ron")`. Steps are absolute; a step that is left out comes from theory.

use crate::algorithm::{AlgorithmError, Process, fits};
use crate::graph::MixingKind;
use crate::method::{About, Method, Setting, Value, options};
use crate::network::Network;
use crate::problem::Problem;
use crate::ron::{SpecError, parse_ron};
use crate::rule::frozen::start_frozen;
use crate::rule::{Constants, FrozenRule, constants};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

macro_rules! roster {
    ($($(#[$doc:meta])* $name:ident($options:ty),)+) => {
        /// An algorithm as written in RON.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum AlgorithmSpec {
            $($(#[$doc])* $name($options),)+
            /// A frozen rule.
            Rule(PathBuf),
        }

        impl AlgorithmSpec {
            /// The names of the methods in the order of reports.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Every method with all options left out, in the order of reports.
            pub fn methods() -> Vec<Self> {
                vec![$(Self::$name(Default::default())),+]
            }

            /// The method, or the file of a rule.
            fn method(&self) -> Result<&dyn Method, &Path> {
                match self {
                    $(Self::$name(method) => Ok(method),)+
                    Self::Rule(path) => Err(path),
                }
            }

            fn method_mut(&mut self) -> Option<&mut dyn Method> {
                match self {
                    $(Self::$name(method) => Some(method),)+
                    Self::Rule(_) => None,
                }
            }
        }
    };
}

roster! {
    /// Decentralized proximal gradient descent (biased).
    ProxDgd(options::ProxDgd),
    /// PG-EXTRA.
    PgExtra(options::PgExtra),
    /// NIDS.
    Nids(options::Nids),
    /// NIDS preconditioned by the diagonal of the local curvature.
    DiagonalNids(options::DiagonalNids),
    /// Exact Diffusion with prox.
    ProxEd(options::ProxEd),
    /// Exact Diffusion with prox and Chebyshev gossip.
    ProxEdFast(options::ProxEdFast),
    /// Exact Diffusion with prox, momentum and Chebyshev gossip.
    ProxEdMomentum(options::ProxEdMomentum),
    /// ATC gradient tracking with prox.
    ProxAtc(options::ProxAtc),
    /// Semi-ATC gradient tracking (NEXT).
    SemiAtc(options::SemiAtc),
    /// DIGing.
    Diging(options::Diging),
    /// Linearized ADMM with prox.
    Dlm(options::Dlm),
    /// Decentralized accelerated proximal gradient.
    Dapg(options::Dapg),
    /// Optimal decentralized accelerated proximal gradient.
    Odapg(options::Odapg),
    /// Gradient tracking with steps from the local curvature.
    AdGt(options::AdGt),
    /// Gradient tracking with local Barzilai–Borwein steps.
    BbTracking(options::BbTracking),
    /// Gradient tracking with exact local models.
    Sonata(options::Sonata),
    /// Over-relaxed edge ADMM with exact local solves.
    Admm(options::Admm),
    /// Optimal proximal alternating predictor-corrector; for smooth problems only.
    Opapc(options::Opapc),
    /// `shared` without networks.
    Constants(constants::Options),
}

/// Of a rule, which no opponent is.
const RULE: About = About {
    published: false,
    exact: true,
    solves_locally: false,
    any_regularizer: true,
};

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

    /// The methods that take every problem, in the order of reports, without `Constants`.
    pub fn handcrafted() -> Vec<Self> {
        let mut all = Self::methods();
        all.retain(|m| m.about().any_regularizer && m.constants().is_none());
        all
    }

    /// What kind of algorithm it is.
    pub fn about(&self) -> About {
        self.method().map_or(RULE, Method::about)
    }

    /// The name without options; a rule is named by its file's folder or stem.
    pub fn name(&self) -> String {
        let path = match self.method() {
            Ok(method) => return method.name().into(),
            Err(path) => path,
        };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let parent = path.parent().and_then(|p| p.file_name());
        match parent {
            Some(folder) if stem == "rule" => folder.to_string_lossy().into_owned(),
            _ => stem.into_owned(),
        }
    }

    /// Where the step comes from: `"given"`, `"theory"`, or `"learned"` for a rule.
    pub fn step_origin(&self) -> &'static str {
        if let Self::Rule(_) = self {
            return "learned";
        }
        let mut probe = self.clone();
        let given = match probe.settings().first().map(|s| &s.value) {
            Some(Value::Number(step)) => step.is_some(),
            _ => false,
        };
        match given {
            true => "given",
            false if self.constants().is_some() => "default",
            false => "theory",
        }
    }

    /// The options, the step first; none of a rule.
    pub fn settings(&mut self) -> Vec<Setting<'_>> {
        self.method_mut().map_or(Vec::new(), Method::settings)
    }

    /// See [`Method::absolute`].
    pub(crate) fn absolute(&self, factor: f64, second: f64, l: f64, mean: f64) -> (f64, f64) {
        self.method()
            .map_or((factor, second), |m| m.absolute(factor, second, l, mean))
    }

    /// The constants of `Constants(…)`, defaults filled in.
    pub fn constants(&self) -> Option<Constants> {
        match self {
            Self::Constants(options) => Some(options.constants()),
            _ => None,
        }
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
        fits(&self.name(), problem, network.graph())?;
        let path = match self.method() {
            Ok(method) => return method.start(problem, network),
            Err(path) => path,
        };
        let rule = FrozenRule::read(path).map_err(|e| AlgorithmError::Rule(e.into()))?;
        for note in rule.outside_envelope(problem.agents(), problem.dimension()) {
            tracing::warn!("{}: outside the trained envelope: {note}", path.display());
        }
        let name = path.display().to_string();
        start_frozen(&name, rule.structure, problem, network)
    }
}

impl std::fmt::Display for AlgorithmSpec {
    /// As typed in RON, options that were left out left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Self::Rule(path) = self {
            return write!(f, "Rule({:?})", path.to_string_lossy());
        }
        let mut probe = self.clone();
        let given: Vec<String> = probe
            .settings()
            .into_iter()
            .filter_map(|setting| {
                let value = match setting.value {
                    Value::Number(v) => significant((*v)?),
                    Value::Count(v) => (*v)?.to_string(),
                    Value::Switch(v) => (*v)?.to_string(),
                    Value::Mixing(kind) if *kind == MixingKind::default() => return None,
                    Value::Mixing(kind) => format!("{kind:?}"),
                };
                Some(format!("{}: {value}", setting.name))
            })
            .collect();
        match given.is_empty() {
            true => write!(f, "{}", self.name()),
            false => write!(f, "{}({})", self.name(), given.join(", ")),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is displayed is what is parsed, with options and without.
    #[test]
    fn every_row_reads_what_it_writes() {
        assert_eq!(AlgorithmSpec::NAMES.len(), AlgorithmSpec::methods().len());
        for (name, mut method) in AlgorithmSpec::NAMES.iter().zip(AlgorithmSpec::methods()) {
            assert_eq!(method.name(), *name);
            assert_eq!(AlgorithmSpec::parse("test", name).unwrap(), method);
            for setting in method.settings() {
                match setting.value {
                    Value::Number(v) => *v = Some(0.25),
                    Value::Count(v) => *v = Some(3),
                    Value::Switch(v) => *v = Some(true),
                    Value::Mixing(v) => *v = MixingKind::Fastest,
                }
            }
            let text = method.to_string();
            assert_eq!(
                AlgorithmSpec::parse("test", &text).unwrap(),
                method,
                "{text}"
            );
            let json = serde_json::to_string(&method).unwrap();
            let back: AlgorithmSpec = serde_json::from_str(&json).unwrap();
            assert_eq!(back, method);
        }
    }

    #[test]
    fn unknown_names_and_options_are_refused() {
        for (text, word) in [
            ("Sgd", "Sgd"),
            ("ProxEd(stpe: 1)", "stpe"),
            ("ProxEd(step: \"a\")", "step"),
            ("Rule", "Rule"),
        ] {
            let error = AlgorithmSpec::parse("test", text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let rule = AlgorithmSpec::parse("test", "Rule(\"models/lasso/rule.ron\")").unwrap();
        assert_eq!(rule.name(), "lasso");
    }
}
