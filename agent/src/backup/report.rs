//! What a backup tells while it runs, and in the end.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use backstore_protocol::ids::SnapshotId;
use backstore_protocol::limits::{BODY_ERRORS_MAX, KEY_BYTES_MAX};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::snapshot::{Changes, FileError, Totals};

use super::tally::Tally;

/// Whoever wants to know how a backup goes. Called from one thread.
pub trait Monitor: Send + Sync {
    /// A file was not stored as it should be.
    fn problem(&self, path: &str, what: &str);
    /// Something the user should know that is no fault of a file.
    fn note(&self, text: &str);
}

/// Figures that grow while a backup runs; read by whoever shows progress.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files looked at.
    pub files: AtomicU64,
    /// Directories looked at.
    pub directories: AtomicU64,
    /// Sizes of all files looked at.
    pub bytes: AtomicU64,
    /// Bytes read from files.
    pub bytes_read: AtomicU64,
    /// Plain bytes of objects that were not there yet.
    pub bytes_new: AtomicU64,
    /// Sealed bytes sent, nodes included.
    pub bytes_stored: AtomicU64,
    /// Problems so far.
    pub errors: AtomicU64,
}

impl Progress {
    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// What was counted, with what was sent.
    pub(super) fn with_sent(&self, tally: &Tally) -> Changes {
        tally.changes(self.bytes_new.load(Ordering::Relaxed), self.bytes_stored.load(Ordering::Relaxed))
    }
}

/// Collects problems: all are told and counted, the first are kept for the snapshot's body.
pub(super) struct Events<'a> {
    monitor: &'a dyn Monitor,
    progress: &'a Progress,
    kept: Mutex<Vec<FileError>>,
}

impl<'a> Events<'a> {
    pub(super) fn new(monitor: &'a dyn Monitor, progress: &'a Progress) -> Self {
        Self { monitor, progress, kept: Mutex::default() }
    }

    pub(super) fn progress(&self) -> &Progress {
        self.progress
    }

    /// Something is wrong with the file of this key.
    pub(super) fn problem(&self, key: &[u8], what: &str) {
        Progress::add(&self.progress.errors, 1);
        let path = ArchivePath::from_key(key)
            .map_or_else(|_| String::from_utf8_lossy(key).into(), |path| path.to_string());
        self.monitor.problem(&path, what);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = kept.iter().map(|error| error.key.len() + error.what.len()).sum();
        if kept.len() < BODY_ERRORS_MAX && bytes < KEPT_BYTES_MAX {
            let key = key[..key.len().min(KEY_BYTES_MAX)].to_vec();
            kept.push(FileError { key, what: what.chars().take(500).collect() });
        }
    }

    pub(super) fn note(&self, text: &str) {
        self.monitor.note(text);
    }

    /// The problems for the body, and how many there were in all.
    pub(super) fn kept(&self) -> (Vec<FileError>, u64) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (kept, self.progress.errors.load(Ordering::Relaxed))
    }
}

/// Bytes of problems kept: a part of what a body may have.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The snapshot that now is the newest.
    pub snapshot: SnapshotId,
    /// Nothing had changed: the snapshot is that of before, confirmed.
    pub is_unchanged: bool,
    /// It is partial: the run was ended early.
    pub is_partial: bool,
    /// When its scan began, in nanoseconds since 1970.
    pub scan_started_ns: i64,
    /// What is in the snapshot.
    pub totals: Totals,
    /// Entries of its tree; of a dry run what was found.
    pub entries: u64,
    /// How it differs from the snapshot before; without a tree to compare, of a dry run, by sizes and stamps.
    pub changes: Changes,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Milliseconds it took.
    pub milliseconds: u64,
}
