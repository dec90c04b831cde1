//! Ctrl-C in every phase of every verb: the process ends within a second (the limit here leaves room for a busy machine), with exit
//! code 130, and what can be saved is saved.

mod command;

use command::{Desk, interrupt, repository};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// From Ctrl-C to the end of the process.
const LIMIT: Duration = Duration::from_millis(2_000);

/// Types `arguments`, presses Ctrl-C after `seconds`; standard output and standard error.
fn stopped(desk: &Desk, seconds: f64, arguments: &[&str]) -> (String, String) {
    let mut command = desk.typed(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    assert!(
        child.try_wait().unwrap().is_none(),
        "starling {arguments:?} ended before Ctrl-C"
    );
    let clock = Instant::now();
    interrupt(&child);
    child.wait().unwrap();
    let took = clock.elapsed();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(130),
        "starling {arguments:?}: {log}"
    );
    assert!(!log.contains("panicked"), "starling {arguments:?}: {log}");
    assert!(took < LIMIT, "starling {arguments:?}: {took:?}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), log)
}

/// Solving takes minutes.
const LARGE: &str = "Lasso(dimension: 3000, rows: 1500, correlation: 0.9)";
const SMALL: &str = "Lasso(dimension: 300, rows: 10)";
const METHOD: [&str; 2] = ["--algorithm", "ProxEd"];

#[test]
fn while_solving_for_the_optimum() {
    let desk = Desk::new();
    let problem = ["--problem", LARGE];
    stopped(
        &desk,
        1.0,
        &[&["optimum", "--agents", "10"], &problem[..]].concat(),
    );
    let graph = ["--graph", "Ring(10)"];
    stopped(
        &desk,
        1.0,
        &[&["run"], &METHOD[..], &problem[..], &graph[..]].concat(),
    );
    stopped(
        &desk,
        1.0,
        &[&["eval", "--baselines", "ProxEd"], &problem[..], &graph[..]].concat(),
    );
    stopped(&desk, 1.0, &[&["tune"], &problem[..], &graph[..]].concat());
}

#[test]
fn while_building_a_graph() {
    let desk = Desk::new();
    let graph = "ErdosRenyi(agents: 1000000, probability: 0.00002)";
    stopped(&desk, 1.0, &["graph", graph]);
    let problem = ["--problem", "Lasso(dimension: 1, rows: 1)"];
    stopped(
        &desk,
        1.0,
        &[&["run", "--graph", graph], &METHOD[..], &problem[..]].concat(),
    );
}

/// The methods that were tuned already are told.
#[test]
fn while_tuning() {
    let desk = Desk::new();
    let problem = ["--problem", SMALL, "--graph", "Ring(10)"];
    stopped(
        &desk,
        1.0,
        &[&["tune", "--problems", "3"], &problem[..]].concat(),
    );
    let small = [
        "--problem",
        "Lasso(dimension: 10, rows: 5)",
        "--graph",
        "Ring(4)",
    ];
    let (said, _) = stopped(
        &desk,
        2.0,
        &[
            &[
                "tune",
                "--problems",
                "200",
                "--algorithms",
                "Nids,Dapg,Odapg,ProxAtc,SemiAtc,Diging,Constants",
            ],
            &small[..],
        ]
        .concat(),
    );
    assert!(
        said.contains("Nids") && !said.contains("Constants"),
        "{said}"
    );
}

/// A run ends with all its results.
#[test]
fn while_running() {
    let desk = Desk::new();
    let options = ["--steps", "2000000000", "--out", "out", "--json"];
    let problem = [
        "--problem",
        "Lasso(dimension: 10, rows: 5)",
        "--graph",
        "Ring(4)",
    ];
    let (said, _) = stopped(
        &desk,
        1.0,
        &[&["run"], &METHOD[..], &problem[..], &options[..]].concat(),
    );
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(object["status"], "Interrupted", "{object}");
    for file in ["trace.csv", "result.json", "gap.svg", "gap.png"] {
        assert!(desk.path("out").join(file).exists(), "{file}");
    }
}

#[test]
fn while_auditing_and_comparing() {
    let desk = Desk::new();
    let rule = repository("models/demo/rule.ron");
    stopped(&desk, 1.0, &["audit", &rule, "--steps", "100000000"]);
    let problem = [
        "--problem",
        "Lasso(dimension: 10, rows: 10)",
        "--graph",
        "Ring(5)",
    ];
    let options = [
        "--rules",
        &rule,
        "--baselines",
        "none",
        "--steps",
        "100000000",
    ];
    stopped(
        &desk,
        1.0,
        &[&["eval"], &problem[..], &options[..]].concat(),
    );
}

/// In the middle of a window, of drawing, of a validation: the checkpoint before the batch is there, and training goes on from it.
#[cfg(feature = "cpu")]
#[test]
fn while_training() {
    let desk = Desk::new();
    let recipe = |stage: &str, validation: &str| {
        format!(
            "(rule: Shared(hidden: [16, 16]), graphs: [Ring(10)], problems: [{SMALL}],
            stages: [(learning_rate: 1e-3, {stage}, batches: 1000)], validation: (problems: 1, {validation}))"
        )
    };
    for (name, stage, validation) in [
        (
            "window",
            "truncation: 400, horizon: 400, batch: 40",
            "every: 10, horizon_factor: 1",
        ),
        (
            "drawing",
            "truncation: 10, horizon: 10, batch: 5000",
            "every: 10, horizon_factor: 1",
        ),
        (
            "validation",
            "truncation: 10, horizon: 10, batch: 2",
            "every: 1, horizon_factor: 1000000",
        ),
    ] {
        desk.write("recipe.ron", recipe(stage, validation));
        let train = ["train", "--device", "cpu", "--out", name, "--json"];
        let (said, _) = stopped(&desk, 2.5, &[&train[..], &["recipe.ron"]].concat());
        let object: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(object["finished"], false, "{name}: {object}");
        let (said, _) = stopped(&desk, 2.5, &[&train[..], &["--resume"]].concat());
        let object: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(object["finished"], false, "{name}: {object}");
    }
}

#[cfg(feature = "cpu")]
#[test]
fn while_showing_the_demo() {
    let desk = Desk::new();
    stopped(&desk, 3.0, &["demo", "--device", "cpu"]);
}
