//! The way to the server and back: latency, connections, pushes, and what held the server up.

use super::patient::{Denial, LIFE_MS, Patient};
use super::talk::{Answer, Talk, items, ping, text, words};
use crate::commands::doctor::finding::Check;
use crate::store::Fault;
use leasehold::engines::redis::probe::{SCRIPTS, Script};
use redis::{PushKind, Value};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout;

/// How many round trips are measured, and for how long at most.
const TRIPS: (usize, Duration) = (200, Duration::from_secs(1));
/// How many claims and releases are, and for how long at most.
const CYCLES: (usize, Duration) = (50, Duration::from_millis(500));
/// A round trip that is no longer short beside the time between two renewals of a short lease.
const SLOW: Duration = Duration::from_millis(250);

/// What settings and statistics say.
pub fn checks(patient: &Patient) -> Vec<Check> {
    [connections(patient), idle(patient), buffer(patient)].into_iter().flatten().collect()
}

/// Measures round trips, and claims and releases under a name of our own.
///
/// # Errors
/// The server is gone.
pub async fn latency(patient: &Patient) -> Result<Check, Fault> {
    let id = "redis.latency";
    let trips = measured(TRIPS, async || {
        let answer = patient.talk.ask(ping()).await?;
        // Whatever comes back has made the trip.
        Ok(matches!(answer, Answer::Said(_) | Answer::Refused(..)))
    });
    let trips = trips.await?;
    let cycles = measured(CYCLES, async || cycle(patient).await).await?;
    let all = |spans: &[Duration]| match spans {
        [] => "not measured, for want of rights".to_owned(),
        _ => format!("p50 {:?}, p99 {:?}, longest {:?} of {}", part(spans, 50), part(spans, 99), part(spans, 100), spans.len()),
    };
    let seen = format!("round trip {}; claim and release {}", all(&trips), all(&cycles));
    let slow = part(&trips, 90);
    if slow < SLOW {
        return Ok(Check::ok(id, "the server answers quickly", seen));
    }
    Ok(Check::warning(id, "the server answers slowly", seen)
        .means(format!(
            "P1 to P3 hold; but a lease is renewed in good time only if its ttl is long beside this: {:?} at least. Every claim and \
             every hand-off takes as long",
            slow * 12
        ))
        .remedy(format!("timeout 5 {}", patient.command(["--latency"]))))
}

/// Spans of work that went well, sorted, as many and as long as allowed.
async fn measured(
    (most, limit): (usize, Duration),
    mut work: impl AsyncFnMut() -> Result<bool, Fault>,
) -> Result<Vec<Duration>, Fault> {
    let begun = Instant::now();
    let mut spans = Vec::new();
    while spans.len() < most && (spans.is_empty() || begun.elapsed() < limit) {
        let at = Instant::now();
        if !work().await? {
            break;
        }
        let span = at.elapsed();
        spans.push(Duration::from_micros(span.as_micros().try_into().unwrap_or(u64::MAX)));
    }
    spans.sort();
    Ok(spans)
}

fn part(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// One claim and release by hand; false if either was refused.
async fn cycle(patient: &Patient) -> Result<bool, Fault> {
    let lock = patient.keys().lock;
    let claim =
        [b"SET", lock.as_bytes(), own_value().as_bytes(), b"NX", b"PX", LIFE_MS.to_string().as_bytes()].map(<[u8]>::to_vec);
    let claimed = patient.talk.ask(words(claim)).await?;
    if !matches!(claimed, Answer::Said(Value::Okay)) {
        return Ok(false);
    }
    Ok(release(patient).await?.number() == Some(1))
}

/// What the key of a lock of ours says while we hold it.
pub fn own_value() -> String {
    format!("{}+", "d0c".repeat(11).split_at(32).0)
}

/// Releases our own lock by the library's script.
///
/// # Errors
/// The server is gone.
pub async fn release(patient: &Patient) -> Result<Answer, Fault> {
    let keys = patient.keys();
    let hash = redis::Script::new(release_script().source).get_hash().to_owned();
    patient.talk.ask(words(["EVALSHA", &hash, "2", &keys.lock, &keys.queue, &own_value()])).await
}

/// The script of a release.
pub fn release_script() -> &'static Script {
    SCRIPTS.into_iter().find(|script| script.name == "release").expect("the library releases by a script of this name")
}

fn connections(patient: &Patient) -> Option<Check> {
    let id = "redis.connections";
    let most = patient.config_number("maxclients").or_else(|| patient.info_number("maxclients"))?;
    let now = patient.info_number("connected_clients")?;
    let refused = patient.info_number("rejected_connections").unwrap_or(0);
    let seen = format!("{now} of {most} connections in use, {refused} refused since the server started");
    if now * 10 < most * 9 {
        return Some(Check::ok(id, "there is room for connections", seen));
    }
    Some(
        Check::warning(id, "the server has nearly no connections left", seen)
            .means("P1 to P3 hold; but a client that has to connect anew is refused, renews nothing, and loses its locks by time")
            .remedy(patient.set("maxclients", &(most * 2).to_string())),
    )
}

