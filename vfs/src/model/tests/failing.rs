//! Damaged and hostile archives, and what is not in memory.

use super::*;

#[test]
fn a_damaged_object_concerns_its_files_only() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    for (at_once, lost) in archive.source().ids(ObjectKind::Data).into_iter().enumerate().step_by(4) {
        archive
            .source()
            .fail(lost, if at_once % 8 == 0 { ReadFailure::Missing } else { ReadFailure::Damaged });
        let snapshots = snapshots(&archive, vec![at(1, root)]);
        let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
        let mut failed = 0;
        for (name, attributes) in list(&snapshots, top.ino) {
            let number: u64 = String::from_utf8(name).unwrap().parse().unwrap();
            match content(&snapshots, attributes.ino) {
                Ok(bytes) => assert_eq!(bytes, noise(if number % 100 == 7 { 300_000 } else { 5000 }, number)),
                Err(Problem::Unreadable(ReadError::Failed { id, .. })) if id == lost => failed += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!((1..500).contains(&failed), "{failed}");
        archive.source().heal();
    }
}

#[test]
fn a_missing_leaf_concerns_its_names_only() {
    let mut archive = TestArchive::new();
    let root = wide(&mut archive, 3000);
    let leaf = {
        let snapshots = snapshots(&archive, vec![at(1, root)]);
        let Some(Node::File { place: Place::Leaf(leaf, _), .. }) =
            snapshots.inodes.get(find(&snapshots, "1970-01-12_14-46-50/d/0001500").unwrap().ino)
        else {
            panic!("a file")
        };
        *leaf
    };
    archive.source().fail(leaf, ReadFailure::Missing);
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let lost =
        (0..3000).filter(|number| match find(&snapshots, &format!("1970-01-12_14-46-50/d/{number:07}")) {
            Ok(_) => false,
            Err(Problem::Unreadable(_)) => true,
            Err(other) => panic!("{other:?}"),
        });
    assert!((2..1100).contains(&lost.count()));
    let directory = find(&snapshots, "1970-01-12_14-46-50/d").unwrap();
    assert!(matches!(list_in_steps(&snapshots, directory.ino, 100), Err(Problem::Unreadable(_))));
    archive.source().heal();
    assert_eq!(list(&snapshots, directory.ino).len(), 3000, "and when it is there again, all is");
}

#[test]
fn unread_files_are_an_error() {
    let mut archive = TestArchive::new();
    let entry = Entry { size: 77, content: Content::Unread, mode: 0o640, ..Entry::new(Kind::File) };
    archive.add_raw(unix("/secret").key(), entry);
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let found = find(&snapshots, "1970-01-12_14-46-50/secret").unwrap();
    assert_eq!((found.size, found.mode), (77, 0o640));
    assert!(matches!(content(&snapshots, found.ino), Err(Problem::Unreadable(ReadError::Unread))));
}

#[test]
fn hostile_trees_are_errors() {
    let mut archive = TestArchive::new();
    let honest = many(&mut archive);
    let object = ObjectRef { id: ObjectId::from_bytes([3; 32]), length: 9000 };
    // A node that says to be of another level, and one that leads to itself as far as a hash allows: to a sibling of its own level.
    let lie = |archive: &mut TestArchive, level: u8, node| {
        let child = Child { node, entries: 600, bytes: 1 };
        archive.store_raw_node(encode_inner(
            level,
            &[(unix("/0000").key(), child), (unix("/9999").key(), child)],
        ))
    };
    let too_high = lie(&mut archive, honest.level + 2, honest.node);
    let same_level = lie(&mut archive, honest.level.max(1), honest.node);
    let roots = [
        Root { node: too_high, level: honest.level + 2 },
        Root { node: same_level, level: honest.level.max(1) },
        Root { node: honest.node, level: honest.level + 1 },
        Root { node: object.id, level: 0 },
    ];
    let versions = roots.iter().zip(1..).map(|(root, sequence)| at(sequence, *root)).collect();
    let snapshots = snapshots(&archive, versions);
    for name in snapshots.version_names() {
        let top = find(&snapshots, &name).unwrap();
        assert!(matches!(list_in_steps(&snapshots, top.ino, 100), Err(Problem::Unreadable(_))), "{name}");
        assert!(matches!(find(&snapshots, &format!("{name}/0300")), Err(Problem::Unreadable(_))), "{name}");
    }
    // Lengths that no object has.
    let content_of = |archive: &mut TestArchive, content: Content, size| {
        let mut entry = Entry { content, size, ..Entry::new(Kind::File) };
        entry.content_hash =
            Entry::has_content_hash(&entry.content).then_some(backstore_protocol::ids::ContentHash::ZERO);
        archive.add_raw(unix("/f").key(), entry);
        archive.finish()
    };
    let Content::Extents(extents) = archive.value(&noise(9000, 1)) else { panic!("an extent") };
    let real = extents[0].object().unwrap();
    let longer = Extent::Data { object: ObjectRef { length: 10_000, ..real }, offset: 8000, length: 2000 };
    let lying = [
        content_of(&mut archive, Content::Extents(Box::new([longer])), 2000),
        content_of(
            &mut archive,
            Content::Extents(Box::new([Extent::Data { object, offset: 0, length: 9000 }])),
            9000,
        ),
        content_of(&mut archive, Content::Map(honest.node), 5),
        content_of(&mut archive, Content::Map(real.id), 5),
    ];
    let versions = lying.iter().zip(11..).map(|(root, sequence)| at(sequence, *root)).collect();
    snapshots.set_versions(versions);
    for name in snapshots.version_names() {
        let found = find(&snapshots, &format!("{name}/f")).unwrap();
        assert!(matches!(content(&snapshots, found.ino), Err(Problem::Unreadable(_))), "{name}");
    }
}

#[test]
fn what_is_not_in_memory_is_not_waited_for() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let options = ReaderOptions { deadline: Duration::from_millis(40), ..ReaderOptions::default() };
    let snapshots = with_options(&archive, vec![at(1, root)], &options);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    archive.source().stick();
    assert!(matches!(snapshots.lookup(top.ino, b"0001", Wait::Not), Err(Problem::NotInMemory)));
    assert!(matches!(
        snapshots.lookup(top.ino, b"0001", WAIT),
        Err(Problem::Unreadable(ReadError::Timeout { .. }))
    ));
    assert!(matches!(snapshots.list(top.ino, 2, Wait::Not, &mut |_| true), Err(Problem::NotInMemory)));
    archive.source().heal();
    while snapshots.lookup(top.ino, b"0001", WAIT).is_err() {}
    let file = snapshots.lookup(top.ino, b"0001", Wait::Not).unwrap().attributes;
    archive.source().stick();
    assert!(matches!(snapshots.read(file.ino, 0, 10, Wait::Not), Err(Problem::NotInMemory)));
    archive.source().heal();
    while snapshots.read(file.ino, 0, 10, WAIT).is_err() {}
    assert_eq!(
        snapshots.read(file.ino, 0, 10, Wait::Not).unwrap().runs,
        [Run::Data(noise(5000, 1)[..10].to_vec().into())]
    );
}
