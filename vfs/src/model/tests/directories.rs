//! Directories of versions: paths, names, listings and what entries say of themselves.

use super::*;

#[test]
fn every_file_is_under_its_full_path() {
    let mut archive = TestArchive::new();
    for path in ["/", "/home", "/home/alice"] {
        archive.add(&unix(path), Entry::new(Kind::ImpliedDirectory), &[]);
    }
    archive.add(&unix("/home/alice/x"), Entry::new(Kind::File), &file(b"hello"));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let found = find(&snapshots, "1970-01-12_14-46-50/home/alice/x").unwrap();
    assert_eq!(content(&snapshots, found.ino).unwrap(), b"hello");
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    assert_eq!(names(&snapshots, top.ino), ["home"]);
    for name in ["", ".", "..", "/", "x/y", "not there"] {
        assert!(
            matches!(snapshots.lookup(top.ino, name.as_bytes(), WAIT), Err(Problem::NotFound)),
            "{name:?}"
        );
    }
    assert!(matches!(snapshots.lookup(top.ino, &[b'n'; 70_000], WAIT), Err(Problem::NotFound)));
    assert!(matches!(snapshots.lookup(found.ino, b"x", WAIT), Err(Problem::NotADirectory)));
    assert!(matches!(snapshots.read(top.ino, 0, 1, WAIT), Err(Problem::IsADirectory)));
    assert!(matches!(snapshots.read_link(found.ino, WAIT), Err(Problem::Invalid)));
    assert!(matches!(snapshots.attributes(Ino(99), WAIT), Err(Problem::NotFound)));
    assert!(matches!(snapshots.read(Ino(99), 0, 1, WAIT), Err(Problem::NotFound)));
    snapshots.forget(found.ino, 1);
    assert!(
        matches!(snapshots.read(found.ino, 0, 1, WAIT), Err(Problem::NotFound)),
        "it could be something else by now"
    );
}

#[test]
fn drives_are_top_directories() {
    let mut archive = TestArchive::new();
    for root in [&b"C:"[..], b"UNC\\nas\\data"] {
        let root = ArchivePath::root(root).unwrap();
        archive.add(&root, Entry::new(Kind::Directory), &[]);
        archive.add(&root.join(b"x").unwrap(), Entry::new(Kind::File), &file(root.name()));
    }
    let windows = archive.finish();
    for path in ["/", "/C:"] {
        archive.add(&unix(path), Entry::new(Kind::Directory), &[]);
    }
    for root in [&b"C:"[..], b"D:"] {
        archive.add(&ArchivePath::root(root).unwrap(), Entry::new(Kind::Directory), &[]);
    }
    let both = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, windows), at(2, both)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    assert_eq!(names(&snapshots, top.ino), ["C:", "UNC\\nas\\data"]);
    for at_once in 1..3 {
        assert_eq!(list_in_steps(&snapshots, top.ino, at_once).unwrap(), list(&snapshots, top.ino));
    }
    let share = find(&snapshots, "1970-01-12_14-46-50/UNC\\nas\\data/x").unwrap();
    assert_eq!(content(&snapshots, share.ino).unwrap(), b"UNC\\nas\\data");
    let top = find(&snapshots, "1970-01-12_14-47-00").unwrap();
    assert_eq!(names(&snapshots, top.ino), ["C:", "D:"], "a directory of the same name hides a root");
    assert_eq!(list_in_steps(&snapshots, top.ino, 1).unwrap().len(), 2);
}

#[test]
fn impossible_names_are_an_error() {
    for name in [&b".."[..], b".", b"", b"a/b", b"a\0b"] {
        let mut archive = TestArchive::new();
        archive.add(&unix("/"), Entry::new(Kind::Directory), &[]);
        archive.add_raw(child_key(b"/", name), Entry::new(Kind::Fifo));
        archive.add(&unix("/fine"), Entry::new(Kind::Fifo), &[]);
        let root = archive.finish();
        let snapshots = snapshots(&archive, vec![at(1, root)]);
        let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
        let listed = list_in_steps(&snapshots, top.ino, usize::MAX);
        assert!(matches!(listed, Err(Problem::Unreadable(ReadError::Malformed(_)))), "{name:?}: {listed:?}");
        assert!(find(&snapshots, "1970-01-12_14-46-50/fine").is_ok());
    }
    let mut archive = TestArchive::new();
    archive.add_raw(b"\0not a root".to_vec(), Entry::new(Kind::Directory));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    assert!(list_in_steps(&snapshots, top.ino, usize::MAX).is_err());
}

#[test]
fn listings_continue_anywhere() {
    let mut archive = TestArchive::new();
    let root = wide(&mut archive, 5000);
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let directory = find(&snapshots, "1970-01-12_14-46-50/d").unwrap();
    let mut order: Vec<u64> = (0..=5000).collect();
    // Forward in steps as systems do it, then here and there.
    order.sort_by_key(|number| (number % 170 != 0, number.wrapping_mul(0x9e37_79b9) % 5001));
    for number in order.into_iter().take(1500) {
        let mut first = None;
        snapshots
            .list(directory.ino, 2 + number, WAIT, &mut |line| {
                first = first.take().or(Some((line.name.to_vec(), line.cookie)));
                false
            })
            .unwrap();
        let next = if number == 4999 { 1 << 62 } else { 3 + number };
        let expected = (number < 5000).then(|| (format!("{number:07}").into_bytes(), next));
        assert_eq!(first, expected);
    }
    let mut dots = Vec::new();
    snapshots
        .list(directory.ino, 0, WAIT, &mut |line| {
            dots.push((line.name.to_vec(), line.attributes.ino));
            dots.len() < 2
        })
        .unwrap();
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    assert_eq!(dots, [(b".".to_vec(), directory.ino), (b"..".to_vec(), top.ino)]);
}

