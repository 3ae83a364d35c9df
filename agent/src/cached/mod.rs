//! What a server holds, kept on this computer as well: for a backup the nodes of the tree it starts from ([`CachedDestination`]), for whoever reads
//! versions all that was read ([`CachedSource`]).
//!
//! What is kept is what the destination holds: sealed objects, named by their ids and checked when they are opened. So the cache can hold
//! nothing wrong, only too little; it may be deleted at any time. The file of a backup's nodes is used by the process that holds its lock; others ask the destination.

mod file;
mod objects;
mod record;
mod source;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backstore_protocol::ids::{LineageId, ObjectId, SnapshotId};
use backstore_protocol::object::{ObjectKind, SealedObject};
use backstore_protocol::store::{
    Committed, Destination, LineageInfo, Opened, ReadFailure, Session, SessionRequest, Source, StoreError,
    StoredSnapshot,
};
use bytes::Bytes;

pub use objects::{CACHE_BYTES_MIN, CacheCounters, CacheOptions, ObjectCache};
pub use source::{CachedSource, Keep};

use file::CacheFile;

/// A destination and the nodes of it that are here.
pub struct CachedDestination {
    inner: Arc<dyn Destination>,
    cache: Arc<Mutex<CacheFile>>,
}

impl CachedDestination {
    /// Puts the cache in `path` before `inner`. Nothing if another process uses the cache or the disk does not take it: then there is none.
    pub fn new(inner: Arc<dyn Destination>, path: &Path) -> Option<Self> {
        let cache = CacheFile::open(path).ok()?;
        Some(Self { inner, cache: Arc::new(Mutex::new(cache)) })
    }

    /// Drops what was not used since it was opened, if that is most of the cache.
    pub fn tidy(&self) {
        lock(&self.cache).tidy();
    }
}

impl Source for CachedDestination {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        self.inner.lineages()
    }

    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError> {
        self.inner.snapshots(lineage, before, count)
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        let mut asked = Vec::new();
        let mut places = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            let here = lock(&self.cache).get(id);
            match here {
                Some(object) => each(place, Ok(object)),
                None => {
                    asked.push(*id);
                    places.push(place);
                }
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        self.inner.read(&asked, &mut |at, found| {
            if let Ok(object) = &found
                && is_kept(object)
            {
                lock(&self.cache).add(object);
            }
            each(places[at], found);
        })
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        self.inner.account_log(from)
    }

    fn forget(&self, id: &ObjectId) -> bool {
        let was_here = lock(&self.cache).forget(id);
        self.inner.forget(id) || was_here
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        self.inner.watch(seen, patience)
    }
}

impl Destination for CachedDestination {
    fn open_session(&self, request: &SessionRequest) -> Result<Box<dyn Session>, StoreError> {
        let session = self.inner.open_session(request)?;
        // What the destination has lost must not seem to be there.
        let mut cache = lock(&self.cache);
        session.opened().damaged.iter().for_each(|id| {
            cache.forget(id);
        });
        Ok(Box::new(CachedSession { inner: session, cache: Arc::clone(&self.cache) }))
    }
}

struct CachedSession {
    inner: Box<dyn Session>,
    cache: Arc<Mutex<CacheFile>>,
}

impl Session for CachedSession {
    fn opened(&self) -> &Opened {
        self.inner.opened()
    }

    fn have(&self, ids: &[ObjectId]) -> Result<Vec<bool>, StoreError> {
        self.inner.have(ids)
    }

    fn put(&self, batch: Vec<SealedObject>) -> Result<(), StoreError> {
        let nodes: Vec<_> = batch.iter().filter(|object| is_kept(object)).cloned().collect();
        self.inner.put(batch)?;
        let mut cache = lock(&self.cache);
        nodes.iter().for_each(|node| cache.add(node));
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }

    fn commit(&self, header: &[u8]) -> Result<Committed, StoreError> {
        self.inner.commit(header)
    }

    fn touch(&self, head: SnapshotId) -> Result<Committed, StoreError> {
        self.inner.touch(head)
    }
}

/// Nodes and bodies are what a backup reads.
fn is_kept(object: &SealedObject) -> bool {
    match object.kind {
        ObjectKind::Tree | ObjectKind::Map | ObjectKind::Body => true,
        ObjectKind::Data => false,
    }
}

fn lock(cache: &Mutex<CacheFile>) -> MutexGuard<'_, CacheFile> {
    // A panic while it was held can at worst have lost a record.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
