//! What the agent and the mount ask of a destination: the same of a server and of a vault in a folder.
//!
//! [`Source`] reads, [`Destination`] starts a [`Session`], which writes. All calls block; those that can take long can be made
//! from several threads at once. An implementation hides cuts of the connection: it connects again and sends again what was not
//! yet durable.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{DeviceId, LineageId, ObjectId, SnapshotId};
use crate::object::SealedObject;

/// A lineage as its destination knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageInfo {
    /// Which.
    pub lineage: LineageId,
    /// The device that made its head.
    pub device: DeviceId,
    /// Its newest snapshot.
    pub head: SnapshotId,
    /// The head's sequence.
    pub sequence: u64,
    /// When the head arrived, by the destination's clock: milliseconds since 1970.
    pub received_at: i64,
    /// When the head was last confirmed without a change, likewise; at least `received_at`.
    pub confirmed_at: i64,
    /// Snapshots it has.
    pub snapshots: u64,
}

/// A snapshot's stored header and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The header as its device signed it.
    pub header: Bytes,
    /// When it arrived, by the destination's clock: milliseconds since 1970.
    pub received_at: i64,
    /// Its root, its body, or a node right below the root is known to be damaged or absent. A quick answer that looks no deeper: a snapshot
    /// without it may need something damaged as well, which reading it or a check of the vault finds.
    pub is_damaged: bool,
}

/// What whoever opens an archive asks first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    /// The account log, stored form; all of it.
    pub log: Vec<Bytes>,
    /// The lineages of the account.
    pub lineages: Vec<LineageInfo>,
    /// The newest snapshots of those lineages that were expected and are there.
    pub newest: Vec<(LineageId, Vec<StoredSnapshot>)>,
}

/// Why one object of a request could not be read; the others can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// The destination does not hold it.
    #[error("is not at the destination")]
    Missing,
    /// It is held, but its stored bytes are no longer what they were.
    #[error("is damaged at the destination")]
    Damaged,
}

/// Reads snapshots and objects.
pub trait Source: Send + Sync {
    /// The lineages of the account.
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError>;

    /// Up to `count` snapshots of a lineage whose sequence is below `before`, newest first.
    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError>;

    /// Reads objects and hands each over with its place in `ids`, once, in any order.
    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError>;

    /// Entries of the account log from number `from` on, stored form; all of them.
    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError>;

    /// The account log, the lineages, and the newest `count` snapshots of those lineages that are expected to be among them. Where an answer takes
    /// a while, all of it is asked for at once.
    fn overview(&self, expected: &[LineageId], count: usize) -> Result<Overview, StoreError> {
        let (log, lineages) = (self.account_log(0)?, self.lineages()?);
        let is_there = |lineage: &&LineageId| lineages.iter().any(|info| info.lineage == **lineage);
        let newest = expected.iter().filter(is_there).map(|lineage| {
            let newest = self.snapshots(*lineage, u64::MAX, count)?;
            Ok((*lineage, newest))
        });
        let newest = newest.collect::<Result<_, StoreError>>()?;
        Ok(Overview { log, lineages, newest })
    }

    /// What was read under `id` is not what it should be. Whether it may have been a copy, which is gone now: then reading again asks the
    /// destination itself. A source without copies has nothing to do.
    fn forget(&self, _id: &ObjectId) -> bool {
        false
    }

    /// A number that changes when a snapshot is committed. Waits, for `patience` at most, until it is not `seen`.
    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError>;
}

/// Takes new objects and snapshots.
pub trait Destination: Source {
    /// Starts a session for one lineage.
    fn open_session(&self, request: &SessionRequest) -> Result<Box<dyn Session>, StoreError>;
}

/// What a session is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    /// The lineage to be continued or begun.
    pub lineage: LineageId,
    /// The snapshot the backup starts from.
    pub basis: Option<SnapshotId>,
    /// Fencing number the device knows.
    pub fencing: u64,
}

/// What a session starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// The lineage's newest snapshot.
    pub head: Option<SnapshotId>,
    /// The lineage's fencing number.
    pub fencing: u64,
    /// Objects of the account that are damaged or lost, sorted: what refers to them has to be sent again.
    pub damaged: Vec<ObjectId>,
    /// Objects the account has; with none, nothing needs to be asked for.
    pub objects: u64,
}

/// A commit that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was received, by the destination's clock: milliseconds since 1970.
    pub received_at: i64,
}

/// Writes to one lineage.
pub trait Session: Send + Sync {
    /// What it started from.
    fn opened(&self) -> &Opened;

    /// Which of `ids` the destination holds undamaged. What it says it holds stays for this session.
    fn have(&self, ids: &[ObjectId]) -> Result<Vec<bool>, StoreError>;

