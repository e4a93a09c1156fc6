//! The server that is examined: what it says of itself, under which names we try things, and how its operator is spoken to.

use super::talk::{Answer, Talk, text, words};
use crate::commands::doctor::shell;
use crate::store::Fault;
use leasehold::ResourceName;
use leasehold::engines::redis::probe::{Address, Keys, Probe, Space};
use redis::Value;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// How long our own keys live, should this program be killed before it removes them.
pub const LIFE_MS: u64 = 30_000;

/// What is asked by `CONFIG GET`.
const SETTINGS: [&str; 12] = [
    "maxmemory",
    "maxmemory-policy",
    "appendonly",
    "appendfsync",
    "save",
    "min-replicas-to-write",
    "timeout",
    "maxclients",
    "client-output-buffer-limit",
    "stop-writes-on-bgsave-error",
    "slowlog-log-slower-than",
    "maxmemory-clients",
];

/// A server.
pub struct Patient {
    /// As the user names it; it may hold a password.
    pub url: String,
    /// The way to it.
    pub probe: Probe,
    /// The connection on which most is asked.
    pub talk: Talk,
    /// What `INFO` says; nothing if that is refused.
    pub info: HashMap<String, String>,
    /// What `CONFIG GET` says; nothing if that is refused.
    pub config: HashMap<String, String>,
    /// Why there is no `info`, or no `config`.
    pub unseen: Vec<(&'static str, Denial)>,
    /// Our user's name.
    pub user: String,
    /// A lock's name that nobody else uses.
    pub name: ResourceName,
    /// A client's number that nobody else uses.
    pub client: u64,
}

/// Why a command is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The user lacks the right to it.
    Command,
    /// The user lacks the right to a key.
    Key,
    /// The user lacks the right to a channel.
    Channel,
    /// The server, or a proxy before it, does not know it.
    Unknown,
}

impl Denial {
    /// Finds it in an answer; any other error means that the command was let through.
    pub fn of(answer: &Answer) -> Option<Denial> {
        let Answer::Refused(code, detail) = answer else { return None };
        let detail = detail.to_ascii_lowercase();
        match code.as_str() {
            // Of a command that a script called, by newer servers.
            "NOPERM" if detail.contains("failure in script") => None,
            "NOPERM" if detail.contains("channel") => Some(Denial::Channel),
            "NOPERM" if detail.contains("access") && detail.contains("key") => Some(Denial::Key),
            "NOPERM" => Some(Denial::Command),
            "ERR" if detail.starts_with("unknown command") || detail.starts_with("unknown subcommand") => Some(Denial::Unknown),
            _ => None,
        }
    }
}

impl Patient {
    /// Meets it.
    ///
    /// # Errors
    /// Those of [`Talk::open`].
    pub async fn meet(url: &str) -> Result<Patient, Fault> {
        let probe = Probe::of(url)?;
        let talk = Talk::open(&probe).await?;
        let ask =
            vec![words(["INFO"]), words(["CONFIG", "GET"].iter().chain(&SETTINGS)), words(["ACL", "WHOAMI"]), words(["HELLO"])];
        let answers = talk.ask_all(ask).await?;
        let unseen = ["INFO", "CONFIG GET"].into_iter().zip(&answers);
        let refused = |answer: &Answer| match answer {
            Answer::Refused(..) => Some(Denial::of(answer).unwrap_or(Denial::Unknown)),
            Answer::Said(_) => None,
        };
        let unseen = unseen.filter_map(|(what, answer)| Some((what, refused(answer)?))).collect();
        let user = answers[2].text().or_else(|| probe.user().map(String::from)).unwrap_or_else(|| "default".into());
        let name =
            ResourceName::new(&format!("leasehold-doctor:{:016x}", random())).expect("it is short and has no control character");
        let mut info = fields(&answers[0]);
        greeted(&mut info, &pairs(&answers[3]));
        Ok(Patient { url: url.into(), probe, talk, info, config: pairs(&answers[1]), unseen, user, name, client: random() })
    }

