//! The rule `shared`: one node network and one edge network for all agents, edges and coordinates.
//!
//! ```text
//! z_i   = prox_{r,P}( x_i + β⊙Δx_i − P⊙(g_i + δ⊙Δg_i + y_i + γ⊙Δy_i) )        P = e^p / L_i
//! F_ij⁺ = S_ij w_ij L_e (z_i − z_j) + θ_ij ⊙ F_ij                              antisymmetric flow, |θ| < 1
//! y_i⁺  = y_i + Σ_j F_ij⁺            x_i⁺ = z_i − Σ_j C_ij w_ij (z_i − z_j)      C ≥ 0
//! ```
//!
//! `g_i = ∇f_i(x_i)`; `Δ` is the difference to the previous step; `w_ij` are Metropolis weights divided by
//! `λ_max(I − W)`; `L_e = 2 L_i L_j/(L_i + L_j)`, so that `L_e/L_i ≤ 2` however different the agents are. All coefficients are
//! per coordinate: learned constant plus `range · tanh(network)`. One exchange per step: the edge network sees only even features
//! of `z_i − z_j` and means of a few numbers that travel with `z` whenever the networks are asked, so both ends compute the same
//! `S_ij = S_ji`, `C_ij = C_ji`, `θ_ij = θ_ji` by themselves.
//!
//! **Exact whatever the networks output.** At a fixed point every `Δ` vanishes and `Σ_j F_ij = 0`; on a cycle a flow might still
//! circulate, but `Σ_e F_e·D_e = 0` (circulations are orthogonal to differences) and `D_e = (1 − θ)/(S w L_e) F_e` give
//! `Σ_e (1 − θ)/(S w L_e) F_e² = 0`, so with `S > 0`, `|θ| < 1` all flows and all differences `z_i − z_j` are zero. Then
//! `−(g_i + y_i) ∈ ∂r(x_i)`; `Σ_i y_i = 0` holds for ever because flows are antisymmetric, and summing gives optimality.
//! So the networks run in f32 while iterates, gradients and flows stay f64, and may be asked only every `refresh` steps.
//!
//! **Convergent whatever the networks output.** A limit that is exact is of no use to a run that never gets there. Every step is
//! kept within a bound of the step of a method that converges by itself, and the bounds are summable: theorem and proof stand
//! in [`super::safeguard`].
//!
//! **Guarded**, for speed alone: an agent whose residual grows trusts its networks less ([`super::guard`]).

use super::features::{
    Common, Conditioning, EDGE_FEATURES, EDGE_VARYING, EdgeRows, LANES, NODE_FEATURES, NODE_SENT,
    NODE_SHARED, NODE_VARYING, NodeMemory, NodeRows, clock, edge_features, mixing_hardness,
    node_features,
};
use super::guard::{Guard, distrust};
use super::math;
use super::mlp::Mlp;
use super::perceptron::{Perceptron, Work};
use super::safeguard::{FALLBACK_DUAL, Fallback, Safeguard, clip, fallback_primal, length};
use crate::algorithm::Algorithm;
use crate::field::{Field, dot};
use crate::graph::{Graph, GraphError, Mixing, MixingKind};
use crate::network::{Network, add_flows};
use crate::problem::{Problem, Regularizer};
use pulp::Simd;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Outputs of the node network: `p, β, δ, γ`.
pub const NODE_OUTPUTS: usize = 4;
/// Outputs of the edge network: `ln S, C, θ`.
pub const EDGE_OUTPUTS: usize = 3;

/// The learned constants; without networks they are the whole rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constants {
    /// `P` in units of `1/L_i`.
    pub primal: f64,
    /// `β`, momentum on `x`.
    pub momentum: f64,
    /// `δ`, weight of the gradient difference.
    pub gradient_difference: f64,
    /// `γ`, extrapolation of the dual.
    pub extrapolation: f64,
    /// `S`, the dual step in units of `L_e`.
    pub dual: f64,
    /// `C`, mixing of `x`.
    pub mixing: f64,
    /// `θ`, memory of the edge flow.
    pub memory: f64,
}

impl Default for Constants {
    /// Where training starts, and a method that works by itself.
    fn default() -> Self {
        Self {
            primal: 1.4,
            momentum: 0.4,
            gradient_difference: 0.0,
            extrapolation: 0.4,
            dual: 0.6,
            mixing: 1.0,
            memory: 0.0,
        }
    }
}

