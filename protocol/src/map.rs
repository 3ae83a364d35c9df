//! The extents of a large file, as a tree of nodes: PROTOCOL.md section 4.
//!
//! No node knows a file offset, so bytes inserted at the front change few nodes.

use bytes::Bytes;

use crate::codec::{Malformed, Reader, Write};
use crate::entry::ObjectRef;
use crate::ids::ObjectId;
use crate::keys::IdKeys;
use crate::limits::{MAP_ITEMS_MAX, OBJECT_PLAIN_MAX, TREE_DEPTH_MAX};
use crate::object::{NodeBytes, ObjectKind};
use crate::tree::Built;

/// A stretch of a mapped file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A whole object.
    Object(ObjectRef),
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

impl Piece {
    /// Bytes it covers.
    pub const fn length(&self) -> u64 {
        match self {
            Self::Object(object) => object.length as u64,
            Self::Hole(length) | Self::Child { length, .. } => *length,
        }
    }

    fn boundary_id(&self) -> [u8; 32] {
        match self {
            Self::Object(ObjectRef { id, .. }) | Self::Child { node: id, .. } => *id.as_bytes(),
            Self::Hole(length) => {
                let mut id = [0; 32];
                id[24..].copy_from_slice(&length.to_le_bytes());
                id
            }
        }
    }
}

/// Builds a map bottom-up from a file's pieces in order.
pub struct MapBuilder {
    key: [u8; 32],
    ids: IdKeys,
    levels: Vec<Vec<Piece>>,
    built: Vec<Built>,
}

impl MapBuilder {
    /// An empty map of an account.
    pub fn new(keys: &IdKeys) -> Self {
        Self { key: keys.map, ids: keys.clone(), levels: vec![Vec::new()], built: Vec::new() }
    }

    /// Appends an object or a hole; neither is empty, and no hole follows a hole.
    pub fn push(&mut self, piece: Piece) {
        self.push_at(0, piece);
    }

