//! The engines: one folder or file each; no engine knows another.

#[cfg(feature = "sqlite")]
pub mod sqlite;
