//! Mixing matrices: `W = I − Σ_e w_e (e_i − e_j)(e_i − e_j)ᵀ` over the edges `e = (i, j)`.
//!
//! `W` is symmetric and its rows sum to one by construction; only the edge weights `w_e` depend on the kind
//! (Xiao and Boyd, *Fast linear iterations for distributed averaging*, 2004).

use serde::{Deserialize, Serialize};

use super::fastest;
use super::spectrum::{self, Spectrum};
use super::{Graph, GraphError};

/// Beyond this many agents the search for the fastest weights takes minutes.
const FASTEST_AGENTS: usize = 100;

/// The rule behind the edge weights; `d_i` is the degree of agent `i`, `L` the graph Laplacian.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MixingKind {
    /// `w_ij = 1 / (2 (1 + max(d_i, d_j)))`, that is `(I + Metropolis) / 2`: no negative eigenvalue.
    #[default]
    LazyMetropolis,
    /// `w_ij = 1 / (1 + max(d_i, d_j))`.
    Metropolis,
    /// `w_ij = 2 / (λ_2(L) + λ_max(L))`: the constant weight that averages fastest. Self weights may be negative.
    Laplacian,
    /// `w_ij = 1 / (1 + d_max)`.
    Uniform,
    /// A weight of its own for every edge, chosen so that `W` averages as fast as it can. Self weights may be negative. Graphs
    /// of more than 100 agents, too large for the search, keep the constant of [`MixingKind::Laplacian`].
    Fastest,
}

/// A symmetric mixing matrix with rows that sum to one, stored by edge.
#[derive(Clone, Debug)]
pub struct Mixing {
    kind: MixingKind,
    edge_weights: Vec<f64>,
    self_weights: Vec<f64>,
}

impl Mixing {
    /// The mixing matrix of `graph`.
    ///
    /// Should the eigenvalues that [`MixingKind::Laplacian`] needs not settle, its constant is the one of
    /// [`MixingKind::Uniform`], which is slower but always averages; [`Mixing::spectrum`] reports the failure.
    pub fn new(graph: &Graph, kind: MixingKind) -> Mixing {
        let metropolis =
            |&(i, j): &(usize, usize)| 1.0 / (1 + graph.degree(i).max(graph.degree(j))) as f64;
        let uniform = 1.0 / (1 + graph.max_degree()) as f64;
        let constant = |weight: f64| vec![weight; graph.edges().len()];
        let best_constant = || {
            spectrum::extremes(graph, &constant(1.0))
                .map_or(uniform, |(smallest, largest)| 2.0 / (smallest + largest))
        };
        let edge_weights = match kind {
            MixingKind::Metropolis => graph.edges().iter().map(metropolis).collect(),
            MixingKind::LazyMetropolis => {
                graph.edges().iter().map(|e| 0.5 * metropolis(e)).collect()
            }
            MixingKind::Uniform => constant(uniform),
            MixingKind::Fastest if graph.agents() <= FASTEST_AGENTS => graph
                .fastest
                .get_or_init(|| fastest::weights(graph, best_constant()))
                .clone(),
            MixingKind::Laplacian | MixingKind::Fastest => constant(best_constant()),
        };
        let self_weights = (0..graph.agents())
            .map(|i| {
                1.0 - graph
                    .neighbors(i)
                    .iter()
                    .map(|n| edge_weights[n.edge])
                    .sum::<f64>()
            })
            .collect();
        Mixing {
            kind,
            edge_weights,
            self_weights,
        }
    }

    /// The rule that gave the weights.
    pub fn kind(&self) -> MixingKind {
        self.kind
    }

    /// `w_e`, the off-diagonal entry of `W` for every edge: `[edges]`.
    pub fn edge_weights(&self) -> &[f64] {
        &self.edge_weights
    }

    /// `w_ii`, the diagonal of `W`: `[agents]`.
    pub fn self_weights(&self) -> &[f64] {
        &self.self_weights
    }

