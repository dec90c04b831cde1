//! The certified optimum against scikit-learn (`fixtures/optimum`), and against itself on random problems: the KKT residual is
//! at rounding level and no point lies below `F(x) − certificate`.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use serde::Deserialize;
use starling::problem::{Loss, Optimum, Problem, ProblemSpec, Regularizer, Role, Shard, optimum};
use starling::random;
use starling::ron::parse_ron;
use std::path::Path;
use std::time::Instant;

/// What `fixtures/optimum/make.py` records.
#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    dataset: String,
    loss: Loss,
    l1: f64,
    l2: f64,
    objective: f64,
    nonzeros: usize,
    solution: Vec<f64>,
}

/// What `fixtures/optimum/losses.py` records.
#[derive(Deserialize)]
struct LossFixture {
    cases: Vec<LossCase>,
}

#[derive(Deserialize)]
struct LossCase {
    dataset: String,
    loss: Loss,
    l1: f64,
    l2: f64,
    objective: f64,
}

/// Huber, squared hinge and quantile: scipy's optimum, and a certificate that says as much.
#[test]
fn other_losses_agree_with_scipy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(root.join("tests/fixtures/optimum/losses.json")).unwrap();
    let fixture: LossFixture = serde_json::from_slice(&text).unwrap();
    assert_eq!(fixture.cases.len(), 12);
    for case in fixture.cases {
        let path = root.join(format!("datasets/{}.libsvm.gz", case.dataset));
        let (loss, l1, l2) = (case.loss, case.l1, case.l2);
        let text = format!("Data(path: {path:?}, loss: {loss}, l1: {l1}, l2: {l2})");
        let problem = problem(&text, 1, 0);
        let optimum = optimum::solve(&problem).unwrap();
        let apart = (optimum.objective / case.objective - 1.0).abs();
        assert!(apart < 1e-8, "{text}: {} {apart:e}", optimum.objective);
        let certificate = optimum.certificate / optimum.objective;
        assert!(certificate < 1e-9, "{text}: {certificate:e}");
    }
}

/// Where a loss is flat, nothing curved there says that `x` is a minimiser: without a regularizer the certificate has to know.
#[test]
fn losses_without_curvature_are_not_certified_by_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/diabetes.libsvm.gz");
    let text = format!("Data(path: {path:?}, loss: Huber(delta: 0.5))");
    let problem = problem(&text, 1, 0);
    if let Ok(optimum) = optimum::solve(&problem) {
        // Targets are about 150: along a direction that the few curved rows do not see, F moves on.
        let best = optimum.objective - optimum.certificate;
        let mut random = random::stream(1, "test/flat", &[]);
        for _ in 0..200 {
            let x: Vec<f64> = optimum
                .x
                .iter()
                .map(|x| {
                    let step: f64 = StandardNormal.sample(&mut random);
                    x + 0.1 * step
                })
                .collect();
            assert!(problem.objective(&x) >= best);
        }
    }
}

fn problem(text: &str, agents: usize, trial: u64) -> Problem {
    let spec: ProblemSpec = parse_ron("problem", text).unwrap();
    spec.sample(agents, 2, Role::Test, trial).unwrap()
}

#[test]
fn agrees_with_scikit_learn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(root.join("tests/fixtures/optimum/scikit_learn.json")).unwrap();
    let fixture: Fixture = serde_json::from_slice(&text).unwrap();
    assert!(fixture.cases.len() >= 7);
    for case in fixture.cases {
        let spec = ProblemSpec::Data {
            path: root.join(format!("datasets/{}.libsvm.gz", case.dataset)),
            loss: case.loss,
            l1: case.l1,
            l1_share: None,
            l2: case.l2,
            bounds: None,
            split: Default::default(),
            standardize: true,
            positive: None,
            header: None,
            target: None,
            skip: None,
        };
        let problem = spec.sample(1, 1, Role::Test, 0).unwrap();
        let start = Instant::now();
        let optimum = optimum::solve(&problem).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let what = format!(
            "{} {:?} l1 {:.4} l2 {}",
            case.dataset, case.loss, case.l1, case.l2
        );
        let difference = (optimum.objective - case.objective) / case.objective;
        let certificate = optimum.certificate / optimum.objective;
        println!(
            "{what}: {difference:.1e}, certificate {certificate:.1e}, KKT {:.1e}, {} nonzeros, {seconds:.2} s, {}",
            optimum.kkt_residual, optimum.nonzeros, optimum.solver
        );
        assert!(difference.abs() <= 1e-10, "{what}: {difference:e}");
        assert!(certificate <= 1e-10, "{what}: {certificate:e}");
        assert_eq!(optimum.nonzeros, case.nonzeros, "{what}");
        // scikit-learn's solution is no better than the certificate allows, and close.
        assert!(
            problem.objective(&case.solution) >= optimum.objective - optimum.certificate,
            "{what}"
        );
        let largest = case.solution.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let apart = optimum
            .x
            .iter()
            .zip(&case.solution)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(apart <= 1e-4 * largest, "{what}: {apart:e}");
    }
}

