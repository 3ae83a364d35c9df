//! The chunks of a large file, as a tree of nodes: PROTOCOL.md section 4.
//!
//! No node knows a file offset, so bytes inserted at the front change few nodes.

use bytes::Bytes;

use crate::codec::{Malformed, Reader, Write};
use crate::entry::ObjectRef;
use crate::ids::{ChunkHash, ObjectId};
use crate::keys::IdKeys;
use crate::limits::{MAP_ITEMS_MAX, OBJECT_PLAIN_MAX, TREE_DEPTH_MAX};
use crate::object::{NodeBytes, ObjectKind};
use crate::tree::Built;

/// A stretch of a mapped file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A chunk: bytes inside an object.
    Chunk(Chunk),
    /// Bytes never written.
    Hole(u64),
    /// What another map node lists; in nodes above level 0 only.
    Child {
        /// The node.
        node: ObjectId,
        /// Bytes it covers.
        length: u64,
    },
}

/// A content-defined piece of a large file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The bundle it is in.
    pub object: ObjectRef,
    /// Where it starts there.
    pub offset: u32,
    /// Its bytes; never 0.
    pub length: u32,
    /// Its hash.
    pub hash: ChunkHash,
}

impl Piece {
    /// Bytes it covers.
    pub const fn length(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.length as u64,
            Self::Hole(length) | Self::Child { length, .. } => *length,
        }
    }

    fn boundary_id(&self) -> [u8; 32] {
        let mut id = [0; 32];
        match self {
            Self::Chunk(chunk) => id[..16].copy_from_slice(chunk.hash.as_bytes()),
            Self::Child { node, .. } => id = *node.as_bytes(),
            Self::Hole(length) => id[24..].copy_from_slice(&length.to_le_bytes()),
        }
        id
    }

    fn reference(&self) -> Option<ObjectRef> {
        match self {
            Self::Chunk(chunk) => Some(chunk.object),
            Self::Child { node, .. } => Some(ObjectRef { id: *node, length: 0 }),
            Self::Hole(_) => None,
        }
    }
}

/// Builds a map bottom-up from a file's pieces in order.
pub struct MapBuilder {
    ids: IdKeys,
    levels: Vec<Vec<Piece>>,
    built: Vec<Built>,
}

impl MapBuilder {
    /// An empty map of an account.
    pub fn new(keys: &IdKeys) -> Self {
        Self { ids: keys.clone(), levels: vec![Vec::new()], built: Vec::new() }
    }

    /// Appends a chunk or a hole; neither is empty, and no hole follows a hole.
    pub fn push(&mut self, piece: Piece) {
        self.push_at(0, piece);
    }

    fn push_at(&mut self, level: usize, piece: Piece) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.ids.map);
        hasher.update(&[level as u8]).update(&piece.boundary_id());
        let hits = hasher.finalize().as_bytes()[7] == 0;
        let open = &mut self.levels[level];
        open.push(piece);
        if (hits && open.len() >= 2) || open.len() == MAP_ITEMS_MAX {
            let child = self.build(level);
            self.push_at(level + 1, child);
        }
    }

    fn build(&mut self, level: usize) -> Piece {
        let pieces = std::mem::take(&mut self.levels[level]);
        let bytes = encode_map(level as u8, &pieces);
        let node = bytes.id(&self.ids);
        self.built.push(Built { id: node, bytes });
        Piece::Child { node, length: pieces.iter().map(Piece::length).sum() }
    }

    /// Nodes completed since the last call, children before parents.
    pub fn take_built(&mut self) -> Vec<Built> {
        std::mem::take(&mut self.built)
    }

    /// Completes the map, which has at least one piece, and gives its root.
    pub fn finish(&mut self) -> ObjectId {
        let mut level = 0;
        loop {
            let above = self.levels.iter().skip(level + 1).any(|open| !open.is_empty());
            match (&self.levels[level][..], above) {
                ([], true) => {}
                ([Piece::Child { node, .. }], false) => return *node,
                (_, true) => {
                    let child = self.build(level);
                    self.push_at(level + 1, child);
                }
                (_, false) => {
                    if let Piece::Child { node, .. } = self.build(level) {
                        return node;
                    }
                }
            }
            level += 1;
        }
    }
}

