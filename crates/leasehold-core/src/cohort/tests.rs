//! Who is next and when the claim has had its turn, in virtual time.

use super::*;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use proptest::prelude::*;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(1_000_000_000 + ms * 1_000_000)
}

fn cohort() -> Cohort<u32> {
    Cohort::new(Duration::ZERO)
}

fn join(cohort: &mut Cohort<u32>, who: u32) -> (Ticket, Joined) {
    cohort.join(who, Instant::FAR)
}

/// A cohort of 1, which holds since 0 ms, and those behind it.
fn held(waiting: u32) -> Cohort<u32> {
    let mut cohort = cohort();
    for who in 1..=1 + waiting {
        join(&mut cohort, who);
    }
    assert_eq!(cohort.granted(at(0)), Some(1));
    cohort
}

#[test]
fn one_claim_is_asked_for_however_many_join() {
    let mut cohort = cohort();
    assert_eq!(join(&mut cohort, 1).1, Joined::Ask);
    assert_eq!(join(&mut cohort, 2).1, Joined::Wait);
    assert_eq!(cohort.granted(at(0)), Some(1));
    assert_eq!(join(&mut cohort, 3).1, Joined::Wait);
    assert_eq!(cohort.granted(at(0)), None, "somebody has it");
    assert_eq!(cohort.freed(at(1), true, None), Turn::HandOn);
    assert_eq!(cohort.granted(at(1)), Some(2));
}

#[test]
fn the_first_to_wait_for_a_hold_of_the_process_has_it_prepared() {
    let mut cohort = held(0);
    assert_eq!(join(&mut cohort, 2).1, Joined::Prepare);
    assert_eq!(join(&mut cohort, 3).1, Joined::Wait);
    assert_eq!(cohort.hand_offs_left(), Some(16));
    assert_eq!(cohort.freed(at(1), true, None), Turn::HandOn);
    assert_eq!(cohort.hand_offs_left(), None, "nobody holds");
    cohort.granted(at(1));
    assert_eq!(cohort.hand_offs_left(), Some(15));
    assert_eq!(held(0).hand_offs_left(), None, "nobody waits here");
}

#[test]
fn a_hold_that_nobody_waits_for_goes_back_to_the_store() {
    let mut cohort = held(0);
    assert_eq!(cohort.freed(at(1), true, Some(at(1))), Turn::GiveBack);
    assert!(!cohort.over());
    assert!(cohort.is_idle());
    assert_eq!(join(&mut cohort, 2).1, Joined::Ask, "it begins anew");
}

#[test]
fn a_tenure_has_sixteen_hand_offs_if_others_may_wait() {
    let mut cohort = held(40);
    for who in 2..=17 {
        assert_eq!(cohort.freed(at(1), true, None), Turn::HandOn);
        assert_eq!(cohort.granted(at(1)), Some(who));
    }
    assert_eq!(cohort.freed(at(1), true, None), Turn::GiveBack);
    assert!(cohort.over(), "those who wait want another claim");
    assert_eq!(cohort.granted(at(9)), Some(18), "in the order in which they came");
    assert_eq!(cohort.freed(at(9), true, None), Turn::HandOn, "a new tenure");
}

#[test]
fn a_tenure_lasts_fifty_milliseconds_if_others_may_wait() {
    let mut cohort = held(9);
    assert_eq!(cohort.freed(at(49), true, None), Turn::HandOn);
    assert_eq!(cohort.granted(at(49)), Some(2));
    assert_eq!(cohort.freed(at(50), true, None), Turn::GiveBack);
}

#[test]
fn a_tenure_goes_on_while_a_young_answer_says_that_nobody_else_waits() {
    let mut cohort = held(100);
    for who in 2..=100 {
        let now = u64::from(who) * 10;
        assert_eq!(cohort.freed(at(now), true, Some(at(now.saturating_sub(49)))), Turn::HandOn);
        assert_eq!(cohort.granted(at(now)), Some(who));
    }
    assert_eq!(cohort.freed(at(2000), true, Some(at(1950))), Turn::GiveBack, "an old answer");
}

#[test]
fn a_hold_shorter_than_min_hold_is_not_passed_on() {
    let mut cohort = Cohort::new(Duration::from_millis(10));
    for who in 1..=3 {
        join(&mut cohort, who);
    }
    cohort.granted(at(0));
    assert_eq!(cohort.freed(at(9), false, None), Turn::HandOn, "whoever never knew of its hold did nothing under it");
    cohort.granted(at(9));
    assert_eq!(cohort.freed(at(18), true, None), Turn::GiveBack);
}

