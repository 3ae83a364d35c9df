//! The thread that writes an object cache: appends records to a segment of its own, begins the next one when that is full, and deletes the oldest
//! segments to make room.
//!
//! Whatever fails costs what was to be kept, and a while in which nothing is tried.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use backstore_platform::durable::write_all_at;
use backstore_platform::lock::{Lock, LockError};
use backstore_platform::private_file::make_private_directory;
use backstore_platform::space::space;
use backstore_protocol::ids::ObjectId;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::segments::{
    ENTRY_BYTES, INDEX_START, Listed, Name, Place, SLOTS, Sizes, encode_entry, read_index, start_of,
};
use super::{IDLE, Shared, lock};
use crate::cached::record::{self, HEADER};

/// What the thread is asked for.
pub(super) enum Job {
    /// To append a record.
    Append(Vec<u8>),
    /// To say when everything before is done.
    Flush(Sender<()>),
}

/// What the thread works with.
pub(super) struct Writer {
    shared: Arc<Shared>,
    slot: Option<(u32, Lock)>,
    current: Option<Current>,
    rests_until: Option<Instant>,
}

/// The segment that is being written.
struct Current {
    name: Name,
    objects: File,
    index: File,
    sizes: Sizes,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, slot: None, current: None, rests_until: None }
    }

    /// The life of the thread.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(IDLE) {
                Ok(Job::Append(bytes)) => self.append_or_rest(bytes),
                Ok(Job::Flush(done)) => drop(done),
                Err(RecvTimeoutError::Timeout) => {
                    lock(&self.shared.free).clear();
                    // What others have deleted must not stay on the disk because it is open here.
                    self.shared.refresh();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn append_or_rest(&mut self, mut bytes: Vec<u8>) {
        if self.rests_until.is_none_or(|end| Instant::now() >= end) {
            self.rests_until = None;
            if let Err(error) = self.append(&mut bytes)
                // Another process begins a segment: that takes a moment.
                && error.kind() != io::ErrorKind::WouldBlock
            {
                tracing::debug!(%error, folder = %self.shared.folder.display(), "the cache takes nothing for a while");
                self.rests_until = Some(Instant::now() + self.shared.options.rest);
            }
        }
        self.shared.give_back(bytes);
    }

    fn append(&mut self, record: &mut [u8]) -> io::Result<()> {
        let Some(id) = record.first_chunk::<HEADER>().and_then(record::Record::decode) else { return Ok(()) };
        if self.shared.has(&id.id) {
            return Ok(());
        }
        let length = record.len() as u64;
        let (segment_bytes, entries_max) = (self.shared.options.segment_bytes, self.shared.entries_max());
        let folder = &self.shared.folder;
        if self.current.as_ref().is_some_and(|current| !current.name.is_in(folder)) {
            // Somebody has deleted it, perhaps the whole folder with the lock.
            (self.current, self.slot) = (None, None);
        }
        // What is added now must not go with what is old because others have written more meanwhile.
        let is_young = |name| lock(&self.shared.segments).age(name) <= self.shared.options.bytes_max / 2;
        let is_usable = self.current.as_ref().is_some_and(|current| {
            current.has_room(length, segment_bytes, entries_max) && is_young(current.name)
        });
        if !is_usable {
            self.current = None;
            self.current = Some(self.begin(length)?);
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        record::stamp(record);
        let place = current.append(record, &id.id)?;
        let mut segments = lock(&self.shared.segments);
        if let Some(segment) = segments.get_mut(current.name) {
            segment.add([(start_of(&id.id), place)]);
            (segment.indexed, segment.bytes) = (current.sizes.index, current.sizes.sum());
        }
        Ok(())
    }

    /// A segment with room for `length` bytes: the one that whoever had the slot before has left, or a new one.
    fn begin(&mut self, length: u64) -> io::Result<Current> {
        let shared = Arc::clone(&self.shared);
        let folder = &shared.folder;
        make_private_directory(folder).map_err(io::Error::other)?;
        let was_mine = self.slot.is_some();
        let slot = match &self.slot {
            Some((slot, _)) => *slot,
            None => self.slot.insert(take_slot(folder)?).0,
        };
        let _room = match Lock::acquire(&folder.join("room.lock")) {
            Ok(room) => room,
            Err(LockError::Held { .. }) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error @ LockError::File { .. }) => return Err(io::Error::other(error)),
        };
        let mut listed = Listed::of(folder)?;
        let left = listed.0.iter().rev().find(|(name, _)| name.slot == slot).filter(|_| !was_mine);
        if let Some((name, sizes)) = left
            && lock(&shared.segments).age(*name) <= shared.options.bytes_max / 2
            && let Some(current) = Current::go_on(folder, *name, *sizes)
            && current.has_room(length, shared.options.segment_bytes, shared.entries_max())
        {
            shared.refresh();
            return Ok(current);
        }
        make_room(&shared, &mut listed)?;
        let name = listed.next(slot)?;
        let current = Current::create(folder, name)?;
        shared.refresh();
        Ok(current)
    }
}

