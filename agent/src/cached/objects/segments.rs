//! The segments of an object cache: which there are, what they hold, which are in the way.
//!
//! ```text
//! SEQUENCE-SLOT.objects   records, one behind the other
//! SEQUENCE-SLOT.index     8B 42 4B 49 01 0 0 0 ‖ 0 u64   then for each record: start of its id u64 ‖ offset u32 ‖ length u32
//! slot-N.lock             held by the process that writes segments of this slot
//! room.lock               held while a segment is begun
//! ```
//!
//! The sequence is 16 hexadecimal digits: microseconds since 1970, or more if there are newer names already. So names sort by age, and none comes
//! again, even if the folder is deleted meanwhile. Entries of an index are written after their records, so who finds an
//! entry finds the record, or, after a power cut or damage, something that does not agree with its checksum: then it is not there.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use backstore_protocol::ids::ObjectId;

use crate::cached::record::{HEADER, RECORD_BYTES_MAX};

/// The start of an index.
pub(super) const INDEX_START: [u8; 16] = [0x8b, b'B', b'K', b'I', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// An entry of an index.
pub(super) const ENTRY_BYTES: usize = 16;
/// Processes that can write at a time; more only read.
pub(super) const SLOTS: u32 = 8;

/// What a segment is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) sequence: u64,
    pub(super) slot: u32,
}

impl Name {
    /// The name, and whether the file is the one with the records.
    fn parse(file: &str) -> Option<(Self, bool)> {
        let (name, part) = file.split_once('.')?;
        let (sequence, slot) = name.split_once('-')?;
        let name = Self { sequence: u64::from_str_radix(sequence, 16).ok()?, slot: slot.parse().ok()? };
        // One name has one form.
        [true, false].into_iter().map(|objects| (name, objects)).find(|(name, objects)| {
            let extension = if *objects { "objects" } else { "index" };
            name.slot < SLOTS && part == extension && file == name.file(extension)
        })
    }

    fn file(&self, extension: &str) -> String {
        format!("{:016x}-{}.{extension}", self.sequence, self.slot)
    }

    /// The file with the records.
    pub(super) fn objects(&self, folder: &Path) -> PathBuf {
        folder.join(self.file("objects"))
    }

    /// The file that says where they are.
    pub(super) fn index(&self, folder: &Path) -> PathBuf {
        folder.join(self.file("index"))
    }

    /// Whether its files are there.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        self.index(folder).exists() && self.objects(folder).exists()
    }

    /// Deletes the segment; whoever has it open can go on reading.
    pub(super) fn remove(&self, folder: &Path) -> io::Result<()> {
        let gone = |removed: io::Result<()>| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        // The index first: what it does not name is not looked for.
        gone(fs::remove_file(self.index(folder)))?;
        gone(fs::remove_file(self.objects(folder)))
    }
}

/// Bytes of a segment's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sizes {
    pub(super) objects: u64,
    pub(super) index: u64,
}

impl Sizes {
    pub(super) fn sum(&self) -> u64 {
        self.objects + self.index
    }
}

/// The segments in a folder, oldest first.
#[derive(Debug, Default)]
pub(super) struct Listed(pub(super) BTreeMap<Name, Sizes>);

impl Listed {
    /// Looks into a folder; files of other names are none of ours.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let mut listed = Self::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some((name, is_objects)) = entry.file_name().to_str().and_then(Name::parse) else { continue };
            // It may be deleted at this moment.
            let size = entry.metadata().map_or(0, |found| found.len());
            let sizes = listed.0.entry(name).or_default();
            *(if is_objects { &mut sizes.objects } else { &mut sizes.index }) = size;
        }
        Ok(listed)
    }

    /// The newest segment of each slot may still grow.
    pub(super) fn may_grow(&self, name: Name) -> bool {
        let newest = self.0.keys().filter(|other| other.slot == name.slot).max();
        newest == Some(&name)
    }

    /// Bytes that the segments have or may still come to.
    pub(super) fn reserved(&self, segment_bytes: u64) -> u64 {
        let of = |(name, sizes): (&Name, &Sizes)| {
            let least = if self.may_grow(*name) { segment_bytes } else { 0 };
            sizes.sum().max(least)
        };
        self.0.iter().map(of).sum()
    }

    /// The name of a new segment.
    pub(super) fn next(&self, slot: u32) -> io::Result<Name> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        match self.0.keys().next_back() {
            Some(newest) if newest.sequence == u64::MAX => {
                Err(io::Error::other("a file has the highest number a segment can have"))
            }
            Some(newest) => Ok(Name { sequence: now.max(newest.sequence + 1), slot }),
            None => Ok(Name { sequence: now, slot }),
        }
    }
}

