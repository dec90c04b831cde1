//! `starling graph`: agents, edges, degrees, diameter, eigenvalues, spectral gap, rounds per digit; draws an SVG.

use super::{Context, input, output};
use serde::Serialize;
use starling::files::write_atomic;
use starling::graph::{Mixing, MixingKind, svg};
use std::path::PathBuf;

/// Describe a graph and its mixing matrix, and draw it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  starling graph 'Ring(10)'
  starling graph 'ErdosRenyi(agents: 25, probability: 0.25)' --seed 3 --svg graph.svg
  starling graph 'EdgeList(\"edges.txt\")' --mixing Laplacian --json")]
pub struct Args {
    /// The graph, as RON or @file
    graph: String,
    /// Mixing matrix: LazyMetropolis, Metropolis, Laplacian, Uniform, Fastest (default: all)
    #[arg(long)]
    mixing: Option<String>,
    /// Seed of random graphs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to draw the graph
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    graph: String,
    agents: usize,
    edges: usize,
    degree_min: usize,
    degree_max: usize,
    degree_mean: f64,
    /// A lower bound unless `diameter_exact`.
    diameter: usize,
    diameter_exact: bool,
    mixing: String,
    lambda_2: f64,
    lambda_min: f64,
    sigma: f64,
    spectral_gap: f64,
    rounds_per_digit: f64,
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let kinds = match &args.mixing {
        Some(name) => vec![starling::ron::parse_ron::<MixingKind>("--mixing", name)?],
        None => vec![
            MixingKind::LazyMetropolis,
            MixingKind::Metropolis,
            MixingKind::Laplacian,
            MixingKind::Uniform,
            MixingKind::Fastest,
        ],
    };
    let graph = input::graph("GRAPH", &args.graph, args.seed)?;
    let n = graph.agents();
    let degrees: Vec<usize> = (0..n).map(|i| graph.degree(i)).collect();
    let (low, high) = (
        degrees.iter().min().copied().unwrap_or(0),
        degrees.iter().max().copied().unwrap_or(0),
    );
    let mean = 2.0 * graph.edges().len() as f64 / n as f64;
    let (diameter, diameter_exact) = graph.diameter_or_bound();
    if !context.json {
        output::line(format!(
            "{}: {n} agents, {} edges, degree {low} to {high} (mean {}), diameter {}{diameter}",
            graph.name(),
            graph.edges().len(),
            output::number(mean),
            if diameter_exact { "" } else { "≥ " }
        ));
        output::line(format!(
            "{:<16}{:>12}{:>12}{:>14}{:>18}",
            "mixing matrix", "λ₂", "λ_min", "spectral gap", "rounds per digit"
        ));
    }
    for kind in kinds {
        let s = Mixing::new(&graph, kind).spectrum(&graph)?;
        if context.json {
            output::json(&Report {
                graph: graph.name().into(),
                agents: n,
                edges: graph.edges().len(),
                degree_min: low,
                degree_max: high,
                degree_mean: mean,
                diameter,
                diameter_exact,
                mixing: format!("{kind:?}"),
                lambda_2: s.lambda_2,
                lambda_min: s.lambda_min,
                sigma: s.sigma,
                spectral_gap: s.gap,
                rounds_per_digit: s.rounds_per_digit(),
            });
        } else {
            output::line(format!(
                "{:<16}{:>12.6}{:>12.6}{:>14.6}{:>18}",
                format!("{kind:?}"),
                s.lambda_2,
                s.lambda_min,
                s.gap,
                output::number(s.rounds_per_digit())
            ));
        }
    }
    if let Some(path) = &args.svg {
        write_atomic(path, svg(&graph).as_bytes())?;
        tracing::info!("drawn to {}", path.display());
    }
    Ok(())
}
