//! `starling demo`: the whole road in one command.

use super::{Context, audit, eval, input, output, run as run_verb, stop, train};
use starling::files::write_atomic;
use starling::ron::parse_ron;
use starling::roster::AlgorithmSpec;
use starling::rule::FrozenRule;
use starling::simulate::Options;
use starling::simulate::audit::Effort;
use starling::simulate::tuning::Goal;
use starling::train::{DeviceChoice, Recipe, TrainDevice};
use std::path::PathBuf;
use std::time::Instant;

/// The recipe, so that the demo runs from any folder.
const RECIPE: &str = include_str!("../../models/demo/recipe.ron");
const IONOSPHERE: &[u8] = include_bytes!("../../datasets/ionosphere.libsvm.gz");
const DIABETES: &[u8] = include_bytes!("../../datasets/diabetes.libsvm.gz");

/// The whole road in one command.
#[derive(clap::Args)]
#[command(after_help = "Example:
  starling demo --out my-demo")]
pub struct Args {
    /// Folder for everything that is written
    #[arg(long, value_name = "FOLDER", default_value = "demo")]
    out: PathBuf,
    /// Where to train
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Seed of everything drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn head(step: usize, text: &str, clock: Instant) {
    tracing::info!(
        "[{step}/5] {text} ({:.0} s so far)",
        clock.elapsed().as_secs_f64()
    );
}

pub fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let clock = Instant::now();
    let out = &args.out;
    let mut recipe: Recipe = parse_ron("the demo's recipe", RECIPE)?;
    recipe.seed = args.seed;
    let checkpoint = out.join("checkpoints").join("demo");

    head(1, "meta-training a small rule", clock);
    train::with_bar(
        &recipe,
        &checkpoint,
        false,
        TrainDevice::open(args.device)?,
        context,
    )?;
    if stop::requested() {
        return Ok(());
    }

    head(2, "freezing and auditing it", clock);
    let rule_path = out.join("learned").join("rule.ron");
    let rule = FrozenRule::read(&checkpoint.join("best.ron"))?;
    rule.write(&rule_path)?;
    let report = audit::with_bar(
        &rule,
        Effort {
            steps: 20_000,
            trials: 24,
            trial_steps: 1_000,
            seed: args.seed,
        },
    )?;
    let findings = audit::table(&report);
    write_atomic(&out.join("audit.md"), findings.to_markdown().as_bytes())?;
    if !context.json {
        output::line(findings.to_text());
    }

    head(3, "running it for 100,000 steps", clock);
    let graph = input::graph("the demo's graph", "Ring(10)", args.seed)?;
    let spec = input::problem("Lasso(dimension: 60, rows: 10, l1: 0.1)")?;
    let long_run = run_verb::Job {
        optimum: run_verb::Reference::Certified,
        algorithm: AlgorithmSpec::Rule(rule_path.clone()),
        problem: spec.clone(),
        graph: graph.clone(),
        seed: args.seed,
        options: Options {
            steps: 100_000,
            stop: stop::requested,
            ..Options::default()
        },
        cache: None,
        out: Some(out.join("long-run")),
    };
    run_verb::measure(&long_run, context)?;

    // The demo runs from any folder, so it brings its data along.
    let ionosphere = out.join("data/ionosphere.libsvm.gz");
    let diabetes = out.join("data/diabetes.libsvm.gz");
    write_atomic(&ionosphere, IONOSPHERE)?;
    write_atomic(&diabetes, DIABETES)?;
    let comparisons = [
        ("lasso", spec.to_string(), 1_000, 5),
        (
            "ionosphere",
            format!("Data(path: {ionosphere:?}, loss: Logistic, l1: 0.02)"),
            1_500,
            1,
        ),
        (
            "diabetes",
            format!("Data(path: {diabetes:?}, loss: LeastSquares, l1: 1)"),
            1_500,
            1,
        ),
    ];
    let mut written = Vec::new();
    for (k, (name, problem, steps, trials)) in comparisons.into_iter().enumerate() {
        if stop::requested() {
            return Ok(());
        }
        if k < 2 {
            head(
                4 + k,
                if k == 0 {
                    "comparing it on held-out problems"
                } else {
                    "comparing it on two real data sets"
                },
                clock,
            );
        }
        let plan = eval::Plan {
            spec: input::problem(&problem)?,
            graph: graph.clone(),
            rules: vec![rule_path.clone()],
            baselines: super::tune::methods("baselines", "all")?,
            steps,
            trials,
            tuning_problems: 3,
            tuning: Goal {
                target: 1e-6,
                rounds: steps,
            },
            seed: args.seed,
            out: out.join(name),
        };
        let rows = eval::compare(&plan)?;
        if context.json {
            rows.iter().for_each(output::json);
        } else {
            output::line(format!("\n{} on {}", plan.spec, graph.name()));
            output::line(eval::table(&rows).to_text());
        }
        written.push(eval::files(&plan.out));
    }
    tracing::info!(
        "finished in {:.0} s; written:",
        clock.elapsed().as_secs_f64()
    );
    tracing::info!("  the rule         {}", rule_path.display());
    tracing::info!("  its audit        {}", out.join("audit.md").display());
    tracing::info!(
        "  100,000 steps    {0}/gap.svg, {0}/gap.png, {0}/trace.csv, {0}/result.json",
        out.join("long-run").display()
    );
    for files in written {
        tracing::info!("  comparison       {files}");
    }
    tracing::info!(
        "  TensorBoard      {}",
        checkpoint.join("tensorboard").display()
    );
    Ok(())
}
