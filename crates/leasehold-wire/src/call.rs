//! The calls: which script with which keys and arguments.

use crate::keys::{Keys, Space};
use crate::scripts::{CLAIM, DETACH, FORGET, INSPECT, RAISE, REGISTRY, RELEASE, RENEW, Script};
use leasehold_core::{Ask, ClaimId, Manner, ResourceName, Terms, Token};
use std::iter;
use std::time::Duration;

/// A script with its keys and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which script.
    pub script: &'static Script,
    /// Its keys, and its arguments behind them.
    texts: Vec<String>,
    keys: usize,
}

impl Call {
    /// Its keys.
    pub fn keys(&self) -> &[String] {
        &self.texts[..self.keys]
    }

    /// Its arguments.
    pub fn args(&self) -> &[String] {
        &self.texts[self.keys..]
    }
}

fn call(script: &'static Script, keys: Vec<String>, args: impl IntoIterator<Item = String>) -> Call {
    let (keys, mut texts) = (keys.len(), keys);
    texts.extend(args);
    debug_assert!(keys >= script.least_keys);
    debug_assert!(texts.len() - keys >= script.least_args);
    Call { script, texts, keys }
}

/// The first ask of a fresh claim in native commands, one write: `SET lock value NX PX px_ms`, `INCR counter`, and where a
/// revocation would not be heard on the same connection, `GET lock`. Who holds is not asked for.
///
/// It is not a transaction, which would cost the server as much again as the `INCR`. Nobody else is granted between the two
/// commands as long as the record stands, and it goes in three ways. Its lease runs out: then the answer comes past the
/// deadline, which is counted from before the sending. The data are lost: then the counter is below the floor. An operator takes it
/// away at once: then the word of it comes before the counter's answer where both travel on one connection, and elsewhere the
/// last command shows that the record is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeClaim<'a> {
    /// The lock's key.
    pub lock: String,
    /// What it is set to.
    pub value: String,
    /// How long it lives.
    pub px_ms: u64,
    /// The counter's key.
    pub counter: &'a str,
}

impl NativeClaim<'_> {
    /// The ask of `claim` on `terms`. A store keeps the record for the ttl and the delay behind it.
    pub fn new<'a>(space: &'a Space, name: &ResourceName, (claim, terms): (ClaimId, Terms)) -> NativeClaim<'a> {
        NativeClaim {
            lock: space.lock(name),
            value: record_value(claim, terms.lock_delay),
            px_ms: millis(terms.ttl) + millis(terms.lock_delay),
            counter: space.counter(),
        }
    }
}

/// What a lock's key says while `claim` holds it; a delay behind the lease is part of it, since a release and a look must
/// know when the lease itself is over. The `+` tells it from the values of foreign clients, which may be 32 digits too.
fn record_value(claim: ClaimId, lock_delay: Duration) -> String {
    let mut value = String::with_capacity(40);
    value.push_str(std::str::from_utf8(&claim.digits()).expect("digits are ASCII"));
    value.push('+');
    if !lock_delay.is_zero() {
        value.push_str(&millis(lock_delay).to_string());
    }
    value
}

/// What is known of a claim's entry in the queue of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has none.
    Absent,
    /// It was made then, in µs on the server's clock. Nothing but that tells a server where it is, short of reading the queue.
    Made(u64),
    /// Most likely that one; if that is gone, it may have another that was made at this time, on the server's clock, or later.
    Likely(u64, u64),
    /// It may have one that was made at this time or later.
    Unknown(u64),
}

impl Entry {
    fn text(self) -> Option<String> {
        match self {
            Entry::Absent => None,
            Entry::Made(made_us) => Some(made_us.to_string()),
            Entry::Likely(made_us, since_us) => Some(format!("{made_us}?{since_us}")),
            Entry::Unknown(since_us) => Some(format!("?{since_us}")),
        }
    }
}

/// An ask by script.
pub fn claim(space: &Space, name: &ResourceName, (claim, entry): (ClaimId, Entry), (terms, ask): (Terms, Ask)) -> Call {
    let (life, margin) = (micros(terms.place_life), micros(terms.place_margin));
    let mut place = format!("{claim} {} {life} {margin} {}", ask.no.0, millis(terms.lock_delay));
    if ask.spare > 0 {
        place += &format!(" {}", ask.spare);
    }
    let mut wait = u8::from(ask.wait).to_string();
    if let Some(made) = entry.text() {
        wait += &format!(" {made}");
    }
    let args = [place, wait, millis(terms.ttl).to_string()];
    call(&CLAIM, space.lock_and_queue(name), args)
}

