//! What a verb does when it comes twice.

use super::Store;
use super::actor::{Actor, BRIEF, brief, claims, fresh_name, lasting, no_residue};
use crate::engine::PartyState;
use leasehold_core::{Manner, ReleaseReply};
use std::time::Duration;

/// An owner that asks again is granted again, with a larger token.
pub async fn an_owners_repeat_is_granted_again_with_a_new_token(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut attempt = actor.attempt(&resource);
    let mut last = attempt.granted().await;
    for _ in 0..3 {
        let token = attempt.granted().await;
        assert!(token > last, "a repeat takes a new token: {token} after {last}");
        last = token;
    }
    let shown = actor.inspect(&resource).await;
    assert_eq!(claims(&shown.holders), [(Some(attempt.claim), PartyState::Live)]);
    assert_eq!(claims(&shown.waiters), [], "an owner that repeats does not wait behind itself");
    attempt.released().await;
    no_residue(store, &actor, &resource).await;
}

/// The repeat begins a full ttl from the repeat.
pub async fn an_owners_repeat_gets_the_full_ttl(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let mut attempt = actor.attempt(&fresh_name(store)).with(brief());
    attempt.granted().await;
    attempt.terms = lasting();
    attempt.granted().await;
    store.world().sleep(BRIEF * 2).await;
    attempt.renewed().await;
    attempt.released().await;
}

/// A repeat with a shorter ttl leaves the longer lease in force.
pub async fn an_owners_repeat_never_shortens_the_lease(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let mut attempt = actor.attempt(&fresh_name(store));
    attempt.granted().await;
    attempt.terms = brief();
    attempt.granted().await;
    store.world().sleep(BRIEF * 2).await;
    attempt.terms = lasting();
    attempt.renewed().await;
    attempt.released().await;
}

/// A waiter that asks again keeps its rank, and has one place only.
pub async fn a_waiters_repeat_keeps_its_place(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    let (mut first, mut second) = (actor.attempt(&resource), actor.attempt(&resource));
    holder.granted().await;
    first.queued().await;
    second.queued().await;
    first.queued().await;
    let shown = actor.inspect(&resource).await;
    let live = |claim| (Some(claim), PartyState::Live);
    assert_eq!(claims(&shown.waiters), [live(first.claim), live(second.claim)]);
    holder.released().await;
    actor.handed(&mut first).await;
    second.queued().await;
    first.released().await;
    actor.handed(&mut second).await;
    second.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A repeat with a shorter life leaves the longer place in force.
pub async fn a_waiters_repeat_never_shortens_its_place(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let (mut holder, mut waiter) = (actor.attempt(&resource), actor.attempt(&resource));
    holder.granted().await;
    waiter.queued().await;
    waiter.terms = brief();
    waiter.queued().await;
    store.world().sleep(BRIEF * 2).await;
    holder.released().await;
    actor.handed(&mut waiter).await;
    waiter.released().await;
}

/// A second release changes nothing, whoever holds by then.
pub async fn a_second_release_changes_nothing(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut first = actor.attempt(&resource);
    first.granted().await;
    first.released().await;
    let own = Manner::Own { keep: Duration::ZERO };
    let again = first.release(own).await;
    assert!(matches!(again, ReleaseReply::Absent | ReleaseReply::Released), "nobody holds: {again:?}");
    let mut second = actor.attempt(&resource);
    second.granted().await;
    match first.release(own).await {
        ReleaseReply::Released => {}
        ReleaseReply::Taken(by) => assert!(by.by.is_none_or(|by| by == second.claim), "taken by the holder: {by:?}"),
        ReleaseReply::Absent => panic!("another holds, so the claim is not just absent"),
    }
    second.renewed().await;
    second.released().await;
}

/// A release of a claim that the store never saw takes nothing from anybody.
pub async fn a_strangers_release_takes_nothing(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let stranger = actor.attempt(&resource);
    let own = Manner::Own { keep: Duration::ZERO };
    assert_eq!(stranger.release(own).await, ReleaseReply::Absent, "nobody holds");
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    let reply = stranger.release(own).await;
    assert!(matches!(reply, ReleaseReply::Taken(_)), "another holds: {reply:?}");
    holder.renewed().await;
    holder.released().await;
    no_residue(store, &actor, &resource).await;
}
