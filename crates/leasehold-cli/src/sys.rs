//! The system calls that no safe crate of ours has: signals as events, an inherited descriptor. The only file with `unsafe`.

use rustix::process::{Pid, getpriority_process, setpriority_process};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::io::unix::AsyncFd;

/// Signals that are passed on to the command.
pub const FORWARDED: [i32; 8] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH, libc::SIGTSTP];

/// A set of signals, one bit each, the lowest for signal 1.
pub type Mask = u64;

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number.
    pub signal: i32,
    /// True if the kernel sent it, to the whole foreground group of a terminal.
    pub from_terminal: bool,
}

/// Blocks those of `signals` that are not ignored, for this thread and all that it will start; tells what was blocked before.
///
/// # Errors
/// Those of the operating system.
pub fn block(signals: &[i32]) -> io::Result<Mask> {
    // An ignored signal stays ignored, as `nohup` wants it: a blocked one would be reported to us all the same.
    let wanted = signals.iter().copied().filter(|&signal| !is_ignored(signal));
    change(libc::SIG_BLOCK, wanted.fold(0, |mask, signal| mask | bit(signal)))
}

/// Lets children report their end, whatever was inherited: with SIGCHLD ignored, the system reaps them unseen.
pub fn hear_of_children() {
    // SAFETY: SIG_DFL installs no code of ours; SIGCHLD's default action is to do nothing.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// The blocked signals, as a descriptor that is readable while one is pending.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Reads these signals, which must be blocked in every thread.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open(signals: &[i32]) -> io::Result<Signals> {
        let set = set_of(signals.iter().fold(0, |mask, &signal| mask | bit(signal)));
        // SAFETY: `set` is an initialised set; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, so nobody else owns it.
        Ok(Signals { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next pending signal, if there is one.
    pub fn next(&self) -> Option<Arrival> {
        let mut bytes = [0u8; size_of::<libc::signalfd_siginfo>()];
        let got = rustix::io::read(&self.fd, &mut bytes).ok()?;
        if got < bytes.len() {
            return None;
        }
        // SAFETY: the kernel filled the whole structure, which is plain integers; the read does not rely on alignment.
        let info = unsafe { bytes.as_ptr().cast::<libc::signalfd_siginfo>().read_unaligned() };
        Some(Arrival { signal: info.ssi_signo as i32, from_terminal: info.ssi_code == libc::SI_KERNEL })
    }

    /// Itself, watched by the runtime of the calling thread.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn watched(self) -> io::Result<AsyncFd<Signals>> {
        // SAFETY: the descriptor is ours alone, is never exchanged, and closes only when `Signals` is dropped.
        Ok(unsafe { AsyncFd::register(self) }?)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Takes over the descriptor that the parent process left open for this one, and closes it to later programs.
///
/// # Errors
/// Those of the operating system, if there is no such descriptor.
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: asks about a number, whatever it is.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the descriptor is open, and by the protocol of the hidden command nothing else in this process has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Stops this process by SIGTSTP, with its whole process group if `group`; returns when it is continued, or at once if
/// nobody could continue it (an orphaned group).
pub fn stop(group: bool) {
    let Ok(before) = change(libc::SIG_UNBLOCK, bit(libc::SIGTSTP)) else { return };
    let whom = if group { 0 } else { rustix::process::getpid().as_raw_nonzero().get() };
    // SAFETY: sends a signal; 0 means our own process group.
    unsafe { libc::kill(whom, libc::SIGTSTP) };
    if before & bit(libc::SIGTSTP) != 0 {
        let _ = change(libc::SIG_BLOCK, bit(libc::SIGTSTP));
    }
}

/// Ends this process by SIGINT, as its caller expects of a program that was interrupted.
pub fn die_of_interrupt() {
    let _ = change(libc::SIG_UNBLOCK, bit(libc::SIGINT));
    // SAFETY: sends a signal to ourselves, whose action is the default one: nobody here changes it.
    unsafe { libc::raise(libc::SIGINT) };
}

/// Makes `command` start with this mask, after `prepare` ran in the new process.
///
/// `prepare` runs between fork and exec: it must do nothing but system calls, no allocation, no lock.
pub fn before_exec(command: &mut Command, mask: Mask, prepare: impl Fn() + Send + Sync + 'static) {
    let work = move || {
        prepare();
        change(libc::SIG_SETMASK, mask).map(|_| ())
    };
    // SAFETY: by this function's rule and that of `change`, `work` only makes system calls.
    unsafe { command.pre_exec(work) };
}

/// Lets a process, this one if `None`, run before all others, where this user may do that; returns its niceness until then.
pub fn hurry(pid: Option<Pid>) -> i32 {
    let niceness = getpriority_process(pid).unwrap_or(0);
    // Refused to most users: then it takes its turn like everybody.
    let _ = setpriority_process(pid, -20);
    niceness
}

/// Gives this process the niceness that it had; a plain system call, fit for use between fork and exec.
pub fn be_as_nice(niceness: i32) {
    // To be nicer is always allowed, and nobody who may not was hurried.
    let _ = setpriority_process(None, niceness);
}

/// Gives the terminal behind `tty`, which must be open, to this process's group; a plain system call, fit for use between
/// fork and exec. SIGTTOU must be blocked.
pub fn take_foreground(tty: i32) {
    // SAFETY: two system calls on numbers.
    unsafe { libc::tcsetpgrp(tty, libc::getpgrp()) };
}

/// How the kernel steers its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// True if nobody keeps them in step with a better clock, or nobody says so.
    pub unsynchronised: bool,
    /// By how much all clocks are made to run faster, in parts per million.
    pub rate_ppm: i64,
    /// How wrong the time of day may be.
    pub max_error_us: i64,
}

/// Reads how the kernel steers its clocks; changes nothing.
///
/// # Errors
/// Those of the operating system; some containers may not ask.
pub fn steering() -> io::Result<Steering> {
    // SAFETY: plain integers, for which zero is a value; `modes` 0 asks only.
    let mut state: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the structure is valid for the call, which writes it.
    if unsafe { libc::adjtimex(&mut state) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // A tick is 10 000 µs by design, and each µs more is 100 ppm; the frequency is in 2^-16 ppm.
    let rate_ppm = (state.tick - 10_000) * 100 + state.freq / 65_536;
    Ok(Steering { unsynchronised: state.status & libc::STA_UNSYNC != 0, rate_ppm, max_error_us: state.maxerror })
}

/// Changes this thread's mask and returns the one before; a plain system call, so fit for use between fork and exec.
fn change(how: i32, mask: Mask) -> io::Result<Mask> {
    let set = set_of(mask);
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are valid for the call; the second is written by it.
    let failed = unsafe { libc::pthread_sigmask(how, &set, before.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    // SAFETY: the call succeeded, so it wrote the set.
    let before = unsafe { before.assume_init() };
    // SAFETY: the set is initialised and the numbers are signals.
    Ok((1..=64).filter(|&signal| unsafe { libc::sigismember(&before, signal) } == 1).fold(0, |mask, signal| mask | bit(signal)))
}

fn set_of(mask: Mask) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set before `sigaddset` touches it; the numbers are signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in (1..=64).filter(|&signal| mask & bit(signal) != 0) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks only; the action is written if the call succeeds, and read only then.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0 && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

const fn bit(signal: i32) -> Mask {
    1 << (signal - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_and_the_old_mask_is_told() {
        let before = block(&[libc::SIGUSR1]).unwrap();
        assert_eq!(before & bit(libc::SIGUSR1), 0);
        assert_ne!(block(&[libc::SIGUSR2]).unwrap() & bit(libc::SIGUSR1), 0);
        let signals = Signals::open(&[libc::SIGUSR1]).unwrap();
        assert_eq!(signals.next(), None);
        // SAFETY: sends a blocked signal to this thread.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR1) };
        assert_eq!(signals.next(), Some(Arrival { signal: libc::SIGUSR1, from_terminal: false }));
        change(libc::SIG_SETMASK, before).unwrap();
    }
}
