//! Where processes run: pinned to one processor each, since a wake-up across processors costs seven times one on the same.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;

/// Which processors the clients and the server run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Placement {
    /// Clients and server on the first processor: what the path costs.
    Same,
    /// Clients on the first, the server on the second: each hop pays a wake-up, as in a local network.
    Cross,
}

impl Placement {
    pub fn server_cpu(self) -> usize {
        match self {
            Placement::Same => 0,
            Placement::Cross => 1,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Placement::Same => "same",
            Placement::Cross => "cross",
        })
    }
}

/// Binds every thread of process `pid` to one processor; threads and processes that they start inherit it.
///
/// # Errors
/// Those of the operating system, as for a processor that is not there.
pub fn pin(pid: u32, cpu: usize) -> io::Result<()> {
    for thread in threads(pid)? {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(Pid::from_raw(thread), &set)?;
    }
    Ok(())
}

/// Nanoseconds of processor time that all threads of process `pid` have used so far.
///
/// # Errors
/// Those of reading `/proc`.
pub fn cpu_used(pid: u32) -> io::Result<u64> {
    let mut used = 0;
    for thread in threads(pid)? {
        let schedule = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"))?;
        let first = schedule.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
        used += first.ok_or_else(|| io::Error::other("an unknown form of schedstat"))?;
    }
    Ok(used)
}

fn threads(pid: u32) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}
