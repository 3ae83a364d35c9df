//! Which snapshots need something that is damaged or lost.

use std::ops::ControlFlow;

use backstore_protocol::ids::{LineageId, ObjectId};
use backstore_protocol::object::{ObjectKind, reference_ids};

use super::marks::object_mark;
use super::{AffectedSnapshot, Check};
use crate::error::VaultError;
use crate::ids::{AccountNumber, Place};
use crate::index::rows::{self, ObjectRow, SnapshotRow};
use crate::limits::FINDINGS_MAX;

/// A node, in the order in which damage spreads: maps before trees, lower levels before higher ones.
type Node = ((ObjectKind, u8), Place, AccountNumber, ObjectId);

impl Check<'_> {
    pub(super) fn affected(&mut self) -> Result<(), VaultError> {
        if self.damaged.is_empty() {
            return Ok(());
        }
        let mut nodes: Vec<Node> = Vec::new();
        self.core.index.scan_rows(
            &[rows::OBJECTS],
            &[],
            |key, value| {
                let (account, id) = rows::split_account_key(key)?;
                Some((account, ObjectId::from_slice(id)?, ObjectRow::decode(value)?))
            },
            |(account, id, row)| {
                if row.kind.is_node() && !row.is_damaged {
                    nodes.push(((row.kind, row.level), row.place, account, id));
                }
                ControlFlow::Continue(())
            },
        )?;
        // Maps refer to maps of lower levels; trees to maps and to trees of lower levels.
        let order = |kind| if kind == ObjectKind::Map { 0 } else { 1 };
        nodes.sort_unstable_by_key(|((kind, level), place, _, _)| {
            (order(*kind), *level, place.pack, place.offset)
        });
        for (_, place, account, id) in nodes {
            if self.needs_damaged(account, &place)? {
                self.damaged.insert(object_mark(account, &id));
            }
        }
        self.affected_snapshots()
    }

    fn needs_damaged(&self, account: AccountNumber, place: &Place) -> Result<bool, VaultError> {
        let Some(pack) = self.core.packs.get(place.pack)? else { return Ok(true) };
        let failed = |error| VaultError::disk("read", self.core.packs.path(pack.id), error);
        let offset = u64::from(place.offset);
        let Ok(header) = pack.header(offset).map_err(failed)? else { return Ok(true) };
        let references = pack.references(offset, &header).map_err(failed)?;
        let is_damaged =
            reference_ids(&references).any(|id| self.damaged.may_contain(object_mark(account, &id)));
        Ok(is_damaged)
    }

    fn affected_snapshots(&mut self) -> Result<(), VaultError> {
        let mut affected = Vec::new();
        let mut count = 0;
        self.core.index.scan_rows(
            &[rows::SNAPSHOTS],
            &[],
            |key, value| {
                let (account, rest) = rows::split_account_key(key)?;
                let (lineage, sequence) = rest.split_at_checked(LineageId::SIZE)?;
                let sequence = !u64::from_be_bytes(sequence.try_into().ok()?);
                Some((account, LineageId::from_slice(lineage)?, sequence, SnapshotRow::decode(value)?))
            },
            |(account, lineage, sequence, row)| {
                let needs =
                    [row.root, row.body].iter().any(|id| self.damaged.may_contain(object_mark(account, id)));
                if needs {
                    count += 1;
                    if affected.len() < FINDINGS_MAX {
                        affected.push(AffectedSnapshot { account, lineage, sequence, id: row.id });
                    }
                }
                ControlFlow::Continue(())
            },
        )?;
        self.report.affected = affected;
        self.report.affected_count = count;
        Ok(())
    }
}
