//! The rule `milodo`, as published (MiLoDo, arXiv:2410.01700): three recurrent networks per agent, tied to one graph.
//!
//! ```text
//! z_i  = prox_{r,P_i}( x_i − P_i⊙(∇f_i(x_i) + y_i) )
//! y_i⁺ = y_i + Σ_j S_ij⊙(z_i − z_j)          S_ij = S_ji: the mean of what both ends propose
//! x_i⁺ = z_i − Σ_j C_ij⊙(z_i − z_j)
//! ```
//!
//! All coefficients are per coordinate. `P_i = relu(cell(y_i, ∇f_i))`; agent `i` proposes `S_ij = exp(cell(d_i))` and takes
//! `C_ij = relu(cell(d_i))`, where `d_i` are its differences `z_i − z_j` in the order of ascending `j`. LSTM states start at
//! zero (the published code draws them at random, so its runs do not repeat). Two exchanges per step: `z`, then `S`.
//!
//! Exact where it comes to rest with `P > 0`: `Σ_i y_i = 0` for ever because `S` is symmetric, and a fixed point is a solution. But `P` is
//! a relu: where it is 0 a coordinate stands still whatever its gradient, so a point at rest need not be a solution, and
//! nothing makes a run converge (see [`super::safeguard`] for what `shared` has).

pub use super::lstm::{Cell, HIDDEN};
use super::lstm::{LANES, Lanes, Memory, exp, relu};
use crate::algorithm::Algorithm;
use crate::field::Field;
use crate::graph::{Graph, GraphError};
use crate::network::{Network, add_flows};
use crate::problem::{Problem, Regularizer};
use crate::random;
use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::convert::Infallible;

/// The three networks of one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentCells {
    /// `M`, for `P`: 2 inputs, 1 output.
    pub primal: Cell,
    /// `S`: as many inputs and outputs as the agent has neighbours.
    pub dual: Cell,
    /// `C`: as many inputs and outputs as the agent has neighbours.
    pub mixing: Cell,
}

/// A frozen `milodo` rule: the graph that it is tied to and the networks of every agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milodo {
    /// Number of agents.
    pub agents: usize,
    /// The undirected edges `(i, j)`, `i < j`, ascending.
    pub edges: Vec<(usize, usize)>,
    /// One entry per agent.
    pub cells: Vec<AgentCells>,
}

/// The published names of an agent's networks, in the order of [`AgentCells`].
const NETWORKS: [&str; 3] = ["M", "S", "C"];

impl AgentCells {
    /// The cells of an agent with `degree` neighbours, from `tensor(network, name, shape)`; `network` as in [`NETWORKS`].
    fn build<E>(
        degree: usize,
        mut tensor: impl FnMut(usize, &'static str, &[usize]) -> Result<Vec<f64>, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            primal: Cell::build(2, 1, |name, shape| tensor(0, name, shape))?,
            dual: Cell::build(degree, degree, |name, shape| tensor(1, name, shape))?,
            mixing: Cell::build(degree, degree, |name, shape| tensor(2, name, shape))?,
        })
    }
}

