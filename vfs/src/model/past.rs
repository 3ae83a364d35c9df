//! What became of files, as directories: `history` with every version of a file, `deleted` with the last version of each that is gone, `changes`
//! with what a version added or changed. SEMANTICS.md section 1.
//!
//! All of it comes from the index (`history`), which is on this computer's disk: whoever must not wait for that is told so.

use std::borrow::Cow;
use std::sync::Arc;

use backstore_protocol::entry::Entry;
use backstore_protocol::path::{ArchivePath, check_name};

use super::directory::Directory;
use super::inode::{Identity, Node};
use super::paths::{UNIX_ROOT, names_of};
use super::version::{NamedVersion, VersionList};
use super::views::{DELETED, HISTORY, HUB, Item, Line, View, newest_first};
use super::{Attributes, Lookup, Problem, Snapshots, Validity};
use crate::change::Change;
use crate::history::{History, NameFlags, ORDER_MAX, PastName, PastState};

/// Names in a directory come behind the versions of a file.
const NAMES_FROM: u64 = 2 * ORDER_MAX;
/// Longer names cannot be copied to most file systems.
const DATED_NAME_BYTES_MAX: usize = 255;
/// Versions that were removed between two others, as far as their changes are looked for.
const SEQUENCES_MAX: usize = 100_000;
/// Names of directories of versions that lead to `history` and `deleted`.
const LINKS: [(&str, &str); 2] = [(".versions", HISTORY), (".deleted", DELETED)];

/// Takes a line, or has enough.
pub(super) type EachLine<'a> = dyn FnMut(Line<'_>) -> bool + 'a;

/// What became of files in these versions.
pub(super) struct Past<'a> {
    pub(super) history: &'a History,
    pub(super) list: &'a VersionList,
}

