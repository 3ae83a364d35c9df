//! A map that forgets what was not used for longest, so that it never holds more than its bytes.

use std::collections::{BTreeMap, HashMap};

use backstore_protocol::ids::ObjectId;

/// Values by object id, up to a sum of bytes.
pub(super) struct Cache<V> {
    slots: HashMap<ObjectId, Slot<V>>,
    /// Ids by when they were used last.
    order: BTreeMap<u64, ObjectId>,
    clock: u64,
    bytes: usize,
    bytes_max: usize,
}

struct Slot<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { slots: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0, bytes_max }
    }

    /// The value of `id`, which is now the one used last.
    pub(super) fn get(&mut self, id: &ObjectId) -> Option<V> {
        let slot = self.slots.get_mut(id)?;
        self.clock += 1;
        self.order.remove(&slot.used);
        self.order.insert(self.clock, *id);
        slot.used = self.clock;
        Some(slot.value.clone())
    }

    /// Whether `id` is there; does not count as use.
    pub(super) fn contains(&self, id: &ObjectId) -> bool {
        self.slots.contains_key(id)
    }

    /// Keeps `value`, unless it alone is larger than all that may be kept.
    pub(super) fn insert(&mut self, id: ObjectId, value: V, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        self.clock += 1;
        let old = self.slots.insert(id, Slot { value, bytes, used: self.clock });
        if let Some(old) = old {
            self.order.remove(&old.used);
            self.bytes -= old.bytes;
        }
        self.order.insert(self.clock, id);
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(slot) = self.slots.remove(&oldest) {
                self.bytes -= slot.bytes;
            }
        }
    }

    /// Bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ObjectId {
        ObjectId::from_bytes([number; 32])
    }

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let mut cache = Cache::new(30);
        for number in 1..=3 {
            cache.insert(id(number), number, 10);
        }
        assert_eq!(cache.get(&id(1)), Some(1));
        cache.insert(id(4), 4, 10);
        assert_eq!([1, 2, 3, 4].map(|number| cache.get(&id(number))), [Some(1), None, Some(3), Some(4)]);
        assert_eq!(cache.bytes(), 30);
    }

    #[test]
    fn a_replaced_value_counts_once_and_a_huge_one_is_not_kept() {
        let mut cache = Cache::new(30);
        cache.insert(id(1), 1, 20);
        cache.insert(id(1), 2, 25);
        assert_eq!((cache.get(&id(1)), cache.bytes()), (Some(2), 25));
        cache.insert(id(2), 3, 31);
        assert_eq!((cache.get(&id(2)), cache.get(&id(1)), cache.bytes()), (None, Some(2), 25));
    }
}
