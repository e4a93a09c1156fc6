//! A map of what lives only as long as others hold it.

use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

/// A map of what lives only as long as others hold it.
#[derive(Debug)]
pub(crate) struct WeakMap<K, V> {
    places: FxHashMap<K, Weak<V>>,
    /// At this size the places of the dead are cleared away.
    crowded: usize,
}

/// So many places are never worth clearing.
const FEW: usize = 64;

impl<K, V> Default for WeakMap<K, V> {
    fn default() -> WeakMap<K, V> {
        WeakMap { places: FxHashMap::default(), crowded: FEW }
    }
}

impl<K: Hash + Eq, V> WeakMap<K, V> {
    /// What lives under this key.
    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.places.get(key)?.upgrade()
    }

    /// Puts something in the place of what was there.
    pub(crate) fn insert(&mut self, key: K, value: &Arc<V>) {
        if self.places.len() >= self.crowded {
            self.places.retain(|_, value| value.strong_count() > 0);
            // Twice as many as live: so each clearing was paid for by as many inserts.
            self.crowded = FEW.max(2 * self.places.len());
        }
        self.places.insert(key, Arc::downgrade(value));
    }

    /// All that live.
    pub(crate) fn living(&self) -> Vec<Arc<V>> {
        self.places.values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_is_found_and_what_is_dead_takes_no_room() {
        let mut map = WeakMap::default();
        let living: Vec<_> = (0..1000).map(Arc::new).collect();
        for value in &living {
            map.insert(**value, value);
            for dead in 0..100 {
                map.insert(1000 + **value * 100 + dead, &Arc::new(0));
            }
        }
        assert!(map.places.len() <= 2 * living.len(), "{}", map.places.len());
        assert_eq!(map.living().len(), 1000);
        assert_eq!(map.get(&7).as_deref(), Some(&7));
        assert_eq!(map.get(&1005), None);
    }
}
