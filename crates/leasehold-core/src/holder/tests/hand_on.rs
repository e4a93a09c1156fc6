//! A hold that is passed on inside the process, in virtual time.

use super::*;

#[test]
fn a_hold_is_handed_on_at_once_while_there_are_tokens() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 2);
    let deadline = world.holder.deadline();
    for next in [8, 9] {
        world.pass(Duration::from_millis(10));
        world.handle(Input::HandOn);
        assert_eq!(world.events(), [Event::Granted(token(next))]);
        assert_eq!((world.holder.token(), world.holder.deadline()), (Some(token(next)), deadline));
        assert_eq!(world.maybe_request(), None);
    }
}

#[test]
fn without_a_token_more_are_asked_for_and_the_hand_off_is_told_only_then() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 0);
    world.handle(Input::HandOn);
    assert_eq!((world.events(), world.holder.token()), (Vec::new(), None), "nobody holds yet");
    let renew = world.request();
    assert_eq!(renew.verb, Verb::Renew { detached: false, tokens: 32 });
    world.pass(Duration::from_millis(5));
    assert_eq!(world.events(), []);
    world.renewed(renew.no, Some((20, 16)), true);
    assert_eq!(world.events(), [Event::Granted(token(20))]);
    assert_eq!(world.spare_tokens(), 15);
    world.handle(Input::HandOn);
    assert_eq!(world.events(), [Event::Granted(token(21))]);
}

#[test]
fn a_renewal_that_left_before_the_hand_off_and_brings_no_token_is_followed_at_once_by_one_that_does() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 0);
    world.wake();
    let plain = world.request();
    assert_eq!(plain.verb, Verb::Renew { detached: false, tokens: 0 });
    world.handle(Input::HandOn);
    assert_eq!(world.maybe_request(), None, "one at a time");
    world.renewed(plain.no, None, true);
    assert_eq!(world.events(), []);
    let renew = world.request();
    assert_eq!(renew.verb, Verb::Renew { detached: false, tokens: 16 });
    world.renewed(renew.no, Some((30, 16)), true);
    assert_eq!(world.events(), [Event::Granted(token(30))]);
}

/// Hand-offs that come faster than the store answers take more tokens at once, but only while nobody else waits there.
#[test]
fn blocks_of_tokens_grow_while_hand_offs_wait_for_them_and_nobody_else_does() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 0);
    let blocks = [(32, false), (64, false), (128, false), (128, true), (16, true)];
    for (next, (tokens, others_wait)) in (1_000..).zip(blocks) {
        world.handle(Input::HandOn);
        let renew = world.request();
        assert_eq!(renew.verb, Verb::Renew { detached: false, tokens });
        // It has one to give, as it happens.
        world.renewed(renew.no, Some((next, 1)), others_wait);
        assert_eq!(world.events(), [Event::Granted(token(next))]);
    }
}

#[test]
fn a_hold_is_refreshed_for_its_line_when_tokens_run_short_or_news_are_old() {
    let mut world = World::waiting();
    let ask = world.request();
    let grant = Grant { spare: 16, ..world.grant_of(Bound::FromAsk(ask.no)) };
    world.handle(Input::Granted(grant));
    assert!(!world.holder.needs_refresh(world.now, 16), "out of a queue, with tokens");
    for _ in 0..9 {
        world.handle(Input::HandOn);
    }
    assert!(world.holder.needs_refresh(world.now, 16), "few tokens");
    assert!(!world.holder.needs_refresh(world.now, 7), "enough for the rest of the tenure");
    world.events();
    world.handle(Input::Refresh);
    let renew = world.request();
    assert_eq!(renew.verb, Verb::Renew { detached: false, tokens: 16 });
    world.renewed(renew.no, Some((100, 16)), true);
    assert!(!world.holder.needs_refresh(world.now, 16), "that others wait is news too");
    world.pass(Duration::from_millis(26));
    assert!(world.holder.needs_refresh(world.now, 16), "old news");
}

#[test]
fn tokens_out_of_order_are_not_used() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 16);
    for first in [1, 7, 8, 23] {
        world.handle(Input::HandOn);
        world.handle(Input::Refresh);
        world.events();
        let (renew, spare) = (world.request(), world.spare_tokens());
        world.renewed(renew.no, Some((first, 16)), true);
        assert_eq!(world.spare_tokens(), spare, "a block from {first} on");
    }
    world.handle(Input::HandOn);
    world.handle(Input::Refresh);
    let renew = world.request();
    world.renewed(renew.no, Some((24, 16)), true);
    assert_eq!(world.spare_tokens(), 11 + 16);
}

#[test]
fn a_hand_off_that_the_store_has_no_token_for_is_spent_and_given_back() {
    for block in [None, Some((1, 16)), Some((7, 16)), Some((8, 0))] {
        let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 0);
        world.handle(Input::HandOn);
        let renew = world.request();
        world.renewed(renew.no, block, false);
        assert_eq!(world.events(), [Event::Failed(Failed::Spent)], "{block:?}");
        assert!(matches!(world.request().verb, Verb::Release { keep: Duration::ZERO }));
    }
}

