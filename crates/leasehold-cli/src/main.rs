//! The program: puts any command under a distributed lock.

mod exit;
mod keeper;
mod sys;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == keeper::HIDDEN) {
        return keeper::main(&words[2..]);
    }
    ExitCode::SUCCESS
}
