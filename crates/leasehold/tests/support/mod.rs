//! The stores that the tests run against, one fixture per engine.
// Each test target uses some of these.
#![allow(dead_code)]

pub mod broken;
pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
