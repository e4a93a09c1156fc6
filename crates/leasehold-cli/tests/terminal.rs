//! On a terminal: the command has the foreground, and Ctrl-C, Ctrl-Z, `fg` and pipelines work as in any shell.

mod support;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Mutex};
use support::{Place, Running, until};

/// An interactive bash on a terminal of its own.
struct Shell {
    keys: File,
    seen: Arc<Mutex<String>>,
    from: usize,
    _bash: Running,
}

impl Shell {
    fn start(place: &Place) -> Shell {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let side = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let side = || OwnedFd::from(side.try_clone().unwrap());
        let mut bash = Command::new("setsid");
        bash.args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"]).current_dir(place.path(""));
        bash.env("PS1", "$ ").env("L", env!("CARGO_BIN_EXE_leasehold")).env("LEASEHOLD_URL", place.url());
        bash.env("TERM", "dumb").stdin(side()).stdout(side()).stderr(side());
        let bash = Running(bash.spawn().unwrap());
        let keys = File::from(terminal);
        let seen = Arc::new(Mutex::new(String::new()));
        watch(keys.as_fd().try_clone_to_owned().unwrap().into(), Arc::clone(&seen));
        let mut shell = Shell { keys, seen, from: 0, _bash: bash };
        shell.line("stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; echo rea''dy");
        shell.expect("ready");
        shell
    }

    fn line(&mut self, text: &str) {
        self.press(&format!("{text}\n"));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows `text`, after what was expected before.
    fn expect(&mut self, text: &str) -> String {
        let from = self.from;
        let (to, shown) = until(&format!("{text:?} after {:?}", self.seen.lock().unwrap()), || {
            let seen = self.seen.lock().unwrap();
            let to = from + seen[from..].find(text)? + text.len();
            Some((to, seen[from..to].to_string()))
        });
        self.from = to;
        shown
    }
}

fn watch(mut terminal: File, seen: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = terminal.read(&mut bytes) {
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
}

#[test]
fn the_command_can_read_the_terminal_and_the_shell_can_afterwards() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a -- sh -c 'echo ask; read x; echo \"got <$x>\"'; read y; echo \"then <$y>\"");
    shell.expect("ask");
    shell.line("first");
    shell.expect("got <first>");
    shell.line("second");
    shell.expect("then <second>");
}

#[test]
fn ctrl_c_interrupts_the_command_once() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a -- sh -c 'trap \"echo interrupted; exit 3\" INT; echo up; while :; do sleep 0.05; done'");
    shell.expect("up");
    shell.press("\x03");
    shell.line("echo \"code $?\"");
    let shown = shell.expect("code 3");
    assert_eq!(shown.matches("interrupted").count(), 1, "{shown}");
}

#[test]
fn ctrl_z_stops_the_job_and_fg_continues_it() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a --ttl 30s -- sh -c 'echo up; read x; echo \"got <$x>\"; exit 4'");
    shell.expect("up");
    shell.press("\x1a");
    shell.expect("Stopped");
    shell.line("echo in''between");
    shell.expect("inbetween");
    shell.line("fg");
    shell.expect("$L run a");
    std::thread::sleep(std::time::Duration::from_millis(300));
    shell.line("again");
    shell.expect("got <again>");
    shell.line("echo \"code $?\"");
    shell.expect("code 4");
}

#[test]
fn bg_continues_a_stopped_job_without_the_terminal() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a -- bash -c 'echo up; while [ ! -e go ]; do sleep 0.05; done; echo went'");
    shell.expect("up");
    shell.press("\x1a");
    shell.expect("Stopped");
    shell.line("bg");
    shell.line("touch go; wait; echo wai''ted");
    shell.expect("went");
    shell.expect("waited");
}

#[test]
fn a_stopped_job_that_is_not_continued_loses_its_command_in_time() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a --ttl 1s -- bash -c 'exec 9>tree; flock 9; echo up; while :; do sleep 0.05; done'");
    shell.expect("up");
    shell.press("\x1a");
    shell.expect("Stopped");
    let mut rival = place.start("rival", &["run", "a", "--", "flock", "-n", "tree", "true"]);
    assert_eq!(rival.end().code(), Some(0), "{}", place.read("rival.err"));
    shell.line("fg; echo \"code $?\"");
    shell.expect("code 70");
}

#[test]
fn a_job_in_the_background_that_reads_the_terminal_is_stopped_until_fg() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a -- sh -c 'read x; echo \"got <$x>\"' &");
    shell.line("until jobs | grep -q Stopped; do sleep 0.1; done; echo sto''pped");
    shell.expect("stopped");
    shell.line("fg");
    shell.expect("$L run a");
    std::thread::sleep(std::time::Duration::from_millis(300));
    shell.line("text");
    shell.expect("got <text>");
}

#[test]
fn in_a_pipeline_the_others_keep_the_terminal() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a -- sh -c 'echo up; sleep 0.3' | (cat; read x < /dev/tty; echo \"other <$x>\")");
    shell.expect("up");
    shell.line("text");
    shell.expect("other <text>");
    shell.line("$L run a -- sh -c 'trap \"echo interrupted >&2; exit 3\" INT; echo up; while :; do sleep 0.05; done' | cat");
    shell.expect("up");
    shell.press("\x03");
    shell.line("echo \"code ${PIPESTATUS[0]}\"");
    let shown = shell.expect("code 3");
    assert_eq!(shown.matches("interrupted").count(), 1, "{shown}");
}

#[test]
fn ctrl_c_ends_a_script_as_a_whole() {
    let place = Place::new();
    let script = "$L run a -- sh -c 'echo up; sleep 60'\n$L run a -- echo second\n";
    std::fs::write(place.path("script"), script).unwrap();
    let mut shell = Shell::start(&place);
    shell.line("bash script");
    shell.expect("up");
    shell.press("\x03");
    let shown = shell.expect("$ ");
    assert!(!shown.contains("second"), "{shown}");
    shell.line("echo \"code $?\"");
    shell.expect("code 130");
}

#[test]
fn ctrl_z_stops_a_script_as_a_whole_and_fg_continues_it() {
    let place = Place::new();
    std::fs::write(place.path("script"), "$L run a -- sh -c 'echo up; read x; echo \"got <$x>\"'\necho last\n").unwrap();
    let mut shell = Shell::start(&place);
    shell.line("bash script");
    shell.expect("up");
    shell.press("\x1a");
    shell.expect("Stopped");
    shell.line("fg");
    shell.expect("bash script");
    std::thread::sleep(std::time::Duration::from_millis(300));
    shell.line("text");
    shell.expect("got <text>");
    shell.expect("last");
}

#[test]
fn a_command_without_a_shell_that_could_continue_it_is_not_left_stopped() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    // The shell is replaced, so the job is the session's leader, and its group is an orphan to the kernel.
    shell.line("exec $L run a -- sh -c 'echo up; read x; echo \"got <$x>\"; sleep 1'");
    shell.expect("up");
    shell.press("\x1a");
    std::thread::sleep(std::time::Duration::from_millis(300));
    shell.line("text");
    shell.expect("got <text>");
}

#[test]
fn a_killed_commands_terminal_modes_are_undone() {
    let place = Place::new();
    let mut shell = Shell::start(&place);
    shell.line("$L run a --ttl 1s --no-renew -- sh -c 'stty raw; trap \"\" TERM; echo up; while :; do sleep 0.05; done'");
    shell.expect("it is not renewed; ending the command");
    shell.line("");
    shell.line("stty -a | grep -o -- '-*icanon'");
    let shown = shell.expect("icanon");
    assert!(!shown.contains("-icanon"), "{shown}");
}