impl Milodo {
    /// The rule on `graph` whose tensors come one by one from `tensor(agent, network, name, shape)`.
    fn build<E>(
        graph: &Graph,
        mut tensor: impl FnMut(usize, usize, &'static str, &[usize]) -> Result<Vec<f64>, E>,
    ) -> Result<Self, E> {
        let cells = (0..graph.agents()).map(|i| {
            AgentCells::build(graph.degree(i), |network, name, shape| {
                tensor(i, network, name, shape)
            })
        });
        Ok(Self {
            agents: graph.agents(),
            cells: cells.collect::<Result<_, E>>()?,
            edges: graph.edges().to_vec(),
        })
    }

    /// The published start of meta-training: `P ≈ step`, `S ≈ 1/(2(deg + 1)·step)`, `C ≈ 1/(2(deg + 1))`.
    ///
    /// These are the output biases; output weights are drawn from `N(0, 1e-3²)`, all others from PyTorch's default, uniform
    /// in `±1/√20`. `step` is positive.
    pub fn initial(graph: &Graph, step: f64, seed: u64) -> Self {
        let Ok(rule) = Self::build::<Infallible>(graph, |i, network, name, shape| {
            let mixing = 0.5 / (graph.degree(i) + 1) as f64;
            let purpose = format!("milodo/{name}");
            let mut rng = random::stream(seed, &purpose, &[i as u64, network as u64]);
            let draw = |_| match name {
                "linear_out.bias" => [step, (mixing / step).ln(), mixing][network],
                "linear_out.weight" => 1e-3 * rng.sample::<f64, _>(StandardNormal),
                _ => rng.random_range(-1.0..1.0) / (HIDDEN as f64).sqrt(),
            };
            Ok((0..shape.iter().product()).map(draw).collect())
        });
        rule
    }

    /// The rule with constant coefficients `P = primal`, `S = dual`, `C = mixing`: all weights zero, output biases only.
    ///
    /// `primal` and `mixing` are not negative, `dual` is positive.
    pub fn constant(graph: &Graph, primal: f64, dual: f64, mixing: f64) -> Self {
        let Ok(rule) = Self::build::<Infallible>(graph, |_, network, name, shape| {
            let value = match name {
                "linear_out.bias" => [primal, dual.ln(), mixing][network],
                _ => 0.0,
            };
            Ok(vec![value; shape.iter().product()])
        });
        rule
    }

    /// The graph that the rule is tied to.
    ///
    /// # Errors
    /// The edges do not make a connected graph of the rule's agents.
    pub fn graph(&self) -> Result<Graph, GraphError> {
        Graph::from_edges(
            "of the milodo rule",
            self.agents,
            self.edges.iter().copied(),
        )
    }

    /// Checks the graph, every cell against its agent's degree, shapes and finiteness.
    ///
    /// # Errors
    /// What is wrong and what was expected, in words.
    pub fn check(&self) -> Result<(), String> {
        let graph = self.graph().map_err(|e| e.to_string())?;
        if graph.edges() != self.edges {
            return Err(format!(
                "the edges are {}, expected every edge (i, j) once, i < j, ascending: {}",
                shown(&self.edges),
                shown(graph.edges())
            ));
        }
        if self.cells.len() != self.agents {
            return Err(format!(
                "cells for {} agents, expected {}",
                self.cells.len(),
                self.agents
            ));
        }
        for (i, cells) in self.cells.iter().enumerate() {
            let degree = graph.degree(i);
            let name = |network: &str| format!("the {network} cell of agent {i}");
            cells.primal.check(&name("primal"), 2, 1)?;
            cells.dual.check(&name("dual"), degree, degree)?;
            cells.mixing.check(&name("mixing"), degree, degree)?;
        }
        Ok(())
    }

    /// Number of weights and biases of all agents together.
    pub fn parameters(&self) -> usize {
        let of =
            |c: &AgentCells| c.primal.parameters() + c.dual.parameters() + c.mixing.parameters();
        self.cells.iter().map(of).sum()
    }

    /// Reads the weights of the published implementation from a safetensors file.
    ///
    /// `topology` is the `[agents, agents]` adjacency matrix, `rule.M.0.lstm.weight_ih_l0` and so on are the tensors of agent
    /// 0 under PyTorch's names (`M`, `S`, `C`: primal, dual, mixing). Tensors that do not start with `rule.` are ignored.
    ///
    /// # Errors
    /// A truncated file, a missing or superfluous tensor, a wrong shape or type, a value that is not finite, a topology that
    /// is not a connected undirected graph.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, ImportError> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| ImportError::new(e, bytes.len()))?;
        let graph = read_topology(&file)?;
        let mut used = HashSet::new();
        let rule = Self::build(&graph, |i, network, name, shape| {
            let name = format!("rule.{}.{i}.{name}", NETWORKS[network]);
            let values = read_tensor(&file, &name, Some(shape));
            used.insert(name);
            Ok::<_, ImportError>(values?.1)
        })?;
        let mut names = file.names();
        names.sort_unstable();
        match names
            .into_iter()
            .find(|name| name.starts_with("rule.") && !used.contains(*name))
        {
            Some(name) => Err(ImportError::Superfluous {
                name: name.into(),
                agents: graph.agents(),
            }),
            None => Ok(rule),
        }
    }
}

