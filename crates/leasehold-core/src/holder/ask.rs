//! The machine while it asks: first ask, place in the queue, grant or giving up.

use super::end::Ending;
use super::hold::Lease;
use super::parts::Call;
use super::{Event, Failed, Holder, LostWhy, Phase, Trouble, Verb, Wait};
use crate::claim::ReqNo;
use crate::time::Instant;
use crate::verb::{Ask, Bound, ClaimReply, Contention, Grant};
use core::time::Duration;

/// Never ask more often than this, whatever the store says about the holder's lease.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// What a machine knows while it asks.
#[derive(Debug)]
pub(super) struct Asking<E> {
    /// When the next ask goes out, unless one is in flight.
    pub(super) next_ask: Instant,
    /// True once the store may know the claim: then it must be withdrawn.
    known: bool,
    /// True once an ask was answered, or was not in time.
    pub(super) answered: bool,
    /// The error of the last answer, if it was one.
    trouble: Option<E>,
    contention: Contention,
    failures: u32,
    ask_again: bool,
    /// The ask that was under way when the claim was taken away: a grant that it brings is older than that.
    revoked: Option<ReqNo>,
}

impl<E: Trouble> Asking<E> {
    pub(super) fn new(next_ask: Instant) -> Asking<E> {
        Asking {
            next_ask,
            known: false,
            answered: false,
            trouble: None,
            contention: Contention::default(),
            failures: 0,
            ask_again: false,
            revoked: None,
        }
    }

    /// Others hold if the store said so when it was last asked, else it could not be asked.
    pub(super) fn obstacle(&self) -> Failed<E> {
        match &self.trouble {
            Some(trouble) => Failed::Trouble(trouble.clone()),
            None if !self.answered => Failed::Trouble(E::unanswered()),
            None => Failed::Held(self.contention),
        }
    }
}

impl<E: Trouble> Holder<E> {
    pub(super) fn next_ask(&self) -> Verb {
        let first = self.last_no == 0;
        Verb::Claim(Ask { no: ReqNo(0), first, wait: self.start.wait != Wait::Once, spare: self.start.spare })
    }

    pub(super) fn wake_of_asking(&self, asking: &Asking<E>) -> Option<Instant> {
        let ask = self.calls.claim.is_none().then_some(asking.next_ask);
        match (ask, self.start.wait) {
            (Some(ask), Wait::Until(end)) => Some(ask.min(end)),
            (None, Wait::Until(end)) => Some(end),
            (ask, Wait::Once) => ask,
        }
    }

    /// A waiter asks at once; a holder that could not renew does too.
    pub(super) fn link_up(&mut self, now: Instant) {
        self.ask_soon(now);
        if let Phase::Held(hold) = &mut self.phase {
            hold.renew_if_overdue(now);
        }
        if let Phase::Ending(ending) = &mut self.phase {
            ending.hurry(now);
        }
    }

    pub(super) fn ask_soon(&mut self, now: Instant) {
        if let Phase::Asking(asking) = &mut self.phase {
            asking.next_ask = now;
            asking.ask_again = self.calls.claim.is_some();
        }
    }

    /// A grant that was pushed: good by the ask that it names, whether that ask was answered or not.
    pub(super) fn pushed(&mut self, now: Instant, grant: Grant) {
        if grant.claim != self.start.claim {
            return;
        }
        match &self.phase {
            Phase::Asking(_) => match self.lease_of(grant.bound, None) {
                Some(lease) => self.granted(now, grant, lease),
                // The number is no longer remembered, so it proves nothing: the store says more when asked again.
                None => self.ask_soon(now),
            },
            Phase::Ending(_) => self.release_again(now),
            Phase::Held(_) | Phase::Lost { .. } | Phase::Done => {}
        }
    }

    pub(super) fn claim_answered(&mut self, now: Instant, call: Call, answer: Result<ClaimReply, E>) {
        match (&mut self.phase, answer) {
            (Phase::Asking(_), Ok(ClaimReply::Granted(grant))) => self.claim_granted(now, call, grant),
            (Phase::Asking(_), Ok(ClaimReply::Stale)) => self.fail(Failed::Spent, now),
            (Phase::Asking(_), Ok(ClaimReply::Queued(by))) => self.waits(now, call, by),
            (Phase::Asking(_), Ok(ClaimReply::Busy(by))) => self.busy(now, call, by),
            (Phase::Asking(_), Err(error)) => self.ask_failed(now, error),
            // The push came first, and this ask lengthened the lease that it started.
            (Phase::Held(_), Ok(ClaimReply::Granted(grant))) => {
                if let Some(lease) = self.lease_of(grant.bound, Some(call.sent_at)) {
                    self.lengthen(lease);
                }
            }
            // Threads of a client may overtake each other, so the release may have come before this ask.
            (Phase::Ending(_), Ok(ClaimReply::Granted(_) | ClaimReply::Queued(_))) => self.release_again(now),
            (Phase::Ending(_), Err(error)) if error.outcome_unknown() => self.release_again(now),
            (Phase::Ending(_), _) => self.finish_if_idle(),
            _ => {}
        }
    }

