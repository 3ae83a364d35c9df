//! The model against the trees its versions were made of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use backstore_protocol::entry::{Extent, Kind, ObjectRef, Principal, PrincipalId};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::ObjectKind;
use backstore_protocol::path::{ArchivePath, child_key};
use backstore_protocol::store::ReadFailure;
use backstore_protocol::tree::{Child, Root, encode_inner};
use proptest::prelude::*;

use super::version::tests::version;
use super::*;
use crate::content::Run;
use crate::objects::{ReadError, ReaderOptions};
use crate::random_tree::{any_tree, build, noise};
use crate::test_archive::{Part, TestArchive};

const WAIT: Wait = Wait::UntilDeadline;
const OWNER: Owner = Owner { uid: 501, gid: 20 };

fn snapshots(archive: &TestArchive, versions: Vec<Version>) -> Snapshots {
    with_options(archive, versions, &ReaderOptions::default())
}

fn with_options(archive: &TestArchive, versions: Vec<Version>, options: &ReaderOptions) -> Snapshots {
    let reader = ObjectReader::new(archive.source(), archive.keys(), options).unwrap();
    let snapshots = Snapshots::new(&reader, OWNER).unwrap();
    snapshots.set_versions(versions);
    snapshots
}

/// Version number `sequence` of a tree.
fn at(sequence: u64, root: Root) -> Version {
    Version { root, ..version(sequence, 1_000_000 + 10 * sequence as i64) }
}

fn unix(path: &str) -> ArchivePath {
    path.split('/')
        .filter(|name| !name.is_empty())
        .fold(ArchivePath::unix_root(), |path, name| path.join(name.as_bytes()).unwrap())
}

fn file(bytes: &[u8]) -> Vec<Part> {
    vec![Part::Data(bytes.to_vec())]
}

/// Finds a path, name by name, from the folder.
fn find(snapshots: &Snapshots, path: &str) -> Result<Attributes, Problem> {
    let mut found = snapshots.attributes(Ino::ROOT, WAIT)?;
    for name in path.split('/') {
        found = snapshots.lookup(found.ino, name.as_bytes(), WAIT)?.attributes;
    }
    Ok(found)
}

/// All lines of a directory but `.` and `..`, listed `at_once` lines at a time.
fn list_in_steps(
    snapshots: &Snapshots,
    ino: Ino,
    at_once: usize,
) -> Result<Vec<(Vec<u8>, Attributes)>, Problem> {
    let (mut lines, mut cookie) = (Vec::new(), 0);
    loop {
        let before = lines.len();
        let result = snapshots.list(ino, cookie, WAIT, &mut |line| {
            let fits = lines.len() < before + at_once;
            if fits {
                lines.push((line.name.to_vec(), line.attributes));
                cookie = line.cookie;
            }
            fits
        });
        if result.is_err() || lines.len() == before {
            return result.map(|()| lines.split_off(2));
        }
    }
}

fn list(snapshots: &Snapshots, ino: Ino) -> Vec<(Vec<u8>, Attributes)> {
    list_in_steps(snapshots, ino, usize::MAX).unwrap()
}

fn names(snapshots: &Snapshots, ino: Ino) -> Vec<String> {
    list(snapshots, ino).into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
}

fn content(snapshots: &Snapshots, ino: Ino) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let result = loop {
        match snapshots.read(ino, bytes.len() as u64, 10_000, WAIT) {
            Ok(reading) if reading.runs.is_empty() => break Ok(()),
            Ok(reading) => reading.runs.iter().for_each(|run| match run {
                Run::Data(data) => bytes.extend_from_slice(data),
                Run::Hole(length) => bytes.resize(bytes.len() + *length as usize, 0),
            }),
            Err(problem) => break Err(problem),
        }
    };
    result.map(|()| bytes)
}

