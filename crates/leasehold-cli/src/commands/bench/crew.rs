//! The processes of buyers, from their parent's side: started, spoken to, killed, stopped, and seen out.

use super::buyer::HIDDEN;
use super::wire::{Said, Setup, Told, line};
use crate::sys;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

/// How long the processes have for their goodbye to the store.
const FAREWELL: Duration = Duration::from_secs(5);

/// All processes of one run. Dropping it kills those that are left.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
    heard: UnboundedReceiver<(usize, Option<Said>)>,
}

#[derive(Debug)]
struct Member {
    process: Child,
    /// `None` once it is told nothing more.
    mouth: Option<OwnedWriteHalf>,
    ended: bool,
}

impl Crew {
    /// Starts `count` processes. Must run inside a `LocalSet`.
    ///
    /// # Errors
    /// Those of the operating system, if it refuses a process or a socket.
    pub fn start(count: u32, setup: &Setup) -> io::Result<Crew> {
        sys::hear_of_children();
        let (ear, heard) = unbounded_channel();
        let mut crew = Crew { members: Vec::new(), heard };
        for number in 0..count as usize {
            let (process, socket) = spawn(setup)?;
            let (reading, writing) = UnixStream::from_std(socket)?.into_split();
            tokio::task::spawn_local(hear(number, reading, ear.clone()));
            crew.members.push(Member { process, mouth: Some(writing), ended: false });
        }
        Ok(crew)
    }

    /// What a process says next; `None` for its end. May be dropped at any await.
    pub async fn hear(&mut self) -> (usize, Option<Said>) {
        self.heard.recv().await.expect("each process's listener says its end last")
    }

    /// Tells a process something. One that cannot hear is dead or about to be found so.
    pub fn tell(&self, number: usize, told: &Told) {
        if let Some(mouth) = &self.members[number].mouth {
            let _ = mouth.try_write(&line(told));
        }
    }

    /// Tells all of them.
    pub fn tell_all(&self, told: &Told) {
        for number in 0..self.members.len() {
            self.tell(number, told);
        }
    }

    /// Kills a process, and returns when it is dead.
    pub fn kill(&mut self, number: usize) {
        self.members[number].kill();
    }

    /// Stops a process where it stands.
    pub fn stop(&self, number: usize) {
        self.members[number].signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self, number: usize) {
        self.members[number].signal(Signal::CONT);
    }

    /// True if this process was killed, or has ended.
    pub fn is_gone(&self, number: usize) -> bool {
        self.members[number].ended
    }

    /// Closes every socket, so that the processes give back what they hold, and waits for their ends; kills those that take
    /// too long. May be dropped at any await: then all are killed.
    pub async fn see_out(mut self) {
        for member in &mut self.members {
            member.mouth = None;
            member.signal(Signal::CONT);
        }
        let all_ended = async {
            while !self.members.iter_mut().all(Member::has_ended) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(FAREWELL, all_ended).await;
    }
}

impl Member {
    fn signal(&self, signal: Signal) {
        if !self.ended {
            let _ = kill_process(Pid::from_child(&self.process), signal);
        }
    }

    fn kill(&mut self) {
        if !self.has_ended() {
            let _ = self.process.kill();
            let _ = self.process.wait();
            self.ended = true;
        }
    }

    fn has_ended(&mut self) -> bool {
        self.ended = self.ended || matches!(self.process.try_wait(), Ok(Some(_)) | Err(_));
        self.ended
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(setup: &Setup) -> io::Result<(Child, StdStream)> {
    let (mut ours, its) = StdStream::pair()?;
    // Nothing else is started meanwhile that could inherit it; the process closes it to what it starts.
    fcntl_setfd(&its, FdFlags::empty())?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("leasehold").arg(HIDDEN).arg(its.as_raw_fd().to_string()).stdin(Stdio::null()).stdout(Stdio::null());
    let blocked = sys::block(&[])?;
    sys::before_exec(&mut command, blocked, || {
        // Whatever ends this program, a kill included, ends its buyers.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    });
    let process = command.spawn()?;
    drop(its);
    io::Write::write_all(&mut ours, &line(setup))?;
    ours.set_nonblocking(true)?;
    Ok((process, ours))
}

async fn hear(number: usize, reading: OwnedReadHalf, ear: UnboundedSender<(usize, Option<Said>)>) {
    let mut lines = BufReader::new(reading).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(said) = serde_json::from_str(&line) {
            let _ = ear.send((number, Some(said)));
        }
    }
    let _ = ear.send((number, None));
}
