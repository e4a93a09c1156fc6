//! The watch over the calls of all connections: ends those that are overdue, and connections that have gone silent.

use super::fault::Fault;
use super::outbox::{Outbox, Replies};
use crate::world::World;
use leasehold_wire::Call;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How often the calls are looked through while some are under way: so late an overdue call ends.
const GLANCE: Duration = Duration::from_millis(25);
/// How many idle looks there are before the watch sleeps until it is woken.
const IDLE_LOOKS: u32 = 40;

/// The connections of one engine, as far as their calls are concerned.
#[derive(Default)]
pub(super) struct Ledger {
    outboxes: Mutex<Vec<Weak<Outbox>>>,
    awake: AtomicBool,
    wake: Notify,
}

/// An overdue call whose connection is dead, and that must go out all the same.
pub(super) struct Rescue {
    pub(super) call: Arc<Call>,
    pub(super) verdict: oneshot::Sender<Result<Replies, Fault>>,
}

impl Ledger {
    pub(super) fn add(&self, outbox: &Arc<Outbox>) {
        self.lock().push(Arc::downgrade(outbox));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Outbox>>> {
        self.outboxes.lock().expect("nothing panics under this lock")
    }

    /// The connections that live.
    fn outboxes(&self) -> Vec<Arc<Outbox>> {
        let mut outboxes = self.lock();
        outboxes.retain(|outbox| outbox.strong_count() > 0);
        outboxes.iter().filter_map(Weak::upgrade).collect()
    }

    fn is_busy(&self) -> bool {
        self.outboxes().iter().any(|outbox| outbox.is_busy())
    }

    /// Sees to it that the watch is awake: a call was made.
    pub(super) fn stir(&self) {
        if !self.awake.load(Ordering::SeqCst) && !self.awake.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Waits until it is time to look through.
    async fn pause(&self, world: &World, idle: &mut u32) {
        *idle = if self.is_busy() { 0 } else { *idle + 1 };
        if *idle <= IDLE_LOOKS {
            return world.sleep(GLANCE).await;
        }
        self.awake.store(false, Ordering::SeqCst);
        // A call that was made just before may have found it awake.
        if !self.is_busy() {
            self.wake.notified().await;
        }
        self.awake.store(true, Ordering::SeqCst);
        *idle = 0;
    }

    /// Watches until `again` says no; it gets what must go out all the same.
    pub(super) async fn watch(self: Arc<Ledger>, world: World, mut again: impl FnMut(Vec<Rescue>) -> bool) {
        let mut idle = 0;
        loop {
            self.pause(&world, &mut idle).await;
            let now = world.now();
            let rescues = self.outboxes().iter().flat_map(|outbox| outbox.look(now)).collect();
            if !again(rescues) {
                return;
            }
        }
    }

    /// Wakes the watch, so that it finds out that it is to end.
    pub(super) fn nudge(&self) {
        self.wake.notify_one();
    }
}