impl Constants {
    /// In the order of the node network's outputs: `ln P, β, δ, γ`.
    pub fn node(&self) -> [f64; NODE_OUTPUTS] {
        [
            self.primal.ln(),
            self.momentum,
            self.gradient_difference,
            self.extrapolation,
        ]
    }

    /// In the order of the edge network's outputs: `ln S, C, θ`.
    pub fn edge(&self) -> [f64; EDGE_OUTPUTS] {
        [self.dual.ln(), self.mixing, self.memory]
    }
}

/// How far the networks may move each coefficient: `constant + range · tanh(output)`; `P` and `S` on a log scale. A term whose
/// constant and range are both zero is switched off: training leaves it so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Range of `ln P`.
    pub primal: f64,
    /// Range of `β`.
    pub momentum: f64,
    /// Range of `δ`.
    pub gradient_difference: f64,
    /// Range of `γ`.
    pub extrapolation: f64,
    /// Range of `ln S`.
    pub dual: f64,
    /// Range of `C`.
    pub mixing: f64,
    /// Range of `θ`.
    pub memory: f64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self {
            primal: 1.4,
            momentum: 0.5,
            gradient_difference: 0.5,
            extrapolation: 0.5,
            dual: 1.4,
            mixing: 0.7,
            memory: 0.4,
        }
    }
}

impl Ranges {
    /// In the order of [`Constants::node`].
    pub fn node(&self) -> [f64; NODE_OUTPUTS] {
        [
            self.primal,
            self.momentum,
            self.gradient_difference,
            self.extrapolation,
        ]
    }

    /// In the order of [`Constants::edge`].
    pub fn edge(&self) -> [f64; EDGE_OUTPUTS] {
        [self.dual, self.mixing, self.memory]
    }
}

/// `|θ|` stays below this whatever constant and network say, so that the edge memory fades.
pub const MEMORY_BOUND: f64 = 0.95;
/// `|β|` stays below this, so that momentum fades.
pub const MOMENTUM_BOUND: f64 = 0.98;

/// What makes a coefficient of what a network puts out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// The output itself.
    Plain,
    /// `exp`: the output is a logarithm.
    Exp,
    /// `max(·, 0)`
    Positive,
    /// Clipped to ± a bound.
    Within(f32),
}

/// Of `P, β, δ, γ`.
pub const NODE_LINKS: [Link; NODE_OUTPUTS] = [
    Link::Exp,
    Link::Within(MOMENTUM_BOUND as f32),
    Link::Plain,
    Link::Plain,
];
/// Of `S, C, θ`.
pub const EDGE_LINKS: [Link; EDGE_OUTPUTS] =
    [Link::Exp, Link::Positive, Link::Within(MEMORY_BOUND as f32)];

/// Coefficients of outputs, in place; `[links, columns]`.
#[inline(always)]
pub(crate) fn link_all(links: &[Link], outputs: &mut [f32]) {
    let columns = outputs.len() / links.len();
    for (link, row) in links.iter().zip(outputs.chunks_exact_mut(columns.max(1))) {
        match *link {
            Link::Plain => {}
            Link::Exp => row.iter_mut().for_each(|v| *v = math::exp(*v)),
            Link::Positive => row.iter_mut().for_each(|v| *v = v.max(0.0)),
            Link::Within(bound) => row.iter_mut().for_each(|v| *v = v.clamp(-bound, bound)),
        }
    }
}

/// Coefficients of the fallback (see [`super::safeguard`]) in the order of the nets' outputs: where distrust leads.
fn fallback_node(weight: f64) -> [f64; NODE_OUTPUTS] {
    [fallback_primal(weight).ln(), 0.0, 0.0, 1.0]
}

/// The same of an edge.
fn fallback_edge() -> [f64; EDGE_OUTPUTS] {
    [FALLBACK_DUAL.ln(), 0.0, 0.0]
}

