//! The index of what became of files, as commands use it; a mount shows the same.

use std::sync::atomic::{AtomicU64, Ordering};

use backstore_protocol::keys::Keys;
use backstore_vfs::history::History;
use backstore_vfs::objects::ReadError;
use tempfile::TempDir;

use super::{ReadingError, VersionInfo, Versions};
use crate::home::Home;

/// How far taking versions into the index has come.
#[derive(Debug, Default)]
pub struct IndexProgress {
    /// Versions that are to be taken into it.
    pub versions: AtomicU64,
    /// Those that have been begun.
    pub begun: AtomicU64,
}

/// The index of a set, and the versions that it is of.
pub(super) struct Indexed {
    pub(super) history: History,
    /// Where it is, if only for now; goes after it.
    _passing: Option<TempDir>,
    /// The complete ones that it knows, oldest first.
    versions: Vec<VersionInfo>,
}

impl Indexed {
    /// With all of these versions, newest first: what it does not know yet is read from the archive now. Also gives what could not be read.
    pub(super) fn up_to_date(
        versions: &Versions<'_>,
        home: &Home,
        all: &[VersionInfo],
        progress: &IndexProgress,
    ) -> Result<(Self, Vec<ReadError>), ReadingError> {
        let archive = versions.archive;
        let folder = home.history_path(&versions.lineage.info.lineage.to_string());
        let (history, passing) = match History::open(&folder, &archive.keys) {
            Ok(history) => (history, None),
            Err(error) => open_passing(&archive.keys).ok_or(error)?,
        };
        let zone = versions.zone.name();
        let models: Vec<_> = all.iter().map(|version| versions.model(version, zone)).collect();
        let known = history.indexed_to();
        let new = models.iter().filter(|version| !version.is_partial && Some(version.sequence) > known);
        progress.versions.store(new.count() as u64, Ordering::Relaxed);
        let fed = history.feed(&archive.reader, &models, || {
            progress.begun.fetch_add(1, Ordering::Relaxed);
            true
        })?;
        Ok((Self::of(history, passing, all), fed.unreadable))
    }

    /// As it is on this computer's disk, without reading from the archive; nothing if it is of no use.
    pub(super) fn as_it_is(versions: &Versions<'_>, home: &Home, all: &[VersionInfo]) -> Option<Self> {
        let folder = home.history_path(&versions.lineage.info.lineage.to_string());
        let history = History::open_made(&folder, &versions.archive.keys)?;
        let newest = history.indexed_snapshot()?;
        all.iter().any(|version| version.id == newest).then(|| Self::of(history, None, all))
    }

    fn of(history: History, passing: Option<TempDir>, all: &[VersionInfo]) -> Self {
        let known = history.indexed_to();
        let is_known = |version: &&VersionInfo| !version.is_partial && Some(version.sequence) <= known;
        let versions = all.iter().rev().filter(is_known).cloned().collect();
        Self { history, _passing: passing, versions }
    }

    /// Whether it knows a version.
    pub(super) fn knows(&self, version: &VersionInfo) -> bool {
        self.versions.binary_search_by_key(&version.sequence, |known| known.sequence).is_ok()
    }

    /// The newest version from a sequence on and before another.
    pub(super) fn newest_within(&self, from: u64, end: u64) -> Option<&VersionInfo> {
        let before_end = self.versions.partition_point(|version| version.sequence < end);
        self.versions[..before_end].last().filter(|version| version.sequence >= from)
    }
}

/// An index for this command alone, where its own place cannot be used or others have it.
fn open_passing(keys: &Keys) -> Option<(History, Option<TempDir>)> {
    let folder = TempDir::new().ok()?;
    let history = History::open(folder.path(), keys).ok()?;
    Some((history, Some(folder)))
}
