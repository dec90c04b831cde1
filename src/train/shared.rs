//! The rule `shared` as a Burn module: the twin of [`crate::rule::shared`], tested equal to it. See there for the equations
//! and the features.
//!
//! Features are held `[feature, rows]`, one long row per feature, so that stacking them is a copy and a layer is one
//! matrix product `[outputs, inputs] × [inputs, rows]`. Features that are equal for all coordinates of an agent or edge enter
//! the first layer once per agent or edge. Where gradients do not flow through the features, on the CPU and in f32, with both networks and at
//! least one edge, a step is four operations instead ([`super::kernel::step`]).

use super::batch::{Batch, Place};
use super::kernel::{self, Features, PerceptronShape, step};
use crate::random;
use crate::rule::Safeguard;
use crate::rule::features::{
    Common, EDGE_FEATURES, EDGE_VARYING, LOG_FLOOR, NODE_FEATURES, NODE_SENT, NODE_SHARED,
    NODE_VARYING, RATE_WEIGHT, clock, mixing_hardness,
};
use crate::rule::mlp::{Linear, Mlp};
use crate::rule::shared::{
    Constants, EDGE_OUTPUTS, MEMORY_BOUND, MOMENTUM_BOUND, NODE_OUTPUTS, Ranges,
};
use crate::rule::{self, Shared};
use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, activation};
use rand_distr::{Distribution, StandardNormal};

/// f32 twin of `features::TINY`: squares must not underflow to a division by zero.
const TINY: f64 = 1e-30;

/// `W h + b`, `weight`: `[outputs, inputs]`, `bias`: `[outputs, 1]`.
#[derive(Module, Debug)]
pub struct Layer {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<2>>,
}

/// `shared` with gradients.
#[derive(Module, Debug)]
pub struct SharedModule {
    /// `ln P, β, δ, γ` as `[4, 1]`.
    node_constants: Param<Tensor<2>>,
    /// `ln S, C, θ` as `[3, 1]`.
    edge_constants: Param<Tensor<2>>,
    node: Vec<Layer>,
    edge: Vec<Layer>,
    #[module(skip)]
    ranges: RangesOf,
    clock_cap: u32,
    /// Steps between two evaluations of the networks.
    refresh: u32,
    /// Whether the networks see the conditioning features.
    conditioning: bool,
    guard: f64,
    #[module(skip)]
    safeguard: Safeguard,
    /// Whether gradients flow through the features (the full meta-gradient) or only through the update.
    track_features: bool,
    /// Whether a network is one operation ([`kernel::perceptron`]) or written operation by operation.
    fused: bool,
}

/// [`Ranges`] by output.
#[derive(Clone, Debug)]
struct RangesOf {
    all: Ranges,
    node: [f64; NODE_OUTPUTS],
    edge: [f64; EDGE_OUTPUTS],
    /// 0 for a term that is switched off (constant and range are zero) and stays so, else 1.
    node_on: [f64; NODE_OUTPUTS],
    edge_on: [f64; EDGE_OUTPUTS],
}

/// What `shared` carries from step to step; tensors `[n·B, d]` and `[E·B, d]`.
#[derive(Clone, Debug)]
pub struct SharedState {
    k: u64,
    /// The iterate.
    pub x: Tensor<2>,
    x_last: Tensor<2>,
    x_older: Tensor<2>,
    y: Tensor<2>,
    y_last: Tensor<2>,
    g_last: Option<Tensor<2>>,
    difference_last: Tensor<2>,
    flow: Tensor<2>,
    /// [`crate::rule::features::NodeMemory`], `[n·B, 3]`.
    memory: Option<Tensor<2>>,
    /// The coefficients that are kept until the networks are asked again; none if they are asked every step.
    node_held: Option<[Tensor<2>; NODE_OUTPUTS]>,
    edge_held: Option<[Tensor<2>; EDGE_OUTPUTS]>,
    /// The same where a step is four operations: `[outputs, rows·d]` of nodes and edges.
    held: Option<[Tensor<2>; 2]>,
    /// Both networks' vectors of parameters, built once per window; nothing where a step is written operation by operation.
    parameters: Option<[Tensor<1>; 2]>,
}

