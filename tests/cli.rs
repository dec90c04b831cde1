//! The command line as it is typed: every verb's happy path, and bad input.

mod command;

use command::{Desk, has_fields, repository};
use rand::RngExt;
use serde_json::Value;
use starling::random;
use starling::roster::AlgorithmSpec;
use starling::rule::features::{EDGE_FEATURES, NODE_FEATURES};
use starling::rule::mlp::{Linear, Mlp};
use starling::rule::shared::{EDGE_OUTPUTS, NODE_OUTPUTS};
use starling::rule::{Constants, FrozenRule, Provenance, Shared, Structure};
use std::process::Stdio;

const GRAPHS: [&str; 11] = [
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
    "SmallWorld(agents: 20, neighbors: 4, rewiring: 0.1)",
];

/// The fields that `run` and `eval` promise.
const RUN: [&str; 18] = [
    "algorithm",
    "problem",
    "graph",
    "seed",
    "status",
    "iterations",
    "rounds",
    "vectors_per_edge",
    "floats_sent",
    "gradient_evaluations",
    "gap",
    "gap_certificate",
    "consensus_error",
    "dual_drift",
    "objective",
    "optimum",
    "seconds",
    "rounds_to",
];

const LASSO: &str = "Lasso(dimension: 10, rows: 6, l1: 0.1)";

/// `run` with one of its arguments replaced.
fn run<'a>(algorithm: &'a str, problem: &'a str, graph: &'a str) -> Vec<&'a str> {
    vec![
        "run",
        "--algorithm",
        algorithm,
        "--problem",
        problem,
        "--graph",
        graph,
        "--steps",
        "50",
    ]
}

/// A `shared` rule whose small networks hold small random weights: it moves every coefficient, and converges.
fn shared() -> FrozenRule {
    let network = |key, widths: [usize; 3]| {
        let mut rng = random::stream(1, "test/rule", &[key]);
        let layers = widths.windows(2).map(|w| Linear {
            inputs: w[0],
            outputs: w[1],
            weight: (0..w[0] * w[1])
                .map(|_| rng.random_range(-0.2..0.2))
                .collect(),
            bias: vec![0.0; w[1]],
        });
        let layers = layers.collect();
        Some(Mlp { layers })
    };
    let rule = Shared {
        node: network(0, [NODE_FEATURES, 8, NODE_OUTPUTS]),
        edge: network(1, [EDGE_FEATURES, 8, EDGE_OUTPUTS]),
        clock_cap: 100,
        ..Shared::constant(Constants::default())
    };
    let provenance = Provenance {
        agents: (10, 10),
        ..Provenance::default()
    };
    FrozenRule::new(Structure::Shared(rule), provenance)
}

fn number(object: &Value, field: &str) -> f64 {
    object[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} is no number in {object}"))
}

// ---- happy paths ----

