//! `starling train`: meta-train a rule from a recipe.

use super::{Context, output, stop};
use protobuf::Message;
use starling::files::read_text;
use starling::ron::parse_ron;
use starling::train::checkpoint::{Folder, Position, read_recipe};
use starling::train::trainer::{Outcome, Save, Settings};
use starling::train::{DeviceChoice, Progress, Recipe, TrainDevice, train};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tensorboard_proto::event::Event;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

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

/// TensorBoard scalars, written on this thread: a full disk is an error like any other.
struct Board {
    writer: RecordWriter<File>,
    path: PathBuf,
}

impl Board {
    /// A new event file in `folder`.
    fn open(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
        let time = since_epoch();
        let name = format!(
            "events.out.tfevents.{:010}.{}.0",
            time as u64,
            std::process::id()
        );
        let path = folder.join(name);
        let file = File::create(&path).map_err(|e| failed(&path, &e))?;
        let mut board = Self {
            writer: RecordWriter::new(file),
            path,
        };
        let mut first = Event::new();
        first.set_file_version("brain.Event:2".into());
        board.write(first)?;
        Ok(board)
    }

    fn write(&mut self, mut event: Event) -> anyhow::Result<()> {
        event.set_wall_time(since_epoch());
        let bytes = event.write_to_bytes()?;
        self.writer
            .write(&bytes)
            .map_err(|e| failed(&self.path, &e))
    }

    fn add(&mut self, p: &Progress) -> anyhow::Result<()> {
        let scalars = [
            ("train/meta_loss", Some(p.meta_loss)),
            ("train/log10_gap", Some(p.gap)),
            ("train/gradient_norm", Some(p.gradient_norm)),
            ("train/skipped_gradients", Some(p.skipped as f64)),
            ("train/stage", Some(p.stage as f64)),
            (
                "speed/agent_coordinate_steps_per_second",
                Some(p.throughput),
            ),
            ("validation/log10_gap", p.validation),
            ("validation/best_log10_gap", p.validation.and(p.best)),
            ("validation/start_log10_gap", p.validation.and(p.start)),
        ];
        for (tag, value) in scalars {
            if let Some(value) = value.filter(|v| v.is_finite()) {
                let mut event = Event::new();
                event.set_step(p.meta_steps as i64);
                event.set_summary(scalar(tag, value as f32));
                self.write(event)?;
            }
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot write {}: {error}", path.display())
}

fn since_epoch() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

/// How far a training came, for people or as JSON.
fn summary(out: &Path, p: &Position, total: u64, context: Context) -> String {
    let finished = p.batches == total;
    if context.json {
        return serde_json::json!({
            "checkpoint": out.display().to_string(), "finished": finished, "batches": p.batches, "meta_steps": p.meta_steps,
            "skipped": p.skipped, "best_validation": p.best_score, "best_batch": p.best_batch, "start_validation": p.start_score,
            "validation_steps": p.horizon, "seed": p.seed, "device": p.device,
        })
        .to_string();
    }
    let state = if finished {
        "finished"
    } else {
        "stopped and saved (--resume continues)"
    };
    let mut text = format!(
        "{}: {state} after {} of {total} batches, {} meta-steps ({} skipped)",
        out.display(),
        p.batches,
        p.meta_steps,
        p.skipped
    );
    if let (Some(best), Some(start)) = (p.best_score, p.start_score) {
        text += &format!(
            "\n  best rule: batch {}, mean log10 gap {best:.2} on validation problems after {} steps (untrained start {start:.2}), {}",
            p.best_batch,
            p.horizon,
            Folder::new(out).best().display()
        );
    }
    text
}

/// Trains with progress bar and event files.
pub fn with_bar(
    recipe: &Recipe,
    out: &Path,
    resume: bool,
    device: TrainDevice,
    context: Context,
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
        if let Some(open) = &mut board
            && let Err(e) = open.add(p)
        {
            failed.get_or_insert(e);
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
    let (total, folder) = (recipe.batches(), out.to_owned());
    let mut border = |save: Option<Save>| {
        let folder = folder.clone();
        stop::rescue(save.map(|save| -> stop::Rescue {
            Box::new(move || Ok(summary(&folder, &save()?, total, context)))
        }));
    };
    let outcome = train(
        recipe,
        Settings {
            out,
            resume,
            device,
            observe: &mut observe,
            border: &mut border,
        },
    );
    stop::rescue(None);
    bar.finish_and_clear();
    let outcome = outcome?;
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
    let outcome = with_bar(&recipe, &out, args.resume, device, context)?;
    let p = &outcome.position;
    output::line(summary(&out, p, recipe.batches(), context));
    if p.best_batch == 0 && p.batches > 0 {
        tracing::warn!(
            "no validation was better than the untrained start: {} is that start. A smaller learning_rate, more batches or a \
             validation more often (validation: (every: ..)) may help",
            outcome.best.display()
        );
    }
    if p.skipped > 0 {
        tracing::warn!(
            "{} of {} windows were skipped: their loss or gradient was not a finite number",
            p.skipped,
            p.meta_steps
        );
    }
    Ok(())
}
