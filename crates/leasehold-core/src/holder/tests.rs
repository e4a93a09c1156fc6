//! Behaviour of the machine in virtual time, and its laws under random inputs.

mod hand_on;

use super::*;
use crate::policy::Renewal;
use proptest::prelude::*;
use std::vec::Vec;

#[derive(Clone, Debug, PartialEq)]
enum Fault {
    Down,
    Unsure,
    Forbidden,
}

impl Trouble for Fault {
    fn is_permanent(&self) -> bool {
        *self == Fault::Forbidden
    }

    fn outcome_unknown(&self) -> bool {
        *self == Fault::Unsure
    }

    fn unanswered() -> Fault {
        Fault::Unsure
    }
}

/// A machine with a clock of its own.
struct World {
    now: Instant,
    holder: Holder<Fault>,
}

const TTL: Duration = Duration::from_secs(4);
const BEAT: Duration = Duration::from_secs(1);

fn token(n: u64) -> Token {
    Token::new(0, n).unwrap()
}

fn start(wait: Wait, policy: HoldPolicy, full_ttl: bool) -> Start {
    let (claim, want, timing) = (ClaimId::new(1, 2), Want::ALL_OF_ONE, Timing::default());
    Start { claim, want, policy, timing, wait, full_ttl, spare: 0, pause: Duration::ZERO, seed: 3 }
}

impl World {
    fn new(wait: Wait, policy: HoldPolicy, full_ttl: bool) -> World {
        let now = Instant::from_nanos(1_000_000_000_000);
        let start = start(wait, policy, full_ttl);
        World { now, holder: Holder::new(start, now) }
    }

    fn waiting() -> World {
        World::new(Wait::Until(Instant::FAR), HoldPolicy::with_ttl(TTL), false)
    }

    /// One that holds a full lease, with the number of its first request taken.
    fn holding(policy: HoldPolicy) -> World {
        let mut world = World::new(Wait::Until(Instant::FAR), policy, false);
        let ask = world.request();
        world.grant(ask.no, Bound::FromSend(policy.ttl));
        assert_eq!(world.events(), [Event::Granted(token(7))]);
        world
    }

    fn spare_tokens(&self) -> u32 {
        match &self.holder.phase {
            Phase::Held(hold) => hold.spare.count(),
            _ => 0,
        }
    }

    fn request(&mut self) -> Request {
        self.maybe_request().expect("a request is due")
    }

    fn maybe_request(&mut self) -> Option<Request> {
        let request = self.holder.poll_request(self.now);
        assert!(self.holder.poll_request(self.now).is_none(), "one request at a time");
        request
    }

    fn events(&mut self) -> Vec<Event<Fault>> {
        core::iter::from_fn(|| self.holder.poll_event()).collect()
    }

    fn handle(&mut self, input: Input<Fault>) {
        self.holder.handle(self.now, input);
    }

    fn grant(&mut self, no: ReqNo, bound: Bound) {
        self.handle(Input::Reply(no, Reply::Claim(Ok(ClaimReply::Granted(self.grant_of(bound))))));
    }

    fn grant_of(&self, bound: Bound) -> Grant {
        Grant { claim: self.holder.claim(), token: token(7), spare: 0, bound }
    }

    /// The answer to a renewal: the full ttl, and so many tokens from `first` on.
    fn renewed(&mut self, no: ReqNo, block: Option<(u64, u32)>, others_wait: bool) {
        let block = block.map(|(first, count)| Block { first: token(first), count });
        let renewed = Renewed { bound: Bound::FromSend(TTL), block, others_wait };
        self.handle(Input::Reply(no, Reply::Renew(Ok(RenewReply::Renewed(renewed)))));
    }

    /// One that holds a full lease, with tokens for so many hand-offs from 8 on.
    fn prepared(policy: HoldPolicy, count: u32) -> World {
        let mut world = World::holding(policy);
        world.handle(Input::Refresh);
        let renew = world.request();
        assert_eq!(renew.verb, Verb::Renew { detached: false, tokens: 16 });
        world.renewed(renew.no, Some((8, count)), false);
        assert_eq!((world.events(), world.spare_tokens()), (Vec::from([Event::Renewed]), count));
        world
    }

