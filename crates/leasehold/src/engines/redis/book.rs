//! What an engine remembers of its own claims: which are unanswered, where contention was met, who holds and waits.

use super::link::LinkId;
use leasehold_core::{ClaimId, Instant, ReqNo, ResourceName, Token};
use leasehold_wire::{Change, Entry, HoldState};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::time::Duration;

/// How long a resource counts as contended after contention was met there.
const CONTENDED_FOR: Duration = Duration::from_secs(5);
/// How many contended resources are remembered; beyond that the old ones are forgotten.
const MOST_CONTENDED: usize = 4096;

/// The memory of one engine. Nothing here waits or sends.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Claims that were handed to a connection and not answered, with each connection that carried one.
    unanswered: FxHashMap<ClaimId, SmallVec<[LinkId; 1]>>,
    contended: HashMap<ResourceName, Instant>,
    /// The latest time on the server's clock that an answer told, in µs: what is sent now will be run later.
    server_us: u64,
    known: FxHashMap<ClaimId, Known>,
    /// Claims that the registry still names and that are over.
    gone: Vec<ClaimId>,
    dirty: bool,
}

/// A claim of this client that may hold or wait.
#[derive(Debug)]
struct Known {
    resource: ResourceName,
    since: Instant,
    /// `None` until the store said how it stands.
    state: Option<HoldState>,
    token: Option<Token>,
    life: Duration,
    until: Instant,
    /// When its entry in the queue was made, as far as it is known to have one.
    made: Option<u64>,
    /// False if it may have another than is known, made since then.
    sure: bool,
    unsure_since: u64,
    /// The longest that any of its asks by script wanted a place to live: an entry that is not lengthened lives as long as the ask
    /// that made it wanted, and later asks must not tell less.
    place_life: Duration,
    /// Its last ask by script, and the last that it was told a grant for.
    asked: ReqNo,
    granted: ReqNo,
    /// How the registry names it.
    written: Option<(HoldState, Option<Token>)>,
}

/// What is to be written to the registry.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) gone: Vec<ClaimId>,
    pub(super) changes: Vec<Change>,
    /// How many entries there are once this is written.
    pub(super) entries: usize,
    /// How long the longest lease or place lives; `None` if nothing is held or waited for.
    pub(super) life: Option<Duration>,
}

impl Book {
    /// A claim is about to be handed to a connection, for the `first` time or again: from now on a release must go out behind it.
    /// True if it should ask by script.
    pub(super) fn sent(
        &mut self,
        (claim, first): (ClaimId, bool),
        by: LinkId,
        about: (&ResourceName, Duration, Instant),
    ) -> bool {
        let (resource, life, now) = about;
        self.unanswered.entry(claim).or_default().push(by);
        let until = now + life;
        self.known.entry(claim).or_insert_with(|| Known {
            resource: resource.clone(),
            since: now,
            state: None,
            token: None,
            life,
            until,
            made: None,
            // Of a later ask than the first nothing is known any more.
            sure: first,
            unsure_since: 0,
            place_life: Duration::ZERO,
            asked: ReqNo(0),
            granted: ReqNo(0),
            written: None,
        });
        self.is_contended(resource, now)
    }

    /// The claim was answered, or surely never will have an effect.
    pub(super) fn answered(&mut self, claim: ClaimId, by: LinkId) {
        let Some(carriers) = self.unanswered.get_mut(&claim) else { return };
        if let Some(at) = carriers.iter().position(|carrier| *carrier == by) {
            carriers.swap_remove(at);
        }
        if carriers.is_empty() {
            self.unanswered.remove(&claim);
        }
    }

    /// Each connection that carried an unanswered claim of this id, once.
    pub(super) fn carriers(&self, claim: ClaimId) -> Vec<LinkId> {
        let Some(carriers) = self.unanswered.get(&claim) else { return Vec::new() };
        let mut carriers = carriers.to_vec();
        carriers.sort_by_key(|carrier| carrier.generation);
        carriers.dedup();
        carriers
    }

