//! Contents against the bytes they were made of.

use backstore_protocol::entry::Kind;
use backstore_protocol::ids::ChunkHash;
use backstore_protocol::map::{Chunk, MapBuilder};
use backstore_protocol::object::{NodeBytes, ObjectKind};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::tree::lookup;
use proptest::prelude::*;

use super::*;
use crate::objects::ReaderOptions;
use crate::random_tree::{any_tree, build, noise};
use crate::test_archive::{Part, TestArchive};

/// The one file `/f` with these parts, read from an archive of small chunks.
fn file(parts: &[Part]) -> (Entry, ContentReader) {
    let mut archive = TestArchive::fine();
    let path = ArchivePath::unix_root().join(b"f").unwrap();
    archive.add(&path, Entry::new(Kind::File), parts);
    let root = archive.finish();
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let entry = lookup(reader.nodes(Wait::UntilDeadline), root, &path.key()).unwrap().unwrap();
    let content = ContentReader::new(&reader, &entry);
    (entry, content)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reads_equal_the_source_at_any_offset(mut files in any_tree(), ranges in prop::collection::vec((any::<u32>(), 0..20_000u32), 40)) {
        let mut archive = TestArchive::fine();
        let root = build(&mut archive, &mut files);
        let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
        for file in files.iter().filter(|file| file.entry.kind == Kind::File) {
            let entry = lookup(reader.nodes(Wait::UntilDeadline), root, &file.path.key()).unwrap().unwrap();
            let content = ContentReader::new(&reader, &entry);
            let bytes = file.bytes();
            prop_assert_eq!(content.size(), bytes.len() as u64);
            prop_assert_eq!(content.read_all(bytes.len()).unwrap(), Some(bytes.clone()));
            for (at, length) in &ranges {
                let offset = u64::from(*at) % (bytes.len() as u64 + 3);
                let mut buffer = vec![1; *length as usize];
                let filled = content.read(offset, &mut buffer).unwrap();
                let rest = bytes.get(offset as usize..).unwrap_or_default();
                prop_assert_eq!(&buffer[..filled], &rest[..rest.len().min(buffer.len())]);
            }
        }
    }

    #[test]
    fn holes_can_be_sought(lengths in prop::collection::vec((1..3000u64, 1..3000usize), 1..30), at: u64) {
        let parts: Vec<_> = lengths
            .iter()
            .flat_map(|(hole, data)| [Part::Hole(*hole), Part::Data(noise(*data, *hole))])
            .collect();
        let (entry, content) = file(&parts);
        let is_data: Vec<bool> = parts
            .iter()
            .flat_map(|part| match part {
                Part::Data(bytes) => vec![true; bytes.len()],
                Part::Hole(length) => vec![false; *length as usize],
            })
            .collect();
        let at = at % entry.size;
        let next = |wanted| (at as usize..is_data.len()).find(|byte| is_data[*byte] == wanted).map(|byte| byte as u64);
        prop_assert_eq!(content.next_data(at).unwrap(), next(true));
        prop_assert_eq!(content.next_hole(at).unwrap(), next(false).unwrap_or(entry.size));
    }
}

#[test]
fn every_form_of_content_occurs_and_reads_alike() {
    let form = |parts: &[Part]| {
        let (entry, content) = file(parts);
        let all = content.read_all(1 << 20).unwrap().unwrap();
        let by_bytes: Vec<u8> = (0..entry.size)
            .map(|at| {
                let mut byte = [9];
                assert_eq!(content.read(at, &mut byte).unwrap(), 1);
                byte[0]
            })
            .collect();
        assert_eq!(all, by_bytes);
        assert_eq!(content.read(entry.size, &mut [0; 4]).unwrap(), 0);
        match entry.content {
            Content::Inline(_) => "inline",
            Content::Extents(extents) if extents.len() == 1 => "one extent",
            Content::Extents(_) => "extents",
            Content::Map(_) => "map",
            Content::None | Content::Unread => "nothing",
        }
    };
    assert_eq!(form(&[]), "inline");
    assert_eq!(form(&[Part::Data(vec![5; 512])]), "inline");
    assert_eq!(form(&[Part::Data(noise(600, 1))]), "one extent");
    assert_eq!(form(&[Part::Data(noise(1000, 2)), Part::Hole(300), Part::Data(noise(500, 3))]), "extents");
    assert_eq!(form(&[Part::Hole(2000), Part::Data(noise(9000, 4)), Part::Hole(77)]), "map");
    assert_eq!(form(&[Part::Hole(70_000)]), "one extent");
}

