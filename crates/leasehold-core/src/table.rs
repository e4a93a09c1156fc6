//! The lock table: reference semantics of a store.

/// The lock table: reference semantics of a store.
#[derive(Debug, Default)]
pub struct Table {}
