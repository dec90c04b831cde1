//! What the benchmarks measure on: LASSO problems with 10 rows per agent on a ring, and untrained rules.
#![allow(dead_code)]

use burn::tensor::{DType, Device};
use starling::graph::{Graph, GraphSpec};
use starling::problem::{Optimum, Problem, ProblemSpec, Role};
use starling::ron::parse_ron;
use starling::rule::{Constants, Milodo, Shared, shared::Ranges};
use starling::train::batch::{Batch, Place};
use starling::train::chunks::chunk_size;
use starling::train::milodo::MilodoModule;
use starling::train::shared::{self, SharedModule};
use starling::train::unroll::RuleModule;

/// f32 on the CPU.
pub fn place() -> Place {
    Place {
        device: Device::flex(),
        dtype: DType::F32,
    }
}

pub fn ring(agents: usize) -> Graph {
    let spec: GraphSpec = parse_ron("graph", &format!("Ring({agents})")).expect("legal");
    spec.build(1).expect("a ring")
}

pub fn lasso(agents: usize, dimension: usize, role: Role, trial: u64) -> Problem {
    let text = format!("Lasso(dimension: {dimension}, rows: 10, l1: 0.1)");
    let family: ProblemSpec = parse_ron("family", &text).expect("legal");
    family.sample(agents, 1, role, trial).expect("sampled")
}

/// A batch in chunks for a rule of one kind. Its optima are not solved for: the meta-loss is the published `F(x̄)`.
pub fn chunks<M: RuleModule>(graph: &Graph, dimension: usize, problems: usize) -> Vec<Batch> {
    let sampled: Vec<_> = (0..problems as u64)
        .map(|trial| {
            let optimum = Optimum {
                x: vec![0.0; dimension],
                objective: 1.0,
                certificate: 0.0,
                rounding: 0.0,
                certificate_kind: String::new(),
                solver: String::new(),
                nonzeros: 0,
                kkt_residual: 0.0,
            };
            let problem = lasso(graph.agents(), dimension, Role::Train, trial);
            (problem, optimum)
        })
        .collect();
    sampled
        .chunks(chunk_size(
            M::CHUNK,
            graph.agents(),
            dimension,
            sampled.len(),
        ))
        .map(|part| Batch::new(graph, part, &place()).expect("a batch"))
        .collect()
}

/// An untrained `shared` rule: its speed is that of any other.
pub fn shared_rule() -> Shared {
    shared::initial(Constants::default(), Ranges::default(), &[16, 16], 100, 1)
}

pub fn shared_module(track_features: bool) -> SharedModule {
    let place = place();
    SharedModule::new(&shared_rule(), &place.device, place.dtype, track_features)
}

pub fn milodo_module(graph: &Graph) -> MilodoModule {
    let (rule, place) = (Milodo::initial(graph, 0.05, 1), place());
    MilodoModule::new(&rule, &place.device, place.dtype)
}