/// `F(x) − certificate` lies below every point that is tried: near and far, along axes and at random.
fn assert_bounds(what: &str, problem: &Problem, optimum: &Optimum) {
    let mut rng = random::stream(4, "test/optimum/points", &[]);
    let scale = optimum.x.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
    let floor = optimum.objective - optimum.certificate;
    let clip = |v: f64| {
        problem
            .regularizer()
            .bounds
            .map_or(v, |(lo, hi)| v.clamp(lo, hi))
    };
    for trial in 0..400 {
        let size = scale * 10f64.powi(-(trial % 9));
        let axis = rng.random_range(0..optimum.x.len());
        let point: Vec<f64> = (0..optimum.x.len())
            .map(|k| {
                let noise: f64 = StandardNormal.sample(&mut rng);
                let moved = trial % 2 == 0 || k == axis;
                clip(optimum.x[k] + if moved { size * noise } else { 0.0 })
            })
            .collect();
        // Sums of different points round differently.
        let value = problem.objective(&point) + 1e-15 * optimum.objective.abs();
        assert!(value >= floor, "{what}: {value:e} < {floor:e}");
    }
}

#[test]
fn certificates_bound_and_kkt_residuals_vanish() {
    for (text, kind) in [
        ("Lasso(dimension: 30, rows: 10, l1: 0.1)", "duality gap"),
        // d > rows in all
        ("Lasso(dimension: 80, rows: 6, l1: 0.1)", "duality gap"),
        ("Lasso(dimension: 80, rows: 6, l1: 0.001)", "duality gap"),
        (
            "Lasso(dimension: 80, rows: 6, l1: 0.0, l2: 0.01)",
            "duality gap",
        ),
        (
            "Lasso(dimension: 80, rows: 6, l1: 0.05, l2: 0.1, heterogeneity: 1.0)",
            "duality gap",
        ),
        (
            "Lasso(dimension: 20, rows: 10, l1: 0.0, box: (-0.1, 0.3))",
            "duality gap",
        ),
        (
            "Lasso(dimension: 60, rows: 5, l1: 0.05, box: (0.0, 0.3))",
            "duality gap",
        ),
        (
            "Lasso(dimension: 20, rows: 10, l1: 0.0, noise: 0.5)",
            "gradient norm",
        ),
        (
            "Lasso(dimension: 20, rows: 10, l1: 0.0, box: (0.0, inf))",
            "gradient norm",
        ),
        (
            "Lasso(dimension: 20, rows: 10, l1: 0.1, box: (0.0, inf))",
            "duality gap",
        ),
        (
            "Lasso(dimension: 80, rows: 6, l1: 0.1, box: (-inf, 0.2))",
            "duality gap",
        ),
        ("Lasso(dimension: 10, rows: 10, l1: 100.0)", "duality gap"),
        ("Logistic(dimension: 30, rows: 10, l1: 0.02)", "duality gap"),
        ("Logistic(dimension: 80, rows: 6, l1: 0.01)", "duality gap"),
        (
            "Logistic(dimension: 80, rows: 6, l1: 0.0, l2: 0.01)",
            "duality gap",
        ),
        (
            "Logistic(dimension: 80, rows: 6, l1: 0.01, l2: 0.02)",
            "duality gap",
        ),
        (
            "Logistic(dimension: 20, rows: 10, l1: 0.0, box: (-0.1, 0.3))",
            "duality gap",
        ),
        (
            "Logistic(dimension: 6, rows: 20, l1: 0.0, noise: 3.0)",
            "gradient norm",
        ),
        (
            "Logistic(dimension: 6, rows: 20, l1: 0.0, noise: 3.0, box: (0.0, inf))",
            "gradient norm",
        ),
        (
            "Logistic(dimension: 30, rows: 10, l1: 0.02, box: (0.0, inf))",
            "duality gap",
        ),
    ] {
        for trial in 0..3 {
            let problem = problem(text, 6, trial);
            let start = Instant::now();
            let optimum = optimum::solve(&problem).unwrap_or_else(|e| panic!("{text}: {e}"));
            let seconds = start.elapsed().as_secs_f64();
            let (f, relative) = (optimum.objective, optimum.certificate / optimum.objective);
            println!(
                "{text} {trial}: F* {f:.3e}, certificate {relative:.1e}, KKT {:.1e}, {seconds:.2} s, {}",
                optimum.kkt_residual, optimum.solver
            );
            assert_eq!(optimum.certificate_kind, kind, "{text}");
            assert!(relative <= 1e-11, "{text}: certificate {relative:e}");
            assert!(
                optimum.kkt_residual <= 1e-13 * (1.0 + problem.smoothness_max()),
                "{text}: {:e}",
                optimum.kkt_residual
            );
            assert_eq!(problem.objective(&optimum.x), f, "{text}");
            assert_bounds(text, &problem, &optimum);
        }
    }
}

