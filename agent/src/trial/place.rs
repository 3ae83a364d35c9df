//! The folder of a trial: beside the folder that is tried, locked while it is used, and removed whatever happens.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backstore_platform::lock::{Lock, LockError};
use backstore_platform::private_file::{PrivateFileError, make_private_directory};
use backstore_platform::walk::Directory;

use crate::home::Home;

/// The folder of a trial. Dropping it removes it with all it holds.
#[derive(Debug)]
pub struct TrialPlace {
    path: PathBuf,
    lock: Option<Lock>,
    is_finished: bool,
}

/// Why there is no place for a trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Another trial of the same folder goes on.
    #[error("another trial of this folder is running")]
    Running(#[source] LockError),
    /// A folder of that name is there, and none of ours.
    #[error("{} is in the way: it was not made by `backstore try`", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// No folder that it could be in can be written to, or all lie in what is tried.
    #[error("there is no place for the trial's vault outside {}: name one with --in DIR", folder.display())]
    Nowhere {
        /// What is tried.
        folder: PathBuf,
    },
    /// The place that was named lies in what is tried.
    #[error("{} lies in {}, which is tried: nothing is made in it", place.display(), folder.display())]
    Inside {
        /// The place.
        place: PathBuf,
        /// What is tried.
        folder: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

const LOCK: &str = "lock";
/// In each such folder, and nowhere else: only what has it is ever removed.
const MARK: &str = "made-by-backstore-try";
const MARK_TEXT: &str =
    "`backstore try` made this folder and removes it. If none is running, it can be deleted.\n";
const SUFFIX: &str = ".backstore-try";
const MOUNT: &str = "versions";

impl TrialPlace {
    /// Makes a place for a trial of `folder`, an absolute path: in `named` if that is given; else beside it, if that is the same file system and can be
    /// written to; else in `cache`. What an earlier trial of the same folder left there is removed.
    pub fn make(folder: &Path, named: Option<&Path>, cache: &Path) -> Result<Self, TrialError> {
        if let Some(named) = named {
            if named.starts_with(folder) {
                let (place, folder) = (named.to_owned(), folder.to_owned());
                return Err(TrialError::Inside { place, folder });
            }
            return Self::in_folder(named, folder);
        }
        let beside = folder.parent().filter(|parent| is_same_file_system(parent, folder));
        let mut refused = None;
        for (parent, is_ours) in beside.map(|beside| (beside, false)).into_iter().chain([(cache, true)]) {
            if parent.starts_with(folder) || (is_ours && make_private_directory(parent).is_err()) {
                continue;
            }
            match Self::in_folder(parent, folder) {
                Err(TrialError::Io { action, path, source }) => {
                    refused.get_or_insert(TrialError::Io { action, path, source });
                }
                other => return other,
            }
        }
        Err(TrialError::Nowhere { folder: folder.to_owned() })
    }

    fn in_folder(parent: &Path, folder: &Path) -> Result<Self, TrialError> {
        let mut name = OsString::from(".");
        name.push(folder.file_name().unwrap_or("root".as_ref()));
        name.push(SUFFIX);
        let path = parent.join(name);
        let failed = |action| {
            let path = path.clone();
            move |source| TrialError::Io { action, path, source }
        };
        let is_new = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed("look at")(error)),
            Ok(found) => {
                if !found.is_dir() || !path.join(MARK).is_file() {
                    return Err(TrialError::Taken { path });
                }
                false
            }
        };
        if is_new {
            make_private_directory(&path).map_err(|error| match error {
                PrivateFileError::File { source, .. } => failed("make")(source),
                other => failed("make")(io::Error::other(other)),
            })?;
            fs::write(path.join(MARK), MARK_TEXT).map_err(failed("write to"))?;
        }
        let lock = Lock::acquire(&path.join(LOCK)).map_err(|error| match error {
            held @ LockError::Held { .. } => TrialError::Running(held),
            LockError::File { action, path, source } => TrialError::Io { action, path, source },
        })?;
        let place = Self { path: path.clone(), lock: Some(lock), is_finished: false };
        place.clear(false).map_err(failed("clear"))?;
        fs::create_dir_all(place.mount_point()).or_else(|error| {
            // What a killed trial mounted is still there, dead: mounting again takes it away.
            if place.is_dead_mount() { Ok(()) } else { Err(failed("make a folder in")(error)) }
        })?;
        Ok(place)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its vault is to be.
    pub fn vault(&self) -> PathBuf {
        self.path.join("vault")
    }

    /// Its own home.
    pub fn home(&self) -> Home {
        Home::at(&self.path.join("home"))
    }

    /// A file for its password.
    pub fn password_file(&self) -> PathBuf {
        self.path.join("password")
    }

    /// Where its versions are to be mounted.
    pub fn mount_point(&self) -> PathBuf {
        self.path.join(MOUNT)
    }

    /// Removes it.
    pub fn remove(mut self) -> Result<(), TrialError> {
        let path = self.path.clone();
        self.finish().map_err(|source| TrialError::Io { action: "remove", path, source })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.is_finished = true;
        self.clear(true)?;
        fs::remove_file(self.path.join(MARK))?;
        fs::remove_file(self.path.join(LOCK))?;
        self.lock = None;
        fs::remove_dir(&self.path)
    }

    /// Removes what is in it but mark and lock; the mount point, where something may be mounted, only if that is wanted.
    fn clear(&self, with_mount_point: bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == MOUNT {
                // Never with what is in it: it may be a mount.
                if with_mount_point {
                    fs::remove_dir(entry.path())?;
                }
            } else if name != MARK && name != LOCK {
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn is_dead_mount(&self) -> bool {
        // A mount whose process is gone cannot be looked at, but its name is there.
        fs::read_dir(&self.path)
            .is_ok_and(|entries| entries.filter_map(Result::ok).any(|entry| entry.file_name() == MOUNT))
    }
}

impl Drop for TrialPlace {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = self.finish()
        {
            eprintln!("backstore: {} stays: {error}", self.path.display());
        }
    }
}

fn is_same_file_system(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| Some(Directory::open(path).ok()?.full_stat_self().ok()?.basic.device);
    device(a).is_some_and(|found| Some(found) == device(b))
}
