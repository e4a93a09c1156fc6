//! The arithmetic of figures: medians with their spread, percentiles, ratios between neighbours, fairness.

/// A figure over repetitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// Median, least and most; `None` without values.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 };
    Some(Spread { median, least, most })
}

/// The value that so great a part of `sorted` does not exceed; 0 without values.
pub fn percentile(sorted: &[u64], part: f64) -> u64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

/// Jain's index of fairness: 1 if all shares are equal, 1/n if one has all.
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// The ratio of each repetition to the base's runs just before and just after it, in alternating runs that the base begins.
pub fn ratios(values: &[f64], base: &[f64]) -> Vec<f64> {
    let neighbours = |at: usize| match (base.get(at), base.get(at + 1)) {
        (Some(before), Some(after)) => (before + after) / 2.0,
        (Some(before), None) => *before,
        _ => f64::NAN,
    };
    values.iter().enumerate().map(|(at, value)| value / neighbours(at)).filter(|ratio| ratio.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_least_and_most() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(spread(&[f64::NAN]), None);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&sorted, 0.5), percentile(&sorted, 0.99), percentile(&sorted, 1.0)), (50, 99, 100));
        assert_eq!((percentile(&[7], 0.01), percentile(&[], 0.5)), (7, 0));
    }

    #[test]
    fn jain_is_one_for_equal_shares_and_a_share_of_one_for_a_monopoly() {
        assert_eq!(jain(&[5, 5, 5, 5]), 1.0);
        assert_eq!(jain(&[20, 0, 0, 0]), 0.25);
        assert_eq!(jain(&[0, 0]), 0.0);
        assert!((jain(&[10, 5]) - 0.9).abs() < 1e-12);
    }

    #[test]
    fn ratios_are_to_the_base_before_and_after() {
        assert_eq!(ratios(&[3.0, 3.0], &[1.0, 2.0]), [2.0, 1.5]);
        assert!(ratios(&[1.0], &[]).is_empty());
        assert!(ratios(&[1.0], &[0.0]).is_empty());
    }

    #[test]
    fn a_drift_of_the_machine_cancels_out() {
        let base = [100.0, 80.0, 60.0, 40.0];
        let values: Vec<f64> = [90.0, 70.0, 50.0].iter().map(|at| at * 0.9).collect();
        assert!(ratios(&values, &base).iter().all(|ratio| (ratio - 0.9).abs() < 1e-12));
    }
}
