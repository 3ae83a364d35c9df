//! What a pack holds beyond what the index knows: from its footers, or by reading it.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::disk::read_exact_at;
use crate::error::VaultError;
use crate::ids::Sequence;
use crate::index::rows::{PackRow, PackState};
use crate::limits::BLOCK;
use crate::pack::file::{Pack, Packs};
use crate::pack::footer::{Entry, Footer, FooterState, Gap, GapReason, TRAILER_SIZE, Trailer};
use crate::pack::record::{HEADER_SIZE, RecordHeader, RecordKind};
use crate::pack::scan::{Found, scan};

/// What a pack holds beyond what the index knows.
pub(crate) struct Contents {
    pub(crate) pack: Arc<Pack>,
    /// As it was in the index.
    pub(crate) row: PackRow,
    /// Of the file.
    pub(crate) size: u64,
    /// Records behind `row.indexed`, in the order of offsets.
    pub(crate) entries: Vec<Entry>,
    pub(crate) end: End,
    /// Bytes that were records once and are none now.
    pub(crate) damaged: Vec<Gap>,
}

/// How a pack ends.
pub(crate) enum End {
    /// With a footer.
    Footer(FooterState),
    /// Without.
    Unfinished(Unfinished),
}

/// A pack without a footer at its end.
pub(crate) struct Unfinished {
    /// Behind the last byte that is not zero.
    pub(crate) used: u64,
    /// All records that count.
    pub(crate) entries: Vec<Entry>,
    /// How many of them lie before the end of the last footer; the others have to be listed by the next.
    pub(crate) listed: usize,
    /// Behind the last footer.
    pub(crate) gaps: Vec<Gap>,
    /// Behind the last footer.
    pub(crate) footer_start: u64,
    pub(crate) previous_footer: Option<u64>,
    /// Bytes below were durable when the last record was written.
    pub(crate) durable: u64,
    pub(crate) last: Sequence,
}

/// Reads what a pack holds beyond `row.indexed`.
pub(crate) fn read(packs: &Packs, pack: Arc<Pack>, row: PackRow) -> Result<Contents, VaultError> {
    let failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    let size = pack.file.size().map_err(failed)?;
    if let Some((offset, footer)) = last_footer(&pack, size).map_err(failed)? {
        return finished(packs, pack, row, size, offset, footer);
    }
    let unfinished = read_unfinished(packs, &pack, size)?;
    let entries = unfinished.entries.iter().copied().filter(|entry| entry.end() > row.indexed).collect();
    let damaged = unfinished.gaps.iter().copied().filter(|gap| gap.reason == GapReason::Damaged).collect();
    Ok(Contents { pack, row, size, entries, end: End::Unfinished(unfinished), damaged })
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

/// The footer whose record begins at `offset`, if one does and is whole.
pub(crate) fn footer_at(pack: &Pack, offset: u64) -> io::Result<Option<Footer>> {
    let record = pack.record(offset)?.filter(|record| record.header.kind == RecordKind::Footer);
    Ok(record.and_then(|record| Footer::decode(&record.content, offset)))
}

/// Contents of a pack that ends with a footer. Where an earlier footer is damaged, its part of the pack is read instead.
fn finished(
    packs: &Packs,
    pack: Arc<Pack>,
    row: PackRow,
    size: u64,
    offset: u64,
    footer: Footer,
) -> Result<Contents, VaultError> {
    let failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    let state = footer.state;
    let mut parts = Vec::new();
    let mut damaged = Vec::new();
    let mut next = Some((offset, footer));
    while let Some((_, footer)) = next.take() {
        damaged.extend(footer.gaps.iter().copied().filter(|gap| gap.reason == GapReason::Damaged));
        let (start, previous) = (footer.start, footer.previous);
        parts.push(footer.entries);
        let Some(offset) = previous.filter(|_| start > row.indexed) else { continue };
        match footer_at(&pack, offset).map_err(failed)? {
            Some(footer) if offset < start => next = Some((offset, footer)),
            Some(_) | None => {
                let earlier = read_unfinished(packs, &pack, start)?;
                damaged.extend(earlier.gaps.iter().map(|gap| Gap { reason: GapReason::Damaged, ..*gap }));
                parts.push(earlier.entries);
            }
        }
    }
    let mut entries: Vec<_> = parts.into_iter().flatten().filter(|entry| entry.end() > row.indexed).collect();
    entries.sort_unstable_by_key(|entry| entry.offset);
    entries.dedup_by_key(|entry| entry.offset);
    Ok(Contents { pack, row, size, entries, end: End::Footer(state), damaged })
}

/// Reads a pack, or its first `size` bytes, from header to header.
fn read_unfinished(packs: &Packs, pack: &Pack, size: u64) -> Result<Unfinished, VaultError> {
    let failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    let mut records: Vec<(u64, RecordHeader)> = Vec::new();
    let mut ranges = Vec::new();
    let mut newer = None;
    let used = scan(pack, BLOCK, size, &mut |found| {
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
    let used = used.map_err(failed)?;
    if let Some(what) = newer {
        return Err(VaultError::Newer { path: packs.path(pack.id), what });
    }
    let durable = records.iter().map(|(_, header)| header.durable).max().unwrap_or(0);
    let reason = |offset| if offset < durable { GapReason::Damaged } else { GapReason::Torn };
    let mut unfinished = Unfinished {
        used,
        entries: Vec::new(),
        listed: 0,
        gaps: ranges
            .iter()
            .map(|(offset, length)| Gap { offset: *offset, length: *length, reason: reason(*offset) })
            .collect(),
        footer_start: BLOCK,
        previous_footer: None,
        durable,
        last: Sequence(0),
    };
    for (offset, header) in &records {
        unfinished.visit(pack, *offset, header).map_err(failed)?;
    }
    unfinished.gaps.retain(|gap| gap.offset >= unfinished.footer_start);
    unfinished.gaps.sort_unstable_by_key(|gap| gap.offset);
    Ok(unfinished)
}

impl Unfinished {
    fn visit(&mut self, pack: &Pack, offset: u64, header: &RecordHeader) -> io::Result<()> {
        let end = offset + header.size();
        match header.kind {
            RecordKind::Mark => {}
            RecordKind::Footer => match footer_at(pack, offset)? {
                // It knows which records before it do not count.
                Some(footer) if footer.start == self.footer_start => {
                    self.entries.truncate(self.listed);
                    self.entries.extend(footer.entries);
                    self.listed = self.entries.len();
                    self.footer_start = end;
                    self.previous_footer = Some(offset);
                }
                Some(_) | None => self.gaps.push(self.gap(offset, header.size())),
            },
            RecordKind::Object(_) | RecordKind::Snapshot | RecordKind::Control => {
                self.last = self.last.max(header.sequence);
                // What was durable is believed until it is read; what may have been torn is looked at.
                if end > self.durable && !is_whole(pack, offset, header)? {
                    self.gaps.push(self.gap(offset, header.size()));
                } else {
                    self.entries.push(Entry::new(header, offset as u32));
                }
            }
        }
        Ok(())
    }

    fn gap(&self, offset: u64, length: u64) -> Gap {
        let reason = if offset < self.durable { GapReason::Damaged } else { GapReason::Torn };
        Gap { offset, length, reason }
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
