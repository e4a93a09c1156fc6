//! Instants of a clock that counts suspend: nanoseconds since an origin that only its owner knows.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A point in time on one host's suspend-counting clock (`CLOCK_BOOTTIME` on Linux).
///
/// Instants of different hosts, or of different boots of one host, have nothing to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The latest instant there is; it stands for "never".
    pub const FAR: Instant = Instant(u64::MAX);

    /// The instant `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to here, zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `span` before this one, at the earliest the clock's origin.
    pub fn before(self, span: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(span)))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::FAR`].
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(span)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_saturate_instead_of_wrapping() {
        let near_end = Instant::from_nanos(u64::MAX - 1);
        assert_eq!(near_end + Duration::from_secs(1), Instant::FAR);
        assert_eq!(Instant::from_nanos(1).since(near_end), Duration::ZERO);
        assert_eq!(Instant::from_nanos(1).before(Duration::from_secs(1)), Instant::from_nanos(0));
    }
}
