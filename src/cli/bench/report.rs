//! The report of a bench: one entry per cell, contestant and target, and what is made of them.

use super::super::output;
use super::cell::{AtTarget, Cell, Ground, Kind, Measured, Outcome, Tuning};
use super::statistics::{
    Pair, Ratio, Spread, bootstrap, median, missing_last, paired, ratio, spread, spread_of_counts,
};
use rayon::prelude::*;
use serde::Serialize;
use starling::files::write_atomic;
use starling::report::{Block, Page, Plot, Section, Series, Table};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whom a contestant is measured against: the one with the fewest rounds among …
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// … all opponents.
    Any,
    /// … those with one gradient per iteration, published or not.
    OneGradient,
    /// … the published ones with one gradient per iteration.
    Published,
}

impl Reference {
    pub const ALL: [Self; 3] = [Self::Any, Self::OneGradient, Self::Published];

    fn includes(self, m: &Measured) -> bool {
        match (self, m.kind) {
            (Self::Any, Kind::Published | Kind::Rung) | (Self::OneGradient, Kind::Rung) => {
                self == Self::Any || !m.solves_locally
            }
            (Self::OneGradient | Self::Published, Kind::Published) => !m.solves_locally,
            _ => false,
        }
    }
}

/// A contestant against the best of a class of opponents.
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    pub opponents: Reference,
    pub opponent: String,
    /// The opponent's rounds over the contestant's, problem by problem.
    pub ratio: Option<Ratio>,
}

/// A rule as its recipe makes it, over all training seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Recipe {
    pub seeds: usize,
    /// Median and largest of the seeds' median rounds.
    pub rounds: Option<u64>,
    pub worst_rounds: Option<u64>,
    /// Per class of opponents, in the order of [`Entry::against`].
    pub ratios: Vec<Option<RecipeRatio>>,
    /// Runs of all seeds that missed the target or diverged.
    pub failed: usize,
    pub runs: usize,
}

/// A recipe's ratio to the best of a class of opponents.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RecipeRatio {
    /// Median of the seeds' median ratios, with its 95 % interval (bootstrap over the problems).
    pub median: f64,
    pub interval: (f64, f64),
    /// The smallest of the seeds' median ratios.
    pub worst: f64,
    /// Whether the median is only known to be at least this.
    pub bound: bool,
}

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
    pub solves_locally: bool,
    pub target: f64,
    pub trials: usize,
    pub rounds_limit: u64,
    /// Over the test problems; null where the target was not reached.
    pub rounds: Spread<Option<u64>>,
    /// Problems on which the target was not reached, and those of them on which the contestant diverged.
    pub failed: usize,
    pub diverged: usize,
    pub floats_sent: Option<u64>,
    pub gradient_evaluations: Option<u64>,
    pub local_solves: Option<u64>,
    /// Median over the problems of the worst agent's gap where the target was reached.
    pub worst_gap: Option<f64>,
    pub seconds: Option<f64>,
    /// Whom it meets, in the order of [`Reference::ALL`].
    pub against: Vec<Against>,
    /// Of the rule whose first seed this is.
    pub recipe: Option<Recipe>,
    /// Median of `√(κ/γ) ln(1/target)` where `κ` is defined.
    pub lower_bound: Option<f64>,
    /// Rounds after which everybody has all rows if rows are sent.
    pub rows_sent_after: u64,
    pub gram_sent_after: Option<u64>,
    pub algorithm: String,
    pub tuning: Option<Tuning>,
    pub outside_envelope: Vec<String>,
    pub gap_certificate: f64,
}

impl Entry {
    pub fn against(&self, opponents: Reference) -> Option<&Against> {
        self.against.iter().find(|a| a.opponents == opponents)
    }

