//! `leasehold completions`: what a shell needs to complete our command lines.

use super::print;
use crate::args::{Cli, Completions};
use crate::exit::{self, Code};
use crate::store::Fault;
use clap::CommandFactory;

/// Prints the completions.
pub fn completions(args: Completions) -> Result<Code, Fault> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "leasehold", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(exit::OK)
}