/// Why a file of published weights was refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The header speaks of more (or fewer) bytes than there are.
    #[error(
        "the file has {bytes} bytes, and its header expects another number: truncated, or not a safetensors file"
    )]
    Truncated {
        /// Length of the file.
        bytes: usize,
    },
    /// The header is malformed.
    #[error("not a safetensors file: {0}")]
    Header(SafeTensorError),
    /// A tensor that a rule needs is not there.
    #[error("the tensor {name} is missing; expected its values, of type F64 or F32")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A tensor of a rule that has no place in it.
    #[error(
        "the tensor {name} belongs to no one-layer network of hidden size {HIDDEN} of the {agents} agents of the topology"
    )]
    Superfluous {
        /// Its name.
        name: String,
        /// Number of agents of the topology.
        agents: usize,
    },
    /// Wrong shape.
    #[error("the tensor {name} has shape {found:?}, expected {expected}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: String,
    },
    /// Wrong number type.
    #[error("the tensor {name} is of type {found}, expected F64 or F32")]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
    },
    /// A value that cannot be.
    #[error("the tensor {name} holds {found} at position {position}, expected {expected}")]
    Value {
        /// Its name.
        name: String,
        /// Position in row-major order.
        position: usize,
        /// The value.
        found: f64,
        /// What can be.
        expected: &'static str,
    },
    /// The topology is not a connected graph.
    #[error("the tensor topology: {0}")]
    Graph(#[from] GraphError),
}

impl ImportError {
    fn new(error: SafeTensorError, bytes: usize) -> Self {
        match error {
            SafeTensorError::HeaderTooSmall
            | SafeTensorError::InvalidHeaderLength
            | SafeTensorError::MetadataIncompleteBuffer => Self::Truncated { bytes },
            other => Self::Header(other),
        }
    }
}

/// Shape and values of one tensor, all finite; any shape is good if none is given.
fn read_tensor(
    file: &SafeTensors,
    name: &str,
    shape: Option<&[usize]>,
) -> Result<(Vec<usize>, Vec<f64>), ImportError> {
    let tensor = file
        .tensor(name)
        .map_err(|_| ImportError::Missing { name: name.into() })?;
    let found = tensor.shape().to_vec();
    if let Some(expected) = shape.filter(|shape| *shape != found) {
        return Err(ImportError::Shape {
            name: name.into(),
            found,
            expected: format!("{expected:?}"),
        });
    }
    let values: Vec<f64> = match tensor.dtype() {
        Dtype::F64 => tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b))
            .collect(),
        Dtype::F32 => tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b).into())
            .collect(),
        other => {
            return Err(ImportError::Type {
                name: name.into(),
                found: format!("{other:?}"),
            });
        }
    };
    match values.iter().position(|v| !v.is_finite()) {
        Some(position) => Err(ImportError::Value {
            name: name.into(),
            position,
            found: values[position],
            expected: "a finite number",
        }),
        None => Ok((found, values)),
    }
}

/// The graph whose adjacency matrix is `topology`; its diagonal does not matter.
fn read_topology(file: &SafeTensors) -> Result<Graph, ImportError> {
    let name = "topology";
    let (shape, values) = read_tensor(file, name, None)?;
    let &[n, columns] = shape.as_slice() else {
        return Err(ImportError::Shape {
            name: name.into(),
            found: shape,
            expected: "[agents, agents]".into(),
        });
    };
    if n != columns {
        return Err(ImportError::Shape {
            name: name.into(),
            found: shape,
            expected: "[agents, agents]".into(),
        });
    }
    let wrong = |position: usize, expected| ImportError::Value {
        name: name.into(),
        position,
        found: values[position],
        expected,
    };
    let mut edges = Vec::new();
    for (position, &value) in values.iter().enumerate() {
        let (i, j) = (position / n, position % n);
        if value != 0.0 && value != 1.0 {
            return Err(wrong(position, "0 or 1"));
        }
        if value != values[j * n + i] {
            return Err(wrong(position, "a symmetric matrix"));
        }
        if i < j && value == 1.0 {
            edges.push((i, j));
        }
    }
    Ok(Graph::from_edges("of the published rule", n, edges)?)
}

