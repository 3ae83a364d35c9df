//! The content of a large file, piece by piece, as the ids of its bundles become known.

use std::collections::{BTreeMap, VecDeque};

use backstore_protocol::entry::{Content, Extent, ObjectRef};
use backstore_protocol::ids::{ChunkHash, ContentHash};
use backstore_protocol::keys::IdKeys;
use backstore_protocol::limits::{BUNDLE_FILE_BYTES_MAX, EXTENTS_MAX};
use backstore_protocol::map::{Chunk, MapBuilder, Piece};
use backstore_protocol::tree::Built;

use super::chunks::{Known, Place};

/// A file's pieces on their way into a map.
pub(super) struct Mapping {
    ids: IdKeys,
    /// Pieces whose bundle has no id yet, and those behind them.
    waiting: VecDeque<Unresolved>,
    /// Bundles of this file by their number in it.
    bundles: BTreeMap<u64, ObjectRef>,
    builder: MapBuilder,
    /// The same as extents, as long as they are few.
    extents: Vec<Extent>,
    is_empty: bool,
}

enum Unresolved {
    Hole(u64),
    Chunk(ChunkHash, Known),
}

/// Bundles remembered: as many as chunks are.
const BUNDLES_MAX: usize = 65_536;

impl Mapping {
    pub(super) fn new(ids: &IdKeys) -> Self {
        Self {
            ids: ids.clone(),
            waiting: VecDeque::new(),
            bundles: BTreeMap::new(),
            builder: MapBuilder::new(ids),
            extents: Vec::new(),
            is_empty: true,
        }
    }

    /// Forgets all pieces; the file is read again.
    pub(super) fn restart(&mut self) {
        self.waiting.clear();
        self.builder = MapBuilder::new(&self.ids);
        self.extents.clear();
        self.is_empty = true;
    }

    pub(super) fn hole(&mut self, length: u64) {
        if let Some(Unresolved::Hole(before)) = self.waiting.back_mut() {
            *before += length;
        } else {
            self.waiting.push_back(Unresolved::Hole(length));
        }
    }

    pub(super) fn chunk(&mut self, hash: ChunkHash, known: Known) {
        self.waiting.push_back(Unresolved::Chunk(hash, known));
    }

    pub(super) fn identified(&mut self, number: u64, object: ObjectRef) {
        self.bundles.insert(number, object);
        if self.bundles.len() > BUNDLES_MAX {
            self.bundles.pop_first();
        }
    }

    /// Takes in the pieces that can be: all but a last hole, which may grow.
    pub(super) fn advance(&mut self, is_ended: bool) {
        while let Some(first) = self.waiting.front() {
            let piece = match first {
                Unresolved::Hole(_) if self.waiting.len() == 1 && !is_ended => return,
                Unresolved::Hole(length) => Piece::Hole(*length),
                Unresolved::Chunk(hash, Known { place, offset, length }) => {
                    let object = match place {
                        Place::Stored(object) => Some(*object),
                        Place::Bundled(number) => self.bundles.get(number).copied(),
                    };
                    let Some(object) = object else { return };
                    Piece::Chunk(Chunk { object, offset: *offset, length: *length, hash: *hash })
                }
            };
            self.waiting.pop_front();
            self.is_empty = false;
            self.builder.push(piece);
            self.add_extent(piece);
        }
    }

    /// Pieces that wait for an id.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Map nodes complete so far.
    pub(super) fn take_built(&mut self) -> Vec<Built> {
        self.builder.take_built()
    }

    /// The content, once nothing waits any more.
    pub(super) fn finish(&mut self, size: u64, hash: ContentHash) -> (Content, Option<ContentHash>) {
        if self.is_empty {
            return (Content::Inline(Box::default()), None);
        }
        if size < BUNDLE_FILE_BYTES_MAX && self.extents.len() <= EXTENTS_MAX {
            return (Content::Extents(std::mem::take(&mut self.extents).into()), Some(hash));
        }
        (Content::Map(self.builder.finish()), Some(hash))
    }

    fn add_extent(&mut self, piece: Piece) {
        let extent = match piece {
            Piece::Chunk(chunk) => {
                Extent::Data { object: chunk.object, offset: chunk.offset, length: chunk.length }
            }
            Piece::Hole(length) | Piece::Child { length, .. } => Extent::Hole { length },
        };
        if let Some(Extent::Data { object: before, offset: start, length }) = self.extents.last_mut()
            && let Extent::Data { object, offset, length: more } = extent
            && *before == object
            && *start + *length == offset
        {
            *length += more;
        } else if self.extents.len() <= EXTENTS_MAX {
            // One more than allowed is enough to tell that there are too many.
            self.extents.push(extent);
        }
    }
}
