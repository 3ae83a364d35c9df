//! Unix: directory handles and the `…at` calls.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use backstore_protocol::entry::{Kind, Time};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, seek, statat};
use rustix::io::Errno;

use super::{FullStat, ListBuffer, Listed, Stat, component, host};

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    /// Its listing has been read, at least in part.
    is_listed: bool,
}

impl Directory {
    /// Opens a directory by its path, of any length. Links on the way are followed, but not if the path itself is one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = match open_directory(CWD, path.as_os_str().as_bytes()) {
            Err(Errno::NAMETOOLONG) => open_stepwise(path)?,
            handle => handle?,
        };
        Ok(Self { handle, is_listed: false })
    }

    /// A directory that has been opened elsewhere.
    pub(crate) fn from_handle(handle: OwnedFd) -> Self {
        Self { handle, is_listed: false }
    }

    /// Opens the directory `name` in this one.
    pub fn open_child(&self, name: &[u8]) -> io::Result<Self> {
        Ok(Self { handle: open_directory(&self.handle, component(name)?)?, is_listed: false })
    }

    /// Calls `each` with every name, in the file system's order, until it fails.
    pub fn list(
        &mut self,
        buffer: &mut ListBuffer,
        each: impl FnMut(Listed<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_listed {
            seek(&self.handle, rustix::fs::SeekFrom::Start(0))?;
        }
        self.is_listed = true;
        host::list(self.handle.as_fd(), buffer, each)
    }

    /// Metadata of the file `name`, of a link its own.
    #[inline]
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(stat_at(self.handle.as_fd(), component(name)?)?)
    }

    /// All metadata of the file `name`, of a link its own.
    pub fn full_stat(&self, name: &[u8]) -> io::Result<FullStat> {
        Ok(host::full_stat_at(self.handle.as_fd(), component(name)?)?)
    }

    /// All metadata of this directory.
    pub fn full_stat_self(&self) -> io::Result<FullStat> {
        Ok(host::full_stat_handle(self.handle.as_fd())?)
    }

    /// Opens a file for reading, without touching its access time where that is allowed.
    ///
    /// It never waits, not even for the other end of a pipe; compare [`stat_file`] with the listing before trusting what was read.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(open_quietly(&self.handle, component(name)?, flags)?.into())
    }

    /// The target of a link.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.handle, component(name)?, Vec::new())?.into_bytes())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Appends at most `max` bytes of what comes next in a file; how many, 0 at the end.
pub fn append(file: &File, bytes: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    append_with(bytes, max, |room| Ok(rustix::io::read(file, room)?.0.len()))
}

/// Appends at most `max` bytes from byte `offset` on, wherever the file stands; how many, 0 at the end.
pub fn append_at(file: &File, bytes: &mut Vec<u8>, max: usize, offset: u64) -> io::Result<usize> {
    append_with(bytes, max, |room| Ok(rustix::io::pread(file, room, offset)?.0.len()))
}

/// Appends what `read` fills its room with: memory that is not cleared first.
#[expect(unsafe_code, reason = "no safe function limits how much of a vector's room is read into")]
fn append_with(
    bytes: &mut Vec<u8>,
    max: usize,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, Errno>,
) -> io::Result<usize> {
    bytes.reserve(max);
    let count = read(&mut bytes.spare_capacity_mut()[..max])?;
    assert!(count <= max, "the system read {count} bytes into room for {max}");
    // SAFETY: the system has written the first `count` bytes of the room, which is in the vector's capacity.
    unsafe { bytes.set_len(bytes.len() + count) };
    Ok(count)
}

/// Metadata of an open file.
pub fn stat_file(file: &File) -> io::Result<Stat> {
    Ok(host::from_native(&fstat(file)?)?)
}

/// Metadata of what a handle names.
pub(crate) fn stat_handle(handle: BorrowedFd<'_>) -> Result<Stat, Errno> {
    host::from_native(&fstat(handle)?)
}

/// All metadata of an open file.
pub fn full_stat_file(file: &File) -> io::Result<FullStat> {
    Ok(host::full_stat_handle(file.as_fd())?)
}

/// Metadata of `name` in `directory`.
#[inline]
fn stat_at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    host::from_native(&statat(directory, name, host::STAT_FLAGS)?)
}

fn open_directory(parent: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    open_quietly(parent, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC)
}

/// Opens without changing the access time, which is allowed to a file's owner and to root only.
fn open_quietly(parent: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match openat(&parent, path, flags | host::NO_ATIME, Mode::empty()) {
        Err(Errno::PERM) if !host::NO_ATIME.is_empty() => openat(&parent, path, flags, Mode::empty()),
        opened => opened,
    }
}

/// Opens a path too long for one call, a name at a time.
fn open_stepwise(path: &Path) -> Result<OwnedFd, Errno> {
    let on_the_way = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = path.components().map(|component| component.as_os_str().as_bytes()).peekable();
    let mut here = None;
    while let Some(name) = names.next() {
        let parent = here.as_ref().map_or(CWD, OwnedFd::as_fd);
        here = Some(match names.peek() {
            Some(_) => openat(parent, name, on_the_way, Mode::empty())?,
            None => open_directory(parent, name)?,
        });
    }
    here.ok_or(Errno::NOENT)
}

/// What an archive calls this type of file; nothing for a type that no supported system has.
pub(super) fn kind(file_type: FileType) -> Option<Kind> {
    Some(match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => return None,
    })
}

/// A moment with what may be out of range brought into it, as some file systems return nanoseconds of a billion and more.
pub(super) fn time(seconds: i64, nanoseconds: i64) -> Time {
    Time { seconds, nanoseconds: nanoseconds.clamp(0, 999_999_999) as u32 }
}