/// The bytes of a map node with these pieces, in order.
pub fn encode_map(level: u8, pieces: &[Piece]) -> NodeBytes {
    let mut references: Vec<_> = pieces.iter().filter_map(Piece::reference).collect();
    references.sort_unstable();
    references.dedup_by_key(|reference| reference.id);
    let position =
        |id: &ObjectId| references.binary_search_by(|other| other.id.cmp(id)).unwrap_or_else(|at| at) as u64;
    let mut payload = Vec::with_capacity(24 * pieces.len() + 4 * references.len() + 16);
    payload.put_varint(pieces.len() as u64);
    payload.put_varint(references.len() as u64);
    for reference in &references {
        payload.put_varint(u64::from(reference.length));
    }
    let mut before = None;
    for piece in pieces {
        match piece {
            Piece::Hole(length) => {
                payload.put_varint(0);
                payload.put_varint(*length);
            }
            Piece::Chunk(chunk) => {
                payload.put_varint(position(&chunk.object.id) + 1);
                payload.put_zigzag(i64::from(chunk.offset) - expected_offset(before, &chunk.object));
                payload.put_varint(u64::from(chunk.length));
                payload.extend_from_slice(chunk.hash.as_bytes());
                before = Some(*chunk);
            }
            Piece::Child { node, length } => {
                payload.put_varint(position(node));
                payload.put_varint(*length);
            }
        }
    }
    NodeBytes::new(ObjectKind::Map, level, &references, payload)
}

/// Where a chunk most likely starts: where the one before ended, if that was in the same object.
fn expected_offset(before: Option<Chunk>, object: &ObjectRef) -> i64 {
    let before = before.filter(|before| before.object.id == object.id);
    before.map_or(0, |before| i64::from(before.offset) + i64::from(before.length))
}

/// A map node that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapNode {
    level: u8,
    /// Each piece and where it starts, from the start of the node.
    pieces: Vec<(u64, Piece)>,
    length: u64,
}

