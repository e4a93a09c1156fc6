//! Behaviour of the lock table at chosen instants, one claim per test; its laws are in `tests/table_laws.rs`.

use super::*;
use crate::claim::ReqNo;
use crate::verb::{Bound, Contention};
use std::string::ToString;
use std::vec;

const OWN: Manner = Manner::Own { keep: Duration::ZERO };

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(serial: u64) -> ClaimId {
    ClaimId::new(1, serial)
}

fn name() -> ResourceName {
    ResourceName::new("r").unwrap()
}

/// Ttl 400 ms, so a place lives 300 ms and is promoted with 100 ms left.
fn wish(serial: u64, no: u32) -> Wish {
    let terms = Terms { ttl: ms(400), lock_delay: ms(0), place_life: ms(300), place_margin: ms(100) };
    let ask = Ask { no: ReqNo(no), first: no == 1, wait: true, spare: 0 };
    Wish { claim: id(serial), want: Want::ALL_OF_ONE, terms, ask }
}

fn delayed(serial: u64, delay: u64) -> Wish {
    let mut wish = wish(serial, 1);
    wish.terms.lock_delay = ms(delay);
    wish
}

fn permits(serial: u64, k: u32, n: u32) -> Wish {
    Wish { want: Want::new(k, n).unwrap(), ..wish(serial, 1) }
}

fn upkeep(wish: &Wish) -> Upkeep {
    Upkeep { claim: wish.claim, want: wish.want, terms: wish.terms, detached: false, tokens: 0 }
}

fn claim(table: &mut Table, now: u64, wish: &Wish) -> ClaimReply {
    let told = table.claim(at(now), &name(), wish).unwrap();
    assert_eq!(told.grants, [], "nobody else is granted by this claim");
    told.reply
}

fn granted(token: u64, claim: u64) -> ClaimReply {
    ClaimReply::Granted(Grant {
        claim: id(claim),
        token: Token::new(0, token).unwrap(),
        spare: 0,
        bound: Bound::FromSend(ms(400)),
    })
}

fn pushed(token: u64, claim: u64, no: u32) -> Grant {
    Grant { claim: id(claim), token: Token::new(0, token).unwrap(), spare: 0, bound: Bound::FromAsk(ReqNo(no)) }
}

fn behind(claim: u64, left: u64) -> Contention {
    Contention { by: Some(id(claim)), lease_left: Some(ms(left)) }
}

#[test]
fn a_release_grants_the_first_waiter_for_the_rest_of_its_place() {
    let mut table = Table::new(0);
    assert_eq!(claim(&mut table, 0, &wish(1, 1)), granted(1, 1));
    assert_eq!(claim(&mut table, 10, &wish(2, 1)), ClaimReply::Queued(behind(1, 390)));
    assert_eq!(claim(&mut table, 20, &wish(3, 1)), ClaimReply::Queued(behind(1, 380)));
    assert_eq!(claim(&mut table, 100, &wish(2, 2)), ClaimReply::Queued(behind(1, 300)));
    let told = table.release(at(150), &name(), id(1), OWN);
    assert_eq!((told.reply, told.grants), (ReleaseReply::Released, vec![pushed(2, 2, 2)]));
    let view = table.inspect(at(160), &name());
    assert_eq!((view.holders[0].left, view.holders[0].since), (ms(240), ms(10)));
    assert_eq!(view.waiters[0].claim, id(3));
}

#[test]
fn a_waiter_is_granted_when_the_holder_expires_and_the_owner_stands_behind_it() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    claim(&mut table, 300, &wish(2, 1));
    let told = table.claim(at(400), &name(), &wish(1, 2)).unwrap();
    assert_eq!((told.reply, told.grants), (ClaimReply::Queued(behind(2, 200)), vec![pushed(2, 2, 1)]));
    assert_eq!(claim(&mut table, 600, &wish(1, 3)), granted(3, 1));
}

#[test]
fn a_renewal_at_the_end_of_the_lease_is_lost() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    assert_eq!(table.renew(at(399), &name(), &upkeep(&wish(1, 1))).reply.bound(), Some(Bound::FromSend(ms(400))));
    assert_eq!(table.renew(at(799), &name(), &upkeep(&wish(1, 1))).reply, RenewReply::Lost);
    assert!(table.is_empty());
}

#[test]
fn a_place_exactly_at_its_margin_is_promoted_and_one_below_is_not() {
    for (now, grants) in [(200, vec![pushed(2, 2, 1)]), (201, vec![])] {
        let mut table = Table::new(0);
        claim(&mut table, 0, &wish(1, 1));
        claim(&mut table, 0, &wish(2, 1));
        assert_eq!(table.release(at(now), &name(), id(1), OWN).grants, grants);
        assert_eq!(table.inspect(at(now), &name()).waiters.is_empty(), !grants.is_empty());
    }
}

