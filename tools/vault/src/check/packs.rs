//! Every record of every pack.

use std::io::IoSlice;
use std::ops::ControlFlow;
use std::sync::Arc;

use backstore_protocol::ids::SnapshotId;

use super::{Check, Finding, Problem, TELL_BYTES, end_to_check};
use crate::disk::{Folder, Mode, read_up_to};
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackNumber, Sequence};
use crate::index::change::Change;
use crate::index::rows::{self, ControlRow, ObjectRow, PackRow, PackState};
use crate::limits::{BLOCK, FINDINGS_MAX};
use crate::options::Access;
use crate::pack::file::Pack;
use crate::pack::footer::{Entry, Footer, Gap, GapReason};
use crate::pack::header::{decode_pack_header, encode_pack_header};
use crate::pack::record::{RecordHeader, RecordKind};
use crate::pack::scan::{Found, Zeros, scan};
use crate::recover::contents::{self, Contents, footer_at, is_whole, last_footer};
use crate::recover::seal::{is_quarantined, quarantine};
use crate::recover::take::{payload, relist, reseal};
use crate::writer::Payload;

/// What was found in a pack.
#[derive(Default)]
pub(crate) struct CheckedPack {
    /// Records before this place were checked.
    pub(crate) end: u64,
    /// Good records of objects that the index names.
    pub(crate) named: u64,
    /// Where bytes are that are no record and of which it is not known what they were.
    pub(crate) bad: Vec<(u64, u64)>,
}

/// What a footer says of the part of a pack that it covers.
struct Table {
    start: u64,
    /// Where the footer itself ends.
    end: u64,
    entries: Vec<Entry>,
    /// The footer, and what counts for nothing.
    other: Vec<(u64, u64)>,
}

impl Table {
    fn new(footer: Footer, offset: u64, end: u64) -> Self {
        let gaps = footer.gaps.iter().map(|gap| (gap.offset, gap.offset + gap.length));
        let other = gaps.chain([(offset, end)]).collect();
        Self { start: footer.start, end, entries: footer.entries, other }
    }
}

