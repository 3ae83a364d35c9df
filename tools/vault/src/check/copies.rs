//! What should be there twice.

use std::collections::HashMap;
use std::ops::ControlFlow;

use backstore_protocol::ids::{DeviceId, ObjectId, SnapshotId};

use super::{Check, Finding, Problem};
use crate::account::{Account, is_kept_twice, snapshot_records};
use crate::control;
use crate::error::VaultError;
use crate::ids::{AccountNumber, Sequence};
use crate::index::change::SnapshotPayload;
use crate::index::rows::{self, ControlRow, ObjectRow, SnapshotRow};
use crate::pack::snapshot::SnapshotHead;

/// Good records of what is not an object.
#[derive(Default)]
pub(super) struct Copies {
    /// Snapshots that were there when the check began, or were found missing in the index.
    snapshots: HashMap<(AccountNumber, SnapshotId), u32>,
    control: HashMap<Vec<u8>, Vec<Sequence>>,
}

impl Copies {
    pub(super) fn saw_snapshot(&mut self, account: AccountNumber, id: SnapshotId) {
        // One that came since may have its second copy where this check does not look.
        if let Some(count) = self.snapshots.get_mut(&(account, id)) {
            *count += 1;
        }
    }

    pub(super) fn expect_snapshot(&mut self, account: AccountNumber, id: SnapshotId) {
        self.snapshots.entry((account, id)).or_default();
    }

    /// A record sets a key, and perhaps none after it does.
    pub(super) fn saw_control(&mut self, key: &[u8], sequence: Sequence) {
        let seen = self.control.entry(key.to_vec()).or_default();
        seen.push(sequence);
        seen.sort_unstable();
        // Of older changes nothing depends any more.
        if seen.len() > 2 {
            seen.remove(0);
        }
    }
}

impl Check<'_> {
    /// Notes which snapshots there are before packs are read.
    pub(super) fn expect_snapshots(&mut self) -> Result<(), VaultError> {
        let mut known = Vec::new();
        self.each_snapshot(|account, row| known.push((account, row.id)))?;
        known.into_iter().for_each(|(account, id)| self.copies.expect_snapshot(account, id));
        Ok(())
    }

    pub(super) fn copies(&mut self) -> Result<(), VaultError> {
        self.object_copies()?;
        self.snapshot_copies()?;
        self.control_copies()
    }

    fn copy_finding(&mut self, account: AccountNumber, object: ObjectId) {
        self.report.add(Finding {
            pack: None,
            offset: None,
            account: Some(account),
            object: Some(object),
            problem: Problem::Copy,
            is_repaired: self.repair,
        });
    }

    fn object_copies(&mut self) -> Result<(), VaultError> {
        let mut roots = Vec::new();
        self.each_snapshot(|account, row| roots.push((account, row.root)))?;
        let mut single = Vec::new();
        self.core.index.scan_rows(
            &[rows::OBJECTS],
            &[],
            |key, value| {
                let (account, id) = rows::split_account_key(key)?;
                Some((account, ObjectId::from_slice(id)?, ObjectRow::decode(value)?))
            },
            |(account, id, row)| {
                if is_kept_twice(row.kind, row.level) && !row.is_damaged {
                    single.push((account, id));
                }
                ControlFlow::Continue(())
            },
        )?;
        single.extend(roots);
        single.sort_unstable();
        single.dedup();
        for (account, id) in single {
            self.object_copy(account, id)?;
        }
        Ok(())
    }

    fn object_copy(&mut self, account: AccountNumber, id: ObjectId) -> Result<(), VaultError> {
        let row = self.core.index.object(account, &id)?;
        let Some(row) = row.filter(|row| !row.is_damaged && row.sequence <= self.last) else {
            return Ok(());
        };
        if self.core.index.get(&rows::copy_key(account, &id))?.is_some() {
            return Ok(());
        }
        let mut is_repaired = false;
        if self.repair {
            match Account::new(self.core.clone(), account).copy_object(&id, DeviceId::ZERO) {
                Ok(()) => is_repaired = true,
                // It was lost since it was read; it is damaged now, and the next check says so.
                Err(VaultError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.report.add(Finding { is_repaired, ..self.finding(&row.place, account, id, Problem::Copy) });
        Ok(())
    }

    fn each_snapshot(&self, mut each: impl FnMut(AccountNumber, SnapshotRow)) -> Result<(), VaultError> {
        self.core.index.scan_rows(
            &[rows::SNAPSHOTS],
            &[],
            |key, value| Some((rows::split_account_key(key)?.0, SnapshotRow::decode(value)?)),
            |(account, row)| {
                each(account, row);
                ControlFlow::Continue(())
            },
        )
    }

    /// A snapshot with fewer than two good records is written again from the index, which has all of it.
    fn snapshot_copies(&mut self) -> Result<(), VaultError> {
        let mut single = Vec::new();
        self.each_snapshot(|account, row| single.push((account, row)))?;
        let count = |key| self.copies.snapshots.get(&key).copied();
        single.retain(|(account, row)| count((*account, row.id)).is_some_and(|count| count < 2));
        for (account, row) in single {
            self.copy_finding(account, ObjectId::from_bytes(*row.id.as_bytes()));
            if !self.repair {
                continue;
            }
            let Some(head) = self.head(account, &row)? else { continue };
            let payload = SnapshotPayload {
                head,
                header: row.header,
                device: row.device,
                received_at: row.received_at,
            };
            loop {
                let refusals = self.core.state().refusals();
                let records = snapshot_records(account, &payload);
                if self.core.enqueue(records, refusals)?.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What the record of a snapshot says besides what the index has of it.
    fn head(&self, account: AccountNumber, row: &SnapshotRow) -> Result<Option<SnapshotHead>, VaultError> {
        let key = rows::snapshot_id_key(account, row.id);
        let position = self.core.index.read(&key, rows::decode_snapshot_position)?;
        Ok(position.map(|(lineage, sequence)| SnapshotHead {
            id: row.id,
            lineage,
            sequence,
            fencing: row.fencing,
            previous: row.previous,
            root: row.root,
            body: row.body,
        }))
    }

    /// A value whose last change has fewer than two good records is set again.
    fn control_copies(&mut self) -> Result<(), VaultError> {
        let mut single = Vec::new();
        self.core.index.scan_rows(
            &[rows::CONTROL],
            &[],
            |key, value| Some((key.get(1..)?.to_vec(), ControlRow::decode(value)?)),
            |(key, row)| {
                let last_two = |sequence: &&Sequence| sequence.0 + 1 >= row.sequence.0;
                let seen = self.copies.control.get(&key);
                if row.sequence <= self.last
                    && seen.map_or(0, |seen| seen.iter().filter(last_two).count()) < 2
                {
                    single.push(key);
                }
                ControlFlow::Continue(())
            },
        )?;
        for key in single {
            self.copy_finding(AccountNumber::VAULT, ObjectId::ZERO);
            if self.repair {
                control::put_again(self.core, &key)?;
            }
        }
        Ok(())
    }
}
