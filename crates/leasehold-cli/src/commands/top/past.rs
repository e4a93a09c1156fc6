//! What looks tell about the time between them: holders that changed, leases that ran out. Pure.

use leasehold::engine::{Inspection, Party, PartyState};
use leasehold::{ClaimId, ResourceName, Token};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long a lock that nobody holds or waits for is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How many locks are remembered beside those of the last look.
const MOST_GONE: usize = 20_000;

/// The span that rates are taken over, unless looks are rare.
const WINDOW: Duration = Duration::from_secs(10);

/// When a look was under way, on a clock of the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The store may have read from here on.
    pub asked: Duration,
    /// The store had read by then.
    pub told: Duration,
}

/// Changes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// That were seen.
    pub per_second: f64,
    /// True if more than every other look saw one, so that others may well have gone unseen between two looks.
    pub is_least: bool,
}

/// What was seen of all locks so far.
#[derive(Debug)]
pub struct Past {
    window: Duration,
    first: Option<Duration>,
    traces: HashMap<ResourceName, Trace>,
    changes: VecDeque<(Duration, u32)>,
    /// True if the rate of any lock is the least that it may be.
    is_least: bool,
    ran_out: u64,
}

/// What was seen of one lock.
#[derive(Debug, Default)]
struct Trace {
    holds: Vec<Hold>,
    changes: VecDeque<(Duration, u32)>,
    ran_out: u32,
    seen: Duration,
}

/// A hold as the last look showed it.
#[derive(Clone, Debug)]
struct Hold {
    claim: Option<ClaimId>,
    foreign: Option<String>,
    token: Option<Token>,
    is_alive: bool,
    left: Option<Duration>,
    /// The most that any look showed of its lease.
    most: Duration,
    /// By then the look was over that showed `left`.
    told: Duration,
}

impl Past {
    /// For looks that are this far apart.
    pub fn new(every: Duration) -> Past {
        Past {
            window: WINDOW.max(every * 3),
            first: None,
            traces: HashMap::new(),
            changes: VecDeque::new(),
            is_least: false,
            ran_out: 0,
        }
    }

    /// Compares a look with the one before. The first has none before it, so that it counts nothing.
    pub fn absorb(&mut self, when: When, all: &[Inspection]) {
        let is_first = self.first.is_none();
        self.first.get_or_insert(when.asked);
        let (mut changes, mut ran_out) = (0, 0);
        for lock in all {
            let trace = self.traces.entry(lock.resource.clone()).or_default();
            let (changed, ended) = trace.absorb(when, &lock.holders);
            if !is_first && changed > 0 {
                trace.changes.push_back((when.told, changed));
                changes += changed;
            }
            ran_out += ended;
        }
        for trace in self.traces.values_mut() {
            if trace.seen != when.told && !trace.holds.is_empty() {
                ran_out += trace.end_all(when);
            }
            forget(&mut trace.changes, when.told, self.window);
        }
        self.ran_out += u64::from(ran_out);
        self.changes.push_back((when.told, changes));
        forget(&mut self.changes, when.told, self.window);
        self.is_least = self.traces.values().any(|trace| self.is_least(&trace.changes));
        self.traces.retain(|_, trace| trace.seen + REMEMBERED > when.told);
        if self.traces.len() > all.len() + MOST_GONE {
            self.traces.retain(|_, trace| trace.seen == when.told);
        }
    }

    /// Changes per second of one lock, and how often its lease ran out.
    pub fn of(&self, resource: &ResourceName, now: Duration) -> (Rate, u32) {
        let rate = |trace: &Trace| Rate { per_second: self.rate(&trace.changes, now), is_least: self.is_least(&trace.changes) };
        self.traces.get(resource).map_or_else(Default::default, |trace| (rate(trace), trace.ran_out))
    }

    /// The same for all locks.
    pub fn of_all(&self, now: Duration) -> (Rate, u64) {
        (Rate { per_second: self.rate(&self.changes, now), is_least: self.is_least }, self.ran_out)
    }

