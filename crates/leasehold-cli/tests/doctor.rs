//! `leasehold doctor`: what it finds on real servers and files, what it says of it, and that its remedies work.

#[path = "doctor/files.rs"]
mod files;
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use support::server::Server;
use support::{Place, code, err, out, until};

/// A server, a place, and doctors for it.
struct Site {
    place: Place,
    server: Server,
}

const HEALTHY: [&str; 2] = ["--appendonly", "yes"];

impl Site {
    fn new(options: &[&str]) -> Site {
        let place = Place::new();
        let server = Server::start(&place, options);
        Site { place, server }
    }

    fn doctor(&self, words: &[&str]) -> Output {
        doctor_at(&self.place, &self.server.url(), words)
    }

    fn report(&self) -> Report {
        Report::of(&self.doctor(&["--json"]))
    }

    fn report_as(&self, user: &str) -> Report {
        let url = self.server.url().replace("//", &format!("//{user}@"));
        Report::of(&doctor_at(&self.place, &url, &["--json"]))
    }
}

fn doctor_at(place: &Place, url: &str, words: &[&str]) -> Output {
    let mut command = place.leasehold(&["doctor"]);
    command.args(words).env("LEASEHOLD_URL", url).output().unwrap()
}

/// What `--json` printed.
struct Report {
    code: i32,
    all: Value,
}

impl Report {
    fn of(output: &Output) -> Report {
        let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(all["exit_code"], code(output));
        Report { code: code(output), all }
    }