/// The first edges, for messages.
fn shown(edges: &[(usize, usize)]) -> String {
    const FIRST: usize = 8;
    let first: Vec<String> = edges
        .iter()
        .take(FIRST)
        .map(|(i, j)| format!("{i}-{j}"))
        .collect();
    let rest = if edges.len() > FIRST { " …" } else { "" };
    format!("{}{rest}", first.join(" "))
}

/// `milodo` on its graph.
pub struct MilodoRule {
    rule: Milodo,
    /// For row `r` of a field of edge ends: the agent at that end, and which of its neighbours is at the other.
    ends: Vec<(usize, usize)>,
}

impl MilodoRule {
    /// Prepares the rule for `graph`.
    ///
    /// # Errors
    /// The rule fails its check, or `graph` is not the rule's own.
    pub fn new(rule: Milodo, graph: &Graph) -> Result<Self, String> {
        rule.check()?;
        if (graph.agents(), graph.edges()) != (rule.agents, &rule.edges) {
            return Err(format!(
                "a milodo rule is tied to the graph that it was trained on, {} agents with edges {}; the graph {} has {} agents \
                 with edges {}",
                rule.agents,
                shown(&rule.edges),
                graph.name(),
                graph.agents(),
                shown(graph.edges())
            ));
        }
        let mut ends = vec![(0, 0); 2 * graph.edges().len()];
        for i in 0..graph.agents() {
            for (slot, neighbor) in graph.neighbors(i).iter().enumerate() {
                ends[2 * neighbor.edge + usize::from(i > neighbor.agent)] = (i, slot);
            }
        }
        Ok(Self { rule, ends })
    }
}

/// Everything that `milodo` carries from step to step.
pub struct State {
    x: Field,
    y: Field,
    z: Field,
    g: Field,
    /// `[edges, d]`: `z_i − z_j`, then the flows `S_ij⊙(z_i − z_j)`.
    difference: Field,
    /// `[2·edges, d]`: what both ends propose for `S`, then their mean.
    dual_steps: Field,
    agents: Vec<AgentState>,
}

impl State {
    /// `z` of the last step, `[agents, d]`.
    pub fn z(&self) -> &Field {
        &self.z
    }
}

/// One agent's memories, one per block of coordinates, and its buffers.
struct AgentState {
    primal: Vec<Memory>,
    dual: Vec<Memory>,
    mixing: Vec<Memory>,
    /// A block of all its differences, and of the outputs of a network that reads them.
    inputs: Vec<Lanes>,
    outputs: Vec<Lanes>,
    /// `[degree, d]`: what it proposes for `S`.
    proposals: Vec<f64>,
}

/// The coordinates from `start` on, the last block filled with zeros.
fn block(row: &[f64], start: usize) -> Lanes {
    let mut lanes = [0.0; LANES];
    for (lane, v) in lanes.iter_mut().zip(&row[start..]) {
        *lane = *v;
    }
    lanes
}

/// `z_i = prox_{r,P}(x_i − P⊙(g_i + y_i))` of one agent.
fn descend(
    cell: &Cell,
    r: &Regularizer,
    memories: &mut [Memory],
    rows: [&[f64]; 3],
    z: &mut [f64],
) {
    let [x, y, g] = rows;
    let mut p = [[0.0; LANES]];
    for ((memory, z), start) in memories
        .iter_mut()
        .zip(z.chunks_mut(LANES))
        .zip((0..).step_by(LANES))
    {
        cell.evaluate(memory, &[block(y, start), block(g, start)], &mut p);
        for ((k, z), p) in (start..).zip(z).zip(p[0]) {
            let p = relu(p);
            *z = r.prox(p, x[k] - p * (g[k] + y[k]));
        }
    }
}

