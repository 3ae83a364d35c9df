//! Why a restore cannot begin. What goes wrong with a file is told to the monitor.

use std::io;
use std::path::PathBuf;

use backstore_protocol::path::ArchivePath;

use crate::archive::ArchiveError;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is no such set.
    #[error("there is no backup set {name:?} in the archive; there are: {there}")]
    NoSuchSet {
        /// What was asked for.
        name: String,
        /// Those there are.
        there: String,
    },
    /// Several sets, and nothing says which.
    #[error("there are several backup sets; name one with --set: {names}")]
    WhichSet {
        /// Their names.
        names: String,
    },
    /// The set has no such version.
    #[error("backup set {set:?} has no version {when}; the oldest is of {oldest}, the newest of {newest}")]
    NoSuchVersion {
        /// The set.
        set: String,
        /// What was asked for.
        when: String,
        /// Date of the oldest there is.
        oldest: String,
        /// Date of the newest.
        newest: String,
    },
    /// The version has no such path.
    #[error("the version of {version} has no {wanted}: {missing:?} is not in {within}{nearest}")]
    NoSuchPath {
        /// Date of the version.
        version: String,
        /// What was asked for.
        wanted: String,
        /// The first component that is missing.
        missing: String,
        /// The directory it is missing in.
        within: String,
        /// The names most like it, as the end of a sentence.
        nearest: String,
    },
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
