//! Measures Leasehold against other locks, in alternating runs on one private server, and checks every run while it does.

mod check;
mod clock;
mod contenders;
mod groups;
mod keeper;
mod placement;
mod plots;
mod record;
mod report;
mod run;
mod sections;
mod server;
mod stats;
mod suite;
mod table;
mod thresholds;
mod worker;

use clap::Parser;
use std::process::ExitCode;

/// What keeps a figure from being measured.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Measures Leasehold against other locks on one private redis-server.
#[derive(Debug, Parser)]
#[command(name = "leasehold-bench")]
pub struct Options {
    /// Fewer and shorter runs, in less than a minute; for a look, not for the documents.
    #[arg(long)]
    pub quick: bool,
    /// Runs only what has this in its name, as `one-key/cross` or `1-task/ours`; may be given more than once.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Writes `benchmarks.md` and its pictures into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub write: Option<std::path::PathBuf>,
    /// Names everything there is to run, and runs nothing.
    #[arg(long)]
    pub list: bool,
    /// Threads of each client process's tokio runtime.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub workers: usize,
    /// How often each contender runs; 5 unless quick.
    #[arg(long, value_name = "N")]
    pub repeat: Option<usize>,
}

impl Options {
    /// How often each contender of a comparison runs.
    pub fn repeats(&self) -> usize {
        self.repeat.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// True if `name` is to be run.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| name.contains(pattern.as_str()))
    }
}

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    let done = match role.as_str() {
        "worker" => told().and_then(|spec| worker::run(&spec)).map(|()| true),
        "keeper" => told().and_then(|spec| keeper::run(&spec)).map(|()| true),
        _ => suite::run(&Options::parse()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("leasehold-bench {role}: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// What the parent tells a client process at its start.
fn told() -> Result<worker::Spec, Fault> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
