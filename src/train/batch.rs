//! A batch of problems on one graph as tensors: the twin of [`Problem`], tested equal to it.
//!
//! Row `i·B + b` of a node tensor `[n·B, d]` is agent `i` of problem `b`, row `e·B + b` of an edge tensor is edge `e` of problem `b`.
//! The gradient is written in tensor operations, not taken by autodiff: Burn is first order, and second-order
//! terms of the meta-gradient would vanish silently.
//!
//! The gap is computed without cancellation, so that f32 resolves gaps far below 1e-7: with `u = a·x`,
//! `F(x) − F* = Σ_r w_r [φ(u) − φ(u*) − φ'(u*)(u − u*)] + Σ_k [g*_k (x_k − x*_k) + r(x_k) − r(x*_k)]`, `g* = ∇f(x*)`.

use super::{TrainError, loss};
use crate::graph::Graph;
use crate::problem::{Loss, Optimum, Problem, Regularizer};
use crate::rule::features::Conditioning;
use crate::rule::shared::{self, normalized_weights};
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};
use std::sync::Arc;

/// Tensors of one float type on one device.
#[derive(Clone, Debug)]
pub struct Place {
    /// Without gradients.
    pub device: Device,
    /// f32, or f64 on the CPU.
    pub dtype: DType,
}

impl Place {
    /// A tensor of host numbers.
    pub fn tensor<const D: usize>(&self, values: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, self.dtype))
    }
    /// Zeros.
    pub fn zeros<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::zeros(shape, (&self.device, self.dtype))
    }
    /// Whether this is burn-flex.
    pub fn is_cpu(&self) -> bool {
        #[cfg(feature = "cpu")]
        return self.device == Device::flex();
        #[cfg(not(feature = "cpu"))]
        false
    }
    /// Indices.
    pub fn indices(&self, values: Vec<i32>) -> Tensor<1, Int> {
        let n = values.len();
        Tensor::from_data(TensorData::new(values, [n]), &self.device)
    }
}

impl Reference {
    /// `rows`: those of every agent, padding included.
    fn new(problems: &[&Problem], optima: &[&Optimum], rows: usize, place: &Place) -> Self {
        let (b, n, d) = (
            problems.len(),
            problems[0].agents(),
            problems[0].dimension(),
        );
        let mut margin = Vec::with_capacity(n * b * rows);
        for i in 0..n {
            for (problem, optimum) in problems.iter().zip(optima) {
                let shard = &problem.shards()[i];
                let own = shard.features.chunks_exact(d);
                margin.extend(own.map(|a| crate::field::dot(a, &optimum.x)));
                margin.resize(margin.len() + rows - shard.targets.len(), 0.0);
            }
        }
        let (mut x, mut gradient, mut objective) = (Vec::new(), Vec::new(), Vec::new());
        for (problem, optimum) in problems.iter().zip(optima) {
            x.extend_from_slice(&optimum.x);
            let mut total = vec![0.0; d];
            let mut own = vec![0.0; d];
            for i in 0..n {
                problem.gradient(i, &optimum.x, &mut own);
                total
                    .iter_mut()
                    .zip(&own)
                    .for_each(|(t, o)| *t += o / n as f64);
            }
            gradient.extend(total);
            objective.push(optimum.objective.abs().max(1e-30));
        }
        Self {
            x: place.tensor(x, [1, b, d]),
            gradient: place.tensor(gradient, [1, b, d]),
            margin: place.tensor(margin, [n * b, rows, 1]),
            objective: place.tensor(objective, [b]),
        }
    }
}

/// `B` problems of one family on one graph.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Problems `B`.
    pub problems: usize,
    /// Agents `n`.
    pub agents: usize,
    /// Dimension `d`.
    pub dimension: usize,
    /// Where the tensors live.
    pub place: Place,
    loss: Loss,
    /// `r`, common to the family.
    pub regularizer: Regularizer,
    /// `[n·B, m, d]`, rows beyond `m_i` are zero.
    features: Tensor<3>,
    /// `[n·B, d, m]`
    features_transposed: Tensor<3>,
    /// `[n·B, m, 1]`
    targets: Tensor<3>,
    /// `1/m_i` per real row, `[n·B, m, 1]`.
    row_weight: Tensor<3>,
    /// `L_i`, `[n·B, 1]`.
    pub smoothness: Tensor<2>,
    /// Spread and weight of [`Conditioning`], `[n·B, 2]`.
    pub conditioning: Tensor<2>,
    /// `w_e L_e`, `[E·B, 1]`.
    pub edge_scale: Tensor<2>,
    /// `L_e`, `[E·B, 1]`.
    pub edge_smoothness: Tensor<2>,
    /// `w_e`, `[E·B, 1]`.
    pub edge_weight: Tensor<2>,
    /// Smaller and larger end of every edge, `[E·B]`.
    pub ends: (Tensor<1, Int>, Tensor<1, Int>),
    /// The same on the host.
    pub end_rows: Arc<[(usize, usize)]>,
    /// Spectral gap of the normalised `I − W`.
    pub spectral_gap: f64,
    /// None where nobody asks for the gap.
    reference: Option<Reference>,
}

