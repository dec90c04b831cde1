//! `starling optimum`: F* with its certificate.

use super::contest::warn_where_useless;
use super::{Context, input, output};
use starling::problem::{Role, optimum};

/// Find F* with a certificate.
#[derive(clap::Args)]
#[command(
    after_help = "With one agent (the default) the pooled problem is solved: mean loss over all rows plus regularizer, no intercept.
Examples:
  starling optimum --problem 'Data(path: \"datasets/diabetes.libsvm.gz\", loss: LeastSquares, l1: 1)'
  starling optimum --problem 'Lasso(dimension: 300, rows: 10)' --agents 10 --json"
)]
pub struct Args {
    /// The problem, as RON or @file
    #[arg(long)]
    problem: String,
    /// Agents that share the rows
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    agents: u32,
    /// Seed of the problem
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Solve again even if the optimum is cached
    #[arg(long)]
    no_cache: bool,
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let spec = input::problem(&args.problem)?;
    let problem = spec.sample(args.agents as usize, args.seed, Role::Test, 0)?;
    let best = optimum::solve_cached(&problem, input::cache(args.no_cache).as_deref())?;
    warn_where_useless(&problem, &best);
    if context.json {
        output::json(&serde_json::json!({
            "problem": problem.name(), "agents": args.agents, "seed": args.seed, "objective": best.objective,
            "certificate": best.certificate, "certificate_kind": best.certificate_kind, "kkt_residual": best.kkt_residual,
            "solver": best.solver, "nonzeros": best.nonzeros, "dimension": problem.dimension(),
        }));
    } else {
        output::line(format!(
            "F* = {:.15e}, at most {:.1e} above the minimum ({})",
            best.objective, best.certificate, best.certificate_kind
        ));
        output::line(format!(
            "  {} of {} coordinates are not zero, KKT residual {:.1e}",
            best.nonzeros,
            problem.dimension(),
            best.kkt_residual
        ));
        output::line(format!("  {}", best.solver));
    }
    Ok(())
}
