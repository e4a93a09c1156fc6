//! Validity: until when a holder may believe that it holds.

use crate::time::Instant;
use core::time::Duration;

/// How far the clocks of holder and store may differ in *rate*, and what is taken off besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Bound on the ratio of the two clocks' rates, in parts per million; default 10 000, one per cent.
    pub drift_ppm: u32,
    /// Taken off every deadline, for clocks that count in milliseconds; default 2 ms.
    pub margin: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { drift_ppm: 10_000, margin: Duration::from_millis(2) }
    }
}

impl Timing {
    /// The holder's deadline for a lease of `span` that the store granted in answer to a request sent at `sent_at`.
    // Safe: the store began to count `span` after `sent_at`, and its clock is at most `drift_ppm` faster than ours.
    pub fn deadline(self, sent_at: Instant, span: Duration) -> Instant {
        let nanos = span.as_nanos().saturating_mul(u128::from(1_000_000u32.saturating_sub(self.drift_ppm))) / 1_000_000;
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        sent_at + span.saturating_sub(self.margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_before_the_stores_own_expiry_under_drift() {
        let sent_at = Instant::from_nanos(5_000_000_000);
        let deadline = Timing::default().deadline(sent_at, Duration::from_secs(10));
        assert_eq!(deadline.since(sent_at), Duration::from_millis(9_898));
    }

    #[test]
    fn a_lease_shorter_than_the_margin_is_over_at_once() {
        let sent_at = Instant::from_nanos(7);
        assert_eq!(Timing::default().deadline(sent_at, Duration::from_millis(1)), sent_at);
    }
}
