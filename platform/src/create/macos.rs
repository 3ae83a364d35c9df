//! macOS: a name at a time, links opened as such. Pipes, sockets and devices cannot be made relative to a handle, so they are not made yet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use backstore_protocol::entry::Kind;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid, XattrFlags, fchmod, fchown, flistxattr,
    fremovexattr, fsetxattr, futimens, linkat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::walk::{DeviceId, Directory, stat_handle};

/// There is no such call; a name at a time does the same.
pub(super) fn open_refusing_links(_base: BorrowedFd<'_>, _path: &[u8]) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Renames within a directory unless the new name is taken.
pub(super) fn rename_new(directory: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE)
}

/// Links by name, then looks at what was linked, and takes it back if it is another file.
pub(super) fn hard_link(
    directory: &Directory,
    source: &[u8],
    target: &Directory,
    name: &[u8],
    made: (DeviceId, u64),
) -> io::Result<()> {
    linkat(directory, source, target, name, AtFlags::empty())?;
    if target.stat(name)?.identity() == made {
        return Ok(());
    }
    unlinkat(target, name, AtFlags::empty())?;
    Err(super::unix::not_the_one_made())
}

pub(super) fn create_special(
    _directory: BorrowedFd<'_>,
    _name: &[u8],
    _kind: Kind,
    _device: (u32, u32),
) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

/// A file whose metadata is set, by a handle.
pub(super) enum Target<'a> {
    Open(BorrowedFd<'a>),
    Link(OwnedFd),
}

impl<'a> Target<'a> {
    pub(super) fn open(handle: BorrowedFd<'a>) -> Self {
        Self::Open(handle)
    }

    /// Takes hold of the link called `name`; nothing else without a handle is made here.
    pub(super) fn named(directory: &Directory, name: &[u8], kind: Kind) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::SYMLINK | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let handle = openat(directory, name, flags, Mode::empty())?;
        let found = stat_handle(handle.as_fd())?;
        if found.kind != kind || found.nlink != 1 {
            return Err(super::unix::not_the_one_made());
        }
        Ok(Self::Link(handle))
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        match self {
            Self::Open(handle) => *handle,
            Self::Link(handle) => handle.as_fd(),
        }
    }

    pub(super) fn set_owner(&self, owner: Option<Uid>, group: Option<Gid>) -> Result<(), Errno> {
        fchown(self.handle(), owner, group)
    }

    pub(super) fn set_mode(&self, mode: Mode) -> Result<(), Errno> {
        fchmod(self.handle(), mode)
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        futimens(self.handle(), times)
    }

    pub(super) fn list_xattrs(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        flistxattr(self.handle(), buffer)
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        fsetxattr(self.handle(), name, value, XattrFlags::empty())
    }

    pub(super) fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        fremovexattr(self.handle(), name)
    }

    /// Not yet: `st_flags` are archived and not set.
    pub(super) fn set_attributes(&self, wanted: u32, mask: u32) -> Result<(), Errno> {
        if wanted & mask == 0 { Ok(()) } else { Err(Errno::NOTSUP) }
    }
}

/// Attribute bits that only the policy's `privileged` allows.
pub(super) const PRIVILEGED_ATTRIBUTES: u32 = 0;
/// Attribute bits that can only be set while the file is empty.
pub(super) const EARLY_ATTRIBUTES: u32 = 0;
/// Attribute bits that a user can set: `UF_SETTABLE`.
pub(super) const ATTRIBUTES: u32 = 0xFFFF;
