//! Every handcrafted method on every problem, on several graphs, and the identities that tie the methods together.
//!
//! Dense recursions written down as the papers have them stand beside the implementations, which exchange differences only.
//! Known wrong versions are run too and must miss the optimum: so we know that the table can fail.

use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rand::RngExt;
use rayon::prelude::*;
use starling::field::Field;
use starling::graph::{Graph, GraphSpec, Mixing, MixingKind};
use starling::network::{Network, add_flows};
use starling::problem::{Loss, Optimum, Problem, ProblemSpec, Regularizer, Role, Shard, optimum};
use starling::random;
use starling::ron::parse_ron;
use starling::roster::AlgorithmSpec;
use starling::simulate::{Options, Status, Trace, simulate};

/// An exact method ends at or below this relative gap.
const EXACT: f64 = 1e-12;
/// A wrong version ends above this one.
const MISSED: f64 = 1e-6;

const GRAPHS: [&str; 3] = ["Ring(6)", "Star(5)", "Path(5)"];

/// 24 rows per agent and 8 unknowns, so that every least-squares `f_i` is strongly convex; noisy labels, so that no
/// logistic problem is separable; boxes that bind on some coordinates only.
const PROBLEMS: [&str; 10] = [
    "Lasso(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 0.5, l1: 0.0)",
    "Lasso(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 0.5, l1: 0.1)",
    "Lasso(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 0.5, l1: 0.0, l2: 0.2)",
    "Lasso(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 0.5, l1: 0.1, l2: 0.2)",
    "Lasso(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 0.5, l1: 0.0, box: (-0.1, 0.4))",
    "Logistic(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 2.0, l1: 0.0)",
    "Logistic(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 2.0, l1: 0.02)",
    "Logistic(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 2.0, l1: 0.0, l2: 0.05)",
    "Logistic(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 2.0, l1: 0.02, l2: 0.05)",
    "Logistic(dimension: 8, rows: 24, heterogeneity: 0.3, noise: 2.0, l1: 0.0, box: (-0.1, 0.3))",
];

fn graph(text: &str) -> Graph {
    parse_ron::<GraphSpec>("graph", text)
        .unwrap()
        .build(1)
        .unwrap()
}

fn problem(text: &str, agents: usize) -> Problem {
    let spec: ProblemSpec = parse_ron("problem", text).unwrap();
    spec.sample(agents, 1, Role::Test, 0).unwrap()
}

fn method(text: &str) -> AlgorithmSpec {
    AlgorithmSpec::parse("method", text).unwrap()
}

/// Every method that takes every problem, with its options left out.
fn methods() -> Vec<AlgorithmSpec> {
    let mut all = AlgorithmSpec::handcrafted();
    all.push(method("Constants"));
    all
}

fn run(
    method: &AlgorithmSpec,
    problem: &Problem,
    graph: &Graph,
    optimum: &Optimum,
    steps: u64,
) -> Trace {
    let mut network = Network::new(graph);
    let mut process = method.start(problem, &mut network).unwrap();
    let options = Options {
        steps,
        tolerance: EXACT,
        ..Options::default()
    };
    simulate(
        process.as_mut(),
        problem,
        &mut network,
        optimum,
        &options,
        |_| {},
    )
    .unwrap()
}

/// Calls `visit(k, X^k)` for the iterates 1 to `steps`.
fn trajectory(
    method: &AlgorithmSpec,
    problem: &Problem,
    graph: &Graph,
    steps: usize,
    mut visit: impl FnMut(usize, &Field),
) {
    let mut network = Network::new(graph);
    let mut process = method.start(problem, &mut network).unwrap();
    for k in 1..=steps {
        process.step(problem, &mut network);
        visit(k, process.iterate());
    }
}

/// The iterates 1 to `steps`.
fn iterates(
    method: &AlgorithmSpec,
    problem: &Problem,
    graph: &Graph,
    steps: usize,
) -> Vec<DMatrix<f64>> {
    let mut all = Vec::new();
    trajectory(method, problem, graph, steps, |_, x| all.push(dense(x)));
    all
}

fn dense(x: &Field) -> DMatrix<f64> {
    DMatrix::from_fn(x.rows(), x.dimension(), |i, k| x.row(i)[k])
}

/// `max |a − b| / max(1, max |b|)`; NaN where either is not finite.
fn difference(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    largest(&(a - b)) / largest(b).max(1.0)
}

/// The largest absolute value; NaN where one is NaN.
fn largest(m: &DMatrix<f64>) -> f64 {
    m.iter()
        .map(|v| v.abs())
        .fold(0.0, |m, v| if m.is_nan() || m > v { m } else { v })
}

/// `(F(x̄) − F*)/F*`
fn gap(x: &DMatrix<f64>, problem: &Problem, optimum: &Optimum) -> f64 {
    let mean: Vec<f64> = (0..x.ncols())
        .map(|k| x.column(k).sum() / x.nrows() as f64)
        .collect();
    (problem.objective(&mean) - optimum.objective) / optimum.objective
}

/// Asserts that a wrong version does not reach the optimum; one that diverges has not reached it either.
fn assert_missed(what: &str, gap: f64) {
    println!("{what}: {gap:.1e}");
    assert!(gap.is_nan() || gap > MISSED, "{what} reaches {gap:e}");
}

