//! Taking records of packs over into the index, and deciding which count.

use std::collections::HashSet;
use std::sync::Arc;

use backstore_protocol::ids::{ObjectId, SnapshotId};
use backstore_protocol::object::reference_ids;

use super::OpenReport;
use super::contents::{Contents, End, Unfinished, row_after};
use super::seal::seal;
use crate::disk::{Folder, Mode};
use crate::error::VaultError;
use crate::ids::{AccountNumber, Sequence};
use crate::index::Index;
use crate::index::change::{Change, SnapshotPayload};
use crate::index::rows::{self, LineageRow, PackRow, PackState};
use crate::options::Access;
use crate::pack::control::ControlBatch;
use crate::pack::file::{Pack, Packs};
use crate::pack::footer::{Entry, FooterState};
use crate::pack::record::RecordKind;
use crate::pack::snapshot::SnapshotHead;
use crate::writer::Payload;

/// Takes packs over. Returns the first sequence that none of their records has.
pub(crate) fn take_over(
    packs: &Packs,
    index: &Index,
    access: Access,
    all: Vec<Contents>,
    report: &mut OpenReport,
) -> Result<Sequence, VaultError> {
    if all.is_empty() {
        return Ok(Sequence(0));
    }
    if access == Access::Write {
        sync(packs, &all)?;
    }
    let dropped = match access {
        Access::Write => find_dropped(packs, index, &all)?,
        Access::Read => HashSet::new(),
    };
    report.dropped += dropped.len() as u64;
    let mut next = Sequence(0);
    let mut taken = Vec::new();
    let mut pack_rows = Vec::new();
    for contents in &all {
        let last = contents.entries.iter().map(|entry| entry.sequence).max().unwrap_or_default();
        let last = contents.unfinished().map_or(last, |unfinished| unfinished.last.max(last));
        next = next.max(Sequence(last.0 + 1));
        let counts = |entry: &&Entry| !dropped.contains(&(contents.pack.id.number.0, entry.offset));
        let entries: Vec<Entry> = contents.entries.iter().filter(counts).copied().collect();
        let (row, entries) = match (&contents.end, access) {
            (End::Footer(state), _) => (finished_row(contents, *state, entries.len()), entries),
            (End::Unfinished(unfinished), Access::Write) => {
                (seal_or_leave(packs, contents, unfinished, &dropped, entries.len(), report)?, entries)
            }
            (End::Unfinished(unfinished), Access::Read) => durable_part(contents, unfinished, entries),
        };
        pack_rows.push(row);
        taken.extend(entries.into_iter().map(|entry| (Arc::clone(&contents.pack), entry)));
    }
    if access == Access::Write {
        let path = packs.disk().path(Folder::Packs, "");
        packs.disk().sync_names(Folder::Packs).map_err(|error| VaultError::disk("sync", path, error))?;
    }
    report.records += taken.len() as u64;
    taken.sort_unstable_by_key(|(_, entry)| entry.sequence);
    for part in taken.chunks(CHANGE_ENTRIES) {
        add(packs, index, part)?;
    }
    index.change(|change| {
        pack_rows.iter().for_each(|row| change.put_pack(row));
        Ok(())
    })?;
    Ok(next)
}

/// What the last writer left in the system's cache has to be durable before the index names it.
fn sync(packs: &Packs, all: &[Contents]) -> Result<(), VaultError> {
    for contents in all {
        let id = contents.pack.id;
        let failed =
            |error| VaultError::Disk { action: "sync", path: packs.path(id), source: Arc::new(error) };
        let file = packs.disk().open(Folder::Packs, &id.to_string(), Mode::Write).map_err(failed)?;
        file.sync().map_err(failed)?;
    }
    Ok(())
}

