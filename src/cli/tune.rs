//! `starling tune`: the best step of handcrafted methods for a problem family.

use super::contest::warn_where_useless;
use super::{Context, input, output, stop};
use rayon::prelude::*;
use starling::graph::Graph;
use starling::problem::{ProblemSpec, Role, optimum};
use starling::roster::AlgorithmSpec;
use starling::simulate::tuning::{Certified, Goal, Tuned, tune};

/// Find the best step of handcrafted methods for a problem family.
#[derive(clap::Args)]
#[command(
    after_help = "Problems for tuning are drawn apart from the test problems; of a data set, they are other splits of its rows.
Examples:
  starling tune --algorithms all --problem 'Lasso(dimension: 100, rows: 10)' --graph 'Ring(10)'
  starling tune --algorithms ProxEd,Dapg --problem 'Data(path: \"datasets/sonar.libsvm.gz\", loss: Logistic, l1: 0.01)' --graph 'Ring(10)'"
)]
pub struct Args {
    /// `all`, or names separated by commas
    #[arg(long, default_value = "all")]
    algorithms: String,
    /// The problem family, as RON or @file
    #[arg(long)]
    problem: String,
    /// The graph, as RON or @file
    #[arg(long)]
    graph: String,
    /// Relative gap to reach in the fewest rounds
    #[arg(long, default_value_t = 1e-6)]
    target: f64,
    /// Rounds after which a run is given up
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Problems to tune on
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=input::MOST_PROBLEMS))]
    problems: u64,
    /// Seed of graph and problems
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The methods that `all`, `none` or a list names.
pub fn methods(option: &str, list: &str) -> anyhow::Result<Vec<AlgorithmSpec>> {
    match list.trim() {
        "none" | "" => Ok(Vec::new()),
        "all" => {
            let mut all = AlgorithmSpec::handcrafted();
            all.push(input::algorithm(option, "Constants")?);
            Ok(all)
        }
        names => input::split(names)
            .into_iter()
            .map(|name| {
                anyhow::ensure!(
                    !name.is_empty(),
                    "{option}: an empty name in `{names}`, expected names separated by commas"
                );
                let method = input::algorithm(option, name)?;
                anyhow::ensure!(
                    !matches!(method, AlgorithmSpec::Rule(_)),
                    "{option}: a rule has no step to tune"
                );
                Ok(method)
            })
            .collect(),
    }
}

/// The problems to tune on.
pub fn problems(
    spec: &ProblemSpec,
    graph: &Graph,
    count: u64,
    seed: u64,
) -> anyhow::Result<Vec<Certified>> {
    (0..count)
        .into_par_iter()
        .map(|trial| {
            anyhow::ensure!(
                !stop::requested(),
                "stopped while the tuning problems were solved"
            );
            let problem = spec.sample(graph.agents(), seed, Role::Tuning, trial)?;
            let best = optimum::solve(&problem)?;
            warn_where_useless(&problem, &best);
            Ok((problem, best))
        })
        .collect()
}

/// Tunes every method, with a progress bar; `each` sees a method as soon as it is tuned.
pub fn tune_all(
    methods: &[AlgorithmSpec],
    problems: &[Certified],
    graph: &Graph,
    goal: Goal,
    mut each: impl FnMut(&AlgorithmSpec, &Tuned),
) -> anyhow::Result<Vec<(AlgorithmSpec, Tuned)>> {
    let bar = output::bar(
        methods.len() as u64,
        "tuning {bar:30} {pos}/{len} methods  {msg}  {elapsed}",
    );
    let mut tuned: Vec<(AlgorithmSpec, Tuned)> = Vec::new();
    // Constants last: they start from what the others were tuned to.
    let mut methods: Vec<&AlgorithmSpec> = methods.iter().collect();
    methods.sort_by_key(|method| method.constants().is_some());
    for method in methods {
        if stop::requested() {
            anyhow::bail!("stopped while tuning");
        }
        bar.set_message(method.name());
        let relatives: Vec<Tuned> = tuned.iter().map(|(_, found)| found.clone()).collect();
        let found = tune(method, &relatives, problems, graph, goal, &|| {
            bar.tick();
            !stop::requested()
        })?;
        bar.suspend(|| each(method, &found));
        tuned.push((method.clone(), found));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(tuned)
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.target.is_finite() && args.target > 0.0,
        "--target is {}, expected a gap > 0",
        args.target
    );
    let methods = methods("--algorithms", &args.algorithms)?;
    anyhow::ensure!(
        !methods.is_empty(),
        "--algorithms names none, expected at least one"
    );
    let spec = input::problem(&args.problem)?;
    let graph = input::graph("--graph", &args.graph, args.seed)?;
    let problems = problems(&spec, &graph, args.problems, args.seed)?;
    let goal = Goal {
        target: args.target,
        rounds: args.rounds,
    };
    // A line as soon as it is known: a tuning that is stopped says how far it came.
    tune_all(&methods, &problems, &graph, goal, |method, tuned| {
        // Absolute steps need a problem: the first of the tuning set.
        let best = tuned.at(&problems[0].0);
        if context.json {
            output::json(&serde_json::json!({
                "algorithm": best.to_string(), "name": method.name(), "problem": spec.to_string(), "graph": graph.name(),
                "target": args.target, "rounds": tuned.rounds, "on_grid_edge": tuned.on_edge, "candidates": tuned.tried,
            }));
        } else {
            let rounds = tuned
                .rounds
                .map_or(format!("not reached in {}", args.rounds), |r| {
                    format!("{r} rounds")
                });
            let edge = if tuned.on_edge.is_empty() {
                String::new()
            } else {
                format!("  ({} on the grid's edge)", tuned.on_edge.join(", "))
            };
            output::line(format!(
                "{:<10} {rounds} to {:e}: {best}{edge}",
                method.name(),
                args.target
            ));
        }
    })?;
    Ok(())
}
