//! What a comparison of the disk with the basis finds, and who does something about it.

use std::sync::Arc;

use backstore_platform::walk::{Directory, Stat};
use backstore_protocol::entry::{Entry, Kind};

use super::BackupError;

/// A file that is new or has changed.
pub(super) struct Changed {
    pub(super) key: Vec<u8>,
    pub(super) directory: Arc<Directory>,
    /// Empty for the directory itself.
    pub(super) name: Box<[u8]>,
    pub(super) stat: Stat,
    pub(super) mount: u32,
    /// It is not selected, but leads to a root.
    pub(super) implied: bool,
    /// What the basis has under this key, if that is whole.
    pub(super) basis: Option<Box<Entry>>,
    /// The basis has something under this key, be it whole or not.
    pub(super) in_basis: bool,
}

/// What is done about differences.
pub(super) trait Differences {
    /// A file is new or has changed.
    fn put(&mut self, changed: Changed) -> Result<(), BackupError>;
    /// A file is new under this key, but the basis has it elsewhere: this is its entry.
    fn put_known(
        &mut self,
        key: Vec<u8>,
        entry: Entry,
        basis: Option<Box<Entry>>,
        in_basis: bool,
    ) -> Result<(), BackupError>;
    /// A file of the basis is no longer there.
    fn remove(&mut self, key: Vec<u8>, kind: Kind) -> Result<(), BackupError>;
}
