//! `leasehold release`: gives a lock back by its claim, or takes it away from its holder.

use super::{claim, print, print_json, with_client};
use crate::args::Release;
use crate::exit::{self, Code};
use crate::store::Fault;
use leasehold::Released;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<usize>,
}

/// Releases or revokes.
pub fn release(args: Release) -> Result<Code, Fault> {
    match &args.claim {
        Some(text) => own(&args, text),
        None => force(&args),
    }
}

fn own(args: &Release, text: &str) -> Result<Code, Fault> {
    let claim = claim(text)?;
    let name = args.name.clone();
    let released = with_client(&args.store, |client| async move { client.claimed(&name, claim)?.release().await })?;
    let by = match released {
        Released::Taken { by } => by.map(|by| by.to_string()),
        _ => None,
    };
    let answer = word(&released);
    if args.json {
        print_json(&Answer { name: args.name.clone(), answer, by, holds: None })?;
    } else {
        print(&by.map_or(format!("{answer}\n"), |by| format!("{answer} by {by}\n")))?;
    }
    Ok(if released == Released::Released { exit::OK } else { exit::LOST })
}

fn force(args: &Release) -> Result<Code, Fault> {
    let (name, now) = (args.name.clone(), args.now);
    let holds = with_client(&args.store, |client| async move { client.revoke(&name, now).await })?;
    if args.json {
        print_json(&Answer { name: args.name.clone(), answer: "revoked", by: None, holds: Some(holds) })?;
    } else if holds == 0 {
        print("nobody holds it by a claim that can be revoked\n")?;
    } else {
        print(if args.now {
            "revoked; others may hold it now\n"
        } else {
            "revoked; free when its holder lets go, or its lease ends\n"
        })?;
    }
    Ok(exit::OK)
}

/// What became of a release, in one word.
pub fn word(released: &Released) -> &'static str {
    match released {
        Released::Released => "released",
        Released::Expired => "expired",
        Released::Taken { .. } => "taken",
        Released::StillHeld(_) => "held",
        _ => "gone",
    }
}
