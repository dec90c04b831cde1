//! `starling eval`: rules against tuned handcrafted methods on the same problems; table, JSON, plots, one page.

use super::contest::{Contestant, test_problems};
use super::output::failed_text;
use super::record::{Axes, GAP_AGAINST_ROUNDS, Record, Subject, plot, target_key};
use super::tune::{methods, problems, tune_all};
use super::{Context, input, output, stop};
use serde::Serialize;
use starling::files::{check_writable, write_atomic};
use starling::graph::{Graph, svg};
use starling::problem::{Optimum, Problem, ProblemSpec};
use starling::report::{Block, Page, Plot, Section, Table};
use starling::roster::AlgorithmSpec;
use starling::simulate::run::TARGETS;
use starling::simulate::tuning::Goal;
use starling::simulate::{Options, Sample, Status, Trace};
use std::path::{Path, PathBuf};

/// Compare rules with tuned handcrafted methods.
#[derive(clap::Args)]
#[command(
    after_help = "Handcrafted methods are tuned on problems apart from the test problems (--tuning-problems 0: steps from theory).
Examples:
  starling eval --rules models/demo/rule.ron --problem 'Lasso(dimension: 60, rows: 10)' --graph 'Ring(10)' --trials 10
  starling eval --rules models/demo/rule.ron --problem 'Data(path: \"datasets/ionosphere.libsvm.gz\", loss: Logistic, l1: 0.01)' --graph 'Ring(10)' --steps 10000 --baselines all"
)]
pub struct Args {
    /// Rule files, separated by commas
    #[arg(long, value_delimiter = ',')]
    rules: Vec<PathBuf>,
    /// The problem or family, as RON or @file
    #[arg(long)]
    problem: String,
    /// The graph, as RON or @file
    #[arg(long)]
    graph: String,
    /// At most this many iterations and this many rounds for every algorithm
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// `all`, `none`, or names separated by commas
    #[arg(long, default_value = "all")]
    baselines: String,
    /// Test problems (default: 5 of a family, 1 of a data set)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=input::MOST_PROBLEMS))]
    trials: Option<u64>,
    /// Problems that handcrafted methods are tuned on; 0: steps from theory
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=input::MOST_PROBLEMS))]
    tuning_problems: u64,
    /// Relative gap that methods are tuned for
    #[arg(long, default_value_t = 1e-6)]
    tuning_target: f64,
    /// Seed of graph and problems
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for table, JSON, plots and page
    #[arg(long, value_name = "FOLDER", default_value = "eval")]
    out: PathBuf,
}

/// A comparison to make.
pub struct Plan {
    pub spec: ProblemSpec,
    pub graph: Graph,
    pub rules: Vec<PathBuf>,
    pub baselines: Vec<AlgorithmSpec>,
    pub steps: u64,
    pub trials: u64,
    pub tuning_problems: u64,
    pub tuning: Goal,
    pub seed: u64,
    pub out: PathBuf,
}

/// One algorithm over all trials; the record is that of the median trial.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub record: Record,
    pub trials: usize,
    /// Trials that did not reach the gap tuned for, and those of them that diverged.
    pub failed: usize,
    pub diverged: usize,
    /// Smallest and largest number of rounds over the trials that reached the target.
    pub rounds_to_range: std::collections::BTreeMap<String, Option<(u64, u64)>>,
    pub on_grid_edge: Vec<String>,
    #[serde(skip)]
    samples: Vec<Sample>,
    #[serde(skip)]
    learned: bool,
}

