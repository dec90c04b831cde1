//! The only way to reach a neighbour: synchronous exchanges of d-vectors over every edge, and what they cost.
//!
//! A **round** is one exchange of one d-vector over every edge in both directions. Whatever is exchanged comes back as
//! *differences* `z_i − z_j` or as their weighted sums. In floating point `w(z_i − z_j) = −w(z_j − z_i)` holds exactly, so
//! what one end adds the other subtracts and sums over agents are conserved; computing `z − Wz` would lose that.

use crate::field::Field;
use crate::graph::{Graph, Neighbor};
use pulp::{Simd, WithSimd};

/// What has been sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Rounds of communication.
    pub rounds: u64,
    /// d-vectors sent over each directed edge.
    pub vectors_per_edge: u64,
    /// Numbers sent over all directed edges together.
    pub floats: u64,
    /// Bytes sent over all directed edges together (8 per number).
    pub bytes: u64,
}

/// The agents' network: a graph and a bill.
pub struct Network<'a> {
    graph: &'a Graph,
    bill: Bill,
}

impl<'a> Network<'a> {
    /// A network on `graph` with nothing sent yet.
    pub fn new(graph: &'a Graph) -> Self {
        Self {
            graph,
            bill: Bill::default(),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// What has been sent so far.
    pub fn bill(&self) -> Bill {
        self.bill
    }

    fn send_vectors(&mut self, dimension: usize) {
        self.bill.rounds += 1;
        self.bill.vectors_per_edge += 1;
        self.send_floats(dimension);
    }

    fn send_floats(&mut self, per_directed_edge: usize) {
        let floats = 2 * self.graph.edges().len() as u64 * per_directed_edge as u64;
        self.bill.floats += floats;
        self.bill.bytes += 8 * floats;
    }

    /// Bills `count` numbers sent once over every directed edge (such as `L_i` before the first step, or what travels with a vector).
    pub fn exchange_scalars(&mut self, count: usize) {
        self.send_floats(count);
    }

    /// One round: `out_e = z_i − z_j` for every edge `e = (i, j)`, `i < j`; `z`: `[agents, d]`, `out`: `[edges, d]`.
    pub fn differences(&mut self, z: &Field, out: &mut Field) {
        self.send_vectors(z.dimension());
        let edges = self.graph.edges();
        out.for_each_row(|e, row| {
            let (i, j) = edges[e];
            for ((o, a), b) in row.iter_mut().zip(z.row(i)).zip(z.row(j)) {
                *o = a - b;
            }
        });
    }

    /// One round: `out_i = Σ_{j ∈ N(i)} w_ij (z_i − z_j)`, that is `(I − W)z`; `weights`: one per edge.
    pub fn disagreement(&mut self, weights: &[f64], z: &Field, out: &mut Field) {
        self.send_vectors(z.dimension());
        let graph = self.graph;
        out.for_each_row(|i, row| {
            row.fill(0.0);
            for neighbor in graph.neighbors(i) {
                let w = weights[neighbor.edge];
                for ((o, a), b) in row.iter_mut().zip(z.row(i)).zip(z.row(neighbor.agent)) {
                    *o += w * (a - b);
                }
            }
        });
    }

    /// One round: both ends of every edge send each other a vector, and each has the other's afterwards.
    ///
    /// `ends`: `[2·edges, d]`, as for [`Self::average_ends`].
    pub fn swap_ends(&mut self, ends: &mut Field) {
        let d = ends.dimension();
        self.send_vectors(d);
        for pair in ends.values_mut().chunks_exact_mut(2 * d) {
            let (a, b) = pair.split_at_mut(d);
            a.swap_with_slice(b);
        }
    }

    /// One round: both ends of every edge send each other a vector and both keep the mean of the two.
    ///
    /// `ends`: `[2·edges, d]`; row `2e` belongs to the smaller end of edge `e`, row `2e + 1` to the larger.
    pub fn average_ends(&mut self, ends: &mut Field) {
        let d = ends.dimension();
        self.send_vectors(d);
        for pair in ends.values_mut().chunks_exact_mut(2 * d) {
            let (a, b) = pair.split_at_mut(d);
            for (a, b) in a.iter_mut().zip(b) {
                let mean = (*a + *b) / 2.0;
                (*a, *b) = (mean, mean);
            }
        }
    }
}

/// `out_i = base_i + Σ_{e ∋ i} ±flow_e`: adds every edge's flow to its smaller end and subtracts it from the larger; without `base` onto
/// what `out` holds.
pub fn add_flows(graph: &Graph, base: Option<&Field>, flows: &Field, out: &mut Field) {
    let arch = pulp::Arch::new();
    out.for_each_row(|i, out| {
        let signed = |neighbor: &Neighbor| {
            let sign = if i < neighbor.agent { 1.0 } else { -1.0 };
            (sign, flows.row(neighbor.edge))
        };
        let mut base = base.map(|field| field.row(i));
        // Two at a time: a row that is read and written once less.
        for pair in graph.neighbors(i).chunks(2) {
            let flows = (signed(&pair[0]), pair.get(1).map(signed));
            let base = base.take();
            arch.dispatch(Sum { base, flows, out });
        }
        if let Some(base) = base {
            out.copy_from_slice(base);
        }
    });
}

/// `out = base + s f (+ s' f')`; without `base` onto what `out` holds.
struct Sum<'a> {
    base: Option<&'a [f64]>,
    flows: (Signed<'a>, Option<Signed<'a>>),
    out: &'a mut [f64],
}

type Signed<'a> = (f64, &'a [f64]);

impl WithSimd for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { base, flows, out } = self;
        let n = out.len();
        let ((s, f), second) = (flows.0, flows.1);
        let f = &f[..n];
        match (base.map(|b| &b[..n]), second.map(|(t, g)| (t, &g[..n]))) {
            (Some(b), Some((t, g))) => (0..n).for_each(|k| out[k] = b[k] + s * f[k] + t * g[k]),
            (None, Some((t, g))) => (0..n).for_each(|k| out[k] = out[k] + s * f[k] + t * g[k]),
            (Some(b), None) => (0..n).for_each(|k| out[k] = b[k] + s * f[k]),
            (None, None) => (0..n).for_each(|k| out[k] += s * f[k]),
        }
    }
}
