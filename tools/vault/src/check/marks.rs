//! Sets of what a check found, in memory that has a bound.

use std::collections::HashSet;

use backstore_protocol::ids::ObjectId;

use crate::ids::{AccountNumber, PackNumber};
use crate::limits::CHECK_MARKS_MAX;

/// Numbers that were marked, [`CHECK_MARKS_MAX`] at most. With more than that, any other number may have been marked as well.
pub(super) struct Marks {
    marks: HashSet<u64>,
    max: usize,
    is_full: bool,
}

impl Default for Marks {
    fn default() -> Self {
        Self { marks: HashSet::new(), max: CHECK_MARKS_MAX, is_full: false }
    }
}

impl Marks {
    /// Marks a number. False if it is known to have been marked before.
    pub(super) fn insert(&mut self, mark: u64) -> bool {
        if self.marks.len() < self.max {
            return self.marks.insert(mark);
        }
        let is_new = !self.marks.contains(&mark);
        self.is_full |= is_new;
        is_new
    }

    /// Whether a number was marked, or may have been.
    pub(super) fn may_contain(&self, mark: u64) -> bool {
        self.is_full || self.marks.contains(&mark)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }
}

/// An object in 8 bytes. Two of a billion objects have the same once in 40 vaults; it costs one a finding, and nothing else.
pub(super) fn object_mark(account: AccountNumber, id: &ObjectId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&account.get().to_le_bytes());
    hasher.update(id.as_bytes());
    let mut mark = [0; 8];
    mark.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(mark)
}

/// A place in a pack.
pub(super) fn place_mark(pack: PackNumber, offset: u32) -> u64 {
    u64::from(pack.0) << 32 | u64::from(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_their_bound_marks_are_taken_for_there() {
        let mut marks = Marks { max: 2, ..Marks::default() };
        assert!(marks.is_empty() && !marks.may_contain(1));
        assert!(marks.insert(1) && !marks.insert(1) && marks.insert(2));
        assert!(!marks.may_contain(3), "two fit");
        assert!(!marks.insert(2));
        assert!(!marks.may_contain(3), "nothing was left out");
        assert!(marks.insert(3) && marks.insert(3), "nobody knows");
        assert!(marks.may_contain(3) && marks.may_contain(4));
        assert_eq!(marks.marks.len(), 2);
    }
}