    /// True if more than half of the looks saw a lock change, and they were some.
    fn is_least(&self, changes: &VecDeque<(Duration, u32)>) -> bool {
        changes.len() > 1 && changes.len() * 2 > self.changes.len()
    }

    fn rate(&self, changes: &VecDeque<(Duration, u32)>, now: Duration) -> f64 {
        let span = now.saturating_sub(self.first.unwrap_or(now)).min(self.window);
        let count: u32 = changes.iter().map(|(_, count)| count).sum();
        if span.is_zero() { 0.0 } else { f64::from(count) / span.as_secs_f64() }
    }
}

impl Trace {
    /// How many holders are others than before, and how many leases ran out.
    fn absorb(&mut self, when: When, holders: &[Party]) -> (u32, u32) {
        self.seen = when.told;
        let mut before = std::mem::take(&mut self.holds);
        let mut changed = 0;
        for party in holders {
            let known = before.iter().position(|hold| hold.is_of(party)).map(|at| before.swap_remove(at));
            let is_same =
                known.as_ref().is_some_and(|hold| hold.token.is_none() || party.token.is_none() || hold.token == party.token);
            changed += u32::from(!is_same);
            self.holds.push(Hold::new(when, party, known));
        }
        let ended = before.iter().map(|hold| u32::from(hold.ran_out_by(when))).sum();
        self.ran_out += ended;
        (changed, ended)
    }

    fn end_all(&mut self, when: When) -> u32 {
        let ended = self.holds.drain(..).map(|hold| u32::from(hold.ran_out_by(when))).sum();
        self.ran_out += ended;
        ended
    }
}

impl Hold {
    fn new(when: When, party: &Party, before: Option<Hold>) -> Hold {
        let left = party.lease_left.unwrap_or_default();
        let (most, token) = before.map_or((left, None), |hold| (hold.most.max(left), hold.token));
        Hold {
            claim: party.claim,
            foreign: party.foreign.clone(),
            // On some stores a token is told a moment after its hold, so one that was known is kept.
            token: party.token.or(token),
            is_alive: matches!(party.state, PartyState::Live | PartyState::Detached),
            left: party.lease_left,
            most,
            told: when.told,
        }
    }

    fn is_of(&self, party: &Party) -> bool {
        self.claim == party.claim && self.foreign == party.foreign
    }

    /// True if this hold, which a later look does not show, most likely ended with its lease.
    fn ran_out_by(&self, later: When) -> bool {
        let Some(left) = self.left else { return false };
        self.is_alive && left < self.most / 3 && self.told + left <= later.asked
    }
}

