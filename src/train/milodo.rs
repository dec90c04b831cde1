//! The published rule as a Burn module: the twin of [`crate::rule::milodo`], tested equal to the reference implementation.
//!
//! `P` from an LSTM on `(y, ∇f)`, `S` and `C` from LSTMs on the differences to the neighbours in ascending order; networks of
//! every agent are stacked, `[agents, …]`, and padded to the largest degree: a missing neighbour is the agent itself, so its
//! difference is zero and its weights get no gradient. Rows are `[agents, features, B·d]`.

use super::batch::{Batch, Place};
use super::kernel::{self, LstmShape};
use super::unroll::RuleModule;
use crate::rule::milodo::{AgentCells, Milodo};
use crate::rule::{self, lstm};
use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, activation};

const H: usize = lstm::HIDDEN;

/// One network of every agent: LSTM(20) → Linear(20, 20) → ReLU → Linear(out), gate order input, forget, cell, output.
#[derive(Module, Debug)]
pub struct StackedCell {
    /// `[agents, 80, inputs]`
    weight_ih: Param<Tensor<3>>,
    /// `[agents, 80, 20]`
    weight_hh: Param<Tensor<3>>,
    /// `[agents, 80, 1]`
    bias_ih: Param<Tensor<3>>,
    /// `[agents, 80, 1]`
    bias_hh: Param<Tensor<3>>,
    /// `[agents, 20, 20]`
    linear_weight: Param<Tensor<3>>,
    /// `[agents, 20, 1]`
    linear_bias: Param<Tensor<3>>,
    /// `[agents, outputs, 20]`
    out_weight: Param<Tensor<3>>,
    /// `[agents, outputs, 1]`
    out_bias: Param<Tensor<3>>,
}

/// `milodo` with gradients.
#[derive(Module, Debug)]
pub struct MilodoModule {
    primal: StackedCell,
    dual: StackedCell,
    mixing: StackedCell,
    #[module(skip)]
    tables: Tables,
    /// Whether a cell is one operation ([`kernel::lstm`]) or written operation by operation.
    fused: bool,
}

/// Who sits in which neighbour slot.
#[derive(Clone, Debug)]
struct Tables {
    agents: usize,
    edges: Vec<(usize, usize)>,
    /// `slots[i][s]`: neighbour `s` of agent `i`, ascending.
    neighbors: Vec<Vec<usize>>,
    width: usize,
}

impl Tables {
    fn new(rule: &Milodo) -> Self {
        let mut neighbors = vec![Vec::new(); rule.agents];
        for &(i, j) in &rule.edges {
            neighbors[i].push(j);
            neighbors[j].push(i);
        }
        neighbors.iter_mut().for_each(|n| n.sort_unstable());
        Self {
            agents: rule.agents,
            edges: rule.edges.clone(),
            width: neighbors.iter().map(Vec::len).max().unwrap_or(0).max(1),
            neighbors,
        }
    }

    /// Neighbour in slot `s`; the agent itself where there is none.
    fn neighbor(&self, i: usize, s: usize) -> usize {
        self.neighbors[i].get(s).copied().unwrap_or(i)
    }

    /// Flat `agent·width + slot` of the same edge seen from its other end.
    fn reverse(&self, i: usize, s: usize) -> usize {
        match self.neighbors[i].get(s) {
            Some(&j) => {
                j * self.width + self.neighbors[j].iter().position(|&k| k == i).unwrap_or(0)
            }
            None => i * self.width + s,
        }
    }
}

/// Hidden above cell state of one stacked network, `[agents, 40, B·d]` or, in blocks, a few more columns; zero at first, then in the
/// order that the cell chooses.
type Memory = Tensor<3>;

/// What `milodo` carries from step to step.
#[derive(Clone, Debug)]
pub struct MilodoState {
    /// The iterate.
    pub x: Tensor<2>,
    y: Tensor<2>,
    primal: Memory,
    dual: Memory,
    mixing: Memory,
    /// [`StackedCell::parameters`] of the three networks, built once per window; nothing where the cells are not fused.
    parameters: Option<[Tensor<2>; 3]>,
}

impl StackedCell {
    fn new(cells: &[&lstm::Cell], inputs: usize, outputs: usize, place: &Place) -> Self {
        let n = cells.len();
        // Row-major [rows, columns] of every agent, padded to [to_rows, to_columns].
        let stack =
            |get: &dyn Fn(&lstm::Cell) -> (&[f64], usize), to_rows: usize, to_columns: usize| {
                let mut values = vec![0.0; n * to_rows * to_columns];
                for (i, cell) in cells.iter().enumerate() {
                    let (v, columns) = get(cell);
                    for (r, row) in v.chunks_exact(columns.max(1)).enumerate() {
                        let at = (i * to_rows + r) * to_columns;
                        values[at..at + columns].copy_from_slice(row);
                    }
                }
                Param::from_tensor(place.tensor(values, [n, to_rows, to_columns]))
            };
        Self {
            weight_ih: stack(&|c| (&c.weight_ih, c.inputs), 4 * H, inputs),
            weight_hh: stack(&|c| (&c.weight_hh, H), 4 * H, H),
            bias_ih: stack(&|c| (&c.bias_ih, 1), 4 * H, 1),
            bias_hh: stack(&|c| (&c.bias_hh, 1), 4 * H, 1),
            linear_weight: stack(&|c| (&c.linear_weight, H), H, H),
            linear_bias: stack(&|c| (&c.linear_bias, 1), H, 1),
            out_weight: stack(&|c| (&c.out_weight, H), outputs, H),
            out_bias: stack(&|c| (&c.out_bias, 1), outputs, 1),
        }
    }

