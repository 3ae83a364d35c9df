//! Metadata that costs more than a `stat`, read only of new and changed files: extended attributes, inode flags, owners' names.
//!
//! Nothing here can lose a file: what cannot be read is a problem reported beside what could. POSIX ACLs are the extended attributes
//! `system.posix_acl_access` and `system.posix_acl_default`.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as host;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as host;
mod principals;
#[cfg(all(test, unix))]
mod tests;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs::File;
use std::io;

use backstore_protocol::entry::{Entry, Kind};

use crate::paths::Printable;
use crate::walk::{Directory, FullStat, Stat};

pub use principals::{PrincipalCache, PrincipalIds};
#[cfg(unix)]
pub use unix::XattrReader;
#[cfg(windows)]
pub use windows::XattrReader;

/// A file whose metadata is wanted, in the way it is at hand.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// An open regular file.
    File(&'a File),
    /// An open directory.
    Directory(&'a Directory),
    /// A file that is not to be opened, as a link, pipe, socket or device: the directory it is in, and its name.
    Named(&'a Directory, &'a [u8]),
}

/// An extended attribute as the system has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawXattr {
    /// Its name, on Linux with the namespace.
    pub name: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
}

/// The extended attributes of a file.
#[derive(Debug, Default)]
pub struct Xattrs {
    /// Those that could be read, sorted by name, no name twice, at most [`backstore_protocol::limits::XATTRS_MAX`].
    pub found: Vec<RawXattr>,
    /// What could not.
    pub problems: Vec<XattrProblem>,
}

/// What of a file's extended attributes was not read.
#[derive(Debug, thiserror::Error)]
pub enum XattrProblem {
    /// The system did not tell their names.
    #[error("its extended attributes cannot be listed")]
    List {
        /// What the system said.
        source: io::Error,
    },
    /// One could not be read.
    #[error("its extended attribute {} cannot be read", Printable(name))]
    Read {
        /// Its name.
        name: Box<[u8]>,
        /// What the system said.
        source: io::Error,
    },
    /// One is larger than an archive stores, or all of them together are.
    #[error("its extended attribute {} of {bytes} bytes is too large", Printable(name))]
    TooLarge {
        /// Its name.
        name: Box<[u8]>,
        /// Its size, at least.
        bytes: u64,
    },
    /// There are more than an archive stores; the first by name were read.
    #[error("it has {count} extended attributes")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// All values of one file's extended attributes together.
pub const XATTR_VALUES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The attribute bits worth keeping: on Linux the inode flags in [`linux_flags`], elsewhere those in the `stat`. Where the file system has
/// none, and for links and special files on Linux, 0.
pub fn attributes(subject: Subject<'_>, stat: &Stat) -> u32 {
    match subject {
        #[cfg(target_os = "linux")]
        Subject::File(file) => linux::inode_flags(file),
        #[cfg(target_os = "linux")]
        Subject::Directory(directory) => linux::inode_flags(directory),
        #[cfg(not(target_os = "linux"))]
        Subject::File(_) | Subject::Directory(_) => stat.attributes,
        Subject::Named(..) => stat.attributes,
    }
}

/// The Linux inode flags (`FS_IOC_GETFLAGS`) that archives keep and restore sets. Flags that only describe how the file system stores the file
/// are not among them.
pub mod linux_flags {
    /// Every write goes to disk at once.
    pub const SYNCHRONOUS: u32 = 0x8;
    /// Compressed, or to be compressed.
    pub const COMPRESSED: u32 = 0x4;
    /// Nobody can change or remove it.
    pub const IMMUTABLE: u32 = 0x10;
    /// Can only be appended to.
    pub const APPEND_ONLY: u32 = 0x20;
    /// `dump` leaves it out.
    pub const NO_DUMP: u32 = 0x40;
    /// Access times are not kept.
    pub const NO_ACCESS_TIME: u32 = 0x80;
    /// Data goes through the journal.
    pub const JOURNALED: u32 = 0x4000;
    /// Changes to the directory go to disk at once.
    pub const SYNCHRONOUS_DIRECTORY: u32 = 0x1_0000;
    /// Subdirectories are unrelated and may be spread.
    pub const TOP_DIRECTORY: u32 = 0x2_0000;
    /// Written in place; can only be set while the file is empty.
    pub const NO_COPY_ON_WRITE: u32 = 0x80_0000;
    /// All of the above.
    pub const KEPT: u32 = SYNCHRONOUS
        | COMPRESSED
        | IMMUTABLE
        | APPEND_ONLY
        | NO_DUMP
        | NO_ACCESS_TIME
        | JOURNALED
        | SYNCHRONOUS_DIRECTORY
        | TOP_DIRECTORY
        | NO_COPY_ON_WRITE;
}

/// The entry of a file as far as its `stat` goes: without content, xattrs and, on Linux, attributes. `mount` is the ordinal of its mount in the
/// snapshot's body.
pub fn entry_from(stat: &FullStat, mount: u32, principals: &mut PrincipalCache) -> Entry {
    let FullStat { basic, btime, .. } = *stat;
    Entry {
        mode: basic.mode,
        attributes: basic.attributes,
        owner: principals.user(basic.owner),
        group: principals.group(basic.group),
        mtime: basic.mtime,
        ctime: basic.ctime,
        btime,
        size: if basic.kind.has_content() { basic.size } else { 0 },
        nlink: basic.nlink.max(1),
        mount,
        inode: basic.inode,
        device: if basic.kind.is_device() { basic.special } else { (0, 0) },
        ..Entry::new(basic.kind)
    }
}

/// The entry of a directory that is in the snapshot only because a root lies below it.
pub fn implied_directory_from(stat: &Stat, principals: &mut PrincipalCache) -> Entry {
    Entry {
        mode: stat.mode,
        owner: principals.user(stat.owner),
        group: principals.group(stat.group),
        ..Entry::new(Kind::ImpliedDirectory)
    }
}
