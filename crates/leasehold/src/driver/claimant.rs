//! One claim of this process: its machine, and what others may read of it.

use super::audience::Shown;
use super::cohort::Cohort;
use super::timers::Planned;
use crate::error::Error;
use crate::observer::{Failure, What};
use leasehold_core::{
    ClaimId, Event, Failed, Holder, Instant, LostWhy, ReleaseReply, Released, ReqNo, ResourceName, Start, Terms, Token, Verb,
    Wait, Want,
};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Runs once, when the hold is lost.
pub(crate) type OnLost = Box<dyn FnOnce(LostWhy) + Send>;

/// One claim of this process: its machine, and what others may read of it.
pub(crate) struct Claimant {
    pub(crate) resource: ResourceName,
    pub(crate) claim: ClaimId,
    pub(crate) want: Want,
    pub(crate) terms: Terms,
    pub(super) max_hold: Option<Duration>,
    /// Those who share it, if it is shared.
    pub(super) cohort: Option<Arc<Cohort>>,
    /// Nanoseconds of the deadline while it holds, else 0: so that a look at a held lock costs no lock.
    deadline: AtomicU64,
    changed: Notify,
    inner: Mutex<Inner>,
}

/// What is only touched under the claimant's lock.
pub(crate) struct Inner {
    pub(crate) machine: Holder<Error>,
    /// False if it asks only once.
    waits: bool,
    pub(crate) outcome: Option<Result<Token, Failed<Error>>>,
    /// A grant that whoever shares the claim was not told of yet.
    pub(super) fresh_grant: Option<Token>,
    pub(crate) in_doubt: bool,
    pub(crate) lost: Option<LostWhy>,
    pub(crate) released: Option<Released<Error>>,
    pub(crate) detached: bool,
    pub(crate) ending: bool,
    pub(crate) done: bool,
    /// How many asks went by the driver, but for those whose answer was that it waits; and how many failed. If there are
    /// any, a release goes by the driver: behind one that is under way, or where the hold came from, since the caller's connection
    /// may hang.
    pub(super) asks_against_caller: u32,
    pub(crate) timer: Option<Planned>,
    pub(crate) watch: Option<Planned>,
    /// When it was made, or granted.
    pub(crate) since: Instant,
    /// When it was given back, or lost.
    pub(super) given_back: Option<Instant>,
    /// What observers have seen of it.
    pub(super) shown: Shown,
    /// When four fifths of `max_hold` are over, until that was told.
    pub(super) near_max_hold: Option<Instant>,
    pub(crate) last_deadline: Instant,
    pub(crate) changes: u64,
    pub(crate) on_lost: Vec<OnLost>,
    pub(crate) cancellation: Option<CancellationToken>,
}

