//! `run --metrics-file`: what it says of each end of a run, and that it never changes that end.

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use support::metrics::Metrics;
use support::server::Server;
use support::{Place, code, err, until_exists};

const WHATS: [&str; 4] = ["granted", "refused", "lost", "success"];

/// Granted, refused, lost, success, and the exit code.
fn said(place: &Place, file: &str, name: &str) -> ([f64; 4], f64) {
    let seen = Metrics::parse(&place.read(file));
    let get = |what: &str| seen.find(&format!("leasehold_run_{what}"), Some(("name", name))).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - get("timestamp_seconds");
    assert!((-1.0..300.0).contains(&age), "it ended {age} s ago");
    (WHATS.map(get), get("exit_code"))
}

fn seconds(place: &Place, file: &str, name: &str) -> (f64, f64) {
    let seen = Metrics::parse(&place.read(file));
    let get = |what: &str| seen.find(&format!("leasehold_run_{what}_seconds"), Some(("name", name))).unwrap();
    (get("wait"), get("hold"))
}

#[test]
fn a_run_that_went_well_says_how_long_it_held() {
    let place = Place::new();
    let output = place.output(&["run", "nightly backup", "--metrics-file", "a.prom", "--", "sleep", "0.3"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(said(&place, "a.prom", "nightly backup"), ([1.0, 0.0, 0.0, 1.0], 0.0));
    let (waited, held) = seconds(&place, "a.prom", "nightly backup");
    assert!(waited < 10.0 && (0.3..10.0).contains(&held), "waited {waited}, held {held}");
    let mode = fs::metadata(place.path("a.prom")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let files: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().starts_with(".a.prom")), "{files:?}");
}

#[test]
fn a_command_that_fails_is_no_success_and_the_umask_hides_no_file() {
    let place = Place::new();
    let mut command = std::process::Command::new("sh");
    let script = "umask 077; exec \"$LEASEHOLD\" run a --metrics-file a.prom -- sh -c 'exit 3'";
    command.args(["-c", script]).current_dir(place.path("")).env("LEASEHOLD_URL", place.url());
    command.env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold")).env_remove("LEASEHOLD_HELD");
    assert_eq!(code(&command.output().unwrap()), 3);
    assert_eq!(said(&place, "a.prom", "a"), ([1.0, 0.0, 0.0, 0.0], 3.0));
    assert_eq!(fs::metadata(place.path("a.prom")).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn a_refusal_is_told_whatever_its_exit_code() {
    let place = Place::new();
    assert_eq!(code(&place.output(&["acquire", "a", "--ttl", "1h"])), 0);
    let refused = place.output(&["run", "a", "--wait", "300ms", "--metrics-file", "a.prom", "--", "true"]);
    assert_eq!(code(&refused), 75);
    assert_eq!(said(&place, "a.prom", "a"), ([0.0, 1.0, 0.0, 0.0], 75.0));
    let (waited, held) = seconds(&place, "a.prom", "a");
    assert!(waited >= 0.3 && held == 0.0, "waited {waited}, held {held}");
    let skipped = place.output(&["run", "a", "--wait", "0s", "--busy-exit", "0", "--metrics-file", "a.prom", "--", "true"]);
    assert_eq!(code(&skipped), 0);
    assert_eq!(said(&place, "a.prom", "a"), ([0.0, 1.0, 0.0, 0.0], 0.0));
    assert_eq!(code(&place.output(&["acquire", "a", "--wait", "0s", "--busy-exit", "9"])), 9);
}

#[test]
fn a_lost_lock_is_told() {
    let place = Place::new();
    let words = ["run", "a", "--ttl", "2s", "--metrics-file", "a.prom", "--", "sh", "-c", "touch up; sleep 60"];
    let mut run = place.start("run", &words);
    until_exists(&place.path("up"));
    assert_eq!(code(&place.output(&["release", "a", "--force", "--now"])), 0);
    assert_eq!(run.end().code(), Some(70), "{}", place.read("run.err"));
    assert_eq!(said(&place, "a.prom", "a"), ([1.0, 0.0, 1.0, 0.0], 70.0));
}

#[test]
fn a_store_that_is_away_and_a_mistake_are_told_too() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    server.kill();
    let words = ["run", "a", "--url", &server.url(), "--wait", "0s", "--metrics-file", "a.prom", "--", "true"];
    assert_eq!(code(&place.output(&words)), 69);
    assert_eq!(said(&place, "a.prom", "a"), ([0.0; 4], 69.0));
    let mistaken = place.output(&["run", "a", "--grace", "20s", "--metrics-file", "a.prom", "--", "true"]);
    assert_eq!(code(&mistaken), 64);
    assert_eq!(said(&place, "a.prom", "a"), ([0.0; 4], 64.0));
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning_and_no_more() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    for file in ["no/such/folder/a.prom", "folder", "/proc/a.prom", "/"] {
        let output = place.output(&["run", "a", "--metrics-file", file, "--", "sh", "-c", "exit 5"]);
        assert_eq!(code(&output), 5, "{file}: {output:?}");
        assert!(err(&output).contains("--metrics-file"), "{file}: {output:?}");
    }
    assert_eq!(fs::read_dir(place.path("folder")).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_is_written_to_and_stays_what_it_is() {
    let place = Place::new();
    for (link, target) in [("link", "target"), ("null", "/dev/null")] {
        symlink(target, place.path(link)).unwrap();
        for option in ["--metrics-file", "--report"] {
            let output = place.output(&["run", "-q", "a", option, link, "--", "true"]);
            assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{link} {option}");
            assert_eq!(fs::read_link(place.path(link)).unwrap(), Path::new(target));
        }
    }
    assert!(fs::metadata(place.path("target")).unwrap().len() > 0);
    let twice = place.output(&["run", "a", "--metrics-file", "both", "--report", "both", "--", "true"]);
    assert_eq!(code(&twice), 64, "{twice:?}");
    // A pipe that nobody reads is a line on stderr, not a wait.
    assert!(std::process::Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    let output = place.output(&["run", "-q", "a", "--metrics-file", "pipe", "--", "true"]);
    assert_eq!(code(&output), 0);
    assert!(err(&output).contains("--metrics-file"), "{output:?}");
    assert!(fs::symlink_metadata(place.path("pipe")).unwrap().file_type().is_fifo());
}
