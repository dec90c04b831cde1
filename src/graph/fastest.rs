//! Edge weights that average fastest: minimise `σ(W) = ‖W − 11ᵀ/n‖₂` over symmetric `W` with rows that sum to one
//! (fastest distributed linear averaging: Xiao and Boyd, *Fast linear iterations for distributed averaging*, 2004).
//!
//! `σ` is convex, but has kinks wherever eigenvalues coincide, as they do on symmetric graphs. So what descends is the Schatten
//! norm `(Σ_k |λ_k|^p)^{1/p}` over the eigenvalues off consensus, smooth and at most `(n−1)^{1/p}` times `σ`, for growing `p`;
//! its derivative by `w_ij` is `−Σ_k sign(λ_k) π_k (v_ki − v_kj)²` with `π_k = |λ_k/‖λ‖_p|^{p−1}`. Projected gradient with
//! backtracking from the best constant weight; deterministic.

use nalgebra::DMatrix;

use super::Graph;

/// Exponents, in turn.
const EXPONENTS: [i32; 4] = [4, 16, 64, 256];
/// Gradient steps with each exponent.
const STEPS: usize = 60;

/// The weights, `[edges]`, all positive, starting from `constant` on every edge. Each gradient step takes an eigenvalue
/// decomposition, cubic in the number of agents.
pub(super) fn weights(graph: &Graph, constant: f64) -> Vec<f64> {
    let floor = 1e-3 * constant;
    let mut best = vec![constant; graph.edges().len()];
    let mut best_sigma = Point::new(graph, &best).sigma();
    if best_sigma < 1e-12 {
        return best; // one round averages: there is nothing to gain
    }
    for exponent in EXPONENTS {
        let mut w = best.clone();
        let mut point = Point::new(graph, &w);
        let mut step = constant;
        for _ in 0..STEPS {
            let gradient = point.gradient(graph, exponent);
            let next: Vec<f64> = w
                .iter()
                .zip(&gradient)
                .map(|(w, g)| (w - step * g).max(floor))
                .collect();
            let next_point = Point::new(graph, &next);
            if next_point.norm(exponent) < point.norm(exponent) {
                (w, point) = (next, next_point);
                step *= 1.5;
                if point.sigma() < best_sigma {
                    best_sigma = point.sigma();
                    best.clone_from(&w);
                }
            } else {
                step *= 0.3;
            }
        }
    }
    best
}

/// The eigenvalues and eigenvectors of `W` off consensus.
struct Point {
    eigenvalues: Vec<f64>,
    /// `[agents, agents − 1]`
    eigenvectors: DMatrix<f64>,
}

impl Point {
    fn new(graph: &Graph, weights: &[f64]) -> Self {
        let n = graph.agents();
        // W − 11ᵀ/n, whose eigenvalue 0 along consensus stands in no sum.
        let mut w = DMatrix::from_element(n, n, -1.0 / n as f64);
        (0..n).for_each(|i| w[(i, i)] += 1.0);
        for (&(i, j), &weight) in graph.edges().iter().zip(weights) {
            w[(i, i)] -= weight;
            w[(j, j)] -= weight;
            w[(i, j)] += weight;
            w[(j, i)] += weight;
        }
        let decomposition = w.symmetric_eigen();
        Self {
            eigenvalues: decomposition.eigenvalues.iter().copied().collect(),
            eigenvectors: decomposition.eigenvectors,
        }
    }

    fn sigma(&self) -> f64 {
        self.eigenvalues.iter().fold(0.0, |m, l| m.max(l.abs()))
    }

    /// `(Σ_k |λ_k|^p)^{1/p}`
    fn norm(&self, exponent: i32) -> f64 {
        let sigma = self.sigma().max(f64::MIN_POSITIVE);
        let sum: f64 = self
            .eigenvalues
            .iter()
            .map(|l| (l.abs() / sigma).powi(exponent))
            .sum();
        sigma * sum.powf(1.0 / f64::from(exponent))
    }

    /// The derivative of [`Self::norm`] by every edge's weight.
    fn gradient(&self, graph: &Graph, exponent: i32) -> Vec<f64> {
        let norm = self.norm(exponent);
        let pull: Vec<f64> = self
            .eigenvalues
            .iter()
            .map(|l| l.signum() * (l.abs() / norm).powi(exponent - 1))
            .collect();
        graph
            .edges()
            .iter()
            .map(|&(i, j)| {
                let v = &self.eigenvectors;
                -pull
                    .iter()
                    .enumerate()
                    .map(|(k, p)| p * (v[(i, k)] - v[(j, k)]).powi(2))
                    .sum::<f64>()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Graph, GraphError, GraphSpec, Mixing, MixingKind};

    fn sigma(graph: &Graph, kind: MixingKind) -> Result<f64, GraphError> {
        Ok(Mixing::new(graph, kind).spectrum(graph)?.sigma)
    }

    #[test]
    fn a_wheel_reaches_its_closed_form() -> Result<(), GraphError> {
        // Spokes a and rims b of a hub with six neighbours: the eigenvalues of I − W are 7a, a + b, a + 3b and a + 4b, and the
        // largest distance to 1 is least, 9/19, where 7a = a + 4b. The best constant weight reaches (7 − 2)/(7 + 2).
        let edges = (0..6).flat_map(|i| [(i, 6), (i, (i + 1) % 6)]);
        let wheel = Graph::from_edges("wheel", 7, edges)?;
        assert!((sigma(&wheel, MixingKind::Laplacian)? - 5.0 / 9.0).abs() < 1e-12);
        let fastest = sigma(&wheel, MixingKind::Fastest)?;
        assert!((fastest - 9.0 / 19.0).abs() < 2e-3, "{fastest}");
        Ok(())
    }

    #[test]
    fn no_other_kind_is_faster() -> Result<(), GraphError> {
        for (spec, gain) in [
            (GraphSpec::Ring(10), 1.0),
            (GraphSpec::Path(5), 1.0),
            (GraphSpec::Star(5), 1.0),
            (
                GraphSpec::ErdosRenyi {
                    agents: 20,
                    probability: 0.3,
                },
                0.95,
            ),
        ] {
            let graph = spec.build(3)?;
            let fastest = sigma(&graph, MixingKind::Fastest)?;
            for kind in [
                MixingKind::LazyMetropolis,
                MixingKind::Metropolis,
                MixingKind::Laplacian,
                MixingKind::Uniform,
            ] {
                let other = sigma(&graph, kind)?;
                assert!(
                    fastest <= gain * other + 1e-12,
                    "{spec}, {kind:?}: {fastest} against {other}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn a_large_graph_keeps_the_best_constant() -> Result<(), GraphError> {
        let graph = GraphSpec::Tree {
            agents: 150,
            branching: 3,
        }
        .build(1)?;
        let weights = |kind| Mixing::new(&graph, kind).edge_weights().to_vec();
        assert_eq!(weights(MixingKind::Fastest), weights(MixingKind::Laplacian));
        Ok(())
    }
}
