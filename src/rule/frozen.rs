//! The frozen rule file `rule.ron`: self-contained text with version, structure, weights and provenance.

use super::milodo::MilodoRule;
use super::{Milodo, Shared, SharedRule};
use crate::algorithm::{AlgorithmError, Process, fits, start};
use crate::files::{FileError, read_text, write_atomic};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The version that this build writes and reads.
pub const FORMAT: u32 = 2;

/// Why a rule file was refused.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not RON, truncated, or not a rule.
    #[error("{}:{line}:{column}: not a rule file: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, from 1.
        column: usize,
        /// What the parser expected.
        reason: String,
    },
    /// A version that this build does not know.
    #[error("{}: rule format {found} is unknown, this build reads format {FORMAT}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// Wrong shapes, a value that is not finite, a constant outside its range.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        reason: String,
    },
}

/// What a rule is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Structure {
    /// One pair of networks for all agents and edges.
    Shared(Shared),
    /// Networks per agent, tied to one graph.
    Milodo(Milodo),
}

/// Where a rule comes from and what it was trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// A name.
    pub name: String,
    /// SHA-256 of the recipe.
    pub recipe_hash: String,
    /// Training seed.
    pub seed: u64,
    /// Meta-training steps.
    pub meta_steps: u64,
    /// Longest horizon trained for, in iterations.
    pub horizon: u32,
    /// Graphs trained on, as written in the recipe.
    pub graphs: Vec<String>,
    /// Problem families trained on, as written in the recipe.
    pub problems: Vec<String>,
    /// Smallest and largest number of agents trained on.
    pub agents: (usize, usize),
    /// Smallest and largest dimension trained on.
    pub dimension: (usize, usize),
    /// Mean log10 of the relative gap on the validation problems when the rule was frozen.
    #[serde(deserialize_with = "Option::deserialize")]
    pub validation: Option<f64>,
    /// Device trained on.
    pub device: String,
}

/// A rule with its provenance: the content of `rule.ron`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrozenRule {
    /// Format version.
    pub format: u32,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What it is.
    pub structure: Structure,
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

impl FrozenRule {
    /// A rule in the current format.
    pub fn new(structure: Structure, provenance: Provenance) -> Self {
        Self {
            format: FORMAT,
            provenance,
            structure,
        }
    }

    /// Reads and checks a rule file.
    ///
    /// # Errors
    /// Missing file, malformed or truncated text (with line and column), unknown version, wrong shapes, non-finite weights.
    pub fn read(path: &Path) -> Result<Self, RuleError> {
        let text = read_text(path)?;
        let syntax = |e: ron::error::SpannedError| RuleError::Syntax {
            path: path.into(),
            line: e.span.start.line,
            column: e.span.start.col,
            reason: e.code.to_string(),
        };
        let header: Header = ron::from_str(&text).map_err(syntax)?;
        if header.format != FORMAT {
            return Err(RuleError::Version {
                path: path.into(),
                found: header.format,
            });
        }
        let rule: Self = ron::from_str(&text).map_err(syntax)?;
        rule.check().map_err(|reason| RuleError::Content {
            path: path.into(),
            reason,
        })?;
        Ok(rule)
    }

    /// Writes the rule, atomically.
    ///
    /// # Errors
    /// Names the path that could not be written.
    pub fn write(&self, path: &Path) -> Result<(), RuleError> {
        let content = |reason: String| RuleError::Content {
            path: path.into(),
            reason,
        };
        self.check().map_err(content)?;
        let text = self.text().map_err(|e| content(e.to_string()))?;
        Ok(write_atomic(path, text.as_bytes())?)
    }

    /// What [`Self::write`] writes.
    ///
    /// # Errors
    /// None that a rule could cause.
    pub fn text(&self) -> Result<String, ron::Error> {
        let style = ron::ser::PrettyConfig::new()
            .depth_limit(5)
            .compact_arrays(true);
        ron::ser::to_string_pretty(self, style)
    }

    fn check(&self) -> Result<(), String> {
        match &self.structure {
            Structure::Shared(shared) => shared.check(),
            Structure::Milodo(milodo) => milodo.check(),
        }
    }

    /// What of this run lies outside what the rule was trained on, in words; empty inside the envelope.
    pub fn outside_envelope(&self, agents: usize, dimension: usize) -> Vec<String> {
        let p = &self.provenance;
        let mut notes = Vec::new();
        let mut check = |what: &str, value: usize, (low, high): (usize, usize)| {
            if high > 0 && !(low..=high).contains(&value) {
                notes.push(format!("{value} {what}, trained on {low} to {high}"));
            }
        };
        check("agents", agents, p.agents);
        check("dimensions", dimension, p.dimension);
        notes
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Constants;

    fn message_or_rule(text: &str) -> Result<FrozenRule, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rule.ron");
        std::fs::write(&path, text).unwrap();
        FrozenRule::read(&path).map_err(|e| e.to_string())
    }

    fn message(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rule.ron");
        std::fs::write(&path, text).unwrap();
        FrozenRule::read(&path).unwrap_err().to_string()
    }

    #[test]
    fn written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rule.ron");
        let rule = FrozenRule::new(
            Structure::Shared(Shared::constant(Constants::default())),
            Provenance {
                agents: (10, 10),
                ..Default::default()
            },
        );
        rule.write(&path).unwrap();
        assert_eq!(FrozenRule::read(&path).unwrap(), rule);
        assert_eq!(rule.outside_envelope(10, 5).len(), 0);
        assert_eq!(
            rule.outside_envelope(11, 5),
            ["11 agents, trained on 10 to 10"]
        );

        // Truncated anywhere, it is refused with a line.
        let text = std::fs::read_to_string(&path).unwrap();
        for cut in [1, text.len() / 3, text.len() / 2, text.len() - 2] {
            let m = message(&text[..cut]);
            assert!(m.contains("rule.ron:"), "{m}");
        }
        assert!(message(&text.replace("format: 2", "format: 7")).contains("format 7 is unknown"));
        assert!(message(&text.replace("primal: 1.4", "primal: -1.4")).contains("primal"));
        assert!(message(&text.replace("primal: 1.4", "primal: NaN")).contains("primal"));

        // Nothing is filled in: without any one line it is another rule, or none. The safeguard alone is younger than the format.
        let mut lines = 0;
        for line in text
            .lines()
            .filter(|line| line.contains(": ") && line.ends_with(','))
        {
            let field = line.trim().split(':').next().unwrap();
            let m = message_or_rule(&text.replacen(&format!("{line}\n"), "", 1));
            match m {
                Err(m) => assert!(m.contains(field), "{line}: {m}"),
                Ok(_) => panic!("{line} was filled in"),
            }
            lines += 1;
        }
        assert!(lines > 25, "{lines}");
        let start = text.find("        safeguard: (").unwrap();
        let end = start + text[start..].find("),\n").unwrap() + 3;
        let older = format!("{}{}", &text[..start], &text[end..]);
        assert_eq!(message_or_rule(&older).unwrap(), rule);
    }
}
