//! Tables of a bench in Markdown documents: what stands between `<!-- bench …: … -->` and `<!-- /bench -->` is written anew.
//!
//! ```text
//! <!-- bench rules: lasso/lasso-100@1e-6 universal -->      RULE[/CELL][@TARGET] …   a row per rule, cell and target
//! <!-- bench seconds: lasso-3000-seconds -->                 CELL[@TARGET] …          a row per contestant, fastest first
//! <!-- bench overall: universal/data@1e-6 -->                RULE[/TAG][@TARGET] …   a row per rule, tag of cells and target
//! ```
//!
//! A marker is a line of its own; those in fenced code are examples.

use super::super::output;
use super::cell::Kind;
use super::report::{Entry, at_least, rounds_text};
use super::statistics::{Ratio, spread};
use super::suite::Plan;
use starling::files::{read_text, write_atomic};
use starling::report::Table;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const END: &str = "<!-- /bench -->";

/// A Markdown document with places for tables.
pub struct Document {
    path: PathBuf,
    parts: Vec<Part>,
}

enum Part {
    /// Kept as it is.
    Text(String),
    /// A table between its markers.
    Place {
        marker: String,
        what: What,
        requests: Vec<Request>,
    },
}

#[derive(Clone, Copy)]
enum What {
    Rules,
    Seconds,
    Overall,
}

/// What a table is to show; a part left out means all.
struct Request {
    text: String,
    rule: Option<String>,
    cell: Option<String>,
    tag: Option<String>,
    target: Option<f64>,
}

impl Request {
    fn parse(text: &str, what: What) -> Result<Self, String> {
        let (name, target) = match text.split_once('@') {
            Some((name, target)) => (name, Some(target)),
            None => (text, None),
        };
        let number = |t: &str| {
            t.parse().map_err(|_| {
                format!("{text:?}: {t:?} is no target gap, expected a number such as 1e-6")
            })
        };
        let target = target.map(number).transpose()?;
        let (first, second) = match name.split_once('/') {
            Some((rule, cell)) => (rule, Some(cell.to_string())),
            None => (name, None),
        };
        let first = Some(first.to_string());
        let (rule, cell, tag) = match (what, second) {
            (What::Rules, cell) => (first, cell, None),
            (What::Overall, tag) => (first, None, tag),
            (What::Seconds, None) => (None, first, None),
            (What::Seconds, Some(_)) => return Err(format!("{text:?}, expected CELL[@TARGET]")),
        };
        Ok(Self {
            text: text.into(),
            rule,
            cell,
            tag,
            target,
        })
    }

    fn fits(&self, plan: &Plan) -> bool {
        let named = |rule: &String| plan.rules.iter().any(|(name, _)| name == rule);
        self.rule.as_ref().is_none_or(named)
            && self.cell.as_ref().is_none_or(|c| *c == plan.name)
            && self.tag.as_ref().is_none_or(|t| plan.tags.contains(t))
            && self.target.is_none_or(|t| plan.targets.contains(&t))
            && (self.rule.is_some() || plan.seconds)
    }

    fn wants(&self, entry: &Entry) -> bool {
        self.rule.as_ref().is_none_or(|r| *r == entry.contestant)
            && self.cell.as_ref().is_none_or(|c| *c == entry.cell)
            && self.target.is_none_or(|t| t == entry.target)
    }
}

