//! Entries in key order, from when a file is found to have changed until all it refers to has an id.

use std::collections::{HashMap, VecDeque};

use backstore_protocol::entry::{Content, Entry, Extent, Kind, Xattr};

use super::objects::{Objects, Part};
use super::read::Task;
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
    /// It is another name of a file whose first name comes before it; how it is read if that one is gone.
    Linked(LinkGroup, Box<Task>),
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
    /// The name by which the file was to be read is no longer there: it is to be read by this one.
    Read(Box<Task>),
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
        let place = self.first;
        let first = self.items.front_mut()?;
        match &mut first.state {
            State::Reading => return None,
            State::Linked(group, _) if !self.links.has(*group) => {
                let State::Linked(_, mut task) = std::mem::replace(&mut first.state, State::Reading) else {
                    return None;
                };
                task.place = place;
                return Some(Edit::Read(task));
            }
            State::Known(entry, needs) => {
                needs.retain(|need| !fill(entry, need, objects));
                if !needs.is_empty() {
                    return None;
                }
            }
            State::Linked(..) | State::Absent | State::Removed(_) | State::Keep => {}
        }
        let Item { key, basis, in_basis, state } = self.items.pop_front()?;
        self.first += 1;
        let entry = match state {
            State::Known(entry, _) => {
                self.links.put(&entry);
                Some(entry)
            }
            State::Linked(group, _) => self.links.take(group),
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

    /// Whether the first name's entry is known.
    fn has(&self, group: LinkGroup) -> bool {
        self.0.get(&group).is_some_and(|link| link.entry.is_some())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use backstore_platform::walk::Directory;
    use backstore_protocol::entry::Kind;

    use super::*;

    /// A file with three names of which the first was removed between being listed and being read: the other two were once left out, and nothing said.
    #[test]
    fn a_file_is_read_by_another_name_if_its_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Arc::new(Directory::open(folder.path()).unwrap());
        let stat = directory.full_stat_self().unwrap().basic;
        let task = |name: &str| {
            let name = name.as_bytes().into();
            Box::new(Task {
                place: 0,
                directory: Arc::clone(&directory),
                name,
                stat,
                mount: 0,
                implied: false,
            })
        };
        let mut queue = Queue::default();
        let mut objects = Objects::default();
        let group = (0, 7);
        let push = |queue: &mut Queue, key: &[u8], state| {
            queue.push(Item { key: key.to_vec(), basis: None, in_basis: false, state })
        };
        assert!(!queue.join_links(group, 3));
        push(&mut queue, b"a", State::Absent);
        for name in ["b", "c"] {
            assert!(queue.join_links(group, 3));
            push(&mut queue, name.as_bytes(), State::Linked(group, task(name)));
        }
        assert!(matches!(queue.pop(&mut objects), Some(Edit::Nothing)));
        let Some(Edit::Read(read)) = queue.pop(&mut objects) else { panic!("the second name is not read") };
        assert_eq!((&*read.name, read.place), (&b"b"[..], 1));
        assert!(queue.pop(&mut objects).is_none(), "it is being read");
        let mut entry = Entry::new(Kind::File);
        (entry.nlink, entry.inode) = (3, 7);
        queue.get_mut(1).unwrap().state = State::Known(Box::new(entry), Vec::new());
        for name in ["b", "c"] {
            let Some(Edit::Put(key, entry)) = queue.pop(&mut objects) else { panic!("{name} is left out") };
            assert_eq!((&key[..], entry.inode), (name.as_bytes(), 7));
        }
    }
}
