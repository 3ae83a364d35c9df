//! The cache against a model: several instances, damage and cuts of any file at any time.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use backstore_protocol::object::ObjectKind;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const SEGMENT_BYTES: u64 = 8 << 10;
const BYTES_MAX: u64 = 24 * SEGMENT_BYTES;
/// Numbers of objects that tests use.
const OBJECTS: u32 = 400;

fn options() -> CacheOptions {
    CacheOptions {
        bytes_max: BYTES_MAX,
        segment_bytes: SEGMENT_BYTES,
        free_bytes_min: 0,
        refresh_every: Duration::ZERO,
        rest: Duration::ZERO,
    }
}

fn open(folder: &Path) -> ObjectCache {
    ObjectCache::open(folder.to_owned(), options()).unwrap()
}

/// The object of a number; some share the start of their ids.
fn object(number: u32) -> SealedObject {
    let mut id = *blake3::hash(&(number / 2).to_le_bytes()).as_bytes();
    id[31] = (number % 2) as u8;
    let kind = if number.is_multiple_of(3) { ObjectKind::Tree } else { ObjectKind::Data };
    let references = if kind == ObjectKind::Tree { 32 * (number as usize % 5) } else { 0 };
    SealedObject {
        id: ObjectId::from_bytes(id),
        kind,
        level: (number % 3) as u8,
        references: Bytes::from(vec![number as u8; references]),
        sealed: Bytes::from(vec![number as u8 ^ 0xff; 100 + number as usize * 7 % 900]),
    }
}

fn write(cache: &ObjectCache, number: u32) {
    cache.put(&object(number));
    cache.flush();
}

/// The files of segments, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let listed = Listed::of(folder).unwrap_or_default();
    let both = |name: &segments::Name| [name.objects(folder), name.index(folder)];
    listed.0.keys().flat_map(both).filter(|path| path.exists()).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, u32),
    Get(usize, u32),
    Reopen(usize),
    Cut(prop::sample::Index, prop::sample::Index),
    Flip(prop::sample::Index, prop::sample::Index),
    Delete(prop::sample::Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    let place = || any::<prop::sample::Index>();
    prop_oneof![
        30 => (0..3_usize, 0..OBJECTS).prop_map(|(which, number)| Step::Put(which, number)),
        20 => (0..3_usize, 0..OBJECTS).prop_map(|(which, number)| Step::Get(which, number)),
        2 => (0..3_usize).prop_map(Step::Reopen),
        1 => (place(), place()).prop_map(|(file, at)| Step::Cut(file, at)),
        1 => (place(), place()).prop_map(|(file, at)| Step::Flip(file, at)),
        1 => place().prop_map(Step::Delete),
    ]
}

/// What certainly is there.
#[derive(Default)]
struct Model {
    /// Bytes written so far, at most.
    written: u64,
    /// For each object, how many bytes had been written when it was put last.
    put_at: HashMap<u32, u64>,
}

impl Model {
    /// An object is there while what was written since is less than half the cache, but for what begins and ends of segments take.
    fn has(&self, number: u32) -> bool {
        let is_recent = |at: &u64| self.written - at <= BYTES_MAX / 2 - 5 * SEGMENT_BYTES;
        self.put_at.get(&number).is_some_and(is_recent)
    }

    fn wrote(&mut self, number: u32) {
        self.written += record::length_of(&object(number)) as u64 + ENTRY_BYTES as u64;
    }
}

fn damage(path: Option<&PathBuf>, change: impl FnOnce(&mut Vec<u8>)) {
    let Some(path) = path else { return };
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    // In place, as a disk does it: whoever has it open sees it.
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_all(&bytes).unwrap();
}

