//! Figures over the test problems of a cell: medians, 10–90 % ranges, and ratios problem by problem.

use rand::RngExt;
use serde::Serialize;
use starling::random;
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
    /// 95 % interval of the median: percentiles of a bootstrap over the problems.
    pub interval: (f64, f64),
    /// Problems on which at least one of the two reached the target.
    pub pairs: usize,
    /// Whether the median is only known to be at least this: a ratio that is a lower bound lies at or below it.
    pub bound: bool,
}

/// `reference / rounds` on one problem: `None` if neither reached the target, else the ratio and whether it is a lower bound.
pub type Pair = Option<(f64, bool)>;

/// The ratios problem by problem; both reached the target within `limit` rounds or not at all.
///
/// Where the reference did not, the ratio is at least `limit / rounds`, which is taken; where the contestant did not, the
/// ratio is 0.
pub fn paired(reference: &[Option<u64>], rounds: &[Option<u64>], limit: u64) -> Vec<Pair> {
    reference
        .iter()
        .zip(rounds)
        .map(|pair| match pair {
            (Some(a), Some(b)) if a == b => Some((1.0, false)),
            (Some(a), Some(b)) => Some((*a as f64 / (*b).max(1) as f64, false)),
            (None, Some(b)) => Some((limit as f64 / (*b).max(1) as f64, true)),
            (Some(_), None) => Some((0.0, false)),
            (None, None) => None,
        })
        .collect()
}

/// Median and range of ratios, with an interval; problems on which neither reached the target are left out, `None` if no other is
/// left.
pub fn ratio(pairs: &[Pair]) -> Option<Ratio> {
    let spread = spread(values(pairs.iter()))?;
    let middle = upper_middle(values(pairs.iter()));
    let bound = |pair: &&(f64, bool)| pair.1 && pair.0 <= middle;
    let interval = bootstrap(pairs.len(), |drawn| {
        median(values(drawn.iter().map(|&k| &pairs[k])))
    });
    Some(Ratio {
        spread,
        interval: interval.unwrap_or((spread.median, spread.median)),
        pairs: pairs.iter().flatten().count(),
        bound: pairs.iter().flatten().filter(bound).count() > 0,
    })
}

fn values<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Vec<f64> {
    pairs.flatten().map(|pair| pair.0).collect()
}

/// The upper one of the two that a median lies between: what is at or below it has a say in the median.
pub fn upper_middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median, between the two middle ones of an even number.
pub fn median(values: Vec<f64>) -> Option<f64> {
    spread(values).map(|s| s.median)
}

/// Resamples of a bootstrap.
const RESAMPLES: u64 = 1_000;

/// 95 % interval of a statistic of `count` things, given the numbers of those drawn with replacement (Efron 1979, percentiles).
pub fn bootstrap(count: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<(f64, f64)> {
    if count == 0 {
        return None;
    }
    let mut random = random::stream(0, "bench/bootstrap", &[]);
    let mut found = Vec::new();
    let mut drawn = vec![0; count];
    for _ in 0..RESAMPLES {
        drawn.fill_with(|| random.random_range(0..count));
        found.extend(statistic(&drawn));
    }
    found.sort_by(f64::total_cmp);
    let at =
        |share: f64| found.get((share * (found.len().checked_sub(1)? as f64)).round() as usize);
    Some((*at(0.025)?, *at(0.975)?))
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
        let pairs = paired(&some([100, 10, 30]), &some([10, 100, 10]), 1_000);
        let ratio = ratio(&pairs).unwrap();
        assert_eq!(
            (ratio.spread.median, ratio.pairs, ratio.bound),
            (3.0, 3, false)
        );
        assert!((ratio.spread.low - 0.68).abs() < 1e-12 && (ratio.spread.high - 8.6).abs() < 1e-12);
        // Of three draws the median may be any of the three.
        assert_eq!(ratio.interval, (0.1, 10.0));
    }

    #[test]
    fn misses_count_against_whoever_missed() {
        let reference = [None, Some(50), None, Some(20)];
        let rounds = [Some(10), None, None, Some(10)];
        // limit / 10, 0, left out, 20 / 10.
        let of_three = ratio(&paired(&reference, &rounds, 200)).unwrap();
        assert_eq!(of_three.pairs, 3);
        assert_eq!(of_three.spread.median, 2.0);
        assert!((of_three.spread.low - 0.4).abs() < 1e-12);
        assert!((of_three.spread.high - 16.4).abs() < 1e-12);
        assert_eq!(ratio(&paired(&[None], &[None], 200)), None);
        assert_eq!(ratio(&[]), None);
    }

    /// A bound above the median says nothing about it; one at or below it makes it a bound.
    #[test]
    fn the_median_is_a_bound_only_where_a_bound_lies_below_it() {
        let bound = |pairs: [(f64, bool); 3]| ratio(&pairs.map(Some)).unwrap().bound;
        assert!(!bound([(1.0, false), (2.0, false), (9.0, true)]));
        assert!(bound([(1.0, false), (2.0, true), (9.0, false)]));
        assert!(bound([(1.0, true), (2.0, false), (9.0, false)]));
        // Of an even number both middle ones have a say.
        let even = ratio(&[Some((1.0, false)), Some((3.0, true))]).unwrap();
        assert!(even.bound && even.spread.median == 2.0);
    }

    /// The mean of many like numbers: its interval is about ± 1.96 standard errors.
    #[test]
    fn a_bootstrap_of_a_mean_is_as_wide_as_its_error() {
        let values: Vec<f64> = (0..400).map(|k| f64::from(k % 20)).collect();
        let mean = |drawn: &[usize]| Some(drawn.iter().map(|&k| values[k]).sum::<f64>() / 400.0);
        let (low, high) = bootstrap(400, mean).unwrap();
        // Variance of 0..20 is 33.25.
        let expected = 2.0 * 1.96 * (33.25_f64 / 400.0).sqrt();
        assert!(((high - low) / expected - 1.0).abs() < 0.1, "{low} {high}");
        assert!(low < 9.5 && 9.5 < high);
        assert_eq!(bootstrap(0, mean), None);
        assert_eq!(bootstrap(3, |_| None), None);
    }
}
