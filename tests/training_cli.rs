//! `starling train` and `export` as they are typed: interrupted and resumed, started over, refused, diverging.
#![cfg(feature = "cpu")]

mod command;

use burn::tensor::DType;
use command::{Desk, has_fields};
use serde_json::Value;
use starling::rule::{FrozenRule, Structure};
use starling::train::checkpoint::{Folder, Moments, Position, read_recipe};
use starling::train::shared::SharedModule;
use starling::train::{TrainDevice, parameters};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Seconds of work: 58 batches in two stages.
const RECIPE: &str = "(
    rule: Shared(hidden: [8]),
    graphs: [Ring(4)],
    problems: [Lasso(dimension: 10, rows: 6)],
    stages: [
        (learning_rate: 3e-3, truncation: 5, horizon: 10, batch: 6, batches: 18),
        (learning_rate: 1e-3, truncation: 10, horizon: 20, batch: 6, batches: 40),
    ],
    averaging: 0.9,
    validation: (problems: 2, every: 3, horizon_factor: 2),
)";

/// A recipe of one stage with two batches.
fn tiny(rule: &str) -> String {
    format!(
        "(rule: {rule}, graphs: [Ring(4)], problems: [Lasso(dimension: 10, rows: 6)],
        stages: [(learning_rate: 1e-3, truncation: 3, horizon: 6, batch: 2, batches: 2)],
        validation: (problems: 1, every: 1, horizon_factor: 2))"
    )
}

/// `train` on the CPU with more arguments.
fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--device", "cpu"], more].concat()
}