#[test]
fn every_method_on_every_problem() {
    let cases: Vec<(&str, &str)> = PROBLEMS
        .iter()
        .flat_map(|p| GRAPHS.iter().map(move |g| (*p, *g)))
        .collect();
    let failures: Vec<String> = cases
        .par_iter()
        .flat_map_iter(|&(p, g)| {
            let graph = graph(g);
            let problem = problem(p, graph.agents());
            let optimum = optimum::solve(&problem).unwrap();
            let mut failures = Vec::new();
            let smooth = problem.regularizer().l1 == 0.0 && problem.regularizer().bounds.is_none();
            let more = ["Opapc", "ProxEdMomentum(restart: true, mixings: 2)", "ProxEd(mixing: Fastest)"];
            let more = more.iter().skip(usize::from(!smooth)).map(|text| self::method(text));
            for method in methods().into_iter().chain(more) {
                let trace = run(&method, &problem, &graph, &optimum, 10_000);
                let last = trace.last();
                let (consensus, drift) = (last.consensus_error.unwrap(), last.dual_drift.unwrap_or(0.0));
                // Nothing lies below F* by more than its certificate: two independent solvers agree.
                let floor = -trace.gap_certificate - 1e-15;
                let above = trace.samples.iter().all(|s| s.gap >= floor);
                let ok = above && if method.about().exact {
                    trace.status == Status::Converged && last.gap <= EXACT && consensus <= 1e-6 && drift <= 1e-11
                } else {
                    trace.status == Status::Stalled && last.gap > MISSED
                };
                if !ok {
                    failures.push(format!(
                        "{method} on {p} on {g}: {}, gap {:.1e}, consensus {consensus:.1e}, drift {drift:.1e}, to 1e-12: {:?}",
                        trace.status, last.gap, trace.rounds_to(1e-12)
                    ));
                }
            }
            failures
        })
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

// ---------------------------------------------------------------------------------------------------------------------
// Dense recursions, as the papers have them.

/// The matrix `W` of size `[agents, agents]`.
fn mixing_matrix(graph: &Graph, kind: MixingKind) -> DMatrix<f64> {
    let mixing = Mixing::new(graph, kind);
    let mut w = DMatrix::zeros(graph.agents(), graph.agents());
    for (&(i, j), &weight) in graph.edges().iter().zip(mixing.edge_weights()) {
        (w[(i, j)], w[(j, i)]) = (weight, weight);
    }
    for (i, &weight) in mixing.self_weights().iter().enumerate() {
        w[(i, i)] = weight;
    }
    w
}

fn adjacent(graph: &Graph, i: usize, j: usize) -> bool {
    graph.neighbors(i).iter().any(|n| n.agent == j)
}

/// `topology/3`, hard-coded by the public MiLoDo code: `1/3` for every neighbour and for the agent itself.
fn third_of_the_topology(graph: &Graph) -> DMatrix<f64> {
    let n = graph.agents();
    DMatrix::from_fn(n, n, |i, j| {
        if i == j || adjacent(graph, i, j) {
            1.0 / 3.0
        } else {
            0.0
        }
    })
}

fn identity(n: usize) -> DMatrix<f64> {
    DMatrix::identity(n, n)
}

fn half(m: &DMatrix<f64>) -> DMatrix<f64> {
    0.5 * m
}

fn gradients(problem: &Problem, x: &DMatrix<f64>) -> DMatrix<f64> {
    let d = problem.dimension();
    let mut g = DMatrix::zeros(x.nrows(), d);
    let mut out = vec![0.0; d];
    for i in 0..x.nrows() {
        let row: Vec<f64> = x.row(i).iter().copied().collect();
        problem.gradient(i, &row, &mut out);
        (0..d).for_each(|k| g[(i, k)] = out[k]);
    }
    g
}

/// `prox_{α_i r}` row by row.
fn prox(problem: &Problem, steps: &[f64], z: &DMatrix<f64>) -> DMatrix<f64> {
    let r = problem.regularizer();
    DMatrix::from_fn(z.nrows(), z.ncols(), |i, k| r.prox(steps[i], z[(i, k)]))
}

/// `diag(steps) · m`
fn scale_rows(steps: &[f64], m: &DMatrix<f64>) -> DMatrix<f64> {
    DMatrix::from_fn(m.nrows(), m.ncols(), |i, k| steps[i] * m[(i, k)])
}

/// `X = prox_{αr}(Z);  Z⁺ = A X − αB∇(X) − Y;  Y⁺ = Y + C Z⁺;  Y⁰ = 0`
struct Recursion {
    a: DMatrix<f64>,
    b: DMatrix<f64>,
    c: DMatrix<f64>,
    step: f64,
    /// The step of the prox: `α`, unless the version is wrong.
    prox_step: f64,
}

impl Recursion {
    /// The row of the table that belongs to a method.
    fn of(method: &str, w: &DMatrix<f64>, step: f64) -> Self {
        let one = identity(w.nrows());
        let lambda = &one - w;
        let lazy = half(&(&one + w));
        let (a, b, c) = match method {
            "ProxEd" => (lazy.clone(), lazy, half(&lambda)),
            "PgExtra" => (lazy, one, half(&lambda)),
            "ProxAtc" => (w * w, w * w, &lambda * &lambda),
            "SemiAtc" => (w * w, w.clone(), &lambda * &lambda),
            "Diging" => (w * w, one, &lambda * &lambda),
            other => panic!("{other} has no row"),
        };
        Self {
            a,
            b,
            c,
            step,
            prox_step: step,
        }
    }

    /// The iterates `X` 1 to `steps`.
    fn iterates(&self, problem: &Problem, steps: usize) -> Vec<DMatrix<f64>> {
        let proxes = vec![self.prox_step; problem.agents()];
        let zeros = DMatrix::zeros(problem.agents(), problem.dimension());
        let (mut x, mut y) = (prox(problem, &proxes, &zeros), zeros);
        let mut all = Vec::with_capacity(steps);
        for _ in 0..steps {
            let z = &self.a * &x - self.step * (&self.b * gradients(problem, &x)) - &y;
            y += &self.c * &z;
            x = prox(problem, &proxes, &z);
            all.push(x.clone());
        }
        all
    }
}

/// `x = prox_{α_i r}(z);  z⁺ = z − x + W~(2x − x⁻ − Λ(∇(x) − ∇(x⁻)))`, first `z¹ = x⁰ − Λ∇(x⁰)`; the iterates 1 to `rounds`.
fn nids(
    problem: &Problem,
    steps: &[f64],
    w_tilde: &DMatrix<f64>,
    rounds: usize,
) -> Vec<DMatrix<f64>> {
    let mut x_last = prox(
        problem,
        steps,
        &DMatrix::zeros(problem.agents(), problem.dimension()),
    );
    let mut g_last = gradients(problem, &x_last);
    let mut z = &x_last - scale_rows(steps, &g_last);
    let mut all = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let x = prox(problem, steps, &z);
        let g = gradients(problem, &x);
        let moved = 2.0 * &x - &x_last - scale_rows(steps, &(&g - &g_last));
        z = &z - &x + w_tilde * moved;
        all.push(x.clone());
        (x_last, g_last) = (x, g);
    }
    all
}

