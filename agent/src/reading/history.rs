//! What became of one path over all versions.

use backstore_protocol::entry::Entry;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::history::PastState;
use backstore_vfs::objects::Want;

use super::indexed::Indexed;
use super::{Change, ReadingError, VersionInfo, Versions};
use crate::home::Home;

/// A stretch of versions in which a path stayed the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The newest of them.
    pub newest: VersionInfo,
    /// The oldest: where this state began.
    pub oldest: VersionInfo,
    /// How many they are.
    pub versions: u64,
    /// What was there, as the oldest of them has it; nothing after a deletion.
    pub entry: Option<Box<Entry>>,
}

/// The states of a path, newest first. What was before it first appeared is none.
///
/// What the index on this computer's disk knows is not read again: one lookup for each other version whose tree differs from the next.
pub struct History<'a> {
    versions: &'a Versions<'a>,
    path: ArchivePath,
    index: Option<(Indexed, Vec<PastState>)>,
    all: Vec<VersionInfo>,
    next: usize,
    open: Option<State>,
}

/// Trees that are asked for before they are needed.
const AHEAD: usize = 8;

impl<'a> History<'a> {
    /// Of `path`.
    pub fn new(versions: &'a Versions<'a>, home: &Home, path: ArchivePath) -> Result<Self, ReadingError> {
        let all = versions.all()?;
        let index = Indexed::as_it_is(versions, home, &all);
        // One that cannot be read is made anew by whoever needs it.
        let index = index.and_then(|index| Some((index.history.states(path.joined()).ok()?, index)));
        let index = index.map(|(states, index)| (index, states));
        Ok(Self { versions, path, index, all, next: 0, open: None })
    }

    /// What the index knows of a version.
    fn indexed(&self, version: &VersionInfo) -> Option<Option<&Entry>> {
        let (_, states) = self.index.as_ref().filter(|(index, _)| index.knows(version))?;
        let before = states.partition_point(|state| state.sequence <= version.sequence);
        Some(states[..before].last().and_then(|state| state.entry.as_ref()))
    }

    /// Looks the path up in a version; nothing if the version does not tell.
    fn look(&self, version: &VersionInfo) -> Result<Option<Option<Box<Entry>>>, ReadingError> {
        if let Some(known) = self.indexed(version) {
            return Ok(Some(known.cloned().map(Box::new)));
        }
        let found = self.versions.view(version).resolve(&self.path)?;
        if found.is_none() && version.is_partial {
            let cursor = self.versions.body(version)?.cursor;
            // Beyond its cursor a partial version has only what came before it.
            if cursor.is_some_and(|cursor| cursor.key < self.path.key()) {
                return Ok(None);
            }
        }
        Ok(Some(found.map(Box::new)))
    }

    fn hint(&self) {
        if self.next.is_multiple_of(AHEAD) {
            let soon = self.all[self.next..].iter().take(2 * AHEAD);
            let soon = soon.filter(|version| self.indexed(version).is_none());
            self.versions.archive.reader.prefetch(soon.map(|version| Want::Tree(version.root.node)));
        }
    }

    fn advance(&mut self) -> Result<Option<State>, ReadingError> {
        while let Some(version) = self.all.get(self.next).cloned() {
            self.hint();
            self.next += 1;
            let is_same_tree = self.open.as_ref().is_some_and(|open| open.oldest.root == version.root);
            if let Some(open) = self.open.as_mut().filter(|_| is_same_tree) {
                open.oldest = version;
                open.versions += 1;
                continue;
            }
            let Some(entry) = self.look(&version)? else { continue };
            if let Some(open) = &mut self.open
                && Change::of(entry.as_deref(), open.entry.as_deref()).is_none()
            {
                open.oldest = version;
                open.versions += 1;
                open.entry = entry;
                continue;
            }
            let state = State { newest: version.clone(), oldest: version, versions: 1, entry };
            if let Some(done) = self.open.replace(state) {
                return Ok(Some(done));
            }
        }
        // Before a path first appeared it was not deleted.
        Ok(self.open.take().filter(|open| open.entry.is_some()))
    }
}

/// A version that cannot be read is one error, and the others follow.
impl Iterator for History<'_> {
    type Item = Result<State, ReadingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
