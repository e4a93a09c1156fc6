//! Observers that are ready to use: what happens to the locks, for the crates `metrics` and `tracing`.
//!
//! ```
//! # #[cfg(all(feature = "metrics", feature = "tracing"))]
//! # async fn example() -> Result<(), leasehold::Error> {
//! use leasehold::Client;
//! use leasehold::observers::{Metrics, Tracing};
//! use std::sync::Arc;
//!
//! // Behind the installation of the recorder and of the subscriber.
//! let builder = Client::builder().observer(Arc::new(Metrics::new())).observer(Arc::new(Tracing));
//! let client = builder.connect("memory:").await?;
//! # let _ = client;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "tracing")]
pub use self::tracing::Tracing;

use crate::error::ErrorKind;
use crate::guard::{LostWhy, Released};
use crate::observer::Failure;

/// Why an attempt failed, in one word.
#[cfg(any(feature = "metrics", feature = "tracing"))]
fn failure(why: &Failure) -> &'static str {
    match why {
        Failure::Cancelled => "cancelled",
        Failure::Error(error) => kind(error.kind()),
        Failure::Held => "held",
        Failure::Spent => "spent",
    }
}

/// What the caller can do about an error, in one word.
#[cfg(any(feature = "metrics", feature = "tracing"))]
fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "config",
        ErrorKind::Lost => "lost",
        ErrorKind::Permission => "permission",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Unsupported => "unsupported",
    }
}

/// Why a lease ended without a release, in one word.
#[cfg(any(feature = "metrics", feature = "tracing"))]
fn loss(why: LostWhy) -> &'static str {
    match why {
        LostWhy::Ended => "ended",
        LostWhy::Expired => "expired",
        LostWhy::Revoked => "revoked",
        LostWhy::Store => "store",
        _ => "other",
    }
}

/// What the store said to a release, in one word.
#[cfg(any(feature = "metrics", feature = "tracing"))]
fn answer(answer: &Result<Released, crate::error::Error>) -> &'static str {
    match answer {
        Ok(Released::Expired) => "expired",
        Ok(Released::Gone) => "gone",
        // How many clones are left is a guard's answer, never the store's.
        Ok(Released::Released | Released::StillHeld(_)) => "released",
        Ok(Released::Taken { .. }) => "taken",
        Err(_) => "unknown",
    }
}
