//! The machine while it holds: deadline, renewals, doubt, loss.

use super::end::Ending;
use super::parts::{Call, Jitter, SpareTokens};
use super::{Event, Failed, Holder, LostWhy, Phase, Start, Trouble, Verb};
use crate::policy::Renewal;
use crate::time::Instant;
use crate::token::Token;
use crate::verb::{Block, Bound, Grant, RenewReply, Renewed};
use core::time::Duration;

/// How many tokens are set aside at once for hand-offs inside the process.
const BLOCK: u32 = 16;

/// How many at most, while nobody else waits in the store and hand-offs come faster than the store answers. Those that are not
/// used are gaps, so few are taken while the tenure may end soon.
const LARGEST_BLOCK: u32 = 128;

/// News of who waits are asked for once they are older than this, so that they are seldom too old to go by.
const STALE: Duration = Duration::from_millis(25);

/// A lease as the holder counts it: so long, from the sending of the request that won it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) sent_at: Instant,
    pub(super) span: Duration,
}

/// What a machine knows while it holds.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) token: Token,
    /// True while a hold that is handed on has no token of its own yet.
    needs_token: bool,
    /// For hand-offs inside the process.
    pub(super) spare: SpareTokens,
    /// When the store was last asked and said whether other claims wait.
    news_at: Option<Instant>,
    /// What it said.
    others_wait: bool,
    /// True if the next renewal brings more tokens.
    refill: bool,
    /// How many tokens are asked for at once.
    block: u32,
    pub(super) deadline: Instant,
    /// When the next renewal goes out, unless one is in flight; `None` if none is to be sent any more.
    pub(super) next_renew: Option<Instant>,
    /// True once the grant was told.
    pub(super) told: bool,
    /// True once the hold is to outlive its client.
    pub(super) detaching: bool,
    pub(super) granted_at: Instant,
    lease: Lease,
    in_doubt: bool,
    failures: u32,
}

impl Hold {
    /// True if a renewal is still to come, so that running out of time is a failure rather than the plan.
    pub(super) fn renewing(&self) -> bool {
        self.next_renew.is_some()
    }

    /// What keeps a hold from being told.
    pub(super) fn obstacle<E: Trouble>(&self) -> Option<Failed<E>> {
        (!self.told && self.failures > 0).then(|| Failed::Trouble(E::unanswered()))
    }

    pub(super) fn wake(&self, renewal_in_flight: bool) -> Instant {
        let renew = self.next_renew.filter(|_| !renewal_in_flight).unwrap_or(Instant::FAR);
        let doubt = if self.can_fall_in_doubt() { self.doubt_at() } else { Instant::FAR };
        self.deadline.min(renew).min(doubt)
    }

    /// True at the first look after less than a third of the lease is left.
    pub(super) fn falls_in_doubt(&mut self, now: Instant) -> bool {
        let falls = self.can_fall_in_doubt() && now >= self.doubt_at();
        self.in_doubt |= falls;
        falls
    }

    pub(super) fn renew_if_overdue(&mut self, now: Instant) {
        if self.failures > 0 && self.next_renew.is_some() {
            self.next_renew = Some(now);
        }
    }

    /// A renewal that was planned in time but could not be sent in time is not sent any more.
    pub(super) fn keep_max_hold(&mut self, start: &Start, now: Instant) {
        if self.told && !self.detaching {
            self.next_renew = self.next_renew.filter(|_| self.before_max_hold(start, now).is_some());
        }
    }

    /// When the store was last asked, if it said that no other claim waits.
    pub(super) fn alone_at(&self) -> Option<Instant> {
        self.news_at.filter(|_| !self.others_wait)
    }

    /// True if there are too few tokens for the hand-offs until the store has answered, or the news of who waits are old.
    pub(super) fn needs_refresh(&self, now: Instant, hand_offs: u32) -> bool {
        let until_answered = self.block / 2;
        let tokens = if self.others_wait { until_answered.min(hand_offs) } else { until_answered };
        self.spare.count() < tokens || self.news_at.is_none_or(|at| now.since(at) > STALE)
    }