/// Records that were not acknowledged and must not count: nodes with references that are nowhere, and snapshots whose place in their lineage
/// is taken. By pack and offset.
fn find_dropped(packs: &Packs, index: &Index, all: &[Contents]) -> Result<HashSet<(u32, u32)>, VaultError> {
    let mut candidates: Vec<(&Contents, &Unfinished, Entry)> = Vec::new();
    for contents in all {
        if let Some(unfinished) = contents.unfinished() {
            candidates.extend(contents.entries.iter().map(|entry| (contents, unfinished, *entry)));
        }
    }
    candidates.sort_unstable_by_key(|(_, _, entry)| entry.sequence);
    let mut present: HashSet<(AccountNumber, ObjectId)> = HashSet::new();
    let mut snapshots = HashSet::new();
    let mut dropped = HashSet::new();
    for (contents, unfinished, entry) in candidates {
        let may_be_dropped = entry.end() > unfinished.durable;
        let counts = match entry.kind {
            RecordKind::Object(kind) if kind.is_node() && may_be_dropped && !cfg!(bug_no_closure_check) => {
                is_closed(packs, index, &contents.pack, &entry, &present)?
            }
            RecordKind::Snapshot if may_be_dropped => {
                fits(packs, index, &contents.pack, &entry, &mut snapshots)?
            }
            RecordKind::Object(_)
            | RecordKind::Snapshot
            | RecordKind::Control
            | RecordKind::Footer
            | RecordKind::Mark => true,
        };
        if !counts {
            dropped.insert((contents.pack.id.number.0, entry.offset));
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

/// Whether a snapshot that was perhaps not acknowledged continues its lineage.
fn fits(
    packs: &Packs,
    index: &Index,
    pack: &Pack,
    entry: &Entry,
    heads: &mut HashSet<(AccountNumber, SnapshotId)>,
) -> Result<bool, VaultError> {
    let Some(Payload::Snapshot(payload)) = payload(packs, pack, entry)? else { return Ok(false) };
    let head = &payload.head;
    let lineage = index.read(&rows::lineage_key(entry.account, head.lineage), LineageRow::decode)?;
    let is_known =
        heads.contains(&(entry.account, head.id)) || lineage.is_some_and(|row| row.head == head.id);
    let continues = match head.previous {
        None => lineage.is_none(),
        Some(previous) => {
            lineage.is_some_and(|row| row.head == previous) || heads.contains(&(entry.account, previous))
        }
    };
    if is_known || continues {
        heads.insert((entry.account, head.id));
    }
    Ok(is_known || continues)
}

fn finished_row(contents: &Contents, state: FooterState, records: usize) -> PackRow {
    let state = match state {
        FooterState::Closed => PackState::Closed,
        FooterState::Sealed => PackState::Sealed,
    };
    row_after(&contents.row, state, contents.size, records)
}

/// Seals a pack. Without space for a footer it stays as it is; the next opening tries again.
fn seal_or_leave(
    packs: &Packs,
    contents: &Contents,
    unfinished: &Unfinished,
    dropped: &HashSet<(u32, u32)>,
    records: usize,
    report: &mut OpenReport,
) -> Result<PackRow, VaultError> {
    let behind_footer = unfinished.entries[unfinished.listed..].iter().copied();
    let is_dropped = |entry: &Entry| dropped.contains(&(contents.pack.id.number.0, entry.offset));
    let (dropped, kept): (Vec<_>, Vec<_>) = behind_footer.partition(is_dropped);
    match seal(packs, contents, unfinished, &kept, &dropped, &mut report.quarantined) {
        Ok(size) => Ok(row_after(&contents.row, PackState::Sealed, size, records)),
        Err(VaultError::Full) => {
            report.unsealed += 1;
            let indexed = kept.iter().map(Entry::end).max().unwrap_or(0).max(contents.row.indexed);
            Ok(PackRow {
                state: PackState::Open,
                indexed,
                records: contents.row.records + records as u32,
                ..contents.row
            })
        }
        Err(error) => Err(error),
    }
}

/// What those who only read may know of a pack that is being written.
fn durable_part(contents: &Contents, unfinished: &Unfinished, entries: Vec<Entry>) -> (PackRow, Vec<Entry>) {
    let entries: Vec<_> = entries.into_iter().filter(|entry| entry.end() <= unfinished.durable).collect();
    let indexed = entries.last().map_or(contents.row.indexed, Entry::end);
    let records = contents.row.records + entries.len() as u32;
    (PackRow { state: PackState::Open, indexed, records, ..contents.row }, entries)
}

fn add(packs: &Packs, index: &Index, entries: &[(Arc<Pack>, Entry)]) -> Result<(), VaultError> {
    index.change(|change| {
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
    })
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
