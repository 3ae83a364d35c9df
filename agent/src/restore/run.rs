//! What all threads of a restore share: plan, figures, problems, and whether it is to end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backstore_platform::create::{LeftOut, LeftOutCounts};
use backstore_platform::metadata::PrincipalIds;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::objects::{ReadError, Recovery};

use super::{RestoreContext, RestorePlan};

/// Whoever wants to know how a restore goes. Called from several threads.
pub trait Monitor: Send + Sync {
    /// A file was not restored whole.
    fn problem(&self, path: &str, what: &str);
    /// Something the user should know that is no fault of a file.
    fn note(&self, text: &str);
}

/// Figures that grow while a restore runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files restored.
    pub files: AtomicU64,
    /// Bytes written.
    pub bytes: AtomicU64,
    /// Problems so far.
    pub errors: AtomicU64,
}

/// Why a restore ended before everything was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The user wanted it to.
    Interrupted,
    /// The target is full or cannot be written, or the destination does not answer: every other file would fail too.
    Stopped,
}

/// What a restore did; of a preview, what it would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreReport {
    /// Regular files.
    pub files: u64,
    /// Directories made or given their metadata.
    pub directories: u64,
    /// Links, pipes, sockets and devices.
    pub others: u64,
    /// Bytes of those files, holes included.
    pub bytes: u64,
    /// What was there already as archived.
    pub present: u64,
    /// What was kept as it is because it was there.
    pub skipped: u64,
    /// What was restored under a name with the version's date.
    pub renamed: u64,
    /// What took the place of something else.
    pub replaced: u64,
    /// Hard links that became files of their own.
    pub unlinked: u64,
    /// Metadata left out.
    pub left_out: LeftOutCounts,
    /// What could not be restored whole.
    pub errors: u64,
    /// Why it ended early.
    pub ended: Option<Ended>,
    /// Milliseconds it took.
    pub milliseconds: u64,
}

impl RestoreReport {
    /// Adds the counts of a thread.
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.others += other.others;
        self.bytes += other.bytes;
        self.present += other.present;
        self.skipped += other.skipped;
        self.renamed += other.renamed;
        self.replaced += other.replaced;
        self.unlinked += other.unlinked;
        self.left_out.add_all(&other.left_out);
        self.errors += other.errors;
    }

    /// Counts what a file did not get.
    pub(super) fn leave_out(&mut self, left_out: &[LeftOut]) {
        left_out.iter().for_each(|one| self.left_out.add(one));
    }
}

/// One restore.
pub(super) struct Run<'a> {
    pub(super) plan: &'a RestorePlan,
    pub(super) context: &'a RestoreContext<'a>,
    report: Mutex<RestoreReport>,
    is_stopped: AtomicBool,
    /// Of directories; threads that write files have their own.
    ids: Mutex<PrincipalIds>,
}

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a RestorePlan, context: &'a RestoreContext<'a>) -> Self {
        Self {
            plan,
            context,
            report: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            ids: Mutex::default(),
        }
    }

    /// Whether nothing new is to be begun.
    pub(super) fn is_ending(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed) || (self.context.is_interrupted)()
    }

    /// Changes the report.
    pub(super) fn count(&self, change: impl FnOnce(&mut RestoreReport)) {
        change(&mut lock(&self.report));
    }

    /// Adds what a thread has done.
    pub(super) fn add(&self, done: &RestoreReport) {
        lock(&self.report).add(done);
        self.context.progress.files.fetch_add(done.files, Ordering::Relaxed);
    }

    pub(super) fn ids(&self) -> MutexGuard<'_, PrincipalIds> {
        lock(&self.ids)
    }

    /// Something was not restored whole.
    pub(super) fn problem(&self, path: &ArchivePath, what: &str) {
        self.count(|report| report.errors += 1);
        self.context.progress.errors.fetch_add(1, Ordering::Relaxed);
        if !self.is_ending() {
            self.context.monitor.problem(&path.to_string(), what);
        }
    }

    /// Something could not be made. If nothing else can either, that is said once and everything ends.
    pub(super) fn failed(&self, path: &ArchivePath, action: &str, error: &io::Error) {
        if let Some(why) = stops(error) {
            self.stop(
                path,
                &format!(
                    "{why}: the restore ends here; when that is mended, the same command goes on where it was"
                ),
            );
        } else {
            self.problem(path, &format!("{action}: {error}"));
        }
    }

    /// Something of the archive could not be read.
    pub(super) fn unread(&self, path: &ArchivePath, what: &str, error: &ReadError) {
        match error.recovery() {
            Recovery::Stop => {
                self.stop(
                    path,
                    &format!("{}: the restore ends here; the same command goes on where it was", said(error)),
                );
            }
            Recovery::SkipIt | Recovery::Wait => self.problem(path, &format!("{what}{}", said(error))),
        }
    }

    fn stop(&self, path: &ArchivePath, what: &str) {
        let was_stopped = self.is_stopped.swap(true, Ordering::Relaxed);
        self.count(|report| report.errors += 1);
        if !was_stopped {
            self.context.monitor.problem(&path.to_string(), what);
        }
    }

    pub(super) fn into_report(self, took: Duration) -> RestoreReport {
        let mut report = self.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.milliseconds = took.as_millis() as u64;
        if self.is_stopped.into_inner() {
            report.ended = Some(Ended::Stopped);
        } else if (self.context.is_interrupted)() {
            report.ended = Some(Ended::Interrupted);
        }
        report
    }
}

/// Errors of the target that every other file would meet as well.
fn stops(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull => Some("the target is full"),
        io::ErrorKind::QuotaExceeded => Some("the quota of the target is used up"),
        io::ErrorKind::ReadOnlyFilesystem => Some("the target is read-only"),
        _ => None,
    }
}

/// An error with its cause.
fn said(error: &ReadError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
