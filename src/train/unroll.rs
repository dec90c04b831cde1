//! Unrolling: `window` steps from a state, their mean meta-loss, and its gradient by backpropagation through the window.
//!
//! A batch is unrolled in chunks of a fixed number of problems, each chunk on a thread of its own where the device allows;
//! chunk gradients are added in order, so the result does not depend on the number of threads.

use super::batch::Batch;
use super::meta_loss::MetaLoss;
use super::parameters;
use crate::rule::Structure;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, Mutex, PoisonError};

/// A rule as a Burn module that can be unrolled.
pub trait RuleModule: Module + Send + Sync + 'static {
    /// Numbers of an iterate that are unrolled together, so that what a step works on stays in cache.
    const CHUNK: usize;
    /// The most numbers for one coordinate of an agent or edge that stand in one tensor.
    fn widest(&self) -> usize;
    /// Whether sums run over all coordinates of all problems at once (a network written operation by operation).
    fn sums_over_problems(&self) -> bool;
    /// What the rule carries from step to step.
    type State: Clone + Send + Sync;
    /// The state before the first step.
    fn start(&self, batch: &Batch) -> Self::State;
    /// One step.
    fn step(&self, batch: &Batch, state: Self::State) -> Self::State;
    /// The iterate `[n·B, d]`.
    fn iterate<'s>(&self, state: &'s Self::State) -> &'s Tensor<2>;
    /// The state with every tensor replaced by `f` of it, always in the same order.
    fn map_state(state: Self::State, f: &mut impl FnMut(Tensor<2>) -> Tensor<2>) -> Self::State;
    /// The frozen twin.
    fn frozen(&self) -> Structure;
}

/// What a window gave.
#[derive(Clone, Debug)]
pub struct Window {
    /// Mean meta-loss over the window's steps and problems.
    pub loss: f64,
    /// Gradient in visiting order.
    pub gradient: Vec<f64>,
    /// Mean `log₁₀` relative gap after the window's last step.
    pub last_gap: f64,
}

/// The number that a tensor holds; NaN where the device does not answer.
fn number(tensor: Tensor<1>) -> f64 {
    tensor.inner().try_into_scalar().unwrap_or(f64::NAN)
}

/// How a window is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tape {
    /// All steps are recorded.
    Whole,
    /// Only `⌈√steps⌉` steps are recorded at a time, and recomputed from the states between them: one more forward pass for
    /// a tape that grows with the square root of the window (Griewank & Walther 2000).
    Segments,
}

/// Unrolls one chunk by `steps` steps and differentiates; returns the state without history.
pub fn window<M: RuleModule>(
    module: &M,
    batch: &Batch,
    mut state: M::State,
    steps: usize,
    loss: MetaLoss,
    tape: Tape,
) -> (Window, M::State) {
    if tape == Tape::Segments {
        return segments(module, batch, state, steps, loss);
    }
    let mut total: Option<Tensor<1>> = None;
    for _ in 0..steps {
        state = module.step(batch, state);
        let step_loss = loss.of(batch, module.iterate(&state).clone());
        total = Some(match total {
            Some(t) => t + step_loss,
            None => step_loss,
        });
    }
    let last_gap = number(MetaLoss::LogGap.of(batch, module.iterate(&state).clone().inner()));
    let (value, gradient) = match total {
        Some(total) if total.is_tracked() => {
            let mean = total / steps as f64;
            let value = number(mean.clone());
            let gradients = GradientsParams::from_grads(mean.backward(), module);
            (value, parameters::gradients(module, &gradients))
        }
        // No network was asked in this window: a loss, and nothing to learn from it.
        Some(total) => (number(total / steps as f64), vec![0.0; module.num_params()]),
        None => (f64::NAN, vec![0.0; module.num_params()]),
    };
    let window = Window {
        loss: value,
        gradient,
        last_gap,
    };
    (window, M::map_state(state, &mut Tensor::detach))
}

/// [`window`] by [`Tape::Segments`].
fn segments<M: RuleModule>(
    module: &M,
    batch: &Batch,
    state: M::State,
    steps: usize,
    loss: MetaLoss,
) -> (Window, M::State) {
    let length = (steps as f64).sqrt().ceil() as usize;
    let plain = module.valid();
    let mut state = M::map_state(state, &mut Tensor::inner);
    // The step that a segment starts with, and the state before it.
    let mut boundaries = Vec::new();
    for k in 0..steps {
        if k % length == 0 {
            boundaries.push((k, state.clone()));
        }
        state = plain.step(batch, state);
    }
    let last_gap = number(MetaLoss::LogGap.of(batch, plain.iterate(&state).clone()));

    let mut value = 0.0;
    let mut gradient = vec![0.0; module.num_params()];
    // Gradients of what follows a segment by the state that it ends with.
    let mut adjoint: Vec<Option<Tensor<2>>> = Vec::new();
    for (start, boundary) in boundaries.into_iter().rev() {
        let mut leaves = Vec::new();
        let mut state = M::map_state(boundary, &mut |t| {
            let leaf = t.autodiff().require_grad();
            leaves.push(leaf.clone());
            leaf
        });
        let mut total = Tensor::<1>::zeros([1], (&batch.place.device, batch.place.dtype));
        for _ in start..(start + length).min(steps) {
            state = module.step(batch, state);
            total = total + loss.of(batch, module.iterate(&state).clone());
        }
        let mean = total / steps as f64;
        value += number(mean.clone());
        let mut objective = mean;
        let mut known = std::mem::take(&mut adjoint).into_iter();
        M::map_state(state, &mut |t| {
            if let Some(Some(slope)) = known.next()
                && t.is_tracked()
            {
                objective = objective.clone() + (t.clone() * slope).sum();
            }
            t
        });
        if objective.is_tracked() {
            let mut gradients = objective.backward();
            adjoint = leaves
                .into_iter()
                .map(|leaf| leaf.grad_remove(&mut gradients))
                .collect();
            let gradients = GradientsParams::from_grads(gradients, module);
            for (total, part) in gradient
                .iter_mut()
                .zip(parameters::gradients(module, &gradients))
            {
                *total += part;
            }
        }
    }
    let window = Window {
        loss: value,
        gradient,
        last_gap,
    };
    // As after a window without segments: nothing of this one's tape goes on.
    (window, M::map_state(state, &mut |t| t))
}