/// A release or a withdrawal.
pub fn release(space: &Space, name: &ResourceName, (claim, entry): (ClaimId, Entry), manner: Manner) -> Call {
    let (manner, keep) = match manner {
        Manner::Own { keep } if keep.is_zero() => ("own", keep),
        Manner::Own { keep } => ("keep", keep),
        Manner::Revoke => ("revoke", Duration::ZERO),
        Manner::RevokeNow => ("now", Duration::ZERO),
    };
    let is_plain = manner == "own" && entry == Entry::Absent;
    let words = (!is_plain).then(|| [manner.to_owned(), millis(keep).to_string()]);
    let args = iter::once(record_value(claim, Duration::ZERO)).chain(words.into_iter().flatten()).chain(entry.text());
    call(&RELEASE, space.lock_and_queue(name), args)
}

/// A renewal that sets so many tokens aside.
pub fn renew(space: &Space, name: &ResourceName, claim: ClaimId, (terms, tokens): (Terms, u32)) -> Call {
    let delay = (tokens > 0 || !terms.lock_delay.is_zero()).then(|| millis(terms.lock_delay).to_string());
    let tokens = (tokens > 0).then(|| tokens.to_string());
    let args = [claim.to_string(), millis(terms.ttl).to_string()].into_iter().chain(delay).chain(tokens);
    call(&RENEW, space.lock_and_queue(name), args)
}

/// Lifts the token counter to the server's clock.
pub fn raise(space: &Space) -> Call {
    call(&RAISE, vec![space.counter().to_owned()], Vec::new())
}

/// Reads one resource, with at most `most` waiters.
pub fn inspect(keys: Keys, most: usize) -> Call {
    call(&INSPECT, vec![keys.lock, keys.queue, keys.places], vec![most.to_string()])
}

/// A claim as it stands in its client's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which claim.
    pub claim: ClaimId,
    /// For how long it has stood so.
    pub age: Duration,
    /// How it stands.
    pub state: HoldState,
    /// The token of its grant.
    pub token: Option<Token>,
    /// Of which resource.
    pub resource: ResourceName,
}

/// How a claim stands in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// It holds.
    Held,
    /// It waits.
    Waiting,
    /// It holds, and outlives its client.
    Detached,
}

impl HoldState {
    pub(crate) const fn letter(self) -> &'static str {
        match self {
            HoldState::Held => "h",
            HoldState::Waiting => "w",
            HoldState::Detached => "d",
        }
    }
}

/// Writes what changed in the registry of `client`, which then lives for `life` at least. `about` is JSON.
pub fn registry(space: &Space, (client, life, about): (u64, Duration, &str), gone: &[ClaimId], changes: &[Change]) -> Call {
    let mut args = vec![format!("{client:016x}"), millis(life).to_string(), about.to_owned(), gone.len().to_string()];
    args.extend(gone.iter().map(|claim| registry_field(*claim)));
    for change in changes {
        args.push(registry_field(change.claim));
        args.push(micros(change.age).to_string());
        args.push(change.state.letter().to_owned());
        args.push(token_text(change.token));
        args.push(change.resource.to_string());
    }
    call(&REGISTRY, vec![space.clients(), space.client(client)], args)
}

/// A hold that is to outlive its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detach {
    /// Which claim.
    pub claim: ClaimId,
    /// How long the entry lives at least.
    pub life: Duration,
    /// Its token, if it is known here.
    pub token: Option<Token>,
    /// Of which resource.
    pub resource: ResourceName,
}

/// Writes into the registry of its client that a hold outlives it.
pub fn detach(space: &Space, hold: &Detach) -> Call {
    let client = hold.claim.client();
    let args = vec![
        format!("{client:016x}"),
        millis(hold.life).to_string(),
        registry_field(hold.claim),
        token_text(hold.token),
        hold.resource.to_string(),
    ];
    call(&DETACH, vec![space.clients(), space.client(client)], args)
}

/// Removes one claim from the registry of `client`, or all but the detached.
pub fn forget(space: &Space, client: u64, claim: Option<ClaimId>) -> Call {
    let mut args = vec![format!("{client:016x}")];
    args.extend(claim.map(registry_field));
    call(&FORGET, vec![space.clients(), space.client(client)], args)
}

