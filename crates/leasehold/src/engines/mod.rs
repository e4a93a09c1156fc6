//! The engines: one folder or file each; no engine knows another. Here a URL finds its engine.

pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use crate::engine::{Context, Engine};
use crate::error::Error;
use std::sync::Arc;

/// The engines in this build, by the name that their capabilities give. Each engine adds its line; the conformance tests fail
/// if one of these is not put to every suite.
pub const COMPILED: &[&str] = &[
    "memory",
    #[cfg(feature = "sqlite")]
    "sqlite",
    #[cfg(feature = "redis")]
    "redis",
];

/// Opens the engine that `url` names.
///
/// # Errors
/// [`ErrorKind::Config`](crate::ErrorKind::Config) for a scheme that no engine knows,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for one that this build lacks, and those of the engine.
pub(crate) async fn open(url: &str, context: Context) -> Result<Arc<dyn Engine>, Error> {
    let Some((scheme, rest)) = url.split_once(':') else { return Err(unknown(None)) };
    match scheme {
        "memory" => Ok(memory::open(rest, &context)),
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite::SqliteEngine::open(url, context.world, context.client, context.about),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(lacks(scheme)),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" => {
            let seat = (context.client, context.about);
            Ok(redis::RedisEngine::connect(url, redis::RedisOptions::new(), &context.world, seat).await?)
        }
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" | "redis+unix" => Err(lacks(scheme)),
        // Anything else than a scheme may be a part of a password.
        _ => Err(unknown(Some(scheme).filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))))),
    }
}

#[cfg(not(all(feature = "sqlite", feature = "redis")))]
fn lacks(scheme: &str) -> Error {
    Error::unsupported(format!("this build has no engine for {scheme}: it was built without that feature"))
}

fn unknown(scheme: Option<&str>) -> Error {
    let known = "known are memory:, sqlite:PATH, redis://, rediss:// and redis+unix:";
    match scheme {
        Some(scheme) => Error::config(format!("unknown URL scheme {scheme:?}; {known}")),
        None => Error::config(format!("a store's URL starts with a scheme and a colon; {known}")),
    }
}
