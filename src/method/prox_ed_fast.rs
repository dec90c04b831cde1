//! Prox-ED with Chebyshev gossip: [`ProxEdMomentum`] with `β = 0`. `K` rounds per iteration.

use super::prox_ed_momentum::ProxEdMomentum;
use super::{
    About, Method, PUBLISHED, Role, SCALED_MIXINGS, STEPS, Scale, Setting, chebyshev, gossip,
    matrix, number, run, step_or,
};
use crate::algorithm::{AlgorithmError, Process};
use crate::graph::MixingKind;
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// Exact Diffusion with prox and Chebyshev gossip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `α`
    pub step: Option<f64>,
    /// Rounds of the gossip.
    pub mixings: Option<usize>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "ProxEdFast"
    }

    fn about(&self) -> About {
        About {
            published: false,
            ..PUBLISHED
        }
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            number("step", &mut self.step, Role::Step(STEPS, Scale::Step)),
            // With one round it is Prox-ED.
            gossip(&mut self.mixings, 2),
            matrix(&mut self.mixing, SCALED_MIXINGS),
        ]
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let rounds = Some(self.mixings.unwrap_or(2));
        let method = ProxEdMomentum {
            step: step_or(self, self.step, 1.0, problem)?,
            beta: 0.0,
            restart: false,
            gossip: chebyshev(self, network.graph(), rounds, self.mixing)?,
        };
        run(method, problem, network)
    }
}
