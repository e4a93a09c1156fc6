//! A queue of instants at which somebody wants to be looked at.

use leasehold_core::Instant;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A queue of instants with what is due at each; shared by those who plan and the one who waits.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    due: BTreeMap<(Instant, u64), T>,
    /// What the waiting side is set to; earlier plans must wake it.
    armed: Instant,
    last_key: u64,
}

/// A place in the queue; kept to move or remove it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Instant,
    key: u64,
}

impl<T> Timers<T> {
    pub(crate) const fn new() -> Timers<T> {
        Timers { inner: Mutex::new(Inner { due: BTreeMap::new(), armed: Instant::FAR, last_key: 0 }) }
    }

    /// Plans a look; calls `wake` if the waiting side is set to a later instant and must be set anew.
    // `wake` runs under the lock, so that of two settings the later one is also the right one.
    pub(crate) fn plan(&self, at: Instant, what: T, wake: impl FnOnce(Instant)) -> Planned {
        let mut inner = self.lock();
        inner.last_key += 1;
        let key = inner.last_key;
        inner.due.insert((at, key), what);
        if at < inner.armed {
            inner.armed = at;
            wake(at);
        }
        Planned { at, key }
    }

    /// Removes a plan; no harm if it is gone already.
    // The waiting side stays set: a look too many costs less than setting it twice per lock.
    pub(crate) fn forget(&self, planned: Planned) {
        self.lock().due.remove(&(planned.at, planned.key));
    }

    /// Takes out one plan that is due at `now`.
    pub(crate) fn pop_due(&self, now: Instant) -> Option<T> {
        let mut inner = self.lock();
        let first = inner.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Sets the waiting side, by `set`, to the earliest instant planned.
    pub(crate) fn arm(&self, set: impl FnOnce(Instant)) {
        let mut inner = self.lock();
        inner.armed = inner.due.first_key_value().map_or(Instant::FAR, |((at, _), _)| *at);
        set(inner.armed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
}
