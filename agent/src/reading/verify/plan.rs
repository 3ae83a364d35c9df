//! Which contents of a version are read, in the order of its tree.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use backstore_protocol::entry::{Content, Entry, Extent};
use backstore_protocol::ids::ContentHash;
use backstore_vfs::content::Place;
use backstore_vfs::objects::{ReadError, Recovery, Wait};
use backstore_vfs::stream::Wanted;

use super::entries::{Entries, Found};
use super::findings::Damage;
use super::{Findings, Scope};
use crate::archive::Archive;

/// A file, or a part of one, that is read.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its key in the tree.
    pub(super) key: Vec<u8>,
    /// A number for its whole content.
    pub(super) content: u64,
    /// The hash it has to have, if it is read whole.
    pub(super) hash: Option<ContentHash>,
    /// No other part of this content comes after it.
    pub(super) is_last: bool,
}

/// Contents that were read already, or are going to be.
#[derive(Default)]
pub(super) struct Seen {
    contents: RefCell<HashSet<u64>>,
    /// Of those that are not finished: keys of other files with the same content.
    copies: RefCell<HashMap<u64, Vec<Vec<u8>>>>,
}

impl Seen {
    /// Whether this content has to be read for the file `key`; if not, the file shares the fate of the one it is read for.
    fn is_new(&self, content: u64, key: &[u8]) -> bool {
        let mut contents = self.contents.borrow_mut();
        let is_new =
            if contents.len() < SEEN_MAX { contents.insert(content) } else { !contents.contains(&content) };
        let mut copies = self.copies.borrow_mut();
        if is_new {
            copies.entry(content).or_default();
        } else if let Some(copies) = copies.get_mut(&content) {
            copies.push(key.to_vec());
        }
        is_new
    }

    /// A part has been read; gives the keys of the other files with this content so far.
    pub(super) fn finish(&self, part: &Part) -> Vec<Vec<u8>> {
        let mut copies = self.copies.borrow_mut();
        if part.is_last {
            copies.remove(&part.content).unwrap_or_default()
        } else {
            copies.get(&part.content).cloned().unwrap_or_default()
        }
    }
}

/// What is planned with.
pub(super) struct Planner<'a> {
    pub(super) archive: &'a Archive,
    pub(super) set: &'a str,
    pub(super) version: &'a str,
    pub(super) scope: &'a Scope,
    pub(super) findings: &'a RefCell<Findings>,
    /// What need not be read again.
    pub(super) seen: &'a Seen,
    /// Why nothing more can be read.
    pub(super) fatal: &'a RefCell<Option<ReadError>>,
}

/// Gives the contents that are to be read.
pub(super) struct Plan<'a> {
    planner: Planner<'a>,
    entries: Entries,
    /// Keys up to this one are done.
    done: Vec<u8>,
    /// Contents of one entry that are still to come.
    waiting: Vec<(Part, Content, u64)>,
    /// A large file of which parts are chosen.
    choosing: Option<Choosing>,
}

struct Choosing {
    part: Part,
    content: Content,
    size: u64,
    place: Place,
}

/// Contents that are remembered; of more, one that comes again is read again.
const SEEN_MAX: usize = 2 << 20;
/// Extents that are asked for together.
const CHOSEN_MAX: usize = 256;

impl<'a> Plan<'a> {
    pub(super) fn new(planner: Planner<'a>, entries: Entries, done: Vec<u8>) -> Self {
        Self { planner, entries, done, waiting: Vec::new(), choosing: None }
    }

