//! The holder's life, from the first ask to release or loss, as a pure machine.
//!
//! ```text
//!            Granted                 release                 answered
//!  Asking ────────────▶ Held ─────────────────▶ Ending ────────────────▶ Done
//!    │ give up, cancel    │ deadline, store        ▲
//!    └────────────────────┼──────▶ (Ending)        │ release
//!                         └──────▶ Lost ───────────┘
//! ```
//!
//! Whoever drives it calls [`Holder::handle`] with what happened, then takes what comes out: [`Holder::poll_request`] until it
//! is `None`, [`Holder::poll_event`] until it is `None`, and [`Holder::poll_wake`] for when to come back with
//! [`Input::Tick`]. Each call brings the time, which never goes back.
//!
//! Laws, whatever comes in and in whatever order:
//! - one request in flight per verb;
//! - after a release is asked for, no claim and no renewal of the id; after a grant is told, no claim of it;
//! - a deadline never shrinks, and a tick past it tells the loss before anything else;
//! - a grant that comes after a cancel, or past its own deadline, is released and never told;
//! - a request that is not answered in time is an unknown outcome: the same id is asked for again under a new number;
//! - `Done` is told exactly once, and last.

mod ask;
mod end;
mod hold;
mod parts;
#[cfg(test)]
mod tests;

use crate::claim::{ClaimId, ReqNo, Want};
use crate::lease::Timing;
use crate::policy::{HoldPolicy, Renewal};
use crate::time::Instant;
use crate::token::Token;
use crate::verb::{Ask, ClaimReply, Contention, Grant, ReleaseReply, RenewReply, Terms};
use alloc::collections::VecDeque;
use ask::Asking;
use core::fmt;
use core::time::Duration;
use end::Ending;
use hold::Hold;
use parts::{Call, Jitter, SentAsks};

/// What a machine must know of an engine's error.
pub trait Trouble: Clone {
    /// True if waiting and asking again cannot mend it: rights, configuration, versions.
    fn is_permanent(&self) -> bool;
    /// True where the store may have acted all the same.
    fn outcome_unknown(&self) -> bool;
    /// The error of a request that was not answered in time.
    fn unanswered() -> Self;
}

/// How long a claim waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It asks exactly once and never queues.
    Once,
    /// It queues until this instant; [`Instant::FAR`] for as long as it takes.
    Until(Instant),
}

/// What a machine starts with.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The id of this attempt, never used before.
    pub claim: ClaimId,
    /// What it wants.
    pub want: Want,
    /// How it will hold.
    pub policy: HoldPolicy,
    /// How deadlines are computed.
    pub timing: Timing,
    /// How long it waits.
    pub wait: Wait,
    /// True if the grant is told only once the full ttl is in force.
    pub full_ttl: bool,
    /// How many tokens its grant is to bring besides its own.
    pub spare: u32,
    /// How long after its start it asks first.
    pub pause: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

/// What happens to a machine.
#[derive(Clone, Debug)]
pub enum Input<E> {
    /// The same as [`Input::Cancel`], and the claim with this number went with it: it is not answered any more, and whatever is
    /// sent from here on goes out behind it.
    Abandon(ReqNo),
    /// The resource's record may have changed.
    AskAgain,
    /// Whoever wanted the grant does not want it any more.
    Cancel,
    /// The hold is to outlive its client: renew it once more, mark it, and leave it.
    Detach,
    /// A grant was pushed.
    Granted(Grant),
    /// Whoever held gives the hold on to another of the same process: a grant with its own token, and its own `max_hold`.
    HandOn,
    /// The link to the store is (again) there.
    LinkUp,
    /// It is about to be handed on: renew it now, and bring news of who waits in the store.
    Refresh,
    /// The holder gives the hold back.
    Release,
    /// A request was answered. Unknown numbers are ignored.
    Reply(ReqNo, Reply<E>),
    /// An operator took the hold away.
    Revoked,
    /// Time has passed.
    Tick,
}

