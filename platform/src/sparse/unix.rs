//! Unix: `lseek` with SEEK_DATA and SEEK_HOLE; holes are punched on Linux and written as zeros elsewhere.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::HoleMade;

/// Where data begins at or after `offset`; nothing if there is none. A file system that does not know has data everywhere.
pub(super) fn data_from(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => Ok(Some(start)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOTTY | Errno::NOSYS) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

/// Where a hole begins at or after `offset`, the end of the file at the latest.
pub(super) fn hole_from(file: &File, offset: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Hole(offset)) {
        Ok(start) => Ok(start),
        // The file has become shorter, or the file system does not know: the rest is data.
        Err(Errno::NXIO | Errno::INVAL | Errno::NOTSUP | Errno::NOTTY | Errno::NOSYS) => Ok(u64::MAX),
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<HoleMade> {
    use rustix::fs::{FallocateFlags, fallocate};
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, offset, length) {
        Ok(()) => Ok(HoleMade::Sparse),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, offset, length),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<HoleMade> {
    write_zeros(file, offset, length)
}

pub(super) fn write_zeros(file: &File, offset: u64, length: u64) -> io::Result<HoleMade> {
    let zeros = [0; 64 * 1024];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let part = (end - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..part], at)?;
        at += part as u64;
    }
    Ok(HoleMade::Zeros)
}
