//! Opened objects of a destination: what everything that reads an archive is built on.
//!
//! [`ObjectReader`] gives tree nodes, map nodes and data by id. An object is fetched once however many ask for it, many that are
//! wanted together are asked for together, opening runs on all cores, every id is checked again, and memory is bounded. It
//! blocks its callers, for [`ReaderOptions::deadline`] at most, and needs no runtime. It knows nothing of files: `content` does.

mod buffers;
mod error;
mod flight;
mod open;
#[cfg(test)]
mod tests;
mod threads;
mod ticket;

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use backstore_protocol::entry::ObjectRef;
use backstore_protocol::ids::ObjectId;
use backstore_protocol::keys::Keys;
use backstore_protocol::map::MapNode;
use backstore_protocol::store::Source;
use backstore_protocol::tree::{Node, NodeReader};
use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded};
use serde::Serialize;

pub use error::{ReadError, Recovery};
pub(crate) use ticket::Ticket;

use flight::{Joined, Urgency};
use threads::Shared;
use ticket::Waiter;

/// How much memory, how many threads, how much patience.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Opened tree and map nodes that are kept, in bytes.
    pub node_cache_bytes: usize,
    /// Opened data that is kept, in bytes.
    pub data_cache_bytes: usize,
    /// What may be on its way although nobody waits for it, in bytes. Half the data cache or less, or it is lost again unread.
    pub ahead_bytes_max: usize,
    /// Threads that decrypt and decompress.
    pub open_threads: usize,
    /// Calls of `Source::read` at a time.
    pub reads_max: usize,
    /// Longest wait for one object.
    pub deadline: Duration,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            node_cache_bytes: 32 << 20,
            data_cache_bytes: 96 << 20,
            ahead_bytes_max: 48 << 20,
            open_threads: thread::available_parallelism().map_or(2, usize::from),
            reads_max: 4,
            deadline: Duration::from_secs(30),
        }
    }
}

impl ReaderOptions {
    /// For who reads little but nodes of trees, in order.
    pub fn small() -> Self {
        Self {
            node_cache_bytes: 8 << 20,
            data_cache_bytes: 2 << 20,
            ahead_bytes_max: 1 << 20,
            open_threads: 1,
            reads_max: 2,
            ..Self::default()
        }
    }
}

/// An object that is wanted, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// A node of a tree.
    Tree(ObjectId),
    /// A node of a large file's map.
    Map(ObjectId),
    /// A chunk, bundle or large value.
    Data(ObjectRef),
    /// A snapshot's body.
    Body(ObjectId),
}

/// Whether a caller can wait for what is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Fail with [`ReadError::NotInMemory`], but have it fetched.
    Not,
    /// Wait, for [`ReaderOptions::deadline`] at most.
    UntilDeadline,
}

/// An object that was opened and checked.
#[derive(Debug, Clone)]
pub(crate) enum Opened {
    Tree(Arc<Node>),
    Map(Arc<MapNode>),
    /// Data or a body.
    Data(Bytes),
}

/// What a reader has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ReaderCounters {
    /// Calls of `Source::read`.
    pub reads: u64,
    /// Objects that were asked for in them.
    pub objects: u64,
    /// Sealed bytes that came.
    pub sealed_bytes: u64,
    /// Times that somebody had to wait for an object.
    pub waits: u64,
}

/// Reads and opens objects of one destination for any number of threads.
pub struct ObjectReader {
    shared: Arc<Shared>,
    openers: Vec<thread::JoinHandle<()>>,
    /// Disconnected when all fetchers have let go of the source.
    fetchers: Receiver<()>,
}

/// How long the end of a reader waits for calls of `Source::read` that are under way.
const PARTING: Duration = Duration::from_secs(2);

impl ObjectReader {
    /// A reader of `source`. Starts its threads; reads nothing yet.
    pub fn new(source: Arc<dyn Source>, keys: Keys, options: &ReaderOptions) -> io::Result<Arc<Self>> {
        let fetchers = options.reads_max.max(1);
        let shared = Arc::new(Shared::new(source, keys, options));
        // Made first, so that threads which were started end again if one cannot be.
        let (fetching, ended) = bounded(0);
        let mut reader = Self { shared, openers: Vec::new(), fetchers: ended };
        for _ in 0..fetchers {
            let (shared, fetching) = (Arc::clone(&reader.shared), fetching.clone());
            let life = move || {
                shared.fetch();
                drop(shared);
                drop(fetching);
            };
            thread::Builder::new().name("fetch".into()).spawn(life)?;
        }
        for _ in 0..options.open_threads.max(1) {
            let shared = Arc::clone(&reader.shared);
            let opener = thread::Builder::new().name("open".into()).spawn(move || shared.open())?;
            reader.openers.push(opener);
        }
        Ok(Arc::new(reader))
    }

    /// A tree node.
    pub fn tree_node(&self, id: &ObjectId, wait: Wait) -> Result<Arc<Node>, ReadError> {
        match self.get(Want::Tree(*id), wait)? {
            Opened::Tree(node) => Ok(node),
            Opened::Map(_) | Opened::Data(_) => Err(ReadError::Mismatch { id: *id, what: "kind" }),
        }
    }

    /// A map node.
    pub fn map_node(&self, id: &ObjectId, wait: Wait) -> Result<Arc<MapNode>, ReadError> {
        match self.get(Want::Map(*id), wait)? {
            Opened::Map(node) => Ok(node),
            Opened::Tree(_) | Opened::Data(_) => Err(ReadError::Mismatch { id: *id, what: "kind" }),
        }
    }

