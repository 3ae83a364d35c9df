//! Taking records of packs over into the index, and deciding which count.

use std::collections::HashSet;
use std::sync::Arc;

use backstore_protocol::ids::{ObjectId, SnapshotId};
use backstore_protocol::object::reference_ids;

use super::OpenReport;
use super::contents::{Finished, Judged, Scanned, row_after};
use super::seal::{Ending, Quarantined, Unsealed, seal};
use crate::disk::{Folder, Mode};
use crate::error::VaultError;
use crate::ids::{AccountNumber, Sequence};
use crate::index::Index;
use crate::index::change::{Change, SnapshotPayload};
use crate::index::rows::{self, LineageRow, PackRow, PackState};
use crate::limits::{BLOCK, CATCH_UP_ROWS_BYTES_MAX};
use crate::options::Access;
use crate::pack::control::ControlBatch;
use crate::pack::file::{Pack, Packs};
use crate::pack::footer::{Entry, FooterState};
use crate::pack::record::RecordKind;
use crate::pack::snapshot::SnapshotHead;
use crate::writer::Payload;

/// A record and the pack it is in.
type Taken = (Arc<Pack>, Entry);

/// What those who use the index while it catches up see last, all at once: snapshots, because everything they need is there then, and how far
/// packs are indexed.
#[derive(Default)]
pub(crate) struct Last {
    snapshots: Vec<Taken>,
    packs: Vec<PackRow>,
}

impl Last {
    /// Shows it. Returns how many snapshots came.
    pub(crate) fn show(mut self, packs: &Packs, index: &Index) -> Result<u64, VaultError> {
        self.snapshots.sort_unstable_by_key(|(_, entry)| entry.sequence);
        index.change(|change| {
            add(packs, change, &self.snapshots)?;
            self.packs.iter().for_each(|row| change.put_pack(row));
            Ok(self.snapshots.len() as u64)
        })
    }
}

/// Takes packs with footers over: all their records count.
pub(crate) fn take_finished(
    packs: &Packs,
    index: &Index,
    access: Access,
    all: &[Finished],
    last: &mut Last,
    report: &mut OpenReport,
) -> Result<(), VaultError> {
    if access == Access::Write {
        all.iter().try_for_each(|finished| sync(packs, &finished.pack))?;
        sync_names(packs)?;
    }
    let mut taken = Vec::new();
    let mut pack_rows = Vec::new();
    for finished in all {
        let state = match finished.state {
            FooterState::Closed => PackState::Closed,
            FooterState::Sealed => PackState::Sealed,
        };
        pack_rows.push(row_after(&finished.row, state, finished.size, finished.entries.len()));
        taken.extend(finished.entries.iter().map(|entry| (Arc::clone(&finished.pack), *entry)));
    }
    add_all(packs, index, taken, pack_rows, last, report)
}

/// Takes packs over that a crash left without footers, and ends them. Returns those for whose footers there is no space: they stay as they
/// are, and have to be ended before anything else is written.
pub(crate) fn take_broken(
    packs: &Packs,
    index: &Index,
    all: Vec<Judged>,
    durable: Sequence,
    last: &mut Last,
    report: &mut OpenReport,
) -> Result<Vec<Unsealed>, VaultError> {
    all.iter().try_for_each(|judged| sync(packs, &judged.pack))?;
    let dropped = find_dropped(packs, index, &all, durable)?;
    report.dropped += dropped.len() as u64;
    let (mut taken, mut pack_rows, mut unsealed) = (Vec::new(), Vec::new(), Vec::new());
    for judged in all {
        let counts = |entry: &&Entry| !dropped.contains(&(judged.pack.id.number.0, entry.offset));
        let before = taken.len();
        taken.extend(judged.new_entries().filter(counts).map(|entry| (Arc::clone(&judged.pack), *entry)));
        let (kept, dropped) = judged.entries[judged.listed..].iter().partition(counts);
        let records = taken.len() - before;
        let broken = Unsealed { records, ending: Ending { judged, kept, dropped, durable } };
        match broken.seal(packs, &mut report.quarantined) {
            Ok(row) => pack_rows.push(row),
            Err(VaultError::Full) => {
                // Nothing counts as indexed: what is dropped now has to be dropped then.
                pack_rows.push(broken.ending.judged.row);
                unsealed.push(broken);
            }
            Err(error) => return Err(error),
        }
    }
    report.unsealed += unsealed.len() as u64;
    sync_names(packs)?;
    add_all(packs, index, taken, pack_rows, last, report)?;
    Ok(unsealed)
}