    /// The eigenvalues of `W` that decide how fast it averages; `graph` is the one that `self` was made for.
    ///
    /// # Errors
    /// Another graph, or eigenvalues that do not settle.
    pub fn spectrum(&self, graph: &Graph) -> Result<Spectrum, GraphError> {
        if (graph.edges().len(), graph.agents())
            != (self.edge_weights.len(), self.self_weights.len())
        {
            return Err(GraphError::Mismatch {
                graph: graph.name().into(),
                edges: graph.edges().len(),
                weights: self.edge_weights.len(),
            });
        }
        // I − W is the Laplacian weighted by w.
        spectrum::extremes(graph, &self.edge_weights)
            .map(|(smallest, largest)| Spectrum::new(smallest, largest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::GraphSpec;
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::PI;

    const KINDS: [MixingKind; 5] = [
        MixingKind::LazyMetropolis,
        MixingKind::Metropolis,
        MixingKind::Laplacian,
        MixingKind::Uniform,
        MixingKind::Fastest,
    ];

    fn spectrum(spec: GraphSpec, kind: MixingKind) -> Result<Spectrum, GraphError> {
        let graph = spec.build(0)?;
        Mixing::new(&graph, kind).spectrum(&graph)
    }

    proptest! {
        #[test]
        fn rows_sum_to_one_and_w_averages(agents in 1_usize..25, seed in 0_u64..1000) {
            let graph = GraphSpec::ErdosRenyi { agents, probability: 0.5 }.build(seed).unwrap();
            for kind in KINDS {
                let mixing = Mixing::new(&graph, kind);
                let mut rows = mixing.self_weights().to_vec();
                for (&(i, j), &weight) in graph.edges().iter().zip(mixing.edge_weights()) {
                    prop_assert!(weight > 0.0);
                    rows[i] += weight;
                    rows[j] += weight;
                }
                prop_assert!(rows.iter().all(|row| (row - 1.0).abs() < 1e-14));
                if !matches!(kind, MixingKind::Laplacian | MixingKind::Fastest) {
                    prop_assert!(mixing.self_weights().iter().all(|&weight| weight > 0.0));
                }
                let spectrum = mixing.spectrum(&graph).unwrap();
                prop_assert!(spectrum.sigma < 1.0 && spectrum.gap > 0.0 && spectrum.lambda_min <= spectrum.lambda_2);
                if kind == MixingKind::LazyMetropolis {
                    prop_assert!(spectrum.lambda_min >= 0.0);
                }
            }
        }
    }

    #[test]
    fn ring_matches_its_closed_form() -> Result<(), GraphError> {
        // Eigenvalues of the ring Laplacian: 2 − 2 cos(2πk/n). 3000 goes through Lanczos.
        for agents in [3, 4, 7, 10, 60, 3000] {
            let eigenvalue = |k: usize| 2.0 - 2.0 * (2.0 * PI * k as f64 / agents as f64).cos();
            let (smallest, largest) = (eigenvalue(1), eigenvalue(agents / 2));
            let lazy = spectrum(GraphSpec::Ring(agents), MixingKind::LazyMetropolis)?;
            assert!(
                (lazy.gap / (smallest / 6.0) - 1.0).abs() < 1e-8,
                "{agents}: {lazy:?}"
            );
            assert!(
                (lazy.laplacian_max - largest / 6.0).abs() < 1e-10,
                "{agents}: {lazy:?}"
            );
            let best = spectrum(GraphSpec::Ring(agents), MixingKind::Laplacian)?;
            let sigma = (largest - smallest) / (largest + smallest);
            assert!((best.sigma - sigma).abs() < 1e-10, "{agents}: {best:?}");
            assert!(
                (best.lambda_2 + best.lambda_min).abs() < 1e-10,
                "{agents}: {best:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn complete_graph_averages_in_one_round() -> Result<(), GraphError> {
        for kind in [
            MixingKind::Metropolis,
            MixingKind::Uniform,
            MixingKind::Laplacian,
            MixingKind::Fastest,
        ] {
            let spectrum = spectrum(GraphSpec::Complete(9), kind)?;
            assert_eq!((spectrum.sigma, spectrum.gap), (0.0, 1.0), "{kind:?}");
            assert_eq!(spectrum.rounds_per_digit(), 0.0);
        }
        let lazy = spectrum(GraphSpec::Complete(9), MixingKind::LazyMetropolis)?;
        assert!((lazy.sigma - 0.5).abs() < 1e-12);
        assert!((lazy.rounds_per_digit() - 10_f64.ln() / 2_f64.ln()).abs() < 1e-10);
        Ok(())
    }

    #[test]
    fn one_agent_has_nothing_to_average() -> Result<(), GraphError> {
        for kind in KINDS {
            let spectrum = spectrum(GraphSpec::Path(1), kind)?;
            assert_eq!(
                (spectrum.sigma, spectrum.gap, spectrum.lambda_2),
                (0.0, 1.0, 0.0)
            );
        }
        Ok(())
    }

    #[test]
    fn another_graph_is_rejected() -> Result<(), GraphError> {
        let mixing = Mixing::new(&GraphSpec::Ring(5).build(0)?, MixingKind::default());
        let error = mixing.spectrum(&GraphSpec::Ring(6).build(0)?).unwrap_err();
        assert!(error.to_string().contains("its own graph"), "{error}");
        Ok(())
    }
}
