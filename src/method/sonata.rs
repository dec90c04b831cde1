//! SONATA with exact local models (Sun, Daneshmand & Scutari, SIAM J. Optim. 2022): gradient tracking whose step minimises the agent's
//! own `f_i`, made unbiased by what the others' gradients add. It pays where agents are similar.
//!
//! ```text
//! x̂_i  = argmin_x  f_i(x) + ⟨s_i − ∇f_i(x_i), x⟩ + β/2 ‖x − x_i‖² + r(x)
//! x⁺   = W x̂;      s⁺ = W(s + ∇(x⁺) − ∇(x)),  s⁰ = ∇(x⁰)
//! ```
//!
//! At rest `x_i = x*` and `s_i = ∇f(x*)`, so `x̂_i = x*` says that `−∇f(x*) ∈ ∂r(x*)`: the limit is exact. Two gossips of `K`
//! Chebyshev-accelerated rounds ([`FastMix`]) per iteration, one local solve and one gradient beside it.

use super::fast_mix::{FastMix, Scratch};
use super::local_solve::Local;
use super::{
    About, Grid, MIXINGS, Method, PUBLISHED, Role, Scale, Setting, fast_mix, gossip, matrix,
    number, positive, run,
};
use crate::algorithm::{Algorithm, AlgorithmError, Process, Work};
use crate::field::Field;
use crate::graph::MixingKind;
use crate::network::Network;
use crate::problem::Problem;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Gradient tracking with local models.
pub struct Sonata {
    /// `β`: how much the agents' Hessians differ, at least about half of it.
    pub similarity: f64,
    /// The gossip.
    pub fast_mix: FastMix,
}

/// Iterates, tracked gradient and scratch space.
pub struct State {
    x: Field,
    s: Field,
    g: Field,
    g_last: Field,
    agents: Vec<Local>,
    scratch: Scratch,
    iterations: u64,
}

impl Algorithm for Sonata {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let (n, d) = (problem.agents(), problem.dimension());
        let field = || Field::zeros(n, d);
        let x = field();
        let mut g = field();
        problem.gradients(&x, &mut g);
        State {
            x,
            s: g.clone(),
            g,
            g_last: field(),
            agents: (0..n).map(|_| Local::new(d)).collect(),
            scratch: Scratch::new(n, d),
            iterations: 0,
        }
    }

    fn step(&self, st: &mut State, problem: &Problem, network: &mut Network) {
        let d = problem.dimension();
        let (s, g, beta) = (&st.s, &st.g, self.similarity);
        st.x.values_mut()
            .par_chunks_exact_mut(d)
            .zip(st.agents.par_iter_mut())
            .enumerate()
            .for_each(|(i, (x, local))| {
                for (((c, x), s), g) in local.centre.iter_mut().zip(&*x).zip(s.row(i)).zip(g.row(i))
                {
                    *c = x - (s - g) / beta;
                }
                local.solve(problem, i, beta, x);
            });
        self.fast_mix.mix(&mut st.x, &mut st.scratch, network);
        std::mem::swap(&mut st.g, &mut st.g_last);
        problem.gradients(&st.x, &mut st.g);
        st.s.add_scaled(1.0, &st.g);
        st.s.add_scaled(-1.0, &st.g_last);
        self.fast_mix.mix(&mut st.s, &mut st.scratch, network);
        st.iterations += 1;
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn work(&self, s: &State) -> Option<Work> {
        let most = s.agents.iter().map(|agent| agent.gradients).max();
        Some(Work {
            gradients: most.unwrap_or(0) + s.iterations,
            solves: s.iterations,
        })
    }
}

const SIMILARITIES: Grid = Grid {
    values: &[0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2],
    start: 0.4,
};

/// Gradient tracking with exact local models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `β` in units of the mean `L_i`
    pub similarity: Option<f64>,
    /// Rounds of each FastMix.
    pub mixings: Option<usize>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "Sonata"
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
                "similarity",
                &mut self.similarity,
                Role::Step(SIMILARITIES, Scale::Penalty),
            ),
            gossip(&mut self.mixings, 1),
            matrix(&mut self.mixing, MIXINGS),
        ]
    }

    /// A similarity is a curvature.
    fn absolute(&self, factor: f64, second: f64, l: f64, mean: f64) -> (f64, f64) {
        (factor * l / mean, second)
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let similarity = positive(self, "similarity", self.similarity.unwrap_or(0.5))?;
        let method = Sonata {
            similarity: similarity * problem.smoothness_mean(),
            fast_mix: fast_mix(self, network.graph(), self.mixings, self.mixing)?,
        };
        run(method, problem, network)
    }
}
