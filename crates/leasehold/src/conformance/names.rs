//! Any legal name names a resource of its own, whatever it means to the store.

use super::Store;
use super::actor::{Actor, claims, eventually, name, no_residue};
use crate::engine::PartyState;
use leasehold_core::{ResourceName, Terms};

/// Names that mean something to some store, and names that differ little.
const STRANGE: &[&str] = &[
    "{a}b",
    "}{",
    "{}",
    "{",
    "%",
    "%s%n",
    "%00",
    "*",
    "?",
    "[a-z]",
    "[a-z]*",
    "\\",
    "\\x00",
    "'",
    "''",
    "\"",
    "`",
    "$1",
    "${x}",
    "'; DROP TABLE claims; --",
    ":",
    "::",
    ":queue",
    ":lock",
    "queue",
    "counter",
    "token",
    "leasehold:",
    "/",
    "../..",
    ".",
    " ",
    "a",
    "A",
    "a ",
    " a",
    "a:b",
    "a/b",
    "ключ",
    "錠前",
    "☃",
    "🔒",
    "é",
    "e\u{301}",
    "\u{200b}",
    "\u{feff}",
    "-",
    "--",
    "_",
    "0",
    "-1",
    "nil",
    "NULL",
    "true",
];

/// Every strange name is granted beside all others, is shown as it was given, and leaves nothing behind.
pub async fn strange_names_are_resources_of_their_own(store: &dyn Store) {
    let (first, second) = (Actor::join(store).await, Actor::join(store).await);
    // In front of some, behind others: a store may look at either end of a name.
    let run = format!("{:016x}", store.world().random());
    let names: Vec<ResourceName> =
        STRANGE.iter().flat_map(|strange| [name(&format!("{strange}{run}")), name(&format!("{run}{strange}"))]).collect();
    let mut held = Vec::new();
    for resource in &names {
        let mut attempt = first.attempt(resource);
        attempt.granted().await;
        held.push(attempt);
    }
    for attempt in &mut held {
        second.attempt(&attempt.resource).busy().await;
        let shown = second.inspect(&attempt.resource).await;
        assert_eq!(shown.resource, attempt.resource);
        assert_eq!(claims(&shown.holders), [(Some(attempt.claim), PartyState::Live)]);
        attempt.renewed().await;
    }
    let mut expected = names.clone();
    expected.sort();
    let listed = async || {
        let all = second.list().await.into_iter().map(|inspection| inspection.resource);
        all.filter(|resource| resource.as_str().contains(&run)).collect::<Vec<_>>() == expected
    };
    eventually(store, "strange names are listed as they were given", listed).await;
    for attempt in &held {
        attempt.released().await;
        no_residue(store, &first, &attempt.resource).await;
    }
}

/// The longest names are told apart by their last byte.
pub async fn the_longest_names_are_told_apart(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let run = format!("{:016x}", store.world().random());
    let longest = |end: &str| name(&format!("{run}{}{end}", "é".repeat(247)));
    let (one, other) = (longest("aa"), longest("ab"));
    assert_eq!(one.as_str().len(), ResourceName::MAX_BYTES);
    let (mut first, mut second) = (actor.attempt(&one), actor.attempt(&other));
    first.granted().await;
    second.granted().await;
    actor.attempt(&one).busy().await;
    first.released().await;
    second.renewed().await;
    second.released().await;
    for resource in [&one, &other] {
        no_residue(store, &actor, resource).await;
    }
}

/// Queues, ghosts and delays of strange names keep apart too.
pub async fn strange_names_have_queues_of_their_own(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let run = format!("{:016x}", store.world().random());
    let mut waiting = Vec::new();
    for strange in ["", "{a}", "a", ":queue", "*", "'", "☃"] {
        let resource = name(&format!("{run}{strange}"));
        let (mut holder, mut waiter) = (actor.attempt(&resource), actor.attempt(&resource));
        waiter.terms = Terms { lock_delay: waiter.terms.ttl, ..waiter.terms };
        holder.granted().await;
        waiter.queued().await;
        waiting.push((holder, waiter));
    }
    for (holder, mut waiter) in waiting {
        holder.released().await;
        actor.handed(&mut waiter).await;
        waiter.released().await;
        no_residue(store, &actor, &waiter.resource).await;
    }
}
