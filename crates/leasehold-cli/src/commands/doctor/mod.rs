//! `leasehold doctor`: what of a store and of this host endangers locks, what it means, and what to do.

mod finding;
mod host;
mod redis;
mod report;
mod shell;
mod sqlite;

use super::{print, print_json};
use crate::args::Doctor;
use crate::exit::Code;
use crate::obtain::refused;
use crate::store::{Fault, Store};
use finding::Check;
use report::{Report, Voice};
use tokio::runtime::Builder;

/// Checks, and prints what was found.
pub fn doctor(args: Doctor) -> Result<Code, Fault> {
    let store = Store::choose(&args.store)?;
    let report = match checks(&store) {
        Ok(checks) => Report::new(&store, checks),
        // Whatever reads it gets what it asked for; the message goes where it goes without it, too.
        Err(fault) if args.json => {
            print_json(&Report::of_fault(&store, &fault))?;
            return Err(fault);
        }
        Err(fault) => return Err(fault),
    };
    let voice = match (args.store.quiet, args.verbose) {
        (true, _) => Voice::Quiet,
        (_, true) => Voice::Verbose,
        _ => Voice::Plain,
    };
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.text(voice))?;
    }
    Ok(report.exit_code())
}

fn checks(store: &Store) -> Result<Vec<Check>, Fault> {
    let mut checks = match store.url().split(':').next() {
        Some("sqlite") => sqlite::checks(store.url())?,
        Some("redis" | "rediss" | "redis+unix") => in_time(redis::checks(store.url()))?,
        // A store in memory has nothing that could be wrong; and an unknown scheme is told as everywhere else.
        _ => in_time(async { Ok(store.connect(None).await.map(|_| Vec::new())?) })?,
    };
    checks.extend(host::checks());
    Ok(checks)
}

/// Runs `work`, and waits for nothing that it left behind: a name server may take long to answer.
fn in_time<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