/// What the gap needs of the optimum.
#[derive(Clone, Debug)]
struct Reference {
    /// `[1, B, d]`
    x: Tensor<3>,
    /// `∇f(x*)`, `[1, B, d]`.
    gradient: Tensor<3>,
    /// `a·x*`, `[n·B, m, 1]`.
    margin: Tensor<3>,
    /// `|F*|`, `[B]`.
    objective: Tensor<1>,
}

impl Batch {
    /// Problems of one family (equal loss, regularizer, dimension) on `graph`, with their optima.
    ///
    /// # Errors
    /// The eigenvalues of `W` did not converge.
    pub fn new(
        graph: &Graph,
        problems: &[(Problem, Optimum)],
        place: &Place,
    ) -> Result<Self, TrainError> {
        let (alone, optima): (Vec<&Problem>, Vec<&Optimum>) =
            problems.iter().map(|(p, o)| (p, o)).unzip();
        let mut batch = Self::without_optima(graph, &alone, place)?;
        batch.reference = Some(Reference::new(&alone, &optima, batch.rows(), place));
        Ok(batch)
    }

    /// [`Self::new`] for a meta-loss that needs no optimum; the gap is then NaN.
    ///
    /// # Errors
    /// The eigenvalues of `W` did not converge; functions that are not mean losses of rows.
    pub fn without_optima(
        graph: &Graph,
        problems: &[&Problem],
        place: &Place,
    ) -> Result<Self, TrainError> {
        let own = || {
            TrainError::Recipe(
                "trains on problems made of rows; own functions have no tensors".into(),
            )
        };
        let loss = problems[0].rows().ok_or_else(own)?.loss();
        let (b, n) = (problems.len(), graph.agents());
        let first = problems[0];
        let d = first.dimension();
        let m = problems
            .iter()
            .flat_map(|p| p.shards())
            .map(|s| s.targets.len())
            .max()
            .unwrap_or(1);
        let (mut features, mut targets, mut weight) = (Vec::new(), Vec::new(), Vec::new());
        let mut smoothness = Vec::new();
        let (weights, spectral_gap) = normalized_weights(graph)?;
        let mut conditioning = Vec::new();
        for i in 0..n {
            let mine = graph.neighbors(i).iter();
            let weight_sum: f64 = mine.map(|neighbor| weights[neighbor.edge]).sum();
            for problem in problems {
                let shard = &problem.shards()[i];
                let rows = shard.targets.len();
                features.extend_from_slice(&shard.features);
                features.resize(features.len() + (m - rows) * d, 0.0);
                targets.extend_from_slice(&shard.targets);
                // A padding row has weight zero; its target only has to be a legal label.
                targets.resize(targets.len() + m - rows, 1.0);
                weight.extend(std::iter::repeat_n(1.0 / rows as f64, rows));
                weight.resize(weight.len() + m - rows, 0.0);
                let l = problem.smoothness(i);
                let l = if l > 0.0 { l } else { problem.smoothness_max() };
                smoothness.push(l);
                let known = Conditioning::new(l, problem.trace(i), d, weight_sum);
                conditioning.extend([known.spread, known.weight].map(f64::from));
            }
        }
        let e = graph.edges().len();
        let (mut src, mut dst) = (Vec::new(), Vec::new());
        let (mut edge_weight, mut edge_smoothness) = (Vec::new(), Vec::new());
        for (edge, &(i, j)) in graph.edges().iter().enumerate() {
            for k in 0..b {
                src.push((i * b + k) as i32);
                dst.push((j * b + k) as i32);
                edge_weight.push(weights[edge]);
                let ends = (smoothness[i * b + k], smoothness[j * b + k]);
                edge_smoothness.push(shared::edge_smoothness(ends.0, ends.1));
            }
        }
        let edge_scale = edge_weight
            .iter()
            .zip(&edge_smoothness)
            .map(|(w, l)| w * l)
            .collect();
        let features: Tensor<3> = place.tensor(features, [n * b, m, d]);
        Ok(Self {
            problems: b,
            agents: n,
            dimension: d,
            loss,
            regularizer: *first.regularizer(),
            features_transposed: features.clone().transpose(),
            features,
            targets: place.tensor(targets, [n * b, m, 1]),
            row_weight: place.tensor(weight, [n * b, m, 1]),
            smoothness: place.tensor(smoothness, [n * b, 1]),
            conditioning: place.tensor(conditioning, [n * b, 2]),
            edge_scale: place.tensor(edge_scale, [e * b, 1]),
            edge_smoothness: place.tensor(edge_smoothness, [e * b, 1]),
            edge_weight: place.tensor(edge_weight, [e * b, 1]),
            end_rows: src
                .iter()
                .zip(&dst)
                .map(|(i, j)| (*i as usize, *j as usize))
                .collect(),
            ends: (place.indices(src), place.indices(dst)),
            spectral_gap,
            reference: None,
            place: place.clone(),
        })
    }

