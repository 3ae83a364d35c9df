//! Ending a pack whose writer could not: torn and damaged bytes go to quarantine, a footer goes behind everything.

use std::io::{self, IoSlice};
use std::sync::Arc;

use backstore_protocol::ids::{DeviceId, ObjectId};

use super::contents::{Judged, row_after};
use crate::disk::{Folder, Mode, read_exact_at, read_up_to};
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackId, Sequence};
use crate::index::rows::{PackRow, PackState};
use crate::limits::BLOCK;
use crate::pack::block_end;
use crate::pack::file::{Pack, Packs};
use crate::pack::footer::{Entry, Footer, FooterState, Gap, GapReason};
use crate::pack::header::encode_pack_header;
use crate::pack::record::{Flags, RecordHeader, RecordKind, content_hash};

/// Bytes that were copied to quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The copy.
    pub path: std::path::PathBuf,
    /// The pack's file name.
    pub pack: String,
    /// Where in the pack they are.
    pub offset: u64,
    /// How many.
    pub length: u64,
    /// They were durable once; otherwise a crash tore them before anybody was told that they are.
    pub is_damage: bool,
}

/// A synced pack that has to be ended.
pub(crate) struct Ending {
    pub(crate) judged: Judged,
    /// Records behind its last footer that count.
    pub(crate) kept: Vec<Entry>,
    /// The others.
    pub(crate) dropped: Vec<Entry>,
    /// Up to here everything in the vault is durable. That is not what was found now: other packs may still hold torn records of that time, and
    /// whoever reads this pack's footer after one more crash must not believe them.
    pub(crate) durable: Sequence,
}

/// A pack that was taken over and has no footer yet.
pub(crate) struct Unsealed {
    /// How many records were taken over.
    pub(crate) records: usize,
    pub(crate) ending: Ending,
}

impl Unsealed {
    /// Ends it. Returns its row after that.
    pub(crate) fn seal(
        &self,
        packs: &Packs,
        quarantined: &mut Vec<Quarantined>,
    ) -> Result<PackRow, VaultError> {
        let size = seal(packs, &self.ending, quarantined)?;
        Ok(row_after(&self.ending.judged.row, PackState::Sealed, size, self.records))
    }
}

/// Ends a pack. Returns its new size.
pub(crate) fn seal(
    packs: &Packs,
    ending: &Ending,
    quarantined: &mut Vec<Quarantined>,
) -> Result<u64, VaultError> {
    let judged = &ending.judged;
    let id = judged.pack.id;
    let failed = |action| move |error| VaultError::disk(action, packs.path(id), error);
    for gap in &judged.gaps {
        quarantined.extend(quarantine(packs, &judged.pack, gap)?);
    }
    let file = packs.disk().open(Folder::Packs, &id.to_string(), Mode::Write).map_err(failed("open"))?;
    let pack = packs.pack(id, file);
    write_missing_header(packs, &pack).map_err(failed("write to"))?;
    let mut gaps = judged.gaps.clone();
    gaps.extend(ending.dropped.iter().map(|entry| Gap {
        offset: u64::from(entry.offset),
        length: entry.end() - u64::from(entry.offset),
        reason: GapReason::Dropped,
    }));
    gaps.sort_unstable_by_key(|gap| gap.offset);
    let footer = Footer {
        start: judged.footer_start,
        previous: judged.previous_footer,
        state: FooterState::Sealed,
        entries: ending.kept.clone(),
        gaps,
    };
    let offset = block_end(judged.used.max(BLOCK));
    let content = footer.encode(offset);
    let header = footer_header(judged.last, ending.durable, &content);
    let bytes = header.encode(&pack.key, offset);
    let end = offset + header.size();
    pack.file
        .write_at(&mut [IoSlice::new(&bytes), IoSlice::new(&content)], offset)
        .map_err(failed("write to"))?;
    pack.file.cut(end).map_err(failed("shorten"))?;
    pack.file.sync().map_err(failed("sync"))?;
    Ok(end)
}

