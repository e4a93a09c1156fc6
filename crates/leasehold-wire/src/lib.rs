//! What Leasehold says to Redis: key names, Lua scripts, and the codecs of calls and answers. No I/O.
//!
//! A driver turns a [`Call`] into `EVALSHA`, its server's answer into a [`Reply`], and that into what the call means. The
//! library and the simulator use this crate alike, so what is explored is what ships.
#![forbid(unsafe_code)]

mod answer;
mod call;
mod keys;
mod scripts;

pub use answer::{
    Claimed, Ended, Listed, Looked, Malformed, Native, Obstacle, Prolonged, Push, Record, Reply, Waiting, claimed, counter,
    looked, native, released, renewed,
};
pub use call::{
    Call, Change, Detach, Entry, HoldState, NativeClaim, claim, detach, forget, inspect, raise, registry, registry_claim,
    registry_field, release, renew,
};
pub use keys::{Keys, PrefixError, Space, slot};
pub use scripts::{ALL, Script};
