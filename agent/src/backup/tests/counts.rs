//! The counts in a snapshot's body against a plain comparison of its tree with its parent's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::snapshot::{Changes, Counts};
use proptest::prelude::*;

use crate::archive::{Archive, OpenedSnapshot};
use crate::testing::{Computer, set_mtime};

type Tree = BTreeMap<String, Entry>;

fn tree(archive: &Archive, snapshot: &OpenedSnapshot) -> Tree {
    let all = archive.view(snapshot).walk_all().unwrap().map(|found| found.unwrap());
    all.map(|(path, entry)| (path.to_string(), entry)).collect()
}

fn count(counts: &mut Counts, kind: Kind) {
    match kind {
        Kind::File => counts.files += 1,
        Kind::Directory | Kind::ImpliedDirectory => counts.directories += 1,
        Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::CharacterDevice | Kind::BlockDevice => {
            counts.others += 1;
        }
    }
}

/// What PROTOCOL.md section 8 says, path by path; without the bytes that were sent.
fn compare(old: &Tree, new: &Tree) -> Changes {
    let mut changes = Changes::default();
    for (path, entry) in new {
        let Some(before) = old.get(path) else {
            count(&mut changes.new, entry.kind);
            changes.bytes += if entry.kind == Kind::File { entry.size } else { 0 };
            continue;
        };
        let is_directory = entry.kind == Kind::Directory && before.kind == Kind::Directory;
        let is_same_directory = is_directory || entry.kind == Kind::ImpliedDirectory;
        let other_bytes = entry.kind != before.kind || !is_same_directory && !entry.same_content(before);
        let other_stamps = entry.mode != before.mode
            || entry.xattrs != before.xattrs
            || !is_same_directory && entry.mtime != before.mtime;
        if other_bytes || other_stamps {
            count(&mut changes.changed, entry.kind);
        }
        if other_bytes && entry.kind == Kind::File {
            changes.bytes += entry.size;
        }
    }
    for (_, entry) in old.iter().filter(|(path, _)| !new.contains_key(*path)) {
        count(&mut changes.removed, entry.kind);
    }
    changes
}

#[derive(Debug, Clone)]
enum Edit {
    Write { file: u8, length: u32 },
    Link { file: u8, target: u8 },
    HardLink { file: u8, other: u8 },
    Fifo(u8),
    Directory(u8),
    Remove(u8),
    RemoveFolder(u8),
    MoveFolder(u8),
    ExchangeFolders(u8, u8),
    Mode(u8, bool),
    Time(u8, u8),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let length = prop_oneof![4 => 0..3000u32, 1 => Just(1_300_000u32)];
    prop_oneof![
        6 => (0..30u8, length).prop_map(|(file, length)| Edit::Write { file, length }),
        1 => (0..30u8, 0..4u8).prop_map(|(file, target)| Edit::Link { file, target }),
        1 => (0..30u8, 0..30u8).prop_map(|(file, other)| Edit::HardLink { file, other }),
        1 => (0..30u8).prop_map(Edit::Fifo),
        1 => (0..30u8).prop_map(Edit::Directory),
        3 => (0..30u8).prop_map(Edit::Remove),
        1 => (0..4u8).prop_map(Edit::RemoveFolder),
        2 => (0..4u8).prop_map(Edit::MoveFolder),
        2 => (0..4u8, 0..4u8).prop_map(|(one, other)| Edit::ExchangeFolders(one, other)),
        1 => (0..30u8, any::<bool>()).prop_map(|(file, private)| Edit::Mode(file, private)),
        1 => (0..30u8, 0..3u8).prop_map(|(file, second)| Edit::Time(file, second)),
    ]
}

/// Makes way for something else at a path.
fn clear(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}

