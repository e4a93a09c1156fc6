//! A run inside a run: the same lock is joined, another one is acquired.

mod support;

use std::time::{Duration, Instant};
use support::{Place, code, err, out, until, until_exists};

#[test]
fn a_nested_run_of_the_same_lock_joins_with_the_same_token() {
    let place = Place::new();
    let script = "echo $LEASEHOLD_TOKEN $LEASEHOLD_CLAIM; \
        $LEASEHOLD run a --wait 0s --report inner -- sh -c 'echo $LEASEHOLD_TOKEN $LEASEHOLD_CLAIM; \
        $LEASEHOLD run a --wait 0s -- sh -c \"echo \\$LEASEHOLD_TOKEN \\$LEASEHOLD_CLAIM; exit 3\"'";
    let output = place.output(&["run", "a", "--", "sh", "-c", script]);
    assert_eq!(code(&output), 3, "{output:?}");
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines.iter().all(|line| *line == lines[0]), "{text}");
    let inner: serde_json::Value = serde_json::from_str(&place.read("inner")).unwrap();
    assert_eq!((&inner["joined"], &inner["release"], &inner["exit_code"]), (&true.into(), &"joined".into(), &3.into()));
}

#[test]
fn an_inner_run_of_another_lock_acquires_it_and_both_can_be_joined() {
    let place = Place::new();
    let script = "$LEASEHOLD run b -- sh -c '$LEASEHOLD run a --wait 0s -- true && $LEASEHOLD run b --wait 0s -- true && \
        $LEASEHOLD list --json'";
    let output = place.output(&["run", "a", "--", "sh", "-c", script]);
    assert_eq!(code(&output), 0, "{output:?}");
    let seen: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&seen[0]["name"], &seen[1]["name"]), (&"a".into(), &"b".into()));
}

#[test]
fn the_same_name_in_another_store_is_another_lock() {
    let place = Place::new();
    let script = "$LEASEHOLD run a --wait 0s --url sqlite:other.db --report inner -- true";
    let output = place.output(&["run", "a", "--", "sh", "-c", script]);
    assert_eq!(code(&output), 0, "{output:?}");
    let inner: serde_json::Value = serde_json::from_str(&place.read("inner")).unwrap();
    assert_eq!(inner["joined"], false);
}

#[test]
fn the_same_store_by_a_relative_path_is_the_same_store() {
    let place = Place::new();
    let output = place.output(&["run", "a", "--", "sh", "-c", "$LEASEHOLD run a --url sqlite:locks.db --wait 0s -- echo in"]);
    assert_eq!(out(&output), "in\n", "{output:?}");
}

#[test]
fn the_outer_run_releases_only_when_its_last_joiner_has_ended() {
    let place = Place::new();
    let script = "$LEASEHOLD run a -- sh -c 'touch in; sleep 2; touch late' & until [ -e in ]; do sleep 0.05; done; exit 5";
    let mut outer = place.start("outer", &["run", "a", "--ttl", "1s", "--", "sh", "-c", script]);
    until_exists(&place.path("in"));
    let output = place.output(&["run", "a", "--", "ls", "late"]);
    assert_eq!((out(&output).as_str(), err(&output).contains("held by")), ("late\n", true), "{output:?}");
    assert_eq!(outer.end().code(), Some(5), "{}", place.read("outer.err"));
}

#[test]
fn a_joiner_from_outside_of_the_tree_is_waited_for_and_told_of_the_loss() {
    let place = Place::new();
    let mut outer = place.start(
        "outer",
        &[
            "run",
            "a",
            "--ttl",
            "2s",
            "--",
            "sh",
            "-c",
            "echo \"$LEASEHOLD_HELD\" > held; touch up; until [ -e go ]; do sleep 0.05; done",
        ],
    );
    until_exists(&place.path("up"));
    let join = |name: &str, script: &str| {
        let mut inner =
            place.leasehold(&["run", "a", "--ttl", "2s", "--report", &format!("{name}.json"), "--", "sh", "-c", script]);
        inner.env("LEASEHOLD_HELD", place.read("held"));
        place.start_command(name, inner)
    };
    let mut first = join("first", "touch first.up; sleep 2");
    until_exists(&place.path("first.up"));
    let mut second = join("second", "touch second.up; sleep 60");
    until_exists(&place.path("second.up"));
    std::fs::write(place.path("go"), "").unwrap();
    assert_eq!(first.end().code(), Some(0), "{}", place.read("first.err"));
    assert!(place.read("first.json").contains("\"joined\": true"));
    assert_eq!(place.inspect("a")["holders"].as_array().unwrap().len(), 1);
    assert_eq!(code(&place.output(&["release", "a", "--force"])), 0);
    assert_eq!(second.end().code(), Some(70), "{}", place.read("second.err"));
    assert_eq!(outer.end().code(), Some(0), "{}", place.read("outer.err"));
}

#[test]
fn a_joiner_ends_its_command_in_time_when_the_outer_run_is_killed() {
    let place = Place::new();
    let script = "$LEASEHOLD run a -- bash -c 'exec 9>tree; flock 9; trap \"\" TERM; touch in; while :; do sleep 0.05; done'";
    let outer = place.start("outer", &["run", "a", "--ttl", "1s", "--", "sh", "-c", script]);
    until_exists(&place.path("in"));
    let mut rival = place.start("rival", &["run", "a", "--", "flock", "-n", "tree", "true"]);
    until("the rival in line", || (place.inspect("a")["waiters"].as_array()?.len() == 1).then_some(()));
    outer.signal("KILL");
    assert_eq!(rival.end().code(), Some(0), "{}", place.read("rival.err"));
}

#[test]
fn what_was_held_by_a_run_that_is_gone_is_acquired_anew() {
    let place = Place::new();
    let held = out(&place.output(&["run", "a", "--", "sh", "-c", "echo \"$LEASEHOLD_HELD\""]));
    for text in [held.as_str(), "nonsense", "[]", "[{\"name\":1}]"] {
        let begun = Instant::now();
        let output =
            place.leasehold(&["run", "a", "--report", "story", "--", "true"]).env("LEASEHOLD_HELD", text).output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{text}");
        assert!(place.read("story").contains("\"joined\": false"));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
