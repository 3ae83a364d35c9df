//! Which files are one and the same.

use super::*;

/// Two versions: `/same/f` is the same in both, `/same/g` and `/same/h` differ in content and time.
fn two_versions(archive: &mut TestArchive) -> Snapshots {
    let mut make = |last: &[u8], seconds| {
        let time = Time { seconds, nanoseconds: 0 };
        archive.add(&unix("/same"), Entry::new(Kind::Directory), &[]);
        archive.add(&unix("/same/f"), Entry::new(Kind::File), &file(&noise(5000, 1)));
        archive.add(&unix("/same/g"), Entry::new(Kind::File), &file(last));
        archive.add(&unix("/same/h"), Entry { mtime: time, ..Entry::new(Kind::File) }, &file(b"h"));
        archive.finish()
    };
    let roots = [make(&noise(5000, 2), 1), make(&noise(5000, 3), 2)];
    snapshots(archive, vec![at(1, roots[0]), at(2, roots[1])])
}

#[test]
fn unchanged_files_share_an_inode() {
    let snapshots = two_versions(&mut TestArchive::new());
    let in_both = ["1970-01-12_14-46-50/same/f", "1970-01-12_14-47-00/same/f"]
        .map(|path| find(&snapshots, path).unwrap());
    assert_eq!(in_both[0], in_both[1]);
    assert_eq!(content(&snapshots, in_both[0].ino).unwrap(), noise(5000, 1));
}

#[test]
fn changed_files_have_their_own_inode() {
    let snapshots = two_versions(&mut TestArchive::new());
    for name in ["g", "h"] {
        let [old, new] = ["1970-01-12_14-46-50", "1970-01-12_14-47-00"]
            .map(|version| find(&snapshots, &format!("{version}/same/{name}")).unwrap());
        assert_ne!(old.ino, new.ino, "{name}");
    }
}

#[test]
fn directories_are_their_own_in_each_version() {
    let snapshots = two_versions(&mut TestArchive::new());
    let inos: BTreeSet<_> = [
        "1970-01-12_14-46-50",
        "1970-01-12_14-47-00",
        "1970-01-12_14-46-50/same",
        "1970-01-12_14-47-00/same",
    ]
    .map(|path| find(&snapshots, path).unwrap().ino)
    .into();
    assert_eq!(inos.len(), 4);
}

#[test]
fn inodes_are_stable() {
    let mut archive = TestArchive::new();
    let first = two_versions(&mut archive);
    let again = two_versions(&mut archive);
    for path in ["latest", "1970-01-12_14-46-50", "1970-01-12_14-46-50/same", "1970-01-12_14-46-50/same/f"] {
        assert_eq!(find(&first, path).unwrap(), find(&again, path).unwrap());
    }
}

#[test]
fn hard_links_share_an_inode() {
    let mut archive = TestArchive::new();
    let linked = Entry { nlink: 2, inode: 42, mount: 1, ..Entry::new(Kind::File) };
    archive.add(&unix("/a"), linked.clone(), &file(b"x"));
    archive.add(&unix("/b"), linked.clone(), &file(b"x"));
    archive.add(&unix("/c"), Entry { inode: 43, ..linked }, &file(b"x"));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let [a, b, c] =
        ["a", "b", "c"].map(|name| find(&snapshots, &format!("1970-01-12_14-46-50/{name}")).unwrap());
    assert_eq!(a, b);
    assert_eq!(a.nlink, 2);
    assert_ne!(a.ino, c.ino);
}

#[test]
fn statistics_are_those_of_the_newest_version() {
    let mut archive = TestArchive::new();
    let root = archive.finish();
    let snapshots = snapshots(&archive, Vec::new());
    assert_eq!(snapshots.statistics(), Statistics::default());
    snapshots.set_versions(vec![
        Version { bytes: 1 << 40, entries: 7, ..at(2, root) },
        Version { bytes: 1, ..at(1, root) },
    ]);
    assert_eq!(snapshots.statistics(), Statistics { bytes: 1 << 40, entries: 7 });
}
