//! Holds whose holder is gone, and that keep others out all the same: `min_hold` and `lock_delay`.

use super::Store;
use super::actor::{Actor, BRIEF, brief, claims, eventually, fresh_name, lasting, no_residue, not_before};
use crate::engine::PartyState;
use leasehold_core::{ClaimReply, Manner, ReleaseReply, Terms};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A release with `keep` lets nobody in, the owner neither; it is released, and stays so.
pub async fn a_release_that_keeps_others_out_is_final_for_its_owner(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    let resource = fresh_name(store);
    let mut job = first.attempt(&resource);
    job.granted().await;
    let keep = Manner::Own { keep: LONG };
    assert_eq!(job.release(keep).await, ReleaseReply::Released);
    assert_eq!(job.release(keep).await, ReleaseReply::Released, "a repeat is answered the same");
    job.lost().await;
    assert_eq!(job.ask(true).await, ClaimReply::Stale, "a released claim is never granted again");
    second.attempt(&resource).busy().await;
    first.attempt(&resource).busy().await;
    let shown = second.inspect(&resource).await;
    assert_eq!(claims(&shown.holders), [(Some(job.claim), PartyState::Ghost)]);
    assert_eq!(job.seen_by(&second).release(Manner::RevokeNow).await, ReleaseReply::Released, "an operator can end it");
    no_residue(store, &first, &resource).await;
}

/// Once the time is over, the waiter holds.
pub async fn a_ghost_ends_by_itself(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut job = actor.attempt(&resource);
    job.granted().await;
    let sent = store.world().now();
    assert_eq!(job.release(Manner::Own { keep: BRIEF }).await, ReleaseReply::Released);
    let mut next = actor.attempt(&resource);
    next.until_granted().await;
    not_before(store, sent, BRIEF);
    next.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A waiter is not promoted while a ghost keeps it out.
pub async fn a_ghost_is_not_handed_off(store: &dyn Store) {
    let actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let (mut job, mut waiter) = (actor.attempt(&resource), actor.attempt(&resource));
    job.granted().await;
    waiter.queued().await;
    assert_eq!(job.release(Manner::Own { keep: LONG }).await, ReleaseReply::Released);
    waiter.lost().await;
    waiter.queued().await;
    assert_eq!(job.seen_by(&actor).release(Manner::RevokeNow).await, ReleaseReply::Released);
    waiter.until_granted().await;
    waiter.released().await;
    no_residue(store, &actor, &resource).await;
}

/// After a loss others wait for the delay too, the owner like anybody.
pub async fn a_lost_hold_keeps_others_out_for_its_lock_delay(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    let resource = fresh_name(store);
    let mut dies = first.attempt(&resource).with(Terms { lock_delay: LONG, ..brief() });
    dies.granted().await;
    store.world().sleep(BRIEF * 2).await;
    dies.lost().await;
    second.attempt(&resource).busy().await;
    let reply = dies.ask(false).await;
    assert!(matches!(reply, ClaimReply::Busy(_)), "in the delay the owner is like anybody, got {reply:?}");
    dies.lost().await;
    dies.released().await;
    let mut next = second.attempt(&resource);
    next.granted().await;
    next.released().await;
    no_residue(store, &first, &resource).await;
}

/// The delay ends by itself too, not before it is over.
pub async fn a_lock_delay_ends_by_itself(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut dies = actor.attempt(&resource).with(Terms { lock_delay: BRIEF * 2, ..brief() });
    let sent = store.world().now();
    dies.granted().await;
    let mut next = actor.attempt(&resource);
    next.until_granted().await;
    not_before(store, sent, BRIEF * 3);
    next.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A renewal in time leaves no delay behind, and a release ends the hold at once, delay or not.
pub async fn a_release_has_no_lock_delay(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource).with(Terms { lock_delay: LONG, ..lasting() });
    holder.granted().await;
    holder.renewed().await;
    holder.released().await;
    no_residue(store, &actor, &resource).await;
    let mut next = actor.attempt(&resource);
    next.granted().await;
    next.released().await;
}

/// A hold that came by hand-off has its waiter's delay.
pub async fn a_hand_off_carries_the_waiters_lock_delay(store: &dyn Store) {
    let actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut dies = actor.attempt(&resource).with(Terms { lock_delay: LONG, ..brief() });
    // On a slow machine the place may end before the release: then there was no hand-off to look at, and it is tried again.
    for _ in 0..20 {
        let mut holder = actor.attempt(&resource);
        holder.until_granted().await;
        dies.queued_or_granted().await;
        holder.released().await;
        if claims(&actor.inspect(&resource).await.holders).iter().any(|(claim, _)| *claim == Some(dies.claim)) {
            break;
        }
    }
    let ghost = async || claims(&actor.inspect(&resource).await.holders) == [(Some(dies.claim), PartyState::Ghost)];
    eventually(store, "a hand-off that nobody renews becomes a ghost", ghost).await;
    actor.attempt(&resource).busy().await;
    dies.released().await;
    no_residue(store, &actor, &resource).await;
}

/// `min_hold` ends with a lost lease: a late release keeps nobody out.
pub async fn a_late_release_keeps_nobody_out(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    for lock_delay in [Duration::ZERO, LONG] {
        let mut dies = actor.attempt(&resource).with(Terms { lock_delay, ..brief() });
        dies.granted().await;
        store.world().sleep(BRIEF * 2).await;
        dies.release(Manner::Own { keep: LONG }).await;
        let mut next = actor.attempt(&resource);
        next.granted().await;
        next.released().await;
    }
    no_residue(store, &actor, &resource).await;
}
