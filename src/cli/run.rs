//! `starling run`: one algorithm on one problem, by the plain simulator.

use super::contest::warn_where_useless;
use super::record::{GAP_AGAINST_ROUNDS, RESIDUAL_AGAINST_ROUNDS, Record, Subject, plot};
use super::{Context, input, output, stop};
use starling::field::Field;
use starling::files::{check_writable, write_atomic};
use starling::graph::Graph;
use starling::network::Network;
use starling::problem::{Optimum, ProblemSpec, Role, optimum};
use starling::report::Plot;
use starling::roster::AlgorithmSpec;
use starling::simulate::{Options, Trace, simulate};
use std::path::{Path, PathBuf};

/// Run one algorithm on one problem.
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C ends the run and reports what there is. Examples:
  starling run --algorithm ProxEd --problem 'Lasso(dimension: 300, rows: 10, l1: 0.1)' --graph 'Ring(10)' --steps 5000
  starling run --algorithm 'Rule(\"models/demo/rule.ron\")' --problem 'Lasso(dimension: 60, rows: 10)' --graph 'Star(8)' --steps 100000 --out run
  starling run --algorithm ProxEd --problem 'Lasso(dimension: 300, rows: 10)' --graph 'Ring(10)' --optimum none --until-residual 1e-6 --steps 5000
  starling run --algorithm 'ProxEd(step: 0.03)' --problem @problem.ron --graph @graph.ron --json")]
pub struct Args {
    /// The algorithm, as RON or @file
    #[arg(long)]
    algorithm: String,
    /// The problem, as RON or @file
    #[arg(long)]
    problem: String,
    /// The graph, as RON or @file
    #[arg(long)]
    graph: String,
    /// Iterations
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Stop as soon as the relative gap is at or below this
    #[arg(long, value_name = "GAP")]
    until: Option<f64>,
    /// Stop as soon as the stationarity residual of the mean, in units of the start's, is at or below this
    #[arg(long, value_name = "RESIDUAL")]
    until_residual: Option<f64>,
    /// `certified` (solved first), `none` (no gaps: a run is judged by its residual), or a number that you know
    #[arg(long, value_name = "F*", default_value = "certified")]
    optimum: String,
    /// Seed of graph and problem
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write trace.csv, result.json, solution.csv (the mean and every agent's point), gap.svg and gap.png into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Solve for F* again even if it is cached
    #[arg(long)]
    no_cache: bool,
}

/// The measurements as CSV.
fn trace_csv(trace: &Trace) -> String {
    let mut text = String::from(
        "iteration,rounds,vectors_per_edge,floats_sent,seconds,objective,gap,worst_gap,residual,consensus_error,dual_drift\n",
    );
    // No gaps without F*.
    let known = |gap: f64| (!gap.is_nan()).then_some(gap);
    let blank = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:e}"));
    for s in &trace.samples {
        text += &format!(
            "{},{},{},{},{:.6},{:e},{},{},{},{},{}\n",
            s.iteration,
            s.rounds,
            s.vectors_per_edge,
            s.floats_sent,
            s.seconds,
            s.objective,
            blank(known(s.gap)),
            blank(s.worst_gap.and_then(known)),
            blank(s.residual),
            blank(s.consensus_error),
            blank(s.dual_drift)
        );
    }
    text
}

/// The mean over agents, then every agent's own point: a column each, a row per coordinate.
fn solution_csv(x: &Field) -> String {
    let agents: Vec<String> = (0..x.rows()).map(|i| format!("agent_{i}")).collect();
    let mut text = format!("mean,{}\n", agents.join(","));
    for (k, mean) in x.mean().iter().enumerate() {
        let own: Vec<String> = (0..x.rows())
            .map(|i| format!("{:e}", x.row(i)[k]))
            .collect();
        text += &format!("{mean:e},{}\n", own.join(","));
    }
    text
}

/// The unit of the last digit of a number in decimal: 0.001 of `2.123`, 10 of `1.5e2`.
fn last_digit(text: &str) -> f64 {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse().unwrap_or(0)),
        None => (text, 0),
    };
    let decimals = digits.split_once('.').map_or(0, |(_, after)| after.len());
    10_f64.powi(exponent - decimals as i32)
}

/// What gaps are measured against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reference {
    /// `F*`, solved and certified.
    Certified,
    /// Nothing.
    None,
    /// A number that the user knows, to half a unit of its last digit.
    Given { value: f64, within: f64 },
}

impl std::str::FromStr for Reference {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match (text, text.parse::<f64>()) {
            ("certified", _) => Ok(Self::Certified),
            ("none", _) => Ok(Self::None),
            (_, Ok(value)) if value.is_finite() => Ok(Self::Given {
                value,
                within: last_digit(text) / 2.0,
            }),
            _ => anyhow::bail!("--optimum {text}, expected certified, none or a finite number"),
        }
    }
}

