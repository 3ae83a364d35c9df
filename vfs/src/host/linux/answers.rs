//! The model's answers in FUSE's words. Every errno is chosen here.

use std::time::{Duration, SystemTime};

use backstore_protocol::entry::Time;
use fuser::{Errno, FileAttr, FileType, INodeNo};

use crate::model::{Attributes, FileKind, Problem, Validity};

/// How long the kernel keeps what never changes.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
const BRIEFLY: Duration = Duration::from_secs(1);
/// Bytes that programs are told to read at a time. Larger is no faster, and makes programs that seek read too much.
const READ_BYTES: u32 = 128 << 10;

pub(super) const fn lifetime(validity: Validity) -> Duration {
    match validity {
        Validity::UntilChanged => FOREVER,
        Validity::Briefly => BRIEFLY,
    }
}

pub(super) fn errno(problem: &Problem) -> Errno {
    match problem {
        Problem::NotFound | Problem::NotFoundYet => Errno::ENOENT,
        Problem::NotADirectory => Errno::ENOTDIR,
        Problem::IsADirectory => Errno::EISDIR,
        Problem::Invalid => Errno::EINVAL,
        Problem::NoSuchAttribute => Errno::ENODATA,
        Problem::NothingThere => Errno::ENXIO,
        Problem::TooLarge => Errno::E2BIG,
        Problem::NotForThem => Errno::EACCES,
        Problem::Unreadable(error) => {
            tracing::warn!(
                error = error as &(dyn std::error::Error + 'static),
                "something of the archive cannot be read"
            );
            Errno::EIO
        }
        Problem::NoHistory(error) => {
            tracing::warn!(
                error = &**error as &(dyn std::error::Error + 'static),
                "what became of files cannot be told"
            );
            Errno::EIO
        }
        Problem::SetUnreadable(error) => {
            tracing::warn!(
                error = &**error as &(dyn std::error::Error + 'static),
                "the versions of a set cannot be listed"
            );
            Errno::EIO
        }
        // Those who ask with patience never get it.
        Problem::NotInMemory => Errno::EAGAIN,
    }
}

pub(super) fn attributes(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.ino.0),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: system_time(attributes.mtime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: system_time(attributes.btime.unwrap_or_default()),
        kind: match attributes.kind {
            FileKind::File => FileType::RegularFile,
            FileKind::Directory => FileType::Directory,
            FileKind::Symlink => FileType::Symlink,
            FileKind::Fifo => FileType::NamedPipe,
            FileKind::Socket => FileType::Socket,
            FileKind::CharacterDevice => FileType::CharDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
        },
        perm: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device_number(attributes.device),
        blksize: READ_BYTES,
        flags: 0,
    }
}

/// A name that does not exist, for the kernel to remember: inode 0.
pub(super) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// The kernel's 32 bits: 12 for the major number, 20 for the minor one, of which 8 come first.
const fn device_number((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

fn system_time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let nanoseconds = Duration::from_nanos(u64::from(time.nanoseconds));
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_absurd_ones_are_kept() {
        let since = |seconds, nanoseconds| {
            let time = system_time(Time { seconds, nanoseconds });
            match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => after.as_nanos() as i128,
                Err(before) => -(before.duration().as_nanos() as i128),
            }
        };
        for seconds in [0, 1, -1, i64::MIN, i64::MAX, 1_700_000_000] {
            for nanoseconds in [0, 1, 999_999_999] {
                assert_eq!(
                    since(seconds, nanoseconds),
                    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
                );
            }
        }
    }

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        assert_eq!(device_number((1, 3)), 0x103);
        assert_eq!(device_number((0xfff, 0xf_ffff)), 0xffff_ffff);
        assert_eq!(device_number((8, 0x1234)), 0x0120_0834);
    }
}
