//! The side of `leasehold`: starts the keeper, gives it orders, hears its notes, and cleans up after its death.

use super::HIDDEN;
use super::tree;
use super::wire::{FRAME, Note, Order, Setup};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;
use tokio::net::UnixStream;

/// A running keeper.
#[derive(Debug)]
pub struct Link {
    process: Child,
    stream: UnixStream,
    partial: Vec<u8>,
    /// Children that this process had before the keeper, and that are none of its business.
    spared: HashSet<Pid>,
}

impl Link {
    /// Starts a keeper that starts `command` with these additions to the environment.
    ///
    /// # Errors
    /// Those of the operating system, if it refuses a process or a socket.
    pub fn start(setup: &Setup, command: &[OsString], env: &[(&str, String)]) -> io::Result<Link> {
        crate::sys::hear_of_children();
        // If the keeper dies, the command's orphans come to us instead of to init.
        rustix::process::set_child_subreaper(Some(getpid()))?;
        let spared = tree::children_of(getpid());
        let (mut ours, its) = StdStream::pair()?;
        // Nothing else is started meanwhile that could inherit it; the keeper closes it to what it starts.
        fcntl_setfd(&its, FdFlags::empty())?;
        let process = Command::new("/proc/self/exe")
            .arg0("leasehold")
            .arg(HIDDEN)
            .arg(its.as_raw_fd().to_string())
            .arg("--")
            .args(command)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .process_group(0)
            .spawn()?;
        drop(its);
        let mut line = serde_json::to_vec(setup).expect("plain numbers always serialise");
        line.push(b'\n');
        ours.write_all(&line)?;
        ours.set_nonblocking(true)?;
        Ok(Link { process, stream: UnixStream::from_std(ours)?, partial: Vec::new(), spared })
    }

    /// Sends an order. One that cannot be sent is dropped: the keeper is dead or stopped, and acts by what it knows.
    pub fn tell(&self, order: Order) {
        let _ = self.stream.try_write(&order.encode());
    }

    /// The next note; `None` once the keeper is dead. May be dropped at any await without losing a note.
    pub async fn note(&mut self) -> Option<Note> {
        loop {
            if let Some(frame) = self.partial.first_chunk::<FRAME>() {
                let note = Note::decode(*frame);
                self.partial.drain(..FRAME);
                return note.ok();
            }
            self.stream.readable().await.ok()?;
            let mut bytes = [0; 64 * FRAME];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.partial.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits for the end of a keeper that has said its last word.
    pub fn finish(mut self) {
        let _ = self.process.wait();
    }

    /// After the keeper's death: kills what it left behind, until nothing is left. Tells how many refuse.
    pub async fn clean_up(mut self) -> usize {
        let _ = self.process.kill();
        let _ = self.process.wait();
        loop {
            let round = tree::kill_all(getpid(), &self.spared);
            for child in tree::children_of(getpid()).difference(&self.spared) {
                let _ = waitpid(Some(*child), WaitOptions::NOHANG);
            }
            if tree::children_of(getpid()).is_subset(&self.spared) || (round.immune > 0 && round.told == round.immune) {
                return round.immune;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
