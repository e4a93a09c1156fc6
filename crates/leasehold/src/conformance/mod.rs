//! The suites that every engine passes, usable by third parties (feature `conformance`).
//!
//! A suite is a plain async function over a [`Store`]: the fixture that makes clients of one store. It panics where the
//! engine breaks the [contract](crate::engine::Engine). Give your engine a fixture and run [`SUITES`], each on a store of its own
//! or all on one: every suite works on resources of its own.
//!
//! ```
//! use leasehold::conformance::{Pending, SUITES, Store};
//! use leasehold::engine::{About, Engine};
//! use leasehold::engines::memory::MemoryStore;
//! use leasehold::world::World;
//! use std::sync::Arc;
//!
//! struct Fixture(MemoryStore, World);
//!
//! impl Store for Fixture {
//!     fn world(&self) -> &World {
//!         &self.1
//!     }
//!     fn connect(&self, client: u64, about: About) -> Pending<'_, Arc<dyn Engine>> {
//!         let engine = self.0.engine(&self.1, client, about);
//!         Box::pin(async { engine })
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fixture = Fixture(MemoryStore::new(), World::with_thread("conformance")?);
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! for (name, suite) in SUITES.iter().filter(|(name, _)| name.starts_with("exclusion::")) {
//!     println!("{name}");
//!     runtime.block_on(suite(&fixture));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! For one `#[test]` per suite, hand [`for_each_suite!`](crate::for_each_suite) a macro of your own.
//!
//! What an engine's [`Capabilities`](crate::engine::Capabilities) deny is not asked of it: a suite about queues, permits or
//! pushes ends at once on an engine that says that it has none.
//!
//! Suites use real time on real stores: short leases are 600 ms, everything else waits for a condition, up to [`Store::patience`]. They run
//! on any tokio runtime with time enabled.

mod actor;
pub use actor::notices_of;
pub mod differential;
pub mod exclusion;
pub mod ghosts;
pub mod hand_off;
pub mod idempotence;
pub mod inspection;
pub mod leases;
pub mod names;
pub mod permits;
pub mod revocation;
pub mod tokens;

use crate::engine::{About, Engine};
use crate::world::World;
use leasehold_core::ResourceName;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A future of a fixture.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One suite: panics where the engine breaks the contract. Its future stays on one thread.
pub type Suite = for<'a> fn(&'a dyn Store) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A store under test, and how to become its client.
pub trait Store: Send + Sync {
    /// Clock and chance.
    fn world(&self) -> &World;

    /// A fresh client of the store: `client` is the half that the ids of its claims share, `about` what others see of it.
    ///
    /// All clients of one fixture are clients of the same store, on connections of their own.
    fn connect(&self, client: u64, about: About) -> Pending<'_, Arc<dyn Engine>>;

    /// How long a suite waits for what must come at some time, before it calls that never.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Names of whatever the store still keeps for `resource`, asked for when nobody holds or waits. Optional: nothing by default.
    fn residue<'a>(&'a self, resource: &'a ResourceName) -> Pending<'a, Vec<String>> {
        let _ = resource;
        Box::pin(async { Vec::new() })
    }
}

