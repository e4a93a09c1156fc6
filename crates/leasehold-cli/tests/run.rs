//! `leasehold run`: what the command sees, what it gives back, and which code tells what.

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Place, code, err, out, until, until_exists};

#[test]
fn the_exit_code_is_the_commands_own() {
    let place = Place::new();
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let output = place.output(&["run", "a", "--", "sh", "-c", script]);
        assert_eq!(code(&output), expected, "{script}: {output:?}");
        assert_eq!(err(&output), "", "{script}");
    }
}

#[test]
fn a_command_that_cannot_start_is_127_or_126_as_in_a_shell() {
    let place = Place::new();
    let missing = place.output(&["run", "a", "--", "no-such-command"]);
    assert_eq!(code(&missing), 127);
    assert_eq!(err(&missing), "leasehold: no-such-command: No such file or directory (os error 2)\n");
    assert_eq!(code(&place.output(&["run", "a", "--", "/etc/passwd"])), 126);
    assert_eq!(place.inspect("a")["holders"], serde_json::json!([]));
}

#[test]
fn the_command_finds_the_lock_in_its_environment_and_no_url_in_held() {
    let place = Place::new();
    let script = "echo $LEASEHOLD_NAME; echo $LEASEHOLD_TOKEN; echo $LEASEHOLD_CLAIM; echo $LEASEHOLD_HELD; \
                  $LEASEHOLD inspect $LEASEHOLD_NAME --json";
    let output = place.output(&["run", "order:1:pay", "--label", "mine", "--", "sh", "-c", script]);
    let text = out(&output);
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().unwrap().to_string();
    assert_eq!(line(), "order:1:pay");
    let (token, claim) = (line().parse::<u64>().unwrap(), line());
    let held: serde_json::Value = serde_json::from_str(&line()).unwrap();
    assert_eq!(
        (&held[0]["name"], &held[0]["claim"], &held[0]["token"]),
        (&"order:1:pay".into(), &claim.clone().into(), &token.into())
    );
    assert!(!held.to_string().contains("locks.db"), "{held}");
    let seen: serde_json::Value = serde_json::from_str(&line()).unwrap();
    let holder = &seen["holders"][0];
    assert_eq!((&holder["claim"], &holder["label"], &holder["state"]), (&claim.into(), &"mine".into(), &"live".into()));
}

