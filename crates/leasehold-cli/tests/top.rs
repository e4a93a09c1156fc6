//! `leasehold top` on a terminal of its own: what it shows, what keys do, and that the terminal is given back however it ends.

mod support;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use support::server::Server;
use support::{Place, Running, code, err, out, until};
use vt100::Parser;

/// A terminal, what it was told, and the process on it.
struct Terminal {
    keys: Arc<File>,
    side: OwnedFd,
    seen: Arc<Mutex<Seen>>,
    process: Running,
    is_over: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

struct Seen {
    bytes: Vec<u8>,
    screen: Parser,
}

impl Terminal {
    fn start(command: Command) -> Terminal {
        Terminal::sized(command, (24, 140))
    }

    /// Starts the command as the leader of a session on this terminal.
    fn sized(command: Command, (rows, columns): (u16, u16)) -> Terminal {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        tcsetwinsize(&terminal, size(rows, columns)).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let side = OwnedFd::from(OpenOptions::new().read(true).write(true).open(name).unwrap());
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(key, value),
                None => leader.env_remove(key),
            };
        }
        leader.current_dir(command.get_current_dir().unwrap()).env("TERM", "xterm-256color");
        let clone = || side.try_clone().unwrap();
        let process = Running(leader.stdin(clone()).stdout(clone()).stderr(clone()).spawn().unwrap());
        let keys = Arc::new(File::from(terminal));
        let seen = Arc::new(Mutex::new(Seen { bytes: Vec::new(), screen: Parser::new(lines(rows), lines(columns), 0) }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (from, to, over) = (Arc::clone(&keys), Arc::clone(&seen), Arc::clone(&is_over));
        let watcher = std::thread::spawn(move || watch(&from, &to, &over));
        Terminal { keys, side, seen, process, is_over, watcher }
    }

    /// Closes the terminal, as a window that is closed does.
    fn hang_up(self) -> Running {
        self.is_over.store(true, Ordering::Release);
        self.watcher.join().unwrap();
        self.process
    }

    fn press(&mut self, keys: &str) {
        (&*self.keys).write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        let mut seen = self.seen.lock().unwrap();
        seen.screen.screen_mut().set_size(lines(rows), lines(columns));
        tcsetwinsize(&*self.keys, size(rows, columns)).unwrap();
    }

    fn text(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// Waits until the screen is as wanted.
    fn expect(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let begun = std::time::Instant::now();
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(begun.elapsed() < support::LONG, "waited in vain for {what} on the screen:\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn shows(&self, words: &str) -> String {
        self.expect(words, |text| text.contains(words))
    }

    fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().bytes.clone()
    }

    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.side).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn is_given_back(&self) -> bool {
        let seen = self.seen.lock().unwrap();
        let screen = seen.screen.screen();
        self.is_cooked() && !screen.alternate_screen() && !screen.hide_cursor()
    }

    /// The end of the process, with the terminal as it was before.
    fn end(&mut self) -> std::process::ExitStatus {
        let status = self.process.end();
        until("the terminal as it was", || self.is_given_back().then_some(()));
        status
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn lines(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count.max(1)).unwrap()
}

fn watch(mut terminal: &File, seen: &Mutex<Seen>, is_over: &AtomicBool) {
    let mut bytes = [0; 4096];
    while !is_over.load(Ordering::Acquire) {
        let soon = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        if poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&soon)).unwrap_or(0) == 0 {
            continue;
        }
        let Ok(count @ 1..) = terminal.read(&mut bytes) else { return };
        let mut seen = seen.lock().unwrap();
        seen.bytes.extend_from_slice(&bytes[..count]);
        seen.screen.process(&bytes[..count]);
    }
}

/// Bash with what `leasehold` would find in its environment.
fn bash(place: &Place, words: &[&str]) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile"]).args(words).current_dir(place.path("")).env("PS1", "$ ");
    bash.env("LEASEHOLD_URL", place.url()).env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold"));
    bash
}

fn top(place: &Place) -> Command {
    place.leasehold(&["top", "--every", "200ms"])
}

fn on(server: &Server, mut command: Command) -> Command {
    command.env("LEASEHOLD_URL", server.url());
    command
}