fn parameter(values: &[f64], shape: [usize; 2], device: &Device, dtype: DType) -> Param<Tensor<2>> {
    let place = Place {
        device: device.clone().autodiff(),
        dtype,
    };
    Param::from_tensor(place.tensor(values.to_vec(), shape))
}

/// A fresh network: hidden layers He-normal, last layer N(0, 1e-3²), biases zero, so that it starts at the constants.
fn fresh(inputs: usize, hidden: &[usize], outputs: usize, seed: u64, purpose: &str) -> Mlp {
    let mut width = inputs;
    let layers = hidden
        .iter()
        .chain(std::iter::once(&outputs))
        .enumerate()
        .map(|(k, &next)| {
            let mut rng = random::stream(seed, purpose, &[k as u64]);
            let deviation = if k == hidden.len() {
                1e-3
            } else {
                (2.0 / width as f64).sqrt()
            };
            let mut normal = || {
                let v: f64 = StandardNormal.sample(&mut rng);
                (deviation * v) as f32
            };
            let layer = Linear {
                inputs: width,
                outputs: next,
                weight: (0..width * next).map(|_| normal()).collect(),
                bias: vec![0.0; next],
            };
            width = next;
            layer
        })
        .collect();
    Mlp { layers }
}

/// A rule at initialisation: the constants, and networks that do not move them yet.
pub fn initial(
    constants: Constants,
    ranges: Ranges,
    hidden: &[usize],
    clock_cap: u32,
    seed: u64,
) -> Shared {
    Shared {
        ranges,
        node: Some(fresh(
            NODE_FEATURES,
            hidden,
            NODE_OUTPUTS,
            seed,
            "rule/node",
        )),
        edge: Some(fresh(
            EDGE_FEATURES,
            hidden,
            EDGE_OUTPUTS,
            seed,
            "rule/edge",
        )),
        clock_cap,
        ..Shared::constant(constants)
    }
}

fn soft(t: Tensor<2>) -> Tensor<2> {
    t.clone() / (t.abs() + 1.0)
}

/// Root mean square over coordinates, `[rows, 1]`; the clamp keeps the derivative at zero finite.
fn rms(t: Tensor<2>) -> Tensor<2> {
    t.square().mean_dim(1).clamp_min(1e-36).sqrt()
}

/// `ln((p + tiny)/(q + tiny))` clipped to ±`limit`, scaled to ±1.
fn log_ratio(p: Tensor<2>, q: Tensor<2>, limit: f64) -> Tensor<2> {
    (((p + TINY) / (q + TINY)).log().clamp(-limit, limit)) / limit
}

fn on(constant: f64, range: f64) -> f64 {
    f64::from(constant != 0.0 || range != 0.0)
}

/// The constants, `[O, 1]`, without gradients of those that are switched off.
fn switched(constants: Tensor<2>, on: &[f64], batch: &Batch) -> Tensor<2> {
    if on.iter().all(|v| *v == 1.0) {
        return constants;
    }
    constants * batch.place.tensor(on.to_vec(), [on.len(), 1])
}

/// Twin of `features::rooted`.
fn rooted(rate: Tensor<2>) -> Tensor<2> {
    rate.clone() * 5.0_f64.sqrt() / (rate.abs() + 1e-3).sqrt()
}

/// Features one under the other. `per_row`: those that differ between coordinates, `[rows, d]` each; `per_item`: the others,
/// `[rows, 1]` each.
fn stacked(per_row: Vec<Tensor<2>>, per_item: Vec<Tensor<2>>) -> Features {
    let flat = |tensors: Vec<Tensor<2>>| {
        let rows = tensors
            .into_iter()
            .map(|t| t.flatten::<1>(0, 1).unsqueeze_dim::<2>(0));
        Tensor::cat(rows.collect(), 0)
    };
    Features {
        varying: flat(per_row),
        shared: flat(per_item),
    }
}

/// The sizes of a network with `inputs` features, `varying` of which differ between coordinates.
fn shape_of(layers: &[Layer], varying: usize, inputs: usize, ranges: &[f64]) -> PerceptronShape {
    let hidden = &layers[..layers.len().saturating_sub(1)];
    PerceptronShape {
        varying,
        shared: inputs - varying,
        hidden: hidden.iter().map(|l| l.weight.dims()[0]).collect(),
        ranges: ranges.iter().map(|r| *r as f32).collect(),
    }
}