#[test]
fn a_waiter_short_of_its_margin_keeps_its_rank() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    claim(&mut table, 0, &wish(2, 1));
    claim(&mut table, 50, &wish(3, 1));
    assert_eq!(table.release(at(220), &name(), id(1), OWN).grants, [pushed(2, 3, 1)]);
    claim(&mut table, 230, &wish(4, 1));
    claim(&mut table, 240, &wish(2, 2));
    assert_eq!(table.release(at(250), &name(), id(3), OWN).grants, [pushed(3, 2, 2)]);
}

#[test]
fn a_late_delivery_of_an_older_ask_keeps_the_newer_number() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    claim(&mut table, 0, &wish(2, 2));
    claim(&mut table, 10, &wish(2, 1));
    assert_eq!(table.release(at(20), &name(), id(1), OWN).grants, [pushed(2, 2, 2)]);
}

#[test]
fn min_hold_keeps_others_out_and_a_second_release_does_not_end_it() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    assert_eq!(table.release(at(10), &name(), id(1), Manner::Own { keep: ms(500) }).reply, ReleaseReply::Released);
    for manner in [OWN, Manner::Own { keep: ms(900) }, Manner::Revoke] {
        assert_eq!(table.release(at(20), &name(), id(1), manner).reply, ReleaseReply::Released);
    }
    assert_eq!(table.inspect(at(20), &name()).holders[0].standing, Standing::Ghost);
    assert_eq!(claim(&mut table, 30, &wish(1, 2)), ClaimReply::Stale);
    assert_eq!(table.renew(at(30), &name(), &upkeep(&wish(1, 1))).reply, RenewReply::Lost);
    assert_eq!(claim(&mut table, 509, &wish(2, 1)), ClaimReply::Queued(behind(1, 1)));
    assert_eq!(claim(&mut table, 510, &wish(2, 2)), granted(2, 2));
}

#[test]
fn min_hold_ends_with_a_lost_lease() {
    for delay in [0, 1000] {
        let mut table = Table::new(0);
        claim(&mut table, 0, &delayed(1, delay));
        let reply = table.release(at(401), &name(), id(1), Manner::Own { keep: ms(5000) }).reply;
        assert_eq!(reply, if delay == 0 { ReleaseReply::Absent } else { ReleaseReply::Released });
        assert!(table.is_empty());
    }
}

#[test]
fn in_its_lock_delay_a_hold_keeps_everybody_out_and_cannot_be_renewed() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &delayed(1, 1000));
    assert_eq!(table.renew(at(400), &name(), &upkeep(&delayed(1, 1000))).reply, RenewReply::Lost);
    assert_eq!(table.inspect(at(400), &name()).holders[0].standing, Standing::Ghost);
    assert_eq!(claim(&mut table, 500, &delayed(1, 1000)), ClaimReply::Queued(behind(1, 900)));
    assert_eq!(claim(&mut table, 500, &wish(2, 1)), ClaimReply::Queued(behind(1, 900)));
    let told = table.release(at(600), &name(), id(1), OWN);
    assert_eq!((told.reply, told.grants), (ReleaseReply::Released, vec![pushed(2, 2, 1)]));
}

#[test]
fn a_hand_off_has_the_delay_of_its_waiter() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    claim(&mut table, 0, &delayed(2, 1000));
    table.release(at(100), &name(), id(1), OWN);
    assert_eq!(claim(&mut table, 300, &wish(3, 1)), ClaimReply::Queued(behind(2, 1000)));
    assert_eq!(claim(&mut table, 1300, &wish(3, 2)), granted(3, 3));
}

#[test]
fn a_revoked_hold_ends_with_its_release_or_its_old_lease() {
    for (end, by_release) in [(100, true), (400, false)] {
        let mut table = Table::new(0);
        claim(&mut table, 0, &wish(1, 1));
        let told = table.release(at(50), &name(), id(1), Manner::Revoke);
        assert_eq!((told.reply, told.revoked), (ReleaseReply::Released, vec![id(1)]));
        assert_eq!(table.renew(at(60), &name(), &upkeep(&wish(1, 1))).reply, RenewReply::Lost);
        assert_eq!(claim(&mut table, 60, &wish(1, 2)), ClaimReply::Stale);
        assert_eq!(claim(&mut table, 99, &wish(2, 1)), ClaimReply::Queued(behind(1, 301)));
        if by_release {
            let told = table.release(at(end), &name(), id(1), Manner::Own { keep: ms(900) });
            assert_eq!((told.reply, told.grants), (ReleaseReply::Released, vec![pushed(2, 2, 1)]));
        } else {
            assert_eq!(claim(&mut table, end, &wish(2, 2)), granted(2, 2));
        }
    }
}

