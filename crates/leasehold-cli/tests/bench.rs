//! `leasehold bench`: its figures are consistent, it finds what the textbook protocols do wrong, and it leaves nothing behind.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use support::server::Server;
use support::{Place, children, code, err, out, until};

/// A stock that is sold quickly, under a lock that a killed holder does not keep for long.
const SALE: [&str; 9] = ["bench", "--verify", "--buyers", "4", "--stock", "60", "--ttl", "500ms", "--json"];

/// Words that begin with the options of a sale at `url`.
fn sale<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    SALE.iter().copied().chain(["--url", url]).chain(more.iter().copied()).collect()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// All keys but the counter, which stays; the entries of killed clients end by themselves.
fn until_clean(server: &Server) {
    until("an empty server", || {
        let keys = server.keys();
        keys.iter().all(|key| key.ends_with("token")).then_some(())
    });
}

fn numbers<'a>(value: &'a Value, keys: &'a [&str]) -> impl Iterator<Item = f64> + 'a {
    keys.iter().map(move |key| value[*key].as_f64().unwrap_or_else(|| panic!("{key} in {value}")))
}

fn measured(place: &Place, url: &str) {
    let output = place.output(&["bench", "--url", url, "--tasks", "3", "--seconds", "1", "--json"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{output:?}");
    let found = json(&output);
    assert_eq!((&found["store"], &found["tasks"], &found["clients"]), (&url.into(), &3.into(), &2.into()));
    assert_eq!((&found["overlaps"], &found["tokens_out_of_order"]), (&0.into(), &0.into()), "{found}");
    let (own, one, pass) = (&found["uncontended"], &found["contended"], &found["hand_off"]);
    for (counted, rate) in [(&own["cycles"], &own["cycles_per_s"]), (&one["hand_offs"], &one["hand_offs_per_s"])] {
        let (counted, rate) = (counted.as_f64().unwrap(), rate.as_f64().unwrap());
        // Each lasts one second at least.
        assert!(counted > 0.0 && rate > 0.0 && rate <= counted + 0.1, "{found}");
    }
    assert!(pass["count"].as_u64().unwrap() > 0, "{found}");
    let jain = one["jain"].as_f64().unwrap();
    assert!((0.33..=1.0).contains(&jain), "{found}");
    for spread in [&own["acquire_us"], &own["release_us"], &one["wait_us"], &pass["latency_us"]] {
        let all: Vec<f64> = numbers(spread, &["p50", "p90", "p99", "p99_9", "max"]).collect();
        assert!(all[0] > 0.0 && all.is_sorted(), "{spread}");
    }
}

#[test]
fn a_server_is_measured_and_left_as_it_was() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    measured(&place, &server.url());
    until_clean(&server);
}

#[test]
fn a_file_and_a_memory_are_measured() {
    let place = Place::new();
    measured(&place, &place.url());
    measured(&place, "memory:");
    assert_eq!(out(&place.output(&["list"])), "no lock is held or waited for\n");
}

#[test]
fn people_get_a_table_and_a_verdict() {
    let place = Place::new();
    let output = place.output(&["bench", "--url", "memory:", "--seconds", "0.1"]);
    let text = out(&output);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    for word in ["cycles/s", "hand-offs/s", "fairness", "P99.9", "wait in line", "no two held at once"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

/// With Leasehold exactly the stock is sold; without the check the paused holder sells again what others have sold.
fn sells_exactly_the_stock(place: &Place, url: &str) {
    let output = place.output(&sale(url, &[]));
    let found = json(&output);
    assert_eq!((code(&output), err(&output).as_str(), &found["ok"]), (0, "", &true.into()), "{found}");
    let (checked, unchecked) = (&found["runs"][0], &found["runs"][1]);
    for (key, expected) in
        [("sold", 60), ("oversold", 0), ("overlaps", 0), ("tokens_out_of_order", 0), ("killed", 2), ("paused", 1)]
    {
        assert_eq!(checked[key], expected, "{key} in {checked}");
    }
    assert_eq!((&checked["protocol"], &checked["token_check"]), (&"leasehold".into(), &true.into()));
    assert!(checked["fenced"].as_u64().unwrap() >= 1, "{checked}");
    let elapsed = checked["elapsed_ms"].as_f64().unwrap() / 1000.0;
    assert!((checked["sales_per_s"].as_f64().unwrap() - 60.0 / elapsed).abs() < 1.0, "{checked}");
    assert_eq!((&unchecked["token_check"], &unchecked["fenced"]), (&false.into(), &Value::Null));
    assert_eq!((&unchecked["oversold"], &unchecked["ok"]), (&1.into(), &false.into()), "{unchecked}");
    // The lock keeps its promise in this run too: the paused holder's guard says lost.
    assert_eq!((&unchecked["overlaps"], &unchecked["tokens_out_of_order"]), (&0.into(), &0.into()), "{unchecked}");
    assert!(unchecked["first_oversold"]["item"].as_u64().is_some(), "{unchecked}");
}

#[test]
fn leasehold_on_a_server_sells_exactly_the_stock() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    sells_exactly_the_stock(&place, &server.url());
    until_clean(&server);
}

#[test]
fn leasehold_on_a_file_sells_exactly_the_stock() {
    let place = Place::new();
    sells_exactly_the_stock(&place, &place.url());
    assert_eq!(out(&place.output(&["list"])), "no lock is held or waited for\n");
}

#[test]
fn textbook_protocols_that_expire_oversell() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    for protocol in ["setnx-expire", "set-nx-ex"] {
        let output = place.output(&sale(&server.url(), &["--protocol", protocol]));
        let found = json(&output);
        let run = &found["runs"][0];
        assert_eq!((code(&output), &found["ok"], found["runs"].as_array().unwrap().len()), (1, &false.into(), 1), "{found}");
        assert_eq!((&run["protocol"], &run["oversold"], &run["stuck"]), (&protocol.into(), &1.into(), &false.into()), "{run}");
        assert!(run["overlaps"].as_u64().unwrap() >= 1, "{run}");
        assert_eq!((&run["fenced"], &run["tokens_out_of_order"]), (&Value::Null, &Value::Null));
        assert_eq!(server.keys(), [""; 0]);
    }
}

#[test]
fn a_textbook_protocol_without_expiry_stands_still_after_the_first_death() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let output = place.output(&sale(&server.url(), &["--protocol", "setnx"]));
    let found = json(&output);
    let run = &found["runs"][0];
    assert_eq!((code(&output), &run["stuck"], &run["killed"]), (1, &true.into(), &1.into()), "{found}");
    assert!(run["oversold"] == 0 && run["sold"].as_u64().unwrap() < 60, "{run}");
    assert_eq!(server.keys(), [""; 0]);
}