/// A network's parameters as one vector, in the order of [`PerceptronShape`].
fn parameters_of(layers: &[Layer], constants: Tensor<2>) -> Tensor<1> {
    let flat = |t: Tensor<2>| t.flatten::<1>(0, 1);
    let parameters = layers
        .iter()
        .flat_map(|l| [flat(l.weight.val()), flat(l.bias.val())])
        .chain([flat(constants)])
        .collect();
    Tensor::cat(parameters, 0)
}

impl SharedModule {
    /// The module that continues from `rule`.
    pub fn new(rule: &Shared, device: &Device, dtype: DType, track_features: bool) -> Self {
        let layers = |mlp: &Option<Mlp>| -> Vec<Layer> {
            let wide = |v: &[f32]| v.iter().map(|w| f64::from(*w)).collect::<Vec<_>>();
            mlp.iter()
                .flat_map(|m| &m.layers)
                .map(|l| Layer {
                    weight: parameter(&wide(&l.weight), [l.outputs, l.inputs], device, dtype),
                    bias: parameter(&wide(&l.bias), [l.outputs, 1], device, dtype),
                })
                .collect()
        };
        let c = &rule.constants;
        let r = rule.ranges;
        let (node, edge) = (layers(&rule.node), layers(&rule.edge));
        let ranges = RangesOf {
            all: r,
            node: r.node(),
            edge: r.edge(),
            node_on: [
                1.0,
                on(c.momentum, r.momentum),
                on(c.gradient_difference, r.gradient_difference),
                on(c.extrapolation, r.extrapolation),
            ],
            edge_on: [1.0, on(c.mixing, r.mixing), on(c.memory, r.memory)],
        };
        let place = Place {
            device: device.clone(),
            dtype,
        };
        let fused = shape_of(&node, NODE_VARYING, NODE_FEATURES, &ranges.node).fits(&place)
            && shape_of(&edge, EDGE_VARYING, EDGE_FEATURES, &ranges.edge).fits(&place);
        Self {
            node_constants: parameter(&c.node(), [NODE_OUTPUTS, 1], device, dtype),
            edge_constants: parameter(&c.edge(), [EDGE_OUTPUTS, 1], device, dtype),
            node,
            edge,
            ranges,
            clock_cap: rule.clock_cap,
            refresh: rule.refresh.max(1),
            conditioning: rule.conditioning,
            guard: rule.guard,
            safeguard: rule.safeguard,
            track_features,
            fused,
        }
    }

    /// The same module written operation by operation: the reference.
    pub fn op_by_op(mut self) -> Self {
        self.fused = false;
        self
    }

    /// The frozen twin.
    pub fn to_shared(&self) -> Shared {
        let host = |p: &Param<Tensor<2>>| super::parameters::values(&Single { p: p.clone() });
        let mlp = |layers: &[Layer]| -> Option<Mlp> {
            let narrow = |v: Vec<f64>| v.into_iter().map(|w| w as f32).collect::<Vec<_>>();
            let layers: Vec<Linear> = layers
                .iter()
                .map(|l| {
                    let [outputs, inputs] = l.weight.val().dims();
                    Linear {
                        inputs,
                        outputs,
                        weight: narrow(host(&l.weight)),
                        bias: narrow(host(&l.bias)),
                    }
                })
                .collect();
            (!layers.is_empty()).then_some(Mlp { layers })
        };
        let (n, e) = (host(&self.node_constants), host(&self.edge_constants));
        Shared {
            constants: Constants {
                primal: n[0].exp(),
                momentum: n[1].clamp(-MOMENTUM_BOUND, MOMENTUM_BOUND),
                gradient_difference: n[2],
                extrapolation: n[3],
                dual: e[0].exp(),
                mixing: e[1].max(0.0),
                memory: e[2].clamp(-MEMORY_BOUND, MEMORY_BOUND),
            },
            ranges: self.ranges.all,
            node: mlp(&self.node),
            edge: mlp(&self.edge),
            clock_cap: self.clock_cap,
            refresh: self.refresh,
            conditioning: self.conditioning,
            guard: self.guard,
            safeguard: self.safeguard,
        }
    }

