//! Runs commands within a limit of time, and finds and ends the processes that a test run left behind.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often something is looked at that tells nobody when it changes.
const GLANCE: Duration = Duration::from_millis(50);

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// `None` if it did not end within the limit.
    pub status: Option<ExitStatus>,
    /// What it wrote to its stdout, line by line.
    pub lines: Vec<String>,
}

impl Outcome {
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// A command that heeds all signals, even those that we ignore: a shell has what it starts in the background ignore interrupts, and
/// `nohup` hang-ups, and whatever is started by that inherits it, down to the processes to which tests send them.
pub fn heedful(program: &OsStr) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(program);
    command
}

/// Runs `command` for `limit` at most; its stdout stays visible if `show`.
///
/// Whatever it left running under `traces` is ended before its output is read to the end, since such a process may keep the
/// pipe open for good. They are returned beside the outcome.
///
/// # Errors
/// Those of starting it.
pub fn run(command: &mut Command, limit: Duration, traces: &Path, show: bool) -> io::Result<(Outcome, Vec<Process>)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let reader = read_lines(&mut child, show);
    let status = wait(&mut child, limit)?;
    let left = sweep(traces);
    let lines = reader.join().expect("reading lines does not panic");
    Ok((Outcome { status, lines }, left))
}

fn read_lines(child: &mut Child, show: bool) -> JoinHandle<Vec<String>> {
    let stdout = child.stdout.take().expect("stdout is piped");
    thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if show {
                // A reader that has gone away is no reason to stop the tests.
                let _ = writeln!(io::stdout(), "{line}");
            }
            lines.push(line);
        }
        lines
    })
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

/// A process that was still there when nothing should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub what: String,
}

/// Ends every process that carries traces of `dir`, after giving it 5 s to end by itself; returns those that had to be ended.
pub fn sweep(dir: &Path) -> Vec<Process> {
    let started = Instant::now();
    let mut left = with_traces_of(dir);
    while !left.is_empty() && started.elapsed() < Duration::from_secs(5) {
        thread::sleep(GLANCE);
        left = with_traces_of(dir);
    }
    // A child of one that is ended may be born meanwhile: look again until nothing is left.
    for _ in 0..20 {
        let now = with_traces_of(dir);
        if now.is_empty() {
            break;
        }
        for process in &now {
            end(process.pid);
            if !left.iter().any(|known| known.pid == process.pid) {
                left.push(process.clone());
            }
        }
        thread::sleep(GLANCE);
    }
    left
}

fn end(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // An error means that it is gone already.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Every process whose command line, environment or working directory mentions `dir`.
///
/// A server may rewrite its command line, so one of the three is not enough.
fn with_traces_of(dir: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids.filter(|pid| *pid != own).filter_map(|pid| look_at(pid, dir)).collect()
}

fn look_at(pid: i32, dir: &Path) -> Option<Process> {
    let proc_dir = Path::new("/proc").join(pid.to_string());
    let read = |file: &str| fs::read(proc_dir.join(file)).unwrap_or_default();
    let needle = dir.as_os_str().as_encoded_bytes();
    let mentions = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let cmdline = read("cmdline");
    let cwd = fs::read_link(proc_dir.join("cwd")).unwrap_or_default();
    let traces = mentions(&cmdline) || mentions(&read("environ")) || mentions(cwd.as_os_str().as_encoded_bytes());
    let what = String::from_utf8_lossy(&cmdline).replace('\0', " ").trim_end().to_string();
    traces.then_some(Process { pid, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_left_is_named_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo started"]).env("TMPDIR", dir.path());

        let (outcome, left) = run(&mut command, Duration::from_secs(60), dir.path(), false).unwrap();
        assert!(outcome.success());
        assert_eq!(outcome.lines, ["started"]);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].what, "sleep 600");
        assert!(with_traces_of(dir.path()).is_empty());
    }

    #[test]
    fn a_working_directory_is_a_trace_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("600").current_dir(dir.path()).spawn().unwrap();

        let left = sweep(dir.path());
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].pid, i32::try_from(child.id()).unwrap());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn signals_are_heeded_also_by_what_a_shell_started_in_the_background() {
        for signal in ["HUP", "INT", "QUIT"] {
            let heeds = heedful("sh".as_ref());
            let mut background = Command::new("sh");
            background.args(["-c", "trap '' HUP INT QUIT; \"$@\"; exit 0", "sh"]).arg(heeds.get_program()).args(heeds.get_args());
            background.args(["-c", "kill -$0 $$; echo heedless", signal]);
            assert_eq!(String::from_utf8_lossy(&background.output().unwrap().stdout), "", "{signal}");
        }
    }

    #[test]
    fn a_clean_run_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();

        let (outcome, left) = run(&mut Command::new("true"), Duration::from_secs(60), dir.path(), false).unwrap();
        assert!(outcome.success());
        assert_eq!(left, Vec::new());
    }

    #[test]
    fn a_command_that_hangs_is_ended_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");

        let (outcome, _) = run(command.arg("600"), Duration::from_millis(200), dir.path(), false).unwrap();
        assert!(outcome.status.is_none());
    }
}
