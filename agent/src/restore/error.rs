//! Why a restore cannot begin. What goes wrong with a file is told to the monitor.

use std::io;
use std::path::PathBuf;

use backstore_protocol::path::ArchivePath;

use crate::archive::ArchiveError;
use crate::reading::ReadingError;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What is asked for is not there.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// A path that no archive has.
    #[error(transparent)]
    Path(#[from] backstore_platform::paths::PathError),
    /// A path of another system, to be restored to where it was.
    #[error("{path} is a path of another system: restore it with --to DIR")]
    Foreign {
        /// The path.
        path: ArchivePath,
    },
    /// The command line says two things at once.
    #[error("{0}")]
    Usage(String),
    /// The target cannot be used.
    #[error("cannot restore into {}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Threads could not be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
}

impl From<backstore_vfs::objects::ReadError> for RestoreError {
    fn from(error: backstore_vfs::objects::ReadError) -> Self {
        Self::Archive(error.into())
    }
}
