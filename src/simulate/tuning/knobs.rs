//! What tuning may choose of a method, and over which values.

use super::significant;
use crate::graph::{Graph, Mixing, MixingKind};
use crate::problem::Problem;
use crate::rule::AlgorithmSpec;
use serde::{Deserialize, Serialize};

const STEPS: [f64; 13] = [
    0.1, 0.25, 0.5, 0.75, 1.0, 1.4, 1.9, 2.6, 3.6, 5.0, 7.0, 10.0, 14.0,
];
const MOMENTA: [f64; 8] = [0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 0.8];
const COUPLINGS: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.7];
const PENALTIES: [f64; 5] = [0.25, 0.5, 1.0, 1.5, 2.0];
const BETAS: [f64; 8] = [0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96];
const BLENDS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.95];
const CONVEXITIES: [f64; 7] = [1e-4, 4e-4, 1e-3, 4e-3, 1e-2, 4e-2, 0.1];
const ADMM_PENALTIES: [f64; 9] = [0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2];
const RELAXATIONS: [f64; 5] = [0.5, 0.65, 0.8, 0.9, 0.96];
const SIMILARITIES: [f64; 8] = [0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2];
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
    /// The second parameter where there is one (see [`AlgorithmSpec::second_mut`]), `μ` in units of `L`.
    second: f64,
    kind: MixingKind,
}

