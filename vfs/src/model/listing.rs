//! Listing directories: the folder of versions, and directories in versions.
//!
//! A listing has no state but its cookie: 0 at the start, 1 after `.`, 2 after `..`. In a version it then counts entries, and is
//! [`LAST`] after the last one, so that finding the end costs nothing. In the folder and other made-up directories it comes from the version's
//! sequence, so that versions may come and go during a listing.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Mutex;

use backstore_protocol::entry::Time;

use super::directory::{Directory, Entries, Found, name_of};
use super::inode::{Identity, Ino};
use super::views::View;
use super::{Attributes, Listable, Problem, Snapshots, Validity};
use crate::objects::Wait;
use crate::sync::lock;

/// A line of a listing.
#[derive(Debug)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What to continue with after it.
    pub cookie: u64,
    /// What it is. Of `.` and `..` only inode and kind mean something, and no reference is counted.
    pub attributes: Attributes,
    /// How long name and attributes hold.
    pub validity: Validity,
}

/// Takes a line, or has no room for it.
pub type AddLine<'a> = dyn FnMut(&Listed<'_>) -> bool + 'a;

/// Cookie after `.` and `..`.
pub(super) const FIRST: u64 = 2;
/// Cookie after the last line.
const LAST: u64 = 1 << 62;

impl Snapshots {
    /// Hands over what comes after `cookie` in a directory, line by line, until `add` has no room (and gives false) or all is
    /// listed. Each line but `.` and `..` that `add` took counts one reference to its inode. After [`Problem::NotInMemory`] the
    /// listing goes on with the cookie of the last line taken.
    pub fn list(&self, ino: Ino, cookie: u64, wait: Wait, add: &mut AddLine<'_>) -> Result<(), Problem> {
        if cookie >= LAST {
            return Ok(());
        }
        let listable = self.listable(ino)?;
        let parent = self.parent_of(&listable);
        for (name, number, ino) in [(&b"."[..], 0, ino), (b"..", 1, parent)] {
            // Its time is that of nothing: only inode and kind mean something.
            let attributes = Attributes::made_up_directory(ino, self.options.owner, Time::default());
            let line = Listed { name, cookie: number + 1, attributes, validity: Validity::Briefly };
            if cookie <= number && !add(&line) {
                return Ok(());
            }
        }
        match listable {
            Listable::MadeUp(folder, view) => self.list_view(&folder, &view, cookie, wait, add),
            Listable::Archived(directory) => {
                let result = self.list_directory(&directory, ino, cookie.max(FIRST), wait, add);
                if cookie <= FIRST && result.is_ok() {
                    self.neighbours.listed(&directory.version, directory.key_path());
                }
                result
            }
        }
    }

    fn list_directory(
        &self,
        directory: &Directory,
        ino: Ino,
        cookie: u64,
        wait: Wait,
        add: &mut AddLine<'_>,
    ) -> Result<(), Problem> {
        let wanted = cookie - FIRST;
        let (mut count, after) = self.listings.before(ino, wanted);
        let place = after.as_ref().map_or_else(|| Cow::Owned(directory.first_key()), Cow::Borrowed);
        self.ahead.listed(&self.reader, directory.version.version.root, &place);
        let mut entries = Entries::open(&self.reader, directory, after.as_deref(), wait)?;
        let mut next = entries.next()?;
        let mut last: Option<Found> = None;
        let result = loop {
            let Some(found) = next else { return Ok(()) };
            // The one after it tells whether it is the last; if that cannot be read, it is told with the next line.
            let following = entries.next();
            if count >= wanted {
                let is_last = matches!(following, Ok(None));
                let cookie = if is_last { LAST } else { FIRST + count + 1 };
                let attributes = self.remember(directory, &found);
                let line = Listed {
                    name: name_of(&found.key),
                    cookie,
                    attributes,
                    validity: Validity::UntilChanged,
                };
                if !add(&line) {
                    self.forget(attributes.ino, 1);
                    break Ok(());
                }
            }
            count += 1;
            last = Some(found);
            match following {
                Ok(following) => next = following,
                Err(problem) => break Err(problem),
            }
        };
        if let Some(last) = last {
            self.listings.note(ino, count, &last.key);
        }
        result
    }

