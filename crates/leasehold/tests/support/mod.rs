//! The stores that the tests run against, one fixture per engine.
#![allow(dead_code, reason = "each test target uses a part of it")]

pub mod broken;
pub mod clock;
pub mod memory;
#[cfg(feature = "redis")]
pub mod proxy;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis")]
pub mod redis_client;
#[cfg(feature = "redis")]
pub mod rounds;
#[cfg(feature = "sqlite")]
pub mod sqlite;
