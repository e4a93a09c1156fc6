//! What can be seen of every lock: the observer and its events.

use crate::error::Error;
use crate::guard::{LostWhy, Released};
use leasehold_core::{ClaimId, ResourceName, Token};
use std::time::Duration;

/// Sees everything that happens to the locks of a client.
///
/// Events of all claims come one after the other, on a thread of their own: a slow observer delays the events behind it, never
/// a lock. A panic is caught and dropped. Those that say that they are prompt are called at once instead.
///
/// Of each attempt the beginning is seen ([`What::Attempt`]) and one end ([`What::Granted`] or [`What::Failed`]); of each grant
/// one end too ([`What::Released`], [`What::Lost`] or [`What::Detached`]). An acquire whose attempt was spent makes another one.
pub trait Observer: Send + Sync {
    /// Takes note of one event.
    fn saw(&self, event: &Observed);

    /// True if [`Observer::saw`] is to be called at once, on whichever thread something happens, also on those that move all
    /// locks; looked at once, when the client connects.
    ///
    /// Say so only if it never blocks, takes well below a microsecond, and never calls this library: locks of the driver are
    /// held meanwhile, and every lock of the client waits for it. Calls come from several threads at once; those of one claim
    /// come in order.
    fn is_prompt(&self) -> bool {
        false
    }
}

/// One event of one claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Observed {
    /// The resource.
    pub resource: ResourceName,
    /// The attempt.
    pub claim: ClaimId,
    /// How long the attempt has lasted; from the grant on, how long it has held, until it was given back.
    pub after: Duration,
    /// Of [`What::Released`], how long its answer took; `None` if it was handed on to the next task of this client, without a
    /// word to the store. Of all else `None`.
    pub took: Option<Duration>,
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
    /// It had been lost before, and its holder let go of it now; what the store said to that.
    LetGo(Result<Released, Error>),
    /// Its lease ended without a release.
    Lost(LostWhy),
    /// Four fifths of its `max_hold` are over.
    NearMaxHold,
    /// A renewal came through after doubt.
    Recovered,
    /// It was released, or handed on to the next task of this client ([`Observed::took`]).
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
    /// Others held, and it asked only once.
    Held,
    /// This attempt was spent: its grant came too late, or the store had forgotten it. Another attempt follows.
    Spent,
    /// Others held until the end of its wait.
    TimedOut,
}
