//! The suite file: what is compared with what, on which problems and graphs.

use super::super::input;
use serde::Deserialize;
use starling::files::read_text;
use starling::graph::GraphSpec;
use starling::problem::ProblemSpec;
use starling::ron::parse_ron;
use starling::roster::AlgorithmSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A suite as written in RON. What a cell leaves out it takes from here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    pub name: String,
    /// Rules of several files: the one that is compared, then the same recipe trained from other seeds.
    #[serde(default)]
    groups: BTreeMap<String, Vec<PathBuf>>,
    /// Learned rules: groups and files.
    #[serde(default)]
    rules: Vec<PathBuf>,
    /// Handcrafted methods: all run, the most promising are tuned finely; `"all"` stands for every exact one and `Constants`.
    #[serde(default)]
    opponents: Vec<Methods>,
    /// How many opponents are tuned finely in a cell, for every target.
    #[serde(default = "default_finalists")]
    finalists: usize,
    /// Relative gaps.
    #[serde(default = "default_targets")]
    targets: Vec<f64>,
    /// Test problems.
    #[serde(default = "default_trials")]
    trials: u64,
    /// Problems that methods are tuned on.
    #[serde(default = "default_tuning_problems")]
    tuning_problems: u64,
    /// At most this many rounds.
    #[serde(default = "default_steps")]
    steps: u64,
    /// Of graphs and problems.
    #[serde(default = "default_seed")]
    seed: u64,
    cells: Vec<Cell>,
}

/// One problem family on one graph.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    name: String,
    /// What it is called in tables for people; its name if left out.
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    problem: ProblemSpec,
    graph: GraphSpec,
    /// The family that methods are tuned on, in units that carry over; the cell's own if left out.
    #[serde(default)]
    tuning: Option<ProblemSpec>,
    /// Measure seconds: one run after the other instead of many at once.
    #[serde(default)]
    seconds: bool,
    #[serde(default)]
    rules: Option<Vec<PathBuf>>,
    #[serde(default)]
    opponents: Option<Vec<Methods>>,
    #[serde(default)]
    finalists: Option<usize>,
    #[serde(default)]
    targets: Option<Vec<f64>>,
    #[serde(default)]
    trials: Option<u64>,
    #[serde(default)]
    tuning_problems: Option<u64>,
    #[serde(default)]
    steps: Option<u64>,
    #[serde(default)]
    seed: Option<u64>,
}

/// A handcrafted method as typed, or all of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Methods(Vec<AlgorithmSpec>);

impl TryFrom<String> for Methods {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "all" {
            let mut all = AlgorithmSpec::handcrafted();
            all.retain(|method| method.about().exact);
            all.extend(AlgorithmSpec::parse("method", "Constants"));
            return Ok(Self(all));
        }
        match AlgorithmSpec::parse("method", &text) {
            Ok(AlgorithmSpec::Rule(_)) => Err("a rule has no step to tune".into()),
            Ok(method) => Ok(Self(vec![method])),
            Err(error) => Err(format!(
                "{error}: expected \"all\", \"ProxEd\", \"Nids\" and so on"
            )),
        }
    }
}

fn default_targets() -> Vec<f64> {
    vec![1e-3, 1e-6, 1e-10]
}
fn default_finalists() -> usize {
    5
}
fn default_trials() -> u64 {
    50
}
fn default_tuning_problems() -> u64 {
    10
}
fn default_steps() -> u64 {
    20_000
}
fn default_seed() -> u64 {
    1
}

/// A cell with nothing left out.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub label: String,
    pub tags: Vec<String>,
    pub problem: ProblemSpec,
    pub graph: GraphSpec,
    pub tuning: ProblemSpec,
    /// Name and files of every rule, the compared one first.
    pub rules: Vec<(String, Vec<PathBuf>)>,
    /// Those that start from others' results last.
    pub opponents: Vec<AlgorithmSpec>,
    pub finalists: usize,
    /// Largest first.
    pub targets: Vec<f64>,
    pub trials: u64,
    pub tuning_problems: u64,
    pub steps: u64,
    pub seed: u64,
    pub seconds: bool,
}