impl Claimant {
    pub(super) fn new(resource: ResourceName, (start, now): (Start, Instant), cohort: Option<Arc<Cohort>>) -> Claimant {
        let (want, max_hold, waits) = (start.want, start.policy.max_hold, start.wait != Wait::Once);
        let machine = Holder::new(start, now);
        Claimant {
            resource,
            claim: machine.claim(),
            want,
            terms: machine.terms(),
            max_hold,
            cohort,
            deadline: AtomicU64::new(0),
            changed: Notify::new(),
            inner: Mutex::new(Inner::new(machine, (now, waits))),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deadline as it stands, without a look at the clock; `None` unless it holds.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let nanos = self.deadline.load(Ordering::Acquire);
        (nanos != 0).then(|| Instant::from_nanos(nanos))
    }

    /// Publishes the deadline that the machine has now.
    pub(super) fn publish(&self, inner: &mut Inner) {
        let deadline = inner.outcome.as_ref().is_some_and(Result::is_ok).then(|| inner.machine.deadline()).flatten();
        if let Some(deadline) = deadline {
            inner.last_deadline = deadline;
        }
        self.deadline.store(deadline.map_or(0, Instant::as_nanos), Ordering::Release);
    }

    /// Wakes whoever waits for a change.
    pub(super) fn wake_all(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        // Most look once: a place in the list of those to be woken costs more than the look.
        if let Some(found) = look(&mut self.lock()) {
            return found;
        }
        loop {
            let mut changed = pin!(self.changed.notified());
            // Registered before the look: a change after the look is not missed.
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Waits until the machine does not wait for this request's answer any more.
    pub(super) async fn moves_on_from(&self, no: ReqNo) {
        self.until(|inner| (!inner.machine.awaits(no)).then_some(())).await;
    }
}

impl Inner {
    fn new(machine: Holder<Error>, (now, waits): (Instant, bool)) -> Inner {
        Inner {
            machine,
            waits,
            outcome: None,
            fresh_grant: None,
            in_doubt: false,
            lost: None,
            released: None,
            detached: false,
            ending: false,
            done: false,
            asks_against_caller: 0,
            timer: None,
            watch: None,
            since: now,
            given_back: None,
            shown: Shown::Waiting,
            near_max_hold: None,
            last_deadline: now,
            changes: 0,
            on_lost: Vec::new(),
            cancellation: None,
        }
    }

    /// Forgets whoever held, for whom comes next.
    pub(super) fn change_hands(&mut self) -> Vec<OnLost> {
        self.outcome = None;
        self.shown = Shown::Waiting;
        self.near_max_hold = None;
        self.in_doubt = false;
        self.cancellation = None;
        self.changes += 1;
        std::mem::take(&mut self.on_lost)
    }

    /// Counts the hold that begins.
    pub(super) fn count_hold(&mut self, now: Instant, max_hold: Option<Duration>) {
        self.since = now;
        self.given_back = None;
        self.near_max_hold = max_hold.map(|max_hold| now + (max_hold - max_hold / 5));
    }

    /// Notes when whoever holds gave the hold back, or lost it.
    pub(super) fn hold_is_over(&mut self, now: Instant) {
        self.given_back.get_or_insert(now);
        self.near_max_hold = None;
    }

    /// True if the claim was released while this ask was under way.
    pub(super) fn is_released_before(&self, no: ReqNo) -> bool {
        let over = self.machine.is_ending() || self.done && !self.detached;
        over && !self.machine.awaits(no)
    }

    /// Notes a request that goes by the driver.
    pub(super) fn count_ask(&mut self, verb: Verb) {
        if matches!(verb, Verb::Claim(_)) {
            self.asks_against_caller += 1;
        }
    }

    /// Notes that nobody waits for the grant any more; true if somebody still did.
    pub(super) fn cancel(&mut self) -> bool {
        let waited = self.outcome.is_none();
        if waited {
            self.outcome = Some(Err(Failed::Trouble(super::shut_down())));
        }
        waited
    }

    /// Takes in what the machine tells; returns what an observer is told of it.
    pub(super) fn absorb(&mut self, event: Event<Error>) -> Option<What> {
        self.changes += 1;
        Some(match event {
            Event::Done => {
                self.done = true;
                return None;
            }
            Event::Detached => {
                self.detached = true;
                What::Detached
            }
            Event::Failed(why) => {
                let seen = failure(&why, self.waits);
                self.outcome = Some(Err(why));
                What::Failed(seen)
            }
            Event::Granted(token) => {
                self.outcome = Some(Ok(token));
                self.fresh_grant = Some(token);
                What::Granted(token)
            }
            Event::InDoubt => {
                self.in_doubt = true;
                What::InDoubt
            }
            Event::Lost(why) => {
                self.lost = Some(why);
                What::Lost(why)
            }
            Event::Recovered => {
                self.in_doubt = false;
                What::Recovered
            }
            Event::Released(answer) => {
                let seen = What::Released(public_answer(answer.clone()));
                self.released = Some(answer);
                seen
            }
            Event::Renewed => What::Renewed,
            Event::RenewalFailed(error) => What::RenewalFailed(error),
            Event::Waiting(contention) => What::Waiting { by: contention.by },
        })
    }
}

/// Why an attempt failed, as observers see it; `waited` unless it asked only once.
pub(super) fn failure(why: &Failed<Error>, waited: bool) -> Failure {
    match why {
        Failed::Held(_) if waited => Failure::TimedOut,
        Failed::Held(_) => Failure::Held,
        Failed::Spent => Failure::Spent,
        Failed::Trouble(error) => Failure::Error(error.clone()),
    }
}

/// The release's answer as the caller sees it.
pub(crate) fn public_answer(answer: Released<Error>) -> Result<crate::guard::Released, Error> {
    use crate::guard::Released as Public;
    Ok(match answer {
        Released::Expired => Public::Expired,
        Released::Gone => Public::Gone,
        Released::Released => Public::Released,
        Released::Taken(contention) => Public::Taken { by: contention.by },
        Released::Unknown(error) => return Err(error),
    })
}

/// The same for a release that no machine asked for.
pub(crate) fn plain_answer(reply: ReleaseReply) -> crate::guard::Released {
    use crate::guard::Released as Public;
    match reply {
        ReleaseReply::Absent => Public::Gone,
        ReleaseReply::Released => Public::Released,
        ReleaseReply::Taken(contention) => Public::Taken { by: contention.by },
    }
}