#[test]
fn help_of_every_verb_has_examples() {
    let desk = Desk::new();
    let mut verbs = vec![
        "export", "import", "run", "eval", "bench", "tune", "optimum", "graph", "data", "audit",
    ];
    if cfg!(feature = "train") {
        verbs.extend(["demo", "train"]);
    }
    for verb in verbs {
        let output = desk.succeeds(&[verb, "--help"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Example"), "{verb}: {text}");
        assert!(text.contains(&format!("  starling {verb} ")), "{verb}");
        assert!(text.contains("--json"), "{verb}");
    }
}

#[test]
fn graph_describes_and_draws_every_family() {
    let desk = Desk::new();
    desk.write("edges.txt", "0 1\n1 2 # a comment\n\n2 0\n2 3\n");
    for graph in GRAPHS.into_iter().chain(["EdgeList(\"edges.txt\")"]) {
        let objects = desk.json(&["graph", graph, "--svg", "graph.svg"]);
        assert_eq!(objects.len(), 5, "one object per mixing matrix");
        for object in &objects {
            let fields = [
                "agents",
                "edges",
                "diameter",
                "mixing",
                "lambda_2",
                "spectral_gap",
            ];
            has_fields(object, &fields);
            has_fields(object, &["degree_min", "degree_max", "rounds_per_digit"]);
            assert_eq!(object["graph"], graph);
        }
        assert!(desk.read("graph.svg").starts_with("<svg"));
    }
    let objects = desk.json(&["graph", "Ring(5)", "--mixing", "Laplacian"]);
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["mixing"], "Laplacian");
    assert_eq!(objects[0]["diameter"], 2);
    assert_eq!(objects[0]["diameter_exact"], true);
}

#[test]
fn graph_bounds_the_diameter_of_a_large_graph() {
    let desk = Desk::new();
    let graph = "RandomRegular(agents: 30000, degree: 8)";
    let arguments = ["graph", graph, "--mixing", "Metropolis"];
    let object = &desk.json(&arguments)[0];
    assert_eq!(object["diameter_exact"], false);
    let text = String::from_utf8(desk.succeeds(&arguments).stdout).unwrap();
    let bound = format!("diameter ≥ {}", object["diameter"]);
    assert!(text.contains(&bound), "{text}");
}

/// What a user can write is what the README says, and what a message offers.
#[test]
fn every_row_of_the_roster_is_told_of() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let docs = std::fs::read_to_string(repository("docs/reference.md")).unwrap_or_default();
    let desk = Desk::new();
    let output = desk.typed(&run("Sgd", LASSO, "Ring(5)")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for name in AlgorithmSpec::NAMES {
        let told = |text: &str| {
            text.split(|c: char| !c.is_alphanumeric())
                .any(|w| w == *name)
        };
        assert!(told(&readme) || told(&docs), "{name} in the README");
        assert!(told(&said), "{name} in {said}");
    }
}

/// Without F* there are no gaps: the stationarity residual says how far a run came, and the solution is written.
#[test]
fn a_run_needs_no_optimum() {
    let desk = Desk::new();
    let mut none = run("ProxEd", LASSO, "Ring(5)");
    *none.last_mut().unwrap() = "5000";
    none.extend(["--optimum", "none", "--until-residual", "1e-6"]);
    let object = &desk.json(&[&none[..], &["--out", "run"]].concat())[0];
    assert_eq!(object["status"], "Converged");
    assert!(object["gap"].is_null() && object["optimum"].is_null());
    assert!(number(object, "residual") <= 1e-6);
    let trace = desk.read("run/trace.csv");
    assert!(trace.lines().nth(1).unwrap().contains(",,"), "{trace}");
    let solution = desk.read("run/solution.csv");
    let columns = |line: &str| line.split(',').count();
    assert!(solution.starts_with("mean,agent_0,"));
    assert!(solution.lines().all(|line| columns(line) == 6));
    assert!(desk.read("run/gap.svg").contains("stationarity residual"));
    let said = String::from_utf8(desk.succeeds(&none).stdout).unwrap();
    assert!(
        said.contains("residual") && said.contains("not asked for"),
        "{said}"
    );

    // The same point as with F*, and with F* given.
    let certified = desk.json(&run("ProxEd", LASSO, "Ring(5)"));
    let best = certified[0]["optimum"].to_string();
    let given = [&run("ProxEd", LASSO, "Ring(5)")[..], &["--optimum", &best]].concat();
    assert_eq!(desk.json(&given)[0]["gap"], certified[0]["gap"]);

    // A few digits are believed as far as they go: no run is said to contradict them.
    let few = format!("{:.2e}", number(&certified[0], "optimum"));
    let given = [&run("ProxEd", LASSO, "Ring(5)")[..], &["--optimum", &few]].concat();
    assert!(number(&desk.json(&given)[0], "gap_certificate") > 1e-4);

    for (more, words) in [
        (
            &["--optimum", "none", "--until", "1e-3"][..],
            ["--until", "--until-residual"],
        ),
        (&["--optimum", "best"], ["--optimum best", "certified"]),
        (&["--until-residual", "nan"], ["--until-residual", "finite"]),
    ] {
        desk.refuses(
            &[&run("ProxEd", LASSO, "Ring(5)")[..], more].concat(),
            &words,
        );
    }
}

/// A rule runs on losses that it was not trained on; what does not go together is refused.
#[test]
fn losses_are_chosen_by_name() {
    let desk = Desk::new();
    let rule = format!("Rule({:?})", repository("models/universal/rule.ron"));
    for problem in [
        "Lasso(dimension: 20, rows: 10, l1: 0.1, loss: Huber(delta: 0.5))",
        "Lasso(dimension: 20, rows: 10, l1: 0.05, loss: Quantile(level: 0.7, smoothing: 0.5))",
        "Logistic(dimension: 20, rows: 20, l1: 0.01, loss: SquaredHinge)",
    ] {
        for algorithm in [&rule, "ProxEd", "Admm"] {
            let mut typed = run(algorithm, problem, "Ring(5)");
            *typed.last_mut().unwrap() = "4000";
            let object = &desk.json(&typed)[0];
            assert_eq!(object["problem"], problem);
            assert!(
                number(object, "gap") < 1e-6,
                "{algorithm} on {problem}: {object}"
            );
        }
    }
    for (problem, words) in [
        (
            "Lasso(dimension: 5, rows: 5, loss: Logistic)",
            ["loss is Logistic", "family Logistic"],
        ),
        (
            "Logistic(dimension: 5, rows: 5, loss: Huber(delta: 1))",
            ["Huber(delta: 1)", "labels"],
        ),
        (
            "Lasso(dimension: 5, rows: 5, loss: Huber(delta: -1))",
            ["delta is -1", "> 0"],
        ),
        (
            "Lasso(dimension: 5, rows: 5, loss: Huber(width: 1))",
            ["width", "delta"],
        ),
    ] {
        desk.refuses(&run("ProxEd", problem, "Ring(5)"), &words);
    }
}

#[test]
fn run_takes_every_algorithm_bare_and_with_options() {
    let desk = Desk::new();
    let bare = AlgorithmSpec::methods().into_iter();
    let bare = bare.filter(|m| m.about().any_regularizer);
    let bare: Vec<String> = bare.map(|m| m.name()).collect();
    let with_options = [
        "ProxEd(step: 0.03)",
        "ProxEd(step: 0.03, mixing: Metropolis)",
        "ProxEd(mixing: Fastest)",
        "ProxEdFast(mixings: 3)",
        "ProxEdMomentum(beta: 0.6, restart: true)",
        "Nids(step: 0.5)",
        "DiagonalNids(blend: 0.3)",
        "Dlm(penalty: 0.9)",
        "Dapg(a: 0.2, mixings: 2)",
        "Odapg(tau: 0.2)",
        "Constants(primal: 1.2, momentum: 0.2)",
        "Sonata(similarity: 0.4, mixings: 2)",
        "Admm(penalty: 0.1, relaxation: 0.9)",
        "AdGt(step: 0.5)",
    ];
    for algorithm in bare.iter().map(String::as_str).chain(with_options) {
        let objects = desk.json(&run(algorithm, LASSO, "Ring(5)"));
        assert_eq!(objects.len(), 1);
        let object = &objects[0];
        has_fields(object, &RUN);
        assert_eq!(object["algorithm"], algorithm);
        assert_eq!(object["problem"], LASSO);
        assert_eq!(object["graph"], "Ring(5)");
        // The step, or what stands in its place.
        let steps = ["step", "primal", "similarity", "Admm(penalty"];
        let origin = match steps.iter().any(|step| algorithm.contains(step)) {
            true => "given",
            false if algorithm == "Constants" => "default",
            false => "theory",
        };
        assert_eq!(object["step_origin"], origin, "{algorithm}");
        assert!(object["rounds_to"].is_object());
        // A round is one vector each way; FastMix and tracking make more of them.
        let per_iteration = number(object, "rounds") / number(object, "iterations");
        let expected = match object["name"].as_str().unwrap() {
            "Dapg" if algorithm.contains("mixings") => 6.0,
            "Dapg" => 3.0,
            "ProxAtc" => 2.0,
            "ProxEdFast" if algorithm.contains("mixings") => 3.0,
            "ProxEdFast" => 2.0,
            "ProxEd" | "ProxEdMomentum" | "Constants" | "ProxDgd" | "PgExtra" => 1.0,
            _ => per_iteration,
        };
        assert_eq!(per_iteration, expected, "{algorithm}");
    }
}

#[test]
fn arguments_come_from_files_too() {
    let desk = Desk::new();
    desk.write("algorithm.ron", "ProxEd(step: 0.03) // a comment\n");
    desk.write("problem.ron", "Lasso(\n  dimension: 10,\n  rows: 6,\n)\n");
    desk.write("graph.ron", "Ring(5)\n");
    let typed = desk.json(&run("ProxEd(step: 0.03)", LASSO, "Ring(5)"));
    let read = desk.json(&run("@algorithm.ron", "@problem.ron", "@graph.ron"));
    for field in RUN.iter().filter(|f| **f != "seconds") {
        assert_eq!(typed[0][field], read[0][field], "{field}");
    }
}

#[test]
fn run_writes_its_folder_and_logs_to_standard_error_only() {
    let desk = Desk::new();
    let arguments = [run("ProxEd", LASSO, "Ring(5)"), vec!["--out", "a/b"]].concat();
    let output = desk.succeeds(&[arguments.as_slice(), &["--json"]].concat());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("written to")
    );
    assert_eq!(
        desk.files("a"),
        [
            "a/b/gap.png",
            "a/b/gap.svg",
            "a/b/result.json",
            "a/b/solution.csv",
            "a/b/trace.csv"
        ]
    );
    let result: Value = serde_json::from_str(&desk.read("a/b/result.json")).unwrap();
    has_fields(&result, &RUN);
    // The start and 50 iterations.
    assert_eq!(desk.read("a/b/trace.csv").lines().count(), 52);
}

