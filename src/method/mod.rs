//! Handcrafted methods: a file each, which opens with the update and ends with the options as written in RON: what their values may
//! be, what theory says where they are left out, what of them is tuned, and how the method starts.
//!
//! A method is one file and one row in [`crate::roster`]. [`Method`] is all that the roster, the tuner and the tables know of it.

mod abc;
mod adaptive_tracking;
mod admm;
mod chebyshev;
mod dapg;
mod diagonal_nids;
mod fast_mix;
mod local_solve;
mod nids;
mod odapg;
mod opapc;
pub mod options;
mod prox_dgd;
mod prox_ed_fast;
mod prox_ed_momentum;
mod sonata;

pub use abc::{Abc, AbcKind};

use crate::algorithm::{Algorithm, AlgorithmError, Process, start};
use crate::field::Field;
use crate::graph::{Graph, Mixing, MixingKind};
use crate::network::Network;
use crate::problem::Problem;
use chebyshev::Chebyshev;
use fast_mix::FastMix;

/// What a method is, in a word each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Published, the prox aside where the paper treats `r = 0`; else our own, or a published method with something added.
    pub published: bool,
    /// Its limit is the optimum.
    pub exact: bool,
    /// Agents minimise by themselves in every iteration: worth many gradients.
    pub solves_locally: bool,
    /// Takes every problem; else smooth ones only.
    pub any_regularizer: bool,
}

/// A published, exact method with one gradient per iteration, for every problem.
pub(crate) const PUBLISHED: About = About {
    published: true,
    exact: true,
    solves_locally: false,
    any_regularizer: true,
};

/// An option of a method.
pub struct Setting<'a> {
    /// As in RON.
    pub name: &'static str,
    /// Where it stands, left out or given.
    pub value: Value<'a>,
    /// What tuning does with it.
    pub role: Role,
}

/// The value of an option.
pub enum Value<'a> {
    /// A number.
    Number(&'a mut Option<f64>),
    /// A count.
    Count(&'a mut Option<usize>),
    /// A switch.
    Switch(&'a mut Option<bool>),
    /// The mixing matrix; its default counts as left out.
    Mixing(&'a mut MixingKind),
}

/// What tuning does with an option that is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// The step, or what stands in its place, over a grid in a [`Scale`].
    Step(Grid, Scale),
    /// A second number, over a grid; `below_one`: it has no sense from 1 on.
    Second {
        /// The values.
        grid: Grid,
        /// Whether only numbers below 1 make sense.
        below_one: bool,
    },
    /// Rounds of one gossip, from so many on.
    Gossip(usize),
    /// Both values are tried.
    Switch,
    /// The mixing matrices are tried.
    Mixing(&'static [MixingKind]),
    /// Nothing.
    Fixed,
}

/// Values to try, ascending, and where theory would start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The values.
    pub values: &'static [f64],
    /// Where the search starts.
    pub start: f64,
}

/// How a tuned step carries over from problem to problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// It falls as the curvature grows.
    Step,
    /// It grows with the curvature.
    Penalty,
    /// The method scales it by every agent's own.
    Own,
}

/// Steps in units of `1/L`.
pub(crate) const STEPS: Grid = Grid {
    values: &[
        0.1, 0.25, 0.5, 0.75, 1.0, 1.4, 1.9, 2.6, 3.6, 5.0, 7.0, 10.0, 14.0,
    ],
    start: 1.0,
};
/// Every mixing matrix that averages.
const MIXINGS: &[MixingKind] = &[
    MixingKind::LazyMetropolis,
    MixingKind::Metropolis,
    MixingKind::Laplacian,
    MixingKind::Fastest,
];
/// Those that make a difference to Chebyshev gossip, which scales the spectrum itself.
const SCALED_MIXINGS: &[MixingKind] = &[
    MixingKind::Metropolis,
    MixingKind::Laplacian,
    MixingKind::Fastest,
];
/// The most rounds of one gossip: an iteration cannot be interrupted.
const MAX_MIXINGS: usize = 1_000;

/// A handcrafted method with its options.
pub trait Method {
    /// As in RON.
    fn name(&self) -> &'static str;

    /// What kind of method it is.
    fn about(&self) -> About;

    /// The options in the order of reports, the step first.
    fn settings(&mut self) -> Vec<Setting<'_>>;

    /// Step and second parameter in the method's own units from tuned ones: `factor` as its [`Scale`] says, `l` the curvature that
    /// it is scaled by, `mean` the mean of the `L_i`.
    fn absolute(&self, factor: f64, second: f64, l: f64, mean: f64) -> (f64, f64) {
        let _ = mean;
        (factor / l, second)
    }

    /// Puts the method to work.
    ///
    /// # Errors
    /// An option outside its range, a problem that the method cannot take.
    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError>;
}

/// Step in units of `1/L` and mixing matrix: what many methods have.
fn step_and_mixing<'a>(
    step: &'a mut Option<f64>,
    scale: Scale,
    mixing: &'a mut MixingKind,
) -> Vec<Setting<'a>> {
    vec![
        number("step", step, Role::Step(STEPS, scale)),
        matrix(mixing, MIXINGS),
    ]
}