    /// The state before the first step.
    pub fn start(&self, batch: &Batch) -> SharedState {
        let (n, e, d) = (
            batch.agents * batch.problems,
            batch.edge_scale.dims()[0],
            batch.dimension,
        );
        let node = || batch.place.zeros([n, d]);
        let edge = || batch.place.zeros([e, d]);
        SharedState {
            k: 0,
            x: node(),
            x_last: node(),
            x_older: node(),
            y: node(),
            y_last: node(),
            g_last: None,
            difference_last: edge(),
            flow: edge(),
            memory: None,
            node_held: None,
            edge_held: None,
            held: None,
            parameters: None,
        }
    }

    /// Coefficients of a network: `constant + range · tanh(output)`, one `[rows, d]` tensor per output.
    ///
    /// Without features the constants alone, `[1, 1]` each.
    fn coefficients<const O: usize>(
        &self,
        layers: &[Layer],
        constants: Tensor<2>,
        ranges: &[f64; O],
        features: Option<Features>,
    ) -> [Tensor<2>; O] {
        let constant = |o: usize| constants.clone().slice([o..o + 1, 0..1]);
        let Some(Features {
            varying: by_row,
            shared: by_item,
        }) = features
        else {
            return std::array::from_fn(constant);
        };
        let ([f_row, columns], [f_item, rows]) = (by_row.dims(), by_item.dims());
        let d = columns / rows;
        if self.fused {
            let shape = shape_of(layers, f_row, f_row + f_item, ranges);
            let parameters = parameters_of(layers, constants.clone());
            let mut outputs = kernel::perceptron(by_row, by_item, parameters, &shape).into_iter();
            return std::array::from_fn(|o| outputs.next().unwrap_or_else(|| constant(o)));
        }
        let first = &layers[0];
        let weight = first.weight.val();
        let outputs = weight.dims()[0];
        let a = weight
            .clone()
            .slice([0..outputs, 0..f_row])
            .matmul(by_row)
            .reshape([outputs, rows, d]);
        let b = weight
            .slice([0..outputs, f_row..f_row + f_item])
            .matmul(by_item)
            + first.bias.val();
        let mut h = (a + b.reshape([outputs, rows, 1])).reshape([outputs, rows * d]);
        for layer in &layers[1..] {
            h = layer.weight.val().matmul(activation::relu(h)) + layer.bias.val();
        }
        let h = h.tanh();
        std::array::from_fn(|o| {
            let moved = h.clone().slice([o..o + 1, 0..rows * d]).reshape([rows, d]) * ranges[o];
            moved + constant(o)
        })
    }

    fn constants_of_nodes(&self, batch: &Batch) -> Tensor<2> {
        switched(self.node_constants.val(), &self.ranges.node_on, batch)
    }

    fn constants_of_edges(&self, batch: &Batch) -> Tensor<2> {
        switched(self.edge_constants.val(), &self.ranges.edge_on, batch)
    }

    /// Whether the networks are asked at step `k`.
    fn asked_at(&self, k: u64) -> bool {
        k.is_multiple_of(u64::from(self.refresh))
    }

    /// What all agents' features have in common at step `k`.
    fn common(&self, batch: &Batch, k: u64) -> Common {
        Common {
            step: k,
            clock: clock(k, self.clock_cap.max(1)),
            hardness: mixing_hardness(batch.spectral_gap),
            conditioning: self.conditioning,
        }
    }

    /// Whether the operations of [`kernel::step`] can take a step.
    fn in_four(&self, batch: &Batch) -> bool {
        let networks = !self.node.is_empty() && !self.edge.is_empty();
        let edges = !batch.end_rows.is_empty();
        self.fused && networks && edges && !self.track_features && batch.place.is_cpu()
    }

