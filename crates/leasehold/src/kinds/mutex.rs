//! The mutex: one permit of one.

use crate::driver::{Order, Patience, StandingOrder};
use crate::error::Error;
use crate::guard::Guard;
use crate::session::{Owner, Session};
use leasehold_core::{HoldPolicy, Renewal, ResourceName, Want};
use std::sync::Arc;
use std::time::Duration;

/// A lock that one holder at a time has. A cheap handle: clone it, keep it, make a new one for each use.
///
/// Options are set by value, so that a handle reads like a sentence:
/// `client.mutex("order:123:pay")?.ttl(Duration::from_secs(10))`. They are checked when it is acquired.
#[derive(Clone, Debug)]
pub struct Mutex {
    session: Arc<Session>,
    order: StandingOrder,
    owner: Option<Owner>,
}

impl Mutex {
    pub(crate) fn new(session: Arc<Session>, resource: ResourceName) -> Mutex {
        let order = Order { resource, want: Want::ALL_OF_ONE, policy: HoldPolicy::default(), full_ttl: false, cohort: true };
        Mutex { session, order: StandingOrder::new(order), owner: None }
    }

    fn with(self, change: impl FnOnce(&mut Order)) -> Mutex {
        Mutex { order: self.order.with(change), ..self }
    }

    /// The resource.
    pub fn resource(&self) -> &ResourceName {
        &self.order.resource
    }

    /// How long the store keeps a hold without a renewal: 400 ms to 24 h, default 30 s. A longer one survives longer pauses;
    /// after a crash the next holder waits for its end.
    pub fn ttl(self, ttl: Duration) -> Mutex {
        self.with(|order| order.policy.ttl = ttl)
    }

    /// Whether a hold is renewed in the background, at a third of the ttl; default [`Renewal::Auto`].
    pub fn renew(self, renew: Renewal) -> Mutex {
        self.with(|order| order.policy.renew = renew)
    }

    /// No renewal is sent later than this after the grant; the lease in force then runs out by itself. Default: no limit.
    pub fn max_hold(self, max_hold: Duration) -> Mutex {
        self.with(|order| order.policy.max_hold = Some(max_hold))
    }

    /// A release keeps others out until this long after the grant; for short jobs that must not run twice. Default zero.
    pub fn min_hold(self, min_hold: Duration) -> Mutex {
        self.with(|order| order.policy.min_hold = min_hold)
    }

    /// Others wait this much longer after a hold that was lost, not after a release. Default zero.
    pub fn lock_delay(self, lock_delay: Duration) -> Mutex {
        self.with(|order| order.policy.lock_delay = lock_delay)
    }

    /// The whole hold policy at once.
    pub fn policy(self, policy: HoldPolicy) -> Mutex {
        self.with(|order| order.policy = policy)
    }

    /// True if an acquire returns only once the full ttl is in force. A waiter's grant starts with what was left of its place
    /// (up to three quarters of the ttl, 6 s at most) and is renewed at once; default false.
    pub fn full_ttl(self, full_ttl: bool) -> Mutex {
        self.with(|order| order.full_ttl = full_ttl)
    }

    /// Whether the hold is passed on within the process, to tasks of the same client that wait for the same resource on the same
    /// terms; default true.
    ///
    /// They share one claim in the store and stand in one line, first come first served. A hold is passed on without a word to
    /// the store, up to 16 times or for 50 ms once another process may wait; then that one has its turn. Tokens rise with
    /// each hand-off; among *different* resources they rise in the order of the store's grants only. With false, each acquire
    /// is a claim of its own, in the store's queue like that of any process.
    pub fn cohort(self, cohort: bool) -> Mutex {
        self.with(|order| order.cohort = cohort)
    }

    /// Lets `owner` enter again while it holds: the same hold, the same token, no word to the store.
    pub fn owner(mut self, owner: Owner) -> Mutex {
        self.owner = Some(owner);
        self
    }

    /// Acquires if nobody holds; asks the store exactly once. `None` if another holds.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a policy out of its limits or a name in other use,
    /// [`ErrorKind::Permission`](crate::ErrorKind::Permission), [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the
    /// store did not answer within one beat (a quarter of the ttl, 2 s at most).
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the claim and leaves nothing behind.
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        self.session.acquire(&self.order, self.owner, Patience::Once).await
    }

    /// Acquires, waiting in line as long as it takes; also while the store is down.
    ///
    /// # Errors
    /// What waiting cannot mend: [`ErrorKind::Config`](crate::ErrorKind::Config),
    /// [`ErrorKind::Permission`](crate::ErrorKind::Permission), [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported); and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) once the client was shut down.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in line and leaves nothing behind.
    pub async fn acquire(&self) -> Result<Guard, Error> {
        let guard = self.session.acquire(&self.order, self.owner, Patience::Forever).await?;
        Ok(guard.expect("a wait without end ends with a grant or an error"))
    }

    /// Acquires, waiting in line for `timeout` at most. `None` if others held until then. A timeout of zero asks exactly once,
    /// as [`Mutex::try_acquire`] does.
    ///
    /// # Errors
    /// Those of [`Mutex::acquire`], and [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store was down at the
    /// end of the wait.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in line and leaves nothing behind.
    pub async fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Guard>, Error> {
        self.session.acquire(&self.order, self.owner, Patience::For(timeout)).await
    }
}
