//! Keys under our names that are not ours: of another client, of another type, or without an end.

use super::patient::{Denial, Patient, escaped};
use super::talk::{Answer, Talk, items, text, words};
use crate::commands::doctor::finding::Check;
use crate::commands::doctor::shell;
use crate::say::humane;
use crate::store::Fault;
use leasehold::engines::redis::probe::{Record, Space};
use redis::Value;
use std::time::{Duration, Instant};

/// How many keys are asked for at once.
const BATCH: &str = "500";
/// How many keys under our names are looked at, and for how long at most.
const BOUNDS: (usize, Duration) = (50_000, Duration::from_secs(2));
/// How many are named.
const NAMED: usize = 5;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    seen: usize,
    ours: usize,
    /// Of another type than a string.
    odd: Kind,
    /// Strings without an end.
    endless: Kind,
    /// Strings of other clients, with an end.
    foreign: Kind,
    /// Why not all was looked at.
    cut_short: Option<String>,
}

#[derive(Debug, Default)]
struct Kind {
    count: usize,
    names: Vec<(String, String)>,
}

impl Kind {
    fn add(&mut self, key: &str, what: String) {
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push((key.to_owned(), what));
        }
    }

    fn shown(&self) -> String {
        let named = self.names.iter().map(|(key, what)| format!("{} ({what})", key.escape_debug()));
        let more = if self.count > NAMED { format!(" and {} more", self.count - NAMED) } else { String::new() };
        named.collect::<Vec<_>>().join(", ") + &more
    }
}

/// Looks through the keys behind our prefix.
///
/// # Errors
/// The server is gone.
pub async fn checks(patient: &Patient) -> Result<Vec<Check>, Fault> {
    let Some(found) = search(patient).await? else {
        let title = "keys of others under our names were not looked for";
        let rights = ["ACL", "SETUSER", &patient.user, "+scan", "+type", "+pttl", "+getrange"];
        let check = Check::note("redis.names", title, "SCAN, TYPE, PTTL or GETRANGE is refused").means("nothing by itself");
        return Ok(vec![check.remedy(patient.command(rights))]);
    };
    let scope = match &found.cut_short {
        Some(why) => format!("; {why}, so there may be more"),
        None => String::new(),
    };
    let looked = format!("{} keys of locks behind {:?}{scope}", found.seen, patient.space().prefix());
    Ok(vec![endless(patient, &found, &looked), odd(patient, &found, &looked), foreign(patient, &found, &looked)])
}

async fn search(patient: &Patient) -> Result<Option<Found>, Fault> {
    let begun = Instant::now();
    // A connection of its own: large answers must not stand before others'.
    let talk = Talk::open(&patient.probe).await?;
    let (mut found, mut cursor) = (Found::default(), "0".to_owned());
    let pattern = format!("{}*", escaped(patient.space().prefix()));
    loop {
        let answer = talk.ask(words(["SCAN", &cursor, "MATCH", &pattern, "COUNT", BATCH])).await?;
        let [next, keys] = match <[Value; 2]>::try_from(answer.items()) {
            Ok(both) => both,
            Err(_) => return Ok(None),
        };
        if !look(patient, &talk, &mut found, items(&keys)).await? {
            return Ok(None);
        }
        cursor = text(&next).unwrap_or_default();
        if cursor == "0" {
            return Ok(Some(found));
        }
        if found.seen >= BOUNDS.0 || begun.elapsed() >= BOUNDS.1 {
            let why = if found.seen >= BOUNDS.0 { "that many are enough" } else { "the search ended after 2 s" };
            found.cut_short = Some(why.into());
            return Ok(Some(found));
        }
    }
}

