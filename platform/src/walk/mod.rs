//! Reading a tree through handles of its directories.
//!
//! Every name is looked up in an open directory and never followed, so a tree is read right while it changes: what is swapped for a link
//! between listing and opening is an error of that name, and paths may be longer than the system allows paths to be. Callers treat
//! [`io::ErrorKind::NotFound`] of a listed name as *vanished*. Names come as the file system gives them, twice if it gives them twice.
//!
//! This is the hot path of a backup without changes: one system call for a name's metadata, no allocation. What only a new or
//! changed file's entry needs is in [`FullStat`], which costs more.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as host;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as host;
#[cfg(all(test, unix))]
mod tests;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;

use backstore_protocol::entry::{Kind, Time};
use backstore_protocol::path::check_name;

#[cfg(unix)]
pub use host::{ListBuffer, has_in_memory, read_ahead};
#[cfg(unix)]
pub(crate) use unix::stat_handle;
#[cfg(unix)]
pub use unix::{Directory, append, append_at, full_stat_file, stat_file};
#[cfg(windows)]
pub use windows::{
    Directory, ListBuffer, append, append_at, full_stat_file, has_in_memory, read_ahead, stat_file,
};

/// A file system as `stat` numbers it. The number may differ after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(u64);

impl DeviceId {
    /// The device with these numbers.
    pub const fn from_numbers(major: u32, minor: u32) -> Self {
        Self((major as u64) << 32 | minor as u64)
    }

    /// Major and minor number.
    pub const fn numbers(self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32)
    }
}

/// A place in the mount table while it is mounted; of one file system there may be several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountId(pub u64);

/// Metadata of one file that tells whether it changed, as the quickest system call gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777`; 0 on Windows.
    pub mode: u16,
    /// Numeric user, where the system has such.
    pub owner: Option<u32>,
    /// Numeric group, where the system has such.
    pub group: Option<u32>,
    /// Bytes of content, holes included; of a link, of its target.
    pub size: u64,
    /// Bytes on disk. Fewer than `size` means that there may be holes.
    pub allocated: u64,
    /// When the content changed last.
    pub mtime: Time,
    /// When content or metadata changed last; on Windows as `mtime`.
    pub ctime: Time,
    /// Number of the file in its file system; 0 on Windows.
    pub inode: u64,
    /// The file system it is on.
    pub device: DeviceId,
    /// Names it has.
    pub nlink: u32,
    /// Attribute bits, where they come with the rest: `st_flags` on macOS, file attributes on Windows. On Linux 0: see
    /// [`crate::metadata::attributes`].
    pub attributes: u32,
    /// Major and minor number of the device that a device node stands for.
    pub special: (u32, u32),
}

impl Stat {
    /// Which file this is, as long as it exists.
    pub const fn identity(&self) -> (DeviceId, u64) {
        (self.device, self.inode)
    }

    /// Whether content and metadata are still what they were: any write, truncation, replacement or change of permissions in between
    /// shows, as far as the file system's clock does. Reading does not.
    pub fn is_unchanged_since(&self, before: &Self) -> bool {
        self.kind == before.kind
            && self.size == before.size
            && self.mtime == before.mtime
            && self.ctime == before.ctime
            && self.identity() == before.identity()
    }
}

/// All metadata of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullStat {
    /// What [`Stat`] has.
    pub basic: Stat,
    /// When it was made, if the file system knows.
    pub btime: Option<Time>,
    /// The mount it was found through, where the system tells.
    pub mount: Option<MountId>,
    /// Something is mounted here, and this is its root. False where the system does not tell: compare devices as well.
    pub is_mount_root: bool,
}

/// A name of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its bytes, as archives store them; never `.` or `..`.
    pub name: &'a [u8],
    /// What it is, if the file system says so in listings. It may have changed since.
    pub kind: Option<Kind>,
    /// The number of its file, by which reading in order saves seeks on disks; of a mount point that below it.
    pub inode: u64,
}

/// Lets only names through that stay in their directory.
pub(crate) fn component(name: &[u8]) -> io::Result<&[u8]> {
    match check_name(name) {
        Ok(()) => Ok(name),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file in a directory")),
    }
}

const _: fn() = || {
    fn keeps_contract<T: Send + Sync>() {}
    keeps_contract::<Directory>();
    keeps_contract::<ListBuffer>();
};