/// Worker `k`'s pool of one thread. Several workers leave no core to share: what an operation does with rayon stays on its worker.
/// The pools outlive the windows, for a thread that ends gives its memory away.
fn pool_of_one(k: usize) -> Option<Arc<ThreadPool>> {
    static POOLS: Mutex<Vec<Arc<ThreadPool>>> = Mutex::new(Vec::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    while pools.len() <= k {
        let pool = ThreadPoolBuilder::new().num_threads(1).build().ok()?;
        pools.push(Arc::new(pool));
    }
    Some(pools[k].clone())
}

/// [`window`] on every chunk of a batch, averaged with the chunks' numbers of problems as weights.
pub fn windows<M: RuleModule>(
    module: &M,
    chunks: &[Batch],
    states: Vec<M::State>,
    steps: usize,
    loss: MetaLoss,
    tape: Tape,
    parallel: bool,
) -> (Window, Vec<M::State>) {
    // Plain threads, not rayon tasks: Burn takes locks around operations that use rayon themselves, and a worker that waits
    // inside one would steal the next chunk and wait for the lock that it holds. Every chunk gets parameters of its own: tapes
    // that share a leaf become one tape, and Burn 0.22's locks on it (graph, then list of graphs; list, then graph when
    // merging) deadlock when one thread runs backward while another records.
    let values = parameters::values(module);
    let workers = if parallel {
        rayon::current_num_threads().min(chunks.len()).max(1)
    } else {
        1
    };
    let mut jobs: Vec<Vec<(usize, &Batch, M::State)>> = (0..workers).map(|_| Vec::new()).collect();
    for (k, (batch, state)) in chunks.iter().zip(states).enumerate() {
        jobs[k % workers].push((k, batch, state));
    }
    let unroll = |jobs: Vec<(usize, &Batch, M::State)>| -> Vec<(usize, (Window, M::State))> {
        let one = |(k, batch, state)| {
            let own = parameters::with_values(module.clone(), &values);
            (k, window(&own, batch, state, steps, loss, tape))
        };
        jobs.into_iter().map(one).collect()
    };
    let alone = |worker: usize, jobs| match (workers > 1).then(|| pool_of_one(worker)).flatten() {
        Some(pool) => pool.install(|| unroll(jobs)),
        None => unroll(jobs),
    };
    let alone = &alone;
    let mut results = std::thread::scope(|scope| {
        let mut jobs = jobs.into_iter().enumerate();
        let (_, mine) = jobs.next().unwrap_or_default();
        let (mut others, mut left) = (Vec::new(), Vec::new());
        for (k, jobs) in jobs {
            // Where no thread is to be had, this one does its work as well.
            let room = Mutex::new(Some(jobs));
            let take = |room: &Mutex<Option<_>>| {
                room.lock().unwrap_or_else(PoisonError::into_inner).take()
            };
            let room = Arc::new(room);
            let theirs = room.clone();
            let work = move || take(&theirs).map_or(Vec::new(), |jobs| alone(k, jobs));
            match std::thread::Builder::new().spawn_scoped(scope, work) {
                Ok(thread) => others.push(thread),
                Err(_) => left.push((k, take(&room))),
            }
        }
        let mut results = alone(0, mine);
        for (k, jobs) in left {
            results.extend(jobs.map_or(Vec::new(), |jobs| alone(k, jobs)));
        }
        for other in others {
            match other.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|(k, _)| *k);
    let problems: usize = chunks.iter().map(|c| c.problems).sum();
    let mut mean = Window {
        loss: 0.0,
        gradient: vec![0.0; module.num_params()],
        last_gap: 0.0,
    };
    let mut next = Vec::with_capacity(results.len());
    for ((_, (window, state)), chunk) in results.into_iter().zip(chunks) {
        let share = chunk.problems as f64 / problems as f64;
        mean.loss += share * window.loss;
        mean.last_gap += share * window.last_gap;
        for (m, g) in mean.gradient.iter_mut().zip(&window.gradient) {
            *m += share * g;
        }
        next.push(state);
    }
    (mean, next)
}
