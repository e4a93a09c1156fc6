//! A queue of instants at which somebody wants to be looked at.
//!
//! Nearly every plan is taken back long before its time, and most are later than all before them. So a plan is put down with the
//! others of its span of time, unsorted, which costs next to nothing; one that is taken back stays there until half of all are
//! of that kind, or until its span comes. Only the plans of the span that has come are sorted, in a heap: with 100 000 locks
//! that are renewed each 10 s it has some hundred, and stays in the processor's cache.

use leasehold_core::Instant;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A queue of instants with what is due at each; shared by those who plan and the one who waits.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    /// The plans up to the end of the span that has come, some of later spans, and some that were taken back.
    near: BinaryHeap<Reverse<Planned>>,
    /// Those of each span to come, in no order.
    later: BTreeMap<u64, Vec<Planned>>,
    /// The span that has come.
    reached: u64,
    /// How many there are in `near` and `later`.
    queued: usize,
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

/// The span of time that an instant is in: each is 67 ms long.
fn span(at: Instant) -> u64 {
    at.as_nanos() >> 26
}

impl<T> Timers<T> {
    pub(crate) const fn new() -> Timers<T> {
        Timers {
            inner: Mutex::new(Inner {
                near: BinaryHeap::new(),
                later: BTreeMap::new(),
                reached: 0,
                queued: 0,
                due: Slab::new(),
                armed: Instant::FAR,
                last_number: 0,
            }),
        }
    }

    /// Plans a look; calls `wake` if the waiting side is set to a later instant and must be set anew.
    // `wake` runs under the lock, so that of two settings the later one is also the right one.
    pub(crate) fn plan(&self, at: Instant, what: T, wake: impl FnOnce(Instant)) -> Planned {
        let mut inner = self.lock();
        inner.last_number += 1;
        let number = inner.last_number;
        let planned = Planned { at, number, key: inner.due.insert((number, what)) };
        inner.queued += 1;
        if span(at) <= inner.reached {
            inner.near.push(Reverse(planned));
        } else {
            inner.later.entry(span(at)).or_default().push(planned);
        }
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
        if inner.queued > 2 * inner.due.len() + FEW {
            inner.clear_up();
        }
        drop(inner);
        drop(gone);
    }