impl Document {
    /// Reads a document and its markers.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read_text(path)?;
        let wrong = |line: usize, reason: String| {
            anyhow::anyhow!("{}: line {}: {reason}", path.display(), line + 1)
        };
        let mut parts = vec![Part::Text(String::new())];
        let mut open = None;
        let mut fenced = false;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            if open.is_none() && line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if let Some(at) = open {
                if line.trim() == END {
                    open = None;
                    parts.push(Part::Text(line.into()));
                } else if line.contains("<!-- bench ") {
                    return Err(wrong(number, format!("expected the {END} of line {at}")));
                }
                continue;
            }
            let inner = line.trim().strip_prefix("<!-- bench ");
            let inner = inner.and_then(|t| t.strip_suffix("-->"));
            if let Some(inner) = inner.filter(|_| !fenced) {
                let (what, requests) = inner.split_once(':').unwrap_or((inner, ""));
                let what = match what.trim() {
                    "rules" => What::Rules,
                    "seconds" => What::Seconds,
                    "overall" => What::Overall,
                    other => {
                        let expected = "expected rules, seconds or overall";
                        return Err(wrong(number, format!("bench {other:?}: {expected}")));
                    }
                };
                let requests: Vec<Request> = requests
                    .split_whitespace()
                    .map(|text| Request::parse(text, what).map_err(|e| wrong(number, e)))
                    .collect::<anyhow::Result<_>>()?;
                if requests.is_empty() {
                    return Err(wrong(number, "asks for nothing, expected names".into()));
                }
                let marker = line.to_string();
                parts.push(Part::Place {
                    marker,
                    what,
                    requests,
                });
                open = Some(number + 1);
            } else {
                let marker = line.contains("<!-- bench") || line.contains("<!-- /bench");
                if marker && !fenced {
                    let reason = format!(
                        "a marker out of place, expected `<!-- bench rules: … -->` on a line of its own and {END} on one after it"
                    );
                    return Err(wrong(number, reason));
                }
                if let Some(Part::Text(text)) = parts.last_mut() {
                    text.push_str(line);
                }
            }
        }
        if let Some(at) = open {
            return Err(wrong(at - 1, format!("no {END} follows")));
        }
        anyhow::ensure!(
            parts.iter().any(|p| matches!(p, Part::Place { .. })),
            "{}: no place for a table, expected `<!-- bench rules: … -->`",
            path.display()
        );
        let path = path.into();
        Ok(Self { path, parts })
    }

    /// Whether the cells have what the document asks for.
    pub fn check(&self, plans: &[&Plan]) -> anyhow::Result<()> {
        for part in &self.parts {
            let Part::Place { requests, .. } = part else {
                continue;
            };
            for request in requests {
                let names = |of: fn(&Plan) -> Vec<&str>| {
                    let names: BTreeSet<&str> = plans.iter().flat_map(|p| of(p)).collect();
                    Vec::from_iter(names).join(" ")
                };
                anyhow::ensure!(
                    plans.iter().any(|plan| request.fits(plan)),
                    "{}: no cell of the suite has what {:?} asks for; rules: {}; cells: {}; with seconds: {}; tags: {}",
                    self.path.display(),
                    request.text,
                    names(|p| p.rules.iter().map(|(name, _)| name.as_str()).collect()),
                    names(|p| vec![&p.name]),
                    names(|p| p.seconds.then_some(p.name.as_str()).into_iter().collect()),
                    names(|p| p.tags.iter().map(String::as_str).collect()),
                );
            }
        }
        Ok(())
    }

    /// The document with its tables written anew.
    pub fn filled(&self, plans: &[&Plan], entries: &[&Entry]) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(kept) => text += kept,
                Part::Place {
                    marker,
                    what,
                    requests,
                } => {
                    let mut chosen: Vec<&Entry> = Vec::new();
                    for request in requests {
                        for entry in entries.iter().filter(|e| request.wants(e)) {
                            if !chosen.iter().any(|c| std::ptr::eq(*c, *entry)) {
                                chosen.push(entry);
                            }
                        }
                    }
                    let table = match what {
                        What::Rules => rules(plans, &chosen, entries),
                        What::Seconds => seconds(plans, &chosen),
                        What::Overall => overall(plans, requests, entries),
                    };
                    let end = if marker.ends_with("\r\n") {
                        "\r\n"
                    } else {
                        "\n"
                    };
                    text += marker;
                    text += end;
                    text += &table.to_markdown().replace('\n', end);
                    text += end;
                }
            }
        }
        text
    }

    /// Writes [`Self::filled`].
    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        Ok(write_atomic(&self.path, text.as_bytes())?)
    }
}

/// What a cell is called in prose.
fn label<'a>(plans: &[&'a Plan], entry: &'a Entry) -> &'a str {
    let plan = plans.iter().find(|p| p.name == entry.cell);
    plan.map_or(&entry.cell, |p| &p.label)
}

fn rules(plans: &[&Plan], chosen: &[&Entry], all: &[&Entry]) -> Table {
    let mut table = Table::new([
        ("problem", false),
        ("rule", false),
        ("gap", false),
        ("rounds", true),
        ("medians over seeds", true),
        ("best published", true),
        ("ratio", true),
        ("ratio to the best rung", true),
        ("failed", true),
    ]);
    for e in chosen.iter().filter(|e| e.kind == Kind::Rule) {
        let median = |name: &Option<String>| {
            let name = name.as_ref()?;
            let own =
                |o: &&&Entry| o.contestant == *name && (&o.cell, o.target) == (&e.cell, e.target);
            let other = all.iter().find(own)?;
            Some(format!("{} ({name})", output::count(other.rounds.median)))
        };
        let rung = match (&e.ratio_to_rung, &e.best_rung) {
            (Some(ratio), Some(name)) => format!("{} ({name})", at_least(ratio)),
            _ => "–".into(),
        };
        table.rows.push(vec![
            label(plans, e).into(),
            e.contestant.clone(),
            format!("{:e}", e.target),
            rounds_text(&e.rounds),
            e.seeds.map_or("–".into(), |(low, high)| {
                if low == high {
                    output::count(low)
                } else {
                    format!("{}–{}", output::count(low), output::count(high))
                }
            }),
            median(&e.best_published).unwrap_or("–".into()),
            e.ratio.as_ref().map_or("–".into(), at_least),
            rung,
            format!("{}/{}", e.missed + e.diverged, e.trials),
        ]);
    }
    table
}

