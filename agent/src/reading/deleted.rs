//! Files that are in no newest version any more, with the last version that has them.

use backstore_protocol::entry::Entry;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::objects::ReadError;

use super::indexed::{IndexProgress, Indexed};
use super::{ReadingError, VersionInfo, Versions};
use crate::home::Home;

/// A file that is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Gone {
    /// Where it was.
    pub path: ArchivePath,
    /// What it was last.
    pub entry: Entry,
    /// The last version that has it.
    pub version: VersionInfo,
}

/// Files below a path that are not in the newest complete version, by directories, and in these by name.
pub struct Deleted {
    index: Indexed,
    /// What could not be read.
    unreadable: Vec<ReadError>,
    /// Directories to be looked at; the next one is the last.
    directories: Vec<ArchivePath>,
    /// Files to be given; the next one is the last.
    found: Vec<Gone>,
}

impl Deleted {
    /// Those at or below `path`. What the index on this computer's disk does not know yet is taken into it first.
    pub fn new(
        versions: &Versions<'_>,
        home: &Home,
        path: &ArchivePath,
        progress: &IndexProgress,
    ) -> Result<Self, ReadingError> {
        let (index, unreadable) = Indexed::up_to_date(versions, home, &versions.all()?, progress)?;
        let mut deleted = Self { index, unreadable, directories: vec![path.clone()], found: Vec::new() };
        deleted.found.extend(deleted.gone(path)?);
        Ok(deleted)
    }

    /// What was at a path last, if it is gone and a version with it is left.
    fn gone(&self, path: &ArchivePath) -> Result<Option<Gone>, ReadingError> {
        let states = self.index.history.file_states(path.joined())?;
        let [.., there, gone] = &states[..] else { return Ok(None) };
        let (Some(entry), None) = (&there.entry, &gone.entry) else { return Ok(None) };
        let version = self.index.newest_within(there.sequence, gone.sequence);
        Ok(version.map(|version| Gone { path: path.clone(), entry: entry.clone(), version: version.clone() }))
    }

    /// Looks at one directory.
    fn enter(&mut self, directory: &ArchivePath) -> Result<(), ReadingError> {
        if self.index.history.gone_below(directory.joined())? == 0 {
            return Ok(());
        }
        let mut names = Vec::new();
        self.index.history.names(directory.joined(), 0, |name| {
            names.push((name.name, name.flags));
            true
        })?;
        // Taken from the end.
        names.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (name, flags) in names {
            let Ok(path) = directory.join(&name) else { continue };
            if flags.was_file && !flags.is_file {
                self.found.extend(self.gone(&path)?);
            }
            if flags.was_directory {
                self.directories.push(path);
            }
        }
        Ok(())
    }
}

/// A part of a version that cannot be read is one error, and the others follow. After any other error there is nothing more.
impl Iterator for Deleted {
    type Item = Result<Gone, ReadingError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.found.pop() {
                return Some(Ok(found));
            }
            if let Some(error) = self.unreadable.pop() {
                return Some(Err(error.into()));
            }
            let directory = self.directories.pop()?;
            if let Err(error) = self.enter(&directory) {
                self.directories.clear();
                return Some(Err(error));
            }
        }
    }
}
