//! ADMM over edges in the Peaceman–Rachford form, over-relaxed, with exact local solves (Bastianello, Carli, Schenato & Todescato,
//! arXiv:1901.09252; Giselsson & Boyd 2017). Every agent keeps a vector `z_ij` for every neighbour:
//!
//! ```text
//! x_i   = argmin_x  f_i(x) + r(x) + ρd_i/2 ‖x − Σ_j z_ij/(ρd_i)‖²            d_i: its neighbours
//! z_ij⁺ = (1 − a) z_ij − a (z_ji − 2ρ x_j)                                     agent j sends z_ji − 2ρ x_j
//! ```
//!
//! Converges for `ρ > 0`, `0 < a < 1`. One vector per directed edge and round; an iteration costs a local solve, which is done by
//! accelerated proximal gradient to rounding level, and counts both as a solve and as the gradients that it took. An agent without
//! neighbours takes proximal point steps, `d_i = 1`, `z = ρx`.

use super::local_solve::Local;
use super::{
    About, Grid, Method, PUBLISHED, Role, Scale, Setting, number, out_of_range, positive, run,
    second,
};
use crate::algorithm::{Algorithm, AlgorithmError, Process, Work};
use crate::field::Field;
use crate::network::Network;
use crate::problem::Problem;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Over-relaxed edge ADMM.
pub struct Admm {
    /// `ρ`
    pub penalty: f64,
    /// `a`
    pub relaxation: f64,
}

/// `x_i`, `z_ij` and what is on its way.
pub struct State {
    x: Field,
    /// `[2·edges, d]`; row `2e` belongs to the smaller end of edge `e`, row `2e + 1` to the larger.
    z: Field,
    messages: Field,
    agents: Vec<Local>,
    iterations: u64,
}

impl Admm {
    /// `ρd_i`
    fn curvature(&self, neighbors: usize) -> f64 {
        self.penalty * neighbors.max(1) as f64
    }
}

impl Algorithm for Admm {
    type State = State;

    fn init(&self, problem: &Problem, network: &mut Network) -> State {
        let (n, d) = (problem.agents(), problem.dimension());
        let ends = 2 * network.graph().edges().len();
        State {
            x: Field::zeros(n, d),
            z: Field::zeros(ends, d),
            messages: Field::zeros(ends, d),
            agents: (0..n).map(|_| Local::new(d)).collect(),
            iterations: 0,
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        let d = problem.dimension();
        let graph = network.graph();
        let z = &s.z;
        s.x.values_mut()
            .par_chunks_exact_mut(d)
            .zip(s.agents.par_iter_mut())
            .enumerate()
            .for_each(|(i, (x, local))| {
                let neighbors = graph.neighbors(i);
                let mu = self.curvature(neighbors.len());
                if neighbors.is_empty() {
                    local.centre.copy_from_slice(x);
                } else {
                    local.centre.fill(0.0);
                    for neighbor in neighbors {
                        let own = z.row(end(neighbor.edge, i < neighbor.agent));
                        for (c, z) in local.centre.iter_mut().zip(own) {
                            *c += z / mu;
                        }
                    }
                }
                local.solve(problem, i, mu, x);
            });
        let (x, twice) = (&s.x, 2.0 * self.penalty);
        let edges = graph.edges();
        s.messages.for_each_row(|row, message| {
            let (i, j) = edges[row / 2];
            let x = x.row(if row % 2 == 0 { i } else { j });
            for ((m, z), x) in message.iter_mut().zip(z.row(row)).zip(x) {
                *m = z - twice * x;
            }
        });
        network.swap_ends(&mut s.messages);
        let (a, messages) = (self.relaxation, &s.messages);
        s.z.for_each_row(|row, z| {
            for (z, m) in z.iter_mut().zip(messages.row(row)) {
                *z = (1.0 - a) * *z - a * m;
            }
        });
        s.iterations += 1;
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn work(&self, s: &State) -> Option<Work> {
        let most = s.agents.iter().map(|agent| agent.gradients).max();
        Some(Work {
            gradients: most.unwrap_or(0),
            solves: s.iterations,
        })
    }
}

/// The row of an edge's end.
fn end(edge: usize, smaller: bool) -> usize {
    2 * edge + usize::from(!smaller)
}

const PENALTIES: Grid = Grid {
    values: &[0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2],
    start: 0.15,
};
const RELAXATIONS: &[f64] = &[0.5, 0.65, 0.8, 0.9, 0.96];

/// Over-relaxed edge ADMM with exact local solves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `ρ` in units of the mean `L_i`
    pub penalty: Option<f64>,
    /// `a`
    pub relaxation: Option<f64>,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "Admm"
    }

    fn about(&self) -> About {
        About {
            solves_locally: true,
            ..PUBLISHED
        }
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            number(
                "penalty",
                &mut self.penalty,
                Role::Step(PENALTIES, Scale::Penalty),
            ),
            second("relaxation", &mut self.relaxation, RELAXATIONS, 0.8),
        ]
    }

    /// A penalty is a curvature.
    fn absolute(&self, factor: f64, second: f64, l: f64, mean: f64) -> (f64, f64) {
        (factor * l / mean, second)
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let penalty = positive(self, "penalty", self.penalty.unwrap_or(0.12))?;
        let relaxation = self.relaxation.unwrap_or(0.75);
        if !(relaxation > 0.0 && relaxation < 1.0) {
            let expected = "a number above 0 and below 1";
            return Err(out_of_range(self, "relaxation", relaxation, expected));
        }
        let method = Admm {
            // The unit: one number that every agent averages once.
            penalty: penalty * problem.smoothness_mean(),
            relaxation,
        };
        run(method, problem, network)
    }
}
