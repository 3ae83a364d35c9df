//! Unix: directory handles, exclusive creation, and names that stay in their directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use backstore_protocol::entry::Kind;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::{Existing, LeftOut, Links, Part, Policy, Reason, host};
use crate::machine::Machine;
use crate::walk::{DeviceId, Directory, Stat, component, stat_file};

/// A directory that files are restored into.
#[derive(Debug)]
pub struct TargetDirectory(Directory);

impl TargetDirectory {
    /// Opens an existing directory by its path, of any length.
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        let handle = match links {
            Links::Follow => open_following(path)?,
            Links::Refuse => open_refusing_links(CWD, path.as_os_str().as_bytes())?,
        };
        Ok(Self(Directory::from_handle(handle)))
    }

    /// Opens the directory `name`; a link is an error.
    pub fn open_directory(&self, name: &[u8]) -> io::Result<Self> {
        Ok(Self(self.0.open_child(name)?))
    }

    /// Opens a directory below this one by its names; a link anywhere is an error.
    pub fn open_below(&self, names: &[&[u8]]) -> io::Result<Self> {
        names.iter().try_for_each(|name| component(name).map(drop))?;
        let path = if names.is_empty() { b".".to_vec() } else { names.join(&b'/') };
        Ok(Self(Directory::from_handle(open_refusing_links(&self.0, &path)?)))
    }

    /// Makes the directory `name`, for its owner only and marked as unfinished, and opens it.
    pub fn make_directory(&self, name: &[u8]) -> io::Result<Self> {
        mkdirat(&self.0, component(name)?, UNFINISHED_DIRECTORY)?;
        self.open_directory(name)
    }

    /// Makes the file `name`, empty, for its owner only and marked as unfinished. What is there already, a dangling link too, is an error.
    pub fn create_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, component(name)?, flags, UNFINISHED_FILE)?.into())
    }

    /// Opens the file `name` that an earlier, interrupted restore has made, to go on with it.
    ///
    /// Nothing if it is not a regular file or has other names: to write into it might change a file elsewhere, so it has to be replaced.
    pub fn open_existing_file(&self, name: &[u8]) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Opening a device may already do something.
        if self.0.stat(name)?.kind != Kind::File {
            return Ok(None);
        }
        let file = File::from(openat(&self.0, component(name)?, flags, Mode::empty())?);
        let opened = stat_file(&file)?;
        Ok((opened.kind == Kind::File && opened.nlink == 1).then_some(file))
    }

    /// Makes a file under a name of its own, to be put in its place when it is complete.
    pub fn create_temporary(&self, machine: &dyn Machine) -> io::Result<Temporary<'_>> {
        for _ in 0..TEMPORARY_NAMES_TRIED {
            let name = Self::temporary_name(machine);
            match self.create_file(&name) {
                Ok(file) => return Ok(Temporary { directory: self, name, file, is_placed: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A name that nothing else has, for what is put in its place with [`TargetDirectory::put_in_place`].
    pub fn temporary_name(machine: &dyn Machine) -> Vec<u8> {
        let mut random = [0; 8];
        machine.random(&mut random);
        format!(".backstore-{:016x}.tmp", u64::from_le_bytes(random)).into_bytes()
    }

    /// Gives what was made here under a temporary name the one it is to have, in one step. A directory is never replaced. If both are names of one
    /// file, both stay.
    pub fn put_in_place(&self, temporary: &[u8], name: &[u8], existing: Existing) -> io::Result<()> {
        let (temporary, name) = (component(temporary)?, component(name)?);
        match existing {
            Existing::Replace => renameat(&self.0, temporary, &self.0, name)?,
            Existing::Keep => host::rename_new(self.0.as_fd(), temporary, name)?,
        }
        Ok(())
    }

    /// Makes a symbolic link; its target is written as it is and never looked at.
    pub fn create_link(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, component(name)?)?)
    }

    /// Gives the file `source` in `directory`, whose identity is `made`, one more name here.
    ///
    /// The identity is that of a file which this restore has made: whatever has taken its name since is refused with
    /// [`io::ErrorKind::NotFound`], so that no foreign file is ever linked to.
    pub fn create_hard_link(
        &self,
        name: &[u8],
        directory: &Self,
        source: &[u8],
        made: (DeviceId, u64),
    ) -> io::Result<()> {
        host::hard_link(&directory.0, component(source)?, &self.0, component(name)?, made)
    }

    /// Makes a pipe, socket or device node. What the policy or the system does not let it make is returned.
    pub fn create_special(
        &self,
        name: &[u8],
        kind: Kind,
        device: (u32, u32),
        policy: &Policy,
    ) -> io::Result<Option<LeftOut>> {
        let left_out = |reason| Ok(Some(LeftOut { part: Part::Device, name: None, reason }));
        if kind.is_device() && !policy.privileged {
            return left_out(Reason::NotAsked);
        }
        match host::create_special(self.0.as_fd(), component(name)?, kind, device) {
            Ok(()) => Ok(None),
            Err(Errno::PERM) => left_out(Reason::NotPermitted),
            Err(error) if error == Errno::OPNOTSUPP || error == Errno::NOTSUP => {
                left_out(Reason::NotSupported)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is not a directory.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(&self.0, component(name)?, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(&self.0, component(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Metadata of what has this name, of a link its own; nothing if nothing has.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match self.0.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same directory, for reading.
    pub fn as_directory(&self) -> &Directory {
        &self.0
    }
}

impl AsFd for TargetDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A file that has no place yet. Unless it is put into one, it is removed with this.
#[derive(Debug)]
pub struct Temporary<'a> {
    directory: &'a TargetDirectory,
    name: Vec<u8>,
    file: File,
    is_placed: bool,
}

impl Temporary<'_> {
    /// The file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it the name it is to have, in one step.
    pub fn put_in_place(mut self, name: &[u8], existing: Existing) -> io::Result<()> {
        self.directory.put_in_place(&self.name, name, existing)?;
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.is_placed {
            // It stays behind, under a name that says what it is.
            let _ = self.directory.remove_file(&self.name);
        }
    }
}

/// Whether this was made by a restore that did not come to give it its metadata.
///
/// Files and directories are made with the sticky bit and rights for their owner only, which costs nothing, survives every crash, and is a mode that
/// nothing else has. An access list that was inherited may have taken rights from the owner.
pub fn is_unfinished(stat: &Stat) -> bool {
    matches!(stat.kind, Kind::File | Kind::Directory) && stat.mode & 0o7077 == 0o1000
}

const UNFINISHED_FILE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::SVTX);
const UNFINISHED_DIRECTORY: Mode = Mode::RWXU.union(Mode::SVTX);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Random names that may be taken before giving up.
const TEMPORARY_NAMES_TRIED: usize = 8;

fn open_following(path: &Path) -> Result<OwnedFd, Errno> {
    match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Err(Errno::NAMETOOLONG) => stepwise(CWD, path.as_os_str().as_bytes(), OFlags::empty()),
        opened => opened,
    }
}

/// In one call where the system has one that refuses links, else a name at a time.
fn open_refusing_links(base: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    match host::open_refusing_links(base.as_fd(), path) {
        Err(Errno::NOSYS | Errno::NAMETOOLONG | Errno::AGAIN | Errno::PERM) => {
            stepwise(base.as_fd(), path, OFlags::NOFOLLOW)
        }
        opened => opened,
    }
}

/// Opens each directory of a path relative to the one before.
pub(super) fn stepwise(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let start: &[u8] = if path.starts_with(b"/") { b"/" } else { b"." };
    let mut here = openat(base, start, DIRECTORY, Mode::empty())?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        here = openat(&here, name, DIRECTORY | flags, Mode::empty())?;
    }
    Ok(here)
}

/// Something else has taken the name of a file that this restore has made.
pub(super) fn not_the_one_made() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "the file that was restored under this name is not there any more",
    )
}
