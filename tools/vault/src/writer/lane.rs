//! The pack of a class that is being written.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use super::{Appended, NewRecord, Payload};
use crate::disk::{Folder, Mode, read_exact_at};
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackClass, PackId, Sequence};
use crate::index::rows::{PackRow, PackState};
use crate::limits::{BLOCK, PACK_BYTES_MAX, RESERVE_BYTES_MAX, RESERVE_BYTES_MIN, UNSYNCED_BYTES_MAX};
use crate::pack::block_end;
use crate::pack::file::{Pack, Packs};
use crate::pack::footer::{Entry, Footer, FooterState, TRAILER_SIZE, Trailer};
use crate::pack::header::encode_pack_header;
use crate::pack::record::{Flags, HEADER_SIZE, RecordHeader, RecordKind, content_hash};

/// Appends to one pack after the other.
pub(crate) struct Lane {
    number: usize,
    pub(crate) class: PackClass,
    pack: Option<OpenPack>,
    /// Packs that get no more records and still lack a footer.
    ending: Vec<(OpenPack, FooterState)>,
    queued: VecDeque<SyncJob>,
    /// The first sequence of the sync that is running.
    running: Option<Option<Sequence>>,
    /// The first and last sequence that no sync was started for.
    unsynced: Option<(Sequence, Sequence)>,
}

struct OpenPack {
    pack: Arc<Pack>,
    /// Behind the last record.
    end: u64,
    /// Where the next one goes.
    next: u64,
    /// Space up to here is set aside.
    reserved: u64,
    /// A sync was started up to here.
    syncing: u64,
    header_is_written: bool,
    name_is_synced: bool,
    /// What the next footer lists.
    entries: Vec<Entry>,
    footer_start: u64,
    previous_footer: Option<u64>,
    records: usize,
    last: Sequence,
}

/// Makes a pack durable up to a place.
pub(crate) struct SyncJob {
    pub(crate) lane: usize,
    pub(crate) pack: Arc<Pack>,
    pub(crate) end: u64,
    names: bool,
    first: Option<Sequence>,
    pub(crate) last: Sequence,
    /// The pack is complete then, and in this state.
    pub(crate) completes: Option<PackState>,
}

impl SyncJob {
    pub(crate) fn run(&self, packs: &Packs) -> io::Result<()> {
        if !cfg!(bug_ack_before_sync) {
            self.pack.file.sync()?;
        }
        if self.names && !cfg!(bug_skip_name_sync) {
            packs.disk().sync_names(Folder::Packs)?;
        }
        Ok(())
    }
}

/// Records that were written to a lane and are not yet kept.
pub(crate) struct Placed {
    records: Vec<(Entry, Payload)>,
    /// The lane's pack before: what to go back to.
    end: u64,
    next: u64,
    header_was_written: bool,
}

impl Lane {
    pub(crate) fn new(number: usize, class: PackClass) -> Self {
        Self {
            number,
            class,
            pack: None,
            ending: Vec::new(),
            queued: VecDeque::new(),
            running: None,
            unsynced: None,
        }
    }

    pub(crate) fn has_pack(&self) -> bool {
        self.pack.is_some()
    }

    /// Whether so much more would be too much for the pack. An empty pack takes any group.
    pub(crate) fn is_full(&self, bytes: u64, records: usize, bytes_max: u64, records_max: usize) -> bool {
        self.pack.as_ref().is_some_and(|pack| {
            pack.records > 0 && (pack.next + bytes > bytes_max || pack.records + records > records_max)
        })
    }

    /// Takes a new pack. Its file is made; nothing is written to it yet.
    pub(crate) fn create_pack(&mut self, packs: &Packs, id: PackId) -> Result<(), VaultError> {
        let file = packs
            .disk()
            .open(Folder::Packs, &id.to_string(), Mode::Create)
            .map_err(|error| VaultError::disk("make", packs.path(id), error))?;
        self.pack = Some(OpenPack {
            pack: Arc::new(packs.pack(id, file)),
            end: BLOCK,
            next: BLOCK,
            reserved: 0,
            syncing: 0,
            header_is_written: false,
            name_is_synced: false,
            entries: Vec::new(),
            footer_start: BLOCK,
            previous_footer: None,
            records: 0,
            last: Sequence(0),
        });
        Ok(())
    }