#[test]
fn a_map_of_several_levels_is_read_and_walked_from_anywhere() {
    let bytes = noise(600_000, 5);
    let (entry, content) = file(&[Part::Data(bytes.clone())]);
    let Content::Map(root) = &entry.content else { panic!("{:?}", entry.content) };
    assert!(content.reader.map_node(root, Wait::UntilDeadline).unwrap().level() > 0);
    for offset in (0..600_000).step_by(1237) {
        let mut buffer = [0; 100];
        let filled = content.read(offset, &mut buffer).unwrap();
        assert_eq!(buffer[..filled], bytes[offset as usize..][..filled]);
    }
    let mut place = Place::at(300_000);
    let mut end = None;
    while let Some(stretch) =
        place.next(&content.reader, &entry.content, entry.size, Wait::UntilDeadline).unwrap()
    {
        assert!(end.is_none_or(|end| end == stretch.start));
        assert!(end.is_some() || (stretch.start <= 300_000 && stretch.end() > 300_000));
        end = Some(stretch.end());
    }
    assert_eq!(end, Some(600_000));
}

#[test]
fn maps_that_lie_are_errors() {
    let mut archive = TestArchive::fine();
    let Content::Extents(extents) = archive.value(&noise(1000, 6)) else { panic!("an extent") };
    let object = extents[0].object().unwrap();
    let honest = {
        let mut builder = MapBuilder::new(&archive.keys().ids);
        let chunk = Chunk { object, offset: 0, length: object.length, hash: ChunkHash::ZERO };
        (0..20).for_each(|_| builder.push(Piece::Chunk(chunk)));
        let root = builder.finish();
        builder.take_built().into_iter().for_each(|built| {
            archive.store_raw_node(built.bytes);
        });
        root
    };
    let inner = |archive: &mut TestArchive, level: u8, child: ObjectId, length: u64| {
        let mut payload = vec![1, 1, 0, 0];
        backstore_protocol::codec::Write::put_varint(&mut payload, length);
        archive.store_raw_node(NodeBytes { kind: ObjectKind::Map, level, references: vec![child], payload })
    };
    let true_parent = inner(&mut archive, 1, honest, 20_000);
    let wrong_length = inner(&mut archive, 1, honest, 20_001);
    let wrong_level = inner(&mut archive, 2, honest, 20_000);
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let read = |root, size| ContentReader::of(&reader, &Content::Map(root), size).read_all(1 << 20);
    assert_eq!(read(honest, 20_000).unwrap().unwrap().len(), 20_000);
    assert_eq!(read(true_parent, 20_000).unwrap().unwrap().len(), 20_000);
    for (root, size) in [(honest, 19_999), (honest, 20_001), (wrong_length, 20_001), (wrong_level, 20_000)] {
        assert!(matches!(read(root, size), Err(ReadError::Malformed(_))), "{root} {size}");
    }
    let short = Extent::Data { object: ObjectRef { length: 900, ..object }, offset: 0, length: 900 };
    let content = Content::Extents(Box::new([short]));
    assert!(ContentReader::of(&reader, &content, 900).read_all(1 << 20).is_err());
}

#[test]
fn a_huge_hole_costs_nothing() {
    let (entry, content) = file(&[Part::Data(noise(1000, 7)), Part::Hole(1 << 50), Part::Data(noise(10, 8))]);
    assert_eq!(content.read_runs(1 << 40, 1 << 45, Wait::Not).unwrap().runs, [Run::Hole(1 << 45)]);
    assert_eq!(content.next_data(2000).unwrap(), Some(entry.size - 10));
    assert_eq!(content.read_all(1 << 30).unwrap(), None);
    let mut end = [0; 64];
    assert_eq!(content.read(entry.size - 20, &mut end).unwrap(), 20);
    assert_eq!(end[10..20], noise(10, 8));
}
