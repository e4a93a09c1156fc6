//! Those who are measured: each takes and gives back one lock, as a user of it would.

pub mod bare;
pub mod blpop;
pub mod fifo;
pub mod nothing;
pub mod ours;
pub mod poll;
pub mod raw;
#[cfg(feature = "rivals")]
pub mod rslock;

use crate::Fault;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// How long a lock lives without a renewal, with everybody.
pub const TTL: Duration = Duration::from_secs(30);

/// One task's way to one lock.
pub trait Seat: Send + 'static {
    /// True if it blocks its thread, and so needs one of its own.
    const BLOCKS: bool = false;

    /// Takes the lock; returns its token, or 0 if it has none.
    fn acquire(&mut self) -> impl Future<Output = Result<u64, Fault>> + Send;

    /// Gives it back, and waits for the answer.
    fn release(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Ours,
    OursAlone,
    /// With metrics; in comparisons with `Ours` only.
    Observed,
    Bare,
    Poll10,
    Poll1,
    Rslock,
    Rslock1,
    Blpop,
    Fifo,
    Raw,
    /// The negative control; in no comparison.
    Nothing,
}

impl Kind {
    /// All that are compared.
    pub const ALL: [Kind; 11] = [
        Kind::Ours,
        Kind::OursAlone,
        Kind::Observed,
        Kind::Bare,
        Kind::Poll10,
        Kind::Poll1,
        Kind::Rslock,
        Kind::Rslock1,
        Kind::Blpop,
        Kind::Fifo,
        Kind::Raw,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "ours",
            Kind::OursAlone => "ours, no cohort",
            Kind::Observed => "ours, with metrics",
            Kind::Bare => "bare",
            Kind::Poll10 => "poll 10 ms",
            Kind::Poll1 => "poll 1 ms",
            Kind::Rslock => "rslock",
            Kind::Rslock1 => "rslock 1 ms",
            Kind::Blpop => "BLPOP hand-off",
            Kind::Fifo => "FIFO list",
            Kind::Raw => "raw cycle",
            Kind::Nothing => "no lock",
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Ours => "this library by its public API, as it comes",
            Kind::OursAlone => "the same with `cohort(false)`: every hand-off goes through the server",
            Kind::Observed => "the same as ours, with its metrics in a Prometheus recorder whose upkeep runs every second",
            Kind::Bare => {
                "hand-written on the `redis` crate: `SET key id NX PX` and `EVALSHA` compare-and-delete on one \
                 `MultiplexedConnection`; waits by sleeping 1 ms. No renewal, no token, no queue"
            }
            Kind::Poll10 => "a textbook blocking client: a connection and a thread per task, the same two commands, sleeps 10 ms",
            Kind::Poll1 => "the same, sleeps 1 ms",
            Kind::Rslock => "the crate `rslock` 0.10 as it comes: three tries, 0 to 200 ms apart, again and again",
            Kind::Rslock1 => "the same, told to retry after 0 or 1 ms (it draws whole milliseconds below the 2 that it is given)",
            Kind::Blpop => {
                "floor: `BLPOP` and `RPUSH` of one token, a connection per waiter. Not crash-safe: a dead holder ends it"
            }
            Kind::Fifo => {
                "floor: Lua, `SET NX` or `RPUSH` into a queue; a release compares, pops, sets the key to the next and publishes to \
                 its process by RESP3 push on the same connection. No crash handling of waiters, no tokens"
            }
            Kind::Nothing => "no lock at all: the negative control",
            Kind::Raw => "floor: bare's two commands, hand-written on a blocking socket, those of all tasks in one write",
        }
    }

    /// Requests among the server's `calls`: a native claim of ours or a top-level script call each, or a plain command.
    pub fn requests(self, calls: &HashMap<String, u64>) -> u64 {
        let sum = |names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<u64>();
        match self {
            // A native claim is counted by its `INCR`, which no script calls. A write of a client's registry says once in the set
            // of clients until when it lives; nothing else touches that set.
            Kind::Ours | Kind::OursAlone | Kind::Observed => sum(&["evalsha", "eval", "incr"]).saturating_sub(sum(&["zadd"])),
            Kind::Blpop => sum(&["blpop", "rpush"]),
            Kind::Fifo => sum(&["evalsha", "eval"]),
            _ => sum(&["set", "evalsha", "eval"]),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