    /// Agent `i`'s network with its own numbers of inputs and outputs.
    fn cell(&self, i: usize, inputs: usize, outputs: usize) -> lstm::Cell {
        let take = |p: &Param<Tensor<3>>, rows: usize, columns: usize| -> Vec<f64> {
            let part = p.val().detach().slice([i..i + 1, 0..rows, 0..columns]);
            part.try_into_vec_as::<f64>()
                .unwrap_or_else(|_| vec![f64::NAN; rows * columns])
        };
        lstm::Cell {
            inputs,
            outputs,
            weight_ih: take(&self.weight_ih, 4 * H, inputs),
            weight_hh: take(&self.weight_hh, 4 * H, H),
            bias_ih: take(&self.bias_ih, 4 * H, 1),
            bias_hh: take(&self.bias_hh, 4 * H, 1),
            linear_weight: take(&self.linear_weight, H, H),
            linear_bias: take(&self.linear_bias, H, 1),
            out_weight: take(&self.out_weight, outputs, H),
            out_bias: take(&self.out_bias, outputs, 1),
        }
    }

    /// `[agents, inputs, rows]` → `[agents, outputs, rows]` before the last activation; one operation if it is given its
    /// `parameters`.
    fn forward(
        &self,
        input: Tensor<3>,
        memory: Memory,
        parameters: Option<&Tensor<2>>,
    ) -> (Tensor<3>, Memory) {
        let [n, _, rows] = input.dims();
        if let Some(parameters) = parameters {
            return kernel::lstm(input, memory, parameters.clone(), self.shape());
        }
        let (h, c) = (
            memory.clone().slice([0..n, 0..H, 0..rows]),
            memory.slice([0..n, H..2 * H, 0..rows]),
        );
        let gates = self.weight_ih.val().matmul(input)
            + self.weight_hh.val().matmul(h)
            + (self.bias_ih.val() + self.bias_hh.val());
        let gate = |k: usize| gates.clone().slice([0..n, k * H..(k + 1) * H, 0..rows]);
        let input_gate = activation::sigmoid(gate(0));
        let forget = activation::sigmoid(gate(1));
        let candidate = gate(2).tanh();
        let output = activation::sigmoid(gate(3));
        let c = forget * c + input_gate * candidate;
        let h = output * c.clone().tanh();
        let hidden =
            activation::relu(self.linear_weight.val().matmul(h.clone()) + self.linear_bias.val());
        (
            self.out_weight.val().matmul(hidden) + self.out_bias.val(),
            Tensor::cat(vec![h, c], 1),
        )
    }

    fn shape(&self) -> LstmShape {
        LstmShape {
            inputs: self.weight_ih.dims()[2],
            outputs: self.out_bias.dims()[1],
        }
    }

    /// Every agent's parameters in one row, in the order of [`LstmShape`].
    fn parameters(&self) -> Tensor<2> {
        let flat = |t: Tensor<3>| t.flatten::<2>(1, 2);
        Tensor::cat(
            vec![
                flat(self.weight_ih.val()),
                flat(self.weight_hh.val()),
                flat(self.bias_ih.val() + self.bias_hh.val()),
                flat(self.linear_weight.val()),
                flat(self.linear_bias.val()),
                flat(self.out_weight.val()),
                flat(self.out_bias.val()),
            ],
            1,
        )
    }
}

impl MilodoModule {
    /// The module that continues from `rule`.
    pub fn new(rule: &Milodo, device: &Device, dtype: DType) -> Self {
        let place = Place {
            device: device.clone().autodiff(),
            dtype,
        };
        let tables = Tables::new(rule);
        let w = tables.width;
        let cells =
            |get: fn(&AgentCells) -> &lstm::Cell| rule.cells.iter().map(get).collect::<Vec<_>>();
        let primal = StackedCell::new(&cells(|c| &c.primal), 2, 1, &place);
        let dual = StackedCell::new(&cells(|c| &c.dual), w, w, &place);
        let mixing = StackedCell::new(&cells(|c| &c.mixing), w, w, &place);
        let plain = Place {
            device: device.clone(),
            dtype,
        };
        Self {
            fused: [&primal, &dual, &mixing]
                .iter()
                .all(|cell| cell.shape().fits(&plain, tables.agents)),
            primal,
            dual,
            mixing,
            tables,
        }
    }