/// Takes over what is durable of packs that another process writes.
pub(crate) fn take_durable(
    packs: &Packs,
    index: &Index,
    all: &[Scanned],
    durable: Sequence,
    last: &mut Last,
    report: &mut OpenReport,
) -> Result<(), VaultError> {
    let mut taken = Vec::new();
    let mut pack_rows = Vec::new();
    for scanned in all {
        let entries = scanned.durable_entries(durable);
        let row = scanned.row;
        let indexed = entries.last().map_or(row.indexed, Entry::end);
        pack_rows.push(PackRow {
            state: PackState::Open,
            indexed,
            records: row.records + entries.len() as u32,
            ..row
        });
        taken.extend(entries.into_iter().map(|entry| (Arc::clone(&scanned.pack), entry)));
    }
    add_all(packs, index, taken, pack_rows, last, report)
}

/// What the last writer left in the system's cache has to be durable before the index names it.
fn sync(packs: &Packs, pack: &Pack) -> Result<(), VaultError> {
    let failed =
        |error| VaultError::Disk { action: "sync", path: packs.path(pack.id), source: Arc::new(error) };
    let file = packs.disk().open(Folder::Packs, &pack.id.to_string(), Mode::Write).map_err(failed)?;
    file.sync().map_err(failed)
}

fn sync_names(packs: &Packs) -> Result<(), VaultError> {
    let path = packs.disk().path(Folder::Packs, "");
    packs.disk().sync_names(Folder::Packs).map_err(|error| VaultError::disk("sync", path, error))
}

/// Records that were not acknowledged and must not count: nodes with references that are nowhere, and snapshots whose place in their lineage
/// is taken. By pack and offset.
fn find_dropped(
    packs: &Packs,
    index: &Index,
    all: &[Judged],
    durable: Sequence,
) -> Result<HashSet<(u32, u32)>, VaultError> {
    let with_pack = |judged: &Judged| {
        judged.new_entries().map(|entry| (Arc::clone(&judged.pack), *entry)).collect::<Vec<_>>()
    };
    let mut candidates: Vec<Taken> = all.iter().flat_map(with_pack).collect();
    candidates.sort_unstable_by_key(|(_, entry)| entry.sequence);
    let mut present: HashSet<(AccountNumber, ObjectId)> = HashSet::new();
    let mut snapshots = HashSet::new();
    let mut dropped = HashSet::new();
    for (pack, entry) in candidates {
        let may_be_dropped = entry.sequence > durable;
        let counts = match entry.kind {
            RecordKind::Object(kind) if kind.is_node() && may_be_dropped && !cfg!(bug_no_closure_check) => {
                is_closed(packs, index, &pack, &entry, &present)?
            }
            // One that surely counts still has to be known to those that continue it.
            RecordKind::Snapshot => fits(packs, index, &pack, &entry, may_be_dropped, &mut snapshots)?,
            RecordKind::Object(_) | RecordKind::Control | RecordKind::Footer | RecordKind::Mark => true,
        };
        if !counts {
            dropped.insert((pack.id.number.0, entry.offset));
        } else if matches!(entry.kind, RecordKind::Object(_)) {
            present.insert((entry.account, entry.id));
        }
    }
    Ok(dropped)
}

