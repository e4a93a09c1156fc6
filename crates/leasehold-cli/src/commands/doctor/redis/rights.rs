//! Which commands, keys and channels our user may use: each is tried in a form that does nothing.

use super::links::release_script;
use super::patient::{Denial, LIFE_MS, Patient, escaped};
use super::talk::{Answer, words};
use crate::commands::doctor::finding::{Check, Severity};
use crate::commands::doctor::shell;
use crate::store::Fault;
use leasehold::engines::redis::probe::{SCRIPTS, commands_of};
use std::collections::{BTreeMap, BTreeSet};

/// The scripts without which there are no locks.
const LOCKING: [&str; 4] = ["claim", "release", "renew", "raise"];

/// What the library says besides its scripts, and what it is for.
const SPOKEN: [(&str, Purpose); 15] = [
    ("EVALSHA", Purpose::Locks),
    ("SET", Purpose::Locks),
    ("INCR", Purpose::Locks),
    ("GET", Purpose::Locks),
    ("PTTL", Purpose::Locks),
    ("SUBSCRIBE", Purpose::Waiting),
    ("UNSUBSCRIBE", Purpose::Waiting),
    ("PUBLISH", Purpose::Waiting),
    ("HMGET", Purpose::Looking),
    ("ZRANGE", Purpose::Looking),
    ("HGETALL", Purpose::Looking),
    ("EVAL", Purpose::Comfort),
    ("SCRIPT LOAD", Purpose::Comfort),
    ("INFO", Purpose::Comfort),
    ("CLIENT SETNAME", Purpose::Comfort),
];

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Locks,
    Waiting,
    Looking,
    Comfort,
}

/// All commands that the library may send, by itself or in a script.
fn used() -> BTreeMap<&'static str, Purpose> {
    let mut used: BTreeMap<&str, Purpose> = SPOKEN.into();
    for script in SCRIPTS {
        let purpose = if LOCKING.contains(&script.name) { Purpose::Locks } else { Purpose::Looking };
        for command in commands_of(script) {
            // A push that is refused is passed over by the scripts.
            let least = if command == "PUBLISH" { Purpose::Waiting } else { purpose };
            used.entry(command).and_modify(|known| *known = least.min(*known)).or_insert(least);
        }
    }
    used
}

/// Which commands, keys and channels are refused.
#[derive(Debug, Default)]
pub struct Refused {
    commands: BTreeMap<&'static str, Denial>,
    keys: BTreeSet<String>,
    channels: bool,
    /// What could not be tried, since something else is missing.
    untried: BTreeSet<&'static str>,
    /// What the server said to a write that our user may do: the first word of its refusal, if it was one.
    pub wrote: Option<Result<(), String>>,
}

/// Tries all of it. `pushes` is what came of `SUBSCRIBE` and `PUBLISH`.
///
/// # Errors
/// The server is gone.
pub async fn try_all(patient: &Patient, pushes: &[Answer; 2]) -> Result<Refused, Fault> {
    let mut refused = Refused::default();
    for (command, answer) in ["SUBSCRIBE", "PUBLISH"].into_iter().zip(pushes) {
        refused.take(command, answer, "");
    }
    let has_string = try_to_write(patient, &mut refused).await?;
    let mut tried = Vec::new();
    let keys = patient.keys();
    let channel = patient.space().channel(patient.client);
    let names = Names { own: keys.lock, none: patient.nothing(), queue: keys.queue, channel };
    for command in used().into_keys() {
        match form(&names, command) {
            Some(Form { needs_string: true, .. }) if !has_string => {
                refused.untried.insert(command);
            }
            Some(form) => tried.push((command, form)),
            None => {}
        }
    }
    let asked = tried.iter().map(|(_, form)| words(&form.words)).collect();
    for ((command, form), answer) in tried.iter().zip(patient.talk.ask_all(asked).await?) {
        // Behind a script comes the number of its keys, and then they.
        let at = if command.starts_with("EVAL") { 3 } else { 1 };
        refused.take(command, &answer, form.words.get(at).map_or("", String::as_str));
    }
    try_keys(patient, &mut refused).await?;
    Ok(refused)
}

impl Refused {
    fn take(&mut self, command: &'static str, answer: &Answer, key: &str) {
        match Denial::of(answer) {
            None => {}
            Some(Denial::Channel) => self.channels = true,
            Some(Denial::Key) => drop(self.keys.insert(key.to_owned())),
            Some(denial) => drop(self.commands.insert(command, denial)),
        }
    }

    /// True if the library can run scripts at all.
    fn has_scripts(&self) -> bool {
        !(self.commands.contains_key("SCRIPT LOAD") && self.commands.contains_key("EVAL"))
    }
}

