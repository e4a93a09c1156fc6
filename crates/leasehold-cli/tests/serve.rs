//! `leasehold serve`: what is held and waited for is shown as it is, and a store that is away is told, never waited for.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use support::metrics::Served;
use support::server::Server;
use support::{Place, Running, code, err, until};

/// Well below the time after which Prometheus gives a scrape up, which is 10 s.
const SOON: Duration = Duration::from_secs(8);

/// `leasehold` on one store.
struct Site {
    place: Place,
    url: String,
}

impl Site {
    fn leasehold(&self, words: &[&str]) -> Command {
        let mut command = self.place.leasehold(words);
        command.env("LEASEHOLD_URL", &self.url);
        command
    }

    fn start(&self, name: &str, words: &[&str]) -> Running {
        self.place.start_command(name, self.leasehold(words))
    }

    fn serve(&self, words: &[&str]) -> Served {
        Served::start(&self.place, self.leasehold(&[&["serve"], words].concat()))
    }
}

fn each_lock_is_shown(url: &str, place: Place) {
    let site = Site { place, url: url.into() };
    let mut served = site.serve(&[]);
    let empty = served.metrics();
    assert_eq!((empty.get("leasehold_store_up"), empty.get("leasehold_store_resources")), (1.0, 0.0));
    assert_eq!(empty.get("leasehold_attempts_total"), 0.0);
    let mut holder = site.start("holder", &["run", "order 1: é", "--ttl", "30s", "--", "sleep", "300"]);
    until("the holder", || served.metrics().of("leasehold_resource_held", "order 1: é"));
    let mut waiters = Vec::new();
    for count in 1..=4_u32 {
        waiters.push(site.start(&format!("waiter{count}"), &["run", "order 1: é", "--", "true"]));
        let line = || served.metrics().of("leasehold_resource_waiters", "order 1: é").filter(|&seen| seen == f64::from(count));
        until("one more in line", line);
        let seen = served.metrics();
        assert_eq!(seen.of("leasehold_resource_waiters", "order 1: é"), Some(count.into()));
        assert_eq!(seen.of("leasehold_resource_held", "order 1: é"), Some(1.0));
        assert_eq!((seen.get("leasehold_store_holders"), seen.get("leasehold_store_waiters")), (1.0, count.into()));
    }
    let seen = served.metrics();
    let left = seen.of("leasehold_resource_lease_left_seconds", "order 1: é").unwrap();
    assert!(left > 10.0 && left <= 30.0, "{left}");
    let held = seen.of("leasehold_resource_hold_seconds", "order 1: é").unwrap();
    let waited = seen.of("leasehold_resource_wait_seconds", "order 1: é").unwrap();
    assert!(waited > 0.0 && held >= waited, "held {held}, waited {waited}");
    holder.signal("TERM");
    holder.end();
    for waiter in &mut waiters {
        assert_eq!(waiter.end().code(), Some(0));
    }
    until("nothing", || (served.metrics().get("leasehold_store_resources") == 0.0).then_some(()));
    assert_eq!(served.metrics().of("leasehold_resource_held", "order 1: é"), None, "what is gone is not shown");
    assert!(served.end("TERM") < SOON);
}

#[test]
fn holders_and_waiters_are_shown_as_they_are_on_redis() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    each_lock_is_shown(&server.url(), place);
}

#[test]
fn holders_and_waiters_are_shown_as_they_are_on_sqlite() {
    let place = Place::new();
    each_lock_is_shown(&place.url(), place);
}

#[test]
fn only_what_matches_is_shown_and_no_more_than_wanted() {
    let place = Place::new();
    let site = Site { url: place.url(), place };
    let words = |name: &str| ["acquire".to_owned(), name.to_owned(), "--ttl".into(), "1h".into()];
    for name in ["a:1", "a:2", "a:3", "b:1"] {
        let words = words(name);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(code(&site.leasehold(&words).output().unwrap()), 0);
    }
    let _waiter = site.start("waiter", &["run", "a:3", "--", "true"]);
    let served = site.serve(&["a:*", "--max", "1"]);
    until("the waiter", || (served.metrics().get("leasehold_store_waiters") == 1.0).then_some(()));
    let seen = served.metrics();
    assert_eq!((seen.get("leasehold_store_resources"), seen.get("leasehold_store_resources_not_shown")), (3.0, 2.0));
    assert_eq!(seen.of("leasehold_resource_held", "a:3"), Some(1.0), "the one that somebody waits for comes first");
    assert_eq!((seen.of("leasehold_resource_held", "a:1"), seen.of("leasehold_resource_held", "b:1")), (None, None));
}

