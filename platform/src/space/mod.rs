//! Room on a file system.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as host;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as host;

use std::io;
use std::path::Path;

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// It has in all.
    pub total: u64,
    /// Nobody uses.
    pub free: u64,
    /// This user may still use: without what is kept back for root, and less than that where there is a quota the system counts in.
    pub available: u64,
}

/// Room on the file system that `path`, which has to exist, is on. It changes at any time: a hint, never a promise.
pub fn space(path: &Path) -> io::Result<Space> {
    host::space(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_and_not_more_than_all() {
        let folder = tempfile::tempdir().unwrap();
        let space = space(folder.path()).unwrap();
        assert!(space.total > 0 && space.available <= space.free && space.free <= space.total, "{space:?}");
    }

    #[test]
    fn what_is_not_there_has_none() {
        assert!(space(Path::new("/no/such/folder")).is_err());
    }
}