/// The field of a claim in its client's registry: its own 16 digits, since the client's are in the name of the key.
pub fn registry_field(claim: ClaimId) -> String {
    format!("{:016x}", claim.serial())
}

/// The claim of a field in the registry of `client`; `None` if the field is not of a claim.
pub fn registry_claim(client: u64, field: &[u8]) -> Option<ClaimId> {
    let digits = field.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(field).ok().filter(|text| text.len() == 16 && digits)?;
    Some(ClaimId::new(client, u64::from_str_radix(text, 16).ok()?))
}

/// In base 36: there is one for each lock, and six digits less.
fn token_text(token: Option<Token>) -> String {
    let (mut rest, mut digits) = (token.map_or(0, Token::as_u64), Vec::new());
    loop {
        digits.push(char::from_digit((rest % 36) as u32, 36).expect("a digit of base 36"));
        rest /= 36;
        if rest == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

/// Whole milliseconds, rounded up: a store must not end a lease before the holder's own deadline.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_core::ReqNo;

    fn terms() -> Terms {
        let ms = Duration::from_millis;
        Terms { ttl: Duration::from_micros(9_999_001), lock_delay: ms(5), place_life: ms(6000), place_margin: ms(2000) }
    }

    #[test]
    fn every_call_has_as_many_keys_and_arguments_as_its_script_takes() {
        let space = Space::new("p:").unwrap();
        let name = ResourceName::new("a b").unwrap();
        let id = ClaimId::new(1, 2);
        let ask = Ask { no: ReqNo(7), first: false, wait: true, spare: 0 };
        let hold = Detach { claim: id, life: Duration::from_secs(1), token: None, resource: name.clone() };
        let change =
            Change { claim: id, age: Duration::ZERO, state: HoldState::Held, token: Token::new(0, 9), resource: name.clone() };
        let calls = [
            claim(&space, &name, (id, Entry::Absent), (terms(), ask)),
            release(&space, &name, (id, Entry::Absent), Manner::Own { keep: Duration::ZERO }),
            release(&space, &name, (id, Entry::Made(7)), Manner::Own { keep: Duration::from_secs(1) }),
            release(&space, &name, (id, Entry::Unknown(0)), Manner::Revoke),
            renew(&space, &name, id, (terms(), 16)),
            raise(&space),
            inspect(space.keys(&name), 100),
            registry(&space, (1, Duration::from_secs(9), "{}"), &[id], &[change]),
            detach(&space, &hold),
            forget(&space, 1, None),
        ];
        for call in calls {
            assert!(call.keys().len() >= call.script.least_keys, "{}", call.script.name);
            assert!(call.args().len() >= call.script.least_args, "{}", call.script.name);
        }
    }

    #[test]
    fn a_registry_names_a_claim_by_its_own_half() {
        let claim = ClaimId::new(7, 0xab);
        assert_eq!(registry_field(claim), "00000000000000ab");
        assert_eq!(registry_claim(7, b"00000000000000ab"), Some(claim));
        for other in ["about", "gone", "+0000000000000ab", "00000000000000AB", "000000000000000700000000000000ab"] {
            assert_eq!(registry_claim(7, other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_token_is_written_in_base_36_and_read_again() {
        assert_eq!(token_text(None), "0");
        for counter in [1, 35, 36, 1_700_000_000_000_000, (1 << 53) - 1] {
            let token = Token::new(0, counter);
            let listed = crate::Listed::read(format!("17 h {} a", token_text(token)).as_bytes()).unwrap();
            assert_eq!(listed.token, token);
        }
    }

    #[test]
    fn spans_are_rounded_up_so_that_the_store_never_ends_a_lease_early() {
        let space = Space::new("p:").unwrap();
        let name = ResourceName::new("a").unwrap();
        let native = NativeClaim::new(&space, &name, (ClaimId::new(1, 2), terms()));
        assert_eq!(native.px_ms, 10_005);
        assert_eq!(native.value, "00000000000000010000000000000002+5");
        assert_eq!(record_value(ClaimId::new(1, 2), Duration::ZERO), "00000000000000010000000000000002+");
        let renewal = |terms| renew(&space, &name, ClaimId::new(1, 2), (terms, 0)).args()[1..].to_vec();
        assert_eq!(renewal(terms()), ["10000", "5"]);
        assert_eq!(renewal(Terms { lock_delay: Duration::ZERO, ..terms() }), ["10000"]);
    }
}
