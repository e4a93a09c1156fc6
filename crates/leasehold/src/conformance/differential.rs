//! Random commands put to the engine and to [`leasehold_core::Table`], with equal answers.

use super::Store;
use super::actor::{Actor, Attempt, fresh_name, no_residue};
use crate::engine::{Notice, Party, PartyState};
use leasehold_core::table::{Seat, Standing, Table, Told, Upkeep, Wish};
use leasehold_core::{
    Ask, ClaimId, ClaimReply, Contention, Grant, Instant, Manner, ReleaseReply, RenewReply, ReqNo, ResourceName, Terms, Token,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

/// Three random walks of 300 commands; the environment variable `LEASEHOLD_SEED` sets the first one's seed.
pub async fn random_commands_are_answered_as_by_the_reference(store: &dyn Store) {
    let asked_for = std::env::var("LEASEHOLD_SEED").ok().map(|seed| read_seed(&seed));
    let first = asked_for.unwrap_or_else(|| store.world().random());
    for turn in 0..3 {
        differential(store, first.wrapping_add(turn), 300).await;
    }
}

fn read_seed(text: &str) -> u64 {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("LEASEHOLD_SEED is hexadecimal, got {text:?}"))
}

/// Puts `steps` random commands of several clients to the engine and to the reference, one after another, and compares the
/// answers: tokens by their order, spans not at all. Nothing ends by time.
///
/// # Panics
/// Where an answer differs. What is printed to stderr before has the seed, for the same commands again.
pub async fn differential(store: &dyn Store, seed: u64, steps: usize) {
    eprintln!("differential: {steps} steps of seed {seed:#x}; LEASEHOLD_SEED={seed:#x} begins with the same");
    let mut twin = Twin::new(store, seed).await;
    for _ in 0..steps {
        twin.step().await;
    }
    twin.end(store).await;
}

/// The engine and the reference side by side.
struct Twin {
    dice: Dice,
    step: u32,
    actors: Vec<Actor>,
    resources: Vec<(ResourceName, u32)>,
    attempts: Vec<Known>,
    table: Table,
    /// The engine's last token of each claim.
    tokens: BTreeMap<ClaimId, Token>,
    granted: BTreeSet<(ClaimId, Token)>,
    last: Option<Token>,
}

struct Known {
    attempt: Attempt,
    actor: usize,
    /// Released, or withdrawn by an operator: its client never claims with this id again.
    over: bool,
}

impl Twin {
    async fn new(store: &dyn Store, seed: u64) -> Twin {
        let mut actors = Vec::new();
        for _ in 0..3 {
            actors.push(Actor::join(store).await);
        }
        let permits = actors[0].capabilities().permits;
        let resources = vec![(fresh_name(store), 1), (fresh_name(store), if permits { 4 } else { 1 })];
        let (tokens, granted) = (BTreeMap::new(), BTreeSet::new());
        let (dice, table) = (Dice(seed), Table::new(0));
        Twin { dice, step: 0, actors, resources, attempts: Vec::new(), table, tokens, granted, last: None }
    }

    async fn step(&mut self) {
        self.step += 1;
        match self.dice.below(100) {
            0..30 => self.claim_afresh().await,
            30..45 => self.claim_again().await,
            45..55 => self.renew().await,
            55..80 => self.release(Manner::Own { keep: Duration::ZERO }).await,
            80..83 => self.release(Manner::Own { keep: terms().ttl }).await,
            83..87 => self.release(Manner::Revoke).await,
            87..92 => self.release(Manner::RevokeNow).await,
            _ => self.inspect().await,
        }
    }

    async fn claim_afresh(&mut self) {
        let actor = self.dice.below(self.actors.len());
        let (resource, capacity) = &self.resources[self.dice.below(self.resources.len())];
        let permits = 1 + self.dice.below(*capacity as usize) as u32;
        let attempt = self.actors[actor].attempt(resource).with(terms()).wanting(permits, *capacity);
        self.attempts.push(Known { attempt, actor, over: false });
        self.claim(self.attempts.len() - 1).await;
    }

    async fn claim_again(&mut self) {
        if let Some(at) = self.pick()
            && !self.attempts[at].over
        {
            self.claim(at).await;
        }
    }

    async fn claim(&mut self, at: usize) {
        let wait = self.dice.below(4) > 0 && self.actors[0].capabilities().queue;
        let first = self.attempts[at].attempt.last_ask() == ReqNo(0);
        let mut reply = self.attempts[at].attempt.ask(wait).await;
        let mut told = self.reference_claim(at, wait);
        // The engine may answer a first ask busy where the reference queues it.
        if first && wait && matches!((reply, told.reply), (ClaimReply::Busy(_), ClaimReply::Queued(_))) {
            reply = self.attempts[at].attempt.ask(wait).await;
            told = self.reference_claim(at, wait);
        }
        match (reply, told.reply) {
            (ClaimReply::Granted(grant), ClaimReply::Granted(reference)) => self.same_grant(grant, reference),
            (ClaimReply::Queued(by), ClaimReply::Queued(reference)) => self.same_rival(at, by, reference),
            (ClaimReply::Busy(by), ClaimReply::Busy(reference)) => self.same_rival(at, by, reference),
            (ClaimReply::Stale, ClaimReply::Stale) => {}
            (reply, reference) => self.differ(at, "claim", &reply, &reference),
        }
        self.hear(told).await;
    }