fn forget(changes: &mut VecDeque<(Duration, u32)>, now: Duration, window: Duration) {
    while changes.front().is_some_and(|(at, _)| *at + window <= now) {
        changes.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> When {
        let at = Duration::from_millis(ms);
        When { asked: at, told: at }
    }

    fn name() -> ResourceName {
        ResourceName::new("a").unwrap()
    }

    fn held(claim: u64, token: u64, left_ms: u64) -> Vec<Inspection> {
        let mut holder = Party::default();
        holder.claim = Some(ClaimId::new(1, claim));
        holder.token = Token::new(0, token);
        holder.lease_left = Some(Duration::from_millis(left_ms));
        let mut lock = Inspection::free(name());
        lock.holders.push(holder);
        vec![lock]
    }

    fn past(looks: &[(u64, Vec<Inspection>)]) -> Past {
        let mut past = Past::new(Duration::from_secs(1));
        for (ms, all) in looks {
            past.absorb(at(*ms), all);
        }
        past
    }

    fn rate(past: &Past, ms: u64) -> f64 {
        past.of(&name(), Duration::from_millis(ms)).0.per_second
    }

    #[test]
    fn the_first_look_counts_nothing() {
        let past = past(&[(0, held(1, 1, 900))]);
        assert_eq!((rate(&past, 0), rate(&past, 1000), past.of_all(Duration::ZERO)), (0.0, 0.0, (Rate::default(), 0)));
    }

    #[test]
    fn another_claim_or_token_is_a_change_and_a_renewal_is_none() {
        let looks = [(0, held(1, 1, 900)), (1000, held(1, 1, 990)), (2000, held(2, 2, 900)), (4000, held(2, 3, 900))];
        assert_eq!(rate(&past(&looks), 4000), 0.5);
    }

    #[test]
    fn a_token_that_is_told_later_is_no_change() {
        let mut untold = held(1, 1, 900);
        untold[0].holders[0].token = None;
        assert_eq!(
            rate(&past(&[(0, untold.clone()), (1000, held(1, 7, 900)), (2000, untold), (3000, held(1, 7, 900))]), 3000),
            0.0
        );
    }

    #[test]
    fn a_lock_that_was_free_meanwhile_has_a_new_holder() {
        assert_eq!(rate(&past(&[(0, held(1, 1, 900)), (1000, vec![]), (2000, held(2, 2, 900))]), 2000), 0.5);
        assert_eq!(rate(&past(&[(0, vec![]), (1000, held(1, 1, 900))]), 1000), 1.0);
    }

    #[test]
    fn a_rate_is_the_least_where_most_looks_saw_a_change() {
        let of = |changed: fn(u64) -> bool| {
            let claim = |at: u64| (1..=at).filter(|&at| changed(at)).count() as u64;
            let past = past(&(0..12).map(|at| (at * 1000, held(1 + claim(at), 1, 900))).collect::<Vec<_>>());
            let now = Duration::from_secs(11);
            (past.of(&name(), now).0.is_least, past.of_all(now).0.is_least)
        };
        assert_eq!((of(|_| true), of(|at| at % 3 > 0)), ((true, true), (true, true)));
        assert_eq!((of(|at| at % 2 > 0), of(|at| at == 5)), ((false, false), (false, false)));
    }

    #[test]
    fn changes_are_forgotten_after_the_window() {
        let mut past = past(&[(0, held(1, 1, 900)), (1000, held(2, 2, 900))]);
        past.absorb(at(10_000), &held(2, 2, 900));
        assert_eq!(rate(&past, 10_000), 0.1);
        past.absorb(at(11_000), &held(2, 2, 900));
        assert_eq!((rate(&past, 11_000), past.of_all(Duration::from_secs(11)).0), (0.0, Rate::default()));
    }

    #[test]
    fn a_lease_that_shrank_to_its_end_ran_out() {
        let looks = [(0, held(1, 1, 3000)), (1000, held(1, 1, 2000)), (2500, held(1, 1, 500))];
        let mut gone = past(&looks);
        gone.absorb(at(3500), &[]);
        assert_eq!((gone.of(&name(), Duration::ZERO).1, gone.of_all(Duration::ZERO).1), (1, 1));
        let mut taken = past(&looks);
        taken.absorb(at(3500), &held(2, 2, 3000));
        assert_eq!(taken.of(&name(), Duration::ZERO).1, 1);
        taken.absorb(at(4500), &held(2, 2, 3000));
        assert_eq!(taken.of_all(Duration::ZERO).1, 1);
    }

    #[test]
    fn what_may_have_been_released_or_renewed_did_not_run_out() {
        let ran_out = |looks: &[(u64, Vec<Inspection>)]| past(looks).of_all(Duration::ZERO).1;
        // Gone before its lease's end.
        assert_eq!(ran_out(&[(0, held(1, 1, 3000)), (2500, held(1, 1, 500)), (2900, vec![])]), 0);
        // More than a third was left: a renewal was not even due.
        assert_eq!(ran_out(&[(0, held(1, 1, 900)), (1000, vec![])]), 0);
        // The holder is gone by its own will, and others are kept out.
        let mut ghost = held(1, 1, 500);
        ghost[0].holders[0].state = PartyState::Ghost;
        assert_eq!(ran_out(&[(0, held(1, 1, 3000)), (2500, ghost), (3500, vec![])]), 0);
    }

    #[test]
    fn gone_locks_are_forgotten_in_the_end() {
        let mut past = past(&[(0, held(1, 1, 900)), (1000, vec![])]);
        assert_eq!(past.traces.len(), 1);
        past.absorb(at(601_000), &[]);
        assert_eq!(past.traces.len(), 0);
    }
}
