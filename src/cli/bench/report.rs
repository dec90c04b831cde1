//! The report of a bench: one entry per cell, contestant and target, and what is made of them.

use super::super::output;
use super::cell::{AtTarget, Cell, Ground, Kind, Measured, Tuning};
use super::statistics::{Ratio, Spread, missing_last, paired, spread, spread_of_counts};
use rayon::prelude::*;
use serde::Serialize;
use starling::files::write_atomic;
use starling::report::{Block, Page, Plot, Section, Series, Table};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One contestant's figures for one target of one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub cell: String,
    pub problem: String,
    pub graph: String,
    pub contestant: String,
    /// The rule that it is a seed of, else its own name.
    pub group: String,
    pub kind: Kind,
    pub target: f64,
    pub trials: usize,
    pub rounds_limit: u64,
    /// Over the test problems; null where the target was not reached.
    pub rounds: Spread<Option<u64>>,
    /// Problems on which the target was not reached within the limit, and on which the contestant diverged first.
    pub missed: usize,
    pub diverged: usize,
    pub floats_sent: Option<u64>,
    pub gradient_evaluations: Option<u64>,
    pub seconds: Option<f64>,
    /// The published method with the fewest rounds, and how many times more of them it needs, problem by problem.
    pub best_published: Option<String>,
    pub ratio: Option<Ratio>,
    /// The same for the methods that nobody published.
    pub best_rung: Option<String>,
    pub ratio_to_rung: Option<Ratio>,
    /// Median of `√(κ/γ) ln(1/target)` where `κ` is defined.
    pub lower_bound: Option<f64>,
    /// Smallest and largest median over the rules of the group.
    pub seeds: Option<(Option<u64>, Option<u64>)>,
    pub algorithm: String,
    pub tuning: Option<Tuning>,
    pub outside_envelope: Vec<String>,
    pub gap_certificate: f64,
}

/// A cell with its entries, target by target.
struct Chapter<'a> {
    cell: &'a Cell,
    ground: &'a Ground,
    measured: &'a [Measured],
    targets: Vec<(f64, Vec<Entry>)>,
}

/// Everything there is to tell.
pub struct Report<'a> {
    name: &'a str,
    chapters: Vec<Chapter<'a>>,
}

fn rounds_of(at: &AtTarget) -> Vec<Option<u64>> {
    at.outcomes.iter().map(|o| o.rounds).collect()
}

fn median_of(at: &AtTarget) -> Option<u64> {
    spread_of_counts(rounds_of(at)).and_then(|s| s.median)
}

/// The contestant of this kind with the fewest rounds to target number `k`: smallest median, then fewest misses.
fn best(measured: &[Measured], kind: Kind, k: usize) -> Option<&Measured> {
    let key = |m: &&Measured| {
        let at = &m.targets[k];
        let misses = at.outcomes.iter().filter(|o| o.rounds.is_none()).count();
        (median_of(at).unwrap_or(u64::MAX), misses)
    };
    measured.iter().filter(|m| m.kind == kind).min_by_key(key)
}

impl Ground {
    /// `√(κ/γ) ln(1/target)`, the median over the test problems whose `κ` is defined.
    fn lower_bound(&self, target: f64) -> Option<f64> {
        let defined = self.conditions.iter().flatten();
        let bound = |kappa: &f64| (kappa / self.spectral_gap).sqrt() * -target.ln();
        spread(defined.map(bound).collect()).map(|s| s.median)
    }
}

