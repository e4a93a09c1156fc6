//! The hold policy: how long a hold lasts, who ends it, and what keeps others out afterwards.

use core::fmt;
use core::time::Duration;

/// Whether a hold is renewed in the background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// Renewed at a third of the ttl until it is released or `max_hold` is reached.
    #[default]
    Auto,
    /// A fixed lease: it ends one ttl after the grant, and is told lost then.
    Off,
}

/// How long a hold lasts, who ends it, and what keeps others out afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HoldPolicy {
    /// How long the store keeps the hold without a renewal; 400 ms to 24 h, default 30 s.
    pub ttl: Duration,
    /// Whether the hold is renewed; default [`Renewal::Auto`].
    pub renew: Renewal,
    /// No renewal is sent later than this after the grant; the lease in force then runs out by itself. Default: no limit.
    pub max_hold: Option<Duration>,
    /// A release keeps others out until this long after the grant. It ends with a lost lease. Default zero.
    pub min_hold: Duration,
    /// Others wait this much longer after a hold that was lost, not after a release. Default zero.
    pub lock_delay: Duration,
}

impl Default for HoldPolicy {
    fn default() -> HoldPolicy {
        HoldPolicy {
            ttl: Duration::from_secs(30),
            renew: Renewal::Auto,
            max_hold: None,
            min_hold: Duration::ZERO,
            lock_delay: Duration::ZERO,
        }
    }
}

impl HoldPolicy {
    /// The shortest ttl: three beats of a waiter must fit in it.
    pub const MIN_TTL: Duration = Duration::from_millis(400);
    /// The longest ttl, `min_hold`, `lock_delay`.
    pub const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

    /// The default policy with this ttl.
    pub fn with_ttl(ttl: Duration) -> HoldPolicy {
        HoldPolicy { ttl, ..HoldPolicy::default() }
    }

    /// Checks every span against its limits.
    ///
    /// # Errors
    /// [`PolicyError`] names the first span that is out of its limits.
    pub fn check(&self) -> Result<(), PolicyError> {
        let wrong = |what, got, at_least, at_most| Err(PolicyError { what, got, at_least, at_most });
        if self.ttl < Self::MIN_TTL || self.ttl > Self::MAX_TTL {
            return wrong("ttl", self.ttl, Self::MIN_TTL, Self::MAX_TTL);
        }
        if let Some(max_hold) = self.max_hold
            && max_hold.is_zero()
        {
            return wrong("max_hold", max_hold, Duration::from_millis(1), Duration::MAX);
        }
        if self.min_hold > Self::MAX_TTL {
            return wrong("min_hold", self.min_hold, Duration::ZERO, Self::MAX_TTL);
        }
        if self.lock_delay > Self::MAX_TTL {
            return wrong("lock_delay", self.lock_delay, Duration::ZERO, Self::MAX_TTL);
        }
        Ok(())
    }

    /// How often a waiter asks again: a quarter of the ttl, 2 s at most.
    pub fn beat(&self) -> Duration {
        (self.ttl / 4).min(Duration::from_secs(2))
    }

    /// How long a waiter's place lives after the last ask that arrived: three beats.
    pub fn place_life(&self) -> Duration {
        self.beat() * 3
    }
}

/// A span of a [`HoldPolicy`] that is out of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Which span.
    pub what: &'static str,
    /// What it was set to.
    pub got: Duration,
    /// The least it may be.
    pub at_least: Duration,
    /// The most it may be.
    pub at_most: Duration,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be at least {:?}", self.what, self.at_least)?;
        if self.at_most < Duration::MAX {
            write!(f, " and at most {:?}", self.at_most)?;
        }
        write!(f, ", got {:?}", self.got)
    }
}

impl core::error::Error for PolicyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn absurd_spans_are_refused_by_name() {
        let with = |ttl| HoldPolicy { ttl, ..HoldPolicy::default() };
        for ttl in [Duration::ZERO, Duration::from_millis(399), Duration::from_secs(86_401)] {
            assert_eq!(with(ttl).check().unwrap_err().what, "ttl");
        }
        assert_eq!(
            with(Duration::ZERO).check().unwrap_err().to_string(),
            "ttl must be at least 400ms and at most 86400s, got 0ns"
        );
        let endless = HoldPolicy { max_hold: Some(Duration::ZERO), ..HoldPolicy::default() };
        assert_eq!(endless.check().unwrap_err().what, "max_hold");
        let delay = HoldPolicy { lock_delay: Duration::MAX, ..HoldPolicy::default() };
        assert_eq!(delay.check().unwrap_err().what, "lock_delay");
    }

    #[test]
    fn a_place_never_outlives_the_shortest_ttl() {
        for ms in [400, 1000, 8000, 86_400_000] {
            let policy = HoldPolicy { ttl: Duration::from_millis(ms), ..HoldPolicy::default() };
            policy.check().unwrap();
            assert!(policy.place_life() < policy.ttl);
        }
    }
}
