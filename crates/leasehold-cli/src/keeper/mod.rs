//! The keeper: a small process that owns the command's whole tree and ends it before the lease ends, whatever else fails.
//!
//! ```text
//! shell ── leasehold run ── keeper ── command ── …
//!            │ renews          │ subreaper: every descendant of the command stays below it
//!            └── orders ──────►│ timer on CLOCK_BOOTTIME, armed with the deadline it was told last
//!            ◄─────── notes ───┘
//! ```
//!
//! It waits for nothing but its own three descriptors: no store, no runtime, no write that can block. If the orders end, their
//! sender is dead, and the lease is as good as lost. Not covered: a keeper that is itself stopped, descendants that belong to
//! another user, uninterruptible sleep, a paused host.

pub mod link;
pub mod rule;
pub mod terminal;
pub mod tree;
pub mod wire;

use crate::sys::{self, Signals};
use leasehold::Instant;
use rule::{Act, Rule, Spans};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, wait};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;
use terminal::{Place, Terminal};
use wire::{FRAME, Note, Order, Setup};

/// The hidden command that makes this program a keeper: `leasehold __keeper FD -- COMMAND ARG…`.
pub const HIDDEN: &str = "__keeper";

/// Runs as a keeper until nothing of the command's tree is left.
pub fn main(args: &[OsString]) -> ExitCode {
    match start(args) {
        Ok(keeper) => keeper.keep(),
        Err(error) => {
            eprintln!("leasehold: internal command, not for use by hand: {error}");
            return crate::exit::USAGE.into();
        }
    }
    ExitCode::SUCCESS
}

struct Keeper {
    link: UnixStream,
    signals: Signals,
    timer: OwnedFd,
    terminal: Terminal,
    rule: Rule,
    /// The command, once it runs.
    main: Pid,
    /// The niceness that the command starts with.
    niceness: i32,
    main_ended: bool,
    stopped: bool,
    killed: bool,
    immune: usize,
    partial: Vec<u8>,
}

/// Prepares everything, then starts the command.
fn start(args: &[OsString]) -> io::Result<Keeper> {
    let [fd, dashes, command @ ..] = args else { return Err(ErrorKind::InvalidInput.into()) };
    let fd = fd.to_str().and_then(|fd| fd.parse().ok()).ok_or(ErrorKind::InvalidInput)?;
    if dashes != "--" || command.is_empty() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut link = UnixStream::from(sys::inherited(fd)?);
    let setup = read_setup(&mut link)?;
    // All of them: whoever signals a whole control group must not end the keeper before the tree.
    sys::hear_of_children();
    sys::block(&(1..=64).collect::<Vec<_>>())?;
    let signals = Signals::open(&[libc::SIGCHLD])?;
    rustix::process::set_child_subreaper(Some(getpid()))?;
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    link.set_nonblocking(true)?;
    let job = Pid::from_raw(setup.job_group).ok_or(ErrorKind::InvalidInput)?;
    let terminal = Terminal::look(job, setup.leads);
    let spans = Spans { grace: Duration::from_millis(setup.grace_ms), reserve: Duration::from_millis(setup.reserve_ms) };
    let rule = Rule::new(spans, setup.kills, Instant::from_nanos(setup.deadline_ns));
    let mut keeper = Keeper {
        link,
        signals,
        timer,
        terminal,
        rule,
        main: getpid(),
        // On a busy machine a keeper that queues for its turn is late for the kill.
        niceness: sys::hurry(None),
        main_ended: false,
        stopped: false,
        killed: false,
        immune: 0,
        partial: Vec::new(),
    };
    keeper.launch(command, &setup, job);
    Ok(keeper)
}

fn read_setup(link: &mut UnixStream) -> io::Result<Setup> {
    let mut line = Vec::new();
    let mut byte = [0];
    while link.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    serde_json::from_slice(&line).map_err(|_| ErrorKind::InvalidData.into())
}

impl Keeper {
    /// Starts the command, unless its lease is as good as over.
    fn launch(&mut self, words: &[OsString], setup: &Setup, job: Pid) {
        if self.rule.tick(now()).is_some() {
            self.forget_main();
            return;
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let group = if self.terminal.place == Place::Shared { job.as_raw_nonzero().get() } else { 0 };
        command.process_group(group);
        let (tty, niceness) = (self.terminal.for_command(), self.niceness);
        sys::before_exec(&mut command, setup.mask, move || {
            // If the keeper is killed, the command goes with it at once; `leasehold` then ends the rest.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            sys::be_as_nice(niceness);
            if let Some(tty) = tty {
                sys::take_foreground(tty);
            }
        });
        match command.spawn() {
            Ok(child) => {
                self.main = Pid::from_child(&child);
                self.tell(Note::Started(child.id()));
                if self.terminal.place == Place::Shared {
                    self.tell(Note::Shared);
                }
            }
            Err(error) => {
                self.terminal.take_back(getpid(), false);
                self.tell(Note::NotStarted(error.raw_os_error().unwrap_or(libc::ENOENT)));
                self.forget_main();
            }
        }
    }

    fn forget_main(&mut self) {
        self.main_ended = true;
        self.rule.main_ended();
    }

    /// Until nothing is left.
    fn keep(mut self) {
        loop {
            let tree_is_empty = self.reap();
            if self.rule.is_over(tree_is_empty) || self.only_immune_are_left() {
                break;
            }
            self.sleep();
            self.hear();
            let act = self.rule.tick(now());
            self.perform(act);
            if self.rule.is_killing() {
                self.kill_round();
            }
        }
        self.terminal.take_back(self.main, self.killed);
        if self.immune > 0 {
            self.tell(Note::Immune(u32::try_from(self.immune).unwrap_or(u32::MAX)));
        }
        self.tell(Note::Gone(self.rule.was_lost()));
    }

    /// Waits for a signal, an order or the timer; while killing, for 10 ms at most.
    fn sleep(&self) {
        let wake = self.rule.wake();
        let alarm = if wake == Instant::FAR { spec(0) } else { spec(wake.as_nanos().max(1)) };
        let value = Itimerspec { it_interval: spec(0), it_value: alarm };
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value);
        let pause = self.rule.is_killing().then(|| spec(10_000_000));
        let mut fds = vec![readable(self.signals.as_fd()), readable(self.timer.as_fd())];
        // A link that ended is readable for ever.
        if !self.rule.is_hung_up() {
            fds.push(readable(self.link.as_fd()));
        }
        let _ = poll(&mut fds, pause.as_ref());
        while self.signals.next().is_some() {}
    }

