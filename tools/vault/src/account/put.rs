//! Taking objects in.

use std::collections::HashSet;
use std::sync::PoisonError;

use backstore_protocol::ids::{DeviceId, ObjectId};
use backstore_protocol::limits::{
    BATCH_BYTES_MAX, BATCH_ITEMS_MAX, IDS_MAX, OBJECT_SEALED_MAX, TREE_DEPTH_MAX,
};
use backstore_protocol::object::{ObjectKind, SealedObject, references_are_canonical};

use super::Account;
use crate::error::VaultError;
use crate::ids::Sequence;
use crate::index::rows;
use crate::pack::record::{Flags, RecordHeader, RecordKind, content_hash};
use crate::receipt::Receipt;
use crate::writer::{NewRecord, Payload};

impl Account {
    /// Takes a batch of objects in, all or none. When it returns they are *received*: visible to [`Account::have`] and as references of
    /// later nodes. They are durable when the receipt says so, and so is then everything put before. Objects that are held already are
    /// passed over. Waits while too much is on its way to the disk.
    ///
    /// A node's references have to be held by the account or come earlier in the batch.
    ///
    /// # Errors
    ///
    /// [`VaultError::Missing`] with references that are not held, [`VaultError::BadObject`] or [`VaultError::TooLarge`], [`VaultError::Quota`],
    /// [`VaultError::ReadOnly`], or [`VaultError::Failed`] when writing has ended.
    pub fn put(&self, device: DeviceId, objects: Vec<SealedObject>) -> Result<Receipt, VaultError> {
        self.core.check_writable()?;
        check_batch(&objects)?;
        loop {
            let refusals = self.core.state().refusals();
            let new = self.find_new(&objects)?;
            self.check_closure(&objects, &new)?;
            let records = self.records(device, &objects, &new);
            self.check_quota(&records)?;
            // Between the checks and here, batches that the checks relied on may have been refused.
            if let Some(receipt) = self.core.enqueue(records, refusals)? {
                return Ok(receipt);
            }
        }
    }

    /// Positions of the objects that are not held, each id once, and whether an earlier record of it is damaged or lost.
    fn find_new(&self, objects: &[SealedObject]) -> Result<Vec<(usize, bool)>, VaultError> {
        let may_have_damage = self.may_have_damage();
        let mut ids = HashSet::with_capacity(objects.len());
        let mut new = Vec::new();
        for (position, object) in objects.iter().enumerate() {
            if !ids.insert(object.id) || self.core.state().object(self.number, &object.id).is_some() {
                continue;
            }
            match self.core.index.object(self.number, &object.id)? {
                Some(row) if !row.is_damaged => {}
                Some(_) => new.push((position, true)),
                None => {
                    let key = rows::damage_key(self.number, &object.id);
                    let is_lost = may_have_damage && self.core.index.get(&key)?.is_some();
                    new.push((position, is_lost));
                }
            }
        }
        Ok(new)
    }

    /// `Ok` if every reference of the new nodes is held or comes before them.
    fn check_closure(&self, objects: &[SealedObject], new: &[(usize, bool)]) -> Result<(), VaultError> {
        if cfg!(bug_no_closure_check) {
            return Ok(());
        }
        let mut held: HashSet<ObjectId> = HashSet::new();
        let mut missing = Vec::new();
        for (position, _) in new {
            let object = &objects[*position];
            for id in object.reference_ids() {
                if !held.contains(&id) && !missing.contains(&id) {
                    if self.core.state().object(self.number, &id).is_some() || self.holds(&id)? {
                        held.insert(id);
                    } else if missing.len() < IDS_MAX {
                        missing.push(id);
                    }
                }
            }
            held.insert(object.id);
        }
        if missing.is_empty() { Ok(()) } else { Err(VaultError::Missing { ids: missing }) }
    }

    fn records(&self, device: DeviceId, objects: &[SealedObject], new: &[(usize, bool)]) -> Vec<NewRecord> {
        let received_at = self.core.machine.now_ms();
        let mut records = Vec::with_capacity(new.len());
        for (position, again) in new {
            let object = &objects[*position];
            let header = RecordHeader {
                kind: RecordKind::Object(object.kind),
                level: object.level,
                flags: Flags { second_copy: false, again: *again },
                account: self.number,
                device,
                received_at,
                sequence: Sequence(0),
                id: object.id,
                references: (object.references.len() / ObjectId::SIZE) as u32,
                length: object.sealed.len() as u32,
                content_hash: content_hash(&object.references, &object.sealed),
                durable: Sequence(0),
            };
            let record = |header| NewRecord {
                header,
                references: object.references.clone(),
                content: object.sealed.clone(),
                payload: Payload::Object,
            };
            records.push(record(header));
            if is_kept_twice(object.kind, object.level) {
                let flags = Flags { second_copy: true, ..header.flags };
                records.push(record(RecordHeader { flags, ..header }));
            }
        }
        records
    }

    fn check_quota(&self, records: &[NewRecord]) -> Result<(), VaultError> {
        let quota =
            self.core.quotas.read().unwrap_or_else(PoisonError::into_inner).get(&self.number).copied();
        let Some(quota) = quota else { return Ok(()) };
        let new: u64 = records.iter().map(|record| record.header.size()).sum();
        let used = self.usage()?.bytes + self.core.state().bytes(self.number);
        if new == 0 || used + new <= quota { Ok(()) } else { Err(VaultError::Quota { used, quota }) }
    }
}

/// What a snapshot's structure hangs on: losing one of these loses much.
pub(crate) fn is_kept_twice(kind: ObjectKind, level: u8) -> bool {
    match kind {
        ObjectKind::Data => false,
        ObjectKind::Tree | ObjectKind::Map => level > 0,
        ObjectKind::Body => true,
    }
}

fn check_batch(objects: &[SealedObject]) -> Result<(), VaultError> {
    let bound = |what, size: usize, max: usize| {
        if size <= max {
            Ok(())
        } else {
            Err(VaultError::TooLarge { what, size: size as u64, max: max as u64 })
        }
    };
    bound("a batch, in objects,", objects.len(), BATCH_ITEMS_MAX)?;
    bound("a batch, in bytes,", objects.iter().map(SealedObject::size).sum(), BATCH_BYTES_MAX)?;
    for object in objects {
        bound("an object, in bytes,", object.sealed.len(), OBJECT_SEALED_MAX)?;
        let bad = |what| Err(VaultError::BadObject { id: object.id, what });
        if object.sealed.is_empty() {
            return bad("it is empty");
        }
        if !references_are_canonical(&object.references) {
            return bad("its references are not sorted, not whole or too many");
        }
        if !object.kind.is_node() && (!object.references.is_empty() || object.level != 0) {
            return bad("it is no node and has references or a level");
        }
        if usize::from(object.level) >= TREE_DEPTH_MAX {
            return bad("its level is too high");
        }
        if object.reference_ids().any(|id| id == object.id) {
            return bad("it refers to itself");
        }
    }
    Ok(())
}
