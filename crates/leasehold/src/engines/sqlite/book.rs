//! The rules of the engine: the verbs inside one write transaction, over the few rows that they need.

use super::rows::{Here, Holder, Left, Mark, Nanos, Rows, State, Waiter};
use crate::engine::{ClaimCall, ReleaseCall, RenewCall};
use crate::error::Error;
use leasehold_core::{
    Block, Bound, ClaimId, ClaimReply, Contention, Grant, Manner, ReleaseReply, RenewReply, Renewed, Terms, Token,
};
use rusqlite::Result;
use std::time::Duration;

/// A verb's answer, or an error of the caller's that is no failure of the transaction: what settled stays settled.
pub(super) type Verdict<T> = Result<Result<T, Error>>;

/// What is to be told to a client once the transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// A waiter holds now.
    Granted(Grant),
    /// A hold or a place was taken away.
    Revoked(ClaimId),
}

impl Push {
    /// Whom it is told to.
    pub(super) fn claim(&self) -> ClaimId {
        match self {
            Push::Granted(grant) => grant.claim,
            Push::Revoked(claim) => *claim,
        }
    }
}

/// One write transaction.
#[derive(Debug)]
pub(super) struct Book<'c> {
    rows: Rows<'c>,
    here: Here<'c>,
    wall_micros: i64,
    about: &'c str,
    pushes: Vec<Push>,
}

/// How far a promotion came.
enum Promoted {
    /// To the end of the queue; this many permits are taken.
    All { taken: u32 },
    /// To a waiter whose permits do not fit.
    Blocked,
    /// The caller's own place was reached and granted.
    Own(Grant),
}

