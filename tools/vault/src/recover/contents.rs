//! What a pack holds beyond what the index knows: from its footers, or by reading it.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::disk::read_exact_at;
use crate::error::VaultError;
use crate::ids::Sequence;
use crate::index::rows::{PackRow, PackState};
use crate::limits::BLOCK;
use crate::options::Access;
use crate::pack::file::{Pack, Packs};
use crate::pack::footer::{Entry, Footer, FooterState, Gap, GapReason, TRAILER_SIZE, Trailer};
use crate::pack::record::{HEADER_SIZE, RecordHeader, RecordKind};
use crate::pack::scan::{Found, Zeros, scan};

/// What a pack holds beyond what the index knows.
pub(crate) enum Contents {
    /// It ends with a footer.
    Finished(Finished),
    /// It does not.
    Open(Scanned),
}

/// A pack that ends with a footer. All its records were durable when that was written.
pub(crate) struct Finished {
    pub(crate) pack: Arc<Pack>,
    /// As it was in the index.
    pub(crate) row: PackRow,
    pub(crate) size: u64,
    pub(crate) state: FooterState,
    /// Records behind `row.indexed`, in the order of offsets.
    pub(crate) entries: Vec<Entry>,
    /// Some of it was records once and is none now.
    pub(crate) is_damaged: bool,
    /// Up to here everything in the vault was durable when the footer was written.
    pub(crate) durable: Sequence,
    /// The highest sequence that was seen in the pack.
    pub(crate) last: Sequence,
}

/// A pack without a footer at its end, read from header to header.
pub(crate) struct Scanned {
    pub(crate) pack: Arc<Pack>,
    /// As it was in the index.
    pub(crate) row: PackRow,
    records: Vec<(u64, RecordHeader)>,
    /// Where no records are, although there are bytes.
    ranges: Vec<(u64, u64)>,
    /// Behind the last byte that is not zero, and behind every record that a header announces.
    used: u64,
    /// Up to here everything in the vault was durable when the last record was written.
    pub(crate) durable: Sequence,
}

/// A pack without a footer at its end, of which is known what counts.
pub(crate) struct Judged {
    pub(crate) pack: Arc<Pack>,
    pub(crate) row: PackRow,
    /// As in [`Scanned`].
    pub(crate) used: u64,
    /// All records that count, in the order of offsets.
    pub(crate) entries: Vec<Entry>,
    /// How many of them lie before the end of the last footer; the others have to be listed by the next.
    pub(crate) listed: usize,
    /// Behind the last footer.
    pub(crate) gaps: Vec<Gap>,
    /// Behind the last footer.
    pub(crate) footer_start: u64,
    pub(crate) previous_footer: Option<u64>,
    pub(crate) last: Sequence,
}

/// Reads what a pack holds beyond `row.indexed`.
pub(crate) fn read(
    packs: &Packs,
    pack: Arc<Pack>,
    row: PackRow,
    access: Access,
) -> Result<Contents, VaultError> {
    let failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    let size = pack.file.size().map_err(failed)?;
    if let Some((offset, footer)) = last_footer(&pack, size).map_err(failed)? {
        return Ok(Contents::Finished(finished(packs, pack, row, size, offset, footer)?));
    }
    // Who ends the pack has to list everything behind its last footer; who only reads wants what is new.
    let from = match access {
        Access::Write => BLOCK,
        Access::Read => row.indexed,
    };
    let is_known = access == Access::Read && row.records > 0;
    let zeros = if is_known { Zeros::End } else { Zeros::Skip };
    Ok(Contents::Open(scanned(packs, pack, row, (from, size), zeros)?))
}

/// The footer a pack ends with, and where its record begins.
pub(crate) fn last_footer(pack: &Pack, size: u64) -> io::Result<Option<(u64, Footer)>> {
    let Some(trailer_at) = size.checked_sub(TRAILER_SIZE as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_SIZE];
    read_exact_at(&*pack.file, &mut trailer, trailer_at)?;
    match Trailer::decode(&trailer) {
        Some(trailer) if trailer.offset.checked_add(u64::from(trailer.size)) == Some(size) => {
            Ok(footer_at(pack, trailer.offset)?.map(|footer| (trailer.offset, footer)))
        }
        Some(_) | None => Ok(None),
    }
}