    /// The same module written operation by operation: the reference.
    pub fn op_by_op(mut self) -> Self {
        self.fused = false;
        self
    }

    /// The frozen twin.
    pub fn to_milodo(&self) -> Milodo {
        let cells = (0..self.tables.agents)
            .map(|i| {
                let degree = self.tables.neighbors[i].len();
                AgentCells {
                    primal: self.primal.cell(i, 2, 1),
                    dual: self.dual.cell(i, degree, degree),
                    mixing: self.mixing.cell(i, degree, degree),
                }
            })
            .collect();
        Milodo {
            agents: self.tables.agents,
            edges: self.tables.edges.clone(),
            cells,
        }
    }
}

impl RuleModule for MilodoModule {
    type State = MilodoState;
    // Every number has three states of forty.
    const CHUNK: usize = 12_000;
    fn widest(&self) -> usize {
        // The gates of an LSTM.
        4 * crate::rule::lstm::HIDDEN
    }
    fn sums_over_problems(&self) -> bool {
        !self.fused
    }

    fn start(&self, batch: &Batch) -> MilodoState {
        let (n, b, d) = (batch.agents, batch.problems, batch.dimension);
        let columns = match self.fused {
            true => LstmShape::state_columns(&batch.place, b * d),
            false => b * d,
        };
        let memory = || batch.place.zeros([n, 2 * H, columns]);
        MilodoState {
            x: batch.place.zeros([n * b, d]),
            y: batch.place.zeros([n * b, d]),
            primal: memory(),
            dual: memory(),
            mixing: memory(),
            parameters: None,
        }
    }

    fn step(&self, batch: &Batch, s: MilodoState) -> MilodoState {
        let (n, b, d) = (batch.agents, batch.problems, batch.dimension);
        let (rows, w) = (b * d, self.tables.width);
        let wide = |t: Tensor<2>| t.reshape([n, 1, rows]);
        let parameters = s.parameters.or_else(|| {
            self.fused
                .then(|| [&self.primal, &self.dual, &self.mixing].map(StackedCell::parameters))
        });
        let of = |k: usize| parameters.as_ref().map(|all| &all[k]);
        let g = batch.gradient(s.x.clone());

        let (out, primal) = self.primal.forward(
            Tensor::cat(vec![wide(s.y.clone()), wide(g.clone())], 1),
            s.primal,
            of(0),
        );
        let p = activation::relu(out).reshape([n * b, d]);
        let z = batch.prox(p.clone(), s.x - p * (g + s.y.clone()));

        // Differences to the neighbours, slot by slot.
        let by_agent = z.clone().reshape([n, rows]);
        let index = |f: &dyn Fn(usize, usize) -> usize, slot: usize| -> Tensor<1, Int> {
            batch
                .place
                .indices((0..n).map(|i| f(i, slot) as i32).collect())
        };
        let differences = (0..w)
            .map(|slot| {
                by_agent.clone()
                    - by_agent
                        .clone()
                        .select(0, index(&|i, s| self.tables.neighbor(i, s), slot))
            })
            .map(|t| t.reshape([n, 1, rows]))
            .collect();
        let differences: Tensor<3> = Tensor::cat(differences, 1);

        // Both ends of an edge keep the mean of their outputs: the second exchange.
        let (out, dual) = self.dual.forward(differences.clone(), s.dual, of(1));
        let own = out.exp().reshape([n * w, rows]);
        let reverse = (0..n * w)
            .map(|k| self.tables.reverse(k / w, k % w) as i32)
            .collect();
        let other = own.clone().select(0, batch.place.indices(reverse));
        let mean = ((own + other) * 0.5).reshape([n, w, rows]);
        let y = s.y + (mean * differences.clone()).sum_dim(1).reshape([n * b, d]);

        let (out, mixing) = self.mixing.forward(differences.clone(), s.mixing, of(2));
        let x = z
            - (activation::relu(out) * differences)
                .sum_dim(1)
                .reshape([n * b, d]);
        MilodoState {
            x,
            y,
            primal,
            dual,
            mixing,
            parameters,
        }
    }

    fn iterate<'s>(&self, state: &'s MilodoState) -> &'s Tensor<2> {
        &state.x
    }

    fn map_state(s: MilodoState, f: &mut impl FnMut(Tensor<2>) -> Tensor<2>) -> MilodoState {
        let x = f(s.x);
        let y = f(s.y);
        let mut memory = |t: Memory| {
            let shape = t.dims();
            f(t.flatten::<2>(0, 1)).reshape(shape)
        };
        MilodoState {
            x,
            y,
            primal: memory(s.primal),
            dual: memory(s.dual),
            mixing: memory(s.mixing),
            // A window's parameters are on its tape.
            parameters: None,
        }
    }

    fn frozen(&self) -> rule::Structure {
        rule::Structure::Milodo(self.to_milodo())
    }
}