    fn claim_reply(&mut self, no: ReqNo, reply: ClaimReply) {
        self.handle(Input::Reply(no, Reply::Claim(Ok(reply))));
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.handle(Input::Tick);
    }

    /// Passes time to the next wake-up.
    fn wake(&mut self) {
        self.now = self.holder.poll_wake().expect("something is planned").max(self.now);
        self.handle(Input::Tick);
    }
}

use crate::verb::{Block, Bound, Renewed};

fn left(ms: u64) -> Contention {
    Contention { by: None, lease_left: Some(Duration::from_millis(ms)) }
}

#[test]
fn a_deadline_counts_from_the_sending_not_from_the_reply() {
    let mut world = World::waiting();
    let ask = world.request();
    let sent_at = world.now;
    world.pass(Duration::from_millis(900));
    world.grant(ask.no, Bound::FromSend(TTL));
    assert_eq!(world.holder.deadline(), Some(Timing::default().deadline(sent_at, TTL)));
}

#[test]
fn a_pushed_grant_counts_from_the_ask_it_names() {
    let mut world = World::waiting();
    let first = world.request();
    let sent_at = world.now;
    world.claim_reply(first.no, ClaimReply::Queued(left(60_000)));
    world.wake();
    let second = world.request();
    assert!(second.no > first.no);
    // The second ask was answered nowhere yet; the push rests on the first.
    world.handle(Input::Granted(world.grant_of(Bound::FromAsk(first.no))));
    assert_eq!(world.holder.deadline(), Some(Timing::default().deadline(sent_at, BEAT * 3)));
}

#[test]
fn a_pushed_grant_of_an_unknown_ask_is_no_grant() {
    let mut world = World::waiting();
    let ask = world.request();
    world.claim_reply(ask.no, ClaimReply::Queued(left(60_000)));
    world.events();
    world.handle(Input::Granted(world.grant_of(Bound::FromAsk(ReqNo(99)))));
    assert_eq!(world.events(), []);
    assert!(matches!(world.request().verb, Verb::Claim(_)), "the store says more when asked again");
}

#[test]
fn a_grant_past_its_own_deadline_is_released_and_never_told() {
    let mut world = World::waiting();
    let ask = world.request();
    world.handle(Input::Reply(ask.no, Reply::Claim(Ok(ClaimReply::Queued(left(60_000))))));
    world.events();
    world.now = world.now + BEAT * 3;
    world.handle(Input::Granted(world.grant_of(Bound::FromAsk(ask.no))));
    assert_eq!(world.events(), [Event::Failed(Failed::Spent)]);
    assert!(matches!(world.request().verb, Verb::Release { .. }));
}

#[test]
fn a_grant_that_was_taken_away_before_it_was_read_is_released_and_never_told() {
    let mut world = World::waiting();
    let ask = world.request();
    world.handle(Input::Revoked);
    world.grant(ask.no, Bound::FromSend(TTL));
    assert_eq!(world.events(), [Event::Failed(Failed::Spent)]);
    assert_eq!(world.request().verb, Verb::Release { keep: Duration::ZERO });
}

#[test]
fn a_waiter_that_was_withdrawn_by_an_operator_enters_anew_and_may_be_granted() {
    let mut world = World::waiting();
    let ask = world.request();
    world.handle(Input::Revoked);
    world.claim_reply(ask.no, ClaimReply::Queued(left(60_000)));
    world.pass(BEAT + BEAT / 2);
    let again = world.request();
    world.grant(again.no, Bound::FromSend(TTL));
    assert!(world.events().contains(&Event::Granted(token(7))));
}

#[test]
fn the_first_ask_that_meets_a_holder_is_followed_by_one_that_queues() {
    let mut world = World::waiting();
    let first = world.request();
    assert!(matches!(first.verb, Verb::Claim(Ask { first: true, wait: true, .. })));
    world.claim_reply(first.no, ClaimReply::Busy(left(60_000)));
    let second = world.request();
    assert!(matches!(second.verb, Verb::Claim(Ask { first: false, wait: true, .. })));
}