    /// [`Self::step`] by [`kernel::step`].
    fn step_in_four(&self, batch: &Batch, s: SharedState) -> SharedState {
        let [node_parameters, edge_parameters] = s.parameters.unwrap_or_else(|| {
            [
                parameters_of(&self.node, self.constants_of_nodes(batch)),
                parameters_of(&self.edge, self.constants_of_edges(batch)),
            ]
        });
        let l = batch.smoothness.clone();
        let kept = s.held.filter(|_| !self.asked_at(s.k));
        let g = batch.gradient(s.x.clone());
        // Before the first step there is no gradient to differ from.
        let g_last = s.g_last.unwrap_or_else(|| g.clone());

        /// What is known of the edges' coefficients once the node networks have spoken.
        #[allow(clippy::large_enum_variant)] // There is one, for the length of a step.
        enum Edges {
            Kept(Tensor<2>),
            Asked {
                shared: Tensor<2>,
                memory: Tensor<2>,
            },
        }
        let (node, edges) = match kept {
            Some([node, edge]) => (node, Edges::Kept(edge)),
            None => {
                let rows = batch.agents * batch.problems;
                let memory = s.memory.clone();
                let answer = step::node_network(
                    [s.x.clone(), s.x_last.clone(), s.x_older],
                    [s.y.clone(), s.y_last.clone()],
                    [g.clone(), g_last.clone()],
                    l.clone(),
                    batch.conditioning.clone(),
                    memory.unwrap_or_else(|| batch.place.zeros([rows, 3])),
                    node_parameters.clone(),
                    step::Seen {
                        regularizer: batch.regularizer,
                        common: self.common(batch, s.k),
                    },
                    &shape_of(&self.node, NODE_VARYING, NODE_FEATURES, &self.ranges.node),
                );
                let (shared, memory) = (answer.shared, answer.memory);
                (answer.coefficients, Edges::Asked { shared, memory })
            }
        };
        let z = step::node_update(
            [
                [s.x.clone(), s.x_last.clone()],
                [s.y.clone(), s.y_last],
                [g.clone(), g_last],
            ],
            node.clone(),
            l,
            batch.regularizer,
        );

        // One exchange.
        let difference = batch.differences(z.clone().inner());
        let (edge, memory) = match edges {
            Edges::Kept(edge) => (edge, s.memory),
            Edges::Asked { shared, memory } => {
                let edge = step::edge_network(
                    [difference.clone(), s.difference_last],
                    s.flow.clone(),
                    z.clone(),
                    shared,
                    batch.edge_smoothness.clone(),
                    edge_parameters.clone(),
                    batch.end_rows.clone(),
                    self.conditioning,
                    &shape_of(&self.edge, EDGE_VARYING, EDGE_FEATURES, &self.ranges.edge),
                );
                (edge, Some(memory))
            }
        };
        let [x, y, flow] = step::exchange(
            [z, s.y.clone(), s.flow, edge.clone()],
            difference.clone(),
            [batch.edge_scale.clone(), batch.edge_weight.clone()],
            batch.end_rows.clone(),
        );
        SharedState {
            k: s.k + 1,
            x,
            x_older: s.x_last,
            x_last: s.x,
            y,
            y_last: s.y,
            g_last: Some(g),
            difference_last: difference,
            flow,
            memory,
            node_held: None,
            edge_held: None,
            held: (self.refresh > 1).then_some([node, edge]),
            parameters: Some([node_parameters, edge_parameters]),
        }
    }