fn check(steps: &[Step]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let mut caches = [open(&folder), open(&folder), open(&folder)];
    let mut model = Model::default();
    let mut is_damaged = false;
    for step in steps {
        let listed = files(&folder);
        let pick = |file: &prop::sample::Index| (!listed.is_empty()).then(|| file.get(&listed));
        match step {
            // What is put was looked for before.
            Step::Put(which, number) | Step::Get(which, number) => {
                let cache = &caches[*which];
                cache.refresh();
                let found = cache.get(&object(*number).id);
                prop_assert!(found.is_some() || !model.has(*number), "{number} was not found");
                // Looking for one takes the other whose id starts so for damaged.
                model.put_at.remove(&(number ^ 1));
                if let Some(found) = found {
                    prop_assert_eq!(found, object(*number));
                    model.wrote(*number);
                } else if matches!(step, Step::Put(..)) {
                    cache.put(&object(*number));
                    model.wrote(*number);
                    if !is_damaged {
                        model.put_at.insert(*number, model.written);
                    }
                }
                cache.flush();
            }
            // What is written to files that somebody changes may be lost until they are opened anew.
            Step::Reopen(_) if is_damaged => {
                caches = [open(&folder), open(&folder), open(&folder)];
                is_damaged = false;
            }
            Step::Reopen(which) => caches[*which] = open(&folder),
            Step::Cut(file, at) => damage(pick(file), |bytes| bytes.truncate(at.index(bytes.len() + 1))),
            Step::Flip(file, at) => damage(pick(file), |bytes| {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << (at % 8);
                }
            }),
            Step::Delete(file) => drop(pick(file).map(fs::remove_file)),
        }
        if matches!(step, Step::Cut(..) | Step::Flip(..) | Step::Delete(_)) {
            // Whatever was there may be gone.
            model.put_at.clear();
            is_damaged = true;
        }
        let bytes = ObjectCache::bytes_in(&folder);
        prop_assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    }
    // What is missing can be put again, whatever has happened.
    drop(caches);
    let cache = open(&folder);
    if cache.get(&object(1).id).is_none() {
        write(&cache, 1);
    }
    drop(cache);
    prop_assert_eq!(open(&folder).get(&object(1).id), Some(object(1)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Never a wrong object, never too large, and what was written of late is found by everybody.
    #[test]
    fn a_shared_cache_gives_what_was_put_or_nothing(steps in prop::collection::vec(any_step(), 1..300)) {
        check(&steps)?;
    }
}

#[test]
fn a_cache_that_is_cut_or_changed_at_any_byte_gives_right_objects_only() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    (0..3).for_each(|number| write(&cache, 20 * number));
    drop(cache);
    for path in files(folder.path()) {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(if cfg!(debug_assertions) { 3 } else { 1 }) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x41;
            for bytes in [&whole[..at], &flipped[..]] {
                fs::write(&path, bytes).unwrap();
                let cache = open(folder.path());
                for number in [0, 20, 40].map(object) {
                    let found = cache.get(&number.id);
                    assert!(found.is_none() || found == Some(number), "byte {at} of {path:?}");
                }
            }
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn what_is_read_stays_and_what_is_not_goes() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    write(&cache, 0);
    write(&cache, 2);
    for number in (4..2 * OBJECTS).step_by(2) {
        write(&cache, number);
        assert_eq!(cache.get(&object(0).id), Some(object(0)), "it is read all the time");
        cache.flush();
    }
    assert_eq!(cache.get(&object(2).id), None);
    assert!(ObjectCache::bytes_in(folder.path()) > BYTES_MAX / 2, "it is not emptied either");
}

/// A segment that grows slowly is old when others write much: what is added to it must not go with it.
#[test]
fn what_a_process_adds_now_and_then_stays_as_long_as_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (slow, fast) = (open(folder.path()), open(folder.path()));
    let mut numbers = (2..).step_by(2);
    let mut write_much = |bytes: u64| {
        let mut written = 0;
        while written < bytes {
            let number = numbers.next().unwrap();
            write(&fast, number);
            written += record::length_of(&object(number)) as u64;
        }
    };
    write(&slow, 1);
    write_much(BYTES_MAX / 4 * 3);
    slow.refresh();
    write(&slow, 3);
    write_much(BYTES_MAX / 2 - 5 * SEGMENT_BYTES);
    fast.refresh();
    assert_eq!(fast.get(&object(1).id), None);
    assert_eq!(fast.get(&object(3).id), Some(object(3)));
}