/// The answer to a request, by verb.
#[derive(Clone, Debug)]
pub enum Reply<E> {
    /// To [`Verb::Claim`].
    Claim(Result<ClaimReply, E>),
    /// To [`Verb::Release`].
    Release(Result<ReleaseReply, E>),
    /// To [`Verb::Renew`].
    Renew(Result<RenewReply, E>),
}

/// A request to the store. It counts as sent when it is polled, which is before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number, for the reply.
    pub no: ReqNo,
    /// What is asked.
    pub verb: Verb,
    /// When the machine stops waiting for the answer.
    pub io_deadline: Instant,
}

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To hold.
    Claim(Ask),
    /// To give back; others are kept out for `keep` more.
    Release {
        /// How long.
        keep: Duration,
    },
    /// To hold on.
    Renew {
        /// True if the hold is to outlive its client.
        detached: bool,
        /// How many tokens to set aside, for hand-offs inside the process.
        tokens: u32,
    },
}

/// What a machine tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<E> {
    /// The hold outlives its client from here on. `Done` follows.
    Detached,
    /// Nothing more will come, and nothing of the claim is left to undo.
    Done,
    /// The claim will not be granted.
    Failed(Failed<E>),
    /// It holds, until the deadline of [`Holder::deadline`].
    Granted(Token),
    /// Less than a third of the lease is left and no renewal has come through; it may recover.
    InDoubt,
    /// The lease ended without a release. This is final.
    Lost(LostWhy),
    /// A renewal came through after doubt.
    Recovered,
    /// What became of the release that was asked for.
    Released(Released<E>),
    /// A renewal came through.
    Renewed,
    /// A renewal did not come through; it is tried again until the deadline.
    RenewalFailed(E),
    /// Others hold; the claim waits.
    Waiting(Contention),
}

/// Why a claim was not granted.
#[derive(Clone, Debug, PartialEq)]
pub enum Failed<E> {
    /// Others hold, and the wait is over.
    Held(Contention),
    /// This attempt is spent, another one with a fresh id may succeed.
    Spent,
    /// The store could not be asked.
    Trouble(E),
}

/// Why a lease ended without a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostWhy {
    /// It was a fixed lease, or `max_hold` was reached, and it ran out.
    Ended,
    /// No renewal came through before the deadline.
    Expired,
    /// An operator took it away.
    Revoked,
    /// The store says that the claim does not hold: its record was flushed, evicted, or lost in a fail-over.
    Store,
}

impl fmt::Display for LostWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostWhy::Ended => "the lease ran out, as its policy says",
            LostWhy::Expired => "no renewal came through before the deadline",
            LostWhy::Revoked => "an operator revoked it",
            LostWhy::Store => "the store no longer has it",
        })
    }
}

/// What became of a release.
#[derive(Clone, Debug, PartialEq)]
pub enum Released<E> {
    /// It had run out by our clock before, and nobody holds.
    Expired,
    /// It was in force by our clock, but the store did not have it: the store lost it, or a reply was lost.
    Gone,
    /// It was held, and is not any more.
    Released,
    /// Another holds.
    Taken(Contention),
    /// The store did not say; the release is repeated in the background.
    Unknown(E),
}

/// The holder's life, from the first ask to release or loss. See the module's text for how to drive it.
#[derive(Debug)]
pub struct Holder<E> {
    start: Start,
    phase: Phase<E>,
    calls: Calls,
    sent_asks: SentAsks,
    jitter: Jitter,
    events: VecDeque<Event<E>>,
    last_no: u32,
}

impl Start {
    /// True if a grant is told only once the full ttl is in force: asked for, or the lease is never renewed.
    fn needs_full_ttl(&self) -> bool {
        self.full_ttl || self.policy.renew == Renewal::Off
    }
}

#[derive(Debug)]
enum Phase<E> {
    Asking(Asking<E>),
    Held(Hold),
    /// Lost and told; waits for the release of whoever held.
    Lost {
        by_time: bool,
    },
    Ending(Ending),
    Done,
}

/// Requests in flight: one per verb at most.
#[derive(Debug, Default)]
struct Calls {
    claim: Option<Call>,
    renew: Option<Call>,
    release: Option<Call>,
}