/// A frozen `shared` rule; without networks it is the method `Constants`. In a file nothing may be left out but the safeguard, which
/// files of before it was there do not have: a default in place of what was learned would be another rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The constants.
    pub constants: Constants,
    /// How far the networks move them.
    pub ranges: Ranges,
    /// [`NODE_FEATURES`] → [`NODE_OUTPUTS`].
    // Without this serde takes a missing `Option` for `None`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub node: Option<Mlp>,
    /// [`EDGE_FEATURES`] → [`EDGE_OUTPUTS`].
    #[serde(deserialize_with = "Option::deserialize")]
    pub edge: Option<Mlp>,
    /// Step at which the clock feature stops: the longest horizon trained for.
    pub clock_cap: u32,
    /// Steps between two evaluations of the networks.
    pub refresh: u32,
    /// Whether the networks see the conditioning features (see [`super::features`]).
    pub conditioning: bool,
    /// Growth of an agent's residual over its lowest at which it begins to distrust its networks; 0: never.
    pub guard: f64,
    /// What makes every run converge.
    #[serde(default)]
    pub safeguard: Safeguard,
}

/// [`Shared::guard`] of a new rule.
pub const GUARD: f64 = 30.0;

impl Shared {
    /// The rule without networks.
    pub fn constant(constants: Constants) -> Self {
        Self {
            constants,
            ranges: Ranges::default(),
            node: None,
            edge: None,
            clock_cap: 0,
            refresh: 1,
            conditioning: true,
            guard: GUARD,
            safeguard: Safeguard::default(),
        }
    }

    /// Checks shapes, finiteness and signs.
    ///
    /// # Errors
    /// What is wrong and what was expected, in words.
    pub fn check(&self) -> Result<(), String> {
        let c = &self.constants;
        let finite = [
            ("primal", c.primal),
            ("momentum", c.momentum),
            ("gradient_difference", c.gradient_difference),
            ("extrapolation", c.extrapolation),
            ("dual", c.dual),
            ("mixing", c.mixing),
            ("memory", c.memory),
        ];
        if let Some((name, v)) = finite.iter().find(|(_, v)| !v.is_finite()) {
            return Err(format!(
                "the constant {name} is {v}, expected a finite number"
            ));
        }
        for (name, v) in [("primal", c.primal), ("dual", c.dual)] {
            if v <= 0.0 {
                return Err(format!(
                    "the constant {name} is {v}, expected a positive number"
                ));
            }
        }
        if c.mixing < 0.0 {
            return Err(format!(
                "the constant mixing is {}, expected a number ≥ 0",
                c.mixing
            ));
        }
        if c.memory.abs() >= 1.0 {
            return Err(format!(
                "the constant memory is {}, expected |memory| < 1",
                c.memory
            ));
        }
        let r = &self.ranges;
        for v in r.node().into_iter().chain(r.edge()) {
            if !(v.is_finite() && v >= 0.0) {
                return Err(format!("a range is {v}, expected a finite number ≥ 0"));
            }
        }
        if self.refresh == 0 {
            return Err("refresh is 0, expected at least 1".into());
        }
        if !(self.guard == 0.0 || self.guard.is_finite() && self.guard > 1.0) {
            return Err(format!(
                "guard is {}, expected a finite number above 1, or 0 for none",
                self.guard
            ));
        }
        self.safeguard.check()?;
        if self.edge.is_some() && self.node.is_none() {
            return Err("an edge network without a node network, expected both".into());
        }
        if let Some(node) = &self.node {
            node.check("node", NODE_FEATURES, NODE_OUTPUTS)?;
        }
        if let Some(edge) = &self.edge {
            edge.check("edge", EDGE_FEATURES, EDGE_OUTPUTS)?;
        }
        Ok(())
    }

    /// Number of weights, biases and constants.
    pub fn parameters(&self) -> usize {
        let of = |m: &Option<Mlp>| m.as_ref().map_or(0, Mlp::parameters);
        7 + of(&self.node) + of(&self.edge)
    }
}

/// `w_ij = Metropolis / λ_max(I − W)` for every edge, and the spectral gap of `I − W` so normalised.
///
/// # Errors
/// The eigenvalues of `W` did not converge.
pub fn normalized_weights(graph: &Graph) -> Result<(Vec<f64>, f64), GraphError> {
    let mixing = Mixing::new(graph, MixingKind::Metropolis);
    let spectrum = mixing.spectrum(graph)?;
    let largest = if spectrum.laplacian_max > 0.0 {
        spectrum.laplacian_max
    } else {
        1.0
    };
    let weights = mixing.edge_weights().iter().map(|w| w / largest).collect();
    let gap = if graph.agents() == 1 {
        1.0
    } else {
        (1.0 - spectrum.lambda_2) / largest
    };
    Ok((weights, gap))
}

/// `L_e = 2 L_i L_j/(L_i + L_j)`, the scale of an edge's flow.
pub fn edge_smoothness(i: f64, j: f64) -> f64 {
    2.0 * i * j / (i + j)
}

