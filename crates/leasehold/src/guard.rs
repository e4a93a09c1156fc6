//! The guard: proof of a hold, and the one who says when it ends.

use crate::driver::{Claimant, Driver, Inner};
use crate::error::Error;
use crate::session::Session;
use futures_util::future::{Either, select};
use leasehold_core::{ClaimId, Input, Instant, ResourceName, Token};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub use leasehold_core::LostWhy;

/// Proof of a hold. Clones share it; the hold ends with the last of them.
///
/// # Guarantees
/// Under the bound on clock drift ([`Timing`](crate::Timing), 1 % by default), no two guards of one resource report themselves
/// held at the same time: a guard tells its loss by time before the store can let a rival in, even if the store is frozen, the
/// network is gone or the runtime is blocked. Loss by the store's state (a flush, an eviction, a fail-over) is told at the next
/// renewal.
#[derive(Clone)]
pub struct Guard {
    hold: Arc<Hold>,
}

/// The hold that the clones of a guard share.
pub(crate) struct Hold {
    session: Arc<Session>,
    claimant: Arc<Claimant>,
    token: Token,
    /// True once it is told that it ends, so that its drop need not.
    ended: bool,
}

/// What a guard knows of its hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuardState {
    /// It holds.
    Held,
    /// It holds, but less than a third of the lease is left and no renewal has come through; it may recover.
    InDoubt,
    /// The lease ended without a release. This is final.
    Lost,
    /// It was released.
    Released,
}

/// What became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Released {
    /// The lease had run out before; nobody holds now.
    Expired,
    /// The lease was in force by our clock, but the store did not have it: the store lost it, or an earlier reply was lost.
    Gone,
    /// It was held until now, and is not any more.
    Released,
    /// This many clones of the guard are left, and the hold goes on.
    StillHeld(usize),
    /// The lease had ended before, and another holds now.
    Taken {
        /// Who, if it is a client of Leasehold.
        by: Option<ClaimId>,
    },
}

/// A hold that outlives its client: whoever has the claim's id can renew or release it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detached {
    /// The resource.
    pub resource: ResourceName,
    /// The claim that holds it.
    pub claim: ClaimId,
    /// Its fencing token.
    pub token: Token,
    /// Until when it holds, by this host's clock.
    pub deadline: Instant,
}

impl Guard {
    pub(crate) fn new(session: Arc<Session>, (claimant, token): (Arc<Claimant>, Token)) -> Guard {
        Guard { hold: Arc::new(Hold { session, claimant, token, ended: false }) }
    }

    pub(crate) fn of(hold: Arc<Hold>) -> Guard {
        Guard { hold }
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// The resource that is held.
    pub fn resource(&self) -> &ResourceName {
        &self.hold.claimant.resource
    }

    /// The fencing token: larger than that of every grant that the store made before.
    ///
    /// Write it with what you change, and let the resource refuse a smaller one: then a holder that was paused past its lease
    /// cannot overwrite its successor's work.
    pub fn token(&self) -> Token {
        self.hold.token
    }

    /// The claim's id; also the nonce to write beside the token, so that an equal token of a store that lost its counter is
    /// told from ours.
    pub fn claim(&self) -> ClaimId {
        self.hold.claimant.claim
    }

    /// What the guard knows of its hold, by a look at the clock.
    pub fn state(&self) -> GuardState {
        self.hold.state()
    }

    /// How long the hold lasts still without a renewal; zero once it is lost or released.
    pub fn remaining(&self) -> Duration {
        self.hold.remaining()
    }

    /// Until when the hold lasts without a further renewal, on this host's suspend-counting clock. Once it is over, when it was.
    pub fn deadline(&self) -> Instant {
        self.hold.claimant.deadline().unwrap_or_else(|| self.hold.claimant.lock().last_deadline)
    }

    /// Passes if the hold lasts for `min_left` at least; call it before each step that must not be done by two.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) if it does not.
    pub fn check(&self, min_left: Duration) -> Result<(), Error> {
        let left = self.remaining();
        if !left.is_zero() && left >= min_left {
            return Ok(());
        }
        let message = match self.state() {
            GuardState::Lost => "the lease was lost",
            GuardState::Released => "the lease was released",
            GuardState::Held | GuardState::InDoubt => "too little of the lease is left",
        };
        Err(Error::lost(message).about(self.resource()))
    }

    /// Waits until the hold is lost. Does not end after a release.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn lost(&self) -> LostWhy {
        self.hold.claimant.until(|inner| inner.lost).await
    }

