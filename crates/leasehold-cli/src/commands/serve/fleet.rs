//! What a look into the store brought, as metrics: made anew for each look, so that what is gone is not shown.

use super::watcher::Looked;
use crate::commands::list::matches;
use crate::metrics::{label, rendered as render};
use leasehold::{Inspection, Party};
use metrics::{describe_gauge, gauge};
use std::cmp::Reverse;
use std::time::Duration;

/// The metrics of what was seen under names that match; at most `max` locks one by one.
pub fn rendered(looked: &Looked, pattern: Option<&str>, max: usize) -> String {
    render(|| {
        describe_gauge!("leasehold_store_up", "1 if the store answered this look");
        gauge!("leasehold_store_up").set(if looked.seen.is_ok() { 1.0 } else { 0.0 });
        describe_gauge!("leasehold_store_look_seconds", "How long this look into the store took");
        gauge!("leasehold_store_look_seconds").set(looked.took.as_secs_f64());
        describe_gauge!("leasehold_build_info", "1, with the version of this program");
        gauge!("leasehold_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        if let Ok(seen) = &looked.seen {
            let shown = |lock: &&Inspection| pattern.is_none_or(|pattern| matches(pattern, lock.resource.as_str()));
            let mut locks: Vec<&Inspection> = seen.iter().filter(shown).collect();
            totals(&locks, max);
            // Where there are too many, those that somebody waits for are worth more.
            locks.sort_by_key(|lock| Reverse(lock.waiters.len()));
            locks.into_iter().take(max).for_each(one);
        }
    })
}

fn totals(locks: &[&Inspection], max: usize) {
    let count = |of: fn(&Inspection) -> usize| locks.iter().map(|lock| of(lock)).sum::<usize>() as f64;
    describe_gauge!("leasehold_store_resources", "Locks that are held or waited for");
    gauge!("leasehold_store_resources").set(locks.len() as f64);
    describe_gauge!("leasehold_store_holders", "Claims that hold, of all locks");
    gauge!("leasehold_store_holders").set(count(|lock| lock.holders.len()));
    describe_gauge!("leasehold_store_waiters", "Claims that wait, of all locks");
    gauge!("leasehold_store_waiters").set(count(|lock| lock.waiters.len()));
    describe_gauge!("leasehold_store_resources_not_shown", "Locks beyond --max, which are in the totals only");
    gauge!("leasehold_store_resources_not_shown").set(locks.len().saturating_sub(max) as f64);
}

fn one(lock: &Inspection) {
    let name = label(lock.resource.as_str());
    describe_gauge!("leasehold_resource_held", "1 if the lock is held");
    gauge!("leasehold_resource_held", "resource" => name.clone()).set(if lock.holders.is_empty() { 0.0 } else { 1.0 });
    describe_gauge!("leasehold_resource_waiters", "Claims in line for the lock");
    gauge!("leasehold_resource_waiters", "resource" => name.clone()).set(lock.waiters.len() as f64);
    let longest = |of: fn(&Party) -> Option<Duration>, parties: &[Party]| parties.iter().filter_map(of).max();
    if let Some(held) = longest(|party| party.since, &lock.holders) {
        describe_gauge!("leasehold_resource_hold_seconds", "How long the lock has been held by its holder");
        gauge!("leasehold_resource_hold_seconds", "resource" => name.clone()).set(held.as_secs_f64());
    }
    if let Some(left) = longest(|party| party.lease_left, &lock.holders) {
        describe_gauge!("leasehold_resource_lease_left_seconds", "What is left of the holder's lease");
        gauge!("leasehold_resource_lease_left_seconds", "resource" => name.clone()).set(left.as_secs_f64());
    }
    if let Some(waited) = longest(|party| party.since, &lock.waiters) {
        describe_gauge!("leasehold_resource_wait_seconds", "How long the lock has been waited for, by who waits longest");
        gauge!("leasehold_resource_wait_seconds", "resource" => name).set(waited.as_secs_f64());
    }
}
