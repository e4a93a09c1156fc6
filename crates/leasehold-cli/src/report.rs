//! The story of one run, for `--report`.

use crate::exit::Code;
use leasehold::Instant;
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What happened, in a stable shape: `null` for what did not. Times are RFC 3339 by this host's wall clock.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// The lock.
    pub name: String,
    /// When it was asked for.
    pub asked_at: String,
    /// When it was granted, or joined.
    pub granted_at: Option<String>,
    /// How long that took.
    pub waited_ms: Option<u64>,
    /// True if the lock of an outer run was joined.
    pub joined: bool,
    /// The claim that held.
    pub claim: Option<String>,
    /// Its token.
    pub token: Option<u64>,
    /// How the command ended.
    pub command: Option<CommandEnd>,
    /// When nothing of the command's tree was left.
    pub ended_at: Option<String>,
    /// Why the lock was lost.
    pub lost: Option<String>,
    /// What the store answered to the release: released, expired, gone, taken, joined or failed.
    pub release: Option<String>,
    /// Why the run could not go on.
    pub error: Option<String>,
    /// Our own exit code.
    pub exit_code: Option<Code>,
    /// True if a Ctrl-C ended the command of a whole script or pipeline, so that we end likewise.
    #[serde(skip)]
    pub interrupted: bool,
    /// How long the lock was waited for, granted or not.
    #[serde(skip)]
    pub waited: Option<Duration>,
    /// True if others held until the end of the wait.
    #[serde(skip)]
    pub refused: bool,
    /// Since when the lock is held.
    #[serde(skip)]
    pub held_since: Option<Instant>,
    /// How long it was held.
    #[serde(skip)]
    pub held: Option<Duration>,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It never started, by this error of the system.
    NotStarted(i32),
}

impl Story {
    /// The story of a run that begins now.
    pub fn begin(name: &str) -> Story {
        Story {
            name: name.into(),
            asked_at: stamp(),
            granted_at: None,
            waited_ms: None,
            joined: false,
            claim: None,
            token: None,
            command: None,
            ended_at: None,
            lost: None,
            release: None,
            error: None,
            exit_code: None,
            interrupted: false,
            waited: None,
            refused: false,
            held_since: None,
            held: None,
        }
    }

    /// Notes that the lock is not held any more, if it was until now.
    pub fn not_held(&mut self, now: Instant) {
        if let (Some(since), None) = (self.held_since, self.held) {
            self.held = Some(now.since(since));
        }
    }

    /// Writes the story to `file`, in one step.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        put(file, &text, None)
    }
}

/// Writes `text` to `file` in one step: a reader sees the whole of it or the file before. With this mode, whatever the umask.
/// A link is followed; what is no file (a pipe, a device such as `/dev/stdout`) is written to, never replaced.
///
/// # Errors
/// Those of the operating system.
pub fn put(file: &Path, text: &[u8], mode: Option<u32>) -> io::Result<()> {
    if let Ok(found) = fs::metadata(file)
        && !found.is_file()
    {
        // A pipe that nobody reads is an error, not a wait.
        return fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(file)?.write_all(text);
    }
    // A link that leads nowhere yet is followed too.
    let linked = fs::canonicalize(file).or_else(|_| fs::read_link(file).map(|to| file.with_file_name(to)));
    let file = linked.as_deref().unwrap_or(file);
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = file.with_file_name(format!(".{name}.{}", std::process::id()));
    // Left by a process that was killed, or put there by somebody else: never written through.
    let _ = fs::remove_file(&draft);
    let written = write_new(&draft, text, mode).and_then(|()| fs::rename(&draft, file));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write_new(file: &Path, text: &[u8], mode: Option<u32>) -> io::Result<()> {
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(mode.unwrap_or(0o666)).open(file)?;
    if let Some(mode) = mode {
        out.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    out.write_all(text)
}

/// Now, by the wall clock.
pub fn stamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