impl<'c> Book<'c> {
    pub(super) fn new(rows: Rows<'c>, here: Here<'c>, wall_micros: i64, about: &'c str) -> Book<'c> {
        Book { rows, here, wall_micros, about, pushes: Vec::new() }
    }

    /// What is to be told after the commit.
    pub(super) fn into_pushes(self) -> Vec<Push> {
        self.pushes
    }

    pub(super) fn claim(&mut self, call: &ClaimCall) -> Verdict<ClaimReply> {
        let resource = call.resource.as_str();
        let found = self.rows.holders(resource)?;
        let place = self.rows.waiter_of(resource, call.claim)?;
        if let Some(refusal) = self.refusal(&found, place.as_ref(), call)? {
            return Ok(Err(refusal));
        }
        let mut holders = self.settle(found)?;
        if holders.iter().any(|row| row.claim == call.claim && is_marked(row)) {
            self.promote(resource, &mut holders, None)?;
            return Ok(Ok(ClaimReply::Stale));
        }
        if let Some(row) = holders.iter_mut().find(|row| row.claim == call.claim && row.is_live(self.here)) {
            let grant = self.grant_again(row, call)?;
            // An owner that also waited would be granted twice.
            place.iter().try_for_each(|place| self.rows.delete_waiter(place))?;
            self.promote(resource, &mut holders, None)?;
            return Ok(Ok(ClaimReply::Granted(grant)));
        }
        self.claim_in_turn(holders, place, call)
    }

    /// Grants in arrival order, the caller at its place or behind everybody, and answers the caller.
    fn claim_in_turn(&mut self, mut holders: Vec<Holder>, place: Option<Waiter>, call: &ClaimCall) -> Verdict<ClaimReply> {
        let resource = call.resource.as_str();
        let place = self.living(place)?;
        let fits = match self.promote(resource, &mut holders, Some(call))? {
            Promoted::Own(grant) => return Ok(Ok(ClaimReply::Granted(grant))),
            Promoted::All { taken } => call.want.capacity().saturating_sub(taken) >= call.want.permits(),
            Promoted::Blocked => false,
        };
        // A caller with a place never comes here: the promotion reached it, or was blocked before it.
        if fits {
            return Ok(Ok(ClaimReply::Granted(self.grant_in_full(call)?)));
        }
        if call.ask.wait {
            self.wait(place, call)?;
            return Ok(Ok(ClaimReply::Queued(self.contention(&holders))));
        }
        if let Some(place) = place {
            self.rows.delete_waiter(&place)?;
            // A claim that left may have kept smaller ones behind it waiting.
            self.promote(resource, &mut holders, None)?;
        }
        Ok(Ok(ClaimReply::Busy(self.contention(&holders))))
    }

    /// Why this claim cannot be met as it is. Looks past what has ended, since a refusal changes nothing.
    fn refusal(&self, holders: &[Holder], place: Option<&Waiter>, call: &ClaimCall) -> Result<Option<Error>> {
        let holders = || holders.iter().filter(|row| !row.record_left(self.here).has_ended());
        let in_use = match holders().next() {
            Some(row) => Some(row.capacity),
            None => self.first_in_line(call.resource.as_str())?.map(|row| row.capacity),
        };
        if let Some(capacity) = in_use.filter(|&capacity| capacity != call.want.capacity()) {
            let permits = if capacity == 1 { "permit" } else { "permits" };
            let message = format!("the resource is in use with {capacity} {permits} in all, not {}", call.want.capacity());
            return Ok(Some(Error::config(message).about(&call.resource)));
        }
        let place = place.filter(|row| !row.left(self.here).has_ended());
        let own = holders().filter(|row| row.claim == call.claim).map(|row| row.permits);
        let other = own.chain(place.map(|row| row.permits)).find(|&permits| permits != call.want.permits());
        Ok(other.map(|before| {
            let message = format!("the claim asked for {before} permits before, and for {} now", call.want.permits());
            Error::config(message).about(&call.resource)
        }))
    }

    fn first_in_line(&self, resource: &str) -> Result<Option<Waiter>> {
        let mut after = 0;
        while let Some(waiter) = self.rows.next_waiter(resource, after)? {
            if !waiter.left(self.here).has_ended() {
                return Ok(Some(waiter));
            }
            after = waiter.arrival;
        }
        Ok(None)
    }

    pub(super) fn renew(&mut self, call: &RenewCall) -> Verdict<RenewReply> {
        let resource = call.resource.as_str();
        let mut holders = self.settle(self.rows.holders(resource)?)?;
        let own = holders.iter_mut().find(|row| row.claim == call.claim && row.is_live(self.here));
        let held = match own {
            Some(row) => {
                self.lengthen(row, call.terms);
                // Fewer permits than before are a downgrade; more would be an acquisition, which a renewal never is.
                row.permits = row.permits.min(call.want.permits());
                if call.detached {
                    row.state = State::Detached;
                }
                self.rows.update_holder(row)?;
                Some(self.set_aside(call.tokens)?)
            }
            None => None,
        };
        self.promote(resource, &mut holders, None)?;
        let Some(block) = held else { return Ok(Ok(RenewReply::Lost)) };
        let others_wait = self.rows.next_waiter(resource, 0)?.is_some();
        Ok(Ok(RenewReply::Renewed(Renewed { bound: Bound::FromSend(call.terms.ttl), block, others_wait })))
    }

    fn set_aside(&self, count: u32) -> Result<Option<Block>> {
        if count == 0 {
            return Ok(None);
        }
        Ok(Some(Block { first: self.rows.next_tokens(self.wall_micros, count)?, count }))
    }

    pub(super) fn release(&mut self, call: &ReleaseCall) -> Verdict<ReleaseReply> {
        let resource = call.resource.as_str();
        let mut holders = self.settle(self.rows.holders(resource)?)?;
        let mut found = false;
        let mut kept = Vec::with_capacity(holders.len());
        for mut row in holders.drain(..) {
            let own = row.claim == call.claim;
            found |= own;
            if !own || self.stays(&mut row, call.manner)? {
                kept.push(row);
            }
        }
        if let Some(place) = self.rows.waiter_of(resource, call.claim)? {
            found |= !place.left(self.here).has_ended();
            self.rows.delete_waiter(&place)?;
        }
        if found && !matches!(call.manner, Manner::Own { .. }) {
            self.pushes.push(Push::Revoked(call.claim));
        }
        self.promote(resource, &mut kept, None)?;
        Ok(Ok(match kept.is_empty() {
            _ if found => ReleaseReply::Released,
            true => ReleaseReply::Absent,
            false => ReleaseReply::Taken(self.contention(&kept)),
        }))
    }

    /// Ends the holds that time has ended and returns the others, oldest grant first.
    fn settle(&mut self, found: Vec<Holder>) -> Result<Vec<Holder>> {
        let mut holders = Vec::with_capacity(found.len() + 1);
        for row in found {
            match row.record_left(self.here) {
                left if left.has_ended() => self.rows.delete_holder(&row)?,
                Left::Unseen(_) => {
                    self.rows.watch_holder(&row, self.here)?;
                    holders.push(row);
                }
                _ => holders.push(row),
            }
        }
        Ok(holders)
    }

    fn grant_again(&mut self, row: &mut Holder, call: &ClaimCall) -> Result<Grant> {
        self.lengthen(row, call.terms);
        row.token = self.rows.next_token(self.wall_micros)?;
        self.rows.update_holder(row)?;
        Ok(Grant { claim: call.claim, token: row.token, spare: 0, bound: Bound::FromSend(call.terms.ttl) })
    }

    /// A lease of the full ttl from now, or the longer one that is in force.
    fn lengthen(&self, row: &mut Holder, terms: Terms) {
        row.ends = row.ends.max(self.here.now.saturating_add(nanos(terms.ttl)));
        row.span = row.ends - self.here.now;
        row.delay = row.delay.max(nanos(terms.lock_delay));
    }

    /// The caller's place, if it has not ended; one that has is dropped, and the caller queues anew. So does one that was
    /// written on another clock.
    fn living(&mut self, place: Option<Waiter>) -> Result<Option<Waiter>> {
        match place {
            Some(place) if !matches!(place.left(self.here), Left::Ours(left) if left > 0) => {
                self.rows.delete_waiter(&place).map(|()| None)
            }
            place => Ok(place),
        }
    }

    /// Grants to waiters in arrival order as long as they fit. Places that have ended are dropped; those with too little left
    /// are passed over, but for the caller's own, which this ask refreshes.
    fn promote(&mut self, resource: &str, holders: &mut Vec<Holder>, own: Option<&ClaimCall>) -> Result<Promoted> {
        let mut taken = permits_of(holders);
        let mut after = 0;
        let mut capacity = holders.first().map(|row| row.capacity);
        loop {
            if capacity.is_some_and(|capacity| taken >= capacity) {
                return Ok(Promoted::Blocked);
            }
            let Some(waiter) = self.rows.next_waiter(resource, after)? else {
                return Ok(Promoted::All { taken });
            };
            after = waiter.arrival;
            let call = own.filter(|call| call.claim == waiter.claim);
            if call.is_none() && !self.is_ready(&waiter)? {
                continue;
            }
            capacity = Some(waiter.capacity);
            if waiter.capacity.saturating_sub(taken) < waiter.permits {
                return Ok(Promoted::Blocked);
            }
            self.rows.delete_waiter(&waiter)?;
            if let Some(call) = call {
                return self.grant_in_full(call).map(Promoted::Own);
            }
            taken = taken.saturating_add(waiter.permits);
            holders.push(self.grant_the_place(waiter)?);
        }
    }

    /// True if a waiter may be granted now. Drops a place that has ended.
    fn is_ready(&mut self, waiter: &Waiter) -> Result<bool> {
        match waiter.left(self.here) {
            left if left.has_ended() => self.rows.delete_waiter(waiter).map(|()| false),
            Left::Ours(left) => Ok(left >= waiter.margin),
            // Of a place on another clock nobody here knows the end, so its client's own next ask is what grants to it.
            Left::Foreign(_) => Ok(false),
            Left::Unseen(_) => self.rows.watch_waiter(waiter, self.here).map(|()| false),
        }
    }

    /// Turns a place into a hold that ends exactly when the place would have ended.
    fn grant_the_place(&mut self, waiter: Waiter) -> Result<Holder> {
        let token = self.rows.next_token(self.wall_micros)?;
        let bound = Bound::FromAsk(waiter.ask);
        let row = Holder {
            resource: waiter.resource,
            rank: token,
            token,
            claim: waiter.claim,
            permits: waiter.permits,
            capacity: waiter.capacity,
            state: State::Live,
            since: self.here.now,
            ends: waiter.ends,
            span: waiter.ends - self.here.now,
            delay: waiter.delay,
            mark: Mark::ours(self.here),
            about: waiter.about,
        };
        self.rows.insert_holder(&row)?;
        self.pushes.push(Push::Granted(Grant { claim: row.claim, token, spare: 0, bound }));
        Ok(row)
    }

    fn grant_in_full(&mut self, call: &ClaimCall) -> Result<Grant> {
        let token: Token = self.rows.next_token(self.wall_micros)?;
        let span = nanos(call.terms.ttl);
        self.rows.insert_holder(&Holder {
            resource: call.resource.as_str().into(),
            rank: token,
            token,
            claim: call.claim,
            permits: call.want.permits(),
            capacity: call.want.capacity(),
            state: State::Live,
            since: self.here.now,
            ends: self.here.now.saturating_add(span),
            span,
            delay: nanos(call.terms.lock_delay),
            mark: Mark::ours(self.here),
            about: self.about.into(),
        })?;
        Ok(Grant { claim: call.claim, token, spare: 0, bound: Bound::FromSend(call.terms.ttl) })
    }

    /// Enters the caller at the end of the queue, or refreshes its place where it stands; never shortens it.
    fn wait(&mut self, place: Option<Waiter>, call: &ClaimCall) -> Result<()> {
        let (resource, span) = (call.resource.as_str(), nanos(call.terms.place_life));
        let ends = self.here.now.saturating_add(span);
        let (margin, delay) = (nanos(call.terms.place_margin), nanos(call.terms.lock_delay));
        if let Some(place) = place {
            // An older ask that arrives late must not replace a newer number, which its sender may have forgotten.
            let (ask, ends) = (place.ask.max(call.ask.no), place.ends.max(ends));
            let span = ends - self.here.now;
            return self.rows.update_waiter(&Waiter { ask, ends, span, margin, delay, ..place });
        }
        self.rows.insert_waiter(&Waiter {
            resource: resource.into(),
            arrival: self.rows.last_arrival(resource)?.unwrap_or(0) + 1,
            claim: call.claim,
            permits: call.want.permits(),
            capacity: call.want.capacity(),
            ask: call.ask.no,
            since: self.here.now,
            ends,
            span,
            margin,
            delay,
            mark: Mark::ours(self.here),
            about: self.about.into(),
        })
    }

    /// Carries a release out on a hold of the claim; true if its record stays.
    fn stays(&mut self, row: &mut Holder, manner: Manner) -> Result<bool> {
        let here = self.here;
        match manner {
            Manner::Own { .. } if row.state == State::Ghost => return Ok(true),
            Manner::Own { keep } if !keep.is_zero() && row.is_live(here) => {
                row.state = State::Ghost;
                (row.ends, row.span, row.delay) = (here.now.saturating_add(nanos(keep)), nanos(keep), 0);
            }
            Manner::Revoke if row.state == State::Ghost => return Ok(true),
            Manner::Revoke => row.state = State::Revoked,
            Manner::Own { .. } | Manner::RevokeNow => return self.rows.delete_holder(row).map(|()| false),
        }
        self.rows.update_holder(row).map(|()| true)
    }

    /// Who stands in the way: the holder whose record ends first.
    fn contention(&self, holders: &[Holder]) -> Contention {
        let left = |row: &&Holder| row.record_left(self.here).nanos();
        match holders.iter().min_by_key(left) {
            Some(row) => Contention { by: Some(row.claim), lease_left: Some(span(left(&row))) },
            None => Contention::default(),
        }
    }
}

fn permits_of(holders: &[Holder]) -> u32 {
    holders.iter().fold(0, |sum, row| sum.saturating_add(row.permits))
}

/// True if no renewal or claim may revive it.
fn is_marked(row: &Holder) -> bool {
    matches!(row.state, State::Ghost | State::Revoked)
}

/// A span in nanoseconds.
pub(super) fn nanos(span: Duration) -> Nanos {
    // Half the range, so that a sum of an instant and two spans cannot overflow.
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX).min(Nanos::MAX / 4)
}

/// Nanoseconds as a span; zero if there are none left.
pub(super) fn span(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
