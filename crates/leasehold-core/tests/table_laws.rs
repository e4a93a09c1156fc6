//! Laws of the lock table under random commands and a clock that moves by leaps.

use leasehold_core::table::{Seat, Standing, Table, Told, Upkeep, View, Wish};
use leasehold_core::{
    Ask, Bound, ClaimId, ClaimReply, Grant, Instant, Manner, ReleaseReply, RenewReply, Renewed, ReqNo, ResourceName, Terms,
    Token, Want,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const CAPACITIES: [u32; 2] = [1, 4];
const CLIENTS: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Claim { who: usize, at: usize, permits: u32, wait: bool, spans: Spans },
    Renew { who: usize, at: usize, permits: u32, spans: Spans, tokens: u32 },
    Release { who: usize, at: usize, manner: Manner },
    Expire { at: usize },
    Sweep,
    Pass { ms: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Spans {
    ttl: u64,
    delay: u64,
    life: u64,
}

impl Spans {
    fn terms(self) -> Terms {
        let ms = Duration::from_millis;
        Terms { ttl: ms(self.ttl), lock_delay: ms(self.delay), place_life: ms(self.life), place_margin: ms(self.life / 3) }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, at) = (0..CLIENTS, 0..CAPACITIES.len());
    let spans = (1u64..600, prop_oneof![3 => Just(0u64), 1 => 1u64..300], 1u64..450).prop_map(|(ttl, delay, life)| Spans {
        ttl,
        delay,
        life,
    });
    let manner = prop_oneof![
        5 => Just(Manner::Own { keep: Duration::ZERO }),
        2 => (1u64..300).prop_map(|ms| Manner::Own { keep: Duration::from_millis(ms) }),
        1 => Just(Manner::Revoke),
        1 => Just(Manner::RevokeNow),
    ];
    let claim = (who.clone(), at.clone(), 1u32..=4, any::<bool>(), spans.clone())
        .prop_map(|(who, at, permits, wait, spans)| Step::Claim { who, at, permits, wait: wait || permits > 1, spans });
    let renew = (who.clone(), at.clone(), 1u32..=4, spans, prop_oneof![Just(0), 1u32..20])
        .prop_map(|(who, at, permits, spans, tokens)| Step::Renew { who, at, permits, spans, tokens });
    let release = (who, at.clone(), manner).prop_map(|(who, at, manner)| Step::Release { who, at, manner });
    let step = prop_oneof![
        10 => claim,
        3 => renew,
        5 => release,
        1 => at.prop_map(|at| Step::Expire { at }),
        1 => Just(Step::Sweep),
        6 => (0u64..400).prop_map(|ms| Step::Pass { ms }),
    ];
    prop::collection::vec(step, 1..120)
}

/// The table, and what it said so far.
struct Witness {
    table: Table,
    now: Instant,
    last: Option<Token>,
    /// The serial of each client's attempt at each resource, and what it wants.
    attempts: BTreeMap<(usize, usize), (u64, u32)>,
    asks: u32,
    terms: BTreeMap<ClaimId, Terms>,
    numbers: BTreeMap<ClaimId, ReqNo>,
}

impl Witness {
    fn new() -> Witness {
        Witness {
            table: Table::new(7),
            now: Instant::from_nanos(1_000_000_000),
            last: Token::new(0, 7),
            attempts: BTreeMap::new(),
            asks: 0,
            terms: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Claim { who, at, permits, wait, spans } => self.claim((who, at), permits, wait, spans.terms()),
            Step::Renew { who, at, permits, spans, tokens } => self.renew((who, at), (permits, tokens), spans.terms()),
            Step::Release { who, at, manner } => self.release((who, at), manner),
            Step::Expire { at } => self.expire(at),
            Step::Sweep => self.sweep(),
            Step::Pass { ms } => self.now = self.now + Duration::from_millis(ms),
        }
        self.listed_as_inspected();
    }

    fn claim(&mut self, whose: (usize, usize), permits: u32, wait: bool, terms: Terms) {
        let (claim, permits) = self.attempt(whose, permits.min(CAPACITIES[whose.1]));
        let before = self.view(whose.1);
        let wish = self.wish(claim, (permits, whose.1), wait, terms);
        let told = self.table.claim(self.now, &name(whose.1), &wish).unwrap();
        self.check(whose.1, &before, &told, Some(claim));
        let after = self.view(whose.1);
        let (held, waits) = (held(&after, claim), waits(&after, claim));
        let revoked = before.holders.iter().any(|seat| seat.claim == claim && seat.standing == Standing::Revoked);
        assert!(!revoked || told.reply == ClaimReply::Stale, "a revoked claim is never granted again");
        match told.reply {
            ClaimReply::Granted(grant) => {
                assert_eq!(grant.bound, Bound::FromSend(terms.ttl));
                let seat = held.expect("who is granted holds");
                assert_eq!(Some(grant.token), seat.token);
                assert!(seat.left >= terms.ttl, "the lease is the full ttl at least");
                assert!(waits.is_none(), "who holds does not wait");
            }
            ClaimReply::Queued(_) => {
                assert!(wait, "who does not wait has no place");
                let left = waits.expect("who is queued waits").left;
                let old = before.waiters.iter().find(|seat| seat.claim == claim).map_or(Duration::ZERO, |seat| seat.left);
                assert!(left >= terms.place_life && left >= old, "a repeat never shortens a place");
            }
            ClaimReply::Busy(contention) => {
                assert!(!wait && waits.is_none());
                assert!(contention.by.is_some(), "somebody is in the way");
            }
            ClaimReply::Stale => {
                assert!(matches!(held.expect("a mark is a hold").standing, Standing::Ghost | Standing::Revoked));
            }
        }
        self.claim_is_idempotent(whose.1, &wish, told.reply);
    }

    /// The same claim at the same instant: the same answer and the same view but for tokens.
    fn claim_is_idempotent(&mut self, at: usize, wish: &Wish, first: ClaimReply) {
        let before = self.view(at);
        let again = self.table.claim(self.now, &name(at), wish).unwrap();
        self.check(at, &before, &again, Some(wish.claim));
        assert_eq!(core::mem::discriminant(&first), core::mem::discriminant(&again.reply));
        assert_eq!(again.grants, [], "a repeat changes nothing for others");
        assert_eq!(without_tokens(before), without_tokens(self.view(at)));
    }

    fn renew(&mut self, whose: (usize, usize), (permits, tokens): (u32, u32), terms: Terms) {
        let (claim, _) = self.attempt(whose, 1);
        let before = self.view(whose.1);
        let want = Want::new(permits.min(CAPACITIES[whose.1]), CAPACITIES[whose.1]).unwrap();
        let last = self.last;
        let told = self.table.renew(self.now, &name(whose.1), &Upkeep { claim, want, terms, detached: false, tokens });
        self.check(whose.1, &before, &told, None);
        let live = held(&before, claim).filter(|seat| seat.standing == Standing::Live);
        match told.reply {
            RenewReply::Renewed(Renewed { bound, block, others_wait }) => {
                let before = live.expect("a renewal never acquires and never revives");
                let after = held(&self.view(whose.1), claim).expect("who renewed holds");
                assert_eq!(bound, Bound::FromSend(terms.ttl));
                assert!(after.left >= terms.ttl && after.left >= before.left, "a renewal never shortens");
                assert_eq!((after.token, after.permits), (before.token, before.permits.min(want.permits())));
                self.attempts.insert(whose, (claim.serial(), after.permits));
                assert_eq!(others_wait, !self.view(whose.1).waiters.is_empty(), "who renews hears whether others wait");
                assert_eq!(block.map_or(0, |block| block.count), tokens);
                if let Some(block) = block {
                    let end = block.first.after(tokens - 1);
                    assert!(Some(block.first) > last && told.grants.iter().all(|grant| Some(grant.token) > end));
                    self.last = self.last.max(end);
                }
            }
            RenewReply::Lost => assert_eq!(live, None, "who holds is renewed"),
        }
    }

    fn release(&mut self, whose: (usize, usize), manner: Manner) {
        let (claim, _) = self.attempt(whose, 1);
        let before = self.view(whose.1);
        let told = self.table.release(self.now, &name(whose.1), claim, manner);
        self.check(whose.1, &before, &told, Some(claim));
        let known = held(&before, claim).is_some() || waits(&before, claim).is_some();
        assert_eq!(told.reply == ReleaseReply::Released, known);
        let after = self.view(whose.1);
        assert!(waits(&after, claim).is_none(), "who released does not wait");
        let left = held(&after, claim).map(|seat| seat.standing);
        match manner {
            Manner::Own { .. } => assert!(matches!(left, None | Some(Standing::Ghost))),
            Manner::Revoke => assert!(matches!(left, None | Some(Standing::Ghost | Standing::Revoked))),
            Manner::RevokeNow => assert_eq!(left, None),
        }
        let again = self.table.release(self.now, &name(whose.1), claim, manner);
        assert_eq!(again.grants, [], "a second release changes nothing");
        assert_eq!(after, self.view(whose.1));
        if matches!(manner, Manner::Own { .. }) {
            let ghost = left.is_some();
            let (serial, permits) = self.attempts[&whose];
            // A released id is only asked for again to see that its ghost is stale.
            self.attempts.insert(whose, (serial + u64::from(!ghost), permits));
        }
    }

    fn expire(&mut self, at: usize) {
        let before = self.view(at);
        let grants = self.table.expire(self.now, &name(at));
        self.check_grants(at, &before, &grants, None);
        self.settled(at, None);
    }

    fn sweep(&mut self) {
        let before = [self.view(0), self.view(1)];
        let grants = self.table.sweep(self.now);
        for (at, before) in before.iter().enumerate() {
            let here = |grant: &&Grant| waits(before, grant.claim).is_some();
            let grants: Vec<Grant> = grants.iter().filter(here).copied().collect();
            self.check_order(at, before, &grants, None);
            self.settled(at, None);
        }
        self.rise(&grants);
        assert_eq!(self.table.len(), self.table.list(self.now).len(), "a sweep leaves no record that nobody uses");
    }

    fn check<R>(&mut self, at: usize, before: &View, told: &Told<R>, asker: Option<ClaimId>)
    where
        R: Copy + Into<Answered>,
    {
        let answered: Answered = told.reply.into();
        let mut grants = told.grants.clone();
        self.check_order(at, before, &grants, asker);
        grants.extend(answered.0);
        grants.sort_by_key(|grant| grant.token);
        self.rise(&grants);
        self.settled(at, asker);
        self.nobody_is_thrown_out(at, before, asker);
    }

    fn check_grants(&mut self, at: usize, before: &View, grants: &[Grant], asker: Option<ClaimId>) {
        self.check_order(at, before, grants, asker);
        self.rise(grants);
    }

    /// Every token is larger than all before.
    fn rise(&mut self, grants: &[Grant]) {
        for grant in grants {
            assert!(Some(grant.token) > self.last, "{grant:?} after {:?}", self.last);
            self.last = Some(grant.token);
        }
    }

    /// Whoever stood before a waiter that was granted holds too, or was short of its margin; the grant is the rest of the place.
    fn check_order(&self, at: usize, before: &View, grants: &[Grant], asker: Option<ClaimId>) {
        let after = self.view(at);
        assert!(grants.is_sorted_by(|a, b| a.token < b.token), "grants are told in the order in which they were made");
        for grant in grants {
            assert_ne!(Some(grant.claim), asker, "who asks is answered, not pushed to");
            let rank = before.waiters.iter().position(|seat| seat.claim == grant.claim).expect("who is granted waited");
            let place = before.waiters[rank];
            assert!(place.left >= self.terms[&grant.claim].place_margin, "nobody is granted short of its margin");
            let hold = held(&after, grant.claim).unwrap();
            assert_eq!(hold.token, Some(grant.token));
            assert_eq!(hold.left, place.left + self.terms[&grant.claim].lock_delay, "the grant ends with the place");
            assert_eq!(grant.bound, Bound::FromAsk(self.numbers[&grant.claim]));
            let earlier = before.waiters[..rank].iter().filter(|seat| waits(&after, seat.claim).is_some());
            for seat in earlier.filter(|seat| Some(seat.claim) != asker) {
                assert!(seat.left < self.terms[&seat.claim].place_margin, "{seat:?} was passed over by {grant:?}");
            }
        }
    }

    /// After a verb that writes: what is held fits, and the first waiter that could be granted does not fit.
    fn settled(&self, at: usize, asker: Option<ClaimId>) {
        let view = self.view(at);
        let taken: u32 = view.holders.iter().map(|seat| seat.permits).sum();
        assert!(taken <= CAPACITIES[at], "{taken} of {} permits are held", CAPACITIES[at]);
        let able = |seat: &&Seat| Some(seat.claim) == asker || seat.left >= self.terms[&seat.claim].place_margin;
        if let Some(head) = view.waiters.iter().find(able) {
            assert!(taken + head.permits > CAPACITIES[at], "{head:?} is live, first in line and fits");
        }
    }

    /// A hold ends by its own time or its own release only.
    fn nobody_is_thrown_out(&self, at: usize, before: &View, asker: Option<ClaimId>) {
        let after = self.view(at);
        for seat in before.holders.iter().filter(|seat| Some(seat.claim) != asker) {
            let kept = after.holders.iter().any(|kept| kept.claim == seat.claim && kept.left >= seat.left);
            assert!(kept, "{seat:?} has time left and nobody released it");
        }
        let order = |view: &View| view.waiters.iter().map(|seat| seat.claim).collect::<Vec<_>>();
        let stayed: Vec<_> = order(&after).into_iter().filter(|claim| waits(before, *claim).is_some()).collect();
        let expected: Vec<_> = order(before).into_iter().filter(|claim| stayed.contains(claim)).collect();
        assert_eq!(stayed, expected, "places keep their order");
    }

    fn listed_as_inspected(&self) {
        let inspected = (0..CAPACITIES.len()).map(|at| (name(at), self.view(at)));
        let inspected: Vec<_> = inspected.filter(|(_, view)| !view.is_free()).collect();
        assert_eq!(self.table.list(self.now), inspected);
    }

    fn attempt(&mut self, whose: (usize, usize), permits: u32) -> (ClaimId, u32) {
        let client = (whose.0 * 10 + whose.1) as u64;
        let view = self.view(whose.1);
        let (serial, wanted) = self.attempts.entry(whose).or_insert((1, permits));
        // What a claim wants may only change with a fresh id; one that is unknown is as good as fresh.
        let claim = ClaimId::new(client, *serial);
        let held = held(&view, claim).filter(|seat| seat.standing == Standing::Live);
        *wanted = held.or(waits(&view, claim)).map_or(permits, |seat| seat.permits);
        (claim, *wanted)
    }

    fn wish(&mut self, claim: ClaimId, (permits, at): (u32, usize), wait: bool, terms: Terms) -> Wish {
        self.asks += 1;
        self.terms.insert(claim, terms);
        self.numbers.insert(claim, ReqNo(self.asks));
        let ask = Ask { no: ReqNo(self.asks), first: false, wait, spare: 0 };
        Wish { claim, want: Want::new(permits, CAPACITIES[at]).unwrap(), terms, ask }
    }

    fn view(&self, at: usize) -> View {
        self.table.inspect(self.now, &name(at))
    }
}

/// The grant in a reply, if it has one.
struct Answered(Option<Grant>);

impl From<ClaimReply> for Answered {
    fn from(reply: ClaimReply) -> Answered {
        Answered(if let ClaimReply::Granted(grant) = reply { Some(grant) } else { None })
    }
}

impl From<RenewReply> for Answered {
    fn from(_: RenewReply) -> Answered {
        Answered(None)
    }
}

impl From<ReleaseReply> for Answered {
    fn from(_: ReleaseReply) -> Answered {
        Answered(None)
    }
}

fn name(at: usize) -> ResourceName {
    ResourceName::new(["a", "b"][at]).unwrap()
}

fn held(view: &View, claim: ClaimId) -> Option<Seat> {
    // In the delay after its own lost lease a claim can hold anew.
    view.holders.iter().rev().find(|seat| seat.claim == claim).copied()
}

fn waits(view: &View, claim: ClaimId) -> Option<Seat> {
    view.waiters.iter().find(|seat| seat.claim == claim).copied()
}

fn without_tokens(mut view: View) -> View {
    view.holders.iter_mut().for_each(|seat| seat.token = None);
    view
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_keeps_its_laws_under_random_commands(steps in steps()) {
        let mut witness = Witness::new();
        for step in &steps {
            witness.take(step);
        }
    }
}
