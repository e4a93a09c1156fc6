//! The engines: one folder or file each; no engine knows another. Here a URL finds its engine.

pub mod memory;

use crate::engine::{Context, Engine};
use crate::error::Error;
use std::sync::Arc;

/// The engines in this build, by the name that their capabilities give. Each engine adds its line; the conformance tests fail
/// if one of these is not put to every suite.
pub const COMPILED: &[&str] = &["memory"];

/// Opens the engine that `url` names.
///
/// # Errors
/// [`ErrorKind::Config`](crate::ErrorKind::Config) for a scheme that no engine knows,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for one that this build lacks, and those of the engine.
pub(crate) async fn open(url: &str, context: Context) -> Result<Arc<dyn Engine>, Error> {
    let Some((scheme, rest)) = url.split_once(':') else { return Err(unknown(None)) };
    match scheme {
        "memory" => Ok(memory::open(rest, &context)),
        _ => Err(unknown(Some(scheme))),
    }
}

fn unknown(scheme: Option<&str>) -> Error {
    let known = "known are memory:, sqlite:PATH, redis://, rediss:// and redis+unix:";
    match scheme {
        Some(scheme) => Error::config(format!("unknown URL scheme {scheme:?}; {known}")),
        None => Error::config(format!("a store's URL starts with a scheme and a colon; {known}")),
    }
}
