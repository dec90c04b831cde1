//! One algorithm's result, the JSON object of `run` and `eval`; curves of several.

use super::output;
use serde::Serialize;
use starling::graph::Graph;
use starling::problem::{Optimum, Problem};
use starling::report::{Plot, Series};
use starling::roster::AlgorithmSpec;
use starling::simulate::{Sample, Status, Trace};
use std::collections::BTreeMap;

/// The JSON object of one algorithm on one problem.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    #[serde(flatten)]
    pub subject: Subject,
    pub status: String,
    pub diverged_at: Option<u64>,
    pub iterations: u64,
    pub rounds: u64,
    pub vectors_per_edge: u64,
    pub floats_sent: u64,
    pub bytes_sent: u64,
    pub gradient_evaluations: u64,
    pub local_solves: u64,
    /// Share of the safeguard's bounds that clipped a step.
    pub clipped: Option<f64>,
    /// Null without F*.
    pub gap: f64,
    /// Whether gaps are in units of F*, or absolute because F* is zero.
    pub gap_relative: bool,
    pub worst_gap: Option<f64>,
    pub gap_certificate: f64,
    /// Stationarity residual of the mean in units of the start's, where it was measured.
    pub residual: Option<f64>,
    pub consensus_error: Option<f64>,
    pub dual_drift: Option<f64>,
    pub objective: f64,
    pub optimum: Option<f64>,
    pub seconds: f64,
    pub rounds_to: BTreeMap<String, Option<u64>>,
}

/// What a record is about.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    pub algorithm: String,
    pub name: String,
    pub step_origin: String,
    pub problem: String,
    pub graph: String,
    pub seed: u64,
}

impl Subject {
    /// `algorithm` on `problem` and `graph`, which were drawn with `seed`.
    pub fn new(algorithm: &AlgorithmSpec, problem: &Problem, graph: &Graph, seed: u64) -> Self {
        Self {
            algorithm: algorithm.to_string(),
            name: algorithm.name(),
            step_origin: algorithm.step_origin().into(),
            problem: problem.name().into(),
            graph: graph.name().into(),
            seed,
        }
    }
}

/// What a plot shows of every sample.
pub struct Axes {
    pub x_label: &'static str,
    pub y_label: &'static str,
    pub point: fn(&Sample) -> Option<(f64, f64)>,
    /// Whether `y` is a gap, which is drawn as ≤ below its certificate.
    pub certified: bool,
}

pub const GAP_AGAINST_ROUNDS: Axes = Axes {
    x_label: "rounds",
    y_label: "relative optimality gap",
    point: |s| Some((s.rounds as f64, s.gap)),
    certified: true,
};

pub const RESIDUAL_AGAINST_ROUNDS: Axes = Axes {
    x_label: "rounds",
    y_label: "stationarity residual",
    point: |s| s.residual.map(|r| (s.rounds as f64, r)),
    certified: false,
};

/// One curve per record from its samples; `true` draws it thick.
pub fn plot<'a>(
    title: String,
    axes: &Axes,
    curves: impl IntoIterator<Item = (&'a Record, &'a [Sample], bool)>,
) -> Plot {
    let mut relative = true;
    let series: Vec<Series> = curves
        .into_iter()
        .map(|(record, samples, emphasis)| {
            relative &= record.gap_relative;
            Series {
                label: record.subject.name.clone(),
                points: samples.iter().filter_map(axes.point).collect(),
                floor: axes.certified.then_some(record.gap_certificate),
                emphasis,
            }
        })
        .collect();
    let y_label = if axes.certified && !relative {
        "absolute optimality gap (F* is zero)"
    } else {
        axes.y_label
    };
    Plot {
        title,
        x_label: axes.x_label.into(),
        y_label: y_label.into(),
        x_log: false,
        y_log: true,
        series,
    }
}

/// `1e-3` and so on, the keys of `rounds_to`.
pub fn target_key(target: f64) -> String {
    format!("{target:e}")
}

impl Record {
    pub fn new<'o>(
        subject: Subject,
        trace: &Trace,
        optimum: impl Into<Option<&'o Optimum>>,
    ) -> Self {
        let last = trace.last();
        let (status, diverged_at) = match trace.status {
            Status::Diverged { step } => ("Diverged".to_string(), Some(step)),
            other => (other.to_string(), None),
        };
        Self {
            subject,
            status,
            diverged_at,
            iterations: last.iteration,
            rounds: last.rounds,
            vectors_per_edge: last.vectors_per_edge,
            floats_sent: last.floats_sent,
            bytes_sent: 8 * last.floats_sent,
            gradient_evaluations: last.gradient_evaluations,
            local_solves: last.local_solves,
            clipped: trace.clipped,
            gap: last.gap,
            gap_relative: trace.relative,
            worst_gap: last.worst_gap,
            gap_certificate: trace.gap_certificate,
            residual: last.residual,
            consensus_error: last.consensus_error,
            dual_drift: last.dual_drift,
            objective: last.objective,
            optimum: optimum.into().map(|o| o.objective),
            seconds: last.seconds,
            rounds_to: trace
                .rounds_to
                .iter()
                .map(|(t, r)| (target_key(*t), *r))
                .collect(),
        }
    }

    /// What a gap is called: absolute ones are marked.
    fn gap_name(&self) -> &'static str {
        if self.gap_relative {
            "gap"
        } else {
            "absolute gap (F* is zero)"
        }
    }

    /// For people.
    pub fn print(&self) {
        let about = &self.subject;
        output::line(format!(
            "{} on {}, {}, seed {}",
            about.algorithm, about.problem, about.graph, about.seed
        ));
        let status = match self.diverged_at {
            Some(k) => format!("{} at iteration {k}", self.status),
            None => self.status.clone(),
        };
        let residual = self.residual.map(|r| format!("residual {r:.1e}"));
        let gap = self.optimum.map(|_| {
            let gap = output::gap(self.gap, self.gap_certificate);
            format!("{} {gap}", self.gap_name())
        });
        let how_far: Vec<String> = [gap, residual].into_iter().flatten().collect();
        let how_far = how_far.join(", ");
        output::line(format!(
            "  {status}: {how_far} after {} iterations, {} rounds, {} floats, {} s",
            self.iterations,
            self.rounds,
            self.floats_sent,
            output::number(self.seconds)
        ));
        let or_dash = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.1e}"));
        output::line(format!(
            "  objective {:.15e}, F* {}, consensus error {}, dual drift {}",
            self.objective,
            self.optimum
                .map_or("not asked for".into(), |f| format!("{f:.15e}")),
            or_dash(self.consensus_error),
            or_dash(self.dual_drift)
        ));
        let mut reached: Vec<_> = self
            .rounds_to
            .iter()
            .filter_map(|(t, r)| r.map(|r| (r, t)))
            .collect();
        // Targets are keys of JSON: the looser first, where the rounds are the same.
        let gap = |target: &str| target.parse().unwrap_or(0.0);
        reached.sort_by(|(r, t), (s, u)| r.cmp(s).then_with(|| f64::total_cmp(&gap(u), &gap(t))));
        let text: Vec<String> = reached.iter().map(|(r, t)| format!("{t}: {r}")).collect();
        if !text.is_empty() {
            let absolute = if self.gap_relative { "" } else { " (absolute)" };
            output::line(format!("  rounds to {}{absolute}", text.join(", ")));
        }
    }
}