    /// Takes in all orders that have arrived.
    fn hear(&mut self) {
        let mut bytes = [0; 64 * FRAME];
        while !self.rule.is_hung_up() {
            match self.link.read(&mut bytes) {
                Ok(0) => self.hang_up(),
                Ok(count) => self.partial.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.hang_up(),
            }
            while let Some(frame) = self.partial.first_chunk::<FRAME>() {
                let order = Order::decode(*frame);
                self.partial.drain(..FRAME);
                if let Ok(order) = order {
                    self.obey(order);
                }
            }
        }
    }

    fn hang_up(&mut self) {
        let act = self.rule.hung_up(now());
        self.perform(act);
    }

    fn obey(&mut self, order: Order) {
        let act = match order {
            Order::Renewed(nanos) => {
                self.rule.renewed(Instant::from_nanos(nanos));
                None
            }
            Order::Lost => self.rule.lost(now()),
            Order::Sweep => self.rule.sweep(now()),
            Order::Signal(signal) => {
                self.pass_on(signal);
                None
            }
            Order::Continue => {
                self.resume();
                None
            }
        };
        self.perform(act);
    }

    fn perform(&mut self, act: Option<Act>) {
        match act {
            Some(Act::Term) => {
                if self.rule.was_lost() {
                    self.tell(Note::Ending);
                }
                self.to_tree(Signal::TERM);
                // A stopped process hears SIGTERM only when it is continued.
                self.to_tree(Signal::CONT);
            }
            Some(Act::Kill) => self.tell(Note::Killing),
            None => {}
        }
    }

    fn kill_round(&mut self) {
        self.killed = true;
        let round = tree::kill_all(getpid(), &HashSet::new());
        self.immune = round.immune;
        if round == Default::default() && !self.main_ended {
            // A `/proc` that does not show our children, such as one of another pid namespace: what we know of is all we reach.
            let _ = kill_process_group(self.main, Signal::KILL);
            let _ = kill_process(self.main, Signal::KILL);
        }
    }

    fn only_immune_are_left(&self) -> bool {
        self.immune > 0 && self.rule.is_past_deadline(now())
    }

    /// Signals that end go to all of the command's group, as a terminal would send them; the others are for the command.
    fn pass_on(&mut self, number: i32) {
        let Some(signal) = Signal::from_named_raw(number) else { return };
        let ends = matches!(signal, Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT);
        if self.main_ended || (ends && self.terminal.place == Place::Shared) {
            self.to_tree(signal);
        } else if ends || signal == Signal::TSTP {
            let _ = kill_process_group(self.main, signal);
        } else {
            let _ = kill_process(self.main, signal);
        }
        if ends && self.stopped {
            self.to_tree(Signal::CONT);
        }
    }

    fn resume(&mut self) {
        self.stopped = false;
        self.terminal.give(self.main);
        if !self.main_ended && self.terminal.place != Place::Shared {
            let _ = kill_process_group(self.main, Signal::CONT);
        }
    }

    fn to_tree(&self, signal: Signal) {
        tree::signal_all(getpid(), signal, &HashSet::new());
    }

    /// Takes in the ends and stops of all children. True if no process of the tree is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.main && !self.main_ended => self.main_changed(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                // No child is left. Descendants without a parent would be our children, so there are none either.
                Err(_) => return true,
            }
        }
    }

    fn main_changed(&mut self, status: WaitStatus) {
        if let Some(code) = status.exit_status() {
            self.forget_main();
            self.tell(Note::Exited(code));
        } else if let Some(signal) = status.terminating_signal() {
            self.forget_main();
            self.killed = true;
            self.tell(Note::Killed(signal));
        } else if let Some(signal) = status.stopping_signal()
            && self.rule.is_watching()
            && self.terminal.has_job_control()
            && self.terminal.place != Place::Shared
        {
            self.stopped = true;
            self.terminal.take_back(self.main, false);
            self.tell(Note::Stopped(signal));
        }
    }

    /// Never blocks: a `leasehold` that does not read must not hold up the kill.
    fn tell(&mut self, note: Note) {
        let _ = self.link.write(&note.encode());
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

fn spec(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 }
}

/// Now, on the clock of the deadlines.
pub fn now() -> Instant {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Instant::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
