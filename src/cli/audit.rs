//! `starling audit`: the conditions that make a rule's limit exact, in figures.

use super::{Context, output};
use starling::report::Table;
use starling::rule::FrozenRule;
use starling::simulate::audit::{Audit, Effort, audit};
use std::path::PathBuf;

/// Check the conditions that make a rule's limit exact, in figures.
#[derive(clap::Args)]
#[command(after_help = "Example:
  starling audit models/demo/rule.ron
Exit code 1 when a condition fails.")]
pub struct Args {
    /// The rule file
    rule: PathBuf,
    /// Steps of the long run
    #[arg(long, default_value_t = 100_000)]
    steps: u64,
    /// Held-out problems
    #[arg(long, default_value_t = 40)]
    trials: usize,
    /// Seed of everything drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Audits with a progress bar.
pub fn with_bar(rule: &FrozenRule, effort: Effort) -> anyhow::Result<Audit> {
    let bar = output::bar(1000, "audit  {bar:40} {percent:>3} %  {elapsed}");
    let report = audit(&rule.structure, effort, &|share| {
        bar.set_position((share * 1000.0) as u64)
    })?;
    bar.finish_and_clear();
    Ok(report)
}

/// The findings as a table.
pub fn table(report: &Audit) -> Table {
    let mut table = Table::new([
        ("check", false),
        ("figure", true),
        ("limit", true),
        ("", false),
        ("how", false),
    ]);
    for f in &report.findings {
        let limit = if f.limit.is_finite() {
            format!("{:.0e}", f.limit)
        } else {
            "–".into()
        };
        let verdict = if f.passed { "ok" } else { "FAILS" };
        table.rows.push(vec![
            f.check.clone(),
            format!("{:.1e}", f.figure),
            limit,
            verdict.into(),
            f.how.clone(),
        ]);
    }
    let (low, high) = report.diverged_interval;
    table.rows.push(vec![
        "held out".into(),
        format!("{} of {}", report.diverged, report.trials),
        "–".into(),
        String::new(),
        format!(
            "problems on fresh graphs on which it diverged; 95 % interval {:.1} to {:.1} %",
            100.0 * low,
            100.0 * high
        ),
    ]);
    table
}

pub fn run(args: Args, context: Context) -> anyhow::Result<bool> {
    anyhow::ensure!(args.steps > 0, "--steps is 0, expected at least 1");
    let rule = FrozenRule::read(&args.rule)?;
    let effort = Effort {
        steps: args.steps,
        trials: args.trials,
        seed: args.seed,
        ..Effort::default()
    };
    let report = with_bar(&rule, effort)?;
    if context.json {
        output::json(&serde_json::json!({
            "rule": args.rule.display().to_string(), "passed": report.passed(), "findings": report.findings,
            "trials": report.trials, "diverged": report.diverged, "diverged_interval": report.diverged_interval,
        }));
    } else {
        output::line(table(&report).to_text());
    }
    Ok(report.passed())
}