/// Calls `$callback! { head…  topic: [suite, …] … }` with every suite, so that a test target can make one test of each.
///
/// A suite is `leasehold::conformance::topic::suite`, and `"topic::suite"` in [`SUITES`](crate::conformance::SUITES).
#[macro_export]
macro_rules! for_each_suite {
    ($callback:ident! { $($head:tt)* }) => {
        $callback! { $($head)*
            differential: [
                random_commands_are_answered_as_by_the_reference,
            ]
            exclusion: [
                a_free_resource_is_granted,
                a_held_resource_is_busy_to_those_who_do_not_wait,
                a_held_resource_queues_those_who_wait,
                claims_of_one_client_exclude_each_other,
                resources_do_not_touch_each_other,
                never_two_hold_at_once_under_contention,
            ]
            idempotence: [
                an_owners_repeat_is_granted_again_with_a_new_token,
                an_owners_repeat_gets_the_full_ttl,
                an_owners_repeat_never_shortens_the_lease,
                a_waiters_repeat_keeps_its_place,
                a_waiters_repeat_never_shortens_its_place,
                a_second_release_changes_nothing,
                a_strangers_release_takes_nothing,
            ]
            leases: [
                an_expired_hold_goes_to_the_waiter,
                a_renewed_hold_outlives_its_ttl,
                a_late_renewal_is_lost_and_revives_nothing,
                a_renewal_never_shortens_the_lease,
                a_strangers_renewal_is_lost,
                a_claim_after_its_own_expiry_is_a_new_grant_in_queue_order,
                a_late_release_takes_nothing,
            ]
            tokens: [
                tokens_rise_across_clients_and_resources,
                a_new_client_starts_above_all_earlier_tokens,
                a_hand_offs_token_is_between_those_around_it,
                tokens_rise_after_an_expiry,
                tokens_set_aside_are_between_the_grants_around_them,
                an_inspection_shows_the_last_token,
            ]
            hand_off: [
                a_release_grants_the_waiter_and_names_its_last_ask,
                waiters_are_served_in_order_of_arrival,
                a_hand_off_ends_with_the_place,
                a_hand_off_lasts_the_full_ttl_once_renewed,
                a_withdrawn_waiter_is_passed_over,
                a_dead_waiter_is_passed_over,
                a_waiter_short_of_its_margin_is_passed_over_and_keeps_its_rank,
                a_waiter_that_was_passed_over_is_granted_by_its_next_ask,
                a_renewal_says_whether_others_wait,
            ]
            ghosts: [
                a_release_that_keeps_others_out_is_final_for_its_owner,
                a_ghost_ends_by_itself,
                a_ghost_is_not_handed_off,
                a_lost_hold_keeps_others_out_for_its_lock_delay,
                a_lock_delay_ends_by_itself,
                a_release_has_no_lock_delay,
                a_hand_off_carries_the_waiters_lock_delay,
                a_late_release_keeps_nobody_out,
            ]
            revocation: [
                a_revoked_hold_ends_with_its_release,
                a_revoked_hold_ends_with_its_old_lease,
                revoking_now_lets_the_next_in_at_once,
                a_revoked_waiter_is_withdrawn,
                revoking_a_stranger_takes_nothing,
            ]
            inspection: [
                a_resource_that_nobody_uses_is_shown_free,
                holders_and_waiters_are_shown_with_their_clients,
                the_list_shows_what_is_in_use_sorted_by_name,
                the_list_shows_waiters,
                a_detached_hold_outlives_its_client,
                a_goodbye_touches_no_hold,
            ]
            names: [
                strange_names_are_resources_of_their_own,
                the_longest_names_are_told_apart,
                strange_names_have_queues_of_their_own,
            ]
            permits: [
                as_many_hold_as_fit,
                readers_wait_behind_a_waiting_writer,
                a_withdrawn_writer_lets_readers_in,
                a_renewal_for_fewer_permits_is_a_downgrade,
                another_capacity_is_refused_while_in_use,
            ]
        }
    };
}

macro_rules! table_of_suites {
    ($($topic:ident: [$($suite:ident),* $(,)?])*) => {
        /// Every suite, with its name.
        pub const SUITES: &[(&str, Suite)] = &[
            $($((concat!(stringify!($topic), "::", stringify!($suite)), |store| Box::pin($topic::$suite(store)))),*),*
        ];
    };
}

for_each_suite!(table_of_suites! {});

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: &[(&str, &str)] = &[
        ("differential", include_str!("differential.rs")),
        ("exclusion", include_str!("exclusion.rs")),
        ("ghosts", include_str!("ghosts.rs")),
        ("hand_off", include_str!("hand_off.rs")),
        ("idempotence", include_str!("idempotence.rs")),
        ("inspection", include_str!("inspection.rs")),
        ("leases", include_str!("leases.rs")),
        ("names", include_str!("names.rs")),
        ("permits", include_str!("permits.rs")),
        ("revocation", include_str!("revocation.rs")),
        ("tokens", include_str!("tokens.rs")),
    ];

    #[test]
    fn every_suite_that_is_written_is_listed() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance")).unwrap();
        // Beside the topics there are this file and the actors.
        assert_eq!(files.count(), TOPICS.len() + 2, "every topic is looked at here");
        for (topic, source) in TOPICS {
            for line in source.lines() {
                let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
                let Some((suite, _)) = rest.split_once("(store: &dyn Store) {") else { continue };
                let name = format!("{topic}::{suite}");
                assert!(SUITES.iter().any(|(listed, _)| *listed == name), "{name} is in no list");
            }
        }
    }

    #[test]
    fn every_engine_module_is_an_engine_in_the_list() {
        let source = include_str!("../engines/mod.rs");
        for line in source.lines() {
            let Some(module) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) else { continue };
            assert!(source.contains(&format!("    \"{module}\",")), "{module} is missing in COMPILED");
        }
    }
}
