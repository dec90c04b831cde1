//! A graph as a standalone SVG.
//!
//! Where the topology has a picture of its own it is used (circle, line, lattice, tree). Anything else is laid out
//! by stress majorization, which places agents at distances close to their graph distances `d_ij`: it minimises
//! `Σ_{i<j} (‖p_i − p_j‖ − d_ij)² / d_ij²` (Gansner, Koren and North 2004). Nothing is random.

use std::f64::consts::{PI, TAU};
use std::fmt::Write;

use super::{Graph, Layout};

type Point = [f64; 2];

/// Canvas width and the margin around the graph, in pixels.
const WIDTH: f64 = 720.0;
const MARGIN: f64 = 44.0;
const TITLE: f64 = 72.0;
/// Agents beyond this number are not numbered.
const NUMBERED: usize = 60;
/// Beyond this many agents pairwise work is too slow, and a circle has to do.
const PAIRWISE: usize = 1500;

/// The drawing of `graph`: agents as dots (darker: more neighbours), numbered up to 60 of them, under a title line.
pub fn svg(graph: &Graph) -> String {
    let unit = layout(graph);
    // A bent edge reaches half as far as its control point.
    let bent = graph.edges().iter().filter_map(|&(i, j)| {
        let bow = bow(graph.layout, i, j)?;
        Some([0, 1].map(|axis| (unit[i][axis] + unit[j][axis] + bow[axis]) / 2.0))
    });
    let (low, high) = bounds(unit.iter().copied().chain(bent));
    let extent = [high[0] - low[0], high[1] - low[1]];
    let closest = closest(&unit);
    let side = WIDTH - 2.0 * MARGIN;
    // Few agents need not fill the canvas.
    let scale = (side / extent[0].max(extent[1]).max(1e-9)).min(150.0 / closest);
    let height = TITLE + extent[1] * scale + 2.0 * MARGIN;
    let middle = (low[0] + high[0]) / 2.0;
    let points: Vec<Point> = unit
        .iter()
        .map(|p| {
            [
                WIDTH / 2.0 + (p[0] - middle) * scale,
                TITLE + MARGIN + (p[1] - low[1]) * scale,
            ]
        })
        .collect();
    let size_share = if graph.agents() <= NUMBERED {
        0.34
    } else {
        0.25
    };
    let radius = (size_share * closest * scale).clamp(1.2, 17.0);
    let line = (0.16 * radius).clamp(0.35, 2.0);
    // Many edges blend into each other, so that dense parts read as density and not as a blot.
    let opacity = (12.0 / (graph.edges().len() as f64).sqrt()).clamp(0.25, 0.9);
    let degrees: Vec<usize> = (0..graph.agents()).map(|i| graph.degree(i)).collect();
    let least = degrees.iter().copied().min().unwrap_or(0);
    let most = graph.max_degree();

    let mut out = String::new();
    let title = escape(graph.name());
    let facts = format!(
        "{} · {} · degree {}",
        count(graph.agents(), "agent"),
        count(graph.edges().len(), "edge"),
        if least == most {
            format!("{most}")
        } else {
            format!("{least}–{most}")
        },
    );
    // Writing to a String cannot fail, so the results carry nothing.
    let mut put = |text: std::fmt::Arguments<'_>| {
        let _ = out.write_fmt(text);
        out.push('\n');
    };
    put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"Helvetica, Arial, sans-serif\" role=\"img\">"
    ));
    put(format_args!("<title>{title}: {facts}</title>"));
    put(format_args!(
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    ));
    // A long name, as of a file deep down, shrinks to fit.
    let size = (1.7 * (WIDTH - 2.0 * MARGIN) / graph.name().chars().count().max(1) as f64)
        .clamp(7.0, 20.0);
    put(format_args!(
        "<text x=\"{MARGIN}\" y=\"38\" font-size=\"{size:.1}\" font-weight=\"600\" fill=\"#0f172a\">{title}</text>"
    ));
    put(format_args!(
        "<text x=\"{MARGIN}\" y=\"61\" font-size=\"14\" fill=\"#64748b\">{facts}</text>"
    ));
    put(format_args!(
        "<g fill=\"none\" stroke=\"#8296b0\" stroke-width=\"{line:.2}\" stroke-opacity=\"{opacity:.2}\" stroke-linecap=\"round\">"
    ));
    for &(i, j) in graph.edges() {
        let (from, to) = (points[i], points[j]);
        match bow(graph.layout, i, j) {
            None => put(format_args!(
                "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
                from[0], from[1], to[0], to[1]
            )),
            Some(bow) => put(format_args!(
                "<path d=\"M{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}\"/>",
                from[0],
                from[1],
                (from[0] + to[0]) / 2.0 + bow[0] * scale,
                (from[1] + to[1]) / 2.0 + bow[1] * scale,
                to[0],
                to[1]
            )),
        }
    }
    put(format_args!("</g>"));
    put(format_args!(
        "<g stroke=\"#ffffff\" stroke-width=\"{:.2}\">",
        line.min(0.12 * radius)
    ));
    for (point, &degree) in points.iter().zip(&degrees) {
        let share = if most == least {
            0.5
        } else {
            (degree - least) as f64 / (most - least) as f64
        };
        put(format_args!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\"/>",
            point[0],
            point[1],
            shade(share)
        ));
    }
    put(format_args!("</g>"));
    if graph.agents() <= NUMBERED {
        let size = radius.min(14.0);
        put(format_args!(
            "<g font-size=\"{size:.1}\" font-weight=\"600\" fill=\"#ffffff\" text-anchor=\"middle\">"
        ));
        for (i, point) in points.iter().enumerate() {
            // Digits are about 0.72 em high; `dominant-baseline` is not known to every renderer.
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{i}</text>",
                point[0],
                point[1] + 0.36 * size
            ));
        }
        put(format_args!("</g>"));
    }
    put(format_args!("</svg>"));
    out
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// From a clear blue for the fewest neighbours to navy for the most; white digits are readable on all of it.
fn shade(share: f64) -> String {
    let [red, green, blue] =
        [(59.0, 15.0), (130.0, 42.0), (196.0, 94.0)].map(|(a, b)| a + share * (b - a));
    format!("#{:02x}{:02x}{:02x}", red as u8, green as u8, blue as u8)
}

