//! `starling data`: what a data file holds; `--verify` checks the shipped sets against their manifest.

use super::{Context, input, output};
use serde::Serialize;
use starling::data::{self, Columns};
use std::path::PathBuf;

/// Describe a data file, or verify the shipped data sets.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  starling data datasets/ionosphere.libsvm.gz
  starling data my.csv --target price --skip id --json
  starling data --verify datasets")]
pub struct Args {
    /// LIBSVM or CSV file, possibly gzipped
    #[arg(required_unless_present = "verify")]
    file: Option<PathBuf>,
    /// CSV: whether line 1 is a header (default: found out)
    #[arg(long)]
    header: Option<bool>,
    /// CSV: the target's column, by name or number from 0 (default: the last)
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// CSV: columns to leave out, by name or number from 0, separated by commas
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    skip: Option<Vec<String>>,
    /// Check every set in this folder against its manifest.ron
    #[arg(long, value_name = "FOLDER", conflicts_with = "file")]
    verify: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    name: String,
    rows: usize,
    columns: usize,
    nonzeros: usize,
    constant_columns: usize,
    target_min: f64,
    target_max: f64,
    target_values: usize,
    /// What was taken for what, where the file leaves a choice.
    notes: Vec<String>,
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    if let Some(folder) = &args.verify {
        let manifest = data::manifest::load(folder)?;
        for entry in &manifest.entries {
            entry.verify(folder)?;
            if context.json {
                output::json(
                    &serde_json::json!({"name": entry.name, "rows": entry.rows, "columns": entry.columns, "verified": true}),
                );
            } else {
                output::line(format!(
                    "{:<16}{:>6} × {:<5}{:<16}ok",
                    entry.name,
                    entry.rows,
                    entry.columns,
                    format!("{:?}", entry.task)
                ));
            }
        }
        return Ok(());
    }
    let Some(file) = &args.file else {
        return Ok(());
    };
    let columns = Columns {
        header: args.header,
        target: args.target.as_deref().map(input::column),
        skip: args
            .skip
            .as_ref()
            .map(|all| all.iter().map(|c| input::column(c)).collect()),
    };
    let set = data::read_as(file, &columns)?;
    let mut values = set.targets.clone();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[0], values[values.len() - 1]);
    values.dedup();
    let report = Report {
        nonzeros: set.features.iter().filter(|v| **v != 0.0).count(),
        constant_columns: (0..set.columns).filter(|c| set.is_constant(*c)).count(),
        target_min: low,
        target_max: high,
        target_values: values.len(),
        rows: set.rows,
        columns: set.columns,
        name: set.name,
        notes: set.notes,
    };
    if context.json {
        output::json(&report);
        return Ok(());
    }
    let total = report.rows * report.columns;
    output::line(format!(
        "{}: {} rows × {} columns",
        report.name, report.rows, report.columns
    ));
    output::line(format!(
        "  {} of {total} features are not zero; {} columns are constant",
        report.nonzeros, report.constant_columns
    ));
    for note in &report.notes {
        output::line(format!("  {note}"));
    }
    output::line(format!(
        "  targets from {low} to {high}, {} different values",
        report.target_values
    ));
    if values.len() <= 20 {
        for v in values {
            let count = set.targets.iter().filter(|t| **t == v).count();
            output::line(format!("    {v}: {count} rows"));
        }
    }
    Ok(())
}
