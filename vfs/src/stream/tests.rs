//! Streams against the files they were made of.

use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::object::ObjectKind;
use backstore_protocol::path::ArchivePath;
use backstore_protocol::store::ReadFailure;
use backstore_protocol::tree::Root;
use proptest::prelude::*;

use super::*;
use crate::objects::ReaderOptions;
use crate::random_tree::{any_tree, build, noise};
use crate::test_archive::{Part, TestArchive};
use crate::view::View;

fn reader(archive: &TestArchive) -> Arc<ObjectReader> {
    ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap()
}

/// A file and its bytes, if they can be read.
type Read = (ArchivePath, Option<Vec<u8>>);

/// All contents of a tree by path; of what cannot be read, nothing. The second number is the most that was held.
fn contents(reader: &Arc<ObjectReader>, root: Root, window: u64) -> (Vec<Read>, u64) {
    let walk = View::new(Arc::clone(reader), root).walk_all().unwrap();
    let files = walk.map(|item| {
        let (path, entry) = item.unwrap();
        Wanted { tag: path, content: entry.content, size: entry.size }
    });
    let mut stream = ContentStream::new(reader, files, window);
    let (mut found, mut most) = (Vec::new(), 0);
    while let Some(event) = stream.next() {
        most = most.max(stream.held_bytes());
        match (event, found.last_mut()) {
            (Event::Start(path), _) => found.push((path, Some(Vec::new()))),
            (Event::Data(bytes), Some((_, Some(content)))) => content.extend_from_slice(&bytes),
            (Event::Hole(length), Some((_, Some(content)))) => {
                content.resize(content.len() + length as usize, 0)
            }
            (Event::Failed { .. }, Some((_, content))) => *content = None,
            (Event::Data(_) | Event::Hole(_), Some((_, None))) => {}
            (event, None) => panic!("{event:?} before a start"),
        }
    }
    (found, most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_stream_gives_every_file_in_order(mut files in any_tree(), window in prop_oneof![Just(1u64), Just(10_000), Just(WINDOW_BYTES)], fine: bool) {
        let mut archive = if fine { TestArchive::fine() } else { TestArchive::new() };
        let root = build(&mut archive, &mut files);
        let (found, most) = contents(&reader(&archive), root, window);
        let expected: Vec<_> = files.iter().map(|file| (file.path.clone(), Some(file.bytes()))).collect();
        prop_assert_eq!(found, expected);
        let largest = 2 << 20;
        prop_assert!(most <= window + largest);
    }
}

/// Many small files in bundles, and one large one.
fn many(archive: &mut TestArchive) -> Root {
    for number in 0..400u64 {
        let path = ArchivePath::unix_root().join(format!("{number:05}").as_bytes()).unwrap();
        // Every third does not compress, so the two streams of bundles alternate.
        let bytes = if number % 3 == 0 {
            noise(9000, number)
        } else {
            format!("{number:07}").repeat(2000).into_bytes()
        };
        archive.add(&path, Entry::new(Kind::File), &[Part::Data(bytes)]);
    }
    let large = ArchivePath::unix_root().join(b"large").unwrap();
    archive.add(&large, Entry::new(Kind::File), &[Part::Data(noise(9 << 20, 99))]);
    archive.finish()
}

#[test]
fn a_stream_fetches_every_object_once_and_holds_its_window() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let window = 3 << 20;
    let (found, most) = contents(&reader(&archive), root, window);
    assert_eq!(found.len(), 401);
    assert!(most <= window + (2 << 20) && most > window / 2, "{most}");
    for id in archive.source().ids(ObjectKind::Data) {
        assert_eq!(archive.source().times_asked(&id), 1, "{id}");
    }
    let calls = archive.source().take_calls();
    assert!(calls.len() < 40, "{} calls", calls.len());
}

#[test]
fn an_object_that_is_lost_concerns_its_files_only() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let whole = contents(&reader(&archive), root, WINDOW_BYTES).0;
    for lost in archive.source().ids(ObjectKind::Data).into_iter().step_by(3) {
        archive.source().fail(lost, ReadFailure::Missing);
        let found = contents(&reader(&archive), root, WINDOW_BYTES).0;
        let failed = found.iter().filter(|(_, content)| content.is_none()).count();
        assert!((1..200).contains(&failed), "{failed}");
        for (expected, found) in whole.iter().zip(&found) {
            assert!(found.1.is_none() || found == expected);
        }
        archive.source().heal();
    }
}

#[test]
fn a_stream_dropped_early_leaves_nothing_behind() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let reader = ObjectReader::new(
        archive.source(),
        archive.keys(),
        &ReaderOptions { reads_max: 1, ..ReaderOptions::default() },
    )
    .unwrap();
    // Without the large file: its map would be waited for.
    let files: Vec<_> = View::new(Arc::clone(&reader), root)
        .walk_all()
        .unwrap()
        .map(|item| item.unwrap().1)
        .take(400)
        .collect();
    let first = archive.source().ids(ObjectKind::Data)[0];
    archive.source().take_calls();
    archive.source().stick_at(first);
    let ticket = reader.begin_now(Want::Data(ObjectRef { id: first, length: 1 }));
    archive.source().wait_for_calls(&[first]);
    let files = files.into_iter().map(|entry| Wanted { tag: (), content: entry.content, size: entry.size });
    let mut stream = ContentStream::new(&reader, files, WINDOW_BYTES);
    assert!(matches!(stream.next(), Some(Event::Start(()))));
    drop(stream);
    archive.source().heal();
    drop(ticket);
    drop(reader);
    let asked: usize = archive.source().take_calls().iter().map(Vec::len).sum();
    assert_eq!(asked, 1);
}
