//! The commands, one file each.

pub mod acquire;
pub mod bench;
pub mod completions;
pub mod doctor;
pub mod inspect;
pub mod list;
pub mod man;
pub mod release;
pub mod renew;
pub mod run;
pub mod serve;
pub mod top;
pub mod view;

use crate::args::{Command, StoreArgs};
use crate::exit::Code;
use crate::obtain::{goodbye, refused};
use crate::say::say;
use crate::store::{Fault, Store};
use leasehold::{ClaimId, Client};
use std::future::Future;
use std::io::{self, Write};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Does what the user asked for, and tells the exit code.
pub fn perform(command: Command) -> Code {
    let answer = match command {
        Command::Run(args) => run::run(args),
        Command::Acquire(args) => acquire::acquire(args),
        Command::Renew(args) => renew::renew(args),
        Command::Release(args) => release::release(args),
        Command::List(args) => list::list(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Top(args) => top::top(args),
        Command::Serve(args) => serve::serve(args),
        Command::Bench(args) => bench::bench(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Completions(args) => completions::completions(args),
        Command::Man(args) => man::man(args),
    };
    answer.unwrap_or_else(|fault| {
        say(fault.message);
        fault.code
    })
}

/// Runs `work` on a runtime of this thread's own.
fn on_runtime<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(refused)?;
    LocalSet::new().block_on(&runtime, work)
}

/// Connects, asks, says goodbye.
fn with_client<T, F>(args: &StoreArgs, ask: impl FnOnce(Client) -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, leasehold::Error>>,
{
    let store = Store::choose(args)?;
    on_runtime(async {
        let client = store.connect(None).await?;
        let answer = ask(client.clone()).await;
        goodbye(client).await;
        Ok(answer?)
    })
}

/// The claim in a user's words.
fn claim(text: &str) -> Result<ClaimId, Fault> {
    text.parse().map_err(|error| Fault::usage(format!("--claim: {error}")))
}

/// Writes a result to stdout. A reader that went away is no failure.
fn print(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(refused(error)),
        _ => Ok(()),
    }
}

/// Writes a result to stdout as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value).expect("texts and numbers always serialise");
    print(&(text + "\n"))
}
