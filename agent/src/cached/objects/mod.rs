//! Objects of a server on this computer's disk, so that what was read once is read from here.
//!
//! They are kept as the server holds them: sealed, named by their ids, checked when they are opened. So the cache can hold nothing that is
//! believed wrongly, only too little; it may be deleted at any time. It is a folder of segments (`segments`): each process appends to one of its own
//! and reads all, so any number share it without waiting for each other. Nothing is ever changed in place, which makes kill -9 harmless; when the cache
//! is full the oldest segment is deleted whole. What is read from the oldest quarter is written again, so what goes is what was not used for longest.
//!
//! Writing is done by a thread of its own (`writer`): what does not fit into its queue is not kept. Nothing is synced.

mod segments;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use backstore_platform::durable::read_at;
use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::SealedObject;
use backstore_protocol::wire::take_memory;
use bytes::BytesMut;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::record::{self, HEADER, RECORD_BYTES_MAX, Record};
use segments::{ENTRY_BYTES, Found, Listed, Segment, Segments, start_of};
use writer::{Job, Writer};

/// How large a cache may be, and how eager.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// Bytes of all its segments, at least [`CACHE_BYTES_MIN`]. Never more, however many processes share it; the locks have a few bytes besides.
    pub bytes_max: u64,
    /// Bytes of one of them.
    pub segment_bytes: u64,
    /// A segment is begun only where so many bytes of the disk stay free.
    pub free_bytes_min: u64,
    /// What other processes have added is looked for when something is missing, this often at most.
    pub refresh_every: Duration,
    /// How long nothing is tried after the disk has refused something.
    pub rest: Duration,
}

impl CacheOptions {
    /// A cache of a size.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            segment_bytes: (bytes_max / SEGMENTS).max(SEGMENT_BYTES_MIN),
            free_bytes_min: bytes_max / 4,
            refresh_every: Duration::from_millis(200),
            rest: Duration::from_secs(60),
        }
    }
}

/// The smallest cache: it has room for a segment of each process that can write, and one more.
pub const CACHE_BYTES_MIN: u64 = 64 << 20;
/// Segments of a full cache.
const SEGMENTS: u64 = 32;
/// A segment has room for the longest record.
const SEGMENT_BYTES_MIN: u64 = 6 << 20;
/// A segment is full when its records are shorter than this on average, so that the index in memory is bounded: 2 GiB take 5 MiB.
const RECORD_BYTES_MEAN: u64 = 9728;
const ENTRIES_MIN: u64 = 16;
/// Bytes that wait to be written.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Buffers that are kept for what is written next.
const FREE_MAX: usize = 8;
/// Larger records are read into memory that is used again.
const LARGE_BYTES: usize = 256 << 10;
/// How long the thread waits for work before it cleans up.
const IDLE: Duration = Duration::from_secs(60);
/// How long the end of a cache waits for what is still to be written.
const PARTING: Duration = Duration::from_secs(2);

/// An object cache, for any number of threads.
pub struct ObjectCache {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// What a cache has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounters {
    /// Objects that were there.
    pub found: u64,
    /// Objects that were not.
    pub missed: u64,
    /// Objects that were not kept because the disk was too slow.
    pub dropped: u64,
}

struct Shared {
    folder: PathBuf,
    options: CacheOptions,
    segments: Mutex<Segments>,
    refreshed: Mutex<Option<Instant>>,
    free: Mutex<Vec<Vec<u8>>>,
    queued_bytes: AtomicUsize,
    found: AtomicU64,
    missed: AtomicU64,
    dropped: AtomicU64,
}

impl ObjectCache {
    /// The cache in `folder`, made when something is put into it. What is there can be found when this returns.
    ///
    /// # Errors
    ///
    /// The thread cannot be started. A folder that cannot be used is an empty cache.
    pub fn open(folder: PathBuf, options: CacheOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            folder,
            options,
            segments: Mutex::default(),
            refreshed: Mutex::default(),
            free: Mutex::default(),
            queued_bytes: AtomicUsize::new(0),
            found: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        shared.refresh();
        let (jobs, waiting) = unbounded();
        let (living, ended) = bounded(0);
        let writer = Writer::new(Arc::clone(&shared));
        thread::Builder::new().name("cache".into()).spawn(move || {
            writer.run(&waiting);
            drop::<Sender<()>>(living);
        })?;
        Ok(Self { shared, jobs: Some(jobs), ended })
    }

    /// An object, if it is here and whole.
    pub fn get(&self, id: &ObjectId) -> Option<SealedObject> {
        let object = self.shared.get(id);
        let counter = if object.is_some() { &self.shared.found } else { &self.shared.missed };
        counter.fetch_add(1, Ordering::Relaxed);
        let (object, is_old) = object?;
        if is_old {
            self.put(&object);
        }
        Some(object)
    }

