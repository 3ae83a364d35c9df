//! Why an operation of the filesystem fails.

use std::sync::Arc;

use backstore_protocol::codec::Malformed;

use super::OpenSetError;
use crate::history::HistoryError;
use crate::objects::ReadError;

/// Why an operation failed. A host translates it into what its system knows, in one place.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Problem {
    /// There is no such name, or no such inode any more.
    #[error("no such file or directory")]
    NotFound,
    /// There is no such name yet: there may be one once there are more versions.
    #[error("no such file or directory")]
    NotFoundYet,
    /// Something that is not a directory was used as one.
    #[error("not a directory")]
    NotADirectory,
    /// A directory was used as a file.
    #[error("is a directory")]
    IsADirectory,
    /// The operation makes no sense for this kind of file, or with this argument.
    #[error("invalid argument")]
    Invalid,
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoSuchAttribute,
    /// There is nothing of what was sought from there on.
    #[error("nothing there")]
    NothingThere,
    /// A value is larger than the system takes.
    #[error("value too large")]
    TooLarge,
    /// This reader looks at everything unasked, and the file would have to be fetched for it.
    #[error("permission denied")]
    NotForThem,
    /// What the archive holds cannot be read.
    #[error("input or output error")]
    Unreadable(#[source] ReadError),
    /// What became of files cannot be told.
    #[error("input or output error")]
    NoHistory(#[source] Arc<HistoryError>),
    /// The versions of a set cannot be listed.
    #[error("input or output error")]
    SetUnreadable(#[source] OpenSetError),
    /// It has to be fetched first, and the caller did not want to wait. It is being fetched now.
    #[error("not in memory yet")]
    NotInMemory,
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        if matches!(error, ReadError::NotInMemory) { Self::NotInMemory } else { Self::Unreadable(error) }
    }
}

impl From<Malformed> for Problem {
    fn from(error: Malformed) -> Self {
        Self::Unreadable(error.into())
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        Self::NoHistory(Arc::new(error))
    }
}
