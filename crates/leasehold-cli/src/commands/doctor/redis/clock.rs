//! The server's clock: against ours, against its own earlier readings, and against the counter of tokens.

use super::patient::Patient;
use super::talk::{Answer, Talk, text, words};
use crate::commands::doctor::finding::Check;
use crate::say::humane;
use crate::store::Fault;
use std::time::{Duration, Instant, SystemTime};

/// By how much two clocks' rates may differ: what the library allows for, in parts per million.
const DRIFT_PPM: i128 = 10_000;

/// The instants of asking and of being answered, and what was answered.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    asked: Instant,
    answered: Instant,
    wall_us: i128,
    server_us: i128,
}

/// Reads the server's clock: the quickest of three.
///
/// # Errors
/// The server is gone.
pub async fn read(talk: &Talk) -> Result<Option<Reading>, Fault> {
    let mut best: Option<Reading> = None;
    for _ in 0..3 {
        let (asked, wall) = (Instant::now(), SystemTime::now());
        let answer = talk.ask(words(["TIME"])).await?;
        let Some(server_us) = time(&answer) else { return Ok(None) };
        let wall_us = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as i128;
        let reading = Reading { asked, answered: Instant::now(), wall_us, server_us };
        best = best.filter(|best| best.trip() <= reading.trip()).or(Some(reading));
    }
    Ok(best)
}

fn time(answer: &Answer) -> Option<i128> {
    let [seconds, micros] = answer.items().try_into().ok()?;
    Some(text(&seconds)?.parse::<i128>().ok()? * 1_000_000 + text(&micros)?.parse::<i128>().ok()?)
}

impl Reading {
    fn trip(&self) -> Duration {
        self.answered - self.asked
    }

    /// How far the server is ahead of our wall clock, the half of the round trip taken off, and how wrong that may be.
    fn ahead(&self) -> (i128, i128) {
        let half = self.trip().as_micros() as i128 / 2;
        (self.server_us - self.wall_us - half, half)
    }
}

/// What the readings, in the order in which they were made, say of the clock.
pub fn checks(patient: &Patient, readings: &[Reading]) -> Vec<Check> {
    let Some(first) = readings.first() else { return Vec::new() };
    vec![offset(first), rate(readings, patient)]
}

fn offset(reading: &Reading) -> Check {
    let id = "redis.clock";
    let (ahead, doubt) = reading.ahead();
    let apart = ahead.unsigned_abs().saturating_sub(doubt.unsigned_abs());
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    let seen = format!("the server is {} {way} this host, ± {}", span(ahead.unsigned_abs()), span(doubt.unsigned_abs()));
    if apart < 1_000_000 {
        return Check::ok(id, "the server's clock agrees with this host's", seen);
    }
    Check::warning(id, "the server's clock and this host's differ", seen)
        .means(
            "one of the two is not synchronised. Leases do not compare clocks, so P1 holds as long as neither is stepped; a step \
             forward of the server's clock ends leases early and breaks P1. P2 rests on the server's clock where it lost its data",
        )
        .remedy("timedatectl timesync-status || chronyc tracking    # on both hosts: which one is wrong? Slew it, do not step it")
}

/// Only what no delay of an answer can explain counts.
fn rate(readings: &[Reading], patient: &Patient) -> Check {
    let id = "redis.clock_rate";
    let pairs = || readings.iter().enumerate().flat_map(|(at, a)| readings[at + 1..].iter().map(move |b| (a, b)));
    let worst = pairs().map(|(a, b)| deviation(a, b)).max_by_key(|excess| excess.unsigned_abs()).unwrap_or(0);
    let whole = readings[readings.len() - 1].answered - readings[0].asked;
    if worst == 0 {
        let seen = format!("over {} no reading was off by more than its own round trip and 1 %", humane(whole));
        return Check::ok(id, "the server's clock runs as this host's does", seen);
    }
    let way = if worst < 0 { "lost" } else { "gained" };
    let seen = format!("over {} it {way} at least {} on this host's steady clock", humane(whole), span(worst.unsigned_abs()));
    Check::danger(id, "the server's clock jumped, or runs at another rate", seen)
        .means(
            "P1 rests on clocks whose rates differ by 1 % at most. One that gains ends leases early: another is granted while \
             the holder still believes. One that loses delays those who wait, and can break P2 if the data is lost too",
        )
        .remedy(format!("chronyc tracking    # on {}: let it be slewed, never stepped", where_it_is(patient)))
}