    fn take_token(&mut self) -> Option<Token> {
        let token = self.spare.take()?;
        self.token = token;
        Some(token)
    }

    fn can_fall_in_doubt(&self) -> bool {
        self.told && !self.in_doubt && self.renewing()
    }

    fn doubt_at(&self) -> Instant {
        self.deadline.before(self.lease.span / 3)
    }

    /// When the renewal after this lease goes out: at a third of it, and not past `max_hold`.
    fn renewal_after(&self, start: &Start, lease: Lease, jitter: &mut Jitter) -> Option<Instant> {
        if start.policy.renew == Renewal::Off {
            return None;
        }
        self.before_max_hold(start, lease.sent_at + jitter.shorten(lease.span / 3))
    }

    fn before_max_hold(&self, start: &Start, at: Instant) -> Option<Instant> {
        let last = start.policy.max_hold.map_or(Instant::FAR, |max_hold| self.granted_at + max_hold);
        (at <= last).then_some(at)
    }
}

impl<E: Trouble> Holder<E> {
    /// The hold that this grant starts; told at once, or after the renewal that brings the full ttl.
    pub(super) fn hold(&mut self, now: Instant, grant: Grant, lease: Lease) -> Hold {
        let policy = &self.start.policy;
        let mut hold = Hold {
            token: grant.token,
            needs_token: false,
            spare: SpareTokens::default(),
            // Who was granted out of a queue is seldom the last in it.
            news_at: matches!(grant.bound, Bound::FromAsk(_)).then_some(now),
            others_wait: true,
            refill: false,
            block: BLOCK,
            deadline: self.start.timing.deadline(lease.sent_at, lease.span),
            next_renew: Some(now),
            told: !self.start.needs_full_ttl() || lease.span >= policy.ttl,
            detaching: false,
            granted_at: now,
            lease,
            in_doubt: false,
            failures: 0,
        };
        if hold.told {
            hold.next_renew = hold.renewal_after(&self.start, lease, &mut self.jitter);
        }
        if let Some(first) = grant.token.after(1) {
            hold.spare.add(Block { first, count: grant.spare }, grant.token);
        }
        hold
    }

    pub(super) fn renew_answered(&mut self, now: Instant, call: Call, answer: Result<RenewReply, E>) {
        if !matches!(self.phase, Phase::Held(_)) {
            return;
        }
        match answer {
            Ok(RenewReply::Renewed(renewed)) => {
                if let Some(lease) = self.lease_of(renewed.bound, Some(call.sent_at)) {
                    self.take_news(call, renewed);
                    self.renewed(now, call, lease);
                }
            }
            Ok(RenewReply::Lost) => self.lose(now, LostWhy::Store),
            Err(error) => self.renewal_failed(now, error),
        }
    }

    fn take_news(&mut self, call: Call, renewed: Renewed) {
        let Phase::Held(hold) = &mut self.phase else { return };
        (hold.news_at, hold.others_wait) = (Some(call.sent_at), renewed.others_wait);
        if renewed.others_wait {
            hold.block = BLOCK;
        }
        if let Some(block) = renewed.block {
            hold.spare.add(block, hold.token);
        }
    }

    fn renewed(&mut self, now: Instant, call: Call, lease: Lease) {
        self.lengthen(lease);
        let Phase::Held(hold) = &mut self.phase else { return };
        if call.detached {
            self.events.push_back(Event::Detached);
            return self.finish();
        }
        if hold.told {
            self.events.push_back(Event::Renewed);
            return;
        }
        hold.needs_token = hold.needs_token && hold.take_token().is_none();
        let left_before = call.sent_at < hold.granted_at;
        let too_early = left_before && self.start.needs_full_ttl();
        if !hold.needs_token && !too_early {
            hold.told = true;
            self.events.push_back(Event::Granted(hold.token));
        } else if left_before || call.tokens == 0 {
            hold.next_renew = Some(now);
        } else {
            // The store has none: a claim of its own brings one, or says why not.
            self.lose(now, LostWhy::Store);
        }
    }