#[test]
fn restricted_condition_is_that_of_the_free_coordinates() {
    let shard = |rows: [[f64; 3]; 2], targets: [f64; 2]| Shard {
        features: rows.concat(),
        targets: targets.to_vec(),
    };
    // Rows weigh 1/(n m) = 1/4: the Hessian is diag(4, 1, 1/4).
    let shards = vec![
        shard([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0]], [4.0, 2.0]),
        shard([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], [0.1, 0.0]),
    ];
    let condition = |l1, l2| {
        let r = Regularizer::new(l1, l2, None).unwrap();
        let problem = Problem::new("diagonal", 3, Loss::LeastSquares, shards.clone(), r).unwrap();
        let best = optimum::solve(&problem).unwrap();
        optimum::restricted_condition(&problem, &best.x)
    };
    let close = |found: Option<f64>, expected: f64| {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}");
    };
    // Without l1 all coordinates are free; the last is zero at l1 = 0.1, all are at l1 = 10.
    close(condition(0.0, 0.0), 16.0);
    close(condition(0.1, 0.0), 4.0);
    close(condition(0.1, 1.0), 2.5);
    assert_eq!(condition(10.0, 0.0), None);
    // Fewer rows than coordinates: the smallest eigenvalue is zero.
    let flat = vec![shard([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [1.0, 1.0])];
    let problem =
        Problem::new("flat", 3, Loss::LeastSquares, flat, Regularizer::default()).unwrap();
    assert_eq!(optimum::restricted_condition(&problem, &[1.0; 3]), None);
}

/// Labels given by the first feature: `F` tends to its infimum 0 and has no minimiser.
fn separable(dimension: usize) -> Problem {
    let mut rng = random::stream(5, "test/optimum/separable", &[]);
    let shards = (0..4)
        .map(|_| {
            let features: Vec<f64> = (0..10 * dimension)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect();
            let targets = features
                .chunks(dimension)
                .map(|row| if row[0] > 0.0 { 1.0 } else { -1.0 })
                .collect();
            Shard { features, targets }
        })
        .collect();
    Problem::new(
        "separable",
        dimension,
        Loss::Logistic,
        shards,
        Regularizer::default(),
    )
    .unwrap()
}

/// Once `‖∇F‖²/(2μ)` with the Hessian at the last point was given as a certificate, half of what `F` still fell by.
#[test]
fn separable_data_without_a_regularizer_are_refused_soon() {
    for dimension in [1, 3, 60] {
        let start = Instant::now();
        let message = optimum::solve(&separable(dimension))
            .unwrap_err()
            .to_string();
        assert!(message.contains("no minimiser"), "{message}");
        assert!(start.elapsed().as_secs_f64() < 10.0);
    }
}

/// Once the conjugate of a one-sided box was zero where it is infinite.
#[test]
fn conjugates_of_one_sided_boxes_are_infinite_where_nothing_bounds() {
    let r = |l1, bounds| Regularizer::new(l1, 0.0, Some(bounds)).unwrap();
    let nonnegative = r(0.0, (0.0, f64::INFINITY));
    assert_eq!(
        (nonnegative.conjugate(1e-3), nonnegative.conjugate(-1e-3)),
        (f64::INFINITY, 0.0)
    );
    let above = r(0.5, (f64::NEG_INFINITY, 2.0));
    assert_eq!(
        (
            above.conjugate(-0.6),
            above.conjugate(0.4),
            above.conjugate(1.5)
        ),
        (f64::INFINITY, 0.0, 2.0)
    );
}