impl MapNode {
    /// Reads a node's payload.
    pub fn parse(level: u8, references: &[ObjectId], payload: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let count = reader.varint_max(MAP_ITEMS_MAX as u64, "map items")?;
        let listed = reader.varint_max(MAP_ITEMS_MAX as u64, "map references")? as usize;
        let sorted = references.is_sorted_by(|a, b| a < b);
        if count == 0 || listed != references.len() || !sorted || usize::from(level) >= TREE_DEPTH_MAX {
            return Err(reader.malformed("map references"));
        }
        let references = references
            .iter()
            .map(|id| {
                let length = reader.varint_max(OBJECT_PLAIN_MAX as u64, "reference length")? as u32;
                let fits = (length == 0) == (level > 0);
                if fits {
                    Ok(ObjectRef { id: *id, length })
                } else {
                    Err(reader.malformed("reference length"))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let used = vec![false; references.len()];
        let mut read = PieceReader { level, references: &references, used, before: None };
        let mut pieces: Vec<(u64, Piece)> = Vec::with_capacity(count as usize);
        let mut start = 0u64;
        for _ in 0..count {
            let piece = read.next(&mut reader)?;
            let two_holes = matches!((pieces.last(), piece), (Some((_, Piece::Hole(_))), Piece::Hole(_)));
            let next = start.checked_add(piece.length()).filter(|_| piece.length() > 0 && !two_holes);
            pieces.push((start, piece));
            start = next.ok_or(reader.malformed("map item"))?;
        }
        if read.used.contains(&false) {
            return Err(reader.malformed("map references"));
        }
        reader.finish("map")?;
        Ok(Self { level, pieces, length: start })
    }

    /// 0 if it lists chunks.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Bytes it covers.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes it holds in memory, roughly.
    pub fn memory(&self) -> usize {
        self.pieces.len() * size_of::<(u64, Piece)>() + 64
    }

    /// Its pieces from the one that holds byte `offset` on, each with its start in the node; nothing beyond the end.
    pub fn from_offset(&self, offset: u64) -> &[(u64, Piece)] {
        if offset >= self.length {
            return &[];
        }
        let after = self.pieces.partition_point(|(start, _)| *start <= offset);
        &self.pieces[after - 1..]
    }
}

/// Reads the items of one node.
struct PieceReader<'a> {
    level: u8,
    references: &'a [ObjectRef],
    used: Vec<bool>,
    before: Option<Chunk>,
}

impl PieceReader<'_> {
    fn next(&mut self, reader: &mut Reader<'_>) -> Result<Piece, Malformed> {
        let first = reader.varint("map item")?;
        if self.level > 0 {
            let node = self.reference(first, reader)?.id;
            return Ok(Piece::Child { node, length: reader.varint("subtree length")? });
        }
        let Some(position) = first.checked_sub(1) else {
            return Ok(Piece::Hole(reader.varint("hole")?));
        };
        let object = self.reference(position, reader)?;
        let offset = expected_offset(self.before, &object).checked_add(reader.zigzag("chunk offset")?);
        let length = reader.varint_max(OBJECT_PLAIN_MAX as u64, "chunk length")? as u32;
        let hash = ChunkHash::from_bytes(reader.array("chunk hash")?);
        let offset = offset.and_then(|offset| u32::try_from(offset).ok());
        let inside = |offset: &u32| u64::from(*offset) + u64::from(length) <= u64::from(object.length);
        let offset = offset.filter(inside).ok_or(reader.malformed("chunk offset"))?;
        let chunk = Chunk { object, offset, length, hash };
        self.before = Some(chunk);
        Ok(Piece::Chunk(chunk))
    }

    fn reference(&mut self, position: u64, reader: &Reader<'_>) -> Result<ObjectRef, Malformed> {
        let position = usize::try_from(position).ok().filter(|position| *position < self.references.len());
        let position = position.ok_or(reader.malformed("map item"))?;
        self.used[position] = true;
        Ok(self.references[position])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::DomainId;
    use crate::keys::Keyring;

    fn keys() -> IdKeys {
        Keyring::new(DomainId::ZERO, [1; 32], [0; 32]).keys().ids
    }

    /// Ten chunks share an object.
    fn chunk(number: u64) -> Piece {
        let id = ObjectId::from_bytes(*blake3::hash(&(number / 10).to_le_bytes()).as_bytes());
        let hash = ChunkHash::from_slice(blake3::hash(&number.to_le_bytes()).as_bytes()).unwrap();
        let length = 1 + (number % 1000) as u32;
        let object = ObjectRef { id, length: 1 << 20 };
        Piece::Chunk(Chunk { object, offset: (number % 10) as u32 * 1000, length, hash })
    }

    fn build(pieces: &[Piece]) -> (ObjectId, HashMap<ObjectId, MapNode>) {
        let mut builder = MapBuilder::new(&keys());
        pieces.iter().for_each(|piece| builder.push(*piece));
        let root = builder.finish();
        let nodes = builder.take_built().into_iter().map(|built| {
            let NodeBytes { level, references, payload, .. } = built.bytes;
            let node = MapNode::parse(level, &references, &payload.into()).expect("what was built parses");
            (built.id, node)
        });
        (root, nodes.collect())
    }

    fn walk(node: &MapNode, nodes: &HashMap<ObjectId, MapNode>, out: &mut Vec<Piece>) {
        for (_, piece) in node.from_offset(0) {
            match piece {
                Piece::Child { node, length } => {
                    assert_eq!(nodes[node].length(), *length);
                    walk(&nodes[node], nodes, out);
                }
                Piece::Chunk(_) | Piece::Hole(_) => out.push(*piece),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_map_lists_what_was_pushed(count in 1usize..20_000, hole_every in 2usize..50, same in 0u64..3) {
            let piece = |at: usize| match (at % hole_every, same) {
                (1, _) => Piece::Hole(at as u64),
                (_, 0) => chunk(7),
                _ => chunk(at as u64),
            };
            let pieces: Vec<_> = (0..count).map(piece).collect();
            let (root, nodes) = build(&pieces);
            let mut listed = Vec::new();
            walk(&nodes[&root], &nodes, &mut listed);
            prop_assert_eq!(listed, pieces);
        }

        #[test]
        fn what_parses_encodes_to_itself(count in 1usize..40, at in any::<prop::sample::Index>(), byte: u8) {
            let pieces: Vec<_> = (0..count as u64).map(|at| if at % 5 == 1 { Piece::Hole(at) } else { chunk(at) }).collect();
            let NodeBytes { level, references, mut payload, .. } = encode_map(0, &pieces);
            let at = at.index(payload.len());
            payload[at] = byte;
            if let Ok(node) = MapNode::parse(level, &references, &payload.clone().into()) {
                let pieces: Vec<_> = node.pieces.iter().map(|(_, piece)| *piece).collect();
                prop_assert_eq!(encode_map(0, &pieces).payload, payload);
            }
        }
    }

    #[test]
    fn an_insertion_at_the_front_changes_few_nodes() {
        let pieces: Vec<_> = (0..50_000).map(chunk).collect();
        let (_, before) = build(&pieces);
        let (_, after) = build(&[&[chunk(999_999)], &pieces[..]].concat());
        let new = after.keys().filter(|id| !before.contains_key(id)).count();
        assert!(new <= 6, "{new} of {} nodes are new", after.len());
    }

    #[test]
    fn offsets_find_their_piece() {
        let (root, nodes) = build(&[chunk(9), Piece::Hole(90), chunk(4)]);
        let node = &nodes[&root];
        let at = |offset| node.from_offset(offset).first().map(|(start, _)| *start);
        let found = [at(0), at(9), at(10), at(99), at(100), at(104), at(105)];
        assert_eq!(found, [Some(0), Some(0), Some(10), Some(10), Some(100), Some(100), None]);
    }

    #[test]
    fn hostile_nodes_are_refused() {
        let id = ObjectId::from_bytes([1; 32]);
        let with_hash = |item: &[u8]| [item, &[b'h'; 16]].concat();
        for (level, references, payload) in [
            (0, &[id][..], with_hash(b"\x01\x01\x05\x02\x00\x05")),
            (0, &[id], b"\x01\x01\x00\x01".to_vec()),
            (0, &[], b"\x00\x00".to_vec()),
            (0, &[], b"\x02\x00\x00\x05\x00\x05".to_vec()),
            (0, &[], b"\x01\x00\x00\x00".to_vec()),
            (0, &[id], with_hash(b"\x01\x01\x05\x01\x01\x05")),
            (0, &[id], with_hash(b"\x01\x01\x05\x01\x00\x06")),
            (0, &[id], with_hash(b"\x01\x01\x05\x01\x02\x05")),
            (0, &[id], with_hash(b"\x01\x01\x05\x01\x00\x00")),
            (0, &[id, id], [with_hash(b"\x02\x02\x05\x05\x01\x00\x05"), with_hash(b"\x02\x00\x05")].concat()),
            (1, &[id], b"\x01\x01\x05\x00\x05".to_vec()),
            (16, &[id], b"\x01\x01\x00\x00\x05".to_vec()),
        ] {
            let parsed = MapNode::parse(level, references, &payload.clone().into());
            assert!(parsed.is_err(), "{level} {payload:?}");
        }
        assert!(MapNode::parse(0, &[id], &with_hash(b"\x01\x01\x05\x01\x00\x05").into()).is_ok());
    }
}