#[test]
fn data_describes_and_verifies_the_shipped_sets() {
    let desk = Desk::new();
    let sets = desk.json(&["data", "--verify", &repository("datasets")]);
    let names: Vec<_> = sets.iter().filter_map(|s| s["name"].as_str()).collect();
    for name in [
        "diabetes",
        "breast_cancer",
        "ionosphere",
        "sonar",
        "spambase",
        "digits",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let set = &desk.json(&["data", &repository("datasets/ionosphere.libsvm.gz")])[0];
    assert_eq!(
        (&set["rows"], &set["target_values"]),
        (&351.into(), &2.into())
    );
}

#[test]
fn optimum_is_certified() {
    let desk = Desk::new();
    let data = |name: &str, more: &str| {
        format!(
            "Data(path: {:?}, {more})",
            repository(&format!("datasets/{name}.libsvm.gz"))
        )
    };
    for problem in [
        LASSO.to_string(),
        "Logistic(dimension: 10, rows: 12, l1: 0.01)".into(),
        "Lasso(dimension: 10, rows: 6, l1: 0.1, l2: 0.1, box: (-1, 1))".into(),
        data("diabetes", "loss: LeastSquares, l1: 1"),
        data("diabetes", "loss: LeastSquares, l1_share: 0.1"),
        data("ionosphere", "loss: Logistic, l1: 0.01, split: Sorted"),
        data("digits", "loss: Logistic, l2: 0.1, positive: 3"),
    ] {
        let object = &desk.json(&["optimum", "--problem", &problem])[0];
        has_fields(object, &["objective", "certificate", "solver", "nonzeros"]);
        let (value, certificate) = (number(object, "objective"), number(object, "certificate"));
        assert!((0.0..=1e-9 * value).contains(&certificate), "{object}");
    }
    // From the cache it is the same, bit for bit.
    let arguments = ["optimum", "--problem", LASSO, "--agents", "4"];
    assert_eq!(desk.json(&arguments), desk.json(&arguments));
}

#[test]
fn records_say_what_was_run() {
    let desk = Desk::new();
    let problem = "Lasso(dimension: 10, rows: 6, l1: 0.1, noise: 0.5, sparsity: 0.3)";
    let object = &desk.json(&run("ProxEd", problem, "Ring(4)"))[0];
    assert_eq!(object["problem"], problem);
}

/// A gap below a certificate that certifies nothing is no convergence.
#[test]
fn a_coarse_certificate_is_no_convergence() {
    let desk = Desk::new();
    let problem = "Lasso(dimension: 10, rows: 5, l1: 0.0, l2: 1e-300)";
    let mut few = run("ProxEd", problem, "Ring(5)");
    few.retain(|a| !["--steps", "50"].contains(a));
    few.extend(["--steps", "20"]);
    let object = &desk.json(&few)[0];
    // As much as F ≥ 0 says.
    assert_eq!(number(object, "gap_certificate"), 1.0, "{object}");
    assert_eq!(object["status"], "HorizonReached", "{object}");
    let reached = object["rounds_to"].as_object().unwrap().values();
    assert!(reached.into_iter().all(Value::is_null), "{object}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let desk = Desk::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut command = desk.typed(&["graph", "Ring(5)", "--json"]);
    let output = command.stdout(full.unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("cannot write to standard output"), "{log}");
}

#[test]
fn tune_finds_a_step() {
    let desk = Desk::new();
    let arguments = [
        "tune",
        "--algorithms",
        "ProxEd,Dlm",
        "--problem",
        LASSO,
        "--graph",
        "Ring(4)",
        "--rounds",
        "300",
        "--problems",
        "1",
    ];
    let objects = desk.json(&arguments);
    assert_eq!(objects.len(), 2);
    for object in &objects {
        has_fields(object, &["algorithm", "rounds", "on_grid_edge"]);
    }
}

#[test]
fn eval_writes_table_json_plots_and_a_page() {
    let desk = Desk::new();
    shared().write(&desk.path("learned/rule.ron")).unwrap();
    let arguments = [
        "eval",
        "--rules",
        "learned/rule.ron",
        "--problem",
        LASSO,
        "--graph",
        "Ring(4)",
        "--steps",
        "200",
        "--trials",
        "2",
        "--tuning-problems",
        "1",
        "--baselines",
        "ProxEd,Constants",
        "--out",
        "report",
    ];
    let objects = desk.json(&arguments);
    assert_eq!(objects.len(), 3);
    for object in &objects {
        has_fields(object, &RUN);
        assert_eq!(object["trials"], 2);
    }
    let plots = [
        "consensus-rounds",
        "gap-floats",
        "gap-rounds",
        "gap-seconds",
    ];
    let mut expected = vec!["index.html".to_string(), "results.json".into()];
    expected.extend(["table.csv".into(), "table.md".into()]);
    for plot in plots {
        assert!(desk.read(&format!("report/{plot}.svg")).starts_with("<svg"));
        assert!(
            desk.bytes(&format!("report/{plot}.png"))
                .starts_with(b"\x89PNG")
        );
        expected.extend([format!("{plot}.png"), format!("{plot}.svg")]);
    }
    expected.sort();
    let expected: Vec<_> = expected.iter().map(|f| format!("report/{f}")).collect();
    assert_eq!(desk.files("report"), expected);
    let results: Vec<Value> = serde_json::from_str(&desk.read("report/results.json")).unwrap();
    assert_eq!(results, objects);
    assert!(desk.read("report/table.md").contains("learned"));

    // Self-contained: nothing to fetch. An SVG's namespace is a name, not a link.
    let page = desk.read("report/index.html");
    let links = page.replace("http://www.w3.org/2000/svg", "");
    for link in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!links.contains(link), "{link} in the page");
    }
    assert_eq!(
        page.matches("<svg").count(),
        plots.len() + 1,
        "plots and graph"
    );
}