    /// Taken away by an operator. The word may overtake the answer of the ask that made the hold.
    pub(super) fn revoked(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Asking(asking) => asking.revoked = self.calls.claim.as_ref().map(|call| call.no),
            _ => self.lose(now, LostWhy::Revoked),
        }
    }

    fn claim_granted(&mut self, now: Instant, call: Call, grant: Grant) {
        if let Phase::Asking(asking) = &self.phase
            && asking.revoked == Some(call.no)
        {
            self.known_to_store();
            return self.fail(Failed::Spent, now);
        }
        match self.lease_of(grant.bound, Some(call.sent_at)) {
            Some(lease) => self.granted(now, grant, lease),
            None => self.ask_soon(now),
        }
    }

    /// What a bound is worth by our clock.
    pub(super) fn lease_of(&self, bound: Bound, sent_at: Option<Instant>) -> Option<Lease> {
        match bound {
            Bound::FromSend(span) => Some(Lease { sent_at: sent_at?, span }),
            Bound::FromAsk(no) => {
                let sent_at = self.sent_asks.sent_at(no)?;
                Some(Lease { sent_at, span: self.start.policy.place_life() })
            }
        }
    }

    fn granted(&mut self, now: Instant, grant: Grant, lease: Lease) {
        let deadline = self.start.timing.deadline(lease.sent_at, lease.span);
        if now >= deadline {
            // Law: an acquire that is answered past its own deadline is released, not returned.
            self.known_to_store();
            return self.fail(Failed::Spent, now);
        }
        let hold = self.hold(now, grant, lease);
        if hold.told {
            self.events.push_back(Event::Granted(grant.token));
        }
        self.phase = Phase::Held(hold);
    }

    fn waits(&mut self, now: Instant, call: Call, by: Contention) {
        let beat = self.start.policy.beat();
        // Spread upwards, so that a waiter costs the store less than a request per beat; of a place, which lives three beats,
        // 1.9 are left then, and 0.8 after one beat that was lost.
        let pause = self.jitter.lengthen(beat);
        let Phase::Asking(asking) = &mut self.phase else { return };
        asking.known = true;
        asking.answered = true;
        asking.trouble = None;
        asking.failures = 0;
        asking.contention = by;
        // A dead holder is noticed by this timer; a living one has renewed by then, and tells a new end.
        let end = by.lease_left.map_or(Instant::FAR, |left| now + left + Duration::from_millis(2));
        asking.next_ask = end.min(call.sent_at + pause).max(now + SHORTEST_PAUSE);
        if core::mem::take(&mut asking.ask_again) {
            asking.next_ask = now;
        }
        self.events.push_back(Event::Waiting(by));
    }

    fn busy(&mut self, now: Instant, call: Call, by: Contention) {
        if self.start.wait == Wait::Once {
            return self.fail(Failed::Held(by), now);
        }
        let was_first = self.last_no == 1;
        let known = matches!(&self.phase, Phase::Asking(asking) if asking.known);
        self.waits(now, call, by);
        if let Phase::Asking(asking) = &mut self.phase {
            asking.known = known;
            if was_first {
                asking.next_ask = now;
            }
        }
    }

    fn ask_failed(&mut self, now: Instant, error: E) {
        let pause = match &self.phase {
            Phase::Asking(asking) => self.jitter.backoff(asking.failures, self.start.policy.beat()),
            _ => return,
        };
        let Phase::Asking(asking) = &mut self.phase else { return };
        asking.known |= error.outcome_unknown();
        asking.answered = true;
        asking.failures += 1;
        asking.next_ask = now + pause;
        if core::mem::take(&mut asking.ask_again) {
            asking.next_ask = now;
        }
        asking.trouble = Some(error.clone());
        if error.is_permanent() || self.start.wait == Wait::Once {
            self.fail(Failed::Trouble(error), now);
        }
    }

    /// The wait is over.
    pub(super) fn give_up_in_time(&mut self, now: Instant) {
        let Phase::Asking(asking) = &self.phase else { return };
        if !matches!(self.start.wait, Wait::Until(end) if now >= end) {
            return;
        }
        self.fail(asking.obstacle(), now);
    }

    pub(super) fn cancel(&mut self, now: Instant) {
        match &self.phase {
            Phase::Asking(_) => self.withdraw(now),
            // The grant came first, and nobody got it: no job was done that `min_hold` could stand for.
            Phase::Held(hold) => self.phase = Phase::Ending(Ending { wanted: hold.told, ..Ending::quiet(&self.start, now) }),
            Phase::Lost { .. } => self.release(now),
            Phase::Ending(_) | Phase::Done => {}
        }
    }

    /// A cancel that waits for no answer to this ask.
    // Safe: the release that follows goes out behind the ask on its connection, so one undoes whatever the ask came to. Only a
    // release that went out before may have been overtaken by it.
    pub(super) fn abandon(&mut self, now: Instant, no: ReqNo) {
        if Call::take(&mut self.calls.claim, no).is_some() {
            match &self.phase {
                Phase::Asking(_) => self.known_to_store(),
                Phase::Ending(_) => self.release_again(now),
                Phase::Held(_) | Phase::Lost { .. } | Phase::Done => {}
            }
        }
        self.cancel(now);
    }

    fn fail(&mut self, why: Failed<E>, now: Instant) {
        self.events.push_back(Event::Failed(why));
        self.withdraw(now);
    }

    /// Takes back what the store may know of the claim.
    fn withdraw(&mut self, now: Instant) {
        let Phase::Asking(asking) = &self.phase else { return };
        if asking.known || self.calls.claim.is_some() {
            self.phase = Phase::Ending(Ending::quiet(&self.start, now));
        } else {
            self.finish();
        }
    }

    fn known_to_store(&mut self) {
        if let Phase::Asking(asking) = &mut self.phase {
            asking.known = true;
        }
    }
}
