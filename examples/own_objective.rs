//! Your own `f_i`: robust regression (Huber) by the shipped rule `universal`, which has never met this loss, until the stationarity
//! residual is small. `cargo run --release --example own_objective`

use starling::problem::{Objective, Problem, Regularizer};
use starling::simulate::{Options, simulate};
use starling::{graph::GraphSpec, network::Network, roster::AlgorithmSpec};

/// Agent `i` has the points `(t, y)` of `0[i]`: `f_i(x) = mean huber(x_0 + x_1 t − y)`.
struct Robust(Vec<Vec<(f64, f64)>>);

impl Objective for Robust {
    fn agents(&self) -> usize {
        self.0.len()
    }
    fn dimension(&self) -> usize {
        2
    }
    fn value(&self, agent: usize, x: &[f64]) -> f64 {
        let errors = self.0[agent].iter().map(|(t, y)| x[0] + x[1] * t - y);
        let huber = errors.map(|e| e.clamp(-1.0, 1.0) * (e - 0.5 * e.clamp(-1.0, 1.0)));
        huber.sum::<f64>() / self.0[agent].len() as f64
    }
    fn gradient(&self, agent: usize, x: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        for (t, y) in &self.0[agent] {
            let slope = (x[0] + x[1] * t - y).clamp(-1.0, 1.0) / self.0[agent].len() as f64;
            out[0] += slope;
            out[1] += slope * t;
        }
    }
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    // y = 1 + 2t, and one outlier at every agent.
    let points = |i: usize| (0..8).map(move |r| ((8 * i + r) as f64 * 0.7).sin());
    let line = |i: usize| points(i).map(|t| (t, 1.0 + 2.0 * t)).chain([(0.0, 40.0)]);
    let own = Robust((0..5).map(|i| line(i).collect()).collect());
    let problem = Problem::own("robust regression", own, Regularizer::default())?;
    let graph = GraphSpec::Ring(5).build(1)?;
    let mut network = Network::new(&graph);
    let rule = AlgorithmSpec::parse("rule", "Rule(\"models/universal/rule.ron\")")?;
    let mut process = rule.start(&problem, &mut network)?;
    let goal = Options {
        steps: 5_000,
        until_residual: Some(1e-8),
        ..Options::default()
    };
    let run = simulate(&mut *process, &problem, &mut network, None, &goal, |_| {})?;
    let x = process.iterate().mean();
    let rounds = run.last().rounds;
    println!("{} after {rounds} rounds: x = {x:.3?}", run.status);
    assert!((x[1] - 2.0).abs() < 0.1, "the outliers did not count");
    Ok(())
}