#[test]
fn eval_takes_steps_from_theory_and_real_data() {
    let desk = Desk::new();
    let problem = format!(
        "Data(path: {:?}, loss: Logistic, l1: 0.01)",
        repository("datasets/ionosphere.libsvm.gz")
    );
    let arguments = [
        "eval",
        "--problem",
        &problem,
        "--graph",
        "Ring(10)",
        "--steps",
        "60",
        "--tuning-problems",
        "0",
    ];
    // All of them are the seventeen methods and `Constants`.
    let objects = desk.json(&arguments);
    assert_eq!(objects.len(), 18);
    assert!(objects.iter().all(|o| o["step_origin"] != "tuned"));
    assert!(desk.path("eval/index.html").is_file());
}

#[test]
fn published_weights_run_on_their_graph_only() {
    let desk = Desk::new();
    let weights = repository("tests/fixtures/reference/milodo_lasso_ring5.safetensors");
    let object = &desk.json(&["import", &weights, "-o", "models/published/rule.ron"])[0];
    assert_eq!(object["structure"], "milodo");
    let rule = "Rule(\"models/published/rule.ron\")";
    let object = &desk.json(&run(rule, LASSO, "Ring(5)"))[0];
    assert_eq!(object["name"], "published");
    // It exchanges z and S.
    assert_eq!(number(object, "rounds"), 2.0 * number(object, "iterations"));
    desk.refuses(
        &run(rule, LASSO, "Ring(6)"),
        &[
            "models/published/rule.ron",
            "tied to the graph",
            "5 agents",
            "Ring(6)",
        ],
    );
}

#[test]
fn audit_prints_figures() {
    let desk = Desk::new();
    shared().write(&desk.path("rule.ron")).unwrap();
    let object = &desk.json(&["audit", "rule.ron", "--steps", "20000", "--trials", "3"])[0];
    assert_eq!(object["passed"], true, "{object}");
    for finding in object["findings"].as_array().unwrap() {
        has_fields(finding, &["check", "figure", "limit", "passed", "how"]);
    }
}

/// One file, any connected graph, any number of agents, any dimension.
#[test]
fn a_shared_rule_runs_unchanged_everywhere() {
    let desk = Desk::new();
    let rule = shared();
    rule.write(&desk.path("rule.ron")).unwrap();
    let text = desk.read("rule.ron");
    for graph in [
        "Ring(10)",
        "Star(8)",
        "ErdosRenyi(agents: 30, probability: 0.2)",
        "Exponential(16)",
        "Path(5)",
    ] {
        for dimension in [20, 300, 3000] {
            let problem = format!("Lasso(dimension: {dimension}, rows: 10)");
            let object = &desk.json(&run("Rule(\"rule.ron\")", &problem, graph))[0];
            assert_ne!(object["status"], "Diverged", "{object}");
            assert!(number(object, "gap") < 10.0, "{object}");
            assert!(number(object, "dual_drift") < 1e-9, "{object}");
            assert_eq!(object["rounds"], 50, "one exchange per step");
        }
    }
    assert_eq!(desk.read("rule.ron"), text);
}

/// The envelope is part of the file: a run that leaves it is warned of, on standard error.
#[test]
fn leaving_the_trained_envelope_is_warned_of() {
    let desk = Desk::new();
    shared().write(&desk.path("rule.ron")).unwrap();
    let warned = |graph| {
        let output = desk.succeeds(&run("Rule(\"rule.ron\")", LASSO, graph));
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("trained on 10 to 10")
    };
    assert!(warned("Ring(4)"));
    assert!(!warned("Ring(10)"));
}

#[test]
fn threads_change_nothing() {
    let desk = Desk::new();
    shared().write(&desk.path("rule.ron")).unwrap();
    // The second is large enough for fields to be split over threads.
    for (problem, steps) in [
        ("Lasso(dimension: 300, rows: 10, l1: 0.1)", "3000"),
        ("Lasso(dimension: 1500, rows: 10, l1: 0.1)", "300"),
    ] {
        for algorithm in ["Constants", "ProxEd", "Rule(\"rule.ron\")"] {
            let with = |threads| {
                let mut arguments = run(algorithm, problem, "Ring(10)");
                *arguments.last_mut().unwrap() = steps;
                arguments.extend(["--threads", threads, "--no-cache"]);
                let mut object = desk.json(&arguments).remove(0);
                object.as_object_mut().unwrap().remove("seconds");
                object
            };
            let one = with("1");
            assert_eq!(one, with("2"));
            assert_eq!(one["iterations"].to_string(), steps);
        }
    }
}