/// Looks at each key that may be a lock's; false if that is refused.
async fn look(patient: &Patient, talk: &Talk, found: &mut Found, keys: Vec<Value>) -> Result<bool, Fault> {
    let prefix = patient.space().prefix().as_bytes();
    let bytes = keys.into_iter().filter_map(|key| match key {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    // Behind U+0001 are our own other keys.
    let locks: Vec<Vec<u8>> = bytes.filter(|key| key.get(prefix.len()).is_some_and(|&first| first != 1)).collect();
    let locks: Vec<Vec<u8>> = locks.into_iter().filter(|key| !is_doctors(&key[prefix.len()..])).collect();
    if locks.is_empty() {
        return Ok(true);
    }
    let ask = locks.iter().flat_map(|key| {
        [
            words([&b"TYPE"[..], key]),
            words([&b"PTTL"[..], key]),
            // Enough to tell a record of ours; a foreign value may be large.
            words([&b"GETRANGE"[..], key, b"0", b"63"]),
        ]
    });
    let answers = talk.ask_all(ask.collect()).await?;
    for (key, answers) in locks.iter().zip(answers.chunks_exact(3)) {
        if answers.iter().any(|answer| Denial::of(answer).is_some()) {
            return Ok(false);
        }
        judge(found, &String::from_utf8_lossy(key), answers);
    }
    Ok(true)
}

/// True for the keys of a doctor, which may be at work beside us.
fn is_doctors(name: &[u8]) -> bool {
    name.starts_with(b"leasehold-doctor:")
}

fn judge(found: &mut Found, key: &str, answers: &[Answer]) {
    let kind = answers[0].text().unwrap_or_default();
    let left = answers[1].number();
    if kind == "none" || left == Some(-2) {
        return;
    }
    found.seen += 1;
    if kind != "string" {
        found.odd.add(key, kind);
        return;
    }
    let value = match &answers[2] {
        Answer::Said(Value::BulkString(bytes)) => bytes.clone(),
        _ => Vec::new(),
    };
    let ours = !matches!(Record::read(&value), Record::Foreign(_) | Record::Free);
    found.ours += usize::from(ours);
    match left {
        Some(-1) => found.endless.add(key, if ours { "a claim of ours".into() } else { "of another client".into() }),
        Some(left) if !ours => found.foreign.add(key, format!("ends in {}", humane(Duration::from_millis(left.unsigned_abs())))),
        _ => {}
    }
}

/// How the named keys are looked at, then removed.
fn removal(patient: &Patient, kind: &Kind) -> String {
    // What is no text is shown with signs in place of its bytes: that is another name.
    let keys: Vec<String> = kind.names.iter().map(|(key, _)| key.clone()).filter(|key| !key.contains('\u{fffd}')).collect();
    if keys.is_empty() {
        return "# their names are no text: find them by redis-cli --scan, and delete them from a program".to_owned();
    }
    patient.command(["DEL".to_owned()].into_iter().chain(keys)) + "    # if nobody uses them any more"
}

fn endless(patient: &Patient, found: &Found, looked: &str) -> Check {
    let id = "redis.names.endless";
    if found.endless.count == 0 {
        return Check::ok(id, "every lock has an end", looked);
    }
    // Without a prefix other programs' keys are at home here.
    let home = patient.space().prefix().is_empty();
    let seen = format!("{}; of {looked}", found.endless.shown());
    let title = format!("{} keys at locks' names have no end", found.endless.count);
    let check = if home { Check::note(id, title, seen) } else { Check::warning(id, title, seen) };
    check
        .means("P1 to P3 hold; but a lock of such a name is waited for until somebody deletes the key: no crash of its holder frees it")
        .remedy(removal(patient, &found.endless))
}

fn odd(patient: &Patient, found: &Found, looked: &str) -> Check {
    let id = "redis.names.type";
    if found.odd.count == 0 {
        return Check::ok(id, "no key of another type is at a lock's name", looked);
    }
    let home = patient.space().prefix().is_empty();
    let seen = format!("{}; of {looked}", found.odd.shown());
    let title = format!("{} keys at locks' names are of another type", found.odd.count);
    let check = if home { Check::note(id, title, seen) } else { Check::warning(id, title, seen) };
    check
        .means("P1 to P3 hold; but a lock of such a name cannot be had: acquiring it is an error")
        .remedy(removal(patient, &found.odd))
}

fn foreign(patient: &Patient, found: &Found, looked: &str) -> Check {
    let id = "redis.names.foreign";
    if found.foreign.count == 0 {
        return Check::ok(id, "no other client's lock is among ours", format!("{looked}, {} of them held by us", found.ours));
    }
    let texts = found.foreign.names.iter().filter(|(key, _)| !key.contains('\u{fffd}'));
    let inspect = texts.map(|(key, _)| {
        let name = key.strip_prefix(patient.space().prefix()).unwrap_or(key);
        shell::leasehold(&patient.url, "inspect", ["--", name])
    });
    let title = format!("{} locks of other clients are among ours", found.foreign.count);
    let seen = format!("{}; of {looked}", found.foreign.shown());
    // Who chose another prefix, or none, may have done so to share these very locks.
    let is_ours_alone = patient.space().prefix() == Space::DEFAULT_PREFIX;
    let check = if is_ours_alone { Check::warning(id, title, seen) } else { Check::note(id, title, seen) };
    check
        .means("they are waited for like any holder. P1 holds if the other client leaves our keys alone as we do its: it must delete only what it set itself")
        .remedy(inspect.collect::<Vec<_>>().join("\n"))
}
