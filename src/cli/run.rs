//! `starling run`: one algorithm on one problem, by the plain simulator.

use super::record::{Record, Subject};
use super::{Context, input, output, stop};
use starling::files::{check_writable, write_atomic};
use starling::network::Network;
use starling::problem::{Role, optimum};
use starling::report::{Plot, Series};
use starling::simulate::{Options, Trace, simulate};
use std::path::PathBuf;

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
pub fn trace_csv(trace: &Trace) -> String {
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

/// Simulates with a progress bar that shows rounds per second and the gap.
pub fn with_bar(
    process: &mut dyn starling::algorithm::Process,
    problem: &starling::problem::Problem,
    network: &mut Network,
    best: &starling::problem::Optimum,
    options: &Options,
) -> Trace {
    let bar = output::bar(
        options.steps,
        "{bar:40} {pos}/{len} steps  {msg}  {eta} left",
    );
    let trace = simulate(process, problem, network, best, options, |s| {
        bar.set_position(s.iteration);
        let speed = s.rounds as f64 / s.seconds.max(1e-9);
        bar.set_message(format!("{speed:.0} rounds/s  gap {:.1e}", s.gap));
        !stop::requested()
    });
    bar.finish_and_clear();
    trace
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    if let Some(until) = args.until {
        anyhow::ensure!(
            until.is_finite() && until >= 0.0,
            "--until is {until}, expected a finite gap ≥ 0"
        );
    }
    let algorithm = input::algorithm("--algorithm", &args.algorithm)?;
    let spec = input::problem(&args.problem)?;
    let graph = input::graph("--graph", &args.graph, args.seed)?;
    let problem = spec.sample(graph.agents(), args.seed, Role::Test, 0)?;
    if let Some(folder) = &args.out {
        check_writable(folder)?;
    }
    let mut network = Network::new(&graph);
    let mut process = algorithm.start(&problem, &mut network)?;
    let best = optimum::solve_cached(&problem, input::cache(args.no_cache).as_deref())?;
    let options = Options {
        steps: args.steps,
        until: args.until,
        ..Options::default()
    };
    let trace = with_bar(process.as_mut(), &problem, &mut network, &best, &options);
    let record = Record::new(
        Subject {
            algorithm: algorithm.to_string(),
            name: algorithm.name(),
            step_origin: algorithm.step_origin().into(),
            problem: problem.name().into(),
            graph: graph.name().into(),
            seed: args.seed,
        },
        &trace,
        &best,
    );
    if let Some(folder) = &args.out {
        let points = trace
            .samples
            .iter()
            .map(|s| (s.rounds as f64, s.gap))
            .collect();
        let plot = Plot {
            title: format!("{} on {}, {}", record.name, record.problem, record.graph),
            x_label: "rounds".into(),
            y_label: "relative optimality gap".into(),
            x_log: trace.last().rounds > 5_000,
            y_log: true,
            series: vec![Series {
                floor: Some(trace.gap_certificate),
                emphasis: true,
                ..Series::new(record.name.clone(), points)
            }],
        };
        write_atomic(&folder.join("trace.csv"), trace_csv(&trace).as_bytes())?;
        write_atomic(
            &folder.join("result.json"),
            serde_json::to_string_pretty(&record)?.as_bytes(),
        )?;
        write_atomic(&folder.join("gap.svg"), plot.svg()?.as_bytes())?;
        write_atomic(&folder.join("gap.png"), &plot.png()?)?;
        tracing::info!("written to {}", folder.display());
    }
    if context.json {
        output::json(&record);
    } else {
        record.print();
    }
    Ok(())
}
