//! From what a destination holds to what can be used: decrypting, decompressing, checking the id, parsing.
//!
//! It is done on as many threads as there are cores, with what somebody waits for first.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use backstore_protocol::envelope::{Class, OVERHEAD, OpenError, Payload};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::keys::Keys;
use backstore_protocol::map::MapNode;
use backstore_protocol::object::{
    ObjectKind, SealedObject, body_id, data_id, node_id, references_are_canonical,
};
use backstore_protocol::tree::Node;
use backstore_protocol::wire::give_back;
use bytes::{Bytes, BytesMut};

use super::buffers::{Buffer, Buffers};
use super::flight::Flight;
use super::{Opened, ReadError, Want};
use crate::sync::{lock, wait};

/// Opens `object`, which the destination gave for `want`.
pub(super) fn open(
    keys: &Keys,
    buffers: &Arc<Buffers>,
    want: Want,
    object: SealedObject,
) -> Result<Opened, ReadError> {
    let id = want.id();
    if object.id != id || object.kind != want.kind() {
        return Err(ReadError::Mismatch { id, what: "kind" });
    }
    match want {
        Want::Data(data) => open_data(keys, buffers, id, data.length as usize, object).map(Opened::Data),
        Want::Body(_) => {
            let mut plain = Vec::new();
            open_sealed(keys, Class::Body, &id, &object, &mut plain)?;
            check(id, body_id(&keys.ids, &plain))?;
            Ok(Opened::Data(plain.into()))
        }
        Want::Tree(_) => {
            let (references, payload) = open_node(keys, id, &object)?;
            Ok(Opened::Tree(Arc::new(Node::parse(object.level, &references, payload)?)))
        }
        Want::Map(_) => {
            let (references, payload) = open_node(keys, id, &object)?;
            Ok(Opened::Map(Arc::new(MapNode::parse(object.level, &references, &payload)?)))
        }
    }
}

fn open_data(
    keys: &Keys,
    buffers: &Arc<Buffers>,
    id: ObjectId,
    length: usize,
    object: SealedObject,
) -> Result<Bytes, ReadError> {
    let kind = object.kind as u8;
    // What is shorter than it would be as it is was compressed, and needs memory of its own.
    let is_compressed = object.sealed.len() < length + OVERHEAD;
    let plain = buffers.take(if is_compressed { length } else { 0 });
    let plain = match object.sealed.try_into_mut() {
        Ok(bytes) => open_where_it_lies(keys, kind, id, Alone(bytes), plain),
        Err(shared) => {
            let mut copy = buffers.take(shared.len());
            copy.bytes.extend_from_slice(&shared);
            drop(shared);
            open_where_it_lies(keys, kind, id, copy, plain)
        }
    }?;
    if plain.len() != length {
        return Err(ReadError::Mismatch { id, what: "length" });
    }
    check(id, data_id(&keys.ids, &plain))?;
    Ok(plain)
}

/// A sealed object that nobody else holds a part of; its memory is for the next frames when its last reader drops it.
struct Alone(BytesMut);

