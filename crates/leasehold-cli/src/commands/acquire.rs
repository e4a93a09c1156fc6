//! `leasehold acquire`: a lock that outlives this process, for steps in different processes.

use super::view::millis;
use super::{on_runtime, print, print_json};
use crate::args::Acquire;
use crate::exit::{self, Code};
use crate::keeper;
use crate::obtain::{Ears, Granted, Wish, goodbye, obtain, refused};
use crate::store::{Fault, Store};
use crate::sys;
use leasehold::{Detached, Renewal};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    claim: String,
    token: u64,
    lease_left_ms: u64,
}

/// Acquires, detaches and prints the claim.
pub fn acquire(args: Acquire) -> Result<Code, Fault> {
    sys::block(&sys::FORWARDED).map_err(refused)?;
    let store = Store::choose(&args.store)?;
    let detached = on_runtime(detach(&args, &store)).map_err(|fault| args.waiting.as_asked(fault))?;
    let answer = Answer {
        name: detached.resource.to_string(),
        claim: detached.claim.to_string(),
        token: detached.token.as_u64(),
        lease_left_ms: millis(detached.deadline.since(keeper::now())),
    };
    if args.json {
        print_json(&answer)?;
    } else {
        print(&format!("claim={}\ntoken={}\n", answer.claim, answer.token))?;
    }
    Ok(exit::OK)
}

async fn detach(args: &Acquire, store: &Store) -> Result<Detached, Fault> {
    let ears = Ears::open().map_err(refused)?;
    let wish = Wish {
        name: &args.name,
        store,
        policy: &args.policy,
        waiting: &args.waiting,
        renew: Renewal::Auto,
        quiet: args.store.quiet,
    };
    let Granted { client, guard } = obtain(&wish, &ears).await?;
    let detached = guard.detach().await;
    goodbye(client).await;
    Ok(detached?)
}
