//! A map that is cheap to copy and cheap to change: a change copies one small part of it, and only if a reader still
//! holds the former one.

use std::{
    borrow::Borrow,
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::Arc,
};

/// Enough that a part of 100,000 entries has a hundred, few enough that a copy of the map is small.
const SHARDS: usize = 1024;

/// A map in parts that copies share.
#[derive(Debug, Clone)]
pub(crate) struct Shards<K, V> {
    parts: Arc<[Arc<HashMap<K, V>>]>,
    hasher: RandomState,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        // All share one empty part: most processes know little.
        Self { parts: vec![Arc::default(); SHARDS].into(), hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    fn index<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The remainder is below 1,024, whatever the width of the platform's words.
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.get(self.index(key))?.get(key)
    }

    /// Changes the value of a key; one that is made `None` is removed.
    pub(crate) fn change(&mut self, key: &K, change: impl FnOnce(&mut Option<V>)) {
        let index = self.index(key);
        let Some(part) = Arc::make_mut(&mut self.parts).get_mut(index) else { return };
        let part = Arc::make_mut(part);
        let mut value = part.remove(key);
        change(&mut value);
        if let Some(value) = value {
            part.insert(key.clone(), value);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_and_copies_do_not_change(changes in prop::collection::vec((0_u16..500, any::<Option<u8>>()), 0..300)) {
            let (mut map, mut model) = (Shards::<u16, u8>::default(), HashMap::new());
            for (key, value) in changes {
                let (copy, former) = (map.clone(), model.get(&key).copied());
                map.change(&key, |place| *place = value);
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
                prop_assert_eq!(copy.get(&key).copied(), former);
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            prop_assert_eq!(map.iter().map(|(k, v)| (*k, *v)).collect::<HashMap<_, _>>(), model);
        }
    }
}
