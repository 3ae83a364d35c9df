//! Which objects are being fetched, and in which order: one flight per object, however many wait for it.
//!
//! Requests that somebody waits for go first. What is fetched ahead is bounded in bytes and never takes the last fetcher.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use backstore_protocol::ids::ObjectId;

use super::{Opened, ReadError, Want};
use crate::sync::{lock, wait, wait_while};

/// Objects of one call of `Source::read`.
const BATCH_OBJECTS_MAX: usize = 256;
/// Bytes of the objects of one call, opened.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Why an object is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Somebody waits for it.
    Now,
    /// Its turn in a stream will come; the stream bounds itself.
    InTurn,
    /// It may be asked for.
    Perhaps,
}

/// One object on its way.
pub(super) struct Flight {
    pub(super) want: Want,
    /// Bytes it counts among those fetched ahead.
    ahead_bytes: usize,
    /// Whether it goes into the cache when it arrives.
    pub(super) keep: AtomicBool,
    /// A fetcher has it.
    taken: AtomicBool,
    /// Somebody waits for it.
    urgent: AtomicBool,
    /// It is fetched for the second time, because what came was wrong.
    again: AtomicBool,
    result: Mutex<Option<Result<Opened, ReadError>>>,
    arrived: Condvar,
}

impl Flight {
    /// What arrived; after `patience`, nothing.
    pub(super) fn wait(&self, patience: Duration) -> Option<Result<Opened, ReadError>> {
        wait_while(&self.arrived, lock(&self.result), patience, |result| result.is_none()).clone()
    }

    /// Whether somebody waits for it.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Relaxed)
    }

    /// What arrived, if it has.
    pub(super) fn result(&self) -> Option<Result<Opened, ReadError>> {
        lock(&self.result).clone()
    }
}

/// All flights of a reader.
pub(super) struct Flights {
    table: Mutex<Table>,
    work: Condvar,
    fetchers: usize,
    ahead_bytes_max: usize,
}

#[derive(Default)]
struct Table {
    flights: HashMap<ObjectId, Arc<Flight>>,
    now: VecDeque<Arc<Flight>>,
    later: VecDeque<Arc<Flight>>,
    ahead_bytes: usize,
    /// Fetchers that work for nobody who waits.
    fetching_later: usize,
    is_closed: bool,
}

/// Flights to be fetched by one call.
pub(super) struct Batch {
    pub(super) flights: Vec<Arc<Flight>>,
    is_later: bool,
}

impl Flights {
    pub(super) fn new(fetchers: usize, ahead_bytes_max: usize) -> Self {
        Self { table: Mutex::default(), work: Condvar::new(), fetchers, ahead_bytes_max }
    }

    /// The flight of `want`, begun if there is none. Nothing if it is only perhaps wanted and enough is on its way.
    /// `cached` is asked, while no flight can end unseen, whether the object has just arrived.
    pub(super) fn join(
        &self,
        want: Want,
        urgency: Urgency,
        cached: impl FnOnce() -> Option<Opened>,
    ) -> Joined {
        self.join_in(&mut lock(&self.table), want, urgency, cached)
    }

    /// Begins flights of all that are only perhaps wanted, so that they can go together; whether there was room for all.
    pub(super) fn join_all(
        &self,
        wants: impl IntoIterator<Item = Want>,
        mut cached: impl FnMut(&Want) -> Option<Opened>,
    ) -> bool {
        let mut table = lock(&self.table);
        wants.into_iter().all(|want| {
            let joined = self.join_in(&mut table, want, Urgency::Perhaps, || cached(&want));
            !matches!(joined, Joined::Refused)
        })
    }

    fn join_in(
        &self,
        table: &mut Table,
        want: Want,
        urgency: Urgency,
        cached: impl FnOnce() -> Option<Opened>,
    ) -> Joined {
        if let Some(flight) = table.flights.get(&want.id()).cloned() {
            if urgency != Urgency::InTurn {
                flight.keep.store(true, Ordering::Relaxed);
            }
            if urgency == Urgency::Now {
                self.move_forward(table, &flight);
            }
            return Joined::Flying(flight);
        }
        if let Some(opened) = cached() {
            return Joined::Here(opened);
        }
        let ahead_bytes = if urgency == Urgency::Perhaps { want.size() } else { 0 };
        if ahead_bytes > 0 && table.ahead_bytes + ahead_bytes > self.ahead_bytes_max {
            return Joined::Refused;
        }
        let flight = Arc::new(Flight {
            want,
            ahead_bytes,
            keep: AtomicBool::new(urgency != Urgency::InTurn),
            taken: AtomicBool::new(false),
            urgent: AtomicBool::new(urgency == Urgency::Now),
            again: AtomicBool::new(false),
            result: Mutex::new(None),
            arrived: Condvar::new(),
        });
        table.ahead_bytes += ahead_bytes;
        table.flights.insert(want.id(), Arc::clone(&flight));
        let queue = if urgency == Urgency::Now { &mut table.now } else { &mut table.later };
        queue.push_back(Arc::clone(&flight));
        self.work.notify_one();
        Joined::Flying(flight)
    }