/// Writes a string that ends by itself: some commands do nothing to it that would do something without. False if there is
/// none.
async fn try_to_write(patient: &Patient, refused: &mut Refused) -> Result<bool, Fault> {
    let lock = patient.keys().lock;
    let answer = patient.talk.ask(words(["SET", &lock, "a string of leasehold doctor", "PX", &LIFE_MS.to_string()])).await?;
    refused.take("SET", &answer, &lock);
    if Denial::of(&answer).is_some() {
        return Ok(false);
    }
    let wrote = match answer {
        Answer::Said(_) => Ok(()),
        Answer::Refused(code, _) => Err(code),
    };
    let has_string = wrote.is_ok();
    refused.wrote = Some(wrote);
    Ok(has_string)
}

/// A form of a command that changes nothing.
struct Form {
    words: Vec<String>,
    /// It changes nothing only where our key is a string.
    needs_string: bool,
}

/// What commands are tried on.
struct Names {
    /// A key that holds a string of ours.
    own: String,
    /// A key that is not there.
    none: String,
    queue: String,
    channel: String,
}

/// How a command is tried: on a key that is not there, on a string that it does not fit, or with an argument that is wrong.
/// `None` for what is tried elsewhere, or is never refused.
fn form(names: &Names, command: &str) -> Option<Form> {
    let Names { own, none, queue, channel } = names;
    let on = |key: &str, rest: &[&str], needs_string: bool| {
        let words = [command.to_owned(), key.to_owned()].into_iter().chain(rest.iter().map(|word| (*word).to_owned())).collect();
        Some(Form { words, needs_string })
    };
    let bare = |words: &[&str]| Some(Form { words: words.iter().map(|word| (*word).to_owned()).collect(), needs_string: false });
    match command {
        "GET" | "PTTL" | "DEL" | "EXISTS" | "PERSIST" | "HGETALL" | "HLEN" | "LLEN" | "LPOP" => on(none, &[], false),
        "HGET" | "HDEL" | "HEXISTS" | "HMGET" | "ZREM" => on(none, &["x"], false),
        "PEXPIRE" => on(none, &["1000"], false),
        "PEXPIREAT" => on(none, &["1000", "GT"], false),
        "LINDEX" => on(none, &["0"], false),
        "LREM" => on(none, &["0", "x"], false),
        "LRANGE" | "ZRANGE" | "ZREMRANGEBYSCORE" => on(none, &["0", "0"], false),
        // Wrong: an odd number of fields and values, a score that is no number.
        "HSET" => on(none, &["x", "y", "z"], false),
        "ZADD" => on(none, &["GT", "x", "y"], false),
        "INCR" => on(own, &[], true),
        "INCRBY" => on(own, &["1"], true),
        "APPEND" => on(own, &[""], true),
        "LPUSH" | "RPUSH" => on(own, &["x"], true),
        "EVALSHA" => bare(&["EVALSHA", &"0".repeat(40), "1", none]),
        "EVAL" => bare(&["EVAL", release_script().source, "2", none, queue, "x"]),
        "SCRIPT LOAD" => bare(&["SCRIPT", "LOAD", release_script().source]),
        "CLIENT SETNAME" => bare(&["CLIENT", "SETNAME", "leasehold-doctor"]),
        "INFO" => bare(&["INFO", "server"]),
        "TIME" => bare(&["TIME"]),
        "UNSUBSCRIBE" => bare(&["UNSUBSCRIBE", channel]),
        _ => None,
    }
}

/// Asks for a script that nobody has, with each kind of key that the library names.
async fn try_keys(patient: &Patient, refused: &mut Refused) -> Result<(), Fault> {
    let (keys, space) = (patient.keys(), patient.space());
    let all = [keys.lock, keys.queue, keys.places, keys.counter, space.clients(), space.client(patient.client)];
    let hash = "0".repeat(40);
    let asked = all.iter().map(|key| words(["EVALSHA", &hash, "1", key])).collect();
    for (key, answer) in all.iter().zip(patient.talk.ask_all(asked).await?) {
        if Denial::of(&answer) == Some(Denial::Key) {
            refused.keys.insert(key.clone());
        }
    }
    Ok(())
}

/// What is missing, and how it is granted.
pub fn checks(patient: &Patient, refused: &Refused) -> Vec<Check> {
    let used = used();
    let missing = |purpose: Purpose| {
        let scripts = |name: &str| !refused.has_scripts() && matches!(name, "EVAL" | "SCRIPT LOAD");
        let is = |name: &str| if scripts(name) { purpose == Purpose::Locks } else { used.get(name) == Some(&purpose) };
        refused.commands.iter().filter(|(name, _)| is(name)).map(|(name, denial)| (*name, *denial)).collect::<Vec<_>>()
    };
    let locks = "locks do not work for this user, or not once somebody waits: a claim, a renewal or a release is refused";
    let waiting = "P1 to P3 hold; but waiters find their grants by asking, which takes up to a quarter of the ttl, 2 s at most";
    let looking = "P1 to P3 hold; but `list` and `inspect` do not know who holds, and `acquire`, which leaves a hold to other processes, fails";
    let comfort = "P1 to P3 hold; but without INFO nobody is warned of an eviction policy, without EVAL and SCRIPT LOAD locks stop when the \
                   server forgets its scripts, and without CLIENT SETNAME connections have no name";
    vec![
        commands(patient, ("redis.rights.locks", Severity::Danger, locks), missing(Purpose::Locks)),
        commands(patient, ("redis.rights.waiting", Severity::Warning, waiting), missing(Purpose::Waiting)),
        commands(patient, ("redis.rights.looking", Severity::Warning, looking), missing(Purpose::Looking)),
        commands(patient, ("redis.rights.comfort", Severity::Warning, comfort), missing(Purpose::Comfort)),
        keys(patient, refused),
        channels(patient, refused),
    ]
    .into_iter()
    .chain(untried(patient, refused))
    .collect()
}

