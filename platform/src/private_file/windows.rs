//! Windows: files are as private as their folder, which in a user's profile is the user's; names cannot be synced.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

use super::{Durability, Privacy, PrivateFileError};

pub(super) const PRIVACY: Privacy = Privacy::AsItsFolder;

pub(super) fn open_without_links(path: &Path) -> io::Result<File> {
    const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    OpenOptions::new().read(true).custom_flags(OPEN_REPARSE_POINT).open(path)
}

pub(super) fn check_private(_path: &Path, _found: &Metadata) -> Result<(), PrivateFileError> {
    Ok(())
}

pub(super) fn create_new(path: &Path, _is_private: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

pub(super) fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

pub(super) fn sync_folder_of(_path: &Path) -> io::Result<Durability> {
    Ok(Durability::NameNotSynced)
}
