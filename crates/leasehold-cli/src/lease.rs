//! The lease under which a command runs: our own, or a share in that of an outer run.

use crate::held::Joined;
use crate::obtain::Granted;
use leasehold::{Guard, GuardState, Instant};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// The lease.
#[derive(Debug)]
pub enum Lease {
    /// Granted to us, and ours to release.
    Own {
        /// The client and its guard.
        granted: Granted,
        /// The ttl it was asked for with.
        ttl: Duration,
        /// The last deadline that was told.
        told: Instant,
    },
    /// A share in an outer run's.
    Joined(Joined),
}

/// What happened to the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It lasts until then.
    Until(Instant),
    /// It lasts, but renewals do not come through; this much is left.
    Doubt(Duration),
    /// It is lost, for this reason.
    Lost(String),
}

impl Lease {
    /// A lease of our own.
    pub fn own(granted: Granted, ttl: Duration) -> Lease {
        let told = granted.guard.deadline();
        Lease::Own { granted, ttl, told }
    }

    /// Its claim.
    pub fn claim(&self) -> String {
        match self {
            Lease::Own { granted, .. } => granted.guard.claim().to_string(),
            Lease::Joined(joined) => joined.held.claim.clone(),
        }
    }

    /// Its token.
    pub fn token(&self) -> u64 {
        match self {
            Lease::Own { granted, .. } => granted.guard.token().as_u64(),
            Lease::Joined(joined) => joined.held.token,
        }
    }

    /// How long one renewal lasts.
    pub fn ttl(&self) -> Duration {
        match self {
            Lease::Own { ttl, .. } => *ttl,
            Lease::Joined(joined) => joined.ttl,
        }
    }

    /// Until when it lasts, as far as was told.
    pub fn deadline(&self) -> Instant {
        match self {
            Lease::Own { told, .. } => *told,
            Lease::Joined(joined) => joined.deadline,
        }
    }

    /// The next change. May be dropped at any await. Not to be asked again after a loss.
    pub async fn changed(&mut self) -> Change {
        match self {
            Lease::Own { granted, told, .. } => own_change(&granted.guard, told).await,
            Lease::Joined(joined) => joined.changed().await.map_or_else(Change::Lost, Change::Until),
        }
    }
}

async fn own_change(guard: &Guard, told: &mut Instant) -> Change {
    let mut changed = pin!(guard.changed());
    let mut lost = pin!(guard.lost());
    poll_fn(|context| {
        if let Poll::Ready(why) = lost.as_mut().poll(context) {
            return Poll::Ready(Change::Lost(why.to_string()));
        }
        // The change is listened for first and looked at second, so that none falls between two calls.
        let heard = changed.as_mut().poll(context);
        if guard.deadline() > *told {
            *told = guard.deadline();
            return Poll::Ready(Change::Until(*told));
        }
        heard.map(|state| match state {
            GuardState::InDoubt => Change::Doubt(guard.remaining()),
            _ => Change::Until(*told),
        })
    })
    .await
}