#[test]
fn stdin_and_stdout_are_the_commands() {
    let place = Place::new();
    let mut child = place
        .leasehold(&["run", "a", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "x".repeat(300_000);
    let mut stdin = child.stdin.take().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(out(&output), text);
    assert_eq!(err(&output), "");
}

#[test]
fn the_command_inherits_signals_and_descriptors_as_if_started_directly() {
    let place = Place::new();
    let script = "grep -E 'SigBlk|SigIgn' /proc/self/status; ls /proc/$$/fd; umask; nice; pwd";
    let mut bare = std::process::Command::new("sh");
    let bare = bare.args(["-c", script]).current_dir(place.path("")).stdin(Stdio::null()).output().unwrap();
    assert_eq!(out(&place.output(&["run", "a", "--", "sh", "-c", script])), out(&bare));
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    let place = Place::new();
    let cases: &[&[&str]] = &[
        &["run", "a"],
        &["run", "a", "--ttl", "10", "--", "true"],
        &["run", "a", "--ttl", "1ms", "--", "true"],
        &["run", "a", "--ttl", "3s", "--grace", "2s", "--", "true"],
        &["run", "", "--", "true"],
        &["run", "a", "--url", "nonsense", "--", "true"],
        &["run", "a", "--url", "gopher://x", "--", "true"],
        &["run", "a", "--url-file", "missing", "--", "true"],
        &["renew", "a", "--claim", "zzz"],
        &["release", "a", "--now"],
        &["frobnicate"],
        &[],
    ];
    for words in cases {
        let output = place.output(words);
        assert_eq!(code(&output), 64, "{words:?}: {output:?}");
        assert_ne!(err(&output), "", "{words:?}");
        assert_eq!(out(&output), "", "{words:?}");
    }
    assert!(err(&place.output(&["run", "a", "--wait", "10", "--", "true"])).contains("a time needs a unit: 10s"));
    let empty = place.leasehold(&["list"]).env("LEASEHOLD_URL", "").output().unwrap();
    assert_eq!(code(&empty), 64, "{empty:?}");
    for words in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let output = place.output(words);
        assert_eq!(code(&output), 0, "{words:?}");
        assert!(out(&output).contains("leasehold"), "{words:?}");
    }
}

#[test]
fn a_held_lock_is_75_after_the_wait_or_the_code_that_was_asked_for() {
    let place = Place::new();
    assert_eq!(code(&place.output(&["acquire", "a", "--ttl", "1m"])), 0);
    let begun = Instant::now();
    assert_eq!(code(&place.output(&["run", "a", "--wait", "0s", "--", "true"])), 75);
    assert_eq!(code(&place.output(&["run", "a", "--wait", "0s", "--busy-exit", "0", "--", "true"])), 0);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let output = place.output(&["run", "a", "--wait", "2s", "--", "true"]);
    assert_eq!(code(&output), 75);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let text = err(&output);
    let mut lines = text.lines();
    let waiting = lines.next().unwrap();
    assert!(waiting.starts_with("leasehold: waiting for a: held by leasehold pid "), "{waiting}");
    assert!(waiting.contains("[detached] for "), "{waiting}");
    assert_eq!(lines.next(), Some("leasehold: a was not granted: held by another"));
    assert_eq!(lines.next(), None);
    let quiet = place.output(&["run", "a", "--wait", "1s", "-q", "--", "true"]);
    assert_eq!(err(&quiet), "leasehold: a was not granted: held by another\n");
}

#[test]
fn a_wait_without_end_ends_with_the_release() {
    let place = Place::new();
    let mut holder = place.start("holder", &["run", "a", "--", "sh", "-c", "touch up; sleep 1; touch done"]);
    until_exists(&place.path("up"));
    let output = place.output(&["run", "a", "--", "ls", "done"]);
    assert_eq!(out(&output), "done\n");
    assert_eq!(holder.end().code(), Some(0));
}

#[test]
fn a_lease_that_is_not_renewed_ends_its_command_in_time() {
    let place = Place::new();
    for (option, value) in [("--no-renew", None), ("--max-hold", Some("10ms"))] {
        let words: Vec<&str> =
            ["run", "a", "--ttl", "1s", option].into_iter().chain(value).chain(["--", "sleep", "60"]).collect();
        let begun = Instant::now();
        let output = place.output(&words);
        assert_eq!(code(&output), 70, "{output:?}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(err(&output).starts_with("leasehold: "), "{output:?}");
    }
}

#[test]
fn a_renewed_lease_outlives_its_ttl_many_times() {
    let place = Place::new();
    let output = place.output(&["run", "a", "--ttl", "1s", "--", "sleep", "4"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn with_warn_the_command_runs_on_without_the_lock() {
    let place = Place::new();
    let output =
        place.output(&["run", "a", "--ttl", "1s", "--no-renew", "--on-lost", "warn", "--", "sh", "-c", "sleep 2; exit 9"]);
    assert_eq!(code(&output), 9);
    assert!(err(&output).contains("and the command runs on without it"), "{output:?}");
}

#[test]
fn a_revoked_hold_ends_its_command() {
    let place = Place::new();
    let mut run = place.start("run", &["run", "a", "--ttl", "3s", "--", "sh", "-c", "touch up; sleep 60"]);
    until_exists(&place.path("up"));
    let output = place.output(&["release", "a", "--force"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "revoked; free when its holder lets go, or its lease ends\n"));
    assert_eq!(run.end().code(), Some(70));
    assert!(place.read("run.err").contains("an operator revoked it"), "{}", place.read("run.err"));
}

#[test]
fn what_the_command_left_running_is_ended_before_the_release() {
    let place = Place::new();
    let begun = Instant::now();
    let script = "(trap '' HUP; sleep 300) & setsid sleep 300 & exit 5";
    let output = place.output(&["run", "a", "--", "sh", "-c", script]);
    assert_eq!(code(&output), 5);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let stubborn = "(trap '' TERM; while :; do sleep 300; done) & exit 6";
    let output = place.output(&["run", "a", "--grace", "200ms", "--", "sh", "-c", stubborn]);
    assert_eq!(code(&output), 6);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn wait_tree_holds_the_lock_until_the_last_descendant_ended() {
    let place = Place::new();
    let script = "setsid sh -c 'sleep 2; $LEASEHOLD inspect a --json > seen; touch late' & exit 5";
    let output = place.output(&["run", "a", "--ttl", "1s", "--wait-tree", "--", "sh", "-c", script]);
    assert_eq!(code(&output), 5);
    assert!(place.path("late").exists());
    let seen: serde_json::Value = serde_json::from_str(&place.read("seen")).unwrap();
    assert_eq!(seen["holders"].as_array().unwrap().len(), 1);
}

#[test]
fn min_hold_keeps_others_out_after_a_short_command() {
    let place = Place::new();
    assert_eq!(code(&place.output(&["run", "a", "--min-hold", "2s", "--", "true"])), 0);
    assert_eq!(code(&place.output(&["run", "a", "--wait", "0s", "--", "true"])), 75);
    assert_eq!(place.inspect("a")["holders"][0]["state"], "ghost");
    assert_eq!(code(&place.output(&["run", "a", "--", "true"])), 0);
}

#[test]
fn the_report_tells_the_whole_story() {
    let place = Place::new();
    assert_eq!(code(&place.output(&["run", "a", "--report", "story", "--", "sh", "-c", "exit 3"])), 3);
    let mut story: serde_json::Value = serde_json::from_str(&place.read("story")).unwrap();
    for key in ["asked_at", "granted_at", "ended_at"] {
        let time = story[key].take();
        assert_eq!(time.as_str().map(str::len), Some("2026-01-01T00:00:00.000Z".len()), "{key}");
    }
    assert!(story["waited_ms"].take().is_u64());
    assert_eq!(story["claim"].take().as_str().map(str::len), Some(32));
    assert!(story["token"].take().is_u64());
    let expected = serde_json::json!({
        "name": "a", "asked_at": null, "granted_at": null, "waited_ms": null, "joined": false, "claim": null, "token": null,
        "command": {"exited": 3}, "ended_at": null, "lost": null, "release": "released", "error": null, "exit_code": 3,
    });
    assert_eq!(story, expected);
}

#[test]
fn the_report_tells_of_failures_too() {
    let place = Place::new();
    let story = || serde_json::from_str::<serde_json::Value>(&place.read("story")).unwrap();
    place.output(&["run", "a", "--ttl", "1s", "--no-renew", "--report", "story", "--", "sleep", "60"]);
    assert_eq!((&story()["exit_code"], &story()["command"]["killed"]), (&70.into(), &15.into()));
    assert!(story()["lost"].is_string());
    place.output(&["acquire", "a", "--ttl", "1m"]);
    place.output(&["run", "a", "--wait", "0s", "--report", "story", "--", "true"]);
    assert_eq!((&story()["exit_code"], &story()["error"]), (&75.into(), &"a was not granted: held by another".into()));
    assert!(story()["granted_at"].is_null());
}

#[test]
fn a_user_without_rights_to_the_store_is_77() {
    let place = Place::new();
    assert_eq!(code(&place.output(&["run", "a", "--", "true"])), 0);
    let script = "chmod -R a-w . && chmod a+rx . && \
        if [ $(id -u) = 0 ]; then cp $LEASEHOLD /tmp/lh-$$ 2>/dev/null; chmod a+rx /tmp/lh-$$; \
        setpriv --reuid=65534 --regid=65534 --clear-groups /tmp/lh-$$ run a --wait 5s -- true; code=$?; rm -f /tmp/lh-$$; \
        else $LEASEHOLD run a --wait 5s -- true; code=$?; fi; chmod -R u+w .; exit $code";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script]).current_dir(place.path("")).env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold"));
    let output = shell.env("LEASEHOLD_URL", place.url()).output().unwrap();
    assert_eq!(code(&output), 77, "{output:?}");
}

#[test]
fn a_store_that_is_down_is_69_when_the_wait_ends() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("redis://u:secret@127.0.0.1:{port}");
    let begun = Instant::now();
    let output = place.output(&["run", "a", "--url", &url, "--wait", "0s", "--", "true"]);
    assert_eq!(code(&output), 69, "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let output = place.output(&["run", "a", "--url", &url, "--wait", "2s", "--", "true"]);
    assert_eq!(code(&output), 69, "{output:?}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(6), "{took:?}");
    assert!(err(&output).starts_with("leasehold: waiting for the store: "), "{output:?}");
    assert!(!err(&output).contains("secret"), "{output:?}");
}

#[test]
fn without_a_url_the_store_is_this_users_own_and_that_is_said() {
    let place = Place::new();
    let mut command = place.leasehold(&["run", "a", "--", "true"]);
    let output = command.env_remove("LEASEHOLD_URL").env("XDG_STATE_HOME", place.path("state")).output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(err(&output).contains("this user on this host only; set LEASEHOLD_URL"), "{output:?}");
    assert!(place.path("state/leasehold/locks.db").exists());
    for made in ["state", "state/leasehold"] {
        let mode = std::fs::metadata(place.path(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
    let mut command = place.leasehold(&["run", "a", "-q", "--", "true"]);
    let output =
        command.env_remove("LEASEHOLD_URL").env("HOME", place.path("home")).env_remove("XDG_STATE_HOME").output().unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    assert!(place.path("home/.local/state/leasehold/locks.db").exists());
    // Signs that would end a path in a URL.
    let mut command = place.leasehold(&["run", "a", "-q", "--", "true"]);
    let output = command.env_remove("LEASEHOLD_URL").env("XDG_STATE_HOME", place.path("100%?state")).output().unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    assert!(place.path("100%?state/leasehold/locks.db").exists());
}

#[test]
fn a_lock_database_that_is_a_link_to_nowhere_is_told() {
    let place = Place::new();
    std::os::unix::fs::symlink("/nowhere/locks.db", place.path("link.db")).unwrap();
    let link = format!("sqlite:{}", place.path("link.db").display());
    let output = place.leasehold(&["run", "a", "--", "true"]).env("LEASEHOLD_URL", link).output().unwrap();
    assert_eq!(code(&output), 64, "{output:?}");
    assert!(err(&output).contains("a link that leads nowhere"), "{output:?}");
}

#[test]
fn the_url_may_come_from_the_first_line_of_a_file() {
    let place = Place::new();
    let other = place.path("other.db");
    std::fs::write(place.path("url"), format!("sqlite:{}\nsecond line\n", other.display())).unwrap();
    assert_eq!(code(&place.output(&["run", "a", "--url-file", "url", "--", "true"])), 0);
    assert!(other.exists());
}

#[test]
fn a_run_in_line_is_seen_by_the_others() {
    let place = Place::new();
    place.output(&["acquire", "a", "--ttl", "1m"]);
    let waiter = place.start("waiter", &["run", "a", "--label", "patient", "--", "true"]);
    until("the waiter's place", || {
        let seen = place.inspect("a");
        (seen["waiters"][0]["label"] == "patient").then_some(())
    });
    drop(waiter);
}
