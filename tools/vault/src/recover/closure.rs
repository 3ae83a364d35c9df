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
    for (account, place) in nodes(index)? {
        for id in references(packs, place)? {
            need(account, id);
        }
    }
    index.change(|change| {
        for (account, id) in &absent {
            change.add_absent(*account, id)?;
        }
        Ok(())
    })?;
    report.damaged_objects += absent.len() as u64;
    Ok(())
}

/// All nodes, in the order in which they lie in packs.
fn nodes(index: &Index) -> Result<Vec<(AccountNumber, Place)>, VaultError> {
    let mut nodes = Vec::new();
    index.scan_rows(
        &[rows::OBJECTS],
        &[],
        |key, value| Some((rows::split_account_key(key)?.0, ObjectRow::decode(value)?)),
        |(account, row)| {
            if row.kind.is_node() && !row.is_damaged {
                nodes.push((account, row.place));
            }
            ControlFlow::Continue(())
        },
    )?;
    nodes.sort_unstable_by_key(|(_, place)| (place.pack, place.offset));
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
