//! Signals: passed on to the command in every phase, and an end to the wait.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};
use support::{Place, until, until_exists};

fn waits_with(place: &Place, count: usize) -> Option<()> {
    (place.inspect("a")["waiters"].as_array()?.len() == count).then_some(())
}

#[test]
fn each_signal_reaches_the_command() {
    for signal in ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"] {
        let place = Place::new();
        let script = format!("trap 'echo got {signal}; exit 9' {signal}; touch up; while :; do sleep 0.05; done");
        let mut run = place.start("run", &["run", "a", "--", "sh", "-c", &script]);
        until_exists(&place.path("up"));
        run.signal(signal);
        assert_eq!(run.end().code(), Some(9), "{signal}");
        assert_eq!(place.read("run.out"), format!("got {signal}\n"));
        assert!(!place.read("run.err").contains("leasehold"), "{signal}: {}", place.read("run.err"));
    }
}

#[test]
fn a_signal_that_ends_the_command_is_128_more() {
    let place = Place::new();
    let mut run = place.start("run", &["run", "a", "--", "sh", "-c", "touch up; exec sleep 60"]);
    until_exists(&place.path("up"));
    run.signal("TERM");
    assert_eq!(run.end().code(), Some(143));
    assert!(place.inspect("a")["holders"].as_array().unwrap().is_empty());
}

#[test]
fn a_signal_reaches_the_grandchildren_in_the_commands_group() {
    let place = Place::new();
    let script = "sh -c 'trap \"echo below > below; exit\" TERM; touch up; while :; do sleep 0.05; done'; true";
    let mut run = place.start("run", &["run", "a", "--", "sh", "-c", script]);
    until_exists(&place.path("up"));
    run.signal("TERM");
    run.end();
    assert_eq!(place.read("below"), "below\n");
}

#[test]
fn the_command_may_take_its_time_after_a_signal() {
    let place = Place::new();
    let script = "trap 'sleep 3; exit 4' TERM; touch up; while :; do sleep 0.05; done";
    let mut run = place.start("run", &["run", "a", "--ttl", "1s", "--", "sh", "-c", script]);
    until_exists(&place.path("up"));
    run.signal("TERM");
    assert_eq!(run.end().code(), Some(4), "{}", place.read("run.err"));
}

#[test]
fn a_signal_ends_the_wait_at_once_and_withdraws_the_claim() {
    for (signal, expected) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let place = Place::new();
        place.output(&["acquire", "a", "--ttl", "1m"]);
        for words in [&["run", "a", "--", "true"][..], &["acquire", "a"]] {
            let mut waiter = place.start("waiter", words);
            until("a place in line", || waits_with(&place, 1));
            let begun = Instant::now();
            waiter.signal(signal);
            assert_eq!(waiter.end().code(), Some(expected), "{words:?}");
            assert!(begun.elapsed() < Duration::from_secs(5));
            assert_eq!(waits_with(&place, 0), Some(()), "{words:?}");
        }
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_store_that_is_down() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut waiter = place.start("waiter", &["run", "a", "--url", &format!("redis://127.0.0.1:{port}"), "--", "true"]);
    until("the first word", || place.read("waiter.err").contains("waiting for the store").then_some(()));
    waiter.signal("TERM");
    assert_eq!(waiter.end().code(), Some(143));
}

#[test]
fn an_ignored_hangup_stays_ignored() {
    let place = Place::new();
    let script = "trap '' HUP; exec $LEASEHOLD run a -- sh -c 'touch up; until [ -e go ]; do sleep 0.05; done; exit 6'";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold")).env("LEASEHOLD_URL", place.url());
    shell.current_dir(place.path(""));
    let mut run = place.start_command("run", shell);
    until_exists(&place.path("up"));
    run.signal("HUP");
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(run.end().code(), Some(6));
}

#[test]
fn signals_to_the_keeper_do_not_keep_it_from_its_duty() {
    let place = Place::new();
    let script = "trap '' TERM INT HUP; touch up; sleep 2; exit 8";
    let mut run = place.start("run", &["run", "a", "--ttl", "1s", "--", "sh", "-c", script]);
    until_exists(&place.path("up"));
    for signal in ["TERM", "INT", "HUP", "USR1", "ALRM", "PIPE", "CHLD"] {
        support::send(run.only_child(), signal);
    }
    assert_eq!(run.end().code(), Some(8), "{}", place.read("run.err"));
}