#[test]
fn a_claim_that_nobody_waits_for_any_more_is_given_back() {
    let mut cohort = cohort();
    let (first, _) = join(&mut cohort, 1);
    let (second, _) = join(&mut cohort, 2);
    assert_eq!(cohort.leave(first), Some(1));
    assert_eq!(cohort.wanted(), Turn::Stay);
    assert_eq!(cohort.leave(second), Some(2));
    assert_eq!(cohort.wanted(), Turn::GiveBack);
    assert_eq!(cohort.granted(at(0)), None, "a grant that comes all the same is nobody's");
    assert!(!cohort.over());
    assert_eq!(held(0).wanted(), Turn::Stay, "a hold that somebody has is not");
}

#[test]
fn waits_end_in_their_order_and_not_before_their_time() {
    let mut cohort = cohort();
    let (soon, _) = cohort.join(1, at(20));
    cohort.join(2, at(10));
    cohort.join(3, Instant::FAR);
    assert_eq!(cohort.next_give_up(), Some(at(10)));
    assert_eq!(cohort.give_up(at(9)), None);
    assert_eq!(cohort.give_up(at(30)), Some(2));
    assert_eq!(cohort.leave(soon), Some(1));
    assert_eq!(cohort.give_up(at(30)), None);
    assert_eq!(cohort.next_give_up(), None);
}

#[test]
fn a_ticket_is_good_once_even_if_its_place_is_used_again() {
    let mut cohort = cohort();
    let (first, _) = join(&mut cohort, 1);
    assert_eq!(cohort.leave(first), Some(1));
    join(&mut cohort, 2);
    assert_eq!(cohort.leave(first), None);
    assert_eq!(cohort.granted(at(0)), Some(2));
}

#[test]
fn a_line_that_comes_and_goes_behind_one_who_stays_does_not_grow() {
    let mut line = Line::default();
    line.push(0, Instant::FAR);
    for who in 1..10_000 {
        let ticket = line.push(who, Instant::FAR);
        line.remove(ticket);
    }
    assert!(line.size() <= 2, "{}", line.size());
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Remove(usize),
    Pop,
    Late(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<u8>().prop_map(Step::Push),
        any::<usize>().prop_map(Step::Remove),
        Just(Step::Pop),
        any::<u8>().prop_map(Step::Late),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// The line is as a queue would be that is searched through.
    #[test]
    fn a_line_keeps_the_order_whoever_leaves(steps in steps()) {
        let mut line = Line::default();
        let mut model: VecDeque<(Ticket, u32, Instant)> = VecDeque::new();
        for (who, step) in (0..).zip(steps) {
            match step {
                Step::Push(ms) => {
                    // One in eight waits for ever.
                    let give_up = if ms % 8 == 0 { Instant::FAR } else { at(ms.into()) };
                    model.push_back((line.push(who, give_up), who, give_up));
                }
                Step::Remove(at) if !model.is_empty() => {
                    let (ticket, who, _) = model.remove(at % model.len()).unwrap();
                    prop_assert_eq!(line.remove(ticket), Some(who));
                    prop_assert_eq!(line.remove(ticket), None);
                }
                Step::Remove(_) => {}
                Step::Pop => prop_assert_eq!(line.pop(), model.pop_front().map(|(_, who, _)| who)),
                Step::Late(ms) => {
                    let now = at(ms.into());
                    let late = (0..model.len()).filter(|place| model[*place].2 <= now).min_by_key(|place| (model[*place].2, model[*place].0));
                    prop_assert_eq!(line.take_late(now), late.and_then(|place| model.remove(place)).map(|(_, who, _)| who));
                }
            }
            prop_assert_eq!(line.len(), model.len());
            prop_assert_eq!(line.next_give_up(), model.iter().map(|(_, _, at)| *at).filter(|at| *at < Instant::FAR).min());
        }
        let rest: Vec<u32> = std::iter::from_fn(|| line.pop()).collect();
        prop_assert_eq!(rest, model.into_iter().map(|(_, who, _)| who).collect::<Vec<_>>());
        prop_assert!(line.is_empty());
    }
}

/// Ten minutes of a busy process beside a rival that comes at any time: how long the rival waits.
#[test]
fn a_rival_waits_for_one_tenure_and_one_hold() {
    for hold in [1, 5, 30, 100] {
        let mut longest = 0;
        for comes in (0..400).step_by(7) {
            longest = longest.max(wait_of_a_rival(hold, comes));
        }
        assert!(longest <= 50 + hold, "{longest} ms with holds of {hold} ms");
    }
}

/// Everybody comes back at once; the store is asked at each grant, and tells at once.
fn wait_of_a_rival(hold: u64, comes: u64) -> u64 {
    let mut cohort = held(20);
    let (mut now, mut alone_at) = (0, None);
    loop {
        if alone_at.is_none_or(|alone_at| at(now).since(alone_at) > Duration::from_millis(25)) {
            alone_at = (now < comes).then_some(at(now));
        }
        now += hold;
        if cohort.freed(at(now), true, alone_at) == Turn::GiveBack {
            if now >= comes {
                return now - comes;
            }
            cohort.over();
            alone_at = None;
        }
        let who = cohort.granted(at(now)).unwrap();
        join(&mut cohort, who);
    }
}
