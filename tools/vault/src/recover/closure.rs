//! Finding objects that nodes and snapshots refer to and that are nowhere: after damage, and when the index was made anew.

use std::collections::HashSet;
use std::ops::ControlFlow;

use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::reference_ids;

use super::OpenReport;
use crate::error::VaultError;
use crate::ids::{AccountNumber, Place};
use crate::index::Index;
use crate::index::rows::{self, ObjectRow, SnapshotRow};
use crate::pack::file::Packs;

/// Goes through the references of all nodes and snapshots; what is absent counts as damaged from now on.
pub(crate) fn note_absent(packs: &Packs, index: &Index, report: &mut OpenReport) -> Result<(), VaultError> {
    let present = Fingerprints::of_all(index)?;
    let mut absent: HashSet<(AccountNumber, ObjectId)> = HashSet::new();
    let mut need = |account, id: ObjectId| {
        if !present.has(account, &id) && absent.len() < ABSENT_MAX {
            absent.insert((account, id));
        }
    };
    index.scan_rows(
        &[rows::SNAPSHOTS],
        &[],
        |key, value| Some((rows::split_account_key(key)?.0, SnapshotRow::decode(value)?)),
        |(account, row)| {
            need(account, row.root);
            need(account, row.body);
            ControlFlow::Continue(())
        },
    )?;
    let mut damaged = Vec::new();
    for (account, id, row) in nodes(index)? {
        let references = references(packs, row.place)?;
        let is_closed = references.iter().all(|id| present.has(account, id));
        // What a damaged node says of absent objects is not to be believed.
        if !is_closed && !is_whole_at(packs, row.place)? {
            damaged.push((account, id, row));
            let copy = index.read(&rows::copy_key(account, &id), ObjectRow::decode)?;
            if let Some(copy) = copy.filter(|copy| !copy.is_damaged)
                && is_whole_at(packs, copy.place)?
            {
                self::references(packs, copy.place)?.into_iter().for_each(|id| need(account, id));
            }
            continue;
        }
        references.into_iter().for_each(|id| need(account, id));
    }
    index.change(|change| {
        for (account, id, row) in &damaged {
            report.damaged_objects += u64::from(change.lose_place(*account, id, row)?);
        }
        for (account, id) in &absent {
            change.add_absent(*account, id)?;
        }
        Ok(())
    })?;
    report.damaged_objects += absent.len() as u64;
    Ok(())
}

fn is_whole_at(packs: &Packs, place: Place) -> Result<bool, VaultError> {
    let Some(pack) = packs.get(place.pack)? else { return Ok(false) };
    let record = pack.record(u64::from(place.offset));
    Ok(record.map_err(|error| VaultError::disk("read", packs.path(pack.id), error))?.is_some())
}

/// All nodes, in the order in which they lie in packs.
fn nodes(index: &Index) -> Result<Vec<(AccountNumber, ObjectId, ObjectRow)>, VaultError> {
    let mut nodes = Vec::new();
    index.scan_rows(
        &[rows::OBJECTS],
        &[],
        |key, value| {
            let (account, id) = rows::split_account_key(key)?;
            Some((account, ObjectId::from_slice(id)?, ObjectRow::decode(value)?))
        },
        |(account, id, row)| {
            if row.kind.is_node() && !row.is_damaged {
                nodes.push((account, id, row));
            }
            ControlFlow::Continue(())
        },
    )?;
    nodes.sort_unstable_by_key(|(_, _, row)| (row.place.pack, row.place.offset));
    Ok(nodes)
}

/// What the node at a place refers to; nothing if it cannot be read.
fn references(packs: &Packs, place: Place) -> Result<Vec<ObjectId>, VaultError> {
    let Some(pack) = packs.get(place.pack)? else { return Ok(Vec::new()) };
    let failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    let offset = u64::from(place.offset);
    let Ok(header) = pack.header(offset).map_err(failed)? else { return Ok(Vec::new()) };
    if header.references != u32::from(place.references) {
        return Ok(Vec::new());
    }
    Ok(reference_ids(&pack.references(offset, &header).map_err(failed)?).collect())
}

/// A set of objects in 8 bytes each. An absent one is taken for present once in 10¹³ times.
struct Fingerprints(Vec<u64>);

impl Fingerprints {
    fn of_all(index: &Index) -> Result<Self, VaultError> {
        let mut prints = Vec::new();
        index.scan_rows(
            &[rows::OBJECTS],
            &[],
            |key, _| {
                let (account, id) = rows::split_account_key(key)?;
                Some((account, ObjectId::from_slice(id)?))
            },
            |(account, id)| {
                prints.push(fingerprint(account, &id));
                ControlFlow::Continue(())
            },
        )?;
        prints.sort_unstable();
        Ok(Self(prints))
    }

    fn has(&self, account: AccountNumber, id: &ObjectId) -> bool {
        self.0.binary_search(&fingerprint(account, id)).is_ok()
    }
}

fn fingerprint(account: AccountNumber, id: &ObjectId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&account.get().to_le_bytes());
    hasher.update(id.as_bytes());
    let mut print = [0; 8];
    print.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(print)
}

/// Absent objects that are noted; a vault that lost more has lost everything.
const ABSENT_MAX: usize = crate::limits::DAMAGED_MAX;
