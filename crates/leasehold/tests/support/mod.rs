//! The stores that the tests run against, one fixture per engine.
#![allow(dead_code, reason = "each test target uses a part of it")]

pub mod broken;
pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "redis")]
pub mod redis;
