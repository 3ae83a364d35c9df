//! The chunks of a large file that are stored already: those of its basis, and those of this very backup.
//!
//! Looked up by hash in a window of the basis around the place being read, so that memory does not grow with the file.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use backstore_protocol::entry::ObjectRef;
use backstore_protocol::ids::{ChunkHash, ObjectId};
use backstore_protocol::map::Piece;
use backstore_vfs::objects::{ObjectReader, Wait};

use super::basis::Lost;

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In an object of the basis.
    Stored(ObjectRef),
    /// In a bundle of this file in this backup, by its number in the file.
    Bundled(u64),
}

/// A chunk that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) place: Place,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Chunks by their hash, the oldest forgotten first.
pub(super) struct KnownChunks {
    by_hash: HashMap<ChunkHash, Known>,
    order: VecDeque<ChunkHash>,
    basis: Option<BasisChunks>,
}

/// Chunks remembered: of 64 KiB each, 4 GiB.
const KNOWN_MAX: usize = 65_536;
/// How far ahead of the place being read chunks of the basis are looked up.
const AHEAD_BYTES: u64 = 1 << 30;

impl KnownChunks {
    /// Nothing known but the chunks of `basis`, if there is one.
    pub(super) fn new(basis: Option<BasisChunks>) -> Self {
        Self { by_hash: HashMap::new(), order: VecDeque::new(), basis }
    }

    /// The chunk with this hash and length, while the file is read at `offset`.
    pub(super) fn find(&mut self, hash: &ChunkHash, length: usize, offset: u64) -> Option<Known> {
        while let Some(basis) = &mut self.basis
            && basis.offset < offset.saturating_add(AHEAD_BYTES)
        {
            match basis.next() {
                Some((hash, known)) => self.add(hash, known),
                None => self.basis = None,
            }
        }
        self.by_hash.get(hash).copied().filter(|known| known.length as usize == length)
    }

    /// Remembers a chunk; the first of equal ones stays.
    pub(super) fn add(&mut self, hash: ChunkHash, known: Known) {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.by_hash.entry(hash) {
            vacant.insert(known);
            self.order.push_back(hash);
            if self.order.len() > KNOWN_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_hash.remove(&oldest);
            }
        }
    }
}

/// Walks the chunks of a mapped file of the basis in order. Where its map cannot be read, it ends.
pub(super) struct BasisChunks {
    reader: Arc<ObjectReader>,
    lost: Arc<Lost>,
    /// Nodes still to be walked and the offset in each, the deepest last.
    path: Vec<(ObjectId, u64)>,
    offset: u64,
}

impl BasisChunks {
    pub(super) fn new(reader: Arc<ObjectReader>, lost: Arc<Lost>, map: ObjectId) -> Self {
        Self { reader, lost, path: vec![(map, 0)], offset: 0 }
    }

    fn next(&mut self) -> Option<(ChunkHash, Known)> {
        loop {
            let (id, at) = self.path.last_mut()?;
            if self.lost.contains(id) {
                return None;
            }
            let node = self.reader.map_node(id, Wait::UntilDeadline).ok()?;
            let Some((start, piece)) = node.from_offset(*at).first().copied() else {
                self.path.pop();
                continue;
            };
            *at = start + piece.length();
            match piece {
                Piece::Child { node, .. } => self.path.push((node, 0)),
                Piece::Hole(length) => self.offset += length,
                Piece::Chunk(chunk) => {
                    self.offset += u64::from(chunk.length);
                    if !self.lost.contains(&chunk.object.id) {
                        let place = Place::Stored(chunk.object);
                        return Some((
                            chunk.hash,
                            Known { place, offset: chunk.offset, length: chunk.length },
                        ));
                    }
                }
            }
        }
    }
}
