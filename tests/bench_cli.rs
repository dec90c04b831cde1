//! `starling bench` as it is typed: what it writes, that it continues, that threads change nothing, and bad input.

mod command;

use command::{Desk, has_fields, repository};
use serde_json::Value;
use starling::rule::{Constants, FrozenRule, Provenance, Shared, Structure};
use std::process::Stdio;
use std::time::SystemTime;

const SUITE: &str = r#"(
    name: "small",
    groups: {"constant": ["rule.ron", "seed-2.ron"]}, rules: ["constant"],
    opponents: ["Constants", "ProxEd", "Nids"],
    finalists: 2,
    targets: [1e-6, 1e-2],
    trials: 2,
    tuning_problems: 1,
    steps: 400,
    cells: [
        (name: "lasso", tags: ["family"], problem: Lasso(dimension: 10, rows: 6), graph: Ring(4)),
        (name: "data", problem: Data(path: "ionosphere.libsvm.gz", loss: Logistic, l1_share: 0.2), graph: Star(5),
            opponents: ["ProxEd", "Constants"], seconds: true),
    ],
)"#;

fn write_rule(desk: &Desk, file: &str, constants: Constants) {
    let rule = Structure::Shared(Shared::constant(constants));
    FrozenRule::new(rule, Provenance::default())
        .write(&desk.path(file))
        .unwrap();
}

/// A desk with the suite, its rules and its data.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("suite.ron", SUITE);
    for (file, primal) in [("rule.ron", 1.4), ("seed-2.ron", 1.2)] {
        let constants = Constants {
            primal,
            ..Constants::default()
        };
        write_rule(&desk, file, constants);
    }
    let data = std::fs::read(repository("datasets/ionosphere.libsvm.gz")).unwrap();
    desk.write("ionosphere.libsvm.gz", data);
    desk
}

/// Everything measured, without the seconds and the machine.
fn results(desk: &Desk, folder: &str) -> Value {
    let mut results: Value =
        serde_json::from_str(&desk.read(&format!("{folder}/results.json"))).unwrap();
    has_fields(&results["system"], &["cpu", "cores", "version", "date"]);
    results["system"].take();
    for entry in results["results"].as_array_mut().unwrap() {
        entry["seconds"].take();
    }
    results
}

fn modified(desk: &Desk) -> Vec<(String, SystemTime)> {
    let files = desk.files("bench/cells").into_iter();
    files
        .map(|file| {
            let modified = desk.path(&file).metadata().unwrap().modified().unwrap();
            (file, modified)
        })
        .collect()
}