fn seconds(plans: &[&Plan], chosen: &[&Entry]) -> Table {
    let mut table = Table::new([
        ("problem", false),
        ("gap", false),
        ("contestant", false),
        ("seconds", true),
        ("rounds", true),
        ("gradients", true),
    ]);
    let mut sorted: Vec<&&Entry> = chosen.iter().filter(|e| e.kind != Kind::Seed).collect();
    let place = |e: &Entry| {
        let cell = plans.iter().position(|p| p.name == e.cell);
        (cell, -e.target.log10(), e.seconds.unwrap_or(f64::INFINITY))
    };
    sorted.sort_by(|a, b| {
        place(a)
            .partial_cmp(&place(b))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    for e in sorted {
        table.rows.push(vec![
            label(plans, e).into(),
            format!("{:e}", e.target),
            e.contestant.clone(),
            e.seconds.map_or("–".into(), output::number),
            rounds_text(&e.rounds),
            output::count(e.gradient_evaluations),
        ]);
    }
    table
}

/// Ratios over the cells of a tag; each cell counts once, with its median.
fn overall(plans: &[&Plan], requests: &[Request], entries: &[&Entry]) -> Table {
    let mut table = Table::new([
        ("cells", false),
        ("rule", false),
        ("gap", false),
        ("number", true),
        ("median ratio", true),
        ("least", true),
        ("fewer rounds than the best published in", true),
        ("than the best rung in", true),
        ("failed runs, all seeds", true),
    ]);
    // One row per rule, tag and target, in the order in which they are met.
    let mut rows: Vec<(&str, &str, f64)> = Vec::new();
    for request in requests {
        let own = entries
            .iter()
            .filter(|e| e.kind == Kind::Rule && request.wants(e));
        for e in own {
            let plan = plans.iter().find(|p| p.name == e.cell);
            for tag in plan.iter().flat_map(|p| &p.tags) {
                let row = (e.contestant.as_str(), tag.as_str(), e.target);
                if request.tag.as_ref().is_none_or(|t| t == tag) && !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    for (rule, tag, target) in rows {
        let within = |e: &&&Entry| {
            let plan = plans.iter().find(|p| p.name == e.cell);
            let tagged = plan.is_some_and(|p| p.tags.iter().any(|t| t == tag));
            tagged && e.contestant == rule && e.target == target
        };
        let cells: Vec<&&Entry> = entries.iter().filter(within).collect();
        let median = |ratio: &Option<Ratio>| ratio.as_ref().map(|r| r.spread.median);
        let ratios: Vec<f64> = cells.iter().filter_map(|e| median(&e.ratio)).collect();
        let rungs: Vec<f64> = cells
            .iter()
            .filter_map(|e| median(&e.ratio_to_rung))
            .collect();
        let won = |ratios: &[f64]| {
            let won = ratios.iter().filter(|r| **r > 1.0).count();
            match ratios.len() {
                0 => "–".into(),
                all => format!("{won} of {all}"),
            }
        };
        let least = cells
            .iter()
            .filter_map(|e| Some((median(&e.ratio)?, label(plans, e))))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let least = least.map_or("–".into(), |(ratio, at)| format!("{ratio:.2} ({at})"));
        // Of all seeds.
        let group: Vec<&&Entry> = entries
            .iter()
            .filter(|e| e.group == rule && e.target == target)
            .filter(|e| cells.iter().any(|c| c.cell == e.cell))
            .collect();
        let failed: usize = group.iter().map(|e| e.missed + e.diverged).sum();
        let runs: usize = group.iter().map(|e| e.trials).sum();
        table.rows.push(vec![
            tag.into(),
            rule.into(),
            format!("{target:e}"),
            cells.len().to_string(),
            spread(ratios.clone()).map_or("–".into(), |s| format!("{:.2}", s.median)),
            least,
            won(&ratios),
            won(&rungs),
            format!("{failed}/{runs}"),
        ]);
    }
    table
}
