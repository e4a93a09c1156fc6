//! The project's own chores: `cargo xtask test | bench | tidy | docs | fmt-check`.

mod bench;
mod docs;
mod processes;
mod test;
mod tidy;
mod tree;

use clap::{Parser, Subcommand};
use std::process::{Command, ExitCode};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Installs what is missing, builds, runs every test and says what passed.
    Test(test::Options),
    /// Measures the library against others, on a server of its own.
    Bench(bench::Options),
    /// Checks style and architecture: names every line that breaks a rule.
    Tidy,
    /// Checks the documents: links, the tests that they name, and their commands.
    Docs,
    /// Fails if a file is not formatted.
    FmtCheck,
}

fn main() -> ExitCode {
    let root = tree::root();
    let done = match Args::parse().chore {
        Chore::Test(options) => test::run(&root, &options),
        Chore::Bench(options) => bench::run(&root, &options),
        Chore::Tidy => tidy::run(&root),
        Chore::Docs => docs::run(&root),
        Chore::FmtCheck => {
            Command::new(cargo()).args(["fmt", "--all", "--check"]).current_dir(&root).status().map(|s| s.success())
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The cargo that runs us.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
