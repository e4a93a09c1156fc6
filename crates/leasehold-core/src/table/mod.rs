//! The lock table: reference semantics of a store, for any number of resources and k of n permits.
//!
//! A store that answers as this table does, verb by verb, is an engine's store. Time comes in with each verb, and the table
//! does nothing between two verbs: a lease that ran out is noticed by the next verb that writes the same resource.

mod record;
#[cfg(test)]
mod tests;

use crate::claim::{ClaimId, Want};
use crate::name::ResourceName;
use crate::time::Instant;
use crate::token::Token;
use crate::verb::{Ask, Block, ClaimReply, Grant, Manner, ReleaseReply, RenewReply, Terms};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use record::Record;

/// Who holds and who waits in one store.
///
/// Every verb that writes first *settles* the record: it ends leases and drops places that ran out, and grants in arrival order to
/// the longest prefix of claims that fits. A place with less than its margin left is passed over, keeps its rank, and keeps
/// nobody behind it waiting. A record that nobody holds or waits for is forgotten at once.
#[derive(Debug, Default)]
pub struct Table {
    records: BTreeMap<ResourceName, Record>,
    tokens: Tokens,
}

/// A claim as the store sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// By which attempt.
    pub claim: ClaimId,
    /// How much it wants.
    pub want: Want,
    /// On which terms.
    pub terms: Terms,
    /// How it is asked for.
    pub ask: Ask,
}

/// A renewal as the store sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// By which holder.
    pub claim: ClaimId,
    /// How much it keeps: fewer permits than it holds is a downgrade, more is ignored.
    pub want: Want,
    /// On which terms.
    pub terms: Terms,
    /// True if the hold is to outlive its client.
    pub detached: bool,
    /// How many tokens to set aside for the holder.
    pub tokens: u32,
}

/// The reply to a verb, and what others must be told because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<R> {
    /// The reply to the caller.
    pub reply: R,
    /// Grants to waiters other than the caller, in the order in which they were made.
    pub grants: Vec<Grant>,
    /// Claims that an operator took away by this verb.
    pub revoked: Vec<ClaimId>,
}

/// A claim that is at odds with what the resource is in use as; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Others use the resource with another number of permits in all.
    Capacity {
        /// How many permits it has at present.
        in_use: u32,
        /// How many the caller says it has.
        wanted: u32,
    },
    /// The claim itself asked for another number of permits before.
    Permits {
        /// How many it asked for before.
        before: u32,
        /// How many it asks for now.
        wanted: u32,
    },
}

/// Who holds a resource and who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Those who hold it, in the order of their grants.
    pub holders: Vec<Seat>,
    /// Those who wait for it, first in line first.
    pub waiters: Vec<Seat>,
}

/// One holder or waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its claim.
    pub claim: ClaimId,
    /// How many permits it holds or waits for.
    pub permits: u32,
    /// The token of its last grant, if it holds.
    pub token: Option<Token>,
    /// How long it has held or waited.
    pub since: Duration,
    /// What is left of its record.
    pub left: Duration,
    /// What the record says of it besides.
    pub standing: Standing,
}

/// What a record says of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// An ordinary holder or waiter.
    Live,
    /// A holder that outlives its client.
    Detached,
    /// The holder is gone and others are kept out for a while.
    Ghost,
    /// An operator took the hold away; it ends with its release or its old lease.
    Revoked,
}

impl Table {
    /// An empty table whose first token's counter is larger than `floor`.
    pub fn new(floor: u64) -> Table {
        let mut table = Table::default();
        table.raise(floor);
        table
    }

    /// Makes every later token's counter larger than `floor`; a floor below the counter changes nothing.
    ///
    /// A floor is at most 2^52: no clock gone mad can use up the tokens.
    pub fn raise(&mut self, floor: u64) {
        self.tokens.last = self.tokens.last.max(floor.min(1 << 52));
    }

