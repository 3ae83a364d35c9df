//! Entries in key order, from when a file is found to have changed until all it refers to has an id.

use std::collections::{HashMap, VecDeque};

use backstore_protocol::entry::{Content, Entry, Extent, Kind, Xattr};

use super::objects::{Objects, Part};
use super::tally::Tally;

/// The entries that wait, each with a place that never changes.
#[derive(Default)]
pub(super) struct Queue {
    /// Place of the first.
    first: u64,
    items: VecDeque<Item>,
    links: Links,
    /// What has left for the tree so far.
    pub(super) tally: Tally,
}

/// A path and what is to become of it.
pub(super) struct Item {
    pub(super) key: Vec<u8>,
    /// What the basis has here.
    pub(super) basis: Option<Box<Entry>>,
    /// The basis has something here, be it whole or not.
    pub(super) in_basis: bool,
    pub(super) state: State,
}

/// How far an entry is.
pub(super) enum State {
    /// It is being read.
    Reading,
    /// It is there, but may need ids.
    Known(Box<Entry>, Vec<Need>),
    /// It is another name of a file whose first name comes before it.
    Linked(LinkGroup),
    /// It is not to be in the tree.
    Absent,
    /// The basis has this kind of file there, and it is gone.
    Removed(Kind),
    /// It is to stay as it is in the basis.
    Keep,
}

/// Mount and inode of a file with several names.
pub(super) type LinkGroup = (u32, u64);

/// Something in an entry that lies in objects without ids.
pub(super) struct Need {
    /// The position of an xattr, or the content.
    pub(super) xattr: Option<usize>,
    pub(super) parts: Vec<Part>,
}

/// What to do with the tree.
pub(super) enum Edit {
    Put(Vec<u8>, Box<Entry>),
    Remove(Vec<u8>),
    Nothing,
}

/// Files with several names whose other names may still come.
#[derive(Default)]
struct Links(HashMap<LinkGroup, Link>);

struct Link {
    names_left: u32,
    entry: Option<Box<Entry>>,
}

/// Link groups remembered. Beyond, each name is read on its own.
const LINKS_MAX: usize = 65_536;

impl Queue {
    /// Adds an item; its place.
    pub(super) fn push(&mut self, item: Item) -> u64 {
        self.items.push_back(item);
        self.first + self.items.len() as u64 - 1
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The item at a place; nothing if it has left.
    pub(super) fn get_mut(&mut self, place: u64) -> Option<&mut Item> {
        self.items.get_mut(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    /// Whether another name of this file is on its way or known; if not, this one is the first of `names`.
    pub(super) fn join_links(&mut self, group: LinkGroup, names: u32) -> bool {
        if self.links.0.contains_key(&group) {
            return true;
        }
        if self.links.0.len() < LINKS_MAX {
            self.links.0.insert(group, Link { names_left: names, entry: None });
        }
        false
    }

    /// Takes the first item if it waits for nothing.
    pub(super) fn pop(&mut self, objects: &mut Objects) -> Option<Edit> {
        let first = self.items.front_mut()?;
        match &mut first.state {
            State::Reading => return None,
            State::Known(entry, needs) => {
                needs.retain(|need| !fill(entry, need, objects));
                if !needs.is_empty() {
                    return None;
                }
            }
            State::Linked(_) | State::Absent | State::Removed(_) | State::Keep => {}
        }
        let Item { key, basis, in_basis, state } = self.items.pop_front()?;
        self.first += 1;
        let entry = match state {
            State::Known(entry, _) => {
                self.links.put(&entry);
                Some(entry)
            }
            State::Linked(group) => self.links.take(group),
            State::Absent => None,
            State::Removed(kind) => {
                self.tally.remove(kind);
                return Some(Edit::Remove(key));
            }
            State::Keep | State::Reading => return Some(Edit::Nothing),
        };
        Some(match entry {
            Some(entry) => {
                self.tally.put(in_basis, basis.as_deref(), &entry);
                Edit::Put(key, entry)
            }
            None if in_basis => {
                // Only what had content can have lost it.
                self.tally.remove(basis.map_or(Kind::File, |basis| basis.kind));
                Edit::Remove(key)
            }
            None => Edit::Nothing,
        })
    }
}

impl Links {
    /// Remembers the first name's entry.
    fn put(&mut self, entry: &Entry) {
        if entry.nlink < 2 {
            return;
        }
        let group = (entry.mount, entry.inode);
        if let Some(link) = self.0.get_mut(&group)
            && link.entry.is_none()
        {
            link.names_left = link.names_left.saturating_sub(1);
            link.entry = Some(Box::new(entry.clone()));
        }
    }

    /// The entry for another name.
    fn take(&mut self, group: LinkGroup) -> Option<Box<Entry>> {
        let link = self.0.get_mut(&group)?;
        let entry = link.entry.clone();
        link.names_left = link.names_left.saturating_sub(1);
        if link.names_left == 0 {
            self.0.remove(&group);
        }
        entry
    }
}

/// Writes the ids of a need into the entry if all are known.
fn fill(entry: &mut Entry, need: &Need, objects: &mut Objects) -> bool {
    let extents: Option<Vec<_>> = need
        .parts
        .iter()
        .map(|part| {
            let object = objects.get(part.object)?;
            Some(Extent::Data { object, offset: part.offset, length: part.length })
        })
        .collect();
    let Some(extents) = extents else { return false };
    let content = Content::Extents(extents.into());
    match need.xattr {
        None => entry.content = content,
        Some(position) => {
            if let Some(Xattr { value, .. }) = entry.xattrs.get_mut(position) {
                *value = content;
            }
        }
    }
    need.parts.iter().for_each(|part| objects.release(part.object));
    true
}