    /// The recipe's ratio to the best of a class.
    pub fn recipe_ratio(&self, opponents: Reference) -> Option<RecipeRatio> {
        let place = self.against.iter().position(|a| a.opponents == opponents)?;
        self.recipe.as_ref()?.ratios.get(place).copied().flatten()
    }
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

/// The contestant of this class with the fewest rounds to target number `k`: smallest median, then fewest misses.
fn best(measured: &[Measured], opponents: Reference, k: usize) -> Option<&Measured> {
    let class = measured.iter().filter(|m| opponents.includes(m));
    class.min_by_key(|m| m.rank(k))
}

/// A group's rules, all seeds, against the chosen opponents.
fn recipe(rules: &[&Measured], opponents: &[Option<&Measured>], k: usize, limit: u64) -> Recipe {
    let mut rounds: Vec<Option<u64>> = rules.iter().map(|m| m.median(k)).collect();
    rounds.sort_by(missing_last);
    let outcomes = rules.iter().flat_map(|m| &m.targets[k].outcomes);
    let failed = outcomes.clone().filter(|o| o.rounds.is_none()).count();
    let ratio_to = |opponent: &Measured| {
        let reference = rounds_of(&opponent.targets[k]);
        let pairs: Vec<Vec<Pair>> = rules
            .iter()
            .map(|m| paired(&reference, &rounds_of(&m.targets[k]), limit))
            .collect();
        let of_seeds: Vec<Ratio> = pairs.iter().filter_map(|p| ratio(p)).collect();
        let medians = |of: &[Vec<Pair>], drawn: &[usize]| -> Vec<f64> {
            let of_seed = |pairs: &Vec<Pair>| {
                let drawn = drawn.iter().filter_map(|&j| pairs[j]);
                median(drawn.map(|pair| pair.0).collect())
            };
            of.iter().filter_map(of_seed).collect()
        };
        let middle = median(of_seeds.iter().map(|r| r.spread.median).collect())?;
        let interval = bootstrap(reference.len(), |drawn| median(medians(&pairs, drawn)));
        let of_seeds = of_seeds.iter();
        Some(RecipeRatio {
            median: middle,
            interval: interval.unwrap_or((middle, middle)),
            worst: of_seeds
                .clone()
                .map(|r| r.spread.median)
                .fold(f64::INFINITY, f64::min),
            bound: of_seeds
                .clone()
                .any(|r| r.bound && r.spread.median <= middle),
        })
    };
    Recipe {
        seeds: rules.len(),
        rounds: rounds.get(rounds.len() / 2).copied().flatten(),
        worst_rounds: rounds.last().copied().flatten(),
        ratios: opponents.iter().flatten().map(|o| ratio_to(o)).collect(),
        failed,
        runs: outcomes.count(),
    }
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
            let opponents = Reference::ALL.map(|class| best(measured, class, k));
            let entries = measured.iter().filter_map(|m| {
                let at = &m.targets[k];
                let counted = |count: fn(&Outcome) -> Option<u64>| {
                    spread_of_counts(at.outcomes.iter().map(count).collect())?.median
                };
                // A run that never got there takes part as one that takes for ever.
                let seconds = at
                    .outcomes
                    .iter()
                    .map(|o| o.seconds.unwrap_or(f64::INFINITY));
                let seconds = median(seconds.collect());
                let worst_gap = at.outcomes.iter().filter_map(|o| o.worst_gap);
                let failed = at.outcomes.iter().filter(|o| o.rounds.is_none()).count();
                let against = |(class, opponent): (Reference, &Option<&Measured>)| {
                    let opponent = (*opponent)?;
                    let reference = rounds_of(&opponent.targets[k]);
                    Some(Against {
                        opponents: class,
                        opponent: opponent.contestant.clone(),
                        ratio: ratio(&paired(&reference, &rounds_of(at), plan.steps)),
                    })
                };
                let group: Vec<&Measured> = measured
                    .iter()
                    .filter(|other| other.group == m.group)
                    .collect();
                let is_rule = m.kind == Kind::Rule;
                Some(Entry {
                    cell: plan.name.clone(),
                    problem: plan.problem.to_string(),
                    graph: plan.graph.to_string(),
                    contestant: m.contestant.clone(),
                    group: m.group.clone(),
                    kind: m.kind,
                    solves_locally: m.solves_locally,
                    target,
                    trials: at.outcomes.len(),
                    rounds_limit: plan.steps,
                    rounds: spread_of_counts(rounds_of(at))?,
                    failed,
                    diverged: at.outcomes.iter().filter(|o| o.diverged).count(),
                    floats_sent: counted(|o| o.floats_sent),
                    gradient_evaluations: counted(|o| o.gradient_evaluations),
                    local_solves: counted(|o| o.local_solves),
                    worst_gap: median(worst_gap.collect()),
                    seconds: seconds.filter(|s| s.is_finite()),
                    against: Reference::ALL
                        .into_iter()
                        .zip(&opponents)
                        .filter_map(against)
                        .collect(),
                    recipe: is_rule.then(|| recipe(&group, &opponents, k, plan.steps)),
                    lower_bound: ground.lower_bound(target),
                    rows_sent_after: ground.direct.rows,
                    gram_sent_after: ground.direct.gram,
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
        let mut columns = vec![
            ("contestant", false),
            ("rounds", true),
            ("best opponent ÷ this", true),
            ("failed", true),
            ("numbers sent", true),
            ("gradients", true),
            ("local solves", true),
            ("worst agent's gap", true),
        ];
        columns.extend(timed.then_some(("seconds", true)));
        columns.extend([("tuned on", false), ("as run on the first problem", false)]);
        let mut table = Table::new(columns);
        let mut sorted: Vec<&Entry> = entries.iter().collect();
        sorted.sort_by(|a, b| missing_last(&a.rounds.median, &b.rounds.median));
        for e in sorted {
            let kind = match e.kind {
                Kind::Rule | Kind::Seed => " (learned)",
                Kind::Rung => " (rung)",
                _ => "",
            };
            let count = output::count;
            let ratio = e.against(Reference::Any).and_then(|a| a.ratio);
            let mut cells = vec![
                format!("{}{kind}", e.contestant),
                rounds_text(&e.rounds),
                ratio.as_ref().map_or("–".into(), ratio_text),
                output::failed_text(e.failed, e.trials, e.diverged),
                count(e.floats_sent),
                count(e.gradient_evaluations),
                match e.solves_locally {
                    true => count(e.local_solves),
                    false => String::new(),
                },
                e.worst_gap
                    .map_or(String::new(), |gap| format!("{gap:.0e}")),
            ];
            if timed {
                cells.push(e.seconds.map_or("–".into(), output::number));
            }
            cells.push(e.tuning.as_ref().map_or(String::new(), |t| {
                let stage = if t.finalist { "finely" } else { "coarsely" };
                let cliff = match (t.finalist, t.settled) {
                    (true, false) if t.missed > 0 => ", misses some",
                    (true, false) => ", not settled",
                    _ => "",
                };
                let edge = match t.on_grid_edge.is_empty() {
                    true => String::new(),
                    false => format!(", grid edge: {}", t.on_grid_edge.join(", ")),
                };
                format!("{stage}{cliff}{edge}")
            }));
            cells.push(e.algorithm.clone());
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
        let gram = ground.direct.gram;
        let gram = gram.map_or(String::new(), |rounds| format!(", Gram matrices {rounds}"));
        let outside = match outside.is_empty() {
            true => String::new(),
            false => format!(
                " Outside what rules were trained on: {}.",
                outside.join("; ")
            ),
        };
        format!(
            "{} on {}: {} agents, {} edges, d = {}, {} rows per agent; {} test problems, {} to tune on{tuned_on}, at most {} rounds. κ = {}, \
             γ = {}. Gaps are certified to {certificate:.0e}. Sending all rows to everybody takes {} rounds{gram}.{outside}",
            plan.problem,
            plan.graph,
            ground.agents,
            ground.edges,
            ground.dimension,
            ground.rows,
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
            ground.direct.rows,
        )
    }

    fn heading(&self, target: f64) -> String {
        let bound = self.ground.lower_bound(target);
        let bound = bound.map_or("–".into(), |b| format!("{b:.0}"));
        format!("To a gap of {target:e} (√(κ/γ) ln(1/ε) = {bound}):")
    }

    /// Who is drawn, in one order and so in one colour each.
    fn drawn(&self) -> impl Iterator<Item = (usize, &Measured)> {
        let drawn = self.measured.iter();
        let drawn = drawn.filter(|m| !matches!(m.kind, Kind::Seed | Kind::Oracle));
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

/// Median and range.
pub fn rounds_text(rounds: &Spread<Option<u64>>) -> String {
    let text = output::count;
    match (rounds.low, rounds.high) {
        (None, _) => "∞".into(),
        (low, high) if low == high => text(rounds.median),
        (low, high) => format!("{} ({}–{})", text(rounds.median), text(low), text(high)),
    }
}

/// A median, and whether it is a lower bound.
pub fn at_least(median: f64, bound: bool) -> String {
    let sign = if bound { "≥ " } else { "" };
    format!("{sign}{median:.2}")
}

/// A median with its interval.
pub fn with_interval(median: f64, (low, high): (f64, f64), bound: bool) -> String {
    format!("{} ({low:.2}–{high:.2})", at_least(median, bound))
}

fn ratio_text(ratio: &Ratio) -> String {
    with_interval(ratio.spread.median, ratio.interval, ratio.bound)
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

    /// One row per cell, rule and target: what the recipe makes, against the best of every class of opponents.
    pub fn summary(&self) -> Table {
        let mut table = Table::new([
            ("cell", false),
            ("rule", false),
            ("gap", false),
            ("rounds, all seeds", true),
            ("best opponent", false),
            ("÷ rule (95 %)", true),
            ("worst seed", true),
            ("best with one gradient", false),
            ("÷ rule", true),
            ("best published of these", false),
            ("÷ rule", true),
            ("rows sent after", true),
            ("failed", true),
        ]);
        for e in self.entries() {
            let Some(recipe) = &e.recipe else {
                continue;
            };
            let mut cells = vec![
                e.cell.clone(),
                e.contestant.clone(),
                format!("{:e}", e.target),
                output::count(recipe.rounds),
            ];
            for class in Reference::ALL {
                let name = e
                    .against(class)
                    .map_or(String::new(), |a| a.opponent.clone());
                let ratio = e.recipe_ratio(class);
                cells.push(name);
                cells.push(ratio.map_or("–".into(), |r| match class {
                    Reference::Any => with_interval(r.median, r.interval, r.bound),
                    _ => at_least(r.median, r.bound),
                }));
                if class == Reference::Any {
                    cells.push(ratio.map_or("–".into(), |r| format!("{:.2}", r.worst)));
                }
            }
            cells.extend([
                e.rows_sent_after.to_string(),
                output::failed_text(recipe.failed, recipe.runs, 0),
            ]);
            table.rows.push(cells);
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
            "algorithm",
            "on_grid_edge",
            "best_opponent",
            "best_with_one_gradient",
            "best_published",
        ];
        let numbers = [
            "target",
            "trials",
            "rounds",
            "rounds_low",
            "rounds_high",
            "failed",
            "diverged",
            "floats_sent",
            "gradient_evaluations",
            "local_solves",
            "worst_gap",
            "seconds",
            "ratio",
            "ratio_interval_low",
            "ratio_interval_high",
            "ratio_pairs",
            "ratio_is_bound",
            "ratio_with_one_gradient",
            "ratio_published",
            "lower_bound",
            "rows_sent_after",
            "gap_certificate",
        ];
        let columns = text.map(|n| (n, false)).into_iter();
        let mut table = Table::new(columns.chain(numbers.map(|n| (n, true))));
        fn blank(value: Option<impl ToString>) -> String {
            value.map_or(String::new(), |v| v.to_string())
        }
        for e in self.entries() {
            let edge = e.tuning.as_ref().map(|t| t.on_grid_edge.join(" "));
            let [any, one, published] = Reference::ALL.map(|class| e.against(class));
            let name = |a: Option<&Against>| blank(a.map(|a| &a.opponent));
            let of = |a: Option<&Against>| a.and_then(|a| a.ratio);
            let middle = |a: Option<&Against>| blank(of(a).map(|r| r.spread.median));
            table.rows.push(vec![
                e.cell.clone(),
                e.problem.clone(),
                e.graph.clone(),
                e.contestant.clone(),
                format!("{:?}", e.kind),
                e.algorithm.clone(),
                blank(edge),
                name(any),
                name(one),
                name(published),
                format!("{:e}", e.target),
                e.trials.to_string(),
                blank(e.rounds.median),
                blank(e.rounds.low),
                blank(e.rounds.high),
                e.failed.to_string(),
                e.diverged.to_string(),
                blank(e.floats_sent),
                blank(e.gradient_evaluations),
                blank(e.local_solves),
                blank(e.worst_gap.map(|gap| format!("{gap:e}"))),
                blank(e.seconds),
                middle(any),
                blank(of(any).map(|r| r.interval.0)),
                blank(of(any).map(|r| r.interval.1)),
                blank(of(any).map(|r| r.pairs)),
                blank(of(any).map(|r| r.bound)),
                middle(one),
                middle(published),
                blank(e.lower_bound),
                e.rows_sent_after.to_string(),
                format!("{:e}", e.gap_certificate),
            ]);
        }
        table
    }

    /// Writes page, tables, JSON and plots into `out`.
    pub fn write(&self, out: &Path) -> anyhow::Result<()> {
        let system = System::here();
        let introduction = [
            "Every opponent is tuned coarsely for every target, the most promising ones finely, on problems apart from the test problems \
             (of a data set: other splits of its rows); a tuning problem missed costs twice the limit on rounds. Rounds, numbers sent, \
             gradients and local solves of one agent are medians over the test problems (of an even number the larger middle one), with \
             the 10–90 % range in brackets; a round is one exchange of one d-vector over every edge in both directions. ∞: the target was \
             not reached within the limit on rounds, where bars in plots end that have no end. Failed: the target was not reached, diverged or not.",
            "A ratio is taken problem by problem: the rounds of the best opponent (smallest median for that target) over those \
             of the contestant; above 1 the contestant is faster. In brackets the 95 % interval of the median (bootstrap over the problems; splits \
             of one data set are not independent data). Where only the contestant reached the target, the limit on rounds stands for the other's, and \
             “≥” says so where that makes the median a bound; where only the other did, the ratio is 0. A rule's figures are the median over \
             its training seeds, beside the worst seed. Opponents with local solves (Admm, Sonata) compute many gradients per round. Rungs are what nobody \
             published: the rules' own structure without networks (Constants), something added to a published method. The oracle is the best opponent with one \
             gradient per iteration, its step chosen with hindsight for every problem.",
            "Where sending the data takes fewer rounds than optimising, and is allowed, do that: the premise is that data stay where they are.",
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
