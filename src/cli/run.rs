//! `starling run`: one algorithm on one problem, by the plain simulator.

use super::contest::warn_where_useless;
use super::record::{GAP_AGAINST_ROUNDS, Record, Subject, plot};
use super::{Context, input, output, stop};
use starling::files::{check_writable, write_atomic};
use starling::graph::Graph;
use starling::network::Network;
use starling::problem::{ProblemSpec, Role, optimum};
use starling::report::Plot;
use starling::roster::AlgorithmSpec;
use starling::simulate::{Options, Trace, simulate};
use std::path::{Path, PathBuf};

/// Run one algorithm on one problem.
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C ends the run and reports what there is. Examples:
  starling run --algorithm ProxEd --problem 'Lasso(dimension: 300, rows: 10, l1: 0.1)' --graph 'Ring(10)' --steps 5000
  starling run --algorithm 'Rule(\"models/demo/rule.ron\")' --problem 'Lasso(dimension: 60, rows: 10)' --graph 'Star(8)' --steps 100000 --out run
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
    /// Seed of graph and problem
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write trace.csv, result.json, gap.svg and gap.png into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Solve for F* again even if it is cached
    #[arg(long)]
    no_cache: bool,
}

/// The measurements as CSV.
fn trace_csv(trace: &Trace) -> String {
    let mut text = String::from(
        "iteration,rounds,vectors_per_edge,floats_sent,seconds,objective,gap,worst_gap,consensus_error,dual_drift\n",
    );
    let blank = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:e}"));
    for s in &trace.samples {
        text += &format!(
            "{},{},{},{},{:.6},{:e},{:e},{},{},{}\n",
            s.iteration,
            s.rounds,
            s.vectors_per_edge,
            s.floats_sent,
            s.seconds,
            s.objective,
            s.gap,
            blank(s.worst_gap),
            blank(s.consensus_error),
            blank(s.dual_drift)
        );
    }
    text
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
    /// Folder for trace.csv, result.json, gap.svg and gap.png, if any.
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
    let best = optimum::solve_cached(&problem, job.cache.as_deref())?;
    let certificate = warn_where_useless(&problem, &best);
    if let Some(until) = job.options.until.filter(|u| *u < certificate) {
        tracing::warn!(
            "--until {until:e} is below the certificate {certificate:.1e} of F*: no run can be known to reach it"
        );
    }
    let bar = output::bar(
        job.options.steps,
        "{bar:40} {pos}/{len} steps  {msg}  {eta} left",
    );
    let trace = simulate(
        process.as_mut(),
        &problem,
        &mut network,
        &best,
        &job.options,
        |s| {
            bar.set_position(s.iteration);
            let speed = s.rounds as f64 / s.seconds.max(1e-9);
            bar.set_message(format!("{speed:.0} rounds/s  gap {:.1e}", s.gap));
        },
    );
    bar.finish_and_clear();
    let trace = trace?;
    let subject = Subject::new(&job.algorithm, &problem, &job.graph, job.seed);
    let record = Record::new(subject, &trace, &best);
    let _saving = stop::saving();
    if let Some(folder) = &job.out {
        write(folder, &record, &trace)?;
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
    let plot = Plot {
        x_log: record.rounds > 5_000,
        ..plot(
            title,
            &GAP_AGAINST_ROUNDS,
            [(record, &trace.samples[..], true)],
        )
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
    let job = Job {
        algorithm: input::algorithm("--algorithm", &args.algorithm)?,
        problem: input::problem(&args.problem)?,
        graph: input::graph("--graph", &args.graph, args.seed)?,
        seed: args.seed,
        options: Options {
            steps: args.steps,
            until: args.until,
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