/// The first Ctrl-C ends the run in order: what there is is reported.
#[test]
fn an_interrupted_run_reports_what_there_is() {
    let desk = Desk::new();
    let mut arguments = run("ProxEd", LASSO, "Ring(5)");
    *arguments.last_mut().unwrap() = "100000000000";
    arguments.extend(["--out", "run", "--json"]);
    let mut command = desk.typed(&arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    // Once F* is cached the run begins.
    while std::fs::read_dir(desk.path("cache/optimum")).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    command::interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["status"], "Interrupted");
    has_fields(&object, &RUN);
    assert_eq!(desk.files("run").len(), 5);
}

/// `starling … | head -1`, and even `2>&1 | true`.
#[test]
fn closed_pipes_are_no_panic() {
    let desk = Desk::new();
    let datasets = repository("datasets");
    for arguments in [
        vec!["data", "--verify", &datasets],
        vec!["graph", "Ring(10)"],
        vec!["graph", "Ring(", "--verbose"],
        vec!["--help"],
    ] {
        let mut command = desk.typed(&arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        drop(child.stdout.take());
        let bad = arguments.contains(&"Ring(");
        if bad {
            drop(child.stderr.take());
        }
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains("panicked"), "{arguments:?}: {message}");
        let code = if bad { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    }
}

// ---- bad input ----

#[test]
fn malformed_ron_is_refused_with_line_and_column() {
    let desk = Desk::new();
    desk.write("graph.ron", "// a ring\nRing(ten)\n");
    desk.write(
        "problem.ron",
        "Lasso(\n  dimension: 10,\n  rows: 6,\n  l1 0.1,\n)\n",
    );
    desk.write("algorithm.ron", "ProxEd(\n  stepp: 0.1,\n)\n");
    let names = "expected one of";
    desk.refuses(&["graph", "Ring(10"], &["1:6", "closing `)`", names]);
    desk.refuses(
        &["graph", "Circle(10)"],
        &["1:1", "`Circle`", names, "Ring(10)"],
    );
    desk.refuses(&["graph", "Ring(-1)"], &["1:7", "out of bounds"]);
    desk.refuses(&["graph", ""], &["1:1", names]);
    desk.refuses(
        &["graph", "Ring(5)", "--mixing", "Lazy"],
        &["--mixing:1:1", "LazyMetropolis"],
    );
    desk.refuses(&["graph", "@graph.ron"], &["graph.ron:2:6", "Ring(ten)"]);
    desk.refuses(
        &run("ProxEd", "@problem.ron", "Ring(4)"),
        &["problem.ron:4:", "l1 0.1"],
    );
    desk.refuses(
        &run("@algorithm.ron", LASSO, "Ring(4)"),
        &["algorithm.ron:2:", "stepp", "step"],
    );
    desk.refuses(
        &run("ProxEd(step: 0.1", LASSO, "Ring(4)"),
        &["--algorithm:1:14", names],
    );
    desk.refuses(
        &run("Sgd", LASSO, "Ring(4)"),
        &["--algorithm:1:1", "`Sgd`", "ProxEd"],
    );
    desk.refuses(
        &run("Rule", LASSO, "Ring(4)"),
        &["--algorithm:1:", "Rule(\"file\")"],
    );
    desk.refuses(
        &run("ProxEd", "Lasso(dimension: 10)", "Ring(4)"),
        &["--problem:1:", "rows"],
    );
    desk.refuses(
        &run("ProxEd", "Lasso(dimension: 10, rows: 6, l3: 1)", "Ring(4)"),
        &["--problem:1:", "l3"],
    );
    // Deep nesting is not followed to the end of the stack.
    desk.write("deep.ron", "Ring(".repeat(1_000_000));
    desk.refuses(&["graph", "@deep.ron"], &["deep.ron:1:"]);
    desk.write("deep.ron", "[".repeat(1_000_000));
    desk.refuses(&["graph", "@deep.ron"], &["deep.ron:1:"]);
}

#[test]
fn bad_data_are_refused_with_their_place() {
    let desk = Desk::new();
    desk.write("nan.csv", "a,b,target\n1,2,1\n3,NaN,-1\n");
    desk.write("ragged.csv", "1,2,1\n3,4,-1\n5,6,7,1\n");
    desk.write("three.csv", "1,2,0\n3,4,1\n5,6,2\n");
    desk.write("wide.libsvm", "1 1:2\n-1 99999999999:1\n");
    desk.write("empty.csv", "");
    desk.write("data.parquet", "1,2,1\n");
    desk.write(
        "cut.csv.gz",
        &std::fs::read(repository("datasets/sonar.libsvm.gz")).unwrap()[..900],
    );
    desk.write("latin.csv", b"1,2,1\n\xe9,2,1\n");
    let digits = format!(
        "Data(path: {:?}, loss: Logistic)",
        repository("datasets/digits.libsvm.gz")
    );
    let data = |file: &str| format!("Data(path: {file:?}, loss: Logistic, l1: 0.01)");
    for (problem, words) in [
        (
            data("nan.csv"),
            &["nan.csv, line 3, column 2", "NaN", "finite"][..],
        ),
        (
            data("ragged.csv"),
            &["ragged.csv, line 3", "4 columns", "expected 3"],
        ),
        (data("three.csv"), &["3 classes (0, 1, 2)", "exactly two"]),
        (digits, &["10 classes", "exactly two"]),
        (
            data("wide.libsvm"),
            &["wide.libsvm", "99999999999 columns", "at most"],
        ),
        (data("empty.csv"), &["empty.csv", "no rows"]),
        (data("data.parquet"), &["data.parquet", ".csv"]),
        (data("cut.csv.gz"), &["cut.csv.gz", "truncated"]),
        (data("latin.csv"), &["latin.csv, line 2", "UTF-8"]),
        (data("none.csv"), &["none.csv", "No such file"]),
        (data("."), &["cannot be read"]),
    ] {
        desk.refuses(&run("ProxEd", &problem, "Ring(3)"), words);
        desk.refuses(&["optimum", "--problem", &problem], words);
    }
    for file in ["nan.csv", "ragged.csv", "none.csv"] {
        desk.refuses(&["data", file], &[file]);
    }
    desk.write("two.csv", "1,2,0\n3,4,1\n");
    desk.refuses(
        &run("ProxEd", &data("two.csv"), "Ring(3)"),
        &["2 rows over 3 agents"],
    );
    let other = "Data(path: \"two.csv\", loss: Logistic, positive: 7)";
    desk.refuses(
        &["optimum", "--problem", other],
        &["positive is 7", "two.csv"],
    );
    for (share, words) in [
        ("l1_share: 0.1, l1: 0.1", ["l1_share", "one of the two"]),
        ("l1_share: -1", ["l1_share is -1", "≥ 0"]),
    ] {
        let both = format!("Data(path: \"two.csv\", loss: Logistic, {share})");
        desk.refuses(&run("ProxEd", &both, "Ring(2)"), &words);
        desk.refuses(&["optimum", "--problem", &both], &words);
    }
    desk.refuses(
        &["data", "--verify", "."],
        &["manifest.ron", "No such file"],
    );
    desk.write("manifest.ron", "[\n  (name: 3),\n]");
    desk.refuses(&["data", "--verify", "."], &["manifest.ron:2:"]);
    desk.refuses(&["data"], &["required", "<FILE>"]);
}

#[test]
fn bad_graphs_are_refused() {
    let desk = Desk::new();
    desk.write("apart.txt", "0 1\n2 3\n");
    desk.write("loop.txt", "0 1\n1 1\n");
    desk.write("words.txt", "0 1\none two\n");
    desk.write("gap.txt", "0 1\n0 18446744073709551615\n");
    desk.write("empty.txt", "# nothing\n");
    for (graph, words) in [
        (
            "EdgeList(\"apart.txt\")",
            &["disconnected", "2 components", "agent 2"][..],
        ),
        (
            "EdgeList(\"loop.txt\")",
            &["loop.txt:2", "two different agents"],
        ),
        ("EdgeList(\"words.txt\")", &["words.txt:2", "one two"]),
        ("EdgeList(\"gap.txt\")", &["at most 1000000"]),
        ("EdgeList(\"empty.txt\")", &["empty.txt", "no edge"]),
        ("EdgeList(\"none.txt\")", &["none.txt", "No such file"]),
        ("@none.ron", &["none.ron", "No such file"]),
        ("Ring(0)", &["Ring(0) has no agents"]),
        ("Grid(rows: 0, columns: 4)", &["rows is 0"]),
        ("Complete(18446744073709551615)", &["agents", "at most"]),
        ("Complete(100000)", &["edges", "at most"]),
        ("Path(18446744073709551615)", &["at most"]),
        (
            "ErdosRenyi(agents: 1000000000000, probability: 1e-20)",
            &["the number of agents is 1000000000000", "at most 1000000"],
        ),
        ("Torus(rows: 4294967296, columns: 4294967296)", &["at most"]),
        (
            "ErdosRenyi(agents: 25, probability: NaN)",
            &["probability is NaN"],
        ),
        (
            "ErdosRenyi(agents: 25, probability: 0.001)",
            &["none of 100 random draws"],
        ),
        (
            "RandomRegular(agents: 5, degree: 3)",
            &["degree is 3", "even"],
        ),
        (
            "SmallWorld(agents: 20, neighbors: 3, rewiring: 0.1)",
            &["neighbors is 3"],
        ),
        ("Tree(agents: 5, branching: 0)", &["branching is 0"]),
    ] {
        desk.refuses(&["graph", graph, "--svg", "graph.svg"], words);
        desk.refuses(&run("ProxEd", LASSO, graph), words);
    }
}

#[test]
fn bad_problems_are_refused() {
    let desk = Desk::new();
    for (options, words) in [
        ("dimension: 0, rows: 6", &["dimension is 0"][..]),
        ("dimension: 10, rows: 0", &["rows is 0"]),
        ("dimension: 10, rows: 6, l1: -0.1", &["l1 is -0.1"]),
        ("dimension: 10, rows: 6, l1: NaN", &["l1 is NaN"]),
        ("dimension: 10, rows: 6, l2: inf", &["l2 is inf"]),
        ("dimension: 10, rows: 6, box: (1, -1)", &["box is (1, -1)"]),
        ("dimension: 10, rows: 6, noise: NaN", &["noise is NaN"]),
        (
            "dimension: 10, rows: 6, sparsity: 1.5",
            &["sparsity is 1.5"],
        ),
        (
            "dimension: 10, rows: 6, heterogeneity: -1",
            &["heterogeneity is -1"],
        ),
        (
            "dimension: 10, rows: 6, heterogeneity: 1e300",
            &["finite numbers"],
        ),
        (
            "dimension: 18446744073709551615, rows: 10",
            &["at most 268435456 numbers"],
        ),
        (
            "dimension: 1000000, rows: 1000000",
            &["at most 268435456 numbers"],
        ),
    ] {
        for family in ["Lasso", "Logistic"] {
            let problem = format!("{family}({options})");
            desk.refuses(&run("ProxEd", &problem, "Ring(4)"), words);
            desk.refuses(&["optimum", "--problem", &problem], words);
        }
    }
    // Logistic regression on separable data without a regularizer has no minimiser.
    let separable = "Logistic(dimension: 10, rows: 6, l1: 0)";
    desk.refuses(&["optimum", "--problem", separable], &["no minimiser"]);
    // Features are finite, their squares are not.
    let large = "Lasso(dimension: 5, rows: 5, heterogeneity: 1000)";
    let large = ["optimum", "--agents", "4", "--problem", large];
    desk.refuses(&large, &["no optimum", "f64"]);
    let agents = ["optimum", "--problem", LASSO, "--agents", "4294967295"];
    desk.refuses(&agents, &["4294967295", "1..=1000000"]);
    // Few agents, many edges.
    desk.refuses(
        &run(
            "ProxEd",
            "Lasso(dimension: 60000, rows: 1)",
            "Complete(400)",
        ),
        &["79800 edges", "at most 268435456"],
    );
    shared().write(&desk.path("rule.ron")).unwrap();
    let eval = "eval --rules rule.ron --baselines none --tuning-problems 0 --trials 1";
    let mut eval: Vec<&str> = eval.split(' ').collect();
    eval.extend(["--problem", "Lasso(dimension: 400, rows: 1)"]);
    eval.extend(["--graph", "Complete(1200)"]);
    desk.refuses(&eval, &["719400 edges", "at most 268435456"]);
}

#[test]
fn bad_options_are_refused() {
    let desk = Desk::new();
    for (algorithm, words) in [
        ("ProxEd(step: -1)", &["ProxEd: step is -1", "> 0"][..]),
        ("ProxEd(step: 0)", &["step is 0"]),
        ("ProxEd(step: NaN)", &["step is NaN"]),
        ("Nids(step: inf)", &["step is inf"]),
        ("Dapg(a: 2)", &["a is 2", "(0, 1]"]),
        ("Dapg(mixings: 0)", &["mixings is 0"]),
        (
            "Dapg(mixings: 18446744073709551615)",
            &["mixings is", "1 to 1000"],
        ),
        ("Odapg(tau: 0)", &["tau is 0"]),
        ("ProxEdMomentum(beta: 1)", &["beta is 1", "[0, 1)"]),
        ("ProxEdFast(mixings: 0)", &["mixings is 0"]),
        ("DiagonalNids(blend: -0.1)", &["blend is -0.1", "[0, 1)"]),
        ("Opapc", &["Opapc", "smooth", "l1 = 0.1"]),
        ("Dlm(penalty: -1)", &["penalty is -1"]),
        ("Constants(primal: NaN)", &["primal is NaN"]),
        ("Constants(memory: 1)", &["memory is 1"]),
        ("Rule(\"none.ron\")", &["none.ron", "No such file"]),
    ] {
        desk.refuses(&run(algorithm, LASSO, "Ring(4)"), words);
    }
    let with = |more: &[&'static str]| [run("ProxEd", LASSO, "Ring(4)"), more.to_vec()].concat();
    desk.refuses(&with(&["--threads", "0"]), &["'0'", "--threads"]);
    desk.refuses(&with(&["--until", "NaN"]), &["--until is NaN"]);
    desk.refuses(&with(&["--seed", "one"]), &["--seed"]);
    let mut none = run("ProxEd", LASSO, "Ring(4)");
    *none.last_mut().unwrap() = "0";
    desk.refuses(&none, &["'0'", "--steps"]);
    let eval = |more: &[&'static str]| {
        let arguments = ["eval", "--problem", LASSO, "--graph", "Ring(4)"];
        [&arguments, more].concat()
    };
    desk.refuses(
        &eval(&["--baselines", "none"]),
        &["at least one rule or baseline"],
    );
    desk.refuses(
        &eval(&["--baselines", "Sgd"]),
        &["--baselines:1:1", "`Sgd`"],
    );
    desk.refuses(
        &eval(&["--baselines", "Rule(\"a\")"]),
        &["a rule has no step to tune"],
    );
    desk.refuses(&eval(&["--tuning-target", "0"]), &["--tuning-target is 0"]);
    desk.refuses(&eval(&["--trials", "0"]), &["'0'", "--trials"]);
    let tune = [
        "tune",
        "--problem",
        LASSO,
        "--graph",
        "Ring(4)",
        "--algorithms",
        "none",
    ];
    desk.refuses(&tune, &["at least one"]);
    let mut many = tune.to_vec();
    many.extend(["--problems", "10001"]);
    desk.refuses(&many, &["10001 is not in 1..=10000", "--problems"]);
    desk.refuses(
        &eval(&["--trials", "10001"]),
        &["10001 is not in 1..=10000", "--trials"],
    );
    desk.refuses(
        &eval(&["--tuning-problems", "10001"]),
        &["10001 is not in 0..=10000", "--tuning-problems"],
    );
    desk.refuses(&["audit", "none.ron"], &["none.ron", "No such file"]);
    desk.refuses(&["frobnicate"], &["frobnicate"]);
}

#[test]
fn bad_rule_files_are_refused() {
    let desk = Desk::new();
    shared().write(&desk.path("good.ron")).unwrap();
    let text = desk.read("good.ron");
    let inputs = format!("inputs: {NODE_FEATURES}");
    for (name, content, words) in [
        (
            "cut.ron",
            text[..text.len() / 2].to_string(),
            &["cut.ron:", "not a rule file"][..],
        ),
        ("empty.ron", String::new(), &["empty.ron:1:1"]),
        (
            "new.ron",
            text.replace("format: 2", "format: 99"),
            &["format 99 is unknown", "reads format 2"],
        ),
        (
            "nan.ron",
            text.replace(
                "primal: 1.4,\n            momentum",
                "primal: NaN,\n            momentum",
            ),
            &["nan.ron", "NaN"],
        ),
        (
            "shape.ron",
            text.replacen(&inputs, "inputs: 3", 1),
            &["shape.ron", "3 inputs", "expected"],
        ),
        ("other.ron", "Ring(10)".into(), &["other.ron:1:1"]),
    ] {
        assert_ne!(content, text, "{name} is really bad");
        desk.write(name, content);
        let rule = format!("Rule({name:?})");
        desk.refuses(&run(&rule, LASSO, "Ring(4)"), words);
        desk.refuses(&["audit", name], words);
        let eval = [
            "eval",
            "--rules",
            name,
            "--problem",
            LASSO,
            "--graph",
            "Ring(4)",
            "--baselines",
            "none",
        ];
        desk.refuses(&eval, words);
    }
    desk.refuses(&["export", ".", "-o", "rule.ron"], &["no best.ron"]);
    desk.refuses(
        &["export", "none", "-o", "rule.ron"],
        &["none", "no best.ron"],
    );
    desk.write("checkpoint/best.ron", &text[..99]);
    desk.refuses(
        &["export", "checkpoint", "-o", "rule.ron"],
        &["best.ron:", "not a rule file"],
    );

    let weights = std::fs::read(repository(
        "tests/fixtures/reference/milodo_lasso_ring5.safetensors",
    ))
    .unwrap();
    desk.write("cut.safetensors", &weights[..weights.len() / 2]);
    desk.write("text.safetensors", "no weights, only words");
    desk.refuses(
        &["import", "cut.safetensors", "-o", "rule.ron"],
        &["cut.safetensors", "truncated"],
    );
    desk.refuses(
        &["import", "text.safetensors", "-o", "rule.ron"],
        &["text.safetensors", "not a safetensors file"],
    );
    desk.refuses(
        &["import", "none.safetensors", "-o", "rule.ron"],
        &["none.safetensors", "No such file"],
    );
}

/// Below a regular file nothing can be written, not even by root.
#[test]
fn unwritable_folders_are_refused() {
    let desk = Desk::new();
    desk.write("file", "kept");
    shared().write(&desk.path("checkpoint/best.ron")).unwrap();
    let weights = repository("tests/fixtures/reference/milodo_lasso_ring5.safetensors");
    let words = ["cannot write", "file/below"];
    desk.refuses(
        &[run("ProxEd", LASSO, "Ring(4)"), vec!["--out", "file/below"]].concat(),
        &words,
    );
    desk.refuses(
        &["export", "checkpoint", "-o", "file/below/rule.ron"],
        &words,
    );
    desk.refuses(&["import", &weights, "-o", "file/below/rule.ron"], &words);
    let eval = [
        "eval",
        "--problem",
        LASSO,
        "--graph",
        "Ring(4)",
        "--out",
        "file/below",
    ];
    desk.refuses(&eval, &words);
    // Found out before the work, not after it.
    let long = ["--steps", "1000000000000"];
    desk.refuses(&[&eval[..], &long[..]].concat(), &words);
    let output = desk
        .typed(&["graph", "Ring(4)", "--svg", "file/below/graph.svg"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(words[0]));
    if cfg!(feature = "train") {
        desk.write("recipe.ron", "(rule: Shared(hidden: []), graphs: [Ring(3)], problems: [Lasso(dimension: 4, rows: 3)],
            stages: [(learning_rate: 1e-3, truncation: 2, horizon: 2, batch: 1, batches: 1)])");
        let device = ["--device", "cpu"];
        desk.refuses(
            &[
                &["train", "recipe.ron", "--out", "file/below"][..],
                &device[..],
            ]
            .concat(),
            &words,
        );
        desk.refuses(
            &[&["demo", "--out", "file/below"][..], &device[..]].concat(),
            &words,
        );
    }
    assert_eq!(desk.read("file"), "kept");
}

#[test]
fn lists_of_methods_keep_commas_inside_brackets() {
    let desk = Desk::new();
    let problem = "Lasso(dimension: 6, rows: 6)";
    let arguments = [
        "eval",
        "--baselines",
        "ProxEd(step: 0.1, mixing: Fastest), Nids",
        "--problem",
        problem,
        "--graph",
        "Ring(4)",
        "--steps",
        "200",
        "--tuning-problems",
        "1",
        "--trials",
        "1",
    ];
    let rows = desk.json(&arguments);
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(rows.iter().any(|row| {
        row["algorithm"]
            .as_str()
            .unwrap()
            .contains("mixing: Fastest")
    }));
}

/// The files of `fixtures/tries`, as people's own tools write them: the right number (by scikit-learn), or a refusal that names the cure.
#[test]
fn files_as_tools_write_them() {
    let desk = Desk::new();
    let problem = |file: &str, more: &str| {
        let path = repository(&format!("tests/fixtures/tries/{file}"));
        format!("Data(path: {path:?}, loss: LeastSquares, l1: 0.1{more})")
    };
    for (file, more, right) in [
        ("csv-without-index.csv", "", 0.8976),
        ("csv-numeric-header.csv", "", 0.8976),
        ("csv-index-column.csv", "", 0.8976),
        ("csv-target-first.csv", ", target: \"y\"", 0.8976),
        ("csv-target-first.csv", ", target: 0", 0.8976),
        ("ill-scaled.csv", ", standardize: false", 0.338614),
    ] {
        let object = &desk.json(&["optimum", "--problem", &problem(file, more)])[0];
        let found = number(object, "objective");
        assert!((found - right).abs() < 1e-4, "{file}{more}: {found}");
    }
    for (file, words) in [
        ("csv-target-first.csv", ["target: \"y\"", "line 1"]),
        ("csv-first-row-corrupt.csv", ["1.0x", "header: false"]),
        ("one-huge-index.libsvm", ["200000000", "renumber"]),
        ("unsorted.libsvm", ["line 1", "sort"]),
        ("utf16.csv", ["UTF-16", "UTF-8"]),
    ] {
        desk.refuses(&["optimum", "--problem", &problem(file, "")], &words);
    }
    let edges = repository("tests/fixtures/tries/isolated-agent.edges");
    let output = desk.succeeds(&["graph", &format!("EdgeList({edges:?})")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 agents, 1 edges"));
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_cannot_be_had_are_a_message() {
    let desk = Desk::new();
    let starling = assert_cmd::cargo::cargo_bin!("starling")
        .display()
        .to_string();
    let typed = |more: &str| {
        let line = format!("ulimit -v 3000000; {starling} {more} graph 'Ring(5)'");
        let mut shell = std::process::Command::new("sh");
        shell
            .current_dir(desk.path(""))
            .args(["-c", &line])
            .output()
            .unwrap()
    };
    // Where memory ends in a thread's signal stack rather than in its own, the standard library aborts: another try.
    let aborted = |output: &std::process::Output| output.status.code() == Some(134);
    let mut output = typed("--threads 1024");
    for _ in 0..5 {
        if aborted(&output) {
            output = typed("--threads 1024");
        }
    }
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(
        log.contains("1024 threads") && log.contains("--threads 1"),
        "{log}"
    );
    assert!(typed("--threads 1").status.success());
}
