//! Linux: `getdents64` into a buffer that is used again, `fstatat`, and `statx` for the rest.
//!
//! Measured on ext4 with warm caches, 300,000 files: listing and sorting 0.4 µs a name, `fstatat` 1.1 µs, `statx` 1.4 µs whatever the mask.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    Advice, AtFlags, FileType, OFlags, RawDir, Stat as NativeStat, Statx, StatxAttributes, StatxFlags,
    StatxTimestamp, fadvise, major, minor, statx,
};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::unix::{kind, time};
use super::{DeviceId, FullStat, Listed, MountId, Stat};

/// Reading leaves the access time alone.
pub(super) const NO_ATIME: OFlags = OFlags::NOATIME;

/// Neither links nor automatic mounts are followed.
pub(super) const STAT_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT);

/// Memory for listings, to be used again for each directory.
#[derive(Debug)]
pub struct ListBuffer(Vec<MaybeUninit<u8>>);

impl Default for ListBuffer {
    fn default() -> Self {
        Self(vec![MaybeUninit::uninit(); LIST_BUFFER_BYTES])
    }
}

/// Bytes of names read with one call: enough for about a thousand.
const LIST_BUFFER_BYTES: usize = 64 * 1024;

/// Whether the start of a file is in memory, or the file system does not tell.
pub fn has_in_memory(file: &File) -> bool {
    let mut byte = [0];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
    read != Err(Errno::AGAIN)
}

/// Has the first `length` bytes of a file read from the disk, without waiting for them.
pub fn read_ahead(file: &File, length: u64) {
    // Where there is no such thing, whoever reads will wait.
    let _ = fadvise(file, 0, NonZeroU64::new(length), Advice::WillNeed);
}

pub(super) fn list(
    directory: BorrowedFd<'_>,
    buffer: &mut ListBuffer,
    mut each: impl FnMut(Listed<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut entries = RawDir::new(directory, &mut buffer.0);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(Listed { name, kind: kind(entry.file_type()), inode: entry.ino() })?;
        }
    }
    Ok(())
}

#[inline]
pub(super) fn from_native(found: &NativeStat) -> Result<Stat, Errno> {
    Ok(Stat {
        kind: kind(FileType::from_raw_mode(found.st_mode)).ok_or(Errno::OPNOTSUPP)?,
        mode: (found.st_mode & 0o7777) as u16,
        owner: Some(found.st_uid),
        group: Some(found.st_gid),
        size: found.st_size as u64,
        allocated: (found.st_blocks as u64).saturating_mul(512),
        mtime: time(found.st_mtime, found.st_mtime_nsec as i64),
        ctime: time(found.st_ctime, found.st_ctime_nsec as i64),
        inode: found.st_ino,
        device: DeviceId::from_numbers(major(found.st_dev), minor(found.st_dev)),
        nlink: u32::try_from(found.st_nlink).unwrap_or(u32::MAX),
        attributes: 0,
        special: (major(found.st_rdev), minor(found.st_rdev)),
    })
}

pub(super) fn full_stat_at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<FullStat, Errno> {
    from_statx(&statx(directory, name, STAT_FLAGS, WANTED)?)
}

pub(super) fn full_stat_handle(handle: BorrowedFd<'_>) -> Result<FullStat, Errno> {
    from_statx(&statx(handle, c"", AtFlags::EMPTY_PATH, WANTED)?)
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

fn from_statx(found: &Statx) -> Result<FullStat, Errno> {
    let has = |flag: StatxFlags| found.stx_mask & flag.bits() != 0;
    let moment = |stamp: &StatxTimestamp| time(stamp.tv_sec, i64::from(stamp.tv_nsec));
    let basic = Stat {
        kind: kind(FileType::from_raw_mode(u32::from(found.stx_mode))).ok_or(Errno::OPNOTSUPP)?,
        mode: found.stx_mode & 0o7777,
        owner: Some(found.stx_uid),
        group: Some(found.stx_gid),
        size: found.stx_size,
        allocated: found.stx_blocks.saturating_mul(512),
        mtime: moment(&found.stx_mtime),
        ctime: moment(&found.stx_ctime),
        inode: found.stx_ino,
        device: DeviceId::from_numbers(found.stx_dev_major, found.stx_dev_minor),
        nlink: found.stx_nlink,
        attributes: 0,
        special: (found.stx_rdev_major, found.stx_rdev_minor),
    };
    Ok(FullStat {
        basic,
        btime: has(StatxFlags::BTIME).then(|| moment(&found.stx_btime)),
        mount: has(StatxFlags::MNT_ID).then_some(MountId(found.stx_mnt_id)),
        is_mount_root: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    })
}