/// How far the edge bends at its control point, in layout units: on a lattice, the edges that close a row or column
/// would else hide behind the agents between.
fn bow(layout: Layout, i: usize, j: usize) -> Option<Point> {
    let Layout::Lattice { columns } = layout else {
        return None;
    };
    let rows = (j / columns).abs_diff(i / columns);
    let across = (j % columns).abs_diff(i % columns);
    if rows + across <= 1 {
        None
    } else if rows == 0 {
        Some([0.0, -0.7])
    } else {
        Some([0.7, 0.0])
    }
}

/// Positions in units of about one edge; `y` points down.
fn layout(graph: &Graph) -> Vec<Point> {
    let agents = graph.agents();
    let most = graph.max_degree();
    let is_tree = graph.edges().len() + 1 == agents;
    if let Layout::Lattice { columns } = graph.layout {
        (0..agents)
            .map(|i| [(i % columns) as f64, (i / columns) as f64])
            .collect()
    } else if is_tree && most == 2 {
        snake(graph)
    } else if is_tree && agents <= PAIRWISE && agents > 2 {
        tree(graph)
    } else if matches!(graph.layout, Layout::Circle) || agents > PAIRWISE || most + 1 == agents {
        circle(agents)
    } else {
        stress(graph)
    }
}

/// Agents clockwise from the top.
fn circle(agents: usize) -> Vec<Point> {
    let radius = agents as f64 / TAU;
    // Two agents stand side by side.
    let start = if agents == 2 { PI } else { -PI / 2.0 };
    let angle = |i: usize| start + TAU * i as f64 / agents as f64;
    (0..agents)
        .map(|i| [radius * angle(i).cos(), radius * angle(i).sin()])
        .collect()
}

/// A path, from its end with the smaller number; a long one turns round at the end of each row.
fn snake(graph: &Graph) -> Vec<Point> {
    let agents = graph.agents();
    let end = (0..agents).find(|&i| graph.degree(i) == 1).unwrap_or(0);
    let columns = if agents <= 12 {
        agents
    } else {
        (1.4 * (agents as f64).sqrt()).ceil() as usize
    };
    let place = |k: usize| {
        let (row, column) = (k / columns, k % columns);
        let column = if row.is_multiple_of(2) {
            column
        } else {
            columns - 1 - column
        };
        [column as f64, row as f64]
    };
    graph.distances(end).into_iter().map(place).collect()
}

