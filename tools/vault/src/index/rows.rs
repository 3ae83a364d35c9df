//! Keys and values of the index: FORMAT.md section 10.

use backstore_protocol::ids::{DeviceId, LineageId, ObjectId, SnapshotId, VaultId};
use backstore_protocol::object::ObjectKind;

use crate::ids::{AccountNumber, PackClass, PackId, PackNumber, PackTag, Place, Sequence};
use crate::pack::Fields;
use crate::pack::snapshot::SnapshotHead;

/// The version of these rows. Another version is made anew from the packs.
pub(crate) const INDEX_VERSION: u32 = 3;

/// Where the index says whose it is.
pub(crate) const VAULT_KEY: &[u8] = b"v";
/// Prefix of pack rows.
pub(crate) const PACKS: &[u8] = b"p";
/// Prefix of all object rows.
pub(crate) const OBJECTS: u8 = b'o';
/// Prefix of all second copies.
pub(crate) const COPIES: u8 = b'c';
/// Prefix of all damage.
pub(crate) const DAMAGE: u8 = b'd';
/// Prefix of all snapshots.
pub(crate) const SNAPSHOTS: u8 = b's';
/// Prefix of all lineages.
pub(crate) const LINEAGES: u8 = b'l';
/// Prefix of all usage.
pub(crate) const USAGE: u8 = b'u';
/// Prefix of the control state.
pub(crate) const CONTROL: u8 = b'k';
const SNAPSHOT_IDS: u8 = b'i';

fn account_key(kind: u8, account: AccountNumber, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + rest.len());
    key.push(kind);
    key.extend(account.get().to_be_bytes());
    key.extend(rest);
    key
}

/// Keys of one kind and account start with this.
pub(crate) fn account_prefix(kind: u8, account: AccountNumber) -> Vec<u8> {
    account_key(kind, account, &[])
}

/// Account and rest of a key made by the functions here.
pub(crate) fn split_account_key(key: &[u8]) -> Option<(AccountNumber, &[u8])> {
    let (account, rest) = key.get(1..)?.split_first_chunk()?;
    Some((AccountNumber::stored(u64::from_be_bytes(*account)), rest))
}

pub(crate) fn object_key(account: AccountNumber, id: &ObjectId) -> Vec<u8> {
    account_key(OBJECTS, account, id.as_bytes())
}

pub(crate) fn copy_key(account: AccountNumber, id: &ObjectId) -> Vec<u8> {
    account_key(COPIES, account, id.as_bytes())
}

pub(crate) fn damage_key(account: AccountNumber, id: &ObjectId) -> Vec<u8> {
    account_key(DAMAGE, account, id.as_bytes())
}

pub(crate) fn usage_key(account: AccountNumber) -> Vec<u8> {
    account_prefix(USAGE, account)
}

pub(crate) fn lineage_key(account: AccountNumber, lineage: LineageId) -> Vec<u8> {
    account_key(LINEAGES, account, lineage.as_bytes())
}

pub(crate) fn snapshot_id_key(account: AccountNumber, id: SnapshotId) -> Vec<u8> {
    account_key(SNAPSHOT_IDS, account, id.as_bytes())
}

/// All snapshots of a lineage start with this.
pub(crate) fn snapshots_prefix(account: AccountNumber, lineage: LineageId) -> Vec<u8> {
    account_key(SNAPSHOTS, account, lineage.as_bytes())
}

/// Newest first: the sequence is inverted.
pub(crate) fn snapshot_key(account: AccountNumber, lineage: LineageId, sequence: u64) -> Vec<u8> {
    let mut key = snapshots_prefix(account, lineage);
    key.extend((!sequence).to_be_bytes());
    key
}

pub(crate) fn control_key(key: &[u8]) -> Vec<u8> {
    [&[CONTROL], key].concat()
}

pub(crate) fn pack_key(number: PackNumber) -> Vec<u8> {
    [PACKS, &number.0.to_be_bytes()].concat()
}

/// Whose index it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VaultRow {
    pub(crate) vault: VaultId,
    pub(crate) version: u32,
    /// No record has a higher one.
    pub(crate) last: Sequence,
    /// Up to here everything in the vault was durable.
    pub(crate) durable: Sequence,
}

impl VaultRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.vault.as_bytes().to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.last.0.to_le_bytes());
        bytes.extend(self.durable.0.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let row = Self {
            vault: VaultId::from_bytes(fields.take()?),
            version: fields.u32()?,
            last: Sequence(fields.u64()?),
            durable: Sequence(fields.u64()?),
        };
        fields.end().map(|()| row)
    }
}

/// What the index knows of a pack's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PackState {
    /// It is being written, or was when its writer ended.
    Open = 0,
    /// It ends with a footer and may be continued.
    Closed = 1,
    /// It ends with a footer and is complete.
    Sealed = 2,
    /// Its file is gone.
    Lost = 3,
}

