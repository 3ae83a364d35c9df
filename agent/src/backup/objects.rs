//! The data objects of a backup by number, from when they are begun until they have passed to the destination.

use std::collections::{BTreeSet, HashMap};

use backstore_protocol::entry::ObjectRef;

/// Which object an extent will be in, before that has an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) object: u64,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// All objects that somebody still has to learn the id of, or that have not passed.
#[derive(Default)]
pub(super) struct Objects {
    next: u64,
    slots: HashMap<u64, Slot>,
    unpassed: BTreeSet<u64>,
}

#[derive(Default)]
struct Slot {
    object: Option<ObjectRef>,
    uses: usize,
    /// More users may come.
    is_open: bool,
}

impl Objects {
    /// Begins an object: its number.
    pub(super) fn begin(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.slots.insert(number, Slot { is_open: true, ..Slot::default() });
        self.unpassed.insert(number);
        number
    }

    /// Adds a user, who will give it up with [`Objects::release`].
    pub(super) fn add_use(&mut self, number: u64) {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.uses += 1;
        }
    }

    /// No more users will come.
    pub(super) fn close(&mut self, number: u64) {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.is_open = false;
        }
        self.forget_unused(number);
    }

    pub(super) fn identified(&mut self, number: u64, object: ObjectRef) {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.object = Some(object);
        }
        self.forget_unused(number);
    }

    pub(super) fn passed(&mut self, number: u64) {
        self.unpassed.remove(&number);
    }

    pub(super) fn get(&self, number: u64) -> Option<ObjectRef> {
        self.slots.get(&number)?.object
    }

    pub(super) fn release(&mut self, number: u64) {
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.uses -= 1;
        }
        self.forget_unused(number);
    }

    /// The number that the next object will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether all objects before this number have passed.
    pub(super) fn passed_before(&self, number: u64) -> bool {
        self.unpassed.first().is_none_or(|first| *first >= number)
    }

    /// Objects that have not passed and need no more members to do so.
    pub(super) fn unpassed_closed(&self) -> usize {
        let is_open = |number: &&u64| self.slots.get(number).is_some_and(|slot| slot.is_open);
        self.unpassed.iter().filter(|number| !is_open(number)).count()
    }

    /// Whether all objects before this number that are complete have passed.
    pub(super) fn closed_passed_before(&self, number: u64) -> bool {
        let is_open = |number: &u64| self.slots.get(number).is_some_and(|slot| slot.is_open);
        self.unpassed.range(..number).all(is_open)
    }

    /// Objects that have not passed.
    pub(super) fn unpassed(&self) -> usize {
        self.unpassed.len()
    }

    fn forget_unused(&mut self, number: u64) {
        let unused = |slot: &Slot| slot.uses == 0 && !slot.is_open && slot.object.is_some();
        if self.slots.get(&number).is_some_and(unused) {
            self.slots.remove(&number);
        }
    }
}
