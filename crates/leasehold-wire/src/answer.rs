//! The answers: what a server said, and what it means.

use crate::call::HoldState;
use leasehold_core::{ClaimId, ReqNo, ResourceName, Token};
use std::fmt;
use std::time::Duration;

/// A server's answer, free of any driver's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// Done.
    Ok,
    /// A number.
    Int(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Reply>),
    /// An error: its code and the rest.
    Error(String, String),
}

/// An answer of a shape that was never agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an answer that makes no sense: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

fn malformed(reply: &Reply) -> Malformed {
    Malformed(format!("{reply:?}").chars().take(200).collect())
}

/// What a lock's key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nobody holds.
    Free,
    /// A claim holds; others are kept out for so long after its lease.
    Held(ClaimId, Duration),
    /// The holder is gone, and others are kept out for a while.
    Ghost(ClaimId),
    /// An operator took the hold away.
    Revoked(ClaimId),
    /// A foreign client's value.
    Foreign(Vec<u8>),
}

impl Record {
    /// Reads the value of a lock's key.
    pub fn read(value: &[u8]) -> Record {
        let known = match value {
            [] => Some(Record::Free),
            [b'~', rest @ ..] => claim_and_delay(rest).map(|(claim, _)| Record::Ghost(claim)),
            [b'!', rest @ ..] => claim_and_delay(rest).map(|(claim, _)| Record::Revoked(claim)),
            // Without the `+` it is of a foreign client that writes 32 digits too.
            all => claim_and_delay(all).filter(|_| all.contains(&b'+')).map(|(claim, delay)| Record::Held(claim, delay)),
        };
        known.unwrap_or_else(|| Record::Foreign(value.to_vec()))
    }

    /// The claim that the record names, whatever else it says of it.
    pub fn claim(&self) -> Option<ClaimId> {
        match self {
            Record::Held(claim, _) | Record::Ghost(claim) | Record::Revoked(claim) => Some(*claim),
            Record::Free | Record::Foreign(_) => None,
        }
    }
}

/// Reads `<claim>`, `<claim>+` or `<claim>+<delay_ms>`.
fn claim_and_delay(bytes: &[u8]) -> Option<(ClaimId, Duration)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (claim, delay_ms) = match text.split_once('+') {
        Some((claim, "")) => (claim, 0),
        Some((claim, delay_ms)) => (claim, delay_ms.parse().ok()?),
        None => (text, 0),
    };
    Some((claim.parse().ok()?, Duration::from_millis(delay_ms)))
}

/// Who stands in the way, and for how long; `None` without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What the lock's key says.
    pub record: Record,
    /// What is left of its life.
    pub left: Option<Duration>,
}

/// The answer to a claim by script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It holds; the counter says so, and how many tokens were set aside behind it.
    Granted(u64, u32),
    /// It has a place, by an entry that was made then (µs on the server's clock).
    Queued(Obstacle, u64),
    /// It has none.
    Busy(Obstacle),
    /// It was released or revoked before.
    Stale,
    /// Call again.
    Again,
}

/// The answer to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Done.
    Released,
    /// The claim is not known, and nobody holds.
    Absent,
    /// The claim is not known, and another holds.
    Taken(Obstacle),
    /// Call again.
    Again,
}

/// The answers of the native claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Native {
    /// The lock is ours; the counter, or why there is none.
    Set(Result<u64, Reply>),
    /// Another holds, or the key is of another type; or another may hold by now, since the lock was taken away at once.
    Held,
    /// The lock's key could not be set, for this reason.
    Refused(Reply),
}

/// Reads the answers to `SET` and `INCR`, and to `GET` if the claim was made with it; `value` is what was set.
///
/// # Errors
/// [`Malformed`].
pub fn native(replies: &[Reply], value: &str) -> Result<Native, Malformed> {
    Ok(match replies {
        [Reply::Nil, ..] => Native::Held,
        [error @ Reply::Error(..), ..] => Native::Refused(error.clone()),
        [Reply::Ok, _, Reply::Bytes(stands)] if stands != value.as_bytes() => Native::Held,
        [Reply::Ok, _, Reply::Nil] => Native::Held,
        [Reply::Ok, _, error @ Reply::Error(..)] => Native::Set(Err(error.clone())),
        [Reply::Ok, Reply::Int(counter), ..] => Native::Set(Ok(u64::try_from(*counter).unwrap_or(0))),
        [Reply::Ok, other, ..] => Native::Set(Err(other.clone())),
        [other, ..] => return Err(malformed(other)),
        [] => return Err(malformed(&Reply::Nil)),
    })
}

