//! The kinds of lock: each is a way to claim permits; no kind knows an engine.

mod mutex;

pub use mutex::Mutex;
