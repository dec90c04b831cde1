//! Communication graphs: who may talk to whom, and with which weights a round averages.
//!
//! A [`Graph`] is undirected, connected and simple. [`GraphSpec`] names the families it can be built from,
//! [`Mixing`] turns it into a symmetric doubly stochastic matrix `W`, [`Spectrum`] says how fast `W` averages,
//! and [`svg`] draws it.

mod draw;
mod fastest;
mod mixing;
mod spectrum;
mod topology;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::OnceLock;

use petgraph::unionfind::UnionFind;
use rayon::prelude::*;

pub use draw::svg;
pub use mixing::{Mixing, MixingKind};
pub use spectrum::Spectrum;
pub use topology::GraphSpec;

/// Bounds that turn a mistyped size into a message instead of an exhausted memory.
const MAX_AGENTS: usize = 1_000_000;
const MAX_EDGES: usize = 10_000_000;
/// Beyond this many agents a search from every one of them takes minutes.
const EXACT_DIAMETER_AGENTS: usize = 20_000;

/// Why a graph could not be built or analysed.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error("graph {graph} has no agents; expected at least 1")]
    NoAgents { graph: String },
    #[error(
        "graph {graph}: edge ({agent}, {agent}) joins an agent to itself; expected two different agents"
    )]
    SelfLoop { graph: String, agent: usize },
    #[error("graph {graph}: edge ({}, {}) leaves the range of agents; expected numbers from 0 to {}", edge.0, edge.1, agents - 1)]
    OutOfRange {
        graph: String,
        edge: (usize, usize),
        agents: usize,
    },
    #[error(
        "graph {graph} is disconnected: it falls into {components} components, and agent {unreachable} cannot be \
         reached from agent 0; expected a connected graph"
    )]
    Disconnected {
        graph: String,
        components: usize,
        unreachable: usize,
    },
    #[error("graph {graph}: {parameter} is {found}; expected {expected}")]
    Parameter {
        graph: String,
        parameter: &'static str,
        found: String,
        expected: String,
    },
    #[error(
        "graph {graph}: none of {attempts} random draws was connected; expected a denser graph or another seed"
    )]
    NeverConnected { graph: String, attempts: u64 },
    #[error("cannot read the edge list {}: {source}", file.display())]
    Read {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line}: found `{found}`; expected {expected}", file.display())]
    EdgeLine {
        file: PathBuf,
        line: usize,
        found: String,
        expected: &'static str,
    },
    #[error("{} holds no edge; expected lines `i j`, one edge each", file.display())]
    NoEdges { file: PathBuf },
    #[error(
        "the mixing matrix has {weights} edge weights, graph {graph} has {edges} edges; expected its own graph"
    )]
    Mismatch {
        graph: String,
        edges: usize,
        weights: usize,
    },
    #[error(
        "graph {graph}: the extreme eigenvalues did not settle within {iterations} Lanczos steps"
    )]
    Eigenvalues { graph: String, iterations: usize },
}

/// One end of an edge, as seen from the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The agent at the far end.
    pub agent: usize,
    /// The position of the edge in [`Graph::edges`].
    pub edge: usize,
}

/// An undirected, connected, simple graph of agents `0..agents`.
#[derive(Clone, Debug)]
pub struct Graph {
    name: String,
    edges: Vec<(usize, usize)>,
    neighbors: Vec<Vec<Neighbor>>,
    layout: Layout,
    /// The weights of [`MixingKind::Fastest`], once someone has asked for them.
    fastest: OnceLock<Vec<f64>>,
}

/// What the family of a graph knows about drawing it.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Nothing: look at the topology.
    Free,
    /// Agents stand on a circle in their order.
    Circle,
    /// Agents stand row by row on a lattice.
    Lattice { columns: usize },
}

