//! Why something of the archive could not be shown.

use backstore_platform::paths::PathError;
use backstore_vfs::history::HistoryError;
use backstore_vfs::moment::MomentError;
use backstore_vfs::objects::ReadError;

use crate::archive::ArchiveError;

/// Why something of the archive could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The archive as a whole.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A part of it that is needed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index of what became of files.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A text that means no version.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// A path that archives cannot know.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A path that cannot be made absolute.
    #[error("cannot find {path}")]
    Place {
        /// As it was given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No set has this name, or no device.
    #[error("there is no backup set {asked}; there are: {known}")]
    NoSuchSet {
        /// What was asked for.
        asked: String,
        /// The sets there are, with their devices.
        known: String,
    },
    /// Several sets may be meant.
    #[error("there are several backup sets; name one with --set, and --device if need be: {known}")]
    WhichSet {
        /// The sets there are, with their devices.
        known: String,
    },
    /// No version is meant.
    #[error("backup set {set} has no version {when}; {there_are}")]
    NoSuchVersion {
        /// The set.
        set: String,
        /// What was asked for.
        when: String,
        /// The versions there are.
        there_are: String,
    },
    /// The version does not have this path.
    #[error("there is no {path} in version {version}{nearest}")]
    NoSuchPath {
        /// What was asked for.
        path: String,
        /// Where.
        version: String,
        /// What there is instead: a clause, or nothing.
        nearest: String,
    },
    /// No version has this path.
    #[error("there is no {path} in any version of backup set {set}")]
    NeverThere {
        /// What was asked for.
        path: String,
        /// The set.
        set: String,
    },
    /// It has no bytes that could be given out.
    #[error("{path} is {what}, not a file")]
    NotAFile {
        /// It.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}