/// One of the problems of `fixtures/hard/make.py`.
#[derive(Deserialize)]
struct Hard {
    kind: String,
    loss: Loss,
    l1: f64,
    l2: f64,
    rows: usize,
    features: Vec<f64>,
    targets: Vec<f64>,
    objective: f64,
}

/// 200 ill-scaled, wide, collinear and almost constant problems: `F*` is as low as what scikit-learn and scipy find, and no lower
/// than the certificate allows; the certificate is fine.
#[test]
fn hard_problems_agree_with_scikit_learn_and_scipy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packed = std::fs::File::open(root.join("tests/fixtures/hard/problems.json.gz")).unwrap();
    let cases: Vec<Hard> = serde_json::from_reader(flate2::read::GzDecoder::new(packed)).unwrap();
    assert_eq!(cases.len(), 200);
    let mut coarse = 0;
    for (number, case) in cases.into_iter().enumerate() {
        let regularizer = Regularizer::new(case.l1, case.l2, None).unwrap();
        let shard = Shard {
            features: case.features,
            targets: case.targets,
        };
        let dimension = shard.features.len() / case.rows;
        let problem = Problem::new(
            case.kind.as_str(),
            dimension,
            case.loss,
            vec![shard],
            regularizer,
        )
        .unwrap();
        let optimum = optimum::solve(&problem).unwrap();
        let what = format!("{number} {} {:?}", case.kind, case.loss);
        let difference = optimum.objective - case.objective;
        assert!(
            difference <= optimum.certificate && optimum.certificate <= 1e-6 * optimum.objective,
            "{what}: {difference:e}, certificate {:e} of {}",
            optimum.certificate,
            optimum.objective
        );
        // What they find is no minimum: nothing may lie below F* − certificate.
        assert!(
            -difference <= optimum.certificate + optimum.rounding,
            "{what}: {difference:e}, certificate {:e}",
            optimum.certificate
        );
        coarse += usize::from(optimum.certificate > 1e-10 * optimum.objective);
    }
    println!("{coarse} certificates coarser than 1e-10");
    assert!(coarse <= 10, "{coarse} certificates coarser than 1e-10");
}

/// A column nine orders of magnitude longer than the others; 0.338614 by scikit-learn.
#[test]
fn columns_in_other_units_cost_nothing() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tries/ill-scaled.csv");
    let text = format!("Data(path: {file:?}, loss: LeastSquares, l1: 0.1, standardize: false)");
    let optimum = optimum::solve(&problem(&text, 5, 0)).unwrap();
    assert!(
        (optimum.objective - 0.338614).abs() < 1e-6,
        "{}",
        optimum.objective
    );
    assert!(optimum.certificate < 1e-12, "{:e}", optimum.certificate);
}

/// 38 × 7,129 without a regularizer and with hardly any: `F*` is certified, in seconds.
#[test]
fn wide_problems_are_certified() {
    for (text, certificate) in [
        ("Lasso(dimension: 7129, rows: 19, l1: 0)", 1e-12),
        ("Lasso(dimension: 7129, rows: 19, l1: 0.1)", 1e-12),
        ("Lasso(dimension: 7129, rows: 19, l1: 0.01)", 1e-9),
    ] {
        let problem = problem(text, 2, 0);
        let start = problem.objective(&vec![0.0; 7129]);
        let optimum = optimum::solve(&problem).unwrap();
        let unit = optimum.objective.abs().max(1e-13 * start);
        let found = optimum.certificate
            / if optimum.objective > 1e-13 * start {
                unit
            } else {
                start
            };
        assert!(
            found <= certificate,
            "{text}: {found:e}, {}",
            optimum.solver
        );
    }
}

/// Only the point of a cached optimum is believed.
#[test]
fn altered_cache_entries_are_solved_again() {
    let folder = tempfile::tempdir().unwrap();
    let problem = problem("Lasso(dimension: 10, rows: 5)", 5, 0);
    let right = optimum::solve_cached(&problem, Some(folder.path())).unwrap();
    let entry = std::fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = std::fs::read_to_string(&entry).unwrap();
    let objective = format!("objective:{:?}", right.objective);
    let certificate = format!("certificate:{:?}", right.certificate);
    let first = format!("x:[{:?}", right.x[0]);
    for (from, to) in [
        (&objective, "objective:0.5"),
        (&certificate, "certificate:5.0"),
        (&first, "x:[3.0"),
        (&first, "x:[NaN"),
        (&first, "x:[1.0,3.0"),
    ] {
        assert!(text.contains(from.as_str()), "{from} in {text}");
        std::fs::write(&entry, text.replace(from.as_str(), to)).unwrap();
        let again = optimum::solve_cached(&problem, Some(folder.path())).unwrap();
        assert_eq!(
            (again.objective, again.certificate),
            (right.objective, right.certificate),
            "{to}"
        );
        // And the entry is put right.
        assert_eq!(std::fs::read_to_string(&entry).unwrap(), text);
    }
}