/// `shared` on one graph.
pub struct SharedRule {
    rule: Shared,
    node: Option<Cell>,
    edge: Option<Cell>,
    weights: Vec<f64>,
    hardness: f32,
}

impl SharedRule {
    /// Prepares the rule for `graph`.
    ///
    /// # Errors
    /// The eigenvalues of `W` did not converge.
    pub fn new(rule: Shared, graph: &Graph) -> Result<Self, GraphError> {
        let (weights, gap) = normalized_weights(graph)?;
        let narrow = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
        let (c, r) = (&rule.constants, &rule.ranges);
        let cell = |mlp: &Option<Mlp>, varying: usize, constants: &[f64], ranges: &[f64]| {
            mlp.as_ref().map(|m| {
                Cell::new(Perceptron::of(
                    m,
                    varying,
                    &narrow(constants),
                    &narrow(ranges),
                ))
            })
        };
        Ok(Self {
            node: cell(&rule.node, NODE_VARYING, &c.node(), &r.node()),
            edge: cell(&rule.edge, EDGE_VARYING, &c.edge(), &r.edge()),
            rule,
            weights,
            hardness: mixing_hardness(gap),
        })
    }
}

/// Everything that `shared` carries from step to step.
pub struct State {
    k: u64,
    x: Field,
    x_last: Field,
    x_older: Field,
    y: Field,
    y_last: Field,
    g: Field,
    g_last: Field,
    z: Field,
    difference: Field,
    difference_last: Field,
    flow: Field,
    mixed: Field,
    agents: Vec<Agent>,
    edges: Vec<Edge>,
    /// `S, C, θ` of every edge's coordinates, `[3, d]` each; empty without a network.
    edge_coefficients: Vec<Vec<f32>>,
    smoothness_edge: Vec<f64>,
}

/// What an edge keeps beside its vectors.
#[derive(Clone, Copy, Default)]
struct Edge {
    /// Steps in which the flow was clipped.
    clipped: u64,
    /// Length of what it mixed in the last step.
    mixed: f64,
}

/// What an agent keeps beside its vectors.
struct Agent {
    /// `L_i`
    smoothness: f64,
    conditioning: Conditioning,
    memory: NodeMemory,
    guard: Guard,
    /// `W_i`, the sum of its edges' weights.
    weight: f64,
    /// `s_i`: the largest `‖∇f_j(x⁰)‖/L_j` among its neighbours and itself.
    unit: f64,
    /// Steps in which `z_i` or the mixing of `x_i` was clipped.
    clipped: u64,
    /// The shared features, as the neighbours know them.
    shared: [f32; NODE_SHARED],
    /// `P L_i, β, δ, γ` of the coordinates, `[4, d]`; empty without a network.
    coefficients: Vec<f32>,
}

/// The node phase of one agent, compiled once per instruction set. (A closure would do only if it moved its captures:
/// pulp inlines `FnOnce`, and a closure that reborrows goes through a shim that is compiled for the baseline.)
struct NodeTask<'a> {
    rule: &'a SharedRule,
    rows: NodeRows<'a, f64>,
    common: Common,
    r: &'a Regularizer,
    agent: &'a mut Agent,
    z: &'a mut [f64],
    refresh: bool,
    /// `τ_k` in units of `s_i`.
    bound: f64,
}

impl pulp::WithSimd for NodeTask<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.learned(simd);
        let rows = &self.rows;
        let fallback = Fallback {
            x: rows.x[0],
            g: rows.g[0],
            y: rows.y[0],
            y_last: rows.y[1],
            step: fallback_primal(self.agent.weight) / rows.smoothness,
            r: *self.r,
        };
        if fallback.clip(self.z, self.bound * self.agent.unit) {
            self.agent.clipped += 1;
        }
    }
}

