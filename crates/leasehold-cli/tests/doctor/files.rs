//! `leasehold doctor` on lock databases that are files.

use super::support::{Place, code, until};
use super::{Report, doctor_at, paste};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// The ids in a temporary directory's own way that a file cannot help.
fn of_the_place(id: &&str) -> bool {
    !["sqlite.file_system", "sqlite.directory", "sqlite.space"].contains(id)
}

pub fn examine(place: &Place) -> Report {
    Report::of(&place.output(&["doctor", "--json"]))
}

fn bad(place: &Place) -> Vec<String> {
    examine(place).bad().into_iter().filter(of_the_place).map(String::from).collect()
}

#[test]
fn a_healthy_file_is_left_as_it_is() {
    let place = Place::new();
    let absent = examine(&place);
    assert_eq!((absent.severity("sqlite.file"), place.path("locks.db").exists()), ("note", false));
    let listing = || {
        let entries = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(&path).unwrap_or_default())).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(code(&place.output(&["run", "a", "--", "true"])), 0);
    let before = listing();
    let report = examine(&place);
    assert_eq!(report.bad().into_iter().filter(of_the_place).count(), 0, "{}", report.all);
    assert_eq!(report.severity("sqlite.integrity"), "ok");
    assert!(before == listing());
    // And while it is in use.
    let holder = place.start("holder", &["run", "a", "--ttl", "2s", "--", "sleep", "60"]);
    until("the lock", || (place.inspect("a")["holders"].as_array()?.len() == 1).then_some(()));
    let report = examine(&place);
    assert_eq!((report.severity("sqlite.transaction"), report.severity("sqlite.integrity")), ("ok", "ok"), "{}", report.all);
    assert_eq!(place.inspect("a")["holders"].as_array().unwrap().len(), 1);
    drop(holder);
}

#[test]
fn a_file_that_others_may_touch_is_told_and_mended() {
    let place = Place::new();
    place.output(&["run", "a", "--", "true"]);
    let file = place.path("locks.db");
    for (mode, severity) in [(0o666, "danger"), (0o660, "warning"), (0o644, "warning")] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let report = examine(&place);
        assert_eq!(report.severity("sqlite.mode"), severity);
        paste(report.remedy("sqlite.mode"));
        assert_eq!(examine(&place).severity("sqlite.mode"), "ok");
    }
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let report = examine(&place);
    assert_eq!((report.code, report.severity("sqlite.directory")), (2, "danger"));
    paste(report.remedy("sqlite.directory"));
    assert_ne!(examine(&place).severity("sqlite.directory"), "danger");
    fs::hard_link(&file, place.path("other.db")).unwrap();
    assert_eq!(examine(&place).severity("sqlite.file"), "danger");
}

#[test]
fn a_file_in_memory_is_told() {
    let shm = tempfile::TempDir::new_in("/dev/shm").unwrap();
    let place = Place::new();
    let url = format!("sqlite:{}/locks.db", shm.path().display());
    let report = Report::of(&doctor_at(&place, &url, &["--json"]));
    assert_eq!(report.severity("sqlite.file_system"), "warning");
    let odd = Report::of(&doctor_at(&place, "sqlite:/proc/locks.db?fs=any", &["--json"]));
    assert_eq!((odd.code, odd.severity("sqlite.file_system")), (2, "danger"));
    let link = place.path("link");
    std::os::unix::fs::symlink(place.path(""), &link).unwrap();
    let linked = Report::of(&doctor_at(&place, &format!("sqlite:{}/sub/locks.db", link.display()), &["--json"]));
    assert_ne!(linked.severity("sqlite.directory"), "danger", "{}", linked.all);
}

#[test]
fn a_damaged_or_foreign_file_is_told() {
    let place = Place::new();
    place.output(&["run", "a", "--", "true"]);
    let file = place.path("locks.db");
    let mut bytes = fs::read(&file).unwrap();
    assert_eq!(bad(&place), [""; 0]);
    let whole = bytes.clone();
    bytes[4096 * 2..4096 * 3].fill(0xa5);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(bad(&place), ["sqlite.integrity"]);
    bytes = whole;
    bytes[68..72].fill(7);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(bad(&place), ["sqlite.schema"]);
    fs::write(&file, "not a database, but long enough to be taken for one, if only its first bytes were right").unwrap();
    assert_eq!(bad(&place), ["sqlite.schema"]);
    fs::write(&file, "").unwrap();
    assert_eq!(examine(&place).severity("sqlite.schema"), "note");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(bad(&place), ["sqlite.file"]);
}

#[test]
fn a_file_that_somebody_holds_up_is_told_in_time() {
    let place = Place::new();
    let holder = place.start("holder", &["run", "a", "--ttl", "1m", "--", "sleep", "60"]);
    until("the lock", || (place.inspect("a")["holders"].as_array()?.len() == 1).then_some(()));
    let mut rival = Command::new("sqlite3");
    rival.arg(place.path("locks.db")).stdin(std::process::Stdio::piped());
    let mut rival = place.start_command("rival", rival);
    let mut words = rival.0.stdin.take().unwrap();
    std::io::Write::write_all(&mut words, b"BEGIN IMMEDIATE;\n.print begun\n").unwrap();
    until("the rival", || place.read("rival.out").contains("begun").then_some(()));
    let begun = Instant::now();
    let report = examine(&place);
    assert_eq!((report.code, report.severity("sqlite.transaction")), (2, "danger"), "{}", report.all);
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(words);
    rival.end();
    assert_eq!(examine(&place).severity("sqlite.transaction"), "ok");
    drop(holder);
}

#[test]
fn a_directory_that_is_missing_and_a_link_that_leads_nowhere_are_told() {
    let place = Place::new();
    let examine = |name: &str| {
        let url = format!("sqlite:{}", place.path(name).display());
        Report::of(&doctor_at(&place, &url, &["--json"]))
    };
    let report = examine("mistyped dir/locks.db");
    assert_eq!((report.code, report.severity("sqlite.file")), (0, "note"), "{}", report.all);
    assert!(report.check("sqlite.file")["title"] == "no directory and no lock database yet", "{}", report.all);
    assert!(!place.path("mistyped dir").exists(), "a look makes nothing");
    std::os::unix::fs::symlink("/nowhere/locks.db", place.path("link.db")).unwrap();
    let report = examine("link.db");
    assert_eq!((report.code, report.severity("sqlite.file")), (2, "danger"), "{}", report.all);
    paste(report.remedy("sqlite.file"));
    assert_eq!(examine("link.db").severity("sqlite.file"), "note");
}
