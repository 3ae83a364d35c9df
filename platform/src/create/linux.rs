//! Linux: `openat2`, handles that only name a file (`O_PATH`), special files, inode flags.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use backstore_protocol::entry::Kind;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, IFlags, Mode, OFlags, RenameFlags, ResolveFlags, Timestamps, Uid,
    XattrFlags, chmodat, chownat, fchmod, fchown, flistxattr, fremovexattr, fsetxattr, futimens,
    ioctl_getflags, ioctl_setflags, linkat, listxattr, makedev, mknodat, openat, openat2, removexattr,
    renameat_with, setxattr, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::metadata::linux_flags;
use crate::walk::{DeviceId, Directory, stat_handle};

pub(super) fn open_refusing_links(base: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if !path.starts_with(b"/") {
        resolve |= ResolveFlags::BENEATH;
    }
    openat2(base, path, flags, Mode::empty(), resolve)
}

/// Renames within a directory unless the new name is taken. File systems without such a call get a second name for the file and then lose the
/// first, which refuses taken names as well.
pub(super) fn rename_new(directory: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(directory, from, directory, to, AtFlags::empty())?;
            unlinkat(directory, from, AtFlags::empty())
        }
        renamed => renamed,
    }
}

/// Holds the source by a handle, looks whether it is the right file, and links that handle.
pub(super) fn hard_link(
    directory: &Directory,
    source: &[u8],
    target: &Directory,
    name: &[u8],
    made: (DeviceId, u64),
) -> io::Result<()> {
    let pinned = openat(directory, source, PATH_ONLY, Mode::empty())?;
    if stat_handle(pinned.as_fd())?.identity() != made {
        return Err(super::unix::not_the_one_made());
    }
    match linkat(&pinned, c"", target, name, AtFlags::EMPTY_PATH) {
        // What an ordinary user gets before Linux 6.10.
        Err(Errno::NOENT | Errno::PERM) => Ok(link_through_proc(&pinned, target, name)?),
        linked => Ok(linked?),
    }
}

/// Links the file of a handle by the name that it has in `/proc`, which every user may.
fn link_through_proc(pinned: &OwnedFd, target: &Directory, name: &[u8]) -> Result<(), Errno> {
    linkat(CWD, proc_path(pinned), target, name, AtFlags::SYMLINK_FOLLOW)
}

pub(super) fn create_special(
    directory: BorrowedFd<'_>,
    name: &[u8],
    kind: Kind,
    (major, minor): (u32, u32),
) -> Result<(), Errno> {
    let (file_type, device) = match kind {
        Kind::Fifo => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::CharacterDevice => (FileType::CharacterDevice, makedev(major, minor)),
        Kind::BlockDevice => (FileType::BlockDevice, makedev(major, minor)),
        Kind::File | Kind::Directory | Kind::ImpliedDirectory | Kind::Symlink => return Err(Errno::INVAL),
    };
    mknodat(directory, name, file_type, Mode::RUSR | Mode::WUSR, device)
}

/// A file whose metadata is set: by an ordinary handle, or by one that only names it and is used through `/proc`.
pub(super) enum Target<'a> {
    Open(BorrowedFd<'a>),
    Pinned { handle: OwnedFd, path: Vec<u8>, is_link: bool },
}

impl<'a> Target<'a> {
    pub(super) fn open(handle: BorrowedFd<'a>) -> Self {
        Self::Open(handle)
    }

    /// Takes hold of what is called `name` if it is of this kind and has no other name: else it was swapped, perhaps for a file of somebody
    /// else.
    pub(super) fn named(directory: &Directory, name: &[u8], kind: Kind) -> io::Result<Self> {
        let handle = openat(directory, name, PATH_ONLY, Mode::empty())?;
        let found = stat_handle(handle.as_fd())?;
        if found.kind != kind || found.nlink != 1 {
            return Err(super::unix::not_the_one_made());
        }
        let path = proc_path(&handle);
        Ok(Self::Pinned { handle, path, is_link: kind == Kind::Symlink })
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        match self {
            Self::Open(handle) => *handle,
            Self::Pinned { handle, .. } => handle.as_fd(),
        }
    }