impl<E: Trouble> Holder<E> {
    /// A machine that asks after its pause.
    pub fn new(start: Start, now: Instant) -> Holder<E> {
        Holder {
            start,
            phase: Phase::Asking(Asking::new(now + start.pause)),
            calls: Calls::default(),
            sent_asks: SentAsks::default(),
            jitter: Jitter::new(start.seed),
            events: VecDeque::new(),
            last_no: 0,
        }
    }

    /// The id of this attempt.
    pub fn claim(&self) -> ClaimId {
        self.start.claim
    }

    /// Until when the holder may believe that it holds; `None` unless it holds.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Held(hold) => Some(hold.deadline),
            _ => None,
        }
    }

    /// True while the answer to this request is still waited for.
    pub fn awaits(&self, no: ReqNo) -> bool {
        let in_flight = [self.calls.claim, self.calls.renew, self.calls.release];
        in_flight.iter().flatten().any(|call| call.no == no)
    }

    /// True while a release or a withdrawal is under way.
    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }

    /// The token of the hold; `None` unless a grant was told and is in force.
    pub fn token(&self) -> Option<Token> {
        match &self.phase {
            Phase::Held(hold) if hold.told => Some(hold.token),
            _ => None,
        }
    }

    /// True while it asks, or holds and will not be left behind in the store: others of its process may count on it.
    pub fn is_open(&self) -> bool {
        match &self.phase {
            Phase::Asking(_) => true,
            Phase::Held(hold) => !hold.detaching,
            Phase::Lost { .. } | Phase::Ending(_) | Phase::Done => false,
        }
    }

    /// True if it holds and is to be renewed ahead of time for so many hand-offs: it is short of tokens, or of news.
    pub fn needs_refresh(&self, now: Instant, hand_offs: u32) -> bool {
        matches!(&self.phase, Phase::Held(hold) if hold.needs_refresh(now, hand_offs))
    }

    /// When the store was asked last and said that no other claim waits; `None` if it has not, or has said otherwise since.
    pub fn alone_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Held(hold) => hold.alone_at(),
            _ => None,
        }
    }

    /// Why nobody holds by it yet, as far as the store's answers say; `None` if there was none, or if somebody does.
    pub fn obstacle(&self) -> Option<Failed<E>> {
        match &self.phase {
            Phase::Asking(asking) if asking.answered => Some(asking.obstacle()),
            Phase::Held(hold) => hold.obstacle(),
            _ => None,
        }
    }

    /// The terms for the store.
    pub fn terms(&self) -> Terms {
        let policy = &self.start.policy;
        Terms { ttl: policy.ttl, lock_delay: policy.lock_delay, place_life: policy.place_life(), place_margin: policy.beat() }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input<E>) {
        self.pass_time(now);
        match input {
            Input::Abandon(no) => self.abandon(now, no),
            Input::AskAgain => self.ask_soon(now),
            Input::Cancel => self.cancel(now),
            Input::Detach => self.detach(now),
            Input::Granted(grant) => self.pushed(now, grant),
            Input::HandOn => self.hand_on(now),
            Input::LinkUp => self.link_up(now),
            Input::Refresh => self.refresh(now),
            Input::Release => self.release(now),
            Input::Reply(no, reply) => self.answered(now, no, reply),
            Input::Revoked => self.revoked(now),
            Input::Tick => {}
        }
    }

    /// The next request to send now, if any.
    pub fn poll_request(&mut self, now: Instant) -> Option<Request> {
        let verb = match &self.phase {
            Phase::Asking(asking) if self.calls.claim.is_none() && asking.next_ask <= now => self.next_ask(),
            Phase::Held(hold) if self.calls.renew.is_none() && hold.next_renew.is_some_and(|at| at <= now) => {
                self.next_renewal()?
            }
            Phase::Ending(ending) if self.calls.release.is_none() && ending.next_release.is_some_and(|at| at <= now) => {
                Verb::Release { keep: ending.keep }
            }
            _ => return None,
        };
        Some(self.stamp(now, verb))
    }

    /// The next thing to tell, if any.
    pub fn poll_event(&mut self) -> Option<Event<E>> {
        self.events.pop_front()
    }

    /// When to come back with a tick, if nothing else happens before.
    pub fn poll_wake(&self) -> Option<Instant> {
        let in_flight = [self.calls.claim, self.calls.renew, self.calls.release];
        let io = in_flight.iter().flatten().map(|call| call.io_deadline).min();
        let own = match &self.phase {
            Phase::Asking(asking) => self.wake_of_asking(asking),
            Phase::Held(hold) => Some(hold.wake(self.calls.renew.is_some())),
            Phase::Ending(ending) => ending.wake(self.calls.release.is_some()),
            Phase::Lost { .. } | Phase::Done => None,
        };
        match (io, own) {
            (Some(io), Some(own)) => Some(io.min(own)),
            (one, other) => one.or(other),
        }
    }

    fn pass_time(&mut self, now: Instant) {
        // Law: past the deadline, the loss is told before anything else.
        if let Phase::Held(hold) = &self.phase
            && now >= hold.deadline
        {
            let why = if hold.renewing() { LostWhy::Expired } else { LostWhy::Ended };
            self.lose(now, why);
        }
        self.expire_calls(now);
        match &mut self.phase {
            Phase::Asking(_) => self.give_up_in_time(now),
            Phase::Held(hold) => {
                hold.keep_max_hold(&self.start, now);
                if hold.falls_in_doubt(now) {
                    self.events.push_back(Event::InDoubt);
                }
            }
            Phase::Ending(ending) if now >= ending.horizon => self.finish(),
            Phase::Lost { .. } | Phase::Ending(_) | Phase::Done => {}
        }
    }

    fn expire_calls(&mut self, now: Instant) {
        let late = |call: Option<Call>| call.filter(|call| now >= call.io_deadline).map(|call| call.no);
        if let Some(no) = late(self.calls.claim) {
            self.answered(now, no, Reply::Claim(Err(E::unanswered())));
        }
        if let Some(no) = late(self.calls.renew) {
            self.answered(now, no, Reply::Renew(Err(E::unanswered())));
        }
        if let Some(no) = late(self.calls.release) {
            self.answered(now, no, Reply::Release(Err(E::unanswered())));
        }
    }

    fn answered(&mut self, now: Instant, no: ReqNo, reply: Reply<E>) {
        match reply {
            Reply::Claim(answer) => {
                if let Some(call) = Call::take(&mut self.calls.claim, no) {
                    self.claim_answered(now, call, answer);
                }
            }
            Reply::Renew(answer) => {
                if let Some(call) = Call::take(&mut self.calls.renew, no) {
                    self.renew_answered(now, call, answer);
                }
            }
            Reply::Release(answer) => {
                if Call::take(&mut self.calls.release, no).is_some() {
                    self.release_answered(now, answer);
                }
            }
        }
    }

    /// Numbers a request and writes down that it is in flight.
    // Safe: `now` is read before the request leaves, so every span counted from it began no earlier in the store.
    fn stamp(&mut self, now: Instant, verb: Verb) -> Request {
        self.last_no += 1;
        let no = ReqNo(self.last_no);
        let verb = match verb {
            Verb::Claim(ask) => Verb::Claim(Ask { no, ..ask }),
            other => other,
        };
        let (detached, tokens) = match verb {
            Verb::Renew { detached, tokens } => (detached, tokens),
            Verb::Claim(_) | Verb::Release { .. } => (false, 0),
        };
        let call = Call { no, sent_at: now, io_deadline: now + self.patience(verb), detached, tokens };
        match verb {
            Verb::Claim(_) => {
                self.sent_asks.push(no, now);
                self.calls.claim = Some(call);
            }
            Verb::Renew { .. } => self.calls.renew = Some(call),
            Verb::Release { .. } => self.calls.release = Some(call),
        }
        Request { no, verb, io_deadline: call.io_deadline }
    }

    /// How long an answer is waited for: one beat, and less for what only confirms a loss.
    fn patience(&self, verb: Verb) -> Duration {
        let beat = self.start.policy.beat();
        match (&self.phase, verb) {
            (Phase::Ending(ending), Verb::Release { .. }) if ending.expired => beat.min(Duration::from_millis(250)),
            _ => beat,
        }
    }
}