/// `Λ_K = I − T_K((I − Λ/m)/ρ)/T_K(1/ρ)` and its largest and smallest eigenvalue off consensus, from the definition.
fn chebyshev(graph: &Graph, kind: MixingKind, mixings: usize) -> (DMatrix<f64>, f64, f64) {
    let one = identity(graph.agents());
    let lambda = &one - mixing_matrix(graph, kind);
    let mut eigenvalues = lambda.symmetric_eigenvalues().as_slice().to_vec();
    eigenvalues.sort_by(f64::total_cmp);
    let (smallest, largest) = (eigenvalues[1], eigenvalues[eigenvalues.len() - 1]);
    let rho = (largest - smallest) / (largest + smallest);
    let argument = (1.0 / rho) * (&one - (2.0 / (largest + smallest)) * lambda);
    let (mut t_last, mut t) = (one.clone(), argument.clone());
    let (mut scalar_last, mut scalar) = (1.0, 1.0 / rho);
    for _ in 1..mixings {
        (t, t_last) = (2.0 * &argument * &t - t_last, t);
        (scalar, scalar_last) = (2.0 / rho * scalar - scalar_last, scalar);
    }
    (
        one - (1.0 / scalar) * t,
        1.0 + 1.0 / scalar,
        1.0 - 1.0 / scalar,
    )
}

/// `V = X + β(X − X⁻);  Z⁺ = (I − C)(V − α∇(X)) − Y;  Y⁺ = Y + C Z⁺;  X⁺ = prox_{αr}(Z⁺)`; with restart an agent's `β` is zero
/// where `⟨v − x⁺, x⁺ − x⟩ > 0`. The iterates 1 to `rounds`.
fn ed_momentum(
    problem: &Problem,
    (step, beta, restart): (f64, f64, bool),
    c: &DMatrix<f64>,
    rounds: usize,
) -> Vec<DMatrix<f64>> {
    let steps = vec![step; problem.agents()];
    let mut y = DMatrix::zeros(problem.agents(), problem.dimension());
    let mut x = prox(problem, &steps, &y);
    let (mut x_last, mut v) = (x.clone(), x.clone());
    let mut all = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let moved = &x - &x_last;
        let betas: Vec<f64> = (0..problem.agents())
            .map(|i| (v.row(i) - x.row(i)).dot(&moved.row(i)))
            .map(|uphill| if restart && uphill > 0.0 { 0.0 } else { beta })
            .collect();
        v = &x + scale_rows(&betas, &moved);
        let u = &v - step * gradients(problem, &x);
        let z = &u - c * &u - &y;
        y += c * &z;
        (x, x_last) = (prox(problem, &steps, &z), x);
        all.push(x.clone());
    }
    all
}

/// Largest difference between the iterates of two methods.
fn apart(a: &[DMatrix<f64>], b: &[DMatrix<f64>]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| difference(a, b))
        .fold(0.0, |m, v| if v.is_nan() { v } else { m.max(v) })
}

const DENSE_PROBLEM: &str = "Lasso(dimension: 8, rows: 24, heterogeneity: 0.5, noise: 0.5, l1: 0.1, l2: 0.1, box: (-0.2, 1.0))";

#[test]
fn the_table_of_recursions_is_what_runs() {
    for g in GRAPHS {
        let graph = graph(g);
        let problem = problem(DENSE_PROBLEM, graph.agents());
        for kind in [MixingKind::LazyMetropolis, MixingKind::Metropolis] {
            let w = mixing_matrix(&graph, kind);
            for name in ["ProxEd", "PgExtra", "ProxAtc", "SemiAtc", "Diging"] {
                let step = 0.5 / problem.smoothness_max();
                let ours = method(&format!("{name}(step: {step:e}, mixing: {kind:?})"));
                let ours = iterates(&ours, &problem, &graph, 100);
                let paper = Recursion::of(name, &w, step).iterates(&problem, 100);
                let difference = apart(&ours, &paper);
                assert!(difference <= 1e-10, "{name}, {kind:?}, {g}: {difference:e}");
            }
        }
        // DLM: A = I − αρL_G, B = I, C = αρL_G.
        let largest = (0..graph.agents()).map(|i| graph.degree(i)).max().unwrap();
        let weight = 0.5 / (1 + largest) as f64;
        let one = identity(graph.agents());
        let laplacian = DMatrix::from_fn(graph.agents(), graph.agents(), |i, j| {
            weight
                * if i == j {
                    graph.degree(i) as f64
                } else {
                    -f64::from(adjacent(&graph, i, j))
                }
        });
        let step = 1.0 / problem.smoothness_max();
        let paper = Recursion {
            a: &one - &laplacian,
            b: one,
            c: laplacian,
            step,
            prox_step: step,
        };
        let ours = iterates(&method("Dlm"), &problem, &graph, 100);
        let difference = apart(&ours, &paper.iterates(&problem, 100));
        assert!(difference <= 1e-10, "Dlm, {g}: {difference:e}");
    }
}

#[test]
fn exact_diffusion_with_momentum_is_its_recursion() {
    for g in GRAPHS {
        let graph = graph(g);
        let problem = problem(DENSE_PROBLEM, graph.agents());
        let step = 1.0 / problem.smoothness_max();
        for (text, (mixings, beta, restart)) in [
            ("ProxEdFast", (2, 0.0, false)),
            ("ProxEdFast(mixings: 3)", (3, 0.0, false)),
            ("ProxEdMomentum", (1, 0.5, false)),
            ("ProxEdMomentum(beta: 0.8, restart: true)", (1, 0.8, true)),
            ("ProxEdMomentum(beta: 0.7, mixings: 4)", (4, 0.7, false)),
        ] {
            let (gossip, largest, _) = chebyshev(&graph, MixingKind::default(), mixings);
            let c = (1.0 / largest) * gossip;
            let paper = ed_momentum(&problem, (step, beta, restart), &c, 100);
            let difference = apart(&iterates(&method(text), &problem, &graph, 100), &paper);
            assert!(difference <= 1e-9, "{text}, {g}: {difference:e}");
            if restart {
                let without = ed_momentum(&problem, (step, beta, false), &c, 100);
                assert!(apart(&without, &paper) > 1e-6, "{g}: nobody restarts");
            }
        }
    }
}