/// A pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackRow {
    pub(crate) id: PackId,
    pub(crate) state: PackState,
    /// Of the file, unless it is open.
    pub(crate) size: u64,
    /// Records that end here or before are in the index.
    pub(crate) indexed: u64,
    /// How many are.
    pub(crate) records: u32,
}

impl PackRow {
    /// A pack of which nothing is in the index.
    pub(crate) const fn new(id: PackId) -> Self {
        Self { id, state: PackState::Open, size: 0, indexed: crate::limits::BLOCK, records: 0 }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.id.tag.0.to_le_bytes().to_vec();
        bytes.extend([self.id.class as u8, self.state as u8]);
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.indexed.to_le_bytes());
        bytes.extend(self.records.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let number = PackNumber(u32::from_be_bytes(key.strip_prefix(PACKS)?.try_into().ok()?));
        let mut fields = Fields(bytes);
        let tag = PackTag(fields.u64()?);
        let class = PackClass::from_number(fields.u8()?)?;
        let state = match fields.u8()? {
            0 => PackState::Open,
            1 => PackState::Closed,
            2 => PackState::Sealed,
            3 => PackState::Lost,
            _ => return None,
        };
        let id = PackId { number, tag, class };
        let row = Self { id, state, size: fields.u64()?, indexed: fields.u64()?, records: fields.u32()? };
        fields.end().map(|()| row)
    }
}

/// Where an object is. Without `is_damaged` its stored bytes are believed to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectRow {
    pub(crate) place: Place,
    pub(crate) kind: ObjectKind,
    pub(crate) level: u8,
    /// The record there is a second copy.
    pub(crate) is_copy: bool,
    /// No good copy is left.
    pub(crate) is_damaged: bool,
    pub(crate) sequence: Sequence,
}

impl ObjectRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(25);
        bytes.extend(self.place.pack.0.to_le_bytes());
        bytes.extend(self.place.offset.to_le_bytes());
        bytes.extend(self.place.length.to_le_bytes());
        bytes.extend(self.place.references.to_le_bytes());
        let flags = u8::from(self.is_copy) | u8::from(self.is_damaged) << 1;
        bytes.extend([self.kind as u8, self.level, flags]);
        bytes.extend(self.sequence.0.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let place = Place {
            pack: PackNumber(fields.u32()?),
            offset: fields.u32()?,
            length: fields.u32()?,
            references: fields.u16()?,
        };
        let (kind, level, flags) = (ObjectKind::from_number(fields.u8()?)?, fields.u8()?, fields.u8()?);
        let sequence = Sequence(fields.u64()?);
        fields.end()?;
        if flags > 3 {
            return None;
        }
        Some(Self { place, kind, level, is_copy: flags & 1 != 0, is_damaged: flags & 2 != 0, sequence })
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub(crate) id: SnapshotId,
    /// Milliseconds since 1970.
    pub(crate) received_at: i64,
    pub(crate) device: DeviceId,
    pub(crate) fencing: u64,
    pub(crate) previous: Option<SnapshotId>,
    pub(crate) root: ObjectId,
    pub(crate) body: ObjectId,
    /// As it was signed.
    pub(crate) header: Vec<u8>,
}

impl SnapshotRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.id.as_bytes().to_vec();
        bytes.extend(self.received_at.to_le_bytes());
        bytes.extend(self.device.as_bytes());
        bytes.extend(self.fencing.to_le_bytes());
        bytes.extend(self.previous.unwrap_or(SnapshotId::ZERO).as_bytes());
        bytes.extend(self.root.as_bytes());
        bytes.extend(self.body.as_bytes());
        bytes.extend(&self.header);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        Some(Self {
            id: SnapshotId::from_bytes(fields.take()?),
            received_at: fields.i64()?,
            device: DeviceId::from_bytes(fields.take()?),
            fencing: fields.u64()?,
            previous: Some(SnapshotId::from_bytes(fields.take()?)).filter(|id| *id != SnapshotId::ZERO),
            root: ObjectId::from_bytes(fields.take()?),
            body: ObjectId::from_bytes(fields.take()?),
            header: fields.0.to_vec(),
        })
    }
}

/// Where the snapshot with an id stands.
pub(crate) fn encode_snapshot_position(lineage: LineageId, sequence: u64) -> Vec<u8> {
    [&lineage.as_bytes()[..], &sequence.to_le_bytes()].concat()
}

pub(crate) fn decode_snapshot_position(bytes: &[u8]) -> Option<(LineageId, u64)> {
    let mut fields = Fields(bytes);
    let position = (LineageId::from_bytes(fields.take()?), fields.u64()?);
    fields.end().map(|()| position)
}

