//! All tasks one lock: how often it changes hands, how long they wait, and how evenly they have their turn.

use super::figures::{Spans, jain, rate};
use super::fresh_name;
use super::load::{Cue, Seat, side_by_side};
use super::measure::{Terms, Turnstile, all};
use super::report::Contended;
use crate::keeper;
use crate::store::Fault;
use leasehold::Mutex;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::task::JoinSet;

/// Measures.
///
/// # Errors
/// Those of the store, or the signal that ended it.
pub async fn measure(terms: &Terms<'_>) -> Result<Contended, Fault> {
    let (tasks, clients, ttl) = (terms.site.args.load.tasks, terms.site.args.load.clients, terms.ttl);
    let (name, turnstile) = (fresh_name(":one"), Turnstile::new(&terms.faults));
    let gate = turnstile.clone();
    let work = move |seat: Seat| {
        let (name, turnstile) = (name.clone(), gate.clone());
        async move {
            let waits = Rc::new(RefCell::new(Spans::default()));
            let mut running = JoinSet::new();
            for _ in (0..tasks).filter(|task| task % clients == seat.number) {
                let lock = seat.client.mutex(&name)?.ttl(ttl);
                let visitor = Visitor { cue: seat.cue.clone(), turnstile: turnstile.clone(), waits: Rc::clone(&waits) };
                running.spawn_local(visitor.repeat(lock));
            }
            Ok((all(running).await?, waits.take()))
        }
    };
    let (found, elapsed) = side_by_side(terms.site, "one lock for all", clients, work).await?;
    turnstile.close();
    let (mut turns, mut waits) = (Vec::new(), Spans::default());
    for (counts, spans) in &found {
        turns.extend(counts);
        waits.add(spans);
    }
    let hand_offs = turns.iter().sum();
    Ok(Contended { hand_offs, hand_offs_per_s: rate(hand_offs, elapsed), wait_us: waits.spread(), jain: jain(&turns) })
}

struct Visitor {
    cue: Cue,
    turnstile: Turnstile,
    waits: Rc<RefCell<Spans>>,
}

impl Visitor {
    /// Waits, enters, leaves; returns how often.
    async fn repeat(mut self, lock: Mutex) -> Result<u64, Fault> {
        let mut turns = 0;
        while !self.cue.is_over() {
            let asked = keeper::now();
            let guard = tokio::select! {
                guard = lock.acquire() => guard?,
                () = self.cue.long_over() => break,
            };
            // Those in line at the end go through as well, uncounted.
            let counts = u64::from(!self.cue.is_over());
            if counts > 0 {
                self.waits.borrow_mut().record(keeper::now().since(asked));
            }
            if let Some(ticket) = self.turnstile.enter(&guard) {
                turns += counts;
                self.turnstile.leave(ticket, &guard);
            }
            // One that is not answered goes on in the background.
            let _ = guard.release().await;
        }
        Ok(turns)
    }
}