    pub(super) fn set_owner(&self, owner: Option<Uid>, group: Option<Gid>) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => fchown(handle, owner, group),
            Self::Pinned { handle, .. } => chownat(handle, c"", owner, group, AtFlags::EMPTY_PATH),
        }
    }

    /// Links have no mode.
    pub(super) fn set_mode(&self, mode: Mode) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => fchmod(handle, mode),
            Self::Pinned { is_link: true, .. } => Ok(()),
            Self::Pinned { path, .. } => chmodat(CWD, &path[..], mode, AtFlags::empty()),
        }
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => futimens(handle, times),
            Self::Pinned { handle, path, .. } => match utimensat(handle, c"", times, AtFlags::EMPTY_PATH) {
                // Before Linux 5.8.
                Err(Errno::INVAL) => utimensat(CWD, &path[..], times, AtFlags::empty()),
                set => set,
            },
        }
    }

    pub(super) fn list_xattrs(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(handle) => flistxattr(handle, buffer),
            Self::Pinned { path, .. } => listxattr(&path[..], buffer),
        }
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => fsetxattr(handle, name, value, XattrFlags::empty()),
            Self::Pinned { path, .. } => setxattr(&path[..], name, value, XattrFlags::empty()),
        }
    }

    pub(super) fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => fremovexattr(handle, name),
            Self::Pinned { path, .. } => removexattr(&path[..], name),
        }
    }

    /// Sets the inode flags in `mask` to what they are in `wanted`. Only what is open has flags that can be set.
    pub(super) fn set_attributes(&self, wanted: u32, mask: u32) -> Result<(), Errno> {
        let Self::Open(handle) = self else {
            return if wanted & mask == 0 { Ok(()) } else { Err(Errno::OPNOTSUPP) };
        };
        let mask = IFlags::from_bits_retain(mask & linux_flags::KEPT);
        let before = match ioctl_getflags(handle) {
            Ok(before) => before,
            Err(Errno::NOTTY | Errno::INVAL) => return Err(Errno::OPNOTSUPP),
            Err(error) => return Err(error),
        };
        let after = (before - mask) | (IFlags::from_bits_retain(wanted) & mask);
        if after == before { Ok(()) } else { ioctl_setflags(handle, after) }
    }
}

/// Attribute bits that only the policy's `privileged` allows.
pub(super) const PRIVILEGED_ATTRIBUTES: u32 = linux_flags::IMMUTABLE | linux_flags::APPEND_ONLY;
/// Attribute bits that can only be set while the file is empty.
pub(super) const EARLY_ATTRIBUTES: u32 = linux_flags::NO_COPY_ON_WRITE;
/// Attribute bits that restore sets.
pub(super) const ATTRIBUTES: u32 = linux_flags::KEPT;

/// Names a file without opening it, a link itself too.
const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A path that leads to exactly the file of this handle, and, if that is a link, to the link.
fn proc_path(handle: &OwnedFd) -> Vec<u8> {
    format!("/proc/self/fd/{}", handle.as_raw_fd()).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Recent kernels never need it, so it is asked for here.
    #[test]
    fn through_proc_the_file_itself_is_linked_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        symlink("nowhere", folder.path().join("dangling")).unwrap();
        crate::testing::make_fifo(&folder.path().join("fifo"));
        for name in ["file", "link", "dangling", "fifo"] {
            let pinned = openat(&directory, name, PATH_ONLY, Mode::empty()).unwrap();
            let second = format!("second {name}");
            link_through_proc(&pinned, &directory, second.as_bytes()).unwrap();
            let stat = |name: &str| directory.stat(name.as_bytes()).unwrap();
            assert_eq!(stat(&second), stat(name));
            assert_eq!(stat(name).nlink, 2);
        }
    }
}