impl NodeTask<'_> {
    /// `z_i` as the networks want it.
    #[inline(always)]
    fn learned<S: Simd>(&mut self, simd: S) {
        let Some(network) = &self.rule.node else {
            return self.rule.node_constant(self.rows, self.r, self.z);
        };
        let Agent {
            conditioning,
            memory,
            guard,
            weight,
            shared,
            coefficients: out,
            ..
        } = &mut *self.agent;
        if self.refresh {
            *memory = self.rows.features(
                self.r,
                (*memory, *conditioning),
                self.common,
                |context| {
                    *shared = context.shared;
                    network.evaluation(&context.shared)
                },
                |evaluation, start, used, block| {
                    if let Some(v) = evaluation.room.work[0].first_chunk_mut() {
                        node_features(block, v);
                    }
                    evaluation.store(simd, start, used, out);
                },
            );
            guard.watch(memory.last_u, self.rule.rule.guard);
            guard.sent = guard.trust;
            distrust(out, &fallback_node(*weight), guard.trust);
            link_all(&NODE_LINKS, out);
        }
        node_update(self.rows, self.r, out, self.z);
    }
}

/// The edge phase of one edge, compiled once per instruction set.
struct EdgeTask<'a> {
    rule: &'a SharedRule,
    d: [&'a [f64]; 2],
    ends: [&'a [f64]; 2],
    /// Both ends' shared features.
    shared: [&'a [f32; NODE_SHARED]; 2],
    /// The smaller of both ends' trusts.
    trust: f64,
    smoothness: f64,
    weight: f64,
    /// `[3, d]`
    coefficients: &'a mut [f32],
    flow: &'a mut [f64],
    mixed: &'a mut [f64],
    refresh: bool,
    /// `τ_e`
    limit: f64,
    edge: &'a mut Edge,
}

impl pulp::WithSimd for EdgeTask<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.learned(simd);
        let scale = FALLBACK_DUAL * self.weight * self.smoothness;
        let d = &self.d[0][..self.flow.len()];
        if clip(self.flow, |k| scale * d[k], self.limit * self.smoothness) {
            self.edge.clipped += 1;
        }
        self.edge.mixed = length(self.mixed);
    }
}

impl EdgeTask<'_> {
    /// Flow and mixing as the networks want them.
    #[inline(always)]
    fn learned<S: Simd>(&mut self, simd: S) {
        let Some(network) = &self.rule.edge else {
            return self.edge_constant();
        };
        let out = &mut *self.coefficients;
        if self.refresh {
            let rows = EdgeRows {
                d: self.d,
                flow: &*self.flow,
                ends: self.ends,
                smoothness: self.smoothness,
            };
            rows.features(
                self.shared,
                self.rule.rule.conditioning,
                |context| network.evaluation(&context.shared),
                |evaluation, start, used, block| {
                    if let Some(v) = evaluation.room.work[0].first_chunk_mut() {
                        edge_features(block, v);
                    }
                    evaluation.store(simd, start, used, out);
                },
            );
            distrust(out, &fallback_edge(), self.trust);
            link_all(&EDGE_LINKS, out);
        }
        self.edge_update();
    }

    /// `flow ← S w L_e D + θ flow`, `mixed = −C w D`, from the coefficients.
    #[inline(always)]
    fn edge_update(&mut self) {
        let (n, weight, smoothness) = (self.flow.len(), self.weight, self.smoothness);
        let (d, flow, mixed) = (&self.d[0][..n], &mut self.flow[..n], &mut self.mixed[..n]);
        let [dual, mixing, memory] = split::<EDGE_OUTPUTS>(self.coefficients).map(|row| &row[..n]);
        for k in 0..n {
            let s = f64::from(dual[k]) * weight * smoothness;
            flow[k] = s * d[k] + f64::from(memory[k]) * flow[k];
            mixed[k] = -f64::from(mixing[k]) * weight * d[k];
        }
    }

    /// [`Self::edge_update`] with the constants.
    #[inline(always)]
    fn edge_constant(&mut self) {
        let (c, d, weight) = (&self.rule.rule.constants, self.d[0], self.weight);
        for k in 0..d.len() {
            self.flow[k] = c.dual * weight * self.smoothness * d[k] + c.memory * self.flow[k];
            self.mixed[k] = -c.mixing * weight * d[k];
        }
    }
}

/// A network with room to evaluate it on every thread: a step allocates nothing.
struct Cell {
    network: Perceptron,
    rooms: Vec<Mutex<Room>>,
}

/// Room for one evaluation.
struct Room {
    /// [`Perceptron::first`]
    first: Vec<f32>,
    work: Work<LANES>,
}

impl Cell {
    fn new(network: Perceptron) -> Self {
        // One more for a thread outside the pool. More threads than rooms would share them, one after the other.
        let room = |_| {
            Mutex::new(Room {
                first: vec![0.0; network.layers[0].outputs],
                work: network.work(),
            })
        };
        let rooms = (0..=rayon::current_num_threads()).map(room).collect();
        Self { network, rooms }
    }

