//! What agents know: implement [`Objective`] to bring your own `f_i`, and nothing else.

use super::ProblemError;
use crate::field::dot;
use crate::random;
use rand_distr::{Distribution, StandardNormal};

/// The agents' functions `f_i: ℝ^d → ℝ`, convex and smooth. Value and gradient suffice.
///
/// ```
/// use starling::problem::{Objective, Problem, Regularizer};
///
/// /// `f_i(x) = ‖x − c_i‖²/2`
/// struct Distances(Vec<Vec<f64>>);
///
/// impl Objective for Distances {
///     fn agents(&self) -> usize {
///         self.0.len()
///     }
///     fn dimension(&self) -> usize {
///         self.0[0].len()
///     }
///     fn value(&self, agent: usize, x: &[f64]) -> f64 {
///         self.0[agent].iter().zip(x).map(|(c, x)| 0.5 * (x - c).powi(2)).sum()
///     }
///     fn gradient(&self, agent: usize, x: &[f64], out: &mut [f64]) {
///         for ((g, c), x) in out.iter_mut().zip(&self.0[agent]).zip(x) {
///             *g = x - c;
///         }
///     }
/// }
///
/// let own = Distances(vec![vec![0.0, 1.0], vec![2.0, 3.0]]);
/// let problem = Problem::own("distances", own, Regularizer::default()).unwrap();
/// assert!((problem.smoothness(0) - 1.0).abs() < 0.1);
/// ```
pub trait Objective: Send + Sync {
    /// Number of agents `n`.
    fn agents(&self) -> usize;
    /// Length `d` of `x`.
    fn dimension(&self) -> usize;
    /// `f_i(x)`.
    fn value(&self, agent: usize, x: &[f64]) -> f64;
    /// Writes `∇f_i(x)` to `out` (length `d`), whatever stands there.
    fn gradient(&self, agent: usize, x: &[f64], out: &mut [f64]);
    /// `L_i` where it is known; else it is estimated by power iteration on differences of gradients.
    fn smoothness(&self, _agent: usize) -> Option<f64> {
        None
    }
    /// Writes the diagonal of a matrix that bounds `∇²f_i` from above (length `d`); `false` where none is known.
    fn curvature(&self, _agent: usize, _out: &mut [f64]) -> bool {
        false
    }
}

/// Points at which curvature is looked at: zero and two more.
const POINTS: u64 = 3;
/// Power iterations at each of them.
const ITERATIONS: usize = 30;
/// An estimate from below is raised by so much.
const MARGIN: f64 = 1.05;
/// Random directions for the trace.
const PROBES: u64 = 8;

/// `L_i` and the trace of the Hessian of a user's function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curvature {
    pub smoothness: f64,
    pub trace: f64,
}

/// Checks value and gradient of every agent against each other and finds its curvature.
///
/// # Errors
/// A value or gradient that is not finite, a gradient that is not that of the value, a negative `L_i`.
pub(super) fn examine(objective: &dyn Objective) -> Result<Vec<Curvature>, ProblemError> {
    let d = objective.dimension();
    (0..objective.agents())
        .map(|agent| {
            agree(objective, agent)?;
            let found = curvature(d, &|x, out| objective.gradient(agent, x, out));
            let smoothness = match objective.smoothness(agent) {
                None => found.smoothness,
                Some(l) if l.is_finite() && l >= 0.0 => l,
                Some(l) => return Err(shape(agent, format!("L = {l}"), "a finite number ≥ 0")),
            };
            if !(smoothness.is_finite() && found.trace.is_finite()) {
                let found = "a gradient whose differences are not finite".to_string();
                return Err(shape(agent, found, "a smooth function, or its smoothness"));
            }
            Ok(Curvature {
                smoothness,
                trace: found.trace.max(smoothness),
            })
        })
        .collect()
}

fn shape(agent: usize, found: String, expected: &str) -> ProblemError {
    ProblemError::Shape {
        agent,
        found,
        expected: expected.into(),
    }
}

