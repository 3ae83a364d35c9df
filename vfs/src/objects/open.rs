//! From what a destination holds to what can be used: decrypting, decompressing, checking the id, parsing.
//!
//! It is done on as many threads as there are cores, with what somebody waits for first.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use backstore_protocol::envelope::{Class, OpenError};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::keys::Keys;
use backstore_protocol::map::MapNode;
use backstore_protocol::object::{
    ObjectKind, SealedObject, body_id, data_id, node_id, references_are_canonical,
};
use backstore_protocol::tree::Node;
use bytes::Bytes;

use super::buffers::Buffers;
use super::flight::Flight;
use super::{Opened, ReadError, Want};
use crate::sync::{lock, wait};

/// Opens `object`, which the destination gave for `want`.
pub(super) fn open(
    keys: &Keys,
    buffers: &Arc<Buffers>,
    want: Want,
    object: &SealedObject,
) -> Result<Opened, ReadError> {
    let id = want.id();
    if object.id != id || object.kind != want.kind() {
        return Err(ReadError::Mismatch { id, what: "kind" });
    }
    match want {
        Want::Data(data) => open_data(keys, buffers, id, data.length as usize, object).map(Opened::Data),
        Want::Body(_) => {
            let mut plain = Vec::new();
            open_sealed(keys, Class::Body, &id, object, &mut plain)?;
            check(id, body_id(&keys.ids, &plain))?;
            Ok(Opened::Data(plain.into()))
        }
        Want::Tree(_) => {
            let (references, payload) = open_node(keys, id, object)?;
            Ok(Opened::Tree(Arc::new(Node::parse(object.level, &references, payload)?)))
        }
        Want::Map(_) => {
            let (references, payload) = open_node(keys, id, object)?;
            Ok(Opened::Map(Arc::new(MapNode::parse(object.level, &references, &payload)?)))
        }
    }
}

fn open_data(
    keys: &Keys,
    buffers: &Arc<Buffers>,
    id: ObjectId,
    length: usize,
    object: &SealedObject,
) -> Result<Bytes, ReadError> {
    let mut buffer = buffers.take(length);
    open_sealed(keys, Class::Data, &id, object, &mut buffer.bytes)?;
    if buffer.bytes.len() != length {
        return Err(ReadError::Mismatch { id, what: "length" });
    }
    check(id, data_id(&keys.ids, &buffer.bytes))?;
    Ok(buffer.share())
}

fn open_node(keys: &Keys, id: ObjectId, object: &SealedObject) -> Result<(Vec<ObjectId>, Bytes), ReadError> {
    if !references_are_canonical(&object.references) {
        return Err(ReadError::Mismatch { id, what: "list of references" });
    }
    let mut payload = Vec::new();
    open_sealed(keys, Class::Node, &id, object, &mut payload)?;
    let references: Vec<_> = object.reference_ids().collect();
    check(id, node_id(&keys.ids, object.kind, object.level, &references, &payload))?;
    Ok((references, payload.into()))
}

fn open_sealed(
    keys: &Keys,
    class: Class,
    id: &ObjectId,
    object: &SealedObject,
    plain: &mut Vec<u8>,
) -> Result<(), ReadError> {
    keys.open(class, object.kind as u8, id.as_bytes(), &object.sealed, plain)
        .map_err(|source| ReadError::Sealed { id: *id, source })
}

fn check(wanted: ObjectId, found: ObjectId) -> Result<(), ReadError> {
    if wanted == found { Ok(()) } else { Err(ReadError::Sealed { id: wanted, source: OpenError::Id }) }
}

impl Want {
    /// Which object.
    pub const fn id(&self) -> ObjectId {
        match self {
            Self::Tree(id) | Self::Map(id) | Self::Body(id) => *id,
            Self::Data(data) => data.id,
        }
    }

    /// What it has to be.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Tree(_) => ObjectKind::Tree,
            Self::Map(_) => ObjectKind::Map,
            Self::Body(_) => ObjectKind::Body,
            Self::Data(_) => ObjectKind::Data,
        }
    }

    /// Bytes it has when opened; of a node, a guess.
    pub(super) const fn size(&self) -> usize {
        match self {
            Self::Tree(_) | Self::Map(_) | Self::Body(_) => NODE_BYTES_GUESSED,
            Self::Data(data) => data.length as usize,
        }
    }
}

/// About what a node has in memory.
pub(super) const NODE_BYTES_GUESSED: usize = 32 * 1024;

/// Sealed objects that wait to be opened.
pub(super) struct OpenQueue {
    state: Mutex<Waiting>,
    ready: Condvar,
    room: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    now: VecDeque<(Arc<Flight>, SealedObject)>,
    later: VecDeque<(Arc<Flight>, SealedObject)>,
    bytes: usize,
    is_closed: bool,
}

impl OpenQueue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), room: Condvar::new(), bytes_max }
    }

    /// Hands an object to the openers, waiting while they have enough.
    pub(super) fn push(&self, flight: Arc<Flight>, object: SealedObject) {
        let mut state = lock(&self.state);
        while state.bytes >= self.bytes_max && !state.is_closed {
            state = wait(&self.room, state);
        }
        state.bytes += object.size();
        let queue = if flight.is_urgent() { &mut state.now } else { &mut state.later };
        queue.push_back((flight, object));
        self.ready.notify_one();
    }

    /// The next object to open; nothing once closed.
    pub(super) fn take(&self) -> Option<(Arc<Flight>, SealedObject)> {
        let mut state = lock(&self.state);
        loop {
            if state.is_closed {
                return None;
            }
            let next = state.now.pop_front().or_else(|| state.later.pop_front());
            if let Some((flight, object)) = next {
                state.bytes -= object.size();
                self.room.notify_one();
                return Some((flight, object));
            }
            state = wait(&self.ready, state);
        }
    }

    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.ready.notify_all();
        self.room.notify_all();
    }
}