    /// Gives the hold to another of the same process: at once if a token is there and enough of the lease, else after a renewal.
    pub(super) fn hand_on(&mut self, now: Instant) {
        let Phase::Held(hold) = &mut self.phase else { return };
        hold.granted_at = now;
        hold.in_doubt = false;
        hold.needs_token = hold.take_token().is_none();
        if hold.needs_token && !hold.others_wait {
            hold.block = (hold.block * 2).min(LARGEST_BLOCK);
        }
        hold.told = !hold.needs_token && !self.start.needs_full_ttl() && now < hold.doubt_at();
        if hold.told {
            let planned = hold.next_renew.or_else(|| hold.renewal_after(&self.start, hold.lease, &mut self.jitter));
            hold.next_renew = planned;
            self.events.push_back(Event::Granted(hold.token));
        } else {
            hold.next_renew = Some(now);
        }
    }

    /// Renews ahead of time, for what only the store can say. A hold that is not renewed any more stays as it is.
    pub(super) fn refresh(&mut self, now: Instant) {
        let Phase::Held(hold) = &mut self.phase else { return };
        if hold.told && hold.renewing() && hold.failures == 0 {
            hold.refill = true;
            hold.next_renew = Some(now);
        }
    }

    /// The renewal that is to go out now.
    pub(super) fn next_renewal(&mut self) -> Option<Verb> {
        let Phase::Held(hold) = &mut self.phase else { return None };
        let short = hold.needs_token || (core::mem::take(&mut hold.refill) && hold.spare.count() < hold.block);
        // Where each hand-off is a renewal, it brings its own token.
        let tokens = if self.start.needs_full_ttl() { 1 } else { hold.block };
        Some(Verb::Renew { detached: hold.detaching, tokens: if short { tokens } else { 0 } })
    }

    /// Moves the deadline, never back, and plans the next renewal.
    pub(super) fn lengthen(&mut self, lease: Lease) {
        let Phase::Held(hold) = &mut self.phase else { return };
        let deadline = self.start.timing.deadline(lease.sent_at, lease.span);
        if deadline > hold.deadline {
            hold.deadline = deadline;
            hold.lease = lease;
        }
        hold.failures = 0;
        let planned = hold.renewal_after(&self.start, lease, &mut self.jitter);
        // A renewal that was in flight when the detach came does not carry its mark.
        hold.next_renew = if hold.detaching { Some(lease.sent_at) } else { planned };
        if core::mem::take(&mut hold.in_doubt) {
            self.events.push_back(Event::Recovered);
        }
    }

    fn renewal_failed(&mut self, now: Instant, error: E) {
        let Phase::Held(hold) = &mut self.phase else { return };
        let pause = self.jitter.backoff(hold.failures, self.start.policy.beat() / 2);
        hold.failures += 1;
        hold.next_renew = hold.before_max_hold(&self.start, now + pause);
        self.events.push_back(Event::RenewalFailed(error.clone()));
        if !hold.told && error.is_permanent() {
            self.events.push_back(Event::Failed(Failed::Trouble(error)));
            self.phase = Phase::Ending(Ending::quiet(&self.start, now));
        }
    }

    /// The lease ended without a release: told once, and final.
    pub(super) fn lose(&mut self, now: Instant, why: LostWhy) {
        let Phase::Held(hold) = &self.phase else { return };
        if !hold.told {
            // Nobody believes in it yet, so nobody lost anything: this attempt is spent.
            self.events.push_back(Event::Failed(Failed::Spent));
            self.phase = Phase::Ending(Ending::quiet(&self.start, now));
            return;
        }
        self.events.push_back(Event::Lost(why));
        self.phase = Phase::Lost { by_time: matches!(why, LostWhy::Ended | LostWhy::Expired) };
    }

    pub(super) fn detach(&mut self, now: Instant) {
        if let Phase::Held(hold) = &mut self.phase {
            hold.detaching = true;
            hold.next_renew = Some(now);
        }
    }
}
