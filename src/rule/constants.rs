//! `shared` without networks: its update with constants for coefficients. The strongest rung that asks for no training.

use super::{Constants, Shared, SharedRule};
use crate::algorithm::{AlgorithmError, Process, start};
use crate::method::{About, Method, Role, Setting, Value};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// The constants as written in RON; what is left out is [`Constants::default`]'s.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `P L_i`
    pub primal: Option<f64>,
    /// `β`
    pub momentum: Option<f64>,
    /// `δ`
    pub gradient_difference: Option<f64>,
    /// `γ`
    pub extrapolation: Option<f64>,
    /// `S`
    pub dual: Option<f64>,
    /// `C`
    pub mixing: Option<f64>,
    /// `θ`
    pub memory: Option<f64>,
}

impl Options {
    /// The constants, defaults filled in.
    pub fn constants(&self) -> Constants {
        let d = Constants::default();
        Constants {
            primal: self.primal.unwrap_or(d.primal),
            momentum: self.momentum.unwrap_or(d.momentum),
            gradient_difference: self.gradient_difference.unwrap_or(d.gradient_difference),
            extrapolation: self.extrapolation.unwrap_or(d.extrapolation),
            dual: self.dual.unwrap_or(d.dual),
            mixing: self.mixing.unwrap_or(d.mixing),
            memory: self.memory.unwrap_or(d.memory),
        }
    }
}

impl From<Constants> for Options {
    fn from(c: Constants) -> Self {
        Self {
            primal: Some(c.primal),
            momentum: Some(c.momentum),
            gradient_difference: Some(c.gradient_difference),
            extrapolation: Some(c.extrapolation),
            dual: Some(c.dual),
            mixing: Some(c.mixing),
            memory: Some(c.memory),
        }
    }
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "Constants"
    }

    fn about(&self) -> About {
        About {
            published: false,
            exact: true,
            solves_locally: false,
            any_regularizer: true,
        }
    }

    /// Tuned all at once, see `simulate::tuning`.
    fn settings(&mut self) -> Vec<Setting<'_>> {
        [
            ("primal", &mut self.primal),
            ("momentum", &mut self.momentum),
            ("gradient_difference", &mut self.gradient_difference),
            ("extrapolation", &mut self.extrapolation),
            ("dual", &mut self.dual),
            ("mixing", &mut self.mixing),
            ("memory", &mut self.memory),
        ]
        .map(|(name, value)| Setting {
            name,
            value: Value::Number(value),
            role: Role::Fixed,
        })
        .into()
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let shared = Shared::constant(self.constants());
        shared.check().map_err(|reason| AlgorithmError::Misfit {
            rule: self.name().into(),
            reason,
        })?;
        let rule = SharedRule::new(shared, network.graph())?;
        Ok(start(rule, problem, network))
    }
}
