//! macOS: handles; links are opened as such. Of pipes, sockets and devices no extended attributes are read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fgetxattr, fgetxattr_query, flistxattr, openat};
use rustix::io::Errno;

use super::Subject;

/// The way to one file's attributes.
pub(super) enum Access<'a> {
    Borrowed(BorrowedFd<'a>),
    Owned(OwnedFd),
}

/// Said of an attribute that is not there.
pub(super) const NO_SUCH_XATTR: Errno = Errno::NOATTR;

pub(super) fn access(subject: Subject<'_>) -> Result<Access<'_>, Errno> {
    Ok(match subject {
        Subject::File(file) => Access::Borrowed(file.as_fd()),
        Subject::Directory(directory) => Access::Borrowed(directory.as_fd()),
        Subject::Named(directory, name) => {
            crate::walk::component(name).map_err(|_| Errno::INVAL)?;
            let flags =
                OFlags::RDONLY | OFlags::SYMLINK | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let stat =
                directory.stat(name).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            if stat.kind != backstore_protocol::entry::Kind::Symlink {
                return Err(Errno::NOTSUP);
            }
            Access::Owned(openat(directory, name, flags, Mode::empty())?)
        }
    })
}

impl Access<'_> {
    fn handle(&self) -> BorrowedFd<'_> {
        match self {
            Self::Borrowed(handle) => *handle,
            Self::Owned(handle) => handle.as_fd(),
        }
    }

    pub(super) fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        flistxattr(self.handle(), buffer)
    }

    pub(super) fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        fgetxattr(self.handle(), name, buffer)
    }

    pub(super) fn size(&self, name: &[u8]) -> Result<usize, Errno> {
        fgetxattr_query(self.handle(), name)
    }
}
