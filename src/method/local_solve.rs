//! `argmin_x f_i(x) + r(x) + μ/2 ‖x − c‖²`, which an agent solves by itself: accelerated proximal gradient with the momentum of a
//! strongly convex function (Nesterov 2004, 2.2.11), to rounding level.

use crate::field::dot;
use crate::problem::Problem;

/// Gradients of one local solve at most.
const MOST_GRADIENTS: usize = 5_000;
/// A local solve ends when a step is this small beside the largest coordinate, or beside what rounding makes of a step …
const PRECISION: f64 = 1e-15;
/// … this many times in a row: a step may be short by chance.
const SMALL_STEPS: usize = 3;

/// Room for an agent's solves.
pub(super) struct Local {
    /// The centre of the proximal term.
    pub centre: Vec<f64>,
    y: Vec<f64>,
    gradient: Vec<f64>,
    /// Gradients computed so far.
    pub gradients: u64,
}

impl Local {
    pub fn new(dimension: usize) -> Self {
        let room = || vec![0.0; dimension];
        Self {
            centre: room(),
            y: room(),
            gradient: room(),
            gradients: 0,
        }
    }

    /// The minimiser of `f_i + r + μ/2 ‖· − centre‖²`, from `x` on.
    pub fn solve(&mut self, problem: &Problem, agent: usize, mu: f64, x: &mut [f64]) {
        let r = *problem.regularizer();
        let largest = problem.smoothness(agent) + mu;
        let step = 1.0 / largest;
        // Nesterov's constant momentum for a strongly convex function.
        let root = (mu / largest).sqrt();
        let momentum = (1.0 - root) / (1.0 + root);
        self.y.copy_from_slice(x);
        // Rounding of a gradient: of terms whose length is that of the residual, times that of the data.
        // Of functions that are not sums of squares the gradient itself takes its place.
        let residual = if problem.rows().is_some() {
            (2.0 * problem.smoothness(agent) * problem.local_loss(agent, x)).sqrt()
        } else {
            problem.gradient(agent, x, &mut self.gradient);
            dot(&self.gradient, &self.gradient).sqrt()
        };
        let apart = x.iter().zip(&self.centre).map(|(x, c)| (x - c).abs());
        let force = residual + mu * apart.fold(0.0, f64::max);
        let noise = 2.0 * f64::EPSILON * step * force;
        let mut small = 0;
        for _ in 0..MOST_GRADIENTS {
            problem.gradient(agent, &self.y, &mut self.gradient);
            self.gradients += 1;
            let (mut moved, mut size) = (0.0_f64, 0.0_f64);
            for (((x, y), g), c) in x
                .iter_mut()
                .zip(&mut self.y)
                .zip(&self.gradient)
                .zip(&self.centre)
            {
                let next = r.prox(step, *y - step * (g + mu * (*y - c)));
                moved = moved.max((next - *y).abs());
                size = size.max(next.abs());
                *y = next + momentum * (next - *x);
                *x = next;
            }
            small = if moved <= PRECISION * size + noise {
                small + 1
            } else {
                0
            };
            // A NaN compares with nothing: the run has diverged.
            if small >= SMALL_STEPS || moved == 0.0 || moved.is_nan() {
                break;
            }
        }
    }
}