#[test]
fn opapc_is_its_recursion() {
    for g in GRAPHS {
        let graph = graph(g);
        let problem = problem(PROBLEMS[2], graph.agents());
        let (mu, l2) = (0.3, problem.regularizer().l2);
        let l = problem.smoothness_max() + l2;
        for mixings in [1, 2, 3] {
            let (gossip, largest, smallest) = chebyshev(&graph, MixingKind::default(), mixings);
            let tau = (0.5 * (largest / smallest * mu / l).sqrt()).min(1.0);
            let eta = 1.0 / (4.0 * tau * l);
            let theta = 1.0 / (eta * largest);
            let zeros = DMatrix::zeros(graph.agents(), problem.dimension());
            let (mut x, mut x_f, mut y) = (zeros.clone(), zeros.clone(), zeros);
            let mut paper = Vec::new();
            for _ in 0..100 {
                let x_g = tau * &x + (1.0 - tau) * &x_f;
                let force = gradients(&problem, &x_g) + (l2 - mu) * &x_g;
                let half = (1.0 / (1.0 + eta * mu)) * (&x - eta * (&force + &y));
                y += theta * (&gossip * half);
                let next = (1.0 / (1.0 + eta * mu)) * (&x - eta * (&force + &y));
                x_f = x_g + 2.0 * tau / (2.0 - tau) * (&next - &x);
                x = next;
                paper.push(x.clone());
            }
            let ours = method(&format!("Opapc(mu: {mu}, mixings: {mixings})"));
            let difference = apart(&iterates(&ours, &problem, &graph, 100), &paper);
            assert!(difference <= 1e-9, "{mixings}, {g}: {difference:e}");
        }
    }
}

/// NIDS with the steps `1/((1 − ω)L_i + ωL_i h_ik/max_l h_il)`, where every coordinate has a `W~` of its own.
/// Edge ADMM with local solves in closed form, `x_i = (A_iᵀA_i/m_i + (l2 + ρd_i) I)⁻¹ (A_iᵀb_i/m_i + Σ_j z_ij)`.
#[test]
fn admm_is_its_recursion() {
    let text = "Lasso(dimension: 6, rows: 4, l1: 0, l2: 0.1, heterogeneity: 0.5)";
    for g in ["Ring(5)", "Star(5)", "Tree(agents: 6, branching: 2)"] {
        let graph = graph(g);
        let problem = problem(text, graph.agents());
        let (n, d) = (graph.agents(), problem.dimension());
        let (penalty, a) = (0.2, 0.8);
        let mean = (0..n).map(|i| problem.smoothness(i)).sum::<f64>() / n as f64;
        let rho = penalty * mean;
        let l2 = problem.regularizer().l2;
        // z[i][j] of every ordered pair of neighbours.
        let mut z = vec![vec![DVector::<f64>::zeros(d); n]; n];
        let ours = method(&format!("Admm(penalty: {penalty}, relaxation: {a})"));
        trajectory(&ours, &problem, &graph, 40, |k, found| {
            let x: Vec<DVector<f64>> = (0..n)
                .map(|i| {
                    let shard = &problem.shards()[i];
                    let m = shard.targets.len() as f64;
                    let rows = DMatrix::from_row_slice(shard.targets.len(), d, &shard.features);
                    let degree = graph.degree(i) as f64;
                    let hessian = rows.transpose() * &rows / m
                        + DMatrix::identity(d, d) * (l2 + rho * degree);
                    let mut right = rows.transpose() * DVector::from_row_slice(&shard.targets) / m;
                    for neighbor in graph.neighbors(i) {
                        right += &z[i][neighbor.agent];
                    }
                    hessian.lu().solve(&right).unwrap()
                })
                .collect();
            let before = z.clone();
            for &(i, j) in graph.edges() {
                for (i, j) in [(i, j), (j, i)] {
                    z[i][j] = &before[i][j] * (1.0 - a) - (&before[j][i] - &x[j] * (2.0 * rho)) * a;
                }
            }
            for (i, x) in x.iter().enumerate() {
                let error = (DVector::from_row_slice(found.row(i)) - x).amax();
                assert!(
                    error <= 1e-10 * (1.0 + x.amax()),
                    "{g}, step {k}, agent {i}: {error:e}"
                );
            }
        });
    }
}

/// Smooth, so that the local models have closed forms.
#[test]
fn sonata_is_its_recursion() {
    let text = "Lasso(dimension: 6, rows: 4, l1: 0, l2: 0.1, heterogeneity: 0.5)";
    for g in ["Ring(5)", "Star(5)"] {
        let graph = graph(g);
        let problem = problem(text, graph.agents());
        let (n, d) = (graph.agents(), problem.dimension());
        let mean = (0..n).map(|i| problem.smoothness(i)).sum::<f64>() / n as f64;
        let (beta, l2) = (0.7 * mean, problem.regularizer().l2);
        // One round of FastMix from rest: (1 + η)W − η.
        let sigma = Mixing::new(&graph, MixingKind::LazyMetropolis)
            .spectrum(&graph)
            .unwrap()
            .sigma;
        let root = (1.0 - sigma * sigma).sqrt();
        let eta = (1.0 - root) / (1.0 + root);
        let w = mixing_matrix(&graph, MixingKind::LazyMetropolis) * (1.0 + eta) - identity(n) * eta;
        let mut x = DMatrix::<f64>::zeros(n, d);
        let mut g_now = gradients(&problem, &x);
        let mut s = g_now.clone();
        trajectory(
            &method("Sonata(similarity: 0.7)"),
            &problem,
            &graph,
            30,
            |k, found| {
                let mut solved = DMatrix::<f64>::zeros(n, d);
                for i in 0..n {
                    let shard = &problem.shards()[i];
                    let m = shard.targets.len() as f64;
                    let rows = DMatrix::from_row_slice(shard.targets.len(), d, &shard.features);
                    let hessian =
                        rows.transpose() * &rows / m + DMatrix::identity(d, d) * (l2 + beta);
                    let right = rows.transpose() * DVector::from_row_slice(&shard.targets) / m
                        - (s.row(i) - g_now.row(i)).transpose()
                        + x.row(i).transpose() * beta;
                    let point = hessian.lu().solve(&right).unwrap();
                    solved.row_mut(i).copy_from(&point.transpose());
                }
                x = &w * solved;
                let g_next = gradients(&problem, &x);
                s = &w * (&s + &g_next - &g_now);
                g_now = g_next;
                let apart = difference(&dense(found), &x);
                assert!(apart <= 1e-10, "{g}, step {k}: {apart:e}");
            },
        );
    }
}