#[test]
fn revoking_now_grants_the_next_and_tells_the_holder() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    claim(&mut table, 0, &wish(2, 1));
    let told = table.release(at(10), &name(), id(1), Manner::RevokeNow);
    assert_eq!(told, Told { reply: ReleaseReply::Released, grants: vec![pushed(2, 2, 1)], revoked: vec![id(1)] });
    assert_eq!(table.release(at(20), &name(), id(1), OWN).reply, ReleaseReply::Taken(behind(2, 280)));
}

#[test]
fn the_holders_are_the_longest_prefix_that_fits() {
    let mut table = Table::new(0);
    assert_eq!(claim(&mut table, 0, &permits(1, 2, 3)), granted(1, 1));
    assert_eq!(claim(&mut table, 0, &permits(2, 2, 3)), ClaimReply::Queued(behind(1, 400)));
    assert_eq!(
        claim(&mut table, 0, &permits(3, 1, 3)),
        ClaimReply::Queued(behind(1, 400)),
        "nobody passes a waiter that does not fit"
    );
    let told = table.release(at(10), &name(), id(1), OWN);
    assert_eq!(told.grants, [pushed(2, 2, 1), pushed(3, 3, 1)]);
}

#[test]
fn a_waiter_that_leaves_lets_in_those_whom_it_kept_waiting() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &permits(1, 2, 3));
    claim(&mut table, 0, &permits(2, 2, 3));
    claim(&mut table, 0, &permits(3, 1, 3));
    assert_eq!(table.release(at(10), &name(), id(2), OWN).grants, [pushed(2, 3, 1)]);
}

#[test]
fn a_claim_at_odds_with_the_resource_is_refused_and_changes_nothing() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &permits(1, 2, 3));
    let before = table.inspect(at(1), &name());
    let refusal = table.claim(at(1), &name(), &wish(2, 1)).unwrap_err();
    assert_eq!(refusal.to_string(), "the resource is in use with 3 permits in all, not 1");
    let refusal = table.claim(at(1), &name(), &permits(1, 1, 3)).unwrap_err();
    assert_eq!(refusal, Refusal::Permits { before: 2, wanted: 1 });
    assert_eq!(table.inspect(at(1), &name()), before);
    assert_eq!(claim(&mut table, 400, &wish(2, 1)), granted(2, 2), "once nobody holds, another capacity is fine");
}

#[test]
fn an_expiry_on_demand_is_as_by_time() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &delayed(1, 50));
    claim(&mut table, 0, &wish(2, 1));
    assert_eq!(table.expire(at(10), &name()), []);
    assert_eq!(table.renew(at(10), &name(), &upkeep(&delayed(1, 50))).reply, RenewReply::Lost);
    assert_eq!(claim(&mut table, 60, &wish(2, 2)), granted(2, 2));
    assert_eq!(table.expire(at(70), &name()), []);
    assert!(table.is_empty());
}

#[test]
fn tokens_begin_above_the_floor_and_never_run_out_by_a_mad_clock() {
    let mut table = Table::new(41);
    assert_eq!(claim(&mut table, 0, &wish(1, 1)), granted(42, 1));
    table.raise(7);
    assert_eq!(claim(&mut table, 1, &wish(1, 2)), granted(43, 1));
    table.raise(u64::MAX);
    assert_eq!(claim(&mut table, 2, &wish(1, 3)), granted((1 << 52) + 1, 1));
}

#[test]
fn a_sweep_forgets_what_ran_out_and_grants_to_those_who_waited() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    claim(&mut table, 250, &wish(2, 1));
    table.claim(at(0), &ResourceName::new("other").unwrap(), &wish(3, 1)).unwrap();
    assert_eq!(table.sweep(at(400)), [pushed(3, 2, 1)]);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_detached_hold_says_so() {
    let mut table = Table::new(0);
    claim(&mut table, 0, &wish(1, 1));
    table.renew(at(1), &name(), &Upkeep { detached: true, ..upkeep(&wish(1, 1)) });
    table.renew(at(2), &name(), &upkeep(&wish(1, 1)));
    assert_eq!(table.inspect(at(2), &name()).holders[0].standing, Standing::Detached);
}