/// A tree from its centre: level by level downwards, or in rings when wide. Leaves are evenly spaced, parents stand
/// over the middle of their children.
fn tree(graph: &Graph) -> Vec<Point> {
    let agents = graph.agents();
    let root = (0..agents)
        .min_by_key(|&i| graph.eccentricity(i))
        .unwrap_or(0);
    let depths = graph.distances(root);
    // Depth first, so that the leaves of a subtree are consecutive; children come after their parents.
    let mut order = Vec::with_capacity(agents);
    let mut stack = vec![root];
    while let Some(i) = stack.pop() {
        order.push(i);
        stack.extend(
            graph
                .neighbors(i)
                .iter()
                .rev()
                .map(|n| n.agent)
                .filter(|&j| depths[j] > depths[i]),
        );
    }
    let mut leaves = 0;
    let mut place = vec![0.0; agents];
    for &i in &order {
        if i != root && graph.degree(i) == 1 {
            place[i] = leaves as f64;
            leaves += 1;
        }
    }
    for &i in order.iter().rev() {
        let children = || {
            graph
                .neighbors(i)
                .iter()
                .map(|n| n.agent)
                .filter(|&j| depths[j] > depths[i])
        };
        let spread = children()
            .map(|j| place[j])
            .fold((f64::INFINITY, 0.0_f64), |(low, high), p| {
                (low.min(p), high.max(p))
            });
        if children().next().is_some() {
            place[i] = (spread.0 + spread.1) / 2.0;
        }
    }
    let deepest = depths.iter().copied().max().unwrap_or(1).max(1) as f64;
    if deepest > 1.0 && leaves <= 16 {
        // Wide levels are set further apart, to keep the branches from lying flat.
        let step = (0.5 * leaves as f64 / deepest).clamp(1.0, 2.5);
        return (0..agents)
            .map(|i| [place[i], step * depths[i] as f64])
            .collect();
    }
    let ring = leaves as f64 / TAU / deepest;
    let turn = |i: usize| TAU * place[i] / leaves as f64 - PI / 2.0;
    let radius = |i: usize| ring.max(1.0) * depths[i] as f64;
    (0..agents)
        .map(|i| [radius(i) * turn(i).cos(), radius(i) * turn(i).sin()])
        .collect()
}

/// Stress majorization, one agent at a time.
fn stress(graph: &Graph) -> Vec<Point> {
    let agents = graph.agents();
    let distances: Vec<Vec<f64>> = (0..agents)
        .map(|i| graph.distances(i).into_iter().map(|d| d as f64).collect())
        .collect();
    let sweeps = (30_000_000 / (agents * agents)).clamp(12, 300);
    let mut points = pivots(&distances);
    for _ in 0..sweeps {
        for i in 0..agents {
            let (mut sum, mut total) = ([0.0; 2], 0.0);
            for j in (0..agents).filter(|&j| j != i) {
                let wanted = distances[i][j];
                let weight = 1.0 / (wanted * wanted);
                let apart = [points[i][0] - points[j][0], points[i][1] - points[j][1]];
                let pull = wanted / apart[0].hypot(apart[1]).max(1e-9);
                sum[0] += weight * (points[j][0] + pull * apart[0]);
                sum[1] += weight * (points[j][1] + pull * apart[1]);
                total += weight;
            }
            points[i] = [sum[0] / total, sum[1] / total];
        }
    }
    make_room(&mut points);
    points
}

/// Pushes agents apart that stand closer than about 0.7 of the mean spacing, so that their dots can be of a readable size.
fn make_room(points: &mut [Point]) {
    let agents = points.len();
    let (low, high) = bounds(points.iter().copied());
    let room = 0.7 * ((high[0] - low[0]) * (high[1] - low[1]) / agents as f64).sqrt();
    for _ in 0..40 {
        for (i, j) in (0..agents).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let apart = [points[i][0] - points[j][0], points[i][1] - points[j][1]];
            let distance = apart[0].hypot(apart[1]).max(1e-9);
            if distance < room {
                let push = 0.5 * (room - distance) / distance;
                for axis in 0..2 {
                    points[i][axis] += push * apart[axis];
                    points[j][axis] -= push * apart[axis];
                }
            }
        }
    }
}