#[test]
fn nothing_is_found_where_nothing_goes_wrong() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let output = place.output(&sale(&server.url(), &["--protocol", "setnx", "--kill", "0", "--pause", "0"]));
    let run = &json(&output)["runs"][0];
    assert_eq!((code(&output), &run["ok"], &run["sold"], &run["overlaps"]), (0, &true.into(), &60.into(), &0.into()), "{run}");
}

#[test]
fn the_verdict_is_told_to_people() {
    let place = Place::new();
    let output = place.output(&["bench", "--verify", "--processes", "2", "--kill", "0", "--stock", "20", "--ttl", "500ms"]);
    let text = out(&output);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{text}");
    for word in ["tokens checked", "tokens not checked", "20 of 20", "sold exactly the stock", "OVERSOLD: item "] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn bad_usage_says_what_is_wrong() {
    let place = Place::new();
    let wrong = |words: &[&str], says: &str| {
        let output = place.output(&[&["bench"], words].concat());
        assert_eq!(code(&output), 64, "{words:?}: {output:?}");
        assert!(err(&output).contains(says), "{words:?}: {}", err(&output));
    };
    for protocol in ["setnx", "setnx-expire", "set-nx-ex"] {
        wrong(&["--verify", "--protocol", protocol], "needs a Redis server");
    }
    wrong(&["--verify", "--protocol", "nope"], "invalid value");
    wrong(&["--verify", "--url", "memory:"], "lives in one process");
    wrong(&["--verify", "--processes", "3"], "at least 4 --processes");
    wrong(&["--verify", "--tasks", "3"], "cannot be used with");
    wrong(&["--protocol", "setnx"], "--verify");
    wrong(&["--seconds", "0"], "at least 0.05");
    wrong(&["--clients", "1"], "--clients");
    wrong(&["--ttl", "10ms"], "ttl must be at least 400ms");
    wrong(&["--url", "nope://x"], "unknown URL scheme");
}

#[test]
fn a_store_that_is_not_there_or_refuses_has_its_exit_code() {
    let place = Place::new();
    let server = Server::start(&place, &["--requirepass", "hunter2"]);
    let wrong = server.url().replace("//", "//:wrong@");
    for words in [&["bench"][..], &["bench", "--verify"], &["bench", "--verify", "--protocol", "set-nx-ex"]] {
        for (url, expected) in [("redis://127.0.0.1:1", 69), (&server.url(), 77), (&wrong, 77)] {
            let output = place.output(&[words, &["--url", url]].concat());
            assert_eq!(code(&output), expected, "{words:?} {url}: {output:?}");
            assert!(!err(&output).contains("wrong@"), "{}", err(&output));
        }
    }
    let good = server.url().replace("//", "//:hunter2@");
    let output = place.output(&sale(&good, &["--protocol", "setnx", "--kill", "0", "--pause", "0"]));
    assert_eq!((code(&output), out(&output).contains("hunter2")), (0, false), "{output:?}");
}

/// The command lines of a process's children.
fn command_lines(pid: i32) -> Vec<String> {
    let read = |child: i32| fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
    children(pid).into_iter().map(read).filter(|line| line.contains("__buyers")).collect()
}

#[test]
fn a_signal_ends_all_processes_and_leaves_nothing_in_the_store() {
    let place = Place::new();
    let server = Server::start(&place, &["--requirepass", "hunter2"]);
    let url = server.url().replace("//", "//:hunter2@");
    let clean = || until("an empty server", || (!server.query_as("hunter2", "KEYS *").contains("bench")).then_some(()));
    for (signal, expected) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        let mut command = place.leasehold(&["bench", "--verify", "--stock", "1000000", "--kill", "0", "--pause", "0"]);
        command.env("LEASEHOLD_URL", &url);
        let mut bench = place.start_command("bench", command);
        until("a sale", || server.query_as("hunter2", "KEYS *").contains("bench").then_some(()));
        let lines = until("all processes", || Some(command_lines(bench.pid())).filter(|lines| lines.len() == 4));
        assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:?}");
        let processes = children(bench.pid());
        bench.signal(signal);
        assert_eq!(bench.end().code(), expected, "{}", place.read("bench.err"));
        let is_alive = |pid: &i32| is_buyer(*pid);
        until("the end of all processes", || (!processes.iter().any(is_alive)).then_some(()));
        assert_eq!(place.read("bench.out"), "");
        clean();
    }
}

/// True if the process runs: one that is only not cleared away yet has no command line.
fn is_buyer(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
        && fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("__buyers"))
}

#[test]
fn a_measurement_that_is_interrupted_leaves_nothing() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let url = server.url();
    let mut bench = place.start("bench", &["bench", "--seconds", "60", "--url", &url]);
    until("the first keys", || server.keys().iter().any(|key| key.contains("bench")).then_some(()));
    bench.signal("INT");
    assert_eq!((bench.end().code(), place.read("bench.err").as_str()), (Some(130), "leasehold: ended by SIGINT\n"));
    until_clean(&server);
}