    fn push_at(&mut self, level: usize, piece: Piece) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
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
        let bytes = encode(level as u8, &pieces);
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

fn encode(level: u8, pieces: &[Piece]) -> NodeBytes {
    let mut references: Vec<_> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Object(object) => Some(*object),
            Piece::Child { node, .. } => Some(ObjectRef { id: *node, length: 0 }),
            Piece::Hole(_) => None,
        })
        .collect();
    references.sort_unstable();
    references.dedup_by_key(|reference| reference.id);
    let position =
        |id: &ObjectId| references.binary_search_by(|other| other.id.cmp(id)).unwrap_or_else(|at| at) as u64;
    let mut payload = Vec::with_capacity(8 * pieces.len() + 16);
    payload.put_varint(pieces.len() as u64);
    payload.put_varint(references.len() as u64);
    for reference in &references {
        payload.put_varint(u64::from(reference.length));
    }
    for piece in pieces {
        match piece {
            Piece::Hole(length) => {
                payload.put_varint(0);
                payload.put_varint(*length);
            }
            Piece::Object(object) => payload.put_varint(position(&object.id) + 1),
            Piece::Child { node, length } => {
                payload.put_varint(position(node));
                payload.put_varint(*length);
            }
        }
    }
    NodeBytes::new(ObjectKind::Map, level, &references, payload)
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
                if (length == 0) == (level == 0) {
                    Err(reader.malformed("reference length"))
                } else {
                    Ok(ObjectRef { id: *id, length })
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut pieces = Vec::with_capacity(count as usize);
        let mut used = vec![false; references.len()];
        let mut start = 0u64;
        for _ in 0..count {
            let piece = read_piece(level, &references, &mut used, &mut reader)?;
            let after_hole = matches!(pieces.last(), Some((_, Piece::Hole(_))));
            let next = start.checked_add(piece.length());
            let (Some(next), false) =
                (next, piece.length() == 0 || (after_hole && matches!(piece, Piece::Hole(_))))
            else {
                return Err(reader.malformed("map item"));
            };
            pieces.push((start, piece));
            start = next;
        }
        if used.contains(&false) {
            return Err(reader.malformed("map references"));
        }
        reader.finish("map")?;
        Ok(Self { level, pieces, length: start })
    }

    /// 0 if it lists objects.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Bytes it covers.
    pub fn length(&self) -> u64 {
        self.length
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

fn read_piece(
    level: u8,
    references: &[ObjectRef],
    used: &mut [bool],
    reader: &mut Reader<'_>,
) -> Result<Piece, Malformed> {
    let first = reader.varint("map item")?;
    let position = if level == 0 {
        match first.checked_sub(1) {
            None => return Ok(Piece::Hole(reader.varint("hole")?)),
            Some(position) => position,
        }
    } else {
        first
    };
    let position = usize::try_from(position).ok().filter(|position| *position < references.len());
    let position = position.ok_or(reader.malformed("map item"))?;
    used[position] = true;
    let object = references[position];
    Ok(if level == 0 {
        Piece::Object(object)
    } else {
        Piece::Child { node: object.id, length: reader.varint("subtree length")? }
    })
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

    fn object(number: u64) -> Piece {
        let id = ObjectId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
        Piece::Object(ObjectRef { id, length: 1 + (number % 1000) as u32 })
    }

    fn build(pieces: &[Piece]) -> (ObjectId, HashMap<ObjectId, MapNode>) {
        let mut builder = MapBuilder::new(&keys());
        pieces.iter().for_each(|piece| builder.push(*piece));
        let root = builder.finish();
        let nodes = builder.take_built().into_iter().map(|built| {
            let NodeBytes { level, references, payload, .. } = built.bytes;
            (built.id, MapNode::parse(level, &references, &payload.into()).expect("what was built parses"))
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
                Piece::Object(_) | Piece::Hole(_) => out.push(*piece),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_map_lists_what_was_pushed(count in 1usize..20_000, hole_every in 2usize..50, same in 0u64..3) {
            let pieces: Vec<_> = (0..count)
                .map(|at| if at % hole_every == 1 { Piece::Hole(at as u64) } else { object(if same == 0 { 7 } else { at as u64 }) })
                .collect();
            let (root, nodes) = build(&pieces);
            let mut listed = Vec::new();
            walk(&nodes[&root], &nodes, &mut listed);
            prop_assert_eq!(listed, pieces);
        }
    }

    #[test]
    fn an_insertion_at_the_front_changes_few_nodes() {
        let pieces: Vec<_> = (0..50_000).map(object).collect();
        let (_, before) = build(&pieces);
        let (_, after) = build(&[&[object(999_999)], &pieces[..]].concat());
        let new = after.keys().filter(|id| !before.contains_key(id)).count();
        assert!(new <= 6, "{new} of {} nodes are new", after.len());
    }

    #[test]
    fn offsets_find_their_piece() {
        let (root, nodes) = build(&[object(9), Piece::Hole(90), object(4)]);
        let node = &nodes[&root];
        let at = |offset| node.from_offset(offset).first().map(|(start, _)| *start);
        assert_eq!(
            [at(0), at(9), at(10), at(99), at(100), at(104), at(105)],
            [Some(0), Some(0), Some(10), Some(10), Some(100), Some(100), None]
        );
    }

    #[test]
    fn hostile_nodes_are_refused() {
        let id = ObjectId::from_bytes([1; 32]);
        for (level, references, payload) in [
            (0, &[id][..], &b"\x01\x01\x05\x02"[..]),
            (0, &[id], b"\x01\x01\x00\x01"),
            (0, &[], b"\x00\x00"),
            (0, &[], b"\x02\x00\x00\x05\x00\x05"),
            (0, &[], b"\x01\x00\x00\x00"),
            (0, &[id], b"\x01\x01\x05\x01\x00"),
            (0, &[id, id], b"\x02\x02\x05\x05\x01\x02"),
            (1, &[id], b"\x01\x01\x05\x00\x05"),
            (16, &[id], b"\x01\x01\x00\x00\x05"),
        ] {
            assert!(
                MapNode::parse(level, references, &Bytes::copy_from_slice(payload)).is_err(),
                "{level} {payload:?}"
            );
        }
    }
}