#[test]
fn a_waiter_beats_and_looks_again_when_the_holders_lease_ends() {
    let mut world = World::waiting();
    let ask = world.request();
    let sent_at = world.now;
    world.claim_reply(ask.no, ClaimReply::Queued(left(60_000)));
    let beat = world.holder.poll_wake().unwrap();
    assert!(beat >= sent_at + BEAT && beat <= sent_at + BEAT / 10 * 11);
    world.wake();
    let ask = world.request();
    world.claim_reply(ask.no, ClaimReply::Queued(left(100)));
    assert_eq!(world.holder.poll_wake().unwrap().since(world.now), Duration::from_millis(102));
}

#[test]
fn a_waiter_never_asks_in_a_hot_loop() {
    let mut world = World::waiting();
    for _ in 0..50 {
        let Some(ask) = world.maybe_request() else {
            world.wake();
            continue;
        };
        let asked_at = world.now;
        world.claim_reply(ask.no, ClaimReply::Queued(left(0)));
        assert!(world.holder.poll_wake().unwrap() >= asked_at + Duration::from_millis(10));
    }
}

#[test]
fn a_machine_with_a_pause_asks_after_it_and_gives_up_in_time() {
    let now = Instant::from_nanos(1_000_000_000_000);
    let start = Start { pause: BEAT, ..start(Wait::Until(now + BEAT * 2), HoldPolicy::with_ttl(TTL), false) };
    let mut world = World { now, holder: Holder::new(start, now) };
    assert_eq!(world.maybe_request(), None);
    assert_eq!(world.holder.poll_wake(), Some(now + BEAT));
    world.pass(BEAT);
    assert!(matches!(world.request().verb, Verb::Claim(_)));
}

#[test]
fn a_try_asks_once_and_takes_no_place() {
    let mut world = World::new(Wait::Once, HoldPolicy::default(), false);
    let ask = world.request();
    assert!(matches!(ask.verb, Verb::Claim(Ask { wait: false, .. })));
    world.claim_reply(ask.no, ClaimReply::Busy(left(5)));
    assert_eq!(world.events(), [Event::Failed(Failed::Held(left(5))), Event::Done]);
    assert_eq!(world.maybe_request(), None);
}

#[test]
fn a_try_with_unknown_outcome_fails_at_once_and_is_withdrawn_behind() {
    let mut world = World::new(Wait::Once, HoldPolicy::with_ttl(TTL), false);
    world.request();
    world.pass(BEAT);
    assert_eq!(world.events(), [Event::Failed(Failed::Trouble(Fault::Unsure))]);
    assert!(matches!(world.request().verb, Verb::Release { .. }));
}

#[test]
fn a_wait_ends_in_time_and_says_whether_others_held_or_the_store_was_down() {
    for (reply, why) in
        [(Ok(ClaimReply::Queued(left(9))), Failed::Held(left(9))), (Err(Fault::Down), Failed::Trouble(Fault::Down))]
    {
        let end = Instant::from_nanos(1_000_000_000_000) + Duration::from_millis(8);
        let mut world = World::new(Wait::Until(end), HoldPolicy::with_ttl(TTL), false);
        let ask = world.request();
        world.handle(Input::Reply(ask.no, Reply::Claim(reply)));
        world.events();
        world.pass(Duration::from_millis(8));
        assert_eq!(world.events()[0], Event::Failed(why));
    }
}

#[test]
fn what_waiting_cannot_mend_ends_the_wait_at_once_and_leaves_nothing_to_undo() {
    let mut world = World::waiting();
    let ask = world.request();
    world.handle(Input::Reply(ask.no, Reply::Claim(Err(Fault::Forbidden))));
    assert_eq!(world.events(), [Event::Failed(Failed::Trouble(Fault::Forbidden)), Event::Done]);
}

#[test]
fn an_unanswered_ask_is_repeated_under_a_new_number_and_its_late_reply_ignored() {
    let mut world = World::waiting();
    let first = world.request();
    world.pass(BEAT);
    world.wake();
    let second = world.request();
    assert!(second.no > first.no);
    world.grant(first.no, Bound::FromSend(TTL));
    assert_eq!(world.events(), []);
    world.grant(second.no, Bound::FromSend(TTL));
    assert_eq!(world.events(), [Event::Granted(token(7))]);
}

