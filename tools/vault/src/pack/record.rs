//! The header every record begins with: FORMAT.md section 4.

use backstore_protocol::ids::{DeviceId, ObjectId, VaultId};
use backstore_protocol::limits::NODE_REFS_MAX;
use backstore_protocol::object::ObjectKind;

use super::Fields;
use crate::ids::{AccountNumber, PackId, Sequence, record_size};
use crate::limits::CONTENT_BYTES_MAX;

/// Bytes of a header.
pub(crate) const HEADER_SIZE: usize = 144;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RecordKind {
    /// A sealed object.
    Object(ObjectKind),
    /// A snapshot's header and what it continues.
    Snapshot,
    /// A batch of changes of the control state.
    Control,
    /// The table of a pack.
    Footer,
    /// Nothing but how far the pack is durable.
    Mark,
}

impl RecordKind {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Object(kind) => kind as u8,
            Self::Snapshot => 16,
            Self::Control => 17,
            Self::Footer => 32,
            Self::Mark => 33,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            16 => Self::Snapshot,
            17 => Self::Control,
            32 => Self::Footer,
            33 => Self::Mark,
            _ => match ObjectKind::from_number(number) {
                Some(kind) => Self::Object(kind),
                None => return None,
            },
        })
    }

    /// Whether a footer lists it: marks and footers only describe the pack.
    pub(crate) const fn is_listed(self) -> bool {
        !matches!(self, Self::Footer | Self::Mark)
    }
}

/// Flags of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    /// It repeats a record of another pack.
    pub(crate) second_copy: bool,
    /// An earlier record of this id is damaged or lost.
    pub(crate) again: bool,
}

impl Flags {
    pub(crate) const fn number(self) -> u8 {
        self.second_copy as u8 | (self.again as u8) << 1
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        if number > 3 {
            return None;
        }
        Some(Self { second_copy: number & 1 != 0, again: number & 2 != 0 })
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    pub(crate) level: u8,
    pub(crate) flags: Flags,
    pub(crate) account: AccountNumber,
    pub(crate) device: DeviceId,
    /// Milliseconds since 1970.
    pub(crate) received_at: i64,
    /// Of marks and footers that of the last record before them in the pack.
    pub(crate) sequence: Sequence,
    pub(crate) id: ObjectId,
    /// How many.
    pub(crate) references: u32,
    /// Of the content, in bytes.
    pub(crate) length: u32,
    pub(crate) content_hash: [u8; 32],
    /// All records of the vault up to this one were durable when the header was made.
    pub(crate) durable: Sequence,
}

/// Why bytes are no header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// They were not written as one, at this place.
    NotARecord,
    /// They were, but say something that is not known.
    Newer(String),
}

/// Keys the checks of a pack's records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackKey([u8; 32]);

impl PackKey {
    pub(crate) fn new(vault: VaultId, id: PackId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("backstore 2026 v1 vault pack");
        hasher.update(vault.as_bytes());
        hasher.update(&id.number.0.to_le_bytes());
        hasher.update(&id.tag.0.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The check of a header at `offset`.
    fn check(&self, offset: u64, fields: &[u8]) -> [u8; CHECK_SIZE] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&offset.to_le_bytes());
        hasher.update(fields);
        let mut check = [0; CHECK_SIZE];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_SIZE]);
        check
    }
}

/// Makes the check of a header's bytes right again, as if other software had written them at `offset`.
#[cfg(test)]
pub(crate) fn make_check_right(header: &mut [u8], key: &PackKey, offset: u64) {
    let check = key.check(offset, &header[..CHECKED_SIZE]);
    header[CHECKED_SIZE..HEADER_SIZE].copy_from_slice(&check);
}

impl RecordHeader {
    /// Bytes of the whole record.
    pub(crate) fn size(&self) -> u64 {
        record_size(self.references, self.length)
    }

    /// The header as it stands at `offset` of the pack with `key`.
    pub(crate) fn encode(&self, key: &PackKey, offset: u64) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[0..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4..8].copy_from_slice(&[self.kind.number(), self.level, self.flags.number(), 0]);
        bytes[8..16].copy_from_slice(&self.account.get().to_le_bytes());
        bytes[16..32].copy_from_slice(self.device.as_bytes());
        bytes[32..40].copy_from_slice(&self.received_at.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[48..80].copy_from_slice(self.id.as_bytes());
        bytes[80..84].copy_from_slice(&self.references.to_le_bytes());
        bytes[84..88].copy_from_slice(&self.length.to_le_bytes());
        bytes[88..120].copy_from_slice(&self.content_hash);
        bytes[120..128].copy_from_slice(&self.durable.0.to_le_bytes());
        let check = key.check(offset, &bytes[..CHECKED_SIZE]);
        bytes[CHECKED_SIZE..].copy_from_slice(&check);
        bytes
    }

