//! The other commands: a lock over several processes, a look at who holds, and what people read.

mod support;

use serde_json::{Value, json};
use support::{Place, code, err, out, until, until_exists};

/// The JSON that a command printed, with what differs from run to run replaced by its type.
fn shape(text: &str, volatile: &[&str]) -> Value {
    fn mask(value: &mut Value, volatile: &[&str]) {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    let masked = match &value {
                        Value::Number(_) => "NUMBER",
                        Value::String(_) => "TEXT",
                        _ => "",
                    };
                    if volatile.contains(&key.as_str()) && !masked.is_empty() {
                        *value = masked.into();
                    } else {
                        mask(value, volatile);
                    }
                }
            }
            Value::Array(all) => all.iter_mut().for_each(|value| mask(value, volatile)),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    mask(&mut value, volatile);
    value
}

const VOLATILE: [&str; 7] = ["claim", "token", "since_ms", "lease_left_ms", "host", "pid", "by"];

#[test]
fn a_lock_is_acquired_renewed_and_released_by_different_processes() {
    let place = Place::new();
    let output = place.output(&["acquire", "a", "--ttl", "20s", "--label", "build"]);
    let text = out(&output);
    let (claim, token) = text.strip_prefix("claim=").unwrap().split_once("\ntoken=").unwrap();
    assert_eq!((claim.len(), err(&output).as_str()), (32, ""));
    assert!(token.trim_end().parse::<u64>().is_ok());
    let seen = place.inspect("a");
    assert_eq!((&seen["holders"][0]["claim"], &seen["holders"][0]["state"]), (&claim.into(), &"detached".into()));
    let renewed = place.output(&["renew", "a", "--claim", claim, "--ttl", "10m"]);
    assert_eq!((code(&renewed), out(&renewed).starts_with("renewed for 9m ")), (0, true), "{renewed:?}");
    assert!(place.inspect("a")["holders"][0]["lease_left_ms"].as_u64().unwrap() > 60_000);
    let released = place.output(&["release", "a", "--claim", claim]);
    assert_eq!((code(&released), out(&released).as_str()), (0, "released\n"));
    let late = place.output(&["renew", "a", "--claim", claim]);
    assert_eq!((code(&late), out(&late).as_str()), (70, "lost\n"));
}

#[test]
fn json_answers_have_these_shapes() {
    let place = Place::new();
    let acquired = out(&place.output(&["acquire", "a", "--ttl", "1m", "--json"]));
    assert_eq!(shape(&acquired, &VOLATILE), json!({"name": "a", "claim": "TEXT", "token": "NUMBER", "lease_left_ms": "NUMBER"}));
    let claim = serde_json::from_str::<Value>(&acquired).unwrap()["claim"].as_str().unwrap().to_string();
    let renewed = out(&place.output(&["renew", "a", "--claim", &claim, "--json"]));
    let expected = json!({"name": "a", "claim": "TEXT", "answer": "renewed", "lease_left_ms": "NUMBER"});
    assert_eq!(shape(&renewed, &VOLATILE), expected);
    let listed = out(&place.output(&["list", "--json"]));
    let holder = json!({
        "claim": "TEXT", "foreign": null, "token": "NUMBER", "since_ms": "NUMBER", "lease_left_ms": "NUMBER",
        "state": "detached", "host": "TEXT", "pid": "NUMBER", "program": "leasehold", "label": null,
    });
    assert_eq!(shape(&listed, &VOLATILE), json!([{"name": "a", "holders": [holder], "waiters": []}]));
    let released = out(&place.output(&["release", "a", "--claim", &claim, "--json"]));
    assert_eq!(shape(&released, &VOLATILE), json!({"name": "a", "answer": "released"}));
    let lost = out(&place.output(&["renew", "a", "--claim", &claim, "--json"]));
    assert_eq!(shape(&lost, &VOLATILE), json!({"name": "a", "claim": "TEXT", "answer": "lost", "lease_left_ms": null}));
    let forced = out(&place.output(&["release", "a", "--force", "--json"]));
    assert_eq!(shape(&forced, &VOLATILE), json!({"name": "a", "answer": "revoked", "holds": 0}));
    let inspected = out(&place.output(&["inspect", "a", "--json"]));
    assert_eq!(shape(&inspected, &VOLATILE), json!({"name": "a", "holders": [], "waiters": []}));
}

