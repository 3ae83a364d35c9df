//! Unix: permission bits, and folders that can be synced.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Durability, Privacy, PrivateFileError};

pub(super) const PRIVACY: Privacy = Privacy::OwnerOnly;

pub(super) fn open_without_links(path: &Path) -> io::Result<File> {
    // Without waiting: it might be a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

/// Root may use what belongs to others: whoever runs it as root with another's home asked for that.
pub(super) fn check_private(path: &Path, found: &Metadata) -> Result<(), PrivateFileError> {
    let user = rustix::process::geteuid();
    if !user.is_root() && found.uid() != user.as_raw() {
        return Err(PrivateFileError::ForeignOwner { path: path.to_owned(), owner: found.uid() });
    }
    let mode = (found.mode() & 0o7777) as u16;
    if mode & 0o077 != 0 {
        return Err(PrivateFileError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

pub(super) fn create_new(path: &Path, is_private: bool) -> io::Result<File> {
    let mode = if is_private { 0o600 } else { 0o666 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

pub(super) fn create_scratch(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

pub(super) fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Syncs the name. A folder that may be written but not read, or whose file system has no such call, cannot be synced.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<Durability> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced.as_ref().map_err(Errno::from_io_error) {
        Ok(()) => Ok(Durability::Full),
        Err(Some(Errno::INVAL | Errno::NOTSUP | Errno::ACCESS | Errno::BADF)) => {
            Ok(Durability::NameNotSynced)
        }
        Err(_) => synced.map(|()| Durability::Full),
    }
}
