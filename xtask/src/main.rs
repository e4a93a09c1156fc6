//! The project's own chores: `cargo xtask test | tidy`.
fn main() {}
