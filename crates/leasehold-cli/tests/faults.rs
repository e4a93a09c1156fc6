//! Whatever happens to `leasehold`, no process of the command's tree is left when a rival gets the lock.
//!
//! Every process of the tree has an flock(2) on one open file in common: it is free when the last of them is gone. The rival
//! waits for the same lock and tries that flock first thing.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Place, Running, children, code, until, until_exists};

/// How often each fault is brought about.
const ROUNDS: usize = 20;
/// So many rounds go on at a time: their trees fork busily, and so that the machine still serves them.
const AT_A_TIME: usize = 6;

/// Deaf to all signals that can be ignored, double-forked and in sessions of its own, busily forking.
const TREE: &str = "
    trap '' TERM HUP INT QUIT
    exec 9>tree; flock 9
    (setsid sh -c 'trap \"\" TERM HUP INT QUIT; (while :; do sleep 0.02; done) & while :; do sleep 0.02; done' &)
    (sh -c 'sleep 300 & sleep 301' &)
    touch up
    while :; do sleep 0.02; done";

struct Fault {
    place: Place,
    holder: Running,
    rival: Running,
}

/// A holder with a tree, and a rival in line.
fn set_up(ttl: &str) -> Fault {
    let place = Place::new();
    let holder = place.start("holder", &["run", "a", "--ttl", ttl, "--", "bash", "-c", TREE]);
    until_exists(&place.path("up"));
    assert!(!is_tree_gone(&place), "the tree's flock tells nothing");
    let rival = place.start("rival", &["run", "a", "--ttl", ttl, "--", "flock", "-n", "tree", "true"]);
    until("the rival in line", || (place.inspect("a")["waiters"].as_array()?.len() == 1).then_some(()));
    Fault { place, holder, rival }
}

fn is_tree_gone(place: &Place) -> bool {
    let mut flock = std::process::Command::new("flock");
    flock.args(["-n", "tree", "true"]).current_dir(place.path("")).status().unwrap().success()
}

impl Fault {
    /// The rival was granted the lock, and found nobody.
    fn rival_found_nobody(&mut self) {
        assert_eq!(self.rival.end().code(), Some(0), "{}", self.place.read("rival.err"));
    }
}

/// All rounds, several at a time, with several ttls.
fn in_rounds(test: impl Fn(&str) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(ttl) = ["1s", "2s", "3s"].iter().cycle().take(ROUNDS).nth(next.fetch_add(1, Ordering::Relaxed)) {
            test(ttl);
        }
    };
    std::thread::scope(|scope| (0..AT_A_TIME).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn a_killed_leasehold_leaves_no_tree() {
    in_rounds(|ttl| {
        let mut fault = set_up(ttl);
        fault.holder.signal("KILL");
        fault.rival_found_nobody();
    });
}

#[test]
fn a_stopped_leasehold_leaves_no_tree() {
    in_rounds(|ttl| {
        let mut fault = set_up(ttl);
        fault.holder.signal("STOP");
        fault.rival_found_nobody();
        fault.holder.signal("CONT");
        assert_eq!(fault.holder.end().code(), Some(70));
    });
}

#[test]
fn a_killed_keeper_takes_the_tree_along_and_is_70() {
    in_rounds(|ttl| {
        let mut fault = set_up(ttl);
        support::send(fault.holder.only_child(), "KILL");
        assert_eq!(fault.holder.end().code(), Some(70));
        fault.rival_found_nobody();
        assert!(fault.place.read("holder.err").contains("the keeper was killed"));
    });
}

#[test]
fn a_lease_that_runs_out_leaves_no_tree() {
    in_rounds(|ttl| {
        let place = Place::new();
        let holder = place.start("holder", &["run", "a", "--ttl", ttl, "--no-renew", "--", "bash", "-c", TREE]);
        until_exists(&place.path("up"));
        let rival = place.start("rival", &["run", "a", "--ttl", ttl, "--", "flock", "-n", "tree", "true"]);
        let mut fault = Fault { place, holder, rival };
        fault.rival_found_nobody();
        assert_eq!(fault.holder.end().code(), Some(70));
    });
}

#[test]
fn a_frozen_store_leaves_no_tree() {
    let place = Place::new();
    let server = Server::start(&place);
    let run = |name: &str, words: &[&str]| {
        let mut command = place.leasehold(&["run", "a", "--ttl", "2s", "--url", &server.url, "--"]);
        command.args(words);
        place.start_command(name, command)
    };
    let mut holder = run("holder", &["bash", "-c", TREE]);
    until_exists(&place.path("up"));
    let mut rival = run("rival", &["flock", "-n", "tree", "true"]);
    until("the rival in line", || place.read("rival.err").contains("held by").then_some(()));
    server.process.signal("STOP");
    until("the end of the tree", || is_tree_gone(&place).then_some(()));
    server.process.signal("CONT");
    assert_eq!(rival.end().code(), Some(0), "{}", place.read("rival.err"));
    assert_eq!(holder.end().code(), Some(70), "{}", place.read("holder.err"));
}

/// A Redis server of this test's own.
struct Server {
    process: Running,
    url: String,
}

impl Server {
    fn start(place: &Place) -> Server {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = std::process::Command::new("redis-server");
        server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(place.path(""));
        let process = place.start_command("server", server);
        until("the server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Server { process, url: format!("redis://127.0.0.1:{port}") }
    }
}

#[test]
fn a_tree_that_forks_faster_than_it_is_killed_is_killed() {
    let place = Place::new();
    // Each process starts a successor in a session of its own and ends: no process lives long enough to be found twice.
    let script =
        "echo 'setsid sh hare & exit' > hare; trap '' TERM; exec 9>tree; flock 9; sh hare; sh hare; sh hare; touch up; sleep 300";
    let mut holder = place.start("holder", &["run", "a", "--ttl", "1s", "--no-renew", "--", "bash", "-c", script]);
    assert_eq!(holder.end().code(), Some(70), "{}", place.read("holder.err"));
    assert!(is_tree_gone(&place));
}

#[test]
fn a_stopped_tree_is_killed_too() {
    let place = Place::new();
    let mut holder = place.start("holder", &["run", "a", "--ttl", "1s", "--no-renew", "--", "bash", "-c", "kill -STOP $$"]);
    assert_eq!(holder.end().code(), Some(70));
}

#[test]
fn children_that_we_had_before_survive_the_keepers_death() {
    let place = Place::new();
    let script = "sleep 300 & echo $! > mine; exec $LEASEHOLD run a -- sh -c 'touch up; sleep 300'";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script]).env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold")).env("LEASEHOLD_URL", place.url());
    shell.current_dir(place.path(""));
    let mut run = place.start_command("run", shell);
    until_exists(&place.path("up"));
    let mine: i32 = place.read("mine").trim().parse().unwrap();
    let keeper = *children(run.pid()).iter().find(|child| **child != mine).unwrap();
    support::send(keeper, "KILL");
    assert_eq!(run.end().code(), Some(70));
    support::send(mine, "KILL");
}

#[test]
fn the_lock_is_free_at_once_after_a_keepers_death() {
    let place = Place::new();
    let mut holder = place.start("holder", &["run", "a", "--ttl", "1h", "--", "sh", "-c", "touch up; sleep 300"]);
    until_exists(&place.path("up"));
    support::send(holder.only_child(), "KILL");
    assert_eq!(holder.end().code(), Some(70));
    let begun = Instant::now();
    assert_eq!(code(&place.output(&["run", "a", "--wait", "10s", "--", "true"])), 0);
    assert!(begun.elapsed() < Duration::from_secs(10));
}