impl Graph {
    /// The graph with the given edges; repeated edges count once, whichever way round they are written.
    ///
    /// # Errors
    /// No agents or too many, a self loop, an end outside `0..agents`, or more than one component.
    pub fn from_edges(
        name: impl Into<String>,
        agents: usize,
        edges: impl IntoIterator<Item = (usize, usize)>,
    ) -> Result<Graph, GraphError> {
        let graph = name.into();
        if agents == 0 {
            return Err(GraphError::NoAgents { graph });
        }
        if agents > MAX_AGENTS {
            return Err(GraphError::Parameter {
                graph,
                parameter: "the number of agents",
                found: agents.to_string(),
                expected: format!("at most {MAX_AGENTS}"),
            });
        }
        let mut ordered = Vec::new();
        for (i, j) in edges {
            if i >= agents || j >= agents {
                let edge = (i, j);
                return Err(GraphError::OutOfRange {
                    graph,
                    edge,
                    agents,
                });
            }
            if i == j {
                return Err(GraphError::SelfLoop { graph, agent: i });
            }
            ordered.push((i.min(j), i.max(j)));
        }
        ordered.sort_unstable();
        ordered.dedup();

        let mut sets = UnionFind::<usize>::new(agents);
        let joins = ordered.iter().filter(|&&(i, j)| sets.union(i, j)).count();
        if let Some(unreachable) = (1..agents).find(|&i| !sets.equiv(0, i)) {
            return Err(GraphError::Disconnected {
                graph,
                components: agents - joins,
                unreachable,
            });
        }

        // Edges are sorted, so every list comes out ascending: first the smaller neighbours, then the larger.
        let mut neighbors = vec![Vec::new(); agents];
        for (edge, &(i, j)) in ordered.iter().enumerate() {
            neighbors[j].push(Neighbor { agent: i, edge });
        }
        for (edge, &(i, j)) in ordered.iter().enumerate() {
            neighbors[i].push(Neighbor { agent: j, edge });
        }
        Ok(Graph {
            name: graph,
            edges: ordered,
            neighbors,
            layout: Layout::Free,
            fastest: OnceLock::new(),
        })
    }

    /// The name given at construction; a [`GraphSpec`] gives its own text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of agents.
    pub fn agents(&self) -> usize {
        self.neighbors.len()
    }

    /// The undirected edges `(i, j)` with `i < j`, ascending: the order of every edge field `[edges, dimension]`.
    pub fn edges(&self) -> &[(usize, usize)] {
        &self.edges
    }

    /// The number of neighbours of agent `i`; panics unless `i < agents`.
    pub fn degree(&self, i: usize) -> usize {
        self.neighbors[i].len()
    }

    /// The neighbours of agent `i`, ascending by agent; panics unless `i < agents`.
    pub fn neighbors(&self, i: usize) -> &[Neighbor] {
        &self.neighbors[i]
    }

    /// The longest of all shortest paths, in edges.
    pub fn diameter(&self) -> usize {
        (0..self.agents())
            .into_par_iter()
            .map(|i| self.eccentricity(i))
            .max()
            .unwrap_or(0)
    }

    /// The diameter and `true`; beyond 20,000 agents, where it would take minutes, a lower bound on it and whether that
    /// is known to be exact.
    pub fn diameter_or_bound(&self) -> (usize, bool) {
        if self.agents() <= EXACT_DIAMETER_AGENTS {
            (self.diameter(), true)
        } else {
            self.double_sweep()
        }
    }

    /// How far agents are from an agent that is farthest from agent 0, and whether the graph is a tree: there it is the diameter.
    fn double_sweep(&self) -> (usize, bool) {
        let distances = self.distances(0);
        let end = (0..self.agents()).max_by_key(|&i| distances[i]);
        let is_tree = self.edges.len() + 1 == self.agents();
        (self.eccentricity(end.unwrap_or(0)), is_tree)
    }

