//! What tuning may choose of a method, and over which values.

use super::significant;
use crate::graph::{Graph, Mixing, MixingKind};
use crate::method::{Grid, Role, Scale, Value};
use crate::problem::Problem;
use crate::roster::AlgorithmSpec;
use serde::{Deserialize, Serialize};

/// Steps around the best of the coarse stage.
const REFINE: [f64; 4] = [0.8, 0.9, 1.1, 1.22];

/// What a step is measured in: which of them carries over best depends on how agents differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepUnit {
    /// `1/max_i L_i`
    Largest,
    /// `1/L̄`, `L̄ = (1/n) Σ_i L_i`
    Mean,
    /// `1/λ_max` of the mean of the agents' Hessians
    MeanHessian,
}

impl StepUnit {
    /// The curvature that a step is divided by.
    fn curvature(self, problem: &Problem) -> f64 {
        match self {
            Self::Largest => problem.smoothness_max(),
            Self::Mean => problem.smoothness_mean(),
            Self::MeanHessian => problem.smoothness_of_mean(),
        }
    }
}

/// A method with parameters in units that carry over between problems of one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Candidate {
    method: AlgorithmSpec,
    /// Step, or penalty, in its unit.
    pub factor: f64,
    unit: StepUnit,
    /// The second parameter where there is one ([`Role::Second`]), in the unit of the method's grid.
    second: f64,
    kind: MixingKind,
}

impl Candidate {
    /// The method with absolute parameters for `problem`; options that are given stay.
    pub fn at(&self, problem: &Problem) -> AlgorithmSpec {
        let (l, mean) = (self.unit.curvature(problem), problem.smoothness_mean());
        let (step, second) = self.method.absolute(self.factor, self.second, l, mean);
        let mut method = self.method.clone();
        for setting in method.settings() {
            match (setting.role, setting.value) {
                (Role::Step(..), Value::Number(value)) => {
                    value.get_or_insert(step);
                }
                (Role::Second { .. }, Value::Number(value)) => {
                    value.get_or_insert(second);
                }
                (Role::Mixing(_), Value::Mixing(kind)) => *kind = self.kind,
                _ => {}
            }
        }
        method
    }

    /// The candidate with its step multiplied.
    pub fn scaled(&self, scale: f64) -> Self {
        Self {
            factor: significant(self.factor * scale),
            ..self.clone()
        }
    }

    pub fn method(&self) -> &AlgorithmSpec {
        &self.method
    }

    pub fn second(&self) -> f64 {
        self.second
    }

    pub fn kind(&self) -> MixingKind {
        self.kind
    }
}

/// A number that is tuned.
struct Knob {
    /// In messages.
    name: &'static str,
    /// One value where the method has no such option, or it is given.
    grid: Grid,
    /// Whether only numbers below 1 make sense.
    below_one: bool,
}

/// The knobs of a method on a graph.
pub(super) struct Knobs {
    step: Knob,
    second: Knob,
    kinds: Vec<MixingKind>,
    /// The method with every choice of those counts and switches that were left out; counts ascending.
    variants: Vec<AlgorithmSpec>,
    /// How the step carries over, where it is free.
    scale: Option<Scale>,
    /// The largest number of gossip rounds, where there is a choice.
    most_mixings: Option<usize>,
}

impl Knobs {
    pub fn of(method: &AlgorithmSpec, graph: &Graph) -> Self {
        let held = || Knob {
            name: "",
            grid: Grid {
                values: &[1.0],
                start: 1.0,
            },
            below_one: false,
        };
        let mut knobs = Self {
            step: held(),
            second: held(),
            kinds: vec![MixingKind::default()],
            variants: vec![method.clone()],
            scale: None,
            most_mixings: None,
        };
        let mut probe = method.clone();
        for setting in probe.settings() {
            let name = setting.name;
            match (setting.role, setting.value) {
                (Role::Step(grid, scale), Value::Number(None)) => {
                    knobs.step = Knob {
                        name,
                        grid,
                        below_one: false,
                    };
                    knobs.scale = Some(scale);
                }
                (Role::Second { grid, below_one }, Value::Number(None)) => {
                    knobs.second = Knob {
                        name,
                        grid,
                        below_one,
                    };
                }
                (Role::Mixing(all), Value::Mixing(given)) => {
                    knobs.kinds = match *given == MixingKind::default() {
                        true => kinds(all, graph),
                        false => vec![*given],
                    };
                }
                (Role::Gossip(least), Value::Count(None)) => {
                    let rounds = mixings(least, graph);
                    knobs.most_mixings = rounds.last().copied();
                    knobs.variants = with_all(&knobs.variants, name, &rounds, |value, rounds| {
                        if let Value::Count(count) = value {
                            *count = Some(rounds);
                        }
                    });
                }
                (Role::Switch, Value::Switch(None)) => {
                    let both = [false, true];
                    knobs.variants = with_all(&knobs.variants, name, &both, |value, on| {
                        if let Value::Switch(switch) = value {
                            *switch = Some(on);
                        }
                    });
                }
                _ => {}
            }
        }
        // Counts before switches, as the search walks them.
        knobs.variants.sort_by_key(gossip_of);
        knobs
    }

