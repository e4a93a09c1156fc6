//! `leasehold bench`: what a store can do, and whether it keeps its promises while holders are killed and paused.

pub mod buyer;
mod contended;
mod crew;
mod door;
mod faults;
mod figures;
mod hand_off;
mod load;
mod measure;
mod progress;
mod protocols;
mod report;
mod sale;
mod shop;
mod uncontended;
mod verify;
mod wire;

use super::{on_runtime, print, print_json};
use crate::args::Bench;
use crate::exit::{self, Code};
use crate::obtain::{Ears, refused, signal_name};
use crate::store::{Fault, Store};
use crate::sys;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Measures or verifies, and prints what was found.
pub fn bench(args: Bench) -> Result<Code, Fault> {
    sys::block(&sys::FORWARDED).map_err(refused)?;
    let store = Store::choose(&args.store)?;
    let is_ok = if args.verify {
        let found = on_runtime(async { verify::verify(&args, &store, &ears()?).await })?;
        tell(&args, &found, found.text())?;
        found.ok
    } else {
        let found = on_runtime(async { measure::measure(&args, &store, &ears()?).await })?;
        tell(&args, &found, found.text())?;
        found.is_ok()
    };
    Ok(if is_ok { exit::OK } else { exit::VIOLATED })
}

fn ears() -> Result<Ears, Fault> {
    Ears::open().map_err(refused)
}

fn tell(args: &Bench, found: &impl serde::Serialize, text: String) -> Result<(), Fault> {
    if args.json { print_json(found) } else { print(&text) }
}

/// A name that nobody else uses.
fn fresh_name(purpose: &str) -> String {
    format!("leasehold-bench:{}{purpose}", random())
}

/// 64 random bits, as text: the standard library's hashers are seeded by the operating system.
fn random() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

fn interrupted(signal: i32) -> Fault {
    Fault { code: Code::of_signal(signal), message: format!("ended by {}", signal_name(signal)) }
}