#[test]
fn a_million_entries_need_no_memory() {
    let mut archive = TestArchive::new();
    let root = wide(&mut archive, 1_000_000);
    let options =
        ReaderOptions { node_cache_bytes: 1 << 20, ahead_bytes_max: 1 << 20, ..ReaderOptions::default() };
    let snapshots = with_options(&archive, vec![at(1, root)], &options);
    let directory = find(&snapshots, "1970-01-12_14-46-50/d").unwrap();
    let before = snapshots.remembered();
    let (mut cookie, mut listed) = (2, 0);
    loop {
        let mut inos = Vec::new();
        snapshots
            .list(directory.ino, cookie, WAIT, &mut |line| {
                let fits = inos.len() < 170;
                if fits {
                    inos.push(line.attributes.ino);
                    cookie = line.cookie;
                }
                fits
            })
            .unwrap();
        assert_eq!(snapshots.remembered() - before, inos.len());
        assert!(snapshots.reader().cached_bytes().0 <= 1 << 20);
        if inos.is_empty() {
            break;
        }
        listed += inos.len();
        inos.iter().for_each(|ino| snapshots.forget(*ino, 1));
    }
    assert_eq!(listed, 1_000_000);
    let found = find(&snapshots, "1970-01-12_14-46-50/d/0777777").unwrap();
    assert_eq!(found.kind, FileKind::Fifo);
    let nodes = archive.source().ids(ObjectKind::Tree).len();
    assert!(snapshots.reader().counters().objects < 2 * nodes as u64);
}

#[test]
fn implied_directories_have_the_snapshots_time() {
    let mut archive = TestArchive::new();
    let implied = Entry { mode: 0o750, ..Entry::new(Kind::ImpliedDirectory) };
    archive.add(&unix("/"), implied.clone(), &[]);
    archive.add(&unix("/home"), implied, &[]);
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let expected = Time { seconds: 1_000_010, nanoseconds: 250_000_000 };
    for path in ["1970-01-12_14-46-50", "1970-01-12_14-46-50/home"] {
        let found = find(&snapshots, path).unwrap();
        assert_eq!((found.mtime, found.ctime), (expected, expected), "{path}");
    }
    assert_eq!(find(&snapshots, "1970-01-12_14-46-50/home").unwrap().mode, 0o750);
    assert_eq!(snapshots.attributes(Ino::ROOT, WAIT).unwrap().mtime, expected);
}

#[test]
fn links_stay_in_their_version_if_asked_for() {
    let mut archive = TestArchive::new();
    for path in ["/", "/home", "/home/a"] {
        archive.add(&unix(path), Entry::new(Kind::Directory), &[]);
    }
    archive.add(&unix("/home/a/in"), Entry::new(Kind::Symlink), &file(b"/home/a/x"));
    archive.add(&unix("/home/a/out"), Entry::new(Kind::Symlink), &file(b"/etc/x"));
    let root = archive.finish();
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let links = LinkRoots::new([&b"/\0home\0a"[..]]);
    let set = BackupSet { links, ..BackupSet::default() };
    let snapshots = Snapshots::new(&reader, FolderOptions { set, ..options_of_folder() }).unwrap();
    snapshots.set_versions(vec![at(1, root)]);
    for (name, target) in [("in", &b"../../home/a/x"[..]), ("out", b"/etc/x")] {
        let found = find(&snapshots, &format!("1970-01-12_14-46-50/home/a/{name}")).unwrap();
        assert_eq!(snapshots.read_link(found.ino, WAIT).unwrap(), target);
        assert_eq!(found.size, target.len() as u64);
        assert_eq!(snapshots.attributes(found.ino, WAIT).unwrap(), found);
    }
}

#[test]
fn xattrs_are_those_of_the_entry() {
    let mut archive = TestArchive::new();
    let large = noise(20_000, 3);
    let value = archive.value(&large);
    let xattr = |name: &[u8], size, value| Xattr { name: name.into(), size, value };
    let xattrs = vec![
        xattr(b"security.x", 3, Content::Inline(Box::new([1, 0, 255]))),
        xattr(b"user.empty", 0, Content::Inline(Box::new([]))),
        xattr(b"user.large", 20_000, value),
    ];
    let directory = Entry { xattrs: xattrs.clone(), ..Entry::new(Kind::Directory) };
    archive.add(&unix("/d"), directory, &[]);
    archive.add(&unix("/f"), Entry { xattrs, ..Entry::new(Kind::File) }, &file(b"x"));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    for path in ["1970-01-12_14-46-50/d", "1970-01-12_14-46-50/f"] {
        let ino = find(&snapshots, path).unwrap().ino;
        let names = snapshots.xattr_names(ino, WAIT).unwrap();
        assert_eq!(names, [&b"security.x"[..], b"user.empty", b"user.large"].map(Box::from));
        assert_eq!(snapshots.xattr(ino, b"security.x", WAIT).unwrap(), [1, 0, 255]);
        assert!(snapshots.xattr(ino, b"user.empty", WAIT).unwrap().is_empty());
        assert_eq!(snapshots.xattr(ino, b"user.large", WAIT).unwrap(), large);
        assert!(matches!(snapshots.xattr(ino, b"user.none", WAIT), Err(Problem::NoSuchAttribute)));
    }
    assert!(snapshots.xattr_names(Ino::ROOT, WAIT).unwrap().is_empty());
}
