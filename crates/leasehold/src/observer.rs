//! What can be seen of every lock: the observer and its events.

use crate::error::Error;
use crate::guard::{LostWhy, Released};
use leasehold_core::{ClaimId, ResourceName, Token};
use std::time::Duration;

/// Sees everything that happens to the locks of a client.
///
/// Events of all claims come one after the other, on a thread of their own: a slow observer delays the events behind it, never
/// a lock. A panic is caught and dropped.
pub trait Observer: Send + Sync {
    /// Takes note of one event.
    fn saw(&self, event: &Observed);
}

/// One event of one claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Observed {
    /// The resource.
    pub resource: ResourceName,
    /// The attempt.
    pub claim: ClaimId,
    /// How long the claim has existed; from the grant on, how long it has held.
    pub after: Duration,
    /// What happened.
    pub what: What,
}

/// What happened to a claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// It was made.
    Attempt,
    /// It was left to others by its claim id.
    Detached,
    /// It was not granted.
    Failed(Failure),
    /// It was granted.
    Granted(Token),
    /// Less than a third of its lease is left, and no renewal has come through.
    InDoubt,
    /// Its lease ended without a release.
    Lost(LostWhy),
    /// A renewal came through after doubt.
    Recovered,
    /// It was released.
    Released(Result<Released, Error>),
    /// A renewal came through.
    Renewed,
    /// A renewal did not come through; it is tried again.
    RenewalFailed(Error),
    /// Others hold; told at every answer of the store while it waits.
    Waiting {
        /// Who holds, if it is a client of Leasehold.
        by: Option<ClaimId>,
    },
}

/// Why a claim was not granted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Its future was dropped, or its client was shut down.
    Cancelled,
    /// It could not be asked for.
    Error(Error),
    /// Others held until the end of its wait.
    Held,
    /// This attempt was spent: its grant came too late, or the store had forgotten it. Another attempt follows.
    Spent,
}
