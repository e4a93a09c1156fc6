//! The program: puts any command under a distributed lock.
fn main() {}
