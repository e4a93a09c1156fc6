//! The machine while it ends: release or withdrawal, repeated until the store has answered.

use super::{Event, Holder, Phase, Released, Start, Trouble};
use crate::time::Instant;
use crate::verb::ReleaseReply;
use core::time::Duration;

/// What a machine knows while it ends.
#[derive(Debug)]
pub(super) struct Ending {
    /// When the next release goes out, unless one is in flight; `None` once it was answered.
    pub(super) next_release: Option<Instant>,
    /// How long others are kept out after the release.
    pub(super) keep: Duration,
    /// When the store has forgotten the claim by itself, whatever it answered.
    pub(super) horizon: Instant,
    /// True if the lease had run out by our clock when the release was asked for.
    pub(super) expired: bool,
    /// True if somebody wants to know what became of the release and was not told yet.
    pub(super) wanted: bool,
    pub(super) failures: u32,
    /// True if a claim came through while the release was under way, which may have been before it.
    pub(super) again: bool,
}

impl Ending {
    /// Withdraws a claim that nobody wants to hear of any more.
    pub(super) fn quiet(start: &Start, now: Instant) -> Ending {
        let policy = &start.policy;
        // One full lease with its delay, and the drift of the two clocks.
        let life = policy.ttl.max(policy.place_life()) + policy.lock_delay;
        Ending {
            next_release: Some(now),
            keep: Duration::ZERO,
            horizon: now + life + life / 50,
            expired: false,
            wanted: false,
            failures: 0,
            again: false,
        }
    }

    pub(super) fn wake(&self, release_in_flight: bool) -> Option<Instant> {
        let next = self.next_release.filter(|_| !release_in_flight).unwrap_or(Instant::FAR);
        Some(next.min(self.horizon))
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        if self.next_release.is_some() {
            self.next_release = Some(now);
        }
    }
}

impl<E: Trouble> Holder<E> {
    pub(super) fn release(&mut self, now: Instant) {
        let (expired, keep) = match &self.phase {
            Phase::Held(hold) => (false, self.start.policy.min_hold.saturating_sub(now.since(hold.granted_at))),
            Phase::Lost { by_time } => (*by_time, Duration::ZERO),
            Phase::Asking(_) => return self.cancel(now),
            Phase::Ending(_) | Phase::Done => return,
        };
        let ending = Ending::quiet(&self.start, now);
        self.phase = Phase::Ending(Ending { keep, expired, wanted: true, horizon: ending.horizon + keep, ..ending });
    }

    /// A claim that came through after its release was answered is released too. So is one that came through while the release
    /// was under way, unless somebody waits for its answer: a hold is released long after its last ask went out.
    pub(super) fn release_again(&mut self, now: Instant) {
        let Phase::Ending(ending) = &mut self.phase else { return };
        match ending.next_release {
            None => ending.next_release = Some(now),
            Some(_) => ending.again |= self.calls.release.is_some() && !ending.wanted,
        }
    }

    pub(super) fn release_answered(&mut self, now: Instant, answer: Result<ReleaseReply, E>) {
        let Phase::Ending(ending) = &mut self.phase else { return };
        let told = match answer {
            Ok(reply) => {
                ending.next_release = core::mem::take(&mut ending.again).then_some(now);
                told(reply, ending.expired)
            }
            Err(error) => {
                ending.next_release = Some(now + self.jitter.backoff(ending.failures, Duration::from_secs(2)));
                ending.failures += 1;
                if error.is_permanent() {
                    ending.next_release = None;
                }
                // Our clock has ended the lease already: there is nothing that the store could add.
                if ending.expired { Released::Expired } else { Released::Unknown(error) }
            }
        };
        if core::mem::take(&mut ending.wanted) {
            self.events.push_back(Event::Released(told));
        }
        self.finish_if_idle();
    }

    /// Ends once the release was answered and no claim is under way that it could have missed.
    pub(super) fn finish_if_idle(&mut self) {
        let answered = matches!(&self.phase, Phase::Ending(ending) if ending.next_release.is_none());
        if answered && self.calls.claim.is_none() && self.calls.release.is_none() {
            self.finish();
        }
    }

    pub(super) fn finish(&mut self) {
        if !matches!(self.phase, Phase::Done) {
            self.phase = Phase::Done;
            self.calls = super::Calls::default();
            self.events.push_back(Event::Done);
        }
    }
}

fn told<E>(reply: ReleaseReply, expired: bool) -> Released<E> {
    match reply {
        ReleaseReply::Taken(by) => Released::Taken(by),
        _ if expired => Released::Expired,
        ReleaseReply::Released => Released::Released,
        ReleaseReply::Absent => Released::Gone,
    }
}
