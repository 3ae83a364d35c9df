//! Windows: by paths, with what the standard library tells.
//!
//! Not by handles yet, so a directory that is replaced by a link between two calls may be followed. File numbers, owners and changed
//! metadata are not told: hard links become separate files, and a file whose size and times stayed counts as unchanged.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use backstore_protocol::entry::{Kind, Time};

use super::{DeviceId, FullStat, Listed, Stat, component};
use crate::paths::{name_to_archive, name_to_native};

/// A directory that was there when it was opened.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

/// Memory for listings; not needed here.
#[derive(Debug, Default)]
pub struct ListBuffer(());

impl Directory {
    /// Opens a directory by its path. Links on the way are followed, but not if the path itself is one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        if kind(&found) != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Opens the directory `name` in this one.
    pub fn open_child(&self, name: &[u8]) -> io::Result<Self> {
        Self::open(&self.child(name)?)
    }

    /// Calls `each` with every name, in the file system's order, until it fails.
    pub fn list(
        &mut self,
        _buffer: &mut ListBuffer,
        mut each: impl FnMut(Listed<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let kind = entry.metadata().ok().map(|found| kind(&found));
            each(Listed { name: &name_to_archive(&entry.file_name()), kind, inode: 0 })?;
        }
        Ok(())
    }

    /// Metadata of the file `name`, of a link its own.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(stat(&fs::symlink_metadata(self.child(name)?)?))
    }

    /// All metadata of the file `name`, of a link its own.
    pub fn full_stat(&self, name: &[u8]) -> io::Result<FullStat> {
        Ok(full_stat(&fs::symlink_metadata(self.child(name)?)?))
    }

    /// All metadata of this directory.
    pub fn full_stat_self(&self) -> io::Result<FullStat> {
        Ok(full_stat(&fs::symlink_metadata(&self.path)?))
    }

    /// Opens a file for reading, also while others write, rename or delete it.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .share_mode(SHARE_READ_WRITE_DELETE)
            .custom_flags(OPEN_REPARSE_POINT | SEQUENTIAL_SCAN)
            .open(self.child(name)?)
    }

    /// The target of a link.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(name_to_archive(fs::read_link(self.child(name)?)?.as_os_str()).into_owned())
    }

    fn child(&self, name: &[u8]) -> io::Result<PathBuf> {
        let native = name_to_native(component(name)?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(self.path.join(native))
    }
}

/// Metadata of an open file.
pub fn stat_file(file: &File) -> io::Result<Stat> {
    Ok(stat(&file.metadata()?))
}

/// All metadata of an open file.
pub fn full_stat_file(file: &File) -> io::Result<FullStat> {
    Ok(full_stat(&file.metadata()?))
}

fn full_stat(found: &Metadata) -> FullStat {
    let btime = Some(time(found.creation_time()));
    FullStat { basic: stat(found), btime, mount: None, is_mount_root: false }
}

fn stat(found: &Metadata) -> Stat {
    let kind = kind(found);
    let mtime = time(found.last_write_time());
    Stat {
        kind,
        mode: 0,
        owner: None,
        group: None,
        size: if kind == Kind::File { found.file_size() } else { 0 },
        allocated: found.file_size(),
        mtime,
        ctime: mtime,
        inode: 0,
        device: DeviceId::from_numbers(0, 0),
        nlink: 1,
        attributes: found.file_attributes(),
        special: (0, 0),
    }
}

fn kind(found: &Metadata) -> Kind {
    let file_type = found.file_type();
    // Links of both kinds; junctions count as links to directories.
    if file_type.is_symlink_dir() || file_type.is_symlink_file() {
        Kind::Symlink
    } else if file_type.is_dir() {
        Kind::Directory
    } else {
        Kind::File
    }
}

/// A time in ticks of 100 ns since 1601.
fn time(ticks: u64) -> Time {
    const TICKS_PER_SECOND: u64 = 10_000_000;
    const SECONDS_1601_TO_1970: i64 = 11_644_473_600;
    let seconds = (ticks / TICKS_PER_SECOND) as i64 - SECONDS_1601_TO_1970;
    Time { seconds, nanoseconds: (ticks % TICKS_PER_SECOND) as u32 * 100 }
}

const SHARE_READ_WRITE_DELETE: u32 = 7;
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
const SEQUENTIAL_SCAN: u32 = 0x0800_0000;
