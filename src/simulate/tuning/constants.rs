//! The seven constants of the rules' own structure, tuned: the strongest rung that asks for no network.
//!
//! From several starts, those among them that are the tuned methods which the structure contains: a coordinate search, then random
//! moves of all constants at once, for they are coupled (more momentum wants a shorter dual step): a (1+1) evolution strategy with
//! the one-fifth rule.

use super::knobs::Candidate;
use super::race::Race;
use super::{Choice, TuneError, Tuned, significant};
use crate::graph::MixingKind;
use crate::random;
use crate::roster::AlgorithmSpec;
use crate::rule::Constants;
use rand_distr::{Distribution, StandardNormal};

/// One constant of the structure, by name.
struct Knob {
    name: &'static str,
    get: fn(&mut Constants) -> &mut f64,
    range: (f64, f64),
    /// Multiplied by these (where positive by nature), or these are added.
    moves: &'static [f64],
    multiplicative: bool,
}

impl Knob {
    /// Moves the constant, rounded and kept in range.
    fn set(&self, constants: &mut Constants, moved: impl Fn(f64) -> f64) {
        let value = (self.get)(constants);
        *value = significant(moved(*value).clamp(self.range.0, self.range.1));
    }
}

const KNOBS: [Knob; 7] = [
    Knob {
        name: "primal",
        get: |c| &mut c.primal,
        range: (0.2, 20.0),
        moves: &[0.6, 0.8, 1.2, 1.5],
        multiplicative: true,
    },
    Knob {
        name: "momentum",
        get: |c| &mut c.momentum,
        range: (0.0, 0.99),
        moves: &[-0.3, -0.1, 0.1, 0.2],
        multiplicative: false,
    },
    Knob {
        name: "dual",
        get: |c| &mut c.dual,
        range: (0.002, 4.0),
        moves: &[0.4, 0.7, 1.4, 2.0],
        multiplicative: true,
    },
    Knob {
        name: "extrapolation",
        get: |c| &mut c.extrapolation,
        range: (-0.5, 1.0),
        moves: &[-0.3, -0.1, 0.1, 0.3],
        multiplicative: false,
    },
    Knob {
        name: "mixing",
        get: |c| &mut c.mixing,
        range: (0.0, 1.8),
        moves: &[0.7, 0.85, 1.2, 1.4],
        multiplicative: true,
    },
    Knob {
        name: "memory",
        get: |c| &mut c.memory,
        range: (-0.5, 0.9),
        moves: &[-0.2, 0.1, 0.3],
        multiplicative: false,
    },
    Knob {
        name: "gradient_difference",
        get: |c| &mut c.gradient_difference,
        range: (-0.5, 1.0),
        moves: &[-0.2, 0.2],
        multiplicative: false,
    },
];

/// Joint moves of the coarse stage and of the fine one.
const JOINT_MOVES: [u64; 2] = [80, 120];

pub(super) fn spec_of(c: &Constants) -> AlgorithmSpec {
    AlgorithmSpec::Constants((*c).into())
}

/// A tuned Exact Diffusion with momentum `β`, in the structure's constants: `S = 1/P`, no extrapolation. The same method where all
/// `L_i` are equal and gossip takes one round; elsewhere close to it.
fn contained(candidate: &Candidate) -> Option<Constants> {
    let momentum = match candidate.method() {
        AlgorithmSpec::ProxEd(_) | AlgorithmSpec::Nids(_) => 0.0,
        AlgorithmSpec::ProxEdMomentum(_) => candidate.second(),
        _ => return None,
    };
    let lazy = match candidate.kind() {
        MixingKind::LazyMetropolis => 0.5,
        _ => 1.0,
    };
    Some(Constants {
        primal: candidate.factor,
        momentum,
        gradient_difference: 0.0,
        extrapolation: 0.0,
        dual: lazy / candidate.factor,
        mixing: lazy,
        memory: 0.0,
    })
}

/// Where the search starts: at the given constants; at high momentum, where the dual step has to be short, twice; at Exact Diffusion
/// with heavy-ball momentum; at the relatives.
pub(super) fn starts(method: &AlgorithmSpec, relatives: &[Tuned]) -> Vec<Constants> {
    let given = method.constants().unwrap_or_default();
    let start = |primal, momentum, extrapolation, dual| Constants {
        primal,
        momentum,
        extrapolation,
        dual,
        ..Constants::default()
    };
    let mut starts = vec![
        given,
        start(1.0, 0.8, 0.5, 0.3),
        start(1.5, 0.9, 0.5, 0.1),
        start(2.0, 0.4, 0.0, 0.5),
    ];
    starts.extend(all_contained(relatives));
    starts
}