/// Trains with `-v` and sends SIGINT as soon as the log speaks of a batch that was validated.
fn interrupt(desk: &Desk, arguments: &[&str], batch: u64) {
    let arguments = [arguments, &["-v", "--json"]].concat();
    let mut command = desk.typed(&arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut log = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line = line.unwrap();
        log += &format!("{line}\n");
        if line.contains(&format!("batch {batch}: validation")) {
            command::interrupt(&child);
            break;
        }
    }
    log += &lines.map(|line| line.unwrap() + "\n").collect::<String>();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{log}");
    assert!(log.contains("stopping: saving what there is"), "{log}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["finished"], false, "{object}");
    let batches = object["batches"].as_u64().unwrap();
    assert!((batch..58).contains(&batches), "{object}");
}

/// Parameters, Adam's moments and the position of a finished training. The burnpack files themselves hold random identifiers.
fn state(desk: &Desk, folder: &str) -> (Vec<f64>, Moments, Position) {
    let path = desk.path(folder);
    let Structure::Shared(best) = FrozenRule::read(&path.join("best.ron")).unwrap().structure
    else {
        panic!("not a shared rule");
    };
    let device = TrainDevice::cpu().unwrap().device;
    let module = SharedModule::new(&best, &device, DType::F32, false);
    let recipe = read_recipe(&path).unwrap();
    let (module, moments, position, _) = Folder::new(&path).load(module, &recipe).unwrap();
    (parameters::values(&module), moments, position)
}

/// Bit for bit: the rule, the parameters, the moments, the counters.
#[test]
fn interrupted_and_resumed_equals_uninterrupted() {
    let desk = Desk::new();
    desk.write("recipe.ron", RECIPE);
    // The folder's last name becomes the rule's.
    let object = desk
        .json(&train(&["recipe.ron", "--out", "a/checkpoint"]))
        .remove(0);
    has_fields(
        &object,
        &[
            "checkpoint",
            "batches",
            "meta_steps",
            "skipped",
            "best_validation",
            "seed",
            "device",
        ],
    );
    assert_eq!(
        (&object["finished"], &object["batches"]),
        (&true.into(), &58.into())
    );

    let out = ["--out", "b/checkpoint"];
    let resume = train(&[&["--resume"], &out[..]].concat());
    interrupt(&desk, &train(&[&["recipe.ron"], &out[..]].concat()), 6);
    interrupt(&desk, &resume, 21);
    assert_eq!(desk.json(&resume)[0]["finished"], true);

    for folder in ["a", "b"] {
        let from = format!("{folder}/checkpoint");
        let rule = format!("{folder}/rule.ron");
        let object = &desk.json(&["export", &from, "-o", &rule])[0];
        assert_eq!(object["structure"], "shared");
        assert_eq!(desk.read(&rule), desk.read(&format!("{from}/best.ron")));
    }
    assert_eq!(desk.read("a/rule.ron"), desk.read("b/rule.ron"));
    assert_eq!(state(&desk, "a/checkpoint"), state(&desk, "b/checkpoint"));

    // Resuming what is finished changes nothing.
    let checkpoint = || {
        let files = desk.files("b/checkpoint").into_iter();
        let files = files.filter(|f| !f.contains("tensorboard"));
        files
            .map(|f| std::fs::read(desk.path(&f)).unwrap())
            .collect::<Vec<_>>()
    };
    let before = checkpoint();
    let again = &desk.json(&resume)[0];
    assert_eq!(
        (&again["finished"], &again["batches"]),
        (&true.into(), &58.into())
    );
    assert!(checkpoint() == before, "another checkpoint");

    // What was learned runs.
    let run = [
        "run",
        "--algorithm",
        "Rule(\"b/rule.ron\")",
        "--problem",
        "Lasso(dimension: 10, rows: 6)",
        "--graph",
        "Ring(4)",
        "--steps",
        "400",
    ];
    let object = &desk.json(&run)[0];
    assert!(object["gap"].as_f64().unwrap() < 1e-6, "{object}");
}

#[test]
fn seeds_differ_and_event_files_hold_the_scalars() {
    let desk = Desk::new();
    desk.write("recipe.ron", tiny("Shared(hidden: [4])"));
    let rule = |seed| {
        let out = format!("{seed}/checkpoint");
        let object = &desk.json(&train(&["recipe.ron", "--seed", seed, "--out", &out]))[0];
        assert_eq!(object["seed"].to_string(), seed);
        // The seed stays with the checkpoint.
        desk.json(&train(&["--resume", "--out", &out]));
        desk.read(&format!("{out}/best.ron"))
    };
    assert_ne!(rule("3"), rule("4"));

    let events = desk.files("3/checkpoint/tensorboard");
    assert!(!events.is_empty());
    let bytes: Vec<u8> = events.iter().flat_map(|file| desk.bytes(file)).collect();
    for tag in [
        "train/meta_loss",
        "train/gradient_norm",
        "validation/log10_gap",
        "speed/agent_coordinate_steps_per_second",
    ] {
        assert!(
            bytes.windows(tag.len()).any(|w| w == tag.as_bytes()),
            "{tag}"
        );
    }
}

#[test]
fn training_starts_over_only_if_told_to() {
    let desk = Desk::new();
    desk.write("models/small/recipe.ron", tiny("Shared(hidden: [4])"));
    // The default folder is named after the recipe's.
    let start = train(&["models/small/recipe.ron"]);
    desk.json(&start);
    let folder = "checkpoints/small";
    let first = desk.read(&format!("{folder}/best.ron"));
    desk.write("checkpoints/small/mine.txt", "kept");
    let events = desk.files("checkpoints/small/tensorboard");
    desk.refuses(&start, &["checkpoints/small", "--resume", "--restart"]);
    let restart = [&start[..], &["--restart"]].concat();
    assert_eq!(desk.json(&restart)[0]["batches"], 2);
    assert_eq!(desk.read(&format!("{folder}/best.ron")), first);
    assert_eq!(desk.read(&format!("{folder}/mine.txt")), "kept");
    assert_eq!(
        desk.files("checkpoints/small/tensorboard").len(),
        events.len()
    );

    // A recipe that no training wrote is not overwritten.
    let recipe = desk.read("models/small/recipe.ron");
    desk.refuses(
        &train(&["models/small/recipe.ron", "--out", "models/small"]),
        &["models/small/recipe.ron", "overwritten"],
    );
    assert_eq!(desk.read("models/small/recipe.ron"), recipe);
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let desk = Desk::new();
    desk.write("recipe.ron", tiny("Shared(hidden: [4])"));
    desk.write("edited.ron", tiny("Shared(hidden: [5])"));
    let resume = |recipe: &'static str| train(&[recipe, "--resume", "--out", "checkpoint"]);
    desk.refuses(
        &resume("recipe.ron"),
        &["checkpoint/progress.ron", "No such file"],
    );
    let bare = train(&["--resume", "--out", "checkpoint"]);
    desk.refuses(&bare, &["checkpoint/recipe.ron", "No such file"]);
    desk.json(&train(&["recipe.ron", "--out", "checkpoint"]));
    desk.refuses(&resume("edited.ron"), &["checkpoint", "another recipe"]);
    desk.refuses(
        &[&resume("recipe.ron")[..], &["--seed", "9"]].concat(),
        &["another recipe"],
    );

    let pack = "checkpoint/rule-2.bpk";
    let whole = desk.bytes(pack);
    let mut flipped = whole.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped] {
        desk.write(pack, damaged);
        desk.refuses(&bare, &["rule-2.bpk", "damaged"]);
    }
    std::fs::remove_file(desk.path(pack)).unwrap();
    desk.refuses(&bare, &["rule-2.bpk", "No such file"]);
    desk.write(pack, &whole);
    desk.json(&bare);

    let progress = desk.read("checkpoint/progress.ron");
    desk.write(
        "checkpoint/progress.ron",
        progress.replace("format: 2", "format: 9"),
    );
    desk.refuses(&bare, &["format 9 is unknown"]);
    desk.write("checkpoint/progress.ron", &progress[..40]);
    desk.refuses(&bare, &["progress.ron:"]);
}

