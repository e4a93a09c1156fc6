//! Who holds and who waits, for people and for programs.

use crate::say::{humane, plain};
use leasehold::engine::{About, Inspection, Party, PartyState};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// A lock in the stable shape of `--json`.
#[derive(Debug, Serialize)]
pub struct Lock {
    name: String,
    holders: Vec<Who>,
    waiters: Vec<Who>,
}

/// A holder or waiter in the stable shape of `--json`.
#[derive(Debug, Serialize)]
struct Who {
    claim: Option<String>,
    foreign: Option<String>,
    token: Option<u64>,
    since_ms: Option<u64>,
    lease_left_ms: Option<u64>,
    state: PartyState,
    host: Option<String>,
    pid: Option<u32>,
    program: Option<String>,
    label: Option<String>,
}

impl From<&Inspection> for Lock {
    fn from(seen: &Inspection) -> Lock {
        Lock {
            name: seen.resource.to_string(),
            holders: seen.holders.iter().map(Who::from).collect(),
            waiters: seen.waiters.iter().map(Who::from).collect(),
        }
    }
}

impl From<&Party> for Who {
    fn from(party: &Party) -> Who {
        let about = party.about.as_ref();
        Who {
            claim: party.claim.map(|claim| claim.to_string()),
            foreign: party.foreign.clone(),
            token: party.token.map(|token| token.as_u64()),
            since_ms: party.since.map(millis),
            lease_left_ms: party.lease_left.map(millis),
            state: party.state,
            host: about.map(|about| about.host.clone()),
            pid: about.map(|about| about.pid),
            program: about.map(|about| about.program.clone()),
            label: about.and_then(|about| about.label.clone()),
        }
    }
}

/// A span in whole milliseconds.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// One line on who holds, for somebody who waits.
pub fn who_holds(seen: &Inspection) -> String {
    let waiters = match seen.waiters.len() {
        0 | 1 => String::new(),
        count => format!(", {count} waiting"),
    };
    let Some(holder) = seen.holders.first() else { return format!("nobody holds it at this moment{waiters}") };
    let since = holder.since.map_or(String::new(), |since| format!(" for {}", humane(since)));
    let more = match seen.holders.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    format!("held by {}{more}{since}, {}{waiters}", who(holder), left(holder))
}

/// The table of `list`: a line for each lock.
pub fn list(all: &[Inspection]) -> String {
    let mut rows = vec![["NAME", "HELD BY", "SINCE", "LEFT", "WAITING"].map(String::from)];
    for seen in all {
        let holder = seen.holders.first();
        let more = if seen.holders.len() > 1 { format!(" +{}", seen.holders.len() - 1) } else { String::new() };
        rows.push([
            plain(seen.resource.as_str()),
            holder.map_or("-".into(), |holder| who(holder) + &more),
            holder.and_then(|holder| holder.since).map_or("-".into(), humane),
            holder.map_or("-".into(), short_left),
            seen.waiters.len().to_string(),
        ]);
    }
    table(&rows)
}

/// The table of `inspect`: a line for each holder and waiter.
pub fn inspect(seen: &Inspection) -> String {
    if seen.holders.is_empty() && seen.waiters.is_empty() {
        return format!("{}: free\n", plain(seen.resource.as_str()));
    }
    let mut rows = vec![["", "WHO", "SINCE", "LEFT", "TOKEN", "CLAIM"].map(String::from)];
    let roles = seen.holders.iter().map(|party| ("holds", party)).chain(seen.waiters.iter().map(|party| ("waits", party)));
    for (role, party) in roles {
        rows.push([
            role.into(),
            who(party),
            party.since.map_or("-".into(), humane),
            short_left(party),
            party.token.map_or("-".into(), |token| token.to_string()),
            party.claim.map_or("-".into(), |claim| claim.to_string()),
        ]);
    }
    table(&rows)
}