    fn reference_claim(&mut self, at: usize, wait: bool) -> Told<ClaimReply> {
        let (now, attempt) = (self.now(), &self.attempts[at].attempt);
        let ask = Ask { no: attempt.last_ask(), first: attempt.last_ask() == ReqNo(1), wait, spare: 0 };
        let wish = Wish { claim: attempt.claim, want: attempt.want, terms: attempt.terms, ask };
        self.table.claim(now, &attempt.resource, &wish).expect("capacities and permits never change in a walk")
    }

    async fn renew(&mut self) {
        let Some(at) = self.pick() else { return };
        let now = self.now();
        let attempt = &self.attempts[at].attempt;
        let upkeep = Upkeep { claim: attempt.claim, want: attempt.want, terms: attempt.terms, detached: false, tokens: 0 };
        let reply = attempt.renew().await;
        let told = self.table.renew(now, &attempt.resource, &upkeep);
        match (reply, told.reply) {
            // A store that is not sure says that others may wait.
            (RenewReply::Renewed(renewed), RenewReply::Renewed(reference))
                if renewed.bound == reference.bound && renewed.others_wait >= reference.others_wait => {}
            (RenewReply::Lost, RenewReply::Lost) => {}
            (reply, reference) => self.differ(at, "renewal", &reply, &reference),
        }
        self.hear(told).await;
    }

    async fn release(&mut self, manner: Manner) {
        if let Some(at) = self.pick() {
            self.release_of(at, manner).await;
        }
    }

    async fn release_of(&mut self, at: usize, manner: Manner) {
        let now = self.now();
        let by_owner = matches!(manner, Manner::Own { .. });
        let by = if by_owner { self.attempts[at].actor } else { self.dice.below(self.actors.len()) };
        let attempt = self.attempts[at].attempt.seen_by(&self.actors[by]);
        let before = self.table.inspect(now, &attempt.resource);
        let waited = before.waiters.iter().any(|seat| seat.claim == attempt.claim);
        let held = before.holders.iter().any(|seat| seat.claim == attempt.claim && seat.standing == Standing::Live);
        let reply = attempt.release(manner).await;
        let told = self.table.release(now, &attempt.resource, attempt.claim, manner);
        match (reply, told.reply) {
            (ReleaseReply::Taken(by), ReleaseReply::Taken(reference)) => self.same_rival(at, by, reference),
            // A store may remember what the reference forgets.
            (ReleaseReply::Released, ReleaseReply::Absent | ReleaseReply::Taken(_)) if self.attempts[at].over => {}
            (reply, reference) if reply == reference => {}
            (reply, reference) => self.differ(at, "release", &reply, &reference),
        }
        // A hold that an operator revoked is still its client's to ask for, in vain.
        self.attempts[at].over |= by_owner || matches!(manner, Manner::RevokeNow) || waited;
        if held && !by_owner {
            let claim = self.attempts[at].attempt.claim;
            self.hear_revoked(claim).await;
        }
        self.hear(told).await;
    }

    async fn inspect(&mut self) {
        let which = self.dice.below(self.resources.len());
        let by = self.dice.below(self.actors.len());
        self.same_view(which, by).await;
    }

    async fn same_view(&mut self, which: usize, by: usize) {
        let now = self.now();
        let resource = &self.resources[which].0;
        let shown = self.actors[by].inspect(resource).await;
        let view = self.table.inspect(now, resource);
        // Holders of several permits have no order among themselves.
        let set = |parties: Vec<_>| parties.into_iter().collect::<BTreeMap<Option<ClaimId>, _>>();
        let (holders, reference) = (set(states(&shown.holders)), set(standings(&view.holders)));
        let waiters = (states(&shown.waiters), standings(&view.waiters));
        let step = self.step;
        assert_eq!(holders, reference, "step {step}: the holders of {resource:?}, by the engine and by the reference");
        assert_eq!(waiters.0, waiters.1, "step {step}: the waiters of {resource:?}, by the engine and by the reference");
        for party in &shown.holders {
            let known = party.claim.and_then(|claim| self.tokens.get(&claim));
            let same = party.token.zip(known).is_none_or(|(shown, known)| shown == *known);
            assert!(same, "step {step}: the token shown is the last one, {known:?}: {party:?}");
        }
    }

