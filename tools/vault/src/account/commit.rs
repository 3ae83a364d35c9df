//! Making a snapshot of what was put.

use std::collections::HashSet;
use std::sync::Arc;

use backstore_protocol::ids::{DeviceId, ObjectId};
use backstore_protocol::limits::HEADER_BYTES_MAX;
use backstore_protocol::object::ObjectKind;
use backstore_protocol::store::Committed;
use bytes::Bytes;

use super::Account;
use super::put::is_kept_twice;
use crate::error::VaultError;
use crate::ids::{AccountNumber, Sequence};
use crate::index::change::SnapshotPayload;
use crate::index::rows::{self, LineageRow, SnapshotRow};
use crate::pack::record::{Flags, RecordHeader, RecordKind, content_hash};
use crate::pack::snapshot::SnapshotHead;
use crate::receipt::Receipt;
use crate::writer::{NewRecord, Payload};

/// A snapshot to be committed.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// Who commits it.
    pub device: DeviceId,
    /// What its header says; the caller has verified that.
    pub head: SnapshotHead,
    /// The header as it was signed.
    pub header: &'a [u8],
}

impl Account {
    /// Makes a snapshot, durable when it returns, and everything it needs as well. Committing the same snapshot again gives the same answer.
    ///
    /// # Errors
    ///
    /// [`VaultError::Conflict`] if the lineage has another head than the snapshot continues; [`VaultError::Fenced`] if another device has
    /// taken it over; [`VaultError::Missing`] without its root or body; [`VaultError::Damaged`] if its root reaches a damaged object;
    /// or what [`Account::put`] returns.
    pub fn commit(&self, commit: &Commit<'_>) -> Result<Committed, VaultError> {
        self.core.check_writable()?;
        let size = commit.header.len();
        if size > HEADER_BYTES_MAX {
            let (size, max) = (size as u64, HEADER_BYTES_MAX as u64);
            return Err(VaultError::TooLarge { what: "a snapshot's header, in bytes,", size, max });
        }
        if let Some(committed) = self.committed(commit)? {
            return Ok(committed);
        }
        self.check_reachable(&commit.head.root, &commit.head.body)?;
        self.copy_object(&commit.head.root, commit.device)?;
        // A snapshot is written only when what it needs is durable.
        self.core.sync()?;
        let (receipt, received_at) = self.write_snapshot(commit)?;
        receipt.wait()?;
        Ok(Committed { id: commit.head.id, received_at })
    }

    /// The answer for a snapshot that is held already.
    fn committed(&self, commit: &Commit<'_>) -> Result<Option<Committed>, VaultError> {
        let key = rows::snapshot_id_key(self.number, commit.head.id);
        let Some((lineage, sequence)) = self.core.index.read(&key, rows::decode_snapshot_position)? else {
            return Ok(None);
        };
        let row =
            self.core.index.read(&rows::snapshot_key(self.number, lineage, sequence), SnapshotRow::decode)?;
        Ok(row.map(|row| Committed { id: row.id, received_at: row.received_at }))
    }