/// The relatives that the structure contains, in its constants and within their ranges.
fn all_contained(relatives: &[Tuned]) -> impl Iterator<Item = Constants> {
    relatives.iter().filter_map(|tuned| {
        let Choice::Knobs(candidate) = &tuned.best else {
            return None;
        };
        let mut constants = contained(candidate)?;
        for knob in &KNOBS {
            knob.set(&mut constants, |v| v);
        }
        Some(constants)
    })
}

/// All starts; from the best two a coordinate search with long moves; joint moves.
pub(super) fn coarse(
    method: &AlgorithmSpec,
    relatives: &[Tuned],
    race: &mut Race<'_>,
) -> Result<(), TuneError> {
    let all = starts(method, relatives).into_iter().map(Choice::Constants);
    race.enter(all)?;
    for choice in race.ranked(2).into_iter().map(|raced| raced.choice) {
        let Choice::Constants(mut centre) = choice else {
            continue;
        };
        for length in [1.0, 0.5] {
            centre = sweep(race, centre, length)?;
        }
    }
    joint_moves(race, 0, JOINT_MOVES[0])
}

/// The relatives as they are now; from the best on short moves, joint moves.
pub(super) fn fine(relatives: &[Tuned], race: &mut Race<'_>) -> Result<(), TuneError> {
    race.enter(all_contained(relatives).map(Choice::Constants))?;
    for length in [0.5, 0.25] {
        if let Some(Choice::Constants(centre)) = race.best().map(|best| best.choice.clone()) {
            sweep(race, centre, length)?;
        }
    }
    joint_moves(race, JOINT_MOVES[0], JOINT_MOVES[1])
}

/// One coordinate after the other; the centre that it ends at.
fn sweep(race: &mut Race<'_>, mut centre: Constants, length: f64) -> Result<Constants, TuneError> {
    for knob in &KNOBS {
        let candidates = knob.moves.iter().map(|&m| {
            let mut candidate = centre;
            if knob.multiplicative {
                knob.set(&mut candidate, |v| v * m.powf(length));
            } else {
                knob.set(&mut candidate, |v| v + m * length);
            }
            candidate
        });
        let block: Vec<Constants> = std::iter::once(centre).chain(candidates).collect();
        race.enter(block.iter().map(|c| Choice::Constants(*c)))?;
        let among =
            race.best_among(|choice| matches!(choice, Choice::Constants(c) if block.contains(c)));
        if let Some(Choice::Constants(best)) = among {
            centre = *best;
        }
    }
    Ok(centre)
}

/// Moves of all constants at once from the best, four in a batch.
fn joint_moves(race: &mut Race<'_>, first: u64, count: u64) -> Result<(), TuneError> {
    let mut length: f64 = 0.2;
    for batch in 0..count / 4 {
        let Some(Choice::Constants(centre)) = race.best().map(|best| best.choice.clone()) else {
            return Ok(());
        };
        let block = (0..4).map(|k| {
            let mut rng = random::stream(0, "tuning/constants", &[first + 4 * batch + k]);
            let mut candidate = centre;
            for knob in &KNOBS {
                let draw: f64 = StandardNormal.sample(&mut rng);
                if knob.multiplicative {
                    knob.set(&mut candidate, |v| v * (length * draw).exp());
                } else {
                    knob.set(&mut candidate, |v| v + 0.3 * length * draw);
                }
            }
            Choice::Constants(candidate)
        });
        race.enter(block)?;
        let better = race.best().map(|best| &best.choice) != Some(&Choice::Constants(centre));
        // A success of one in five single moves is one of about six in ten batches.
        length = (length * if better { 1.3 } else { 0.8 }).clamp(0.02, 1.0);
    }
    Ok(())
}

/// Constants on the edge of their range.
pub(super) fn on_edge(choice: &Choice) -> Vec<String> {
    let Choice::Constants(constants) = choice else {
        return Vec::new();
    };
    let at_end = |knob: &&Knob| {
        let v = *(knob.get)(&mut constants.clone());
        v <= knob.range.0 || v >= knob.range.1
    };
    KNOBS
        .iter()
        .filter(at_end)
        .map(|knob| knob.name.to_string())
        .collect()
}
