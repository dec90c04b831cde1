//! Graph families: [`GraphSpec`] as typed in RON, and how each becomes a [`Graph`].
//!
//! The random families are redrawn, each draw from its own stream, until one is connected.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Graph, GraphError, Layout, MAX_AGENTS, MAX_EDGES};
use crate::random::{self, Stream};

/// Draws of a random graph before giving up on a connected one.
const ATTEMPTS: u64 = 100;

type Edges = Vec<(usize, usize)>;

/// A family of graphs with its parameters; its text is RON, `ErdosRenyi(agents: 25, probability: 0.25)`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub enum GraphSpec {
    /// A cycle; one agent stays alone and two share one edge.
    Ring(usize),
    /// A line.
    Path(usize),
    /// Agent 0 joined to all others.
    Star(usize),
    /// Everyone joined to everyone.
    Complete(usize),
    /// Agent `i` joined to `i ± 2^k` modulo the number of agents, for every `2^k` below it.
    Exponential(usize),
    /// A rectangle, numbered row by row.
    Grid { rows: usize, columns: usize },
    /// A grid whose rows and columns close to rings.
    Torus { rows: usize, columns: usize },
    /// A complete tree, numbered level by level from root 0: the parent of `i` is `(i − 1) / branching`.
    Tree { agents: usize, branching: usize },
    /// Each pair is joined with this probability (Gilbert's G(n, p)).
    ErdosRenyi { agents: usize, probability: f64 },
    /// Every agent has this degree (pairing model; Steger and Wormald 1999).
    RandomRegular { agents: usize, degree: usize },
    /// A ring with `neighbors` nearest neighbours, each edge rewired with this probability (Watts and Strogatz 1998).
    SmallWorld {
        agents: usize,
        neighbors: usize,
        rewiring: f64,
    },
    /// A text file with one edge `i j` a line, agents counted from 0; blank lines and `#` comments are skipped, but for
    /// `# agents: 12`, which says how many there are where the last ones have no edge.
    EdgeList(PathBuf),
}

impl GraphSpec {
    /// The graph; `seed` matters to the random families only.
    ///
    /// # Errors
    /// Parameters out of range, no connected draw among a hundred, or an edge list that is unreadable, malformed or disconnected.
    pub fn build(&self, seed: u64) -> Result<Graph, GraphError> {
        self.check()?;
        let fixed = |agents, edges: Edges| Graph::from_edges(self.to_string(), agents, edges);
        let mut graph = match *self {
            GraphSpec::Ring(agents) => fixed(agents, circulant(agents, [1])),
            GraphSpec::Path(agents) => fixed(agents, (1..agents).map(|i| (i - 1, i)).collect()),
            GraphSpec::Star(agents) => fixed(agents, (1..agents).map(|i| (0, i)).collect()),
            GraphSpec::Complete(agents) => fixed(agents, complete(agents)),
            GraphSpec::Exponential(agents) => {
                let powers = std::iter::successors(Some(1), |power| Some(2 * power));
                fixed(
                    agents,
                    circulant(agents, powers.take_while(|&power| power < agents)),
                )
            }
            GraphSpec::Grid { rows, columns } => {
                fixed(rows * columns, lattice(rows, columns, false))
            }
            GraphSpec::Torus { rows, columns } => {
                fixed(rows * columns, lattice(rows, columns, true))
            }
            GraphSpec::Tree { agents, branching } => fixed(
                agents,
                (1..agents).map(|i| ((i - 1) / branching, i)).collect(),
            ),
            GraphSpec::ErdosRenyi {
                agents,
                probability,
            } => self.redraw(agents, seed, "graph/erdos-renyi", |rng| {
                Some(erdos_renyi(agents, probability, rng))
            }),
            GraphSpec::RandomRegular { agents, degree } => {
                self.redraw(agents, seed, "graph/random-regular", |rng| {
                    random_regular(agents, degree, rng)
                })
            }
            GraphSpec::SmallWorld {
                agents,
                neighbors,
                rewiring,
            } => self.redraw(agents, seed, "graph/small-world", |rng| {
                Some(small_world(agents, neighbors, rewiring, rng))
            }),
            GraphSpec::EdgeList(ref file) => {
                let (agents, edges) = read_edges(file)?;
                let graph = fixed(agents, edges);
                if let Ok(graph) = &graph {
                    let edges = graph.edges().len();
                    tracing::info!("{}: {agents} agents, {edges} edges", file.display());
                }
                graph
            }
        }?;
        graph.layout = match *self {
            GraphSpec::Ring(_)
            | GraphSpec::Complete(_)
            | GraphSpec::Exponential(_)
            | GraphSpec::SmallWorld { .. } => Layout::Circle,
            GraphSpec::Grid { columns, .. } | GraphSpec::Torus { columns, .. } => {
                Layout::Lattice { columns }
            }
            _ => Layout::Free,
        };
        Ok(graph)
    }

