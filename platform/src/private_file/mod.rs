//! Files that only their owner may read, and small files that are always whole.
//!
//! Both are written beside their place, synced and renamed into it: after a crash the old file or the new one is there, never a mixture. A
//! name left over beside it, `.NAME.….tmp`, is from a crash and may be removed.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as host;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as host;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use zeroize::Zeroizing;

pub use crate::durable::Durability;

/// Who may read a secret file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Privacy {
    /// Its owner and the administrator.
    OwnerOnly,
    /// Whoever may read files in its folder: this system's permissions are not set yet.
    AsItsFolder,
}

/// What became of a secret file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Written {
    /// Whether it survives loss of power.
    pub durability: Durability,
    /// Who may read it.
    pub privacy: Privacy,
}

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Others may read or change it.
    #[error("{} is open to other users (mode {mode:04o}): it holds a secret, so make it yours alone with `chmod 600`", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u16,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}: a secret has to belong to the one who uses it", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is a directory, a link or something else.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than it can rightly be.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What was allowed.
        bytes_max: u64,
    },
    /// A system call failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a secret, readable by its owner only. Folders on the way that are not there are made, for their owner only as well.
pub fn write_secret(path: &Path, secret: &[u8]) -> Result<Written, PrivateFileError> {
    if let Some(folder) = path.parent() {
        make_private_directory(folder)?;
    }
    let durability = put(path, secret, Access::Owner)?;
    Ok(Written { durability, privacy: host::PRIVACY })
}

/// Reads a secret of at most `bytes_max` bytes. One that others may read or change is refused, as is a link.
pub fn read_secret(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let failed = |action| move |source| PrivateFileError::File { action, path: path.to_owned(), source };
    let file = host::open_without_links(path).map_err(failed("open"))?;
    let found = file.metadata().map_err(failed("examine"))?;
    if !found.is_file() {
        return Err(PrivateFileError::NotAFile { path: path.to_owned() });
    }
    host::check_private(path, &found)?;
    let too_large = || PrivateFileError::TooLarge { path: path.to_owned(), bytes_max };
    if found.len() > bytes_max {
        return Err(too_large());
    }
    // With room for all of it from the start, no copy stays behind in memory when it would have to move.
    let mut secret = Zeroizing::new(Vec::with_capacity(found.len() as usize + 1));
    file.take(found.len() + 1).read_to_end(&mut secret).map_err(failed("read"))?;
    if secret.len() as u64 > found.len() {
        return Err(failed("read")(io::Error::new(io::ErrorKind::InvalidData, "it grew while it was read")));
    }
    Ok(secret)
}

/// Makes a folder, and those on the way to it, that only their owner may enter. What is there already stays as it is.
pub fn make_private_directory(path: &Path) -> Result<(), PrivateFileError> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    host::make_private_directory(path).map_err(|source| PrivateFileError::File {
        action: "make the folder",
        path: path.to_owned(),
        source,
    })
}

/// A new file to write and read that has no name, or loses it when it is closed: for what does not fit in memory. Its owner alone may
/// read it, where the system has permissions.
pub fn scratch_file(folder: &Path) -> Result<File, PrivateFileError> {
    make_private_directory(folder)?;
    let failed =
        |source| PrivateFileError::File { action: "make a file in", path: folder.to_owned(), source };
    let (file, _) = create_numbered(&folder.join("scratch"), host::create_scratch).map_err(failed)?;
    Ok(file)
}

/// Replaces, or makes, an ordinary small file. Its folder has to exist.
pub fn replace(path: &Path, content: &[u8]) -> Result<Durability, PrivateFileError> {
    put(path, content, Access::Usual)
}

/// Who may read the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Owner,
    Usual,
}

fn put(path: &Path, content: &[u8], access: Access) -> Result<Durability, PrivateFileError> {
    let failed = |action| move |source| PrivateFileError::File { action, path: path.to_owned(), source };
    let (mut file, temporary) = create_beside(path, access).map_err(failed("write beside"))?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed("write"))
        .and_then(|()| fs::rename(&temporary, path).map_err(failed("replace")));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    host::sync_folder_of(path).map_err(failed("sync the folder of"))
}

/// A new file beside `path`.
fn create_beside(path: &Path, access: Access) -> io::Result<(File, PathBuf)> {
    create_numbered(path, |temporary| host::create_new(temporary, access == Access::Owner))
}

/// Has a new file made beside `path`, under a name that no other call uses.
fn create_numbered(path: &Path, make: impl Fn(&Path) -> io::Result<File>) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    loop {
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let temporary = path.with_file_name(temporary);
        match make(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            // Left by a process that had the same number: the next name is free.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