    /// What the reference would tell others must come to them from the engine.
    async fn hear<R>(&mut self, told: Told<R>) {
        for reference in told.grants {
            // Without a push the token stays unknown until the claim's next ask.
            self.tokens.remove(&reference.claim);
            if self.actors[0].capabilities().push {
                let actor = self.actor_of(reference.claim);
                let grant = self.actors[actor].hear_grant(reference.claim).await;
                self.same_grant(grant, reference);
            }
        }
    }

    async fn hear_revoked(&mut self, claim: ClaimId) {
        if self.actors[0].capabilities().push {
            let actor = self.actor_of(claim);
            self.actors[actor].hear_revoked(claim).await;
        }
    }

    fn same_grant(&mut self, grant: Grant, reference: Grant) {
        let step = self.step;
        assert_eq!(grant.claim, reference.claim, "step {step}: whom the grant is for");
        assert_eq!(grant.bound, reference.bound, "step {step}: how long the grant to {:?} lasts", grant.claim);
        assert!(Some(grant.token) > self.last, "step {step}: token {} is not larger than {:?}", grant.token, self.last);
        self.last = Some(grant.token);
        self.tokens.insert(grant.claim, grant.token);
        self.granted.insert((grant.claim, grant.token));
    }

    fn same_rival(&self, at: usize, engine: Contention, reference: Contention) {
        // Of several holders any may be named, and a store need not know any.
        let alone = self.attempts[at].attempt.want.capacity() == 1;
        if alone && engine.by.is_some() && engine.by != reference.by {
            self.differ(at, "rival", &engine.by, &reference.by);
        }
    }

    fn differ(&self, at: usize, what: &str, engine: &dyn Debug, reference: &dyn Debug) -> ! {
        let Attempt { claim, resource, .. } = &self.attempts[at].attempt;
        let step = self.step;
        panic!("step {step}: the {what} of {claim} on {resource:?} is {engine:?} by the engine, {reference:?} by the reference")
    }

    fn actor_of(&self, claim: ClaimId) -> usize {
        let known = self.attempts.iter().find(|known| known.attempt.claim == claim);
        known.expect("only attempts of the walk are granted").actor
    }

    /// An attempt that holds or waits, more often than not; else one of the latest.
    fn pick(&mut self) -> Option<usize> {
        let views = self.resources.iter().map(|(resource, _)| self.table.inspect(self.now(), resource));
        let present: Vec<ClaimId> =
            views.flat_map(|view| view.holders.into_iter().chain(view.waiters)).map(|seat| seat.claim).collect();
        if !present.is_empty() && self.dice.below(4) > 0 {
            let claim = present[self.dice.below(present.len())];
            return self.attempts.iter().position(|known| known.attempt.claim == claim);
        }
        let recent = self.attempts.len().min(10);
        (recent > 0).then(|| self.attempts.len() - 1 - self.dice.below(recent))
    }

    /// The reference's clock all but stands still.
    fn now(&self) -> Instant {
        Instant::from_nanos(1 + u64::from(self.step))
    }

    /// Takes everything away, in order, and looks for what should not be there.
    async fn end(mut self, store: &dyn Store) {
        for (which, by) in [(0, 1), (1, 2)] {
            self.same_view(which, by).await;
        }
        for at in 0..self.attempts.len() {
            self.step += 1;
            self.release_of(at, Manner::RevokeNow).await;
        }
        assert!(self.table.is_empty(), "the reference ends empty");
        for (resource, _) in &self.resources {
            no_residue(store, &self.actors[0], resource).await;
        }
        for actor in &mut self.actors {
            for notice in actor.left_over() {
                if let Notice::Granted(Grant { claim, token, .. }) = notice {
                    assert!(self.granted.contains(&(claim, token)), "a grant was pushed that nobody made: {claim} {token}");
                }
            }
        }
    }
}

/// Nothing ends by time in a walk.
fn terms() -> Terms {
    let hour = Duration::from_secs(3600);
    Terms { ttl: hour * 2, lock_delay: Duration::ZERO, place_life: hour, place_margin: Duration::from_secs(1) }
}

fn states(parties: &[Party]) -> Vec<(Option<ClaimId>, PartyState)> {
    parties.iter().map(|party| (party.claim, party.state)).collect()
}

fn standings(seats: &[Seat]) -> Vec<(Option<ClaimId>, PartyState)> {
    let state = |standing| match standing {
        Standing::Live => PartyState::Live,
        Standing::Detached => PartyState::Detached,
        Standing::Ghost => PartyState::Ghost,
        Standing::Revoked => PartyState::Revoked,
    };
    seats.iter().map(|seat| (Some(seat.claim), state(seat.standing))).collect()
}

/// SplitMix64: the same numbers for the same seed, everywhere and always.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