/// With l1, each agent's step its own: both rules for it.
#[test]
fn adaptive_tracking_is_its_recursion() {
    let text = "Lasso(dimension: 6, rows: 8, l1: 0.05, heterogeneity: 0.5)";
    let graph = graph("Star(5)");
    let problem = problem(text, 5);
    let (n, d, l1) = (5, problem.dimension(), problem.regularizer().l1);
    let w = mixing_matrix(&graph, MixingKind::LazyMetropolis);
    for (name, scale) in [("AdGt", 1.0), ("BbTracking", 0.4)] {
        let mut x = DMatrix::<f64>::zeros(n, d);
        let mut g = gradients(&problem, &x);
        let mut s = g.clone();
        let first: Vec<f64> = (0..n).map(|i| 1.0 / problem.smoothness(i)).collect();
        let (mut steps, mut last) = (first.clone(), first);
        let ours = method(&format!("{name}(step: {scale})"));
        trajectory(&ours, &problem, &graph, 30, |k, found| {
            let z = DMatrix::from_fn(n, d, |i, j| {
                let alpha = scale * steps[i];
                let v: f64 = x[(i, j)] - alpha * s[(i, j)];
                v.signum() * (v.abs() - alpha * l1).max(0.0)
            });
            let x_next = &w * z;
            let g_next = gradients(&problem, &x_next);
            s = &w * (&s + &g_next - &g);
            for i in 0..n {
                let moved = x_next.row(i) - x.row(i);
                let turned = g_next.row(i) - g.row(i);
                let next = match name {
                    "AdGt" => {
                        let grown = (1.0 + steps[i] / last[i]).sqrt() * steps[i];
                        grown.min(0.5 * moved.norm() / turned.norm())
                    }
                    _ => moved.dot(&turned) / turned.norm_squared(),
                };
                (last[i], steps[i]) = (steps[i], next);
            }
            (x, g) = (x_next, g_next);
            let apart = difference(&dense(found), &x);
            assert!(apart <= 1e-9, "{name}, step {k}: {apart:e}");
        });
    }
}

/// The strongest handcrafted method found: at most 80 rounds to 1e-6 on LASSO with d = 100 on a ring of 10.
#[test]
fn admm_is_fast_on_the_ring() {
    let graph = graph("Ring(10)");
    let mut rounds: Vec<u64> = (0..5)
        .map(|trial| {
            let spec: ProblemSpec =
                parse_ron("problem", "Lasso(dimension: 100, rows: 10)").unwrap();
            let problem = spec.sample(10, 1, Role::Test, trial).unwrap();
            let optimum = optimum::solve(&problem).unwrap();
            let method = method("Admm(penalty: 0.12, relaxation: 0.95)");
            let trace = run(&method, &problem, &graph, &optimum, 400);
            let last = trace.last();
            assert_eq!(last.local_solves, last.iteration);
            assert!(last.gradient_evaluations > last.iteration);
            trace.rounds_to(1e-6).unwrap_or(u64::MAX)
        })
        .collect();
    rounds.sort_unstable();
    println!("rounds to 1e-6: {rounds:?}");
    assert!(rounds[2] <= 80, "{rounds:?}");
}

/// Local solves end where rounding does, also where targets are large beside what the features explain.
#[test]
fn local_solves_of_admm_end_at_rounding_level() {
    let mut rng = random::stream(1, "test/admm", &[]);
    let shards: Vec<Shard> = (0..5)
        .map(|_| Shard {
            features: (0..40).map(|_| rng.random_range(-1.0..1.0)).collect(),
            targets: (0..10)
                .map(|_| 2000.0 + rng.random_range(-1.0..1.0))
                .collect(),
        })
        .collect();
    let r = Regularizer::new(0.1, 0.0, None).unwrap();
    let problem = Problem::new("large targets", 4, Loss::LeastSquares, shards, r).unwrap();
    let optimum = optimum::solve(&problem).unwrap();
    let trace = run(&method("Admm"), &problem, &graph("Ring(5)"), &optimum, 300);
    let per_solve = trace.last().gradient_evaluations / trace.last().local_solves;
    println!("{per_solve} gradients a solve");
    assert!(per_solve < 200, "{per_solve} gradients a solve");
    assert_eq!(trace.status, Status::Converged);
}

#[test]
fn diagonal_nids_is_nids_coordinate_by_coordinate() {
    for g in GRAPHS {
        let graph = graph(g);
        let problem = problem(DENSE_PROBLEM, graph.agents());
        let (n, d) = (graph.agents(), problem.dimension());
        let lambda = identity(n) - mixing_matrix(&graph, MixingKind::LazyMetropolis);
        let paper = |blend: f64| {
            let steps = DMatrix::from_fn(n, d, |i, k| {
                let rows = problem.shards()[i].features.chunks_exact(d);
                let h = |l: usize| rows.clone().map(|row| row[l] * row[l]).sum::<f64>();
                let largest = (0..d).map(h).fold(0.0, f64::max);
                1.0 / (problem.smoothness(i) * (1.0 - blend + blend * h(k) / largest))
            });
            let r = problem.regularizer();
            let prox =
                |z: &DMatrix<f64>| DMatrix::from_fn(n, d, |i, k| r.prox(steps[(i, k)], z[(i, k)]));
            let mixed = |v: &DMatrix<f64>| {
                DMatrix::from_fn(n, d, |i, k| {
                    let c = 0.5 / steps.column(k).max();
                    v[(i, k)] - c * steps[(i, k)] * lambda.row(i).transpose().dot(&v.column(k))
                })
            };
            let mut x_last = prox(&DMatrix::zeros(n, d));
            let mut g_last = gradients(&problem, &x_last);
            let mut z = &x_last - steps.component_mul(&g_last);
            let mut all = Vec::new();
            for _ in 0..100 {
                let x = prox(&z);
                let g = gradients(&problem, &x);
                z += mixed(&(2.0 * &x - &x_last - steps.component_mul(&(&g - &g_last)))) - &x;
                (x_last, g_last) = (x.clone(), g);
                all.push(x);
            }
            all
        };
        let ours = |text: &str| iterates(&method(text), &problem, &graph, 100);
        let diagonal = ours("DiagonalNids(blend: 0.7)");
        assert!(apart(&diagonal, &paper(0.7)) <= 1e-10, "{g}");
        assert!(
            apart(&ours("DiagonalNids(blend: 0)"), &ours("Nids")) == 0.0,
            "{g}"
        );
        assert!(apart(&diagonal, &ours("Nids")) > 1e-3, "{g}");
    }
}

#[test]
fn dlm_with_half_the_laplacian_is_pg_extra() {
    let graph = graph("Ring(6)");
    let problem = problem(DENSE_PROBLEM, 6);
    let dlm = iterates(&method("Dlm"), &problem, &graph, 300);
    let extra = iterates(&method("PgExtra(mixing: Uniform)"), &problem, &graph, 300);
    assert!(apart(&dlm, &extra) <= 1e-12);
}