/// A column that is another but for one part in 1e8, no regularizer: squares of its small direction vanish beside 1, but it counts.
#[test]
fn almost_collinear_columns_are_not_taken_for_collinear() {
    let mut rng = random::stream(6, "test/optimum/collinear", &[]);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    let (rows, d) = (60, 6);
    let mut apart: Vec<f64> = (0..rows * d).map(|_| normal()).collect();
    let targets: Vec<f64> = (0..rows).map(|_| normal()).collect();
    let problem = |features: &[f64]| {
        let shard = Shard {
            features: features.to_vec(),
            targets: targets.clone(),
        };
        Problem::new(
            "p",
            d,
            Loss::LeastSquares,
            vec![shard],
            Regularizer::default(),
        )
        .unwrap()
    };
    let independent = optimum::solve(&problem(&apart)).unwrap();
    assert!(independent.certificate <= 1e-12 * independent.objective);
    for size in [1e-4, 1e-6, 1e-8, 1e-10] {
        let mut features = apart.clone();
        for row in features.chunks_exact_mut(d) {
            row[5] = row[0] + size * row[5];
        }
        // The same span, so the same minimum.
        let optimum = optimum::solve(&problem(&features)).unwrap();
        let above = optimum.objective - independent.objective;
        println!(
            "{size:e}: {above:.1e}, certificate {:.1e}",
            optimum.certificate
        );
        assert!(
            above <= optimum.certificate + 1e-9,
            "{size:e}: {above:e} > {:e}",
            optimum.certificate
        );
    }
    // Exactly collinear: nothing changes along that direction.
    for row in apart.chunks_exact_mut(d) {
        row[5] = row[0];
    }
    let optimum = optimum::solve(&problem(&apart)).unwrap();
    assert!(
        optimum.certificate <= 1e-10 * optimum.objective,
        "{:e}",
        optimum.certificate
    );
}

/// More columns than rows and little regularization: far away the slopes of a logistic loss vanish, which is no minimum.
#[test]
fn wide_logistic_problems_are_certified() {
    for l1 in [1e-6, 1e-5, 1e-4, 1e-3] {
        for trial in 0..6 {
            let text = format!("Logistic(dimension: 200, rows: 3, l1: {l1:?})");
            let problem = problem(&text, 10, trial);
            let optimum = optimum::solve(&problem).unwrap();
            assert!(
                optimum.objective < 2f64.ln(),
                "{l1:e} {trial}: {:e}",
                optimum.objective
            );
            assert!(
                optimum.certificate <= if l1 < 1e-5 { 1e-2 } else { 1e-9 } * optimum.objective,
                "{l1:e} {trial}: {:e} of {:e}",
                optimum.certificate,
                optimum.objective
            );
        }
    }
}

/// Without any feature the minimum is that of the regularizer.
#[test]
fn features_that_are_all_zero_are_solved() {
    let shard = Shard {
        features: vec![0.0; 6],
        targets: vec![0.5, 2.25, 3.75],
    };
    for (l1, l2, bounds) in [
        (0.1, 0.0, None),
        (0.0, 0.5, None),
        (0.1, 0.5, Some((-1.0, 1.0))),
        (0.0, 0.0, None),
    ] {
        let r = Regularizer::new(l1, l2, bounds).unwrap();
        let shards = vec![shard.clone()];
        let problem = Problem::new("zero", 2, Loss::LeastSquares, shards, r).unwrap();
        let optimum = optimum::solve(&problem).unwrap();
        let value = (0.25 + 2.25 * 2.25 + 3.75 * 3.75) / 6.0;
        assert!(
            (optimum.objective - value).abs() < 1e-14,
            "{r}: {}",
            optimum.objective
        );
        assert!(
            optimum.certificate < 1e-12,
            "{r}: {:e}",
            optimum.certificate
        );
    }
}