    /// Rows `m` of an agent, padding included.
    fn rows(&self) -> usize {
        self.targets.dims()[1]
    }

    /// `φ'(u, b)`
    fn slope(&self, u: Tensor<3>) -> Tensor<3> {
        loss::slope(self.loss, u, self.targets.clone())
    }

    /// Every agent's gradient at its own row; `[n·B, d]` → `[n·B, d]`.
    pub fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        let u = self.features.clone().matmul(x.unsqueeze_dim::<3>(2));
        let slope = self.slope(u) * self.row_weight.clone();
        self.features_transposed
            .clone()
            .matmul(slope)
            .squeeze_dim::<2>(2)
    }

    /// `prox_{P r}(v)` per coordinate; `step` broadcasts against `v`.
    pub fn prox(&self, step: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let r = &self.regularizer;
        let mut out = v;
        if r.l1 != 0.0 {
            // v − clamp(v, −t, t), written so that the threshold may be a tensor and carries gradients.
            let threshold = step.clone() * r.l1;
            out = activation::relu(out.clone() - threshold.clone())
                - activation::relu(-out - threshold);
        }
        if r.l2 != 0.0 {
            out = out / (step * r.l2 + 1.0);
        }
        if let Some((lo, hi)) = r.bounds {
            out = out.clamp(lo, hi);
        }
        out
    }

    /// `z_i − z_j` for every edge; `[n·B, d]` → `[E·B, d]`.
    pub fn differences(&self, z: Tensor<2>) -> Tensor<2> {
        z.clone().select(0, self.ends.0.clone()) - z.select(0, self.ends.1.clone())
    }

    /// Adds every edge's flow to its smaller end and subtracts it from the larger.
    pub fn add_flows(&self, nodes: Tensor<2>, flows: Tensor<2>) -> Tensor<2> {
        nodes
            .select_assign(0, self.ends.0.clone(), flows.clone(), IndexingUpdateOp::Add)
            .select_assign(0, self.ends.1.clone(), -flows, IndexingUpdateOp::Add)
    }

    /// `x̄` of every problem repeated for every agent's rows: margins `[n·B, m, 1]`, and the mean `[1, B, d]`.
    fn mean(&self, x: Tensor<2>) -> (Tensor<3>, Tensor<3>) {
        let (n, b, d) = (self.agents, self.problems, self.dimension);
        let mean = x.reshape([n, b, d]).mean_dim(0);
        let repeated = mean.clone().expand([n, b, d]).reshape([n * b, d, 1]);
        (self.features.clone().matmul(repeated), mean)
    }

    /// `Σ_r w_r (…)_r` per problem, `w_r = 1/(n m_i)`; `[n·B, m, 1]` → `[B]`.
    fn weighted(&self, rows: Tensor<3>) -> Tensor<1> {
        let (n, b) = (self.agents, self.problems);
        let per_agent: Tensor<3> = (rows * self.row_weight.clone()).sum_dim(1);
        per_agent.reshape([n, b]).mean_dim(0).reshape([b])
    }

    /// `F(x̄)` of every problem, `[B]`.
    pub fn objective(&self, x: Tensor<2>) -> Tensor<1> {
        let (u, mean) = self.mean(x);
        let value = loss::value(self.loss, u, self.targets.clone());
        let r = &self.regularizer;
        let penalty = mean.clone().abs() * r.l1 + mean.square() * (0.5 * r.l2);
        self.weighted(value) + penalty.sum_dim(2).reshape([self.problems])
    }

    /// `(F(x̄) − F*)/|F*|` of every problem, `[B]`, without cancellation; NaN for a batch without optima.
    pub fn gap(&self, x: Tensor<2>) -> Tensor<1> {
        let Some(at) = &self.reference else {
            return self.place.zeros([self.problems]) + f64::NAN;
        };
        let (u, mean) = self.mean(x);
        let moved = u - at.margin.clone();
        let bregman = loss::bregman(self.loss, at.margin.clone(), moved, self.targets.clone());
        let r = &self.regularizer;
        let step = mean.clone() - at.x.clone();
        // r(x) − r(x*) + g*(x − x*) ≥ 0, each coordinate by itself.
        let curved = step.clone() * (mean.clone() + at.x.clone()) * (0.5 * r.l2);
        let linear = (mean.abs() - at.x.clone().abs()) * r.l1 + at.gradient.clone() * step;
        let slack = (linear + curved).sum_dim(2).reshape([self.problems]);
        (self.weighted(bregman) + activation::relu(slack)) / at.objective.clone()
    }
}