/// A slot that no other process writes in.
fn take_slot(folder: &Path) -> io::Result<(u32, Lock)> {
    for slot in 0..SLOTS {
        match Lock::acquire(&folder.join(format!("slot-{slot}.lock"))) {
            Ok(taken) => return Ok((slot, taken)),
            Err(LockError::Held { .. }) => {}
            Err(error @ LockError::File { .. }) => return Err(io::Error::other(error)),
        }
    }
    Err(io::Error::other("as many processes write this cache as can"))
}

/// Deletes the oldest segments until one more has room, in the cache and on the disk.
fn make_room(shared: &Shared, listed: &mut Listed) -> io::Result<()> {
    let (segment_bytes, options) = (shared.options.segment_bytes, &shared.options);
    loop {
        let is_within = listed.reserved(segment_bytes) + segment_bytes <= options.bytes_max;
        let is_room_left = options.free_bytes_min == 0
            || space(&shared.folder)?.available >= options.free_bytes_min + segment_bytes;
        if is_within && is_room_left {
            return Ok(());
        }
        let Some((oldest, _)) = listed.0.pop_first() else { return Err(io::ErrorKind::StorageFull.into()) };
        oldest.remove(&shared.folder)?;
    }
}

impl Current {
    fn create(folder: &Path, name: Name) -> io::Result<Self> {
        let create = |path| OpenOptions::new().write(true).create_new(true).open(path);
        let (objects, index) = (create(name.objects(folder))?, create(name.index(folder))?);
        write_all_at(&index, &mut [IoSlice::new(&INDEX_START)], 0)?;
        let sizes = Sizes { objects: 0, index: INDEX_START.len() as u64 };
        Ok(Self { name, objects, index, sizes })
    }

    /// A segment that another process has left, if its index is whole. What lies behind the last record stays unused.
    fn go_on(folder: &Path, name: Name, sizes: Sizes) -> Option<Self> {
        let open = |path| OpenOptions::new().write(true).open(path).ok();
        let (_, begun) = read_index(&name.index(folder), 0, 0).ok()?;
        let is_whole = begun > 0 && sizes.index.is_multiple_of(ENTRY_BYTES as u64);
        let (objects, index) = (open(name.objects(folder))?, open(name.index(folder))?);
        is_whole.then_some(Self { name, objects, index, sizes })
    }

    fn has_room(&self, length: u64, segment_bytes: u64, entries_max: usize) -> bool {
        let entries = self.sizes.index / ENTRY_BYTES as u64;
        self.sizes.sum() + length + ENTRY_BYTES as u64 <= segment_bytes && entries <= entries_max as u64
    }

    fn append(&mut self, record: &[u8], id: &ObjectId) -> io::Result<Place> {
        let place = Place { offset: self.sizes.objects as u32, length: record.len() as u32 };
        let entry = encode_entry((start_of(id), place));
        let written = write_all_at(&self.objects, &mut [IoSlice::new(record)], self.sizes.objects)
            .and_then(|()| write_all_at(&self.index, &mut [IoSlice::new(&entry)], self.sizes.index));
        if let Err(error) = written {
            // No entry leads to what was written of it, and its place is used again.
            let _ = self.objects.set_len(self.sizes.objects);
            let _ = self.index.set_len(self.sizes.index);
            return Err(error);
        }
        self.sizes.objects += record.len() as u64;
        self.sizes.index += ENTRY_BYTES as u64;
        Ok(place)
    }
}