fn apply(root: &Path, edit: &Edit) {
    let folder = |number: u8| root.join(["a", "a/b", "a/b/c", "d"][usize::from(number % 4)]);
    let path = |file: u8| folder(file).join(format!("f{}", file / 4));
    match *edit {
        Edit::Write { file, length } => {
            clear(&path(file));
            let content: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(at) >> 7) as u8 ^ file).collect();
            fs::write(path(file), content).unwrap();
        }
        Edit::Link { file, target } => {
            clear(&path(file));
            symlink(format!("target{target}"), path(file)).unwrap();
        }
        Edit::HardLink { file, other } => {
            if file != other && path(other).is_file() && !path(other).is_symlink() {
                clear(&path(file));
                fs::hard_link(path(other), path(file)).unwrap();
            }
        }
        // What is moved is known again, and still new at its path.
        Edit::MoveFolder(number) => {
            let target = root.join("moved");
            if !target.exists() && folder(number).exists() {
                fs::rename(folder(number), target).unwrap();
            }
        }
        Edit::ExchangeFolders(one, other) => {
            let (one, other, between) = (folder(one), folder(other), root.join("between"));
            if one.exists() && other.exists() && !one.starts_with(&other) && !other.starts_with(&one) {
                fs::rename(&one, &between).unwrap();
                fs::rename(&other, &one).unwrap();
                fs::rename(&between, &other).unwrap();
            }
        }
        Edit::Fifo(file) => {
            clear(&path(file));
            let made = std::process::Command::new("mkfifo").arg(path(file)).status().unwrap();
            assert!(made.success());
        }
        Edit::Directory(file) => {
            clear(&path(file));
            fs::create_dir(path(file)).unwrap();
        }
        Edit::Remove(file) => clear(&path(file)),
        Edit::RemoveFolder(number) => {
            let _ = fs::remove_dir_all(folder(number));
        }
        Edit::Mode(file, private) => {
            if path(file).exists() {
                let mode = if private { 0o700 } else { 0o755 };
                fs::set_permissions(path(file), fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        Edit::Time(file, second) => {
            if fs::symlink_metadata(path(file)).is_ok() {
                set_mtime(&path(file), 1_000_000 + i64::from(second), 5);
            }
        }
    }
}

/// Every snapshot of the lineage says what differs from its parent.
fn check(computer: &Computer) -> usize {
    let archive = computer.archive();
    let all: Vec<_> =
        archive.snapshots(LineageId::from_bytes([1; 16])).map(|stored| stored.unwrap()).collect();
    let all: Vec<_> = all.iter().map(|stored| archive.open_snapshot(stored).unwrap()).collect();
    for snapshot in &all {
        let parent = snapshot.header.parent;
        let old = all.iter().find(|old| old.id == parent);
        assert_eq!(old.is_none(), parent == SnapshotId::ZERO);
        let old = old.map_or_else(Tree::default, |old| tree(&archive, old));
        let new = tree(&archive, snapshot);
        let said = snapshot.body.changes;
        let expected =
            Changes { bytes_new: said.bytes_new, bytes_stored: said.bytes_stored, ..compare(&old, &new) };
        assert_eq!(said, expected, "sequence {}", snapshot.header.sequence);
        assert!(old == new || said.bytes_stored > 0, "a tree that differs has a new root");
    }
    all.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_a_plain_comparison(
        steps in prop::collection::vec((prop::collection::vec(any_edit(), 1..25), any::<bool>()), 1..4)
    ) {
        let mut computer = Computer::new();
        let root = computer.path("source");
        apply(&root, &Edit::Write { file: 0, length: 7 });
        for (edits, in_parts) in steps {
            edits.iter().for_each(|edit| apply(&root, edit));
            // Without a pause, a partial snapshot follows each directory.
            computer.partial_every = if in_parts { Duration::ZERO } else { Duration::from_secs(600) };
            let report = computer.back_up();
            let archive = computer.archive();
            let newest = archive.source.snapshots(LineageId::from_bytes([1; 16]), u64::MAX, 1).unwrap();
            let newest = archive.open_snapshot(&newest[0]).unwrap();
            prop_assert_eq!(report.entries, newest.header.entries);
            if !report.is_unchanged {
                prop_assert_eq!(report.changes, newest.body.changes);
            } else {
                prop_assert_eq!(report.changes, Changes { bytes_new: report.changes.bytes_new, bytes_stored: report.changes.bytes_stored, ..Changes::default() });
            }
        }
        check(&computer);
    }
}

/// Partial snapshots count what is in their own tree, not what the scan has found.
///
/// A run that was long enough for one once failed, and so did all that followed: nodes that were held back until a bundle was full were not sent with
/// the tree that named them.
#[test]
fn partial_snapshots_count_their_own_tree() {
    const BIG: u32 = 900_000;
    let mut computer = Computer::new();
    let root = computer.path("source");
    (0..30).for_each(|file| apply(&root, &Edit::Write { file, length: 2000 }));
    // More than may wait in memory: so some of it is in the tree before all is found.
    let write_big = |seed: u32| {
        for number in 0..25 {
            let path = root.join(format!("big{number:02}/file"));
            clear(&path);
            let mut state = number + seed;
            let noise = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            fs::write(&path, noise.take(BIG as usize).collect::<Vec<_>>()).unwrap();
        }
    };
    write_big(0);
    computer.partial_every = Duration::ZERO;
    computer.back_up();
    apply(&root, &Edit::RemoveFolder(1));
    apply(&root, &Edit::Write { file: 3, length: 10 });
    write_big(1000);
    let Changes { new, changed, removed, bytes, .. } = computer.back_up().changes;
    // `a/b` and `a/b/c` are gone, with every second file.
    assert_eq!((removed.directories, removed.files), (2, 15));
    assert_eq!((changed.files, changed.directories, new.all()), (26, 0, 0));
    assert_eq!(bytes, u64::from(25 * BIG + 10));
    assert!(check(&computer) > 2, "there are partial snapshots");
}
