//! The content of a snapshot record: FORMAT.md section 5.

use backstore_protocol::ids::{LineageId, ObjectId, SnapshotId};
use backstore_protocol::limits::HEADER_BYTES_MAX;

use super::Fields;

/// What a vault has to know of a snapshot. Its stored header is opaque; who commits it vouches that these stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Hash of the stored header.
    pub id: SnapshotId,
    /// The lineage it continues or begins.
    pub lineage: LineageId,
    /// 1 for the first of a lineage.
    pub sequence: u64,
    /// At least that of the lineage.
    pub fencing: u64,
    /// The head it continues.
    pub previous: Option<SnapshotId>,
    /// Root of its tree.
    pub root: ObjectId,
    /// Its sealed body.
    pub body: ObjectId,
}

impl SnapshotHead {
    /// What it needs, as references of its record.
    pub(crate) fn references(&self) -> Vec<u8> {
        let mut ids = [self.root, self.body];
        ids.sort_unstable();
        ids.iter().flat_map(|id| *id.as_bytes()).collect()
    }

    /// The content of its record.
    pub(crate) fn encode(&self, header: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_SIZE + header.len());
        bytes.extend(self.lineage.as_bytes());
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.fencing.to_le_bytes());
        bytes.extend(self.previous.unwrap_or(SnapshotId::ZERO).as_bytes());
        bytes.extend(self.root.as_bytes());
        bytes.extend(self.body.as_bytes());
        bytes.extend(header);
        bytes
    }

    /// The snapshot and its stored header in the content of the record of `id`.
    pub(crate) fn decode(id: SnapshotId, content: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields(content);
        let head = Self {
            id,
            lineage: LineageId::from_bytes(fields.take()?),
            sequence: fields.u64()?,
            fencing: fields.u64()?,
            previous: Some(SnapshotId::from_bytes(fields.take()?)).filter(|id| *id != SnapshotId::ZERO),
            root: ObjectId::from_bytes(fields.take()?),
            body: ObjectId::from_bytes(fields.take()?),
        };
        (fields.0.len() <= HEADER_BYTES_MAX).then_some((head, fields.0))
    }
}

const HEAD_SIZE: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn content_round_trips(content in proptest::collection::vec(any::<u8>(), HEAD_SIZE..HEAD_SIZE + 100)) {
            let id = SnapshotId::from_bytes([1; 32]);
            let (head, header) = SnapshotHead::decode(id, &content).expect("long enough");
            prop_assert_eq!(head.encode(header), content);
        }

        #[test]
        fn what_is_too_short_or_too_long_is_refused(length in prop::sample::select(vec![0, 1, HEAD_SIZE - 1, HEAD_SIZE + HEADER_BYTES_MAX + 1])) {
            let content = vec![0; length];
            prop_assert_eq!(SnapshotHead::decode(SnapshotId::ZERO, &content), None);
        }
    }

    #[test]
    fn references_are_canonical() {
        let head = SnapshotHead {
            id: SnapshotId::ZERO,
            lineage: LineageId::ZERO,
            sequence: 1,
            fencing: 0,
            previous: None,
            root: ObjectId::from_bytes([9; 32]),
            body: ObjectId::from_bytes([3; 32]),
        };
        assert!(backstore_protocol::object::references_are_canonical(&head.references()));
    }
}
