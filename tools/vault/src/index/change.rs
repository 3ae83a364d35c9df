//! A change of the index, computed from rows as they are: what records mean for it.

use std::collections::{BTreeMap, HashMap};

use backstore_protocol::ids::{DeviceId, ObjectId};
use backstore_protocol::object::ObjectKind;

use super::rows::{
    self, ControlRow, LineageRow, ObjectRow, PackRow, SnapshotRow, Usage, VAULT_KEY, VaultRow,
    encode_snapshot_position,
};
use super::{Index, Row};
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackNumber, Sequence};
use crate::pack::control::ControlBatch;
use crate::pack::footer::Entry;
use crate::pack::record::RecordKind;
use crate::pack::snapshot::SnapshotHead;

/// What an entry does not say of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotPayload {
    pub(crate) head: SnapshotHead,
    /// As it was signed.
    pub(crate) header: Vec<u8>,
    pub(crate) device: DeviceId,
    /// Milliseconds since 1970.
    pub(crate) received_at: i64,
}

/// Rows that will be written together. Reads see them already.
pub(crate) struct Change<'a> {
    index: &'a Index,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    usage: HashMap<AccountNumber, (i64, i64)>,
}

impl<'a> Change<'a> {
    pub(super) fn new(index: &'a Index) -> Self {
        Self { index, rows: BTreeMap::new(), usage: HashMap::new() }
    }

