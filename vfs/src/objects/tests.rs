//! The reader against a source that fails, blocks and lies.

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;

use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::object::ObjectKind;
use backstore_protocol::path::ArchivePath;
use backstore_protocol::store::ReadFailure;

use super::*;
use crate::test_archive::{MemorySource, Part, TestArchive};

/// An archive of `count` data objects of `length` bytes, and its reader.
struct Scene {
    source: Arc<MemorySource>,
    objects: Vec<ObjectRef>,
    reader: Arc<ObjectReader>,
}

fn scene(count: u32, length: usize, options: &ReaderOptions) -> Scene {
    let mut archive = TestArchive::new();
    let objects: Vec<_> = (0..count)
        .map(|number| match archive.value(&bytes_of(number, length)) {
            backstore_protocol::entry::Content::Extents(extents) => {
                extents[0].object().expect("a data extent")
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let source = archive.source();
    let reader = ObjectReader::new(source.clone(), archive.keys(), options).expect("threads start");
    Scene { source, objects, reader }
}

/// Bytes that do not compress, different for every number.
fn bytes_of(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn impatient() -> ReaderOptions {
    ReaderOptions { deadline: Duration::from_millis(40), ..ReaderOptions::default() }
}

#[test]
fn concurrent_readers_share_one_fetch() {
    let scene = scene(1, 100_000, &ReaderOptions::default());
    scene.source.stick();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| scene.reader.data(scene.objects[0], Wait::UntilDeadline)))
            .collect();
        scene.source.wait_for_calls(&[scene.objects[0].id]);
        scene.source.heal();
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap(), bytes_of(0, 100_000));
        }
    });
    assert_eq!(scene.source.times_asked(&scene.objects[0].id), 1);
}

#[test]
fn what_waits_together_is_asked_for_together() {
    let scene = scene(60, 1000, &ReaderOptions { reads_max: 1, ..ReaderOptions::default() });
    scene.source.stick();
    thread::scope(|scope| {
        let first = scope.spawn(|| scene.reader.data(scene.objects[0], Wait::UntilDeadline));
        scene.source.wait_for_calls(&[scene.objects[0].id]);
        for object in &scene.objects[1..] {
            assert!(matches!(scene.reader.data(*object, Wait::Not), Err(ReadError::NotInMemory)));
        }
        scene.source.heal();
        first.join().unwrap().unwrap();
    });
    for object in &scene.objects {
        scene.reader.data(*object, Wait::UntilDeadline).unwrap();
    }
    let calls: Vec<_> = scene.source.take_calls().iter().map(Vec::len).collect();
    assert_eq!(calls, [1, 59]);
}

#[test]
fn what_is_waited_for_goes_first_and_keeps_a_fetcher() {
    let options = ReaderOptions { reads_max: 2, ..ReaderOptions::default() };
    let scene = scene(40, 1000, &options);
    let (urgent, ahead) = scene.objects.split_last().unwrap();
    scene.source.stick_at(ahead[0].id);
    scene.reader.prefetch(ahead.iter().map(|object| Want::Data(*object)));
    scene.source.wait_for_calls(&[ahead[0].id]);
    // One of two fetchers hangs on what is ahead; nothing else that is ahead may take the other.
    scene.reader.data(*urgent, Wait::UntilDeadline).unwrap();
    scene.source.heal();
}

#[test]
fn a_silent_source_is_a_timeout_and_is_asked_again_later() {
    let scene = scene(1, 1000, &impatient());
    scene.source.stick();
    for _ in 0..2 {
        let error = scene.reader.data(scene.objects[0], Wait::UntilDeadline).unwrap_err();
        assert!(matches!(error, ReadError::Timeout { .. }), "{error:?}");
        assert_eq!(error.recovery(), Recovery::Stop);
    }
    scene.source.heal();
    while scene.reader.data(scene.objects[0], Wait::UntilDeadline).is_err() {}
}

#[test]
fn a_request_nobody_waits_for_any_more_is_not_made() {
    let scene = scene(2, 1000, &ReaderOptions { reads_max: 1, ..impatient() });
    scene.source.stick_at(scene.objects[0].id);
    for object in &scene.objects {
        scene.reader.data(*object, Wait::UntilDeadline).unwrap_err();
    }
    scene.source.heal();
    while scene.reader.data(scene.objects[0], Wait::UntilDeadline).is_err() {}
    assert_eq!(scene.source.times_asked(&scene.objects[1].id), 0);
}

#[test]
fn failures_are_not_remembered() {
    let scene = scene(3, 1000, &ReaderOptions::default());
    let [missing, damaged, withheld] = scene.objects[..] else { panic!("three objects") };
    scene.source.fail(missing.id, ReadFailure::Missing);
    scene.source.fail(damaged.id, ReadFailure::Damaged);
    scene.source.withhold(withheld.id);
    let read = |object| scene.reader.data(object, Wait::UntilDeadline);
    assert!(matches!(read(missing), Err(ReadError::Failed { failure: ReadFailure::Missing, .. })));
    assert!(matches!(read(damaged), Err(ReadError::Failed { failure: ReadFailure::Damaged, .. })));
    assert!(matches!(read(withheld), Err(ReadError::Withheld { .. })));
    scene.source.die();
    let dead = read(missing).unwrap_err();
    assert_eq!(
        (dead.recovery(), dead.to_string()),
        (Recovery::Stop, "the destination cannot be read".into())
    );
    scene.source.heal();
    for (number, object) in (0..).zip(&scene.objects) {
        assert_eq!(read(*object).unwrap(), bytes_of(number, 1000));
    }
}