    /// Takes one entry; its contents are then waiting.
    fn take(&mut self, found: Found) {
        let Found { key, entry, newer } = found;
        if key <= self.done && !self.done.is_empty() {
            return;
        }
        let planner = &self.planner;
        let mut findings = planner.findings.borrow_mut();
        let is_as_newer = |entry: &Entry| {
            newer.as_ref().is_some_and(|newer| newer.content == entry.content && newer.xattrs == entry.xattrs)
        };
        let Some(entry) = entry else {
            findings.ends(&key);
            return;
        };
        findings.files_seen += u64::from(!entry.kind.is_directory());
        if is_as_newer(&entry) {
            // Read with the newer version; what is damaged there is damaged here.
            return;
        }
        findings.ends(&key);
        let mut wanted = vec![(entry.content, entry.size, entry.content_hash)];
        wanted.extend(entry.xattrs.into_iter().map(|xattr| (xattr.value, xattr.size, None)));
        for (content, size, hash) in wanted.into_iter().rev() {
            if !Entry::has_content_hash(&content) {
                continue;
            }
            let number = number(&content);
            if let Some(what) = findings.known_content(number).cloned() {
                findings.file(planner.set, &key, number, planner.version, &Damage { object: None, what });
                continue;
            }
            if planner.seen.is_new(number, &key) {
                let part = Part { key: key.clone(), content: number, hash, is_last: true };
                self.waiting.push((part, content, size));
            }
        }
    }

    /// What of a content is read at once.
    fn choose(&mut self, part: Part, content: Content, size: u64) -> Option<Wanted<Part>> {
        if self.planner.scope.is_all() {
            return Some(Wanted { tag: part, content, size });
        }
        if let Content::Extents(extents) = &content {
            let includes = |extent: &Extent| {
                extent.object().is_none_or(|object| self.planner.scope.includes(&object.id))
            };
            if extents.iter().all(includes) {
                return Some(Wanted { tag: part, content, size });
            }
        }
        self.choosing = Some(Choosing { part, content, size, place: Place::default() });
        None
    }

    /// The next chosen extents of a large file.
    fn next_chosen(&mut self) -> Option<Wanted<Part>> {
        let choosing = self.choosing.as_mut()?;
        let mut extents = Vec::new();
        let reader = &self.planner.archive.reader;
        let mut is_over = false;
        while extents.len() < CHOSEN_MAX {
            match choosing.place.next(reader, &choosing.content, choosing.size, Wait::UntilDeadline) {
                Ok(Some(stretch)) => {
                    let object = stretch.extent.object();
                    if object.is_some_and(|object| self.planner.scope.includes(&object.id)) {
                        extents.push(stretch.extent);
                    }
                }
                Ok(None) => {
                    is_over = true;
                    break;
                }
                Err(error) => {
                    let Choosing { part, .. } = choosing;
                    match error.recovery() {
                        Recovery::SkipIt => self.planner.findings.borrow_mut().file(
                            self.planner.set,
                            &part.key,
                            part.content,
                            self.planner.version,
                            &Damage::from(&error),
                        ),
                        Recovery::Stop | Recovery::Wait => {
                            *self.planner.fatal.borrow_mut() = Some(error);
                        }
                    }
                    is_over = true;
                    break;
                }
            }
        }
        let size = extents.iter().map(Extent::length).sum();
        let tag = Part { hash: None, is_last: is_over, ..choosing.part.clone() };
        if is_over {
            self.choosing = None;
        }
        Some(Wanted { tag, content: Content::Extents(extents.into()), size })
    }
}

impl Iterator for Plan<'_> {
    type Item = Wanted<Part>;

    fn next(&mut self) -> Option<Wanted<Part>> {
        loop {
            if self.planner.fatal.borrow().is_some() {
                return None;
            }
            if let Some(wanted) = self.next_chosen() {
                return Some(wanted);
            }
            if let Some((part, content, size)) = self.waiting.pop() {
                if let Some(wanted) = self.choose(part, content, size) {
                    return Some(wanted);
                }
                continue;
            }
            match self.entries.next()? {
                Ok(found) => self.take(found),
                Err(error) if error.recovery() == Recovery::SkipIt => {
                    let planner = &self.planner;
                    planner.findings.borrow_mut().lost(planner.set, planner.version, &error);
                }
                Err(error) => *self.planner.fatal.borrow_mut() = Some(error),
            }
        }
    }
}

fn number(content: &Content) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
