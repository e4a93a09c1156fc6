//! The rules of Leasehold: who may hold a resource, for how long, and what its holder may believe.
//!
//! The model on one page. A **resource** is a name that processes take turns on. A **claim** is the wish of one attempt
//! for *k* of the resource's *n* **permits**; its 128-bit id is fresh for every attempt. Claims stand in arrival order, and
//! the **holders** are the longest prefix of that queue whose permits fit. A **grant** comes with a fencing **token**, larger
//! than that of every grant before it, and with a **lease**: the holder's own deadline, counted from the moment the winning
//! request was sent, so that it ends before the store can let a rival in.
//!
//! Nothing here reads a clock, does I/O, spawns, waits or draws random numbers: time and chance come in by argument, so
//! that what a simulator explores is what ships.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod claim;
mod cohort;
mod holder;
mod lease;
mod name;
mod policy;
pub mod table;
mod time;
mod token;
mod verb;

pub use claim::{ClaimId, ParseClaimIdError, ReqNo, Want};
pub use cohort::{Cohort, Joined, Ticket, Turn};
pub use holder::{Event, Failed, Holder, Input, LostWhy, Released, Reply, Request, Start, Trouble, Verb, Wait};
pub use lease::Timing;
pub use name::{NameError, ResourceName};
pub use policy::{HoldPolicy, PolicyError, Renewal};
pub use table::Table;
pub use time::Instant;
pub use token::Token;
pub use verb::{Ask, Block, Bound, ClaimReply, Contention, Grant, Manner, ReleaseReply, RenewReply, Renewed, Terms};