/// `last` is the highest sequence that was seen in the pack, on a record that counts or not.
fn footer_header(last: Sequence, durable: Sequence, content: &[u8]) -> RecordHeader {
    RecordHeader {
        kind: RecordKind::Footer,
        level: 0,
        flags: Flags::default(),
        account: AccountNumber::VAULT,
        device: DeviceId::ZERO,
        received_at: 0,
        sequence: last,
        id: ObjectId::ZERO,
        references: 0,
        length: content.len() as u32,
        content_hash: content_hash(&[], content),
        durable,
    }
}

/// A pack whose writer ended before its first bytes were durable may begin with zeros.
fn write_missing_header(packs: &Packs, pack: &Pack) -> io::Result<()> {
    let mut block = vec![0; BLOCK as usize];
    let read = read_up_to(&*pack.file, &mut block, 0)?;
    if block[..read].iter().all(|byte| *byte == 0) {
        let header = encode_pack_header(packs.vault(), pack.id);
        pack.file.write_at(&mut [IoSlice::new(&header)], 0)?;
    }
    Ok(())
}

/// Copies bytes of a pack to quarantine. `None` if nothing but zeros is there, or a copy was made already.
pub(crate) fn quarantine(
    packs: &Packs,
    pack: &Arc<Pack>,
    gap: &Gap,
) -> Result<Option<Quarantined>, VaultError> {
    let name = quarantine_name(pack.id, gap.offset);
    let path = packs.disk().path(Folder::Quarantine, &name);
    let read_failed = |error| VaultError::disk("read", packs.path(pack.id), error);
    if is_zero(pack, gap).map_err(read_failed)? {
        return Ok(None);
    }
    let failed = |error| VaultError::disk("write to", path.clone(), error);
    let file = match packs.disk().open(Folder::Quarantine, &name, Mode::Create) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            packs.disk().open(Folder::Quarantine, &name, Mode::Write).map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    if file.size().map_err(failed)? == gap.length {
        return Ok(None);
    }
    let mut buffer = vec![0; gap.length.min(COPY_BUFFER) as usize];
    let mut copied = 0;
    while copied < gap.length {
        let part = &mut buffer[..(gap.length - copied).min(COPY_BUFFER) as usize];
        read_exact_at(&*pack.file, part, gap.offset + copied).map_err(read_failed)?;
        file.write_at(&mut [IoSlice::new(part)], copied).map_err(failed)?;
        copied += part.len() as u64;
    }
    file.sync().map_err(failed)?;
    packs.disk().sync_names(Folder::Quarantine).map_err(failed)?;
    let is_damage = gap.reason == GapReason::Damaged;
    Ok(Some(Quarantined {
        path,
        pack: pack.id.to_string(),
        offset: gap.offset,
        length: gap.length,
        is_damage,
    }))
}

/// Whether bytes of a pack were copied to quarantine before.
pub(crate) fn is_quarantined(packs: &Packs, id: PackId, offset: u64, length: u64) -> bool {
    let file = packs.disk().open(Folder::Quarantine, &quarantine_name(id, offset), Mode::Read);
    file.and_then(|file| file.size()).is_ok_and(|size| size == length)
}

fn quarantine_name(id: PackId, offset: u64) -> String {
    format!("{id}.{offset}")
}

fn is_zero(pack: &Pack, gap: &Gap) -> io::Result<bool> {
    let mut buffer = vec![0; gap.length.min(COPY_BUFFER) as usize];
    let mut at = 0;
    while at < gap.length {
        let part = &mut buffer[..(gap.length - at).min(COPY_BUFFER) as usize];
        let read = read_up_to(&*pack.file, part, gap.offset + at)?;
        if part[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read < part.len() {
            break;
        }
        at += read as u64;
    }
    Ok(true)
}

const COPY_BUFFER: u64 = 1024 * 1024;
