//! The folder of one backup set: its versions, and what is known of their past.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use backstore_protocol::entry::Time;
use backstore_protocol::ids::LineageId;

use super::found::Searches;
use super::version::{NamedVersion, VersionList, time_of};
use super::views::View;
use super::{BackupSet, Problem};
use crate::history::History;
use crate::objects::Wait;
use crate::sync::{lock, read, write};

/// Makes the versions of a set known, by [`Snapshots::set_versions_of`](super::Snapshots::set_versions_of), when somebody looks for them first. It is called by threads that may wait.
pub type OpenSet = Arc<dyn Fn(LineageId) -> Result<(), OpenSetError> + Send + Sync>;

/// Why the versions of a set could not be made known.
pub type OpenSetError = Arc<dyn std::error::Error + Send + Sync>;

/// What one set shows.
pub(super) struct Folder {
    /// Where it is, from the mount's own folder on; that one's path is empty.
    pub(super) path: Vec<u8>,
    pub(super) set: BackupSet,
    pub(super) searches: Searches,
    versions: RwLock<Arc<VersionList>>,
    history: RwLock<Option<Arc<History>>>,
    /// Makes the versions known, if they are not given unasked.
    open: Option<OpenSet>,
    is_open: AtomicBool,
    /// Held by whoever makes them known.
    opening: Mutex<()>,
}

impl Folder {
    /// A folder without versions: `open` makes them known.
    pub(super) fn new(path: Vec<u8>, set: BackupSet, open: Option<OpenSet>) -> Arc<Self> {
        let is_open = AtomicBool::new(open.is_none());
        let (versions, history, opening) = Default::default();
        Arc::new(Self { path, set, searches: Searches::new(), versions, history, open, is_open, opening })
    }

    /// Whether it is the mount's own.
    pub(super) const fn is_top(&self) -> bool {
        self.path.is_empty()
    }

    /// The path of a made-up directory in it.
    pub(super) fn path_of(&self, view: &View) -> Vec<u8> {
        let below = view.path();
        let separator: &[u8] = if self.path.is_empty() || below.is_empty() { b"" } else { b"/" };
        [&self.path, separator, &below].concat()
    }

    /// Makes its versions known. Whoever comes meanwhile waits for that too; after a failure the next one tries again.
    pub(super) fn open(&self, wait: Wait) -> Result<(), Problem> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        if wait == Wait::Not {
            return Err(Problem::NotInMemory);
        }
        let _opening = lock(&self.opening);
        if let Some(open) = self.open.as_ref().filter(|_| !self.is_open.load(Ordering::Acquire)) {
            open(self.set.lineage).map_err(Problem::SetUnreadable)?;
            self.is_open.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn versions(&self) -> Arc<VersionList> {
        Arc::clone(&read(&self.versions))
    }

    /// Shows these from now on. Gives names that mean something else now, or nothing.
    pub(super) fn set_versions(&self, newer: VersionList) -> Vec<String> {
        let newer = Arc::new(newer);
        let old = std::mem::replace(&mut *write(&self.versions), Arc::clone(&newer));
        old.names_changed_in(&newer)
    }

    pub(super) fn history(&self) -> Option<Arc<History>> {
        read(&self.history).clone()
    }

    pub(super) fn set_history(&self, history: Arc<History>) {
        *write(&self.history) = Some(history);
    }

    /// When what is made up in it changed last.
    pub(super) fn time(&self) -> Time {
        let newest = |named: &Arc<NamedVersion>| named.version.time();
        self.versions().newest_first.first().map_or_else(|| time_of(self.set.newest_at), newest)
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("set", &self.set).finish_non_exhaustive()
    }
}