/// Everything below a directory, by path.
fn walk(snapshots: &Snapshots, ino: Ino, path: &ArchivePath, out: &mut BTreeMap<Vec<u8>, Attributes>) {
    for (name, attributes) in list(snapshots, ino) {
        let path = path.join(&name).unwrap();
        out.insert(path.key(), attributes);
        if attributes.kind == FileKind::Directory {
            walk(snapshots, attributes.ino, &path, out);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn attributes_are_those_of_the_entry(mut files in any_tree(), at_once in 1..20usize) {
        let mut archive = TestArchive::fine();
        let root = build(&mut archive, &mut files);
        let snapshots = snapshots(&archive, vec![at(1, root)]);
        let top = find(&snapshots, "latest").map(|_| find(&snapshots, "1970-01-12_14-46-50").unwrap()).unwrap();
        let mut found = BTreeMap::new();
        walk(&snapshots, top.ino, &ArchivePath::unix_root(), &mut found);
        let below_root: Vec<_> = files.iter().filter(|file| file.path.depth() > 0).collect();
        let expected: Vec<_> = below_root.iter().map(|file| file.path.key()).collect();
        prop_assert_eq!(found.keys().cloned().collect::<Vec<_>>(), expected);
        for file in below_root {
            let attributes = found[&file.path.key()];
            let entry = &file.entry;
            let size = if matches!(entry.kind, Kind::File | Kind::Symlink) { file.bytes().len() as u64 } else { 0 };
            let uid = |principal: &Principal| if let PrincipalId::Unix(id) = principal.id { id } else { OWNER.uid };
            prop_assert_eq!((attributes.mode, attributes.size, attributes.nlink), (mode_of(entry), size, 1));
            prop_assert_eq!(attributes.uid, uid(&entry.owner));
            prop_assert_eq!(attributes.device, entry.device);
            if entry.kind != Kind::ImpliedDirectory {
                prop_assert_eq!((attributes.mtime, attributes.ctime), (entry.mtime, entry.ctime));
            }
            prop_assert_eq!(snapshots.attributes(attributes.ino, WAIT).unwrap(), attributes);
            if entry.kind == Kind::File {
                prop_assert_eq!(content(&snapshots, attributes.ino).unwrap(), file.bytes());
            }
            if entry.kind == Kind::Symlink {
                prop_assert_eq!(snapshots.read_link(attributes.ino, WAIT).unwrap(), b"../target of a link");
            }
            let parent = file.path.parent().unwrap();
            let directory = if parent.depth() == 0 { top.ino } else { found[&parent.key()].ino };
            prop_assert_eq!(snapshots.lookup(directory, file.path.name(), WAIT).unwrap().attributes, attributes);
            if entry.kind.is_directory() {
                let whole = list(&snapshots, attributes.ino);
                prop_assert!(whole.iter().map(|(name, _)| name).is_sorted());
                prop_assert_eq!(list_in_steps(&snapshots, attributes.ino, at_once).unwrap(), whole);
            }
        }
    }
}

fn mode_of(entry: &Entry) -> u16 {
    let is_unix = matches!(entry.owner.id, PrincipalId::Unix(_));
    if !is_unix && entry.mode == 0 {
        if entry.kind.is_directory() { 0o755 } else { 0o644 }
    } else {
        entry.mode
    }
}

#[test]
fn the_newest_versions_are_listed_and_all_are_found() {
    let mut archive = TestArchive::new();
    let root = archive.finish();
    let snapshots = snapshots(&archive, (1..=250).map(|sequence| at(sequence, root)).collect());
    let listed = names(&snapshots, Ino::ROOT);
    let all = snapshots.version_names();
    assert_eq!(listed[0], "latest");
    assert_eq!(listed[1..], all[..LISTED_MAX]);
    for name in &all {
        assert_eq!(find(&snapshots, name).unwrap().kind, FileKind::Directory);
    }
    assert!(matches!(find(&snapshots, "1970-01-01_00-00-00"), Err(Problem::NotFound)));
    assert!(matches!(find(&snapshots, "\u{fffd}"), Err(Problem::NotFound)));
    assert_eq!(archive.source().take_calls().len(), 0, "the folder needs nothing of the archive");
}

#[test]
fn a_partial_version_is_marked() {
    let mut archive = TestArchive::new();
    archive.add(&unix("/x"), Entry::new(Kind::File), &[]);
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![Version { is_partial: true, ..at(1, root) }]);
    assert_eq!(names(&snapshots, Ino::ROOT), ["latest", "1970-01-12_14-46-50_partial"]);
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
    assert!(names(&snapshots, Ino::ROOT).is_empty());
    assert!(matches!(find(&snapshots, "latest"), Err(Problem::NotFound)));
    let latest = || {
        let link = find(&snapshots, "latest").unwrap();
        let target = snapshots.read_link(link.ino, WAIT).unwrap();
        assert_eq!((link.kind, link.size), (FileKind::Symlink, target.len() as u64));
        String::from_utf8(target).unwrap()
    };
    let partial = |sequence| Version { is_partial: true, ..at(sequence, root) };
    snapshots.set_versions(vec![partial(1)]);
    assert_eq!(latest(), "1970-01-12_14-46-50_partial");
    assert_eq!(snapshots.set_versions(vec![partial(1), at(2, root), partial(3)]), ["latest"]);
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
    changed.sort();
    assert_eq!(changed, ["1970-01-12_14-46-50", "latest"]);
    // What stays is there once, whatever came before the place or went after it.
    take(9, seen[0].1, &mut seen);
    let names_seen: Vec<_> = seen.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    assert_eq!(names_seen, ["latest", "1970-01-12_14-47-10", "1970-01-12_14-47-00"]);
    take(9, seen[1].1, &mut seen);
    assert_eq!(seen.pop(), seen.get(2).cloned());
    assert_eq!(
        snapshots.read(x.ino, 0, 9, WAIT).unwrap().runs,
        [Run::Data(bytes::Bytes::from_static(b"abc"))]
    );
    assert_eq!(names(&snapshots, Ino::ROOT), ["latest", "1970-01-12_14-47-10", "1970-01-12_14-47-00"]);
}

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

/// A directory of `count` fifos, `/d`.
fn wide(archive: &mut TestArchive, count: usize) -> Root {
    for path in ["/", "/d"] {
        archive.add(&unix(path), Entry::new(Kind::Directory), &[]);
    }
    for number in 0..count {
        archive.add_raw(child_key(b"/\0d", format!("{number:07}").as_bytes()), Entry::new(Kind::Fifo));
    }
    archive.finish()
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
        assert_eq!(snapshots.xattr(ino, b"user.empty", WAIT).unwrap(), []);
        assert_eq!(snapshots.xattr(ino, b"user.large", WAIT).unwrap(), large);
        assert!(matches!(snapshots.xattr(ino, b"user.none", WAIT), Err(Problem::NoSuchAttribute)));
    }
    assert!(snapshots.xattr_names(Ino::ROOT, WAIT).unwrap().is_empty());
}

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

