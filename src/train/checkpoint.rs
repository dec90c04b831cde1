//! Checkpoints: everything that training needs to continue bit for bit, written at the border between two batches.
//!
//! ```text
//! checkpoints/NAME/
//!   recipe.ron        what is trained on what
//!   progress.ron      the position, and which burnpack files belong to it; written last, atomically
//!   rule-N.bpk  first-N.bpk  second-N.bpk  average-N.bpk     parameters, Adam's two moments, averaged parameters after batch N
//!   best-N.ron        the best rule up to batch N
//!   best.ron          the best rule so far, frozen
//!   tensorboard/      event files
//! ```
//! Every random draw is keyed by the batch's number, so there is no generator state to save.

use super::error::TrainError;
use super::parameters;
use super::recipe::Recipe;
use crate::files::{FileError, read_text, write_atomic};
use crate::ron::parse_ron;
use crate::rule::FrozenRule;
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Position in the curriculum, and counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Batches finished.
    pub batches: u64,
    /// Meta-steps (windows) made.
    pub meta_steps: u64,
    /// Adam's step count.
    pub adam_steps: u64,
    /// Windows whose gradient was not finite and was skipped.
    pub skipped: u64,
    /// Windows in which no network was asked, and nothing learned.
    #[serde(default)]
    pub idle: u64,
    /// Steps of the validation that the scores below come from; 0 before the first.
    #[serde(default)]
    pub horizon: u64,
    /// Validation score of the rule that training started from.
    #[serde(default)]
    pub start_score: Option<f64>,
    /// Best validation score so far.
    pub best_score: Option<f64>,
    /// Batch after which it was reached; 0: the start.
    pub best_batch: u64,
    /// Seed in force.
    pub seed: u64,
    /// Float type and device trained on.
    pub device: String,
}

/// Version of the checkpoint's layout.
const FORMAT: u32 = 2;

#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// The content of `progress.ron`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ProgressFile {
    format: u32,
    recipe_hash: String,
    position: Position,
    /// SHA-256 of the burnpack files.
    sha256: [String; KINDS.len()],
    /// SHA-256 of the best rule; `None`: there was none yet.
    #[serde(default)]
    best_sha256: Option<String>,
}

/// Adam's moments and the running mean of the parameters, in visiting order of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Exponential mean of gradients.
    pub first: Vec<f64>,
    /// Exponential mean of squared gradients.
    pub second: Vec<f64>,
    /// Exponential mean of the parameters: what is validated and exported.
    pub average: Vec<f64>,
}

/// A folder of checkpoints.
#[derive(Clone)]
pub struct Folder {
    path: PathBuf,
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The hash that ties checkpoint and rule file to their recipe.
pub fn recipe_hash(recipe: &Recipe) -> String {
    sha256(ron::to_string(recipe).unwrap_or_default().as_bytes())
}

/// Whether a file belongs to the checkpoint of one batch.
fn is_numbered(name: &str) -> bool {
    let parts = name.rsplit_once('.');
    let Some(((kind, number), ending)) = parts.and_then(|(s, e)| Some((s.rsplit_once('-')?, e)))
    else {
        return false;
    };
    let ours = match ending {
        "bpk" => KINDS.contains(&kind),
        "ron" => kind == "best",
        _ => false,
    };
    ours && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

const KINDS: [&str; 4] = ["rule", "first", "second", "average"];

impl Folder {
    /// The folder at `path`; nothing is created yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The best rule so far.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.ron")
    }
    fn progress(&self) -> PathBuf {
        self.path.join("progress.ron")
    }
    fn kept_best(&self, batches: u64) -> PathBuf {
        self.path.join(format!("best-{batches}.ron"))
    }
    fn pack(&self, kind: &str, batches: u64) -> PathBuf {
        self.path.join(format!("{kind}-{batches}.bpk"))
    }

    /// Whether training has been here before.
    pub fn exists(&self) -> bool {
        self.progress().exists()
    }

    /// Removes the checkpoints of an earlier training that starts over, and its event files.
    ///
    /// # Errors
    /// A file that cannot be removed, or a recipe or rule that no training wrote there: `--out models/NAME` must not
    /// overwrite them.
    pub fn clear(&self) -> Result<(), TrainError> {
        let fail = |path: &Path, source| FileError {
            action: "remove",
            path: path.into(),
            source,
        };
        if !self.exists() {
            let foreign = ["recipe.ron", "best.ron"].map(|name| self.path.join(name));
            return match foreign.iter().find(|path| path.exists()) {
                Some(path) => Err(TrainError::Checkpoint {
                    path: self.path.clone(),
                    reason: format!(
                        "{} would be overwritten and is not a checkpoint's; expected a folder of its own",
                        path.display()
                    ),
                }),
                None => Ok(()),
            };
        }
        let entries = std::fs::read_dir(&self.path).map_err(|e| fail(&self.path, e))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_numbered(&name)
                || ["progress.ron", "recipe.ron", "best.ron"].contains(&name.as_str())
            {
                std::fs::remove_file(&path).map_err(|e| fail(&path, e))?;
            } else if name == "tensorboard" {
                std::fs::remove_dir_all(&path).map_err(|e| fail(&path, e))?;
            }
        }
        Ok(())
    }

