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
//! Suites use real time on real stores: short leases are 600 ms, everything else waits for a condition, up to 30 s. They run
//! on any tokio runtime with time enabled.

mod actor;
pub mod exclusion;
pub mod hand_off;
pub mod idempotence;

use crate::engine::{About, Engine};
use crate::world::World;
use leasehold_core::ResourceName;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

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
            ]
            hand_off: [
                a_release_grants_the_waiter_and_names_its_last_ask,
                waiters_are_served_in_order_of_arrival,
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
