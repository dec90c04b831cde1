//! What the networks of `shared` see: scale-free features, one row per coordinate of an agent or edge.
//!
//! Node, for agent `i` and coordinate `k`, all in units of the gradient:
//! `u = L_i (x − prox_{r/L_i}(x − (g + y)/L_i))` the prox residual, `a = L_i Δx`, `b = Δg`, `c = Δy`;
//! `σ_u, σ_a, σ_c` their root mean squares over coordinates. Edge: `D = z_i − z_j`, `D⁻` the last one, `F` the flow.
//! Every feature is unchanged when the objective or the variables are multiplied by a positive constant or when all signs
//! flip, so the coefficients are too. `soft(t) = t/(1 + |t|)`.
//!
//! So that one rule can tell hard problems from easy ones, an agent also sees how fast `σ_u` has been falling, lately and since
//! the start, how far the spectrum of its data is from flat (`ln(L_i d / tr_i)`, `tr_i` the trace of its curvature), and the
//! sum of its weights `w_ij`; an edge sees the means of both ends' features, numbers that travel with `z`.
//!
//! The training half runs these functions on the CPU, and computes the same numbers in tensor operations (`train::shared`) where
//! gradients flow through them or another device is at work; a test compares the two.

use super::math;
use crate::problem::Regularizer;

/// Coordinates evaluated together: four AVX2 registers wide.
pub const LANES: usize = 32;
/// One number of each of [`LANES`] coordinates.
pub type Lanes = [f32; LANES];
/// Node features that differ between coordinates; the others are equal for all coordinates of an agent.
pub const NODE_VARYING: usize = 10;
/// Edge features that differ between coordinates; the others are equal for all coordinates of an edge.
pub const EDGE_VARYING: usize = 7;
/// Node features that are equal for all coordinates of an agent: six of its rows, two of its memory, two of its data and
/// place, clock and mixing hardness.
pub const NODE_SHARED: usize = 12;
/// Those of them that a neighbour does not know by itself.
pub const NODE_SENT: usize = NODE_SHARED - 2;
/// Edge features that are equal for all coordinates of an edge: two of its rows, and the means of its ends' [`NODE_SHARED`].
pub const EDGE_SHARED: usize = 2 + NODE_SHARED;
/// Number of node features.
pub const NODE_FEATURES: usize = NODE_VARYING + NODE_SHARED;
/// Number of edge features.
pub const EDGE_FEATURES: usize = EDGE_VARYING + EDGE_SHARED;
/// Weight of the newest contraction in the running mean of them.
pub const RATE_WEIGHT: f64 = 0.1;
/// Keeps the logarithms of relative magnitudes finite.
pub const LOG_FLOOR: f32 = 1e-4;
/// Keeps every quotient of root mean squares finite.
pub const TINY: f64 = 1e-30;

/// Per-agent numbers that enter every coordinate's node features.
#[derive(Clone, Copy, Debug)]
pub struct NodeContext {
    /// `1/σ_u`
    pub inverse_u: f64,
    /// `1/σ_a`
    pub inverse_a: f64,
    /// The features from 10 on.
    pub shared: [f32; NODE_SHARED],
}

/// What is equal for all agents at a step.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// The step `k`, from 0.
    pub step: u64,
    /// [`clock`]
    pub clock: f32,
    /// [`mixing_hardness`]
    pub hardness: f32,
    /// Whether the conditioning features are seen; 0 otherwise.
    pub conditioning: bool,
}

/// What an agent knows of its data and its place before the first step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditioning {
    /// `ln(L_i d / tr_i)/4`, at least 0; `tr_i` is the trace of the matrix whose largest eigenvalue is `L_i`.
    pub spread: f32,
    /// `Σ_j w_ij`
    pub weight: f32,
}

impl Conditioning {
    /// `smoothness`: `L_i`, `trace`: `tr_i`, `weight`: `Σ_j w_ij`.
    pub fn new(smoothness: f64, trace: f64, dimension: usize, weight: f64) -> Self {
        let spread = if trace > 0.0 {
            (smoothness * dimension as f64 / trace).max(1.0).ln() / 4.0
        } else {
            0.0
        };
        Self {
            spread: spread as f32,
            weight: weight as f32,
        }
    }
}

/// What an agent remembers of the evaluations before, for the features that compare with them; zero at the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeMemory {
    /// `σ_u` of the last evaluation.
    pub last_u: f64,
    /// `σ_u` of the first.
    pub first_u: f64,
    /// Running mean of `ln(σ_u/σ_u⁻)`, each clipped to ±1.
    pub rate: f64,
}

/// `r √5 / √(|r| + 1e-3)`: rates spread out, slow ones most.
fn rooted(rate: f64) -> f32 {
    (rate * 5.0_f64.sqrt() / (rate.abs() + 1e-3).sqrt()) as f32
}