    /// Takes out one plan that is due at `now`.
    pub(crate) fn pop_due(&self, now: Instant) -> Option<T> {
        let mut inner = self.lock();
        inner.reach(span(now));
        let planned = inner.nearest().filter(|planned| planned.at <= now)?;
        inner.near.pop();
        inner.queued -= 1;
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
    /// Sorts the plans of the spans that have come.
    fn reach(&mut self, span: u64) {
        self.reached = self.reached.max(span);
        while self.later.first_key_value().is_some_and(|(next, _)| *next <= self.reached) {
            self.sort_next_span();
        }
    }

    /// Sorts the plans of the next span to come, without those that were taken back.
    fn sort_next_span(&mut self) {
        let Some((_, plans)) = self.later.pop_first() else { return };
        self.queued -= plans.len();
        let before = self.near.len();
        self.near.extend(plans.into_iter().filter(|planned| stands(&self.due, *planned)).map(Reverse));
        self.queued += self.near.len() - before;
    }

    /// The earliest plan of those that are sorted: of all up to the end of the span that has come.
    fn nearest(&mut self) -> Option<Planned> {
        while let Some(Reverse(planned)) = self.near.peek().copied() {
            if stands(&self.due, planned) {
                return Some(planned);
            }
            self.near.pop();
            self.queued -= 1;
        }
        None
    }

    /// The earliest plan of all. Its span is sorted for that, if it was not: so it is looked through once.
    fn first(&mut self) -> Option<Planned> {
        loop {
            let nearest = self.nearest();
            match self.later.first_key_value() {
                Some((next, _)) if nearest.is_none_or(|nearest| span(nearest.at) >= *next) => self.sort_next_span(),
                _ => return nearest,
            }
        }
    }

    /// Drops what was taken back, and the room that it had.
    fn clear_up(&mut self) {
        self.near.retain(|Reverse(planned)| stands(&self.due, *planned));
        self.near.shrink_to(2 * self.near.len());
        self.later.retain(|_, plans| {
            plans.retain(|planned| stands(&self.due, *planned));
            plans.shrink_to(2 * plans.len());
            !plans.is_empty()
        });
        self.queued = self.near.len() + self.later.values().map(Vec::len).sum::<usize>();
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
        assert!(timers.lock().queued <= 2 * FEW);
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

    #[test]
    fn what_was_taken_back_takes_no_room_behind_plans_that_stay() {
        const FAR_AHEAD: u64 = 1 << 40;
        let timers = Timers::new();
        for now in (0..FAR_AHEAD / 4).step_by(1 << 26) {
            // One plan of each span stays.
            let _stays = timers.plan(at(now + FAR_AHEAD), (), |_| {});
            (0..100).for_each(|_| timers.forget(timers.plan(at(now + FAR_AHEAD), (), |_| {})));
        }
        let inner = timers.lock();
        let room = inner.near.capacity() + inner.later.values().map(Vec::capacity).sum::<usize>();
        let most = 4 * inner.later.len() + 100 * FEW;
        assert!(room <= most, "room for {room} plans, where {} stand", inner.due.len());
    }

    #[test]
    fn a_lone_plan_far_ahead_leaves_those_before_it_unsorted() {
        let timers = Timers::new();
        timers.plan(at(1 << 50), 0, |_| {});
        timers.arm(|first| assert_eq!(first, at(1 << 50)));
        for number in 1..1000 {
            timers.plan(at(number << 27), number, |_| {});
        }
        timers.arm(|first| assert_eq!(first, at(1 << 27)));
        assert_eq!(timers.lock().near.len(), 2);
        assert_eq!(timers.pop_due(at(1 << 50)), Some(1));
    }

    /// A sequence of numbers without a pattern, always the same.
    fn numbers() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(1_u64), |last| {
            Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        })
        .map(|number| number >> 33)
    }

    #[test]
    fn plans_near_and_far_come_due_in_order_whatever_is_taken_back_in_between() {
        let timers = Timers::new();
        let mut numbers = numbers();
        let mut next = |below: u64| numbers.next().unwrap() % below;
        let mut model = std::collections::BTreeMap::new();
        let mut now = 0;
        for number in 0..20_000 {
            match next(8) {
                0..=3 => {
                    // Up to some spans ahead, now and then as far as it goes, or past already.
                    let far = if next(50) == 0 { u64::MAX - now } else { next(1 << 29) };
                    let planned = timers.plan(at((now + far).saturating_sub(1 << 27)), number, |_| {});
                    model.insert((planned.at, number), planned);
                }
                4 | 5 => {
                    let taken_back = model.keys().nth(next(20) as usize).copied();
                    taken_back.and_then(|key| model.remove(&key)).into_iter().for_each(|planned| timers.forget(planned));
                }
                6 => timers.arm(|first| {
                    let expected = model.first_key_value().map_or(Instant::FAR, |((at, _), _)| *at);
                    assert_eq!(first, expected);
                }),
                _ => {
                    now += next(1 << 25);
                    while let Some(due) = timers.pop_due(at(now)) {
                        let ((planned_at, number), _) = model.pop_first().unwrap();
                        assert!(planned_at <= at(now));
                        assert_eq!(due, number);
                    }
                    assert!(model.first_key_value().is_none_or(|((first, _), _)| *first > at(now)));
                }
            }
            let inner = timers.lock();
            assert_eq!(inner.queued, inner.near.len() + inner.later.values().map(Vec::len).sum::<usize>());
            assert!(inner.queued <= 2 * model.len() + FEW + 1);
            assert_eq!(inner.due.len(), model.len());
        }
    }
}