/// Many files in bundles and some in chunks, right below `/`.
fn many(archive: &mut TestArchive) -> Root {
    archive.add(&unix("/"), Entry::new(Kind::Directory), &[]);
    for number in 0..600u64 {
        let bytes = noise(if number % 100 == 7 { 300_000 } else { 5000 }, number);
        archive.add(&unix(&format!("/{number:04}")), Entry::new(Kind::File), &file(&bytes));
    }
    archive.finish()
}

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
        let Some(Node::File { place, .. }) =
            snapshots.inodes.get(find(&snapshots, "1970-01-12_14-46-50/d/0001500").unwrap().ino)
        else {
            panic!("a file")
        };
        *place.leaf
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

#[test]
fn sniffing_fetches_one_object() {
    let mut archive = TestArchive::new();
    for number in 0..20u64 {
        archive.add(&unix(&format!("/{number:02}")), Entry::new(Kind::File), &file(&noise(6 << 20, number)));
    }
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    let files = list(&snapshots, top.ino);
    archive.source().take_calls();
    for (_, attributes) in files {
        assert_eq!(snapshots.read(attributes.ino, 0, 4096, WAIT).unwrap().runs[0].length(), 4096);
    }
    let asked: Vec<_> = archive.source().take_calls().into_iter().flatten().collect();
    let data: HashSet<_> = archive.source().ids(ObjectKind::Data).into_iter().collect();
    let asked = asked.iter().filter(|id| data.contains(*id));
    assert_eq!(asked.count(), 20, "one bundle of each file, and nothing of the files after it");
}

#[test]
fn neighbours_are_fetched_and_given_before_they_are_read() {
    let mut archive = TestArchive::new();
    let root = many(&mut archive);
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    let files = list(&snapshots, top.ino);
    let (give, given) = std::sync::mpsc::channel();
    let give = std::sync::Mutex::new(give);
    snapshots.set_spare_taker(Arc::new(move |spare| give.lock().unwrap().send(spare).unwrap()));
    let numbers: HashMap<_, u64> =
        files.iter().zip(0..).map(|((_, attributes), number)| (attributes.ino, number)).collect();
    let mut in_page_cache = BTreeSet::new();
    let take = |spare: Spare, in_page_cache: &mut BTreeSet<Ino>| {
        let number = numbers[&spare.ino];
        let expected = noise(if number % 100 == 7 { 300_000 } else { 5000 }, number);
        assert_eq!((spare.offset, spare.size, &spare.bytes[..]), (0, expected.len() as u64, &expected[..]));
        in_page_cache.insert(spare.ino);
    };
    for (_, attributes) in &files[..3] {
        snapshots.read(attributes.ino, 0, 100, WAIT).unwrap();
    }
    // A reader that goes on in order finds nearly all it reads in its page cache.
    let mut asked = 0;
    take(given.recv().unwrap(), &mut in_page_cache);
    for (_, attributes) in &files[3..] {
        given.try_iter().for_each(|spare| take(spare, &mut in_page_cache));
        if !in_page_cache.contains(&attributes.ino) {
            snapshots.read(attributes.ino, 0, 100, WAIT).unwrap();
            asked += 1;
        }
    }
    drop(snapshots);
    given.iter().for_each(|spare| take(spare, &mut in_page_cache));
    assert!(in_page_cache.len() > files.len() * 9 / 10, "{} given, {asked} asked for", in_page_cache.len());
}