#[test]
fn no_wrong_byte_is_given_out() {
    let scene = scene(2, 5000, &ReaderOptions::default());
    let (first, second) = (scene.objects[0], scene.objects[1]);
    let stored = scene.source.get(&first.id).unwrap();
    for at in (0..stored.sealed.len()).step_by(97) {
        let mut sealed = stored.sealed.to_vec();
        sealed[at] ^= 1 << (at % 8);
        scene.source.replace(
            first.id,
            backstore_protocol::object::SealedObject { sealed: sealed.into(), ..stored.clone() },
        );
        assert!(scene.reader.data(first, Wait::UntilDeadline).is_err(), "byte {at}");
    }
    let mut swapped = scene.source.get(&second.id).unwrap();
    scene.source.replace(first.id, swapped.clone());
    assert!(scene.reader.data(first, Wait::UntilDeadline).is_err(), "another object");
    swapped.id = first.id;
    scene.source.replace(first.id, swapped);
    assert!(scene.reader.data(first, Wait::UntilDeadline).is_err(), "another object under this id");
    scene.source.heal();
    let longer = ObjectRef { length: first.length + 1, ..first };
    assert!(matches!(
        scene.reader.data(longer, Wait::UntilDeadline),
        Err(ReadError::Mismatch { what: "length", .. })
    ));
    assert!(matches!(
        scene.reader.tree_node(&first.id, Wait::UntilDeadline),
        Err(ReadError::Mismatch { what: "kind", .. })
    ));
    assert_eq!(scene.reader.data(first, Wait::UntilDeadline).unwrap(), bytes_of(0, 5000));
    assert!(scene.reader.data(longer, Wait::UntilDeadline).is_err(), "from the cache");
    assert!(scene.reader.map_node(&first.id, Wait::UntilDeadline).is_err());
}

#[test]
fn nodes_with_other_references_are_refused() {
    let mut archive = TestArchive::new();
    let mut file = Entry::new(Kind::File);
    file.mode = 0o644;
    for number in 0..3000u32 {
        let path = ArchivePath::unix_root().join(format!("{number:05}").as_bytes()).unwrap();
        archive.add(&path, file.clone(), &[Part::Data(bytes_of(number, 600))]);
    }
    archive.finish();
    let source = archive.source();
    let reader = ObjectReader::new(source.clone(), archive.keys(), &ReaderOptions::default()).unwrap();
    for id in source.ids(ObjectKind::Tree) {
        let stored = source.get(&id).unwrap();
        let mut references = stored.references.to_vec();
        references[0] ^= 1;
        let mut fewer = stored.clone();
        fewer.references = fewer.references.slice(32..);
        let other_level =
            backstore_protocol::object::SealedObject { level: stored.level + 1, ..stored.clone() };
        let other = backstore_protocol::object::SealedObject { references: references.into(), ..stored };
        for lie in [other, fewer, other_level] {
            source.replace(id, lie);
            assert!(reader.tree_node(&id, Wait::UntilDeadline).is_err());
        }
        source.heal();
        assert!(reader.tree_node(&id, Wait::UntilDeadline).is_ok());
    }
}

#[test]
fn caches_stay_within_their_bounds() {
    let options =
        ReaderOptions { data_cache_bytes: 300_000, node_cache_bytes: 10_000, ..ReaderOptions::default() };
    let scene = scene(50, 20_000, &options);
    for object in scene.objects.iter().chain(&scene.objects) {
        scene.reader.data(*object, Wait::UntilDeadline).unwrap();
        assert!(scene.reader.cached_bytes().1 <= 300_000);
    }
    assert!(scene.reader.cached_bytes().1 > 250_000);
    let newest = scene.objects.last().unwrap();
    let before = scene.source.times_asked(&newest.id);
    scene.reader.data(*newest, Wait::Not).unwrap();
    assert_eq!(scene.source.times_asked(&newest.id), before);
}

#[test]
fn ahead_stays_within_its_bound() {
    let options = ReaderOptions { ahead_bytes_max: 100_000, ..ReaderOptions::default() };
    let scene = scene(50, 20_000, &options);
    scene.source.stick();
    scene.reader.prefetch(scene.objects.iter().map(|object| Want::Data(*object)));
    assert_eq!(scene.reader.ahead_bytes(), 100_000);
    let asked: HashSet<_> = scene.objects[..5].iter().map(|object| object.id).collect();
    scene.source.heal();
    for object in &scene.objects[..5] {
        scene.reader.data(*object, Wait::UntilDeadline).unwrap();
    }
    let all: HashSet<_> = scene.source.take_calls().into_iter().flatten().collect();
    assert_eq!(all, asked);
    assert_eq!(scene.reader.ahead_bytes(), 0);
}

#[test]
fn many_threads_read_many_objects_through_a_tiny_cache() {
    let options = ReaderOptions { data_cache_bytes: 50_000, ..ReaderOptions::default() };
    let scene = scene(40, 9000, &options);
    let barrier = Barrier::new(6);
    thread::scope(|scope| {
        for offset in 0..6 {
            let (scene, barrier) = (&scene, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for step in 0..200 {
                    let number = (step * 7 + offset * 11) % 40;
                    scene.reader.prefetch([Want::Data(scene.objects[(number + 3) % 40])]);
                    let bytes = scene.reader.data(scene.objects[number], Wait::UntilDeadline).unwrap();
                    assert_eq!(bytes, bytes_of(number as u32, 9000));
                }
            });
        }
    });
    assert!(scene.reader.cached_bytes().1 <= 50_000);
}
