//! Lineages and snapshots of an account.

use std::collections::HashSet;
use std::ops::ControlFlow;

use backstore_protocol::ids::{LineageId, ObjectId, SnapshotId};
use backstore_protocol::limits::SNAPSHOTS_PAGE_MAX;
use backstore_protocol::store::{Committed, LineageInfo, StoredSnapshot};
use bytes::Bytes;

use super::Account;
use crate::control;
use crate::error::VaultError;
use crate::index::rows::{self, ControlRow, LineageRow, SnapshotRow};

impl Account {
    /// The lineages of the account.
    ///
    /// # Errors
    ///
    /// [`VaultError::Index`] when the index is damaged.
    pub fn lineages(&self) -> Result<Vec<LineageInfo>, VaultError> {
        let prefix = rows::account_prefix(rows::LINEAGES, self.number);
        let mut rows_found = Vec::new();
        self.core.index.scan_rows(
            &prefix,
            &[],
            |key, value| {
                let lineage = LineageId::from_slice(rows::split_account_key(key)?.1)?;
                Some((lineage, LineageRow::decode(value)?))
            },
            |row| {
                rows_found.push(row);
                ControlFlow::Continue(())
            },
        )?;
        rows_found.into_iter().map(|(lineage, row)| self.info(lineage, &row)).collect()
    }

    /// One lineage.
    ///
    /// # Errors
    ///
    /// As [`Account::lineages`].
    pub fn lineage(&self, lineage: LineageId) -> Result<Option<LineageInfo>, VaultError> {
        let row = self.core.index.read(&rows::lineage_key(self.number, lineage), LineageRow::decode)?;
        row.map(|row| self.info(lineage, &row)).transpose()
    }

    /// The fencing number of a lineage: 0 before its first snapshot.
    ///
    /// # Errors
    ///
    /// As [`Account::lineages`].
    pub fn fencing(&self, lineage: LineageId) -> Result<u64, VaultError> {
        let row = self.core.index.read(&rows::lineage_key(self.number, lineage), LineageRow::decode)?;
        Ok(row.map_or(0, |row| row.fencing))
    }

    fn info(&self, lineage: LineageId, row: &LineageRow) -> Result<LineageInfo, VaultError> {
        let key = rows::control_key(&rows::confirmation_key(self.number, lineage));
        let control = self.core.index.read(&key, ControlRow::decode)?;
        let confirmation = control.and_then(|row| rows::decode_confirmation(&row.value?));
        let confirmed_at = match confirmation {
            Some((head, at)) if head == row.head => at.max(row.received_at),
            Some(_) | None => row.received_at,
        };
        Ok(LineageInfo {
            lineage,
            device: row.device,
            head: row.head,
            sequence: row.sequence,
            received_at: row.received_at,
            confirmed_at,
            snapshots: row.snapshots,
        })
    }

    /// Up to `count` snapshots of a lineage with sequences below `before`, newest first; at most [`SNAPSHOTS_PAGE_MAX`].
    ///
    /// A snapshot is called damaged when its root, its body or a node right below the root is; deeper damage is found by
    /// [`crate::Vault::check`].
    ///
    /// # Errors
    ///
    /// As [`Account::lineages`].
    pub fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, VaultError> {
        let count = count.min(SNAPSHOTS_PAGE_MAX);
        let mut found: Vec<SnapshotRow> = Vec::new();
        let Some(first) = before.checked_sub(1).filter(|_| count > 0) else { return Ok(Vec::new()) };
        self.core.index.scan_rows(
            &rows::snapshots_prefix(self.number, lineage),
            &rows::snapshot_key(self.number, lineage, first),
            |_, value| SnapshotRow::decode(value),
            |row| {
                found.push(row);
                if found.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
        )?;
        let damaged: HashSet<_> = self.damaged()?.into_iter().collect();
        found.into_iter().map(|row| self.stored(row, &damaged)).collect()
    }

    fn stored(&self, row: SnapshotRow, damaged: &HashSet<ObjectId>) -> Result<StoredSnapshot, VaultError> {
        let mut is_damaged = false;
        if !damaged.is_empty() {
            is_damaged = damaged.contains(&row.body) || damaged.contains(&row.root);
            self.read(&[row.root], &mut |_, root| match root {
                Ok(root) => is_damaged |= root.reference_ids().any(|id| damaged.contains(&id)),
                Err(_) => is_damaged = true,
            })?;
        }
        Ok(StoredSnapshot {
            id: row.id,
            header: Bytes::from(row.header),
            received_at: row.received_at,
            is_damaged,
        })
    }

    /// Confirms that `head` is the head of its lineage, held and, as far as is known, undamaged, and notes the time; durable when it
    /// returns.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] without such a lineage, [`VaultError::Conflict`] if it has another head, [`VaultError::Damaged`] if its root
    /// reaches a damaged object, or what [`Account::put`] returns.
    pub fn confirm(&self, lineage: LineageId, head: SnapshotId) -> Result<Committed, VaultError> {
        self.core.check_writable()?;
        let row = self.core.index.read(&rows::lineage_key(self.number, lineage), LineageRow::decode)?;
        let row = row.ok_or(VaultError::NotFound { what: "lineage" })?;
        if row.head != head {
            return Err(VaultError::Conflict { head: Some(row.head) });
        }
        let key = rows::snapshot_key(self.number, lineage, row.sequence);
        let snapshot = self.core.index.read(&key, SnapshotRow::decode)?;
        let snapshot = snapshot.ok_or(VaultError::NotFound { what: "snapshot" })?;
        self.check_reachable(&snapshot.root, &snapshot.body)?;
        let now = self.core.machine.now_ms();
        let change =
            (rows::confirmation_key(self.number, lineage), Some(rows::encode_confirmation(head, now)));
        control::put(&self.core, [change])?.wait()?;
        Ok(Committed { id: head, received_at: now })
    }
}