#[test]
fn bad_recipes_are_refused() {
    let desk = Desk::new();
    let good = tiny("Shared(hidden: [4])");
    for (from, to, words) in [
        (
            "truncation: 3",
            "truncation 3",
            &["recipe.ron:2:", "truncation 3"][..],
        ),
        ("graphs", "grafs", &["recipe.ron:1:", "grafs"]),
        ("graphs: [Ring(4)]", "graphs: []", &["graphs is empty"]),
        (
            "learning_rate: 1e-3",
            "learning_rate: -1",
            &["learning_rate of stage 1 is -1"],
        ),
        (
            "learning_rate: 1e-3",
            "learning_rate: NaN",
            &["learning_rate of stage 1 is NaN"],
        ),
        (
            "truncation: 3",
            "truncation: 7",
            &["truncation of stage 1 is 7", "horizon 6"],
        ),
        ("batches: 2", "batches: 0", &["batches of stage 1 is 0"]),
        (
            "horizon: 6",
            "horizon: 18446744073709551615",
            &["horizon of stage 1", "1 to 1000000"],
        ),
        ("problems: 1", "problems: 0", &["validation"]),
        ("hidden: [4]", "hidden: [1000]", &["hidden", "1 to 64"]),
        (
            "hidden: [4]",
            "hidden: [4], constants: (primal: -1)",
            &["primal is -1"],
        ),
        ("Shared(hidden: [4])", "Milodo(step: 0)", &["step is 0"]),
        ("Ring(4)", "Ring(0)", &["no agents"]),
        ("dimension: 10", "dimension: 0", &["dimension is 0"]),
        (
            "dimension: 10",
            "dimension: 18446744073709551615",
            &["at most 268435456"],
        ),
        (
            "Lasso(dimension: 10, rows: 6)",
            "Data(path: \"none.csv\", loss: Logistic)",
            &["none.csv", "No such file"],
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        desk.write("recipe.ron", bad);
        desk.refuses(&train(&["recipe.ron", "--out", "checkpoint"]), words);
    }
    desk.refuses(&train(&["none.ron"]), &["none.ron", "No such file"]);
    desk.refuses(&train(&[]), &["required"]);
    desk.refuses(&train(&["--resume"]), &["--out"]);
}

#[test]
fn milodo_and_bare_constants_train_too() {
    let desk = Desk::new();
    for (rule, kind) in [
        ("Milodo(step: 0.1)", "milodo"),
        ("Shared(hidden: [])", "shared"),
    ] {
        desk.write("recipe.ron", tiny(rule));
        assert_eq!(
            desk.json(&train(&["recipe.ron", "--out", kind]))[0]["finished"],
            true
        );
        let file = format!("{kind}/rule.ron");
        let object = &desk.json(&["export", kind, "-o", &file])[0];
        assert_eq!(object["structure"], kind);
        let rule = format!("Rule({file:?})");
        let run = |graph| {
            [
                "run",
                "--algorithm",
                &rule,
                "--problem",
                "Lasso(dimension: 10, rows: 6)",
                "--graph",
                graph,
                "--steps",
                "300",
            ]
        };
        let object = &desk.json(&run("Ring(4)"))[0];
        assert!(object["gap"].as_f64().unwrap() < 1e-3, "{object}");
        if kind == "milodo" {
            desk.refuses(&run("Ring(5)"), &["tied to the graph"]);
        } else {
            desk.json(&run("Ring(5)"));
        }
    }
}

/// Steps far beyond stability: gradients that are not finite are counted and skipped, and the training ends in order.
#[test]
fn divergence_is_reported_not_a_crash() {
    let desk = Desk::new();
    desk.write(
        "recipe.ron",
        "(rule: Shared(hidden: [4], constants: (primal: 50)), graphs: [Ring(4)], problems: [Lasso(dimension: 10, rows: 6)],
        stages: [(learning_rate: 1e-3, truncation: 20, horizon: 60, batch: 2, batches: 3)],
        validation: (problems: 1, every: 1, horizon_factor: 2))",
    );
    fails(
        &desk,
        "recipe.ron",
        &["3 of 3 windows were skipped", "learning_rate"],
    );
    // What is exported is the start.
    let object = &desk.json(&["export", "checkpoint", "-o", "rule.ron"])[0];
    assert_eq!(object["provenance"]["meta_steps"], 0, "{object}");
}

