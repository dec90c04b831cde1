//! Chebyshev gossip (Scaman, Bach, Bubeck, Lee, Massoulié, ICML 2017): the polynomial of `Λ = I − W` of degree `K` that is
//! nearest to 1 on the spectrum `[λ_2, λ_max]` of `Λ` off consensus,
//!
//! `Λ_K = I − T_K((I − Λ/m)/ρ)/T_K(1/ρ)`, `m = (λ_max + λ_2)/2`, `ρ = (λ_max − λ_2)/(λ_max + λ_2)`;
//!
//! its eigenvalues off consensus lie in `1 ± 1/T_K(1/ρ)`. `K` rounds.
//!
//! Computed as `q_k = Λ_k v`: `q_1 = Λv/m`, `q_{k+1} = ω(q_k + Λ(v − q_k)/m) + (1 − ω)q_{k−1}`, `ω⁺ = 1/(1 − ρ²ω/4)`, `ω = 2`
//! before the second round. Every `q` is a sum of antisymmetric flows that vanish with the disagreement of `v`.

use crate::field::Field;
use crate::graph::Spectrum;
use crate::network::Network;

/// Accelerated gossip of `mixings` rounds.
pub struct Chebyshev {
    /// Edge weights of `Λ/m`.
    weights: Vec<f64>,
    /// `ω` of the second round and those after it.
    omegas: Vec<f64>,
    /// `1/T_K(1/ρ)`
    deviation: f64,
}

impl Chebyshev {
    /// `weights`: the `w_ij` of `W` for every edge; `spectrum`: that of `W`; `mixings ≥ 1`.
    pub fn new(spectrum: &Spectrum, mixings: usize, weights: &[f64]) -> Self {
        let (smallest, largest) = (1.0 - spectrum.lambda_2, spectrum.laplacian_max);
        let rho = (largest - smallest) / (largest + smallest);
        let (mut omega, mut deviation) = (2.0, rho);
        let omegas = (1..mixings)
            .map(|_| {
                omega = 1.0 / (1.0 - 0.25 * rho * rho * omega);
                // T_{k+1} = (2/ρ) T_k/ω
                deviation *= 0.5 * rho * omega;
                omega
            })
            .collect();
        Self {
            weights: weights
                .iter()
                .map(|w| 2.0 * w / (largest + smallest))
                .collect(),
            omegas,
            deviation,
        }
    }

    /// The largest eigenvalue of `Λ_K`.
    pub fn largest(&self) -> f64 {
        1.0 + self.deviation
    }

    /// The smallest eigenvalue of `Λ_K` off consensus.
    pub fn smallest(&self) -> f64 {
        1.0 - self.deviation
    }

    /// Writes `Λ_K v` to `out`.
    pub fn disagreement(
        &self,
        v: &Field,
        out: &mut Field,
        scratch: &mut Scratch,
        network: &mut Network,
    ) {
        network.disagreement(&self.weights, v, out);
        scratch.last.values_mut().fill(0.0);
        for omega in &self.omegas {
            scratch.point.copy_from(v);
            scratch.point.add_scaled(-1.0, out);
            network.disagreement(&self.weights, &scratch.point, &mut scratch.mixed);
            let (last, mixed) = (scratch.last.values_mut(), scratch.mixed.values());
            for ((q, last), m) in out.values_mut().iter_mut().zip(last).zip(mixed) {
                let next = omega * (*q + m) + (1.0 - omega) * *last;
                *last = *q;
                *q = next;
            }
        }
    }
}

/// Space for [`Chebyshev::disagreement`].
pub struct Scratch {
    last: Field,
    point: Field,
    mixed: Field,
}

impl Scratch {
    /// Space for a field of this shape.
    pub fn new(agents: usize, dimension: usize) -> Self {
        let field = || Field::zeros(agents, dimension);
        Self {
            last: field(),
            point: field(),
            mixed: field(),
        }
    }
}