/// Reads the answer of the claim script.
///
/// # Errors
/// [`Malformed`].
pub fn claimed(reply: Reply) -> Result<Claimed, Malformed> {
    Ok(match &reply {
        Reply::Int(4) => Claimed::Stale,
        Reply::Int(5) => Claimed::Again,
        Reply::Bytes(text) => queued(text).ok_or_else(|| malformed(&reply))?,
        Reply::List(items) => match items.as_slice() {
            [Reply::Int(1), Reply::Int(counter), Reply::Int(spare)] => {
                Claimed::Granted(u64::try_from(*counter).unwrap_or(0), u32::try_from(*spare).unwrap_or(0))
            }
            [Reply::Int(3), rest @ ..] => Claimed::Busy(obstacle(rest).ok_or_else(|| malformed(&reply))?),
            _ => return Err(malformed(&reply)),
        },
        _ => return Err(malformed(&reply)),
    })
}

/// Reads the answer of the release script.
///
/// # Errors
/// [`Malformed`].
pub fn released(reply: Reply) -> Result<Ended, Malformed> {
    Ok(match &reply {
        Reply::Int(1) => Ended::Released,
        Reply::Int(2) => Ended::Absent,
        Reply::Int(5) => Ended::Again,
        Reply::List(items) => match items.as_slice() {
            [Reply::Int(3), rest @ ..] => Ended::Taken(obstacle(rest).ok_or_else(|| malformed(&reply))?),
            _ => return Err(malformed(&reply)),
        },
        _ => return Err(malformed(&reply)),
    })
}

/// The answer to a renewal that came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prolonged {
    /// False if nobody waits.
    pub others_wait: bool,
    /// The last of the tokens that were set aside, and how many there are.
    pub tokens: Option<(u64, u32)>,
}

/// Reads the answer of the renew script; `None` if the claim does not hold.
///
/// # Errors
/// [`Malformed`].
pub fn renewed(reply: Reply) -> Result<Option<Prolonged>, Malformed> {
    let block = |last: i64, count: i64| Some((u64::try_from(last).ok()?, u32::try_from(count).ok()?));
    let (status, tokens) = match &reply {
        Reply::Int(status) => (*status, None),
        Reply::List(items) => match items.as_slice() {
            [Reply::Int(status), Reply::Int(last), Reply::Int(count)] => (*status, block(*last, *count)),
            _ => return Err(malformed(&reply)),
        },
        _ => return Err(malformed(&reply)),
    };
    match status {
        0 => Ok(None),
        1 | 2 => Ok(Some(Prolonged { others_wait: status == 2, tokens })),
        _ => Err(malformed(&reply)),
    }
}

/// Reads an answer that is a count: of the raise script, and of the registry script.
///
/// # Errors
/// [`Malformed`].
pub fn counter(reply: Reply) -> Result<u64, Malformed> {
    match reply {
        Reply::Int(counter) if counter > 0 => Ok(counter.unsigned_abs()),
        other => Err(malformed(&other)),
    }
}

fn obstacle(items: &[Reply]) -> Option<Obstacle> {
    let [Reply::Int(left_ms), Reply::Bytes(value)] = items else { return None };
    Some(obstacle_of(value, *left_ms))
}

/// Reads `<left_ms> <made_us> <value>`.
fn queued(text: &[u8]) -> Option<Claimed> {
    let mut words = text.splitn(3, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<i64>().ok();
    let (left_ms, made_us) = (number()?, u64::try_from(number()?).ok()?);
    Some(Claimed::Queued(obstacle_of(words.next()?, left_ms), made_us))
}

fn obstacle_of(value: &[u8], left_ms: i64) -> Obstacle {
    // An empty value is a foreign client's, unless there is no key at all.
    let record = if value.is_empty() && left_ms != -2 { Record::Foreign(Vec::new()) } else { Record::read(value) };
    Obstacle { record, left: left(left_ms) }
}

fn left(ms: i64) -> Option<Duration> {
    match ms {
        -1 => None,
        ms => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
    }
}

/// One resource, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Who holds.
    pub holder: Obstacle,
    /// The server's clock in µs since 1970.
    pub now_us: u64,
    /// Who waits, first in line first.
    pub waiters: Vec<Waiting>,
}