#[test]
fn a_cancel_before_the_first_ask_leaves_nothing_to_undo() {
    let mut world = World::waiting();
    world.handle(Input::Cancel);
    assert_eq!(world.events(), [Event::Done]);
}

#[test]
fn a_cancel_withdraws_behind_an_ask_in_flight_and_ends_when_both_are_answered() {
    let mut world = World::waiting();
    let ask = world.request();
    world.handle(Input::Cancel);
    let release = world.request();
    world.handle(Input::Reply(release.no, Reply::Release(Ok(ReleaseReply::Absent))));
    assert_eq!(world.events(), [], "the ask may still come through");
    world.grant(ask.no, Bound::FromSend(TTL));
    let again = world.request();
    assert!(matches!(again.verb, Verb::Release { .. }));
    world.handle(Input::Reply(again.no, Reply::Release(Ok(ReleaseReply::Released))));
    assert_eq!(world.events(), [Event::Done]);
}

#[test]
fn an_ask_that_its_withdrawal_overtook_is_withdrawn_again() {
    // Two threads may send them, so they may reach the store the other way round. The ask's answer may come last, first or never.
    for come in ["last", "first", "never"] {
        let mut world = World::waiting();
        let ask = world.request();
        world.handle(Input::Cancel);
        let release = world.request();
        if come == "first" {
            world.claim_reply(ask.no, ClaimReply::Queued(left(60_000)));
        }
        world.handle(Input::Reply(release.no, Reply::Release(Ok(ReleaseReply::Absent))));
        match come {
            "last" => world.claim_reply(ask.no, ClaimReply::Queued(left(60_000))),
            "never" => world.pass(BEAT),
            _ => {}
        }
        assert_eq!(world.events(), [], "{come}");
        let again = world.request();
        assert_eq!(again.verb, Verb::Release { keep: Duration::ZERO }, "{come}");
        world.handle(Input::Reply(again.no, Reply::Release(Ok(ReleaseReply::Released))));
        assert_eq!(world.events(), [Event::Done], "{come}");
    }
}

#[test]
fn an_abandoned_ask_is_withdrawn_once_and_not_waited_for() {
    for wait in [Wait::Once, Wait::Until(Instant::FAR)] {
        let mut world = World::new(wait, HoldPolicy::with_ttl(TTL), false);
        let ask = world.request();
        world.handle(Input::Abandon(ask.no));
        let release = world.request();
        assert_eq!(release.verb, Verb::Release { keep: Duration::ZERO });
        assert_eq!(world.events(), [], "the store has not answered yet");
        world.handle(Input::Reply(release.no, Reply::Release(Ok(ReleaseReply::Absent))));
        assert_eq!(world.events(), [Event::Done]);
    }
}

#[test]
fn an_ask_that_is_abandoned_behind_its_withdrawal_is_withdrawn_again() {
    for answered_first in [true, false] {
        let mut world = World::waiting();
        let ask = world.request();
        world.handle(Input::Cancel);
        let release = world.request();
        let answer = Input::Reply(release.no, Reply::Release(Ok(ReleaseReply::Absent)));
        let mut inputs = [answer, Input::Abandon(ask.no)];
        if !answered_first {
            inputs.reverse();
        }
        inputs.into_iter().for_each(|input| world.handle(input));
        let again = world.request();
        assert!(matches!(again.verb, Verb::Release { .. }));
        world.handle(Input::Reply(again.no, Reply::Release(Ok(ReleaseReply::Released))));
        assert_eq!(world.events(), [Event::Done]);
    }
}

#[test]
fn a_cancel_that_comes_behind_the_grant_keeps_nobody_out() {
    let policy = HoldPolicy { min_hold: TTL * 5, ..HoldPolicy::with_ttl(TTL) };
    let mut world = World::holding(policy);
    world.handle(Input::Cancel);
    let release = world.request();
    assert_eq!(release.verb, Verb::Release { keep: Duration::ZERO });
    world.handle(Input::Reply(release.no, Reply::Release(Ok(ReleaseReply::Released))));
    assert_eq!(world.events(), [Event::Released(Released::Released), Event::Done]);
}

