//! The part of a snapshot that everyone may see and only its device can make.

use crate::codec::{Malformed, Reader};
use crate::ids::{AccountId, DeviceId, DomainId, LineageId, LogHash, ObjectId, SigningPublicKey, SnapshotId};
use crate::limits::{HEADER_BYTES_MAX, SEEN_HEADS_MAX, TREE_DEPTH_MAX};
use crate::seal_box::{SigningKey, verify};
use crate::tree::Root;

/// A snapshot's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Not all of the set is new: see the body's cursor.
    pub is_partial: bool,
    /// Whose archive it is in.
    pub account: AccountId,
    /// Who made it.
    pub device: DeviceId,
    /// Which history it belongs to.
    pub lineage: LineageId,
    /// Generation of the keyring.
    pub generation: u32,
    /// Epoch it was made in.
    pub epoch: u32,
    /// 1 for the first of its lineage, then one more each.
    pub sequence: u64,
    /// Raised when the lineage is taken over.
    pub fencing: u64,
    /// The snapshot before it in the lineage; zero for the first.
    pub previous: SnapshotId,
    /// The snapshot it was made from; zero without.
    pub parent: SnapshotId,
    /// Its tree.
    pub root: Root,
    /// Its body.
    pub body: ObjectId,
    /// When the scan began, by the device's clock: milliseconds since 1970.
    pub started_at: i64,
    /// When it was complete, likewise.
    pub finished_at: i64,
    /// Newest entry of the account log the device knew.
    pub account_log_head: LogHash,
    /// Scope of its ids.
    pub domain: DomainId,
    /// Entries of its tree.
    pub entries: u64,
    /// Sizes of all files in it.
    pub bytes: u64,
    /// Heads of other lineages the device has seen, sorted by lineage.
    pub seen_heads: Vec<SeenHead>,
}

/// The head of a lineage as a device saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenHead {
    /// Which lineage.
    pub lineage: LineageId,
    /// The head's sequence.
    pub sequence: u64,
    /// The head.
    pub snapshot: SnapshotId,
}

/// Why a stored header is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is not a header.
    #[error("snapshot header: {0}")]
    Malformed(#[from] Malformed),
    /// Its device did not sign it.
    #[error("snapshot header: signature is not that of device {0}")]
    Signature(DeviceId),
}

const MAGIC: [u8; 4] = [0x8b, b'B', b'S', 1];
const FIXED: usize = 344;
const SEEN: usize = 56;
const SIGNATURE: usize = 64;
const CONTEXT: &[u8] = b"backstore 2026 v1 snapshot-header\0";