/// The lines of the table, by their first word, the heading left out.
fn names(text: &str) -> Vec<String> {
    let table = text.lines().skip_while(|line| !line.starts_with("RESOURCE")).skip(1);
    table.take_while(|line| !line.trim().is_empty()).map(|line| line.split_whitespace().next().unwrap().to_string()).collect()
}

fn acquire(place: &Place, name: &str) {
    assert_eq!(code(&place.output(&["acquire", name, "--ttl", "10m", "--label", "build 7"])), 0);
}

fn wait_in_line(place: &Place, name: &str, count: usize) -> Vec<Running> {
    let waiters = (0..count)
        .map(|at| place.start(&format!("waiter{at}"), &["run", name, "-q", "--label", &format!("no{at}"), "--", "true"]));
    let waiters: Vec<Running> = waiters.collect();
    until("the line", || (place.inspect(name)["waiters"].as_array()?.len() == count).then_some(()));
    waiters
}

#[test]
fn held_locks_and_waiters_are_shown_and_go_when_they_are_free() {
    let place = Place::new();
    let mut terminal = Terminal::start(top(&place));
    terminal.shows("no lock is held or waited for");
    acquire(&place, "order:1");
    acquire(&place, "order:2");
    let waiters = wait_in_line(&place, "order:2", 2);
    let text = terminal.shows("2 held · 2 waiting");
    assert_eq!(names(&text), ["order:1", "order:2"], "{text}");
    assert!(text.contains("\"build 7\" [detached]") && text.contains("9m 5"), "{text}");
    assert!(text.contains("q quit") && text.contains("round trip"), "{text}");
    assert_eq!(code(&place.output(&["release", "order:1", "--force", "--now"])), 0);
    terminal.expect("one lock", |text| names(text) == ["order:2"]);
    drop(waiters);
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn redis_shows_the_same_and_keeps_nothing_of_it() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let mut terminal = Terminal::start(on(&server, top(&place)));
    terminal.shows("no lock is held");
    assert_eq!(code(&on(&server, place.leasehold(&["acquire", "order:1", "--ttl", "10m"])).output().unwrap()), 0);
    let waiter = Running(on(&server, place.leasehold(&["run", "order:1", "-q", "--", "true"])).spawn().unwrap());
    let text = terminal.shows("1 held · 1 waiting");
    assert_eq!(names(&text), ["order:1"]);
    drop(waiter);
    assert_eq!(code(&on(&server, place.leasehold(&["release", "order:1", "--force", "--now"])).output().unwrap()), 0);
    terminal.shows("no lock is held");
    server.query("FLUSHALL");
    terminal.expect("some looks", |_| server.query("INFO commandstats").contains("cmdstat_zrange"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(server.keys(), [""; 0]);
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
    assert_eq!(server.keys(), [""; 0]);
}

#[test]
fn the_filter_narrows_and_escape_clears_it() {
    let place = Place::new();
    ["order:1", "order:2", "user:1"].iter().for_each(|name| acquire(&place, name));
    let mut terminal = Terminal::start(top(&place));
    terminal.shows("3 held");
    terminal.press("/ORD");
    terminal.shows("/ORD");
    terminal.expect("two locks", |text| names(text) == ["order:1", "order:2"]);
    terminal.press("\r");
    terminal.shows("2 match \"ORD\"");
    terminal.press("/\x15*:1\r");
    terminal.expect("a pattern", |text| names(text) == ["order:1", "user:1"]);
    terminal.press("\x1b");
    terminal.expect("all", |text| names(text).len() == 3);
    terminal.press("\x1b");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn rows_are_sorted_as_asked_for() {
    let place = Place::new();
    acquire(&place, "c");
    std::thread::sleep(Duration::from_millis(1100));
    acquire(&place, "a");
    acquire(&place, "b");
    let _waiters = wait_in_line(&place, "b", 1);
    let mut terminal = Terminal::start(top(&place));
    terminal.expect("by name", |text| names(text) == ["a", "b", "c"]);
    terminal.press("s");
    terminal.shows("sorted by age");
    terminal.expect("by age", |text| names(text) == ["c", "a", "b"]);
    terminal.press("s");
    terminal.expect("by waiters", |text| names(text) == ["b", "a", "c"]);
    terminal.press("r");
    terminal.expect("the other way round", |text| text.contains("sorted by waiters, reversed") && names(text) == ["a", "c", "b"]);
    terminal.press("ss");
    terminal.shows("sorted by name");
}

#[test]
fn one_lock_is_inspected_with_all_who_wait_in_line() {
    let place = Place::new();
    acquire(&place, "a");
    acquire(&place, "b");
    let _waiters = wait_in_line(&place, "b", 3);
    let mut terminal = Terminal::start(top(&place));
    terminal.shows("2 held · 3 waiting");
    terminal.press("j\r");
    let text = terminal.shows("b — 1 held, 3 waiting");
    let claim = place.inspect("b")["holders"][0]["claim"].as_str().unwrap().to_string();
    assert!(text.contains(&claim), "{text}");
    let listed = place.output(&["inspect", "b"]);
    let labels = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("waits "));
        lines.filter_map(|line| Some(line.split('"').nth(1)?.to_string())).collect()
    };
    assert_eq!(labels(&text), labels(&out(&listed)));
    assert_eq!(labels(&text).len(), 3, "{text}");
    terminal.press("\x1b");
    terminal.expect("no pane", |text| !text.contains("b — 1 held"));
    terminal.press("?");
    terminal.shows("Nothing here changes a lock.");
    terminal.press("?");
    terminal.expect("no help", |text| !text.contains("Nothing here changes"));
}

#[test]
fn hand_offs_and_leases_that_ran_out_are_counted() {
    let place = Place::new();
    let terminal = Terminal::start(top(&place));
    terminal.shows("no lock is held");
    // A lease counts if a look falls into its last third, which on a busy machine not each does.
    let is_counted = |_| {
        assert_eq!(code(&place.output(&["acquire", "a", "--ttl", "3s"])), 0);
        let text = terminal.expect("a hand-off", |text| names(text) == ["a"] && !text.contains(" 0 hand-offs/s"));
        assert!(!text.contains("ran out"), "{text}");
        terminal.shows("no lock is held").contains("· 1 ran out")
    };
    assert!((0..10).any(is_counted), "{}", terminal.text());
    assert_eq!(code(&place.output(&["acquire", "a", "--ttl", "10m"])), 0);
    let text = terminal.expect("the lock again", |text| names(text) == ["a"]);
    let column = text.lines().find_map(|line| line.find("RAN OUT")).unwrap();
    let row = text.lines().find(|line| line.starts_with("a ")).unwrap();
    assert!(row.get(column..).is_some_and(|rest| rest.starts_with("1 ")), "{text}");
}

#[test]
fn every_size_is_survived_and_drawn_anew() {
    let place = Place::new();
    acquire(&place, "order:1");
    let mut terminal = Terminal::start(top(&place));
    terminal.shows("order:1");
    for (rows, columns) in [(5, 20), (1, 1), (2, 3), (24, 80), (5, 20), (60, 250)] {
        terminal.resize(rows, columns);
        if columns >= 20 {
            terminal.expect(&format!("{rows}×{columns}"), |text| text.contains("order:1") && text.contains("q quit"));
            terminal.press("?");
            terminal.shows("Nothing here");
            terminal.press("?");
        }
    }
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_key_that_comes_with_a_change_of_size_is_heard_at_once() {
    let place = Place::new();
    let mut terminal = Terminal::start(top(&place));
    terminal.shows("no lock is held");
    for round in 0..200 {
        terminal.press("?");
        terminal.resize(24, if round % 2 == 0 { 120 } else { 140 });
        let is_help = round % 2 == 0;
        terminal.expect("the key's effect", |text| text.contains("Nothing here changes") == is_help);
    }
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_terminal_that_does_not_know_its_size_is_taken_for_one_of_80_by_24() {
    let place = Place::new();
    let mut terminal = Terminal::sized(top(&place), (0, 0));
    terminal.seen.lock().unwrap().screen.screen_mut().set_size(lines(24), lines(80));
    terminal.shows("no lock is held");
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_store_that_was_killed_is_told_and_looked_at_again_when_it_is_back() {
    let place = Place::new();
    let mut server = Server::start(&place, &["--appendonly", "yes", "--appendfsync", "always"]);
    assert_eq!(code(&on(&server, place.leasehold(&["acquire", "order:1", "--ttl", "10m"])).output().unwrap()), 0);
    let mut terminal = Terminal::start(on(&server, top(&place)));
    terminal.shows("1 held");
    server.kill();
    let text = terminal.shows("store down since");
    assert_eq!(names(&text), ["order:1"], "what was known stays: {text}");
    terminal.shows("store down since 2s");
    server.restart(&place);
    terminal.expect("the store back", |text| !text.contains("store down") && names(text) == ["order:1"]);
    assert_eq!(code(&on(&server, place.leasehold(&["acquire", "order:2", "--ttl", "10m"])).output().unwrap()), 0);
    terminal.shows("order:2");
    server.signal("STOP");
    terminal.shows("store down since");
    server.signal("CONT");
    terminal.expect("the store back", |text| !text.contains("store down"));
    terminal.press("\x03");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_store_that_is_down_from_the_start_is_waited_for_and_no_password_is_shown() {
    let place = Place::new();
    let mut server = Server::start(&place, &["--requirepass", "sesame"]);
    server.kill();
    let mut command = top(&place);
    command.env("LEASEHOLD_URL", format!("redis://:sesame@127.0.0.1:{}", server.port()));
    let mut terminal = Terminal::start(command);
    terminal.shows("store down since");
    server.restart(&place);
    terminal.shows("no lock is held");
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
    assert!(!String::from_utf8_lossy(&terminal.bytes()).contains("sesame"));
}

#[test]
fn a_mistake_is_told_on_the_screen_that_stays() {
    let place = Place::new();
    let server = Server::start(&place, &["--requirepass", "sesame"]);
    let mut terminal = Terminal::start(on(&server, top(&place)));
    assert_eq!(terminal.end().code(), Some(77));
    terminal.shows("leasehold: redis");
    let mut terminal = Terminal::start(place.leasehold(&["top", "--url", "nonsense:x"]));
    assert_eq!(terminal.end().code(), Some(64));
}

#[test]
fn a_pause_asks_the_store_nothing() {
    let place = Place::new();
    acquire(&place, "a");
    let mut terminal = Terminal::start(top(&place));
    terminal.shows("1 held");
    terminal.press("p");
    terminal.shows("paused");
    acquire(&place, "b");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(names(&terminal.text()), ["a"]);
    terminal.press("p");
    terminal.shows("2 held");
}

#[test]
fn signals_give_the_terminal_back() {
    let place = Place::new();
    acquire(&place, "a");
    for (signal, number) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let mut terminal = Terminal::start(top(&place));
        terminal.shows("1 held");
        assert!(!terminal.is_cooked());
        assert!(terminal.seen.lock().unwrap().screen.screen().alternate_screen());
        terminal.process.signal(signal);
        assert_eq!(terminal.end().code(), Some(number), "{signal}");
    }
}

#[test]
fn a_terminal_that_takes_no_output_does_not_keep_a_signal_from_ending_it() {
    let place = Place::new();
    acquire(&place, "a");
    let mut terminal = Terminal::sized(top(&place), (200, 250));
    terminal.shows("1 held");
    // Nobody reads while this is locked, and each new size draws everything.
    let seen = Arc::clone(&terminal.seen);
    let stuck = seen.lock().unwrap();
    for at in 0..200 {
        tcsetwinsize(&*terminal.keys, size(200, 250 - at % 2)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    terminal.process.signal("TERM");
    assert_eq!(terminal.process.end().code(), Some(143));
    assert!(terminal.is_cooked());
    drop(stuck);
    terminal.hang_up();
    let bytes = seen.lock().unwrap().bytes.clone();
    assert!(!String::from_utf8_lossy(&bytes).contains("\x1b[?1049l"), "the terminal took output all the time");
}

#[test]
fn a_terminal_that_is_gone_ends_it_whether_or_not_hang_ups_are_ignored() {
    let place = Place::new();
    acquire(&place, "a");
    let terminal = Terminal::start(top(&place));
    terminal.shows("1 held");
    assert!(!terminal.hang_up().end().success());
    let terminal = Terminal::start(bash(&place, &["-c", "trap '' HUP; exec \"$LEASEHOLD\" top"]));
    terminal.shows("1 held");
    assert_eq!(terminal.hang_up().end().code(), Some(69));
}

#[test]
fn ctrl_z_stops_it_as_a_job_and_fg_shows_everything_again() {
    let place = Place::new();
    acquire(&place, "order:1");
    let mut terminal = Terminal::start(bash(&place, &["-i"]));
    terminal.press("bind 'set enable-bracketed-paste off'; $LEASEHOLD top --every 200ms\r");
    terminal.shows("1 held");
    terminal.press("\x1a");
    terminal.shows("Stopped");
    terminal.press("stty -a | grep -o -- '-*icanon'; echo in''between\r");
    let text = terminal.shows("inbetween");
    assert!(text.lines().any(|line| line == "icanon"), "{text}");
    assert!(!terminal.seen.lock().unwrap().screen.screen().alternate_screen());
    terminal.press("fg\r");
    terminal.shows("1 held");
    terminal.press("q");
    // Keys that are pressed before the prompt may still be top's.
    let prompts = |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).is_some_and(|line| line.trim() == "$");
    terminal.expect("the shell", |text| text.contains("inbetween") && !text.contains("1 held") && prompts(text));
    terminal.press("echo code $?\r");
    terminal.shows("code 0");
}

#[test]
fn what_is_no_terminal_is_refused_with_advice() {
    let place = Place::new();
    let output = place.output(&["top"]);
    assert_eq!(code(&output), 64);
    assert!(err(&output).contains("top needs a terminal") && err(&output).contains("list --json"), "{output:?}");
    assert_eq!(out(&output), "");
    let mut dumb = Terminal::start(bash(&place, &["-c", "TERM=dumb exec \"$LEASEHOLD\" top"]));
    assert_eq!(dumb.end().code(), Some(64));
    dumb.shows("TERM=dumb");
}

#[test]
fn a_store_that_never_answers_does_not_keep_anybody_from_quitting() {
    let place = Place::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = top(&place);
    command.env("LEASEHOLD_URL", format!("redis://127.0.0.1:{}", silent.local_addr().unwrap().port()));
    let mut terminal = Terminal::start(command);
    let text = terminal.shows("asking the store for the first time");
    assert!(text.contains("nothing was seen yet"), "{text}");
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn strange_names_are_shown_and_nothing_reaches_the_terminal_raw() {
    let place = Place::new();
    for name in ["鎖:größe", "a\u{202e}b", "\u{1f468}\u{200d}\u{1f469}x", "e\u{301}"] {
        acquire(&place, name);
    }
    let label = "\u{1b}]0;owned\u{7}\u{9b}2J";
    assert_eq!(code(&place.output(&["acquire", "labelled", "--ttl", "10m", "--label", label])), 0);
    let terminal = Terminal::sized(top(&place), (24, 160));
    let text = terminal.shows("5 held");
    assert!(text.contains("鎖:größe") && text.contains(r"a\u{202e}b") && text.contains(r"\u{1b}]0;owned"), "{text}");
    let bytes = String::from_utf8_lossy(&terminal.bytes()).into_owned();
    assert!(!bytes.contains("\x1b]0;owned") && !bytes.contains('\u{202e}') && !bytes.contains('\u{9b}'));
}

#[test]
fn no_color_is_respected() {
    let place = Place::new();
    acquire(&place, "a");
    let colours = |value: &str| {
        let mut command = top(&place);
        command.env("NO_COLOR", value);
        let terminal = Terminal::start(command);
        terminal.shows("1 held");
        let bytes = String::from_utf8_lossy(&terminal.bytes()).into_owned();
        // Every way to set a colour; `39` and `49` are the terminal's own.
        bytes.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m')).any(|(codes, _)| {
            codes.chars().all(|c| c.is_ascii_digit() || c == ';')
                && codes.split(';').any(|code| matches!(code.parse::<u8>(), Ok(30..=38 | 40..=48 | 90..=107)))
        })
    };
    assert!(colours(""));
    assert!(!colours("1"));
}