    /// Has an object written soon, unless too much is waiting for that.
    pub fn put(&self, object: &SealedObject) {
        let length = record::length_of(object);
        if length > RECORD_BYTES_MAX {
            return;
        }
        let before = self.shared.queued_bytes.fetch_add(length, Ordering::Relaxed);
        if before + length > QUEUE_BYTES_MAX {
            self.shared.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut bytes = lock(&self.shared.free).pop().unwrap_or_default();
        record::encode_into(object, &mut bytes);
        // The thread ends with the cache only, or by a fault that has been shown.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(Job::Append(bytes)));
    }

    /// What was kept under this id does not open: it is not there any more. Whether it was.
    pub fn forget(&self, id: &ObjectId) -> bool {
        lock(&self.shared.segments).forget(start_of(id))
    }

    /// Looks for what other processes have added, unless that was done just now; whether it did.
    pub fn refresh(&self) -> bool {
        let is_due = lock(&self.shared.refreshed)
            .is_none_or(|last| last.elapsed() >= self.shared.options.refresh_every);
        if is_due {
            self.shared.refresh();
        }
        is_due
    }

    /// Looks for what other processes have added.
    pub fn refresh_now(&self) {
        self.shared.refresh();
    }

    /// Waits until all that was put is written.
    pub fn flush(&self) {
        let (done, is_done) = bounded(0);
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(Job::Flush(done)));
        // Disconnected when it is its turn.
        let _ = is_done.recv();
    }

    /// What it has done so far.
    pub fn counters(&self) -> CacheCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { found, missed, dropped, .. } = &*self.shared;
        CacheCounters { found: of(found), missed: of(missed), dropped: of(dropped) }
    }

    /// Bytes of the segments in a folder.
    pub fn bytes_in(folder: &std::path::Path) -> u64 {
        Listed::of(folder).map_or(0, |listed| listed.0.values().map(segments::Sizes::sum).sum())
    }

    /// Deletes a cache, as far as the system lets it.
    pub fn remove(folder: &std::path::Path) {
        if folder.exists()
            && let Err(error) = fs::remove_dir_all(folder)
        {
            tracing::debug!(%error, folder = %folder.display(), "the cache stays");
        }
    }
}

impl Drop for ObjectCache {
    fn drop(&mut self) {
        self.jobs = None;
        // A disk that hangs must not keep the process from ending.
        let _ = self.ended.recv_timeout(PARTING);
    }
}

impl Shared {
    fn entries_max(&self) -> usize {
        (self.options.segment_bytes / RECORD_BYTES_MEAN).max(ENTRIES_MIN) as usize
    }

    fn is_old(&self, found: &Found) -> bool {
        found.age > self.options.bytes_max / 4 * 3
    }

    /// Whether an object is here and will be for a while.
    fn has(&self, id: &ObjectId) -> bool {
        let Some(found) = lock(&self.segments).find(&self.folder, start_of(id)) else { return false };
        let mut header = [0; HEADER];
        let is_it = read_exact(&found, &mut header).is_some()
            && Record::decode(&header).is_some_and(|record| record.id == *id);
        is_it && !self.is_old(&found)
    }

    /// An object, and whether it will be deleted soon.
    fn get(&self, id: &ObjectId) -> Option<(SealedObject, bool)> {
        let start = start_of(id);
        loop {
            let found = lock(&self.segments).find(&self.folder, start)?;
            match read(&found).filter(|object| object.id == *id) {
                Some(object) => return Some((object, self.is_old(&found))),
                // There may be an older one.
                None => lock(&self.segments).forget_one(&found, start),
            }
        }
    }

    fn give_back(&self, bytes: Vec<u8>) {
        self.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        let mut free = lock(&self.free);
        if free.len() < FREE_MAX {
            free.push(bytes);
        }
    }

    /// Takes over what is in the folder now. A folder that cannot be listed is empty.
    fn refresh(&self) {
        let mut refreshed = lock(&self.refreshed);
        let listed = Listed::of(&self.folder).unwrap_or_default();
        let known: HashMap<_, _> =
            lock(&self.segments).0.iter().map(|segment| (segment.name, segment.indexed)).collect();
        let mut news = Vec::new();
        for (name, sizes) in &listed.0 {
            let from = known.get(name).copied().unwrap_or_default();
            if from < sizes.index
                && let Ok((entries, to)) =
                    segments::read_index(&name.index(&self.folder), from, self.entries_max())
            {
                news.push((*name, from, entries, to));
            }
        }
        let mut segments = lock(&self.segments);
        segments.0.retain(|segment| listed.0.contains_key(&segment.name));
        for (name, from, entries, to) in news {
            if segments.get_mut(name).is_none() {
                segments.insert(Segment::new(name));
            }
            if let Some(segment) = segments.get_mut(name)
                && segment.indexed == from
            {
                segment.add(entries);
                segment.indexed = to;
            }
        }
        for segment in &mut segments.0 {
            if let Some(sizes) = listed.0.get(&segment.name) {
                segment.bytes = segment.bytes.max(sizes.sum());
            }
        }
        drop(segments);
        *refreshed = Some(Instant::now());
    }
}

fn read(found: &Found) -> Option<SealedObject> {
    let length = found.place.length as usize;
    let mut bytes = if length < LARGE_BYTES { BytesMut::with_capacity(length) } else { take_memory(length) };
    bytes.resize(length, 0);
    read_exact(found, &mut bytes)?;
    record::decode(bytes)
}

/// Fills `bytes` from the start of a record.
fn read_exact(found: &Found, bytes: &mut [u8]) -> Option<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let offset = u64::from(found.place.offset) + filled as u64;
        match read_at(&found.file, &mut bytes[filled..], offset).ok()? {
            0 => return None,
            count => filled += count,
        }
    }
    Some(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it protects is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const _: () = assert!(SEGMENT_BYTES_MIN > RECORD_BYTES_MAX as u64 + (16 + ENTRY_BYTES) as u64);
const _: () = assert!(CACHE_BYTES_MIN >= (segments::SLOTS as u64 + 1) * SEGMENT_BYTES_MIN);
