//! The record of one resource: its holders, its queue, and what each verb does to them.

use super::{Refusal, Seat, Standing, Tokens, Told, Upkeep, View, Wish};
use crate::claim::{ClaimId, ReqNo};
use crate::time::Instant;
use crate::token::Token;
use crate::verb::{Bound, ClaimReply, Contention, Grant, Manner, ReleaseReply, RenewReply, Renewed};
use alloc::vec::Vec;
use core::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Record {
    /// Means something only while somebody holds or waits.
    capacity: u32,
    /// In the order of their grants.
    holds: Vec<Hold>,
    /// In the order of arrival.
    places: Vec<Place>,
}

#[derive(Debug)]
struct Hold {
    claim: ClaimId,
    permits: u32,
    token: Token,
    since: Instant,
    lease_end: Instant,
    /// The record outlives the lease by this much.
    lock_delay: Duration,
    standing: Standing,
}

#[derive(Debug)]
struct Place {
    claim: ClaimId,
    permits: u32,
    /// Of the last ask that reached it.
    no: ReqNo,
    since: Instant,
    end: Instant,
    /// Promoted only with at least this much left.
    margin: Duration,
    lock_delay: Duration,
}

impl Record {
    pub(super) fn is_idle(&self) -> bool {
        self.holds.is_empty() && self.places.is_empty()
    }

    /// Why this wish cannot be met as it is; looks past what ran out, since a refusal must not settle.
    pub(super) fn refusal(&self, now: Instant, wish: &Wish) -> Option<Refusal> {
        let mut places = self.places.iter().filter(|place| now < place.end);
        let in_use = self.holds.iter().any(|hold| now < hold.end()) || places.clone().next().is_some();
        if !in_use {
            return None;
        }
        if self.capacity != wish.want.capacity() {
            return Some(Refusal::Capacity { in_use: self.capacity, wanted: wish.want.capacity() });
        }
        let live = |hold: &&Hold| hold.claim == wish.claim && now < hold.lease_end && !hold.is_marked();
        let held = self.holds.iter().find(live).map(|hold| hold.permits);
        let before = held.or_else(|| places.find(|place| place.claim == wish.claim).map(|place| place.permits))?;
        let wanted = wish.want.permits();
        (before != wanted).then_some(Refusal::Permits { before, wanted })
    }

    pub(super) fn claim(&mut self, now: Instant, wish: &Wish, tokens: &mut Tokens) -> Told<ClaimReply> {
        self.expire(now);
        if self.holds.iter().any(|hold| hold.claim == wish.claim && hold.is_marked()) {
            return Told::new(ClaimReply::Stale, self.promote(now, tokens, None));
        }
        if let Some(hold) = self.live_hold(now, wish.claim) {
            // It has no place besides: a place becomes the hold, and a live holder is given none.
            let grant = hold.grant_again(now, wish, tokens);
            return Told::new(ClaimReply::Granted(grant), self.promote(now, tokens, None));
        }
        self.capacity = wish.want.capacity();
        self.take_place(now, wish);
        let mut grants = self.promote(now, tokens, Some(wish));
        if let Some(at) = grants.iter().position(|grant| grant.claim == wish.claim) {
            let grant = grants.remove(at);
            return Told::new(ClaimReply::Granted(grant), grants);
        }
        if wish.ask.wait {
            return Told::new(ClaimReply::Queued(self.contention(now)), grants);
        }
        self.places.retain(|place| place.claim != wish.claim);
        // A claim that left may have kept smaller ones behind it waiting.
        grants.extend(self.promote(now, tokens, None));
        Told::new(ClaimReply::Busy(self.contention(now)), grants)
    }