    /// Asks for permits; a waiter's repeat refreshes its place, an owner's repeat is granted again.
    ///
    /// # Errors
    /// A [`Refusal`] changes nothing.
    pub fn claim(&mut self, now: Instant, resource: &ResourceName, wish: &Wish) -> Result<Told<ClaimReply>, Refusal> {
        if let Some(refusal) = self.records.get(resource).and_then(|record| record.refusal(now, wish)) {
            return Err(refusal);
        }
        Ok(self.write(resource, |record, tokens| record.claim(now, wish, tokens)))
    }

    /// Lengthens a held lease to the full ttl from now; never acquires, revives or shortens.
    pub fn renew(&mut self, now: Instant, resource: &ResourceName, upkeep: &Upkeep) -> Told<RenewReply> {
        self.write(resource, |record, tokens| record.renew(now, upkeep, tokens))
    }

    /// Gives a hold or a place back, or takes it away.
    pub fn release(&mut self, now: Instant, resource: &ResourceName, claim: ClaimId, manner: Manner) -> Told<ReleaseReply> {
        self.write(resource, |record, tokens| record.release(now, (claim, manner), tokens))
    }

    /// Ends the leases and ghosts of one resource now, as if their time were over (a `lock_delay` begins), and grants to its waiters.
    pub fn expire(&mut self, now: Instant, resource: &ResourceName) -> Vec<Grant> {
        self.write(resource, |record, tokens| record.cut(now, tokens))
    }

    /// Settles every record, and forgets those that nobody holds or waits for any more.
    pub fn sweep(&mut self, now: Instant) -> Vec<Grant> {
        let mut grants = Vec::new();
        for record in self.records.values_mut() {
            grants.extend(record.settle(now, &mut self.tokens));
        }
        self.records.retain(|_, record| !record.is_idle());
        grants
    }

    /// Who holds and who waits now. Writes nothing: a hold that ran out is not shown, its waiters are shown as waiters still.
    pub fn inspect(&self, now: Instant, resource: &ResourceName) -> View {
        self.records.get(resource).map_or(View { holders: Vec::new(), waiters: Vec::new() }, |record| record.view(now))
    }

    /// Every resource that is held or waited for now, sorted by name.
    pub fn list(&self, now: Instant) -> Vec<(ResourceName, View)> {
        let views = self.records.iter().map(|(resource, record)| (resource.clone(), record.view(now)));
        views.filter(|(_, view)| !view.is_free()).collect()
    }

    /// How many records there are, those that ran out unnoticed included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if there is no record at all.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn write<R>(&mut self, resource: &ResourceName, act: impl FnOnce(&mut Record, &mut Tokens) -> R) -> R {
        let record = self.records.entry(resource.clone()).or_default();
        let result = act(record, &mut self.tokens);
        if record.is_idle() {
            self.records.remove(resource);
        }
        result
    }
}

impl View {
    /// True if nobody holds or waits.
    pub fn is_free(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }
}

impl<R> Told<R> {
    fn new(reply: R, grants: Vec<Grant>) -> Told<R> {
        Told { reply, grants, revoked: Vec::new() }
    }
}

/// One counter for all resources, so that tokens rise across them.
#[derive(Debug, Default)]
struct Tokens {
    last: u64,
}

impl Tokens {
    fn next(&mut self) -> Token {
        self.last += 1;
        Token::new(0, self.last).expect("floors end at 2^52, and nobody lives to see 2^52 grants")
    }

    fn block(&mut self, count: u32) -> Option<Block> {
        let last = count.checked_sub(1)?;
        let first = self.next();
        self.last += u64::from(last);
        Some(Block { first, count })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Capacity { in_use, wanted } => {
                write!(f, "the resource is in use with {in_use} permits in all, not {wanted}")
            }
            Refusal::Permits { before, wanted } => {
                write!(f, "the claim asked for {before} permits before, and for {wanted} now")
            }
        }
    }
}

impl core::error::Error for Refusal {}
