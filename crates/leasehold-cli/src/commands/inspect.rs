//! `leasehold inspect`: who holds a lock and who waits for it.

use super::view::{self, Lock};
use super::{print, print_json, with_client};
use crate::args::Inspect;
use crate::exit::{self, Code};
use crate::store::Fault;

/// Prints one lock.
pub fn inspect(args: Inspect) -> Result<Code, Fault> {
    let seen = with_client(&args.store, |client| async move { client.inspect(&args.name).await })?;
    if args.json {
        print_json(&Lock::from(&seen))?;
    } else {
        print(&view::inspect(&seen))?;
    }
    Ok(exit::OK)
}