    pub(super) fn renew(&mut self, now: Instant, upkeep: &Upkeep, tokens: &mut Tokens) -> Told<RenewReply> {
        self.expire(now);
        let held = match self.live_hold(now, upkeep.claim) {
            Some(hold) if !hold.is_marked() => {
                hold.lengthen(now + upkeep.terms.ttl, upkeep.terms.lock_delay);
                hold.permits = hold.permits.min(upkeep.want.permits());
                if upkeep.detached {
                    hold.standing = Standing::Detached;
                }
                Some(tokens.block(upkeep.tokens))
            }
            _ => None,
        };
        let grants = self.promote(now, tokens, None);
        let renewed = |block| Renewed { bound: Bound::FromSend(upkeep.terms.ttl), block, others_wait: !self.places.is_empty() };
        Told::new(held.map_or(RenewReply::Lost, |block| RenewReply::Renewed(renewed(block))), grants)
    }

    pub(super) fn release(&mut self, now: Instant, whom: (ClaimId, Manner), tokens: &mut Tokens) -> Told<ReleaseReply> {
        let (claim, manner) = whom;
        self.expire(now);
        let known = self.holds.iter().any(|hold| hold.claim == claim) || self.places.iter().any(|place| place.claim == claim);
        self.places.retain(|place| place.claim != claim);
        match manner {
            Manner::Own { keep } => self.holds.retain_mut(|hold| hold.claim != claim || hold.outlives_release(now, keep)),
            Manner::Revoke => self.holds.iter_mut().filter(|hold| hold.claim == claim).for_each(Hold::revoke),
            Manner::RevokeNow => self.holds.retain(|hold| hold.claim != claim),
        }
        let grants = self.promote(now, tokens, None);
        let reply = match (known, self.holds.is_empty()) {
            (true, _) => ReleaseReply::Released,
            (false, true) => ReleaseReply::Absent,
            (false, false) => ReleaseReply::Taken(self.contention(now)),
        };
        let taken_away = known && !matches!(manner, Manner::Own { .. });
        Told { reply, grants, revoked: if taken_away { Vec::from([claim]) } else { Vec::new() } }
    }

    /// Ends what holds, as if its time were over.
    pub(super) fn cut(&mut self, now: Instant, tokens: &mut Tokens) -> Vec<Grant> {
        for hold in &mut self.holds {
            hold.lease_end = hold.lease_end.min(now);
        }
        self.settle(now, tokens)
    }

    pub(super) fn settle(&mut self, now: Instant, tokens: &mut Tokens) -> Vec<Grant> {
        self.expire(now);
        self.promote(now, tokens, None)
    }

    pub(super) fn view(&self, now: Instant) -> View {
        let holders = self.holds.iter().filter(|hold| now < hold.end()).map(|hold| hold.seat(now));
        let waiters = self.places.iter().filter(|place| now < place.end).map(|place| place.seat(now));
        View { holders: holders.collect(), waiters: waiters.collect() }
    }

    fn expire(&mut self, now: Instant) {
        self.holds.retain(|hold| now < hold.end());
        self.places.retain(|place| now < place.end);
    }

    /// Enters the asker at the end of the queue, or refreshes its place where it stands; never shortens it.
    fn take_place(&mut self, now: Instant, wish: &Wish) {
        let end = now + wish.terms.place_life;
        let (margin, lock_delay) = (wish.terms.place_margin, wish.terms.lock_delay);
        if let Some(place) = self.places.iter_mut().find(|place| place.claim == wish.claim) {
            // An older ask that arrives late must not take the place of a newer number: its sender may have forgotten it. Its
            // end counts from an arrival, hence not before one life after the sending of either.
            *place = Place { no: place.no.max(wish.ask.no), end: place.end.max(end), margin, lock_delay, ..*place };
            return;
        }
        let (claim, permits) = (wish.claim, wish.want.permits());
        self.places.push(Place { claim, permits, no: wish.ask.no, since: now, end, margin, lock_delay });
    }

