//! Linux: handles, `/proc/self/fd` for what has none, and inode flags.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    fgetxattr, fgetxattr_query, flistxattr, ioctl_getflags, lgetxattr, lgetxattr_query, llistxattr,
};
use rustix::io::Errno;

use super::{Subject, linux_flags};

/// The way to one file's attributes.
pub(super) enum Access<'a> {
    Handle(BorrowedFd<'a>),
    /// A path through `/proc` that begins at an open directory, so that nobody can lead it elsewhere.
    Path(Vec<u8>),
}

/// Said of an attribute that is not there.
pub(super) const NO_SUCH_XATTR: Errno = Errno::NODATA;

pub(super) fn access(subject: Subject<'_>) -> Result<Access<'_>, Errno> {
    Ok(match subject {
        Subject::File(file) => Access::Handle(file.as_fd()),
        Subject::Directory(directory) => Access::Handle(directory.as_fd()),
        Subject::Named(directory, name) => {
            crate::walk::component(name).map_err(|_| Errno::INVAL)?;
            let mut path = Vec::with_capacity(26 + name.len());
            // Writing to a vector cannot fail.
            let _ = write!(path, "/proc/self/fd/{}/", directory.as_fd().as_raw_fd());
            path.extend_from_slice(name);
            Access::Path(path)
        }
    })
}

impl Access<'_> {
    pub(super) fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Handle(handle) => flistxattr(handle, buffer),
            Self::Path(path) => llistxattr(&path[..], buffer),
        }
    }

    pub(super) fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Handle(handle) => fgetxattr(handle, name, buffer),
            Self::Path(path) => lgetxattr(&path[..], name, buffer),
        }
    }

    pub(super) fn size(&self, name: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Handle(handle) => fgetxattr_query(handle, name),
            Self::Path(path) => lgetxattr_query(&path[..], name),
        }
    }
}

/// The inode flags worth keeping; none where the file system has none.
pub(super) fn inode_flags(handle: &impl AsFd) -> u32 {
    ioctl_getflags(handle).map_or(0, |flags| flags.bits() & linux_flags::KEPT)
}
