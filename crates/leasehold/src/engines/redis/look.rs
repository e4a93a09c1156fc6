//! The verbs that only read: inspect and list.

use super::fault::Fault;
use super::inner::Inner;
use super::link::Link;
use super::outbox::Replies;
use crate::engine::{About, Inspection, Party, PartyState, Route};
use crate::error::Error;
use futures_util::future::try_join_all;
use leasehold_core::{ClaimId, Instant, ResourceName};
use leasehold_wire::{HoldState, Listed, Looked, Record, Reply, inspect, looked, registry_claim, registry_field};
use redis::{Cmd, cmd};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How many waiters are shown of one resource.
const MOST_WAITERS: usize = 1000;

/// What clients say of themselves, by client.
type Registries = HashMap<u64, Registry>;

#[derive(Debug, Default)]
struct Registry {
    about: Option<About>,
    claims: HashMap<ClaimId, Listed>,
}

pub(super) async fn inspect_verb(inner: Arc<Inner>, resource: ResourceName, io_deadline: Instant) -> Result<Inspection, Error> {
    let link = inner.driver().or_else(|error| inner.link(Route::Caller).map_err(|_| error))?;
    let read = async {
        let looked = look(&inner, &link, &resource, io_deadline).await?;
        let registries = registries_of(&inner, &link, &looked, io_deadline).await?;
        Ok((looked, registries))
    };
    let (looked, registries) = read.await.map_err(|fault: Fault| fault.into_error(&inner.target.space))?;
    Ok(inspection(resource, &looked, &registries))
}

pub(super) async fn list_verb(inner: Arc<Inner>, io_deadline: Instant) -> Result<Vec<Inspection>, Error> {
    let link = inner.driver().or_else(|error| inner.link(Route::Caller).map_err(|_| error))?;
    let read = async {
        let registries = all_registries(&inner, &link, io_deadline).await?;
        let claims = registries.values().flat_map(|registry| registry.claims.values());
        let resources: BTreeSet<ResourceName> = claims.map(|listed| listed.resource.clone()).collect();
        let looks = resources.into_iter().map(|resource| async {
            let looked = look(&inner, &link, &resource, io_deadline).await;
            looked.map(|looked| (resource, looked))
        });
        Ok((try_join_all(looks).await?, registries))
    };
    let (seen, registries) = read.await.map_err(|fault: Fault| fault.into_error(&inner.target.space))?;
    let all = seen.into_iter().map(|(resource, looked)| inspection(resource, &looked, &registries));
    Ok(all.filter(|shown| !shown.holders.is_empty() || !shown.waiters.is_empty()).collect())
}

async fn look(inner: &Inner, link: &Link, resource: &ResourceName, io_deadline: Instant) -> Result<Looked, Fault> {
    let call = inspect(inner.target.space.keys(resource), MOST_WAITERS);
    Ok(looked(link.call(&call, io_deadline).await?)?)
}

/// The registries of those who hold or wait here, as far as these claims go.
async fn registries_of(inner: &Inner, link: &Link, looked: &Looked, io_deadline: Instant) -> Result<Registries, Fault> {
    let claims = looked.holder.record.claim().into_iter().chain(looked.waiters.iter().map(|waiting| waiting.claim));
    let mut by_client: HashMap<u64, Vec<ClaimId>> = HashMap::new();
    for claim in claims {
        by_client.entry(claim.client()).or_default().push(claim);
    }
    let clients: Vec<(u64, Vec<ClaimId>)> = by_client.into_iter().collect();
    let commands = clients.iter().map(|(client, claims)| {
        let mut read = cmd("HMGET");
        read.arg(inner.target.space.client(*client)).arg("about");
        for claim in claims {
            read.arg(registry_field(*claim));
        }
        read
    });
    let answers = ask_all(link, commands.collect(), io_deadline).await?;
    let registries = clients.into_iter().zip(answers).map(|((client, claims), answer)| {
        let fields = std::iter::once("about".to_owned()).chain(claims.into_iter().map(registry_field));
        let Reply::List(values) = answer else { return (client, Registry::default()) };
        (client, registry(client, fields.map(|field| Reply::Bytes(field.into_bytes())).zip(values)))
    });
    Ok(registries.collect())
}