#[test]
fn a_renewal_that_comes_too_late_for_max_hold_is_not_sent() {
    let policy = HoldPolicy { max_hold: Some(TTL / 2), ..HoldPolicy::with_ttl(TTL) };
    let mut world = World::holding(policy);
    let deadline = world.holder.deadline();
    // Nobody looked for a while, as when the process was stopped.
    world.pass(TTL / 4 * 3);
    assert_eq!(world.maybe_request(), None);
    assert_eq!((world.holder.deadline(), world.events()), (deadline, Vec::new()));
    world.wake();
    assert_eq!(world.events(), [Event::Lost(LostWhy::Ended)]);
}

#[test]
fn renewals_go_out_at_a_third_and_lengthen_the_deadline() {
    let mut world = World::holding(HoldPolicy::with_ttl(TTL));
    let (granted_at, first) = (world.now, world.holder.deadline().unwrap());
    world.wake();
    assert!(world.now.since(granted_at) <= TTL / 3 && world.now.since(granted_at) >= TTL / 4);
    let renew = world.request();
    world.handle(Input::Reply(renew.no, Reply::Renew(Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(TTL)))))));
    assert_eq!(world.events(), [Event::Renewed]);
    assert!(world.holder.deadline().unwrap() > first);
}

#[test]
fn without_a_renewal_it_falls_in_doubt_then_is_lost_at_the_deadline_and_a_late_reply_revives_nothing() {
    let mut world = World::holding(HoldPolicy::with_ttl(TTL));
    let deadline = world.holder.deadline().unwrap();
    world.wake();
    let renew = world.request();
    world.now = deadline.before(TTL / 3);
    world.handle(Input::Tick);
    assert!(world.events().contains(&Event::InDoubt));
    world.now = deadline;
    world.handle(Input::Reply(renew.no, Reply::Renew(Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(TTL)))))));
    assert_eq!(world.events(), [Event::Lost(LostWhy::Expired)]);
    assert_eq!(world.holder.deadline(), None);
}

#[test]
fn doubt_ends_when_a_renewal_comes_through() {
    let mut world = World::holding(HoldPolicy::with_ttl(TTL));
    world.now = world.holder.deadline().unwrap().before(TTL / 4);
    world.handle(Input::Tick);
    assert_eq!(world.events(), [Event::InDoubt]);
    let renew = world.request();
    world.handle(Input::Reply(renew.no, Reply::Renew(Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(TTL)))))));
    assert_eq!(world.events(), [Event::Recovered, Event::Renewed]);
}

#[test]
fn a_short_grant_is_told_only_with_the_full_ttl_where_that_is_needed() {
    let fixed = HoldPolicy { renew: Renewal::Off, ..HoldPolicy::with_ttl(TTL) };
    for (policy, full_ttl) in [(fixed, false), (HoldPolicy::with_ttl(TTL), true)] {
        let mut world = World::new(Wait::Until(Instant::FAR), policy, full_ttl);
        let ask = world.request();
        world.claim_reply(ask.no, ClaimReply::Queued(left(9_000)));
        world.events();
        world.handle(Input::Granted(world.grant_of(Bound::FromAsk(ask.no))));
        assert_eq!(world.events(), []);
        let renew = world.request();
        world.handle(Input::Reply(renew.no, Reply::Renew(Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(TTL)))))));
        assert_eq!(world.events(), [Event::Granted(token(7))]);
    }
}

#[test]
fn a_grant_lost_before_it_was_told_fails_the_attempt_instead() {
    let mut world = World::new(Wait::Until(Instant::FAR), HoldPolicy::with_ttl(TTL), true);
    let ask = world.request();
    world.claim_reply(ask.no, ClaimReply::Queued(left(9_000)));
    world.events();
    world.handle(Input::Granted(world.grant_of(Bound::FromAsk(ask.no))));
    let renew = world.request();
    world.handle(Input::Reply(renew.no, Reply::Renew(Ok(RenewReply::Lost))));
    assert_eq!(world.events(), [Event::Failed(Failed::Spent)]);
}

