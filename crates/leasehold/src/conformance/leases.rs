//! How a hold ends by time, and what cannot bring it back.

use super::Store;
use super::actor::{Actor, BRIEF, brief, fresh_name, lasting, no_residue, not_before};
use leasehold_core::{ClaimReply, RenewReply};

/// A lease that nobody renews ends, and the waiter holds.
pub async fn an_expired_hold_goes_to_the_waiter(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut dies = actor.attempt(&resource).with(brief());
    let sent = store.world().now();
    let token = dies.granted().await;
    let mut waiter = actor.attempt(&resource);
    let grant = waiter.until_granted().await;
    not_before(store, sent, BRIEF);
    assert!(grant.token > token, "the later grant has the larger token");
    dies.lost().await;
    waiter.renewed().await;
    waiter.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A lease is not over before its time: a rival that asks all along is not granted while renewals go through.
pub async fn a_renewed_hold_outlives_its_ttl(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource).with(brief());
    holder.granted().await;
    holder.terms = lasting();
    // On a slow machine the lease may end before the renewal: then there is nothing to look at yet, and it is tried again.
    while holder.renew().await == RenewReply::Lost {
        holder = actor.attempt(&resource).with(brief());
        holder.until_granted().await;
        holder.terms = lasting();
    }
    let mut rival = actor.attempt(&resource);
    for _ in 0..8 {
        rival.busy().await;
        store.world().sleep(BRIEF / 4).await;
    }
    holder.renewed().await;
    holder.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A renewal after the end is lost, again and again, and takes nothing from those who come after.
pub async fn a_late_renewal_is_lost_and_revives_nothing(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut dies = actor.attempt(&resource).with(brief());
    dies.granted().await;
    store.world().sleep(BRIEF * 2).await;
    dies.terms = lasting();
    dies.lost().await;
    dies.lost().await;
    no_residue(store, &actor, &resource).await;
    let mut next = actor.attempt(&resource);
    next.granted().await;
    dies.lost().await;
    next.renewed().await;
    next.released().await;
}

/// A renewal with a shorter ttl leaves the longer lease in force.
pub async fn a_renewal_never_shortens_the_lease(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    holder.terms = brief();
    holder.renewed().await;
    store.world().sleep(BRIEF * 2).await;
    actor.attempt(&resource).busy().await;
    holder.renewed().await;
    holder.released().await;
}

/// A renewal by a claim that never held is lost.
pub async fn a_strangers_renewal_is_lost(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let stranger = actor.attempt(&resource);
    stranger.lost().await;
    no_residue(store, &actor, &resource).await;
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    stranger.lost().await;
    holder.released().await;
    no_residue(store, &actor, &resource).await;
}

/// Who asks after its own lease ended stands behind those who waited, and is granted anew with a larger token.
pub async fn a_claim_after_its_own_expiry_is_a_new_grant_in_queue_order(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut dies = actor.attempt(&resource).with(brief());
    let first = dies.granted().await;
    if !actor.capabilities().queue {
        store.world().sleep(BRIEF * 2).await;
        assert!(dies.granted().await > first, "the new grant has a larger token");
        return;
    }
    let mut waiter = actor.attempt(&resource);
    waiter.queued_or_granted().await;
    store.world().sleep(BRIEF * 2).await;
    dies.terms = lasting();
    let reply = dies.ask(true).await;
    assert!(matches!(reply, ClaimReply::Queued(_)), "a lease that ended gives no rank: {reply:?}");
    let second = waiter.until_granted().await.token;
    waiter.released().await;
    let third = dies.until_granted().await.token;
    assert!(first < second && second < third, "tokens rise: {first}, {second}, {third}");
    dies.released().await;
    no_residue(store, &actor, &resource).await;
}

/// Once a lease has ended, a release finds it absent or taken, and takes nothing from the next holder.
pub async fn a_late_release_takes_nothing(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut dies = actor.attempt(&resource).with(brief());
    dies.granted().await;
    let mut next = actor.attempt(&resource);
    next.until_granted().await;
    dies.taken().await;
    next.renewed().await;
    next.released().await;
    no_residue(store, &actor, &resource).await;
}
