//! Fencing tokens: larger than that of every grant before, whoever asks, for whatever.

use super::Store;
use super::actor::{Actor, BRIEF, brief, fresh_name};
use leasehold_core::Token;

/// Tokens rise over clients, resources, releases and repeats alike.
pub async fn tokens_rise_across_clients_and_resources(store: &dyn Store) {
    let actors = [Actor::join(store).await, Actor::join(store).await, Actor::join(store).await];
    let resources = [fresh_name(store), fresh_name(store)];
    let mut last = Last::default();
    for turn in 0..24 {
        let mut attempt = actors[turn % 3].attempt(&resources[turn % 2]);
        last.rises_to(attempt.granted().await);
        if turn % 5 == 0 {
            last.rises_to(attempt.granted().await);
        }
        attempt.released().await;
    }
}

/// A client that comes later starts above what was granted before it came.
pub async fn a_new_client_starts_above_all_earlier_tokens(store: &dyn Store) {
    let mut last = Last::default();
    for _ in 0..4 {
        let actor = Actor::join(store).await;
        let mut attempt = actor.attempt(&fresh_name(store));
        last.rises_to(attempt.granted().await);
        attempt.released().await;
        actor.engine.close().await.expect("a client can say goodbye");
    }
}

/// A hand-off takes a token of its own, in the order of grants.
pub async fn a_hand_offs_token_is_between_those_around_it(store: &dyn Store) {
    let mut actor = Actor::join(store).await;
    if !actor.capabilities().queue {
        return;
    }
    let resource = fresh_name(store);
    let mut last = Last::default();
    let (mut holder, mut waiter) = (actor.attempt(&resource), actor.attempt(&resource));
    last.rises_to(holder.granted().await);
    waiter.queued().await;
    holder.released().await;
    last.rises_to(actor.handed(&mut waiter).await.token);
    let mut elsewhere = actor.attempt(&fresh_name(store));
    last.rises_to(elsewhere.granted().await);
    last.rises_to(waiter.granted().await);
    waiter.released().await;
    elsewhere.released().await;
}

/// After a lease ran out, the next token is larger too.
pub async fn tokens_rise_after_an_expiry(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut last = Last::default();
    last.rises_to(actor.attempt(&resource).with(brief()).granted().await);
    store.world().sleep(BRIEF * 2).await;
    let mut next = actor.attempt(&resource);
    last.rises_to(next.granted().await);
    next.released().await;
}

/// Tokens that are set aside for a holder are larger than all before and smaller than all after.
pub async fn tokens_set_aside_are_between_the_grants_around_them(store: &dyn Store) {
    let actors = [Actor::join(store).await, Actor::join(store).await];
    let resources = [fresh_name(store), fresh_name(store)];
    let mut last = Last::default();
    let mut holder = actors[0].attempt(&resources[0]);
    last.rises_to(holder.granted().await);
    for count in [1, 16, 16] {
        let block = holder.renewed_with(count).await.block.expect("a holder is given the tokens that it asks for");
        assert!((1..=count).contains(&block.count), "{block:?} of {count}");
        last.rises_to(block.first);
        last.rises_to_if_larger(block.first.after(block.count - 1));
        let mut elsewhere = actors[1].attempt(&resources[1]);
        last.rises_to(elsewhere.granted().await);
        elsewhere.released().await;
    }
    assert_eq!(holder.renewed_with(0).await.block, None, "who asks for none is given none");
    holder.released().await;
}

/// What a token is for reaches who looks on: an inspection shows the holder's last token, if it shows one.
pub async fn an_inspection_shows_the_last_token(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let resource = fresh_name(store);
    let mut holder = actor.attempt(&resource);
    holder.granted().await;
    let token = holder.granted().await;
    let shown = actor.inspect(&resource).await;
    assert!(shown.holders[0].token.is_none_or(|shown| shown == token), "the token shown is the last one, {token}: {shown:?}");
    holder.released().await;
}

#[derive(Default)]
struct Last(Option<Token>);

impl Last {
    /// The end of a block of one is its beginning.
    fn rises_to_if_larger(&mut self, token: Option<Token>) {
        assert!(self.0 <= token, "a block has an end");
        self.0 = token;
    }

    fn rises_to(&mut self, token: Token) {
        assert!(self.0 < Some(token), "{token} must be larger than {:?}", self.0);
        self.0 = Some(token);
    }
}
