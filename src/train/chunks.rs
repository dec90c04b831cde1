//! How a batch is divided: into chunks that a thread unrolls on the CPU, and into what a GPU's limits allow.

use super::device::TrainDevice;
use super::error::TrainError;
use super::unroll::RuleModule;
use crate::graph::Graph;
use crate::problem::Problem;

/// Problems of a chunk, the part of a batch that one thread unrolls: at most about `numbers` per iterate
/// ([`RuleModule::CHUNK`]), enough to outweigh the cost of recording an operation, and an even number of chunks, so that two
/// threads share the work. Fixed by the sizes alone, so that results do not depend on the number of threads.
pub fn chunk_size(numbers: usize, agents: usize, dimension: usize, problems: usize) -> usize {
    let most = (numbers / (agents * dimension).max(1)).max(1);
    let pairs = problems.div_ceil(2 * most).max(1);
    problems.div_ceil(2 * pairs).max(1)
}

/// Problems of a chunk: for the CPU as [`chunk_size`] says, else as many as the device's limits allow.
///
/// # Errors
/// A problem that is too large for the device by itself.
pub fn chunk_for_device<M: RuleModule>(
    module: &M,
    device: &TrainDevice,
    graph: &Graph,
    problem: &Problem,
    problems: usize,
) -> Result<usize, TrainError> {
    let (agents, dimension) = (graph.agents(), problem.dimension());
    if device.parallel {
        return Ok(chunk_size(M::CHUNK, agents, dimension, problems));
    }
    let refused = |what: String| {
        TrainError::Recipe(format!(
            "{}: {what} on {}; expected a smaller problem (what is learned there serves larger ones) or --device cpu",
            problem.name(),
            device.name
        ))
    };
    let wide = device.longest_sum(dimension);
    if dimension > wide {
        return Err(refused(format!(
            "sums over {dimension} coordinates would lose some: at most {wide} for a dimension that is no multiple of 4, \
             {} for one that is",
            device.longest_sum(4)
        )));
    }
    let rows = problem.shards().iter().map(|s| s.targets.len()).max();
    let widest = module.widest();
    let numbers = (agents * widest.max(rows.unwrap_or(0))).max(graph.edges().len() * widest);
    let longest = device.longest_sum(1);
    let columns = agents.max(graph.edges().len()) * dimension;
    if module.sums_over_problems() && columns > longest {
        return Err(refused(format!(
            "sums over the {columns} columns of all agents or edges would lose some, at most {longest}"
        )));
    }
    let mut most = device.largest_tensor / (size_of::<f32>() * numbers * dimension).max(1);
    if module.sums_over_problems() {
        most = most.min(longest / columns);
    }
    if most == 0 {
        return Err(refused(format!(
            "one problem's tensors are larger than the {} MiB that a kernel can be given",
            device.largest_tensor >> 20
        )));
    }
    Ok(most.min(problems))
}
