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
use super::cell::{Kind, ORACLE};
use super::report::{Entry, RecipeRatio, Reference, at_least, rounds_text, with_interval};
use super::statistics::{bootstrap, median, upper_middle};
use super::suite::Plan;
use starling::files::{read_text, write_atomic};
use starling::report::Table;
use std::collections::{BTreeMap, BTreeSet};
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
        ("worst seed", true),
        ("best opponent", true),
        ("ratio (95 %)", true),
        ("worst seed's", true),
        ("with one gradient", true),
        ("published", true),
        ("oracle", true),
        ("rows sent after", true),
        ("failed, all seeds", true),
    ]);
    for e in chosen {
        let Some(recipe) = &e.recipe else {
            continue;
        };
        let rounds = |name: &str| {
            let own =
                |o: &&&Entry| o.contestant == name && (&o.cell, o.target) == (&e.cell, e.target);
            all.iter().find(own).and_then(|o| o.rounds.median)
        };
        let ratio = e.recipe_ratio(Reference::Any);
        let to = |class| match (e.recipe_ratio(class), e.against(class)) {
            (Some(r), Some(against)) => {
                format!("{} ({})", at_least(r.median, r.bound), against.opponent)
            }
            _ => "–".into(),
        };
        table.rows.push(vec![
            label(plans, e).into(),
            e.contestant.clone(),
            format!("{:e}", e.target),
            output::count(recipe.rounds),
            output::count(recipe.worst_rounds),
            e.against(Reference::Any).map_or("–".into(), |a| {
                format!("{} ({})", output::count(rounds(&a.opponent)), a.opponent)
            }),
            ratio.map_or("–".into(), |r| {
                with_interval(r.median, r.interval, r.bound)
            }),
            ratio.map_or("–".into(), |r| format!("{:.2}", r.worst)),
            to(Reference::OneGradient),
            to(Reference::Published),
            rounds(ORACLE).map_or("–".into(), |r| output::count(Some(r))),
            e.rows_sent_after.to_string(),
            output::failed_text(recipe.failed, recipe.runs, 0),
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

/// Ratios over the cells of a tag; each cell counts once, with its recipe's. The interval is a bootstrap over clusters of cells:
/// those of one data set are one cluster.
fn overall(plans: &[&Plan], requests: &[Request], entries: &[&Entry]) -> Table {
    let mut table = Table::new([
        ("cells", false),
        ("rule", false),
        ("gap", false),
        ("number", true),
        ("ratio to the best opponent (95 %)", true),
        ("least, worst seed", true),
        ("ahead, worst seed", true),
        ("to the best with one gradient", true),
        ("least, worst seed", true),
        ("to the best published of these", true),
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
        let of = |class| -> Vec<(RecipeRatio, &Entry)> {
            let own = cells.iter();
            own.filter_map(|e| Some((e.recipe_ratio(class)?, **e)))
                .collect()
        };
        let middle = |ratios: &[(RecipeRatio, &Entry)]| {
            let middle = median(ratios.iter().map(|(r, _)| r.median).collect())?;
            let upper = upper_middle(ratios.iter().map(|(r, _)| r.median).collect());
            let bound = |r: &RecipeRatio| r.bound && r.median <= upper;
            Some((middle, ratios.iter().any(|(r, _)| bound(r))))
        };
        let least = |ratios: &[(RecipeRatio, &Entry)]| {
            let least = ratios.iter().min_by(|a, b| a.0.worst.total_cmp(&b.0.worst));
            least.map_or("–".into(), |(r, e)| {
                format!("{:.2} ({})", r.worst, label(plans, e))
            })
        };
        let (any, one) = (of(Reference::Any), of(Reference::OneGradient));
        let mut clusters: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (ratio, e) in &any {
            let plan = plans.iter().find(|p| p.name == e.cell);
            let cluster = plan.map_or(e.cell.clone(), |p| p.cluster());
            clusters.entry(cluster).or_default().push(ratio.median);
        }
        let clusters: Vec<Vec<f64>> = clusters.into_values().collect();
        let interval = bootstrap(clusters.len(), |drawn| {
            median(drawn.iter().flat_map(|&k| clusters[k].clone()).collect())
        });
        let ahead = any.iter().filter(|(r, _)| r.worst > 1.0).count();
        let recipes = cells.iter().filter_map(|e| e.recipe.as_ref());
        let failed: usize = recipes.clone().map(|r| r.failed).sum();
        let runs: usize = recipes.map(|r| r.runs).sum();
        let plain = |ratios: &[(RecipeRatio, &Entry)]| {
            middle(ratios).map_or("–".into(), |(m, bound)| at_least(m, bound))
        };
        table.rows.push(vec![
            tag.into(),
            rule.into(),
            format!("{target:e}"),
            cells.len().to_string(),
            match (middle(&any), interval) {
                (Some((m, bound)), Some(interval)) => with_interval(m, interval, bound),
                _ => "–".into(),
            },
            least(&any),
            format!("{ahead} of {}", any.len()),
            plain(&one),
            least(&one),
            plain(&of(Reference::Published)),
            output::failed_text(failed, runs, 0),
        ]);
    }
    table
}