    /// `shared`: the features that all coordinates of the agent or edge have in common.
    fn evaluation(&self, shared: &[f32]) -> Evaluation<'_> {
        let thread = rayon::current_thread_index().map_or(0, |k| k + 1);
        let room = &self.rooms[thread % self.rooms.len()];
        let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
        self.network.first(shared, &mut room.first);
        Evaluation {
            network: &self.network,
            room,
        }
    }
}

/// A network on one agent's or edge's coordinates.
struct Evaluation<'a> {
    network: &'a Perceptron,
    room: MutexGuard<'a, Room>,
}

impl Evaluation<'_> {
    /// Evaluates the block in `work[0]` and copies `constant + range · tanh` of its first columns to `[outputs, d]`, beginning
    /// at coordinate `start`.
    #[inline(always)]
    fn store<S: Simd>(&mut self, simd: S, start: usize, used: usize, out: &mut [f32]) {
        let network = self.network;
        let Room { first, work } = &mut *self.room;
        network.forward(simd, Some(first), work);
        let d = out.len() / network.ranges.len();
        let tanh = &work[network.layers.len()];
        for (o, (row, tanh)) in out.chunks_exact_mut(d).zip(tanh).enumerate() {
            let (constant, range) = (network.constants[o], network.ranges[o]);
            for (out, t) in row[start..start + used].iter_mut().zip(tanh) {
                *out = constant + range * t;
            }
        }
    }
}

/// The rows of a row-major `[R, d]` array.
pub(crate) fn split<const R: usize>(values: &[f32]) -> [&[f32]; R] {
    let d = values.len() / R;
    std::array::from_fn(|r| &values[r * d..(r + 1) * d])
}

/// `z_i` from the coefficients.
#[inline(always)]
fn node_update(rows: NodeRows<f64>, r: &Regularizer, coefficients: &[f32], z: &mut [f64]) {
    let d = z.len();
    let step = 1.0 / rows.smoothness;
    let [x, x_last, _] = rows.x.map(|row| &row[..d]);
    let ([y, y_last], [g, g_last]) = (rows.y.map(|row| &row[..d]), rows.g.map(|row| &row[..d]));
    let [primal, momentum, gradient_difference, extrapolation] =
        split::<NODE_OUTPUTS>(coefficients).map(|row| &row[..d]);
    // A copy, which nothing written below can change: its branches leave the loop.
    let r = *r;
    for k in 0..d {
        let p = f64::from(primal[k]) * step;
        let force = g[k]
            + f64::from(gradient_difference[k]) * (g[k] - g_last[k])
            + y[k]
            + f64::from(extrapolation[k]) * (y[k] - y_last[k]);
        z[k] = r.prox(
            p,
            x[k] + f64::from(momentum[k]) * (x[k] - x_last[k]) - p * force,
        );
    }
}

impl SharedRule {
    /// [`node_update`] with the constants.
    #[inline(always)]
    fn node_constant(&self, rows: NodeRows<f64>, r: &Regularizer, z: &mut [f64]) {
        let (c, r) = (&self.rule.constants, *r);
        let p = c.primal / rows.smoothness;
        let [x, x_last, _] = rows.x;
        let ([y, y_last], [g, g_last]) = (rows.y, rows.g);
        for (k, z) in z.iter_mut().enumerate() {
            let force = g[k]
                + c.gradient_difference * (g[k] - g_last[k])
                + y[k]
                + c.extrapolation * (y[k] - y_last[k]);
            *z = r.prox(p, x[k] + c.momentum * (x[k] - x_last[k]) - p * force);
        }
    }
}

impl Algorithm for SharedRule {
    type State = State;

