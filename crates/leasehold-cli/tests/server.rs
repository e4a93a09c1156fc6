//! The commands on a server: what they answer, how they exit, what they leave behind, and that no password is ever shown.

mod support;

use serde_json::Value;
use support::server::Server;
use support::{Place, code, err, out, until, until_exists};

/// A server and a place whose commands use it.
struct Site {
    place: Place,
    server: Server,
}

impl Site {
    fn new(options: &[&str]) -> Site {
        let place = Place::new();
        let server = Server::start(&place, options);
        Site { place, server }
    }

    fn leasehold(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.place.leasehold(words);
        command.env("LEASEHOLD_URL", self.server.url());
        command
    }

    fn output(&self, words: &[&str]) -> std::process::Output {
        self.leasehold(words).output().unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.output(words);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    fn waiters(&self, count: usize) {
        until("the line", || (self.json(&["inspect", "a", "--json"])["waiters"].as_array()?.len() == count).then_some(()));
    }

    /// Keys that are neither the counter nor a living client's registry.
    fn residue(&self) -> Vec<String> {
        self.server.keys().into_iter().filter(|key| !key.contains("client") && !key.contains("token")).collect()
    }
}

#[test]
fn a_lock_passes_through_the_hands_of_many_processes() {
    let site = Site::new(&[]);
    let acquired = site.json(&["acquire", "a", "--ttl", "20s", "--label", "build", "--json"]);
    let claim = acquired["claim"].as_str().unwrap();
    let listed = site.json(&["list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["holders"][0]["state"]), (&"a".into(), &"detached".into()), "{listed}");
    assert_eq!((&listed[0]["holders"][0]["claim"], &listed[0]["holders"][0]["label"]), (&claim.into(), &"build".into()));
    assert_eq!(code(&site.output(&["run", "a", "--wait", "0s", "--", "true"])), 75);
    assert_eq!(site.json(&["renew", "a", "--claim", claim, "--ttl", "10m", "--json"])["answer"], "renewed");
    let seen = site.json(&["inspect", "a", "--json"]);
    assert!(seen["holders"][0]["lease_left_ms"].as_u64().unwrap() > 60_000, "{seen}");
    assert_eq!(site.json(&["release", "a", "--claim", claim, "--json"])["answer"], "released");
    let late = site.output(&["renew", "a", "--claim", claim, "--json"]);
    assert_eq!((code(&late), out(&late).contains("\"lost\"")), (70, true), "{late:?}");
    assert_eq!(code(&site.output(&["run", "a", "--wait", "0s", "--", "true"])), 0);
    assert_eq!(site.residue(), [""; 0]);
}

#[test]
fn force_revokes_and_now_lets_others_in() {
    let site = Site::new(&[]);
    let hold = site.leasehold(&["run", "a", "--ttl", "20s", "--", "sh", "-c", "trap '' TERM; touch up; sleep 60"]);
    let mut holder = site.place.start_command("holder", hold);
    until_exists(&site.place.path("up"));
    let forced = site.json(&["release", "a", "--force", "--json"]);
    assert_eq!((&forced["answer"], &forced["holds"]), (&"revoked".into(), &1.into()));
    assert_eq!(code(&site.output(&["run", "a", "--wait", "0s", "--", "true"])), 75);
    assert_eq!(site.json(&["release", "a", "--force", "--now", "--json"])["answer"], "revoked");
    assert_eq!(code(&site.output(&["run", "a", "--wait", "0s", "--", "true"])), 0);
    assert_eq!(holder.end().code(), Some(70), "{}", site.place.read("holder.err"));
    assert_eq!(site.json(&["release", "a", "--force", "--json"])["holds"], 0);
}

#[test]
fn a_nested_run_joins_and_says_no_secret() {
    let site = Site::new(&["--requirepass", "hunter2"]);
    let script = "echo $LEASEHOLD_TOKEN; echo \"$LEASEHOLD_HELD\" >&2; $LEASEHOLD run a --wait 0s --report inner -- sh -c 'echo $LEASEHOLD_TOKEN'";
    let mut run = site.leasehold(&["run", "a", "--report", "outer", "--", "sh", "-c", script]);
    run.env("LEASEHOLD_URL", site.server.url().replace("//", "//:hunter2@"));
    let output = run.output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    let text = out(&output);
    let tokens: Vec<&str> = text.lines().collect();
    assert_eq!((tokens.len(), tokens[0]), (2, tokens[1]));
    let inner: Value = serde_json::from_str(&site.place.read("inner")).unwrap();
    assert_eq!(inner["joined"], true);
    for shown in [err(&output), site.place.read("inner"), site.place.read("outer")] {
        assert!(!shown.contains("hunter2") && !shown.contains("redis:"), "{shown}");
    }
}

#[test]
fn a_signal_to_a_waiter_leaves_nothing_of_it_behind() {
    let site = Site::new(&[]);
    site.output(&["acquire", "a", "--ttl", "1m"]);
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        for words in [&["run", "a", "--", "true"][..], &["acquire", "a"]] {
            let mut waiter = site.place.start_command("waiter", site.leasehold(words));
            site.waiters(1);
            waiter.signal(signal);
            assert_eq!(waiter.end().code(), Some(expected), "{words:?}");
            assert_eq!(site.json(&["inspect", "a", "--json"])["waiters"].as_array().unwrap().len(), 0, "{words:?}");
            assert_eq!(site.residue(), ["leasehold:a"]);
        }
    }
}

#[test]
fn each_trouble_has_its_exit_code() {
    let site = Site::new(&["--requirepass", "hunter2"]);
    let at = |url: &str, words: &[&str]| {
        let mut command = site.place.leasehold(words);
        code(&command.env("LEASEHOLD_URL", url).output().unwrap())
    };
    let good = site.server.url().replace("//", "//:hunter2@");
    let run = ["run", "a", "--wait", "1s", "--", "true"];
    assert_eq!(at(&good, &run), 0);
    assert_eq!(at(&site.server.url().replace("//", "//:wrong@"), &run), 77);
    assert_eq!(at(&site.server.url(), &run), 77);
    assert_eq!(at("redis://127.0.0.1:1", &run), 69);
    assert_eq!(at("redis://127.0.0.1:1", &["inspect", "a"]), 69);
    assert_eq!(at(&format!("{good}/99"), &run), 64);
    assert_eq!(at(&format!("{good}?nope=1"), &run), 64);
    assert_eq!(at("nope://x", &run), 64);
    at(&good, &["acquire", "a", "--ttl", "1m"]);
    assert_eq!(at(&good, &run), 75);
    assert_eq!(at(&good, &["run", "a", "--wait", "0s", "--", "true"]), 75);
}

#[test]
fn no_password_is_ever_shown() {
    let site = Site::new(&["--requirepass", "right"]);
    let port = site.server.port();
    let dir = site.place.path("");
    let socket = format!("redis+unix://{}/none.sock", dir.display());
    let urls = [
        format!("redis://u:hunter2@127.0.0.1:{port}"),
        format!("redis://:hunter2@127.0.0.1:{port}/0?prefix=x:"),
        "redis://u:hunter2@127.0.0.1:1".into(),
        format!("redis://u:hunter2@127.0.0.1:{port}?nope=1"),
        format!("redis://u:hunter2@127.0.0.1:{port}/x"),
        // Marks that a password must not hold unencoded.
        format!("redis://u:7/hunter2@127.0.0.1:{port}"),
        format!("redis://u:7?hunter2@127.0.0.1:{port}"),
        format!("redis://u:7?hunter2=x@127.0.0.1:{port}"),
        format!("redis://u:7#hunter2@127.0.0.1:{port}"),
        format!("redis://u:hunter2 x@127.0.0.1:{port}"),
        format!("rediss://u:hunter2@127.0.0.1:{port}"),
        format!("rediss://u:hunter2@127.0.0.1:{port}?ca=/nowhere"),
        format!("{socket}?user=u&password=hunter2"),
        format!("{socket}?user=u&password=hunter2&nope=1"),
        format!("{socket}?user=u&password=hunter2&password=hunter2"),
        format!("redis+unix://u:hunter2@{}/none.sock", dir.display()),
        "nope://u:hunter2@h".into(),
        "u:hunter2@h".into(),
        "postgres://u:hunter2@h/db".into(),
    ];
    for url in urls {
        for words in [&["run", "a", "--wait", "300ms", "--report", "story", "--", "true"][..], &["list"]] {
            let by_env = site.place.leasehold(words).env("LEASEHOLD_URL", &url).output().unwrap();
            let file = site.place.path("url");
            std::fs::write(&file, &url).unwrap();
            let mut with_option = vec![words[0], "--url", &url];
            with_option.extend(&words[1..]);
            let by_option = site.place.output(&with_option);
            with_option[1] = "--url-file";
            with_option[2] = file.to_str().unwrap();
            for output in [by_env, by_option, site.place.output(&with_option)] {
                let shown = format!("{}{}{}", out(&output), err(&output), site.place.read("story"));
                assert!([64, 69, 77].contains(&code(&output)), "{url}: {output:?}");
                assert!(!shown.contains("hunter2"), "{url}: {shown}");
            }
        }
    }
}
