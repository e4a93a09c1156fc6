//! `leasehold man`: the manual pages.

use super::print;
use crate::args::{self, Cli};
use crate::exit::{self, Code};
use crate::obtain::refused;
use crate::store::Fault;
use clap::CommandFactory;
use clap_mangen::Man;

/// Prints the page of the program, or writes one for it and each command.
pub fn man(args: args::Man) -> Result<Code, Fault> {
    if let Some(dir) = args.dir {
        let wrong = |error| Fault::usage(format!("{}: {error}", dir.display()));
        clap_mangen::generate_to(Cli::command(), &dir).map_err(wrong)?;
        return Ok(exit::OK);
    }
    let mut text = Vec::new();
    Man::new(Cli::command()).render(&mut text).map_err(refused)?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(exit::OK)
}
