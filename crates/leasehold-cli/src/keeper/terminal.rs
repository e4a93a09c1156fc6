//! The terminal's foreground: given to the command, taken back when it stops or ends.

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, getpgrp};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};
use std::os::fd::{AsRawFd, OwnedFd};

/// How the command stands to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a group of its own, without a terminal's foreground.
    Apart,
    /// In a group of its own, which has the foreground while the job has it.
    Foreground,
    /// In the job's group: others in it have the terminal in common with the command.
    Shared,
}

/// The controlling terminal, if there is one, and the job that it belonged to.
#[derive(Debug)]
pub struct Terminal {
    tty: Option<OwnedFd>,
    job: Pid,
    alone: bool,
    modes: Option<Termios>,
    /// The command's place.
    pub place: Place,
}

impl Terminal {
    /// Looks at the terminal of the job in process group `job`, which `leasehold` leads or is only a part of.
    pub fn look(job: Pid, leads: bool) -> Terminal {
        let tty = open("/dev/tty", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).ok();
        let in_front = tty.as_ref().is_some_and(|tty| tcgetpgrp(tty) == Ok(job));
        // A script or a pipeline is signalled, stopped and continued as a whole, so its command stays in its group.
        let alone = leads && isatty(rustix::stdio::stdin()) && isatty(rustix::stdio::stdout());
        let place = match (in_front, alone) {
            (true, true) => Place::Foreground,
            (true, false) => Place::Shared,
            (false, _) => Place::Apart,
        };
        let modes = tty.as_ref().filter(|_| in_front).and_then(|tty| tcgetattr(tty).ok());
        Terminal { tty, job, alone, modes, place }
    }

    /// The descriptor over which a new command takes the foreground for itself before it runs.
    pub fn for_command(&self) -> Option<i32> {
        (self.place == Place::Foreground).then(|| self.tty.as_ref().map(AsRawFd::as_raw_fd))?
    }

    /// Gives the foreground to `group` if the job has it.
    pub fn give(&self, group: Pid) {
        // The keeper blocks SIGTTOU, so a background process may do this.
        if let Some(tty) = self.tty.as_ref().filter(|tty| self.alone && tcgetpgrp(tty) == Ok(self.job)) {
            let _ = tcsetpgrp(tty, group);
        }
    }

    /// Takes the foreground back from `group` if it has it; after a kill also the modes that the terminal had before.
    pub fn take_back(&self, group: Pid, killed: bool) {
        let Some(tty) = &self.tty else { return };
        let ours = tcgetpgrp(tty).is_ok_and(|front| front == group || front == self.job || front == getpgrp());
        if let Some(modes) = self.modes.as_ref().filter(|_| killed && ours) {
            let _ = tcsetattr(tty, OptionalActions::Now, modes);
        }
        if self.place != Place::Shared && tcgetpgrp(tty) == Ok(group) {
            let _ = tcsetpgrp(tty, self.job);
        }
    }

    /// True if a shell can stop and continue the job.
    pub fn has_job_control(&self) -> bool {
        self.tty.is_some()
    }
}