    /// The number of agents, when it is known without reading a file.
    pub fn agents_hint(&self) -> Option<usize> {
        match *self {
            GraphSpec::Ring(agents)
            | GraphSpec::Path(agents)
            | GraphSpec::Star(agents)
            | GraphSpec::Complete(agents)
            | GraphSpec::Exponential(agents)
            | GraphSpec::Tree { agents, .. }
            | GraphSpec::ErdosRenyi { agents, .. }
            | GraphSpec::RandomRegular { agents, .. }
            | GraphSpec::SmallWorld { agents, .. } => Some(agents),
            GraphSpec::Grid { rows, columns } | GraphSpec::Torus { rows, columns } => {
                rows.checked_mul(columns)
            }
            GraphSpec::EdgeList(_) => None,
        }
    }

    /// Rejects parameters outside their range, and sizes beyond memory before anything is allocated.
    fn check(&self) -> Result<(), GraphError> {
        let require = |holds: bool,
                       parameter: &'static str,
                       found: &dyn fmt::Display,
                       expected: &dyn fmt::Display| {
            if holds {
                Ok(())
            } else {
                Err(GraphError::Parameter {
                    graph: self.to_string(),
                    parameter,
                    found: found.to_string(),
                    expected: expected.to_string(),
                })
            }
        };
        // Written so that NaN fails.
        let fraction = |value: f64| (0.0..=1.0).contains(&value);
        match *self {
            GraphSpec::Grid { rows, columns } | GraphSpec::Torus { rows, columns } => {
                require(rows >= 1, "rows", &rows, &"at least 1")?;
                require(columns >= 1, "columns", &columns, &"at least 1")?;
            }
            GraphSpec::Tree { branching, .. } => {
                require(branching >= 1, "branching", &branching, &"at least 1")?
            }
            GraphSpec::ErdosRenyi { probability, .. } => {
                let holds = fraction(probability) && probability > 0.0;
                require(
                    holds,
                    "probability",
                    &probability,
                    &"a number above 0 and at most 1",
                )?;
            }
            GraphSpec::RandomRegular { agents, degree } => {
                let bound = format_args!("fewer than the {agents} agents").to_string();
                require(degree < agents, "degree", &degree, &bound)?;
                let even = agents.is_multiple_of(2) || degree.is_multiple_of(2);
                require(
                    even,
                    "degree",
                    &degree,
                    &"an even agents * degree, as each edge has two ends",
                )?;
            }
            GraphSpec::SmallWorld {
                agents,
                neighbors,
                rewiring,
            } => {
                let holds = neighbors >= 2 && neighbors.is_multiple_of(2) && neighbors < agents;
                let bound = format!("an even number from 2 to below the {agents} agents");
                require(holds, "neighbors", &neighbors, &bound)?;
                require(
                    fraction(rewiring),
                    "rewiring",
                    &rewiring,
                    &"a number from 0 to 1",
                )?;
            }
            _ => {}
        }
        let agents = match self.agents_hint() {
            Some(0) => {
                let graph = self.to_string();
                return Err(GraphError::NoAgents { graph });
            }
            Some(agents) => agents,
            None => 1,
        };
        // Before the draw, which walks over them.
        let bound = format!("at most {MAX_AGENTS}");
        require(
            agents <= MAX_AGENTS,
            "the number of agents",
            &agents,
            &bound,
        )?;
        let agents = agents as f64;
        let edges = match *self {
            GraphSpec::Complete(_) => agents * agents / 2.0,
            GraphSpec::ErdosRenyi { probability, .. } => probability * agents * agents / 2.0,
            GraphSpec::RandomRegular { degree, .. } => degree as f64 * agents / 2.0,
            GraphSpec::SmallWorld { neighbors, .. } => neighbors as f64 * agents / 2.0,
            GraphSpec::Exponential(_) => agents * agents.log2(),
            // `None` from a grid is an overflow.
            GraphSpec::Grid { rows, columns } | GraphSpec::Torus { rows, columns } => {
                2.0 * rows as f64 * columns as f64
            }
            _ => agents,
        };
        let bound = format!("at most {MAX_EDGES}");
        require(
            edges <= MAX_EDGES as f64,
            "the number of edges",
            &format!("about {edges:.0}"),
            &bound,
        )
    }

