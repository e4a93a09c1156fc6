//! A session: what the handles and guards of one client share, and what happens when the last of them goes.

use crate::driver::{Driver, Patience, StandingOrder};
use crate::error::Error;
use crate::guard::{Guard, Hold};
use crate::weak_map::WeakMap;
use crate::world::{ThreadKey, World};
use leasehold_core::{HoldPolicy, Instant, ResourceName};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How long the drop of the last handle waits for releases that are under way.
const FLUSH_LIMIT: Duration = Duration::from_millis(200);

/// How long a shutdown waits for the store's answers.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// What the handles and guards of one client share.
pub(crate) struct Session {
    driver: Arc<Driver>,
    /// Guards that an owner can find again.
    owned: Mutex<WeakMap<(Owner, ResourceName), Hold>>,
}

/// Somebody who may enter a lock again that it holds already.
///
/// An owner is a value that you make and hand around, so it survives a task's move to another thread. All acquires of one
/// resource with an equal owner, on one client, share one hold. Two that are under way at the same time do not: the second
/// waits for the first, so an owner does one thing after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(OwnerId);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OwnerId {
    Thread(ThreadKey),
    Value(u64),
}

impl Owner {
    /// An owner that is equal to no other.
    #[allow(clippy::new_without_default, reason = "two defaults would not be equal")]
    pub fn new() -> Owner {
        Owner(OwnerId::Value(crate::world::World::unique()))
    }

    /// The calling thread as owner; for blocking code, since a task may move to another thread at any await.
    pub fn current_thread() -> Owner {
        Owner(OwnerId::Thread(World::current_thread()))
    }
}

impl Session {
    pub(crate) fn new(driver: Arc<Driver>) -> Arc<Session> {
        Arc::new(Session { driver, owned: Mutex::default() })
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// Acquires what is ordered, or joins the hold that `owner` has already.
    pub(crate) async fn acquire(
        self: &Arc<Session>,
        order: &StandingOrder,
        owner: Option<Owner>,
        patience: Patience,
    ) -> Result<Option<Guard>, Error> {
        order.check(|policy| self.check(policy))?;
        if let Some(guard) = owner.and_then(|owner| self.held_by(owner, &order.resource)) {
            return Ok(Some(guard));
        }
        let granted = self.driver.acquire(order, patience).await?;
        let guard = granted.map(|granted| Guard::new(Arc::clone(self), granted));
        if let (Some(owner), Some(guard)) = (owner, &guard) {
            self.remember(owner, guard);
        }
        Ok(guard)
    }

    /// Refuses a policy out of its limits, and one under which a grant could be over by our clock when it comes: such grants
    /// would be given back and asked for again without end.
    fn check(&self, policy: &HoldPolicy) -> Result<(), Error> {
        policy.check()?;
        // A pushed grant may come as late as two beats after the ask that it counts from.
        let start = Instant::from_nanos(0);
        let place = self.driver.timing().deadline(start, policy.place_life());
        if place.since(start) > policy.beat() * 2 {
            return Ok(());
        }
        Err(Error::config(format!("drift and margin leave too little of a ttl of {:?}", policy.ttl)))
    }

    fn held_by(&self, owner: Owner, resource: &ResourceName) -> Option<Guard> {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        let hold = owned.get(&(owner, resource.clone()))?;
        drop(owned);
        (!hold.remaining().is_zero()).then(|| Guard::of(hold))
    }

    fn remember(&self, owner: Owner, guard: &Guard) {
        let mut owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        owned.insert((owner, guard.resource().clone()), guard.hold());
    }

    /// Ends every hold and wait, waits for the store's answers for a while, and says goodbye.
    pub(crate) async fn shut_down(&self) {
        let driver = Arc::clone(&self.driver);
        let all = |_| async move {
            driver.end_all().await;
            Ok(())
        };
        // A store that does not answer now has forgotten this client by itself one lease later.
        if self.driver.call(SHUTDOWN_LIMIT, all).await.is_ok() {
            let _ = self.driver.call(FLUSH_LIMIT, |_| self.driver.engine().close()).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let driver = Arc::clone(&self.driver);
        let world = driver.world().clone();
        let (done, flushed) = mpsc::channel();
        let stop = world.clone();
        world.spawn(async move {
            driver.wait_idle().await;
            // The same as in `shut_down`.
            let _ = driver.engine().close().await;
            let _ = done.send(());
            stop.stop();
        });
        if !world.on_driver() {
            let _ = flushed.recv_timeout(FLUSH_LIMIT);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("driver", &self.driver).finish_non_exhaustive()
    }
}