fn number<'a>(name: &'static str, value: &'a mut Option<f64>, role: Role) -> Setting<'a> {
    Setting {
        name,
        value: Value::Number(value),
        role,
    }
}

fn second<'a>(
    name: &'static str,
    value: &'a mut Option<f64>,
    values: &'static [f64],
    start: f64,
) -> Setting<'a> {
    let grid = Grid { values, start };
    number(
        name,
        value,
        Role::Second {
            grid,
            below_one: true,
        },
    )
}

fn gossip(value: &mut Option<usize>, least: usize) -> Setting<'_> {
    Setting {
        name: "mixings",
        value: Value::Count(value),
        role: Role::Gossip(least),
    }
}

fn matrix<'a>(value: &'a mut MixingKind, kinds: &'static [MixingKind]) -> Setting<'a> {
    Setting {
        name: "mixing",
        value: Value::Mixing(value),
        role: Role::Mixing(kinds),
    }
}

/// Starts `algorithm`.
fn run<A: Algorithm + 'static>(
    algorithm: A,
    problem: &Problem,
    network: &mut Network,
) -> Result<Box<dyn Process>, AlgorithmError> {
    Ok(start(algorithm, problem, network))
}

fn out_of_range(
    of: &impl Method,
    option: &'static str,
    found: f64,
    expected: &'static str,
) -> AlgorithmError {
    AlgorithmError::Option {
        algorithm: of.name().into(),
        option,
        found,
        expected,
    }
}

fn positive(of: &impl Method, option: &'static str, value: f64) -> Result<f64, AlgorithmError> {
    match value {
        v if v.is_finite() && v > 0.0 => Ok(v),
        v => Err(out_of_range(of, option, v, "a finite number > 0")),
    }
}

/// The step, `factor/L` where none is given.
fn step_or(
    of: &impl Method,
    step: Option<f64>,
    factor: f64,
    problem: &Problem,
) -> Result<f64, AlgorithmError> {
    positive(
        of,
        "step",
        step.unwrap_or(factor / problem.smoothness_max()),
    )
}

fn mixings(of: &impl Method, mixings: usize) -> Result<usize, AlgorithmError> {
    match mixings {
        m if (1..=MAX_MIXINGS).contains(&m) => Ok(m),
        m => Err(out_of_range(of, "mixings", m as f64, "1 to 1000")),
    }
}

/// FastMix of so many rounds, one where none are given.
fn fast_mix(
    of: &impl Method,
    graph: &Graph,
    rounds: Option<usize>,
    kind: MixingKind,
) -> Result<FastMix, AlgorithmError> {
    let rounds = mixings(of, rounds.unwrap_or(1))?;
    let mixing = Mixing::new(graph, kind);
    let sigma = mixing.spectrum(graph)?.sigma;
    Ok(FastMix::new(sigma, rounds, mixing.edge_weights()))
}

/// Chebyshev gossip; without `rounds`, `⌊√(λ_max/λ_2)⌋` of them, after which the eigenvalues of the gossip are all of one size.
fn chebyshev(
    of: &impl Method,
    graph: &Graph,
    rounds: Option<usize>,
    kind: MixingKind,
) -> Result<Chebyshev, AlgorithmError> {
    let mixing = Mixing::new(graph, kind);
    let spectrum = mixing.spectrum(graph)?;
    let root = (spectrum.laplacian_max / (1.0 - spectrum.lambda_2)).sqrt();
    let rounds = mixings(of, rounds.unwrap_or((root as usize).clamp(1, MAX_MIXINGS)))?;
    Ok(Chebyshev::new(&spectrum, rounds, mixing.edge_weights()))
}

/// `out_i = prox_{step·r}(v_i)` for every agent.
fn prox_rows(problem: &Problem, step: f64, v: &Field, out: &mut Field) {
    let r = *problem.regularizer();
    out.for_each_row(|i, row| {
        for (o, &v) in row.iter_mut().zip(v.row(i)) {
            *o = r.prox(step, v);
        }
    });
}