    /// Every second value of step and second parameter for the first mixing matrix and variant, those next to theory's first.
    pub fn start(&self) -> Vec<Candidate> {
        let mut grid = Vec::new();
        let thinned = |knob: &Knob| -> Vec<f64> {
            let grid = knob.grid.values;
            let centre = grid.iter().position(|v| *v >= knob.grid.start).unwrap_or(0);
            let places = 0..grid.len();
            let kept = places.filter(|k| k.abs_diff(centre) % 2 == 0);
            kept.map(|k| grid[k]).collect()
        };
        for factor in thinned(&self.step) {
            for second in thinned(&self.second) {
                grid.push(Candidate {
                    method: self.variants[0].clone(),
                    factor,
                    unit: StepUnit::Largest,
                    second,
                    kind: self.kinds[0],
                });
            }
        }
        let away = |c: &Candidate| {
            (c.factor / self.step.grid.start).ln().abs()
                + (c.second / self.second.grid.start).ln().abs()
        };
        grid.sort_by(|a, b| away(a).total_cmp(&away(b)));
        grid
    }

    /// One step further on the lattice of all knobs, or a step in two of those that depend on each other.
    pub fn neighbors(&self, centre: &Candidate) -> Vec<Candidate> {
        let mut all = Vec::new();
        let moved = |centre: &Candidate, step: isize, second: isize| {
            Some(Candidate {
                factor: along(self.step.grid.values, centre.factor, step)?,
                second: along(self.second.grid.values, centre.second, second)?,
                ..centre.clone()
            })
        };
        for (step, second) in [
            (-1, 0),
            (1, 0),
            (0, -1),
            (0, 1),
            (-2, 0),
            (2, 0),
            (-1, -1),
            (1, -1),
            (-1, 1),
            (1, 1),
        ] {
            all.extend(moved(centre, step, second));
        }
        // Another matrix, more gossip or a restart wants another step.
        for &kind in self.kinds.iter().filter(|kind| **kind != centre.kind) {
            let other = Candidate {
                kind,
                ..centre.clone()
            };
            all.extend(
                [-1, 0, 1]
                    .map(|step| moved(&other, step, 0))
                    .into_iter()
                    .flatten(),
            );
        }
        for method in self.variants.iter().filter(|m| **m != centre.method) {
            let other = Candidate {
                method: method.clone(),
                ..centre.clone()
            };
            all.extend(
                [-1, 0, 1]
                    .map(|step| moved(&other, step, 0))
                    .into_iter()
                    .flatten(),
            );
        }
        all
    }

    /// Small changes of step and second parameter; the same step in other units, as they compare on `reference`.
    pub fn refined(&self, centre: &Candidate, reference: &Problem) -> Vec<Candidate> {
        let mut all = Vec::new();
        let scaled = |step: f64, second: f64| Candidate {
            factor: significant(centre.factor * step),
            second: significant(centre.second * second),
            ..centre.clone()
        };
        if self.step.grid.values.len() > 1 {
            all.extend(REFINE.map(|scale| scaled(scale, 1.0)));
        }
        if self.second.grid.values.len() > 1 {
            all.extend(REFINE.map(|scale| scaled(1.0, scale)));
            if self.step.grid.values.len() > 1 {
                all.extend([
                    scaled(0.9, 0.9),
                    scaled(0.9, 1.1),
                    scaled(1.1, 0.9),
                    scaled(1.1, 1.1),
                ]);
            }
            // Momenta, couplings and relaxations lie below 1.
            let above = |v: f64| v < 1.0 || !self.second.below_one;
            all.retain(|c| above(c.second) || self.second.grid.values.len() == 1);
        }
        if let Some(scale) = self.scale.filter(|scale| *scale != Scale::Own) {
            let own = centre.unit.curvature(reference);
            for unit in [StepUnit::Largest, StepUnit::Mean, StepUnit::MeanHessian] {
                if unit != centre.unit {
                    let ratio = unit.curvature(reference) / own;
                    let ratio = if scale == Scale::Penalty {
                        1.0 / ratio
                    } else {
                        ratio
                    };
                    all.push(Candidate {
                        factor: significant(centre.factor * ratio),
                        unit,
                        ..centre.clone()
                    });
                }
            }
        }
        all
    }