impl Candidate {
    /// The method with absolute parameters for `problem`; options that are given stay.
    pub fn at(&self, problem: &Problem) -> AlgorithmSpec {
        let l = self.unit.curvature(problem);
        let (step, second) = match self.method {
            // In units of every agent's own.
            AlgorithmSpec::Nids { .. }
            | AlgorithmSpec::DiagonalNids { .. }
            | AlgorithmSpec::AdGt { .. }
            | AlgorithmSpec::BbTracking { .. } => (self.factor, self.second),
            // Penalties are curvatures; the method's own unit is the mean.
            AlgorithmSpec::Admm { .. } | AlgorithmSpec::Sonata { .. } => {
                (self.factor * l / problem.smoothness_mean(), self.second)
            }
            // In theory η = 1/(2τL) …
            AlgorithmSpec::Odapg { .. } => (0.5 * self.factor / l / self.second, self.second),
            // … and η = 1/(4τL), where τ grows as √(μ/L).
            AlgorithmSpec::Opapc { .. } => {
                (0.5 * self.factor / l / self.second.sqrt(), self.second * l)
            }
            _ => (self.factor / l, self.second),
        };
        let mut method = self.method.clone();
        if let Some(option) = method.step_mut() {
            option.get_or_insert(step);
        }
        if let Some(option) = method.second_mut() {
            option.get_or_insert(second);
        }
        if let Some(mixing) = method.mixing_mut() {
            *mixing = self.kind;
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
    /// Ascending; one value where the method has no such option, or it is given.
    grid: &'static [f64],
    /// Where the search starts.
    start: f64,
}

/// The knobs of a method on a graph.
pub(super) struct Knobs {
    step: Knob,
    second: Knob,
    kinds: Vec<MixingKind>,
    /// The method with every choice of those counts and switches that were left out; counts ascending.
    variants: Vec<AlgorithmSpec>,
    /// Whether the step has a unit.
    units: bool,
    /// The largest number of gossip rounds, where there is a choice.
    most_mixings: Option<usize>,
}

impl Knobs {
    pub fn of(method: &AlgorithmSpec, graph: &Graph) -> Self {
        const HELD: Knob = Knob {
            name: "",
            grid: &[1.0],
            start: 1.0,
        };
        let left_out = |option: Option<&mut Option<f64>>| matches!(option, Some(None));
        let mut probe = method.clone();
        let (step_free, second_free) = (left_out(probe.step_mut()), left_out(probe.second_mut()));
        let (name, grid, start): (_, &'static [f64], _) = match method {
            AlgorithmSpec::Admm { .. } => ("penalty", &ADMM_PENALTIES, 0.15),
            AlgorithmSpec::Sonata { .. } => ("similarity", &SIMILARITIES, 0.4),
            _ => ("step", &STEPS, 1.0),
        };
        let step = match step_free {
            true => Knob { name, grid, start },
            false => HELD,
        };
        let (name, grid, start): (_, &'static [f64], _) = match method {
            AlgorithmSpec::Dapg { .. } => ("a", &MOMENTA, 0.15),
            AlgorithmSpec::Odapg { .. } => ("tau", &COUPLINGS, 0.2),
            AlgorithmSpec::Dlm { .. } => ("penalty", &PENALTIES, 1.0),
            AlgorithmSpec::DiagonalNids { .. } => ("blend", &BLENDS, 0.5),
            AlgorithmSpec::ProxEdMomentum { .. } => ("beta", &BETAS, 0.5),
            AlgorithmSpec::Opapc { .. } => ("mu", &CONVEXITIES, 4e-3),
            AlgorithmSpec::Admm { .. } => ("relaxation", &RELAXATIONS, 0.8),
            _ => (HELD.name, HELD.grid, HELD.start),
        };
        let second = match second_free {
            true => Knob { name, grid, start },
            false => HELD,
        };
        let mixings = mixings(method, graph);
        let free = matches!(method.clone().mixings_mut(), Some(None));
        Self {
            units: step_free
                && !matches!(
                    method,
                    AlgorithmSpec::Nids { .. }
                        | AlgorithmSpec::DiagonalNids { .. }
                        | AlgorithmSpec::AdGt { .. }
                        | AlgorithmSpec::BbTracking { .. }
                ),
            step,
            second,
            kinds: kinds(method, graph),
            most_mixings: mixings.last().copied().filter(|_| free),
            variants: variants(method, &mixings),
        }
    }

    /// Every second value of step and second parameter for the first mixing matrix and variant, those next to theory's first.
    pub fn start(&self) -> Vec<Candidate> {
        let mut grid = Vec::new();
        let thinned = |knob: &Knob| -> Vec<f64> {
            let centre = knob.grid.iter().position(|v| *v >= knob.start).unwrap_or(0);
            let places = 0..knob.grid.len();
            let kept = places.filter(|k| k.abs_diff(centre) % 2 == 0);
            kept.map(|k| knob.grid[k]).collect()
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
            (c.factor / self.step.start).ln().abs() + (c.second / self.second.start).ln().abs()
        };
        grid.sort_by(|a, b| away(a).total_cmp(&away(b)));
        grid
    }

    /// One step further on the lattice of all knobs, or a step in two of those that depend on each other.
    pub fn neighbors(&self, centre: &Candidate) -> Vec<Candidate> {
        let mut all = Vec::new();
        let moved = |centre: &Candidate, step: isize, second: isize| {
            Some(Candidate {
                factor: along(self.step.grid, centre.factor, step)?,
                second: along(self.second.grid, centre.second, second)?,
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
        if self.step.grid.len() > 1 {
            all.extend(REFINE.map(|scale| scaled(scale, 1.0)));
        }
        if self.second.grid.len() > 1 {
            all.extend(REFINE.map(|scale| scaled(1.0, scale)));
            if self.step.grid.len() > 1 {
                all.extend([
                    scaled(0.9, 0.9),
                    scaled(0.9, 1.1),
                    scaled(1.1, 0.9),
                    scaled(1.1, 1.1),
                ]);
            }
            // Momenta, couplings and relaxations lie below 1.
            let above = |v: f64| v < 1.0 || self.second.name == "penalty";
            all.retain(|c| above(c.second) || self.second.grid.len() == 1);
        }
        if self.units {
            let own = centre.unit.curvature(reference);
            // A penalty grows with the curvature, a step falls.
            let penalty = matches!(
                centre.method,
                AlgorithmSpec::Admm { .. } | AlgorithmSpec::Sonata { .. }
            );
            for unit in [StepUnit::Largest, StepUnit::Mean, StepUnit::MeanHessian] {
                if unit != centre.unit {
                    let ratio = unit.curvature(reference) / own;
                    let ratio = if penalty { 1.0 / ratio } else { ratio };
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
            let (first, last) = (knob.grid[0], knob.grid[knob.grid.len() - 1]);
            knob.grid.len() > 1 && (v <= first || v >= last)
        };
        // In other units a step has no place on the grid.
        if candidate.unit == StepUnit::Largest && outside(&self.step, candidate.factor) {
            names.push(self.step.name.to_string());
        }
        if outside(&self.second, candidate.second) {
            names.push(self.second.name.to_string());
        }
        if let (Some(most), Some(Some(own))) =
            (self.most_mixings, candidate.method.clone().mixings_mut())
            && *own == most
        {
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

/// Rounds of gossip to choose from: up to where its eigenvalues are all of one size.
fn mixings(method: &AlgorithmSpec, graph: &Graph) -> Vec<usize> {
    let gap = Mixing::new(graph, MixingKind::Fastest)
        .spectrum(graph)
        .map_or(1.0, |spectrum| spectrum.gap);
    let enough = (1.0 / gap.max(1e-4).sqrt()).ceil() as usize;
    let mut all = vec![1, 2, 3, 5, enough];
    // With one round it is Prox-ED.
    if matches!(method, AlgorithmSpec::ProxEdFast { .. }) {
        all.retain(|k| *k > 1);
        all.push(2);
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The method with every choice of those counts and switches that were left out.
fn variants(method: &AlgorithmSpec, mixings: &[usize]) -> Vec<AlgorithmSpec> {
    let all = with_all(vec![method.clone()], mixings, AlgorithmSpec::mixings_mut);
    with_all(all, &[false, true], AlgorithmSpec::restart_mut)
}

/// Every method once with each of the values, where it has the option and leaves it out.
fn with_all<T: Copy>(
    methods: Vec<AlgorithmSpec>,
    values: &[T],
    option: fn(&mut AlgorithmSpec) -> Option<&mut Option<T>>,
) -> Vec<AlgorithmSpec> {
    let mut all = Vec::new();
    for mut method in methods {
        if !matches!(option(&mut method), Some(None)) {
            all.push(method);
            continue;
        }
        for &value in values {
            let mut variant = method.clone();
            if let Some(left_out) = option(&mut variant) {
                *left_out = Some(value);
            }
            all.push(variant);
        }
    }
    all
}

/// The mixing matrices that a method may use, those that are the same on this graph counted once.
fn kinds(method: &AlgorithmSpec, graph: &Graph) -> Vec<MixingKind> {
    if let Some(given) = method.clone().mixing_mut()
        && *given != MixingKind::default()
    {
        return vec![*given];
    }
    let all: &[MixingKind] = match method {
        AlgorithmSpec::Dlm { .. } | AlgorithmSpec::Admm { .. } => {
            return vec![MixingKind::LazyMetropolis];
        }
        // Chebyshev gossip scales the spectrum itself.
        AlgorithmSpec::ProxEdFast { .. }
        | AlgorithmSpec::ProxEdMomentum { .. }
        | AlgorithmSpec::Opapc { .. } => &[
            MixingKind::Metropolis,
            MixingKind::Laplacian,
            MixingKind::Fastest,
        ],
        _ => &[
            MixingKind::LazyMetropolis,
            MixingKind::Metropolis,
            MixingKind::Laplacian,
            MixingKind::Fastest,
        ],
    };
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
        let count = |spec: GraphSpec| kinds(&method("ProxEd"), &spec.build(1).unwrap()).len();
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
                (knobs.step.start, knobs.second.start)
            );
            assert!(knobs.neighbors(first).len() > 5);
        }
    }
}
