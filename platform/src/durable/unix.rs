//! Linux and macOS.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Durability, Reservation};

pub(super) fn sync_folder(folder: &Path) -> io::Result<Durability> {
    match File::open(folder)?.sync_all() {
        Ok(()) => Ok(Durability::Full),
        // Some network and FUSE file systems know no sync of folders.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(Durability::NameNotSynced)
        }
        Err(error) => Err(error),
    }
}

#[cfg(target_os = "linux")]
pub(super) fn let_go(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// macOS has no such hint for bytes that are cached already.
#[cfg(not(target_os = "linux"))]
pub(super) fn let_go(_file: &File) {}

#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, offset: u64, length: u64) -> io::Result<Reservation> {
    use rustix::fs::FallocateFlags;
    use rustix::io::Errno;
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, length) {
            Ok(()) => return Ok(Reservation::Made),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Reservation::NotSupported),
            Err(error) => return Err(error.into()),
        }
    }
}

/// macOS reserves with `F_PREALLOCATE`, which no safe crate offers; growing by writing is what it is optimised for.
#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _offset: u64, _length: u64) -> io::Result<Reservation> {
    Ok(Reservation::NotSupported)
}

#[cfg(target_os = "linux")]
pub(super) fn open_direct(path: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from)
}

/// macOS turns its cache off for a whole open file only, with a call that no safe crate offers.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_direct(_path: &Path) -> Option<File> {
    None
}

#[cfg(target_os = "linux")]
pub(super) fn set_direct(file: &File, is_direct: bool) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    fcntl_getfl(file)
        .and_then(|mut flags| {
            flags.set(OFlags::DIRECT, is_direct);
            fcntl_setfl(file, flags)
        })
        .is_ok()
}

/// As [`open_direct`].
#[cfg(not(target_os = "linux"))]
pub(super) fn set_direct(_file: &File, is_direct: bool) -> bool {
    !is_direct
}

pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

pub(super) fn write_at(file: &File, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pwritev(file, buffers, offset)?)
}