#[test]
fn a_claim_that_lost_its_lock_to_another_is_told_so_with_70() {
    let place = Place::new();
    let first = out(&place.output(&["acquire", "a", "--ttl", "400ms"]));
    let first = first.lines().next().unwrap().strip_prefix("claim=").unwrap().to_string();
    let second = out(&place.output(&["acquire", "a", "--json", "--ttl", "1m"]));
    let second = serde_json::from_str::<Value>(&second).unwrap()["claim"].as_str().unwrap().to_string();
    let output = place.output(&["release", "a", "--claim", &first]);
    assert_eq!((code(&output), out(&output)), (70, format!("taken by {second}\n")));
}

#[test]
fn list_shows_what_matches_and_inspect_shows_the_line() {
    let place = Place::new();
    let nothing = place.output(&["list"]);
    assert_eq!((code(&nothing), out(&nothing).as_str()), (0, "no lock is held or waited for\n"));
    for name in ["order:1:pay", "order:2:pay", "user:1"] {
        place.output(&["acquire", name, "--ttl", "1m"]);
    }
    let names = |pattern: &str| {
        let listed: Value = serde_json::from_str(&out(&place.output(&["list", pattern, "--json"]))).unwrap();
        listed.as_array().unwrap().iter().map(|lock| lock["name"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("order:*"), ["order:1:pay", "order:2:pay"]);
    assert_eq!(names("*:?"), ["user:1"]);
    assert_eq!(names("x*"), [""; 0]);
    let table = out(&place.output(&["list", "order:*"]));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME         HELD BY"), "{table}");
    assert!(lines[1].starts_with("order:1:pay  leasehold pid "), "{table}");
    let waiter = place.start("waiter", &["run", "user:1", "--label", "next one", "--", "true"]);
    until("the waiter", || (place.inspect("user:1")["waiters"].as_array()?.len() == 1).then_some(()));
    let table = out(&place.output(&["inspect", "user:1"]));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].starts_with("holds  leasehold pid ") && lines[2].starts_with("waits  leasehold pid "), "{table}");
    assert!(lines[2].contains("\"next one\""), "{table}");
    drop(waiter);
    assert_eq!(out(&place.output(&["inspect", "nobody"])), "nobody: free\n");
}

#[test]
fn force_now_lets_others_in_at_once() {
    let place = Place::new();
    let mut holder = place.start("holder", &["run", "a", "--ttl", "20s", "--", "sh", "-c", "trap '' TERM; touch up; sleep 60"]);
    until_exists(&place.path("up"));
    assert_eq!(code(&place.output(&["release", "a", "--force"])), 0);
    assert_eq!(code(&place.output(&["run", "a", "--wait", "0s", "--", "true"])), 75);
    let output = place.output(&["release", "a", "--force", "--now"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "revoked; others may hold it now\n"));
    assert_eq!(code(&place.output(&["run", "a", "--wait", "0s", "--", "true"])), 0);
    assert_eq!(holder.end().code(), Some(70));
}

#[test]
fn completions_and_manual_pages_are_there() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = place.output(&["completions", shell]);
        assert!(code(&output) == 0 && out(&output).contains("busy-exit"), "{shell}");
    }
    let page = out(&place.output(&["man"]));
    assert!(page.contains(".TH leasehold 1"), "{page}");
    std::fs::create_dir(place.path("man")).unwrap();
    assert_eq!(code(&place.output(&["man", "man"])), 0);
    assert!(place.read("man/leasehold-run.1").contains("LEASEHOLD_TOKEN"));
    assert_eq!(code(&place.output(&["man", "no/such/dir"])), 64);
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let place = Place::new();
    let script = "$LEASEHOLD completions bash | true; echo ${PIPESTATUS[0]}";
    let mut shell = std::process::Command::new("bash");
    let output = shell.args(["-c", script]).env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold")).output().unwrap();
    let _ = &place;
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("0\n", ""));
}
