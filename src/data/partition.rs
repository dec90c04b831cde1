//! Which rows each agent holds.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::DataError;
use crate::random::stream;

/// How rows are split over the agents.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Split {
    /// At random: the agents' data are alike.
    #[default]
    Even,
    /// By class or target: the agents' data are as different as they can be.
    Sorted,
}

/// The row numbers of each agent, `[agents]`; every row once, sizes differ by at most one.
///
/// [`Split::Sorted`] deals out the rows in ascending order of their target; the seed breaks ties.
///
/// # Errors
/// No agents, or more agents than rows.
pub fn partition(
    targets: &[f64],
    agents: usize,
    split: Split,
    seed: u64,
) -> Result<Vec<Vec<usize>>, DataError> {
    let rows = targets.len();
    if agents == 0 || agents > rows {
        return Err(DataError::Agents { rows, agents });
    }
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut stream(seed, "data/partition", &[]));
    if split == Split::Sorted {
        // A stable sort keeps the random order within a class; adding 0 makes −0 and 0 one class.
        order.sort_by(|&a, &b| (targets[a] + 0.0).total_cmp(&(targets[b] + 0.0)));
    }
    let start = |agent| agent * rows / agents;
    Ok((0..agents)
        .map(|agent| order[start(agent)..start(agent + 1)].to_vec())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_once_and_sizes_balanced() {
        let targets: Vec<f64> = (0..23).map(|i| f64::from(i % 3)).collect();
        for split in [Split::Even, Split::Sorted] {
            for agents in 1..=23 {
                let parts = partition(&targets, agents, split, 7).unwrap();
                assert_eq!(parts.len(), agents);
                let sizes = parts.iter().map(Vec::len);
                assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
                let mut all = parts.concat();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..23));
            }
        }
    }

    #[test]
    fn sorted_ascends_over_the_agents() {
        let targets = [0.0, 1.0, -1.0, -0.0, 1.0, -1.0];
        let parts = partition(&targets, 3, Split::Sorted, 1).unwrap();
        let held: Vec<f64> = parts.concat().iter().map(|&row| targets[row]).collect();
        assert_eq!(held, [-1.0, -1.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn the_seed_decides() {
        for split in [Split::Even, Split::Sorted] {
            let parts = |seed| partition(&[1.0; 50], 5, split, seed).unwrap();
            assert_eq!(parts(1), parts(1));
            assert_ne!(parts(1), parts(2));
        }
    }

    #[test]
    fn rejects_more_agents_than_rows() {
        let message = partition(&[1.0; 5], 6, Split::Even, 1)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "cannot split 5 rows over 6 agents; expected between 1 and 5 agents"
        );
        assert!(partition(&[1.0; 5], 0, Split::Even, 1).is_err());
    }
}
