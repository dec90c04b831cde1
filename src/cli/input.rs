//! Reading what was typed: RON inline or `@file`.

use starling::data::Column;
use starling::files::read_text;
use starling::graph::{Graph, GraphSpec};
use starling::problem::{Loss, ProblemSpec, optimum};
use starling::ron::{SpecError, parse_ron};
use starling::roster::AlgorithmSpec;
use std::path::{Path, PathBuf};

/// The most problems of one command: all are held in memory, and every method runs on each.
pub const MOST_PROBLEMS: u64 = 10_000;

/// `text`, or the content of the file that `@path` names; with what to call it in messages.
fn text(option: &str, typed: &str) -> anyhow::Result<(String, String)> {
    match typed.strip_prefix('@') {
        Some(path) => Ok((path.to_string(), read_text(Path::new(path))?)),
        None => Ok((option.to_string(), typed.to_string())),
    }
}

/// Adds what may be written to a parse error.
fn with_names(error: SpecError, names: &str) -> anyhow::Error {
    anyhow::anyhow!("{error}\n  expected one of: {names}")
}

/// The graph typed for `option`, drawn with `seed`.
pub fn graph(option: &str, typed: &str, seed: u64) -> anyhow::Result<Graph> {
    let (origin, content) = text(option, typed)?;
    let spec: GraphSpec = parse_ron(&origin, &content).map_err(|e| {
        with_names(e, "Ring(10) Path(6) Star(7) Complete(5) Exponential(16) Grid(rows: 3, columns: 4) Torus(rows: 4, columns: 4) \
            Tree(agents: 15, branching: 2) ErdosRenyi(agents: 25, probability: 0.25) RandomRegular(agents: 20, degree: 3) \
            SmallWorld(agents: 20, neighbors: 4, rewiring: 0.1) EdgeList(\"file\")")
    })?;
    Ok(spec.build(seed)?)
}

/// The problem typed for `--problem`.
pub fn problem(typed: &str) -> anyhow::Result<ProblemSpec> {
    let (origin, content) = text("--problem", typed)?;
    parse_ron(&origin, &content).map_err(|e| {
        let losses = Loss::FORMS.join(" | ");
        with_names(
            e,
            &format!(
                "Lasso(dimension: 300, rows: 10, l1: 0.1) Logistic(dimension: 50, rows: 20, l1: 0.01) \
                 Data(path: \"file\", loss: {losses}, l1: 0.01 or l1_share: 0.1; of a CSV file header: true, target: \"y\" or 3, skip: [0])"
            ),
        )
    })
}

/// The algorithm typed for `option`.
pub fn algorithm(option: &str, typed: &str) -> anyhow::Result<AlgorithmSpec> {
    let (origin, content) = text(option, typed)?;
    AlgorithmSpec::parse(&origin, &content).map_err(|e| {
        let names = AlgorithmSpec::NAMES.join(" ");
        with_names(
            e,
            &format!("{names} Rule(\"file\"), bare or with options: ProxEd(step: 0.03)"),
        )
    })
}

/// A column of a CSV file: a number from 0, else a name.
pub fn column(typed: &str) -> Column {
    match typed.parse() {
        Ok(index) => Column::Index(index),
        Err(_) => Column::Name(typed.into()),
    }
}

/// `list` at its commas, except those inside brackets or quotes: `ProxEd(step: 0.1, mixing: Fastest),Nids` has two parts.
pub fn split(list: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0_i32, false, 0);
    let mut parts = Vec::new();
    for (k, c) in list.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(list[start..k].trim());
                start = k + 1;
            }
            _ => {}
        }
    }
    parts.push(list[start..].trim());
    parts
}

/// Where optima are cached, unless `--no-cache`.
pub fn cache(no_cache: bool) -> Option<PathBuf> {
    if no_cache { None } else { optimum::cache_dir() }
}
