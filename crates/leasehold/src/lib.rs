//! Leasehold: the distributed lock that a service can trust.

pub mod engine;
pub mod engines;
mod error;
pub mod world;

pub use error::{Error, ErrorKind};
pub use leasehold_core::{ClaimId, HoldPolicy, Instant, NameError, PolicyError, Renewal, ResourceName, Timing, Token, Want};
