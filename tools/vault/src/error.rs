//! Why a vault did not do what was asked.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use backstore_protocol::ids::{ObjectId, SnapshotId};
use backstore_protocol::store::StoreError;

/// Why a vault did not do what was asked. Cheap to clone: one failure is told to all who wait.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// The folder to hold a vault is not there; opening never makes one.
    #[error("{} is not there", path.display())]
    FolderMissing {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no vault.
    #[error("{} holds no vault", path.display())]
    NotAVault {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a vault already, or parts of one.
    #[error("{} holds a vault already", path.display())]
    AlreadyAVault {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds something.
    #[error("{} is not empty", path.display())]
    FolderNotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Both copies of the superblock are damaged and no pack names the vault.
    #[error("{} is damaged in both copies and there is no pack that names the vault", path.display())]
    SuperblockDamaged {
        /// The superblock.
        path: PathBuf,
    },
    /// Another process writes to the vault.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The vault.
        path: PathBuf,
    },
    /// As many processes read the vault through one index folder as can.
    #[error("{} processes read this vault already", crate::limits::READERS_MAX)]
    TooManyReaders,
    /// Newer software wrote this.
    #[error("{} was written by a newer version of this program ({what})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it does not know.
        what: String,
    },
    /// A node or snapshot refers to objects that are not there; nothing of the batch was taken.
    #[error("{} objects that are referred to are not in the vault", ids.len())]
    Missing {
        /// Some of them, at least one.
        ids: Vec<ObjectId>,
    },
    /// An object is not as an object may be; nothing of the batch was taken.
    #[error("object {id} is not well formed: {what}")]
    BadObject {
        /// Which.
        id: ObjectId,
        /// What is wrong.
        what: &'static str,
    },
    /// Something is larger than it may be.
    #[error("{what} has {size}, at most {max} are allowed")]
    TooLarge {
        /// What, with its unit.
        what: &'static str,
        /// How large.
        size: u64,
        /// How large it may be.
        max: u64,
    },
    /// The account would hold more than it may.
    #[error("the account's quota of {quota} bytes is used up: {used} are stored")]
    Quota {
        /// Bytes stored and on their way.
        used: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// There is no space left for packs or the index. Later, when there is, it will work.
    #[error("the vault's storage is full")]
    Full,
    /// The lineage has another head than the new snapshot continues.
    #[error("the lineage has gone on: its newest snapshot is another one")]
    Conflict {
        /// The head it has.
        head: Option<SnapshotId>,
    },
    /// The account log has another length than who appends to it believes.
    #[error("the account log has gone on: it has {length} entries")]
    LogMoved {
        /// Its entries.
        length: u64,
    },
    /// Another device has taken the lineage over.
    #[error("the lineage was taken over by another device: its fencing number is {fencing}")]
    Fenced {
        /// The lineage's fencing number.
        fencing: u64,
    },
    /// What was named is not there.
    #[error("the vault has no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// An object that is needed is damaged or lost.
    #[error("object {id} is damaged")]
    Damaged {
        /// Which.
        id: ObjectId,
    },
    /// A row of the registry is not what the registry writes.
    #[error("the registry of accounts is damaged: {source}")]
    Registry {
        /// What is wrong.
        source: backstore_protocol::codec::Malformed,
    },
    /// The vault was opened to read.
    #[error("the vault is open for reading alone")]
    ReadOnly,
    /// The vault was closed.
    #[error("the vault is closed")]
    Closed,
    /// A write or a sync failed earlier: nothing is written any more. Opening the vault again shows what the disk really holds.
    #[error("an earlier failure ended writing to the vault")]
    Failed {
        /// The failure.
        source: Arc<Self>,
    },
    /// The index is damaged. Opening the vault again makes it anew, see [`crate::Vault::open_again`].
    #[error("the index {} is damaged: {detail}", path.display())]
    Index {
        /// Its folder.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Whoever watched the progress did not want more.
    #[error("it was interrupted")]
    Interrupted,
    /// A system call failed.
    #[error("cannot {action} {}", path.display())]
    Disk {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Send the objects that are missing or damaged, then the batch again.
    SendAgain,
    /// Look at the lineage's head and start from there.
    LookAtHead,
    /// Try again after a while.
    TryLater,
    /// Close the vault and open it again.
    Reopen,
    /// Tell the user.
    GiveUp,
}

impl VaultError {
    /// A failed system call. A full disk is [`VaultError::Full`], whatever was to be done.
    pub(crate) fn disk(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        if is_full(&source) { Self::Full } else { Self::Disk { action, path, source: Arc::new(source) } }
    }

    /// Whether it says that the index is damaged, or ended writing because it was.
    pub fn is_of_index(&self) -> bool {
        match self {
            Self::Failed { source } => source.is_of_index(),
            error => matches!(error, Self::Index { .. }),
        }
    }

    /// What callers branch on.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::Missing { .. } | Self::Damaged { .. } => Recovery::SendAgain,
            Self::Conflict { .. } | Self::LogMoved { .. } => Recovery::LookAtHead,
            Self::Full | Self::TooManyReaders => Recovery::TryLater,
            Self::Failed { .. } | Self::Index { .. } | Self::Closed => Recovery::Reopen,
            Self::FolderMissing { .. }
            | Self::NotAVault { .. }
            | Self::AlreadyAVault { .. }
            | Self::FolderNotEmpty { .. }
            | Self::SuperblockDamaged { .. }
            | Self::Locked { .. }
            | Self::Newer { .. }
            | Self::BadObject { .. }
            | Self::TooLarge { .. }
            | Self::Quota { .. }
            | Self::Fenced { .. }
            | Self::NotFound { .. }
            | Self::Registry { .. }
            | Self::ReadOnly
            | Self::Interrupted
            | Self::Disk { .. } => Recovery::GiveUp,
        }
    }
}

/// Whether a system call failed because there is no room. A user's limit on the disk counts as such.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl From<VaultError> for StoreError {
    fn from(error: VaultError) -> Self {
        use backstore_protocol::store::Refusal;
        match error {
            VaultError::Missing { ids } => Self::Missing { ids },
            VaultError::Damaged { id } => Self::Damaged { id },
            VaultError::Conflict { head } => Self::Conflict { head },
            VaultError::Fenced { .. } => Self::Fenced,
            VaultError::NotFound { what } => Self::NotFound { what },
            VaultError::Full => Self::Full,
            VaultError::Quota { .. } => Self::Quota,
            VaultError::Locked { path } => Self::Locked { path },
            VaultError::Disk { action, path, source } => {
                let source = io::Error::new(source.kind(), source);
                Self::Disk { action, path, source }
            }
            VaultError::FolderMissing { ref path }
            | VaultError::NotAVault { ref path }
            | VaultError::AlreadyAVault { ref path }
            | VaultError::FolderNotEmpty { ref path }
            | VaultError::SuperblockDamaged { ref path }
            | VaultError::Newer { ref path, .. }
            | VaultError::Index { ref path, .. } => {
                Self::Folder { path: path.clone(), problem: error.to_string() }
            }
            VaultError::BadObject { .. } => {
                Self::Refused { reason: Refusal::BadObject, detail: error.to_string() }
            }
            VaultError::TooLarge { .. } => {
                Self::Refused { reason: Refusal::TooLarge, detail: error.to_string() }
            }
            VaultError::TooManyReaders => Self::Refused { reason: Refusal::Busy, detail: error.to_string() },
            VaultError::Failed { source } => {
                Self::Refused { reason: Refusal::StorageFailed, detail: source.to_string() }
            }
            VaultError::LogMoved { .. } => {
                Self::Refused { reason: Refusal::NotEnrolled, detail: error.to_string() }
            }
            VaultError::Registry { .. }
            | VaultError::ReadOnly
            | VaultError::Interrupted
            | VaultError::Closed => {
                Self::Refused { reason: Refusal::StorageFailed, detail: error.to_string() }
            }
        }
    }
}