    /// Knobs whose value lies on the edge of the grid, or beyond.
    pub fn on_edge(&self, candidate: &Candidate) -> Vec<String> {
        let mut names = Vec::new();
        let outside = |knob: &Knob, v: f64| {
            let grid = knob.grid.values;
            let (first, last) = (grid[0], grid[grid.len() - 1]);
            grid.len() > 1 && (v <= first || v >= last)
        };
        // In other units a step has no place on the grid.
        if candidate.unit == StepUnit::Largest && outside(&self.step, candidate.factor) {
            names.push(self.step.name.to_string());
        }
        if outside(&self.second, candidate.second) {
            names.push(self.second.name.to_string());
        }
        if self.most_mixings == Some(gossip_of(&candidate.method)) {
            names.push("mixings".into());
        }
        names
    }
}

/// The value so many places further.
fn along(grid: &[f64], value: f64, places: isize) -> Option<f64> {
    let at = grid.iter().position(|v| *v == value)?;
    grid.get(at.checked_add_signed(places)?).copied()
}

/// Rounds of the gossip, 0 where they are left out or there is none.
fn gossip_of(method: &AlgorithmSpec) -> usize {
    let mut probe = method.clone();
    let rounds = probe.settings().into_iter().find_map(|s| match s.value {
        Value::Count(count) => *count,
        _ => None,
    });
    rounds.unwrap_or(0)
}

/// Rounds of gossip to choose from: up to where its eigenvalues are all of one size.
fn mixings(least: usize, graph: &Graph) -> Vec<usize> {
    let gap = Mixing::new(graph, MixingKind::Fastest)
        .spectrum(graph)
        .map_or(1.0, |spectrum| spectrum.gap);
    let enough = (1.0 / gap.max(1e-4).sqrt()).ceil() as usize;
    let mut all = vec![least, 2, 3, 5, enough];
    all.retain(|rounds| *rounds >= least);
    all.sort_unstable();
    all.dedup();
    all
}

/// Every method once with each of the values for the option of this name.
fn with_all<T: Copy>(
    methods: &[AlgorithmSpec],
    name: &str,
    values: &[T],
    set: impl Fn(Value<'_>, T),
) -> Vec<AlgorithmSpec> {
    let with = |method: &AlgorithmSpec, value: T| {
        let mut variant = method.clone();
        for setting in variant.settings().into_iter().filter(|s| s.name == name) {
            set(setting.value, value);
        }
        variant
    };
    let each = methods.iter();
    each.flat_map(|m| values.iter().map(|v| with(m, *v)).collect::<Vec<_>>())
        .collect()
}

/// The mixing matrices of the list, those that are the same on this graph counted once.
fn kinds(all: &[MixingKind], graph: &Graph) -> Vec<MixingKind> {
    let mut distinct: Vec<Mixing> = Vec::new();
    for kind in all {
        let mixing = Mixing::new(graph, *kind);
        let same = |other: &Mixing| {
            other
                .edge_weights()
                .iter()
                .zip(mixing.edge_weights())
                .all(|(a, b)| (a - b).abs() <= 1e-6 * b)
        };
        if !distinct.iter().any(same) {
            distinct.push(mixing);
        }
    }
    distinct.iter().map(Mixing::kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphSpec;

    fn method(text: &str) -> AlgorithmSpec {
        AlgorithmSpec::parse("method", text).unwrap()
    }

    #[test]
    fn mixing_matrices_that_coincide_count_once() {
        let count = |spec: GraphSpec| {
            Knobs::of(&method("ProxEd"), &spec.build(1).unwrap())
                .kinds
                .len()
        };
        // On a ring all edges are alike, so that the fastest weights are the best constant.
        assert_eq!(count(GraphSpec::Ring(8)), 3);
        assert_eq!(
            count(GraphSpec::ErdosRenyi {
                agents: 10,
                probability: 0.4
            }),
            4
        );
    }

    #[test]
    fn gossip_goes_as_far_as_the_graph_asks() {
        let knobs = |text, graph: GraphSpec| Knobs::of(&method(text), &graph.build(1).unwrap());
        // 1/√gap of the fastest weights on a ring of 30: 1 + cos(2π/15) over … is about 46.
        let ring = knobs("Dapg", GraphSpec::Ring(30));
        assert!(
            ring.most_mixings.is_some_and(|most| most > 5),
            "{:?}",
            ring.most_mixings
        );
        assert_eq!(ring.variants.len(), 5);
        assert_eq!(knobs("ProxEd", GraphSpec::Ring(30)).variants.len(), 1);
        let held = knobs(
            "ProxEdMomentum(restart: true, mixings: 2)",
            GraphSpec::Ring(30),
        );
        assert_eq!((held.variants.len(), held.most_mixings), (1, None));
    }

    #[test]
    fn the_search_starts_at_theory() {
        let graph = GraphSpec::Ring(5).build(1).unwrap();
        for text in ["ProxEd", "Dapg", "Admm", "Sonata", "ProxEdMomentum"] {
            let knobs = Knobs::of(&method(text), &graph);
            let first = &knobs.start()[0];
            assert_eq!(
                (first.factor, first.second),
                (knobs.step.grid.start, knobs.second.grid.start)
            );
            assert!(knobs.neighbors(first).len() > 5);
        }
    }
}