    fn max_degree(&self) -> usize {
        self.neighbors.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The distance to the agent farthest from `i`.
    fn eccentricity(&self, i: usize) -> usize {
        self.distances(i).into_iter().max().unwrap_or(0)
    }

    /// The length of a shortest path from `source` to every agent (breadth first).
    fn distances(&self, source: usize) -> Vec<usize> {
        let mut distances = vec![usize::MAX; self.agents()];
        distances[source] = 0;
        let mut queue = VecDeque::from([source]);
        let mut left = self.agents() - 1;
        while let Some(i) = queue.pop_front() {
            // In a dense graph all are found long before the queue is empty.
            if left == 0 {
                break;
            }
            for neighbor in &self.neighbors[i] {
                if distances[neighbor.agent] == usize::MAX {
                    distances[neighbor.agent] = distances[i] + 1;
                    queue.push_back(neighbor.agent);
                    left -= 1;
                }
            }
        }
        distances
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_are_ordered_sorted_and_unique() -> Result<(), GraphError> {
        let graph = Graph::from_edges("triangle", 3, [(2, 1), (0, 2), (1, 0), (1, 2)])?;
        assert_eq!(graph.edges(), [(0, 1), (0, 2), (1, 2)]);
        let expected = [
            Neighbor { agent: 0, edge: 1 },
            Neighbor { agent: 1, edge: 2 },
        ];
        assert_eq!(graph.neighbors(2), expected);
        assert_eq!(
            (graph.name(), graph.degree(0), graph.diameter()),
            ("triangle", 2, 1)
        );
        Ok(())
    }

    #[test]
    fn one_agent_is_a_graph() -> Result<(), GraphError> {
        let graph = Graph::from_edges("one", 1, [])?;
        assert_eq!(
            (graph.agents(), graph.edges().len(), graph.diameter()),
            (1, 0, 0)
        );
        Ok(())
    }

    #[test]
    fn the_diameter_of_a_large_graph_is_a_bound() -> Result<(), GraphError> {
        let measured = |spec: GraphSpec| Ok(spec.build(0)?.diameter_or_bound());
        assert_eq!(measured(GraphSpec::Path(20_001))?, (20_000, true));
        assert_eq!(measured(GraphSpec::Star(MAX_AGENTS))?, (2, true));
        assert_eq!(measured(GraphSpec::Ring(1_000))?, (500, true));
        assert_eq!(measured(GraphSpec::Ring(20_001))?, (10_000, false));
        Ok(())
    }

    #[test]
    fn bad_edges_are_named() {
        let message = |agents, edges: &[(usize, usize)]| {
            Graph::from_edges("g", agents, edges.iter().copied())
                .unwrap_err()
                .to_string()
        };
        assert!(message(0, &[]).contains("no agents"));
        assert!(message(2, &[(0, 1), (1, 1)]).contains("(1, 1)"));
        assert!(message(2, &[(0, 2)]).contains("from 0 to 1"));
        assert!(message(usize::MAX, &[]).contains("at most"));
        let disconnected = message(5, &[(0, 1), (2, 3)]);
        assert!(disconnected.contains("3 components"), "{disconnected}");
        assert!(disconnected.contains("agent 2"), "{disconnected}");
    }

    proptest! {
        #[test]
        fn neighbors_and_edges_agree(agents in 1_usize..20, extra in prop::collection::vec((0_usize..20, 0_usize..20), 0..40)) {
            // A path keeps the graph connected whatever else is drawn.
            let path = (1..agents).map(|i| (i - 1, i));
            let extra = extra.into_iter().filter(|&(i, j)| i != j && i < agents && j < agents);
            let graph = Graph::from_edges("g", agents, path.chain(extra)).unwrap();
            prop_assert!(graph.edges().is_sorted() && graph.edges().iter().all(|&(i, j)| i < j));
            let mut ends = 0;
            for i in 0..agents {
                prop_assert!(graph.neighbors(i).is_sorted_by_key(|neighbor| neighbor.agent));
                for neighbor in graph.neighbors(i) {
                    let j = neighbor.agent;
                    prop_assert_eq!(graph.edges()[neighbor.edge], (i.min(j), i.max(j)));
                    ends += 1;
                }
            }
            prop_assert_eq!(ends, 2 * graph.edges().len());
            prop_assert!(graph.diameter() < agents);
            let (bound, is_tree) = graph.double_sweep();
            prop_assert!(bound <= graph.diameter() && 2 * bound >= graph.diameter());
            prop_assert!(!is_tree || bound == graph.diameter());
        }
    }
}