/// The footer whose record begins at `offset`, if one does, is whole, and lists nothing that was not durable when it was written. An opening
/// seals what it has read itself, and makes all of it durable before.
pub(crate) fn footer_at(pack: &Pack, offset: u64) -> io::Result<Option<Footer>> {
    let record = pack.record(offset)?.filter(|record| record.header.kind == RecordKind::Footer);
    let Some(record) = record else { return Ok(None) };
    let footer = Footer::decode(&record.content, offset);
    let is_durable = |footer: &Footer| {
        let durable = record.header.durable;
        footer.state == FooterState::Sealed || footer.entries.iter().all(|entry| entry.sequence <= durable)
    };
    Ok(footer.filter(is_durable))
}

/// Contents of a pack that ends with a footer. Where an earlier footer is damaged, its part of the pack is read instead.
fn finished(
    packs: &Packs,
    pack: Arc<Pack>,
    row: PackRow,
    size: u64,
    offset: u64,
    footer: Footer,
) -> Result<Finished, VaultError> {
    let failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    let header = pack.header(offset).map_err(failed)?.ok();
    let (durable, last) = header.map_or_else(Default::default, |header| (header.durable, header.sequence));
    let state = footer.state;
    let mut parts = Vec::new();
    let mut is_damaged = false;
    let mut next = Some(footer);
    while let Some(footer) = next.take() {
        is_damaged |= footer.gaps.iter().any(|gap| gap.reason == GapReason::Damaged);
        let (start, previous) = (footer.start, footer.previous);
        parts.push(footer.entries);
        let Some(offset) = previous.filter(|_| start > row.indexed) else { continue };
        match footer_at(&pack, offset).map_err(failed)? {
            Some(footer) if offset < start => next = Some(footer),
            Some(_) | None => {
                is_damaged = true;
                let earlier = scanned(packs, Arc::clone(&pack), row, (BLOCK, start), Zeros::Skip)?;
                // Without its table every byte is looked at.
                parts.push(earlier.judge(packs, Sequence(0))?.entries);
            }
        }
    }
    let mut entries: Vec<_> = parts.into_iter().flatten().filter(|entry| entry.end() > row.indexed).collect();
    entries.sort_unstable_by_key(|entry| entry.offset);
    entries.dedup_by_key(|entry| entry.offset);
    Ok(Finished { pack, row, size, state, entries, is_damaged, durable, last })
}

