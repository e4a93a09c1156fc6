//! Several permits of one resource: semaphores, readers and writers. Only for engines that have permits.

use super::Store;
use super::actor::{Actor, claims, fresh_name, no_residue};
use crate::engine::PartyState;
use crate::error::ErrorKind;
use leasehold_core::{Bound, Want};

/// As many hold as fit, and the next is busy.
pub async fn as_many_hold_as_fit(store: &dyn Store) {
    let actor = Actor::join(store).await;
    if !actor.capabilities().permits {
        return;
    }
    let resource = fresh_name(store);
    let (mut two, mut one) = (actor.attempt(&resource).wanting(2, 3), actor.attempt(&resource).wanting(1, 3));
    two.granted().await;
    one.granted().await;
    actor.attempt(&resource).wanting(1, 3).busy().await;
    two.renewed().await;
    one.renewed().await;
    two.released().await;
    actor.attempt(&resource).wanting(3, 3).busy().await;
    let mut again = actor.attempt(&resource).wanting(2, 3);
    again.granted().await;
    let shown = actor.inspect(&resource).await;
    assert_eq!(shown.holders.len(), 2, "both holders are shown: {shown:?}");
    again.released().await;
    one.released().await;
    no_residue(store, &actor, &resource).await;
}

/// Readers that come after a waiting writer wait behind it, so that it never starves; its release lets them all in.
pub async fn readers_wait_behind_a_waiting_writer(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !(actor.capabilities().permits && actor.capabilities().queue) {
        return;
    }
    let resource = fresh_name(store);
    let reader = |actor: &Actor| actor.attempt(&resource).wanting(1, 8);
    let mut early = [reader(&actor), reader(&actor)];
    for reader in &mut early {
        reader.granted().await;
    }
    let mut writer = actor.attempt(&resource).wanting(8, 8);
    writer.queued().await;
    reader(&actor).busy().await;
    let mut late = [reader(&actor), reader(&actor), reader(&actor)];
    for reader in &mut late {
        reader.queued().await;
    }
    early[0].released().await;
    writer.lost().await;
    early[1].released().await;
    actor.handed(&mut writer).await;
    late[0].queued().await;
    writer.released().await;
    let mut tokens = Vec::new();
    for reader in &mut late {
        tokens.push(actor.handed(reader).await.token);
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "grants of one release are made in order of arrival: {tokens:?}");
    for reader in &late {
        reader.renewed().await;
        reader.released().await;
    }
    no_residue(store, &actor, &resource).await;
}

/// A writer that gives up waiting lets in the readers behind it.
pub async fn a_withdrawn_writer_lets_readers_in(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !(actor.capabilities().permits && actor.capabilities().queue) {
        return;
    }
    let resource = fresh_name(store);
    let mut early = actor.attempt(&resource).wanting(1, 8);
    let mut writer = actor.attempt(&resource).wanting(8, 8);
    let mut late = actor.attempt(&resource).wanting(1, 8);
    early.granted().await;
    writer.queued().await;
    late.queued().await;
    writer.released().await;
    actor.handed(&mut late).await;
    early.released().await;
    late.released().await;
    no_residue(store, &actor, &resource).await;
}

/// A renewal for fewer permits gives the rest to those who wait; one for more takes nothing.
pub async fn a_renewal_for_fewer_permits_is_a_downgrade(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !(actor.capabilities().permits && actor.capabilities().queue) {
        return;
    }
    let resource = fresh_name(store);
    let mut writer = actor.attempt(&resource).wanting(8, 8);
    let mut reader = actor.attempt(&resource).wanting(1, 8);
    writer.granted().await;
    reader.queued().await;
    writer.want = Want::new(1, 8).expect("one of eight");
    assert_eq!(writer.renew().await.bound(), Some(Bound::FromSend(writer.terms.ttl)));
    actor.handed(&mut reader).await;
    let shown = actor.inspect(&resource).await;
    let live = |claim| (Some(claim), PartyState::Live);
    let mut holders = claims(&shown.holders);
    holders.sort_by_key(|(claim, _)| *claim != Some(writer.claim));
    assert_eq!(holders, [live(writer.claim), live(reader.claim)]);
    writer.released().await;
    reader.released().await;
    no_residue(store, &actor, &resource).await;
}

/// Another number of permits in all is a configuration error while somebody holds, and harms nobody.
pub async fn another_capacity_is_refused_while_in_use(store: &dyn Store) {
    let actor = Actor::join(store).await;
    if !actor.capabilities().permits {
        return;
    }
    let resource = fresh_name(store);
    for (held, other) in [((1, 1), (1, 3)), ((1, 3), (1, 1)), ((1, 3), (1, 4))] {
        let mut holder = actor.attempt(&resource).wanting(held.0, held.1);
        holder.granted().await;
        for wait in [false, true] {
            let mut misfit = actor.attempt(&resource).wanting(other.0, other.1);
            let error = misfit.ask_or_error(wait).await.expect_err("two views of one resource cannot both be right");
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        }
        holder.renewed().await;
        holder.released().await;
        no_residue(store, &actor, &resource).await;
    }
}