/// Training of `recipe` into `checkpoint` ends with exit code 2 and a message that has all of `words`.
fn fails(desk: &Desk, recipe: &str, words: &[&str]) {
    let arguments = train(&[recipe, "--out", "checkpoint", "--restart"]);
    let output = desk.typed(&arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{recipe}: {log}");
    for word in words {
        assert!(log.contains(word), "{recipe}: expected `{word}`: {log}");
    }
}

/// The file in `fixtures/tries`, in the desk.
fn tried(desk: &Desk, name: &str) -> String {
    let file = format!("{name}.ron");
    let path = command::repository(&format!("tests/fixtures/tries/{file}"));
    desk.write(&file, std::fs::read(path).unwrap());
    file
}

#[test]
fn trainings_that_learn_nothing_fail() {
    let desk = Desk::new();
    for (name, words) in [
        ("nothing-learned", ["12 of 12 windows", "F* is 0"]),
        ("learning-rate-1e3", ["12 of 13 windows", "learning_rate"]),
        (
            "truncation-below-refresh",
            ["truncation of stage 1 is 4", "at least refresh 8"],
        ),
    ] {
        fails(&desk, &tried(&desk, name), &words);
    }
}

/// The second stage destroys what the first reached: what is exported is the best of both, and better than the start.
#[test]
fn the_best_rule_of_all_stages_is_exported() {
    let desk = Desk::new();
    let recipe = tried(&desk, "second-stage-worse");
    let object = &desk.json(&train(&[&recipe, "--out", "checkpoint"]))[0];
    let score = |field: &str| object[field].as_f64().unwrap();
    assert!(score("best_validation") < -5.0, "{object}");
    assert!(
        score("best_validation") < score("start_validation") - 1.0,
        "{object}"
    );
    assert!(score("best_batch") <= 12.0, "{object}");

    // Missing, empty or damaged at the end: put right.
    let best = desk.bytes("checkpoint/best.ron");
    for damage in [None, Some(&b""[..]), Some(&best[..best.len() / 2])] {
        match damage {
            None => std::fs::remove_file(desk.path("checkpoint/best.ron")).unwrap(),
            Some(bytes) => desk.write("checkpoint/best.ron", bytes),
        }
        let output = desk.succeeds(&train(&["--resume", "--out", "checkpoint"]));
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("best.ron was missing"), "{log}");
        assert_eq!(desk.bytes("checkpoint/best.ron"), best);
    }
    // The checkpoint's own copy cannot be made again.
    desk.write("checkpoint/best-24.ron", "damaged");
    desk.refuses(
        &train(&["--resume", "--out", "checkpoint"]),
        &["best-24.ron", "damaged", "--restart"],
    );
}

/// Scores over different horizons are not compared: the best so far is measured again where the horizon grows.
#[test]
fn the_best_rule_is_measured_again_over_a_longer_horizon() {
    let desk = Desk::new();
    desk.write(
        "recipe.ron",
        "(rule: Shared(hidden: [4]), graphs: [Ring(4)], problems: [Lasso(dimension: 10, rows: 6)],
        stages: [(learning_rate: 3e-3, truncation: 5, horizon: 10, batch: 2, batches: 6),
                 (learning_rate: 1, truncation: 5, horizon: 40, batch: 2, batches: 6)],
        validation: (problems: 2, every: 3, horizon_factor: 1))",
    );
    let object = &desk.json(&train(&["recipe.ron", "--out", "checkpoint"]))[0];
    assert_eq!(object["validation_steps"], 40);
    // In 10 steps the gap is larger than this.
    assert!(
        object["start_validation"].as_f64().unwrap() < -1.5,
        "{object}"
    );
    let (best, start) = (&object["best_validation"], &object["start_validation"]);
    assert!(best.as_f64() <= start.as_f64(), "{object}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_training_with_a_message() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("small")).unwrap();
    let small = desk.path("small").display().to_string();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=40k", "tmpfs", &small])
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: a small file system cannot be mounted here");
        return;
    }
    let recipe = tried(&desk, "second-stage-worse");
    let output = desk
        .typed(&train(&[&recipe, "--out", "small/checkpoint"]))
        .output();
    let unmounted = std::process::Command::new("umount").arg(&small).status();
    let output = output.unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(unmounted.unwrap().success());
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(
        log.contains("No space left") && !log.contains("panicked"),
        "{log}"
    );
}