    /// A release was answered that went out behind all of `carriers`.
    pub(super) fn settled(&mut self, claim: ClaimId, carriers: &[LinkId]) {
        let Some(left) = self.unanswered.get_mut(&claim) else { return };
        left.retain(|carrier| !carriers.contains(carrier));
        if left.is_empty() {
            self.unanswered.remove(&claim);
        }
    }

    /// A connection has ended: no release can go out behind what it carried, nor behind what those before it carried.
    pub(super) fn ended(&mut self, link: LinkId) {
        self.unanswered.retain(|_, carriers| {
            carriers.retain(|carrier| carrier.side != link.side || carrier.generation > link.generation);
            !carriers.is_empty()
        });
    }

    /// What is known of a claim's entry in the queue.
    pub(super) fn entry(&self, claim: ClaimId) -> Entry {
        let Some(known) = self.known.get(&claim) else { return Entry::Unknown(0) };
        let sure = known.sure && (known.asked == ReqNo(0) || !self.unanswered.contains_key(&claim));
        known.entry(sure)
    }

    /// A claim was handed to a connection, to be asked for by script for a place of that life: what it is to tell of its entry,
    /// which from then on may be another, and the life to ask for.
    pub(super) fn asks(&mut self, claim: ClaimId, (no, place_life): (ReqNo, Duration)) -> (Entry, Duration) {
        let others = self.unanswered.get(&claim).is_some_and(|carriers| carriers.len() > 1);
        let Some(known) = self.known.get_mut(&claim) else { return (Entry::Unknown(0), place_life) };
        let told = known.entry(known.sure);
        if known.sure && (!others || known.asked == ReqNo(0)) {
            known.unsure_since = self.server_us;
        }
        (known.asked, known.sure) = (no, false);
        known.place_life = known.place_life.max(place_life);
        (told, known.place_life)
    }

    /// An ask by script was answered: then the claim had an entry that was made at that time, or none.
    pub(super) fn has(&mut self, claim: ClaimId, no: ReqNo, made: Option<u64>) {
        self.server_us = self.server_us.max(made.unwrap_or(0));
        let Some(known) = self.known.get_mut(&claim) else { return };
        // A grant took it out.
        let made = made.filter(|_| known.granted < no);
        // Two asks have made one each: of the first, if it is granted, the word will name an ask before the last.
        let two = known.sure && known.made.is_some() && made.is_some() && known.made != made;
        known.made = if two { known.made.max(made) } else { made };
        known.sure = !two;
    }

    /// A claim was granted out of the queue, by an ask and all before it. A later ask tells by its answer how it stands.
    pub(super) fn left_queue(&mut self, claim: ClaimId, by: ReqNo) {
        let Some(known) = self.known.get_mut(&claim) else { return };
        known.granted = known.granted.max(by);
        if known.sure && known.asked <= by {
            known.made = None;
        }
    }

    /// True if others may wait for `resource`.
    pub(super) fn is_contended(&self, resource: &ResourceName, now: Instant) -> bool {
        !self.contended.is_empty() && self.contended.get(resource).is_some_and(|at| now.since(*at) < CONTENDED_FOR)
    }

    /// Another was in the way on `resource`.
    pub(super) fn met_contention(&mut self, resource: &ResourceName, now: Instant) {
        if self.contended.len() >= MOST_CONTENDED {
            self.contended.retain(|_, at| now.since(*at) < CONTENDED_FOR);
        }
        if self.contended.len() < MOST_CONTENDED {
            self.contended.insert(resource.clone(), now);
        }
    }

    /// Nobody was in the way on `resource`.
    pub(super) fn met_none(&mut self, resource: &ResourceName) {
        if !self.contended.is_empty() {
            self.contended.remove(resource);
        }
    }

    /// The store said how a claim stands. True if the registry's writer is to be woken.
    pub(super) fn stands(&mut self, claim: ClaimId, state: HoldState, token: Option<Token>, now: Instant) -> bool {
        let Some(known) = self.known.get_mut(&claim) else { return false };
        if known.state != Some(state) && known.state != Some(HoldState::Detached) {
            known.since = now;
        }
        known.state = Some(state);
        known.token = token.or(known.token);
        known.until = now + known.life;
        known.written != Some((state, known.token)) && !std::mem::replace(&mut self.dirty, true)
    }

