//! `starling bench`: the evidence in one command, a suite of cells, each a problem family on a graph where rules meet tuned methods.
//!
//! Per cell, every method is tuned for every target apart from the test problems, and everyone runs on the same test problems.
//! Figures are medians over these with 10–90 % ranges; ratios are taken problem by problem ([`statistics`]).

mod cell;
mod direct;
mod fill;
mod report;
mod statistics;
mod suite;

use super::{Context, output, stop};
use cell::Cell;
use report::Report;
use starling::files::check_writable;
use starling::report::Table;
use std::path::PathBuf;
use suite::{Plan, Suite};

/// Run a suite of comparisons: rules against published methods that are tuned for every target.
#[derive(clap::Args)]
#[command(
    after_help = "A contestant's figures are kept in OUT/cells under a hash of all that determines them (problems, graph, rule file, options, \
version): a bench that was interrupted, or whose suite has grown, continues.
Places for tables in a document (--fill), each a line of its own with `<!-- /bench -->` after it:
  <!-- bench rules: RULE[/CELL][@TARGET] … -->     a row per rule, cell and target
  <!-- bench seconds: CELL[@TARGET] … -->          a row per contestant of cells with `seconds: true`
  <!-- bench overall: RULE[/TAG][@TARGET] … -->    a row per tag of cells
Examples:
  starling bench models/bench.ron --only quick
  starling bench models/bench.ron --list
  starling bench models/bench.ron --fill README.md --fill models/lasso/README.md
  starling bench models/bench.ron --only lasso-100 --only lasso-200 --trials 5 --out bench-lasso --json"
)]
pub struct Args {
    /// The suite, a RON file
    suite: PathBuf,
    /// Only the cells of this name or tag (may be given several times)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the cells and leave
    #[arg(long)]
    list: bool,
    /// Test problems of every cell, whatever the suite says
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=super::input::MOST_PROBLEMS))]
    trials: Option<u64>,
    /// Measure everything again
    #[arg(long)]
    fresh: bool,
    /// Write tables into this Markdown file, between `<!-- bench … -->` and `<!-- /bench -->` (may be given several times)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "trials", "list"])]
    fill: Vec<PathBuf>,
    /// Folder for page, tables, JSON, plots and the figures of every contestant
    #[arg(long, value_name = "FOLDER", default_value = "bench")]
    out: PathBuf,
}

fn list(plans: &[Plan], context: Context) {
    let mut table = Table::new(
        ["cell", "tags", "problem", "graph", "trials", "rounds"]
            .map(|n| (n, n == "trials" || n == "rounds")),
    );
    for plan in plans {
        if context.json {
            output::json(&serde_json::json!({
                "cell": plan.name, "tags": plan.tags, "problem": plan.problem.to_string(), "graph": plan.graph.to_string(),
                "trials": plan.trials, "steps": plan.steps, "targets": plan.targets,
            }));
        }
        table.rows.push(vec![
            plan.name.clone(),
            plan.tags.join(" "),
            plan.problem.to_string(),
            plan.graph.to_string(),
            plan.trials.to_string(),
            plan.steps.to_string(),
        ]);
    }
    if !context.json {
        output::line(table.to_text());
    }
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let suite = Suite::read(&args.suite)?;
    let mut plans = suite.plans(&args.only)?;
    for plan in &mut plans {
        plan.trials = args.trials.unwrap_or(plan.trials);
    }
    if args.list {
        list(&plans, context);
        return Ok(());
    }
    let chosen: Vec<&Plan> = plans.iter().collect();
    for path in &args.fill {
        fill::Document::read(path)?.check(&chosen)?;
        check_writable(path.parent().unwrap_or(path))?;
    }
    let cells = plans
        .into_iter()
        .map(|plan| {
            let name = plan.name.clone();
            Cell::new(plan, &args.out).map_err(|e| anyhow::anyhow!("cell {name:?}: {e}"))
        })
        .collect::<anyhow::Result<Vec<Cell>>>()?;
    check_writable(&args.out)?;
    let work = cells.iter().map(Cell::work).sum();
    let bar = output::bar(
        work,
        "{bar:30} {pos}/{len} runs  {msg}  {elapsed}, {eta} to go",
    );
    let (mut skipped, mut contestants) = (0, 0);
    let mut results = Vec::new();
    for cell in &cells {
        let (ground, measured, kept) = cell.run(args.fresh, &bar).map_err(|error| {
            if stop::requested() {
                let folder = args.out.display();
                anyhow::anyhow!(
                    "{error}; what is finished is in {folder}/cells, and the same command continues"
                )
            } else {
                error
            }
        })?;
        skipped += kept;
        contestants += cell.contestants();
        results.push((cell, ground, measured));
    }
    bar.finish_and_clear();
    if skipped > 0 {
        tracing::info!(
            "{skipped} of {contestants} contestants were kept from an earlier bench (--fresh measures them again)"
        );
    }
    let report = Report::new(&suite.name, &results);
    let _saving = stop::saving();
    report.write(&args.out)?;
    if context.json {
        report.entries().for_each(output::json);
    } else {
        output::line(report.summary().to_text());
    }
    let plans: Vec<&Plan> = cells.iter().map(|cell| &cell.plan).collect();
    let entries: Vec<_> = report.entries().collect();
    for path in &args.fill {
        // As it is now: it may have been edited meanwhile.
        let document = fill::Document::read(path)?;
        document.check(&plans)?;
        document.write(&document.filled(&plans, &entries))?;
    }
    tracing::info!(
        "written: {0}/index.html, {0}/summary.md, {0}/summary.csv, {0}/results.json, {0}/plots, {0}/cells",
        args.out.display()
    );
    Ok(())
}