    fn check(&self, id: &str) -> &Value {
        let all = self.all["checks"].as_array().unwrap();
        all.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("{id} is not in {}", self.all))
    }

    fn severity(&self, id: &str) -> &str {
        self.check(id)["severity"].as_str().unwrap()
    }

    fn remedy(&self, id: &str) -> &str {
        self.check(id)["do"].as_str().unwrap_or_else(|| panic!("{}", self.check(id)))
    }

    fn ids(&self) -> BTreeSet<String> {
        self.all["checks"].as_array().unwrap().iter().map(|check| check["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything that is worse than a note, apart from what this host, or how busy it is, may be to blame for.
    fn bad(&self) -> Vec<&str> {
        let bad = |check: &&Value| check["severity"] == "warning" || check["severity"] == "danger";
        let ids = self.all["checks"].as_array().unwrap().iter().filter(bad).map(|check| check["id"].as_str().unwrap());
        ids.filter(|id| !id.starts_with("host.") && !["redis.latency", "redis.slow"].contains(id)).collect()
    }
}

/// Pastes it into a shell.
fn paste(text: &str) {
    let done = Command::new("sh").args(["-c", text]).output().unwrap();
    let said = format!("{}{}", out(&done), err(&done));
    assert!(done.status.success() && !said.contains("ERR") && !said.contains("NOPERM"), "{text}: {said}");
}

#[test]
fn a_healthy_server_is_one_line_and_nothing_is_left_on_it() {
    let site = Site::new(&HEALTHY);
    let output = site.doctor(&[]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{output:?}");
    let text = out(&output);
    assert!(text.starts_with("nothing found · ") && text.lines().count() == 1, "{text}");
    assert_eq!(out(&site.doctor(&["--quiet"])), "");
    let verbose = out(&site.doctor(&["-v"]));
    assert!(verbose.contains("redis.eviction: ") && verbose.contains("host.clock: "), "{verbose}");
    assert_eq!(site.server.keys(), [""; 0]);
    assert_eq!(site.report().all["worst"], "note");
    assert_eq!(code(&site.doctor(&["-v", "--quiet"])), 64);
}

#[test]
fn a_server_that_locks_were_used_on_is_healthy_and_its_locks_are_not_disturbed() {
    let site = Site::new(&HEALTHY);
    let mut hold = site.place.leasehold(&["run", "a", "--ttl", "2s", "--", "sleep", "8"]);
    let mut holder = site.place.start_command("holder", {
        hold.env("LEASEHOLD_URL", site.server.url());
        hold
    });
    until("the lock", || site.server.keys().contains(&"leasehold:a".to_owned()).then_some(()));
    let before = site.server.keys();
    while holder.0.try_wait().unwrap().is_none() {
        let report = site.report();
        assert_eq!((report.bad(), report.severity("redis.counter")), (vec![], "ok"), "{}", report.all);
    }
    assert_eq!(holder.end().code(), Some(0), "{}", site.place.read("holder.err"));
    assert_eq!(before.len(), 4, "{before:?}");
}

/// Every right that a user of the library needs.
const RIGHTS: &[&str] = &[
    "append",
    "del",
    "eval",
    "evalsha",
    "exists",
    "get",
    "hdel",
    "hexists",
    "hget",
    "hgetall",
    "hlen",
    "hmget",
    "hset",
    "incr",
    "incrby",
    "info",
    "lindex",
    "llen",
    "lpop",
    "lpush",
    "lrange",
    "lrem",
    "persist",
    "pexpire",
    "pexpireat",
    "pttl",
    "publish",
    "rpush",
    "set",
    "subscribe",
    "time",
    "unsubscribe",
    "zadd",
    "zrange",
    "zrem",
    "zremrangebyscore",
    "script|load",
    "client|setname",
];

#[test]
fn no_right_that_the_library_needs_is_forgotten_here() {
    use leasehold::engines::redis::probe::{SCRIPTS, commands_of};
    for command in SCRIPTS.into_iter().flat_map(commands_of) {
        assert!(RIGHTS.contains(&command.to_ascii_lowercase().as_str()), "{command}");
    }
}

#[test]
fn eviction_no_persistence_and_each_missing_right_are_named_and_mended() {
    let site = Site::new(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]);
    site.server.query("ACL SETUSER app on >pw ~leasehold:* &leasehold:* +@all");
    for right in RIGHTS {
        site.server.query(&format!("ACL SETUSER app -{right}"));
        let report = site.report_as("app:pw");
        assert_eq!(report.code, 2);
        assert_eq!((report.severity("redis.eviction"), report.severity("redis.persistence")), ("danger", "danger"));
        assert!(report.remedy("redis.eviction").ends_with(" CONFIG SET maxmemory-policy noeviction"));
        assert!(report.remedy("redis.persistence").ends_with(" CONFIG SET appendonly yes"));
        let bad: Vec<&str> = report.bad().into_iter().filter(|id| id.starts_with("redis.rights.")).collect();
        let [id] = bad[..] else { panic!("{right}: {}", report.all) };
        let name = right.to_ascii_uppercase().replace('|', " ");
        assert!(report.check(id)["title"].as_str().unwrap().ends_with(&format!(" {name}")), "{right}: {}", report.check(id));
        assert!(
            report.remedy(id).contains("ACL SETUSER app ") && report.remedy(id).contains(right),
            "{right}: {}",
            report.remedy(id)
        );
        paste(report.remedy(id));
    }
    let report = site.report_as("app:pw");
    assert_eq!(report.bad(), ["redis.eviction", "redis.persistence"]);
    let text = out(&doctor_at(&site.place, &site.server.url().replace("//", "//app:pw@"), &[]));
    for line in
        text.lines().filter_map(|line| line.trim_start().strip_prefix("do     ")).filter(|line| line.contains("redis-cli"))
    {
        paste(line);
    }
    let mended = site.report_as("app:pw");
    assert_eq!((mended.bad(), mended.code), (vec![], 0), "{}", mended.all);
    // Nothing that was tried is left, whichever right was missing.
    until("our keys to end", || site.server.keys().iter().all(|key| !key.contains("doctor")).then_some(()));
}

#[test]
fn keys_that_are_refused_are_named_and_not_the_scripts_that_want_them() {
    let site = Site::new(&HEALTHY);
    site.server.query("ACL SETUSER app on >pw resetkeys &* +@all");
    let report = site.report_as("app:pw");
    let seen = report.check("redis.rights.keys")["seen"].as_str().unwrap();
    assert!(seen.contains("leasehold:") && !seen.contains('\n') && !seen.contains("0000000000"), "{seen}");
}

#[test]
fn many_missing_rights_are_named_at_once_and_granted_by_one_line_each() {
    let site = Site::new(&HEALTHY);
    site.server.query("ACL SETUSER app on >pw ~leasehold:orders* resetchannels -@all +get");
    let report = site.report_as("app:pw");
    assert_eq!((report.code, report.severity("redis.rights.keys")), (2, "danger"));
    for id in ["redis.rights.locks", "redis.rights.keys"] {
        paste(report.remedy(id));
    }
    // What could not be tried before is tried now.
    for _ in 0..3 {
        let report = site.report_as("app:pw");
        for id in report.bad() {
            paste(report.remedy(id));
        }
    }
    let mended = site.report_as("app:pw");
    assert_eq!((mended.bad(), mended.code), (vec![], 0), "{}", mended.all);
    let mut run = site.place.leasehold(&["run", "a", "--", "true"]);
    let output = run.env("LEASEHOLD_URL", site.server.url().replace("//", "//app:pw@")).output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
}

#[test]
fn the_access_list_of_the_documentation_is_enough() {
    let site = Site::new(&HEALTHY);
    let rights = "+@read +@write +@scripting +@connection +@pubsub +time +info";
    site.server.query(&format!("ACL SETUSER app on >pw ~leasehold:* &leasehold:* -@all {rights}"));
    let report = site.report_as("app:pw");
    assert_eq!((report.bad(), report.code, report.severity("redis.view")), (vec![], 0, "note"), "{}", report.all);
    assert_eq!(report.check("redis.rights.locks")["seen"], "tried as the user app, all commands are allowed");
    paste(report.remedy("redis.view"));
    assert_eq!(site.report_as("app:pw").severity("redis.view"), "ok");
}

#[test]
fn every_volatile_policy_endangers_locks_too_and_without_a_limit_it_is_a_warning() {
    let site = Site::new(&HEALTHY);
    site.server.query("CONFIG SET maxmemory-policy volatile-ttl");
    let unlimited = site.report();
    assert_eq!((unlimited.code, unlimited.bad()), (1, vec!["redis.eviction"]));
    site.server.query("CONFIG SET maxmemory 50mb");
    let report = site.report();
    assert_eq!((report.code, report.severity("redis.eviction")), (2, "danger"));
    assert!(report.check("redis.eviction")["means"].as_str().unwrap().starts_with("P1 is broken"));
}

#[test]
fn settings_that_slow_clients_down_are_warned_of_and_mended() {
    let site = Site::new(&HEALTHY);
    site.server.query("CONFIG SET timeout 5");
    site.server.query("CONFIG SET client-output-buffer-limit \"pubsub 1000 500 1\"");
    site.server.query("CONFIG SET appendfsync no");
    let report = site.report();
    assert_eq!(report.bad(), ["redis.fsync", "redis.idle_timeout", "redis.pubsub_buffer"]);
    assert_eq!(report.code, 1);
    for id in report.bad() {
        paste(report.remedy(id));
    }
    let mended = site.report();
    assert_eq!((mended.bad(), mended.severity("redis.fsync")), (vec![], "ok"));
}

#[test]
fn a_server_out_of_memory_is_told() {
    let site = Site::new(&HEALTHY);
    site.server.query("CONFIG SET maxmemory 1mb");
    let report = site.report();
    assert_eq!(report.severity("redis.writes"), "danger", "{}", report.all);
    assert_ne!(report.severity("redis.memory"), "ok", "{}", report.all);
    paste(report.remedy("redis.memory"));
    assert_eq!(site.report().bad(), [""; 0]);
    site.server.query("CONFIG SET maxmemory 1mb");
    paste(site.report().remedy("redis.writes"));
    assert_eq!(site.report().bad(), [""; 0]);
}

#[test]
fn a_server_that_cannot_save_its_data_is_told() {
    let site = Site::new(&HEALTHY);
    fs::create_dir(site.place.path("dump.rdb")).unwrap();
    site.server.query("CONFIG SET save \"3600 1\"");
    site.server.query("SET x 1");
    site.server.query("BGSAVE");
    until("the snapshot", || site.server.query("INFO persistence").contains("rdb_last_bgsave_status:err").then_some(()));
    let report = site.report();
    assert_eq!(report.bad(), ["redis.disk", "redis.writes"], "{}", report.all);
    assert!(report.check("redis.writes")["seen"].as_str().unwrap().ends_with("MISCONF"));
    fs::remove_dir(site.place.path("dump.rdb")).unwrap();
    paste(report.remedy("redis.writes"));
    until("the snapshot", || site.server.query("INFO persistence").contains("rdb_last_bgsave_status:ok").then_some(()));
    assert_eq!(site.report().bad(), [""; 0]);
}

#[test]
fn a_sentinel_is_told() {
    let place = Place::new();
    fs::write(place.path("sentinel.conf"), "").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("redis-server");
    command.arg(place.path("sentinel.conf")).args(["--sentinel", "--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let _sentinel = place.start_command("sentinel", command);
    until("the sentinel", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let report = Report::of(&doctor_at(&place, &format!("redis://127.0.0.1:{port}"), &["--json"]));
    assert_eq!((report.code, report.severity("redis.role")), (2, "danger"), "{}", report.all);
}

#[test]
fn a_user_who_may_ask_for_nothing_else_is_examined_all_the_same() {
    let site = Site::new(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let hidden = "-info -config -acl -ping -scan -type -getrange -slowlog";
    site.server.query(&format!("ACL SETUSER app on >pw ~leasehold:* &leasehold:* +@all {hidden}"));
    let report = site.report_as("app:pw");
    assert_eq!(report.bad(), ["redis.rights.comfort"], "{}", report.all);
    assert_eq!((report.severity("redis.role"), report.severity("redis.version")), ("ok", "ok"));
    assert_eq!((report.severity("redis.names"), report.severity("redis.view")), ("note", "note"));
    for id in ["redis.rights.comfort", "redis.names", "redis.view"] {
        paste(report.remedy(id));
    }
    assert_eq!(site.report_as("app:pw").bad(), ["redis.eviction", "redis.persistence"]);
}

#[test]
fn another_database_and_another_prefix_are_those_that_are_examined() {
    let site = Site::new(&HEALTHY);
    site.server.query("SELECT 3\r\nRPUSH app*:list x");
    let at = |rest: &str| Report::of(&doctor_at(&site.place, &format!("{}{rest}", site.server.url()), &["--json"]));
    assert_eq!((at("/3").bad(), at("?prefix=app*:").bad()), (vec![], vec![]));
    let report = at("/3?prefix=app*:");
    assert_eq!(report.bad(), ["redis.names.type"]);
    paste(report.remedy("redis.names.type"));
    assert_eq!(at("/3?prefix=app*:").bad(), [""; 0]);
    assert_eq!(code(&doctor_at(&site.place, &format!("{}/99", site.server.url()), &[])), 64);
    site.server.query("ACL SETUSER app on >pw ~app\\*:* &app\\*:* +@all -select");
    let url = format!("{}/3?prefix=app*:", site.server.url().replace("//", "//app:pw@"));
    let refused = doctor_at(&site.place, &url, &[]);
    assert!(code(&refused) == 77 && err(&refused).contains("ACL SETUSER app +select"), "{refused:?}");
    site.server.query("ACL SETUSER app +select");
    assert_eq!(Report::of(&doctor_at(&site.place, &url, &["--json"])).bad(), [""; 0]);
}

#[test]
fn a_replica_is_told_and_its_primary_says_what_a_fail_over_loses() {
    let site = Site::new(&HEALTHY);
    let other = Place::new();
    let replica = Server::start(&other, &["--replicaof", "127.0.0.1", &site.server.port().to_string()]);
    until("the replica", || site.server.query("INFO replication").contains("state=online").then_some(()));
    let report = Report::of(&doctor_at(&other, &replica.url(), &["--json"]));
    assert_eq!((report.code, report.severity("redis.role"), report.severity("redis.writes")), (2, "danger", "danger"));
    assert_eq!(report.remedy("redis.role"), format!("leasehold doctor --url {}", site.server.url()));
    let other_names = Report::of(&doctor_at(&other, &format!("{}/3?prefix=x", replica.url()), &["--json"]));
    let expected = format!("leasehold doctor --url '{}/3?prefix=x'", site.server.url());
    assert_eq!(other_names.remedy("redis.role"), expected);
    let primary = site.report();
    assert_eq!((primary.severity("redis.replicas"), primary.bad()), ("note", vec!["redis.min_replicas"]));
    paste(primary.remedy("redis.min_replicas"));
    assert_eq!(site.report().bad(), [""; 0]);
    replica.signal("STOP");
    site.server.query("CONFIG SET min-replicas-max-lag 1");
    until("the replica to be told", || (site.report().severity("redis.replicas") == "warning").then_some(()));
    until("the replica to lag", || (site.report().severity("redis.writes") == "danger").then_some(()));
}

#[test]
fn a_node_of_a_cluster_is_told() {
    let site = Site::new(&["--cluster-enabled", "yes", "--appendonly", "yes"]);
    let report = site.report();
    assert_eq!((report.code, report.severity("redis.cluster")), (2, "danger"));
}

#[test]
fn without_config_what_info_says_is_used_and_what_is_hidden_is_a_note() {
    let site = Site::new(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--rename-command", "CONFIG", ""]);
    let report = site.report();
    assert_eq!((report.severity("redis.view"), report.severity("redis.eviction")), ("note", "danger"));
    assert_eq!(report.severity("redis.persistence"), "warning");
    assert!(report.check("redis.view")["seen"].as_str().unwrap().contains("CONFIG GET is switched off"));
    assert!(!report.remedy("redis.eviction").contains("CONFIG SET"), "{}", report.remedy("redis.eviction"));
}

#[test]
fn commands_that_were_renamed_are_told() {
    let site = Site::new(&["--appendonly", "yes", "--rename-command", "EVALSHA", "", "--rename-command", "HELLO", ""]);
    let report = site.report();
    assert_eq!((report.code, report.bad()), (2, vec!["redis.push", "redis.rights.locks"]), "{}", report.all);
    assert!(report.check("redis.rights.locks")["title"].as_str().unwrap().ends_with("does not know EVALSHA"));
    let resp2 = Site::new(&["--appendonly", "yes", "--rename-command", "HELLO", ""]);
    let report = resp2.report();
    assert_eq!((report.code, report.bad()), (1, vec!["redis.push"]));
    assert!(report.check("redis.push")["title"].as_str().unwrap().contains("RESP3"));
}

#[test]
fn keys_of_others_at_locks_names_are_told_and_removed() {
    let site = Site::new(&HEALTHY);
    site.server.query("RPUSH leasehold:list x");
    site.server.query("SET leasehold:endless x");
    site.server.query("SET \"leasehold:it's odd\\x02\" x");
    site.server.query("SET leasehold:lent x PX 600000");
    let report = site.report();
    assert_eq!(
        (report.code, report.bad()),
        (1, vec!["redis.names.endless", "redis.names.type", "redis.names.foreign"]),
        "{}",
        report.all
    );
    assert!(report.check("redis.names.type")["seen"].as_str().unwrap().starts_with("leasehold:list (list); of 4 keys"));
    for id in ["redis.names.endless", "redis.names.type"] {
        paste(report.remedy(id));
    }
    assert_eq!(site.server.keys(), ["leasehold:lent"]);
    let foreign = site.report();
    assert_eq!(foreign.bad(), ["redis.names.foreign"]);
    // Whatever store is the default where it is pasted.
    let expected = format!("leasehold inspect --url {} -- lent", site.server.url());
    assert_eq!(foreign.remedy("redis.names.foreign"), expected);
    site.server.query("DEL leasehold:lent");
    assert_eq!(site.report().bad(), [""; 0]);
    // Who shares another library's names meets its keys, and wants to.
    site.server.query("SET lent x PX 600000");
    site.server.query("SET data x");
    let shared = Report::of(&doctor_at(&site.place, &format!("{}?prefix=", site.server.url()), &["--json"]));
    assert_eq!(
        (shared.bad(), shared.severity("redis.names.foreign"), shared.severity("redis.names.endless")),
        (vec![], "note", "note")
    );
    // A hold of ours whose end was taken away.
    site.server.query("SET leasehold:a 00000000000000010000000000000002+");
    let report = site.report();
    assert!(report.check("redis.names.endless")["seen"].as_str().unwrap().starts_with("leasehold:a (a claim of ours)"));
}

#[test]
fn ten_thousand_keys_of_others_take_no_long_time() {
    let site = Site::new(&HEALTHY);
    site.server.query("EVAL \"for i = 1, 10000 do redis.call('SET', 'leasehold:' .. i, string.rep('x', 1000)) end\" 0");
    let begun = Instant::now();
    let report = site.report();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let check = report.check("redis.names.endless");
    assert!(
        check["title"].as_str().unwrap().starts_with("10000 keys") || check["seen"].as_str().unwrap().contains("ended"),
        "{check}"
    );
    assert!(check["seen"].as_str().unwrap().contains("more"), "{check}");
    // Another prefix has nothing to do with them.
    let other = Report::of(&doctor_at(&site.place, &format!("{}?prefix=app*:", site.server.url()), &["--json"]));
    assert_eq!((other.bad(), other.severity("redis.names.endless")), (vec![], "ok"));
}

/// Passes everything on, but adds so many seconds to each answer to `TIME` that comes alone.
fn with_other_clock(server: &Server, ahead: std::sync::Arc<std::sync::atomic::AtomicI64>) -> String {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::atomic::Ordering;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (here, there) = (listener.local_addr().unwrap().port(), server.port());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", there)).unwrap());
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Both);
            });
            let ahead = ahead.clone();
            std::thread::spawn(move || {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = server.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                    let parts: Vec<&str> = text.split("\r\n").collect();
                    let sent = match parts[..] {
                        ["*2", "$10", seconds, size, micros, ""] => {
                            let seconds = seconds.parse::<i64>().unwrap() + ahead.load(Ordering::Relaxed);
                            client.write_all(format!("*2\r\n$10\r\n{seconds}\r\n{size}\r\n{micros}\r\n").as_bytes())
                        }
                        _ => client.write_all(&bytes[..count]),
                    };
                    if sent.is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    format!("redis://127.0.0.1:{here}")
}

#[test]
fn a_clock_that_is_off_is_told_and_one_that_jumps_is_a_danger() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let site = Site::new(&HEALTHY);
    let ahead = std::sync::Arc::new(AtomicI64::new(0));
    let url = with_other_clock(&site.server, ahead.clone());
    let report = || Report::of(&doctor_at(&site.place, &url, &["--json"]));
    assert_eq!(report().bad(), [""; 0]);
    for off in [-3600, 30] {
        ahead.store(off, Ordering::Relaxed);
        let seen = report();
        assert_eq!((seen.bad(), seen.code), (vec!["redis.clock"], 1), "{}", seen.all);
        let seen = seen.check("redis.clock")["seen"].as_str().unwrap().to_owned();
        assert!(seen.contains(if off < 0 { "behind" } else { "ahead of" }), "{seen}");
    }
    ahead.store(0, Ordering::Relaxed);
    // Steps forward all the time.
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (steps, over) = (ahead.clone(), done.clone());
    let stepper = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            steps.fetch_add(5, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let seen = report();
    done.store(true, Ordering::Relaxed);
    stepper.join().unwrap();
    assert_eq!((seen.code, seen.severity("redis.clock_rate")), (2, "danger"), "{}", seen.all);
    assert!(seen.check("redis.clock_rate")["seen"].as_str().unwrap().contains("gained"), "{}", seen.all);
}

#[test]
fn a_counter_that_is_no_counter_is_told_and_one_ahead_of_the_clock_too() {
    let site = Site::new(&HEALTHY);
    let far = 1u64 << 52;
    site.server.query(&format!("SET \"leasehold:\\x01token\" {far}"));
    let report = site.report();
    assert_eq!((report.code, report.bad()), (1, vec!["redis.counter"]));
    site.server.query("DEL \"leasehold:\\x01token\"");
    site.server.query("RPUSH \"leasehold:\\x01token\" x");
    let report = site.report();
    assert_eq!((report.code, report.severity("redis.counter")), (2, "danger"));
    paste(report.remedy("redis.counter"));
    assert_eq!(site.report().bad(), [""; 0]);
}

#[test]
fn a_command_that_held_the_server_up_is_named_without_its_arguments() {
    let site = Site::new(&HEALTHY);
    let busy = "local till = redis.call('TIME')[1] + 3 repeat until tonumber(redis.call('TIME')[1]) >= till";
    site.server.query(&format!("EVAL \"{busy}\" 0 hunter2"));
    let output = site.doctor(&["--json"]);
    assert!(!out(&output).contains("hunter2"));
    let report = Report::of(&output);
    assert_eq!(report.severity("redis.slow"), "warning");
    assert!(report.check("redis.slow")["seen"].as_str().unwrap().starts_with("EVAL took "), "{}", report.check("redis.slow"));
    paste(report.remedy("redis.slow"));
    assert_eq!(site.report().severity("redis.slow"), "ok");
}

#[test]
fn a_server_that_is_stopped_or_gone_ends_the_doctor_within_seconds() {
    let mut site = Site::new(&HEALTHY);
    site.server.signal("STOP");
    let begun = Instant::now();
    let output = site.doctor(&["--json"]);
    assert_eq!((code(&output), Report::of(&output).ids()), (69, BTreeSet::from(["store".to_owned()])), "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(10) && err(&output).contains("did not answer within 2 s"), "{output:?}");
    site.server.signal("CONT");
    site.server.kill();
    let output = site.doctor(&[]);
    assert_eq!(code(&output), 69, "{output:?}");
    assert!(err(&output).contains("no connection to 127.0.0.1:"), "{output:?}");
}

#[test]
fn a_server_that_stops_in_the_middle_ends_the_doctor_too() {
    let site = Site::new(&HEALTHY);
    site.server.query("EVAL \"for i = 1, 40000 do redis.call('SET', 'leasehold:' .. i, 'x') end\" 0");
    for pause_ms in [5, 40, 120, 250] {
        let mut command = site.place.leasehold(&["doctor"]);
        let mut running = site.place.start_command("doctor", {
            command.env("LEASEHOLD_URL", site.server.url());
            command
        });
        std::thread::sleep(Duration::from_millis(pause_ms));
        site.server.signal("STOP");
        let begun = Instant::now();
        let ended = running.end().code();
        site.server.signal("CONT");
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!([Some(69), Some(1)].contains(&ended), "{ended:?}: {}", site.place.read("doctor.err"));
    }
}

#[test]
fn a_server_without_connections_left_is_told() {
    let site = Site::new(&["--appendonly", "yes", "--maxclients", "20", "--unixsocket", "redis.sock"]);
    let connect = || std::net::TcpStream::connect(("127.0.0.1", site.server.port())).unwrap();
    let mut others: Vec<_> = (0..17).map(|_| connect()).collect();
    until("the connections", || site.server.query("INFO clients").contains("connected_clients:18").then_some(()));
    let by_socket = format!("redis+unix://{}", site.place.path("redis.sock").display());
    let report = Report::of(&doctor_at(&site.place, &by_socket, &["--json"]));
    assert_eq!(report.bad(), ["redis.connections"], "{}", report.all);
    others.extend((0..3).map(|_| connect()));
    let full = until("a full server", || Some(site.doctor(&[])).filter(|output| code(output) == 69));
    assert!(err(&full).contains("too many clients"), "{full:?}");
    others.truncate(17);
    until("the goodbyes", || (code(&site.doctor(&[])) == 1).then_some(()));
    paste(report.remedy("redis.connections"));
    assert_eq!(site.report().bad(), [""; 0]);
}

#[test]
fn no_password_is_shown_and_a_wrong_one_is_77() {
    let site = Site::new(&["--requirepass", "right"]);
    let at = |user: &str| doctor_at(&site.place, &site.server.url().replace("//", &format!("//{user}@")), &["--json"]);
    let wrong = at("u:hunter2");
    assert_eq!(code(&wrong), 77, "{wrong:?}");
    let none = site.doctor(&[]);
    assert_eq!(code(&none), 77, "{none:?}");
    // Monitoring gets its JSON, with the exit code of the error, and people their message.
    let refused = Report::of(&wrong);
    assert_eq!((refused.severity("store"), refused.all["worst"].as_str()), ("danger", Some("danger")), "{}", refused.all);
    assert!(refused.check("store")["seen"].as_str().unwrap().contains("refuses this user or password"), "{}", refused.all);
    assert!(err(&wrong).contains("refuses this user or password"), "{wrong:?}");
    let good = at(":right");
    let verbose = doctor_at(&site.place, &site.server.url().replace("//", "//:right@"), &["-v"]);
    for output in [&wrong, &none, &good, &verbose] {
        let shown = format!("{}{}", out(output), err(output));
        assert!(!shown.contains("hunter2") && !shown.contains(":right"), "{shown}");
    }
    assert_eq!(Report::of(&good).all["store"], format!("redis://…@127.0.0.1:{}", site.server.port()));
    for (url, expected) in [("nope://u:hunter2@h", 64), ("redis://u:hunter2@127.0.0.1:1", 69), ("redis://u:hunter2@h?x=1", 64)] {
        let output = doctor_at(&site.place, url, &[]);
        assert_eq!(code(&output), expected, "{output:?}");
        assert!(!err(&output).contains("hunter2"), "{output:?}");
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_and_one_that_is_serves() {
    let place = Place::new();
    let (key, cert) = (place.path("key.pem"), place.path("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let tls_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let words = ["--tls-port", &tls_port.to_string(), "--tls-auth-clients", "no", "--appendonly", "yes"];
    let files = ["--tls-cert-file", cert.to_str().unwrap(), "--tls-key-file", key.to_str().unwrap()];
    let ca = ["--tls-ca-cert-file", cert.to_str().unwrap()];
    let _server = Server::start(&place, &[&words[..], &files, &ca].concat());
    let url = format!("rediss://127.0.0.1:{tls_port}");
    let wrong = doctor_at(&place, &url, &[]);
    assert_eq!(code(&wrong), 64, "{wrong:?}");
    assert!(err(&wrong).contains("certificate is not trusted") && err(&wrong).contains("?ca="), "{wrong:?}");
    let report = Report::of(&doctor_at(&place, &format!("{url}?ca={}", cert.display()), &["--json"]));
    assert_eq!(report.bad(), [""; 0], "{}", report.all);
    assert_eq!(report.remedy("redis.fsync"), format!("redis-cli --tls -h 127.0.0.1 -p {tls_port} CONFIG SET appendfsync always"));
}

#[test]
fn every_id_is_in_the_documentation() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md")).unwrap();
    let site = Site::new(&HEALTHY);
    let mut ids = site.report().ids();
    site.place.output(&["run", "a", "--", "true"]);
    let holder = site.place.start("holder", &["run", "a", "--", "sleep", "60"]);
    until("the lock", || (site.place.inspect("a")["holders"].as_array()?.len() == 1).then_some(()));
    ids.extend(files::examine(&site.place).ids());
    ids.insert("redis.rights.untried".into());
    drop(holder);
    let missing: Vec<&String> = ids.iter().filter(|id| !docs.contains(&format!("`{id}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(ids.len() > 40, "{ids:?}");
}

#[test]
fn a_store_in_memory_is_checked_for_its_host_alone() {
    let place = Place::new();
    let report = Report::of(&doctor_at(&place, "memory:", &["--json"]));
    assert!(report.ids().iter().all(|id| id.starts_with("host.")), "{}", report.all);
}