/// Runs the comparison and writes its folder.
pub fn compare(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let graph = &plan.graph;
    check_writable(&plan.out)?;
    anyhow::ensure!(
        !plan.rules.is_empty() || !plan.baselines.is_empty(),
        "nothing to run; expected at least one rule or baseline"
    );
    let mut contestants = plan
        .rules
        .iter()
        .map(|path| Contestant::learned(path))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let tests = test_problems(&plan.spec, graph, plan.trials, plan.seed)?;
    for rule in &contestants {
        rule.warn_outside_envelope(&tests[0].0);
    }
    if plan.tuning_problems == 0 {
        let untuned = |m: &AlgorithmSpec| Contestant::handcrafted(m.clone(), None);
        contestants.extend(plan.baselines.iter().map(untuned));
    } else {
        let tuning = problems(&plan.spec, graph, plan.tuning_problems, plan.seed)?;
        for (method, tuned) in tune_all(&plan.baselines, &tuning, graph, plan.tuning, |_, _| {})? {
            if !tuned.on_edge.is_empty() {
                tracing::info!(
                    "{}: the best {} lies on the grid's edge",
                    method.name(),
                    tuned.on_edge.join(", ")
                );
            }
            contestants.push(Contestant::handcrafted(method, Some(tuned)));
        }
    }
    let bar = output::bar(
        (contestants.len() * tests.len()) as u64,
        "running {bar:30} {pos}/{len} runs  {msg}  {elapsed}",
    );
    let options = Options {
        steps: plan.steps,
        rounds: Some(plan.steps),
        targets: targets(plan.tuning.target),
        ..Options::default()
    };
    let mut rows = Vec::new();
    for contestant in &contestants {
        bar.set_message(contestant.name.clone());
        // One after the other: seconds are part of the result.
        let mut traces = Vec::new();
        for test in &tests {
            traces.push(contestant.run(test, graph, &options)?);
            bar.inc(1);
            if stop::requested() {
                break;
            }
        }
        if stop::requested() {
            break;
        }
        rows.push(row(contestant, &tests, traces, plan));
    }
    bar.finish_and_clear();
    anyhow::ensure!(
        !rows.is_empty(),
        "stopped before the first algorithm was through"
    );
    let _saving = stop::saving();
    write(&rows, plan)?;
    Ok(rows)
}

/// The gaps that reports speak of, and the one tuned for.
fn targets(tuned_for: f64) -> Vec<f64> {
    let mut targets = TARGETS.to_vec();
    if !targets.contains(&tuned_for) {
        targets.push(tuned_for);
    }
    targets
}

/// Median trial: by rounds to 1e-6, then to 1e-3, then by final gap.
fn row(
    contestant: &Contestant,
    tests: &[(Problem, Optimum)],
    traces: Vec<Trace>,
    plan: &Plan,
) -> Row {
    let key = |t: &Trace| {
        let gap = if t.last().gap.is_finite() {
            t.last().gap
        } else {
            f64::MAX
        };
        (
            t.rounds_to(1e-6).unwrap_or(u64::MAX),
            t.rounds_to(1e-3).unwrap_or(u64::MAX),
            gap,
        )
    };
    let mut order: Vec<usize> = (0..traces.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (key(&traces[a]), key(&traces[b]));
        (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2))
    });
    let median = order[order.len() / 2];
    let (problem, best) = &tests[median];
    let mut subject = Subject::new(&contestant.at(problem), problem, &plan.graph, plan.seed);
    if contestant.tuned.is_some() {
        subject.step_origin = "tuned".into();
    }
    let mut record = Record::new(subject, &traces[median], best);
    let mut range = std::collections::BTreeMap::new();
    for target in targets(plan.tuning.target) {
        let mut rounds: Vec<u64> = traces
            .iter()
            .map(|t| t.rounds_to(target).unwrap_or(u64::MAX))
            .collect();
        rounds.sort_unstable();
        let at_median = rounds[rounds.len() / 2];
        record.rounds_to.insert(
            target_key(target),
            (at_median != u64::MAX).then_some(at_median),
        );
        let reached: Vec<u64> = rounds.into_iter().filter(|r| *r != u64::MAX).collect();
        range.insert(
            target_key(target),
            reached.first().copied().zip(reached.last().copied()),
        );
    }
    Row {
        record,
        trials: traces.len(),
        failed: traces
            .iter()
            .filter(|t| t.rounds_to(plan.tuning.target).is_none())
            .count(),
        diverged: traces
            .iter()
            .filter(|t| t.rounds_to(plan.tuning.target).is_none())
            .filter(|t| matches!(t.status, Status::Diverged { .. }))
            .count(),
        rounds_to_range: range,
        on_grid_edge: contestant
            .tuned
            .as_ref()
            .map_or(Vec::new(), |t| t.on_edge.clone()),
        samples: traces
            .into_iter()
            .nth(median)
            .map_or(Vec::new(), |t| t.samples),
        learned: contestant.rule.is_some(),
    }
}

