//! The engines: one folder or file each; no engine knows another. Here a URL finds its engine.

use crate::engine::{Engine, Seat};
use crate::error::Error;
use std::sync::Arc;

/// Opens the engine that `url` names.
///
/// # Errors
/// [`ErrorKind::Config`](crate::ErrorKind::Config) for a scheme that no engine knows,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for one that this build lacks, and those of the engine.
pub(crate) async fn open(url: &str, seat: Seat) -> Result<Arc<dyn Engine>, Error> {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    match scheme {
        _ => Err(unknown(scheme)),
    }
}

fn unknown(scheme: Option<&str>) -> Error {
    let known = "known are memory:, sqlite:PATH, redis://, rediss:// and redis+unix:";
    match scheme {
        Some(scheme) => Error::config(format!("unknown URL scheme {scheme:?}; {known}")),
        None => Error::config(format!("a store's URL starts with a scheme and a colon; {known}")),
    }
}
