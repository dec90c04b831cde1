//! How fast a mixing matrix averages: `‖W x − x̄‖ ≤ σ ‖x − x̄‖`, `σ = max(|λ_2(W)|, |λ_min(W)|)`.
//!
//! Both eigenvalues are those of the weighted Laplacian `L_w = I − W` off the consensus direction. Small graphs
//! take a dense eigensolver. Large ones take Lanczos without reorthogonalisation (Paige 1980: rounding
//! duplicates converged eigenvalues, but does not move the extreme ones), so memory stays linear in the graph.

use nalgebra::DMatrix;
use rand_distr::{Distribution, StandardNormal};

use super::{Graph, GraphError};
use crate::random;

/// Beyond this many agents the dense solver's cubic cost is felt.
const DENSE_AGENTS: usize = 2000;

/// The eigenvalues of `W` apart from the 1 that belongs to consensus. With one agent there are none, and all count as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spectrum {
    /// The second largest eigenvalue of `W`.
    pub lambda_2: f64,
    /// The smallest eigenvalue of `W`.
    pub lambda_min: f64,
    /// `max(|lambda_2|, |lambda_min|)`: the factor by which a round shrinks disagreement, at worst.
    pub sigma: f64,
    /// `1 − sigma`, the spectral gap.
    pub gap: f64,
    /// The largest eigenvalue of `I − W`, `1 − lambda_min`.
    pub laplacian_max: f64,
}

impl Spectrum {
    /// From the smallest and largest eigenvalue of `I − W` off the consensus direction.
    pub(super) fn new(smallest: f64, largest: f64) -> Spectrum {
        // Rounding must not turn "averages in one round" into a tiny factor.
        let tidy = |value: f64| if value.abs() < 1e-13 { 0.0 } else { value };
        let (lambda_2, lambda_min) = (tidy(1.0 - smallest), tidy(1.0 - largest));
        let sigma = lambda_2.abs().max(lambda_min.abs());
        // The second form keeps the digits of a small gap, which 1 − sigma loses.
        let gap = if sigma == 0.0 {
            1.0
        } else {
            smallest.min(2.0 - largest)
        };
        Spectrum {
            lambda_2,
            lambda_min,
            sigma,
            gap,
            laplacian_max: 1.0 - lambda_min,
        }
    }

    /// Rounds of plain gossip that shrink disagreement tenfold: `ln 10 / −ln σ`, and 0 when `σ = 0`.
    pub fn rounds_per_digit(&self) -> f64 {
        if self.sigma == 0.0 {
            0.0
        } else {
            10_f64.ln() / -(-self.gap).ln_1p()
        }
    }
}

/// The smallest and largest eigenvalue of the Laplacian weighted by `weights` (`[edges]`), off the consensus direction.
/// One agent counts as averaging at once: `(1, 1)`.
pub(super) fn extremes(graph: &Graph, weights: &[f64]) -> Result<(f64, f64), GraphError> {
    if graph.agents() == 1 {
        return Ok((1.0, 1.0));
    }
    if graph.agents() <= DENSE_AGENTS {
        return Ok(dense(graph, weights));
    }
    lanczos(graph, weights)
}

fn dense(graph: &Graph, weights: &[f64]) -> (f64, f64) {
    let mut laplacian = DMatrix::<f64>::zeros(graph.agents(), graph.agents());
    for (&(i, j), &weight) in graph.edges().iter().zip(weights) {
        laplacian[(i, i)] += weight;
        laplacian[(j, j)] += weight;
        laplacian[(j, i)] -= weight; // only the lower triangle is read
    }
    let mut eigenvalues: Vec<f64> = laplacian.symmetric_eigenvalues().iter().copied().collect();
    eigenvalues.sort_unstable_by(f64::total_cmp);
    // The first is the zero of the consensus direction.
    (eigenvalues[1], eigenvalues[eigenvalues.len() - 1])
}