/// The table of a comparison, best rounds to 1e-6 first.
pub fn table(rows: &[Row]) -> Table {
    let shown = [1e-3, 1e-6, 1e-10];
    let mut columns = vec![
        ("algorithm".to_string(), false),
        ("rounds per iteration".into(), true),
    ];
    columns.extend(shown.iter().map(|t| (format!("rounds to {t:e}"), true)));
    columns.extend([
        ("final gap".into(), true),
        ("floats sent".into(), true),
        ("seconds".into(), true),
        ("failed".into(), true),
        ("status".into(), false),
        ("as run".into(), false),
    ]);
    let mut table = Table::new(columns);
    let mut sorted: Vec<&Row> = rows.iter().collect();
    let rank = |r: &Row, t: f64| {
        r.record
            .rounds_to
            .get(&target_key(t))
            .copied()
            .flatten()
            .unwrap_or(u64::MAX)
    };
    let order = |v: f64| if v.is_finite() { v } else { f64::MAX };
    sorted.sort_by(|a, b| {
        (rank(a, 1e-6), rank(a, 1e-3))
            .cmp(&(rank(b, 1e-6), rank(b, 1e-3)))
            .then(order(a.record.gap).total_cmp(&order(b.record.gap)))
    });
    for r in sorted {
        let rounds = |t: f64| {
            let key = target_key(t);
            let median = r.record.rounds_to.get(&key).copied().flatten();
            match (median, r.rounds_to_range.get(&key).copied().flatten()) {
                (Some(m), Some((low, high))) if low != high => format!("{m} ({low}–{high})"),
                (Some(m), _) => m.to_string(),
                (None, _) => "–".into(),
            }
        };
        let mut cells = vec![
            if r.learned {
                format!("{} (learned)", r.record.subject.name)
            } else {
                r.record.subject.name.clone()
            },
            output::number(r.record.rounds as f64 / r.record.iterations.max(1) as f64),
        ];
        cells.extend(shown.iter().map(|t| rounds(*t)));
        let edge = if r.on_grid_edge.is_empty() {
            String::new()
        } else {
            format!(" [grid edge: {}]", r.on_grid_edge.join(", "))
        };
        cells.extend([
            output::gap(r.record.gap, r.record.gap_certificate)
                + if r.record.gap_relative {
                    ""
                } else {
                    " absolute"
                },
            r.record.floats_sent.to_string(),
            output::number(r.record.seconds),
            failed_text(r.failed, r.trials, r.diverged),
            r.record.status.clone(),
            format!(
                "{} ({}){edge}",
                r.record.subject.algorithm, r.record.subject.step_origin
            ),
        ]);
        table.rows.push(cells);
    }
    table
}

/// A problem in a plot's title: a data set by its file's name.
fn short(spec: &ProblemSpec) -> String {
    match spec {
        ProblemSpec::Data { path, loss, .. } => {
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            format!("{} ({loss})", file.split('.').next().unwrap_or(&file))
        }
        family => family.to_string(),
    }
}

