//! Calls under way: ends those that are overdue, and the connections on which nothing comes in any more.

use super::fault::Fault;
use super::stream::Grip;
use crate::world::World;
use leasehold_core::Instant;
use leasehold_wire::{Call, Reply};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::oneshot;

/// The answer to a call that was given by another way than its connection.
pub(super) type Verdict = oneshot::Receiver<Result<Vec<Reply>, Fault>>;

/// How often the ledger is looked through while calls are under way: so late an overdue call ends.
const GLANCE: Duration = Duration::from_millis(25);
/// How many idle looks there are before the watch sleeps until it is woken.
const IDLE_LOOKS: u32 = 40;

/// Calls under way, of all connections of one engine.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    awake: bool,
    under_way: FxHashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    io_deadline: Instant,
    grip: Arc<Grip>,
    /// What had come in on the connection when the call was sent.
    seen: u64,
    verdict: oneshot::Sender<Result<Vec<Reply>, Fault>>,
    /// What goes out by the driver's connection if this one turns out to be dead, or if its caller is gone: a call that was not
    /// written by then never will be.
    rescue: Option<Arc<Call>>,
}

/// An overdue call whose connection is dead, and that must go out all the same.
pub(super) struct Rescue {
    pub(super) call: Arc<Call>,
    pub(super) verdict: oneshot::Sender<Result<Vec<Reply>, Fault>>,
}

/// A call under way. If it is dropped before it is answered, its entry stays until it is overdue: the connection owes a sign
/// of life.
pub(super) struct Ticket {
    ledger: Arc<Ledger>,
    no: u64,
}

impl Ledger {
    pub(super) fn enter(
        self: &Arc<Ledger>,
        io_deadline: Instant,
        grip: &Arc<Grip>,
        rescue: Option<Arc<Call>>,
    ) -> (Ticket, Verdict) {
        let (verdict, told) = oneshot::channel();
        let entry = Entry { io_deadline, grip: grip.clone(), seen: grip.received(), verdict, rescue };
        let mut entries = self.lock();
        entries.last += 1;
        let no = entries.last;
        entries.under_way.insert(no, entry);
        if !std::mem::replace(&mut entries.awake, true) {
            self.wake.notify_one();
        }
        (Ticket { ledger: self.clone(), no }, told)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("nothing panics under this lock")
    }

    /// Takes out what is overdue, and what must go out though its caller is gone.
    fn due(&self, now: Instant) -> Vec<Entry> {
        let due = |entry: &Entry| entry.io_deadline <= now || (entry.rescue.is_some() && entry.verdict.is_closed());
        let mut entries = self.lock();
        let due: Vec<u64> = entries.under_way.iter().filter(|(_, entry)| due(entry)).map(|(no, _)| *no).collect();
        due.into_iter().filter_map(|no| entries.under_way.remove(&no)).collect()
    }

    /// Waits until it is time to look through.
    async fn pause(&self, world: &World, idle: &mut u32) {
        let asleep = {
            let mut entries = self.lock();
            *idle = if entries.under_way.is_empty() { *idle + 1 } else { 0 };
            if *idle > IDLE_LOOKS {
                entries.awake = false;
            }
            !entries.awake
        };
        if asleep {
            self.wake.notified().await;
        } else {
            world.sleep(GLANCE).await;
        }
    }

    /// Looks through once: ends overdue calls and silent connections; what must go out all the same is returned.
    fn look(&self, now: Instant) -> Vec<Rescue> {
        let mut rescues = Vec::new();
        for entry in self.due(now) {
            let silent = entry.io_deadline <= now && entry.grip.received() == entry.seen;
            if silent {
                entry.grip.kill();
            }
            match entry.rescue {
                Some(call) if silent || entry.verdict.is_closed() => rescues.push(Rescue { call, verdict: entry.verdict }),
                // A caller that is gone needs no verdict.
                _ => drop(entry.verdict.send(Err(Fault::Late))),
            }
        }
        rescues
    }

    /// Watches until `again` says no; it gets what must go out all the same.
    pub(super) async fn watch(self: Arc<Ledger>, world: World, mut again: impl FnMut(Vec<Rescue>) -> bool) {
        let mut idle = 0;
        loop {
            self.pause(&world, &mut idle).await;
            if !again(self.look(world.now())) {
                return;
            }
        }
    }

    /// Wakes the watch, so that it finds out that it is to end.
    pub(super) fn nudge(&self) {
        self.wake.notify_one();
    }
}

impl Ticket {
    /// The call was answered, or its connection has ended. False if the watch was first: then a verdict is on its way.
    pub(super) fn settle(self) -> bool {
        self.ledger.lock().under_way.remove(&self.no).is_some()
    }
}
