//! A map that forgets what was not used for longest, so that it never holds more than its bytes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key, up to a sum of bytes.
pub(crate) struct Cache<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// Keys by when they were used last.
    order: BTreeMap<u64, K>,
    clock: u64,
    bytes: usize,
    bytes_max: usize,
}

struct Slot<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { slots: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0, bytes_max }
    }

    /// The value of `key`, which is now the one used last.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let slot = self.slots.get_mut(key)?;
        self.clock += 1;
        self.order.remove(&slot.used);
        self.order.insert(self.clock, *key);
        slot.used = self.clock;
        Some(slot.value.clone())
    }

    /// Whether `key` is there; does not count as use.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }

    /// Keeps `value`, unless it alone is larger than all that may be kept.
    pub(crate) fn insert(&mut self, key: K, value: V, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        self.clock += 1;
        let old = self.slots.insert(key, Slot { value, bytes, used: self.clock });
        if let Some(old) = old {
            self.order.remove(&old.used);
            self.bytes -= old.bytes;
        }
        self.order.insert(self.clock, key);
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(slot) = self.slots.remove(&oldest) {
                self.bytes -= slot.bytes;
            }
        }
    }

    /// Forgets `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(slot) = self.slots.remove(key) {
            self.order.remove(&slot.used);
            self.bytes -= slot.bytes;
        }
    }

    /// Bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let mut cache = Cache::new(30);
        for number in 1..=3 {
            cache.insert(number, number, 10);
        }
        assert_eq!(cache.get(&1), Some(1));
        cache.insert(4, 4, 10);
        assert_eq!([1, 2, 3, 4].map(|number| cache.get(&number)), [Some(1), None, Some(3), Some(4)]);
        assert_eq!(cache.bytes(), 30);
        cache.remove(&3);
        assert_eq!((cache.get(&3), cache.bytes()), (None, 20));
    }

    #[test]
    fn a_replaced_value_counts_once_and_a_huge_one_is_not_kept() {
        let mut cache = Cache::new(30);
        cache.insert(1, 1, 20);
        cache.insert(1, 2, 25);
        assert_eq!((cache.get(&1), cache.bytes()), (Some(2), 25));
        cache.insert(2, 3, 31);
        assert_eq!((cache.get(&2), cache.get(&1), cache.bytes()), (None, Some(2), 25));
    }
}
