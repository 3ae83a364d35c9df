//! Rows of the index: what their keys and values are made of.
//!
//! | key | value |
//! |---|---|
//! | `w` | how far versions are indexed: [`Progress`] |
//! | `t` path 16 ‖ sequence u64 | what became of a path in that version: sealed leaf with its one entry, or empty: it is gone |
//! | `n` directory 16 ‖ path 16 | a name that was ever in a directory: sealed flags ‖ name |
//! | `c` sequence u64 ‖ directory 16 ‖ path 16 | a name that a version but the first added or changed, or a directory above one: likewise |
//! | `d` directory 16 | how many files below it are gone: u64 |
//!
//! Paths are keyed hashes ([`PathHash`]), numbers big-endian.

use std::sync::Arc;

use backstore_protocol::entry::Entry;
use backstore_protocol::ids::{ObjectId, SnapshotId};
use backstore_protocol::object::reference_ids;
use backstore_protocol::tree::{Items, Node, Root, encode_leaf};
use bytes::Bytes;

use super::seal::PathHash;

const FORMAT: u8 = 3;

/// How far versions are indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// The newest version that is.
    pub(super) sequence: u64,
    pub(super) snapshot: SnapshotId,
    pub(super) root: Root,
    /// Rows of the version after it may be there already.
    pub(super) is_under_way: bool,
    /// Parts of versions could not be read.
    pub(super) has_gaps: bool,
}

pub(super) const PROGRESS: [u8; 1] = [b'w'];

impl Progress {
    pub(super) fn encode(&self) -> Vec<u8> {
        let flags = u8::from(self.is_under_way) | u8::from(self.has_gaps) << 1;
        let mut bytes = vec![FORMAT, flags, self.root.level];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(self.snapshot.as_bytes());
        bytes.extend_from_slice(self.root.node.as_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([format, flags, level], rest) = bytes.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (snapshot, root) = rest.split_at_checked(ObjectId::SIZE)?;
        (*format == FORMAT).then_some(())?;
        Some(Self {
            sequence: u64::from_be_bytes(*sequence),
            snapshot: SnapshotId::from_slice(snapshot)?,
            root: Root { node: ObjectId::from_slice(root)?, level: *level },
            is_under_way: flags & 1 != 0,
            has_gaps: flags & 2 != 0,
        })
    }
}

/// Begins all keys of what became of a path.
pub(super) fn states_prefix(path: &PathHash) -> Vec<u8> {
    [b"t", &path[..]].concat()
}

pub(super) fn state_key(path: &PathHash, sequence: u64) -> Vec<u8> {
    [b"t", &path[..], &sequence.to_be_bytes()].concat()
}

/// The sequence that a state's key ends with.
pub(super) fn sequence_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Begins all keys of names in a directory.
pub(super) fn names_prefix(directory: &PathHash) -> Vec<u8> {
    [b"n", &directory[..]].concat()
}

/// Begins the keys of all names.
pub(super) const ALL_NAMES: [u8; 1] = [b'n'];

pub(super) fn name_key(directory: &PathHash, path: &PathHash) -> Vec<u8> {
    [b"n", &directory[..], &path[..]].concat()
}

/// Begins all keys of names that a version added or changed in a directory.
pub(super) fn changes_prefix(sequence: u64, directory: &PathHash) -> Vec<u8> {
    [b"c", &sequence.to_be_bytes()[..], &directory[..]].concat()
}

pub(super) fn change_key(sequence: u64, directory: &PathHash, path: &PathHash) -> Vec<u8> {
    [&changes_prefix(sequence, directory)[..], &path[..]].concat()
}

pub(super) fn gone_key(directory: &PathHash) -> Vec<u8> {
    [b"d", &directory[..]].concat()
}

pub(super) fn count(value: Option<&[u8]>) -> u64 {
    value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameFlags {
    /// It was a directory in some version.
    pub was_directory: bool,
    /// It was something else in some version.
    pub was_file: bool,
    /// It is something else than a directory in the newest version.
    pub is_file: bool,
}

impl NameFlags {
    pub(super) fn encode(self, name: &[u8]) -> Vec<u8> {
        let flags = u8::from(self.was_directory) | u8::from(self.was_file) << 1 | u8::from(self.is_file) << 2;
        [&[flags], name].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (flags, name) = bytes.split_first()?;
        let has = |bit: u8| flags & 1 << bit != 0;
        Some((Self { was_directory: has(0), was_file: has(1), is_file: has(2) }, name))
    }
}

pub(super) fn encode_entry(key: &[u8], entry: &Entry) -> Vec<u8> {
    let leaf = encode_leaf(&[(key.to_vec(), entry.clone())]);
    let mut bytes = (leaf.references.len() as u32).to_be_bytes().to_vec();
    leaf.references.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes()));
    bytes.extend_from_slice(&leaf.payload);
    bytes
}

/// The key and the entry.
pub(super) fn decode_entry(bytes: &[u8]) -> Option<(Vec<u8>, Entry)> {
    let (count, rest) = bytes.split_first_chunk()?;
    let size = ObjectId::SIZE.checked_mul(u32::from_be_bytes(*count) as usize)?;
    let (references, payload) = rest.split_at_checked(size)?;
    let references: Vec<_> = reference_ids(references).collect();
    let node = Node::parse(0, &references, Bytes::copy_from_slice(payload)).ok()?;
    let mut items = Items::start(Arc::new(node));
    let entry = items.read_entry().ok()??;
    Some((items.key().to_vec(), entry))
}