    fn read<T>(&self, key: &[u8], parse: fn(&[u8]) -> Option<T>) -> Result<Option<T>, VaultError> {
        match self.rows.get(key) {
            Some(value) => Ok(value.as_deref().and_then(parse)),
            None => self.index.read(key, parse),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rows.insert(key, Some(value));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.rows.insert(key, None);
    }

    fn count(&mut self, account: AccountNumber, objects: i64, bytes: i64) {
        let usage = self.usage.entry(account).or_default();
        usage.0 += objects;
        usage.1 += bytes;
    }

    /// Where an object is.
    pub(crate) fn object(
        &self,
        account: AccountNumber,
        id: &ObjectId,
    ) -> Result<Option<ObjectRow>, VaultError> {
        self.read(&rows::object_key(account, id), ObjectRow::decode)
    }

    fn copy(&self, account: AccountNumber, id: &ObjectId) -> Result<Option<ObjectRow>, VaultError> {
        self.read(&rows::copy_key(account, id), ObjectRow::decode)
    }

    /// Takes an object's record over. Of several records of an id the newest counts, first and second copies apart.
    pub(crate) fn add_object(
        &mut self,
        pack: PackNumber,
        entry: &Entry,
        kind: ObjectKind,
    ) -> Result<(), VaultError> {
        let (account, id) = (entry.account, &entry.id);
        let row = ObjectRow {
            place: entry.place(pack),
            kind,
            level: entry.level,
            is_copy: entry.flags.second_copy,
            is_damaged: false,
            sequence: entry.sequence,
        };
        let Some(first) = self.object(account, id)? else {
            self.count(account, 1, row.place.size() as i64);
            self.put(rows::object_key(account, id), row.encode());
            self.heal(entry);
            return Ok(());
        };
        self.heal(entry);
        match (first.is_copy, row.is_copy) {
            (true, true) | (false, false) => {
                if row.sequence > first.sequence {
                    self.count(account, 0, row.place.size() as i64 - first.place.size() as i64);
                    self.put(rows::object_key(account, id), row.encode());
                }
            }
            (true, false) => {
                self.count(account, 0, row.place.size() as i64);
                self.put(rows::object_key(account, id), row.encode());
                if !first.is_damaged {
                    self.put_copy(account, id, first)?;
                } else {
                    self.count(account, 0, -(first.place.size() as i64));
                }
            }
            (false, true) if first.is_damaged && row.sequence > first.sequence => {
                self.count(account, 0, row.place.size() as i64 - first.place.size() as i64);
                self.put(rows::object_key(account, id), row.encode());
            }
            (false, true) => self.add_copy(account, id, row)?,
        }
        Ok(())
    }

    /// What comes again is damaged no more. Only such records say so: most are new, and not looked up for that.
    fn heal(&mut self, entry: &Entry) {
        if entry.flags.again {
            self.remove(rows::damage_key(entry.account, &entry.id));
        }
    }

    /// A record was found whole, whatever the index believes of it.
    pub(crate) fn restore_object(
        &mut self,
        pack: PackNumber,
        entry: &Entry,
        kind: ObjectKind,
    ) -> Result<(), VaultError> {
        let (account, id) = (entry.account, &entry.id);
        // A row of the same record that says otherwise is wrong.
        let is_wrong =
            |row: &ObjectRow| row.is_copy == entry.flags.second_copy && row.sequence == entry.sequence;
        if let Some(first) = self.object(account, id)?.filter(|row| row.is_damaged || is_wrong(row)) {
            self.count(account, -1, -(first.place.size() as i64));
            self.remove(rows::object_key(account, id));
        }
        if let Some(copy) = self.copy(account, id)?.filter(is_wrong) {
            self.count(account, 0, -(copy.place.size() as i64));
            self.remove(rows::copy_key(account, id));
        }
        self.remove(rows::damage_key(account, id));
        self.add_object(pack, entry, kind)
    }

    fn add_copy(&mut self, account: AccountNumber, id: &ObjectId, row: ObjectRow) -> Result<(), VaultError> {
        match self.copy(account, id)? {
            Some(before) if before.sequence >= row.sequence => return Ok(()),
            Some(before) => self.count(account, 0, row.place.size() as i64 - before.place.size() as i64),
            None => self.count(account, 0, row.place.size() as i64),
        }
        self.put(rows::copy_key(account, id), row.encode());
        Ok(())
    }

    /// Sets the second copy of an object whose bytes are counted already.
    fn put_copy(&mut self, account: AccountNumber, id: &ObjectId, row: ObjectRow) -> Result<(), VaultError> {
        if let Some(before) = self.copy(account, id)? {
            self.count(account, 0, -(before.place.size() as i64));
        }
        self.put(rows::copy_key(account, id), row.encode());
        Ok(())
    }

    /// The record at `row.place` is not what it was. The other copy takes its place, if there is one; else the object is
    /// damaged from now on. Nothing happens if the index says something else by now. Returns whether the object is damaged.
    pub(crate) fn lose_place(
        &mut self,
        account: AccountNumber,
        id: &ObjectId,
        row: &ObjectRow,
    ) -> Result<bool, VaultError> {
        let Some(first) = self.object(account, id)? else { return Ok(false) };
        let copy = self.copy(account, id)?;
        if copy.is_some_and(|copy| copy.place == row.place) {
            self.count(account, 0, -(row.place.size() as i64));
            self.remove(rows::copy_key(account, id));
            return Ok(first.is_damaged);
        }
        if first.place != row.place || first.is_damaged {
            return Ok(first.is_damaged);
        }
        if let Some(copy) = copy {
            self.count(account, 0, -(first.place.size() as i64));
            self.put(rows::object_key(account, id), copy.encode());
            self.remove(rows::copy_key(account, id));
            return Ok(false);
        }
        self.put(rows::object_key(account, id), ObjectRow { is_damaged: true, ..first }.encode());
        self.put(rows::damage_key(account, id), Vec::new());
        Ok(true)
    }

    /// An object that is referred to is nowhere.
    pub(crate) fn add_absent(&mut self, account: AccountNumber, id: &ObjectId) -> Result<(), VaultError> {
        if self.object(account, id)?.is_none() {
            self.put(rows::damage_key(account, id), Vec::new());
        }
        Ok(())
    }

    /// Takes a snapshot over, unless it is known.
    pub(crate) fn add_snapshot(
        &mut self,
        account: AccountNumber,
        payload: &SnapshotPayload,
    ) -> Result<(), VaultError> {
        let head = &payload.head;
        let id_key = rows::snapshot_id_key(account, head.id);
        if self.read(&id_key, rows::decode_snapshot_position)?.is_some() {
            return Ok(());
        }
        self.put(id_key, encode_snapshot_position(head.lineage, head.sequence));
        let row = SnapshotRow {
            id: head.id,
            received_at: payload.received_at,
            device: payload.device,
            fencing: head.fencing,
            previous: head.previous,
            root: head.root,
            body: head.body,
            header: payload.header.clone(),
        };
        self.put(rows::snapshot_key(account, head.lineage, head.sequence), row.encode());
        let lineage_key = rows::lineage_key(account, head.lineage);
        let before = self.read(&lineage_key, LineageRow::decode)?;
        let lineage = LineageRow::with(before, head, payload.received_at, payload.device);
        self.put(lineage_key, lineage.encode());
        Ok(())
    }

    /// Takes a batch of control changes over, where no newer ones are known.
    pub(crate) fn add_control(&mut self, sequence: Sequence, batch: &ControlBatch) -> Result<(), VaultError> {
        for (key, value) in batch.changes() {
            let key = rows::control_key(key);
            if self.read(&key, ControlRow::decode)?.is_none_or(|row| row.sequence <= sequence) {
                self.put(key, ControlRow { sequence, value: value.clone() }.encode());
            }
        }
        Ok(())
    }

    pub(crate) fn put_pack(&mut self, row: &PackRow) {
        self.put(rows::pack_key(row.id.number), row.encode());
    }

    pub(crate) fn put_vault(&mut self, row: &VaultRow) {
        self.put(VAULT_KEY.to_vec(), row.encode());
    }

    /// Whether a footer's entry is an object's, and of what kind.
    pub(crate) fn object_kind(entry: &Entry) -> Option<ObjectKind> {
        match entry.kind {
            RecordKind::Object(kind) => Some(kind),
            RecordKind::Snapshot | RecordKind::Control | RecordKind::Footer | RecordKind::Mark => None,
        }
    }

    /// All rows.
    pub(super) fn finish(mut self) -> Result<Vec<Row>, VaultError> {
        for (account, (objects, bytes)) in std::mem::take(&mut self.usage) {
            let key = rows::usage_key(account);
            let before = self.read(&key, Usage::decode)?.unwrap_or_default();
            let after = Usage {
                objects: before.objects.saturating_add_signed(objects),
                bytes: before.bytes.saturating_add_signed(bytes),
            };
            self.put(key, after.encode());
        }
        Ok(self.rows.into_iter().collect())
    }
}