#[test]
fn a_fixed_lease_is_handed_on_with_a_token_and_a_full_lease_of_its_own() {
    let mut world = World::holding(HoldPolicy { renew: Renewal::Off, ..HoldPolicy::with_ttl(TTL) });
    world.handle(Input::Refresh);
    assert_eq!(world.maybe_request(), None, "a fixed lease is not lengthened under its holder");
    world.pass(BEAT);
    world.handle(Input::HandOn);
    assert_eq!(world.events(), []);
    let (renew, sent_at) = (world.request(), world.now);
    assert_eq!(renew.verb, Verb::Renew { detached: false, tokens: 1 });
    world.pass(BEAT / 2);
    world.renewed(renew.no, Some((8, 1)), true);
    assert_eq!(world.events(), [Event::Granted(token(8))]);
    assert_eq!(world.holder.deadline(), Some(Timing::default().deadline(sent_at, TTL)));
    assert_eq!(world.holder.poll_wake(), world.holder.deadline(), "no renewal");
}

#[test]
fn a_full_lease_counts_from_the_hand_off_whatever_was_on_its_way_then() {
    let mut world = World::new(Wait::Until(Instant::FAR), HoldPolicy::with_ttl(TTL), true);
    let ask = world.request();
    world.grant(ask.no, Bound::FromSend(TTL));
    world.handle(Input::Refresh);
    world.events();
    let early = world.request();
    world.pass(BEAT / 2);
    world.handle(Input::HandOn);
    world.renewed(early.no, Some((8, 1)), false);
    assert_eq!(world.events(), [], "that lease began before");
    let (renew, sent_at) = (world.request(), world.now);
    world.renewed(renew.no, None, false);
    assert_eq!(world.events(), [Event::Granted(token(8))]);
    assert_eq!(world.holder.deadline(), Some(Timing::default().deadline(sent_at, TTL)));
}

#[test]
fn in_doubt_a_hold_is_renewed_before_it_is_handed_on() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 16);
    world.now = world.holder.deadline().unwrap().before(TTL / 4);
    world.handle(Input::Tick);
    assert_eq!(world.events(), [Event::InDoubt]);
    let renew = world.request();
    world.handle(Input::HandOn);
    assert_eq!(world.events(), []);
    world.renewed(renew.no, None, true);
    assert_eq!(world.events(), [Event::Granted(token(8))], "whoever comes next was never in doubt");
    assert!(world.holder.deadline().unwrap().since(world.now) > TTL / 4 * 3);
}

#[test]
fn a_hand_off_that_no_renewal_comes_through_for_is_tried_again_with_pauses_and_spent_at_the_deadline() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 0);
    let deadline = world.holder.deadline().unwrap();
    world.handle(Input::HandOn);
    let mut tries = 0;
    while world.holder.is_open() {
        if let Some(renew) = world.maybe_request() {
            tries += 1;
            world.handle(Input::Reply(renew.no, Reply::Renew(Err(Fault::Down))));
        }
        world.wake();
    }
    assert!((3..40).contains(&tries), "{tries}");
    assert_eq!(world.now, deadline);
    let told: Vec<_> = world.events().into_iter().filter(|told| !matches!(told, Event::RenewalFailed(_))).collect();
    assert_eq!(told, [Event::Failed(Failed::Spent)]);
}

#[test]
fn each_holder_has_a_max_hold_of_its_own() {
    let max_hold = BEAT / 2 * 3;
    let mut world = World::prepared(HoldPolicy { max_hold: Some(max_hold), ..HoldPolicy::with_ttl(TTL) }, 16);
    world.wake();
    let renew = world.request();
    world.renewed(renew.no, None, true);
    world.pass(BEAT / 2 * 3);
    assert_eq!((world.maybe_request(), world.events()), (None, Vec::from([Event::Renewed])), "the first is not renewed any more");
    world.handle(Input::HandOn);
    let handed_on_at = world.now;
    assert_eq!(world.events(), [Event::Granted(token(8))]);
    let renew = world.request();
    world.renewed(renew.no, None, true);
    while world.holder.deadline().is_some() {
        world.wake();
        if let Some(renew) = world.maybe_request() {
            assert!(world.now <= handed_on_at + max_hold);
            world.renewed(renew.no, None, true);
        }
    }
    assert_eq!(world.events(), [Event::Renewed, Event::Renewed, Event::Lost(LostWhy::Ended)]);
}

#[test]
fn each_holder_has_a_min_hold_of_its_own() {
    let mut world = World::prepared(HoldPolicy { min_hold: TTL, ..HoldPolicy::with_ttl(TTL) }, 16);
    world.pass(BEAT);
    world.handle(Input::HandOn);
    world.pass(BEAT / 4);
    world.handle(Input::Release);
    assert_eq!(world.request().verb, Verb::Release { keep: TTL - BEAT / 4 });
}

#[test]
fn a_refresh_tells_when_nobody_waited_and_is_not_sent_in_a_row() {
    let mut world = World::prepared(HoldPolicy::with_ttl(TTL), 16);
    assert_eq!(world.holder.alone_at(), Some(world.now));
    world.handle(Input::Refresh);
    let (renew, sent_at) = (world.request(), world.now);
    assert_eq!(renew.verb, Verb::Renew { detached: false, tokens: 0 }, "there are enough");
    world.handle(Input::Refresh);
    assert_eq!(world.maybe_request(), None, "one at a time");
    world.pass(BEAT / 2);
    world.renewed(renew.no, None, false);
    assert_eq!(world.holder.alone_at(), Some(sent_at), "as old as the question");
    world.handle(Input::Refresh);
    let renew = world.request();
    world.renewed(renew.no, None, true);
    assert_eq!(world.holder.alone_at(), None);
    world.handle(Input::Refresh);
    let renew = world.request();
    world.handle(Input::Reply(renew.no, Reply::Renew(Err(Fault::Down))));
    world.handle(Input::Refresh);
    assert_eq!(world.maybe_request(), None, "renewals that fail have a pace of their own");
}