#[test]
fn who_reads_a_tree_finds_the_next_directories_read() {
    let mut archive = TestArchive::new();
    for directory in 0..40u64 {
        archive.add(&unix(&format!("/{directory:02}")), Entry::new(Kind::Directory), &[]);
    }
    for number in 0..400u64 {
        let path = unix(&format!("/{:02}/{number:03}", number / 10));
        archive.add(&path, Entry::new(Kind::File), &file(&noise(300 + number as usize, number)));
    }
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let (give, given) = std::sync::mpsc::channel();
    let give = std::sync::Mutex::new(give);
    snapshots.set_spare_taker(Arc::new(move |spare: Spare| give.lock().unwrap().send(spare.ino).unwrap()));
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    let mut asked = 0;
    for (at, (_, directory)) in list(&snapshots, top.ino).into_iter().enumerate() {
        let files = list(&snapshots, directory.ino);
        // From the third directory on listing it is enough: all but the file left out are given.
        let expected = if at < 2 { 0 } else { files.len() - 1 };
        let in_page_cache: BTreeSet<_> = (0..expected).map(|_| given.recv().unwrap()).collect();
        let missing = files.iter().filter(|(_, attributes)| !in_page_cache.contains(&attributes.ino));
        for (_, attributes) in missing.take(2) {
            snapshots.read(attributes.ino, 0, 100, WAIT).unwrap();
            asked += 1;
        }
    }
    assert_eq!(asked, 2 * 2 + 38);
}

/// 400 directories of 40 fifos with long names, in the top directory: a tree of many leaves.
fn broad(archive: &mut TestArchive) -> Root {
    archive.add(&unix("/"), Entry::new(Kind::Directory), &[]);
    for directory in 0..400 {
        archive.add(&unix(&format!("/{directory:03}")), Entry::new(Kind::Directory), &[]);
        for number in 0..40 {
            let name = format!("{number:03}{}", "x".repeat(200));
            let key = child_key(format!("/\0{directory:03}").as_bytes(), name.as_bytes());
            archive.add_raw(key, Entry::new(Kind::Fifo));
        }
    }
    archive.finish()
}

#[test]
fn who_walks_a_tree_has_it_fetched_in_a_few_calls() {
    let mut archive = TestArchive::new();
    let root = broad(&mut archive);
    let nodes = archive.source().ids(ObjectKind::Tree);
    assert!(nodes.len() > 60, "{} nodes", nodes.len());
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let top = find(&snapshots, "1970-01-12_14-46-50").unwrap();
    for (_, directory) in list(&snapshots, top.ino) {
        assert_eq!(list(&snapshots, directory.ino).len(), 40);
    }
    let calls = archive.source().take_calls();
    let asked: Vec<_> = calls.iter().flatten().collect();
    assert_eq!(asked.len(), nodes.len(), "each node once");
    assert!(calls.len() <= nodes.len() / 4, "{} calls for {} nodes", calls.len(), nodes.len());
}

#[test]
fn who_looks_around_has_little_fetched() {
    let mut archive = TestArchive::new();
    let root = broad(&mut archive);
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let paths = [390, 12, 200].map(|directory| format!("1970-01-12_14-46-50/{directory:03}"));
    for path in &paths {
        let found = find(&snapshots, path).unwrap();
        list(&snapshots, found.ino);
    }
    let asked = archive.source().take_calls().into_iter().flatten().count();
    let nodes = archive.source().ids(ObjectKind::Tree).len();
    // A few leaves after each place, and the way there.
    assert!(asked <= 3 * (8 + 3) && asked < nodes / 2, "{asked} of {nodes} nodes");
}

#[test]
fn random_reads_give_the_rest_of_the_chunk() {
    let mut archive = TestArchive::new();
    archive.add(&unix("/disk"), Entry::new(Kind::File), &file(&noise(12 << 20, 1)));
    let root = archive.finish();
    let snapshots = snapshots(&archive, vec![at(1, root)]);
    let disk = find(&snapshots, "1970-01-12_14-46-50/disk").unwrap();
    let reading = snapshots.read(disk.ino, 7 << 20, 4096, WAIT).unwrap();
    let [spare] = &reading.spare[..] else { panic!("{:?}", reading.spare.len()) };
    let range = spare.offset as usize..spare.offset as usize + spare.bytes.len();
    assert!(range.contains(&(7 << 20)) && range.len() > 4096);
    assert_eq!(spare.bytes, noise(12 << 20, 1)[range]);
    assert_eq!((spare.ino, spare.size), (disk.ino, 12 << 20));
    // From front to back nothing is spare: the system comes for it itself.
    for at in 0..5 {
        let reading = snapshots.read(disk.ino, (7 << 20) + 4096 * (at + 1), 4096, WAIT).unwrap();
        assert!(reading.spare.is_empty());
    }
}
