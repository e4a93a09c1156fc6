//! A queue of instants at which somebody wants to be looked at.
//!
//! Nearly every plan is taken back long before its time, and most are later than all before them. So a plan goes to the end of a
//! heap, which costs next to nothing, and one that is taken back stays there until half of the heap is of that kind.

use leasehold_core::Instant;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A queue of instants with what is due at each; shared by those who plan and the one who waits.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    /// Every plan, and some that were taken back.
    queue: BinaryHeap<Reverse<Planned>>,
    /// What is planned, by the number that its plan has.
    due: Slab<(u64, T)>,
    /// What the waiting side is set to; earlier plans must wake it.
    armed: Instant,
    last_number: u64,
}

/// A place in the queue; kept to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Planned {
    pub(crate) at: Instant,
    /// Of plans for one instant the first comes first.
    number: u64,
    key: usize,
}

/// So many plans that were taken back are not worth looking for.
const FEW: usize = 64;

impl<T> Timers<T> {
    pub(crate) const fn new() -> Timers<T> {
        Timers { inner: Mutex::new(Inner { queue: BinaryHeap::new(), due: Slab::new(), armed: Instant::FAR, last_number: 0 }) }
    }

    /// Plans a look; calls `wake` if the waiting side is set to a later instant and must be set anew.
    // `wake` runs under the lock, so that of two settings the later one is also the right one.
    pub(crate) fn plan(&self, at: Instant, what: T, wake: impl FnOnce(Instant)) -> Planned {
        let mut inner = self.lock();
        inner.last_number += 1;
        let number = inner.last_number;
        let planned = Planned { at, number, key: inner.due.insert((number, what)) };
        inner.queue.push(Reverse(planned));
        if at < inner.armed {
            inner.armed = at;
            wake(at);
        }
        planned
    }

    /// Removes a plan; no harm if it is gone already.
    // The waiting side stays set: a look too many costs less than setting it twice per lock.
    pub(crate) fn forget(&self, planned: Planned) {
        let mut inner = self.lock();
        let gone = inner.take(planned);
        if inner.queue.len() > 2 * inner.due.len() + FEW {
            let Inner { queue, due, .. } = &mut *inner;
            queue.retain(|Reverse(planned)| stands(due, *planned));
        }
        drop(inner);
        drop(gone);
    }

    /// Takes out one plan that is due at `now`.
    pub(crate) fn pop_due(&self, now: Instant) -> Option<T> {
        let mut inner = self.lock();
        let planned = inner.first().filter(|planned| planned.at <= now)?;
        inner.queue.pop();
        inner.take(planned)
    }

    /// Sets the waiting side, by `set`, to the earliest instant planned.
    pub(crate) fn arm(&self, set: impl FnOnce(Instant)) {
        let mut inner = self.lock();
        inner.armed = inner.first().map_or(Instant::FAR, |planned| planned.at);
        set(inner.armed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stands<T>(due: &Slab<(u64, T)>, planned: Planned) -> bool {
    due.get(planned.key).is_some_and(|(number, _)| *number == planned.number)
}

impl<T> Inner<T> {
    /// The earliest plan that was not taken back.
    fn first(&mut self) -> Option<Planned> {
        while let Some(Reverse(planned)) = self.queue.peek().copied() {
            if stands(&self.due, planned) {
                return Some(planned);
            }
            self.queue.pop();
        }
        None
    }

    fn take(&mut self, planned: Planned) -> Option<T> {
        stands(&self.due, planned).then(|| self.due.remove(planned.key).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn plans_come_due_in_order_and_not_before_their_time() {
        let timers = Timers::new();
        timers.plan(at(20), "b", |_| {});
        timers.plan(at(10), "a", |_| {});
        let gone = timers.plan(at(15), "gone", |_| {});
        timers.forget(gone);
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)), Some("a"));
        assert_eq!(timers.pop_due(at(20)), Some("b"));
        assert_eq!(timers.pop_due(at(20)), None);
    }

    #[test]
    fn only_an_earlier_plan_wakes_the_waiting_side() {
        let timers = Timers::new();
        let mut woken = Vec::new();
        for nanos in [10, 11, 9] {
            timers.plan(at(nanos), (), |at| woken.push(at.as_nanos()));
        }
        assert_eq!(woken, [10, 9]);
        timers.pop_due(at(9));
        timers.arm(|next| assert_eq!(next, at(10)));
    }

    #[test]
    fn what_was_taken_back_takes_no_room_and_is_never_due() {
        let timers = Timers::new();
        let stays = timers.plan(at(7), "stays", |_| {});
        for nanos in 0..10_000 {
            let planned = timers.plan(at(nanos), "gone", |_| {});
            timers.forget(planned);
            timers.forget(planned);
        }
        assert!(timers.lock().queue.len() <= 2 * FEW);
        assert!(timers.lock().due.capacity() <= 4);
        timers.arm(|next| assert_eq!(next, at(7)));
        assert_eq!(timers.pop_due(at(20_000)), Some("stays"));
        assert_eq!(timers.pop_due(at(20_000)), None);
        // Its place may be another's by now.
        let another = timers.plan(at(9), "another", |_| {});
        timers.forget(stays);
        assert_eq!(timers.pop_due(at(9)), Some("another"));
        timers.forget(another);
    }
}
