//! Who comes next, and how it is told.

use super::Store;
use super::actor::{Actor, BRIEF, brief, claims, fresh_name, lasting, no_residue};
use crate::engine::PartyState;
use leasehold_core::Terms;
use std::time::Duration;

/// A release grants to the waiter within itself; the push names the waiter's last ask.
pub async fn a_release_grants_the_waiter_and_names_its_last_ask(store: &dyn Store) {
    let (first, mut second) = (Actor::join(store).await, Actor::join(store).await);
    if !first.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    let held = holder.granted().await;
    let mut waiter = second.attempt(&resource);
    for _ in 0..3 {
        waiter.queued().await;
    }
    holder.released().await;
    let shown = first.inspect(&resource).await;
    assert_eq!(claims(&shown.holders), [(Some(waiter.claim), PartyState::Live)], "the release itself grants");
    let grant = second.handed(&mut waiter).await;
    assert!(grant.token > held, "a later grant has a larger token");
    waiter.renewed().await;
    waiter.released().await;
    no_residue(store, &first, &resource).await;
}

/// Eight waiters are served in the order in which they came, whoever asks again in between.
pub async fn waiters_are_served_in_order_of_arrival(store: &dyn Store) {
    let first = Actor::join(store).await;
    if !first.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = first.attempt(&resource);
    let mut last = holder.granted().await;
    let mut line = Vec::new();
    for _ in 0..8 {
        let actor = Actor::join(store).await;
        let mut waiter = actor.attempt(&resource);
        waiter.queued().await;
        line.push((actor, waiter));
    }
    for (_, waiter) in line.iter_mut().rev() {
        waiter.queued().await;
    }
    for (mut actor, mut waiter) in line {
        holder.released().await;
        let grant = actor.handed(&mut waiter).await;
        assert!(grant.token > last, "tokens rise with the grants");
        last = grant.token;
        holder = waiter;
    }
    holder.released().await;
    no_residue(store, &first, &resource).await;
}

/// A grant by hand-off ends when the place would have ended, however long the waiter's ttl is.
pub async fn a_hand_off_ends_with_the_place(store: &dyn Store) {
    let actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    let mut absent = actor.attempt(&resource).with(Terms { ttl: lasting().ttl, ..brief() });
    let mut next = actor.attempt(&resource);
    absent.queued().await;
    next.queued().await;
    holder.released().await;
    next.until_granted().await;
    absent.lost().await;
    next.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A grant by hand-off is a hold like any other once its holder has renewed it: the full ttl from the renewal.
pub async fn a_hand_off_lasts_the_full_ttl_once_renewed(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let (mut holder, mut waiter) = (actor.attempt(&resource), actor.attempt(&resource));
    holder.granted().await;
    // The place lives long enough for a slow machine, and ends before the second look below.
    waiter.terms.place_life = BRIEF * 5;
    waiter.queued().await;
    holder.released().await;
    actor.handed(&mut waiter).await;
    waiter.renewed().await;
    store.world().sleep(BRIEF * 6).await;
    waiter.renewed().await;
    waiter.released().await;
}

/// A waiter that gave up is passed over, wherever it stood, and cannot renew what it never had.
pub async fn a_withdrawn_waiter_is_passed_over(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    let mut line: Vec<_> = (0..5).map(|_| actor.attempt(&resource)).collect();
    for waiter in &mut line {
        waiter.queued().await;
    }
    for gone in [0, 2, 4] {
        line[gone].released().await;
    }
    for next in [1, 3] {
        holder.released().await;
        actor.handed(&mut line[next]).await;
        std::mem::swap(&mut holder, &mut line[next]);
    }
    line[0].lost().await;
    holder.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A waiter that died is passed over once its place has ended, and stands last if it comes back.
pub async fn a_dead_waiter_is_passed_over(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    let mut dead = actor.attempt(&resource).with(brief());
    let mut next = actor.attempt(&resource);
    dead.queued().await;
    next.queued().await;
    store.world().sleep(BRIEF * 2).await;
    holder.released().await;
    actor.handed(&mut next).await;
    dead.terms = lasting();
    dead.queued().await;
    let shown = actor.inspect(&resource).await;
    assert_eq!(claims(&shown.holders), [(Some(next.claim), PartyState::Live)]);
    assert_eq!(claims(&shown.waiters), [(Some(dead.claim), PartyState::Live)]);
    next.released().await;
    actor.handed(&mut dead).await;
    dead.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A waiter whose place has less than its margin left is passed over, and keeps its rank.
pub async fn a_waiter_short_of_its_margin_is_passed_over_and_keeps_its_rank(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    let margin = lasting().place_life - Duration::from_millis(200);
    let mut short = actor.attempt(&resource).with(Terms { place_margin: margin, ..lasting() });
    let (mut second, mut third) = (actor.attempt(&resource), actor.attempt(&resource));
    short.queued().await;
    second.queued().await;
    store.world().sleep(Duration::from_millis(400)).await;
    holder.released().await;
    actor.handed(&mut second).await;
    third.queued().await;
    short.terms = lasting();
    short.queued().await;
    let shown = actor.inspect(&resource).await;
    let live = |claim| (Some(claim), PartyState::Live);
    assert_eq!(claims(&shown.waiters), [live(short.claim), live(third.claim)], "it stands where it stood");
    second.released().await;
    actor.handed(&mut short).await;
    short.released().await;
    actor.handed(&mut third).await;
    third.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A waiter alone in line that was short of its margin at the release is granted by its next ask.
pub async fn a_waiter_that_was_passed_over_is_granted_by_its_next_ask(store: &dyn Store) {
    let actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    let margin = lasting().place_life - Duration::from_millis(200);
    let mut short = actor.attempt(&resource).with(Terms { place_margin: margin, ..lasting() });
    short.queued().await;
    store.world().sleep(Duration::from_millis(400)).await;
    holder.released().await;
    short.lost().await;
    short.granted().await;
    short.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A holder hears from its renewals whether somebody waits: what it may keep for itself depends on it.
pub async fn a_renewal_says_whether_others_wait(store: &dyn Store) {
    let actors = [Actor::join(store).await, Actor::join(store).await];
    if !actors[0].capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut holder = actors[0].attempt(&resource);
    holder.granted().await;
    assert!(!holder.renewed_with(0).await.others_wait, "nobody waits");
    let mut waiter = actors[1].attempt(&resource);
    waiter.queued().await;
    assert!(holder.renewed_with(16).await.others_wait, "somebody waits");
    waiter.released().await;
    assert!(!holder.renewed_with(16).await.others_wait, "nobody waits any more");
    holder.released().await;
}