    /// Takes a closed pack behind its footer. Returns false if it is not as the index says; then another one has to do.
    pub(crate) fn continue_pack(&mut self, packs: &Packs, row: &PackRow) -> Result<bool, VaultError> {
        let failed = |error| VaultError::disk("open", packs.path(row.id), error);
        let file = match packs.disk().open(Folder::Packs, &row.id.to_string(), Mode::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let mut trailer = [0; TRAILER_SIZE];
        let size = file.size().map_err(failed)?;
        if size != row.size || size < TRAILER_SIZE as u64 {
            return Ok(false);
        }
        read_exact_at(&*file, &mut trailer, size - TRAILER_SIZE as u64).map_err(failed)?;
        let Some(trailer) = Trailer::decode(&trailer) else { return Ok(false) };
        self.pack = Some(OpenPack {
            pack: Arc::new(packs.pack(row.id, file)),
            end: size,
            next: block_end(size),
            reserved: size,
            syncing: size,
            header_is_written: true,
            name_is_synced: true,
            entries: Vec::new(),
            footer_start: size,
            previous_footer: Some(trailer.offset),
            records: row.records as usize,
            last: Sequence(0),
        });
        Ok(true)
    }

    /// Writes records behind the others. They count only when they are kept.
    pub(crate) fn write(
        &mut self,
        packs: &Packs,
        records: &[&NewRecord],
        durable: Sequence,
        limit: u64,
    ) -> Result<Placed, VaultError> {
        let Some(open) = &mut self.pack else { return Err(VaultError::Closed) };
        let mut placed = Placed {
            records: Vec::with_capacity(records.len()),
            end: open.end,
            next: open.next,
            header_was_written: open.header_is_written,
        };
        let mut headers = Vec::with_capacity(records.len());
        let mut offset = open.next;
        for record in records {
            let header = RecordHeader { durable, ..record.header };
            placed.records.push((Entry::new(&header, offset as u32), record.payload.clone()));
            headers.push(header.encode(&open.pack.key, offset));
            offset += header.size();
        }
        let bodies = records.iter().map(|record| (&record.references, &record.content));
        match open.write(packs, &headers, bodies, offset, limit) {
            Ok(()) => Ok(placed),
            Err(error) => {
                self.undo(&placed)?;
                Err(error)
            }
        }
    }

    /// Takes back what was written last.
    pub(crate) fn undo(&mut self, placed: &Placed) -> Result<(), VaultError> {
        let Some(open) = &mut self.pack else { return Ok(()) };
        open.end = placed.end;
        open.next = placed.next;
        open.header_is_written = placed.header_was_written;
        // Not at the end: its block may hold durable bytes, and cutting would write it.
        let size = if open.header_is_written { open.next } else { 0 };
        open.reserved = size;
        // Synced at once: the next records say that all before them is durable, and what is taken back must not come back as a part of that.
        open.pack.file.cut(size).and_then(|()| open.pack.file.sync()).map_err(|source| VaultError::Disk {
            action: "undo a write to",
            path: open.pack.id.to_string().into(),
            source: Arc::new(source),
        })
    }

    /// Takes records that were written for good.
    pub(crate) fn keep(&mut self, placed: Placed) -> Vec<Appended> {
        let Some(open) = &mut self.pack else { return Vec::new() };
        let number = open.pack.id.number;
        for (entry, _) in &placed.records {
            open.last = entry.sequence;
            let first = self.unsynced.map_or(entry.sequence, |(first, _)| first);
            self.unsynced = Some((first, entry.sequence));
        }
        open.records += placed.records.len();
        open.entries.extend(placed.records.iter().map(|(entry, _)| *entry));
        let appended = |(entry, payload)| Appended { pack: number, entry, payload };
        placed.records.into_iter().map(appended).collect()
    }

    /// Completes the pack; the next record needs another one. A pack that was continued and got nothing new stays closed.
    pub(crate) fn seal(&mut self) {
        self.end(FooterState::Sealed);
    }

    /// Ends the pack so that it can be continued, if anything was written to it.
    pub(crate) fn close(&mut self) {
        self.end(FooterState::Closed);
    }

    fn end(&mut self, state: FooterState) {
        let Some(mut open) = self.pack.take().filter(|open| !open.entries.is_empty()) else { return };
        if let Some((first, last)) = self.unsynced.take() {
            let job = open.job(self.number, first, last);
            self.queued.push_back(job);
        }
        self.ending.push((open, state));
    }

    /// Writes footers behind records that are durable, and so is what they need. Without space for one the pack stays as it is; the next
    /// opening ends it.
    pub(crate) fn write_footers(&mut self, packs: &Packs, durable: Sequence) -> Result<(), VaultError> {
        for (mut open, state) in self.ending.extract_if(.., |(open, _)| open.last <= durable) {
            match open.write_footer(packs, state, durable) {
                Ok(()) => {}
                Err(VaultError::Full) => continue,
                Err(error) => return Err(error),
            }
            self.queued.push_back(SyncJob {
                lane: self.number,
                end: open.end,
                names: false,
                first: None,
                last: open.last,
                completes: Some(match state {
                    FooterState::Closed => PackState::Closed,
                    FooterState::Sealed => PackState::Sealed,
                }),
                pack: open.pack,
            });
        }
        Ok(())
    }

    /// The next sync, unless one is running or none is needed.
    pub(crate) fn next_job(&mut self, wanted: Sequence) -> Option<SyncJob> {
        if self.running.is_some() {
            return None;
        }
        let job = match self.queued.pop_front() {
            Some(job) => job,
            None => self.job(wanted)?,
        };
        self.running = Some(job.first);
        Some(job)
    }

    fn job(&mut self, wanted: Sequence) -> Option<SyncJob> {
        let open = self.pack.as_mut()?;
        let (first, last) = self.unsynced?;
        if first > wanted && open.end - open.syncing < UNSYNCED_BYTES_MAX {
            return None;
        }
        self.unsynced = None;
        Some(open.job(self.number, first, last))
    }

    /// A sync has succeeded.
    pub(crate) fn synced(&mut self) {
        self.running = None;
    }

    /// Says in the pack, if there is one, how far the vault is durable. Returns whether it could.
    pub(crate) fn mark(&mut self, durable: Sequence) -> Result<bool, VaultError> {
        match &mut self.pack {
            Some(open) if open.header_is_written => open.write_mark(durable),
            Some(_) | None => Ok(false),
        }
    }

    /// The first sequence in this lane that is not durable.
    pub(crate) fn first_unsynced(&self) -> Option<Sequence> {
        let queued = self.queued.iter().filter_map(|job| job.first);
        let unsynced = self.unsynced.map(|(first, _)| first);
        self.running.flatten().into_iter().chain(queued).chain(unsynced).min()
    }
}

impl OpenPack {
    /// A sync of everything so far.
    fn job(&mut self, lane: usize, first: Sequence, last: Sequence) -> SyncJob {
        self.syncing = self.end;
        // Later records must not share a block with those that are durable then.
        self.next = block_end(self.end);
        let names = !std::mem::replace(&mut self.name_is_synced, true);
        let (pack, end) = (Arc::clone(&self.pack), self.end);
        SyncJob { lane, pack, end, names, first: Some(first), last, completes: None }
    }