impl Past<'_> {
    /// What `name` stands for in `history`, at this path.
    pub(super) fn find_version(&self, path: &[u8], name: &[u8]) -> Result<Option<Item>, Problem> {
        for directory in directories(path) {
            if let Some(child) = child(directory, name)
                && self.history.name(directory, &child)?.is_some()
            {
                return Ok(Some(Item::View(View::History(child.into()))));
            }
        }
        let versions = self.versions_of(path)?;
        Ok(versions.into_iter().find(|line| *line.name == *name).map(|line| line.item))
    }

    /// What is listed there, from an order on.
    pub(super) fn list_versions(
        &self,
        path: &[u8],
        from: u64,
        each: &mut EachLine<'_>,
    ) -> Result<(), Problem> {
        for line in self.versions_of(path)?.into_iter().filter(|line| line.order >= from) {
            if !each(line) {
                return Ok(());
            }
        }
        self.each_name(path, from, &mut |order, child, name| {
            let item = Item::View(View::History(child.into()));
            Ok(each(Line { order, name: Cow::Owned(name.name), item }))
        })
    }

    /// What `name` stands for in `deleted`.
    pub(super) fn find_deleted(&self, path: &[u8], name: &[u8]) -> Result<Option<Item>, Problem> {
        for directory in directories(path) {
            if let Some(child) = child(directory, name)
                && let Some(flags) = self.history.name(directory, &child)?
                && let Some(item) = self.deleted(&child, flags)?
            {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// What is listed there, from an order on.
    pub(super) fn list_deleted(
        &self,
        path: &[u8],
        from: u64,
        each: &mut EachLine<'_>,
    ) -> Result<(), Problem> {
        self.each_name(path, from, &mut |order, child, name| {
            Ok(match self.deleted(&child, name.flags)? {
                Some(item) => each(Line { order, name: Cow::Owned(name.name), item }),
                None => true,
            })
        })
    }

    /// What `name` stands for in what a version changed.
    pub(super) fn find_change(
        &self,
        version: &Arc<NamedVersion>,
        path: &[u8],
        name: &[u8],
    ) -> Result<Option<Item>, Problem> {
        let mut found = None;
        self.list_changes(version, path, 0, &mut |line| {
            if *line.name == *name {
                found = Some(line.item);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// What is listed there, from an order on.
    pub(super) fn list_changes(
        &self,
        version: &Arc<NamedVersion>,
        path: &[u8],
        from: u64,
        each: &mut EachLine<'_>,
    ) -> Result<(), Problem> {
        let sequence = version.version.sequence;
        // What versions changed that are gone, this one shows.
        let before = self.list.complete_before(sequence).map_or(sequence, |named| named.version.sequence);
        for (directory, number) in directories(path).zip(0..) {
            let sequences = (before + 1..=sequence).rev().take(SEQUENCES_MAX);
            let names = self.history.changed_names(sequences, directory)?;
            for (_, name) in names {
                let order = NAMES_FROM + number * ORDER_MAX + name.order;
                let Some(child) = child(directory, &name.name).filter(|_| order >= from) else { continue };
                let item = match self.state_at(&child, version)? {
                    Some(item) if name.flags.was_file => Some(item),
                    _ if name.flags.was_directory => {
                        Some(Item::View(View::ChangesOf(Arc::clone(version), child.into())))
                    }
                    _ => None,
                };
                if let Some(item) = item
                    && !each(Line { order, name: Cow::Owned(name.name), item })
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The file at a path in a version.
    fn state_at(&self, path: &[u8], version: &Arc<NamedVersion>) -> Result<Option<Item>, Problem> {
        let Ok(archived) = ArchivePath::from_joined(path) else { return Ok(None) };
        let states = self.history.file_states(path)?.into_iter();
        let last = states.take_while(|state| state.sequence <= version.version.sequence).last();
        let entry = last.and_then(|state| state.entry);
        let key = Arc::new(archived.key());
        Ok(entry.map(|entry| Item::Archived(Arc::clone(version), key, Box::new(entry))))
    }

    /// A file that is gone and of which a version is left, or a directory that such files were in.
    fn deleted(&self, path: &[u8], flags: NameFlags) -> Result<Option<Item>, Problem> {
        if flags.was_file && !flags.is_file {
            let states = self.history.file_states(path)?;
            let last = self.shown(path, states).pop();
            if let Some((_, item)) = last {
                return Ok(Some(item));
            }
        }
        let has_gone = flags.was_directory && self.history.gone_below(path)? > 0;
        Ok(has_gone.then(|| Item::View(View::Deleted(path.into()))))
    }

    /// The versions of the file at a path, newest first.
    fn versions_of(&self, path: &[u8]) -> Result<Vec<Line<'static>>, Problem> {
        let Ok(archived) = ArchivePath::from_joined(path) else { return Ok(Vec::new()) };
        let shown = self.shown(path, self.history.file_states(path)?);
        let lines = shown.into_iter().rev().map(|(version, item)| Line {
            order: newest_first(version.version.sequence),
            name: Cow::Owned(dated(archived.name(), &version.name)),
            item,
        });
        Ok(lines.collect())
    }

    /// States with another content than the one before, oldest first, each in the oldest version that is left of it.
    fn shown(&self, path: &[u8], states: Vec<PastState>) -> Vec<(Arc<NamedVersion>, Item)> {
        let Ok(archived) = ArchivePath::from_joined(path) else { return Vec::new() };
        let key = Arc::new(archived.key());
        let mut shown = Vec::new();
        let mut last: Option<Entry> = None;
        let ends: Vec<_> = states.iter().skip(1).map(|state| state.sequence).chain([u64::MAX]).collect();
        for (state, end) in states.into_iter().zip(ends) {
            let is_other = Change::of(last.as_ref(), state.entry.as_ref())
                .is_some_and(|change| change != Change::Metadata);
            if let Some(entry) = state.entry.clone().filter(|_| is_other)
                && let Some(version) = self.list.oldest_within(state.sequence, end)
            {
                let item = Item::Archived(Arc::clone(version), Arc::clone(&key), Box::new(entry));
                shown.push((Arc::clone(version), item));
                last = state.entry;
            } else if state.entry.is_none() {
                last = None;
            }
        }
        shown
    }

    /// Names that were ever in a directory, from an order of lines on.
    fn each_name(
        &self,
        path: &[u8],
        from: u64,
        each: &mut dyn FnMut(u64, Vec<u8>, PastName) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        let mut problem = None;
        for (directory, number) in directories(path).zip(0..) {
            let first = NAMES_FROM + number * ORDER_MAX;
            let Some(from) = from.max(first).checked_sub(first).filter(|from| *from < ORDER_MAX) else {
                continue;
            };
            let mut has_room = true;
            self.history.names(directory, from, |name| {
                let Some(child) = child(directory, &name.name) else { return true };
                let result = each(first + name.order, child, name);
                has_room = *result.as_ref().unwrap_or(&false);
                problem = result.err();
                has_room
            })?;
            if let Some(problem) = problem {
                return Err(problem);
            }
            if !has_room {
                break;
            }
        }
        Ok(())
    }
}

impl Snapshots {
    /// `.versions` and `.deleted` in a directory of a version that has nothing of that name.
    pub(super) fn link_to_past(&self, directory: &Directory, name: &[u8]) -> Result<Lookup, Problem> {
        let link = LINKS.iter().find(|(own, _)| own.as_bytes() == name);
        let (_, view) = link.ok_or(Problem::NotFound)?;
        let folder = self.folder_of(&directory.version);
        folder.history().ok_or(Problem::NotFoundYet)?;
        let names: Vec<_> = names_of(&directory.path).collect();
        let mut target = "../".repeat(names.len() + 1).into_bytes();
        target.extend_from_slice(HUB.as_bytes());
        for part in std::iter::once(view.as_bytes()).chain(names) {
            target.push(b'/');
            target.extend_from_slice(part);
        }
        let time = directory.version.version.time();
        let place = [directory.version.version.id.as_bytes(), &directory.path[..]].concat();
        let identity = Identity::link(&place, name, &target);
        let length = target.len();
        let ino = self.inodes.remember(&identity, Node::Link { target: target.into(), time });
        let attributes = Attributes::made_up_link(ino, self.options.owner, time, length as u64);
        Ok(Lookup { attributes, validity: Validity::UntilChanged })
    }
}

/// The directories of the archive that one of ours shows: at the top `/`, and the roots beside it.
fn directories(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, second) = if path.is_empty() { (UNIX_ROOT, Some(&[][..])) } else { (path, None) };
    std::iter::once(first).chain(second)
}

/// The path of a name in a directory, if there can be such a file.
fn child(directory: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    if directory.is_empty() {
        return ArchivePath::root(name).ok().filter(|_| name != UNIX_ROOT).map(|root| root.joined().to_vec());
    }
    check_name(name).ok().map(|()| [directory, &[0], name].concat())
}

/// `report (2026-11-22_14-30-05).docx`: what it was called, when, and the end that tells programs what it is.
fn dated(name: &[u8], version: &str) -> Vec<u8> {
    marked(name, &format!(" ({version})"))
}

/// A name with a mark before the end that tells programs what it is.
pub(super) fn marked(name: &[u8], mark: &str) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let (stem, end) = name.split_at(dot.unwrap_or(name.len()));
    let room = DATED_NAME_BYTES_MAX.saturating_sub(mark.len() + end.len());
    let mut cut = stem.len().min(room);
    // Not in the middle of a character.
    while cut < stem.len() && cut > 0 && stem[cut] & 0xc0 == 0x80 {
        cut -= 1;
    }
    let mut marked = [&stem[..cut], mark.as_bytes(), end].concat();
    marked.truncate(DATED_NAME_BYTES_MAX);
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_end_and_their_length() {
        let at = |name: &str| String::from_utf8(dated(name.as_bytes(), "2026-11-22_14-30-05")).unwrap();
        assert_eq!(at("report.docx"), "report (2026-11-22_14-30-05).docx");
        assert_eq!(at("Makefile"), "Makefile (2026-11-22_14-30-05)");
        assert_eq!(at(".profile"), ".profile (2026-11-22_14-30-05)");
        assert_eq!(at("a.tar.gz"), "a.tar (2026-11-22_14-30-05).gz");
        let long = at(&format!("{}.txt", "ä".repeat(125)));
        assert!(
            long.len() <= DATED_NAME_BYTES_MAX && long.ends_with("ä (2026-11-22_14-30-05).txt"),
            "{long}"
        );
        assert_eq!(dated(&[b'.'; 255], "2026-11-22_14-30-05").len(), DATED_NAME_BYTES_MAX);
    }
}