impl<'a> Chapter<'a> {
    fn new((cell, ground, measured): &'a (&'a Cell, Ground, Vec<Measured>)) -> Self {
        let plan = &cell.plan;
        let targets = plan.targets.iter().enumerate();
        let targets = targets.map(|(k, &target)| {
            let published = best(measured, Kind::Published, k);
            let rung = best(measured, Kind::Rung, k);
            let against = |reference: Option<&Measured>, own: &AtTarget| {
                paired(
                    &rounds_of(&reference?.targets[k]),
                    &rounds_of(own),
                    plan.steps,
                )
            };
            let entries = measured.iter().filter_map(|m| {
                let at = &m.targets[k];
                let median = |count: fn(&super::cell::Outcome) -> Option<u64>| {
                    spread_of_counts(at.outcomes.iter().map(count).collect())?.median
                };
                // A run that never got there takes part as one that takes for ever.
                let seconds = at
                    .outcomes
                    .iter()
                    .map(|o| o.seconds.unwrap_or(f64::INFINITY));
                let seconds = spread(seconds.collect()).map(|s| s.median);
                let medians = measured
                    .iter()
                    .filter(|other| other.group == m.group)
                    .map(|other| median_of(&other.targets[k]));
                let diverged = at.outcomes.iter().filter(|o| o.diverged).count();
                let unreached = at.outcomes.iter().filter(|o| o.rounds.is_none()).count();
                Some(Entry {
                    cell: plan.name.clone(),
                    problem: plan.problem.to_string(),
                    graph: plan.graph.to_string(),
                    contestant: m.contestant.clone(),
                    group: m.group.clone(),
                    kind: m.kind,
                    target,
                    trials: at.outcomes.len(),
                    rounds_limit: plan.steps,
                    rounds: spread_of_counts(rounds_of(at))?,
                    missed: unreached - diverged,
                    diverged,
                    floats_sent: median(|o| o.floats_sent),
                    gradient_evaluations: median(|o| o.gradient_evaluations),
                    seconds: seconds.filter(|s| s.is_finite()),
                    best_published: published.map(|b| b.contestant.clone()),
                    ratio: against(published, at),
                    best_rung: rung.map(|b| b.contestant.clone()),
                    ratio_to_rung: against(rung, at),
                    lower_bound: ground.lower_bound(target),
                    seeds: seeds(medians.collect()),
                    algorithm: at.algorithm.clone(),
                    tuning: at.tuning.clone(),
                    outside_envelope: m.outside_envelope.clone(),
                    gap_certificate: m.gap_certificate,
                })
            });
            (target, entries.collect())
        });
        Self {
            cell,
            ground,
            measured,
            targets: targets.collect(),
        }
    }

    /// Contestants for one target, fewest rounds first.
    fn table(&self, entries: &[Entry]) -> Table {
        let timed = self.cell.plan.seconds;
        let grouped = entries.iter().any(|e| e.seeds.is_some());
        let mut columns = vec![("contestant", false), ("rounds", true)];
        columns.extend(grouped.then_some(("medians over seeds", true)));
        columns.extend([
            ("best published ÷ this", true),
            ("best rung ÷ this", true),
            ("missed", true),
            ("diverged", true),
            ("floats sent", true),
            ("gradients", true),
        ]);
        columns.extend(timed.then_some(("seconds", true)));
        columns.push(("as run on the first problem", false));
        let mut table = Table::new(columns);
        let mut sorted: Vec<&Entry> = entries.iter().filter(|e| e.kind != Kind::Seed).collect();
        sorted.sort_by(|a, b| missing_last(&a.rounds.median, &b.rounds.median));
        for e in sorted {
            let kind = match e.kind {
                Kind::Rule => " (learned)",
                Kind::Rung => " (rung)",
                _ => "",
            };
            let count = output::count;
            let mut cells = vec![format!("{}{kind}", e.contestant), rounds_text(&e.rounds)];
            if grouped {
                let range = |(low, high)| format!("{}–{}", count(low), count(high));
                cells.push(e.seeds.map_or(String::new(), range));
            }
            cells.extend([
                ratio_text(&e.ratio),
                ratio_text(&e.ratio_to_rung),
                format!("{}/{}", e.missed, e.trials),
                format!("{}/{}", e.diverged, e.trials),
                count(e.floats_sent),
                count(e.gradient_evaluations),
            ]);
            if timed {
                cells.push(e.seconds.map_or("–".into(), output::number));
            }
            let edge = e.tuning.as_ref().map(|t| t.on_grid_edge.join(", "));
            let edge = edge.filter(|edge| !edge.is_empty());
            let edge = edge.map_or(String::new(), |edge| format!(" [grid edge: {edge}]"));
            cells.push(format!("{}{edge}", e.algorithm));
            table.rows.push(cells);
        }
        table
    }

    /// What is compared, before the tables.
    fn intro(&self) -> String {
        let (plan, ground) = (&self.cell.plan, self.ground);
        let kappa = spread(ground.conditions.iter().flatten().copied().collect());
        let certificates = self.measured.iter().map(|m| m.gap_certificate);
        let certificate = certificates.fold(0.0, f64::max);
        let rules = self.measured.iter().filter(|m| m.kind == Kind::Rule);
        let notes = rules.flat_map(|m| {
            let notes = m.outside_envelope.iter();
            notes.map(|note| format!("{}: {note}", m.contestant))
        });
        let outside: Vec<String> = notes.collect();
        let tuned_on = if plan.tuning == plan.problem {
            String::new()
        } else {
            format!(" (of {})", plan.tuning)
        };
        let outside = match outside.is_empty() {
            true => String::new(),
            false => format!(
                " Outside what rules were trained on: {}.",
                outside.join("; ")
            ),
        };
        format!(
            "{} on {}: {} agents, {} edges, d = {}; {} test problems, {} to tune on{tuned_on}, at most {} rounds. κ = {}, γ = {}. Gaps are \
             certified to {certificate:.0e}.{outside}",
            plan.problem,
            plan.graph,
            ground.agents,
            ground.edges,
            ground.dimension,
            plan.trials,
            plan.tuning_problems,
            plan.steps,
            kappa.map_or("–".into(), |k| format!(
                "{} ({}–{})",
                output::number(k.median),
                output::number(k.low),
                output::number(k.high)
            )),
            output::number(ground.spectral_gap),
        )
    }

    fn heading(&self, target: f64) -> String {
        let bound = self.ground.lower_bound(target);
        let bound = bound.map_or("–".into(), |b| format!("{b:.0}"));
        format!("To a gap of {target:e} (√(κ/γ) ln(1/ε) = {bound}):")
    }

    /// Who is drawn, in one order and so in one colour each.
    fn drawn(&self) -> impl Iterator<Item = (usize, &Measured)> {
        let drawn = self.measured.iter().filter(|m| m.kind != Kind::Seed);
        drawn.enumerate()
    }

    /// Gap against rounds on the median problem.
    fn curves(&self) -> Plot {
        let series = self.drawn().map(|(_, m)| Series {
            floor: Some(m.gap_certificate),
            emphasis: m.kind == Kind::Rule,
            ..Series::new(
                m.contestant.clone(),
                m.curve.iter().map(|&(r, gap)| (r as f64, gap)).collect(),
            )
        });
        Plot {
            title: format!(
                "{}: gap against rounds, median problem",
                self.cell.plan.name
            ),
            x_label: "rounds".into(),
            y_label: "relative optimality gap".into(),
            x_log: true,
            y_log: true,
            series: series.collect(),
        }
    }

    /// Median (dot) and 10–90 % range (bar) of the rounds to every target.
    fn ranges(&self) -> Plot {
        let places: Vec<f64> = self.targets.iter().map(|(t, _)| -t.log10()).collect();
        let apart = places.windows(2).map(|p| p[1] - p[0]).fold(1.0, f64::min);
        let count = self.drawn().count() as f64;
        let bars = self.drawn().map(|(number, m)| {
            let aside = 0.7 * apart * ((number as f64 + 0.5) / count - 0.5);
            let mut points = Vec::new();
            // The smallest target first: where the first points stand decides how much of the axis is shown.
            for (k, place) in places.iter().enumerate().rev() {
                let Some(rounds) = spread_of_counts(rounds_of(&m.targets[k])) else {
                    continue;
                };
                let limit = self.cell.plan.steps;
                let x = place + aside;
                let at = |r: Option<u64>| (x, r.unwrap_or(limit) as f64);
                // Points that are not finite break the line.
                if rounds.low.is_some() {
                    points.extend([at(rounds.low), at(rounds.high), (x, f64::NAN)]);
                }
                if rounds.median.is_some() {
                    points.extend([at(rounds.median), (x, f64::NAN)]);
                }
            }
            Series {
                emphasis: m.kind == Kind::Rule,
                ..Series::new(m.contestant.clone(), points)
            }
        });
        let ends = [
            places[0] - 0.5 * apart,
            places[places.len() - 1] + 0.5 * apart,
        ];
        let between = |k: i32| ends[0] + (ends[1] - ends[0]) * f64::from(k) / 50.0;
        let order = (0..=50).filter_map(|k| {
            let digits = between(k);
            Some((digits, self.ground.lower_bound(10_f64.powf(-digits))?))
        });
        let order = Series::new("√(κ/γ) ln(1/ε)", order.collect());
        Plot {
            title: format!("{}: rounds to the targets", self.cell.plan.name),
            x_label: "digits of the gap, −log10 (dots: medians; bars: 10–90 % of the problems)"
                .into(),
            y_label: "rounds".into(),
            x_log: false,
            y_log: true,
            series: bars.chain([order]).collect(),
        }
    }
}