/// Standard normal numbers, the same for every function.
fn direction(purpose: &str, keys: &[u64], d: usize) -> Vec<f64> {
    let mut rng = random::stream(0, purpose, keys);
    (0..d).map(|_| StandardNormal.sample(&mut rng)).collect()
}

/// The derivative along a random direction, from values and from the gradient.
fn agree(objective: &dyn Objective, agent: usize) -> Result<(), ProblemError> {
    let d = objective.dimension();
    let x = direction("objective/point", &[], d);
    let v = direction("objective/direction", &[], d);
    let mut gradient = vec![f64::NAN; d];
    objective.gradient(agent, &x, &mut gradient);
    let slope = dot(&gradient, &v);
    let at = |h: f64| {
        let moved: Vec<f64> = x.iter().zip(&v).map(|(x, v)| x + h * v).collect();
        objective.value(agent, &moved)
    };
    let h = 1e-5;
    let (ahead, behind) = (at(h), at(-h));
    let measured = (ahead - behind) / (2.0 * h);
    if !(slope.is_finite() && measured.is_finite()) {
        let found = format!("value {ahead:e} and slope {slope:e} near a random point");
        return Err(shape(agent, found, "finite numbers"));
    }
    // Rounding of the values, and what a kink may do to a difference.
    let size = slope.abs().max(measured.abs());
    let noise = 1e-3 * size + 1e-15 * (ahead.abs() + behind.abs()) / h + 1e-9;
    if (slope - measured).abs() > noise {
        let found =
            format!("a gradient that gives the slope {slope:e} where the values give {measured:e}");
        return Err(shape(agent, found, "the gradient of the value"));
    }
    Ok(())
}

/// Largest eigenvalue and trace of the Hessian behind a gradient.
fn curvature(d: usize, gradient: &dyn Fn(&[f64], &mut [f64])) -> Curvature {
    let largest = (0..POINTS).map(|point| largest_curvature(d, point, gradient));
    let smoothness = MARGIN * largest.fold(0.0, f64::max);
    let zero = vec![0.0; d];
    let (mut start, mut end) = (vec![0.0; d], vec![0.0; d]);
    gradient(&zero, &mut start);
    let probes = (0..PROBES).map(|probe| {
        let signs = direction("objective/trace", &[probe], d);
        let h = 1e-4;
        let v: Vec<f64> = signs.iter().map(|s| h * s.signum()).collect();
        gradient(&v, &mut end);
        let turned = v.iter().zip(end.iter().zip(&start));
        turned.map(|(v, (e, s))| v * (e - s)).sum::<f64>() / (h * h)
    });
    Curvature {
        smoothness,
        trace: probes.sum::<f64>() / PROBES as f64,
    }
}

/// Power iteration on differences of a gradient about zero (`point` 0) or a random point.
pub(super) fn largest_curvature(
    d: usize,
    point: u64,
    gradient: &dyn Fn(&[f64], &mut [f64]),
) -> f64 {
    let x = match point {
        0 => vec![0.0; d],
        p => direction("objective/curvature", &[p], d),
    };
    let (mut start, mut end) = (vec![0.0; d], vec![0.0; d]);
    gradient(&x, &mut start);
    let h = 1e-5 * (1.0 + dot(&x, &x).sqrt());
    let mut v = direction("objective/power", &[point], d);
    let mut largest = 0.0_f64;
    for _ in 0..ITERATIONS {
        let length = dot(&v, &v).sqrt();
        if length == 0.0 || length.is_nan() {
            break;
        }
        let moved: Vec<f64> = x.iter().zip(&v).map(|(x, v)| x + h * v / length).collect();
        gradient(&moved, &mut end);
        for ((v, e), s) in v.iter_mut().zip(&end).zip(&start) {
            *v = (e - s) / h;
        }
        let length = dot(&v, &v).sqrt();
        if length.is_nan() {
            return f64::NAN;
        }
        largest = largest.max(length);
    }
    largest
}