    /// Draws until connected; a draw that fails by itself is `None`.
    fn redraw(
        &self,
        agents: usize,
        seed: u64,
        purpose: &str,
        draw: impl Fn(&mut Stream) -> Option<Edges>,
    ) -> Result<Graph, GraphError> {
        for attempt in 0..ATTEMPTS {
            let Some(edges) = draw(&mut random::stream(seed, purpose, &[attempt])) else {
                continue;
            };
            match Graph::from_edges(self.to_string(), agents, edges) {
                Err(GraphError::Disconnected { .. }) => {}
                result => return result,
            }
        }
        Err(GraphError::NeverConnected {
            graph: self.to_string(),
            attempts: ATTEMPTS,
        })
    }
}

impl fmt::Display for GraphSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphSpec::Ring(agents) => write!(f, "Ring({agents})"),
            GraphSpec::Path(agents) => write!(f, "Path({agents})"),
            GraphSpec::Star(agents) => write!(f, "Star({agents})"),
            GraphSpec::Complete(agents) => write!(f, "Complete({agents})"),
            GraphSpec::Exponential(agents) => write!(f, "Exponential({agents})"),
            GraphSpec::Grid { rows, columns } => {
                write!(f, "Grid(rows: {rows}, columns: {columns})")
            }
            GraphSpec::Torus { rows, columns } => {
                write!(f, "Torus(rows: {rows}, columns: {columns})")
            }
            GraphSpec::Tree { agents, branching } => {
                write!(f, "Tree(agents: {agents}, branching: {branching})")
            }
            GraphSpec::ErdosRenyi {
                agents,
                probability,
            } => {
                write!(
                    f,
                    "ErdosRenyi(agents: {agents}, probability: {probability:?})"
                )
            }
            GraphSpec::RandomRegular { agents, degree } => {
                write!(f, "RandomRegular(agents: {agents}, degree: {degree})")
            }
            GraphSpec::SmallWorld {
                agents,
                neighbors,
                rewiring,
            } => write!(
                f,
                "SmallWorld(agents: {agents}, neighbors: {neighbors}, rewiring: {rewiring:?})"
            ),
            GraphSpec::EdgeList(file) => write!(f, "EdgeList({:?})", file.to_string_lossy()),
        }
    }
}

/// `i` joined to `i + offset` modulo the number of agents.
fn circulant(agents: usize, offsets: impl IntoIterator<Item = usize>) -> Edges {
    let join = |offset| (0..agents).map(move |i| (i, (i + offset) % agents));
    offsets
        .into_iter()
        .flat_map(join)
        .filter(|(i, j)| i != j)
        .collect()
}

fn complete(agents: usize) -> Edges {
    (0..agents)
        .flat_map(|i| (i + 1..agents).map(move |j| (i, j)))
        .collect()
}

fn lattice(rows: usize, columns: usize, periodic: bool) -> Edges {
    let mut edges = Edges::new();
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let here = row * columns + column;
        if column + 1 < columns || periodic {
            edges.push((here, row * columns + (column + 1) % columns));
        }
        if row + 1 < rows || periodic {
            edges.push((here, (row + 1) % rows * columns + column));
        }
    }
    // A periodic side of one agent would join it to itself.
    edges.retain(|(i, j)| i != j);
    edges
}

/// Walks through the pairs `j < i` by geometric leaps, so that the cost is that of the edges (Batagelj and Brandes 2005).
fn erdos_renyi(agents: usize, probability: f64, rng: &mut Stream) -> Edges {
    let mut edges = Edges::new();
    let (mut i, mut next) = (1, 0_usize);
    loop {
        let leap = (-rng.random::<f64>()).ln_1p() / (-probability).ln_1p();
        next = next.saturating_add(leap as usize);
        while i < agents && next >= i {
            next -= i;
            i += 1;
        }
        if i >= agents {
            return edges;
        }
        edges.push((next, i));
        next += 1;
    }
}

