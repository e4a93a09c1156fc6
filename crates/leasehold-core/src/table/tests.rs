//! Behaviour of the lock table, one claim per test.
