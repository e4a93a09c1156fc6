//! Real processes of this program over an embedded store in a directory of its own.
#![allow(dead_code)]

pub mod metrics;
pub mod server;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(30);

/// A store and a place for files.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { dir: TempDir::new().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The file's text; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path("locks.db").display())
    }

    /// `leasehold` with these words, this place's store, its files as working directory, and nothing inherited.
    pub fn leasehold(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("LEASEHOLD_URL", self.url()).env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold"));
        command.env_remove("LEASEHOLD_HELD");
        command
    }

    /// Its output, to the end.
    pub fn output(&self, words: &[&str]) -> Output {
        self.leasehold(words).output().unwrap()
    }

    /// Starts it with its output into the files `NAME.out` and `NAME.err`.
    pub fn start(&self, name: &str, words: &[&str]) -> Running {
        self.start_command(name, self.leasehold(words))
    }

    pub fn start_command(&self, name: &str, mut command: Command) -> Running {
        let file = |end: &str| fs::File::create(self.path(&format!("{name}.{end}"))).unwrap();
        Running(command.stdout(file("out")).stderr(file("err")).spawn().unwrap())
    }

    /// What `inspect --json` says of `name`.
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let output = self.output(&["inspect", name, "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }
}

/// A process that is killed at the end of the test, if it is still there.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        send(self.pid(), signal);
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        until("the end of a process", || self.0.try_wait().unwrap())
    }

    /// The one process that this one started.
    pub fn only_child(&self) -> i32 {
        until("a child", || children(self.pid()).first().copied())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

pub fn send(pid: i32, signal: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().unwrap();
    assert!(sent.success(), "kill -{signal} {pid}");
}

pub fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    texts.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()).collect()
}

/// Asks again and again, until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < LONG, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn until_exists(path: &Path) {
    until(&path.display().to_string(), || path.exists().then_some(()));
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything that is there to be read.
pub fn drain(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}
