//! Figures over the test problems of a cell: medians, 10–90 % ranges, and ratios problem by problem.

use serde::Serialize;
use std::cmp::Ordering;

/// Median and 10–90 % range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread<T> {
    pub median: T,
    pub low: T,
    pub high: T,
}

/// The spread of `values`, between neighbours in proportion; `None` if there are none.
pub fn spread(mut values: Vec<f64>) -> Option<Spread<f64>> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| {
        let place = share * last as f64;
        let below = values[place as usize];
        below + place.fract() * (values[place.ceil() as usize] - below)
    };
    Some(Spread {
        median: at(0.5),
        low: at(0.1),
        high: at(0.9),
    })
}

/// The spread of counts, of nearest rank (the upper one in the middle): a run that never got there takes part as one that
/// needs more than any other.
pub fn spread_of_counts(mut counts: Vec<Option<u64>>) -> Option<Spread<Option<u64>>> {
    counts.sort_by(missing_last);
    let last = counts.len().checked_sub(1)?;
    let at = |share: f64| counts[(share * last as f64).round() as usize];
    Some(Spread {
        median: at(0.5),
        low: at(0.1),
        high: at(0.9),
    })
}

/// Orders counts with those that do not exist last.
pub fn missing_last(a: &Option<u64>, b: &Option<u64>) -> Ordering {
    a.is_none().cmp(&b.is_none()).then(a.cmp(b))
}

/// How many times fewer rounds one contestant needs than another on the same problem.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    #[serde(flatten)]
    pub spread: Spread<f64>,
    /// Problems on which at least one of the two reached the target.
    pub pairs: usize,
    /// Pairs in which only the contestant did: their ratios, and so the figures, are lower bounds.
    pub censored: usize,
}

/// `reference / rounds` problem by problem; both reached the target within `limit` rounds or not at all.
///
/// Where the reference did not, the ratio is at least `limit / rounds`, which is taken; where the contestant did not, the
/// ratio is 0. Problems on which neither did are left out; `None` if no other is left.
pub fn paired(reference: &[Option<u64>], rounds: &[Option<u64>], limit: u64) -> Option<Ratio> {
    let (mut ratios, mut censored) = (Vec::new(), 0);
    for pair in reference.iter().zip(rounds) {
        ratios.push(match pair {
            (Some(a), Some(b)) if a == b => 1.0,
            (Some(a), Some(b)) => *a as f64 / (*b).max(1) as f64,
            (None, Some(b)) => {
                censored += 1;
                limit as f64 / (*b).max(1) as f64
            }
            (Some(_), None) => 0.0,
            (None, None) => continue,
        });
    }
    let pairs = ratios.len();
    Some(Ratio {
        spread: spread(ratios)?,
        pairs,
        censored,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_nearest_rank_and_misses_come_last() {
        let of_five = spread_of_counts(vec![None, Some(30), Some(10), Some(20), None]);
        let expected = Spread {
            median: Some(30),
            low: Some(10),
            high: None,
        };
        assert_eq!(of_five, Some(expected));
        let of_two = spread_of_counts(vec![Some(7), None]).unwrap();
        assert_eq!((of_two.low, of_two.median), (Some(7), None));
        assert_eq!(spread_of_counts(vec![]), None);
    }

    #[test]
    fn numbers_lie_between_their_neighbours() {
        let expected = Spread {
            median: 50.0,
            low: 10.0,
            high: 90.0,
        };
        assert_eq!(
            spread((0..=100).rev().map(f64::from).collect()),
            Some(expected)
        );
        assert_eq!(spread(vec![3.0, 1.0]).unwrap().median, 2.0);
        assert_eq!(spread(vec![3.0]).unwrap().high, 3.0);
        assert_eq!(spread(vec![]), None);
    }

    /// The median of the ratios, not the ratio of the medians.
    #[test]
    fn ratios_are_taken_problem_by_problem() {
        let some = |rounds: [u64; 3]| rounds.map(Some);
        let ratio = paired(&some([100, 10, 30]), &some([10, 100, 10]), 1_000).unwrap();
        assert_eq!((ratio.spread.median, ratio.pairs), (3.0, 3));
        assert!((ratio.spread.low - 0.68).abs() < 1e-12 && (ratio.spread.high - 8.6).abs() < 1e-12);
        assert_eq!(ratio.censored, 0);
    }

    #[test]
    fn misses_count_against_whoever_missed() {
        let reference = [None, Some(50), None, Some(20)];
        let rounds = [Some(10), None, None, Some(10)];
        let ratio = paired(&reference, &rounds, 200).unwrap();
        // limit / 10, 0, left out, 20 / 10.
        assert_eq!((ratio.pairs, ratio.censored), (3, 1));
        assert_eq!(ratio.spread.median, 2.0);
        assert!((ratio.spread.low - 0.4).abs() < 1e-12 && (ratio.spread.high - 16.4).abs() < 1e-12);
        assert_eq!(paired(&[None], &[None], 200), None);
        assert_eq!(paired(&[], &[], 200), None);
    }
}