fn lanczos(graph: &Graph, weights: &[f64]) -> Result<(f64, f64), GraphError> {
    let agents = graph.agents();
    let iterations = 20 * agents;
    let mut rng = random::stream(0, "graph/lanczos", &[]);
    let mut vector: Vec<f64> = (0..agents)
        .map(|_| StandardNormal.sample(&mut rng))
        .collect();
    leave_consensus(&mut vector);
    let length = norm(&vector);
    scale(&mut vector, 1.0 / length);
    let mut previous = vec![0.0; agents];
    // The tridiagonal matrix T of the recursion: its diagonal and off-diagonal.
    let (mut diagonal, mut off_diagonal) = (Vec::new(), Vec::<f64>::new());
    let mut settled = (f64::INFINITY, 0.0);
    let mut next_check = 16;
    for step in 1..=iterations {
        let beta = off_diagonal.last().copied().unwrap_or(0.0);
        // previous ← L_w vector − β previous
        scale(&mut previous, -beta);
        for (&(i, j), &weight) in graph.edges().iter().zip(weights) {
            let flow = weight * (vector[i] - vector[j]);
            previous[i] += flow;
            previous[j] -= flow;
        }
        let alpha: f64 = previous.iter().zip(&vector).map(|(a, b)| a * b).sum();
        for (next, value) in previous.iter_mut().zip(&vector) {
            *next -= alpha * value;
        }
        leave_consensus(&mut previous);
        diagonal.push(alpha);
        let beta = norm(&previous);
        let exhausted = beta < 1e-14 * alpha.abs();
        if exhausted || step == next_check {
            let found = (
                ritz(&diagonal, &off_diagonal, 0),
                ritz(&diagonal, &off_diagonal, step - 1),
            );
            // Rounding leaves an error of a few ulps of the largest eigenvalue in the smallest.
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-10 * b + 1e-14 * found.1;
            if exhausted || (close(settled.0, found.0) && close(settled.1, found.1)) {
                return Ok(found);
            }
            settled = found;
            next_check += next_check / 2;
        }
        scale(&mut previous, 1.0 / beta);
        std::mem::swap(&mut previous, &mut vector);
        off_diagonal.push(beta);
    }
    Err(GraphError::Eigenvalues {
        graph: graph.name().into(),
        iterations,
    })
}

/// Eigenvalue `index` (ascending) of the symmetric tridiagonal matrix, by bisection on its Sturm sequence.
fn ritz(diagonal: &[f64], off_diagonal: &[f64], index: usize) -> f64 {
    let beta = |k: usize| {
        k.checked_sub(1)
            .and_then(|k| off_diagonal.get(k))
            .map_or(0.0, |b| b.abs())
    };
    let radius = |k: usize| beta(k) + beta(k + 1);
    // Gershgorin; the last radius takes no entry from outside the matrix.
    let (mut low, mut high) = diagonal
        .iter()
        .enumerate()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (k, a)| {
            (low.min(a - radius(k)), high.max(a + radius(k)))
        });
    // As many negative pivots as eigenvalues below the shift (Sylvester).
    let below = |shift: f64| {
        let mut pivot = 1.0;
        let mut count = 0;
        for (k, a) in diagonal.iter().enumerate() {
            pivot = a - shift - beta(k).powi(2) / pivot;
            if pivot == 0.0 {
                pivot = f64::MIN_POSITIVE;
            }
            count += usize::from(pivot < 0.0);
        }
        count
    };
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) > index {
            high = middle;
        } else {
            low = middle;
        }
    }
    0.5 * (low + high)
}

/// Removes the mean, the part along the all-ones vector.
fn leave_consensus(vector: &mut [f64]) {
    let mean = vector.iter().sum::<f64>() / vector.len() as f64;
    vector.iter_mut().for_each(|value| *value -= mean);
}

fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn scale(vector: &mut [f64], factor: f64) {
    vector.iter_mut().for_each(|value| *value *= factor);
}

#[cfg(test)]
mod tests {
    use super::super::{GraphSpec, Mixing, MixingKind};
    use super::*;

    #[test]
    fn lanczos_agrees_with_the_dense_solver() -> Result<(), GraphError> {
        let specs = [
            GraphSpec::Path(2),
            GraphSpec::Path(150),
            GraphSpec::Star(40),
            GraphSpec::Complete(12),
            GraphSpec::Torus {
                rows: 6,
                columns: 9,
            },
            GraphSpec::Tree {
                agents: 100,
                branching: 3,
            },
            GraphSpec::RandomRegular {
                agents: 60,
                degree: 3,
            },
            GraphSpec::SmallWorld {
                agents: 120,
                neighbors: 4,
                rewiring: 0.1,
            },
        ];
        for spec in specs {
            let graph = spec.build(3)?;
            let mixing = Mixing::new(&graph, MixingKind::Metropolis);
            let exact = dense(&graph, mixing.edge_weights());
            let found = lanczos(&graph, mixing.edge_weights())?;
            assert!(
                (found.0 / exact.0 - 1.0).abs() < 1e-9,
                "{spec}: {found:?} {exact:?}"
            );
            assert!(
                (found.1 / exact.1 - 1.0).abs() < 1e-9,
                "{spec}: {found:?} {exact:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_small_gap_keeps_its_digits() {
        let spectrum = Spectrum::new(1e-12, 0.5);
        assert_eq!(spectrum.gap, 1e-12);
        assert!((spectrum.rounds_per_digit() / (10_f64.ln() * 1e12) - 1.0).abs() < 1e-9);
    }
}
