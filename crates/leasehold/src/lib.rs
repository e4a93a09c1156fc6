//! Leasehold: the distributed lock that a service can trust.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod engine;
pub mod engines;
mod error;
pub mod world;

pub use error::{Error, ErrorKind};
pub use leasehold_core::{ClaimId, HoldPolicy, Instant, NameError, PolicyError, Renewal, ResourceName, Timing, Token, Want};
