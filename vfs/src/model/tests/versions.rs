//! The folder of versions: which are listed, marked and named.

use super::*;

#[test]
fn the_newest_versions_are_listed_and_all_are_found() {
    let mut archive = TestArchive::new();
    let root = archive.finish();
    let snapshots = snapshots(&archive, (1..=250).map(|sequence| at(sequence, root)).collect());
    let listed = versions_listed(&snapshots);
    let all = snapshots.version_names();
    assert_eq!(listed[0], "latest");
    assert_eq!(listed[1..], all[..LISTED_MAX]);
    for name in &all {
        assert_eq!(find(&snapshots, name).unwrap().kind, FileKind::Directory);
    }
    assert!(matches!(find(&snapshots, "1970-01-01_00-00-00"), Err(Problem::NotFoundYet)));
    assert!(matches!(find(&snapshots, "\u{fffd}"), Err(Problem::NotFoundYet)));
    assert_eq!(archive.source().take_calls().len(), 0, "the folder needs nothing of the archive");
}

#[test]
fn a_partial_version_is_marked() {
    let mut archive = TestArchive::new();
    archive.add(&unix("/x"), Entry::new(Kind::File), &[]);
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![Version { is_partial: true, ..at(1, root) }]);
    assert_eq!(versions_listed(&snapshots), ["latest", "1970-01-12_14-46-50_partial"]);
    let plain = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    assert_eq!(plain.kind, FileKind::Symlink);
    assert_eq!(snapshots.read_link(plain.ino, WAIT).unwrap(), b"1970-01-12_14-46-50_partial");
    assert!(find(&snapshots, "1970-01-12_14-46-50_partial/x").is_ok());
}

#[test]
fn latest_is_the_newest_complete_version() {
    let mut archive = TestArchive::new();
    let root = archive.finish();
    let snapshots = snapshots(&archive, Vec::new());
    assert!(versions_listed(&snapshots).is_empty());
    assert!(matches!(find(&snapshots, "latest"), Err(Problem::NotFoundYet)));
    let latest = || {
        let link = find(&snapshots, "latest").unwrap();
        let target = snapshots.read_link(link.ino, WAIT).unwrap();
        assert_eq!((link.kind, link.size), (FileKind::Symlink, target.len() as u64));
        String::from_utf8(target).unwrap()
    };
    let partial = |sequence| Version { is_partial: true, ..at(sequence, root) };
    snapshots.set_versions(vec![partial(1)]);
    assert_eq!(latest(), "1970-01-12_14-46-50_partial");
    let changed = snapshots.set_versions(vec![partial(1), at(2, root), partial(3)]);
    assert_eq!(changed.names, [(Ino::ROOT, "latest".to_owned())]);
    assert_eq!(latest(), "1970-01-12_14-47-00");
}

#[test]
fn a_listing_under_way_does_not_change() {
    let mut archive = TestArchive::new();
    archive.add(&unix("/x"), Entry::new(Kind::File), &file(b"abc"));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root), at(2, root)]);
    let mut seen = Vec::new();
    let take = |room: usize, cookie: u64, seen: &mut Vec<(Vec<u8>, u64)>| {
        let room = seen.len() + room;
        snapshots
            .list(Ino::ROOT, cookie, WAIT, &mut |line| {
                let fits = seen.len() < room;
                if fits {
                    seen.push((line.name.to_vec(), line.cookie));
                }
                fits
            })
            .unwrap();
    };
    take(1, 2, &mut seen);
    let x = find(&snapshots, "1970-01-12_14-46-50/x").unwrap();
    let mut changed = snapshots.set_versions(vec![at(2, root), at(3, root)]);
    changed.names.sort();
    assert_eq!(changed.names, ["1970-01-12_14-46-50", "latest"].map(|name| (Ino::ROOT, name.to_owned())));
    // What stays is there once, whatever came before the place or went after it.
    take(9, seen[0].1, &mut seen);
    let names_seen: Vec<_> = seen.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    assert_eq!(names_seen, ["latest", "README.txt", "by-time", "1970-01-12_14-47-10", "1970-01-12_14-47-00"]);
    take(9, seen[3].1, &mut seen);
    assert_eq!(seen.pop(), seen.get(4).cloned());
    assert_eq!(snapshots.read(x.ino, 0, 9, WAIT).unwrap().runs, [Run::Data(Bytes::from_static(b"abc"))]);
    assert_eq!(versions_listed(&snapshots), ["latest", "1970-01-12_14-47-10", "1970-01-12_14-47-00"]);
}
