//! What the threads of a reader share and do: fetchers ask the destination, openers open what it gives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backstore_protocol::ids::ObjectId;
use backstore_protocol::keys::Keys;
use backstore_protocol::store::Source;

use super::buffers::Buffers;
use super::flight::{Flight, Flights, Joined, Urgency};
use super::open::{self, OpenQueue};
use super::{Opened, ReadError, ReaderCounters, ReaderOptions, Want};
use crate::cache::Cache;
use crate::sync::lock;

/// The inside of a reader.
pub(super) struct Shared {
    source: Arc<dyn Source>,
    keys: Keys,
    pub(super) deadline: Duration,
    pub(super) nodes_ahead_max: usize,
    nodes: Mutex<Cache<ObjectId, Opened>>,
    data: Mutex<Cache<ObjectId, Opened>>,
    buffers: Arc<Buffers>,
    pub(super) flights: Flights,
    pub(super) to_open: OpenQueue,
    reads: AtomicU64,
    objects: AtomicU64,
    sealed_bytes: AtomicU64,
    pub(super) waits: AtomicU64,
}

/// Sealed bytes that may wait to be opened.
const UNOPENED_BYTES_MAX: usize = 8 << 20;
/// Free memory that is kept for the next objects.
const FREE_BYTES_MAX: usize = 16 << 20;

impl Shared {
    pub(super) fn new(source: Arc<dyn Source>, keys: Keys, options: &ReaderOptions) -> Self {
        Self {
            source,
            keys,
            deadline: options.deadline,
            nodes_ahead_max: options.node_cache_bytes / 4 / open::NODE_BYTES_GUESSED,
            nodes: Mutex::new(Cache::new(options.node_cache_bytes)),
            data: Mutex::new(Cache::new(options.data_cache_bytes)),
            buffers: Buffers::new(FREE_BYTES_MAX),
            flights: Flights::new(options.reads_max.max(1), options.ahead_bytes_max),
            to_open: OpenQueue::new(UNOPENED_BYTES_MAX),
            reads: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            sealed_bytes: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        }
    }

    pub(super) fn counters(&self) -> ReaderCounters {
        ReaderCounters {
            reads: self.reads.load(Ordering::Relaxed),
            objects: self.objects.load(Ordering::Relaxed),
            sealed_bytes: self.sealed_bytes.load(Ordering::Relaxed),
            waits: self.waits.load(Ordering::Relaxed),
        }
    }

    pub(super) fn cached_bytes(&self) -> (usize, usize) {
        (lock(&self.nodes).bytes(), lock(&self.data).bytes())
    }

    /// The object, if it is in memory.
    pub(super) fn cached(&self, want: &Want) -> Option<Opened> {
        lock(self.cache(want)).get(&want.id())
    }

    fn cache(&self, want: &Want) -> &Mutex<Cache<ObjectId, Opened>> {
        match want {
            Want::Tree(_) | Want::Map(_) => &self.nodes,
            Want::Data(_) | Want::Body(_) => &self.data,
        }
    }

    /// Whether it is in memory; does not count as use.
    pub(super) fn has(&self, want: &Want) -> bool {
        lock(self.cache(want)).contains(&want.id())
    }

    /// The flight of `want`, or the object if it has just arrived.
    pub(super) fn join(&self, want: Want, urgency: Urgency) -> Joined {
        self.flights.join(want, urgency, || self.cached(&want))
    }

    /// Takes data out of the cache.
    pub(super) fn let_go(&self, id: &ObjectId) {
        lock(&self.data).remove(id);
    }

    /// Begins flights of what is only perhaps wanted and not in memory; whether there was room for all.
    pub(super) fn join_all(&self, wants: impl IntoIterator<Item = Want>) -> bool {
        let missing = wants.into_iter().filter(|want| !self.has(want));
        self.flights.join_all(missing, |want| self.cached(want))
    }

    /// Puts an object into its cache.
    pub(super) fn keep(&self, want: Want, opened: &Opened) {
        lock(self.cache(&want)).insert(want.id(), opened.clone(), opened.memory());
    }

    fn land(&self, flight: &Arc<Flight>, result: Result<Opened, ReadError>) {
        if let Ok(opened) = &result
            && flight.keep.load(Ordering::Relaxed)
        {
            self.keep(flight.want, opened);
        }
        self.flights.land(flight, result);
    }

    /// The life of a fetcher.
    pub(super) fn fetch(&self) {
        while let Some(batch) = self.flights.take() {
            self.fetch_batch(&batch.flights);
            self.flights.release(&batch);
        }
    }

    fn fetch_batch(&self, flights: &[Arc<Flight>]) {
        let ids: Vec<_> = flights.iter().map(|flight| flight.want.id()).collect();
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.objects.fetch_add(ids.len() as u64, Ordering::Relaxed);
        let mut answered = vec![false; ids.len()];
        let outcome = self.source.read(&ids, &mut |index, result| {
            let (Some(flight), Some(answered)) = (flights.get(index), answered.get_mut(index)) else {
                return;
            };
            if std::mem::replace(answered, true) {
                return;
            }
            match result {
                Ok(object) => {
                    self.sealed_bytes.fetch_add(object.size() as u64, Ordering::Relaxed);
                    self.to_open.push(Arc::clone(flight), object);
                }
                Err(failure) => self.land(flight, Err(ReadError::Failed { id: flight.want.id(), failure })),
            }
        });
        let failure = outcome.err().map(Arc::new);
        for (flight, _) in flights.iter().zip(answered).filter(|(_, answered)| !answered) {
            let withheld = ReadError::Withheld { id: flight.want.id() };
            self.land(flight, Err(failure.clone().map_or(withheld, ReadError::Source)));
        }
    }

    /// The life of an opener.
    pub(super) fn open(&self) {
        while let Some((flight, object)) = self.to_open.take() {
            let result = open::open(&self.keys, &self.buffers, flight.want, object);
            // A copy may be to blame that has been kept since the destination gave something wrong, or that somebody has changed.
            let is_wrong = result.as_ref().is_err_and(ReadError::is_of_the_object);
            if is_wrong && self.source.forget(&flight.want.id()) && self.flights.again(&flight) {
                continue;
            }
            self.land(&flight, result);
        }
    }
}
