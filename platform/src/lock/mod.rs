//! One process at a time: an advisory lock on a file that says who holds it.
//!
//! The lock ends with its [`Lock`] or with the process, however that ends; the file stays. It binds only those who take it too. The standard
//! library has the lock (`flock` on Unix, `LockFileEx` on Windows), so there is one implementation.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another part of this one, holds it.
    #[error("{} is locked by {}", path.display(), holder_text(*holder))]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Process id of the holder, if it has written it and the system lets it be read; Windows does not.
        holder: Option<u32>,
    },
    /// The file could not be opened, locked or written; on some network file systems there are no locks.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The lock's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Lock {
    /// Takes the lock without waiting. The file is made if it is not there, readable by its owner only; its folder has to exist.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |action| move |source| LockError::File { action, path: path.to_owned(), source };
        let mut file = open(path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: path.to_owned(), holder: read_holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let lock = Self { file };
        lock.write_holder().map_err(failed("write"))?;
        Ok(lock)
    }

    fn write_holder(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        (&self.file).rewind()?;
        (&self.file).write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing releases it as well, unless a child that is just being started holds a copy of the handle.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    }
    options.open(path)
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

/// Longest process id with its newline.
const PID_BYTES_MAX: u64 = 11;

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::ChildTest;

    #[test]
    fn a_second_holder_learns_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::acquire(&path).unwrap();
        let held = Lock::acquire(&path).unwrap_err();
        assert!(
            matches!(held, LockError::Held { holder: Some(pid), .. } if pid == std::process::id()),
            "{held:?}"
        );
        assert_eq!(
            held.to_string(),
            format!("{} is locked by process {}", path.display(), std::process::id())
        );
        drop(lock);
        Lock::acquire(&path).unwrap();
    }

    #[test]
    fn what_a_holder_left_in_the_file_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "4294967295 and much more that nobody has written").unwrap();
        let _lock = Lock::acquire(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        fs::write(&path, "").unwrap();
        assert!(matches!(Lock::acquire(&path), Err(LockError::Held { holder: None, .. })));
    }

    #[test]
    fn links_and_missing_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(Lock::acquire(&path), Err(LockError::File { action: "open", .. })));
        assert!(!folder.path().join("elsewhere").exists());
        assert!(matches!(
            Lock::acquire(&folder.path().join("none/lock")),
            Err(LockError::File { action: "open", .. })
        ));
    }

    #[test]
    fn a_killed_holder_frees_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut child = ChildTest::start("lock::tests::child_that_holds_the_lock", &path);
        assert_eq!(child.next_word(), "locked");
        let held = Lock::acquire(&path).unwrap_err();
        assert!(matches!(held, LockError::Held { holder: Some(pid), .. } if pid == child.pid()), "{held:?}");
        child.kill();
        Lock::acquire(&path).unwrap();
    }

    /// The other process of the test above; on its own it does nothing.
    #[test]
    fn child_that_holds_the_lock() {
        let Some(path) = ChildTest::argument() else { return };
        let _lock = Lock::acquire(&path).unwrap();
        ChildTest::say("locked");
        ChildTest::wait_to_be_killed();
    }
}

#[cfg(all(test, windows))]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_a_later_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::acquire(&path).unwrap();
        let held = Lock::acquire(&path).unwrap_err();
        // Windows does not let a locked file be read; Wine does.
        let is_this_or_unknown = |holder: Option<u32>| holder.is_none_or(|pid| pid == std::process::id());
        assert!(matches!(held, LockError::Held { holder, .. } if is_this_or_unknown(holder)), "{held:?}");
        drop(lock);
        Lock::acquire(&path).unwrap();
    }
}
