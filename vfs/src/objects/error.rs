//! Why something of an archive could not be read.

use std::sync::Arc;
use std::time::Duration;

use backstore_protocol::codec::Malformed;
use backstore_protocol::envelope::OpenError;
use backstore_protocol::ids::ObjectId;
use backstore_protocol::store::{ReadFailure, StoreError};

/// Why an object, or what needs it, could not be read. Cheap to clone: everybody who waits for an object gets it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The destination could not give this object.
    #[error("object {id} {failure}")]
    Failed {
        /// Which.
        id: ObjectId,
        /// What it said.
        failure: ReadFailure,
    },
    /// What the destination gave is not what was sealed under this id.
    #[error("object {id} does not open")]
    Sealed {
        /// Which.
        id: ObjectId,
        /// Why.
        source: OpenError,
    },
    /// The object opened, but is something else than its referrer says.
    #[error("object {id} has another {what} than what refers to it says")]
    Mismatch {
        /// Which.
        id: ObjectId,
        /// What differs.
        what: &'static str,
    },
    /// A node or map does not keep to the format.
    #[error("the archive's tree is damaged")]
    Malformed(#[from] Malformed),
    /// The file was there when it was backed up, but could not be read, and no earlier version was known.
    #[error("the file could not be read when it was backed up")]
    Unread,
    /// The destination did not answer in time.
    #[error("object {id} did not come within {} seconds", waited.as_secs_f32())]
    Timeout {
        /// Which.
        id: ObjectId,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The destination as a whole could not be read.
    #[error("the destination cannot be read")]
    Source(#[source] Arc<StoreError>),
    /// The destination answered the request but left this object out.
    #[error("the destination gave no answer for object {id}")]
    Withheld {
        /// Which.
        id: ObjectId,
    },
    /// It would have to be fetched, and the caller did not want to wait. It is being fetched now.
    #[error("not in memory yet")]
    NotInMemory,
}

/// What a caller does about a [`ReadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Name the file or directory as unreadable and go on with the others.
    SkipIt,
    /// The destination does not answer: the others will fail too.
    Stop,
    /// Ask again with [`super::Wait::UntilDeadline`].
    Wait,
}

impl ReadError {
    /// The only thing callers branch on.
    pub const fn recovery(&self) -> Recovery {
        match self {
            Self::Failed { .. }
            | Self::Sealed { .. }
            | Self::Mismatch { .. }
            | Self::Malformed(_)
            | Self::Unread
            | Self::Withheld { .. } => Recovery::SkipIt,
            Self::Timeout { .. } | Self::Source(_) => Recovery::Stop,
            Self::NotInMemory => Recovery::Wait,
        }
    }

    /// Whether the object that came is not the one that was wanted.
    pub(super) const fn is_of_the_object(&self) -> bool {
        match self {
            Self::Sealed { .. } | Self::Mismatch { .. } | Self::Malformed(_) => true,
            Self::Failed { .. }
            | Self::Unread
            | Self::Timeout { .. }
            | Self::Source(_)
            | Self::Withheld { .. }
            | Self::NotInMemory => false,
        }
    }

    /// Whether nothing follows it where entries are read one after the other: a node that cannot be had is passed over, but one that makes no sense
    /// cannot say where the next begins.
    pub const fn ends_walk(&self) -> bool {
        matches!(self, Self::Malformed(_)) || !matches!(self.recovery(), Recovery::SkipIt)
    }
}
