//! All descendants of a process, double-forked and `setsid` ones included: found, signalled, killed.
//!
//! Complete for a subreaper: a descendant whose parents died is re-parented to it, so the children files of `/proc` reach
//! every one of them. Not reached: what another process manager was asked to start, and other users' processes.

use crate::sys;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{HashMap, HashSet};
use std::fs;

/// What a round of signals met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// How many processes got the signal.
    pub told: usize,
    /// How many belong to another user and refuse it.
    pub immune: usize,
}

/// Sends `signal` once to each descendant of `root`, parents first, until a walk finds nobody new. `spared` children of
/// `root` are passed over, with all below them.
pub fn signal_all(root: Pid, signal: Signal, spared: &HashSet<Pid>) -> Round {
    let mut round = Round::default();
    let mut seen = spared.clone();
    loop {
        let before = seen.len();
        walk(root, &mut seen, spared, &mut |pid| match kill_process(pid, signal) {
            Ok(()) => {
                round.told += 1;
                if signal == Signal::KILL {
                    // It has to run once more to be gone; on a busy machine it should not queue for that.
                    sys::hurry(Some(pid));
                }
            }
            Err(Errno::PERM) => round.immune += 1,
            Err(_) => {}
        });
        if seen.len() == before {
            return round;
        }
    }
}

/// Kills every descendant of `root`. What forked away meanwhile is stopped first, so that none of it can fork or vanish from
/// the walk, and killed then.
pub fn kill_all(root: Pid, spared: &HashSet<Pid>) -> Round {
    // At once: most trees do not run away, and to stop each process first would cost them all another turn of the processor.
    signal_all(root, Signal::KILL, spared);
    signal_all(root, Signal::STOP, spared);
    signal_all(root, Signal::KILL, spared)
}

/// The children of `root` at this moment.
pub fn children_of(root: Pid) -> HashSet<Pid> {
    children(root).into_iter().collect()
}

fn walk(root: Pid, seen: &mut HashSet<Pid>, spared: &HashSet<Pid>, visit: &mut impl FnMut(Pid)) {
    let mut below = vec![root];
    while let Some(parent) = below.pop() {
        for child in children(parent) {
            if spared.contains(&child) {
                continue;
            }
            if seen.insert(child) {
                visit(child);
            }
            below.push(child);
        }
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => found.extend(text.split_whitespace().filter_map(pid)),
            // Kernels without CONFIG_PROC_CHILDREN; a task that ended meanwhile costs one scan, no more.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && task.path().exists() => return scan(parent),
            Err(_) => {}
        }
    }
    found
}

/// The slow way: the parent of every process of the machine.
fn scan(parent: Pid) -> Vec<Pid> {
    let parents: HashMap<Pid, Pid> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| pid(entry.file_name().to_str()?))
        .filter_map(|child| Some((child, parent_of(child)?)))
        .collect();
    parents.into_iter().filter(|(_, its)| *its == parent).map(|(child, _)| child).collect()
}

fn parent_of(child: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero())).ok()?;
    // The name in parentheses may contain anything, so fields count from its last parenthesis: state, parent.
    pid(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?)
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn both_ways_to_find_children_agree() {
        let sleeper = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
        let me = rustix::process::getpid();
        let child = Pid::from_child(&sleeper.0);
        assert!(children(me).contains(&child));
        assert!(scan(me).contains(&child));
        assert_eq!(parent_of(child), Some(me));
    }
}
