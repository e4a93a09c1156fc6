//! Every task a lock of its own: what a cycle without contention costs.

use super::figures::{Spans, rate};
use super::fresh_name;
use super::load::{Cue, Seat, side_by_side};
use super::measure::{Faults, Terms, all};
use super::report::Uncontended;
use crate::keeper;
use crate::store::Fault;
use leasehold::{Mutex, Released};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;

/// Measures.
///
/// # Errors
/// Those of the store, or the signal that ended it.
pub async fn measure(terms: &Terms<'_>) -> Result<Uncontended, Fault> {
    let (tasks, clients, ttl) = (terms.site.args.load.tasks, terms.site.args.load.clients, terms.ttl);
    let (prefix, greatest, faults) = (fresh_name(":own:"), Arc::new(AtomicU64::new(0)), Arc::clone(&terms.faults));
    let work = move |seat: Seat| {
        let (prefix, greatest, faults) = (prefix.clone(), Arc::clone(&greatest), Arc::clone(&faults));
        async move {
            let tally = Rc::new(RefCell::new(Tally::default()));
            let cycle = Cycle { cue: seat.cue, greatest, faults, tally: Rc::clone(&tally) };
            let mut running = JoinSet::new();
            for task in (0..tasks).filter(|task| task % clients == seat.number) {
                let lock = seat.client.mutex(format!("{prefix}{task}"))?.ttl(ttl);
                running.spawn_local(cycle.clone().repeat(lock));
            }
            all(running).await?;
            Ok(tally.take())
        }
    };
    let (tallies, elapsed) = side_by_side(terms.site, "a lock for each task", clients, work).await?;
    let mut total = Tally::default();
    for tally in &tallies {
        total.acquire.add(&tally.acquire);
        total.release.add(&tally.release);
    }
    let cycles = total.release.count();
    Ok(Uncontended {
        cycles,
        cycles_per_s: rate(cycles, elapsed),
        acquire_us: total.acquire.spread(),
        release_us: total.release.spread(),
    })
}

/// How long everything took.
#[derive(Debug, Default)]
struct Tally {
    acquire: Spans,
    release: Spans,
}

/// What one task does again and again.
#[derive(Clone)]
struct Cycle {
    cue: Cue,
    /// The greatest token that any task was told of.
    greatest: Arc<AtomicU64>,
    faults: Arc<Faults>,
    tally: Rc<RefCell<Tally>>,
}

impl Cycle {
    async fn repeat(mut self, lock: Mutex) -> Result<(), Fault> {
        while !self.cue.is_over() {
            // Whatever was told before the asking was granted before.
            let before = self.greatest.load(Ordering::SeqCst);
            let asked = keeper::now();
            let guard = tokio::select! {
                guard = lock.acquire() => guard?,
                () = self.cue.long_over() => break,
            };
            let granted = keeper::now();
            let token = guard.token().as_u64();
            self.greatest.fetch_max(token, Ordering::SeqCst);
            if token <= before {
                self.faults.disorder();
            }
            let released_from = keeper::now();
            let answer = guard.release().await;
            let released = keeper::now();
            if !matches!(answer, Ok(Released::Released)) {
                self.faults.lost();
                continue;
            }
            let mut tally = self.tally.borrow_mut();
            tally.acquire.record(granted.since(asked));
            tally.release.record(released.since(released_from));
        }
        Ok(())
    }
}