/// One algorithm on one problem.
pub struct Job {
    pub algorithm: AlgorithmSpec,
    pub problem: ProblemSpec,
    pub graph: Graph,
    pub seed: u64,
    pub options: Options,
    /// Where F* is cached, if anywhere.
    pub cache: Option<PathBuf>,
    /// What gaps are measured against.
    pub optimum: Reference,
    /// Folder for trace.csv, result.json, solution.csv, gap.svg and gap.png, if any.
    pub out: Option<PathBuf>,
}

/// Simulates with a progress bar that shows rounds per second and the gap; writes the job's folder and prints the record.
pub fn measure(job: &Job, context: Context) -> anyhow::Result<()> {
    let problem = job
        .problem
        .sample(job.graph.agents(), job.seed, Role::Test, 0)?;
    if let Some(folder) = &job.out {
        check_writable(folder)?;
    }
    let mut network = Network::new(&job.graph);
    let mut process = job.algorithm.start(&problem, &mut network)?;
    let best = match job.optimum {
        Reference::Certified => {
            let best = optimum::solve_cached(&problem, job.cache.as_deref())?;
            let certificate = warn_where_useless(&problem, &best);
            if let Some(until) = job.options.until.filter(|u| *u < certificate) {
                tracing::warn!(
                    "--until {until:e} is below the certificate {certificate:.1e} of F*: no run can be known to reach it"
                );
            }
            Some(best)
        }
        // As many digits as were typed are believed, and no more.
        Reference::Given { value, within } => Some(Optimum::given(value, within)),
        Reference::None => None,
    };
    let bar = output::bar(
        job.options.steps,
        "{bar:40} {pos}/{len} steps  {msg}  {eta} left",
    );
    let trace = simulate(
        process.as_mut(),
        &problem,
        &mut network,
        best.as_ref(),
        &job.options,
        |s| {
            bar.set_position(s.iteration);
            let speed = s.rounds as f64 / s.seconds.max(1e-9);
            let how_far = match s.residual {
                Some(residual) => format!("residual {residual:.1e}"),
                None => format!("gap {:.1e}", s.gap),
            };
            bar.set_message(format!("{speed:.0} rounds/s  {how_far}"));
        },
    );
    bar.finish_and_clear();
    let trace = trace?;
    let subject = Subject::new(&job.algorithm, &problem, &job.graph, job.seed);
    let record = Record::new(subject, &trace, best.as_ref());
    let _saving = stop::saving();
    if let Some(folder) = &job.out {
        write(folder, &record, &trace)?;
        let solution = solution_csv(process.iterate());
        write_atomic(&folder.join("solution.csv"), solution.as_bytes())?;
    }
    if context.json {
        output::json(&record);
    } else {
        record.print();
    }
    Ok(())
}

fn write(folder: &Path, record: &Record, trace: &Trace) -> anyhow::Result<()> {
    let about = &record.subject;
    let title = format!("{} on {}, {}", about.name, about.problem, about.graph);
    let axes = match record.optimum {
        Some(_) => GAP_AGAINST_ROUNDS,
        None => RESIDUAL_AGAINST_ROUNDS,
    };
    let plot = Plot {
        x_log: record.rounds > 5_000,
        ..plot(title, &axes, [(record, &trace.samples[..], true)])
    };
    write_atomic(&folder.join("trace.csv"), trace_csv(trace).as_bytes())?;
    write_atomic(
        &folder.join("result.json"),
        serde_json::to_string_pretty(record)?.as_bytes(),
    )?;
    write_atomic(&folder.join("gap.svg"), plot.svg()?.as_bytes())?;
    write_atomic(&folder.join("gap.png"), &plot.png()?)?;
    Ok(())
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    if let Some(until) = args.until {
        anyhow::ensure!(
            until.is_finite() && until >= 0.0,
            "--until is {until}, expected a finite gap ≥ 0"
        );
    }
    if let Some(until) = args.until_residual {
        anyhow::ensure!(
            until.is_finite() && until >= 0.0,
            "--until-residual is {until}, expected a finite number ≥ 0"
        );
    }
    let optimum: Reference = args.optimum.parse()?;
    anyhow::ensure!(
        optimum != Reference::None || args.until.is_none(),
        "--until is a gap, and there are none with --optimum none; expected --until-residual"
    );
    let job = Job {
        optimum,
        algorithm: input::algorithm("--algorithm", &args.algorithm)?,
        problem: input::problem(&args.problem)?,
        graph: input::graph("--graph", &args.graph, args.seed)?,
        seed: args.seed,
        options: Options {
            steps: args.steps,
            until: args.until,
            until_residual: args.until_residual,
            stop: stop::requested_and_saving,
            ..Options::default()
        },
        cache: input::cache(args.no_cache),
        out: args.out,
    };
    measure(&job, context)?;
    if let Some(folder) = &job.out {
        tracing::info!("written to {}", folder.display());
    }
    Ok(())
}