#[test]
fn a_fixed_lease_sends_no_renewal_and_ends_as_planned() {
    let mut world = World::holding(HoldPolicy { renew: Renewal::Off, ..HoldPolicy::with_ttl(TTL) });
    assert_eq!(world.holder.poll_wake(), world.holder.deadline());
    world.wake();
    assert_eq!(world.events(), [Event::Lost(LostWhy::Ended)]);
}

#[test]
fn no_renewal_goes_out_after_max_hold() {
    let max_hold = Some(TTL / 2);
    let mut world = World::holding(HoldPolicy { max_hold, ..HoldPolicy::with_ttl(TTL) });
    let granted_at = world.now;
    let mut renewals = 0;
    while world.holder.deadline().is_some() {
        world.wake();
        if let Some(renew) = world.maybe_request() {
            renewals += 1;
            assert!(world.now <= granted_at + TTL / 2);
            world.handle(Input::Reply(renew.no, Reply::Renew(Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(TTL)))))));
        }
    }
    assert_eq!(renewals, 1);
    assert_eq!(world.events().last(), Some(&Event::Lost(LostWhy::Ended)));
}

#[test]
fn a_release_keeps_others_out_for_the_rest_of_min_hold() {
    let mut world = World::holding(HoldPolicy { min_hold: TTL, ..HoldPolicy::with_ttl(TTL) });
    world.pass(Duration::from_secs(1));
    world.handle(Input::Release);
    assert_eq!(world.request().verb, Verb::Release { keep: TTL - Duration::from_secs(1) });
}

#[test]
fn the_answer_to_a_release_is_honest() {
    let cases = [
        (false, ReleaseReply::Released, Released::Released),
        (false, ReleaseReply::Absent, Released::Gone),
        (false, ReleaseReply::Taken(left(1)), Released::Taken(left(1))),
        (true, ReleaseReply::Absent, Released::Expired),
        (true, ReleaseReply::Taken(left(1)), Released::Taken(left(1))),
    ];
    for (late, reply, told) in cases {
        let mut world = World::holding(HoldPolicy { renew: Renewal::Off, ..HoldPolicy::with_ttl(TTL) });
        if late {
            world.pass(TTL);
            world.events();
        }
        world.handle(Input::Release);
        let release = world.request();
        world.handle(Input::Reply(release.no, Reply::Release(Ok(reply))));
        assert_eq!(world.events(), [Event::Released(told), Event::Done]);
    }
}

#[test]
fn a_release_without_answer_is_told_once_and_repeated_until_the_lease_has_run_out() {
    let mut world = World::holding(HoldPolicy::with_ttl(TTL));
    let released_at = world.now;
    world.handle(Input::Release);
    let mut releases = 0;
    let mut told = Vec::new();
    while !told.contains(&Event::Done) {
        releases += usize::from(world.maybe_request().is_some());
        world.wake();
        told.extend(world.events());
    }
    assert!(releases > 2);
    assert_eq!(told, [Event::Released(Released::Unknown(Fault::Unsure)), Event::Done]);
    assert!(world.now.since(released_at) > TTL);
}

#[test]
fn a_link_that_came_back_makes_a_waiter_ask_at_once() {
    let mut world = World::waiting();
    let ask = world.request();
    world.claim_reply(ask.no, ClaimReply::Queued(left(60_000)));
    assert_eq!(world.maybe_request(), None);
    world.handle(Input::LinkUp);
    assert!(matches!(world.request().verb, Verb::Claim(_)));
}

#[test]
fn a_detach_marks_the_hold_and_leaves_it() {
    let mut world = World::holding(HoldPolicy::with_ttl(TTL));
    world.wake();
    let plain = world.request();
    world.handle(Input::Detach);
    world.handle(Input::Reply(plain.no, Reply::Renew(Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(TTL)))))));
    let marked = world.request();
    assert_eq!(marked.verb, Verb::Renew { detached: true, tokens: 0 });
    world.handle(Input::Reply(marked.no, Reply::Renew(Ok(RenewReply::Renewed(Renewed::plain(Bound::FromSend(TTL)))))));
    assert_eq!(world.events(), [Event::Renewed, Event::Detached, Event::Done]);
    world.handle(Input::Release);
    assert_eq!(world.maybe_request(), None);
}

