//! The index of what became of files, made while a set is mounted.
//!
//! It is opened and fed by a thread of its own, so that neither the mount nor new versions wait for it. Until it knows a version, that is missing in
//! `history` and `deleted`.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use backstore_protocol::ids::LineageId;
use backstore_protocol::keys::Keys;
use backstore_vfs::history::{History, HistoryError};
use backstore_vfs::host::MountHandle;
use backstore_vfs::model::{Snapshots, Version};
use backstore_vfs::objects::{ObjectReader, ReaderOptions};

use super::background::Background;
use crate::archive::Archive;
use crate::home::Home;

/// Takes all versions of the set, whenever there are others.
pub(super) type Offer = Sender<Vec<Version>>;

/// Starts the thread for a set. It ends when nobody offers versions any more.
pub(super) fn start(
    home: &Home,
    archive: &Archive,
    model: &Arc<Snapshots>,
    handle: &Arc<MountHandle>,
    lineage: LineageId,
) -> io::Result<Offer> {
    let (offer, offered) = channel();
    let folder = home.history_path(&lineage.to_string());
    let keys = Arc::clone(&archive.keys);
    // Of its own: a first indexing would throw everything else out of the caches, and leave them full.
    let others = Arc::clone(&archive.reader);
    let calm = move || others.wait_for_calm(CALM_PATIENCE);
    let source = Background::new(Arc::clone(&archive.source), calm);
    let reader = ObjectReader::new(Arc::new(source), Keys::clone(&keys), &ReaderOptions::small())?;
    let (model, handle) = (Arc::clone(model), Arc::clone(handle));
    thread::Builder::new().name("history".into()).spawn(move || {
        let shown = Shown { lineage, model, handle };
        match run(&folder, &keys, &reader, &shown, &offered) {
            Ok(()) => {}
            Err(error @ HistoryError::InUse) => {
                tracing::warn!(%error, "this mount has no `history` and `deleted`");
            }
            Err(error) => tracing::warn!(%error, "`history` and `deleted` stay as they are"),
        }
    })?;
    Ok(offer)
}

/// Where the index is shown.
struct Shown {
    lineage: LineageId,
    model: Arc<Snapshots>,
    handle: Arc<MountHandle>,
}

/// How long each step of an indexing waits for those who read.
const CALM_PATIENCE: Duration = Duration::from_secs(1);

/// How long nobody may list or read before indexing begins, and how long that is waited for.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_PATIENCE: Duration = Duration::from_secs(3);

/// Whoever has just mounted looks around first, and should not have to share the processors with a first indexing.
fn wait_for_quiet(handle: &MountHandle) {
    let work = || {
        let requests = handle.requests();
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

fn run(
    folder: &Path,
    keys: &Keys,
    reader: &Arc<ObjectReader>,
    shown: &Shown,
    offered: &Receiver<Vec<Version>>,
) -> Result<(), HistoryError> {
    let history = Arc::new(History::open(folder, keys)?);
    shown.model.set_history_of(shown.lineage, Arc::clone(&history));
    shown.handle.made_up_changed();
    for versions in offered {
        wait_for_quiet(&shown.handle);
        let versions = offered.try_iter().last().unwrap_or(versions);
        let started = Instant::now();
        match history.feed(reader, &versions, || true) {
            Ok(0) => {}
            Ok(count) => {
                let seconds = started.elapsed().as_secs_f64();
                tracing::info!(versions = count, seconds, "what became of files is indexed");
                shown.handle.made_up_changed();
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
