//! A private store in this process's memory.

use leasehold::conformance::{Pending, Store};
use leasehold::engine::{About, Engine};
use leasehold::engines::memory::MemoryStore;
use leasehold::world::World;
use std::sync::Arc;

/// A fresh store.
pub fn open() -> impl Store {
    Fixture { store: MemoryStore::new(), world: World::with_thread("memory").unwrap() }
}

struct Fixture {
    store: MemoryStore,
    world: World,
}

impl Store for Fixture {
    fn world(&self) -> &World {
        &self.world
    }

    fn connect(&self, client: u64, about: About) -> Pending<'_, Arc<dyn Engine>> {
        let engine = self.store.engine(&self.world, client, about);
        Box::pin(async { engine })
    }
}