    /// Grants to the longest prefix of the queue that fits. The asker is answered, not pushed to: it gets its full ttl, and its
    /// place cannot be too short.
    fn promote(&mut self, now: Instant, tokens: &mut Tokens, asker: Option<&Wish>) -> Vec<Grant> {
        let held: u32 = self.holds.iter().map(|hold| hold.permits).sum();
        let mut free = self.capacity.saturating_sub(held);
        let mut grants = Vec::new();
        let mut at = 0;
        while free > 0 && at < self.places.len() {
            let place = &self.places[at];
            let asks = asker.filter(|wish| wish.claim == place.claim);
            if asks.is_none() && place.end.since(now) < place.margin {
                at += 1;
                continue;
            }
            if place.permits > free {
                break;
            }
            let place = self.places.remove(at);
            free -= place.permits;
            let (lease_end, bound) = match asks {
                Some(wish) => (now + wish.terms.ttl, Bound::FromSend(wish.terms.ttl)),
                // Safe: the place was refreshed after that ask was sent, so it ends no sooner than one life after its sending.
                None => (place.end, Bound::FromAsk(place.no)),
            };
            let hold = place.into_hold(now, lease_end, tokens.next());
            grants.push(Grant { claim: hold.claim, token: hold.token, spare: 0, bound });
            self.holds.push(hold);
        }
        grants
    }

    /// The hold of `claim` whose lease runs; in its `lock_delay` the owner is like anybody.
    fn live_hold(&mut self, now: Instant, claim: ClaimId) -> Option<&mut Hold> {
        self.holds.iter_mut().find(|hold| hold.claim == claim && now < hold.lease_end)
    }

    /// Whoever leaves first by time, since then it is worth looking again.
    fn contention(&self, now: Instant) -> Contention {
        let next = self.holds.iter().min_by_key(|hold| hold.end());
        Contention { by: next.map(|hold| hold.claim), lease_left: next.map(|hold| hold.end().since(now)) }
    }
}

impl Hold {
    fn end(&self) -> Instant {
        self.lease_end + self.lock_delay
    }

    /// True if no renewal or claim may revive it.
    fn is_marked(&self) -> bool {
        matches!(self.standing, Standing::Ghost | Standing::Revoked)
    }

    fn lengthen(&mut self, lease_end: Instant, lock_delay: Duration) {
        self.lease_end = self.lease_end.max(lease_end);
        self.lock_delay = self.lock_delay.max(lock_delay);
    }

    fn grant_again(&mut self, now: Instant, wish: &Wish, tokens: &mut Tokens) -> Grant {
        self.lengthen(now + wish.terms.ttl, wish.terms.lock_delay);
        self.token = tokens.next();
        Grant { claim: self.claim, token: self.token, spare: 0, bound: Bound::FromSend(wish.terms.ttl) }
    }

    /// What its own release makes of it: gone, or a ghost for `keep` more. `min_hold` ends with a lost or revoked lease.
    fn outlives_release(&mut self, now: Instant, keep: Duration) -> bool {
        if self.standing == Standing::Ghost {
            return true;
        }
        if keep.is_zero() || self.standing == Standing::Revoked || self.lease_end <= now {
            return false;
        }
        self.standing = Standing::Ghost;
        (self.lease_end, self.lock_delay) = (now + keep, Duration::ZERO);
        true
    }

    fn revoke(&mut self) {
        if self.standing != Standing::Ghost {
            self.standing = Standing::Revoked;
        }
    }

    fn seat(&self, now: Instant) -> Seat {
        let in_delay = self.lease_end <= now && self.standing != Standing::Revoked;
        Seat {
            claim: self.claim,
            permits: self.permits,
            token: Some(self.token),
            since: now.since(self.since),
            left: self.end().since(now),
            standing: if in_delay { Standing::Ghost } else { self.standing },
        }
    }
}

impl Place {
    fn into_hold(self, now: Instant, lease_end: Instant, token: Token) -> Hold {
        let Place { claim, permits, lock_delay, .. } = self;
        Hold { claim, permits, token, since: now, lease_end, lock_delay, standing: Standing::Live }
    }

    fn seat(&self, now: Instant) -> Seat {
        Seat {
            claim: self.claim,
            permits: self.permits,
            token: None,
            since: now.since(self.since),
            left: self.end.since(now),
            standing: Standing::Live,
        }
    }
}
