//! Two clients that pass one lock on: from the call of the release to the grant at the other's.

use super::figures::Spans;
use super::fresh_name;
use super::load::{Cue, Seat, side_by_side};
use super::measure::{Terms, Turnstile};
use super::report::HandOff;
use crate::keeper;
use crate::store::Fault;
use leasehold::{Client, Instant, Mutex};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// How long the lock is held after the other is in line: a wait like one in real life, not a race.
const HOLD: Duration = Duration::from_millis(3);

/// Measures.
///
/// # Errors
/// Those of the store, or the signal that ended it.
pub async fn measure(terms: &Terms<'_>) -> Result<HandOff, Fault> {
    let pass = Arc::new(Pass {
        name: fresh_name(":pass"),
        ttl: terms.ttl,
        turnstile: Turnstile::new(&terms.faults),
        turn: Semaphore::new(0),
        done: Semaphore::new(0),
        released_ns: AtomicU64::new(0),
        spans: StdMutex::default(),
    });
    let shared = Arc::clone(&pass);
    let work = move |seat: Seat| {
        let pass = Arc::clone(&shared);
        async move {
            let Seat { number, client, mut cue } = seat;
            let until = cue.clone();
            tokio::select! {
                answer = pass.give(&client, &until), if number == 0 => answer,
                answer = pass.take(&client), if number == 1 => answer,
                () = cue.long_over() => Ok(()),
            }
        }
    };
    side_by_side(terms.site, "two clients that pass one lock on", 2, work).await?;
    pass.turnstile.clone().close();
    let spans = pass.spans.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(HandOff { count: spans.count(), latency_us: spans.spread() })
}

struct Pass {
    name: String,
    ttl: Duration,
    turnstile: Turnstile,
    /// The taker's turn to ask.
    turn: Semaphore,
    /// The taker has released.
    done: Semaphore,
    /// When the giver called release; 0 before.
    released_ns: AtomicU64,
    spans: StdMutex<Spans>,
}

impl Pass {
    fn lock(&self, client: &Client) -> Result<Mutex, Fault> {
        Ok(client.mutex(&self.name)?.ttl(self.ttl))
    }

    /// Acquires, lets the other get in line, and releases, until it is over.
    async fn give(&self, client: &Client, until: &Cue) -> Result<(), Fault> {
        let lock = self.lock(client)?;
        while !until.is_over() {
            let guard = lock.acquire().await?;
            let ticket = self.turnstile.enter(&guard);
            self.released_ns.store(0, Ordering::SeqCst);
            self.turn.add_permits(1);
            while client.inspect(&self.name).await?.waiters.is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            sleep(HOLD).await;
            if let Some(ticket) = ticket {
                self.turnstile.leave(ticket, &guard);
            }
            self.released_ns.store(keeper::now().as_nanos(), Ordering::SeqCst);
            let _ = guard.release().await;
            await_one(&self.done).await;
        }
        self.turn.close();
        Ok(())
    }

    /// Acquires when it is its turn, takes the time, and releases.
    async fn take(&self, client: &Client) -> Result<(), Fault> {
        let lock = self.lock(client)?;
        while await_one(&self.turn).await {
            let guard = lock.acquire().await?;
            let granted = keeper::now();
            let released = self.released_ns.load(Ordering::SeqCst);
            // Before its release the lock comes free only by a lost lease, which is counted at the door.
            if released > 0 {
                let span = granted.since(Instant::from_nanos(released));
                self.spans.lock().unwrap_or_else(PoisonError::into_inner).record(span);
            }
            if let Some(ticket) = self.turnstile.enter(&guard) {
                self.turnstile.leave(ticket, &guard);
            }
            let _ = guard.release().await;
            self.done.add_permits(1);
        }
        Ok(())
    }
}

/// False, once there will be no more.
async fn await_one(semaphore: &Semaphore) -> bool {
    semaphore.acquire().await.map(|permit| permit.forget()).is_ok()
}
