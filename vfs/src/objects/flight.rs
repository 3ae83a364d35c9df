//! Which objects are being fetched, and in which order: one flight per object, however many wait for it.
//!
//! Requests that somebody waits for go first. What is fetched ahead is bounded in bytes and never takes the last fetcher; while a call for somebody
//! who waits is under way, only one call is begun besides it for nobody, so that the two do not share the way with many.

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
    calm: Condvar,
    fetchers: usize,
    ahead_bytes_max: usize,
}

#[derive(Default)]
struct Table {
    flights: HashMap<ObjectId, Arc<Flight>>,
    now: VecDeque<Arc<Flight>>,
    later: VecDeque<Arc<Flight>>,
    ahead_bytes: usize,
    /// Fetchers that work for somebody who waits.
    fetching_now: usize,
    /// Fetchers that do not.
    fetching_later: usize,
    is_closed: bool,
}

impl Table {
    /// What one of `fetchers` is to fetch next.
    fn next(&mut self, fetchers: usize) -> Option<Batch> {
        let flights = fill(&mut self.now);
        if !flights.is_empty() {
            self.fetching_now += 1;
            return Some(Batch { flights, is_later: false });
        }
        let later_max = if self.fetching_now > 0 { 1 } else { fetchers.max(2) - 1 };
        if self.fetching_later >= later_max {
            return None;
        }
        let flights = fill(&mut self.later);
        if flights.is_empty() {
            return None;
        }
        self.fetching_later += 1;
        Some(Batch { flights, is_later: true })
    }
}

/// Flights to be fetched by one call.
pub(super) struct Batch {
    pub(super) flights: Vec<Arc<Flight>>,
    is_later: bool,
}

impl Flights {
    pub(super) fn new(fetchers: usize, ahead_bytes_max: usize) -> Self {
        Self {
            table: Mutex::default(),
            work: Condvar::new(),
            calm: Condvar::new(),
            fetchers,
            ahead_bytes_max,
        }
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
            if let Some(batch) = table.next(self.fetchers) {
                return Some(batch);
            }
            table = wait(&self.work, table);
        }
    }

    /// A fetcher has handed over all of a batch.
    pub(super) fn release(&self, batch: &Batch) {
        let mut table = lock(&self.table);
        *(if batch.is_later { &mut table.fetching_later } else { &mut table.fetching_now }) -= 1;
        drop(table);
        self.work.notify_one();
    }

    /// Waits until nothing is on its way, for `patience` at most.
    pub(super) fn wait_for_calm(&self, patience: Duration) {
        let is_busy = |table: &mut Table| !table.flights.is_empty() && !table.is_closed;
        drop(wait_while(&self.calm, lock(&self.table), patience, is_busy));
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

    /// What was only perhaps wanted is not wanted any more: it is not fetched, unless a fetcher has it already or somebody waits for it.
    pub(super) fn call_off(&self, ids: impl IntoIterator<Item = ObjectId>) {
        for id in ids {
            let flight = lock(&self.table).flights.get(&id).cloned();
            if let Some(flight) = flight.filter(|flight| flight.ahead_bytes > 0 && !flight.is_urgent()) {
                self.give_up(&flight);
            }
        }
    }

    fn forget(&self, table: &mut Table, flight: &Arc<Flight>) {
        let id = flight.want.id();
        if table.flights.get(&id).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            table.flights.remove(&id);
            table.ahead_bytes -= flight.ahead_bytes;
            if table.flights.is_empty() {
                self.calm.notify_all();
            }
        }
    }

    /// No more batches are given out.
    pub(super) fn close(&self) {
        lock(&self.table).is_closed = true;
        self.work.notify_all();
        self.calm.notify_all();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> impl Iterator<Item = Want> {
        (1..).map(|number| Want::Tree(ObjectId::from_bytes([number; 32])))
    }

    /// Fills a queue with more than three calls can take.
    fn begin_many(flights: &Flights, urgency: Urgency, wants: &mut impl Iterator<Item = Want>) {
        for number in 0..40_u8 {
            let object = backstore_protocol::entry::ObjectRef {
                id: wants.next().expect("endless").id(),
                length: (1 << 20) + u32::from(number),
            };
            flights.join(Want::Data(object), urgency, || None);
        }
    }

    /// What is under way for nobody shares the way to the destination with what somebody waits for.
    #[test]
    fn while_somebody_waits_one_call_is_made_for_nobody() {
        for urgency in [Urgency::InTurn, Urgency::Perhaps] {
            let flights = Flights::new(4, usize::MAX);
            let mut wants = ids();
            flights.join(wants.next().expect("endless"), Urgency::Now, || None);
            begin_many(&flights, urgency, &mut wants);
            let next = || lock(&flights.table).next(4);
            let waited_for = next().expect("the first");
            assert!(!waited_for.is_later);
            assert!(next().is_some_and(|batch| batch.is_later));
            assert!(next().is_none(), "a second call for nobody");
            // Another demand goes at once all the same.
            flights.join(wants.next().expect("endless"), Urgency::Now, || None);
            let other = next().expect("the second demand");
            assert!(!other.is_later);
            flights.release(&waited_for);
            assert!(next().is_none());
            flights.release(&other);
            assert!(next().is_some() && next().is_some(), "nobody waits: all but one fetcher");
            assert!(next().is_none(), "the last is for who comes");
        }
    }

    #[test]
    fn it_is_calm_when_everything_has_come() {
        let flights = Flights::new(4, usize::MAX);
        let is_calm = || {
            flights.wait_for_calm(Duration::ZERO);
            lock(&flights.table).flights.is_empty()
        };
        assert!(is_calm());
        let Joined::Flying(flight) = flights.join(ids().next().expect("endless"), Urgency::Perhaps, || None)
        else {
            panic!("it is not there")
        };
        assert!(!is_calm());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| flights.wait_for_calm(Duration::MAX));
            flights.land(&flight, Err(ReadError::NotInMemory));
            waiting.join().expect("it ends");
        });
        assert!(is_calm());
    }
}
