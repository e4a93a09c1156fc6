//! The stores that the tests run against, one fixture per engine.

pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