    /// The whole of a chunk, bundle or large value.
    pub fn data(&self, object: ObjectRef, wait: Wait) -> Result<Bytes, ReadError> {
        self.get(Want::Data(object), wait)?.data(object)
    }

    /// A snapshot's body, still encoded.
    pub fn body(&self, id: &ObjectId) -> Result<Bytes, ReadError> {
        match self.get(Want::Body(*id), Wait::UntilDeadline)? {
            Opened::Data(bytes) => Ok(bytes),
            Opened::Tree(_) | Opened::Map(_) => Err(ReadError::Mismatch { id: *id, what: "kind" }),
        }
    }

    /// Has objects fetched that are likely to be asked for, in this order, as far as the bound on what is ahead allows; whether it
    /// allowed all.
    pub fn prefetch(&self, wants: impl IntoIterator<Item = Want>) -> bool {
        self.shared.join_all(wants)
    }

    /// Waits until nothing is on its way for anybody, for `patience` at most: for who reads in the background, with a reader of its own.
    pub fn wait_for_calm(&self, patience: Duration) {
        self.shared.flights.wait_for_calm(patience);
    }

    /// Tree nodes that may be fetched ahead for one walk, so that they are still there when the walk comes to them.
    pub(crate) fn nodes_ahead_max(&self) -> usize {
        self.shared.nodes_ahead_max
    }

    /// What it has done so far.
    pub fn counters(&self) -> ReaderCounters {
        self.shared.counters()
    }

    /// Bytes of opened objects in its caches: nodes, data.
    pub fn cached_bytes(&self) -> (usize, usize) {
        self.shared.cached_bytes()
    }

    /// Bytes on their way that nobody waits for.
    pub fn ahead_bytes(&self) -> usize {
        self.shared.flights.ahead_bytes()
    }

    /// The tree nodes of this reader, for cursors and comparisons.
    pub fn nodes(self: &Arc<Self>, wait: Wait) -> Nodes {
        Nodes { reader: Arc::clone(self), wait }
    }

    /// Asks for an object that a stream will need in its turn. It is not kept in the cache.
    pub(crate) fn begin_in_turn(&self, want: Want) -> Ticket {
        self.begin(want, Urgency::InTurn)
    }

    /// Asks for an object that is needed now.
    pub(crate) fn begin_now(&self, want: Want) -> Ticket {
        self.begin(want, Urgency::Now)
    }

    /// Keeps data that came out of turn and may be needed again.
    pub(crate) fn keep(&self, object: ObjectRef, bytes: &Bytes) {
        self.shared.keep(Want::Data(object), &Opened::Data(bytes.clone()));
    }

    /// Data that was fetched ahead will hardly be asked for: what of it nobody waits for and no fetcher has is not fetched.
    pub(crate) fn call_off(&self, objects: impl IntoIterator<Item = ObjectRef>) {
        self.shared.flights.call_off(objects.into_iter().map(|object| object.id));
    }

    /// Data will hardly be asked for again: its memory is for what comes.
    pub(crate) fn let_go(&self, object: ObjectRef) {
        self.shared.let_go(&object.id);
    }

    fn begin(&self, want: Want, urgency: Urgency) -> Ticket {
        let cached = self.shared.cached(&want);
        let joined = cached.map_or_else(|| self.shared.join(want, urgency), Joined::Here);
        match joined {
            Joined::Here(opened) => Ticket::Here(opened),
            Joined::Flying(flight) => Ticket::Flying(Waiter::new(flight, Arc::clone(&self.shared))),
            Joined::Refused => unreachable!("only what is perhaps wanted is refused"),
        }
    }

    fn get(&self, want: Want, wait: Wait) -> Result<Opened, ReadError> {
        let ticket = self.begin_now(want);
        match wait {
            Wait::UntilDeadline => ticket.wait(),
            Wait::Not => ticket.now(),
        }
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.shared.flights.close();
        self.shared.to_open.close();
        for opener in self.openers.drain(..) {
            // A panic of an opener has been shown already.
            let _ = opener.join();
        }
        // Whoever owns the source may want to close it. A call that does not return must not keep this from ending.
        let _ = self.fetchers.recv_timeout(PARTING);
    }
}

impl Opened {
    fn data(self, object: ObjectRef) -> Result<Bytes, ReadError> {
        match self {
            Self::Data(bytes) if bytes.len() == object.length as usize => Ok(bytes),
            Self::Data(_) => Err(ReadError::Mismatch { id: object.id, what: "length" }),
            Self::Tree(_) | Self::Map(_) => Err(ReadError::Mismatch { id: object.id, what: "kind" }),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Tree(node) => node.memory(),
            Self::Map(node) => size_of::<MapNode>() + size_of_val(node.from_offset(0)),
            Self::Data(bytes) => bytes.len(),
        }
    }
}

/// Tree nodes of a reader.
#[derive(Clone)]
pub struct Nodes {
    reader: Arc<ObjectReader>,
    wait: Wait,
}

impl NodeReader for Nodes {
    type Error = ReadError;

    fn node(&self, id: &ObjectId) -> Result<Arc<Node>, ReadError> {
        self.reader.tree_node(id, self.wait)
    }

    fn soon(&self, ids: &[ObjectId]) {
        self.reader.prefetch(ids.iter().map(|id| Want::Tree(*id)));
    }
}
