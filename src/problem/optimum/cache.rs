//! Minimisers kept between commands, by a hash of everything that determines `F`.
//!
//! Only the point is believed: objective and certificate are computed anew from it whenever an entry is read, so that a damaged
//! or altered file costs time and nothing else.

use super::{Optimum, Pooled, certificate, solve};
use crate::problem::{Problem, ProblemError, Rows};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// SHA-256 over everything that determines `F`: loss, regularizer, data.
fn content_hash(problem: &Problem, rows: &Rows) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"starling optimum 3");
    hasher.update(format!(
        "{:?} {:?} {}",
        rows.loss(),
        problem.regularizer(),
        problem.dimension()
    ));
    for shard in rows.shards() {
        hasher.update((shard.targets.len() as u64).to_le_bytes());
        for v in shard.features.iter().chain(&shard.targets) {
            hasher.update(v.to_le_bytes());
        }
    }
    hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Where optima are kept: `$STARLING_CACHE`, else `starling` in the user's cache folder.
pub fn cache_dir() -> Option<PathBuf> {
    std::env::var_os("STARLING_CACHE")
        .map(PathBuf::from)
        .or_else(|| dirs::cache_dir().map(|d| d.join("starling")))
        .map(|d| d.join("optimum"))
}

/// [`solve`], looked up first under the content hash in `cache`; an entry that is unreadable or whose point is not the minimiser
/// that it says is solved again, an unwritable folder only costs the time of solving.
///
/// # Errors
/// As [`solve`].
pub fn solve_cached(problem: &Problem, cache: Option<&Path>) -> Result<Optimum, ProblemError> {
    let hash = problem.rows().map(|rows| content_hash(problem, rows));
    let file = cache
        .zip(hash)
        .map(|(dir, hash)| dir.join(format!("{hash}.ron")));
    if let Some(file) = file.as_deref()
        && let Ok(text) = std::fs::read_to_string(file)
    {
        // RON, whose numbers come back bit for bit: what is cached must change no figure.
        let kept = ron::from_str::<Optimum>(&text).ok();
        if let Some(optimum) = kept.and_then(|kept| verified(problem, kept)) {
            return Ok(optimum);
        }
        tracing::warn!(
            "{}: the cached optimum is damaged or altered; F* is solved again",
            file.display()
        );
    }
    let optimum = solve(problem)?;
    if let Some(file) = file
        && let Ok(text) = ron::to_string(&optimum)
        && let Err(error) = crate::files::write_atomic(&file, text.as_bytes())
    {
        tracing::debug!("the optimum was not cached: {error}");
    }
    Ok(optimum)
}

/// What `kept`'s point gives, if that is what the entry says.
fn verified(problem: &Problem, kept: Optimum) -> Option<Optimum> {
    if kept.x.len() != problem.dimension() || kept.x.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let found = certificate::certify(&Pooled::new(problem).ok()?, kept.x, kept.solver).ok()?;
    let same = |a: f64, b: f64| (a - b).abs() <= 2.0 * found.rounding;
    (same(found.objective, kept.objective) && same(found.certificate, kept.certificate))
        .then_some(found)
}