    /// Writes the recipe beside the checkpoints.
    ///
    /// # Errors
    /// An unwritable folder.
    pub fn write_recipe(&self, recipe: &Recipe) -> Result<(), TrainError> {
        let text = ron::ser::to_string_pretty(recipe, ron::ser::PrettyConfig::new().depth_limit(3))
            .map_err(|e| TrainError::Checkpoint {
                path: self.path.clone(),
                reason: e.to_string(),
            })?;
        Ok(write_atomic(
            &self.path.join("recipe.ron"),
            text.as_bytes(),
        )?)
    }

    /// Saves parameters, moments, position and the best rule; the files of the checkpoint before it are removed afterwards. A position
    /// that the folder holds already, or a later one, is left alone: the same numbers have other bytes when they are written again.
    /// Returns the position that the folder holds then.
    ///
    /// # Errors
    /// An unwritable folder; the checkpoint before it is then still whole.
    pub fn save<M: Module>(
        &self,
        module: &M,
        moments: &Moments,
        position: &Position,
        best: Option<&FrozenRule>,
        recipe: &Recipe,
    ) -> Result<Position, TrainError> {
        // Held by whoever saves: the thread that trains, or the one that ends it. Files of both would not belong together.
        static SAVING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.progress();
        if let Ok(text) = read_text(&path)
            && let Ok(held) = parse_ron::<ProgressFile>(&path.display().to_string(), &text)
            && held.position.batches >= position.batches
        {
            return Ok(held.position);
        }
        let fail = |reason: String| TrainError::Checkpoint {
            path: self.path.clone(),
            reason,
        };
        let modules = [
            module.clone(),
            parameters::with_values(module.clone(), &moments.first),
            parameters::with_values(module.clone(), &moments.second),
            parameters::with_values(module.clone(), &moments.average),
        ];
        let mut hashes: [String; KINDS.len()] = Default::default();
        for ((kind, module), hash) in KINDS.iter().zip(modules).zip(&mut hashes) {
            let bytes = module
                .into_record()
                .into_bytes()
                .map_err(|e| fail(e.to_string()))?;
            *hash = sha256(&bytes);
            write_atomic(&self.pack(kind, position.batches), &bytes)?;
        }
        let best = best.map(FrozenRule::text).transpose()?;
        if let Some(text) = &best {
            write_atomic(&self.kept_best(position.batches), text.as_bytes())?;
        }
        let file = ProgressFile {
            format: FORMAT,
            recipe_hash: recipe_hash(recipe),
            position: position.clone(),
            sha256: hashes,
            best_sha256: best.map(|text| sha256(text.as_bytes())),
        };
        let text = ron::ser::to_string_pretty(&file, Default::default())
            .map_err(|e| fail(e.to_string()))?;
        write_atomic(&self.progress(), text.as_bytes())?;
        for entry in std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let current = KINDS
                .iter()
                .map(|k| self.pack(k, position.batches))
                .chain([self.kept_best(position.batches)])
                .any(|path| path == entry.path());
            if is_numbered(&name) && !current {
                // A leftover costs only space.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(file.position)
    }

    /// The best rule of the checkpoint after batch `batches`, whose hash is `expected`; `best.ron` is put right where it is missing or
    /// differs.
    fn read_best(&self, batches: u64, expected: &str) -> Result<FrozenRule, TrainError> {
        let kept = self.kept_best(batches);
        let text = read_text(&kept)?;
        if sha256(text.as_bytes()) != expected {
            return Err(TrainError::Checkpoint {
                path: self.path.clone(),
                reason: format!(
                    "{} is damaged: its SHA-256 is not the one recorded; begin anew with --restart",
                    kept.display()
                ),
            });
        }
        let rule = FrozenRule::read(&kept)?;
        let best = self.best();
        if std::fs::read(&best).ok().as_deref() != Some(text.as_bytes()) {
            tracing::warn!(
                "{} was missing or not the best rule of the checkpoint; restored",
                best.display()
            );
            write_atomic(&best, text.as_bytes())?;
        }
        Ok(rule)
    }

    /// Restores parameters, moments, position and the best rule into a module of the same structure.
    ///
    /// # Errors
    /// A missing or damaged file, or a checkpoint of another recipe.
    pub fn load<M: Module>(
        &self,
        module: M,
        recipe: &Recipe,
    ) -> Result<(M, Moments, Position, Option<FrozenRule>), TrainError> {
        let fail = |reason: String| TrainError::Checkpoint {
            path: self.path.clone(),
            reason,
        };
        let path = self.progress();
        let (origin, text) = (path.display().to_string(), read_text(&path)?);
        // First of all the version: a file of another has other fields.
        let Header { format } = parse_ron(&origin, &text)?;
        if format != FORMAT {
            return Err(fail(format!(
                "checkpoint format {} is unknown, this build reads format {FORMAT}",
                format
            )));
        }
        let file: ProgressFile = parse_ron(&origin, &text)?;
        if file.recipe_hash != recipe_hash(recipe) {
            return Err(fail("the checkpoint belongs to another recipe; expected the one that it was started with".into()));
        }
        let mut parts = Vec::with_capacity(KINDS.len());
        for (kind, expected) in KINDS.iter().zip(&file.sha256) {
            let path = self.pack(kind, file.position.batches);
            let bytes = std::fs::read(&path).map_err(|source| FileError {
                action: "read",
                path: path.clone(),
                source,
            })?;
            if sha256(&bytes) != *expected {
                return Err(fail(format!(
                    "{} is damaged: its SHA-256 is not the one recorded",
                    path.display()
                )));
            }
            let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes))
                .map_err(|e| fail(e.to_string()))?;
            let restored = module
                .clone()
                .try_load_record(record)
                .map_err(|e| fail(e.to_string()))?;
            parts.push(parameters::values(&restored));
        }
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let module = parameters::with_values(module, &next());
        let moments = Moments {
            first: next(),
            second: next(),
            average: next(),
        };
        let best = match &file.best_sha256 {
            Some(expected) => Some(self.read_best(file.position.batches, expected)?),
            // Checkpoints of before it was kept have `best.ron` alone.
            None if file.position.best_score.is_some() => Some(FrozenRule::read(&self.best())?),
            None => None,
        };
        Ok((module, moments, file.position, best))
    }
}

/// Reads the recipe that lies beside a checkpoint.
///
/// # Errors
/// A missing or malformed file.
pub fn read_recipe(folder: &Path) -> Result<Recipe, TrainError> {
    let path = folder.join("recipe.ron");
    Ok(parse_ron(&path.display().to_string(), &read_text(&path)?)?)
}
