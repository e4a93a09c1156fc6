//! What is not a comparison of cycles: waits of rivals, idle waiters, long queues, many locks, memory.

pub mod control;
pub mod held;
pub mod idle;
pub mod memory;
pub mod queue;
pub mod rival;

use crate::contenders::Kind;
use crate::keeper::Status;
use crate::placement::Placement;
use crate::run::Process;
use crate::server::Server;
use crate::thresholds::Check;
use crate::worker::Spec;
use crate::{Fault, Options};

/// What a section showed.
#[derive(Clone, Debug, Default)]
pub struct Section {
    pub name: String,
    /// One sentence on what was done.
    pub about: String,
    pub rows: Vec<Vec<String>>,
    pub checks: Vec<Check>,
    pub violations: Vec<String>,
}

/// How a section is measured.
pub type Measure = fn(&mut Server, &Options) -> Result<Section, Fault>;

/// Every section, by the name that `--only` is matched with.
pub const ALL: [(&str, Measure); 6] = [
    ("control/cross", control::measure),
    ("rival/cross", rival::measure),
    ("queue/cross", queue::measure),
    ("idle/cross", idle::measure),
    ("held/cross", held::measure),
    ("memory/cross", memory::measure),
];

/// A client process that does one step at a time.
pub struct Keeper(Process);

impl Keeper {
    /// Starts one that is connected.
    pub fn start(server: &Server, kind: Kind, keys: Vec<String>, options: &Options) -> Result<Keeper, Fault> {
        let spec = Spec { kind, url: server.url(), keys, workers: options.workers };
        let mut keeper = Keeper(Process::start("keeper", &spec)?);
        keeper.hear()?;
        Ok(keeper)
    }

    /// Lets it do one step and waits for its answer.
    pub fn step(&mut self, step: &str) -> Result<Status, Fault> {
        self.0.tell(step)?;
        self.hear()
    }

    fn hear(&mut self) -> Result<Status, Fault> {
        Ok(serde_json::from_str(&self.0.hear()?)?)
    }

    pub fn end(self) -> Result<(), Fault> {
        self.0.end()
    }
}

/// The server, emptied, on the processor that it has beside its clients.
pub fn fresh(server: &mut Server) -> Result<(), Fault> {
    server.place(Placement::Cross)?;
    server.reset()
}

pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
