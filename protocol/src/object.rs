//! What a vault stores, and how it is named: PROTOCOL.md section 5.

use crate::entry::ObjectRef;
use crate::ids::ObjectId;
use crate::keys::IdKeys;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// A chunk, a bundle or a large xattr value.
    Data = 1,
    /// A node of a snapshot's tree.
    Tree = 2,
    /// A node of a large file's map.
    Map = 3,
    /// A snapshot's body.
    Body = 4,
}

impl ObjectKind {
    /// The kind with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Data,
            2 => Self::Tree,
            3 => Self::Map,
            4 => Self::Body,
            _ => return None,
        })
    }

    /// Whether it has references in clear.
    pub const fn is_node(self) -> bool {
        matches!(self, Self::Tree | Self::Map)
    }
}

/// A node of a tree or map before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeBytes {
    /// `Tree` or `Map`.
    pub kind: ObjectKind,
    /// 0 for a leaf.
    pub level: u8,
    /// Ids of all it refers to, sorted, without duplicates.
    pub references: Vec<ObjectId>,
    /// What is sealed.
    pub payload: Vec<u8>,
}

impl NodeBytes {
    /// A node over `references`, which are sorted and without duplicates.
    pub fn new(kind: ObjectKind, level: u8, references: &[ObjectRef], payload: Vec<u8>) -> Self {
        Self { kind, level, references: references.iter().map(|reference| reference.id).collect(), payload }
    }

    /// Its id.
    pub fn id(&self, keys: &IdKeys) -> ObjectId {
        node_id(keys, self.kind, self.level, &self.references, &self.payload)
    }
}

/// The id of a data object.
pub fn data_id(keys: &IdKeys, plain: &[u8]) -> ObjectId {
    ObjectId::from_bytes(*blake3::keyed_hash(&keys.data, plain).as_bytes())
}

/// The id of a snapshot's body.
pub fn body_id(keys: &IdKeys, plain: &[u8]) -> ObjectId {
    ObjectId::from_bytes(*blake3::keyed_hash(&keys.body, plain).as_bytes())
}

/// The id of a node.
pub fn node_id(
    keys: &IdKeys,
    kind: ObjectKind,
    level: u8,
    references: &[ObjectId],
    payload: &[u8],
) -> ObjectId {
    let mut hasher = blake3::Hasher::new_keyed(&keys.tree);
    hasher.update(&[kind as u8, level]);
    hasher.update(&(references.len() as u32).to_le_bytes());
    for reference in references {
        hasher.update(reference.as_bytes());
    }
    hasher.update(payload);
    ObjectId::from_bytes(*hasher.finalize().as_bytes())
}

/// An object sealed and ready for a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedObject {
    /// Its id.
    pub id: ObjectId,
    /// What it is.
    pub kind: ObjectKind,
    /// Level of a node; 0 of anything else.
    pub level: u8,
    /// References of a node, as they are stored: 32 bytes each, sorted. Empty for anything else.
    pub references: bytes::Bytes,
    /// The envelope.
    pub sealed: bytes::Bytes,
}

impl SealedObject {
    /// Bytes it counts in a batch.
    pub fn size(&self) -> usize {
        self.references.len() + self.sealed.len()
    }

    /// The ids in `references`.
    pub fn reference_ids(&self) -> impl Iterator<Item = ObjectId> {
        reference_ids(&self.references)
    }
}

/// Ids in the bytes of stored references.
pub fn reference_ids(bytes: &[u8]) -> impl Iterator<Item = ObjectId> {
    bytes.chunks_exact(ObjectId::SIZE).filter_map(ObjectId::from_slice)
}

/// Whether `bytes` are references as a node may carry them: whole ids, sorted, without duplicates, not too many.
pub fn references_are_canonical(bytes: &[u8]) -> bool {
    bytes.len().is_multiple_of(ObjectId::SIZE)
        && bytes.len() / ObjectId::SIZE <= crate::limits::NODE_REFS_MAX
        && reference_ids(bytes).is_sorted_by(|a, b| a < b)
}