/// `x_i⁺ = z_i − Σ_j C_ij⊙(z_i − z_j)` of one agent, and what it proposes for `S`.
///
/// `differences`: rows and signs that make up `z_i − z_j`, in the order of its neighbours.
fn mix<'a>(
    cells: &AgentCells,
    differences: impl Iterator<Item = (f64, &'a [f64])> + Clone,
    state: &mut AgentState,
    z: &[f64],
    x: &mut [f64],
) {
    let AgentState {
        dual,
        mixing,
        inputs,
        outputs,
        proposals,
        ..
    } = state;
    let d = z.len();
    for (b, (dual, mixing)) in dual.iter_mut().zip(mixing).enumerate() {
        let start = b * LANES;
        let end = d.min(start + LANES);
        for (input, (sign, row)) in inputs.iter_mut().zip(differences.clone()) {
            *input = block(row, start).map(|v| sign * v);
        }
        cells.dual.evaluate(dual, inputs, outputs);
        for (row, output) in proposals.chunks_exact_mut(d).zip(&*outputs) {
            for (s, v) in row[start..end].iter_mut().zip(output.map(exp)) {
                *s = v;
            }
        }
        cells.mixing.evaluate(mixing, inputs, outputs);
        let mut sum = [0.0; LANES];
        for (input, output) in inputs.iter().zip(&*outputs) {
            for l in 0..LANES {
                sum[l] += relu(output[l]) * input[l];
            }
        }
        for ((x, z), sum) in x[start..end].iter_mut().zip(&z[start..end]).zip(sum) {
            *x = z - sum;
        }
    }
}

impl Algorithm for MilodoRule {
    type State = State;

    fn init(&self, problem: &Problem, network: &mut Network) -> State {
        let (n, d) = (problem.agents(), problem.dimension());
        let graph = network.graph();
        let node = || Field::zeros(n, d);
        let agent = |i| {
            let degree = graph.degree(i);
            let memories = || vec![Memory::default(); d.div_ceil(LANES)];
            AgentState {
                primal: memories(),
                dual: memories(),
                mixing: memories(),
                inputs: vec![[0.0; LANES]; degree],
                outputs: vec![[0.0; LANES]; degree],
                proposals: vec![0.0; degree * d],
            }
        };
        State {
            x: node(),
            y: node(),
            z: node(),
            g: node(),
            difference: Field::zeros(graph.edges().len(), d),
            dual_steps: Field::zeros(2 * graph.edges().len(), d),
            agents: (0..n).map(agent).collect(),
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        let d = problem.dimension();
        let r = problem.regularizer();
        let graph = network.graph();
        let cells = &self.rule.cells;

        problem.gradients(&s.x, &mut s.g);
        let (x, y, g) = (&s.x, &s.y, &s.g);
        s.agents
            .par_iter_mut()
            .zip(s.z.values_mut().par_chunks_exact_mut(d))
            .enumerate()
            .for_each(|(i, (agent, z))| {
                let rows = [x.row(i), y.row(i), g.row(i)];
                descend(&cells[i].primal, r, &mut agent.primal, rows, z);
            });

        // First exchange: z.
        network.differences(&s.z, &mut s.difference);
        let (z, difference) = (&s.z, &s.difference);
        s.agents
            .par_iter_mut()
            .zip(s.x.values_mut().par_chunks_exact_mut(d))
            .enumerate()
            .for_each(|(i, (agent, x))| {
                let differences = graph.neighbors(i).iter().map(|neighbor| {
                    let sign = if i < neighbor.agent { 1.0 } else { -1.0 };
                    (sign, difference.row(neighbor.edge))
                });
                mix(&cells[i], differences, agent, z.row(i), x);
            });

        // Second exchange: S.
        let agents = &s.agents;
        s.dual_steps.for_each_row(|end, row| {
            let (agent, slot) = self.ends[end];
            row.copy_from_slice(&agents[agent].proposals[slot * d..][..d]);
        });
        network.average_ends(&mut s.dual_steps);
        let dual_steps = &s.dual_steps;
        s.difference.for_each_row(|edge, flow| {
            for (flow, step) in flow.iter_mut().zip(dual_steps.row(2 * edge)) {
                *flow *= step;
            }
        });
        add_flows(graph, None, &s.difference, &mut s.y);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn dual<'s>(&self, s: &'s State) -> Option<&'s Field> {
        Some(&s.y)
    }