/// A lineage and its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineageRow {
    pub(crate) head: SnapshotId,
    pub(crate) sequence: u64,
    /// When the head came: milliseconds since 1970.
    pub(crate) received_at: i64,
    pub(crate) fencing: u64,
    pub(crate) snapshots: u64,
    /// Who made the head.
    pub(crate) device: DeviceId,
}

impl LineageRow {
    /// The lineage after a snapshot joined it.
    pub(crate) fn with(
        before: Option<Self>,
        head: &SnapshotHead,
        received_at: i64,
        device: DeviceId,
    ) -> Self {
        let snapshots = before.map_or(0, |row| row.snapshots) + 1;
        match before {
            Some(row) if row.sequence > head.sequence => Self { snapshots, ..row },
            _ => Self {
                head: head.id,
                sequence: head.sequence,
                received_at,
                fencing: head.fencing,
                snapshots,
                device,
            },
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.head.as_bytes().to_vec();
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.received_at.to_le_bytes());
        bytes.extend(self.fencing.to_le_bytes());
        bytes.extend(self.snapshots.to_le_bytes());
        bytes.extend(self.device.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let row = Self {
            head: SnapshotId::from_bytes(fields.take()?),
            sequence: fields.u64()?,
            received_at: fields.i64()?,
            fencing: fields.u64()?,
            snapshots: fields.u64()?,
            device: DeviceId::from_bytes(fields.take()?),
        };
        fields.end().map(|()| row)
    }
}

/// A value of the control state, or that it was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlRow {
    /// Of the change.
    pub(crate) sequence: Sequence,
    pub(crate) value: Option<Vec<u8>>,
}

impl ControlRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.sequence.0.to_le_bytes().to_vec();
        bytes.push(u8::from(self.value.is_some()));
        bytes.extend(self.value.as_deref().unwrap_or_default());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (sequence, is_set) = (Sequence(fields.u64()?), fields.u8()?);
        let value = match is_set {
            0 => fields.end().map(|()| None)?,
            1 => Some(fields.0.to_vec()),
            _ => return None,
        };
        Some(Self { sequence, value })
    }
}

/// What an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Objects, each once.
    pub objects: u64,
    /// Bytes of their records, second copies included.
    pub bytes: u64,
}

impl Usage {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.objects.to_le_bytes(), self.bytes.to_le_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let row = Self { objects: fields.u64()?, bytes: fields.u64()? };
        fields.end().map(|()| row)
    }
}

/// Where the vault keeps when the head of a lineage was last confirmed: a key of the control state.
pub(crate) fn confirmation_key(account: AccountNumber, lineage: LineageId) -> Vec<u8> {
    let mut key = vec![0, 1];
    key.extend(account.get().to_be_bytes());
    key.extend(lineage.as_bytes());
    key
}

/// That a head was confirmed, and when: milliseconds since 1970.
pub(crate) fn encode_confirmation(head: SnapshotId, at: i64) -> Vec<u8> {
    [&head.as_bytes()[..], &at.to_le_bytes()].concat()
}

pub(crate) fn decode_confirmation(bytes: &[u8]) -> Option<(SnapshotId, i64)> {
    let mut fields = Fields(bytes);
    let confirmation = (SnapshotId::from_bytes(fields.take()?), fields.i64()?);
    fields.end().map(|()| confirmation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip() {
        let id = PackId { number: PackNumber(7), tag: PackTag(8), class: PackClass::Copy };
        for state in [PackState::Open, PackState::Closed, PackState::Sealed, PackState::Lost] {
            let row = PackRow { id, state, size: 1, indexed: 2, records: 3 };
            assert_eq!(PackRow::decode(&pack_key(id.number), &row.encode()), Some(row));
        }
        for (is_copy, is_damaged) in [(false, false), (true, false), (false, true), (true, true)] {
            let place = Place { pack: id.number, offset: 9, length: 10, references: 11 };
            let kind = ObjectKind::Map;
            let row = ObjectRow { place, kind, level: 3, is_copy, is_damaged, sequence: Sequence(12) };
            assert_eq!(ObjectRow::decode(&row.encode()), Some(row));
        }
        for value in [None, Some(vec![]), Some(vec![1, 2])] {
            let row = ControlRow { sequence: Sequence(5), value };
            assert_eq!(ControlRow::decode(&row.encode()), Some(row));
        }
        let row = Usage { objects: 1, bytes: 2 };
        assert_eq!(Usage::decode(&row.encode()), Some(row));
    }

    #[test]
    fn newer_snapshots_come_first() {
        let account = AccountNumber::stored(3);
        let key = |sequence| snapshot_key(account, LineageId::from_bytes([1; 16]), sequence);
        assert!(key(2) < key(1));
        assert!(key(u64::MAX) < key(256));
        assert!(key(1).starts_with(&snapshots_prefix(account, LineageId::from_bytes([1; 16]))));
    }
}