/// A waiter, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which claim.
    pub claim: ClaimId,
    /// What is left of its place.
    pub left: Duration,
}

/// Reads the answer of the inspect script.
///
/// # Errors
/// [`Malformed`].
pub fn looked(reply: Reply) -> Result<Looked, Malformed> {
    let read = |items: &[Reply]| {
        let [Reply::Bytes(value), Reply::Int(left_ms), Reply::Int(now_us), Reply::List(waiters)] = items else { return None };
        let waiters = waiters.chunks(2).map(waiting).collect::<Option<Vec<Waiting>>>()?;
        let holder = obstacle_of(value, *left_ms);
        Some(Looked { holder, now_us: u64::try_from(*now_us).ok()?, waiters })
    };
    let Reply::List(items) = &reply else { return Err(malformed(&reply)) };
    read(items).ok_or_else(|| malformed(&reply))
}

fn waiting(pair: &[Reply]) -> Option<Waiting> {
    let [Reply::Bytes(claim), Reply::Int(left_us)] = pair else { return None };
    let claim = std::str::from_utf8(claim).ok()?.parse().ok()?;
    Some(Waiting { claim, left: Duration::from_micros(u64::try_from(*left_us).unwrap_or(0)) })
}

/// What is told on a client's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// A waiter holds now.
    Granted {
        /// Which claim.
        claim: ClaimId,
        /// The last ask that reached its place.
        ask: ReqNo,
        /// The counter.
        counter: u64,
        /// How many tokens were set aside behind it.
        spare: u32,
    },
    /// An operator took the hold or the place away.
    Revoked(ClaimId),
}

impl Push {
    /// Reads a message; `None` if it is not one of ours.
    pub fn read(message: &[u8]) -> Option<Push> {
        let mut words = std::str::from_utf8(message).ok()?.split(' ');
        let push = match (words.next()?, words.next()?.parse().ok()?) {
            ("revoked", claim) => Push::Revoked(claim),
            ("granted", claim) => Push::Granted {
                claim,
                ask: ReqNo(words.next()?.parse().ok()?),
                counter: words.next()?.parse().ok()?,
                spare: words.next()?.parse().ok()?,
            },
            _ => return None,
        };
        words.next().is_none().then_some(push)
    }
}

/// An entry of a client's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Since when, in ms since 1970 by the server's clock.
    pub since_ms: u64,
    /// How the claim stands.
    pub state: HoldState,
    /// Its token, if it is known.
    pub token: Option<Token>,
    /// Of which resource.
    pub resource: ResourceName,
}