/// A start that already unfolds the graph: distances to the two ends of a longest path, and to two agents off its
/// middle, each pair giving one axis. A golden-angle spiral keeps agents with equal distances apart.
fn pivots(distances: &[Vec<f64>]) -> Vec<Point> {
    let agents = distances.len();
    let farthest = |score: &dyn Fn(usize) -> f64| {
        (0..agents)
            .max_by(|&i, &j| score(i).total_cmp(&score(j)).then(j.cmp(&i)))
            .unwrap_or(0)
    };
    let west = farthest(&|i| distances[0][i]);
    let east = farthest(&|i| distances[west][i]);
    // Off the axis: far from both ends, and about as far from one as from the other.
    let north = farthest(&|i| distances[west][i].min(distances[east][i]));
    let south =
        farthest(&|i| distances[north][i] - (distances[west][i] - distances[east][i]).abs());
    (0..agents)
        .map(|i| {
            let spiral = 2.399_963 * i as f64;
            let x = (distances[west][i] - distances[east][i]) / 2.0;
            let y = (distances[north][i] - distances[south][i]) / 2.0;
            [x + 0.3 * spiral.cos(), y + 0.3 * spiral.sin()]
        })
        .collect()
}

fn bounds(points: impl Iterator<Item = Point>) -> (Point, Point) {
    points.fold(
        ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]),
        |(low, high), p| {
            (
                [low[0].min(p[0]), low[1].min(p[1])],
                [high[0].max(p[0]), high[1].max(p[1])],
            )
        },
    )
}

/// The distance of the two agents that stand closest, where numbers must not overlap; beyond, small dots may touch
/// and it is the distance to the closest other agent that nine in ten agents exceed. 1 where it costs too much to find.
fn closest(points: &[Point]) -> f64 {
    let agents = points.len();
    if !(2..=PAIRWISE).contains(&agents) {
        return 1.0;
    }
    let apart = |p: Point, q: Point| (p[0] - q[0]).hypot(p[1] - q[1]);
    let mut nearest: Vec<f64> = (0..agents)
        .map(|i| {
            let others = (0..agents).filter(|&j| j != i);
            others
                .map(|j| apart(points[i], points[j]))
                .fold(f64::INFINITY, f64::min)
        })
        .collect();
    nearest.sort_unstable_by(f64::total_cmp);
    nearest[if agents <= NUMBERED { 0 } else { agents / 10 }].max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::super::{GraphError, GraphSpec};
    use super::*;

    fn gallery() -> Vec<GraphSpec> {
        vec![
            GraphSpec::Ring(1),
            GraphSpec::Ring(2),
            GraphSpec::Ring(10),
            GraphSpec::Path(6),
            GraphSpec::Path(40),
            GraphSpec::Star(8),
            GraphSpec::Complete(12),
            GraphSpec::Exponential(16),
            GraphSpec::Grid {
                rows: 3,
                columns: 4,
            },
            GraphSpec::Torus {
                rows: 4,
                columns: 5,
            },
            GraphSpec::Tree {
                agents: 15,
                branching: 2,
            },
            GraphSpec::Tree {
                agents: 121,
                branching: 3,
            },
            GraphSpec::ErdosRenyi {
                agents: 25,
                probability: 0.25,
            },
            GraphSpec::ErdosRenyi {
                agents: 200,
                probability: 0.03,
            },
            GraphSpec::RandomRegular {
                agents: 20,
                degree: 3,
            },
            GraphSpec::SmallWorld {
                agents: 20,
                neighbors: 4,
                rewiring: 0.1,
            },
        ]
    }

    #[test]
    fn every_agent_and_edge_is_drawn_on_the_canvas() -> Result<(), GraphError> {
        for spec in gallery() {
            let graph = spec.build(1)?;
            let svg = svg(&graph);
            assert_eq!(svg.matches("<circle").count(), graph.agents(), "{spec}");
            assert_eq!(svg.matches("<path").count(), graph.edges().len(), "{spec}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{spec}");
            let numbered = svg.contains("text-anchor");
            assert_eq!(numbered, graph.agents() <= NUMBERED, "{spec}");
            let points = layout(&graph);
            assert!(
                closest(&points) > 0.05,
                "{spec}: agents on top of each other"
            );
        }
        Ok(())
    }

    #[test]
    fn names_are_escaped() -> Result<(), GraphError> {
        let svg = svg(&Graph::from_edges("a<b> & c", 2, [(0, 1)])?);
        assert!(svg.contains("a&lt;b&gt; &amp; c") && !svg.contains("a<b"));
        Ok(())
    }
}