    /// The header that `bytes` are at `offset` of the pack with `key`.
    pub(crate) fn decode(bytes: &[u8], key: &PackKey, offset: u64) -> Result<Self, RecordFault> {
        let bytes = bytes.get(..HEADER_SIZE).ok_or(RecordFault::NotARecord)?;
        if bytes[..3] != RECORD_MAGIC[..3]
            || key.check(offset, &bytes[..CHECKED_SIZE]) != bytes[CHECKED_SIZE..]
        {
            return Err(RecordFault::NotARecord);
        }
        let newer =
            || RecordFault::Newer(format!("record at {offset}, kind {}, version {}", bytes[4], bytes[3]));
        if bytes[3] != RECORD_MAGIC[3] {
            return Err(newer());
        }
        let header = Self::parse(&mut Fields(&bytes[4..])).ok_or_else(newer)?;
        let is_possible =
            header.references as usize <= NODE_REFS_MAX && header.length as usize <= CONTENT_BYTES_MAX;
        if is_possible { Ok(header) } else { Err(newer()) }
    }

    fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let kind = RecordKind::from_number(fields.u8()?)?;
        let level = fields.u8()?;
        let flags = Flags::from_number(fields.u8()?)?;
        fields.zeros(1)?;
        Some(Self {
            kind,
            level,
            flags,
            account: AccountNumber::stored(fields.u64()?),
            device: DeviceId::from_bytes(fields.take()?),
            received_at: fields.i64()?,
            sequence: Sequence(fields.u64()?),
            id: ObjectId::from_bytes(fields.take()?),
            references: fields.u32()?,
            length: fields.u32()?,
            content_hash: fields.take()?,
            durable: Sequence(fields.u64()?),
        })
    }
}

/// The hash that a record states of what follows its header.
pub(crate) fn content_hash(references: &[u8], content: &[u8]) -> [u8; 32] {
    if references.is_empty() {
        return *blake3::hash(content).as_bytes();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(references);
    hasher.update(content);
    *hasher.finalize().as_bytes()
}

/// How every record begins; the last byte is the version.
pub(crate) const RECORD_MAGIC: [u8; 4] = [0x8b, 0x42, 0x52, 0x01];
const CHECK_SIZE: usize = 16;
const CHECKED_SIZE: usize = HEADER_SIZE - CHECK_SIZE;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{PackClass, PackNumber, PackTag};

    pub(crate) fn key() -> PackKey {
        let id =
            PackId { number: PackNumber(3), tag: PackTag(0x1234_5678_9abc_def0), class: PackClass::Meta };
        PackKey::new(VaultId::from_bytes([7; 16]), id)
    }

    pub(crate) fn any_header() -> impl Strategy<Value = RecordHeader> {
        let kinds = prop::sample::select(vec![1u8, 2, 3, 4, 16, 17, 32, 33]);
        let small = (kinds, 0u8..4, any::<u8>(), any::<u64>(), any::<[u8; 16]>(), any::<i64>(), any::<u64>());
        let large = (any::<[u8; 32]>(), 0u32..=4096, 0u32..=5 << 20, any::<[u8; 32]>(), any::<u64>());
        (small, large).prop_map(|((kind, flags, level, account, device, received_at, sequence), large)| {
            let (id, references, length, content_hash, durable) = large;
            RecordHeader {
                kind: RecordKind::from_number(kind).expect("a kind"),
                level,
                flags: Flags::from_number(flags).expect("flags"),
                account: AccountNumber::stored(account),
                device: DeviceId::from_bytes(device),
                received_at,
                sequence: Sequence(sequence),
                id: ObjectId::from_bytes(id),
                references,
                length,
                content_hash,
                durable: Sequence(durable),
            }
        })
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(header in any_header(), offset: u64) {
            let bytes = header.encode(&key(), offset);
            prop_assert_eq!(RecordHeader::decode(&bytes, &key(), offset), Ok(header));
        }

        #[test]
        fn a_flipped_bit_or_another_place_is_no_record(header in any_header(), offset: u64, bit in 0..8 * HEADER_SIZE) {
            let mut bytes = header.encode(&key(), offset);
            prop_assert_eq!(RecordHeader::decode(&bytes, &key(), offset ^ 4096), Err(RecordFault::NotARecord));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(RecordHeader::decode(&bytes, &key(), offset), Err(RecordFault::NotARecord));
        }

        /// Whatever is accepted is what would have been written; a right check alone is not enough.
        #[test]
        fn unknown_contents_are_refused_as_newer(header in any_header(), offset: u64, at in 3usize..CHECKED_SIZE, value: u8) {
            let mut bytes = header.encode(&key(), offset);
            bytes[at] = value;
            let check = key().check(offset, &bytes[..CHECKED_SIZE]);
            bytes[CHECKED_SIZE..].copy_from_slice(&check);
            match RecordHeader::decode(&bytes, &key(), offset) {
                Ok(header) => prop_assert_eq!(header.encode(&key(), offset), bytes),
                Err(fault) => prop_assert!(matches!(fault, RecordFault::Newer(_)), "{:?}", fault),
            }
        }
    }

    #[test]
    fn reserved_kinds_are_refused() {
        for number in (0..=255).filter(|number| RecordKind::from_number(*number).is_none()) {
            assert_eq!(RecordKind::from_number(number), None);
            let mut header = [0; HEADER_SIZE];
            header[..5].copy_from_slice(&[0x8b, 0x42, 0x52, 1, number]);
            let check = key().check(0, &header[..CHECKED_SIZE]);
            header[CHECKED_SIZE..].copy_from_slice(&check);
            let fault = RecordHeader::decode(&header, &key(), 0);
            assert!(matches!(fault, Err(RecordFault::Newer(_))), "kind {number}: {fault:?}");
        }
    }
}
