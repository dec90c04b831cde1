//! What an optimiser has to beat before all others: sending the data themselves, after which everybody knows `x*`.
//!
//! Not methods but counts, in rounds of one d-vector per edge and direction:
//!
//! - **rows**: `max_i ⌈Σ_{j≠i} m_j (d + 1) / (d · deg_i)⌉`, what the agent with the least room must receive through its edges, and at
//!   least the distance to the farthest agent. A lower bound, which flooding nearly reaches.
//! - **Gram matrices** (least squares): `d(d + 1)/2 + d + 1` numbers, summed up a spanning tree and sent down again: the numbers in
//!   d-vectors plus twice the radius.
//!
//! The premise of decentralized optimization is that data stay where they are; where sending them is cheaper and allowed, do that.

use serde::{Deserialize, Serialize};
use starling::graph::Graph;
use starling::problem::{Loss, Problem};

/// Rounds after which everybody knows the optimum if data are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    pub rows: u64,
    /// Only where the loss is quadratic.
    pub gram: Option<u64>,
}

/// Longest distance from `start`.
fn eccentricity(graph: &Graph, start: usize) -> u64 {
    let mut distance = vec![None; graph.agents()];
    distance[start] = Some(0);
    let mut queue = std::collections::VecDeque::from([start]);
    let mut farthest = 0;
    while let Some(i) = queue.pop_front() {
        let own = distance[i].unwrap_or(0);
        farthest = farthest.max(own);
        for neighbor in graph.neighbors(i) {
            if distance[neighbor.agent].is_none() {
                distance[neighbor.agent] = Some(own + 1);
                queue.push_back(neighbor.agent);
            }
        }
    }
    farthest
}

impl Direct {
    pub fn new(problem: &Problem, graph: &Graph) -> Self {
        let d = problem.dimension() as u64;
        let rows = |i: usize| problem.shards()[i].targets.len() as u64;
        let agents = 0..graph.agents();
        let all: u64 = agents.clone().map(rows).sum();
        let reach: Vec<u64> = agents.clone().map(|i| eccentricity(graph, i)).collect();
        let received = agents.map(|i| {
            let numbers = (all - rows(i)) * (d + 1);
            numbers.div_ceil(d * graph.degree(i).max(1) as u64)
        });
        let diameter = reach.iter().copied().max().unwrap_or(0);
        let radius = reach.iter().copied().min().unwrap_or(0);
        let quadratic = problem
            .rows()
            .is_some_and(|rows| rows.loss() == Loss::LeastSquares);
        let gram = (d * (d + 1) / 2 + d + 1).div_ceil(d) + 2 * radius;
        Self {
            rows: received.max().unwrap_or(0).max(diameter),
            gram: quadratic.then_some(gram),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling::graph::GraphSpec;
    use starling::problem::{ProblemSpec, Role};
    use starling::ron::parse_ron;

    fn direct(problem: &str, graph: GraphSpec) -> Direct {
        let spec: ProblemSpec = parse_ron("problem", problem).unwrap();
        let graph = graph.build(1).unwrap();
        let problem = spec.sample(graph.agents(), 1, Role::Test, 0).unwrap();
        Direct::new(&problem, &graph)
    }

    #[test]
    fn rows_and_gram_matrices_counted_by_hand() {
        // 90 rows of 101 numbers through two edges; 5,151 numbers are 52 vectors, and the ring's radius is 5.
        let lasso = "Lasso(dimension: 100, rows: 10)";
        let expected = Direct {
            rows: 46,
            gram: Some(62),
        };
        assert_eq!(direct(lasso, GraphSpec::Ring(10)), expected);
        // A leaf has one edge for 110 rows; the hub is one step away from all.
        let star = direct(lasso, GraphSpec::Star(12));
        assert_eq!((star.rows, star.gram), (112, Some(54)));
        // 49 rows of two numbers would take 49 rounds at either end of the path; it is 49 long.
        let path = direct("Logistic(dimension: 50, rows: 1)", GraphSpec::Path(50));
        assert_eq!((path.rows, path.gram), (50, None));
    }
}
