//! The cache's file: sealed objects one after the other, each with a checksum; the newest record of an id counts.
//!
//! ```text
//! file    8B 42 4B 43 01 0 0 0   then records
//! ```
//!
//! A torn tail is cut off when the file is opened; a record that does not
//! agree with its checksum is not there.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use backstore_platform::lock::Lock;
use backstore_platform::private_file::make_private_directory;
use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::SealedObject;
use bytes::BytesMut;

use super::record::{self, HEADER, Record};

const MAGIC: [u8; 8] = [0x8b, b'B', b'K', b'C', 1, 0, 0, 0];
/// A cache is tidied when it is larger than this and less than half of it was used.
const TIDY_BYTES_MIN: u64 = 16 << 20;
/// More is not kept.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// An open cache.
pub(super) struct CacheFile {
    path: PathBuf,
    file: File,
    end: u64,
    places: HashMap<ObjectId, Place>,
    used: HashSet<ObjectId>,
    _lock: Lock,
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    length: u64,
}

impl CacheFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            make_private_directory(folder).map_err(io::Error::other)?;
        }
        let lock = Lock::acquire(&path.with_extension("lock")).map_err(io::Error::other)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut cache = Self {
            path: path.to_owned(),
            file,
            end: MAGIC.len() as u64,
            places: HashMap::new(),
            used: HashSet::new(),
            _lock: lock,
        };
        cache.load()?;
        Ok(cache)
    }

    /// Finds what is there.
    fn load(&mut self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let mut reader = BufReader::with_capacity(4096, &self.file);
        let mut magic = [0; MAGIC.len()];
        if size < MAGIC.len() as u64 || reader.read_exact(&mut magic).is_err() || magic != MAGIC {
            self.file.set_len(0)?;
            self.file.rewind()?;
            return self.file.write_all(&MAGIC);
        }
        let mut header = [0; HEADER];
        while self.end + HEADER as u64 <= size {
            reader.read_exact(&mut header)?;
            let Some(record) = Record::decode(&header) else { break };
            let length = record.length();
            if self.end + length > size {
                break;
            }
            self.places.insert(record.id, Place { offset: self.end, length });
            self.end += length;
            reader.seek_relative((length - HEADER as u64) as i64)?;
        }
        self.file.set_len(self.end)
    }

    /// An object, if it is here and whole.
    pub(super) fn get(&mut self, id: &ObjectId) -> Option<SealedObject> {
        let place = *self.places.get(id)?;
        let object = self.read(place).ok().flatten().filter(|object| object.id == *id);
        if object.is_some() {
            self.used.insert(*id);
        } else {
            self.places.remove(id);
        }
        object
    }

    fn read(&mut self, place: Place) -> io::Result<Option<SealedObject>> {
        let mut bytes = BytesMut::zeroed(place.length as usize);
        self.file.seek(SeekFrom::Start(place.offset))?;
        self.file.read_exact(&mut bytes)?;
        Ok(record::decode(bytes))
    }

    /// Keeps an object. If that fails, it is not kept.
    pub(super) fn add(&mut self, object: &SealedObject) {
        self.used.insert(object.id);
        if self.places.contains_key(&object.id) || self.end >= FILE_BYTES_MAX {
            return;
        }
        let mut bytes = Vec::with_capacity(record::length_of(object));
        record::encode_into(object, &mut bytes);
        record::stamp(&mut bytes);
        let length = bytes.len() as u64;
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&bytes));
        if written.is_ok() {
            self.places.insert(object.id, Place { offset: self.end, length });
            self.end += length;
        }
    }

    /// Counts an object as not here; whether it was.
    pub(super) fn forget(&mut self, id: &ObjectId) -> bool {
        self.places.remove(id).is_some()
    }

    /// Writes what was used to a new file, if the rest is more.
    pub(super) fn tidy(&mut self) {
        let used: u64 = self.used.iter().filter_map(|id| self.places.get(id)).map(|place| place.length).sum();
        if self.end > TIDY_BYTES_MIN && used < self.end / 2 && self.rewrite().is_err() {
            // It stays as it is, and grows until the next attempt.
            let _ = fs::remove_file(self.path.with_extension("new"));
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let new_path = self.path.with_extension("new");
        let mut places: Vec<_> =
            self.used.iter().filter_map(|id| Some((*id, *self.places.get(id)?))).collect();
        places.sort_by_key(|(_, place)| place.offset);
        let new = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&new_path)?;
        let mut writer = BufWriter::new(&new);
        writer.write_all(&MAGIC)?;
        let mut end = MAGIC.len() as u64;
        let mut kept = HashMap::with_capacity(places.len());
        for (id, place) in places {
            let mut bytes = vec![0; place.length as usize];
            self.file.seek(SeekFrom::Start(place.offset))?;
            self.file.read_exact(&mut bytes)?;
            writer.write_all(&bytes)?;
            kept.insert(id, Place { offset: end, length: place.length });
            end += place.length;
        }
        writer.flush()?;
        drop(writer);
        fs::rename(&new_path, &self.path)?;
        (self.file, self.end, self.places) = (new, end, kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use backstore_protocol::object::ObjectKind;
    use bytes::Bytes;

    use super::*;

    fn object(number: u8, length: usize) -> SealedObject {
        SealedObject {
            id: ObjectId::from_bytes([number; 32]),
            kind: ObjectKind::Tree,
            level: number % 3,
            references: Bytes::from(vec![number; 32 * usize::from(number % 4)]),
            sealed: Bytes::from(vec![number ^ 0xff; length]),
        }
    }

    #[test]
    fn what_was_added_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes/a");
        let objects: Vec<_> = (0..50).map(|number| object(number, 700 + usize::from(number) * 13)).collect();
        let mut cache = CacheFile::open(&path).unwrap();
        assert!(CacheFile::open(&path).is_err(), "one process at a time");
        objects.iter().for_each(|object| cache.add(object));
        drop(cache);
        let mut cache = CacheFile::open(&path).unwrap();
        for object in &objects {
            assert_eq!(cache.get(&object.id).as_ref(), Some(object));
        }
        assert_eq!(cache.get(&ObjectId::from_bytes([99; 32])), None);
        cache.forget(&objects[3].id);
        assert_eq!(cache.get(&objects[3].id), None);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_costs_records_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let objects = [object(1, 90), object(2, 120), object(3, 70)];
        let mut cache = CacheFile::open(&path).unwrap();
        objects.iter().for_each(|object| cache.add(object));
        drop(cache);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x41;
            for bytes in [&whole[..at], &flipped[..]] {
                fs::write(&path, bytes).unwrap();
                let mut cache = CacheFile::open(&path).unwrap();
                for object in &objects {
                    let found = cache.get(&object.id);
                    assert!(found.is_none() || found.as_ref() == Some(object), "byte {at}");
                    // What is missing can be added again.
                    cache.add(object);
                    assert_eq!(cache.get(&object.id).as_ref(), Some(object), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_used_is_dropped_when_it_is_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut cache = CacheFile::open(&path).unwrap();
        (0..20).for_each(|number| cache.add(&object(number, 1 << 20)));
        drop(cache);
        let mut cache = CacheFile::open(&path).unwrap();
        let kept = object(7, 1 << 20);
        assert_eq!(cache.get(&kept.id).as_ref(), Some(&kept));
        cache.tidy();
        assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
        assert_eq!(cache.get(&kept.id).as_ref(), Some(&kept));
        assert_eq!(cache.get(&object(8, 1 << 20).id), None);
        drop(cache);
        assert_eq!(CacheFile::open(&path).unwrap().get(&kept.id), Some(kept));
    }
}
