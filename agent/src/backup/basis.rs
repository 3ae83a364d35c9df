//! The snapshot a backup starts from, and what of it is lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use backstore_protocol::entry::{Content, Entry, Time};
use backstore_protocol::ids::{ObjectId, SnapshotId};
use backstore_protocol::map::Piece;
use backstore_protocol::snapshot::{Body, Header};
use backstore_protocol::store::ReadFailure;
use backstore_protocol::tree::{Cursor, Node, NodeReader};
use backstore_vfs::objects::{ObjectReader, ReadError, Wait};

/// A snapshot to start from.
pub struct Basis {
    /// Its id.
    pub id: SnapshotId,
    /// Its header, whose signature has been checked.
    pub header: Header,
    /// Its body.
    pub body: Body,
    /// When the scan began that last found the disk to be as it says, in nanoseconds since 1970: its own, or a later one that confirmed it.
    pub compared_ns: i64,
}

/// Objects known to be damaged or absent at the destination; grows when more are found.
#[derive(Debug, Default)]
pub struct Lost(Mutex<HashSet<ObjectId>>);

impl Lost {
    /// What the destination says is lost.
    pub fn new(ids: impl IntoIterator<Item = ObjectId>) -> Self {
        Self(Mutex::new(ids.into_iter().collect()))
    }

    /// Adds objects; false if all were known.
    pub fn add(&self, ids: impl IntoIterator<Item = ObjectId>) -> bool {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.into_iter().fold(false, |new, id| lost.insert(id) | new)
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether this object is.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// The tree nodes of a basis, without those that are lost.
#[derive(Clone)]
pub(super) struct BasisNodes {
    pub(super) reader: Arc<ObjectReader>,
    pub(super) lost: Arc<Lost>,
}

impl NodeReader for BasisNodes {
    type Error = ReadError;

    fn node(&self, id: &ObjectId) -> Result<Arc<Node>, ReadError> {
        if self.lost.contains(id) {
            return Err(ReadError::Failed { id: *id, failure: ReadFailure::Damaged });
        }
        self.reader.tree_node(id, Wait::UntilDeadline)
    }

    fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    fn is_lost(&self, id: &ObjectId) -> bool {
        self.lost.contains(id)
    }

    fn soon(&self, ids: &[ObjectId]) {
        self.reader.nodes(Wait::Not).soon(ids);
    }
}

impl BasisNodes {
    /// Whether everything an entry's content needs is there; costs nothing as long as nothing is lost.
    pub(super) fn has_content_of(&self, entry: &Entry) -> bool {
        if self.lost.is_empty() {
            return true;
        }
        let mut whole = true;
        entry.for_each_reference(|reference| whole &= !self.lost.contains(&reference.id));
        let maps = std::iter::once(&entry.content).chain(entry.xattrs.iter().map(|xattr| &xattr.value));
        whole && maps.into_iter().all(|content| !matches!(content, Content::Map(map) if !self.has_map(*map)))
    }

    fn has_map(&self, map: ObjectId) -> bool {
        let mut waiting = vec![map];
        while let Some(id) = waiting.pop() {
            let Ok(node) = self.reader.map_node(&id, Wait::UntilDeadline) else {
                self.lost.add([id]);
                return false;
            };
            for (_, piece) in node.from_offset(0) {
                match piece {
                    Piece::Hole(_) => {}
                    Piece::Chunk(chunk) if self.lost.contains(&chunk.object.id) => return false,
                    Piece::Chunk(_) => {}
                    Piece::Child { node, .. } if self.lost.contains(node) => return false,
                    Piece::Child { node, .. } => waiting.push(*node),
                }
            }
        }
        true
    }
}

/// The entries of a basis in key order, looked at one ahead. Parts of the tree that are lost count as absent.
pub(super) struct BasisEntries {
    cursor: Option<Cursor<BasisNodes>>,
    nodes: BasisNodes,
    ahead: Option<(Vec<u8>, Entry)>,
}

impl BasisEntries {
    /// Those of a basis, or of none.
    pub(super) fn new(nodes: BasisNodes, basis: Option<&Basis>) -> Result<Self, ReadError> {
        let cursor = match basis {
            Some(basis) if !nodes.lost.contains(&basis.header.root.node) => {
                absent_if_lost(&nodes, Cursor::start(nodes.clone(), basis.header.root))?
            }
            Some(_) | None => None,
        };
        let mut entries = Self { cursor, nodes, ahead: None };
        entries.advance()?;
        Ok(entries)
    }

    /// The next entry, which stays the next.
    pub(super) fn peek(&self) -> Option<(&[u8], &Entry)> {
        self.ahead.as_ref().map(|(key, entry)| (&key[..], entry))
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self) -> Result<Option<Entry>, ReadError> {
        let Some((mut key, entry)) = self.ahead.take() else { return Ok(None) };
        key.clear();
        self.advance_into(key)?;
        Ok(Some(entry))
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        self.advance_into(Vec::new())
    }

    fn advance_into(&mut self, mut key: Vec<u8>) -> Result<(), ReadError> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        loop {
            let next = cursor.next_entry();
            match absent_if_lost(&self.nodes, next)? {
                Some(Some(entry)) => {
                    key.extend_from_slice(cursor.key());
                    self.ahead = Some((key, entry));
                    return Ok(());
                }
                Some(None) => {
                    self.cursor = None;
                    return Ok(());
                }
                // The cursor has stepped over the node that is lost.
                None => {}
            }
        }
    }
}

/// Turns the error that a node is lost, which is remembered, into nothing.
pub(super) fn absent_if_lost<T>(
    nodes: &BasisNodes,
    result: Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match lost_object(&error) {
            Some(id) => {
                nodes.lost.add([id]);
                Ok(None)
            }
            None => Err(error),
        },
    }
}

/// The object that a read failed for because the destination has not got it whole.
pub(super) fn lost_object(error: &ReadError) -> Option<ObjectId> {
    match error {
        ReadError::Failed { id, .. } | ReadError::Sealed { id, .. } | ReadError::Mismatch { id, .. } => {
            Some(*id)
        }
        ReadError::Malformed(_)
        | ReadError::Unread
        | ReadError::Timeout { .. }
        | ReadError::Source(_)
        | ReadError::Withheld { .. }
        | ReadError::NotInMemory => None,
    }
}

/// The moment from which on a file of the basis may have changed without a trace: that of the last scan, less the grain of clocks.
pub(super) fn clean_before(basis: &Basis) -> Time {
    /// Kernels stamp files with a clock that ticks every few milliseconds.
    const GRAIN_NS: i64 = 20_000_000;
    let ns = basis.compared_ns.saturating_sub(GRAIN_NS);
    Time { seconds: ns.div_euclid(1_000_000_000), nanoseconds: ns.rem_euclid(1_000_000_000) as u32 }
}
