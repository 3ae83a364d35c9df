//! Handing objects out: in the order in which they lie in packs, many at a time, every byte checked.

use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::SealedObject;
use backstore_protocol::store::ReadFailure;
use bytes::Bytes;

use super::{Account, memory};
use crate::core::PendingBytes;
use crate::error::VaultError;
use crate::ids::Place;
use crate::index::rows::{self, ObjectRow};
use crate::limits::{BULK_BYTES_MIN, READ_BYTES_MAX, READ_GAP_MAX};
use crate::pack::file::Pack;
use crate::pack::record::{HEADER_SIZE, RecordHeader, RecordKind, content_hash};

/// Where one of the wanted objects is.
struct Wanted {
    position: usize,
    place: Place,
    /// What the index said, unless the object is on its way to it.
    row: Option<ObjectRow>,
}

/// Called with the place of an object in the request, and the object or why it cannot be read.
type Each<'a> = dyn FnMut(usize, Result<SealedObject, ReadFailure>) + 'a;

impl Account {
    /// Reads objects and hands each over once, with its place in `ids`, in the order of their places on disk. What is handed over has the
    /// hash it was stored with; where a first copy has not, the second is read, and what has none left counts as damaged from now on.
    ///
    /// Objects share the memory of one read of up to 4 MiB: who keeps a small one for long copies it.
    ///
    /// # Errors
    ///
    /// A failed system call, or [`VaultError::Index`]; some objects may have been handed over.
    pub fn read(&self, ids: &[ObjectId], each: &mut Each<'_>) -> Result<(), VaultError> {
        let mut wanted = Vec::with_capacity(ids.len());
        for (position, id) in ids.iter().enumerate() {
            let pending = self.core.state().object(self.number, id).map(|object| object.bytes.clone());
            match pending {
                Some(PendingBytes::Queued(object)) => each(position, Ok(object)),
                Some(PendingBytes::Written(place)) => wanted.push(Wanted { position, place, row: None }),
                None => match self.core.index.object(self.number, id)? {
                    Some(row) if !row.is_damaged => {
                        wanted.push(Wanted { position, place: row.place, row: Some(row) });
                    }
                    Some(_) => each(position, Err(ReadFailure::Damaged)),
                    None => each(position, Err(self.absence(id)?)),
                },
            }
        }
        wanted.sort_unstable_by_key(|wanted| (wanted.place.pack, wanted.place.offset));
        let bytes: u64 = wanted.iter().map(|wanted| wanted.place.size()).sum();
        let is_bulk = wanted.len() > 1 && bytes >= BULK_BYTES_MIN;
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            self.read_run(ids, run, is_bulk, each)?;
            rest = after;
        }
        Ok(())
    }

    /// Why an object that the index does not have cannot be read.
    fn absence(&self, id: &ObjectId) -> Result<ReadFailure, VaultError> {
        let is_lost =
            self.may_have_damage() && self.core.index.get(&rows::damage_key(self.number, id))?.is_some();
        Ok(if is_lost { ReadFailure::Damaged } else { ReadFailure::Missing })
    }

    /// Reads neighbours with one call.
    fn read_run(
        &self,
        ids: &[ObjectId],
        run: &[Wanted],
        is_bulk: bool,
        each: &mut Each<'_>,
    ) -> Result<(), VaultError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let start = u64::from(first.place.offset);
        let pack = self.core.packs.get(first.place.pack)?;
        let memory = match &pack {
            Some(pack) => memory::read(&*pack.file, start, (last.place.end() - start) as usize, is_bulk)
                .map_err(|error| VaultError::disk("read", self.core.packs.path(pack.id), error))?,
            None => Bytes::new(),
        };
        let read = memory.len();
        for wanted in run {
            let id = &ids[wanted.position];
            let from = (u64::from(wanted.place.offset) - start) as usize;
            let record = memory.slice(from.min(read)..(from + wanted.place.size() as usize).min(read));
            let object = pack.as_ref().and_then(|pack| self.open_record(pack, &wanted.place, id, &record));
            drop(record);
            // What came past the system's cache is not called damaged before it was read through it.
            let object = match object {
                None if is_bulk => self.read_one(id, &wanted.place)?,
                object => object,
            };
            match object {
                Some(object) => each(wanted.position, Ok(object)),
                None => each(wanted.position, self.read_other_copy(id, wanted)?),
            }
        }
        Ok(())
    }

    /// The object in a record's bytes, if they are what was stored under the id.
    fn open_record(&self, pack: &Pack, place: &Place, id: &ObjectId, record: &Bytes) -> Option<SealedObject> {
        let header = RecordHeader::decode(record, &pack.key, u64::from(place.offset)).ok()?;
        let kind = match header.kind {
            RecordKind::Object(kind) => kind,
            RecordKind::Snapshot | RecordKind::Control | RecordKind::Footer | RecordKind::Mark => {
                return None;
            }
        };
        if header.account != self.number || header.id != *id || header.size() != record.len() as u64 {
            return None;
        }
        let references_end = HEADER_SIZE + header.references as usize * ObjectId::SIZE;
        let references = record.slice(HEADER_SIZE..references_end);
        let sealed = record.slice(references_end..);
        let is_whole = content_hash(&references, &sealed) == header.content_hash;
        is_whole.then_some(SealedObject { id: *id, kind, level: header.level, references, sealed })
    }

    /// A record was not what it should be: notes that, and tries what else there is.
    fn read_other_copy(
        &self,
        id: &ObjectId,
        wanted: &Wanted,
    ) -> Result<Result<SealedObject, ReadFailure>, VaultError> {
        let Some(mut row) = wanted.row else { return Ok(Err(ReadFailure::Damaged)) };
        loop {
            let is_damaged = self.core.index.change(|change| change.lose_place(self.number, id, &row))?;
            if is_damaged {
                self.core.note_damage(self.number);
            }
            let next = self.core.index.object(self.number, id)?;
            let Some(next) = next.filter(|next| !next.is_damaged && next.place != row.place) else {
                return Ok(Err(ReadFailure::Damaged));
            };
            if let Some(object) = self.read_one(id, &next.place)? {
                return Ok(Ok(object));
            }
            row = next;
        }
    }

    /// The object in the record at a place.
    pub(super) fn read_one(&self, id: &ObjectId, place: &Place) -> Result<Option<SealedObject>, VaultError> {
        let Some(pack) = self.core.packs.get(place.pack)? else { return Ok(None) };
        let memory = memory::read(&*pack.file, u64::from(place.offset), place.size() as usize, false)
            .map_err(|error| VaultError::disk("read", self.core.packs.path(pack.id), error))?;
        Ok(self.open_record(&pack, place, id, &memory))
    }
}

/// How many of the first wanted objects are read with one call.
fn run_length(wanted: &[Wanted]) -> usize {
    let Some(first) = wanted.first() else { return 0 };
    let start = u64::from(first.place.offset);
    let mut end = first.place.end();
    let mut count = 1;
    for next in &wanted[1..] {
        let is_near =
            next.place.pack == first.place.pack && u64::from(next.place.offset) <= end + READ_GAP_MAX;
        if !is_near || next.place.end() - start > READ_BYTES_MAX {
            break;
        }
        end = end.max(next.place.end());
        count += 1;
    }
    count
}
