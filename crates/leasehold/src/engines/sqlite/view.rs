//! What `inspect` and `list` see of a lock database.

use super::book::span;
use super::rows::{Here, Holder, Rows, State, Waiter};
use crate::engine::{Inspection, Party, PartyState};
use leasehold_core::ResourceName;
use rusqlite::Result;
use std::collections::BTreeMap;

/// Rows read at once.
const CHUNK: u32 = 256;

/// Who holds and who waits for one resource.
pub(super) fn inspect(rows: Rows<'_>, here: Here<'_>, resource: ResourceName) -> Result<Inspection> {
    let mut seen = Inspection::free(resource);
    let holders = rows.holders(seen.resource.as_str())?;
    seen.holders = holders.iter().filter_map(|row| holder(row, here)).collect();
    let mut after = 0;
    while let Some(row) = rows.next_waiter(seen.resource.as_str(), after)? {
        after = row.arrival;
        seen.waiters.extend(waiter(&row, here));
    }
    Ok(seen)
}

/// The same for every resource, sorted by name.
pub(super) fn list(rows: Rows<'_>, here: Here<'_>) -> Result<Vec<Inspection>> {
    let mut seen: BTreeMap<String, Inspection> = BTreeMap::new();
    let mut after = (String::new(), 0);
    loop {
        let chunk = rows.holders_after((&after.0, after.1), CHUNK)?;
        let Some(last) = chunk.last() else { break };
        after = (last.resource.clone(), last.rank.as_i64());
        for (row, party) in chunk.iter().filter_map(|row| holder(row, here).map(|party| (row, party))) {
            if let Some(entry) = entry(&mut seen, &row.resource) {
                entry.holders.push(party);
            }
        }
    }
    after = (String::new(), 0);
    loop {
        let chunk = rows.waiters_after((&after.0, after.1), CHUNK)?;
        let Some(last) = chunk.last() else { break };
        after = (last.resource.clone(), last.arrival);
        for (row, party) in chunk.iter().filter_map(|row| waiter(row, here).map(|party| (row, party))) {
            if let Some(entry) = entry(&mut seen, &row.resource) {
                entry.waiters.push(party);
            }
        }
    }
    Ok(seen.into_values().collect())
}

/// The entry of a resource; `None` if a stranger wrote a name that is none.
fn entry<'m>(seen: &'m mut BTreeMap<String, Inspection>, resource: &str) -> Option<&'m mut Inspection> {
    if !seen.contains_key(resource) {
        let name = ResourceName::new(resource).ok()?;
        seen.insert(resource.into(), Inspection::free(name));
    }
    seen.get_mut(resource)
}

fn holder(row: &Holder, here: Here<'_>) -> Option<Party> {
    let left = row.record_left(here);
    if left.has_ended() {
        return None;
    }
    let state = match row.state {
        State::Ghost => PartyState::Ghost,
        State::Revoked => PartyState::Revoked,
        _ if row.lease_left(here).has_ended() => PartyState::Ghost,
        State::Live => PartyState::Live,
        State::Detached => PartyState::Detached,
    };
    Some(Party {
        claim: Some(row.claim),
        token: Some(row.token),
        since: row.mark.is_of(here).then(|| span(here.now - row.since)),
        lease_left: Some(span(left.nanos())),
        about: serde_json::from_str(&row.about).ok(),
        state,
        ..Party::default()
    })
}

fn waiter(row: &Waiter, here: Here<'_>) -> Option<Party> {
    let left = row.left(here);
    if left.has_ended() {
        return None;
    }
    Some(Party {
        claim: Some(row.claim),
        since: row.mark.is_of(here).then(|| span(here.now - row.since)),
        lease_left: Some(span(left.nanos())),
        about: serde_json::from_str(&row.about).ok(),
        ..Party::default()
    })
}