/// Smallest and largest median of a group, if it is one.
fn seeds(mut medians: Vec<Option<u64>>) -> Option<(Option<u64>, Option<u64>)> {
    if medians.len() < 2 {
        return None;
    }
    medians.sort_by(missing_last);
    Some((medians[0], medians[medians.len() - 1]))
}

/// Median and range.
pub fn rounds_text(rounds: &Spread<Option<u64>>) -> String {
    let text = output::count;
    match (rounds.low, rounds.high) {
        (None, _) => "∞".into(),
        (low, high) if low == high => text(rounds.median),
        (low, high) => format!("{} ({}–{})", text(rounds.median), text(low), text(high)),
    }
}

/// The median, and whether it is a lower bound.
pub fn at_least(ratio: &Ratio) -> String {
    let bound = if ratio.censored > 0 { "≥ " } else { "" };
    format!("{bound}{:.2}", ratio.spread.median)
}

fn ratio_text(ratio: &Option<Ratio>) -> String {
    let Some(ratio) = ratio else {
        return "–".into();
    };
    let Spread { low, high, .. } = ratio.spread;
    format!("{} ({low:.2}–{high:.2})", at_least(ratio))
}

/// The machine and the moment.
#[derive(Serialize)]
struct System {
    version: &'static str,
    cpu: String,
    cores: usize,
    threads: usize,
    date: String,
}

