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
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod words;

#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "tracing")]
pub use self::tracing::Tracing;