/// Sums over an agent's coordinates from which its [`NodeContext`] is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeSums {
    /// `Σu²`
    pub uu: f64,
    /// `Σa²`
    pub aa: f64,
    /// `Σb²`
    pub bb: f64,
    /// `Σc²`
    pub cc: f64,
    /// `Σab`
    pub ab: f64,
    /// `Σua`
    pub ua: f64,
}

/// `ln(1 + min(k, cap))/ln(1 + cap)`: the clock, which stands still once the trained horizon is passed.
pub fn clock(step: u64, cap: u32) -> f32 {
    ((1.0 + step.min(cap as u64) as f64).ln() / (1.0 + cap as f64).ln()) as f32
}

/// `ln(gap)/4`: how hard the graph is to mix.
pub fn mixing_hardness(spectral_gap: f64) -> f32 {
    (spectral_gap.max(1e-6).ln() / 4.0) as f32
}

/// `ln(p/q)` clipped to ±`limit` and scaled to ±1.
fn log_ratio(p: f64, q: f64, limit: f64) -> f32 {
    (((p + TINY) / (q + TINY)).ln().clamp(-limit, limit) / limit) as f32
}

impl NodeContext {
    /// `dimension`: `d`; returns the memory for the next evaluation too.
    pub fn new(
        sums: &NodeSums,
        dimension: usize,
        memory: NodeMemory,
        conditioning: Conditioning,
        common: Common,
    ) -> (Self, NodeMemory) {
        let rms = |s: f64| (s / dimension as f64).sqrt();
        let (u, a, b, c) = (rms(sums.uu), rms(sums.aa), rms(sums.bb), rms(sums.cc));
        let mean = |s: f64| s / dimension as f64;
        let cosine = |inner: f64, p: f64, q: f64| (mean(inner) / (p * q + TINY)) as f32;
        let next = memory.after(u);
        let mut shared = [
            cosine(sums.ab, a, b),
            cosine(sums.ab, a, a),
            cosine(sums.ua, u, a),
            log_ratio(a, u, 6.0),
            log_ratio(c, u, 6.0),
            if memory.last_u > 0.0 {
                log_ratio(u, memory.last_u, 3.0)
            } else {
                0.0
            },
            rooted(next.rate),
            rooted(next.mean_rate(u, common.step)),
            conditioning.spread,
            conditioning.weight,
            common.clock,
            common.hardness,
        ];
        if !common.conditioning {
            shared[6..NODE_SENT].fill(0.0);
        }
        let context = Self {
            inverse_u: 1.0 / (u + TINY),
            inverse_a: 1.0 / (a + TINY),
            shared,
        };
        (context, next)
    }
}

impl NodeMemory {
    /// The memory after an evaluation that found `σ_u = u`.
    fn after(self, u: f64) -> Self {
        if self.first_u <= 0.0 {
            return Self {
                last_u: u,
                first_u: u,
                rate: 0.0,
            };
        }
        let now = ((u + TINY) / (self.last_u + TINY)).ln().clamp(-1.0, 1.0);
        Self {
            last_u: u,
            rate: self.rate + RATE_WEIGHT * (now - self.rate),
            ..self
        }
    }

    /// `ln(σ_u/σ_u⁰)/k`, clipped to ±1; 0 at the first step.
    fn mean_rate(self, u: f64, step: u64) -> f64 {
        let total = ((u + TINY) / (self.first_u + TINY)).ln();
        (total / step.max(1) as f64).clamp(-1.0, 1.0)
    }
}

#[inline(always)]
fn soft(t: f32) -> f32 {
    t / (1.0 + t.abs())
}