#[test]
fn a_store_that_stands_still_is_told_and_not_waited_for() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let site = Site { place, url: server.url() };
    let mut served = site.serve(&[]);
    assert_eq!((served.metrics().get("leasehold_store_up"), served.ask("GET", "/healthz").status), (1.0, 200));
    server.signal("STOP");
    for path in ["/metrics", "/healthz", "/metrics"] {
        let begun = Instant::now();
        let answer = served.ask("GET", path);
        assert!(begun.elapsed() < SOON, "{path} took {:?}", begun.elapsed());
        if path == "/healthz" {
            assert!(answer.status == 503 && !answer.body.contains("resource"), "{answer:?}");
        } else {
            let seen = support::metrics::Metrics::parse(&answer.body);
            assert_eq!((answer.status, seen.get("leasehold_store_up")), (200, 0.0));
            assert_eq!(seen.find("leasehold_store_resources", None), None, "nothing is known");
            assert!(seen.get("leasehold_store_scrape_errors_total") >= 1.0);
        }
    }
    server.signal("CONT");
    until("the store", || (served.metrics().get("leasehold_store_up") == 1.0).then_some(()));
    assert_eq!(served.ask("GET", "/healthz").status, 200);
    server.signal("STOP");
    assert!(served.end("INT") < SOON, "its end waits for no store");
    server.signal("CONT");
}

#[test]
fn it_starts_without_its_store_and_finds_it_later() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    server.kill();
    let site = Site { place, url: server.url() };
    let mut served = site.serve(&[]);
    assert_eq!((served.metrics().get("leasehold_store_up"), served.ask("GET", "/healthz").status), (0.0, 503));
    server.restart(&site.place);
    until("the store", || (served.metrics().get("leasehold_store_up") == 1.0).then_some(()));
    assert!(site.place.read("serve.err").contains("waiting for the store"));
    server.kill();
    until("its loss", || (served.metrics().get("leasehold_store_up") == 0.0).then_some(()));
    assert!(served.end("TERM") < SOON);
}

#[test]
fn nothing_but_looking_is_served_and_no_password_is_shown() {
    let place = Place::new();
    let server = Server::start(&place, &["--requirepass", "hunter2"]);
    let site = Site { place, url: server.url().replace("//", "//:hunter2@") };
    let served = site.serve(&[]);
    let statuses =
        |method: &str| ["/metrics", "/healthz", "/", "/metrics/", "/locks"].map(|path| served.ask(method, path).status);
    assert_eq!(statuses("GET"), [200, 200, 404, 404, 404]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(statuses(method), [405, 405, 404, 404, 404], "{method}");
    }
    let head = served.ask("GET", "/metrics").head.to_lowercase();
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    server.signal("STOP");
    for path in ["/metrics", "/healthz"] {
        let answer = served.ask("GET", path);
        assert!(!answer.body.contains("hunter2"), "{answer:?}");
    }
    server.signal("CONT");
    assert!(!site.place.read("serve.err").contains("hunter2"));
}

#[test]
fn a_wrong_password_or_an_address_in_use_ends_it_at_once() {
    let place = Place::new();
    let server = Server::start(&place, &["--requirepass", "hunter2"]);
    let site = Site { place, url: server.url().replace("//", "//:wrong@") };
    let refused = site.leasehold(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(code(&refused), 77, "{refused:?}");
    assert!(!err(&refused).contains("wrong@"));
    let taken = site.leasehold(&["serve", "--listen", &format!("127.0.0.1:{}", server.port())]).output().unwrap();
    assert_eq!(code(&taken), 64, "{taken:?}");
    assert!(err(&taken).contains("--listen 127.0.0.1:"), "{taken:?}");
}

#[test]
fn a_client_that_says_nothing_keeps_neither_others_nor_the_end() {
    let place = Place::new();
    let site = Site { url: place.url(), place };
    let mut served = site.serve(&[]);
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    let mut half = TcpStream::connect(served.address).unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(served.metrics().get("leasehold_store_up"), 1.0);
    assert!(served.end("TERM") < SOON);
    drop((silent, half));
}

#[test]
fn clients_that_never_end_their_requests_keep_nobody_else_out() {
    let place = Place::new();
    let mut few_files = Command::new("sh");
    few_files.args(["-c", "ulimit -n 100 && exec \"$0\" serve \"$@\"", env!("CARGO_BIN_EXE_leasehold")]);
    few_files.current_dir(place.path("")).env("LEASEHOLD_URL", place.url());
    let mut served = Served::start(&place, few_files);
    // More than it may have files.
    let mut slow: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    for client in &mut slow {
        client.write_all(b"GET /metr").unwrap();
    }
    let begun = Instant::now();
    until("an answer", || {
        // Drop by drop gains nothing.
        slow.iter_mut().for_each(|client| drop(client.write_all(b"i")));
        let mut asking = TcpStream::connect(served.address).ok()?;
        asking.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
        asking.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let mut answer = String::new();
        asking.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(served.end("TERM") < SOON);
}

#[test]
fn a_connection_that_is_kept_serves_one_scrape_after_another() {
    let place = Place::new();
    let site = Site { url: place.url(), place };
    let served = site.serve(&[]);
    let mut kept = TcpStream::connect(served.address).unwrap();
    kept.set_read_timeout(Some(SOON)).unwrap();
    // Longer in all than one request may take.
    for _ in 0..4 {
        kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = [0; 512];
        let count = kept.read(&mut answer).unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..count]));
        std::thread::sleep(Duration::from_secs(5));
    }
}