/// Where a record is in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// An entry of an index.
pub(super) type IndexEntry = (u64, Place);

pub(super) fn encode_entry((start, place): IndexEntry) -> [u8; ENTRY_BYTES] {
    let whole = u128::from(start) | u128::from(place.offset) << 64 | u128::from(place.length) << 96;
    whole.to_le_bytes()
}

fn decode_entry(bytes: &[u8; ENTRY_BYTES]) -> Option<IndexEntry> {
    let whole = u128::from_le_bytes(*bytes);
    let place = Place { offset: (whole >> 64) as u32, length: (whole >> 96) as u32 };
    (HEADER..=RECORD_BYTES_MAX).contains(&(place.length as usize)).then_some((whole as u64, place))
}

/// What an object is found by: ids are hashes, so their starts rarely agree, and the record says which it is.
pub(super) fn start_of(id: &ObjectId) -> u64 {
    u64::from_le_bytes(*id.as_bytes().first_chunk().expect("an id is longer"))
}

/// The entries of an index from byte `from` on, and up to where it was read.
pub(super) fn read_index(path: &Path, from: u64, entries_max: usize) -> io::Result<(Vec<IndexEntry>, u64)> {
    let mut file = File::open(path)?;
    let mut from = from;
    if from == 0 {
        let mut start = INDEX_START;
        start.fill(0);
        let is_ours = file.read_exact(&mut start).is_ok() && start == INDEX_START;
        if !is_ours {
            return Ok((Vec::new(), 0));
        }
        from = INDEX_START.len() as u64;
    }
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take((entries_max * ENTRY_BYTES) as u64).read_to_end(&mut bytes)?;
    let (entries, _) = bytes.as_chunks();
    Ok((entries.iter().filter_map(decode_entry).collect(), from + (entries.len() * ENTRY_BYTES) as u64))
}

/// A segment whose index is in memory.
pub(super) struct Segment {
    pub(super) name: Name,
    places: HashMap<u64, Place>,
    /// Bytes of its index that are.
    pub(super) indexed: u64,
    /// Bytes of its files.
    pub(super) bytes: u64,
    file: Option<Arc<File>>,
}

impl Segment {
    pub(super) fn new(name: Name) -> Self {
        Self { name, places: HashMap::new(), indexed: 0, bytes: 0, file: None }
    }

    pub(super) fn add(&mut self, entries: impl IntoIterator<Item = IndexEntry>) {
        self.places.extend(entries);
    }
}

/// The segments that this process knows, oldest first.
#[derive(Default)]
pub(super) struct Segments(pub(super) Vec<Segment>);

/// A record that may be the one that is looked for.
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) place: Place,
    pub(super) file: Arc<File>,
    /// Bytes of newer segments, and of this one.
    pub(super) age: u64,
}

impl Segments {
    /// The newest record whose id starts so.
    pub(super) fn find(&mut self, folder: &Path, start: u64) -> Option<Found> {
        let mut age = 0;
        for segment in self.0.iter_mut().rev() {
            age += segment.bytes;
            let Some(place) = segment.places.get(&start).copied() else { continue };
            let file = match &segment.file {
                Some(file) => Arc::clone(file),
                None => match File::open(segment.name.objects(folder)) {
                    Ok(file) => Arc::clone(segment.file.insert(Arc::new(file))),
                    // Deleted meanwhile.
                    Err(_) => {
                        segment.places.clear();
                        continue;
                    }
                },
            };
            return Some(Found { name: segment.name, place, file, age });
        }
        None
    }

    /// Counts one record as not there.
    pub(super) fn forget_one(&mut self, found: &Found, start: u64) {
        let segment = self.0.iter_mut().find(|segment| segment.name == found.name);
        if let Some(segment) = segment
            && segment.places.get(&start) == Some(&found.place)
        {
            segment.places.remove(&start);
        }
    }

    /// Counts all records whose ids start so as not there; whether there was one.
    pub(super) fn forget(&mut self, start: u64) -> bool {
        self.0.iter_mut().filter_map(|segment| segment.places.remove(&start)).count() > 0
    }

    pub(super) fn get_mut(&mut self, name: Name) -> Option<&mut Segment> {
        self.0.iter_mut().find(|segment| segment.name == name)
    }

    /// Bytes of the segments newer than this one, and of itself.
    pub(super) fn age(&self, name: Name) -> u64 {
        self.0.iter().rev().take_while(|segment| segment.name >= name).map(|segment| segment.bytes).sum()
    }

    pub(super) fn insert(&mut self, segment: Segment) {
        let at = self.0.partition_point(|other| other.name < segment.name);
        self.0.insert(at, segment);
    }
}
