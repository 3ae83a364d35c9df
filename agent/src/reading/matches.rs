//! Finding files by name: in one version, or in all of them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::path::ArchivePath;
use backstore_vfs::history::{PastPath, PastState};
use backstore_vfs::objects::ReadError;
use backstore_vfs::view::{View, Walk};

use super::indexed::{IndexProgress, Indexed};
use super::{Change, Differences, ReadingError, VersionInfo, Versions};
use crate::home::Home;
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
    /// The newest version that has it so, a complete one if there is one: its place in the list of versions, newest first.
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

/// The files that match in any version, each state of a file once, by the newest complete version that has it; newest versions first.
///
/// Those of complete versions come from the index on this computer's disk. Of a partial one there is what differs from the complete version before it
/// and is in no complete version.
pub struct AllMatches<'a> {
    versions: &'a Versions<'a>,
    all: &'a [VersionInfo],
    query: &'a Query,
    index: Indexed,
    /// What could not be read.
    unreadable: Vec<ReadError>,
    /// In complete versions; the next one is the last.
    found: Vec<Found>,
    /// Versions of `all` that were looked at for being partial.
    looked_at: usize,
    partial: Option<(usize, Entries)>,
    /// States in partial versions that were given.
    given: HashSet<u64>,
}

/// A state in the index.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// Counted from the newest.
    version: Reverse<usize>,
    /// The path's key.
    key: Reverse<Vec<u8>>,
    /// Where the state begins.
    sequence: u64,
}

/// Entries of a partial version.
enum Entries {
    /// All of them.
    Tree(Box<Walk>),
    /// Those that differ from a complete one.
    Differing(Box<Differences>),
}

impl Entries {
    fn next(&mut self) -> Option<Result<(ArchivePath, Entry), ReadError>> {
        match self {
            Self::Tree(walk) => walk.next(),
            Self::Differing(differences) => differences.find_map(|found| match found {
                Ok(found) => found.new.map(|entry| Ok((found.path, *entry))),
                Err(error) => Some(Err(error)),
            }),
        }
    }
}

impl<'a> AllMatches<'a> {
    /// In `all` the versions, newest first. What the index does not know yet is taken into it first.
    pub fn new(
        versions: &'a Versions<'a>,
        home: &Home,
        all: &'a [VersionInfo],
        query: &'a Query,
        progress: &IndexProgress,
    ) -> Result<Self, ReadingError> {
        let (index, unreadable) = Indexed::up_to_date(versions, home, all, progress)?;
        let places: HashMap<_, _> =
            all.iter().enumerate().map(|(place, version)| (version.sequence, place)).collect();
        let mut found = Vec::new();
        let fits = |name: &[u8]| query.pattern.may_match_name(name);
        index.history.find(fits, |PastPath { path, states }| {
            if let Ok(path) = ArchivePath::from_joined(&path) {
                for (sequence, version) in newest_of_each(&path, &states, query, &index) {
                    let version = Reverse(places[&version.sequence]);
                    found.push(Found { version, key: Reverse(path.key()), sequence });
                }
            }
            true
        })?;
        found.sort_unstable();
        let (partial, given) = (None, HashSet::new());
        Ok(Self { versions, all, query, index, unreadable, found, looked_at: 0, partial, given })
    }

    /// The next one in a complete version.
    fn next_complete(&mut self) -> Result<Option<Match>, ReadingError> {
        while let Some(Found { version: Reverse(version), key: Reverse(key), sequence }) = self.found.pop() {
            let path = ArchivePath::from_key(&key).map_err(ReadError::from)?;
            // Only states in which it was there were collected.
            if let Some(entry) = self.index.history.state_from(path.joined(), sequence)?.entry {
                return Ok(Some(Match { path, entry, version }));
            }
        }
        Ok(None)
    }

    /// The next one that is in partial versions only.
    fn next_partial(&mut self) -> Result<Option<Match>, ReadingError> {
        loop {
            let Some((version, entries)) = &mut self.partial else {
                let Some(version) = self.all.get(self.looked_at) else { return Ok(None) };
                self.looked_at += 1;
                if version.is_partial {
                    self.partial = Some((self.looked_at - 1, self.open(version)?));
                }
                continue;
            };
            let version = *version;
            let Some((path, entry)) = entries.next().transpose()? else {
                self.partial = None;
                continue;
            };
            if self.query.matches(&path, &entry) && self.is_new(&path, &entry)? {
                return Ok(Some(Match { path, entry, version }));
            }
        }
    }

    fn open(&self, partial: &VersionInfo) -> Result<Entries, ReadError> {
        let view = self.versions.view(partial);
        Ok(match self.index.newest_within(0, partial.sequence) {
            Some(before) => {
                Entries::Differing(Box::new(Differences::new(&self.versions.view(before), &view, None)?))
            }
            None => Entries::Tree(Box::new(view.walk_all()?)),
        })
    }

    /// Whether no complete version has it so, and no other partial one.
    fn is_new(&mut self, path: &ArchivePath, entry: &Entry) -> Result<bool, ReadingError> {
        let states = self.index.history.states(path.joined())?;
        let is_it = |state: &PastState| Change::of(state.entry.as_ref(), Some(entry)).is_none();
        Ok(!states.iter().any(is_it) && self.given.insert(state(path, entry)))
    }
}

/// Different states of a path that match: where each begins, and the newest version that has it.
fn newest_of_each<'a>(
    path: &ArchivePath,
    states: &[PastState],
    query: &Query,
    index: &'a Indexed,
) -> Vec<(u64, &'a VersionInfo)> {
    let mut newest: Vec<(u64, &VersionInfo)> = Vec::new();
    let mut seen = HashSet::new();
    let mut end = u64::MAX;
    for PastState { sequence, entry } in states.iter().rev() {
        if let Some(entry) = entry
            && query.matches(path, entry)
            && let Some(version) = index.newest_within(*sequence, end)
            && seen.insert(state(path, entry))
        {
            newest.push((*sequence, version));
        }
        end = *sequence;
    }
    newest
}

/// A part of a version that cannot be read is one error, and the others follow.
impl Iterator for AllMatches<'_> {
    type Item = Result<Match, ReadingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.unreadable.pop() {
            return Some(Err(error.into()));
        }
        match self.next_complete() {
            Ok(None) => self.next_partial().transpose(),
            found => found.transpose(),
        }
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