impl Check<'_> {
    pub(super) fn pack(&mut self, row: &PackRow) -> Result<(), VaultError> {
        let pack = match self.core.packs.get(row.id.number)? {
            Some(pack) if self.listed.contains(&row.id.to_string()) => pack,
            Some(_) | None => return self.lost_pack(row),
        };
        self.header(&pack)?;
        let end = end_to_check(row);
        let mut checked = CheckedPack { end, ..CheckedPack::default() };
        match self.tables(&pack, row)? {
            Some(tables) => {
                tables.iter().try_for_each(|table| self.with_table(&pack, table, &mut checked))?;
            }
            None => self.without_tables(&pack, &mut checked)?,
        }
        self.report.bytes += end;
        self.checked.insert(row.id.number, checked);
        Ok(())
    }

    /// The pack's file went away while the vault was open.
    fn lost_pack(&mut self, row: &PackRow) -> Result<(), VaultError> {
        // Who has it open still could not after the next start.
        self.core.packs.remove(row.id.number);
        self.report.lost_packs.push(row.id.number);
        self.report.add(Finding {
            pack: Some(row.id.to_string()),
            offset: None,
            account: None,
            object: None,
            problem: Problem::PackLost,
            is_repaired: self.repair,
        });
        // Nothing of it is there: each row that names it is wrong.
        let checked = CheckedPack { end: end_to_check(row), ..CheckedPack::default() };
        self.checked.insert(row.id.number, checked);
        if self.repair {
            self.core.index.change(|change| {
                change.put_pack(&PackRow { state: PackState::Lost, ..*row });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The pack's first block says what its name and the superblock say; so it can be written again.
    fn header(&mut self, pack: &Pack) -> Result<(), VaultError> {
        let packs = &self.core.packs;
        let mut block = vec![0; BLOCK as usize];
        let read = read_up_to(&*pack.file, &mut block, 0);
        read.map_err(|error| VaultError::disk("read", packs.path(pack.id), error))?;
        if decode_pack_header(&block) == Ok((packs.vault(), pack.id)) {
            return Ok(());
        }
        if self.repair {
            let failed = |error| VaultError::disk("write to", packs.path(pack.id), error);
            let file = packs.disk().open(Folder::Packs, &pack.id.to_string(), Mode::Write).map_err(failed)?;
            let header = encode_pack_header(packs.vault(), pack.id);
            file.write_at(&mut [IoSlice::new(&header)], 0).and_then(|()| file.sync()).map_err(failed)?;
        }
        self.pack_finding(pack, 0, Problem::PackHeader);
        Ok(())
    }

    fn pack_finding(&mut self, pack: &Pack, offset: u64, problem: Problem) {
        self.report.add(self.pack_problem(pack, offset, problem));
    }

    fn pack_problem(&self, pack: &Pack, offset: u64, problem: Problem) -> Finding {
        Finding {
            pack: Some(pack.id.to_string()),
            offset: Some(offset),
            account: None,
            object: None,
            problem,
            is_repaired: self.repair,
        }
    }

    /// What the footers say; nothing of a pack that is being written, or if one of them is damaged.
    fn tables(&mut self, pack: &Arc<Pack>, row: &PackRow) -> Result<Option<Vec<Table>>, VaultError> {
        match row.state {
            PackState::Open | PackState::Lost => return Ok(None),
            PackState::Closed | PackState::Sealed => {}
        }
        let failed = |error| VaultError::disk("read", self.core.packs.path(pack.id), error);
        let mut tables = Vec::new();
        let mut next = last_footer(pack, row.size).map_err(failed)?;
        let mut end = row.size;
        while let Some((offset, footer)) = next.take() {
            let previous = footer.previous;
            let table = Table::new(footer, offset, end);
            end = table.start;
            tables.push(table);
            if let Some(before) = previous.filter(|before| *before < offset) {
                next = footer_at(pack, before).map_err(failed)?.map(|footer| (before, footer));
            }
        }
        if end == BLOCK {
            return Ok(Some(tables));
        }
        // A pack that is being continued gets a new one anyway; what this one lists is read at the next opening.
        let is_repaired = self.repair && self.core.packs.claim(row.id.number);
        self.report.add(Finding { is_repaired, ..self.pack_problem(pack, end, Problem::Footer) });
        if is_repaired {
            self.write_footer(pack, row)?;
        }
        Ok(None)
    }

    /// Writes a new table behind the damaged one.
    fn write_footer(&mut self, pack: &Arc<Pack>, row: &PackRow) -> Result<(), VaultError> {
        let packs = &self.core.packs;
        let row = PackRow { indexed: BLOCK, ..*row };
        match contents::read(packs, Arc::clone(pack), row, Access::Write)? {
            Contents::Open(scanned) => {
                let judged = scanned.judge(packs, Sequence(0))?;
                reseal(packs, &self.core.index, judged, &mut self.report.quarantined)
            }
            // It is an earlier one.
            Contents::Finished(finished) => relist(packs, &self.core.index, &finished),
        }
    }

    fn with_table(
        &mut self,
        pack: &Arc<Pack>,
        table: &Table,
        checked: &mut CheckedPack,
    ) -> Result<(), VaultError> {
        let failed = |error| VaultError::disk("read", self.core.packs.path(pack.id), error);
        for entry in &table.entries {
            let offset = u64::from(entry.offset);
            match pack.header(offset).map_err(failed)? {
                Ok(header) if Entry::new(&header, entry.offset) == *entry => {
                    self.record(pack, offset, &header, checked)?;
                }
                Ok(_) | Err(_) => {
                    self.report.records += 1;
                    self.bad_record(pack, entry)?;
                }
            }
        }
        let entries = table.entries.iter().map(|entry| (u64::from(entry.offset), entry.end()));
        let mut covered: Vec<_> = table.other.iter().copied().chain(entries).collect();
        covered.sort_unstable();
        let mut from = table.start;
        for (start, end) in covered {
            self.between(pack, from, start)?;
            from = from.max(end);
        }
        Ok(())
    }

    /// Between records there is nothing but zeros and marks.
    fn between(&mut self, pack: &Arc<Pack>, from: u64, to: u64) -> Result<(), VaultError> {
        if from >= to {
            return Ok(());
        }
        for part in self.scan(pack, from, to)? {
            let (offset, length) = match part {
                Found::Record { header, .. } if !header.kind.is_listed() => continue,
                Found::Record { offset, header } => (offset, header.size()),
                Found::Gap { offset, length } => (offset, length),
                Found::Newer { what } => {
                    return Err(VaultError::Newer { path: self.core.packs.path(pack.id), what });
                }
            };
            self.no_record(pack, offset, length)?;
        }
        Ok(())
    }

    /// Bytes that are no record, unless that was noted before.
    fn no_record(&mut self, pack: &Arc<Pack>, offset: u64, length: u64) -> Result<(), VaultError> {
        if is_quarantined(&self.core.packs, pack.id, offset, length) {
            return Ok(());
        }
        self.pack_finding(pack, offset, Problem::NoRecord);
        self.quarantine(pack, offset, length)
    }

    fn scan(&self, pack: &Pack, from: u64, to: u64) -> Result<Vec<Found>, VaultError> {
        let mut found = Vec::new();
        let scanned = scan(pack, (from, to), Zeros::Skip, &mut |part| {
            found.push(part);
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| VaultError::disk("read", self.core.packs.path(pack.id), error))?;
        Ok(found)
    }

    /// A pack that does not end with a table. It may have some in the middle; what they do not cover is taken as it is found.
    fn without_tables(&mut self, pack: &Arc<Pack>, checked: &mut CheckedPack) -> Result<(), VaultError> {
        let found = self.scan(pack, BLOCK, checked.end)?;
        let tables = self.found_tables(pack, &found)?;
        tables.iter().try_for_each(|table| self.with_table(pack, table, checked))?;
        let table_end = |offset| {
            tables.iter().find(|table| table.start <= offset && offset < table.end).map(|table| table.end)
        };
        for part in found {
            match part {
                Found::Record { offset, header } => {
                    if header.kind.is_listed() && table_end(offset).is_none() {
                        self.record(pack, offset, &header, checked)?;
                    }
                }
                Found::Gap { mut offset, length } => {
                    let end = offset + length;
                    while let Some(covered) = table_end(offset) {
                        offset = covered;
                    }
                    if offset < end {
                        checked.bad.push((offset, end - offset));
                        self.no_record(pack, offset, end - offset)?;
                    }
                }
                Found::Newer { what } => {
                    return Err(VaultError::Newer { path: self.core.packs.path(pack.id), what });
                }
            }
        }
        Ok(())
    }

    /// The footers that a scan has met, in the order of offsets.
    fn found_tables(&self, pack: &Pack, found: &[Found]) -> Result<Vec<Table>, VaultError> {
        let mut tables: Vec<Table> = Vec::new();
        for part in found {
            let Found::Record { offset, header } = part else { continue };
            if header.kind != RecordKind::Footer {
                continue;
            }
            let footer = footer_at(pack, *offset);
            let footer =
                footer.map_err(|error| VaultError::disk("read", self.core.packs.path(pack.id), error))?;
            let covered = tables.last().map_or(BLOCK, |table| table.end);
            if let Some(footer) = footer.filter(|footer| footer.start >= covered && footer.start < *offset) {
                tables.push(Table::new(footer, *offset, offset + header.size()));
            }
        }
        Ok(tables)
    }

    fn record(
        &mut self,
        pack: &Arc<Pack>,
        offset: u64,
        header: &RecordHeader,
        checked: &mut CheckedPack,
    ) -> Result<(), VaultError> {
        self.report.records += 1;
        let bytes = self.report.bytes + offset;
        if bytes >= self.bytes_told + TELL_BYTES {
            self.tell(bytes)?;
        }
        let entry = Entry::new(header, offset as u32);
        let whole = is_whole(pack, offset, header);
        if !whole.map_err(|error| VaultError::disk("read", self.core.packs.path(pack.id), error))? {
            return self.bad_record(pack, &entry);
        }
        match header.kind {
            RecordKind::Object(_) => checked.named += u64::from(self.compare_object(pack.id.number, &entry)?),
            RecordKind::Snapshot | RecordKind::Control => self.compare_payload(pack, &entry)?,
            RecordKind::Footer | RecordKind::Mark => {}
        }
        Ok(())
    }

    /// A record that was there once. It matters if the index names it, or if it is one of two copies.
    fn bad_record(&mut self, pack: &Arc<Pack>, entry: &Entry) -> Result<(), VaultError> {
        let place = entry.place(pack.id.number);
        let (account, id) = (entry.account, entry.id);
        match entry.kind {
            RecordKind::Object(_) => {
                let rows = self.object_rows(account, &id)?;
                match rows.into_iter().find(|row| row.place == place && !row.is_damaged) {
                    Some(row) => self.lose(account, &id, &row, Problem::Record)?,
                    // Another record has taken its place, or the damage is known.
                    None => return Ok(()),
                }
            }
            // Whether a copy is left is seen at the end.
            RecordKind::Snapshot | RecordKind::Control | RecordKind::Footer | RecordKind::Mark => {
                if is_quarantined(&self.core.packs, pack.id, u64::from(entry.offset), place.size()) {
                    return Ok(());
                }
                self.report.add(self.finding(&place, account, id, Problem::Record));
            }
        }
        self.quarantine(pack, u64::from(entry.offset), place.size())
    }

    fn quarantine(&mut self, pack: &Arc<Pack>, offset: u64, length: u64) -> Result<(), VaultError> {
        if self.repair {
            let gap = Gap { offset, length, reason: GapReason::Damaged };
            let copied = quarantine(&self.core.packs, pack, &gap)?;
            let has_room = self.report.quarantined.len() < FINDINGS_MAX;
            self.report.quarantined.extend(copied.filter(|_| has_room));
        }
        Ok(())
    }

    /// The rows of an object: of its first record and of its second copy.
    pub(super) fn object_rows(
        &self,
        account: AccountNumber,
        id: &backstore_protocol::ids::ObjectId,
    ) -> Result<Vec<ObjectRow>, VaultError> {
        let first = self.core.index.object(account, id)?;
        let copy = self.core.index.read(&rows::copy_key(account, id), ObjectRow::decode)?;
        Ok(first.into_iter().chain(copy).collect())
    }

    /// Whether the index names a good record. One that it should name and does not is a finding.
    fn compare_object(&mut self, pack: PackNumber, entry: &Entry) -> Result<bool, VaultError> {
        let place = entry.place(pack);
        let rows = self.object_rows(entry.account, &entry.id)?;
        if rows.iter().any(|row| row.place == place && !row.is_damaged) {
            return Ok(true);
        }
        // Another one came later and took its place.
        let is_replaced = rows.iter().any(|row| {
            !row.is_damaged && row.is_copy == entry.flags.second_copy && row.sequence > entry.sequence
        });
        if is_replaced {
            return Ok(false);
        }
        if self.repair {
            self.core.index.change(|change| match Change::object_kind(entry) {
                Some(kind) => change.restore_object(pack, entry, kind),
                None => Ok(()),
            })?;
        }
        self.report.add(self.finding(&place, entry.account, entry.id, Problem::RowMissing));
        Ok(self.repair)
    }

    fn compare_payload(&mut self, pack: &Pack, entry: &Entry) -> Result<(), VaultError> {
        let place = entry.place(pack.id.number);
        let mut is_missing = false;
        match payload(&self.core.packs, pack, entry)? {
            Some(Payload::Snapshot(payload)) => {
                let id = SnapshotId::from_bytes(*entry.id.as_bytes());
                let key = rows::snapshot_id_key(entry.account, id);
                if self.core.index.get(&key)?.is_none() {
                    is_missing = true;
                    self.copies.expect_snapshot(entry.account, id);
                    if self.repair {
                        self.core.index.change(|change| change.add_snapshot(entry.account, &payload))?;
                    }
                }
                self.copies.saw_snapshot(entry.account, id);
            }
            Some(Payload::Control(batch)) => {
                for (key, _) in batch.changes() {
                    let row = self.core.index.read(&rows::control_key(key), ControlRow::decode)?;
                    let known = row.as_ref().map_or(Sequence(0), |row| row.sequence);
                    is_missing |= known < entry.sequence;
                    // The copy of a batch has the next sequence.
                    if known.0 <= entry.sequence.0 + 1 {
                        self.copies.saw_control(key, entry.sequence);
                    }
                }
                if is_missing && self.repair {
                    self.core.index.change(|change| change.add_control(entry.sequence, &batch))?;
                }
            }
            Some(Payload::Object) | None => {}
        }
        if is_missing {
            self.report.add(self.finding(&place, entry.account, entry.id, Problem::RowMissing));
        }
        Ok(())
    }
}