    fn write<'a>(
        &mut self,
        packs: &Packs,
        headers: &[[u8; HEADER_SIZE]],
        bodies: impl Iterator<Item = (&'a Bytes, &'a Bytes)>,
        end: u64,
        limit: u64,
    ) -> Result<(), VaultError> {
        if end >= PACK_BYTES_MAX {
            return Err(VaultError::TooLarge { what: "a pack, in bytes,", size: end, max: PACK_BYTES_MAX });
        }
        self.reserve(end, limit);
        let first_block = encode_pack_header(packs.vault(), self.pack.id);
        let mut slices = Vec::with_capacity(1 + 3 * headers.len());
        let mut offset = self.next;
        if !self.header_is_written {
            slices.push(IoSlice::new(&first_block));
            offset = 0;
        }
        for (header, (references, content)) in headers.iter().zip(bodies) {
            let parts = [&header[..], references, content];
            slices.extend(parts.into_iter().filter(|part| !part.is_empty()).map(IoSlice::new));
        }
        self.pack
            .file
            .write_at(&mut slices, offset)
            .map_err(|error| VaultError::disk("write to", packs.path(self.pack.id), error))?;
        self.header_is_written = true;
        self.end = end;
        self.next = end;
        Ok(())
    }

    /// Sets space aside, more the larger the pack is. Without it writing works all the same.
    fn reserve(&mut self, end: u64, limit: u64) {
        if end <= self.reserved {
            return;
        }
        let step = self.end.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        let to = end.max((self.reserved + step).min(limit));
        self.reserved = match self.pack.file.reserve(self.reserved, to - self.reserved) {
            Ok(()) => to,
            Err(_) => end,
        };
    }