    fn init(&self, problem: &Problem, network: &mut Network) -> State {
        let (n, d) = (problem.agents(), problem.dimension());
        let edges = network.graph().edges();
        let node = || Field::zeros(n, d);
        let edge = || Field::zeros(edges.len(), d);
        let largest = problem.smoothness_max();
        // An agent whose features are all zero has no scale of its own: it borrows the largest.
        let smoothness: Vec<f64> = (0..n)
            .map(|i| problem.smoothness(i))
            .map(|l| if l > 0.0 { l } else { largest })
            .collect();
        network.exchange_scalars(1);
        State {
            k: 0,
            x: node(),
            x_last: node(),
            x_older: node(),
            y: node(),
            y_last: node(),
            g: node(),
            g_last: node(),
            z: node(),
            difference: edge(),
            difference_last: edge(),
            flow: edge(),
            mixed: edge(),
            agents: (0..n)
                .map(|i| {
                    let mine = network.graph().neighbors(i).iter();
                    let weight: f64 = mine.map(|neighbor| self.weights[neighbor.edge]).sum();
                    Agent {
                        smoothness: smoothness[i],
                        conditioning: Conditioning::new(smoothness[i], problem.trace(i), d, weight),
                        memory: NodeMemory::default(),
                        guard: Guard::NEW,
                        weight,
                        unit: 0.0,
                        clipped: 0,
                        shared: [0.0; NODE_SHARED],
                        coefficients: held(&self.node, NODE_OUTPUTS * d),
                    }
                })
                .collect(),
            edges: vec![Edge::default(); edges.len()],
            edge_coefficients: vec![held(&self.edge, EDGE_OUTPUTS * d); edges.len()],
            smoothness_edge: edges
                .iter()
                .map(|&(i, j)| edge_smoothness(smoothness[i], smoothness[j]))
                .collect(),
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        let d = problem.dimension();
        let r = problem.regularizer();
        let common = Common {
            step: s.k,
            clock: clock(s.k, self.rule.clock_cap.max(1)),
            hardness: self.hardness,
            conditioning: self.rule.conditioning,
        };
        let arch = pulp::Arch::new();
        let refresh = s.k.is_multiple_of(u64::from(self.rule.refresh));

        std::mem::swap(&mut s.g, &mut s.g_last);
        problem.gradients(&s.x, &mut s.g);
        if s.k == 0 {
            s.g_last.copy_from(&s.g);
            for (i, agent) in s.agents.iter_mut().enumerate() {
                let g = s.g.row(i);
                agent.guard.begin((dot(g, g) / d as f64).sqrt());
                agent.unit = dot(g, g).sqrt() / agent.smoothness;
            }
        }
        let bound = self.rule.safeguard.bound(s.k);

        // z_i, every agent by itself.
        let (x, x_last, x_older, y, y_last, g, g_last) = (
            &s.x, &s.x_last, &s.x_older, &s.y, &s.y_last, &s.g, &s.g_last,
        );
        let node = |i: usize, z: &mut [f64], agent: &mut Agent| {
            let rows = NodeRows {
                x: [x.row(i), x_last.row(i), x_older.row(i)],
                y: [y.row(i), y_last.row(i)],
                g: [g.row(i), g_last.row(i)],
                smoothness: agent.smoothness,
            };
            arch.dispatch(NodeTask {
                rule: self,
                rows,
                common,
                r,
                agent,
                z,
                refresh,
                bound,
            });
        };
        s.z.values_mut()
            .par_chunks_exact_mut(d)
            .zip(s.agents.par_iter_mut())
            .with_min_len(min_rows(d, refresh && self.node.is_some()))
            .enumerate()
            .for_each(|(i, (z, agent))| node(i, z, agent));

        // One exchange.
        std::mem::swap(&mut s.difference, &mut s.difference_last);
        network.differences(&s.z, &mut s.difference);
        if refresh && self.node.is_some() {
            // With z travel the trust and, for the edge network, the features that a neighbour does not know.
            let seen = self.edge.is_some() && self.rule.conditioning;
            network.exchange_scalars(1 + if seen { NODE_SENT } else { 0 });
        }
        if s.k == 0 && bound.is_finite() {
            // With the first z travels the unit of the bounds.
            network.exchange_scalars(1);
            let graph = network.graph();
            let own: Vec<f64> = s.agents.iter().map(|agent| agent.unit).collect();
            for (i, agent) in s.agents.iter_mut().enumerate() {
                let theirs = graph.neighbors(i).iter().map(|other| own[other.agent]);
                agent.unit = theirs.fold(own[i], f64::max);
            }
        }

        // Flows, every edge by itself.
        let (z, difference, last) = (&s.z, &s.difference, &s.difference_last);
        let agents = &s.agents;
        let graph = network.graph();
        s.flow
            .values_mut()
            .par_chunks_exact_mut(d)
            .zip(s.mixed.values_mut().par_chunks_exact_mut(d))
            .zip(s.edge_coefficients.par_iter_mut())
            .zip(s.edges.par_iter_mut())
            .with_min_len(min_rows(d, refresh && self.edge.is_some()))
            .enumerate()
            .for_each(|(e, (((flow, mixed), coefficients), edge))| {
                let (i, j) = graph.edges()[e];
                arch.dispatch(EdgeTask {
                    rule: self,
                    d: [difference.row(e), last.row(e)],
                    ends: [z.row(i), z.row(j)],
                    shared: [&agents[i].shared, &agents[j].shared],
                    trust: agents[i].guard.trust.min(agents[j].guard.trust),
                    smoothness: s.smoothness_edge[e],
                    weight: self.weights[e],
                    coefficients,
                    flow,
                    mixed,
                    refresh,
                    limit: bound * agents[i].unit.min(agents[j].unit),
                    edge,
                });
            });

        // An agent trusts its networks no more than its neighbours theirs.
        if refresh {
            for i in 0..s.agents.len() {
                let neighbors = graph.neighbors(i).iter();
                let theirs = neighbors.map(|other| s.agents[other.agent].guard.sent);
                s.agents[i].guard.trust = theirs.fold(s.agents[i].guard.sent, f64::min);
            }
        }

        // y⁺ = y + ΣF, x⁺ = z − ΣCw(z_i − z_j)
        std::mem::swap(&mut s.y_last, &mut s.y);
        add_flows(graph, Some(&s.y_last), &s.flow, &mut s.y);
        std::mem::swap(&mut s.x_older, &mut s.x_last);
        std::mem::swap(&mut s.x_last, &mut s.x);
        add_flows(graph, Some(&s.z), &s.mixed, &mut s.x);
        // No agent's mixing is longer than its edges' together: mostly that says enough.
        let may_be_long = (0..s.agents.len()).any(|i| {
            let edges = graph.neighbors(i).iter();
            let length: f64 = edges.map(|neighbor| s.edges[neighbor.edge].mixed).sum();
            length.is_nan() || length > bound * s.agents[i].unit
        });
        if may_be_long {
            let z = &s.z;
            s.x.values_mut()
                .par_chunks_exact_mut(d)
                .zip(s.agents.par_iter_mut())
                .with_min_len(min_rows(d, false))
                .enumerate()
                .for_each(|(i, (x, agent))| {
                    let limit = bound * agent.unit;
                    let clipped = arch.dispatch(Mix {
                        x,
                        z: z.row(i),
                        limit,
                    });
                    agent.clipped += u64::from(clipped);
                });
        }
        s.k += 1;
    }

    fn clipped(&self, s: &State) -> Option<f64> {
        if self.rule.safeguard.reach == 0.0 {
            return None;
        }
        let agents: u64 = s.agents.iter().map(|agent| agent.clipped).sum();
        let edges: u64 = s.edges.iter().map(|edge| edge.clipped).sum();
        // An agent has two bounds a step, an edge one.
        let all = s.k * (2 * s.agents.len() + s.edges.len()) as u64;
        Some((agents + edges) as f64 / all.max(1) as f64)
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn dual<'s>(&self, s: &'s State) -> Option<&'s Field> {
        Some(&s.y)
    }

