//! Who is let in: one holder at a time, the others busy or queued.

use super::Store;
use super::actor::{Actor, fresh_name, no_residue};
use futures_util::future::join_all;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A claim of a free resource holds at once and leaves nothing after its release.
pub async fn a_free_resource_is_granted(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut attempt = actor.attempt(&resource);
    attempt.granted().await;
    attempt.renewed().await;
    attempt.released().await;
    no_residue(store, &actor, &resource).await;
}

/// `wait: false` on a held resource is busy, names the holder if it can, and takes no place.
pub async fn a_held_resource_is_busy_to_those_who_do_not_wait(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    holder.granted().await;
    let mut tries = second.attempt(&resource);
    for _ in 0..2 {
        let contention = tries.busy().await;
        assert!(contention.by.is_none_or(|by| by == holder.claim), "busy by the holder, not by {:?}", contention.by);
        let left = contention.lease_left.unwrap_or_default();
        assert!(left <= holder.terms.ttl, "no lease is longer than its ttl, got {left:?}");
    }
    let shown = first.inspect(&resource).await;
    assert!(shown.waiters.is_empty(), "who does not wait has no place: {shown:?}");
    holder.released().await;
    no_residue(store, &first, &resource).await;
    tries.granted().await;
    tries.released().await;
}

/// `wait: true` on a held resource takes a place, and is granted once the holder is gone.
pub async fn a_held_resource_queues_those_who_wait(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    if !first.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    holder.granted().await;
    let mut waiter = second.attempt(&resource);
    let contention = waiter.queued().await;
    assert!(contention.by.is_none_or(|by| by == holder.claim), "queued behind the holder, not {:?}", contention.by);
    holder.renewed().await;
    waiter.lost().await;
    holder.released().await;
    waiter.until_granted().await;
    holder.lost().await;
    waiter.released().await;
    no_residue(store, &first, &resource).await;
}

/// Two attempts of one client are as much rivals as those of two clients.
pub async fn claims_of_one_client_exclude_each_other(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let (mut one, mut other) = (actor.attempt(&resource), actor.attempt(&resource));
    one.granted().await;
    other.busy().await;
    other.lost().await;
    one.released().await;
    other.granted().await;
    one.lost().await;
    other.released().await;
}

/// Holding one resource says nothing about another.
pub async fn resources_do_not_touch_each_other(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    let mut held = first.attempt(&fresh_name(store));
    let mut free = second.attempt(&fresh_name(store));
    held.granted().await;
    free.granted().await;
    held.released().await;
    free.renewed().await;
    free.released().await;
}

/// Six clients that take turns forty times never meet inside.
pub async fn never_two_hold_at_once_under_contention(store: &dyn Store) {
    let resource = &fresh_name(store);
    let inside = &AtomicBool::new(false);
    let turns = (0..6).map(|_| async move {
        let actor = Actor::join(store).await;
        let mut tokens = Vec::new();
        for _ in 0..40 {
            let mut attempt = actor.attempt(resource);
            let grant = attempt.until_granted().await;
            assert!(!inside.swap(true, Ordering::SeqCst), "two claims hold at once");
            store.world().sleep(Duration::from_millis(1)).await;
            inside.store(false, Ordering::SeqCst);
            attempt.released().await;
            tokens.push(grant.token);
        }
        tokens
    });
    let mut tokens = join_all(turns).await.concat();
    let grants = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), grants, "every grant has a token of its own");
    no_residue(store, &Actor::join(store).await, resource).await;
}
