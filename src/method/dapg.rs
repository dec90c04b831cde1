//! DAPG (Ye, Zhou, Luo, Zhang, NeurIPS 2020), FM = [`FastMix`]:
//!
//! `x⁺ = FM(prox_{ηr}(y − ηs));  y⁺ = FM(x⁺ + (1−a)/(1+a)(x⁺ − x));  s⁺ = FM(s + ∇(y⁺) − ∇(y))`,
//! in theory `η = 1/(2L)`, `a = √(μη)`. Three rounds per iteration and mixing.

use super::fast_mix::{FastMix, Scratch};
use super::{
    About, MIXINGS, Method, PUBLISHED, Role, STEPS, Scale, Setting, fast_mix, gossip, matrix,
    number, out_of_range, prox_rows, run, second, step_or,
};
use crate::algorithm::{Algorithm, AlgorithmError, Process};
use crate::field::Field;
use crate::graph::MixingKind;
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// Decentralized accelerated proximal gradient.
pub struct Dapg {
    /// Step `η`.
    pub step: f64,
    /// `a`; the momentum is `(1−a)/(1+a)`.
    pub a: f64,
    /// The gossip.
    pub fast_mix: FastMix,
}

/// Iterates, tracked gradient and scratch space.
pub struct State {
    x: Field,
    x_last: Field,
    y: Field,
    s: Field,
    g: Field,
    g_last: Field,
    point: Field,
    scratch: Scratch,
    started: bool,
}

impl Algorithm for Dapg {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        let mut x = field();
        prox_rows(problem, self.step, &field(), &mut x);
        State {
            y: x.clone(),
            x,
            x_last: field(),
            s: field(),
            g: field(),
            g_last: field(),
            point: field(),
            scratch: Scratch::new(problem.agents(), problem.dimension()),
            started: false,
        }
    }

    fn step(&self, st: &mut State, problem: &Problem, network: &mut Network) {
        if !st.started {
            // s⁰ = ∇(y⁰), each agent its own.
            problem.gradients(&st.y, &mut st.g);
            st.s.copy_from(&st.g);
            st.started = true;
        }
        st.point.copy_from(&st.y);
        st.point.add_scaled(-self.step, &st.s);
        std::mem::swap(&mut st.x, &mut st.x_last);
        prox_rows(problem, self.step, &st.point, &mut st.x);
        self.fast_mix.mix(&mut st.x, &mut st.scratch, network);

        let momentum = (1.0 - self.a) / (1.0 + self.a);
        st.y.copy_from(&st.x);
        st.y.add_scaled(momentum, &st.x);
        st.y.add_scaled(-momentum, &st.x_last);
        self.fast_mix.mix(&mut st.y, &mut st.scratch, network);

        std::mem::swap(&mut st.g, &mut st.g_last);
        problem.gradients(&st.y, &mut st.g);
        st.s.add_scaled(1.0, &st.g);
        st.s.add_scaled(-1.0, &st.g_last);
        self.fast_mix.mix(&mut st.s, &mut st.scratch, network);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }
}

const MOMENTA: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 0.8];

/// Decentralized accelerated proximal gradient.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `η`
    pub step: Option<f64>,
    /// `a`; the momentum is `(1−a)/(1+a)`.
    pub a: Option<f64>,
    /// Rounds of each FastMix.
    pub mixings: Option<usize>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "Dapg"
    }

    fn about(&self) -> About {
        PUBLISHED
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            number("step", &mut self.step, Role::Step(STEPS, Scale::Step)),
            second("a", &mut self.a, MOMENTA, 0.15),
            gossip(&mut self.mixings, 1),
            matrix(&mut self.mixing, MIXINGS),
        ]
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let step = step_or(self, self.step, 0.5, problem)?;
        // Theory's a = √(μη) where r is strongly convex; else a value that is safe in practice.
        let mu = problem.regularizer().l2;
        let theory = if mu > 0.0 {
            (mu * step).sqrt().min(1.0)
        } else {
            0.15
        };
        let a = self.a.unwrap_or(theory);
        if !(a > 0.0 && a <= 1.0) {
            return Err(out_of_range(self, "a", a, "a number in (0, 1]"));
        }
        let fast_mix = fast_mix(self, network.graph(), self.mixings, self.mixing)?;
        run(Dapg { step, a, fast_mix }, problem, network)
    }
}