impl Listed {
    /// Reads the value of a registry's field; `None` if it is of another schema.
    pub fn read(value: &[u8]) -> Option<Listed> {
        let mut words = std::str::from_utf8(value).ok()?.splitn(4, ' ');
        let since_ms = words.next()?.parse().ok()?;
        let state = match words.next()? {
            "h" => HoldState::Held,
            "w" => HoldState::Waiting,
            "d" => HoldState::Detached,
            _ => return None,
        };
        let token = Token::new(0, u64::from_str_radix(words.next()?, 36).ok()?);
        let resource = ResourceName::new(words.next()?).ok()?;
        Some(Listed { since_ms, state, token, resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: &str = "00000000deadbeef0000000000000007";

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn a_record_of_another_shape_is_a_foreign_clients() {
        let claim = CLAIM.parse().unwrap();
        assert_eq!(Record::read(format!("{CLAIM}+").as_bytes()), Record::Held(claim, Duration::ZERO));
        assert_eq!(Record::read(format!("{CLAIM}+0").as_bytes()), Record::Held(claim, Duration::ZERO));
        assert_eq!(Record::read(format!("{CLAIM}+50").as_bytes()), Record::Held(claim, Duration::from_millis(50)));
        assert_eq!(Record::read(format!("!{CLAIM}+50").as_bytes()), Record::Revoked(claim));
        assert_eq!(Record::read(format!("~{CLAIM}").as_bytes()), Record::Ghost(claim));
        assert_eq!(Record::read(format!("!{CLAIM}").as_bytes()), Record::Revoked(claim));
        for foreign in [CLAIM, "x", "+", "~", "~~", "00000000DEADBEEF0000000000000007", "\u{7f}"] {
            assert_eq!(Record::read(foreign.as_bytes()), Record::Foreign(foreign.as_bytes().to_vec()));
        }
    }

    #[test]
    fn the_items_of_a_native_claim_are_read_singly() {
        let error = Reply::Error("OOM".to_owned(), "too much".to_owned());
        assert_eq!(native(&[Reply::Ok, Reply::Int(7)], "x"), Ok(Native::Set(Ok(7))));
        assert_eq!(native(&[Reply::Ok, error.clone()], "x"), Ok(Native::Set(Err(error.clone()))));
        assert_eq!(native(&[error.clone(), Reply::Int(7)], "x"), Ok(Native::Refused(error.clone())));
        assert_eq!(native(&[Reply::Nil, Reply::Int(7)], "x"), Ok(Native::Held));
        assert!(native(&[], "x").is_err());
        assert!(native(&[Reply::Int(1), Reply::Int(7)], "x").is_err());
        assert_eq!(native(&[Reply::Ok, Reply::Int(7), bytes("x")], "x"), Ok(Native::Set(Ok(7))));
        assert_eq!(native(&[Reply::Ok, Reply::Int(7), error.clone()], "x"), Ok(Native::Set(Err(error))));
        for taken_away in [bytes("y"), Reply::Nil] {
            assert_eq!(native(&[Reply::Ok, Reply::Int(7), taken_away], "x"), Ok(Native::Held));
        }
    }

    #[test]
    fn who_is_queued_is_told_what_is_in_the_way_whatever_its_value() {
        let queued = |text: &str| claimed(bytes(text));
        let holder = Record::Held(CLAIM.parse().unwrap(), Duration::ZERO);
        let told = |record, left| Ok(Claimed::Queued(Obstacle { record, left }, 5));
        let ours = format!("17 5 {CLAIM}+0");
        assert_eq!(queued(&ours), told(holder, Some(Duration::from_millis(17))));
        assert_eq!(queued("-1 5 a b "), told(Record::Foreign(b"a b ".to_vec()), None));
        assert_eq!(queued("-2 5 "), told(Record::Free, Some(Duration::ZERO)));
        for other in ["", "17", "17 5", "17 x y", "17 -5 y", " 17 5"] {
            assert!(queued(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_lease_without_an_end_is_told_apart_from_one_that_is_over() {
        let busy = |ms| claimed(Reply::List(vec![Reply::Int(3), Reply::Int(ms), bytes("foreign")])).unwrap();
        let Claimed::Busy(endless) = busy(-1) else { panic!() };
        let Claimed::Busy(over) = busy(-2) else { panic!() };
        assert_eq!((endless.left, over.left), (None, Some(Duration::ZERO)));
    }

    #[test]
    fn only_whole_messages_of_ours_are_pushes() {
        let claim = CLAIM.parse().unwrap();
        let granted = Push::Granted { claim, ask: ReqNo(3), counter: 1_700_000_000_000_000, spare: 16 };
        assert_eq!(Push::read(format!("granted {CLAIM} 3 1700000000000000 16").as_bytes()), Some(granted));
        assert_eq!(Push::read(format!("revoked {CLAIM}").as_bytes()), Some(Push::Revoked(claim)));
        for other in [
            "",
            "granted",
            &format!("granted {CLAIM} 3"),
            &format!("granted {CLAIM} 3 4"),
            &format!("granted {CLAIM} 3 4 5 6"),
            &format!("held {CLAIM}"),
        ] {
            assert_eq!(Push::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_registry_entry_keeps_a_name_with_spaces() {
        let listed = Listed::read(b"17 w 0 a b  c").unwrap();
        assert_eq!((listed.resource.as_str(), listed.token, listed.state), ("a b  c", None, HoldState::Waiting));
        assert_eq!(Listed::read(b"17 x 0 a"), None);
    }
}
