//! What is asked of a store and what it answers: evidence, never a deadline.

use crate::claim::{ClaimId, ReqNo};
use crate::token::Token;
use core::time::Duration;

/// How a claim is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The number of this ask; a place keeps the number of the last ask that reached it.
    pub no: ReqNo,
    /// True for the first ask of a fresh id: the store cannot know the claim yet.
    pub first: bool,
    /// True if the claim queues when it cannot be granted; false if it is answered busy.
    pub wait: bool,
    /// How many tokens to set aside behind that of the grant; a store may set fewer aside, or none.
    pub spare: u32,
}

/// The terms of a claim's lease, as the store needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long the store keeps a hold without a renewal.
    pub ttl: Duration,
    /// How much longer it keeps others out after a hold that was lost.
    pub lock_delay: Duration,
    /// How long the store keeps a waiter's place after an ask (three beats).
    pub place_life: Duration,
    /// A place is only promoted with at least this much of its life left (one beat).
    pub place_margin: Duration,
}

/// The store's evidence that a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which claim.
    pub claim: ClaimId,
    /// Its fencing token.
    pub token: Token,
    /// How many tokens were set aside right behind it.
    pub spare: u32,
    /// How long the lease lasts, and counted from what.
    pub bound: Bound,
}

/// How long a lease lasts, and counted from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// One place life from the sending of the ask with this number: the grant ends when that place would have ended.
    FromAsk(ReqNo),
    /// This long from the sending of the request that is being answered.
    FromSend(Duration),
}

/// Who stands in the way of a claim, as far as the store knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contention {
    /// The claim that holds; `None` if the record is a foreign client's, or nobody's.
    pub by: Option<ClaimId>,
    /// What is left of its lease, if it has an end.
    pub lease_left: Option<Duration>,
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimReply {
    /// It holds.
    Granted(Grant),
    /// It has a place in the queue.
    Queued(Contention),
    /// It does not hold and has no place.
    Busy(Contention),
    /// It was released or revoked before: ask with a fresh id.
    Stale,
}

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewReply {
    /// The lease was lengthened, never shortened.
    Renewed(Renewed),
    /// The claim does not hold. This is final.
    Lost,
}

/// What a renewal brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// How long the lease lasts now.
    pub bound: Bound,
    /// The tokens that were asked for, or fewer; `None` if none were, or if the store could not set any aside.
    pub block: Option<Block>,
    /// False if the store knows that no claim waits for the resource.
    pub others_wait: bool,
}

impl Renewed {
    /// A renewal that brought time and nothing else.
    pub const fn plain(bound: Bound) -> Renewed {
        Renewed { bound, block: None, others_wait: true }
    }
}

/// Tokens that a store set aside for a holder: larger than that of every grant that it made before, smaller than that of
/// every grant after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The smallest.
    pub first: Token,
    /// How many there are, each larger by one than the one before.
    pub count: u32,
}

impl RenewReply {
    /// How long the lease lasts now; `None` if it is lost.
    pub fn bound(&self) -> Option<Bound> {
        match self {
            RenewReply::Renewed(renewed) => Some(renewed.bound),
            RenewReply::Lost => None,
        }
    }
}

/// The answer to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReply {
    /// The hold or the place is gone by this release, or by an earlier one of the same claim.
    Released,
    /// The store knows nothing of the claim, and nobody holds.
    Absent,
    /// The store knows nothing of the claim, and another holds.
    Taken(Contention),
}

/// Who ends a hold, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Its own client. Others are kept out for `keep` more (`min_hold`), zero for not at all.
    Own {
        /// How long others are kept out still.
        keep: Duration,
    },
    /// An operator: renewals answer lost, the holder is told, and the next grant waits for its release or its old expiry.
    Revoke,
    /// An operator, at once: the next grant does not wait. This breaks exclusion.
    RevokeNow,
}
