//! The model against the trees its versions were made of.

mod directories;
mod economy;
mod failing;
mod inodes;
mod past;
mod sets;
mod versions;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use backstore_protocol::entry::{Extent, Kind, ObjectRef, Principal, PrincipalId, Time};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::ObjectKind;
use backstore_protocol::path::{ArchivePath, child_key};
use backstore_protocol::store::ReadFailure;
use backstore_protocol::tree::{Child, Root, encode_inner};
use proptest::prelude::*;

use super::version::tests::version;
use super::*;
use crate::content::Run;
use crate::objects::{ReadError, ReaderOptions, Want};
use crate::random_tree::{any_tree, build, noise};
use crate::test_archive::{Part, TestArchive};

const WAIT: Wait = Wait::UntilDeadline;
const OWNER: Owner = Owner { uid: 501, gid: 20 };

fn snapshots(archive: &TestArchive, versions: Vec<Version>) -> Snapshots {
    with_options(archive, versions, &ReaderOptions::default())
}

fn with_options(archive: &TestArchive, versions: Vec<Version>, options: &ReaderOptions) -> Snapshots {
    let reader = ObjectReader::new(archive.source(), archive.keys(), options).unwrap();
    let snapshots = Snapshots::new(&reader, options_of_folder()).unwrap();
    snapshots.set_versions(versions);
    snapshots
}

/// It is 1970-01-14 00:00 in Berlin.
fn options_of_folder() -> FolderOptions {
    FolderOptions {
        owner: OWNER,
        set: BackupSet { name: "main".into(), ..BackupSet::default() },
        now: Arc::new(|| 1_119_600_000),
        ..FolderOptions::default()
    }
}

/// The names of the folder that are not always there.
fn versions_listed(snapshots: &Snapshots) -> Vec<String> {
    let all = names(snapshots, Ino::ROOT);
    all.into_iter()
        .filter(|name| {
            !["README.txt", "by-time", "sets", "history", "deleted", "changes", "search"]
                .contains(&name.as_str())
        })
        .collect()
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

/// Many files in bundles and some in chunks, right below `/`.
fn many(archive: &mut TestArchive) -> Root {
    archive.add(&unix("/"), Entry::new(Kind::Directory), &[]);
    for number in 0..600u64 {
        let bytes = noise(if number % 100 == 7 { 300_000 } else { 5000 }, number);
        archive.add(&unix(&format!("/{number:04}")), Entry::new(Kind::File), &file(&bytes));
    }
    archive.finish()
}