    fn rest_at(&self, s: &mut State, x: &[f64], dual: &Field) -> bool {
        for field in [&mut s.x, &mut s.x_last, &mut s.x_older, &mut s.z] {
            field
                .values_mut()
                .chunks_exact_mut(x.len())
                .for_each(|row| row.copy_from_slice(x));
        }
        s.y.copy_from(dual);
        s.y_last.copy_from(dual);
        s.flow.values_mut().fill(0.0);
        s.difference.values_mut().fill(0.0);
        true
    }
}

/// Brings `x` to within `limit` of `z`; whether it had to.
struct Mix<'a> {
    x: &'a mut [f64],
    z: &'a [f64],
    limit: f64,
}

impl pulp::WithSimd for Mix<'_> {
    type Output = bool;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let z = &self.z[..self.x.len()];
        clip(self.x, |k| z[k], self.limit)
    }
}

/// Rows that one task should take at least, so that waking a worker pays: a network costs many times an update.
fn min_rows(dimension: usize, evaluate: bool) -> usize {
    let numbers: usize = if evaluate { 512 } else { 16_384 };
    numbers.div_ceil(dimension).max(1)
}

/// Room for coefficients, `length` numbers; none without a network.
fn held(network: &Option<Cell>, length: usize) -> Vec<f32> {
    vec![0.0; if network.is_some() { length } else { 0 }]
}
