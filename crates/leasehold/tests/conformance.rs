//! Every engine in this build passes every suite, one test for each pair.
#![cfg(feature = "conformance")]

mod support;

use leasehold::conformance::{SUITES, Store, Suite};
use leasehold::{engines, for_each_suite};

/// One module per engine with one test per suite, each on a store of its own, and the list of what was made.
macro_rules! put_to_every_suite {
    ($engine:ident, $($topic:ident: [$($suite:ident),* $(,)?])*) => {
        mod $engine {
            $(mod $topic {
                $(#[test]
                fn $suite() {
                    let suite: leasehold::conformance::Suite = |store| Box::pin(leasehold::conformance::$topic::$suite(store));
                    crate::run(suite, &crate::support::$engine::open());
                })*
            })*

            pub const SUITES_PUT_TO_IT: &[&str] = &[$($(concat!(stringify!($topic), "::", stringify!($suite))),*),*];
        }
    };
}

// One line per engine here, and one in ENGINES_UNDER_TEST below.
for_each_suite!(put_to_every_suite! { memory, });
#[cfg(feature = "sqlite")]
for_each_suite!(put_to_every_suite! { sqlite, });

#[cfg(feature = "redis")]
for_each_suite!(put_to_every_suite! { redis, });

const ENGINES_UNDER_TEST: &[(&str, &[&str])] = &[
    ("memory", memory::SUITES_PUT_TO_IT),
    #[cfg(feature = "sqlite")]
    ("sqlite", sqlite::SUITES_PUT_TO_IT),
    #[cfg(feature = "redis")]
    ("redis", redis::SUITES_PUT_TO_IT),
];

#[test]
fn every_engine_runs_every_suite() {
    for engine in engines::COMPILED {
        let (_, put) = ENGINES_UNDER_TEST
            .iter()
            .find(|(name, _)| name == engine)
            .unwrap_or_else(|| panic!("{engine} is not put to any suite"));
        for (suite, _) in SUITES {
            assert!(put.contains(suite), "{engine} is not put to {suite}");
        }
    }
    assert_eq!(ENGINES_UNDER_TEST.len(), engines::COMPILED.len());
}

fn run(suite: Suite, store: &dyn Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(suite(store));
}