    fn rest_at(&self, s: &mut State, x: &[f64], dual: &Field) -> bool {
        for field in [&mut s.x, &mut s.z] {
            field
                .values_mut()
                .chunks_exact_mut(x.len())
                .for_each(|row| row.copy_from_slice(x));
        }
        s.y.copy_from(dual);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphSpec;
    use safetensors::tensor::TensorView;

    fn graph(spec: &str) -> Graph {
        ron::from_str::<GraphSpec>(spec).unwrap().build(1).unwrap()
    }

    #[test]
    fn a_fresh_rule_is_valid_and_survives_its_text() {
        for spec in ["Star(5)", "Ring(2)", "Ring(1)"] {
            let graph = graph(spec);
            let rule = Milodo::initial(&graph, 0.1, 7);
            rule.check().unwrap();
            assert_eq!(rule, Milodo::initial(&graph, 0.1, 7));
            assert_ne!(rule, Milodo::initial(&graph, 0.1, 8));
            let text = ron::to_string(&rule).unwrap();
            assert_eq!(ron::from_str::<Milodo>(&text).unwrap(), rule);
            MilodoRule::new(rule, &graph).unwrap();
        }
        let hub = &Milodo::initial(&graph("Star(5)"), 0.1, 7).cells[0];
        assert_eq!(hub.primal.out_bias, [0.1]);
        assert!((hub.dual.out_bias[3].exp() - 1.0).abs() < 1e-15);
        assert_eq!(hub.mixing.out_bias, [0.1; 4]);
    }

    #[test]
    fn misfits_are_named() {
        let ring = graph("Ring(4)");
        let rule = Milodo::initial(&ring, 0.1, 1);
        let mut wrong = rule.clone();
        wrong.cells[2].dual.inputs = 3;
        assert!(
            wrong
                .check()
                .unwrap_err()
                .contains("the dual cell of agent 2 has 3 inputs")
        );
        let mut wrong = rule.clone();
        wrong.cells.pop();
        assert!(
            wrong
                .check()
                .unwrap_err()
                .contains("cells for 3 agents, expected 4")
        );
        let mut wrong = rule.clone();
        wrong.edges.swap(0, 1);
        assert!(wrong.check().unwrap_err().contains("ascending: 0-1 0-3"));
        wrong.edges = vec![(0, 1), (2, 3)];
        assert!(wrong.check().unwrap_err().contains("disconnected"));
        let message = MilodoRule::new(rule, &graph("Ring(5)")).err().unwrap();
        assert!(
            message.contains("4 agents with edges 0-1 0-3") && message.contains("Ring(5)"),
            "{message}"
        );
    }

    /// The rule as the published file would hold it, after `change` had its way with `(name, type, shape, bytes)`.
    fn file(
        rule: &Milodo,
        change: impl Fn(&str, &mut Dtype, &mut Vec<usize>, &mut Vec<u8>) -> bool,
    ) -> Vec<u8> {
        let bytes = |values: &[f64]| {
            values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let mut tensors = Vec::new();
        let mut topology = vec![0.0; rule.agents * rule.agents];
        for &(i, j) in &rule.edges {
            topology[i * rule.agents + j] = 1.0;
            topology[j * rule.agents + i] = 1.0;
        }
        tensors.push((
            "topology".to_string(),
            vec![rule.agents; 2],
            bytes(&topology),
        ));
        for (i, agent) in rule.cells.iter().enumerate() {
            for (network, cell) in NETWORKS
                .iter()
                .zip([&agent.primal, &agent.dual, &agent.mixing])
            {
                let all = [
                    &cell.weight_ih,
                    &cell.weight_hh,
                    &cell.bias_ih,
                    &cell.bias_hh,
                    &cell.linear_weight,
                    &cell.linear_bias,
                    &cell.out_weight,
                    &cell.out_bias,
                ];
                let mut next = all.iter();
                let Ok(_) = Cell::build::<Infallible>(cell.inputs, cell.outputs, |name, shape| {
                    let values = next.next().unwrap();
                    tensors.push((
                        format!("rule.{network}.{i}.{name}"),
                        shape.to_vec(),
                        bytes(values),
                    ));
                    Ok(Vec::new())
                });
            }
        }
        let mut kept = Vec::new();
        for (name, mut shape, mut data) in tensors {
            let mut dtype = Dtype::F64;
            if change(&name, &mut dtype, &mut shape, &mut data) {
                kept.push((name, dtype, shape, data));
            }
        }
        let views = kept.iter().map(|(name, dtype, shape, data)| {
            (
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), data).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn published_weights_are_read() {
        let rule = Milodo::initial(&graph("Star(4)"), 0.1, 3);
        let bytes = file(&rule, |_, _, _, _| true);
        assert_eq!(Milodo::from_safetensors(&bytes).unwrap(), rule);
        let single = file(&rule, |_, dtype, _, data| {
            *dtype = Dtype::F32;
            *data = data
                .as_chunks()
                .0
                .iter()
                .flat_map(|b| (f64::from_le_bytes(*b) as f32).to_le_bytes())
                .collect();
            true
        });
        let single = Milodo::from_safetensors(&single).unwrap();
        assert_eq!(single.cells[1].primal.out_bias, [f64::from(0.1f32)]);
    }

    #[test]
    fn bad_files_are_named() {
        let rule = Milodo::initial(&graph("Star(4)"), 0.1, 3);
        let good = file(&rule, |_, _, _, _| true);
        let message = |bytes: &[u8]| Milodo::from_safetensors(bytes).unwrap_err().to_string();
        for cut in [0, 5, 100, good.len() / 2, good.len() - 1] {
            assert!(
                message(&good[..cut]).contains("truncated"),
                "{}",
                message(&good[..cut])
            );
        }
        assert!(message(b"{\"not\": \"tensors\", \"at\": \"all\"}").contains("safetensors"));

        let missing = file(&rule, |name, _, _, _| name != "rule.S.2.linear.bias");
        assert!(message(&missing).contains("rule.S.2.linear.bias is missing"));
        assert!(
            message(&file(&rule, |name, _, _, _| name != "topology"))
                .contains("topology is missing")
        );
        let shape = file(&rule, |name, _, shape, _| {
            if name == "rule.C.0.linear_out.weight" {
                shape.reverse();
            }
            true
        });
        assert!(
            message(&shape)
                .contains("rule.C.0.linear_out.weight has shape [20, 3], expected [3, 20]")
        );
        let dtype = file(&rule, |name, dtype, _, _| {
            if name == "rule.M.1.linear.bias" {
                *dtype = Dtype::I64;
            }
            true
        });
        assert!(
            message(&dtype).contains("rule.M.1.linear.bias is of type I64, expected F64 or F32")
        );
        let value = |tensor: &'static str, position: usize, value: f64| {
            message(&file(&rule, |name, _, _, data| {
                if name == tensor {
                    data[8 * position..][..8].copy_from_slice(&value.to_le_bytes());
                }
                true
            }))
        };
        assert!(
            value("rule.M.1.linear.bias", 4, f64::NAN)
                .contains("rule.M.1.linear.bias holds NaN at position 4")
        );
        assert!(
            value("topology", 1, 0.5).contains("topology holds 0.5 at position 1, expected 0 or 1")
        );
        assert!(value("topology", 6, 1.0).contains("expected a symmetric matrix"));

        let mut more = rule.clone();
        more.cells.push(more.cells[3].clone());
        let more = message(&file(&more, |_, _, _, _| true));
        assert!(
            more.contains("rule.C.4.linear.bias belongs to no") && more.contains("4 agents"),
            "{more}"
        );
        let cut = file(&rule, |name, _, _, data| {
            if name == "topology" {
                data.fill(0);
            }
            true
        });
        assert!(message(&cut).contains("disconnected"));
    }
}