    /// Sends objects, at most [`crate::limits::BATCH_BYTES_MAX`] and [`crate::limits::BATCH_ITEMS_MAX`] of them. A node comes
    /// after everything it refers to, in this batch or an earlier one. Waits only while too much is on its way; a failure of an
    /// earlier batch is reported by any later call.
    fn put(&self, batch: Vec<SealedObject>) -> Result<(), StoreError>;

    /// Waits until everything put is durable.
    fn sync(&self) -> Result<(), StoreError>;

    /// Makes a snapshot of what was put; durable when it returns. `header` is the stored, signed form.
    fn commit(&self, header: &[u8]) -> Result<Committed, StoreError>;

    /// Confirms that the head is held, whole and undamaged, and notes the time.
    fn touch(&self, head: SnapshotId) -> Result<Committed, StoreError>;
}

/// Why a destination did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A node or snapshot was refused because it refers to objects that are not there.
    #[error("{} objects that are referred to are not at the destination", ids.len())]
    Missing {
        /// Some of them, at least one.
        ids: Vec<ObjectId>,
    },
    /// The lineage has another head than the new snapshot continues.
    #[error("the lineage has gone on: its newest snapshot is another one")]
    Conflict {
        /// The head it has.
        head: Option<SnapshotId>,
    },
    /// Another device has taken the lineage over.
    #[error("another device has taken this backup set over")]
    Fenced,
    /// A snapshot, lineage or account that was named is not there.
    #[error("the destination has no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// An object that is needed is damaged.
    #[error("object {id} is damaged at the destination")]
    Damaged {
        /// Which.
        id: ObjectId,
    },
    /// The destination's disk is full.
    #[error("the destination's storage is full")]
    Full,
    /// The account's quota is used up.
    #[error("the account's quota is used up")]
    Quota,
    /// Another process works with the vault.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The vault.
        path: PathBuf,
    },
    /// The server could not be reached, although it was tried again for a while.
    #[error("cannot reach {server}: {detail}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What the last attempt said.
        detail: String,
    },
    /// The server shows another key than the one that is known.
    #[error(
        "{server} has the fingerprint {found}, but {expected} is expected: this is not the server that was enrolled with"
    )]
    WrongFingerprint {
        /// Its address.
        server: String,
        /// The fingerprint that is pinned.
        expected: String,
        /// The fingerprint it has.
        found: String,
    },
    /// The destination does not let this device in or do this.
    #[error("the destination refuses: {}{}", reason.text(), detail_text(detail))]
    Refused {
        /// Why.
        reason: Refusal,
        /// More about it, from the destination.
        detail: String,
    },
    /// The other side does not keep to the protocol.
    #[error("the other side sent something wrong: {detail}")]
    Protocol {
        /// What.
        detail: String,
    },
    /// A folder that holds, or should hold, a vault.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A system call on the vault or its index failed.
    #[error("cannot {action} {}", path.display())]
    Disk {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn detail_text(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// Why a destination refuses a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The device is not enrolled.
    UnknownDevice,
    /// The device was revoked.
    Revoked,
    /// The invitation is unknown, used or expired.
    BadInvitation,
    /// The password is not that of the account.
    WrongPassword,
    /// Enrolment has to be completed first.
    NotEnrolled,
    /// It is busy or about to stop; later it will work.
    Busy,
    /// The two sides share no version of the protocol.
    Unsupported,
    /// Its storage fails.
    StorageFailed,
    /// An object or header it was sent is not well formed.
    BadObject,
    /// Something was larger than the protocol allows.
    TooLarge,
}

impl Refusal {
    /// A clause for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UnknownDevice => "this device is not enrolled there",
            Self::Revoked => "this device was revoked",
            Self::BadInvitation => "the invitation is unknown, already used or expired",
            Self::WrongPassword => "wrong password",
            Self::NotEnrolled => "enrolment is not complete",
            Self::Busy => "it is busy",
            Self::Unsupported => "it speaks another version of the protocol",
            Self::StorageFailed => "its storage fails",
            Self::BadObject => "it was sent something malformed",
            Self::TooLarge => "it was sent something too large",
        }
    }
}

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Read the files behind the missing objects again, and send them.
    SendAgain,
    /// Look at the lineage's head and merge again.
    LookAtHead,
    /// Try again after a while.
    TryLater,
    /// Tell the user.
    GiveUp,
}

impl StoreError {
    /// The only thing callers branch on.
    pub const fn recovery(&self) -> Recovery {
        match self {
            Self::Missing { .. } | Self::Damaged { .. } => Recovery::SendAgain,
            Self::Conflict { .. } => Recovery::LookAtHead,
            Self::Unreachable { .. } | Self::Full | Self::Refused { reason: Refusal::Busy, .. } => {
                Recovery::TryLater
            }
            Self::Fenced
            | Self::NotFound { .. }
            | Self::Quota
            | Self::Locked { .. }
            | Self::WrongFingerprint { .. }
            | Self::Refused { .. }
            | Self::Protocol { .. }
            | Self::Folder { .. }
            | Self::Disk { .. } => Recovery::GiveUp,
        }
    }
}
