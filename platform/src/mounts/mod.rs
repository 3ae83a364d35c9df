//! What is mounted where, so that a backup knows what not to descend into and how to read.
//!
//! A table is a picture of one moment; take a new one for each run.

mod kinds;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as host;
#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(not(target_os = "linux"))]
use fallback as host;

use std::io;
use std::path::{Path, PathBuf};

use crate::walk::{DeviceId, FullStat, MountId};

pub use kinds::{NETWORK_FILE_SYSTEMS, PSEUDO_FILE_SYSTEMS};

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number in the table.
    pub id: MountId,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type of the file system: `ext4`, `nfs4`, `fuse.sshfs`. Bytes that are not UTF-8 are replaced.
    pub file_system: String,
    /// What is mounted, as the file system calls it: a block device, a server's share. Bytes that are not UTF-8 are replaced.
    pub source: String,
    /// The device number that files on it have; of btrfs subvolumes and the like another one.
    pub device: DeviceId,
    /// It cannot be written through this mount.
    pub is_read_only: bool,
}

impl Mount {
    /// Whether its files are made up by the kernel or a desktop and nothing to be backed up: see [`PSEUDO_FILE_SYSTEMS`].
    pub fn is_pseudo(&self) -> bool {
        PSEUDO_FILE_SYSTEMS.contains(&&*self.file_system)
    }

    /// Whether its files come over a network: see [`NETWORK_FILE_SYSTEMS`].
    pub fn is_network(&self) -> bool {
        NETWORK_FILE_SYSTEMS.contains(&&*self.file_system)
    }

    /// Whether it is a mount of BackStore itself, which shows what is backed up already.
    pub fn is_own(&self) -> bool {
        self.file_system == "fuse.backstore"
            || (self.file_system.starts_with("fuse") && self.source == "backstore")
    }

    /// On what kind of storage it lies.
    pub fn storage(&self) -> Storage {
        if self.is_network() || self.is_pseudo() { Storage::Unknown } else { host::storage(self) }
    }
}

/// Kinds of storage, as far as reading in parallel is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// A spinning disk: seeks are dear, one reader at a time.
    Rotational,
    /// No moving parts.
    SolidState,
    /// The system does not tell, or it is not a local disk.
    Unknown,
}

/// All mounts, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountTable(Vec<Mount>);

impl MountTable {
    /// The table as it is now; [`io::ErrorKind::Unsupported`] on systems where it cannot be had yet.
    pub fn read() -> io::Result<Self> {
        host::read().map(Self)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// The mount that a file was found through. Precise where the system numbers mounts; else the last one of the same device.
    pub fn of(&self, file: &FullStat) -> Option<&Mount> {
        match file.mount {
            Some(id) => self.0.iter().find(|mount| mount.id == id),
            None => self.0.iter().rfind(|mount| mount.device == file.basic.device),
        }
    }

    /// The mount that an absolute path without links lies on, by its text.
    pub fn of_path(&self, path: &Path) -> Option<&Mount> {
        let depth = |mount: &&Mount| mount.point.components().count();
        // Of several at one place the last hides the others, and `max_by_key` takes the last.
        self.0.iter().filter(|mount| path.starts_with(&mount.point)).max_by_key(depth)
    }
}

/// Mounts in a table; one with more is refused.
pub const MOUNTS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u64, point: &str, file_system: &str, source: &str) -> Mount {
        Mount {
            id: MountId(id),
            point: point.into(),
            file_system: file_system.into(),
            source: source.into(),
            device: DeviceId::from_numbers(8, id as u32),
            is_read_only: false,
        }
    }

    #[test]
    fn the_deepest_and_latest_mount_has_the_path() {
        let table = MountTable(vec![
            mount(1, "/", "ext4", "/dev/sda1"),
            mount(2, "/home", "ext4", "/dev/sda2"),
            mount(3, "/home/alice", "nfs4", "nas:/alice"),
            mount(4, "/home", "tmpfs", "tmpfs"),
        ]);
        let id = |path: &str| table.of_path(Path::new(path)).map(|mount| mount.id.0);
        assert_eq!([id("/"), id("/etc/passwd"), id("/homeless")], [Some(1); 3]);
        assert_eq!([id("/home"), id("/home/bob")], [Some(4); 2]);
        assert_eq!(id("/home/alice/x"), Some(3));
        assert_eq!(id("relative"), None);
    }

    #[test]
    fn kinds_of_file_systems_are_told() {
        let check = |file_system, source, expected: [bool; 3]| {
            let mount = mount(1, "/x", file_system, source);
            assert_eq!(
                [mount.is_pseudo(), mount.is_network(), mount.is_own()],
                expected,
                "{file_system} {source}"
            );
        };
        check("ext4", "/dev/sda1", [false, false, false]);
        check("ext4", "backstore", [false, false, false]);
        check("tmpfs", "tmpfs", [false, false, false]);
        check("proc", "proc", [true, false, false]);
        check("cgroup2", "cgroup2", [true, false, false]);
        check("nfs4", "nas:/x", [false, true, false]);
        check("fuse.sshfs", "host:", [false, true, false]);
        check("fuse.backstore", "anything", [false, false, true]);
        check("fuse", "backstore", [false, false, true]);
    }
}