#[test]
fn bench_writes_page_tables_json_and_plots_and_continues() {
    let desk = desk();
    let objects = desk.json(&["bench", "suite.ron"]);
    // (rule, seed, three opponents, oracle) × two targets; one opponent less, and no oracle where seconds count.
    assert_eq!(objects.len(), 12 + 8);
    for object in &objects {
        has_fields(
            object,
            &["cell", "contestant", "kind", "target", "lower_bound"],
        );
        has_fields(object, &["failed", "diverged", "floats_sent", "algorithm"]);
        has_fields(object, &["local_solves", "worst_gap", "rows_sent_after"]);
        assert_eq!(object["trials"], 2);
        assert_eq!(object["seconds"].is_null(), object["cell"] == "lasso");
        if object["kind"] == "Rule" {
            assert!(object["rounds"]["median"].is_u64(), "{object}");
            let against = object["against"].as_array().unwrap();
            assert_eq!(against.len(), 3, "{object}");
            assert!(against.iter().all(|a| a["ratio"]["pairs"] == 2), "{object}");
            assert!(against[0]["opponent"] != "oracle");
            assert_eq!(against[2]["opponents"], "published");
            assert!(against[2]["opponent"] != "Constants");
            let recipe = &object["recipe"];
            assert_eq!((&recipe["seeds"], &recipe["runs"]), (&2.into(), &4.into()));
            let of_seeds = [&recipe["rounds"], &recipe["worst_rounds"]].map(Value::as_u64);
            assert!(of_seeds[0].is_some() && of_seeds[0] <= of_seeds[1]);
            let ratio = &recipe["ratios"][0];
            assert!(ratio["worst"].as_f64() <= ratio["median"].as_f64());
        }
        for against in object["against"].as_array().unwrap() {
            let is_best = object["contestant"] == against["opponent"];
            assert!(!is_best || against["ratio"]["median"] == 1.0, "{object}");
        }
        let tuned = ["Published", "Rung"].iter().any(|k| object["kind"] == *k);
        assert_eq!(object["tuning"].is_object(), tuned);
        if object["kind"] == "Oracle" {
            // Hindsight is never worse than the method whose step it chooses.
            let method = object["algorithm"].as_str().unwrap().split(' ').next();
            let same = |o: &&Value| {
                o["contestant"] == method.unwrap()
                    && ["cell", "target"]
                        .iter()
                        .all(|field| o[field] == object[field])
            };
            let own = objects.iter().find(same).unwrap();
            let median = |o: &Value| o["rounds"]["median"].as_u64();
            assert!(median(object) <= median(own), "{object}");
        }
    }
    let mut written = vec![
        "bench/index.html",
        "bench/problems/data.json",
        "bench/problems/lasso.json",
        "bench/results.json",
        "bench/summary.csv",
        "bench/summary.md",
    ];
    let plots: Vec<String> = ["data-gap", "data-rounds", "lasso-gap", "lasso-rounds"]
        .iter()
        .flat_map(|plot| ["png", "svg"].map(|form| format!("bench/plots/{plot}.{form}")))
        .collect();
    written.extend(plots.iter().map(String::as_str));
    let contestants = [
        "data/Constants",
        "data/ProxEd",
        "data/constant",
        "data/constant-seed-2",
        "lasso/Constants",
        "lasso/Nids",
        "lasso/ProxEd",
        "lasso/constant",
        "lasso/constant-seed-2",
        "lasso/oracle",
    ];
    let contestants = contestants.map(|file| format!("bench/cells/{file}.json"));
    written.extend(contestants.iter().map(String::as_str));
    let tuned = ["data/Constants", "data/ProxEd", "lasso/Constants"];
    let tuned = tuned.into_iter().chain(["lasso/Nids", "lasso/ProxEd"]);
    let tuned: Vec<String> = tuned
        .map(|file| format!("bench/tuning/{file}.json"))
        .collect();
    written.extend(tuned.iter().map(String::as_str));
    written.sort();
    assert_eq!(desk.files("bench"), written);
    assert_eq!(desk.read("bench/summary.csv").lines().count(), 1 + 20);
    let page = desk.read("bench/index.html");
    assert_eq!(page.matches("<svg").count(), 4);
    for link in ["src=", "<link", "@import", "url("] {
        assert!(!page.contains(link), "{link} in the page");
    }

    // Again: everything is kept, and equal, seconds included.
    let (first, files) = (desk.read("bench/results.json"), modified(&desk));
    let output = desk.succeeds(&["bench", "suite.ron"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("9 of 9 contestants were kept"), "{said}");
    assert_eq!(desk.read("bench/results.json"), first);
    assert_eq!(modified(&desk), files);

    // Another rule file under the same name: it alone is measured again, but with it all that seconds are compared of. So is a file
    // that was cut short.
    std::fs::copy(desk.path("seed-2.ron"), desk.path("rule.ron")).unwrap();
    let cut = &first[..100];
    desk.write("bench/cells/lasso/Nids.json", cut);
    let output = desk.succeeds(&["bench", "suite.ron"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("3 of 9 contestants were kept"), "{said}");
    let output = desk.succeeds(&["bench", "suite.ron", "--fresh", "--only", "family"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("kept"), "{said}");
}

#[test]
fn threads_change_nothing_but_seconds() {
    let desk = desk();
    for threads in ["1", "2"] {
        desk.succeeds(&["bench", "suite.ron", "--out", threads, "--threads", threads]);
    }
    assert_eq!(results(&desk, "1"), results(&desk, "2"));
}

#[test]
fn cells_are_chosen_by_name_or_tag() {
    let desk = desk();
    let listed = desk.json(&["bench", "suite.ron", "--list"]);
    let cells = |objects: &[Value]| -> Vec<String> {
        let mut cells: Vec<String> = objects.iter().map(|o| o["cell"].to_string()).collect();
        cells.dedup();
        cells
    };
    assert_eq!(cells(&listed), ["\"lasso\"", "\"data\""]);
    assert_eq!(desk.files("bench").len(), 0);
    let tagged = ["bench", "suite.ron", "--only", "family", "--trials", "1"];
    let objects = desk.json(&tagged);
    assert_eq!(cells(&objects), ["\"lasso\""]);
    assert!(objects.iter().all(|o| o["trials"] == 1));
}

/// Ctrl-C ends the bench in order; the same command continues.
#[test]
fn an_interrupted_bench_continues() {
    let desk = desk();
    let long = SUITE
        .replace("[\"Constants\", \"ProxEd\", \"Nids\"]", "[]")
        .replace("steps: 400", "steps: 100000000000");
    desk.write("long.ron", long);
    let crawling = Constants {
        primal: 1e-12,
        ..Constants::default()
    };
    write_rule(&desk, "seed-2.ron", crawling);
    let arguments = ["bench", "long.ron", "--only", "lasso"];
    let mut command = desk.typed(&arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    while !desk.path("bench/cells/lasso/constant.json").is_file() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    command::interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the same command continues"), "{said}");
    assert!(!desk.path("bench/index.html").exists());
    write_rule(&desk, "seed-2.ron", Constants::default());
    let output = desk.succeeds(&arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("1 of 2 contestants were kept"), "{said}");
    assert!(desk.path("bench/index.html").is_file());
}

#[test]
fn bad_suites_are_refused() {
    let desk = desk();
    let broken = |name: &str, from: &str, to: &str| {
        let text = SUITE.replace(from, to);
        assert_ne!(text, SUITE, "{name} is really bad");
        desk.write(name, text);
    };
    let refuses = |name: &str, words: &[&str]| desk.refuses(&["bench", name], words);
    broken("syntax.ron", "trials: 2", "trials 2");
    refuses("syntax.ron", &["syntax.ron:7:", "trials 2"]);
    broken("field.ron", "trials: 2", "trails: 2");
    refuses("field.ron", &["field.ron:7:", "trails"]);
    broken("method.ron", "\"Nids\"]", "\"Sgd\"]");
    refuses("method.ron", &["method.ron:4:", "Sgd"]);
    broken("named.ron", "{\"constant\"", "{\"a/b\"");
    refuses("named.ron", &["the group \"a/b\""]);
    broken("group.ron", "[\"rule.ron\", \"seed-2.ron\"]", "[]");
    refuses(
        "group.ron",
        &["cell \"lasso\"", "\"constant\" has no files"],
    );
    broken("tuned.ron", "\"Nids\"]", "\"Rule(\\\"rule.ron\\\")\"]");
    refuses("tuned.ron", &["tuned.ron:4:", "no step to tune"]);
    broken("target.ron", "1e-6, 1e-2", "0");
    refuses("target.ron", &["cell \"lasso\"", "target is 0"]);
    broken("trials.ron", "trials: 2", "trials: 0");
    refuses("trials.ron", &["cell \"lasso\"", "trials is 0", "10000"]);
    broken("twice.ron", "name: \"data\"", "name: \"lasso\"");
    refuses("twice.ron", &["two cells are named \"lasso\""]);
    broken("path.ron", "name: \"data\"", "name: \"../data\"");
    refuses("path.ron", &["the cell name \"../data\""]);
    broken("same.ron", "\"Nids\"]", "\"ProxEd\"]");
    refuses("same.ron", &["two contestants are named \"ProxEd\""]);
    broken("rungs.ron", "seed-2.ron", "none.ron");
    refuses("rungs.ron", &["cell \"lasso\"", "none.ron", "No such file"]);
    broken("data.ron", "ionosphere.libsvm", "none.libsvm");
    refuses(
        "data.ron",
        &["cell \"data\"", "none.libsvm.gz", "No such file"],
    );
    broken("graph.ron", "Ring(4)", "EdgeList(\"none.txt\")");
    refuses("graph.ron", &["cell \"lasso\"", "none.txt"]);
    broken("share.ron", "l1_share: 0.2", "l1_share: 0.2, l1: 0.1");
    refuses(
        "share.ron",
        &["cell \"data\"", "l1_share", "one of the two"],
    );
    desk.write("empty.ron", "(name: \"empty\", cells: [])");
    refuses("empty.ron", &["empty.ron", "no cells"]);
    refuses("none.ron", &["none.ron", "No such file"]);
    let only = ["bench", "suite.ron", "--only", "nobody"];
    desk.refuses(&only, &["nobody", "lasso data", "family"]);
    desk.refuses(&["bench", "suite.ron", "--trials", "0"], &["--trials"]);
    desk.write("file", "kept");
    let below = ["bench", "suite.ron", "--out", "file/below"];
    desk.refuses(&below, &["cannot write", "file/below"]);
}

#[test]
fn the_shipped_suite_names_files_that_are_there() {
    let desk = Desk::new();
    let suite = repository("models/bench.ron");
    let cells = desk.json(&["bench", &suite, "--list"]);
    assert!(cells.iter().any(|c| c["tags"][0] == "quick"));
    let mut command = desk.typed(&["bench", &suite]);
    // Paths in it are relative to the repository. Below a file nothing can be written, which is found out once all is read.
    command.current_dir(repository(""));
    command.args(["--out", "Cargo.toml/below"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write Cargo.toml/below"), "{said}");
}

/// Tables go between the markers of a document, everything else stays; a document that asks for what is not there is left alone.
#[test]
fn tables_are_filled_in() {
    let desk = desk();
    let document = "# Card\n\n<!-- bench rules: constant@1e-2 -->\nold\n<!-- /bench -->\n\nBetween.\n\n<!-- bench seconds: data@1e-2 -->\n\
         <!-- /bench -->\n<!-- bench overall: constant@1e-2 -->\n<!-- /bench -->\nEnd.\n";
    desk.write("card.md", document);
    let bench = |file| ["bench", "suite.ron", "--out", "out", "--fill", file];
    desk.succeeds(&bench("card.md"));
    let card = desk.read("card.md");
    assert!(
        card.starts_with("# Card\n") && card.ends_with("\nEnd.\n") && card.contains("\nBetween.\n")
    );
    assert!(!card.contains("old"));
    for row in [
        "| lasso | constant | 1e-2 |",
        "| data | constant | 1e-2 |",
        " | 0/4 |",
        "| data | 1e-2 | ProxEd |",
        "| family | constant | 1e-2 | 1 |",
    ] {
        assert!(card.contains(row), "{row} in\n{card}");
    }
    desk.succeeds(&bench("card.md"));
    assert_eq!(desk.read("card.md"), card, "the same again");

    for (text, complaint) in [
        ("<!-- bench rules: nobody -->\n<!-- /bench -->\n", "nobody"),
        ("\n<!-- bench rules: constant -->\n", "line 2"),
        ("<!-- bench plots: constant -->\n<!-- /bench -->\n", "plots"),
        (
            "<!-- bench rules: constant@small -->\n<!-- /bench -->\n",
            "small",
        ),
        ("nothing\n", "no place"),
        (
            "<!-- bench rules: constant -->\n<!-- /bench -->\ntext <!-- /bench -->\n",
            "line 3",
        ),
        (
            "<!-- bench seconds: lasso -->\n<!-- /bench -->\n",
            "with seconds: data",
        ),
    ] {
        desk.write("bad.md", text);
        desk.refuses(&bench("bad.md"), &["bad.md", complaint]);
        assert_eq!(desk.read("bad.md"), text);
    }
    let mut some = Vec::from(bench("card.md"));
    some.extend(["--only", "data"]);
    desk.refuses(&some, &["--only", "--fill"]);
}