impl Suite {
    /// Reads and checks a suite file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let origin = path.display().to_string();
        let suite: Self = parse_ron(&origin, &read_text(path)?)?;
        anyhow::ensure!(
            !suite.cells.is_empty(),
            "{origin}: no cells, expected at least one"
        );
        // Cells name folders, and documents ask for cells and groups by name.
        let fits = |name: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
        };
        if let Some(name) = suite.groups.keys().find(|name| !fits(name)) {
            anyhow::bail!(
                "{origin}: the group {name:?}, expected letters, digits, `-`, `_` and `.`"
            );
        }
        let mut names = BTreeSet::new();
        for cell in &suite.cells {
            let name = &cell.name;
            anyhow::ensure!(
                fits(name),
                "{origin}: the cell name {name:?}, expected letters, digits, `-`, `_` and `.`"
            );
            anyhow::ensure!(
                names.insert(name),
                "{origin}: two cells are named {name:?}, expected names that differ"
            );
            suite
                .plan(cell)
                .check()
                .map_err(|reason| anyhow::anyhow!("{origin}: cell {name:?}: {reason}"))?;
        }
        Ok(suite)
    }

    /// The cells that `only` names or tags, in the order of the file; all if it is empty.
    pub fn plans(&self, only: &[String]) -> anyhow::Result<Vec<Plan>> {
        let goes_by = |cell: &Cell, word: &String| cell.name == *word || cell.tags.contains(word);
        for word in only {
            if !self.cells.iter().any(|cell| goes_by(cell, word)) {
                let tags: BTreeSet<&str> = self
                    .cells
                    .iter()
                    .flat_map(|cell| cell.tags.iter().map(String::as_str))
                    .collect();
                let names: Vec<&str> = self.cells.iter().map(|c| c.name.as_str()).collect();
                anyhow::bail!(
                    "--only {word}: no such cell or tag; cells: {}; tags: {}",
                    names.join(" "),
                    Vec::from_iter(tags).join(" ")
                );
            }
        }
        let chosen = |cell: &&Cell| only.is_empty() || only.iter().any(|w| goes_by(cell, w));
        let chosen = self.cells.iter().filter(chosen);
        Ok(chosen.map(|cell| self.plan(cell)).collect())
    }

    /// Name and files of a rule: of a group, or of a file by itself.
    fn rule(&self, rule: &Path) -> (String, Vec<PathBuf>) {
        let group = rule
            .to_str()
            .and_then(|name| self.groups.get_key_value(name));
        match group {
            Some((name, files)) => (name.clone(), files.clone()),
            None => (AlgorithmSpec::Rule(rule.into()).name(), vec![rule.into()]),
        }
    }

    fn plan(&self, cell: &Cell) -> Plan {
        let opponents = cell.opponents.as_deref().unwrap_or(&self.opponents);
        let mut opponents: Vec<AlgorithmSpec> =
            opponents.iter().flat_map(|m| m.0.clone()).collect();
        opponents.sort_by_key(|method| method.constants().is_some());
        let rules = cell.rules.as_ref().unwrap_or(&self.rules);
        let mut targets = cell.targets.as_ref().unwrap_or(&self.targets).clone();
        targets.sort_by(|a, b| b.total_cmp(a));
        Plan {
            name: cell.name.clone(),
            label: cell.label.as_ref().unwrap_or(&cell.name).clone(),
            tags: cell.tags.clone(),
            problem: cell.problem.clone(),
            graph: cell.graph.clone(),
            tuning: cell.tuning.as_ref().unwrap_or(&cell.problem).clone(),
            rules: rules.iter().map(|rule| self.rule(rule)).collect(),
            opponents,
            finalists: cell.finalists.unwrap_or(self.finalists),
            targets,
            trials: cell.trials.unwrap_or(self.trials),
            tuning_problems: cell.tuning_problems.unwrap_or(self.tuning_problems),
            steps: cell.steps.unwrap_or(self.steps),
            seed: cell.seed.unwrap_or(self.seed),
            seconds: cell.seconds,
        }
    }
}

/// What the file of a contestant's figures is called.
pub fn file_stem(contestant: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() { c } else { '-' };
    contestant.chars().map(plain).collect()
}

impl Plan {
    /// Cells of one data set are no independent evidence: what they are counted by.
    pub fn cluster(&self) -> String {
        match &self.problem {
            ProblemSpec::Data { path, .. } => path.to_string_lossy().into_owned(),
            _ => self.name.clone(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, most: u64| match value {
            v if (1..=most).contains(&v) => Ok(()),
            v => Err(format!("{name} is {v}, expected 1 to {most}")),
        };
        within("trials", self.trials, input::MOST_PROBLEMS)?;
        within(
            "tuning_problems",
            self.tuning_problems,
            input::MOST_PROBLEMS,
        )?;
        within("steps", self.steps, u64::MAX)?;
        let bad = |t: &&f64| !(t.is_finite() && **t > 0.0);
        if let Some(target) = self.targets.iter().find(bad) {
            return Err(format!("a target is {target}, expected a gap > 0"));
        }
        if self.targets.is_empty() {
            return Err("no targets, expected at least one".into());
        }
        if self.targets.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a target stands there twice".into());
        }
        let methods = self.opponents.iter();
        let names: Vec<String> = self
            .rules
            .iter()
            .map(|(name, _)| name.clone())
            .chain(methods.map(|method| method.to_string()))
            .collect();
        if names.is_empty() {
            return Err("nothing to run, expected at least one rule or opponent".into());
        }
        let stems: Vec<String> = names.iter().map(|name| file_stem(name)).collect();
        if let Some(k) = (1..stems.len()).find(|&k| stems[..k].contains(&stems[k])) {
            return Err(format!(
                "two contestants are named {:?}, expected names that differ (a rule's can be given: groups: {{\"name\": [\"file\"]}})",
                names[k]
            ));
        }
        match self.rules.iter().find(|(_, files)| files.is_empty()) {
            Some((name, _)) => Err(format!("the rule {name:?} has no files")),
            None => Ok(()),
        }
    }
}