fn is_closed(
    packs: &Packs,
    index: &Index,
    pack: &Pack,
    entry: &Entry,
    present: &HashSet<(AccountNumber, ObjectId)>,
) -> Result<bool, VaultError> {
    let failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    let offset = u64::from(entry.offset);
    let Ok(header) = pack.header(offset).map_err(failed)? else { return Ok(false) };
    for id in reference_ids(&pack.references(offset, &header).map_err(failed)?) {
        if !present.contains(&(entry.account, id)) && index.object(entry.account, &id)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a snapshot counts: it was acknowledged for sure, is known, or continues its lineage. `found` are those that do.
fn fits(
    packs: &Packs,
    index: &Index,
    pack: &Pack,
    entry: &Entry,
    may_be_dropped: bool,
    found: &mut HashSet<(AccountNumber, SnapshotId)>,
) -> Result<bool, VaultError> {
    let Some(Payload::Snapshot(payload)) = payload(packs, pack, entry)? else { return Ok(!may_be_dropped) };
    let (head, account) = (&payload.head, entry.account);
    let id_key = rows::snapshot_id_key(account, head.id);
    let is_known = found.contains(&(account, head.id)) || index.get(&id_key)?.is_some();
    let lineage = index.read(&rows::lineage_key(account, head.lineage), LineageRow::decode)?;
    let continues = match head.previous {
        None => lineage.is_none(),
        Some(previous) => {
            lineage.is_some_and(|row| row.head == previous) || found.contains(&(account, previous))
        }
    };
    let counts = !may_be_dropped || is_known || continues;
    if counts {
        found.insert((account, head.id));
    }
    Ok(counts)
}

/// Writes a new footer behind a damaged one. All records of the pack count.
pub(crate) fn reseal(
    packs: &Packs,
    index: &Index,
    judged: Judged,
    quarantined: &mut Vec<Quarantined>,
) -> Result<(), VaultError> {
    let kept = judged.entries[judged.listed..].to_vec();
    // Its footer was written when all it lists was durable, or by an opening that ended every pack before anything else was written.
    let durable = kept.iter().map(|entry| entry.sequence).max().unwrap_or_default();
    let ending = Ending { judged, kept, dropped: Vec::new(), durable };
    let size = seal(packs, &ending, quarantined)?;
    let row = PackRow { state: PackState::Sealed, size, indexed: size, ..ending.judged.row };
    index.change(|change| {
        change.put_pack(&row);
        Ok(())
    })
}

/// Writes a footer for all of a pack whose last footer is whole and an earlier one is not.
pub(crate) fn relist(packs: &Packs, index: &Index, finished: &Finished) -> Result<(), VaultError> {
    let judged = Judged {
        pack: Arc::clone(&finished.pack),
        row: finished.row,
        used: finished.size,
        entries: finished.entries.clone(),
        listed: 0,
        gaps: Vec::new(),
        footer_start: BLOCK,
        previous_footer: None,
        last: finished.entries.iter().map(|entry| entry.sequence).max().unwrap_or_default(),
    };
    reseal(packs, index, judged, &mut Vec::new())
}

fn add_all(
    packs: &Packs,
    index: &Index,
    mut taken: Vec<Taken>,
    pack_rows: Vec<PackRow>,
    last: &mut Last,
    report: &mut OpenReport,
) -> Result<(), VaultError> {
    report.records += taken.len() as u64;
    last.packs.extend(pack_rows);
    last.snapshots.extend(taken.extract_if(.., |(_, entry)| entry.kind == RecordKind::Snapshot));
    taken.sort_unstable_by_key(|(_, entry)| entry.sequence);
    for part in taken.chunks(CHANGE_ENTRIES) {
        index.change(|change| add(packs, change, part))?;
        // Rows of records whose pack is not said to be indexed yet are taken over once more after a crash, and are the same.
        if index.unflushed_bytes() > CATCH_UP_ROWS_BYTES_MAX {
            match index.flush() {
                Ok(()) | Err(VaultError::Full) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn add(packs: &Packs, change: &mut Change<'_>, entries: &[Taken]) -> Result<(), VaultError> {
    for (pack, entry) in entries {
        if let Some(kind) = Change::object_kind(entry) {
            change.add_object(pack.id.number, entry, kind)?;
            continue;
        }
        // A record that is damaged has a second copy, which is also among the entries.
        match payload(packs, pack, entry)? {
            Some(Payload::Snapshot(payload)) => change.add_snapshot(entry.account, &payload)?,
            Some(Payload::Control(batch)) => change.add_control(entry.sequence, &batch)?,
            Some(Payload::Object) | None => {}
        }
    }
    Ok(())
}

/// What a snapshot or control record says; `None` if it is damaged.
pub(crate) fn payload(packs: &Packs, pack: &Pack, entry: &Entry) -> Result<Option<Payload>, VaultError> {
    let record = pack.record(u64::from(entry.offset));
    let Some(record) = record.map_err(|error| VaultError::disk("read", packs.path(pack.id), error))? else {
        return Ok(None);
    };
    Ok(match record.header.kind {
        RecordKind::Snapshot => {
            let id = SnapshotId::from_bytes(*record.header.id.as_bytes());
            SnapshotHead::decode(id, &record.content).map(|(head, header)| {
                Payload::Snapshot(Arc::new(SnapshotPayload {
                    head,
                    header: header.to_vec(),
                    device: record.header.device,
                    received_at: record.header.received_at,
                }))
            })
        }
        RecordKind::Control => {
            ControlBatch::decode(&record.content).map(|batch| Payload::Control(Arc::new(batch)))
        }
        RecordKind::Object(_) | RecordKind::Footer | RecordKind::Mark => None,
    })
}

/// Entries of one batch of the index.
const CHANGE_ENTRIES: usize = 16_384;