    /// A hold was lengthened.
    pub(super) fn lengthened(&mut self, claim: ClaimId, now: Instant) {
        if let Some(known) = self.known.get_mut(&claim) {
            known.until = now + known.life;
        }
    }

    /// The registry names the hold as detached already.
    pub(super) fn detached(&mut self, claim: ClaimId) {
        if let Some(known) = self.known.get_mut(&claim) {
            known.state = Some(HoldState::Detached);
            known.written = Some((HoldState::Detached, known.token));
        }
    }

    /// The registry shows another token of this claim than its last: what it should show, as if that were written now.
    pub(super) fn outdated(&mut self, claim: ClaimId, now: Instant) -> Option<Change> {
        let known = self.known.get_mut(&claim)?;
        let (state, (_, Some(shown))) = (known.state?, known.written?) else { return None };
        if Some(shown) == known.token {
            return None;
        }
        known.written = Some((state, known.token));
        Some(Change { claim, age: now.since(known.since), state, token: known.token, resource: known.resource.clone() })
    }

    /// How long the longest lease or place lives; `None` if nothing is held or waited for.
    pub(super) fn longest_life(&self) -> Option<Duration> {
        self.known.values().filter(|known| known.state.is_some()).map(|known| known.life).max()
    }

    /// The claim neither holds nor waits. True if the registry's writer is to be woken.
    pub(super) fn over(&mut self, claim: ClaimId) -> bool {
        let Some(known) = self.known.remove(&claim) else { return false };
        if known.written.is_none() {
            return false;
        }
        self.gone.push(claim);
        !std::mem::replace(&mut self.dirty, true)
    }

    /// The resource of a claim that may hold or wait, and its token.
    pub(super) fn known(&self, claim: ClaimId) -> Option<(ResourceName, Option<Token>)> {
        self.known.get(&claim).map(|known| (known.resource.clone(), known.token))
    }

    /// Takes what is to be written: what changed, or all.
    pub(super) fn delta(&mut self, now: Instant, all: bool) -> Delta {
        self.dirty = false;
        // A hold whose lease ended without a word is nobody's any more.
        let Book { known, gone, .. } = self;
        known.retain(|claim, known| {
            let over = now > known.until + known.life;
            if over && known.written.is_some() {
                gone.push(*claim);
            }
            !over
        });
        let mut changes = Vec::new();
        for (claim, known) in &mut self.known {
            let Some(state) = known.state else { continue };
            if !all && known.written == Some((state, known.token)) {
                continue;
            }
            known.written = Some((state, known.token));
            let (age, token, resource) = (now.since(known.since), known.token, known.resource.clone());
            changes.push(Change { claim: *claim, age, state, token, resource });
        }
        let life = self.longest_life();
        let entries = self.known.values().filter(|known| known.written.is_some()).count();
        Delta { gone: std::mem::take(&mut self.gone), changes, entries, life }
    }

    /// What was taken could not be written: it is to be taken again.
    pub(super) fn put_back(&mut self, delta: Delta) {
        self.gone.extend(delta.gone);
        for change in delta.changes {
            if let Some(known) = self.known.get_mut(&change.claim) {
                known.written = None;
            }
        }
        self.dirty = true;
    }
}

