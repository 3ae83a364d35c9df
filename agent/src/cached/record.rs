//! A sealed object as it lies in a file of a cache, with a checksum.
//!
//! ```text
//! record  id 32 ‖ kind u8 ‖ level u8 ‖ 0 u16 ‖ references u32 ‖ sealed u32 ‖ checksum 16 ‖ 0 u32   then references ‖ sealed
//! ```
//!
//! The checksum is the start of BLAKE3 over the record with a checksum of zero. It tells what the disk has damaged; that an object is what its id
//! says is checked when it is opened.

use std::ops::Range;

use backstore_protocol::ids::ObjectId;
use backstore_protocol::limits::{NODE_REFS_MAX, OBJECT_SEALED_MAX};
use backstore_protocol::object::{ObjectKind, SealedObject};
use bytes::BytesMut;

/// Bytes before the references.
pub(super) const HEADER: usize = 64;
/// Longest record.
pub(super) const RECORD_BYTES_MAX: usize = HEADER + NODE_REFS_MAX * ObjectId::SIZE + OBJECT_SEALED_MAX;
const CHECKSUM: Range<usize> = 44..60;

/// What a record says of itself.
pub(super) struct Record {
    pub(super) id: ObjectId,
    kind: ObjectKind,
    level: u8,
    references: usize,
    sealed: usize,
}

impl Record {
    /// What a header says, if it can be one.
    pub(super) fn decode(header: &[u8; HEADER]) -> Option<Self> {
        let number = |at: usize| {
            let bytes = header[at..at + 4].try_into().expect("4 bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let record = Self {
            id: ObjectId::from_slice(&header[..32])?,
            kind: ObjectKind::from_number(header[32])?,
            level: header[33],
            references: number(36),
            sealed: number(40),
        };
        let fits = record.references <= NODE_REFS_MAX * ObjectId::SIZE && record.sealed <= OBJECT_SEALED_MAX;
        fits.then_some(record)
    }

    /// Bytes of the whole record.
    pub(super) fn length(&self) -> u64 {
        (HEADER + self.references + self.sealed) as u64
    }
}

/// Bytes of an object's record.
pub(super) fn length_of(object: &SealedObject) -> usize {
    HEADER + object.size()
}

/// Puts an object's record into `bytes`; [`stamp`] completes it.
pub(super) fn encode_into(object: &SealedObject, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(HEADER, 0);
    bytes[..32].copy_from_slice(object.id.as_bytes());
    bytes[32] = object.kind as u8;
    bytes[33] = object.level;
    bytes[36..40].copy_from_slice(&(object.references.len() as u32).to_le_bytes());
    bytes[40..44].copy_from_slice(&(object.sealed.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&object.references);
    bytes.extend_from_slice(&object.sealed);
}

/// Puts in the checksum.
pub(super) fn stamp(record: &mut [u8]) {
    let checksum = blake3::hash(record);
    record[CHECKSUM].copy_from_slice(&checksum.as_bytes()[..CHECKSUM.len()]);
}

/// The object of a record that is whole.
pub(super) fn decode(mut bytes: BytesMut) -> Option<SealedObject> {
    let record = Record::decode(bytes.first_chunk()?)?;
    let mut checksum = [0; CHECKSUM.end - CHECKSUM.start];
    checksum.copy_from_slice(&bytes[CHECKSUM]);
    bytes[CHECKSUM].fill(0);
    let is_whole = bytes.len() as u64 == record.length()
        && blake3::hash(&bytes).as_bytes()[..CHECKSUM.len()] == checksum;
    // Nobody else holds a part of the sealed bytes then, so they can be opened where they lie.
    let mut rest = bytes.split_off(HEADER).freeze();
    drop(bytes);
    is_whole.then(|| SealedObject {
        id: record.id,
        kind: record.kind,
        level: record.level,
        references: rest.split_to(record.references),
        sealed: rest,
    })
}