/// All agents share one feature matrix, so that all `L_i` are equal; their targets differ.
fn equal_smoothness(agents: usize, regularizer: Regularizer) -> Problem {
    let d = 6;
    let mut rng = random::stream(7, "test/methods/equal", &[]);
    let features: Vec<f64> = (0..10 * d).map(|_| rng.random_range(-1.0..1.0)).collect();
    let shards = (0..agents)
        .map(|_| Shard {
            features: features.clone(),
            targets: (0..10).map(|_| rng.random_range(-1.0..1.0)).collect(),
        })
        .collect();
    Problem::new("equal L_i", d, Loss::LeastSquares, shards, regularizer).unwrap()
}

/// `Constants` without memory: `P = α, S = w/(2α), C = w/2` in the units of `shared`, where `w` is lazy Metropolis.
fn memoryless(graph: &Graph, primal: f64) -> AlgorithmSpec {
    // w_lazy/2 = w_metropolis/4 = (λ/4)·(w_metropolis/λ), λ = λ_max(I − W).
    let metropolis = Mixing::new(graph, MixingKind::Metropolis);
    let mixing = metropolis.spectrum(graph).unwrap().laplacian_max / 4.0;
    let dual = mixing / primal;
    method(&format!(
        "Constants(primal: {primal:e}, momentum: 0.0, gradient_difference: 0.0, extrapolation: 0.0, \
         dual: {dual:e}, mixing: {mixing:e}, memory: 0.0)"
    ))
}

#[test]
fn memoryless_constants_are_exact_diffusion_where_r_is_zero() {
    for g in GRAPHS {
        let graph = graph(g);
        let problem = equal_smoothness(graph.agents(), Regularizer::default());
        let primal = 0.9;
        let step = primal / problem.smoothness_max();
        let constants = iterates(&memoryless(&graph, primal), &problem, &graph, 500);
        let diffusion = iterates(
            &method(&format!("ProxEd(step: {step:e})")),
            &problem,
            &graph,
            500,
        );
        let difference = apart(&constants, &diffusion);
        assert!(difference <= 1e-12, "{g}: {difference:e}");
    }
}

/// For r ≠ 0 the rule takes the prox before mixing: another method, with the same limit.
#[test]
fn memoryless_constants_are_exact_where_r_is_not_zero() {
    for g in GRAPHS {
        let graph = graph(g);
        let problem = equal_smoothness(graph.agents(), Regularizer::new(0.05, 0.0, None).unwrap());
        let optimum = optimum::solve(&problem).unwrap();
        let constants = memoryless(&graph, 0.9);
        let trace = run(&constants, &problem, &graph, &optimum, 10_000);
        assert_eq!(
            trace.status,
            Status::Converged,
            "{g}: {:e}",
            trace.last().gap
        );
        let step = 0.9 / problem.smoothness_max();
        let diffusion = iterates(
            &method(&format!("ProxEd(step: {step:e})")),
            &problem,
            &graph,
            20,
        );
        assert!(
            apart(&iterates(&constants, &problem, &graph, 20), &diffusion) > 1e-3,
            "{g}"
        );
    }
}

