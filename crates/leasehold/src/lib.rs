//! Leasehold: the distributed lock that a service can trust.
//!
//! ```
//! # async fn example() -> Result<(), leasehold::Error> {
//! use leasehold::Client;
//! use std::time::Duration;
//!
//! let client = Client::connect("memory:").await?; // or redis://localhost, sqlite:/var/lib/app/locks.db
//! let lock = client.mutex("order:123:pay")?.ttl(Duration::from_secs(30)); // a cheap handle
//! let guard = lock.acquire().await?; // or try_acquire(), acquire_timeout(d) → Option<Guard>
//! let fence = guard.token().as_i64(); // UPDATE … SET …, fence = $1 WHERE … AND fence <= $1
//! guard.run(async { /* dropped when the lock is lost */ }).await?;
//! guard.release().await?; // or just drop it
//! # let _ = fence;
//! # Ok(())
//! # }
//! ```
//!
//! The primary types are [`Client`], [`Mutex`] and [`Guard`]; [`blocking`] has the same names for code without async.
//!
//! # What it promises
//! No lease lock gives mutual exclusion in an asynchronous world: a process can be paused between a check and the act behind
//! it. So there are three separate promises: *reported exclusion* under a bound on clock drift (see [`Guard`]), *tokens* that
//! rise with every grant (see [`Token`]), and, for a resource that checks tokens, that an older holder never overwrites a newer.
//!
//! # Features
//! `redis` and `tls` (on by default): Redis 7.0 or newer and Valkey. `sqlite` (on by default): the embedded engine, for the
//! processes of one host. `memory:` is always there. `conformance`: the suites that every engine passes. `metrics` and `tracing`:
//! what happens to the locks, for these two crates ([`observers`]).

pub mod blocking;
mod claimed;
mod client;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
pub mod engine;
pub mod engines;
mod error;
mod guard;
mod kinds;
mod observer;
pub mod observers;
mod session;
mod weak_map;
pub mod world;

pub use claimed::Claimed;
pub use client::{Client, ClientBuilder};
pub use engine::{About, Inspection, Party, PartyState};
pub use error::{Error, ErrorKind};
pub use guard::{Detached, Guard, GuardState, LostWhy, Released};
pub use kinds::Mutex;
pub use leasehold_core::{ClaimId, HoldPolicy, Instant, NameError, PolicyError, Renewal, ResourceName, Timing, Token, Want};
pub use observer::{Failure, Observed, Observer, What};
pub use session::Owner;

/// The code of the documents, compiled and run as theirs.
#[cfg(all(doctest, feature = "redis", feature = "sqlite"))]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/choosing.md")]
    struct Choosing;
    #[doc = include_str!("../../../docs/operating.md")]
    struct Operating;
}