/// A holder or waiter, as people know it.
pub fn who(party: &Party) -> String {
    let mut text = match (&party.about, &party.foreign) {
        (Some(about), _) => client(about),
        (None, Some(foreign)) => format!("a foreign client ({})", foreign.escape_debug()),
        (None, None) => "an unknown client".into(),
    };
    match party.state {
        PartyState::Detached => text += " [detached]",
        PartyState::Ghost => text += " [gone, others kept out]",
        PartyState::Revoked => text += " [revoked]",
        _ => {}
    }
    text
}

fn client(about: &About) -> String {
    let label = about.label.as_ref().map_or(String::new(), |label| format!(" {label:?}"));
    format!("{} pid {} on {}{label}", plain(&about.program), about.pid, plain(&about.host))
}

fn left(party: &Party) -> String {
    party.lease_left.map_or("without an expiry".into(), |left| format!("{} left", humane(left)))
}

/// What is left of a lease or place, in a column.
pub fn short_left(party: &Party) -> String {
    party.lease_left.map_or("no expiry".into(), humane)
}

/// Aligned columns, two spaces apart, nothing after the last.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold::{ClaimId, ResourceName, Token};

    fn seen() -> Inspection {
        let mut seen = Inspection::free(ResourceName::new("order:1").unwrap());
        let mut holder = Party::default();
        holder.claim = Some(ClaimId::new(1, 2));
        holder.token = Token::new(0, 42);
        holder.since = Some(Duration::from_secs(75));
        holder.lease_left = Some(Duration::from_millis(800));
        holder.about = Some(About { host: "h".into(), pid: 7, program: "p".into(), label: Some("l".into()) });
        holder.state = PartyState::Detached;
        let mut waiter = Party::default();
        waiter.foreign = Some("x".into());
        seen.holders.push(holder);
        seen.waiters.push(waiter);
        seen
    }

    #[test]
    fn the_json_shape_is_this() {
        let expected = "{\"name\":\"order:1\",\"holders\":[{\"claim\":\"00000000000000010000000000000002\",\"foreign\":null,\
            \"token\":42,\"since_ms\":75000,\"lease_left_ms\":800,\"state\":\"detached\",\"host\":\"h\",\"pid\":7,\
            \"program\":\"p\",\"label\":\"l\"}],\"waiters\":[{\"claim\":null,\"foreign\":\"x\",\"token\":null,\
            \"since_ms\":null,\"lease_left_ms\":null,\"state\":\"live\",\"host\":null,\"pid\":null,\"program\":null,\
            \"label\":null}]}";
        assert_eq!(serde_json::to_string(&Lock::from(&seen())).unwrap(), expected);
    }

    #[test]
    fn the_tables_are_aligned_and_say_foreign_and_endless_plainly() {
        assert_eq!(
            inspect(&seen()),
            "       WHO                          SINCE   LEFT       TOKEN  CLAIM\n\
             holds  p pid 7 on h \"l\" [detached]  1m 15s  800ms      42     00000000000000010000000000000002\n\
             waits  a foreign client (x)         -       no expiry  -      -\n"
        );
        assert_eq!(
            list(&[seen()]),
            "NAME     HELD BY                      SINCE   LEFT   WAITING\n\
             order:1  p pid 7 on h \"l\" [detached]  1m 15s  800ms  1\n"
        );
        assert_eq!(who_holds(&seen()), "held by p pid 7 on h \"l\" [detached] for 1m 15s, 800ms left");
    }

    #[test]
    fn what_others_wrote_of_themselves_reaches_no_terminal_raw() {
        let mut seen = seen();
        let about = About { host: "h\u{1b}[2J".into(), pid: 7, program: "p\n\u{202e}".into(), label: Some("\u{9b}1m".into()) };
        seen.holders[0].about = Some(about);
        for text in [list(&[seen.clone()]), inspect(&seen), who_holds(&seen)] {
            assert!(text.contains(r#"p\n\u{202e} pid 7 on h\u{1b}[2J "\u{9b}1m""#), "{text}");
        }
    }

    #[test]
    fn a_free_lock_is_said_to_be_free() {
        assert_eq!(inspect(&Inspection::free(ResourceName::new("a").unwrap())), "a: free\n");
    }
}
