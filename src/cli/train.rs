//! `starling train`: meta-train a rule from a recipe.

use super::{Context, output, stop};
use starling::files::{read_text, write_atomic};
use starling::rule::parse_ron;
use starling::train::checkpoint::{Folder, read_recipe};
use starling::train::trainer::{Outcome, Settings};
use starling::train::{DeviceChoice, Progress, Recipe, TrainDevice, train};
use std::path::{Path, PathBuf};
use tensorboard_rs::summary_writer::SummaryWriter;

/// Meta-train a rule from a recipe.
#[derive(clap::Args)]
#[command(
    after_help = "Ctrl-C saves; --resume continues bit for bit (on the CPU). TensorBoard: tensorboard --logdir checkpoints
Examples:
  starling train models/demo/recipe.ron --out checkpoints/demo
  starling train --resume --out checkpoints/demo
  starling export checkpoints/demo -o rule.ron"
)]
pub struct Args {
    /// The recipe; left out with --resume
    #[arg(required_unless_present = "resume")]
    recipe: Option<PathBuf>,
    /// Where to train; auto takes a real GPU where one answers
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Continue from the checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// Begin anew where --out holds a training already, which is lost
    #[arg(long, conflicts_with = "resume")]
    restart: bool,
    /// Seed, instead of the recipe's
    #[arg(long)]
    seed: Option<u64>,
    /// Checkpoint folder (default: checkpoints/ and the recipe's name)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Reads and checks a recipe.
pub fn recipe(path: &Path) -> anyhow::Result<Recipe> {
    let recipe: Recipe = parse_ron(&path.display().to_string(), &read_text(path)?)?;
    recipe
        .check()
        .map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    Ok(recipe)
}

/// TensorBoard scalars. The writer panics on its own thread where it cannot write, so the folder is probed first.
struct Board {
    writer: SummaryWriter,
}

impl Board {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let probe = folder.join(".probe");
        write_atomic(&probe, b"")?;
        std::fs::remove_file(&probe)?;
        Ok(Self {
            writer: SummaryWriter::new(folder),
        })
    }

    fn add(&mut self, p: &Progress) {
        let step = p.meta_steps as usize;
        let mut scalar = |tag: &str, v: f64| {
            if v.is_finite() {
                self.writer.add_scalar(tag, v as f32, step);
            }
        };
        scalar("train/meta_loss", p.meta_loss);
        scalar("train/log10_gap", p.gap);
        scalar("train/gradient_norm", p.gradient_norm);
        scalar("train/skipped_gradients", p.skipped as f64);
        scalar("train/stage", p.stage as f64);
        scalar("speed/agent_coordinate_steps_per_second", p.throughput);
        if let Some(score) = p.validation {
            scalar("validation/log10_gap", score);
        }
        if let Some(best) = p.best {
            scalar("validation/best_log10_gap", best);
        }
    }
}

/// Trains with progress bar and event files.
pub fn with_bar(
    recipe: &Recipe,
    out: &Path,
    resume: bool,
    device: TrainDevice,
) -> anyhow::Result<Outcome> {
    let bar = output::bar(
        recipe.batches(),
        "training {bar:30} {pos}/{len} batches  {msg}  {eta} left",
    );
    tracing::info!("training on {}", device.name);
    // Opened at the first window: starting over clears the folder before.
    let mut board: Option<Board> = None;
    let mut failed: Option<anyhow::Error> = None;
    let mut observe = |p: &Progress| {
        if board.is_none() && failed.is_none() {
            match Board::open(&out.join("tensorboard")) {
                Ok(b) => board = Some(b),
                Err(e) => failed = Some(e),
            }
        }
        if let Some(board) = &mut board {
            board.add(p);
        }
        bar.set_position(p.batches.0);
        let best = p.best.map_or(String::new(), |b| format!("  best {b:.2}"));
        let gap = if p.gap.is_finite() {
            format!("  gap 1e{:.1}", p.gap)
        } else {
            String::new()
        };
        bar.set_message(format!(
            "stage {}  loss {:.2}{gap}{best}  {:.1} M/s",
            p.stage,
            p.meta_loss,
            p.throughput / 1e6
        ));
        if let Some(score) = p.validation {
            tracing::debug!("batch {}: validation {score:.3}", p.batches.0);
        }
        failed.is_none() && !stop::requested()
    };
    let outcome = train(
        recipe,
        Settings {
            out,
            resume,
            device,
            observe: &mut observe,
        },
    )?;
    bar.finish_and_clear();
    match failed {
        Some(error) => Err(error),
        None => Ok(outcome),
    }
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let stem = args.recipe.as_ref().and_then(|r| {
        match r.file_stem().map(|s| s.to_string_lossy().into_owned()) {
            // models/NAME/recipe.ron
            Some(stem) if stem == "recipe" => r
                .parent()
                .and_then(Path::file_name)
                .map(|n| n.to_string_lossy().into_owned())
                .or(Some(stem)),
            other => other,
        }
    });
    let out = match (&args.out, stem) {
        (Some(out), _) => out.clone(),
        (None, Some(name)) => Path::new("checkpoints").join(name),
        (None, None) => anyhow::bail!("--resume needs --out FOLDER or a recipe"),
    };
    anyhow::ensure!(
        args.resume || args.restart || !Folder::new(&out).exists(),
        "{} holds a training already; expected --resume to continue it, --restart to begin anew, or another --out",
        out.display()
    );
    let mut recipe = match &args.recipe {
        Some(path) => recipe(path)?,
        None => read_recipe(&out)?,
    };
    if let Some(seed) = args.seed {
        recipe.seed = seed;
    }
    let device = TrainDevice::open(args.device)?;
    let outcome = with_bar(&recipe, &out, args.resume, device)?;
    let p = &outcome.position;
    if context.json {
        output::json(&serde_json::json!({
            "checkpoint": out.display().to_string(), "finished": outcome.finished, "batches": p.batches, "meta_steps": p.meta_steps,
            "skipped": p.skipped, "best_validation": p.best_score, "best_batch": p.best_batch, "seed": p.seed, "device": p.device,
        }));
    } else {
        let state = if outcome.finished {
            "finished"
        } else {
            "stopped and saved"
        };
        output::line(format!(
            "{}: {state} after {} of {} batches, {} meta-steps ({} skipped)",
            out.display(),
            p.batches,
            recipe.batches(),
            p.meta_steps,
            p.skipped
        ));
        if let Some(score) = p.best_score {
            output::line(format!(
                "  best rule: batch {}, mean log10 gap {score:.2} on validation problems, {}",
                p.best_batch,
                outcome.best.display()
            ));
        }
    }
    Ok(())
}
