//! What a backup changes in the tree, counted for the snapshot's body as it goes into the tree.
//!
//! So the counts of a partial snapshot are those of its own tree, however far the scan is ahead of it.

use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::snapshot::{Changes, Counts};

use super::differences::Changed;
use crate::reading::Change;

/// The counts so far; those of bytes sent are kept elsewhere.
#[derive(Debug, Default)]
pub(super) struct Tally(Changes);

impl Tally {
    /// An entry goes into the tree, over that of the basis if it has one here. What the basis has may be unreadable: then all of it counts
    /// as changed.
    pub(super) fn put(&mut self, in_basis: bool, basis: Option<&Entry>, entry: &Entry) {
        // What has moved here has a basis, but not at this path.
        let change = match basis.filter(|_| in_basis) {
            Some(basis) => Change::between(basis, entry),
            None if in_basis => Some(Change::Content),
            None => Some(Change::Added),
        };
        self.add(change, entry.kind, entry.size);
    }

    /// An entry is taken out of the tree.
    pub(super) fn remove(&mut self, kind: Kind) {
        *of_kind(&mut self.0.removed, kind) += 1;
    }

    /// A file that a dry run would read: only its stamps tell how it differs.
    pub(super) fn would_put(&mut self, changed: &Changed) {
        let Changed { stat, basis, in_basis, .. } = changed;
        let change = match basis.as_ref().filter(|_| *in_basis) {
            Some(basis) if stat.kind.is_directory() && basis.mode == stat.mode => None,
            Some(_) => Some(Change::Content),
            None if *in_basis => Some(Change::Content),
            None => Some(Change::Added),
        };
        self.add(change, stat.kind, stat.size);
    }

    /// The counts, with those of bytes sent.
    pub(super) fn changes(&self, bytes_new: u64, bytes_stored: u64) -> Changes {
        Changes { bytes_new, bytes_stored, ..self.0 }
    }

    fn add(&mut self, change: Option<Change>, kind: Kind, size: u64) {
        let has_other_bytes = match change {
            None => return,
            Some(Change::Added) => {
                *of_kind(&mut self.0.new, kind) += 1;
                true
            }
            Some(change @ (Change::Type | Change::Content | Change::Metadata)) => {
                *of_kind(&mut self.0.changed, kind) += 1;
                change != Change::Metadata
            }
            Some(Change::Removed) => return self.remove(kind),
        };
        if has_other_bytes && kind == Kind::File {
            self.0.bytes += size;
        }
    }
}

fn of_kind(counts: &mut Counts, kind: Kind) -> &mut u64 {
    match kind {
        Kind::File => &mut counts.files,
        Kind::Directory | Kind::ImpliedDirectory => &mut counts.directories,
        Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::CharacterDevice | Kind::BlockDevice => {
            &mut counts.others
        }
    }
}
