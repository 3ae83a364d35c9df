//! Windows: not yet. There is no directory to restore into, and to open one says so; what would work on one cannot be reached.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;

use backstore_protocol::entry::Kind;

use super::{Existing, LeftOut, Links, Part, Policy, Reason, Wanted};
use crate::Unsupported;
use crate::machine::Machine;
use crate::metadata::PrincipalIds;
use crate::walk::{DeviceId, Directory, Stat};

/// A directory that files are restored into: there is none on this system yet.
#[derive(Debug)]
pub struct TargetDirectory(Infallible);

impl TargetDirectory {
    /// Says that it is not supported.
    pub fn open(_path: &Path, _links: Links) -> io::Result<Self> {
        Err(Unsupported { what: "restoring files" }.into())
    }

    /// Opens the directory `name`.
    pub fn open_directory(&self, _name: &[u8]) -> io::Result<Self> {
        match self.0 {}
    }

    /// Opens a directory below this one by its names.
    pub fn open_below(&self, _names: &[&[u8]]) -> io::Result<Self> {
        match self.0 {}
    }

    /// Makes the directory `name` and opens it.
    pub fn make_directory(&self, _name: &[u8]) -> io::Result<Self> {
        match self.0 {}
    }

    /// Makes the file `name`.
    pub fn create_file(&self, _name: &[u8]) -> io::Result<File> {
        match self.0 {}
    }

    /// Opens the file `name` that an earlier restore has made.
    pub fn open_existing_file(&self, _name: &[u8]) -> io::Result<Option<File>> {
        match self.0 {}
    }

    /// Makes a file under a name of its own.
    pub fn create_temporary(&self, _machine: &dyn Machine) -> io::Result<Temporary<'_>> {
        match self.0 {}
    }

    /// A name that nothing else has.
    pub fn temporary_name(machine: &dyn Machine) -> Vec<u8> {
        let mut random = [0; 8];
        machine.random(&mut random);
        format!(".backstore-{:016x}.tmp", u64::from_le_bytes(random)).into_bytes()
    }

    /// Gives what was made here under a temporary name the one it is to have.
    pub fn put_in_place(&self, _temporary: &[u8], _name: &[u8], _existing: Existing) -> io::Result<()> {
        match self.0 {}
    }

    /// Makes a symbolic link.
    pub fn create_link(&self, _name: &[u8], _target: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    /// Gives a file one more name.
    pub fn create_hard_link(
        &self,
        _name: &[u8],
        _directory: &Self,
        _source: &[u8],
        _made: (DeviceId, u64),
    ) -> io::Result<()> {
        match self.0 {}
    }

    /// Makes a special file.
    pub fn create_special(
        &self,
        _name: &[u8],
        _kind: Kind,
        _device: (u32, u32),
        _policy: &Policy,
    ) -> io::Result<Option<LeftOut>> {
        match self.0 {}
    }

    /// Gives a link or special file its metadata.
    pub fn finish_named(
        &self,
        _name: &[u8],
        _wanted: &Wanted<'_>,
        _policy: &Policy,
        _ids: &mut PrincipalIds,
    ) -> io::Result<Vec<LeftOut>> {
        match self.0 {}
    }

    /// Removes what is not a directory.
    pub fn remove_file(&self, _name: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, _name: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    /// Metadata of what has this name.
    pub fn stat(&self, _name: &[u8]) -> io::Result<Option<Stat>> {
        match self.0 {}
    }

    /// The same directory, for reading.
    pub fn as_directory(&self) -> &Directory {
        match self.0 {}
    }
}

/// A file that has no place yet: there is none on this system.
#[derive(Debug)]
pub struct Temporary<'a>(Infallible, std::marker::PhantomData<&'a TargetDirectory>);

impl Temporary<'_> {
    /// The file, open for writing.
    pub fn file(&self) -> &File {
        match self.0 {}
    }

    /// Gives it the name it is to have.
    pub fn put_in_place(self, _name: &[u8], _existing: Existing) -> io::Result<()> {
        match self.0 {}
    }
}

/// Nothing that is there was made by a restore.
pub fn is_unfinished(_stat: &Stat) -> bool {
    false
}

/// Does nothing: no file of a restore gets here.
pub fn prepare_file(_file: &File, _wanted: &Wanted<'_>, _policy: &Policy) {}

/// Sets nothing, and says so.
pub fn finish_file(
    _file: &File,
    _wanted: &Wanted<'_>,
    _policy: &Policy,
    _ids: &mut PrincipalIds,
) -> Vec<LeftOut> {
    let left_out = |part| LeftOut { part, name: None, reason: Reason::NotSupported };
    [Part::Owner, Part::Mode, Part::Xattr, Part::Times, Part::Attributes].map(left_out).into()
}

/// Gives a directory its metadata.
pub fn finish_directory(
    directory: &TargetDirectory,
    _wanted: &Wanted<'_>,
    _policy: &Policy,
    _ids: &mut PrincipalIds,
) -> Vec<LeftOut> {
    match directory.0 {}
}
