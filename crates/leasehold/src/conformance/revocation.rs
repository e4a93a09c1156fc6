//! What an operator can take away, and what that does to those concerned.

use super::Store;
use super::actor::{Actor, BRIEF, brief, claims, fresh_name, no_residue, not_before};
use crate::engine::PartyState;
use leasehold_core::{ClaimReply, Manner, ReleaseReply, Terms};

/// A revoked holder is told and renews no more; the next in line waits for its release.
pub async fn a_revoked_hold_ends_with_its_release(store: &dyn Store) {
    let (mut first, mut second) = (Actor::join(store).await, Actor::join(store).await);
    let operator = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    holder.granted().await;
    let seen = holder.seen_by(&operator);
    assert_eq!(seen.release(Manner::Revoke).await, ReleaseReply::Released);
    if first.capabilities().push {
        first.hear_revoked(holder.claim).await;
    }
    assert_eq!(seen.release(Manner::Revoke).await, ReleaseReply::Released, "a repeat is answered the same");
    holder.lost().await;
    assert_eq!(holder.ask(true).await, ClaimReply::Stale, "a revoked claim is never granted again");
    let shown = operator.inspect(&resource).await;
    assert_eq!(claims(&shown.holders), [(Some(holder.claim), PartyState::Revoked)]);
    let mut next = second.attempt(&resource);
    next.busy().await;
    if !first.capabilities().queue {
        holder.released().await;
        next.granted().await;
    } else {
        next.queued().await;
        holder.released().await;
        second.handed(&mut next).await;
    }
    next.released().await;
    no_residue(store, &first, &resource).await;
}

/// A revoked hold whose holder never answers ends with its old lease, not sooner.
pub async fn a_revoked_hold_ends_with_its_old_lease(store: &dyn Store) {
    let (first, operator) = (Actor::join(store).await, Actor::join(store).await);
    let resource = fresh_name(store);
    let ttl = BRIEF * 3;
    let mut holder = first.attempt(&resource).with(Terms { ttl, ..brief() });
    let sent = store.world().now();
    holder.granted().await;
    holder.seen_by(&operator).release(Manner::Revoke).await;
    let mut next = operator.attempt(&resource);
    next.until_granted().await;
    not_before(store, sent, ttl);
    holder.lost().await;
    next.released().await;
    no_residue(store, &first, &resource).await;
}

/// `RevokeNow` lets the next in line in at once; nothing that the old holder does harms it.
pub async fn revoking_now_lets_the_next_in_at_once(store: &dyn Store) {
    let (mut first, mut second) = (Actor::join(store).await, Actor::join(store).await);
    let operator = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    let token = holder.granted().await;
    let mut next = second.attempt(&resource);
    let later = if first.capabilities().queue {
        next.queued().await;
        assert_eq!(holder.seen_by(&operator).release(Manner::RevokeNow).await, ReleaseReply::Released);
        second.handed(&mut next).await.token
    } else {
        assert_eq!(holder.seen_by(&operator).release(Manner::RevokeNow).await, ReleaseReply::Released);
        next.granted().await
    };
    assert!(later > token, "the next grant has the larger token");
    if first.capabilities().push {
        first.hear_revoked(holder.claim).await;
    }
    holder.lost().await;
    holder.taken().await;
    next.renewed().await;
    next.released().await;
    no_residue(store, &first, &resource).await;
}

/// Revoking a waiter withdraws it, in either manner; the others keep their order.
pub async fn a_revoked_waiter_is_withdrawn(store: &dyn Store) {
    let (first, mut second) = (Actor::join(store).await, Actor::join(store).await);
    let operator = Actor::join(store).await;
    if !first.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    holder.granted().await;
    let mut line = [second.attempt(&resource), second.attempt(&resource), second.attempt(&resource)];
    for waiter in &mut line {
        waiter.queued().await;
    }
    assert_eq!(line[0].seen_by(&operator).release(Manner::Revoke).await, ReleaseReply::Released);
    assert_eq!(line[1].seen_by(&operator).release(Manner::RevokeNow).await, ReleaseReply::Released);
    let shown = operator.inspect(&resource).await;
    assert_eq!(claims(&shown.waiters), [(Some(line[2].claim), PartyState::Live)]);
    holder.renewed().await;
    holder.released().await;
    second.handed(&mut line[2]).await;
    line[2].released().await;
    no_residue(store, &first, &resource).await;
}

/// Revoking what is not there finds it absent, or taken by another, and takes nothing.
pub async fn revoking_a_stranger_takes_nothing(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let stranger = actor.attempt(&resource);
    let mut holder = actor.attempt(&resource);
    for manner in [Manner::Revoke, Manner::RevokeNow] {
        assert_eq!(stranger.release(manner).await, ReleaseReply::Absent, "nobody holds");
    }
    holder.granted().await;
    for manner in [Manner::Revoke, Manner::RevokeNow] {
        let reply = stranger.release(manner).await;
        assert!(matches!(reply, ReleaseReply::Taken(_)), "another holds: {reply:?}");
    }
    holder.renewed().await;
    holder.released().await;
    no_residue(store, &actor, &resource).await;
}
