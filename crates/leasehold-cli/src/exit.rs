//! The exit codes, one meaning each.

use leasehold::ErrorKind;
use std::process::ExitCode;

/// All went well.
pub const OK: Code = Code(0);
/// What was verified does not hold.
pub const VIOLATED: Code = Code(1);
/// Something may come to endanger locks.
pub const WARNED: Code = Code(1);
/// Something endangers locks.
pub const ENDANGERED: Code = Code(2);
/// The command line, a name, a policy or a URL is wrong, or the store cannot do that (`EX_USAGE`).
pub const USAGE: Code = Code(64);
/// The store does not answer (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: Code = Code(69);
/// The lease was lost (`EX_SOFTWARE`).
pub const LOST: Code = Code(70);
/// Not granted in time (`EX_TEMPFAIL`).
pub const BUSY: Code = Code(75);
/// The store refuses this user (`EX_NOPERM`).
pub const PERMISSION: Code = Code(77);
/// The command is there, but cannot be executed.
pub const NOT_EXECUTABLE: Code = Code(126);
/// There is no such command.
pub const NOT_FOUND: Code = Code(127);

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Code(u8);

impl Code {
    /// The code that the command itself chose.
    pub fn of_command(code: i32) -> Code {
        Code((code & 0xff) as u8)
    }

    /// The code that a user asked for.
    pub fn asked(code: u8) -> Code {
        Code(code)
    }

    /// A signal ended the command, or the wait.
    pub fn of_signal(signal: i32) -> Code {
        Code::of_command(128 + signal)
    }

    /// What the system said when the command was to be started.
    pub fn of_start(errno: i32) -> Code {
        if errno == libc::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE }
    }

    /// What the caller can do about an error of the library.
    pub fn of_error(kind: ErrorKind) -> Code {
        match kind {
            ErrorKind::Lost => LOST,
            ErrorKind::Permission => PERMISSION,
            ErrorKind::Unavailable => UNAVAILABLE,
            _ => USAGE,
        }
    }
}

impl From<Code> for f64 {
    fn from(code: Code) -> f64 {
        code.0.into()
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.0)
    }
}