impl AsRef<[u8]> for Alone {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Alone {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

fn open_where_it_lies(
    keys: &Keys,
    kind: u8,
    id: ObjectId,
    mut sealed: impl AsRef<[u8]> + AsMut<[u8]> + Send + 'static,
    mut plain: Buffer,
) -> Result<Bytes, ReadError> {
    let payload = keys
        .open_in_place(Class::Data, kind, id.as_bytes(), sealed.as_mut(), &mut plain.bytes)
        .map_err(|source| ReadError::Sealed { id, source })?;
    Ok(match payload {
        Payload::Within(range) => Bytes::from_owner(sealed).slice(range),
        Payload::InBuffer => plain.share(),
    })
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

impl Waiting {
    /// Of what nobody waited for when it came: first what somebody waits for by now.
    fn next_later(&mut self) -> Option<(Arc<Flight>, SealedObject)> {
        let urgent = self.later.iter().position(|(flight, _)| flight.is_urgent());
        self.later.remove(urgent.unwrap_or(0))
    }
}

impl OpenQueue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), room: Condvar::new(), bytes_max }
    }

    /// Hands an object to the openers, waiting while they have enough, unless somebody waits for it.
    pub(super) fn push(&self, flight: Arc<Flight>, object: SealedObject) {
        let mut state = lock(&self.state);
        while state.bytes >= self.bytes_max && !flight.is_urgent() && !state.is_closed {
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
            let next = state.now.pop_front().or_else(|| state.next_later());
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

#[cfg(test)]
mod tests {
    use backstore_protocol::entry::Content;

    use super::super::flight::{Flights, Joined, Urgency};
    use super::*;
    use crate::random_tree::noise;
    use crate::test_archive::TestArchive;

    /// Who waits must not wait until there is room among what nobody waits for.
    #[test]
    fn what_somebody_waits_for_is_opened_first_and_needs_no_room() {
        let object = |number| SealedObject {
            id: ObjectId::from_bytes([number; 32]),
            kind: ObjectKind::Data,
            level: 0,
            references: Bytes::new(),
            sealed: Bytes::from_static(&[0; 1000]),
        };
        let flights = Flights::new(2, usize::MAX);
        let flight = |number, urgency| match flights.join(Want::Tree(object(number).id), urgency, || None) {
            Joined::Flying(flight) => flight,
            Joined::Here(_) | Joined::Refused => panic!("it is not there"),
        };
        let queue = Arc::new(OpenQueue::new(2000));
        let hurried = flight(2, Urgency::Perhaps);
        queue.push(flight(1, Urgency::Perhaps), object(1));
        queue.push(Arc::clone(&hurried), object(2));
        let (done, is_done) = crossbeam_channel::bounded(1);
        let (pusher, urgent) = (Arc::clone(&queue), flight(3, Urgency::Now));
        std::thread::spawn(move || {
            pusher.push(urgent, object(3));
            done.send(())
        });
        // Far longer than it takes: only a fault needs it.
        is_done.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for room");
        flights.hurry(&hurried);
        let order: Vec<_> = (0..3).filter_map(|_| queue.take()).map(|(_, object)| object.id).collect();
        assert_eq!(order, [3, 2, 1].map(|number| object(number).id));
    }

    #[test]
    fn what_is_alone_is_opened_where_it_lies_and_the_rest_as_well() {
        for plain in [noise(600_000, 1), vec![7; 600_000], noise(5000, 2)] {
            let mut archive = TestArchive::new();
            let Content::Extents(extents) = archive.value(&plain) else { panic!("no object") };
            let data = extents[0].object().expect("data");
            let stored = archive.source().get(&data.id).expect("stored");
            let (keys, buffers) = (archive.keys(), Buffers::new(1 << 20));
            let with = |sealed: Bytes| SealedObject { sealed, ..stored.clone() };
            let bytes_of = |sealed: Bytes| match open(&keys, &buffers, Want::Data(data), with(sealed)) {
                Ok(Opened::Data(bytes)) => Ok(bytes),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error),
            };
            let alone = BytesMut::from(&stored.sealed[..]);
            let place = alone.as_ptr_range();
            let opened = bytes_of(alone.freeze()).expect("opens");
            assert_eq!(opened, plain);
            let is_compressed = stored.sealed.len() < plain.len();
            assert_eq!(place.contains(&opened.as_ptr()), !is_compressed);
            assert_eq!(bytes_of(stored.sealed.clone()).expect("opens"), plain);
            assert_eq!(
                archive.source().get(&data.id).expect("stored").sealed,
                stored.sealed,
                "not written to"
            );

            for at in [0, 20, 50, 100, stored.sealed.len() - 1] {
                let mut changed = stored.sealed.to_vec();
                changed[at] ^= 1;
                let changed = Bytes::from(changed);
                bytes_of(changed.clone()).expect_err("a copy of changed bytes");
                bytes_of(BytesMut::from(&changed[..]).freeze()).expect_err("changed bytes");
            }
        }
    }
}
