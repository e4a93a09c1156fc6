//! Figures out of many measurements: percentiles, and how evenly turns were shared.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// An hour, in nanoseconds: nothing here takes longer.
const LONGEST: u64 = 3_600_000_000_000;

/// Many spans of time.
#[derive(Clone, Debug)]
pub struct Spans(Histogram<u64>);

impl Default for Spans {
    fn default() -> Spans {
        Spans(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order and three digits are allowed"))
    }
}

impl Spans {
    /// Takes in one span.
    pub fn record(&mut self, span: Duration) {
        self.0.saturating_record(u64::try_from(span.as_nanos()).unwrap_or(LONGEST));
    }

    /// Takes in all of `other`.
    pub fn add(&mut self, other: &Spans) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Their spread.
    pub fn spread(&self) -> Spread {
        let micros = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        Spread { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: micros(self.0.max()) }
    }
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine in ten took no longer.
    pub p90: f64,
    /// 99 in a hundred took no longer.
    pub p99: f64,
    /// 999 in a thousand took no longer.
    pub p99_9: f64,
    /// None took longer.
    pub max: f64,
}

/// Jain's index of fairness: 1 if all had the same, 1/n if one had all.
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    let index = if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) };
    (index * 1e4).round() / 1e4
}

/// How many a second.
pub fn rate(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// Microseconds as people say them.
pub fn humane(micros: f64) -> String {
    match micros {
        ..10.0 => format!("{micros:.1}µs"),
        ..10_000.0 => format!("{micros:.0}µs"),
        ..10_000_000.0 => format!("{:.0}ms", micros / 1e3),
        _ => format!("{:.0}s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_within_a_thousandth() {
        let mut spans = Spans::default();
        for micros in 1..=1000 {
            spans.record(Duration::from_micros(micros));
        }
        let mut all = Spans::default();
        all.add(&spans);
        let spread = all.spread();
        for (seen, exact) in [(spread.p50, 500.0), (spread.p90, 900.0), (spread.p99, 990.0), (spread.max, 1000.0)] {
            assert!((seen - exact).abs() <= exact / 1000.0 + 0.1, "{seen} for {exact}");
        }
        assert_eq!(all.count(), 1000);
    }

    #[test]
    fn a_span_beyond_all_bounds_is_the_longest() {
        let mut spans = Spans::default();
        spans.record(Duration::MAX);
        spans.record(Duration::ZERO);
        assert_eq!(spans.count(), 2);
        assert!(spans.spread().max >= 3.59e9);
    }

    #[test]
    fn jain_is_one_for_equal_shares_and_a_share_for_one_alone() {
        assert_eq!(jain(&[5, 5, 5]), 1.0);
        assert_eq!(jain(&[9, 0, 0]), 0.3333);
        assert_eq!(jain(&[0, 0]), 1.0);
    }
}
