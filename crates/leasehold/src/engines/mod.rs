//! The engines: one folder or file each; no engine knows another.

pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

/// The engines in this build, by the name that their capabilities give. Each engine adds its line; the conformance tests fail
/// if one of these is not put to every suite.
pub const COMPILED: &[&str] = &[
    "memory",
    #[cfg(feature = "redis")]
    "redis",
];
