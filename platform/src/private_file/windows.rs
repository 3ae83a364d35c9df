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

pub(super) fn create_scratch(path: &Path) -> io::Result<File> {
    const DELETE_ON_CLOSE: u32 = 0x0400_0000;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).share_mode(0).custom_flags(DELETE_ON_CLOSE).open(path)
}

pub(super) fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

pub(super) fn sync_folder_of(_path: &Path) -> io::Result<Durability> {
    Ok(Durability::NameNotSynced)
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn what_is_written_is_read_and_what_it_is_worth_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("key");
        for secret in [&b"first"[..], b"second"] {
            let written = write_secret(&path, secret).unwrap();
            let expected = Written { durability: Durability::NameNotSynced, privacy: Privacy::AsItsFolder };
            assert_eq!(written, expected);
            assert_eq!(&read_secret(&path, 100).unwrap()[..], secret);
        }
        assert!(matches!(read_secret(&path, 3), Err(PrivateFileError::TooLarge { .. })));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