    /// The number of the directory above.
    fn parent_of(&self, listable: &Listable) -> Ino {
        match listable {
            Listable::Archived(directory) if directory.path.is_empty() => {
                self.ino_of(&self.folder_of(&directory.version), &View::Folder)
            }
            Listable::Archived(directory) => {
                Identity::directory(&directory.version.version.id, directory.parent_path()).ino()
            }
            Listable::MadeUp(folder, View::Folder) => self.ino_above(folder),
            Listable::MadeUp(folder, view) => self.ino_of(folder, &view.parent()),
        }
    }
}

/// Where listings under way have been, so that they need not count from the start. Losing it costs time only.
#[derive(Default)]
pub(super) struct Listings {
    /// The one that went on last is the last.
    recent: Mutex<VecDeque<(Ino, Marks)>>,
}

/// Listings that are remembered.
const LISTINGS_MAX: usize = 64;

impl Listings {
    fn before(&self, ino: Ino, count: u64) -> (u64, Option<Vec<u8>>) {
        let recent = lock(&self.recent);
        let marks = recent.iter().rev().find(|(known, _)| *known == ino).map(|(_, marks)| marks);
        let (count, key) = marks.map_or((0, None), |marks| marks.before(count));
        (count, key.map(<[u8]>::to_vec))
    }

    fn note(&self, ino: Ino, count: u64, key: &[u8]) {
        let mut recent = lock(&self.recent);
        let known = recent.iter().rposition(|(known, _)| *known == ino).and_then(|at| recent.remove(at));
        if recent.len() >= LISTINGS_MAX {
            recent.pop_front();
        }
        let (_, mut marks) = known.unwrap_or((ino, Marks::default()));
        marks.note(count, key);
        recent.push_back((ino, marks));
    }
}

/// Where one listing has been: numbers of children and the keys they had.
#[derive(Debug, Default)]
struct Marks {
    marks: Vec<(u64, Vec<u8>)>,
}

/// Marks of one listing.
const MARKS_MAX: usize = 256;

impl Marks {
    /// Child number `count - 1` has this key, so `count` children are listed.
    fn note(&mut self, count: u64, key: &[u8]) {
        let known = self.marks.binary_search_by_key(&count, |(count, _)| *count);
        let Err(at) = known else { return };
        if self.marks.len() >= MARKS_MAX {
            // Every second one makes room; the last, where the listing goes on, stays.
            let last = self.marks.len() - 1;
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 0 || at - 1 == last
            });
            return self.note(count, key);
        }
        self.marks.insert(at, (count, key.to_vec()));
    }

    /// The last mark at or before `count` children.
    fn before(&self, count: u64) -> (u64, Option<&[u8]>) {
        let at = self.marks.partition_point(|(marked, _)| *marked <= count);
        at.checked_sub(1).map_or((0, None), |at| (self.marks[at].0, Some(&self.marks[at].1[..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_few_and_the_last_is_there() {
        let mut marks = Marks::default();
        for count in 1..=100_000u64 {
            marks.note(count * 170, &count.to_le_bytes());
            assert!(marks.marks.len() <= MARKS_MAX);
            assert_eq!(marks.before(count * 170).0, count * 170);
        }
        assert!(marks.marks.is_sorted());
        let widest = marks.marks.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
        assert!(widest <= 17_000_000 / 64, "{widest}");
        assert_eq!(marks.before(169), (0, None));
    }

    #[test]
    fn few_listings_are_remembered() {
        let listings = Listings::default();
        for ino in 0..1000 {
            listings.note(Ino(ino), 170, b"key");
        }
        assert_eq!(lock(&listings.recent).len(), LISTINGS_MAX);
        assert_eq!(listings.before(Ino(999), 200), (170, Some(b"key".to_vec())));
        assert_eq!(listings.before(Ino(3), 200), (0, None));
    }
}