    /// `Ok` if root and body are held and, when objects of the account are damaged, none of them is needed.
    pub(super) fn check_reachable(&self, root: &ObjectId, body: &ObjectId) -> Result<(), VaultError> {
        let mut missing = Vec::new();
        for (id, kind) in [(*root, ObjectKind::Tree), (*body, ObjectKind::Body)] {
            match self.kind(&id)? {
                Some(found) if found == kind => {}
                Some(_) => {
                    return Err(VaultError::BadObject {
                        id,
                        what: "it is not of the kind a snapshot needs there",
                    });
                }
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            return Err(VaultError::Missing { ids: missing });
        }
        let damaged: HashSet<_> = self.damaged()?.into_iter().collect();
        if damaged.is_empty() { Ok(()) } else { self.check_avoids(root, &damaged) }
    }

    /// What an object that is held undamaged is.
    fn kind(&self, id: &ObjectId) -> Result<Option<ObjectKind>, VaultError> {
        if let Some(pending) = self.core.state().object(self.number, id) {
            return Ok(Some(pending.kind));
        }
        let row = self.core.index.object(self.number, id)?;
        Ok(row.filter(|row| !row.is_damaged).map(|row| row.kind))
    }

    /// `Ok` if the root reaches none of the damaged objects. Reads all nodes below it.
    fn check_avoids(&self, root: &ObjectId, damaged: &HashSet<ObjectId>) -> Result<(), VaultError> {
        let mut seen = HashSet::from([*root]);
        let mut level = vec![*root];
        while !level.is_empty() {
            let mut children = Vec::new();
            for part in level.chunks(NODES_AT_ONCE) {
                children.extend(self.children(part)?);
            }
            if let Some(id) = children.iter().find(|id| damaged.contains(id)) {
                return Err(VaultError::Damaged { id: *id });
            }
            children.sort_unstable();
            children.dedup();
            level.clear();
            for id in children {
                if self.kind(&id)?.is_some_and(ObjectKind::is_node) && seen.insert(id) {
                    level.push(id);
                }
            }
        }
        Ok(())
    }

    /// What nodes refer to.
    fn children(&self, nodes: &[ObjectId]) -> Result<Vec<ObjectId>, VaultError> {
        let mut children = Vec::new();
        let mut unread = None;
        self.read(nodes, &mut |position, object| match object {
            Ok(object) => children.extend(object.reference_ids()),
            Err(_) => unread = Some(nodes[position]),
        })?;
        unread.map_or(Ok(children), |id| Err(VaultError::Damaged { id }))
    }

    /// Writes a second copy of an object that lacks one. A root that is a leaf was stored once; a snapshot's root is kept twice.
    pub(crate) fn copy_object(&self, id: &ObjectId, device: DeviceId) -> Result<(), VaultError> {
        loop {
            let refusals = self.core.state().refusals();
            let has_copy = self.core.index.get(&rows::copy_key(self.number, id))?.is_some();
            let mut object = None;
            self.read(&[*id], &mut |_, read| object = read.ok())?;
            let object = object.ok_or(VaultError::Damaged { id: *id })?;
            // What is kept twice anyway and is on its way has its copy with it.
            let is_pending = self.core.state().object(self.number, id).is_some();
            if has_copy || (is_pending && is_kept_twice(object.kind, object.level)) {
                return Ok(());
            }
            // If the second copy is what is left, it is the first that is written again.
            let is_copy = self.core.index.object(self.number, id)?.is_some_and(|row| row.is_copy);
            let header = RecordHeader {
                kind: RecordKind::Object(object.kind),
                level: object.level,
                flags: Flags { second_copy: !is_copy, again: false },
                account: self.number,
                device,
                received_at: self.core.machine.now_ms(),
                sequence: Sequence(0),
                id: *id,
                references: (object.references.len() / ObjectId::SIZE) as u32,
                length: object.sealed.len() as u32,
                content_hash: content_hash(&object.references, &object.sealed),
                durable: Sequence(0),
            };
            let (references, content) = (object.references, object.sealed);
            let record = NewRecord { header, references, content, payload: Payload::Object };
            if self.core.enqueue(vec![record], refusals)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Queues the snapshot, if it still continues its lineage.
    fn write_snapshot(&self, commit: &Commit<'_>) -> Result<(Receipt, i64), VaultError> {
        let _guard = self.core.lock_commits();
        let key = rows::lineage_key(self.number, commit.head.lineage);
        loop {
            let (refusals, pending) = {
                let state = self.core.state();
                (state.refusals(), state.head(self.number, commit.head.lineage).cloned())
            };
            let known = self.core.index.read(&key, LineageRow::decode)?;
            let row = match &pending {
                Some(pending) => {
                    Some(LineageRow::with(known, &pending.head, pending.received_at, pending.device))
                }
                None => known,
            };
            let (records, received_at) = match row {
                // The same commit, from another thread or sent again: it is on its way or held already.
                Some(row) if row.head == commit.head.id => (Vec::new(), row.received_at),
                row => {
                    check_continues(&commit.head, commit.device, row.as_ref())?;
                    let received_at = self.core.machine.now_ms();
                    let payload = SnapshotPayload {
                        head: commit.head,
                        header: commit.header.to_vec(),
                        device: commit.device,
                        received_at,
                    };
                    (snapshot_records(self.number, &payload), received_at)
                }
            };
            if let Some(receipt) = self.core.enqueue(records, refusals)? {
                return Ok((receipt, received_at));
            }
        }
    }
}

/// A snapshot's record and its second copy.
pub(crate) fn snapshot_records(account: AccountNumber, payload: &SnapshotPayload) -> Vec<NewRecord> {
    let references = Bytes::from(payload.head.references());
    let content = Bytes::from(payload.head.encode(&payload.header));
    let shared = Arc::new(payload.clone());
    let record = |second_copy| NewRecord {
        header: RecordHeader {
            kind: RecordKind::Snapshot,
            level: 0,
            flags: Flags { second_copy, again: false },
            account,
            device: payload.device,
            received_at: payload.received_at,
            sequence: Sequence(0),
            id: ObjectId::from_bytes(*payload.head.id.as_bytes()),
            references: (references.len() / ObjectId::SIZE) as u32,
            length: content.len() as u32,
            content_hash: content_hash(&references, &content),
            durable: Sequence(0),
        },
        references: references.clone(),
        content: content.clone(),
        payload: Payload::Snapshot(Arc::clone(&shared)),
    };
    vec![record(false), record(true)]
}

/// `Ok` if a snapshot of a device is the next one of its lineage.
fn check_continues(
    head: &SnapshotHead,
    device: DeviceId,
    lineage: Option<&LineageRow>,
) -> Result<(), VaultError> {
    let conflict = Err(VaultError::Conflict { head: lineage.map(|row| row.head) });
    let Some(row) = lineage else {
        return if head.previous.is_none() && head.sequence == 1 { Ok(()) } else { conflict };
    };
    // A device that takes a lineage over raises the number; with the same number there is no other device.
    if head.fencing < row.fencing || (head.fencing == row.fencing && device != row.device) {
        return Err(VaultError::Fenced { fencing: row.fencing });
    }
    let is_next = head.previous == Some(row.head) && row.sequence.checked_add(1) == Some(head.sequence);
    if is_next { Ok(()) } else { conflict }
}

/// Nodes that are read with one call.
const NODES_AT_ONCE: usize = 1024;