impl Known {
    fn entry(&self, sure: bool) -> Entry {
        match self.made {
            None if sure => Entry::Absent,
            None => Entry::Unknown(self.unsure_since),
            Some(made) if sure => Entry::Made(made),
            Some(made) => Entry::Likely(made, self.unsure_since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::Side;
    use super::*;

    const CLAIM: ClaimId = ClaimId::new(1, 2);
    const NOW: Instant = Instant::from_nanos(1_000_000_000);
    const LIFE: Duration = Duration::from_secs(30);

    fn link(side: Side, generation: u64) -> LinkId {
        LinkId { side, generation }
    }

    fn name() -> ResourceName {
        ResourceName::new("a").unwrap()
    }

    #[test]
    fn a_claim_stays_unanswered_on_each_connection_that_carried_it_until_a_release_goes_out_behind_it() {
        let mut book = Book::default();
        let (old, new) = (link(Side::Caller, 1), link(Side::Driver, 2));
        book.sent((CLAIM, true), old, (&name(), LIFE, NOW));
        book.sent((CLAIM, true), new, (&name(), LIFE, NOW));
        book.answered(CLAIM, new);
        assert_eq!(book.carriers(CLAIM), [old]);
        book.sent((CLAIM, true), new, (&name(), LIFE, NOW));
        book.settled(CLAIM, &[old]);
        assert_eq!(book.carriers(CLAIM), [new]);
    }

    #[test]
    fn a_connection_that_ended_leaves_no_unanswered_claims_behind() {
        let mut book = Book::default();
        let (old, new) = (link(Side::Driver, 1), link(Side::Driver, 3));
        book.sent((CLAIM, true), old, (&name(), LIFE, NOW));
        book.sent((CLAIM, true), new, (&name(), LIFE, NOW));
        book.sent((ClaimId::new(1, 3), true), old, (&name(), LIFE, NOW));
        book.ended(old);
        assert_eq!(book.carriers(CLAIM), [new]);
        assert_eq!(book.unanswered.len(), 1);
    }

    #[test]
    fn contention_is_remembered_for_a_while() {
        let mut book = Book::default();
        let by = link(Side::Caller, 1);
        assert!(!book.sent((CLAIM, true), by, (&name(), LIFE, NOW)));
        book.met_contention(&name(), NOW);
        assert!(book.sent((CLAIM, true), by, (&name(), LIFE, NOW)));
        assert!(!book.sent((CLAIM, true), by, (&name(), LIFE, NOW + CONTENDED_FOR)));
    }

    fn asks(book: &mut Book, (no, by): (u32, LinkId)) -> Entry {
        book.sent((CLAIM, no == 1), by, (&name(), LIFE, NOW));
        book.asks(CLAIM, (ReqNo(no), LIFE)).0
    }

    fn queued(book: &mut Book, (no, by): (u32, LinkId), made: u64) {
        book.has(CLAIM, ReqNo(no), Some(made));
        book.answered(CLAIM, by);
    }

    #[test]
    fn an_entry_is_known_by_the_answer_to_an_ask_until_a_grant_takes_it_out() {
        let (mut book, by) = (Book::default(), link(Side::Driver, 1));
        assert_eq!(book.entry(CLAIM), Entry::Unknown(0), "of a claim that others made");
        assert_eq!(asks(&mut book, (1, by)), Entry::Absent);
        queued(&mut book, (1, by), 7);
        assert_eq!(book.entry(CLAIM), Entry::Made(7));
        assert_eq!(asks(&mut book, (2, by)), Entry::Made(7));
        queued(&mut book, (2, by), 7);
        book.left_queue(CLAIM, ReqNo(2));
        assert_eq!(book.entry(CLAIM), Entry::Absent);
        // It did not hold for long.
        assert_eq!(asks(&mut book, (3, by)), Entry::Absent);
        queued(&mut book, (3, by), 9);
        book.left_queue(CLAIM, ReqNo(2));
        assert_eq!(book.entry(CLAIM), Entry::Made(9), "the word of the grant before comes late");
    }

    #[test]
    fn an_entry_may_be_another_while_asks_are_unanswered_since_what_was_known_before_the_first_of_them() {
        let (mut book, by) = (Book::default(), link(Side::Caller, 1));
        book.has(ClaimId::new(1, 3), ReqNo(1), Some(5));
        assert_eq!(asks(&mut book, (1, by)), Entry::Absent);
        assert_eq!(book.entry(CLAIM), Entry::Unknown(5));
        queued(&mut book, (1, by), 7);
        assert_eq!(asks(&mut book, (2, by)), Entry::Made(7));
        book.has(ClaimId::new(1, 3), ReqNo(2), Some(20));
        assert_eq!(asks(&mut book, (3, by)), Entry::Likely(7, 7));
        queued(&mut book, (2, by), 18);
        assert_eq!(book.entry(CLAIM), Entry::Likely(18, 7));
        queued(&mut book, (3, by), 18);
        assert_eq!(book.entry(CLAIM), Entry::Made(18));
        // Also those that a connection took along.
        for told in [Entry::Made(18), Entry::Likely(18, 20)] {
            assert_eq!(asks(&mut book, (4, by)), told);
            book.ended(by);
            assert_eq!(book.entry(CLAIM), Entry::Likely(18, 20));
        }
    }

    #[test]
    fn a_later_ask_wants_no_shorter_life() {
        let (mut book, by) = (Book::default(), link(Side::Driver, 1));
        book.sent((CLAIM, true), by, (&name(), LIFE, NOW));
        let lives = [2, 1, 3].map(|n| book.asks(CLAIM, (ReqNo(n), LIFE * n)).1);
        assert_eq!(lives, [LIFE * 2, LIFE * 2, LIFE * 3]);
    }

    #[test]
    fn an_ask_by_native_commands_makes_no_entry() {
        let mut book = Book::default();
        book.sent((CLAIM, true), link(Side::Caller, 1), (&name(), LIFE, NOW));
        assert_eq!(book.entry(CLAIM), Entry::Absent);
    }

    #[test]
    fn of_two_entries_the_second_is_given_up_whichever_is_granted() {
        let (mut book, one, two) = (Book::default(), link(Side::Caller, 1), link(Side::Driver, 2));
        assert_eq!(asks(&mut book, (1, one)), Entry::Absent);
        assert_eq!(asks(&mut book, (2, two)), Entry::Unknown(0), "the first may arrive behind it");
        queued(&mut book, (2, two), 7);
        assert_eq!(book.entry(CLAIM), Entry::Likely(7, 0));
        queued(&mut book, (1, one), 8);
        book.left_queue(CLAIM, ReqNo(2));
        assert_eq!(book.entry(CLAIM), Entry::Likely(8, 0));
        assert_eq!(asks(&mut book, (3, two)), Entry::Likely(8, 0));
        queued(&mut book, (3, two), 8);
        book.left_queue(CLAIM, ReqNo(2));
        assert_eq!(book.entry(CLAIM), Entry::Made(8));
    }

    #[test]
    fn an_entry_that_a_grant_took_out_is_none_though_the_answer_is_told_behind_it() {
        let (mut book, by) = (Book::default(), link(Side::Caller, 1));
        asks(&mut book, (1, by));
        book.left_queue(CLAIM, ReqNo(1));
        queued(&mut book, (1, by), 7);
        assert_eq!(book.entry(CLAIM), Entry::Absent);
    }

    #[test]
    fn an_entry_may_be_any_where_a_claim_that_asked_before_was_forgotten() {
        let (mut book, by) = (Book::default(), link(Side::Driver, 1));
        asks(&mut book, (1, by));
        queued(&mut book, (1, by), 7);
        book.over(CLAIM);
        assert_eq!(asks(&mut book, (2, by)), Entry::Unknown(0));
        assert_eq!(book.entry(CLAIM), Entry::Unknown(0));
        queued(&mut book, (2, by), 9);
        assert_eq!(book.entry(CLAIM), Entry::Made(9));
    }

    #[test]
    fn a_claim_that_comes_and_goes_between_two_writes_is_never_written() {
        let mut book = Book::default();
        book.sent((CLAIM, true), link(Side::Caller, 1), (&name(), LIFE, NOW));
        assert!(book.stands(CLAIM, HoldState::Held, None, NOW));
        assert!(!book.over(CLAIM));
        let delta = book.delta(NOW, false);
        assert!(delta.gone.is_empty() && delta.changes.is_empty() && delta.life.is_none());
    }

    #[test]
    fn what_was_written_is_taken_back_when_it_is_over() {
        let mut book = Book::default();
        book.sent((CLAIM, true), link(Side::Caller, 1), (&name(), LIFE, NOW));
        book.stands(CLAIM, HoldState::Held, None, NOW);
        assert_eq!(book.delta(NOW, false).changes.len(), 1);
        assert!(book.delta(NOW, false).changes.is_empty());
        assert!(book.over(CLAIM));
        assert_eq!(book.delta(NOW, false).gone, [CLAIM]);
    }
}