    /// One step; the batch's meta-loss is taken at the new `x`.
    pub fn step(&self, batch: &Batch, s: SharedState) -> SharedState {
        if self.in_four(batch) {
            return self.step_in_four(batch, s);
        }
        // Plain tensors pay nothing for the tape.
        let observe = |t: &Tensor<2>| {
            if self.track_features {
                t.clone()
            } else {
                t.clone().inner()
            }
        };
        let (n, d) = (batch.agents * batch.problems, batch.dimension);
        let l = batch.smoothness.clone();
        let common = self.common(batch, s.k);
        let (time, hardness) = (f64::from(common.clock), f64::from(common.hardness));
        let constant_row = |rows: usize, value: f64| batch.place.zeros([rows, 1]) + value;

        let g = batch.gradient(s.x.clone());
        let dx = s.x.clone() - s.x_last.clone();
        let dg = match &s.g_last {
            Some(last) => g.clone() - last.clone(),
            None => batch.place.zeros([n, d]),
        };
        let dy = s.y.clone() - s.y_last.clone();

        // Node features.
        let evaluate = self.asked_at(s.k);
        let hold = self.refresh > 1;
        let (features, memory) = if self.node.is_empty() || !evaluate {
            (None, s.memory.clone())
        } else {
            let (x, g, y) = (observe(&s.x), observe(&g), observe(&s.y));
            let p = batch.prox(l.clone().recip(), x.clone() - (g + y) / l.clone());
            let u = (x - p.clone()) * l.clone();
            let (a, b, c) = (observe(&dx) * l.clone(), observe(&dg), observe(&dy));
            let (su, sa, sb, sc) = (
                rms(u.clone()),
                rms(a.clone()),
                rms(b.clone()),
                rms(c.clone()),
            );
            let inverse = (su.clone() + TINY).recip();
            let (un, an, bn, cn) = (
                u.clone() * inverse.clone(),
                a.clone() * inverse.clone(),
                b.clone() * inverse.clone(),
                c * inverse,
            );
            let own = a.clone() / (sa.clone() + TINY);
            let sign = an.clone().sign();
            let before = observe(&s.x_last) - observe(&s.x_older);
            let cosine = |inner: Tensor<2>, p: &Tensor<2>, q: &Tensor<2>| {
                inner.mean_dim(1) / (p.clone() * q.clone() + TINY)
            };
            let per_row = vec![
                soft(un.clone().abs()),
                soft(sign.clone() * un.clone()),
                soft(sign.clone() * bn.clone()),
                soft(sign.clone() * cn),
                soft(an.clone().abs()),
                (an.clone() * bn / (an.square() + 1e-12)).clamp(-1.0, 2.0),
                p.abs().sign(),
                (un.abs() + f64::from(LOG_FLOOR)).log() / 5.0,
                (own.abs() + f64::from(LOG_FLOOR)).log() / 5.0,
                sign * before.sign(),
            ];
            let compared = f64::from(u8::from(self.conditioning));
            let (contraction, first, rate) = match &s.memory {
                Some(memory) => {
                    let part = |k: usize| memory.clone().slice([0..n, k..k + 1]);
                    let now = log_ratio(su.clone(), part(0), 1.0);
                    let rate = part(2);
                    (
                        log_ratio(su.clone(), part(0), 3.0),
                        part(1),
                        rate.clone() + (now - rate) * RATE_WEIGHT,
                    )
                }
                None => (constant_row(n, 0.0), su.clone(), constant_row(n, 0.0)),
            };
            let mean_rate =
                ((su.clone() + TINY) / (first.clone() + TINY)).log() / s.k.max(1) as f64;
            let known = |k: usize| batch.conditioning.clone().slice([0..n, k..k + 1]);
            let per_item = vec![
                cosine(a.clone() * b.clone(), &sa, &sb),
                cosine(a.clone() * b, &sa, &sa),
                cosine(u * a, &su, &sa),
                log_ratio(sa, su.clone(), 6.0),
                log_ratio(sc, su.clone(), 6.0),
                contraction,
                rooted(rate.clone()) * compared,
                rooted(mean_rate.clamp(-1.0, 1.0)) * compared,
                known(0) * compared,
                known(1) * compared,
                constant_row(n, time),
                constant_row(n, hardness),
            ];
            let memory = Tensor::cat(vec![su, first, rate], 1);
            (Some(stacked(per_row, per_item)), Some(memory))
        };
        let sent = features.as_ref().map(|f| f.shared.clone());
        let node = match &s.node_held {
            Some(held) if !evaluate => held.clone(),
            _ => self.coefficients(
                &self.node,
                self.constants_of_nodes(batch),
                &self.ranges.node,
                features,
            ),
        };
        let node_held = hold.then(|| node.clone());
        let [ln_p, beta, delta, gamma] = node;
        let beta = beta.clamp(-MOMENTUM_BOUND, MOMENTUM_BOUND);

        // z_i
        let p = ln_p.exp() / l;
        let force = g.clone() + delta * dg + s.y.clone() + gamma * dy;
        let z = batch.prox(p.clone(), s.x.clone() + beta * dx - p * force);

        // One exchange.
        let difference = batch.differences(z.clone());
        let e = difference.dims()[0];
        // A single agent has no edges, and a network no rows to work on.
        let asked = sent.filter(|_| !self.edge.is_empty() && e > 0);
        let features = if let Some(sent) = asked {
            let (dn, last) = (observe(&difference), observe(&s.difference_last));
            let flow = observe(&s.flow) / batch.edge_smoothness.clone();
            let (sd, sl, sf) = (rms(dn.clone()), rms(last.clone()), rms(flow.clone()));
            let support = observe(&z).abs().sign();
            let both = support.clone().select(0, batch.ends.0.clone())
                + support.select(0, batch.ends.1.clone());
            let dn = dn / (sd.clone() + TINY);
            let last = last / (sl.clone() + TINY);
            let flow = flow / (sf.clone() + TINY);
            let per_row = vec![
                soft(dn.clone().abs()),
                soft(dn.clone() * last.clone()),
                soft(last.abs()),
                soft(dn.clone().sign() * flow),
                (dn.abs() + f64::from(LOG_FLOOR)).log() / 5.0,
                both.clone().clamp_max(1.0),
                activation::relu(both - 1.0),
            ];
            // At the first step there is neither a last difference nor a flow to compare with.
            let ratios = if s.k == 0 {
                [constant_row(e, 0.0), constant_row(e, 0.0)]
            } else {
                [log_ratio(sd.clone(), sl, 3.0), log_ratio(sf, sd, 6.0)]
            };
            // Both ends' shared features, [NODE_SHARED, rows].
            let mean = (sent.clone().select(1, batch.ends.0.clone())
                + sent.select(1, batch.ends.1.clone()))
                * 0.5;
            let mut per_item = Vec::from(ratios);
            for k in 0..NODE_SHARED {
                let row = mean.clone().slice([k..k + 1, 0..e]).reshape([e, 1]);
                let seen = self.conditioning || k >= NODE_SENT;
                per_item.push(if seen { row } else { constant_row(e, 0.0) });
            }
            Some(stacked(per_row, per_item))
        } else {
            None
        };
        let edge = match &s.edge_held {
            Some(held) if !evaluate => held.clone(),
            _ => self.coefficients(
                &self.edge,
                self.constants_of_edges(batch),
                &self.ranges.edge,
                features,
            ),
        };
        let edge_held = hold.then(|| edge.clone());
        let [ln_s, c, theta] = edge;
        let theta = theta.clamp(-MEMORY_BOUND, MEMORY_BOUND);
        let flow = ln_s.exp() * batch.edge_scale.clone() * difference.clone() + theta * s.flow;
        let mixed = activation::relu(c) * batch.edge_weight.clone() * difference.clone();
        SharedState {
            k: s.k + 1,
            x: batch.add_flows(z, -mixed),
            x_older: s.x_last,
            x_last: s.x,
            y: batch.add_flows(s.y.clone(), flow.clone()),
            y_last: s.y,
            g_last: Some(g),
            difference_last: difference,
            flow,
            memory,
            node_held,
            edge_held,
            held: None,
            parameters: None,
        }
    }
}