fn where_it_is(patient: &Patient) -> String {
    use leasehold::engines::redis::probe::Address;
    match patient.probe.address() {
        Address::Tcp(host, _) | Address::Tls(host, _) => host,
        _ => "this host".into(),
    }
}

/// By how many µs the server's clock surely gained (or lost, below zero) beyond what the allowed drift explains.
fn deviation(a: &Reading, b: &Reading) -> i128 {
    let passed = b.server_us - a.server_us;
    let least = b.asked.saturating_duration_since(a.answered).as_micros() as i128;
    let most = (b.answered - a.asked).as_micros() as i128;
    let (least, most) = (least - least * DRIFT_PPM / 1_000_000 - 1, most + most * DRIFT_PPM / 1_000_000 + 1);
    if passed > most {
        passed - most
    } else if passed < least {
        passed - least
    } else {
        0
    }
}

/// What the counter of tokens says of the clock's past.
pub fn counter(patient: &Patient, answers: &[Answer; 2], reading: &Reading) -> Option<Check> {
    let id = "redis.counter";
    let key = patient.space().counter();
    let [value, left] = answers;
    if matches!(value, Answer::Said(redis::Value::Nil)) {
        return Some(Check::ok(id, "tokens begin at the server's clock", "no counter yet"));
    }
    let shown = shown(key);
    let misused = |seen: String| {
        Check::danger(id, "the token counter's key is in use by something else", seen)
            .means("locks do not work: no token can be given, so no client can connect")
            .remedy(patient.command(["DEL", key]) + "    # once whoever wrote it is stopped")
    };
    let counter = match value {
        Answer::Refused(code, _) if code == "WRONGTYPE" => return Some(misused(format!("{shown} is no string"))),
        Answer::Refused(..) => return None,
        said => match said.text().and_then(|text| text.parse::<i128>().ok()) {
            Some(counter) => counter,
            None => return Some(misused(format!("{shown} is no number"))),
        },
    };
    let ahead = counter - reading.server_us;
    let seen = format!(
        "the counter is {} {} the server's clock",
        span(ahead.unsigned_abs()),
        if ahead > 0 { "ahead of" } else { "behind" }
    );
    if ahead > 1_000_000 {
        return Some(
            Check::warning(id, "the server's clock went back since it gave tokens", seen)
                .means("P1 and P2 hold while the server keeps its data; if that is lost before the clock has caught up, tokens are given twice: P2 is broken")
                .remedy("# keep the data (see redis.persistence) until the clock has caught up"),
        );
    }
    if left.number().is_some_and(|left| left >= 0) {
        return Some(
            Check::warning(id, "the token counter has an expiry", seen)
                .means("P2 rests on the server's clock alone once it has ended; the next client that connects mends that")
                .remedy(patient.command(["PERSIST", key])),
        );
    }
    Some(Check::ok(id, "tokens rise with the server's clock", seen))
}

fn shown(key: &str) -> String {
    key.replace('\u{1}', "\\x01")
}

fn span(us: u128) -> String {
    match u64::try_from(us).unwrap_or(u64::MAX) {
        us @ 0..1000 => format!("{us}µs"),
        us => humane(Duration::from_micros(us)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(zero: Instant, asked_ms: u64, answered_ms: u64, server_ms: i128) -> Reading {
        let at = |ms| zero + Duration::from_millis(ms);
        Reading { asked: at(asked_ms), answered: at(answered_ms), wall_us: 0, server_us: server_ms * 1000 }
    }

    #[test]
    fn a_slow_answer_is_no_jump_and_a_jump_is_one() {
        let zero = Instant::now();
        let off = |server_ms| deviation(&reading(zero, 0, 10, 5), &reading(zero, 1000, 1500, server_ms)) / 1000;
        for well in [1000, 1250, 1500] {
            assert_eq!(off(well), 0, "{well}");
        }
        // At most 1500 ms and 1 % may have passed, at least 990 ms less 1 %.
        assert!((1479..=1480).contains(&off(3000)), "{}", off(3000));
        assert!(off(900) < 0);
    }

    #[test]
    fn the_offset_is_corrected_by_half_the_round_trip() {
        let zero = Instant::now();
        let told = Reading { wall_us: 1_000_000, ..reading(zero, 0, 400, 1200) };
        assert_eq!(told.ahead(), (0, 200_000));
    }
}