    /// Waits for the next renewal, doubt, recovery, loss or release after this call, and returns the state then.
    ///
    /// Changes count from the call, not from the first poll: call it, then look at [`Guard::deadline`], then await it, and no
    /// change is missed.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future but the changes that it waited for.
    pub fn changed(&self) -> impl Future<Output = GuardState> + Send + '_ {
        let seen = self.hold.claimant.lock().changes;
        async move {
            self.hold.claimant.until(|inner| (inner.changes != seen).then_some(())).await;
            self.state()
        }
    }

    /// Runs `then` once, on the callbacks' own thread, if the hold is lost; at once if it is lost already.
    ///
    /// A clone of the guard inside `then` counts as one: the hold then ends by its loss only.
    pub fn on_lost(&self, then: impl FnOnce(LostWhy) + Send + 'static) {
        self.hold.driver().on_lost(&self.hold.claimant, Box::new(then));
    }

    /// A token that is cancelled when the hold is lost.
    pub fn cancellation_token(&self) -> CancellationToken {
        let mut inner = self.hold.claimant.lock();
        let lost = inner.lost.is_some();
        let token = inner.cancellation.get_or_insert_with(CancellationToken::new).clone();
        drop(inner);
        if lost {
            token.cancel();
        }
        token
    }

    /// Runs `work` while the hold lasts, and drops it where it stands when the hold is lost, or given back by
    /// [`Client::shutdown`](crate::Client::shutdown).
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) if the hold was over before `work` ended.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`; the hold stays.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Error> {
        let work = pin!(work);
        let ended = pin!(self.hold.ended());
        // The end is looked at first: work that is ready at the same moment is not taken for done under the lock.
        match select(ended, work).await {
            Either::Right((output, _)) if !self.remaining().is_zero() => Ok(output),
            _ => Err(Error::lost(self.hold.why_over()).about(self.resource())),
        }
    }

    /// Gives the hold back and says what became of it. The hold of other clones goes on.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store did not answer; the release is then repeated in
    /// the background until it does, or until the lease has run out.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the release to the background.
    pub async fn release(self) -> Result<Released, Error> {
        let clones = Arc::strong_count(&self.hold) - 1;
        let Some(mut hold) = Arc::into_inner(self.hold) else {
            return Ok(Released::StillHeld(clones.max(1)));
        };
        hold.ended = true;
        hold.driver().release(&hold.claimant, hold.token).await
    }

    /// Leaves the hold in the store, to be renewed or released by its claim id, from any process
    /// ([`Client::claimed`](crate::Client::claimed)). The full ttl is in force when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if clones of the guard are left,
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) if the hold was lost.
    ///
    /// # Cancel safety
    /// Dropping the future releases the hold in the background, or leaves it detached if that had come through.
    pub async fn detach(self) -> Result<Detached, Error> {
        let Some(hold) = Arc::into_inner(self.hold) else {
            return Err(Error::config("a guard with clones cannot be detached"));
        };
        hold.driver().step(&hold.claimant, Input::Detach);
        let ended = |inner: &mut Inner| detached(inner);
        let deadline = hold
            .claimant
            .until(ended)
            .await
            .map_err(|why| Error::lost(format!("the lease was lost: {why}")).about(&hold.claimant.resource))?;
        let claimant = &hold.claimant;
        Ok(Detached { resource: claimant.resource.clone(), claim: claimant.claim, token: hold.token, deadline })
    }
}

fn detached(inner: &mut Inner) -> Option<Result<Instant, LostWhy>> {
    if inner.detached {
        return Some(Ok(inner.last_deadline));
    }
    let ended = inner.lost.or(inner.done.then_some(LostWhy::Store));
    ended.map(Err)
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("resource", self.resource())
            .field("claim", &self.claim())
            .field("token", &self.token())
            .field("state", &self.state())
            .finish()
    }
}

impl Hold {
    fn driver(&self) -> &Arc<Driver> {
        self.session.driver()
    }

    pub(crate) fn remaining(&self) -> Duration {
        let Some(deadline) = self.claimant.deadline() else { return Duration::ZERO };
        let left = deadline.since(self.driver().world().now());
        if left.is_zero() {
            // Made final here and now, so that no renewal can bring back what was reported as over.
            self.driver().step(&self.claimant, Input::Tick);
            let renewed = self.claimant.deadline().unwrap_or(Instant::from_nanos(0));
            return renewed.since(self.driver().world().now());
        }
        left
    }

    fn state(&self) -> GuardState {
        // What time has changed is found out here and now, however late the driver's timers are.
        self.driver().step(&self.claimant, Input::Tick);
        let held = !self.remaining().is_zero();
        let inner = self.claimant.lock();
        match (held, inner.lost, inner.in_doubt) {
            (_, Some(_), _) => GuardState::Lost,
            (true, None, true) => GuardState::InDoubt,
            (true, None, false) => GuardState::Held,
            (false, None, _) => GuardState::Released,
        }
    }

    /// Waits until it is lost or given back.
    async fn ended(&self) {
        let over = |inner: &mut Inner| inner.lost.is_some() || inner.machine.is_ending() || inner.done;
        self.claimant.until(|inner| over(inner).then_some(())).await;
    }

    fn why_over(&self) -> String {
        match self.claimant.lock().lost {
            Some(why) => format!("the lease was lost: {why}"),
            None => "the lease was released".into(),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.ended {
            self.session.driver().give_back(&self.claimant, self.token, true);
        }
    }
}