/// A parameter wrapped so that it can be visited by itself.
#[derive(Module, Debug)]
struct Single {
    p: Param<Tensor<2>>,
}

impl super::unroll::RuleModule for SharedModule {
    type State = SharedState;
    const CHUNK: usize = 24_000;
    fn widest(&self) -> usize {
        let hidden = self.node.iter().chain(&self.edge);
        let hidden = hidden.map(|layer| layer.weight.val().dims()[0]).max();
        let features = NODE_FEATURES.max(EDGE_FEATURES);
        // A fused network keeps its hidden layers to itself.
        features.max(hidden.filter(|_| !self.fused).unwrap_or(0))
    }
    fn sums_over_problems(&self) -> bool {
        !self.fused && !self.node.is_empty()
    }
    fn start(&self, batch: &Batch) -> SharedState {
        self.start(batch)
    }
    fn step(&self, batch: &Batch, state: SharedState) -> SharedState {
        self.step(batch, state)
    }
    fn iterate<'s>(&self, state: &'s SharedState) -> &'s Tensor<2> {
        &state.x
    }
    fn map_state(s: SharedState, f: &mut impl FnMut(Tensor<2>) -> Tensor<2>) -> SharedState {
        SharedState {
            k: s.k,
            x: f(s.x),
            x_last: f(s.x_last),
            x_older: f(s.x_older),
            y: f(s.y),
            y_last: f(s.y_last),
            g_last: s.g_last.map(&mut *f),
            difference_last: f(s.difference_last),
            flow: f(s.flow),
            memory: s.memory.map(&mut *f),
            node_held: s.node_held.map(|held| held.map(&mut *f)),
            edge_held: s.edge_held.map(|held| held.map(&mut *f)),
            held: s.held.map(|held| held.map(&mut *f)),
            // A window's parameters are on its tape.
            parameters: None,
        }
    }
    fn frozen(&self) -> rule::Structure {
        rule::Structure::Shared(self.to_shared())
    }
}