impl Header {
    /// Its stored form, signed by the device.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let mut out = self.encode();
        out.extend_from_slice(&key.sign(CONTEXT, &out));
        out
    }

    /// Reads a stored header without checking who signed it.
    pub fn decode(stored: &[u8]) -> Result<Self, Malformed> {
        if stored.len() > HEADER_BYTES_MAX || stored.len() < FIXED + SIGNATURE {
            return Err(Malformed { what: "length of a snapshot header", offset: stored.len() });
        }
        let signed = &stored[..stored.len() - SIGNATURE];
        let mut reader = Reader::new(signed);
        let header = Self::read(&mut reader)?;
        reader.finish("snapshot header")?;
        // The fixed layout has one encoding per value but for reserved bytes: this compares those too.
        if header.encode() == signed {
            Ok(header)
        } else {
            Err(Malformed { what: "reserved bytes of a snapshot header", offset: 0 })
        }
    }

    /// Whether `stored` was signed with `key`.
    pub fn verify(&self, stored: &[u8], key: &SigningPublicKey) -> Result<(), HeaderError> {
        let at = stored.len().saturating_sub(SIGNATURE);
        if verify(key, CONTEXT, &stored[..at], &stored[at..]) {
            Ok(())
        } else {
            Err(HeaderError::Signature(self.device))
        }
    }

    /// The id of a stored header.
    pub fn id(stored: &[u8]) -> SnapshotId {
        SnapshotId::from_bytes(*blake3::hash(stored).as_bytes())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + SEEN * self.seen_heads.len() + SIGNATURE);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[u8::from(self.is_partial), 0, 0, 0]);
        out.extend_from_slice(self.account.as_bytes());
        out.extend_from_slice(self.device.as_bytes());
        out.extend_from_slice(self.lineage.as_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.fencing.to_le_bytes());
        out.extend_from_slice(self.previous.as_bytes());
        out.extend_from_slice(self.parent.as_bytes());
        out.extend_from_slice(self.root.node.as_bytes());
        out.extend_from_slice(&[self.root.level, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(self.body.as_bytes());
        out.extend_from_slice(&self.started_at.to_le_bytes());
        out.extend_from_slice(&self.finished_at.to_le_bytes());
        out.extend_from_slice(self.account_log_head.as_bytes());
        out.extend_from_slice(self.domain.as_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&[0; 40]);
        out.extend_from_slice(&(self.seen_heads.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for seen in &self.seen_heads {
            out.extend_from_slice(seen.lineage.as_bytes());
            out.extend_from_slice(&seen.sequence.to_le_bytes());
            out.extend_from_slice(seen.snapshot.as_bytes());
        }
        out
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id16 = |reader: &mut Reader<'_>| reader.array::<16>("snapshot header");
        let id32 = |reader: &mut Reader<'_>| reader.array::<32>("snapshot header");
        if reader.array("snapshot magic")? != MAGIC {
            return Err(Malformed { what: "snapshot magic", offset: 0 });
        }
        let is_partial = reader.u32("snapshot flags")? & 1 == 1;
        let account = AccountId::from_bytes(id16(reader)?);
        let device = DeviceId::from_bytes(id16(reader)?);
        let lineage = LineageId::from_bytes(id16(reader)?);
        let (generation, epoch) = (reader.u32("generation")?, reader.u32("epoch")?);
        let (sequence, fencing) = (reader.u64("sequence")?, reader.u64("fencing")?);
        let previous = SnapshotId::from_bytes(id32(reader)?);
        let parent = SnapshotId::from_bytes(id32(reader)?);
        let node = ObjectId::from_bytes(id32(reader)?);
        let level = reader.u64("root level")?;
        if level >= TREE_DEPTH_MAX as u64 || sequence == 0 || generation == 0 || epoch == 0 {
            return Err(reader.malformed("snapshot header"));
        }
        let body = ObjectId::from_bytes(id32(reader)?);
        let (started_at, finished_at) = (reader.i64("time")?, reader.i64("time")?);
        let account_log_head = LogHash::from_bytes(id32(reader)?);
        let domain = DomainId::from_bytes(id16(reader)?);
        let (entries, bytes) = (reader.u64("entries")?, reader.u64("bytes")?);
        reader.take(40, "reserved")?;
        let count = reader.u32("seen heads")? as usize;
        reader.take(4, "reserved")?;
        if count > SEEN_HEADS_MAX {
            return Err(reader.malformed("seen heads"));
        }
        let seen_heads = (0..count)
            .map(|_| {
                Ok(SeenHead {
                    lineage: LineageId::from_bytes(reader.array("seen head")?),
                    sequence: reader.u64("seen head")?,
                    snapshot: SnapshotId::from_bytes(reader.array("seen head")?),
                })
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        if !seen_heads.is_sorted_by(|a, b| a.lineage < b.lineage) {
            return Err(reader.malformed("order of seen heads"));
        }
        let root = Root { node, level: level as u8 };
        Ok(Self {
            is_partial,
            account,
            device,
            lineage,
            generation,
            epoch,
            sequence,
            fencing,
            previous,
            parent,
            root,
            body,
            started_at,
            finished_at,
            account_log_head,
            domain,
            entries,
            bytes,
            seen_heads,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            is_partial: true,
            account: AccountId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([2; 16]),
            lineage: LineageId::from_bytes([3; 16]),
            generation: 1,
            epoch: 2,
            sequence: 7,
            fencing: 1,
            previous: SnapshotId::from_bytes([4; 32]),
            parent: SnapshotId::from_bytes([5; 32]),
            root: Root { node: ObjectId::from_bytes([6; 32]), level: 2 },
            body: ObjectId::from_bytes([7; 32]),
            started_at: -1,
            finished_at: 1_795_000_000_000,
            account_log_head: LogHash::from_bytes([8; 32]),
            domain: DomainId::from_bytes([9; 16]),
            entries: 10,
            bytes: 11,
            seen_heads: vec![SeenHead {
                lineage: LineageId::from_bytes([1; 16]),
                sequence: 3,
                snapshot: SnapshotId::ZERO,
            }],
        }
    }

    #[test]
    fn signed_by_its_device_and_nobody_else() {
        let key = SigningKey::from_seed(&[1; 32]);
        let stored = header().sign(&key);
        let read = Header::decode(&stored).unwrap();
        assert_eq!(read, header());
        assert_eq!(read.verify(&stored, &key.public_key()), Ok(()));
        let other = SigningKey::from_seed(&[2; 32]).public_key();
        assert_eq!(read.verify(&stored, &other), Err(HeaderError::Signature(read.device)));
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unnoticed(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let key = SigningKey::from_seed(&[1; 32]);
            let mut stored = header().sign(&key);
            let at = at.index(stored.len());
            stored[at] ^= flip;
            if let Ok(read) = Header::decode(&stored) {
                prop_assert_eq!(read.encode(), &stored[..stored.len() - 64]);
                prop_assert!(read.verify(&stored, &key.public_key()).is_err());
            }
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let stored = header().sign(&key);
        for length in 0..stored.len() {
            assert!(Header::decode(&stored[..length]).is_err(), "{length}");
        }
        let mut many = header();
        many.seen_heads = (0..=SEEN_HEADS_MAX as u8)
            .map(|n| SeenHead {
                lineage: LineageId::from_bytes([n; 16]),
                sequence: 1,
                snapshot: SnapshotId::ZERO,
            })
            .collect();
        assert!(Header::decode(&many.sign(&key)).is_err());
        many.seen_heads = vec![header().seen_heads[0]; 2];
        assert!(Header::decode(&many.sign(&key)).is_err());
    }
}
