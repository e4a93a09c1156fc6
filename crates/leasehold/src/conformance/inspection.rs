//! What others see: who holds, who waits, since when, on whose behalf.

use super::Store;
use super::actor::{Actor, about, claims, eventually, fresh_name, lasting, name, no_residue};
use crate::engine::{Inspection, Party, PartyState};
use leasehold_core::ResourceName;
use std::time::Duration;

/// A resource that nobody uses is shown free, and looking at it leaves nothing behind.
pub async fn a_resource_that_nobody_uses_is_shown_free(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    assert_eq!(actor.inspect(&resource).await, Inspection::free(resource.clone()));
    no_residue(store, &actor, &resource).await;
}

/// Holder and waiters are shown to everybody, in order, with their clients, ages and what is left of them.
pub async fn holders_and_waiters_are_shown_with_their_clients(store: &dyn Store) {
    let (first, second, third) = (Actor::join(store).await, Actor::join(store).await, Actor::join(store).await);
    let resource = fresh_name(store);
    let begun = store.world().now();
    let mut holder = first.attempt(&resource);
    holder.granted().await;
    let (mut one, mut other) = (third.attempt(&resource), second.attempt(&resource));
    if first.capabilities().queue {
        one.queued().await;
        other.queued().await;
    }
    let shown = || async {
        let inspection = second.inspect(&resource).await;
        let live = |claim| (Some(claim), PartyState::Live);
        assert_eq!(claims(&inspection.holders), [live(holder.claim)]);
        if first.capabilities().queue {
            assert_eq!(claims(&inspection.waiters), [live(one.claim), live(other.claim)]);
        }
        inspection
    };
    // What clients tell of themselves may be written in the background.
    let complete = async || {
        let inspection = shown().await;
        inspection.holders.iter().chain(&inspection.waiters).all(|party| {
            let claim = party.claim.expect("checked with the claims");
            party.about == Some(about(claim.client())) && party.since >= Some(Duration::from_millis(50))
        })
    };
    eventually(store, "everybody is shown with client and age", complete).await;
    let inspection = shown().await;
    let elapsed = store.world().now().since(begun);
    for party in inspection.holders.iter().chain(&inspection.waiters) {
        is_plausible(party, elapsed);
    }
    for attempt in [other, one, holder] {
        attempt.release(leasehold_core::Manner::Own { keep: Duration::ZERO }).await;
    }
    no_residue(store, &first, &resource).await;
}

fn is_plausible(party: &Party, elapsed: Duration) {
    let since = party.since.expect("checked with the clients");
    assert!(since <= elapsed + Duration::from_secs(1), "nobody is older than the suite ({elapsed:?}), got {since:?}");
    let left = party.lease_left.expect("every hold and place of these has an end");
    assert!(left <= lasting().ttl, "nothing lasts longer than the ttl, got {left:?}");
    assert!(left + elapsed + Duration::from_secs(1) >= lasting().place_life, "nothing is shorter than a place, got {left:?}");
}

/// `list` shows what is held or waited for, sorted by name, and forgets it with the release.
pub async fn the_list_shows_what_is_in_use_sorted_by_name(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    let prefix = fresh_name(store);
    let mut held = Vec::new();
    for part in ["b", "a", "c:d", "ä"] {
        let mut attempt = first.attempt(&name(&format!("{prefix}:{part}")));
        attempt.granted().await;
        held.push(attempt);
    }
    let mut expected: Vec<ResourceName> = held.iter().map(|attempt| attempt.resource.clone()).collect();
    expected.sort();
    let ours = async || {
        let list = second.list().await;
        assert!(list.is_sorted_by(|a, b| a.resource < b.resource), "the list is sorted by name, each once: {list:?}");
        list.into_iter().filter(|inspection| inspection.resource.as_str().starts_with(prefix.as_str())).collect::<Vec<_>>()
    };
    let complete = async || ours().await.iter().map(|inspection| inspection.resource.clone()).collect::<Vec<_>>() == expected;
    eventually(store, "everything in use is listed", complete).await;
    for inspection in ours().await {
        let holder = held.iter().find(|attempt| attempt.resource == inspection.resource).expect("it is ours");
        assert_eq!(claims(&inspection.holders), [(Some(holder.claim), PartyState::Live)]);
    }
    for attempt in &held {
        attempt.released().await;
    }
    eventually(store, "nothing is listed once nobody holds", async || ours().await.is_empty()).await;
}

/// A resource with waiters is listed with them.
pub async fn the_list_shows_waiters(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    if !first.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let (mut holder, mut waiter) = (first.attempt(&resource), second.attempt(&resource));
    holder.granted().await;
    waiter.queued().await;
    let listed = async || {
        let list = first.list().await;
        let found = list.iter().find(|inspection| inspection.resource == resource);
        found.is_some_and(|inspection| claims(&inspection.waiters) == [(Some(waiter.claim), PartyState::Live)])
    };
    eventually(store, "the waiter is listed", listed).await;
    waiter.released().await;
    holder.released().await;
    no_residue(store, &first, &resource).await;
}

/// A detached hold says so at once, outlives its client, and is kept and released by its claim.
pub async fn a_detached_hold_outlives_its_client(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    holder.granted().await;
    assert!(matches!(holder.renew_as(true).await, leasehold_core::RenewReply::Renewed(_)));
    let detached = [(Some(holder.claim), PartyState::Detached)];
    assert_eq!(claims(&second.inspect(&resource).await.holders), detached);
    let by_claim = holder.seen_by(&second);
    first.engine.close().await.expect("a client can say goodbye");
    drop((holder, first));
    assert_eq!(claims(&second.inspect(&resource).await.holders), detached);
    second.attempt(&resource).busy().await;
    assert!(matches!(by_claim.renew_as(true).await, leasehold_core::RenewReply::Renewed(_)));
    by_claim.released().await;
    no_residue(store, &second, &resource).await;
}

/// A client that says goodbye leaves its holds to their leases.
pub async fn a_goodbye_touches_no_hold(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    holder.granted().await;
    let by_claim = holder.seen_by(&second);
    first.engine.close().await.expect("a client can say goodbye");
    drop((holder, first));
    second.attempt(&resource).busy().await;
    by_claim.renewed().await;
    by_claim.released().await;
    no_residue(store, &second, &resource).await;
}
