//! macOS: `readdir` and `fstatat`. There is no way to leave access times alone.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat as NativeStat, fstat, major, minor, statat};
use rustix::io::Errno;

use super::unix::{kind, time};
use super::{DeviceId, FullStat, Listed, Stat};

/// Reading leaves the access time alone: not here.
pub(super) const NO_ATIME: OFlags = OFlags::empty();

/// Links are not followed.
pub(super) const STAT_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW;

/// Memory for listings; the system's library has its own.
#[derive(Debug, Default)]
pub struct ListBuffer(());

/// Whether the start of a file is in memory, or the system does not tell: this one does not.
pub fn has_in_memory(_file: &File) -> bool {
    true
}

/// Nothing: the system reads ahead as it finds right.
pub fn read_ahead(_file: &File, _length: u64) {}

pub(super) fn list(
    directory: BorrowedFd<'_>,
    _buffer: &mut ListBuffer,
    mut each: impl FnMut(Listed<'_>) -> io::Result<()>,
) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(Listed { name, kind: kind(entry.file_type()), inode: entry.ino() })?;
        }
    }
    Ok(())
}

pub(super) fn full_stat_at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<FullStat, Errno> {
    full_from_native(&statat(directory, name, STAT_FLAGS)?)
}

pub(super) fn full_stat_handle(handle: BorrowedFd<'_>) -> Result<FullStat, Errno> {
    full_from_native(&fstat(handle)?)
}

fn full_from_native(found: &NativeStat) -> Result<FullStat, Errno> {
    Ok(FullStat {
        basic: from_native(found)?,
        btime: Some(time(found.st_birthtime, found.st_birthtime_nsec)),
        mount: None,
        is_mount_root: false,
    })
}

pub(super) fn from_native(found: &NativeStat) -> Result<Stat, Errno> {
    Ok(Stat {
        kind: kind(FileType::from_raw_mode(found.st_mode)).ok_or(Errno::OPNOTSUPP)?,
        mode: found.st_mode & 0o7777,
        owner: Some(found.st_uid),
        group: Some(found.st_gid),
        size: u64::try_from(found.st_size).unwrap_or(0),
        allocated: u64::try_from(found.st_blocks).unwrap_or(0).saturating_mul(512),
        mtime: time(found.st_mtime, found.st_mtime_nsec),
        ctime: time(found.st_ctime, found.st_ctime_nsec),
        inode: found.st_ino,
        device: DeviceId::from_numbers(major(found.st_dev), minor(found.st_dev)),
        nlink: u32::from(found.st_nlink),
        attributes: found.st_flags,
        special: (major(found.st_rdev), minor(found.st_rdev)),
    })
}
