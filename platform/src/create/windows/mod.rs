//! Windows: by paths below directories that are held open.
//!
//! A directory is opened without following a link, and its handle does not share the right to delete. So for as long as it is held, Windows lets nobody
//! rename, remove or replace it or a directory above it, and the path below which files are made stays the one that was checked. What remains
//! is a directory that is still empty: who may write to it can turn it into a junction in place.

mod finish;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileTypeExt, OpenOptionsExt, symlink_dir, symlink_file};
use std::path::{Component, Path, PathBuf, Prefix};

use backstore_protocol::entry::Kind;

pub use finish::{finish_directory, finish_file, prepare_file};

use super::{Existing, LeftOut, Links, Part, Policy, Reason};
use crate::Unsupported;
use crate::machine::Machine;
use crate::walk::{DeviceId, Directory, Stat};

/// A directory that files are restored into.
#[derive(Debug)]
pub struct TargetDirectory {
    directory: Directory,
    /// Keeps the directory and those above it in their places.
    _held: File,
}

impl TargetDirectory {
    /// Opens an existing directory by its path, of any length.
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        match links {
            // What comes back has no links in it and no limit to its length.
            Links::Follow => Self::hold(fs::canonicalize(path)?),
            Links::Refuse => open_refusing_links(path),
        }
    }

    /// Opens the directory `name`; a link is an error.
    pub fn open_directory(&self, name: &[u8]) -> io::Result<Self> {
        Self::hold(self.directory.child(name)?)
    }

    /// Opens a directory below this one by its names; a link anywhere is an error.
    pub fn open_below(&self, names: &[&[u8]]) -> io::Result<Self> {
        let mut here = Self::hold(self.directory.path().to_owned())?;
        for name in names {
            here = here.open_directory(name)?;
        }
        Ok(here)
    }

    /// Makes the directory `name`, with the rights it inherits, and opens it.
    pub fn make_directory(&self, name: &[u8]) -> io::Result<Self> {
        fs::create_dir(self.directory.child(name)?)?;
        self.open_directory(name)
    }

    /// Makes the file `name`, empty, with the rights it inherits. What is there already, a dangling link too, is an error.
    pub fn create_file(&self, name: &[u8]) -> io::Result<File> {
        // It is renamed while it is open.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).share_mode(SHARE_ALL);
        options.open(self.directory.child(name)?)
    }

    /// Nothing: whether a file has other names is not told here, so one that an interrupted restore has left is replaced.
    pub fn open_existing_file(&self, name: &[u8]) -> io::Result<Option<File>> {
        self.directory.stat(name).map(|_| None)
    }

    /// Makes a file under a name of its own, to be put in its place when it is complete.
    pub fn create_temporary(&self, machine: &dyn Machine) -> io::Result<Temporary<'_>> {
        let name = Self::temporary_name(machine);
        let file = self.create_file(&name)?;
        Ok(Temporary { directory: self, name, file: Some(file), is_placed: false })
    }

    /// A name that nothing else has, for what is put in its place with [`TargetDirectory::put_in_place`].
    pub fn temporary_name(machine: &dyn Machine) -> Vec<u8> {
        let mut random = [0; 8];
        machine.random(&mut random);
        format!(".backstore-{:016x}.tmp", u64::from_le_bytes(random)).into_bytes()
    }

    /// Gives what was made here under a temporary name the one it is to have, in one step. A directory is never replaced.
    pub fn put_in_place(&self, temporary: &[u8], name: &[u8], existing: Existing) -> io::Result<()> {
        let (from, to) = (self.directory.child(temporary)?, self.directory.child(name)?);
        match existing {
            Existing::Replace => match self.stat(name)?.map(|found| found.kind) {
                Some(Kind::Directory) => Err(io::ErrorKind::IsADirectory.into()),
                Some(_) | None => fs::rename(from, to),
            },
            // A new name for the file, which fails where there is one; renaming would replace it.
            Existing::Keep => {
                fs::hard_link(&from, to)?;
                fs::remove_file(from)
            }
        }
    }

    /// Makes a symbolic link. Windows has to be told whether it leads to a directory: it does if there is one at the time.
    pub fn create_link(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        let link = self.directory.child(name)?;
        let target = crate::paths::text_to_native(target);
        let leads_to = self.directory.path().join(&*target);
        if fs::metadata(leads_to).is_ok_and(|found| found.is_dir()) {
            symlink_dir(&*target, link)
        } else {
            symlink_file(&*target, link)
        }
    }

    /// Says that it is not supported: files have no identity here yet.
    pub fn create_hard_link(
        &self,
        _name: &[u8],
        _directory: &Self,
        _source: &[u8],
        _made: (DeviceId, u64),
    ) -> io::Result<()> {
        Err(Unsupported { what: "linking files" }.into())
    }

    /// Makes nothing, and says so: there are no pipes, sockets or device nodes.
    pub fn create_special(
        &self,
        _name: &[u8],
        _kind: Kind,
        _device: (u32, u32),
        _policy: &Policy,
    ) -> io::Result<Option<LeftOut>> {
        Ok(Some(LeftOut { part: Part::Device, name: None, reason: Reason::NotSupported }))
    }

    /// Removes what is not a directory.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        let path = self.directory.child(name)?;
        if fs::symlink_metadata(&path)?.file_type().is_symlink_dir() {
            return fs::remove_dir(path);
        }
        fs::remove_file(path)
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, name: &[u8]) -> io::Result<()> {
        match self.directory.stat(name)?.kind {
            Kind::Directory => fs::remove_dir(self.directory.child(name)?),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Metadata of what has this name, of a link its own; nothing if nothing has.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match self.directory.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same directory, for reading.
    pub fn as_directory(&self) -> &Directory {
        &self.directory
    }

    /// Opens the directory at a path whose last name must not be a link; those above are held or were checked.
    fn hold(path: PathBuf) -> io::Result<Self> {
        let flags = BACKUP_SEMANTICS | OPEN_REPARSE_POINT;
        let held =
            OpenOptions::new().read(true).share_mode(SHARE_READ_WRITE).custom_flags(flags).open(&path)?;
        // Looked at by path, which can be no other directory now.
        Ok(Self { directory: Directory::open(&path)?, _held: held })
    }
}

/// Opens each directory of a path below the one before.
fn open_refusing_links(path: &Path) -> io::Result<TargetDirectory> {
    let path = std::path::absolute(path)?;
    let mut here = PathBuf::new();
    let mut held = None;
    for part in path.components() {
        match part {
            Component::Prefix(prefix) => match prefix.kind() {
                // Without a limit to its length.
                Prefix::Disk(letter) => here.push(format!(r"\\?\{}:", char::from(letter))),
                _ => here.push(prefix.as_os_str()),
            },
            Component::RootDir | Component::Normal(_) => {
                here.push(part.as_os_str());
                held = Some(TargetDirectory::hold(here.clone())?);
            }
            Component::CurDir | Component::ParentDir => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    held.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// A file that has no place yet. Unless it is put into one, it is removed with this.
#[derive(Debug)]
pub struct Temporary<'a> {
    directory: &'a TargetDirectory,
    name: Vec<u8>,
    /// Closed before the file is removed.
    file: Option<File>,
    is_placed: bool,
}

impl Temporary<'_> {
    /// The file, open for writing.
    pub fn file(&self) -> &File {
        self.file.as_ref().expect("it is closed only by being dropped")
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
        drop(self.file.take());
        if !self.is_placed {
            // It stays behind, under a name that says what it is.
            let _ = self.directory.remove_file(&self.name);
        }
    }
}

/// Nothing says so here: what an interrupted restore has left is told by size and time alone.
pub fn is_unfinished(_stat: &Stat) -> bool {
    false
}

const SHARE_ALL: u32 = 7;
const SHARE_READ_WRITE: u32 = 3;
const BACKUP_SEMANTICS: u32 = 0x0200_0000;
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
