//! The program: puts any command under a distributed lock.

mod args;
mod commands;
mod exit;
mod held;
mod keeper;
mod lease;
mod metrics;
mod obtain;
mod report;
mod say;
mod store;
mod sys;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == keeper::HIDDEN) {
        return keeper::main(&words[2..]);
    }
    if words.get(1).is_some_and(|word| word == commands::bench::buyer::HIDDEN) {
        return commands::bench::buyer::main(&words[2..]);
    }
    match args::Cli::try_parse_from(words) {
        Ok(cli) => commands::perform(cli.command).into(),
        Err(error) => {
            let _ = error.print();
            // Help and version are answers, not mistakes.
            if error.use_stderr() { exit::USAGE.into() } else { exit::OK.into() }
        }
    }
}
