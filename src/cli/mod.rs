//! The command line: one file per verb. Results go to standard output, everything else to standard error.

mod audit;
mod bench;
mod contest;
mod data;
#[cfg(feature = "train")]
mod demo;
mod eval;
mod export;
mod graph;
mod input;
mod optimum;
mod output;
mod record;
mod run;
mod stop;
#[cfg(feature = "train")]
mod train;
mod tune;

use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// Exit code of bad input.
const BAD_INPUT: u8 = 2;
/// Exit code of a run that the user stopped.
const INTERRUPTED: u8 = 130;

/// Learns decentralized optimization algorithms: meta-train a rule, freeze it, run it for 100,000 steps, compare it.
#[derive(Parser)]
#[command(
    name = "starling",
    version,
    about,
    max_term_width = 110,
    after_help = "\
Graphs, problems and algorithms are written in RON, inline or as @file. Examples:
  starling demo
  starling run  --algorithm ProxEd --problem 'Lasso(dimension: 300, rows: 10, l1: 0.1)' --graph 'Ring(10)' --steps 5000
  starling eval --rules models/demo/rule.ron --problem 'Data(path: \"datasets/ionosphere.libsvm.gz\", loss: Logistic, l1: 0.01)' --graph 'Ring(10)'
  starling graph 'Torus(rows: 4, columns: 4)' --svg torus.svg
`starling VERB --help` has examples for every verb."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON object per result on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Threads (default: all cores); results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// More (-v, -vv) log lines on standard error
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Verb {
    /// The whole road in one command: train a small rule, freeze, audit, run 100,000 steps, compare (a minute or two)
    #[cfg(feature = "train")]
    Demo(demo::Args),
    /// Meta-train a rule from a recipe
    #[cfg(feature = "train")]
    Train(train::Args),
    /// Freeze the best rule of a training into a rule file
    Export(export::ExportArgs),
    /// Turn the published implementation's weights into a rule file
    Import(export::ImportArgs),
    /// Run one algorithm on one problem
    Run(run::Args),
    /// Compare rules with tuned handcrafted methods; writes tables, plots and a page
    Eval(eval::Args),
    /// Run a suite of comparisons; writes one page, tables, CSV and JSON
    Bench(bench::Args),
    /// Find the best step of handcrafted methods for a problem family
    Tune(tune::Args),
    /// Find F* with a certificate
    Optimum(optimum::Args),
    /// Describe a graph and its mixing matrix, and draw it
    Graph(graph::Args),
    /// Describe a data file, or verify the shipped data sets
    Data(data::Args),
    /// Check the conditions that make a rule's limit exact, in figures
    Audit(audit::Args),
}

/// What every verb gets.
#[derive(Clone, Copy)]
struct Context {
    json: bool,
}

/// Parses, runs, and turns the result into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = ["starling=info", "starling=debug", "debug"][usize::from(cli.verbose.min(2))];
    let filter: Targets = std::env::var("RUST_LOG")
        .ok()
        .and_then(|directives| directives.parse().ok())
        .unwrap_or_else(|| level.parse().unwrap_or_default());
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(output::log_writer)
        .without_time()
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    stop::watch(move || work(cli))
}

/// Starts the pool of threads, of which a pool of one needs none.
fn start_threads(threads: Option<u16>) -> anyhow::Result<()> {
    let mut pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0).into());
    if threads == Some(1) {
        pool = pool.use_current_thread();
    }
    pool.build_global().map_err(|error| {
        let count = threads.map_or("one thread per core".into(), |t| format!("{t} threads"));
        anyhow::anyhow!("cannot start {count}: {error}; expected fewer, --threads 1 starts none")
    })
}

/// The verb's work and its exit code.
fn work(cli: Cli) -> ExitCode {
    let context = Context { json: cli.json };
    // On a worker of the pool: what runs in parallel below need not be handed to another thread first.
    let result = start_threads(cli.threads).and_then(|()| rayon::scope(|_| run(cli.verb, context)));
    let code = match &result {
        _ if stop::requested() => ExitCode::from(INTERRUPTED),
        _ if output::lost() => ExitCode::from(BAD_INPUT),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) => ExitCode::from(BAD_INPUT),
    };
    if let Err(error) = result {
        output::note(format!("error: {error}"));
    }
    code
}

/// Runs a verb; false where it finds that a condition fails.
fn run(verb: Verb, context: Context) -> anyhow::Result<bool> {
    match verb {
        #[cfg(feature = "train")]
        Verb::Demo(args) => demo::run(args, context)?,
        #[cfg(feature = "train")]
        Verb::Train(args) => train::run(args, context)?,
        Verb::Export(args) => export::export(args, context)?,
        Verb::Import(args) => export::import(args, context)?,
        Verb::Run(args) => run::run(args, context)?,
        Verb::Eval(args) => eval::run(args, context)?,
        Verb::Bench(args) => bench::run(args, context)?,
        Verb::Tune(args) => tune::run(args, context)?,
        Verb::Optimum(args) => optimum::run(args, context)?,
        Verb::Graph(args) => graph::run(args, context)?,
        Verb::Data(args) => data::run(args, context)?,
        Verb::Audit(args) => return audit::run(args, context),
    }
    Ok(true)
}
