//! Packs whose files are gone: their objects are damaged from now on, except those with a second copy.

use std::collections::HashSet;
use std::ops::ControlFlow;

use backstore_protocol::ids::ObjectId;

use super::OpenReport;
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackNumber};
use crate::index::Index;
use crate::index::rows::{self, ObjectRow, PackRow, PackState};

/// Notes that packs are lost.
pub(crate) fn lose_packs(index: &Index, lost: &[PackRow], report: &mut OpenReport) -> Result<(), VaultError> {
    if lost.is_empty() {
        return Ok(());
    }
    let numbers: HashSet<_> = lost.iter().map(|row| row.id.number).collect();
    // Second copies first: then no lost one takes the place of a lost first one.
    for kind in [rows::COPIES, rows::OBJECTS] {
        let mut from = vec![kind];
        while let Some(next) = lose_some(index, kind, &from, &numbers, report)? {
            from = next;
        }
    }
    index.change(|change| {
        for row in lost {
            change.put_pack(&PackRow { state: PackState::Lost, ..*row });
        }
        Ok(())
    })?;
    report.lost_packs.extend(lost.iter().map(|row| row.id.number));
    Ok(())
}

/// Goes through rows from a key on, and returns the key to go on from.
fn lose_some(
    index: &Index,
    kind: u8,
    from: &[u8],
    numbers: &HashSet<PackNumber>,
    report: &mut OpenReport,
) -> Result<Option<Vec<u8>>, VaultError> {
    let mut found: Vec<(AccountNumber, ObjectId, ObjectRow)> = Vec::new();
    let mut next = None;
    index.scan_rows(
        &[kind],
        from,
        |key, value| {
            let (account, id) = rows::split_account_key(key)?;
            Some((account, ObjectId::from_slice(id)?, ObjectRow::decode(value)?))
        },
        |(account, id, row)| {
            if numbers.contains(&row.place.pack) {
                found.push((account, id, row));
            }
            if found.len() < ROWS_AT_ONCE {
                return ControlFlow::Continue(());
            }
            let mut key = rows::account_prefix(kind, account);
            key.extend(id.as_bytes());
            key.push(0);
            next = Some(key);
            ControlFlow::Break(())
        },
    )?;
    index.change(|change| {
        for (account, id, row) in &found {
            report.damaged_objects += u64::from(change.lose_place(*account, id, row)?);
        }
        Ok(())
    })?;
    Ok(next)
}

const ROWS_AT_ONCE: usize = 16_384;