/// With equal steps and r = 0 both satisfy `x⁺⁺ = W~(2x⁺ − x − α(∇(x⁺) − ∇(x)))` and differ by the mixing of the first step
/// only: `x¹ = W~(x⁰ − α∇)` in Exact Diffusion, `x¹ = x⁰ − α∇` in NIDS. Where all gradients at the start agree that mixing
/// changes nothing, and the two are one method.
#[test]
fn nids_with_equal_steps_is_exact_diffusion_where_r_is_zero() {
    let (n, d) = (6, 4);
    let graph = graph("Ring(6)");
    // Diagonal features, the same curvatures in another order for every agent; b_ik = v_k/a_ik makes ∇f_i(0) = −v/d.
    let curvatures = [1.0, 1.5, 2.0, 2.5];
    let shards = (0..n)
        .map(|i| {
            let a = |k: usize| curvatures[(i + k) % d];
            Shard {
                features: (0..d * d)
                    .map(|e| if e / d == e % d { a(e % d) } else { 0.0 })
                    .collect(),
                targets: (0..d).map(|k| (k as f64 - 1.2) / a(k)).collect(),
            }
        })
        .collect();
    let agreeing = Problem::new(
        "agreeing",
        d,
        Loss::LeastSquares,
        shards,
        Regularizer::default(),
    )
    .unwrap();
    assert!((1..n).all(|i| agreeing.smoothness(i) == agreeing.smoothness(0)));
    let disagreeing = equal_smoothness(n, Regularizer::default());
    let w_tilde = half(&(&identity(n) + mixing_matrix(&graph, MixingKind::LazyMetropolis)));

    for (problem, same_start) in [(agreeing, true), (disagreeing, false)] {
        let nids = iterates(&method("Nids"), &problem, &graph, 300);
        let diffusion = iterates(&method("ProxEd"), &problem, &graph, 300);
        let difference = apart(&nids, &diffusion);
        assert_eq!(difference <= 1e-10, same_start, "{difference:e}");
        let step = 1.0 / problem.smoothness_max();
        for x in [&nids, &diffusion] {
            for three in x.windows(3) {
                let change = gradients(&problem, &three[1]) - gradients(&problem, &three[0]);
                let next = &w_tilde * (2.0 * &three[1] - &three[0] - step * change);
                assert!(self::difference(&three[2], &next) <= 1e-10);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Known wrong versions.

const LASSO: &str = "Lasso(dimension: 8, rows: 24, heterogeneity: 0.5, noise: 0.5, l1: 0.1)";

/// A prox with the full step beside a gradient with a share of it: another weight of the regularizer.
#[test]
fn wrong_prox_scaled_differently_from_the_gradient() {
    let graph = graph("Ring(6)");
    let right = problem(LASSO, 6);
    let optimum = optimum::solve(&right).unwrap();
    // The gradient of the problem with features and targets times √s is s∇f, which is what the wrong versions use.
    let scaled = |share: f64| {
        let root = share.sqrt();
        let shards = right.shards().iter().map(|s| Shard {
            features: s.features.iter().map(|v| root * v).collect(),
            targets: s.targets.iter().map(|v| root * v).collect(),
        });
        Problem::new(
            "scaled",
            8,
            Loss::LeastSquares,
            shards.collect(),
            *right.regularizer(),
        )
        .unwrap()
    };
    let step = 0.5 / right.smoothness_max();
    for (name, share) in [
        ("Dapg", 0.5),
        ("Odapg", 0.85),
        ("ProxEd", 0.5),
        ("Nids", 0.5),
    ] {
        // The step of NIDS comes in units of 1/L_i.
        let method = method(&if name == "Nids" {
            name.into()
        } else {
            format!("{name}(step: {step:e})")
        });
        let end = |problem: &Problem| {
            let last = iterates(&method, problem, &graph, 5_000).pop().unwrap();
            gap(&last, &right, &optimum)
        };
        assert!(end(&scaled(1.0)) <= EXACT, "{name}");
        assert_missed(
            &format!("{name} with {share} of the gradient"),
            end(&scaled(share)),
        );
    }
    let w = mixing_matrix(&graph, MixingKind::LazyMetropolis);
    for name in ["ProxEd", "PgExtra", "ProxAtc", "SemiAtc", "Diging"] {
        let mut recursion = Recursion::of(name, &w, step);
        let end = |r: &Recursion| gap(&r.iterates(&right, 2_000).pop().unwrap(), &right, &optimum);
        assert!(end(&recursion) <= EXACT, "{name}");
        recursion.prox_step = 2.0 * step;
        assert_missed(&format!("{name} with twice the prox"), end(&recursion));
    }
}

#[test]
fn wrong_mixing_hard_coded_as_a_third_of_the_topology() {
    let gap_on = |g: &str, w: &dyn Fn(&Graph) -> DMatrix<f64>| {
        let graph = graph(g);
        let problem = problem(LASSO, graph.agents());
        let optimum = optimum::solve(&problem).unwrap();
        let recursion = Recursion::of("ProxEd", &w(&graph), 0.5 / problem.smoothness_max());
        gap(
            &recursion.iterates(&problem, 3_000).pop().unwrap(),
            &problem,
            &optimum,
        )
    };
    // On a ring it is the uniform matrix, and right.
    assert!(gap_on("Ring(6)", &third_of_the_topology) <= EXACT);
    for g in ["Star(5)", "Path(5)", "Complete(5)"] {
        assert!(gap_on(g, &|graph| mixing_matrix(graph, MixingKind::LazyMetropolis)) <= EXACT);
        assert_missed(
            &format!("topology/3 on {g}"),
            gap_on(g, &third_of_the_topology),
        );
    }
}

#[test]
fn wrong_nids_with_unequal_steps_and_plain_mixing() {
    for g in GRAPHS {
        let graph = graph(g);
        let problem = problem(LASSO, graph.agents());
        let optimum = optimum::solve(&problem).unwrap();
        let steps: Vec<f64> = (0..graph.agents())
            .map(|i| 1.0 / problem.smoothness(i))
            .collect();
        let largest = steps.iter().copied().fold(0.0, f64::max);
        let one = identity(graph.agents());
        let w = mixing_matrix(&graph, MixingKind::LazyMetropolis);
        // W~ = I − cΛ(I − W), c = 1/(2 max α_i), is what runs; (I + W)/2 is right for equal steps only.
        let right = &one - scale_rows(&steps, &(0.5 / largest * (&one - &w)));
        let wrong = half(&(&one + &w));
        let paper = nids(&problem, &steps, &right, 5_000);
        let ours = iterates(&method("Nids"), &problem, &graph, 5_000);
        assert!(
            apart(&ours, &paper) <= 1e-10,
            "{g}: {:e}",
            apart(&ours, &paper)
        );
        assert!(gap(&paper[4_999], &problem, &optimum) <= EXACT, "{g}");
        let wrong = nids(&problem, &steps, &wrong, 5_000).pop().unwrap();
        assert_missed(
            &format!("NIDS with unequal steps and (I + W)/2 on {g}"),
            gap(&wrong, &problem, &optimum),
        );
    }
}

/// Adapt-then-combine tracking, `x⁺ = prox_{αr}(W(x − αs)), s⁺ = W(s + ∇(x⁺) − ∇(x))`, with the mixing of `s` left out.
#[test]
fn wrong_tracking_that_mixes_the_iterate_and_not_the_gradient() {
    let graph = graph("Ring(6)");
    let problem = problem(LASSO, 6);
    let optimum = optimum::solve(&problem).unwrap();
    let w = mixing_matrix(&graph, MixingKind::LazyMetropolis);
    let step = 0.3 / problem.smoothness_max();
    let end = |tracker: &DMatrix<f64>| {
        let mut x = DMatrix::zeros(6, 8);
        let mut g = gradients(&problem, &x);
        let mut s = g.clone();
        for _ in 0..5_000 {
            x = prox(&problem, &[step; 6], &(&w * (&x - step * &s)));
            let g_next = gradients(&problem, &x);
            s = tracker * (&s + &g_next - &g);
            g = g_next;
        }
        gap(&x, &problem, &optimum)
    };
    assert!(end(&w) <= EXACT);
    assert_missed("tracking without mixing", end(&identity(6)));
}

/// In f32, accumulating `Z − WZ` drifts; accumulating antisymmetric edge flows does not.
#[test]
fn wrong_duals_from_z_minus_wz_in_single_precision() {
    let (n, d) = (10, 20);
    let graph = graph("Ring(10)");
    let problem = problem("Lasso(dimension: 20, rows: 8, l1: 0.1)", n);
    let w = mixing_matrix(&graph, MixingKind::LazyMetropolis);
    let step = 1.0 / problem.smoothness_max();
    // ‖Σ_i y_i‖∞ after 30,000 steps of Exact Diffusion in the form z = prox(x − P(∇ + y)), mixed after the prox.
    let drift = |flows: bool| {
        let (mut x, mut y) = (vec![vec![0f32; d]; n], vec![vec![0f32; d]; n]);
        let mut flow = vec![vec![0f32; d]; graph.edges().len()];
        let mut g = vec![0.0; d];
        for _ in 0..30_000 {
            let z: Vec<Vec<f32>> = (0..n)
                .map(|i| {
                    let point: Vec<f64> = x[i].iter().map(|v| f64::from(*v)).collect();
                    problem.gradient(i, &point, &mut g);
                    (0..d)
                        .map(|k| {
                            let v = x[i][k] - step as f32 * (g[k] as f32 + y[i][k]);
                            problem.regularizer().prox(step, f64::from(v)) as f32
                        })
                        .collect()
                })
                .collect();
            let dual = (0.5 / step) as f32;
            if flows {
                x.clone_from(&z);
                y.iter_mut().for_each(|row| row.fill(0.0));
                for (e, &(i, j)) in graph.edges().iter().enumerate() {
                    let weight = w[(i, j)] as f32;
                    for k in 0..d {
                        let mixed = weight * (z[i][k] - z[j][k]);
                        flow[e][k] += dual * mixed;
                        y[i][k] += flow[e][k];
                        y[j][k] -= flow[e][k];
                        x[i][k] -= 0.5 * mixed;
                        x[j][k] += 0.5 * mixed;
                    }
                }
            } else {
                for i in 0..n {
                    for k in 0..d {
                        let mixed =
                            z[i][k] - (0..n).map(|j| w[(i, j)] as f32 * z[j][k]).sum::<f32>();
                        y[i][k] += dual * mixed;
                        x[i][k] = z[i][k] - 0.5 * mixed;
                    }
                }
            }
        }
        let total = |k: usize| y.iter().map(|row| f64::from(row[k])).sum::<f64>().abs();
        (0..d).map(total).fold(0.0, f64::max)
    };
    let (flows, naive) = (drift(true), drift(false));
    println!("‖Σy‖∞: flows {flows:.1e}, Z − WZ {naive:.1e}");
    assert!(
        flows <= 1e-5 && naive >= 1e-3,
        "flows {flows:e}, Z − WZ {naive:e}"
    );
}

// ---------------------------------------------------------------------------------------------------------------------
// Bills, threads, exchanges.

#[test]
fn an_iteration_is_billed_as_its_paper_says() {
    let graph = graph("Star(5)");
    let problem = problem(PROBLEMS[0], 5);
    let (edges, d) = (graph.edges().len() as u64, problem.dimension() as u64);
    for (text, rounds, scalars) in [
        ("ProxDgd", 1, 0),
        ("PgExtra", 1, 0),
        ("Nids", 1, 0),
        ("ProxEd", 1, 0),
        ("Dlm", 1, 0),
        ("Constants", 1, 1),
        ("ProxAtc", 2, 0),
        ("SemiAtc", 2, 0),
        ("Diging", 2, 0),
        ("Dapg", 3, 0),
        ("Odapg", 3, 0),
        ("DiagonalNids", 1, 0),
        ("ProxEdFast", 2, 0),
        ("ProxEdMomentum", 1, 0),
        ("ProxEdMomentum(mixings: 3)", 3, 0),
        ("Admm", 1, 0),
        ("AdGt", 2, 0),
        ("BbTracking", 2, 0),
        ("Sonata", 2, 0),
        ("Sonata(mixings: 3)", 6, 0),
        ("Opapc(mixings: 1)", 1, 0),
        ("Opapc(mixings: 5)", 5, 0),
        ("Dapg(mixings: 2)", 6, 0),
        ("Odapg(mixings: 4)", 12, 0),
    ] {
        let mut network = Network::new(&graph);
        let mut process = method(text).start(&problem, &mut network).unwrap();
        assert_eq!(
            (network.bill().rounds, network.bill().floats),
            (0, 2 * edges * scalars),
            "{text}"
        );
        for k in 1..=7 {
            process.step(&problem, &mut network);
            let bill = network.bill();
            // The first step of NIDS, z¹ = x⁰ − Λ∇, needs no neighbour.
            let expected = rounds * if text.ends_with("Nids") { k - 1 } else { k };
            assert_eq!(
                (bill.rounds, bill.vectors_per_edge),
                (expected, expected),
                "{text}, step {k}"
            );
            // With the first z of `Constants` travels the unit of its safeguard.
            let scalars = scalars + u64::from(text == "Constants");
            assert_eq!(
                bill.floats,
                2 * edges * (d * expected + scalars),
                "{text}, step {k}"
            );
            assert_eq!(bill.bytes, 8 * bill.floats, "{text}, step {k}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let graph = graph("Ring(10)");
    let problem = problem("Lasso(dimension: 2000, rows: 10)", 10);
    let with_threads = |threads: usize, method: &AlgorithmSpec| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut bits: Vec<Vec<u64>> = Vec::new();
            trajectory(method, &problem, &graph, 40, |_, x| {
                bits.push(x.values().iter().map(|v| v.to_bits()).collect());
            });
            bits
        })
    };
    for method in methods() {
        assert!(
            with_threads(1, &method) == with_threads(2, &method),
            "{method}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn exchanges_conserve_sums_and_match_the_dense_matrix(
        agents in 2..12usize, dimension in 1..6usize, seed in 0..1_000u64, size in -3..4i32,
    ) {
        let spec = GraphSpec::ErdosRenyi { agents, probability: 0.5 };
        let graph = spec.build(seed).unwrap();
        let mut rng = random::stream(seed, "test/methods/exchange", &[]);
        let size = 10f64.powi(size);
        let mut draw = |rows: usize| {
            Field::from_values(dimension, (0..rows * dimension).map(|_| size * rng.random_range(-1.0..1.0)).collect())
        };
        let (z, flows) = (draw(agents), draw(graph.edges().len()));
        let rounding = 1e-15 * size * (agents * agents) as f64;

        let mixing = Mixing::new(&graph, MixingKind::Metropolis);
        let mut network = Network::new(&graph);
        let mut out = Field::zeros(agents, dimension);
        network.disagreement(mixing.edge_weights(), &z, &mut out);
        prop_assert!(out.sum_drift() <= rounding);
        let lambda = identity(agents) - mixing_matrix(&graph, MixingKind::Metropolis);
        prop_assert!(largest(&(dense(&out) - lambda * dense(&z))) <= rounding);

        // The same from edges: differences, weighted, added to one end and subtracted from the other.
        let mut edges = Field::zeros(graph.edges().len(), dimension);
        network.differences(&z, &mut edges);
        edges.for_each_row(|e, row| row.iter_mut().for_each(|v| *v *= mixing.edge_weights()[e]));
        let mut sum = Field::zeros(agents, dimension);
        add_flows(&graph, None, &edges, &mut sum);
        prop_assert!(largest(&(dense(&out) - dense(&sum))) <= rounding);

        let mut sum = z.clone();
        add_flows(&graph, None, &flows, &mut sum);
        let before = z.mean();
        prop_assert!(sum.mean().iter().zip(&before).all(|(a, b)| (a - b).abs() <= rounding));

        let equal = Field::from_values(dimension, vec![size; agents * dimension]);
        network.disagreement(mixing.edge_weights(), &equal, &mut out);
        prop_assert!(out.values().iter().all(|v| *v == 0.0));
    }
}