#[test]
fn a_smaller_cache_gives_room_back_when_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    (0..300).for_each(|number| write(&cache, 2 * number));
    drop(cache);
    let bytes_max = 10 * SEGMENT_BYTES;
    assert!(ObjectCache::bytes_in(folder.path()) > bytes_max);
    let cache = ObjectCache::open(folder.path().to_owned(), CacheOptions { bytes_max, ..options() }).unwrap();
    (0..40).for_each(|number| write(&cache, 2 * number + 1));
    assert!(ObjectCache::bytes_in(folder.path()) <= bytes_max);
}

#[test]
fn more_processes_than_slots_read_and_do_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let caches: Vec<_> = (0..=segments::SLOTS).map(|_| open(folder.path())).collect();
    for (number, cache) in (0..).zip(&caches) {
        write(cache, 2 * number);
        cache.refresh();
    }
    let last = caches.last().unwrap();
    last.refresh();
    for number in 0..segments::SLOTS {
        assert_eq!(last.get(&object(2 * number).id), Some(object(2 * number)));
    }
    assert_eq!(last.get(&object(2 * segments::SLOTS).id), None, "nobody could write it");
    let mut caches = caches;
    caches.remove(0);
    write(&caches[caches.len() - 1], 2 * segments::SLOTS);
    assert_eq!(open(folder.path()).get(&object(2 * segments::SLOTS).id), Some(object(2 * segments::SLOTS)));
}

#[test]
fn a_folder_that_is_deleted_meanwhile_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let (cache, other) = (open(&folder), open(&folder));
    write(&cache, 0);
    write(&other, 2);
    fs::remove_dir_all(&folder).unwrap();
    write(&other, 4);
    write(&cache, 6);
    cache.refresh();
    assert_eq!([0, 2].map(|number| cache.get(&object(number).id)), [None, None]);
    let third = open(&folder);
    for number in [4, 6] {
        assert_eq!(third.get(&object(number).id), Some(object(number)));
    }
    assert_eq!(files(&folder).len(), 4, "a segment each");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_empty_cache() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"in the way").unwrap();
    let cache = open(&file.join("cache"));
    write(&cache, 0);
    assert_eq!(cache.get(&object(0).id), None);
    fs::remove_file(&file).unwrap();
    write(&cache, 0);
    assert_eq!(cache.get(&object(0).id), Some(object(0)), "as soon as it can be made it is used");
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["notes.txt", "0000000000000000-9.objects", "00-0.index", "0000000000000000-0.objects.bak"];
    for name in names {
        fs::write(folder.path().join(name), vec![7; 1 << 20]).unwrap();
    }
    // One that has a segment's name goes with the segments.
    fs::write(folder.path().join("0000000000000000-7.index"), vec![7; 1 << 20]).unwrap();
    let cache = open(folder.path());
    (0..300).for_each(|number| write(&cache, 2 * number));
    assert_eq!(cache.get(&object(2 * 299).id), Some(object(2 * 299)));
    assert!(names.iter().all(|name| fs::metadata(folder.path().join(name)).unwrap().len() == 1 << 20));
    assert!(ObjectCache::bytes_in(folder.path()) <= BYTES_MAX);
}

#[test]
fn what_does_not_fit_into_the_queue_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let large = SealedObject { sealed: Bytes::from(vec![1; 1 << 20]), ..object(0) };
    // Nothing leaves the queue while the thread waits for this.
    let waits = lock(&cache.shared.segments);
    for number in 0..40_u8 {
        cache.put(&SealedObject { id: ObjectId::from_bytes([number; 32]), ..large.clone() });
    }
    assert!(cache.shared.queued_bytes.load(Ordering::Relaxed) <= QUEUE_BYTES_MAX);
    drop(waits);
    cache.flush();
    assert!(cache.counters().dropped >= 24, "{:?}", cache.counters());
    assert_eq!(cache.shared.queued_bytes.load(Ordering::Relaxed), 0);
}
