//! A backup: scan, merge with the basis, read and cut, ask, seal, send, commit.
//!
//! [`backup`] is the whole of it, top to bottom. It starts from the newest snapshot of the set's lineage and makes the next one, or confirms that
//! nothing has changed. What it sends is bundled and named by content, so a run that was cut off goes on where it was: what arrived
//! is found there. A run that takes long commits partial snapshots on the way.

mod ahead;
mod basis;
mod below;
mod bundling;
mod chunks;
mod differences;
mod large;
mod mapping;
mod merge;
mod moved;
mod objects;
mod pipeline;
mod pool;
mod queue;
mod read;
mod report;
mod reread;
mod roots;
mod tally;
#[cfg(test)]
mod tests;
mod upload;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backstore_platform::machine::Machine;
use backstore_platform::process::Interrupts;
use backstore_protocol::chunker::ChunkerConfig;
use backstore_protocol::codec::Malformed;
use backstore_protocol::ids::{AccountId, DeviceId, DomainId, LineageId, LogHash};
use backstore_protocol::keys::Keys;
use backstore_protocol::seal_box::SigningKey;
use backstore_protocol::store::{Destination, SessionRequest, StoreError};
use backstore_vfs::objects::{ObjectReader, ReadError};

pub use basis::{Basis, Lost};
pub use report::{BackupReport, Monitor, Progress};
pub use reread::REREAD_DAYS;
pub use roots::RootChange;
pub use upload::{SealOptions, UploadError};
pub(crate) use upload::{seal_body, seal_node};

use crate::scan::{RootError, ScanRules};

/// What is backed up, and how.
pub struct BackupPlan {
    /// Name of the set.
    pub set: String,
    /// Its lineage.
    pub lineage: LineageId,
    /// What it selects.
    pub roots: Vec<PathBuf>,
    /// What is left out.
    pub rules: ScanRules,
    /// IANA name of the time zone its dates are shown in.
    pub zone: String,
    /// Words for the snapshot.
    pub tags: Vec<String>,
    /// How large files are cut, unless the basis says otherwise.
    pub chunker: ChunkerConfig,
    /// How objects are made.
    pub seal: SealOptions,
    /// Threads that read, hash, compress and seal.
    pub workers: usize,
    /// How many of them read files; at least one does.
    pub readers: usize,
    /// Threads that list directories.
    pub scanners: usize,
    /// A root that is empty or on another file system than before is meant to be.
    pub accept_root_change: bool,
    /// How often a file is read again that seems unchanged.
    pub reread_every: Option<Duration>,
    /// How often a partial snapshot is committed.
    pub partial_every: Duration,
    /// Look what would be done, and do nothing.
    pub is_dry_run: bool,
}

/// Who backs up.
pub struct Device {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// Scope of its ids.
    pub domain: DomainId,
    /// Newest entry of the account log it knows.
    pub account_log_head: LogHash,
    /// The account's keys.
    pub keys: Arc<Keys>,
    /// The device's key for snapshots.
    pub signing: SigningKey,
    /// Name of the computer.
    pub host: String,
}

/// What a backup works with.
pub struct BackupContext<'a> {
    /// Who.
    pub device: &'a Device,
    /// Where to.
    pub destination: Arc<dyn Destination>,
    /// Reads what is there.
    pub reader: Arc<ObjectReader>,
    /// The newest snapshot of the lineage that this device trusts.
    pub basis: Option<Basis>,
    /// Time and randomness.
    pub machine: &'a dyn Machine,
    /// Who is told.
    pub monitor: &'a dyn Monitor,
    /// Figures while it runs.
    pub progress: &'a Progress,
    /// Whether the user wants it to end.
    pub interrupts: &'a Interrupts,
}

/// Why a backup made no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A root cannot be scanned.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A root looks as if its disk were not there.
    #[error(transparent)]
    RootChanged(#[from] RootChange),
    /// The destination failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object went wrong on its way.
    #[error(transparent)]
    Upload(UploadError),
    /// The basis could not be read.
    #[error("the snapshot that the backup starts from cannot be read")]
    Basis(#[from] ReadError),
    /// The set's chunker is none this agent has.
    #[error("the snapshot before was cut in a way that this version does not know: {0}")]
    Chunker(Malformed),
    /// Threads could not be started.
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
    /// All threads ended early.
    #[error("an internal error ended the backup early; please report what was shown before this message")]
    ThreadsEnded,
    /// The user asked twice to end it, or before there was anything to keep.
    #[error("interrupted")]
    Interrupted,
}

impl From<UploadError> for BackupError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Store(error) => Self::Store(error),
            UploadError::Verification { .. } => Self::Upload(error),
        }
    }
}

/// How often a backup is begun anew because something it relied on was found to be lost.
const ATTEMPTS_MAX: usize = 4;

/// Backs up.
pub fn backup(plan: &BackupPlan, context: &BackupContext<'_>) -> Result<BackupReport, BackupError> {
    let started = context.machine.monotonic();
    let request = SessionRequest {
        lineage: plan.lineage,
        basis: context.basis.as_ref().map(|basis| basis.id),
        fencing: context.basis.as_ref().map_or(0, |basis| basis.header.fencing),
    };
    let session: Arc<dyn backstore_protocol::store::Session> =
        Arc::from(context.destination.open_session(&request)?);
    let head = session.opened().head;
    if head != request.basis {
        return Err(StoreError::Conflict { head }.into());
    }
    let lost = Arc::new(Lost::new(session.opened().damaged.iter().copied()));
    let mut attempt = 1;
    loop {
        let report = write::write_snapshot(plan, context, &session, &lost, started);
        let found = match &report {
            Err(BackupError::Store(StoreError::Missing { ids })) => lost.add(ids.iter().copied()),
            Err(BackupError::Store(StoreError::Damaged { id })) => lost.add([*id]),
            Err(BackupError::Basis(error)) => basis::lost_object(error).is_some_and(|id| lost.add([id])),
            Ok(_) | Err(_) => false,
        };
        // What is lost counts as absent from now on: the files behind it are read and sent again.
        if !found || attempt == ATTEMPTS_MAX {
            return report;
        }
        attempt += 1;
        context
            .monitor
            .note("the destination has lost some of what was backed up before: reading those files again");
    }
}
