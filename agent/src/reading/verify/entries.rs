//! The entries of a version that no newer version has: all of the first, then what differs.

use backstore_protocol::entry::Entry;
use backstore_protocol::tree::{Cursor, Diff};
use backstore_vfs::objects::{Nodes, ReadError, Wait};

use super::regular::Regular;
use crate::archive::Archive;
use crate::reading::VersionInfo;

/// Entries in key order.
pub(super) enum Entries {
    Walk(Cursor<Regular<Nodes>>),
    Back(Box<Diff<Regular<Nodes>>>),
    Over,
}

/// An entry of the version, and what the next newer version has in its place.
pub(super) struct Found {
    pub(super) key: Vec<u8>,
    /// Nothing where only the newer version has something.
    pub(super) entry: Option<Entry>,
    pub(super) newer: Option<Box<Entry>>,
}

impl Entries {
    /// Of `version`, from `key` on; only what `newer` has not, if it is given.
    pub(super) fn new(
        archive: &Archive,
        version: &VersionInfo,
        newer: Option<&VersionInfo>,
        key: &[u8],
    ) -> Result<Self, ReadError> {
        let nodes = Regular(archive.reader.nodes(Wait::UntilDeadline));
        match newer {
            Some(newer) => Ok(Self::Back(Box::new(Diff::new(nodes, version.root, newer.root)?))),
            None => {
                let cursor = Cursor::seek(nodes, version.root, key)?;
                cursor.hint();
                Ok(Self::Walk(cursor))
            }
        }
    }

    fn advance(&mut self) -> Result<Option<Found>, ReadError> {
        match self {
            Self::Over => Ok(None),
            Self::Walk(cursor) => {
                let entry = cursor.next_entry()?;
                Ok(entry.map(|entry| Found { key: cursor.key().to_vec(), entry: Some(entry), newer: None }))
            }
            Self::Back(diff) => Ok(diff.next_difference()?.map(|found| Found {
                key: found.key,
                entry: found.old.map(|entry| *entry),
                newer: found.new,
            })),
        }
    }
}

/// A node that cannot be had is one error, and the others follow; any other error is the last.
impl Iterator for Entries {
    type Item = Result<Found, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if item.as_ref().is_none_or(|item| item.as_ref().is_err_and(ReadError::ends_walk)) {
            *self = Self::Over;
        }
        item
    }
}