/// Gap against rounds, floats and seconds; consensus error against rounds.
fn plots(rows: &[Row], plan: &Plan) -> Vec<(&'static str, Plot)> {
    let title = format!("{}, {}", short(&plan.spec), plan.graph.name());
    let against_floats = Axes {
        x_label: "floats sent over all edges",
        point: |s| Some((s.floats_sent as f64, s.gap)),
        ..GAP_AGAINST_ROUNDS
    };
    let against_seconds = Axes {
        x_label: "seconds in steps",
        point: |s| Some((s.seconds, s.gap)),
        ..GAP_AGAINST_ROUNDS
    };
    let consensus = Axes {
        y_label: "consensus error",
        point: |s| s.consensus_error.map(|c| (s.rounds as f64, c)),
        certified: false,
        ..GAP_AGAINST_ROUNDS
    };
    [
        ("gap-rounds", "Gap against rounds", GAP_AGAINST_ROUNDS),
        ("gap-floats", "Gap against floats sent", against_floats),
        ("gap-seconds", "Gap against seconds", against_seconds),
        (
            "consensus-rounds",
            "Consensus error against rounds",
            consensus,
        ),
    ]
    .map(|(file, what, axes)| {
        let curves = rows.iter().map(|r| (&r.record, &r.samples[..], r.learned));
        (file, plot(format!("{what}: {title}"), &axes, curves))
    })
    .into()
}

fn write(rows: &[Row], plan: &Plan) -> anyhow::Result<()> {
    let out = &plan.out;
    let table = table(rows);
    write_atomic(&out.join("table.md"), table.to_markdown().as_bytes())?;
    write_atomic(&out.join("table.csv"), table.to_csv()?.as_bytes())?;
    write_atomic(
        &out.join("results.json"),
        serde_json::to_string_pretty(rows)?.as_bytes(),
    )?;
    let plots = plots(rows, plan);
    for (name, plot) in &plots {
        write_atomic(&out.join(format!("{name}.svg")), plot.svg()?.as_bytes())?;
        write_atomic(&out.join(format!("{name}.png")), &plot.png()?)?;
    }
    let method = format!(
        "Medians over {} test problems, smallest and largest in brackets; every algorithm had at most {} rounds. Failed: did not \
         reach the gap tuned for, diverged or not. Handcrafted methods were tuned for a gap of {:e} on {} problems apart from the test problems. A round is one exchange of one d-vector over every edge in both \
         directions. Curves are those of the median problem; a gap below the optimum's certificate is drawn as ≤.",
        rows[0].trials, plan.steps, plan.tuning.target, plan.tuning_problems
    );
    let drawing = Block::Figure {
        svg: svg(&plan.graph),
        caption: format!(
            "{}: {} agents, {} edges",
            plan.graph.name(),
            plan.graph.agents(),
            plan.graph.edges().len()
        ),
    };
    let page = Page {
        title: format!("{} on {}", plan.spec, plan.graph.name()),
        intro: method,
        sections: vec![
            Section {
                heading: "Results".into(),
                blocks: vec![Block::Table(table)],
            },
            Section {
                heading: "Curves".into(),
                blocks: plots.into_iter().map(|(_, p)| Block::Plot(p)).collect(),
            },
            Section {
                heading: "The graph".into(),
                blocks: vec![drawing],
            },
        ],
    };
    write_atomic(&out.join("index.html"), page.html()?.as_bytes())?;
    Ok(())
}

/// Names the files of a comparison.
pub fn files(out: &Path) -> String {
    format!(
        "{0}/index.html, {0}/table.md, {0}/table.csv, {0}/results.json, {0}/gap-rounds.svg (and .png, -floats, -seconds, consensus-)",
        out.display()
    )
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.tuning_target.is_finite() && args.tuning_target > 0.0,
        "--tuning-target is {}, expected a gap > 0",
        args.tuning_target
    );
    let spec = input::problem(&args.problem)?;
    let plan = Plan {
        graph: input::graph("--graph", &args.graph, args.seed)?,
        baselines: methods("--baselines", &args.baselines)?,
        rules: args.rules,
        steps: args.steps,
        trials: args.trials.unwrap_or(if spec.is_data() { 1 } else { 5 }),
        tuning_problems: args.tuning_problems,
        tuning: Goal {
            target: args.tuning_target,
            rounds: args.steps,
        },
        seed: args.seed,
        out: args.out,
        spec,
    };
    let rows = compare(&plan)?;
    if context.json {
        rows.iter().for_each(output::json);
    } else {
        output::line(table(&rows).to_text());
    }
    tracing::info!("written: {}", files(&plan.out));
    Ok(())
}