/// What a random store and a random user do.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Answer(u8),
    LateAnswer(u8),
    Push(u32),
    Say(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..2_000).prop_map(Step::Pass),
        6 => any::<u8>().prop_map(Step::Answer),
        1 => any::<u8>().prop_map(Step::LateAnswer),
        1 => (0u32..6).prop_map(Step::Push),
        2 => any::<u8>().prop_map(Step::Say),
    ];
    prop::collection::vec(step, 1..120)
}

fn random_reply(verb: Verb, dice: u8, grant: Grant, block: Option<Block>) -> Reply<Fault> {
    let fault = [Fault::Down, Fault::Unsure, Fault::Down, Fault::Forbidden][usize::from(dice >> 6)].clone();
    match (verb, dice % 5) {
        (Verb::Claim(_), 0) => Reply::Claim(Err(fault)),
        (Verb::Claim(_), 1) => Reply::Claim(Ok(ClaimReply::Busy(left(u64::from(dice))))),
        (Verb::Claim(_), 2) => Reply::Claim(Ok(ClaimReply::Queued(left(u64::from(dice))))),
        (Verb::Claim(_), 3) if dice > 240 => Reply::Claim(Ok(ClaimReply::Stale)),
        (Verb::Claim(_), _) => Reply::Claim(Ok(ClaimReply::Granted(grant))),
        (Verb::Renew { .. }, 0) => Reply::Renew(Err(fault)),
        (Verb::Renew { .. }, 1) if dice > 200 => Reply::Renew(Ok(RenewReply::Lost)),
        (Verb::Renew { .. }, _) => {
            Reply::Renew(Ok(RenewReply::Renewed(Renewed { bound: grant.bound, block, others_wait: dice.is_multiple_of(2) })))
        }
        (Verb::Release { .. }, 0) => Reply::Release(Err(fault)),
        (Verb::Release { .. }, 1) => Reply::Release(Ok(ReleaseReply::Absent)),
        (Verb::Release { .. }, _) => Reply::Release(Ok(ReleaseReply::Released)),
    }
}

/// Watches a machine and fails at the first broken law.
struct Laws {
    world: World,
    open: Vec<Request>,
    answered: Vec<Request>,
    deadline: Option<Instant>,
    released: bool,
    /// True from a hand-off until the next grant.
    handed_on: bool,
    last_token: Option<Token>,
    /// The store's counter.
    counter: u64,
    told: Vec<Event<Fault>>,
}

impl Laws {
    fn step(&mut self, step: Step) {
        match step {
            Step::Pass(ms) => self.world.now = self.world.now + Duration::from_millis(ms),
            Step::Answer(dice) if !self.open.is_empty() => {
                let request = self.open.remove(usize::from(dice) % self.open.len());
                self.answered.push(request);
                self.answer(request, dice);
            }
            Step::LateAnswer(dice) if !self.answered.is_empty() => {
                let request = self.answered[usize::from(dice) % self.answered.len()];
                self.answer(request, dice);
            }
            Step::Push(no) => {
                let grant = self.world.grant_of(Bound::FromAsk(ReqNo(no)));
                self.world.handle(Input::Granted(grant));
            }
            Step::Say(dice) => {
                let said = match dice % 16 {
                    0 => Input::Cancel,
                    1 => Input::Release,
                    2 => Input::Revoked,
                    3 => Input::Detach,
                    4 | 5 => Input::LinkUp,
                    6 | 7 => Input::AskAgain,
                    8 => self.abandon_claim(),
                    // Only somebody who holds passes it on.
                    9..=12 if self.world.holder.token().is_some() && self.world.holder.is_open() => Input::HandOn,
                    13 | 14 => Input::Refresh,
                    _ => Input::Tick,
                };
                self.handed_on |= matches!(said, Input::HandOn);
                self.world.handle(said);
            }
            Step::Answer(_) | Step::LateAnswer(_) => {}
        }
        self.look();
    }

    /// An open claim goes with whoever wanted it.
    fn abandon_claim(&mut self) -> Input<Fault> {
        let claim = self.open.iter().position(|open| matches!(open.verb, Verb::Claim(_)));
        claim.map_or(Input::Cancel, |at| Input::Abandon(self.open.remove(at).no))
    }

