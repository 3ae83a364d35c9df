//! What differs between two versions, below a path or everywhere.

use backstore_protocol::entry::Entry;
use backstore_protocol::path::{ArchivePath, prefix_end};
use backstore_protocol::tree::Diff;
use backstore_vfs::objects::{Nodes, ReadError};
use backstore_vfs::view::View;

use super::Change;

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: ArchivePath,
    /// How.
    pub change: Change,
    /// What was there.
    pub old: Option<Box<Entry>>,
    /// What is there.
    pub new: Option<Box<Entry>>,
}

/// The differences from one tree to another, in key order. Reads only what differs; what counts as a difference, [`Change`] says.
pub struct Differences {
    diff: Option<Diff<Nodes>>,
    /// Only this path, and what lies below it: their keys are the path's own, and those between these two.
    below: Option<(ArchivePath, Vec<u8>, Vec<u8>)>,
}

impl Differences {
    /// From `old` to `new`; of `below` and what is in it, if that is given.
    pub fn new(old: &View, new: &View, below: Option<&ArchivePath>) -> Result<Self, ReadError> {
        let below = below.map(|path| {
            let prefix = path.subtree_prefix();
            let end = prefix_end(&prefix);
            (path.clone(), prefix, end)
        });
        Ok(Self { diff: Some(old.diff(new)?), below })
    }

    fn advance(&mut self) -> Result<Option<Difference>, ReadError> {
        let Some(diff) = &mut self.diff else { return Ok(None) };
        while let Some(found) = diff.next_difference()? {
            if let Some((path, start, end)) = &self.below {
                // A path's own key is before those below it, with others between.
                if found.key >= *end {
                    return Ok(None);
                }
                if found.key < *start && found.key != path.key() {
                    continue;
                }
            }
            if let Some(change) = Change::of(found.old.as_deref(), found.new.as_deref()) {
                let path = ArchivePath::from_key(&found.key)?;
                return Ok(Some(Difference { path, change, old: found.old, new: found.new }));
            }
        }
        Ok(None)
    }
}

/// A node that cannot be had is one error, and the comparison goes on after it: what lies in it then looks as if only the other side had it. After any
/// other error there is nothing more.
impl Iterator for Differences {
    type Item = Result<Difference, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if item.as_ref().is_none_or(|item| item.as_ref().is_err_and(ReadError::ends_walk)) {
            self.diff = None;
        }
        item
    }
}
