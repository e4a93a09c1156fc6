//! `cargo xtask bench`: builds the benchmark as it ships and runs it.

use crate::cargo;
use std::io;
use std::path::Path;
use std::process::Command;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Fewer and shorter runs, in less than a minute, and nothing is written to the documents.
    #[arg(long)]
    quick: bool,
    /// Runs only what has this in its name; may be given more than once, and nothing is written to the documents.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// More options of the program, behind `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the benchmark; true if no run broke a promise.
///
/// # Errors
/// Those of starting it.
pub fn run(root: &Path, options: &Options) -> io::Result<bool> {
    let mut command = Command::new(cargo());
    command.args(["run", "--quiet", "--profile", "dist", "--package", "leasehold-bench", "--features", "rivals", "--"]);
    command.args(arguments(options)).current_dir(root);
    Ok(command.status()?.success())
}

/// What the program is told: a run of everything writes down what it measured.
fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = Vec::new();
    if options.quick {
        arguments.push("--quick".into());
    }
    for pattern in &options.only {
        arguments.extend(["--only".into(), pattern.clone()]);
    }
    if !options.quick && options.only.is_empty() && options.rest.is_empty() {
        arguments.extend(["--write".into(), "docs".into()]);
    }
    arguments.extend(options.rest.iter().cloned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_everything_writes_to_the_documents() {
        let full = Options { quick: false, only: Vec::new(), rest: Vec::new() };
        let quick = Options { quick: true, ..full.clone() };
        let part = Options { only: vec!["latency".into()], ..full.clone() };

        assert_eq!(arguments(&full), ["--write", "docs"]);
        assert_eq!(arguments(&quick), ["--quick"]);
        assert_eq!(arguments(&part), ["--only", "latency"]);
    }
}
