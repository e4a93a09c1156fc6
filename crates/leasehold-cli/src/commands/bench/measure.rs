//! `leasehold bench`: throughput, latencies and hand-offs of a store, through the library's public face.

use super::door::Door;
use super::load::Site;
use super::report::Measured;
use super::{contended, fresh_name, hand_off, uncontended};
use crate::args::Bench;
use crate::commands::view::millis;
use crate::exit;
use crate::keeper;
use crate::obtain::Ears;
use crate::store::{Fault, Store};
use leasehold::{Guard, HoldPolicy};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// The ttl, if none is asked for.
const TTL: Duration = Duration::from_secs(10);

/// Measures, one after the other: every task a lock of its own; all tasks one lock; two clients that pass one lock on.
pub async fn measure(args: &Bench, store: &Store, ears: &Ears) -> Result<Measured, Fault> {
    let ttl = args.ttl.unwrap_or(TTL);
    HoldPolicy::with_ttl(ttl).check().map_err(|error| Fault::usage(format!("--ttl: {error}")))?;
    // Without a name, every client would have a memory of its own.
    let shared = if store.url() == "memory:" { Store::at(format!("memory:{}", fresh_name(""))) } else { store.clone() };
    let terms = Terms { site: Site { args, store: &shared, ears }, ttl, faults: Arc::default() };
    let uncontended = uncontended::measure(&terms).await?;
    let contended = contended::measure(&terms).await?;
    let hand_off = hand_off::measure(&terms).await?;
    Ok(Measured {
        store: format!("{store:?}"),
        tasks: args.load.tasks,
        clients: args.load.clients,
        ttl_ms: millis(ttl),
        uncontended,
        contended,
        hand_off,
        overlaps: terms.faults.overlaps.load(Ordering::Relaxed),
        tokens_out_of_order: terms.faults.disorder.load(Ordering::Relaxed),
        lost: terms.faults.lost.load(Ordering::Relaxed),
    })
}

/// What all three measurements share.
#[derive(Debug)]
pub struct Terms<'a> {
    /// Who measures what, and where.
    pub site: Site<'a>,
    /// The locks' ttl.
    pub ttl: Duration,
    /// What was found.
    pub faults: Arc<Faults>,
}

/// What must not be found, and leases that were lost.
#[derive(Debug, Default)]
pub struct Faults {
    overlaps: AtomicU64,
    disorder: AtomicU64,
    lost: AtomicU64,
}

impl Faults {
    /// A lease ended without a release.
    pub fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// A token was not larger than one before it.
    pub fn disorder(&self) {
        self.disorder.fetch_add(1, Ordering::Relaxed);
    }
}

/// One lock's door, which all tasks of all threads pass.
#[derive(Clone, Debug)]
pub struct Turnstile {
    door: Arc<Mutex<Door>>,
    faults: Arc<Faults>,
}

impl Turnstile {
    /// A door that nobody has passed.
    pub fn new(faults: &Arc<Faults>) -> Turnstile {
        Turnstile { door: Arc::default(), faults: Arc::clone(faults) }
    }

    /// Lets in a holder; nobody, if its lease is over already.
    pub fn enter(&self, guard: &Guard) -> Option<u64> {
        let mut door = self.door();
        let now = keeper::now();
        // Looked at after the clock: who holds now did so then.
        if guard.check(Duration::ZERO).is_err() {
            self.faults.lost();
            return None;
        }
        Some(door.enter(now, Some(guard.token().as_u64())))
    }

    /// Lets it out again, before its release.
    pub fn leave(&self, ticket: u64, guard: &Guard) {
        let until = keeper::now().min(guard.deadline());
        self.door().leave(ticket, until);
    }

    /// Adds up what was found.
    pub fn close(self) {
        let door = self.door();
        self.faults.overlaps.fetch_add(door.overlaps, Ordering::Relaxed);
        self.faults.disorder.fetch_add(door.disorder, Ordering::Relaxed);
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for all tasks; returns what each came to.
///
/// # Errors
/// The first of any of them.
pub async fn all<T: 'static>(mut tasks: JoinSet<Result<T, Fault>>) -> Result<Vec<T>, Fault> {
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        let broke_down = |error| Fault { code: exit::LOST, message: format!("a task broke down: {error}") };
        results.push(ended.map_err(broke_down)??);
    }
    Ok(results)
}