/// Reads a part of a pack from header to header.
fn scanned(
    packs: &Packs,
    pack: Arc<Pack>,
    row: PackRow,
    (from, to): (u64, u64),
    zeros: Zeros,
) -> Result<Scanned, VaultError> {
    let mut records: Vec<(u64, RecordHeader)> = Vec::new();
    let mut ranges = Vec::new();
    let mut newer = None;
    let used = scan(&pack, (from, to), zeros, &mut |found| {
        match found {
            Found::Record { offset, header } => records.push((offset, header)),
            Found::Gap { offset, length } => ranges.push((offset, length)),
            Found::Newer { what } => {
                newer = Some(what);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    let used = used.map_err(|error| VaultError::disk("read", packs.path(pack.id), error))?;
    if let Some(what) = newer {
        return Err(VaultError::Newer { path: packs.path(pack.id), what });
    }
    let durable = records.iter().map(|(_, header)| header.durable).max().unwrap_or_default();
    Ok(Scanned { pack, row, records, ranges, used, durable })
}

impl Scanned {
    /// The same part of the pack once more, if there was something in it that is no record: its writer may have been about to write one.
    pub(crate) fn read_again(self, packs: &Packs) -> Result<Self, VaultError> {
        if self.ranges.is_empty() {
            return Ok(self);
        }
        let size = self
            .pack
            .file
            .size()
            .map_err(|error| VaultError::disk("read", packs.path(self.pack.id), error))?;
        scanned(packs, self.pack, self.row, (self.row.indexed, size), Zeros::Skip)
    }

    /// Records that are durable, and so may be known to those who only read.
    pub(crate) fn durable_entries(&self, durable: Sequence) -> Vec<Entry> {
        let listed = self.records.iter().filter(|(_, header)| header.kind.is_listed());
        let durable = listed.take_while(|(_, header)| header.sequence <= durable);
        durable.map(|(offset, header)| Entry::new(header, *offset as u32)).collect()
    }

    /// Decides what counts. Everything in the vault up to `durable` was durable once: it is believed until it is read. Of the rest every byte is
    /// looked at.
    pub(crate) fn judge(self, packs: &Packs, durable: Sequence) -> Result<Judged, VaultError> {
        let failed = |error| VaultError::disk("read", packs.path(self.pack.id), error);
        // In a pack, what lies before a durable record is durable as well.
        let listed = self.records.iter().filter(|(_, header)| header.kind.is_listed());
        let durable_end =
            listed.clone().filter(|(_, header)| header.sequence <= durable).map(|(offset, _)| *offset).max();
        let gap = |offset: u64, length| {
            let is_damage = durable_end.is_some_and(|end| offset < end);
            Gap { offset, length, reason: if is_damage { GapReason::Damaged } else { GapReason::Torn } }
        };
        let mut judged = Judged {
            pack: Arc::clone(&self.pack),
            row: self.row,
            used: self.used,
            entries: Vec::new(),
            listed: 0,
            gaps: self.ranges.iter().map(|(offset, length)| gap(*offset, *length)).collect(),
            footer_start: BLOCK,
            previous_footer: None,
            last: listed.map(|(_, header)| header.sequence).max().unwrap_or_default(),
        };
        for (offset, header) in &self.records {
            let counts = match header.kind {
                RecordKind::Mark => true,
                RecordKind::Footer => judged.take_footer(*offset, header).map_err(failed)?,
                RecordKind::Object(_) | RecordKind::Snapshot | RecordKind::Control => {
                    let counts = header.sequence <= durable
                        || is_whole(&self.pack, *offset, header).map_err(failed)?;
                    if counts {
                        judged.entries.push(Entry::new(header, *offset as u32));
                    }
                    counts
                }
            };
            if !counts {
                judged.gaps.push(gap(*offset, header.size()));
            }
        }
        judged.gaps.retain(|gap| gap.offset >= judged.footer_start);
        judged.gaps.sort_unstable_by_key(|gap| gap.offset);
        Ok(judged)
    }
}

impl Judged {
    /// A footer in the middle knows which records before it count. Returns false if it is none.
    fn take_footer(&mut self, offset: u64, header: &RecordHeader) -> io::Result<bool> {
        let footer = footer_at(&self.pack, offset)?;
        let Some(footer) = footer.filter(|footer| footer.start == self.footer_start) else {
            return Ok(false);
        };
        self.entries.truncate(self.listed);
        self.entries.extend(footer.entries);
        self.listed = self.entries.len();
        self.footer_start = offset + header.size();
        self.previous_footer = Some(offset);
        Ok(true)
    }

    /// Records the index does not know.
    pub(crate) fn new_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.end() > self.row.indexed)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.gaps.iter().any(|gap| gap.reason == GapReason::Damaged)
    }
}

/// Whether what follows a header has the hash it states.
pub(crate) fn is_whole(pack: &Pack, offset: u64, header: &RecordHeader) -> io::Result<bool> {
    let mut hasher = blake3::Hasher::new();
    let mut at = offset + HEADER_SIZE as u64;
    let end = offset + header.size();
    let mut buffer = vec![0; (end - at).min(HASH_BUFFER) as usize];
    while at < end {
        let count = (end - at).min(HASH_BUFFER) as usize;
        let part = &mut buffer[..count];
        match read_exact_at(&*pack.file, part, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        hasher.update(part);
        at += count as u64;
    }
    Ok(*hasher.finalize().as_bytes() == header.content_hash)
}

/// How the index sees a pack that was taken over as a whole.
pub(crate) fn row_after(row: &PackRow, state: PackState, size: u64, records: usize) -> PackRow {
    PackRow { state, size, indexed: size, records: row.records + records as u32, ..*row }
}

const HASH_BUFFER: u64 = 256 * 1024;
