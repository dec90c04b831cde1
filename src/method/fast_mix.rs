//! FastMix: `v⁰ = v⁻¹`, then `mixings` times `v⁺ = (1+η)Wv − ηv⁻`, `η = (1 − √(1−σ₂²))/(1 + √(1−σ₂²))`.

use crate::field::Field;
use crate::network::Network;

/// Accelerated gossip with `mixings` rounds.
pub struct FastMix {
    eta: f64,
    mixings: usize,
    weights: Vec<f64>,
}

impl FastMix {
    /// `sigma`: second largest modulus of an eigenvalue of `W`; `weights`: its `w_ij` for every edge.
    pub fn new(sigma: f64, mixings: usize, weights: &[f64]) -> Self {
        let root = (1.0 - sigma * sigma).max(0.0).sqrt();
        Self {
            eta: (1.0 - root) / (1.0 + root),
            mixings,
            weights: weights.to_vec(),
        }
    }

    /// Mixes `v` in place; the sum over agents is kept.
    pub fn mix(&self, v: &mut Field, scratch: &mut Scratch, network: &mut Network) {
        scratch.last.copy_from(v);
        for _ in 0..self.mixings {
            network.disagreement(&self.weights, v, &mut scratch.mixed);
            // (1+η)(v − (I−W)v) − ηv⁻ = v + η(v − v⁻) − (1+η)(I−W)v
            let eta = self.eta;
            let (last, mixed) = (scratch.last.values_mut(), scratch.mixed.values());
            for ((v, last), m) in v.values_mut().iter_mut().zip(last).zip(mixed) {
                let next = *v + eta * (*v - *last) - (1.0 + eta) * m;
                *last = *v;
                *v = next;
            }
        }
    }
}

/// Space for [`FastMix::mix`].
pub struct Scratch {
    last: Field,
    mixed: Field,
}

impl Scratch {
    /// Space for a field of this shape.
    pub fn new(agents: usize, dimension: usize) -> Self {
        Self {
            last: Field::zeros(agents, dimension),
            mixed: Field::zeros(agents, dimension),
        }
    }
}