    fn answer(&mut self, request: Request, dice: u8) {
        let grant = self.world.grant_of(Bound::FromSend(TTL));
        let block = self.block(request.verb, dice);
        self.world.handle(Input::Reply(request.no, random_reply(request.verb, dice, grant, block)));
    }

    /// What a renewal brings that asked for tokens: sometimes none, sometimes those of a counter that was lost.
    fn block(&mut self, verb: Verb, dice: u8) -> Option<Block> {
        let Verb::Renew { tokens, .. } = verb else { return None };
        if dice % 32 == 3 {
            self.counter = u64::from(dice);
        }
        let first = token(self.counter + 1);
        self.counter += u64::from(tokens);
        (tokens > 0 && dice % 16 != 4).then_some(Block { first, count: tokens })
    }

    fn look(&mut self) {
        self.world.handle(Input::Tick);
        for event in self.world.events() {
            assert!(!self.told.contains(&Event::Done), "nothing is told after done: {event:?}");
            if let Event::Granted(token) = event {
                let over = |told: &Event<Fault>| matches!(told, Event::Failed(_) | Event::Lost(_) | Event::Detached);
                assert!(!self.told.iter().any(over), "a grant is not told once it is over");
                assert!(!self.released, "a grant is not told after a release went out");
                assert!(self.last_token.is_none() || core::mem::take(&mut self.handed_on), "each hold is told once");
                assert!(self.last_token < Some(token), "tokens rise: {:?}, then {token}", self.last_token);
                assert_eq!(self.world.holder.token(), Some(token));
                self.last_token = Some(token);
            }
            self.told.push(event);
        }
        self.check_deadline();
        self.take_requests();
        if let Some(wake) = self.world.holder.poll_wake() {
            assert!(!self.told.contains(&Event::Done));
            assert!(wake > self.world.now, "what is due now was done now");
        }
    }

    fn check_deadline(&mut self) {
        let deadline = self.world.holder.deadline();
        if let (Some(before), Some(after)) = (self.deadline, deadline) {
            assert!(after >= before, "a deadline never shrinks");
        }
        assert!(deadline.is_none_or(|deadline| deadline > self.world.now), "a loss is told in time");
        self.deadline = deadline;
    }

    fn take_requests(&mut self) {
        let granted = self.told.iter().any(|told| matches!(told, Event::Granted(_)));
        if let Some(request) = self.world.maybe_request() {
            let same_verb = |open: &Request| {
                core::mem::discriminant(&open.verb) == core::mem::discriminant(&request.verb) && self.world.holder.awaits(open.no)
            };
            assert!(!self.open.iter().any(same_verb), "one request in flight per verb");
            match request.verb {
                Verb::Claim(_) => assert!(!granted && !self.released, "no claim after a grant was told or a release went out"),
                Verb::Renew { .. } => assert!(!self.released, "no renewal after a release"),
                Verb::Release { .. } => self.released = true,
            }
            self.open.push(request);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_whatever_comes_in(steps in steps(), once in any::<bool>(), full in any::<bool>(), fixed in any::<bool>()) {
        let wait = if once { Wait::Once } else { Wait::Until(Instant::from_nanos(1_030_000_000_000)) };
        let renew = if fixed { Renewal::Off } else { Renewal::Auto };
        let world = World::new(wait, HoldPolicy { renew, ..HoldPolicy::with_ttl(TTL) }, full);
        let mut laws = Laws {
            world,
            open: Vec::new(),
            answered: Vec::new(),
            deadline: None,
            released: false,
            handed_on: false,
            last_token: None,
            counter: 7,
            told: Vec::new(),
        };
        laws.look();
        for step in steps {
            laws.step(step);
        }
        // Nobody answers any more, and whoever held gives up: it ends by itself.
        laws.world.handle(Input::Cancel);
        laws.look();
        let mut rounds = 0;
        while let Some(wake) = laws.world.holder.poll_wake() {
            laws.world.now = laws.world.now.max(wake);
            laws.look();
            rounds += 1;
            prop_assert!(rounds < 1_000, "it ends by itself");
        }
        prop_assert_eq!(laws.told.iter().filter(|told| **told == Event::Done).count(), 1);
    }
}
