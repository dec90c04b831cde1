//! ODAPG (Ye & Chang, JMLR 2025), FM = [`FastMix`]:
//!
//! `x = τz + (1−τ)y;  s = FM(s + ∇(x) − ∇(x⁻));  z⁺ = FM(prox_{ηr}(z − ηs));  y⁺ = FM(τz⁺ + (1−τ)y)`,
//! in theory `η = 1/(2τL)`. Three rounds per iteration and mixing.

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

/// Optimal decentralized accelerated proximal gradient.
pub struct Odapg {
    /// Step `η` of the `z` update.
    pub step: f64,
    /// Coupling `τ` in (0, 1].
    pub tau: f64,
    /// The gossip.
    pub fast_mix: FastMix,
}

/// Iterates, tracked gradient and scratch space.
pub struct State {
    x: Field,
    y: Field,
    z: Field,
    s: Field,
    g: Field,
    g_last: Field,
    point: Field,
    scratch: Scratch,
}

impl Algorithm for Odapg {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        let mut x = field();
        prox_rows(problem, self.step, &field(), &mut x);
        State {
            y: x.clone(),
            z: x.clone(),
            x,
            s: field(),
            g: field(),
            g_last: field(),
            point: field(),
            scratch: Scratch::new(problem.agents(), problem.dimension()),
        }
    }

    fn step(&self, st: &mut State, problem: &Problem, network: &mut Network) {
        let couple = |out: &mut Field, z: &Field, y: &Field| {
            for ((o, z), y) in out.values_mut().iter_mut().zip(z.values()).zip(y.values()) {
                *o = self.tau * z + (1.0 - self.tau) * y;
            }
        };
        couple(&mut st.x, &st.z, &st.y);
        // g starts at zero, so the first s is FM(∇(x⁰)).
        std::mem::swap(&mut st.g, &mut st.g_last);
        problem.gradients(&st.x, &mut st.g);
        st.s.add_scaled(1.0, &st.g);
        st.s.add_scaled(-1.0, &st.g_last);
        self.fast_mix.mix(&mut st.s, &mut st.scratch, network);

        st.point.copy_from(&st.z);
        st.point.add_scaled(-self.step, &st.s);
        prox_rows(problem, self.step, &st.point, &mut st.z);
        self.fast_mix.mix(&mut st.z, &mut st.scratch, network);

        couple(&mut st.point, &st.z, &st.y);
        std::mem::swap(&mut st.y, &mut st.point);
        self.fast_mix.mix(&mut st.y, &mut st.scratch, network);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.y
    }
}

const COUPLINGS: &[f64] = &[0.02, 0.05, 0.1, 0.2, 0.4, 0.7];

/// Optimal decentralized accelerated proximal gradient.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `η`
    pub step: Option<f64>,
    /// `τ`
    pub tau: Option<f64>,
    /// Rounds of each FastMix.
    pub mixings: Option<usize>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "Odapg"
    }

    fn about(&self) -> About {
        PUBLISHED
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            number("step", &mut self.step, Role::Step(STEPS, Scale::Step)),
            second("tau", &mut self.tau, COUPLINGS, 0.2),
            gossip(&mut self.mixings, 1),
            matrix(&mut self.mixing, MIXINGS),
        ]
    }

    /// In theory `η = 1/(2τL)`.
    fn absolute(&self, factor: f64, second: f64, l: f64, _: f64) -> (f64, f64) {
        (0.5 * factor / l / second, second)
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let tau = self.tau.unwrap_or(0.3);
        if !(tau > 0.0 && tau <= 1.0) {
            return Err(out_of_range(self, "tau", tau, "a number in (0, 1]"));
        }
        let method = Odapg {
            step: step_or(self, self.step, 0.5 / tau, problem)?,
            tau,
            fast_mix: fast_mix(self, network.graph(), self.mixings, self.mixing)?,
        };
        run(method, problem, network)
    }
}