async fn all_registries(inner: &Inner, link: &Link, io_deadline: Instant) -> Result<Registries, Fault> {
    let mut range = cmd("ZRANGE");
    range.arg(inner.target.space.clients()).arg(0).arg(-1);
    let Some(Reply::List(members)) = ask_all(link, vec![range], io_deadline).await?.pop() else { return Ok(Registries::new()) };
    let client = |member: Reply| match member {
        Reply::Bytes(text) => u64::from_str_radix(std::str::from_utf8(&text).ok()?, 16).ok(),
        _ => None,
    };
    let clients: Vec<u64> = members.into_iter().filter_map(client).collect();
    let commands = clients.iter().map(|client| {
        let mut read = cmd("HGETALL");
        read.arg(inner.target.space.client(*client));
        read
    });
    let answers = ask_all(link, commands.collect(), io_deadline).await?;
    let registries = clients.into_iter().zip(answers).map(|(client, answer)| {
        let Reply::List(items) = answer else { return (client, Registry::default()) };
        (client, registry(client, items.chunks(2).filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())))))
    });
    Ok(registries.collect())
}

async fn ask_all(link: &Link, commands: Vec<Cmd>, io_deadline: Instant) -> Result<Replies, Fault> {
    if commands.is_empty() {
        return Ok(Replies::new());
    }
    let replies = link.many(commands, io_deadline).await?;
    match replies.iter().find(|reply| matches!(reply, Reply::Error(..))) {
        Some(error) => Err(Fault::refused(error.clone(), "HGETALL")),
        None => Ok(replies),
    }
}

fn registry(client: u64, fields: impl Iterator<Item = (Reply, Reply)>) -> Registry {
    let mut registry = Registry::default();
    for (field, value) in fields {
        let (Reply::Bytes(field), Reply::Bytes(value)) = (field, value) else { continue };
        if field == b"about" {
            registry.about = serde_json::from_slice(&value).ok();
        } else if let Some(claim) = registry_claim(client, &field)
            && let Some(listed) = Listed::read(&value)
        {
            registry.claims.insert(claim, listed);
        }
    }
    registry
}

fn inspection(resource: ResourceName, looked: &Looked, registries: &Registries) -> Inspection {
    let describe = |claim: ClaimId, left: Option<Duration>| {
        let registry = registries.get(&claim.client());
        let listed = registry.and_then(|registry| registry.claims.get(&claim)).filter(|listed| listed.resource == resource);
        let detached = listed.is_some_and(|listed| listed.state == HoldState::Detached);
        Party {
            claim: Some(claim),
            token: listed.and_then(|listed| listed.token),
            since: listed.map(|listed| Duration::from_millis((looked.now_us / 1000).saturating_sub(listed.since_ms))),
            lease_left: left,
            about: registry.and_then(|registry| registry.about.clone()),
            state: if detached { PartyState::Detached } else { PartyState::Live },
            ..Party::default()
        }
    };
    let left = looked.holder.left;
    let holder = match &looked.holder.record {
        Record::Free => None,
        Record::Held(claim, delay) if left.is_some_and(|left| left <= *delay) => {
            Some(Party { state: PartyState::Ghost, ..describe(*claim, left) })
        }
        Record::Held(claim, _) => Some(describe(*claim, left)),
        Record::Ghost(claim) => Some(Party { state: PartyState::Ghost, ..describe(*claim, left) }),
        Record::Revoked(claim) => Some(Party { state: PartyState::Revoked, ..describe(*claim, left) }),
        Record::Foreign(value) => {
            let foreign = Some(String::from_utf8_lossy(value).into_owned());
            Some(Party { foreign, lease_left: left, ..Party::default() })
        }
    };
    let waiters = looked.waiters.iter().map(|waiting| Party { token: None, ..describe(waiting.claim, Some(waiting.left)) });
    let (holders, waiters) = (holder.into_iter().collect(), waiters.collect());
    Inspection { resource, holders, waiters }
}