    /// Somebody has begun to wait for this flight.
    pub(super) fn hurry(&self, flight: &Arc<Flight>) {
        if !flight.is_urgent() {
            self.move_forward(&mut lock(&self.table), flight);
        }
    }

    fn move_forward(&self, table: &mut Table, flight: &Arc<Flight>) {
        // Its old place in the queue stays, and is passed over once a fetcher has it.
        if !flight.urgent.swap(true, Ordering::Relaxed) && !flight.taken.load(Ordering::Relaxed) {
            table.now.push_back(Arc::clone(flight));
            self.work.notify_one();
        }
    }

    /// The next flights to fetch, waiting for some; nothing once closed.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut table = lock(&self.table);
        loop {
            if table.is_closed {
                return None;
            }
            let flights = fill(&mut table.now);
            if !flights.is_empty() {
                return Some(Batch { flights, is_later: false });
            }
            if table.fetching_later + 1 < self.fetchers.max(2) {
                let flights = fill(&mut table.later);
                if !flights.is_empty() {
                    table.fetching_later += 1;
                    return Some(Batch { flights, is_later: true });
                }
            }
            table = wait(&self.work, table);
        }
    }

    /// A fetcher has handed over all of a batch.
    pub(super) fn release(&self, batch: &Batch) {
        if batch.is_later {
            lock(&self.table).fetching_later -= 1;
            self.work.notify_one();
        }
    }

    /// Has a flight fetched once more; not if it was already.
    pub(super) fn again(&self, flight: &Arc<Flight>) -> bool {
        if flight.again.swap(true, Ordering::Relaxed) {
            return false;
        }
        let mut table = lock(&self.table);
        flight.taken.store(false, Ordering::Relaxed);
        table.now.push_back(Arc::clone(flight));
        self.work.notify_one();
        !table.is_closed
    }

    /// Ends a flight; what is to be kept is in the cache already.
    pub(super) fn land(&self, flight: &Arc<Flight>, result: Result<Opened, ReadError>) {
        self.forget(&mut lock(&self.table), flight);
        let mut slot = lock(&flight.result);
        if slot.is_none() {
            *slot = Some(result);
        }
        flight.arrived.notify_all();
    }

    /// Nobody waits any more: if nobody else wants it and no fetcher has it, it is not fetched.
    pub(super) fn give_up(&self, flight: &Arc<Flight>) {
        let mut table = lock(&self.table);
        let queued =
            |queue: &VecDeque<Arc<Flight>>| queue.iter().filter(|other| Arc::ptr_eq(other, flight)).count();
        // Each place in a queue, the table and the caller hold it.
        let known = queued(&table.now) + queued(&table.later) + 2;
        if !flight.taken.load(Ordering::Relaxed) && Arc::strong_count(flight) <= known {
            table.now.retain(|other| !Arc::ptr_eq(other, flight));
            table.later.retain(|other| !Arc::ptr_eq(other, flight));
            self.forget(&mut table, flight);
        }
    }

    fn forget(&self, table: &mut Table, flight: &Arc<Flight>) {
        let id = flight.want.id();
        if table.flights.get(&id).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            table.flights.remove(&id);
            table.ahead_bytes -= flight.ahead_bytes;
        }
    }

    /// No more batches are given out.
    pub(super) fn close(&self) {
        lock(&self.table).is_closed = true;
        self.work.notify_all();
    }

    /// Bytes that are on their way although nobody waits for them.
    pub(super) fn ahead_bytes(&self) -> usize {
        lock(&self.table).ahead_bytes
    }
}

/// What [`Flights::join`] found.
pub(super) enum Joined {
    /// It is on its way.
    Flying(Arc<Flight>),
    /// It has arrived.
    Here(Opened),
    /// Too much is on its way for something nobody waits for.
    Refused,
}

/// Takes flights that no fetcher has from the front of `queue`.
fn fill(queue: &mut VecDeque<Arc<Flight>>) -> Vec<Arc<Flight>> {
    let (mut flights, mut bytes) = (Vec::new(), 0);
    while flights.len() < BATCH_OBJECTS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(flight) = queue.pop_front() else { break };
        if !flight.taken.swap(true, Ordering::Relaxed) {
            bytes += flight.want.size();
            flights.push(flight);
        }
    }
    flights
}