fn idle(patient: &Patient) -> Option<Check> {
    let id = "redis.idle_timeout";
    let seconds = patient.config_number("timeout")?;
    let seen = format!("timeout {seconds}");
    let means = "P1 to P3 hold; but the next claim or renewal finds its connection closed, and has to connect first";
    let check = match seconds {
        0 => return Some(Check::ok(id, "idle connections stay open", seen)),
        1..=30 => Check::warning(id, "connections are closed between two renewals", seen),
        _ => Check::note(id, "idle connections are closed", seen),
    };
    Some(check.means(means).remedy(patient.set("timeout", "0")))
}

/// `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`
fn buffer(patient: &Patient) -> Option<Check> {
    let id = "redis.pubsub_buffer";
    let limits: Vec<&str> = patient.config("client-output-buffer-limit")?.split(' ').collect();
    let at = limits.iter().position(|word| *word == "pubsub")?;
    let [hard, soft, seconds] = limits.get(at + 1..at + 4)?.try_into().ok()?;
    let size = |text: &str| text.parse::<u64>().ok().filter(|&size| size > 0);
    let seen = format!("client-output-buffer-limit pubsub {hard} {soft} {seconds}");
    let least = [size(hard), size(soft)].into_iter().flatten().min();
    if least.is_none_or(|least| least >= 256 * 1024) {
        return Some(Check::ok(id, "subscribers have room for pushes", seen));
    }
    Some(
        Check::warning(id, "subscribers have little room for pushes", seen)
            .means("P1 to P3 hold; but a client that is told of many grants at once is cut off: it has to connect and ask again")
            .remedy(patient.set("client-output-buffer-limit", "pubsub 33554432 8388608 60")),
    )
}

/// Hears a push on a channel of our own.
///
/// # Errors
/// The server is gone.
pub async fn push(patient: &Patient) -> Result<(Check, [Answer; 2]), Fault> {
    let id = "redis.push";
    let slower = "P1 to P3 hold; but waiters find their grants by asking, which takes up to a quarter of the ttl, 2 s at most";
    let mut ear = Talk::open(&patient.probe).await?;
    let channel = patient.space().channel(patient.client);
    let heard =
        if ear.pushes.is_some() { ear.subscribe(&channel, true).await? } else { ear.ask(words(["SUBSCRIBE", &channel])).await? };
    let at = Instant::now();
    let told = patient.talk.ask(words(["PUBLISH", &channel, "doctor"])).await?;
    let check = match (&mut ear.pushes, Denial::of(&heard), Denial::of(&told)) {
        (None, ..) => {
            Check::warning(id, "there are no pushes: RESP3 is not spoken", "HELLO 3 is refused by the server or a proxy")
                .means(slower)
                .remedy("# connect without the proxy, or let it pass HELLO")
        }
        (_, Some(_), _) => Check::note(id, "no push was tried", "SUBSCRIBE is refused; see redis.rights.waiting").means(slower),
        (_, _, Some(_)) => Check::note(id, "no push was tried", "PUBLISH is refused; see redis.rights.waiting").means(slower),
        (Some(pushes), ..) => {
            let arrived = timeout(Duration::from_secs(2), async {
                while let Some(push) = pushes.recv().await {
                    if push.kind == PushKind::Message {
                        return true;
                    }
                }
                false
            });
            if arrived.await == Ok(true) {
                Check::ok(
                    id,
                    "pushes arrive",
                    format!("a message on a channel of our own, after {} µs", at.elapsed().as_micros()),
                )
            } else {
                let receivers = told.number().unwrap_or(0);
                Check::warning(id, "pushes do not arrive", format!("published to {receivers} subscribers, heard nothing for 2 s"))
                    .means(slower)
                    .remedy(patient.command(["CLIENT", "LIST", "TYPE", "pubsub"]))
            }
        }
    };
    Ok((check, [heard, told]))
}

/// What held the server up within the last hour.
///
/// # Errors
/// The server is gone.
pub async fn slow(patient: &Patient) -> Result<Option<Check>, Fault> {
    let id = "redis.slow";
    let answer = patient.talk.ask(words(["SLOWLOG", "GET", "32"])).await?;
    if matches!(answer, Answer::Refused(..)) {
        return Ok(None);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let recent = answer.items().iter().filter_map(|entry| entry_of(entry, now)).max();
    Ok(Some(match recent {
        Some((us, name)) if us >= 100_000 => {
            let seen = format!("{name} took {:?} within the last hour", Duration::from_micros(us));
            let means = "P1 to P3 hold; but meanwhile nothing was granted or renewed: leases of less than about six times that were in doubt, or lost";
            let check = if us >= 1_000_000 {
                Check::warning(id, "a command held the server up", seen)
            } else {
                Check::note(id, "a command held the server up", seen)
            };
            let (look, forget) = (patient.command(["SLOWLOG", "GET", "10"]), patient.command(["SLOWLOG", "RESET"]));
            check.means(means).remedy(format!("{look}\n{forget}    # once it is known what that was"))
        }
        _ => Check::ok(id, "no command held the server up", "none of 100 ms or more in the slow log of the last hour"),
    }))
}

/// How long a command of the last hour took, and its name alone: arguments may be secrets.
fn entry_of(entry: &Value, now: u64) -> Option<(u64, String)> {
    let entry = items(entry);
    let number = |at: usize| text(entry.get(at)?)?.parse::<u64>().ok();
    let (at, us) = (number(1)?, number(2)?);
    let name = items(entry.get(3)?).first().and_then(text)?;
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    (now.abs_diff(at) < 3600).then(|| (us, name.to_ascii_uppercase()))
}
