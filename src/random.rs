//! Counter-based randomness: `stream(seed, purpose, keys)`.
//!
//! Every random draw of Starling comes from a ChaCha8 stream whose key is the SHA-256 hash of
//! `(seed, purpose, keys…)`. Two consequences: neither the number of threads nor the algorithm under test
//! changes a draw, and streams of different purposes never overlap.

use rand::SeedableRng;
use sha2::{Digest, Sha256};

/// The generator behind every random draw.
pub type Stream = rand_chacha::ChaCha8Rng;

/// The stream that belongs to `(seed, purpose, keys)`; the same arguments always give the same stream.
///
/// `purpose` names what is drawn (`"lasso/data"`, `"graph/erdos-renyi"`); `keys` number the trial, agent, edge or step.
pub fn stream(seed: u64, purpose: &str, keys: &[u64]) -> Stream {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update((purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    for key in keys {
        hasher.update(key.to_le_bytes());
    }
    Stream::from_seed(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, keys: &[u64]| stream(seed, purpose, keys).random::<u64>();
        assert_eq!(draw(1, "a", &[2, 3]), draw(1, "a", &[2, 3]));
        assert_ne!(draw(1, "a", &[2, 3]), draw(2, "a", &[2, 3]));
        assert_ne!(draw(1, "a", &[2, 3]), draw(1, "b", &[2, 3]));
        assert_ne!(draw(1, "a", &[2, 3]), draw(1, "a", &[3, 2]));
    }
}