/// Pairs stubs at random and returns those of unsuitable pairs to the pool; `None` when no suitable pair is left.
fn random_regular(agents: usize, degree: usize, rng: &mut Stream) -> Option<Edges> {
    // A dense regular graph is the complement of a sparse one, which pairing finds easily.
    if 2 * degree >= agents && degree > 0 {
        let missing: HashSet<_> = random_regular(agents, agents - 1 - degree, rng)?
            .into_iter()
            .collect();
        return Some(
            complete(agents)
                .into_iter()
                .filter(|edge| !missing.contains(edge))
                .collect(),
        );
    }
    let mut edges = Edges::new();
    let mut taken = HashSet::new();
    let mut stubs: Vec<usize> = (0..agents * degree).map(|stub| stub / degree).collect();
    while !stubs.is_empty() {
        stubs.shuffle(rng);
        let mut left = Vec::new();
        for pair in stubs.chunks_exact(2) {
            let edge = (pair[0].min(pair[1]), pair[0].max(pair[1]));
            if edge.0 != edge.1 && taken.insert(edge) {
                edges.push(edge);
            } else {
                left.extend(pair);
            }
        }
        let suitable = |i: usize, j: usize| i != j && !taken.contains(&(i.min(j), i.max(j)));
        if left.len() == stubs.len() && !left.iter().any(|&i| left.iter().any(|&j| suitable(i, j)))
        {
            return None;
        }
        stubs = left;
    }
    Some(edges)
}

fn small_world(agents: usize, neighbors: usize, rewiring: f64, rng: &mut Stream) -> Edges {
    let mut edges = circulant(agents, 1..=neighbors / 2);
    let ordered = |i: usize, j: usize| (i.min(j), i.max(j));
    let mut taken: HashSet<_> = edges.iter().map(|&(i, j)| ordered(i, j)).collect();
    let mut degrees = vec![neighbors; agents];
    for edge in &mut edges {
        let (i, j) = *edge;
        // An agent joined to all others has nowhere to rewire to.
        if !rng.random_bool(rewiring) || degrees[i] + 1 >= agents {
            continue;
        }
        let target = loop {
            let target = rng.random_range(0..agents);
            if target != i && taken.insert(ordered(i, target)) {
                break target;
            }
        };
        taken.remove(&ordered(i, j));
        degrees[j] -= 1;
        degrees[target] += 1;
        *edge = (i, target);
    }
    edges
}

