//! Finding files by name: in one version, or in all of them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::path::ArchivePath;
use backstore_vfs::objects::ReadError;
use backstore_vfs::view::{View, Walk};

use super::{Differences, ReadingError, VersionInfo, Versions};
use crate::scan::PathPattern;

/// Which files are meant.
#[derive(Debug, Clone)]
pub struct Query {
    /// Their name, or path.
    pub pattern: PathPattern,
    /// What they are; anything without.
    pub kind: Option<Kind>,
}

impl Query {
    fn matches(&self, path: &ArchivePath, entry: &Entry) -> bool {
        let is_kind = match self.kind {
            None => true,
            Some(Kind::Directory) => entry.kind.is_directory(),
            Some(kind) => entry.kind == kind,
        };
        is_kind && self.pattern.matches(path)
    }
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where.
    pub path: ArchivePath,
    /// What it is.
    pub entry: Entry,
    /// The newest version that has it so: its place in the list of versions, newest first.
    pub version: usize,
}

/// The files of one version that match, in key order.
pub struct Matches<'a> {
    query: &'a Query,
    walk: Walk,
}

impl<'a> Matches<'a> {
    /// Walks all of a tree.
    pub fn new(view: &View, query: &'a Query) -> Result<Self, ReadError> {
        Ok(Self { query, walk: view.walk_all()? })
    }
}

/// A node that cannot be had is one error, and the others follow.
impl Iterator for Matches<'_> {
    type Item = Result<(ArchivePath, Entry), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.walk.find(|item| match item {
            Ok((path, entry)) => self.query.matches(path, entry),
            Err(_) => true,
        })
    }
}

/// The files that match in any version, each state of a file once, by the newest version that has it.
///
/// Walks the newest version, then goes back through what differs from each version to the one before.
pub struct AllMatches<'a> {
    versions: &'a Versions<'a>,
    all: &'a [VersionInfo],
    query: &'a Query,
    /// Of the newest version while `version` is 0, then of differences.
    now: Walking<'a>,
    version: usize,
    /// The version that the next older one is compared with.
    compared: usize,
    /// States already given, of files that had several.
    seen: HashSet<u64>,
}

enum Walking<'a> {
    Tree(Matches<'a>),
    Back(Differences),
    Between,
    Over,
}

/// States of files that are remembered; of files that change more often in all, one that comes back may be found twice.
const SEEN_MAX: usize = 1 << 20;

impl<'a> AllMatches<'a> {
    /// In `all` the versions, newest first.
    pub fn new(
        versions: &'a Versions<'a>,
        all: &'a [VersionInfo],
        query: &'a Query,
    ) -> Result<Self, ReadingError> {
        let now = match all.first() {
            Some(newest) => Walking::Tree(Matches::new(&versions.view(newest), query)?),
            None => Walking::Over,
        };
        Ok(Self { versions, all, query, now, version: 0, compared: 0, seen: HashSet::new() })
    }

    /// Goes on to the next older version.
    fn step_back(&mut self) -> Result<(), ReadError> {
        let Some(older) = self.all.get(self.version + 1) else {
            self.now = Walking::Over;
            return Ok(());
        };
        self.version += 1;
        // A version whose root is lost is passed over: the next one is compared with the one before it.
        self.now = Walking::Between;
        let newer = &self.all[self.compared];
        let differences = Differences::new(&self.versions.view(older), &self.versions.view(newer), None)?;
        self.compared = self.version;
        self.now = Walking::Back(differences);
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Match>, ReadError> {
        loop {
            match &mut self.now {
                Walking::Over => return Ok(None),
                Walking::Between => self.step_back()?,
                Walking::Tree(matches) => match matches.next().transpose()? {
                    Some((path, entry)) => return Ok(Some(Match { path, entry, version: 0 })),
                    None => self.step_back()?,
                },
                Walking::Back(differences) => {
                    let Some(found) = differences.next().transpose()? else {
                        self.step_back()?;
                        continue;
                    };
                    if let Some(newer) = &found.new
                        && self.query.matches(&found.path, newer)
                        && self.seen.len() < SEEN_MAX
                    {
                        self.seen.insert(state(&found.path, newer));
                    }
                    let Some(entry) = found.old.filter(|old| self.query.matches(&found.path, old)) else {
                        continue;
                    };
                    let state = state(&found.path, &entry);
                    let is_new = if self.seen.len() < SEEN_MAX {
                        self.seen.insert(state)
                    } else {
                        !self.seen.contains(&state)
                    };
                    if is_new {
                        return Ok(Some(Match { path: found.path, entry: *entry, version: self.version }));
                    }
                }
            }
        }
    }
}

/// A node that cannot be had is one error, and the others follow.
impl Iterator for AllMatches<'_> {
    type Item = Result<Match, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// A number for what [`super::Change`] looks at.
fn state(path: &ArchivePath, entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let is_directory = entry.kind.is_directory();
    is_directory.hash(&mut hasher);
    match entry.content_hash {
        Some(hash) => hash.hash(&mut hasher),
        None => entry.content.hash(&mut hasher),
    }
    if !is_directory {
        (entry.kind, entry.size, entry.mtime).hash(&mut hasher);
    }
    (entry.mode, entry.attributes, &entry.owner.id, &entry.group.id, entry.device).hash(&mut hasher);
    entry.xattrs.hash(&mut hasher);
    hasher.finish()
}
