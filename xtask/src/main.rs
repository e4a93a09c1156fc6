//! The project's own chores: `cargo xtask test | tidy | docs | fmt-check`.

mod tidy;
mod tree;

fn main() {
    let ok = tidy::run(&tree::root()).expect("the tree can be read");
    std::process::exit(i32::from(!ok));
}
