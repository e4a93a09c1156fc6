//! What a verb does when it comes twice.

use super::Store;
use super::actor::{Actor, fresh_name};

/// An owner that asks again is granted again, with a larger token.
pub async fn an_owners_repeat_is_granted_again_with_a_new_token(store: &dyn Store) {
    let actor = Actor::join(store).await;
    let mut attempt = actor.attempt(&fresh_name(store));
    let mut last = attempt.granted().await;
    for _ in 0..3 {
        let token = attempt.granted().await;
        assert!(token > last, "a repeat takes a new token: {token} after {last}");
        last = token;
    }
    attempt.released().await;
}
