//! `leasehold renew`: lengthens a lock that `acquire` got.

use super::view::millis;
use super::{claim, print, print_json, with_client};
use crate::args::Renew;
use crate::exit::{self, Code};
use crate::keeper;
use crate::say::humane;
use crate::store::Fault;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    claim: String,
    answer: &'static str,
    lease_left_ms: Option<u64>,
}

/// Renews, and tells how long the lock lasts.
pub fn renew(args: Renew) -> Result<Code, Fault> {
    let claim = claim(&args.claim)?;
    let (name, ttl) = (args.name.clone(), args.ttl);
    let deadline = with_client(&args.store, |client| async move { client.claimed(&name, claim)?.renew(ttl).await })?;
    let left = deadline.map(|deadline| deadline.since(keeper::now()));
    let answer = if left.is_some() { "renewed" } else { "lost" };
    if args.json {
        print_json(&Answer { name: args.name, claim: args.claim, answer, lease_left_ms: left.map(millis) })?;
    } else {
        print(&left.map_or("lost\n".into(), |left| format!("renewed for {}\n", humane(left))))?;
    }
    Ok(if left.is_some() { exit::OK } else { exit::LOST })
}