#[inline(always)]
fn sign(t: f32) -> f32 {
    // ±1, and 0 at 0: as the training half's `sign`.
    if t > 0.0 {
        1.0
    } else if t < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// Raw per-coordinate numbers of a block, relative to `σ_u` where they have a unit.
pub struct NodeBlock {
    /// `u/σ_u`
    pub u: Lanes,
    /// `a/σ_u`
    pub a: Lanes,
    /// `a/σ_a`
    pub a_own: Lanes,
    /// `b/σ_u`
    pub b: Lanes,
    /// `c/σ_u`
    pub c: Lanes,
    /// 1 where the prox point is not zero.
    pub support: Lanes,
    /// Sign of the last `Δx`.
    pub last_sign: Lanes,
}

/// The node features that differ between coordinates, of a block of them.
#[inline(always)]
pub fn node_features(block: &NodeBlock, out: &mut [Lanes; NODE_VARYING]) {
    for l in 0..LANES {
        let (u, a, a_own, b, c) = (
            block.u[l],
            block.a[l],
            block.a_own[l],
            block.b[l],
            block.c[l],
        );
        let s = sign(a);
        out[0][l] = soft(u.abs());
        out[1][l] = soft(s * u);
        out[2][l] = soft(s * b);
        out[3][l] = soft(s * c);
        out[4][l] = soft(a.abs());
        out[5][l] = (a * b / (a * a + 1e-12)).clamp(-1.0, 2.0);
        out[6][l] = block.support[l];
        out[7][l] = math::ln(u.abs() + LOG_FLOOR) / 5.0;
        out[8][l] = math::ln(a_own.abs() + LOG_FLOOR) / 5.0;
        out[9][l] = s * block.last_sign[l];
    }
}

/// Per-edge numbers that enter every coordinate's edge features.
#[derive(Clone, Copy, Debug)]
pub struct EdgeContext {
    /// `1/σ_D`
    pub inverse_d: f64,
    /// `1/σ_{D⁻}`
    pub inverse_last: f64,
    /// `1/σ_F`
    pub inverse_f: f64,
    /// The features from 7 on.
    pub shared: [f32; EDGE_SHARED],
}

impl EdgeContext {
    /// `d`, `last`, `f`: root mean squares of `D`, `D⁻` and `F/L_e` over coordinates; `ends`: the ends' shared features.
    pub fn new(
        d: f64,
        last: f64,
        f: f64,
        ends: [&[f32; NODE_SHARED]; 2],
        conditioning: bool,
    ) -> Self {
        let mut shared = [0.0; EDGE_SHARED];
        if last > 0.0 {
            shared[0] = log_ratio(d, last, 3.0);
        }
        if f > 0.0 {
            shared[1] = log_ratio(f, d, 6.0);
        }
        let known = if conditioning { 0 } else { NODE_SENT };
        for k in known..NODE_SHARED {
            shared[2 + k] = 0.5 * (ends[0][k] + ends[1][k]);
        }
        Self {
            inverse_d: 1.0 / (d + TINY),
            inverse_last: 1.0 / (last + TINY),
            inverse_f: 1.0 / (f + TINY),
            shared,
        }
    }
}

/// Raw per-coordinate numbers of an edge block.
pub struct EdgeBlock {
    /// `D/σ_D`
    pub d: Lanes,
    /// `D⁻/σ_{D⁻}`
    pub last: Lanes,
    /// `F/σ_F`
    pub f: Lanes,
    /// 1 where `z_i ≠ 0`, plus 1 where `z_j ≠ 0`.
    pub support: Lanes,
}

/// The edge features that differ between coordinates, of a block of them: all even in the direction of the edge.
#[inline(always)]
pub fn edge_features(block: &EdgeBlock, out: &mut [Lanes; EDGE_VARYING]) {
    for l in 0..LANES {
        let (d, last, f) = (block.d[l], block.last[l], block.f[l]);
        out[0][l] = soft(d.abs());
        out[1][l] = soft(d * last);
        out[2][l] = soft(last.abs());
        out[3][l] = soft(sign(d) * f);
        out[4][l] = math::ln(d.abs() + LOG_FLOOR) / 5.0;
        out[5][l] = block.support[l].min(1.0);
        out[6][l] = (block.support[l] - 1.0).max(0.0);
    }
}

/// What one agent's node features are made of: rows of `d` numbers, f64 in the simulator and f32 in training.
#[derive(Clone, Copy)]
pub struct NodeRows<'a, F> {
    /// `x_i`, and the two before it.
    pub x: [&'a [F]; 3],
    /// `y_i` and the one before.
    pub y: [&'a [F]; 2],
    /// `g_i` and the one before.
    pub g: [&'a [F]; 2],
    /// `L_i`
    pub smoothness: f64,
}

impl<F: Copy + Into<f64>> NodeRows<'_, F> {
    /// `u, a, b, c` of coordinate `k` in units of the gradient, and the prox point `p`.
    #[inline(always)]
    fn raw(&self, r: &Regularizer, k: usize) -> ([f64; 4], f64) {
        let (l, step) = (self.smoothness, 1.0 / self.smoothness);
        let [x, x_last]: [f64; 2] = [self.x[0][k].into(), self.x[1][k].into()];
        let [y, y_last]: [f64; 2] = [self.y[0][k].into(), self.y[1][k].into()];
        let [g, g_last]: [f64; 2] = [self.g[0][k].into(), self.g[1][k].into()];
        let p = r.prox(step, x - step * (g + y));
        ([l * (x - p), l * (x - x_last), g - g_last, y - y_last], p)
    }

    /// Hands the features of every block of coordinates to `each(start, used, block)`, after the agent's context to `begin`;
    /// returns the memory for the next evaluation.
    #[inline(always)]
    pub fn features<W>(
        &self,
        r: &Regularizer,
        (memory, conditioning): (NodeMemory, Conditioning),
        common: Common,
        begin: impl FnOnce(&NodeContext) -> W,
        mut each: impl FnMut(&mut W, usize, usize, &NodeBlock),
    ) -> NodeMemory {
        // Rows of one length: the loops below need no further checks.
        let d = self.x[0].len();
        let rows = Self {
            x: self.x.map(|row| &row[..d]),
            y: self.y.map(|row| &row[..d]),
            g: self.g.map(|row| &row[..d]),
            smoothness: self.smoothness,
        };
        // A copy, which nothing written below can change: its branches leave the loops.
        let r = &{ *r };
        let mut sums = NodeSums::default();
        for k in 0..d {
            let ([u, a, b, c], _) = rows.raw(r, k);
            sums.uu += u * u;
            sums.aa += a * a;
            sums.bb += b * b;
            sums.cc += c * c;
            sums.ab += a * b;
            sums.ua += u * a;
        }
        let (context, next) = NodeContext::new(&sums, d, memory, conditioning, common);
        let mut state = begin(&context);
        let zero = [0.0; LANES];
        for start in (0..d).step_by(LANES) {
            let used = LANES.min(d - start);
            let mut block = NodeBlock {
                u: zero,
                a: zero,
                a_own: zero,
                b: zero,
                c: zero,
                support: zero,
                last_sign: zero,
            };
            for lane in 0..used {
                let k = start + lane;
                let ([u, a, b, c], p) = rows.raw(r, k);
                block.u[lane] = (u * context.inverse_u) as f32;
                block.a[lane] = (a * context.inverse_u) as f32;
                block.a_own[lane] = (a * context.inverse_a) as f32;
                block.b[lane] = (b * context.inverse_u) as f32;
                block.c[lane] = (c * context.inverse_u) as f32;
                block.support[lane] = f32::from(p != 0.0);
                let before = rows.x[1][k].into() - rows.x[2][k].into();
                block.last_sign[lane] = f32::from(before > 0.0) - f32::from(before < 0.0);
            }
            each(&mut state, start, used, &block);
        }
        next
    }
}

/// What one edge's features are made of: rows of `d` numbers.
#[derive(Clone, Copy)]
pub struct EdgeRows<'a, F> {
    /// `D = z_i − z_j` and the one before.
    pub d: [&'a [F]; 2],
    /// The flow `F`.
    pub flow: &'a [F],
    /// `z_i` and `z_j`.
    pub ends: [&'a [F]; 2],
    /// `L_e`
    pub smoothness: f64,
}

impl<F: Copy + Into<f64>> EdgeRows<'_, F> {
    /// As [`NodeRows::features`]; `shared`: the ends' shared features.
    #[inline(always)]
    pub fn features<W>(
        &self,
        shared: [&[f32; NODE_SHARED]; 2],
        conditioning: bool,
        begin: impl FnOnce(&EdgeContext) -> W,
        mut each: impl FnMut(&mut W, usize, usize, &EdgeBlock),
    ) {
        let d = self.d[0].len();
        let rows = Self {
            d: self.d.map(|row| &row[..d]),
            flow: &self.flow[..d],
            ends: self.ends.map(|row| &row[..d]),
            smoothness: self.smoothness,
        };
        let unit = 1.0 / self.smoothness;
        let mut sums = [0.0; 3];
        for k in 0..d {
            let [now, last]: [f64; 2] = [rows.d[0][k].into(), rows.d[1][k].into()];
            let flow = rows.flow[k].into() * unit;
            sums[0] += now * now;
            sums[1] += last * last;
            sums[2] += flow * flow;
        }
        let [now, last, flow] = sums.map(|s| (s / d as f64).sqrt());
        let context = EdgeContext::new(now, last, flow, shared, conditioning);
        let mut state = begin(&context);
        let zero = [0.0; LANES];
        for start in (0..d).step_by(LANES) {
            let used = LANES.min(d - start);
            let mut block = EdgeBlock {
                d: zero,
                last: zero,
                f: zero,
                support: zero,
            };
            for lane in 0..used {
                let k = start + lane;
                let (i, j): (f64, f64) = (rows.ends[0][k].into(), rows.ends[1][k].into());
                block.d[lane] = (rows.d[0][k].into() * context.inverse_d) as f32;
                block.last[lane] = (rows.d[1][k].into() * context.inverse_last) as f32;
                block.f[lane] = (rows.flow[k].into() * unit * context.inverse_f) as f32;
                block.support[lane] = f32::from(i != 0.0) + f32::from(j != 0.0);
            }
            each(&mut state, start, used, &block);
        }
    }
}
