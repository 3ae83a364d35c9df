//! The index of what became of files, made while a set is mounted.
//!
//! It is opened and fed by a thread of its own, so that neither the mount nor new versions wait for it. Until it knows a version, that is missing in
//! `history` and `deleted`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use backstore_platform::process::give_memory_back;
use backstore_protocol::ids::LineageId;
use backstore_protocol::keys::Keys;
use backstore_protocol::store::Source;
use backstore_vfs::history::{Fed, History, HistoryError};
use backstore_vfs::model::{Snapshots, Version};
use backstore_vfs::objects::{ObjectReader, ReaderOptions};

use super::background::Background;
use super::front::Front;
use crate::archive::Archive;
use crate::home::Home;

/// Takes all versions of the set, whenever there are others.
pub(super) type Offer = Sender<Vec<Version>>;

/// Starts the thread for a set. It ends when nobody offers versions any more.
pub(super) fn start(
    home: &Home,
    archive: &Archive,
    model: &Arc<Snapshots>,
    front: &Arc<Front>,
    lineage: LineageId,
) -> io::Result<Offer> {
    let (offer, offered) = channel();
    let folder = home.history_path(&lineage.to_string());
    let others = Arc::clone(&archive.reader);
    let calm = move || others.wait_for_calm(CALM_PATIENCE);
    let source = Arc::new(Background::new(Arc::clone(&archive.source), calm));
    let keys = Arc::clone(&archive.keys);
    let (model, front) = (Arc::clone(model), Arc::clone(front));
    thread::Builder::new().name("history".into()).spawn(move || {
        let indexing = Indexing { folder, source, keys, lineage, model, front };
        match indexing.run(&offered) {
            Ok(()) => {}
            Err(error @ HistoryError::InUse) => {
                tracing::warn!(%error, "this mount has no `history` and `deleted`");
            }
            Err(error) => tracing::warn!(%error, "`history` and `deleted` stay as they are"),
        }
    })?;
    Ok(offer)
}

/// What an index is made from, and where it is shown.
struct Indexing {
    folder: PathBuf,
    source: Arc<dyn Source>,
    keys: Arc<Keys>,
    lineage: LineageId,
    model: Arc<Snapshots>,
    front: Arc<Front>,
}

/// How long each step of an indexing waits for those who read.
const CALM_PATIENCE: Duration = Duration::from_secs(1);

/// How long nobody may list or read before indexing begins, and how long that is waited for.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_PATIENCE: Duration = Duration::from_secs(3);

/// Whoever has just mounted looks around first, and should not have to share the processors with a first indexing.
fn wait_for_quiet(front: &Front) {
    let work = || {
        let requests = front.requests();
        requests.listings + requests.reads
    };
    let started = Instant::now();
    let mut before = work();
    while started.elapsed() < QUIET_PATIENCE {
        thread::sleep(QUIET);
        let now = work();
        if now == before {
            return;
        }
        before = now;
    }
}

impl Indexing {
    fn run(&self, offered: &Receiver<Vec<Version>>) -> Result<(), HistoryError> {
        let history = Arc::new(History::open(&self.folder, &self.keys)?);
        self.model.set_history_of(self.lineage, Arc::clone(&history));
        self.front.made_up_changed();
        for versions in offered {
            wait_for_quiet(&self.front);
            let versions = offered.try_iter().last().unwrap_or(versions);
            let started = Instant::now();
            match self.feed(&history, &versions) {
                Ok(Fed { versions, unreadable }) => {
                    for error in unreadable {
                        tracing::warn!(%error, "a part of a version cannot be read, and counts as gone in `history` and `deleted`");
                    }
                    if versions > 0 {
                        let seconds = started.elapsed().as_secs_f64();
                        tracing::info!(versions, seconds, "what became of files is indexed");
                        self.front.made_up_changed();
                    }
                }
                // With the next versions it is tried again.
                Err(HistoryError::Read(error)) => {
                    tracing::warn!(%error, "a version could not be read to be indexed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads with caches of its own, for as long as it takes: a first indexing would throw everything else out of those of the mount.
    fn feed(&self, history: &History, versions: &[Version]) -> Result<Fed, HistoryError> {
        let keys = Keys::clone(&self.keys);
        let reader = ObjectReader::new(Arc::clone(&self.source), keys, &ReaderOptions::small());
        let reader = reader.map_err(|error| HistoryError::Unusable {
            folder: self.folder.clone(),
            detail: format!("threads cannot be started: {error}"),
        })?;
        let fed = history.feed(&reader, versions, || true);
        drop(reader);
        give_memory_back();
        fed
    }
}
