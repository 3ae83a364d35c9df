//! Reading the tree to be backed up: in the order of archive keys, on several threads, in bounded memory.
//!
//! [`Scanner::next_listing`] gives one directory at a time, all its files with their metadata, sorted by name; then come the
//! directories below it, as the order of keys demands. Threads list ahead of the one that asks. What is left out, and why,
//! is decided here and told with the listing, never silently.

mod exclude;
mod frontier;
mod list;
mod own;
mod reading;
mod roots;
mod sort;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use backstore_platform::walk::{DeviceId, Directory, Stat};
use backstore_protocol::path::ArchivePath;

pub use exclude::{DEFAULT_EXCLUSIONS, ExcludeError, Exclusions, PathPattern, default_exclusions};
pub use frontier::{Scanner, has_vanished};
pub use own::{never_enter, pseudo_devices};
pub use reading::Reading;
pub use roots::{RootError, Roots, Top};
pub use sort::{SORT_BYTES_MAX, SortRoom};

/// What to scan, and what not.
#[derive(Debug, Clone)]
pub struct ScanRules {
    /// Names and paths left out.
    pub exclusions: Exclusions,
    /// A directory that holds a file of one of these names is left out.
    pub exclude_if_present: Vec<Vec<u8>>,
    /// Regular files larger than this are left out.
    pub exclude_larger_than: Option<u64>,
    /// Directories on another file system than their root's are not entered.
    pub one_file_system: bool,
    /// Directories marked by `CACHEDIR.TAG` keep only that file.
    pub exclude_caches: bool,
    /// Directories that are never entered: the vault, the cache, mounts of our own.
    pub never_enter: Vec<(DeviceId, u64)>,
    /// File systems made up by the kernel, by device; never entered either.
    pub pseudo: Vec<DeviceId>,
    /// Where the names of large directories are sorted.
    pub sort_room: SortRoom,
}

/// One directory with everything in it.
#[derive(Debug)]
pub struct Listing {
    /// Where it is in the archive.
    pub path: ArchivePath,
    /// The open directory; nothing if it could not be opened.
    pub directory: Option<Arc<Directory>>,
    /// Its files, sorted by name.
    pub files: Vec<Listed>,
    /// Files left out.
    pub excluded: u64,
    /// Why it could not be listed, at all or to the end. What is in it then is unknown.
    pub error: Option<io::Error>,
    /// More of the same directory follows.
    pub more: bool,
}

/// A file of a listing.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: Box<[u8]>,
    /// Its metadata, or why there is none. A file that has vanished since is not listed.
    pub stat: io::Result<Stat>,
    /// For a directory: whether what is in it will follow.
    pub enter: Enter,
    /// It is not selected, but leads to a root.
    pub implied: bool,
}

/// Whether a directory's content is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enter {
    /// Its listing follows.
    Yes,
    /// It is no directory.
    NotADirectory,
    /// It is on another file system, and the set has only one.
    OtherFileSystem,
    /// Made up by the kernel.
    Pseudo,
    /// BackStore's own: a vault, a cache, a mount.
    Own,
}