    /// Says how far the vault is durable. If there is no space for that, the next record says it.
    fn write_mark(&mut self, durable: Sequence) -> Result<bool, VaultError> {
        let header = self.own_header(RecordKind::Mark, &[], durable);
        let bytes = header.encode(&self.pack.key, self.next);
        match self.pack.file.write_at(&mut [IoSlice::new(&bytes)], self.next) {
            Ok(()) => {
                self.next += HEADER_SIZE as u64;
                self.end = self.next;
                Ok(true)
            }
            Err(error) if crate::error::is_full(&error) => Ok(true),
            Err(source) => Err(VaultError::Disk {
                action: "write to",
                path: self.pack.id.to_string().into(),
                source: Arc::new(source),
            }),
        }
    }

    /// Ends the pack with the table of its records and cuts off what was set aside.
    fn write_footer(
        &mut self,
        packs: &Packs,
        state: FooterState,
        durable: Sequence,
    ) -> Result<(), VaultError> {
        let footer = Footer {
            start: self.footer_start,
            previous: self.previous_footer,
            state,
            entries: std::mem::take(&mut self.entries),
            gaps: Vec::new(),
        };
        let content = footer.encode(self.next);
        self.entries = footer.entries;
        let header = self.own_header(RecordKind::Footer, &content, durable);
        let bytes = header.encode(&self.pack.key, self.next);
        let end = self.next + header.size();
        let failed = |error| VaultError::disk("write to", packs.path(self.pack.id), error);
        let written = self.pack.file.write_at(&mut [IoSlice::new(&bytes), IoSlice::new(&content)], self.next);
        if let Err(error) = written {
            self.pack.file.cut(self.next).map_err(failed)?;
            self.reserved = self.next;
            return Err(failed(error));
        }
        self.pack.file.cut(end).map_err(failed)?;
        self.end = end;
        self.next = end;
        Ok(())
    }

    /// The header of a record that describes the pack itself.
    fn own_header(&self, kind: RecordKind, content: &[u8], durable: Sequence) -> RecordHeader {
        RecordHeader {
            kind,
            level: 0,
            flags: Flags::default(),
            account: AccountNumber::VAULT,
            device: backstore_protocol::ids::DeviceId::ZERO,
            received_at: 0,
            sequence: self.last,
            id: backstore_protocol::ids::ObjectId::ZERO,
            references: 0,
            length: content.len() as u32,
            content_hash: content_hash(&[], content),
            durable,
        }
    }
}
