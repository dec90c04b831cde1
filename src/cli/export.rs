//! `starling export` freezes the best rule of a training; `starling import` reads the published implementation's weights.

use super::{Context, output};
use starling::files::FileError;
use starling::rule::{FrozenRule, Milodo, Provenance, Structure};
use std::path::{Path, PathBuf};

/// Freeze the best rule of a training into a rule file.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  starling export checkpoints/lasso -o models/lasso/rule.ron
  starling export models/demo/rule.ron -o rule-8.ron --refresh 8")]
pub struct ExportArgs {
    /// The checkpoint folder, or a rule file to freeze again
    checkpoint: PathBuf,
    /// Steps between two evaluations of the networks when the rule runs
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..))]
    refresh: Option<u32>,
    /// The rule file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

/// Turn the published implementation's weights into a rule file.
#[derive(clap::Args)]
#[command(
    after_help = "The file holds `topology [n, n]` and `rule.{M,S,C}.i.{lstm.*,linear.*,linear_out.*}` in PyTorch's names.
Example:
  starling import published.safetensors -o rule.ron"
)]
pub struct ImportArgs {
    /// The safetensors file
    weights: PathBuf,
    /// The rule file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

fn report(rule: &FrozenRule, out: &Path, context: Context) {
    let (kind, parameters) = match &rule.structure {
        Structure::Shared(s) => ("shared", s.parameters()),
        Structure::Milodo(m) => ("milodo", m.parameters()),
    };
    if context.json {
        output::json(&serde_json::json!({
            "rule": out.display().to_string(), "structure": kind, "parameters": parameters, "provenance": rule.provenance,
        }));
    } else {
        output::line(format!(
            "{}: {kind}, {parameters} parameters",
            out.display()
        ));
        if let Some(score) = rule.provenance.validation {
            output::line(format!(
                "  mean log10 gap on validation problems {score:.2}, horizon {}",
                rule.provenance.horizon
            ));
        }
    }
}

pub fn export(args: ExportArgs, context: Context) -> anyhow::Result<()> {
    let best = if args.checkpoint.is_file() {
        args.checkpoint.clone()
    } else {
        args.checkpoint.join("best.ron")
    };
    anyhow::ensure!(
        best.exists(),
        "{}: no best.ron there; expected the folder of a training that has validated at least once, or a rule file",
        args.checkpoint.display()
    );
    let mut rule = FrozenRule::read(&best)?;
    match (&mut rule.structure, args.refresh) {
        (_, None) => {}
        (Structure::Shared(shared), Some(refresh)) => {
            // Validated at another period.
            if shared.refresh != refresh {
                rule.provenance.validation = None;
            }
            shared.refresh = refresh;
        }
        (Structure::Milodo(_), Some(_)) => {
            anyhow::bail!(
                "{}: --refresh is for `shared` rules, this is a `milodo` rule",
                best.display()
            )
        }
    }
    rule.write(&args.out)?;
    report(&rule, &args.out, context);
    Ok(())
}

pub fn import(args: ImportArgs, context: Context) -> anyhow::Result<()> {
    let bytes = std::fs::read(&args.weights).map_err(|source| FileError {
        action: "read",
        path: args.weights.clone(),
        source,
    })?;
    let milodo = Milodo::from_safetensors(&bytes)
        .map_err(|e| anyhow::anyhow!("{}: {e}", args.weights.display()))?;
    let provenance = Provenance {
        name: args
            .weights
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default(),
        graphs: vec![format!(
            "{} agents, {} edges",
            milodo.agents,
            milodo.edges.len()
        )],
        agents: (milodo.agents, milodo.agents),
        device: "imported from the published implementation".into(),
        ..Provenance::default()
    };
    let rule = FrozenRule::new(Structure::Milodo(milodo), provenance);
    rule.write(&args.out)?;
    report(&rule, &args.out, context);
    Ok(())
}