impl System {
    fn here() -> Self {
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cpu: model.map_or(std::env::consts::ARCH.into(), |(_, name)| {
                name.trim().into()
            }),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
            date: date(SystemTime::now()),
        }
    }
}

/// `2026-11-25`, UTC (Hinnant, *chrono-compatible low-level date algorithms*: years that begin in March, eras of 400 years).
fn date(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let days = seconds.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

impl<'a> Report<'a> {
    pub fn new(name: &'a str, results: &'a [(&'a Cell, Ground, Vec<Measured>)]) -> Self {
        Self {
            name,
            chapters: results.iter().map(Chapter::new).collect(),
        }
    }

    /// Every figure: cell by cell, target by target, contestant by contestant.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let targets = self.chapters.iter().flat_map(|c| &c.targets);
        targets.flat_map(|(_, entries)| entries)
    }

    /// One row per cell and rule: the ratio for every target.
    pub fn summary(&self) -> Table {
        let mut targets: Vec<f64> = self.entries().map(|e| e.target).collect();
        targets.sort_by(|a, b| b.total_cmp(a));
        targets.dedup();
        let mut columns = vec![("cell".to_string(), false), ("rule".into(), false)];
        for target in &targets {
            columns.extend([
                (format!("rounds to {target:e}"), true),
                ("best published ÷ rule".into(), true),
                ("by".into(), false),
                ("best rung ÷ rule".into(), true),
            ]);
        }
        columns.push(("failed".into(), true));
        let mut table = Table::new(columns);
        for chapter in &self.chapters {
            let rules = chapter.measured.iter().filter(|m| m.kind == Kind::Rule);
            for rule in rules {
                let mut cells = vec![chapter.cell.plan.name.clone(), rule.contestant.clone()];
                let mut failed = String::new();
                for target in &targets {
                    let entries = chapter.targets.iter().filter(|(t, _)| t == target);
                    let mut own = entries.flat_map(|(_, entries)| entries);
                    let Some(e) = own.find(|e| e.contestant == rule.contestant) else {
                        cells.extend([const { String::new() }; 4]);
                        continue;
                    };
                    cells.extend([
                        rounds_text(&e.rounds),
                        ratio_text(&e.ratio),
                        e.best_published.clone().unwrap_or_default(),
                        ratio_text(&e.ratio_to_rung),
                    ]);
                    failed = format!("{}/{}", e.missed + e.diverged, e.trials);
                }
                cells.push(failed);
                table.rows.push(cells);
            }
        }
        table
    }

    /// One line per entry.
    fn csv(&self) -> Table {
        let text = [
            "cell",
            "problem",
            "graph",
            "contestant",
            "kind",
            "best_published",
            "best_rung",
            "algorithm",
            "on_grid_edge",
        ];
        let numbers = [
            "target",
            "trials",
            "rounds",
            "rounds_low",
            "rounds_high",
            "missed",
            "diverged",
            "floats_sent",
            "gradient_evaluations",
            "seconds",
            "ratio",
            "ratio_low",
            "ratio_high",
            "ratio_pairs",
            "ratio_censored",
            "ratio_to_rung",
            "ratio_to_rung_low",
            "ratio_to_rung_high",
            "lower_bound",
            "gap_certificate",
        ];
        let columns = text.map(|n| (n, false)).into_iter();
        let mut table = Table::new(columns.chain(numbers.map(|n| (n, true))));
        fn blank(value: Option<impl ToString>) -> String {
            value.map_or(String::new(), |v| v.to_string())
        }
        for e in self.entries() {
            let of_ratio = |ratio: &Option<Ratio>| {
                let spread = ratio.map(|r| r.spread);
                [
                    blank(spread.map(|s| s.median)),
                    blank(spread.map(|s| s.low)),
                    blank(spread.map(|s| s.high)),
                ]
            };
            let edge = e.tuning.as_ref().map(|t| t.on_grid_edge.join(" "));
            let mut cells = vec![
                e.cell.clone(),
                e.problem.clone(),
                e.graph.clone(),
                e.contestant.clone(),
                format!("{:?}", e.kind),
                blank(e.best_published.as_ref()),
                blank(e.best_rung.as_ref()),
                e.algorithm.clone(),
                blank(edge),
                format!("{:e}", e.target),
                e.trials.to_string(),
                blank(e.rounds.median),
                blank(e.rounds.low),
                blank(e.rounds.high),
                e.missed.to_string(),
                e.diverged.to_string(),
                blank(e.floats_sent),
                blank(e.gradient_evaluations),
                blank(e.seconds),
            ];
            cells.extend(of_ratio(&e.ratio));
            cells.push(blank(e.ratio.map(|r| r.pairs)));
            cells.push(blank(e.ratio.map(|r| r.censored)));
            cells.extend(of_ratio(&e.ratio_to_rung));
            cells.push(blank(e.lower_bound));
            cells.push(format!("{:e}", e.gap_certificate));
            table.rows.push(cells);
        }
        table
    }

    /// Writes page, tables, JSON and plots into `out`.
    pub fn write(&self, out: &Path) -> anyhow::Result<()> {
        let system = System::here();
        let introduction = [
            "Every method is tuned for every target on problems apart from the test problems. Rounds, floats sent and gradient \
             evaluations of one agent are medians over the test problems (of an even number the larger middle one) with the 10–90 % \
             range in brackets; a round is one exchange of one d-vector over every edge in both directions. ∞: the target was not reached within the limit on rounds, where bars in plots \
             end that have no end.",
            "A ratio is taken problem by problem: the rounds of the best published method (smallest median for that target) over those \
             of the contestant; above 1 the contestant is faster. Where only the contestant reached the target, the limit on rounds \
             stands for the other's, and “≥” says so; where only the other did, the ratio is 0. Rungs are what a sceptic asks for beside \
             the published methods, tuned the same way: the rules' own structure without networks (Constants), momentum added to a published method. \
             On a data set methods are tuned on bootstrap resamples of its rows; the trials differ in how the rows are split \
             (and, where agents do not divide the rows, in their weights).",
            "√(κ/γ) ln(1/ε) is the order of rounds that no method can beat in the worst case (Scaman et al. 2017, constants left out, so \
             single problems may lie below): κ is the ratio of the largest to the smallest eigenvalue of the averaged Hessian at x*, \
             l2 included, on the coordinates that are not zero there; γ the largest spectral gap 1 − σ among the mixing matrices that tuning \
             chooses from. “–” where κ is undefined: no such coordinate, or a singular Hessian. The median problem is the one whose κ is the median.",
        ]
        .join("\n\n");
        let provenance = format!(
            "starling {}, {}, {} cores, {} threads, {}.",
            system.version, system.cpu, system.cores, system.threads, system.date
        );
        let summary = self.summary();
        let mut markdown = format!(
            "# {}\n\n{introduction}\n\n{provenance}\n\n{}",
            self.name,
            summary.to_markdown()
        );
        let mut sections = vec![Section {
            heading: "Summary".into(),
            blocks: vec![Block::Table(summary)],
        }];
        for chapter in &self.chapters {
            let name = &chapter.cell.plan.name;
            markdown += &format!("\n## {name}\n\n{}\n", chapter.intro());
            let mut blocks = vec![Block::Text(chapter.intro())];
            for (target, entries) in &chapter.targets {
                let table = chapter.table(entries);
                markdown += &format!("\n{}\n\n{}", chapter.heading(*target), table.to_markdown());
                blocks.extend([Block::Text(chapter.heading(*target)), Block::Table(table)]);
            }
            blocks.extend([Block::Plot(chapter.curves()), Block::Plot(chapter.ranges())]);
            sections.push(Section {
                heading: name.clone(),
                blocks,
            });
        }
        let page = Page {
            title: self.name.into(),
            intro: format!("{introduction}\n\n{provenance}"),
            sections,
        };
        let grounds: serde_json::Map<_, _> = self
            .chapters
            .iter()
            .map(|c| Ok((c.cell.plan.name.clone(), serde_json::to_value(c.ground)?)))
            .collect::<serde_json::Result<_>>()?;
        let results = serde_json::json!({
            "suite": self.name, "system": system, "cells": grounds, "results": Vec::from_iter(self.entries()),
        });
        self.chapters.par_iter().try_for_each(|chapter| {
            for (what, plot) in [("gap", chapter.curves()), ("rounds", chapter.ranges())] {
                let file = out.join(format!("plots/{}-{what}", chapter.cell.plan.name));
                write_atomic(&file.with_added_extension("svg"), plot.svg()?.as_bytes())?;
                write_atomic(&file.with_added_extension("png"), &plot.png()?)?;
            }
            anyhow::Ok(())
        })?;
        write_atomic(&out.join("summary.md"), markdown.as_bytes())?;
        write_atomic(&out.join("summary.csv"), self.csv().to_csv()?.as_bytes())?;
        write_atomic(
            &out.join("results.json"),
            &serde_json::to_vec_pretty(&results)?,
        )?;
        write_atomic(&out.join("index.html"), page.html()?.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_of_known_moments() {
        // `date -u -d @… +%F`
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_735_689_600, "2025-01-01"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
