//! DAPG (Ye, Zhou, Luo, Zhang, NeurIPS 2020), FM = [`FastMix`]:
//!
//! `x⁺ = FM(prox_{ηr}(y − ηs));  y⁺ = FM(x⁺ + (1−a)/(1+a)(x⁺ − x));  s⁺ = FM(s + ∇(y⁺) − ∇(y))`,
//! in theory `η = 1/(2L)`, `a = √(μη)`. Three rounds per iteration and mixing.

use super::fast_mix::{FastMix, Scratch};
use super::{Algorithm, prox_rows};
use crate::field::Field;
use crate::network::Network;
use crate::problem::Problem;

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