    /// The names of all our keys.
    pub fn space(&self) -> &Space {
        self.probe.space()
    }

    /// The keys of our own lock.
    pub fn keys(&self) -> Keys {
        self.space().keys(&self.name)
    }

    /// A key of ours that is never there.
    pub fn nothing(&self) -> String {
        format!("{}:none", self.keys().lock)
    }

    /// A field of `INFO`.
    pub fn info(&self, field: &str) -> Option<&str> {
        self.info.get(field).map(String::as_str)
    }

    /// The same as a number.
    pub fn info_number(&self, field: &str) -> Option<u64> {
        self.info(field)?.parse().ok()
    }

    /// A setting.
    pub fn config(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }

    /// The same as a number.
    pub fn config_number(&self, name: &str) -> Option<u64> {
        self.config(name)?.parse().ok()
    }

    /// A command line that sends these words to this server. Who sends them needs more rights than we have.
    pub fn command<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let mut line: Vec<String> = vec!["redis-cli".into()];
        match self.probe.address() {
            Address::Unix(path) => line.extend(["-s".into(), path.display().to_string()]),
            Address::Tls(host, port) => line.extend(["--tls".into(), "-h".into(), host, "-p".into(), port.to_string()]),
            Address::Tcp(host, port) => line.extend(["-h".into(), host, "-p".into(), port.to_string()]),
            _ => {}
        }
        if self.probe.database() != 0 {
            line.extend(["-n".into(), self.probe.database().to_string()]);
        }
        line.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        shell::line(line)
    }

    /// How a setting is changed.
    pub fn set(&self, name: &str, value: &str) -> String {
        if self.unseen.contains(&("CONFIG GET", Denial::Unknown)) {
            return format!("# CONFIG is switched off: where this server is configured, set {name} {value}");
        }
        self.command(["CONFIG", "SET", name, value])
    }

    /// Removes what was written.
    pub async fn clean_up(&self) {
        let lock = self.keys().lock;
        let Ok(answer) = self.talk.ask(words(["DEL", lock.as_str()])).await else { return };
        if Denial::of(&answer).is_some() {
            // Without that right it can be made to end at once.
            let _ = self.talk.ask(words(["SET", lock.as_str(), "", "XX", "PX", "1"])).await;
        }
    }
}

/// What `HELLO` says is said to everybody, also where `INFO` is refused.
fn greeted(info: &mut HashMap<String, String>, hello: &HashMap<String, String>) {
    let mut know = |field: &str, value: Option<&str>| {
        if let Some(value) = value {
            info.entry(field.to_owned()).or_insert_with(|| value.to_owned());
        }
    };
    know("redis_version", hello.get("version").map(String::as_str));
    know("role", hello.get("role").map(|role| if role == "replica" { "slave" } else { role }));
    know("redis_mode", hello.get("mode").map(String::as_str));
    know("cluster_enabled", hello.get("mode").map(|mode| if mode == "cluster" { "1" } else { "0" }));
}

fn fields(answer: &Answer) -> HashMap<String, String> {
    let text = answer.text().unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn pairs(answer: &Answer) -> HashMap<String, String> {
    let items = answer.items();
    let pair = |pair: &[Value]| Some((text(&pair[0])?, text(&pair[1])?));
    items.chunks_exact(2).filter_map(pair).collect()
}

/// 64 random bits: the standard library's hashers are seeded by the operating system.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The prefix, with what a pattern would understand otherwise made plain.
pub fn escaped(prefix: &str) -> String {
    let escape = |character| match character {
        '*' | '?' | '[' | ']' | '\\' | '^' => vec!['\\', character],
        other => vec![other],
    };
    prefix.chars().flat_map(escape).collect()
}

/// A number of bytes as people say it.
pub fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", count / 1_000_000),
        _ => format!("{} GB", count / 1_000_000_000),
    }
}
