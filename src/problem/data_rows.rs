//! `f_i(x) = (1/m_i) Σ_r φ(a_r·x, b_r)`: the mean loss of an agent's rows.

use super::compact::Compact;
use super::loss::{RowLoss, with_loss};
use super::{Loss, Objective, ProblemError, Shard, optimum, rows};
use crate::field::dot;

/// Every agent's rows and their loss.
#[derive(Clone, Debug)]
pub struct Rows {
    dimension: usize,
    loss: Loss,
    shards: Vec<Shard>,
    /// Where an agent's function can be had from fewer rows.
    compact: Vec<Option<Compact>>,
    smoothness: Vec<f64>,
}

impl Rows {
    /// Checks shapes and values and computes every `L_i`.
    pub(super) fn new(
        dimension: usize,
        loss: Loss,
        shards: Vec<Shard>,
    ) -> Result<Self, ProblemError> {
        if let Some((name, found, expected)) = loss.fault() {
            return Err(ProblemError::parameter(name, found, expected));
        }
        if dimension == 0 {
            return Err(ProblemError::parameter("dimension", 0, "at least 1"));
        }
        if shards.is_empty() {
            return Err(ProblemError::parameter("agents", 0, "at least 1"));
        }
        for (agent, shard) in shards.iter().enumerate() {
            let shape = |found: String, expected: String| ProblemError::Shape {
                agent,
                found,
                expected,
            };
            let rows = shard.targets.len();
            if rows == 0 {
                return Err(shape("no rows".into(), "at least 1".into()));
            }
            if shard.features.len() != rows * dimension {
                return Err(shape(
                    format!("{} feature values", shard.features.len()),
                    format!("{rows} rows × {dimension}"),
                ));
            }
            if let Some(v) = shard
                .features
                .iter()
                .chain(&shard.targets)
                .find(|v| !v.is_finite())
            {
                return Err(shape(format!("the value {v}"), "finite numbers".into()));
            }
            if loss.labels()
                && let Some(b) = shard.targets.iter().find(|b| b.abs() != 1.0)
            {
                return Err(shape(format!("the label {b}"), "−1 or +1".into()));
            }
        }
        let bound = loss.curvature_bound();
        let smoothness = shards
            .iter()
            .map(|s| bound * optimum::gram_norm(&s.features, dimension) / s.targets.len() as f64)
            .collect();
        let compact = shards.iter().map(|s| Compact::new(loss, s, dimension));
        Ok(Self {
            dimension,
            loss,
            compact: compact.collect(),
            shards,
            smoothness,
        })
    }

    /// The loss of a row.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Every agent's rows.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Trace of the matrix whose largest eigenvalue is `L_i`: the sum of squares of the agent's features, times the loss's
    /// largest curvature, over its rows.
    pub(super) fn trace(&self, agent: usize) -> f64 {
        let shard = &self.shards[agent];
        let squares = dot(&shard.features, &shard.features);
        self.loss.curvature_bound() * squares / shard.targets.len() as f64
    }

    /// `out += B v`, `B` the mean over agents of the matrices that bound the Hessians.
    pub(super) fn add_mean_curvature(&self, v: &[f64], out: &mut [f64]) {
        for shard in &self.shards {
            let rows = self.shards.len() * shard.targets.len();
            let scale = self.loss.curvature_bound() / rows as f64;
            rows::add_gradient(&shard.features, v, |_, u| scale * u, out);
        }
    }

    /// The rows to compute with, and what is to be added to the sum of their losses.
    fn rows(&self, agent: usize) -> (&Shard, f64) {
        match &self.compact[agent] {
            Some(compact) => (&compact.rows, compact.rest),
            None => (&self.shards[agent], 0.0),
        }
    }
}

impl Objective for Rows {
    fn agents(&self) -> usize {
        self.shards.len()
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn value(&self, agent: usize, x: &[f64]) -> f64 {
        let (shard, mut total) = self.rows(agent);
        with_loss!(self.loss, l => {
            rows::products(&shard.features, x, |r, u| total += l.value(u, shard.targets[r]));
        });
        total / self.shards[agent].targets.len() as f64
    }

    /// One pass over the agent's rows, nothing allocated.
    fn gradient(&self, agent: usize, x: &[f64], out: &mut [f64]) {
        let scale = 1.0 / self.shards[agent].targets.len() as f64;
        let (shard, _) = self.rows(agent);
        out.fill(0.0);
        with_loss!(self.loss, l => {
            let slope = |r: usize, u| scale * l.slope(u, shard.targets[r]);
            rows::add_gradient(&shard.features, x, slope, out);
        });
    }

    fn smoothness(&self, agent: usize) -> Option<f64> {
        Some(self.smoothness[agent])
    }

    /// The diagonal of `sup φ''·A_iᵀA_i/m_i`.
    fn curvature(&self, agent: usize, out: &mut [f64]) -> bool {
        let shard = &self.shards[agent];
        let bound = self.loss.curvature_bound() / shard.targets.len() as f64;
        out.fill(0.0);
        for row in shard.features.chunks_exact(self.dimension) {
            for (h, a) in out.iter_mut().zip(row) {
                *h += bound * a * a;
            }
        }
        true
    }
}
