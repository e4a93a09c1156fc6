//! Who comes next, and how it is told.

use super::Store;
use super::actor::{Actor, fresh_name, no_residue};

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
