//! What a random read brings besides what was asked for: the rest of the objects that it needed.
//!
//! A file of which here and there something was changed lies in parts of many objects, and one object in several places of the file. What
//! is not given with the first of these would be fetched again for each of the others.

use std::collections::VecDeque;

use backstore_protocol::entry::{Extent, ObjectRef};
use bytes::Bytes;

use super::file::ReadFile;
use super::inode::Ino;
use crate::content::{Place, Stretch, stretch_bytes};
use crate::objects::{ObjectReader, Wait};

/// Bytes of a file that nobody asked for yet.
#[derive(Debug, Clone)]
pub struct Spare {
    /// Whose.
    pub ino: Ino,
    /// Where they are in the file.
    pub offset: u64,
    /// They themselves.
    pub bytes: Bytes,
    /// Size of the file.
    pub size: u64,
}

/// How far from a stretch others of the same object are looked for, to either side.
const SAME_OBJECT_WITHIN: u64 = 8 << 20;

impl ReadFile {
    /// What lies in the objects that a read has touched: the stretches that it read from, then others of the same objects.
    pub(super) fn spare(&self, reader: &ObjectReader, touched: &[(Stretch, Bytes)]) -> Vec<Spare> {
        let mut found: Vec<Spare> = Vec::new();
        for (stretch, bytes) in touched {
            found.extend(self.spare_of(stretch, bytes));
        }
        for (stretch, bytes) in touched {
            let Some(object) = stretch.extent.object() else { continue };
            if stretch.extent.length() == u64::from(object.length) {
                continue;
            }
            for other in self.others_of(reader, stretch, &object) {
                if found.iter().all(|spare| spare.offset != other.start) {
                    found.extend(self.spare_of(&other, bytes));
                }
            }
        }
        found
    }

    fn spare_of(&self, stretch: &Stretch, object: &Bytes) -> Option<Spare> {
        let bytes = stretch_bytes(stretch, object).ok()?;
        Some(Spare { ino: self.ino, offset: stretch.start, bytes, size: self.content.size() })
    }

    /// Other stretches of an object that are near this one, as far as that is known without waiting.
    fn others_of(&self, reader: &ObjectReader, stretch: &Stretch, object: &ObjectRef) -> Vec<Stretch> {
        let ranges = [
            (stretch.start.saturating_sub(SAME_OBJECT_WITHIN), stretch.start),
            (stretch.end(), stretch.end().saturating_add(SAME_OBJECT_WITHIN)),
        ];
        let mut others = Vec::new();
        for (from, to) in ranges {
            let mut place = Place::at(from);
            while let Ok(Some(other)) =
                place.next(reader, self.content.content(), self.content.size(), Wait::Not)
                && other.start < to
            {
                if other.extent.object().is_some_and(|its| its == *object) {
                    others.push(other);
                }
            }
        }
        others
    }
}

/// Stretches by the objects that they are in, in the order in which these are needed first.
pub(super) fn by_object(stretches: Vec<Stretch>) -> VecDeque<(ObjectRef, Vec<Stretch>)> {
    let mut objects: VecDeque<(ObjectRef, Vec<Stretch>)> = VecDeque::new();
    for stretch in stretches {
        let Extent::Data { object, .. } = stretch.extent else { continue };
        match objects.iter_mut().find(|(its, _)| *its == object) {
            Some((_, parts)) => parts.push(stretch),
            None => objects.push_back((object, vec![stretch])),
        }
    }
    objects
}