/// The number of agents and the edges, in one direction or both. Agents are as many as a comment `# agents: n` says, else one more than the
/// largest number.
///
/// # Errors
/// A line that is no edge; a list that holds some edges in both directions and others in one, like a directed graph's.
fn read_edges(file: &Path) -> Result<(usize, Edges), GraphError> {
    let text = std::fs::read_to_string(file).map_err(|source| GraphError::Read {
        file: file.into(),
        source,
    })?;
    // The line that each direction stands on.
    let mut directed: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut said = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (number, line) in text.lines().enumerate() {
        let (content, comment) = line.split_once('#').unwrap_or((line, ""));
        let content = content.trim();
        let fault = |found: &str, expected| GraphError::EdgeLine {
            file: file.into(),
            line: number + 1,
            found: found.trim().chars().take(60).collect(),
            expected,
        };
        let comment = comment.trim().to_lowercase();
        if let Some(count) = comment.strip_prefix("agents:") {
            match count.trim().parse::<usize>() {
                Ok(count) if said.is_none_or(|said| said == count) => said = Some(count),
                _ => return Err(fault(line, "`# agents: 12`, once")),
            }
        }
        if content.is_empty() {
            continue;
        }
        let ends: Option<Vec<usize>> = content
            .split_whitespace()
            .map(|word| word.parse().ok())
            .collect();
        match ends.as_deref() {
            Some(&[i, j]) if i != j => {
                directed.insert((i, j), number + 1);
            }
            Some(&[_, _]) => return Err(fault(content, "two different agents")),
            _ => {
                return Err(fault(
                    content,
                    "an edge `i j`: two agents counted from 0, separated by a space",
                ));
            }
        }
    }
    if directed.is_empty() {
        return Err(GraphError::NoEdges { file: file.into() });
    }
    let reversed = |&(i, j): &(usize, usize)| directed.contains_key(&(j, i));
    if directed.keys().any(reversed)
        && let Some((edge, line)) = directed.iter().find(|(edge, _)| !reversed(edge))
    {
        return Err(GraphError::EdgeLine {
            file: file.into(),
            line: *line,
            found: format!("{} {}", edge.0, edge.1),
            expected: "its other direction too, since other edges stand in both: this looks like a directed graph; \
                list every edge once, or in both directions",
        });
    }
    let edges: Edges = directed.into_keys().collect();
    let largest = edges.iter().map(|&(i, j)| i.max(j)).max().unwrap_or(0);
    let agents = largest.saturating_add(1);
    match said {
        Some(said) if said < agents => Err(GraphError::OutOfRange {
            graph: file.display().to_string(),
            edge: edges
                .iter()
                .copied()
                .find(|&(i, j)| i.max(j) == largest)
                .unwrap_or_default(),
            agents: said,
        }),
        said => Ok((said.unwrap_or(agents), edges)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn degrees(graph: &Graph) -> Vec<usize> {
        (0..graph.agents()).map(|i| graph.degree(i)).collect()
    }

    #[test]
    fn families_have_their_edges_and_diameters() -> Result<(), GraphError> {
        // (family, agents, edges, diameter)
        let table = [
            (GraphSpec::Ring(1), 1, 0, 0),
            (GraphSpec::Ring(2), 2, 1, 1),
            (GraphSpec::Ring(10), 10, 10, 5),
            (GraphSpec::Path(6), 6, 5, 5),
            (GraphSpec::Star(7), 7, 6, 2),
            (GraphSpec::Complete(5), 5, 10, 1),
            // ±1, ±2, ±4 and 8 = −8.
            (GraphSpec::Exponential(16), 16, 16 * 7 / 2, 2),
            (
                GraphSpec::Grid {
                    rows: 3,
                    columns: 4,
                },
                12,
                17,
                5,
            ),
            (
                GraphSpec::Grid {
                    rows: 1,
                    columns: 4,
                },
                4,
                3,
                3,
            ),
            (
                GraphSpec::Torus {
                    rows: 4,
                    columns: 4,
                },
                16,
                32,
                4,
            ),
            (
                GraphSpec::Torus {
                    rows: 1,
                    columns: 5,
                },
                5,
                5,
                2,
            ),
            (
                GraphSpec::Torus {
                    rows: 2,
                    columns: 3,
                },
                6,
                9,
                2,
            ),
            (
                GraphSpec::Tree {
                    agents: 15,
                    branching: 2,
                },
                15,
                14,
                6,
            ),
            (
                GraphSpec::Tree {
                    agents: 4,
                    branching: 1,
                },
                4,
                3,
                3,
            ),
        ];
        for (spec, agents, edges, diameter) in table {
            let graph = spec.build(0)?;
            let found = (graph.agents(), graph.edges().len(), graph.diameter());
            assert_eq!(found, (agents, edges, diameter), "{spec}");
            assert_eq!(graph.name(), spec.to_string());
            assert_eq!(spec.agents_hint(), Some(agents));
        }
        assert_eq!(degrees(&GraphSpec::Star(5).build(0)?), [4, 1, 1, 1, 1]);
        assert!(
            degrees(&GraphSpec::Exponential(16).build(0)?)
                .iter()
                .all(|&d| d == 7)
        );
        assert!(
            degrees(
                &GraphSpec::Torus {
                    rows: 3,
                    columns: 5
                }
                .build(0)?
            )
            .iter()
            .all(|&d| d == 4)
        );
        Ok(())
    }

    #[test]
    fn seeds_repeat_and_differ() -> Result<(), GraphError> {
        for spec in [
            GraphSpec::ErdosRenyi {
                agents: 25,
                probability: 0.25,
            },
            GraphSpec::RandomRegular {
                agents: 20,
                degree: 3,
            },
            GraphSpec::SmallWorld {
                agents: 20,
                neighbors: 4,
                rewiring: 0.3,
            },
        ] {
            assert_eq!(spec.build(1)?.edges(), spec.build(1)?.edges(), "{spec}");
            assert_ne!(spec.build(1)?.edges(), spec.build(2)?.edges(), "{spec}");
        }
        Ok(())
    }

    #[test]
    fn erdos_renyi_has_its_density() -> Result<(), GraphError> {
        let (agents, probability) = (200, 0.1);
        let pairs = (agents * (agents - 1) / 2) as f64;
        let trials = 40;
        let mut hits = vec![0; agents];
        let mut edges = 0;
        for seed in 0..trials {
            let graph = GraphSpec::ErdosRenyi {
                agents,
                probability,
            }
            .build(seed)?;
            edges += graph.edges().len();
            graph.edges().iter().for_each(|&(i, _)| hits[i] += 1);
        }
        // Within five standard deviations, for all pairs and for the pairs of agent 0.
        let within = |count: f64, draws: f64| {
            (count - draws * probability).abs()
                < 5.0 * (draws * probability * (1.0 - probability)).sqrt()
        };
        assert!(within(edges as f64, pairs * trials as f64), "{edges}");
        assert!(
            within(hits[0] as f64, ((agents - 1) * trials as usize) as f64),
            "{}",
            hits[0]
        );
        Ok(())
    }

    proptest! {
        #[test]
        fn regular_graphs_are_regular(agents in 4_usize..30, degree in 3_usize..29, seed: u64) {
            prop_assume!(degree < agents && agents * degree % 2 == 0);
            let graph = GraphSpec::RandomRegular { agents, degree }.build(seed).unwrap();
            prop_assert!(degrees(&graph).iter().all(|&d| d == degree));
        }

        #[test]
        fn small_worlds_keep_their_edges(agents in 5_usize..30, half in 1_usize..10, rewiring in 0.0_f64..=1.0, seed: u64) {
            // Two neighbours leave a bare ring, which rewiring often cuts.
            prop_assume!(2 * half < agents && half > 1);
            let graph = GraphSpec::SmallWorld { agents, neighbors: 2 * half, rewiring }.build(seed).unwrap();
            prop_assert_eq!(graph.edges().len(), agents * half);
        }

        #[test]
        fn certain_pairs_give_the_complete_graph(agents in 1_usize..20, seed: u64) {
            let graph = GraphSpec::ErdosRenyi { agents, probability: 1.0 }.build(seed).unwrap();
            prop_assert_eq!(graph.edges().len(), agents * (agents - 1) / 2);
        }
    }

    #[test]
    fn text_is_ron() {
        for text in [
            "Ring(10)",
            "Path(6)",
            "Star(7)",
            "Complete(5)",
            "Exponential(16)",
            "Grid(rows: 3, columns: 4)",
            "Torus(rows: 4, columns: 4)",
            "Tree(agents: 15, branching: 2)",
            "ErdosRenyi(agents: 25, probability: 0.25)",
            "RandomRegular(agents: 20, degree: 3)",
            "SmallWorld(agents: 20, neighbors: 4, rewiring: 1.0)",
            "EdgeList(\"a \\\"quoted\\\" file.txt\")",
        ] {
            let spec: GraphSpec = ron::from_str(text).unwrap();
            assert_eq!(spec.to_string(), text);
        }
        assert!(ron::from_str::<GraphSpec>("Grid(rows: 3, columns: 4, depth: 2)").is_err());
    }

    #[test]
    fn bad_parameters_are_named() {
        // (family, a part of the message)
        let table = [
            (GraphSpec::Ring(0), "no agents"),
            (GraphSpec::Path(usize::MAX), "at most"),
            (GraphSpec::Complete(100_000), "at most"),
            (
                GraphSpec::Grid {
                    rows: 0,
                    columns: 4,
                },
                "rows is 0",
            ),
            (
                GraphSpec::Torus {
                    rows: 4,
                    columns: 0,
                },
                "columns is 0",
            ),
            (
                GraphSpec::Torus {
                    rows: usize::MAX,
                    columns: 2,
                },
                "at most",
            ),
            (
                GraphSpec::Tree {
                    agents: 4,
                    branching: 0,
                },
                "branching is 0",
            ),
            (
                GraphSpec::ErdosRenyi {
                    agents: 0,
                    probability: 0.5,
                },
                "no agents",
            ),
            (
                GraphSpec::ErdosRenyi {
                    agents: 4,
                    probability: 0.0,
                },
                "probability is 0",
            ),
            (
                GraphSpec::ErdosRenyi {
                    agents: 4,
                    probability: 1.5,
                },
                "probability is 1.5",
            ),
            (
                GraphSpec::ErdosRenyi {
                    agents: 4,
                    probability: f64::NAN,
                },
                "probability is NaN",
            ),
            (
                GraphSpec::ErdosRenyi {
                    agents: 50,
                    probability: 1e-9,
                },
                "none of 100 random draws",
            ),
            (
                GraphSpec::RandomRegular {
                    agents: 5,
                    degree: 3,
                },
                "even",
            ),
            (
                GraphSpec::RandomRegular {
                    agents: 4,
                    degree: 4,
                },
                "fewer than the 4 agents",
            ),
            (
                GraphSpec::RandomRegular {
                    agents: 6,
                    degree: 1,
                },
                "none of 100 random draws",
            ),
            (
                GraphSpec::SmallWorld {
                    agents: 9,
                    neighbors: 3,
                    rewiring: 0.1,
                },
                "neighbors is 3",
            ),
            (
                GraphSpec::SmallWorld {
                    agents: 4,
                    neighbors: 4,
                    rewiring: 0.1,
                },
                "below the 4 agents",
            ),
            (
                GraphSpec::SmallWorld {
                    agents: 9,
                    neighbors: 4,
                    rewiring: -0.1,
                },
                "rewiring is -0.1",
            ),
        ];
        for (spec, part) in table {
            let message = spec.build(0).unwrap_err().to_string();
            assert!(message.contains(part), "{spec}: {message}");
        }
    }

    #[test]
    fn edge_lists_are_read_and_faults_located() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("edges.txt");
        let build = |text: &str| {
            std::fs::write(&file, text).map(|()| GraphSpec::EdgeList(file.clone()).build(0))
        };
        let graph = build("# a triangle with a tail\n0 1\n\n1\t2 # comment\r\n2 0\n  3 2  \n")??;
        assert_eq!(graph.edges(), [(0, 1), (0, 2), (1, 2), (2, 3)]);
        for (text, part) in [
            ("0 1\n# fine\n1 x\n", "edges.txt:3: found `1 x`"),
            ("0 1 2\n", "edges.txt:1:"),
            ("0\n", "edges.txt:1:"),
            ("0 -1\n", "edges.txt:1:"),
            (
                "0 1\n1 1\n",
                "edges.txt:2: found `1 1`; expected two different agents",
            ),
            ("# nothing\n", "holds no edge"),
            ("0 1\n2 3\n", "disconnected"),
            ("0 1\n1 3\n", "agent 2"),
            ("0 18446744073709551615\n", "at most"),
        ] {
            let message = build(text)?.unwrap_err().to_string();
            assert!(message.contains(part), "{text:?}: {message}");
        }
        let missing = GraphSpec::EdgeList(folder.path().join("missing.txt"));
        assert!(
            missing
                .build(0)
                .unwrap_err()
                .to_string()
                .contains("missing.txt")
        );
        assert_eq!(missing.agents_hint(), None);
        Ok(())
    }

    #[test]
    fn edge_lists_say_how_many_agents_there_are_and_are_not_directed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("edges.txt");
        let build = |text: &str| {
            std::fs::write(&file, text).unwrap();
            GraphSpec::EdgeList(file.clone())
                .build(0)
                .map_err(|e| e.to_string())
        };
        assert_eq!(build("0 1\n").unwrap().agents(), 2);
        assert_eq!(build("# agents: 2\n0 1\n").unwrap().agents(), 2);
        let isolated = build("# agents: 3\n0 1\n").unwrap_err();
        assert!(
            isolated.contains("disconnected") && isolated.contains("agent 2"),
            "{isolated}"
        );
        let fewer = build("# agents: 2\n0 1\n1 2\n").unwrap_err();
        assert!(
            fewer.contains("(1, 2)") && fewer.contains("0 to 1"),
            "{fewer}"
        );
        assert_eq!(build("\u{feff}# Agents: 2\n0 1\n").unwrap().agents(), 2);
        assert!(
            build("# agents: 2\n# agents: 3\n0 1\n")
                .unwrap_err()
                .contains("once")
        );
        assert!(build("# agents: many\n0 1\n").unwrap_err().contains(":1:"));
        // Every edge once, or in both directions; some of each is a directed graph.
        assert_eq!(build("0 1\n1 0\n1 2\n2 1\n").unwrap().edges().len(), 2);
        let directed = build("0 1\n1 0\n1 2\n").unwrap_err();
        assert!(
            directed.contains(":3:") && directed.contains("directed"),
            "{directed}"
        );
    }
}