fn commands(
    patient: &Patient,
    (id, severity, means): (&'static str, Severity, &'static str),
    missing: Vec<(&'static str, Denial)>,
) -> Check {
    if missing.is_empty() {
        return Check::ok(id, "no right is missing", format!("tried as the user {}, all commands are allowed", patient.user));
    }
    let of = |wanted: Denial| missing.iter().filter(|(_, denial)| *denial == wanted).map(|(name, _)| *name).collect::<Vec<_>>();
    let (forbidden, unknown) = (of(Denial::Command), of(Denial::Unknown));
    let mut seen = Vec::new();
    let mut remedy = Vec::new();
    if !forbidden.is_empty() {
        seen.push(format!("refused to the user {}: {}", patient.user, forbidden.join(", ")));
        let rights = forbidden.iter().map(|name| format!("+{}", name.to_ascii_lowercase().replace(' ', "|")));
        remedy.push(grant(patient, rights));
    }
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        seen.push(format!("not known to the server, or to a proxy before it: {unknown}"));
        remedy.push(format!("# remove the rename-command of {unknown} from the server's configuration, or the proxy"));
    }
    let title = match (forbidden.is_empty(), missing.len()) {
        (false, 1) => format!("the user {} lacks the right to {}", patient.user, missing[0].0),
        (false, count) => format!("the user {} lacks the right to {count} commands", patient.user),
        (true, _) => format!("the server does not know {}", unknown.join(", ")),
    };
    Check::found(id, severity, title, seen.join("; ")).means(means).remedy(remedy.join("\n"))
}

fn keys(patient: &Patient, refused: &Refused) -> Check {
    let id = "redis.rights.keys";
    let pattern = format!("~{}*", escaped(patient.space().prefix()));
    if refused.keys.is_empty() {
        return Check::ok(id, "all keys may be used", format!("keys of each kind behind {pattern}"));
    }
    let keys: Vec<String> = refused.keys.iter().map(|key| key.replace('\u{1}', "\\x01")).collect();
    Check::danger(
        id,
        format!("the user {} lacks the right to the keys {pattern}", patient.user),
        format!("refused: {}", keys.join(", ")),
    )
    .means("locks do not work, or those of some names only: each lock needs its own key, its queue, and the counter of tokens")
    .remedy(grant(patient, [pattern]))
}

fn channels(patient: &Patient, refused: &Refused) -> Check {
    let id = "redis.rights.channels";
    let pattern = format!("&{}*", escaped(patient.space().prefix()));
    if !refused.channels {
        return Check::ok(id, "all channels may be used", format!("a channel behind {pattern}"));
    }
    let title = format!("the user {} lacks the right to the channels {pattern}", patient.user);
    Check::warning(id, title, "SUBSCRIBE or PUBLISH is refused on a channel of our own")
        .means("P1 to P3 hold; but waiters find their grants by asking, which takes up to a quarter of the ttl, 2 s at most")
        .remedy(grant(patient, [pattern]))
}

fn untried(patient: &Patient, refused: &Refused) -> Option<Check> {
    if refused.untried.is_empty() {
        return None;
    }
    let untried: Vec<&str> = refused.untried.iter().copied().collect();
    Some(
        Check::note(
            "redis.rights.untried",
            "some rights were not tried",
            format!("nothing could be written, so not: {}", untried.join(", ")),
        )
        .means("nothing by itself; once writing works, these may turn out to be missing too")
        .remedy(format!(
            "# once {} is mended, again: {}",
            if patient.info("role") == Some("slave") { "the URL" } else { "SET" },
            shell::leasehold(&patient.url, "doctor", [""; 0])
        )),
    )
}

fn grant(patient: &Patient, rights: impl IntoIterator<Item = String>) -> String {
    let head = ["ACL".to_owned(), "SETUSER".into(), patient.user.clone()];
    patient.command(head.into_iter().chain(rights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_library_is_tried() {
        let [own, none, queue, channel] = ["a", "b", "c", "d"].map(String::from);
        let names = Names { own, none, queue, channel };
        let elsewhere = ["SET", "SUBSCRIBE", "PUBLISH"];
        for command in used().into_keys().filter(|command| !elsewhere.contains(command)) {
            assert!(form(&names, command).is_some(), "{command}");
        }
    }
}
