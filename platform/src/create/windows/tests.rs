//! Restoring into real folders of Windows.

use std::fs;
use std::io::{ErrorKind, Write};

use backstore_protocol::entry::{Entry, Time};

use super::super::*;
use super::finish::READ_ONLY;
use super::*;
use crate::machine::System;
use crate::metadata::PrincipalIds;
use crate::walk::stat_file;

const USUAL: Policy = Policy {
    modes: Modes::Archived,
    owners: Owners::Current,
    xattrs: true,
    times: true,
    attributes: true,
    privileged: false,
};

fn target() -> (tempfile::TempDir, TargetDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let target = TargetDirectory::open(folder.path(), Links::Follow).unwrap();
    (folder, target)
}

#[test]
fn a_file_replaces_another_or_stays_away() {
    let (folder, target) = target();
    fs::write(folder.path().join("file"), "old").unwrap();
    target.make_directory(b"directory").unwrap();
    let temporary = |content: &str| {
        let temporary = target.create_temporary(&System).unwrap();
        temporary.file().write_all(content.as_bytes()).unwrap();
        temporary
    };
    assert!(temporary("x").put_in_place(b"file", Existing::Keep).is_err());
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "old");
    temporary("new").put_in_place(b"file", Existing::Replace).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "new");
    temporary("first").put_in_place(b"another", Existing::Keep).unwrap();
    assert!(temporary("x").put_in_place(b"directory", Existing::Replace).is_err());
    drop(temporary("x"));
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["another", "directory", "file"]);
}

#[test]
fn a_directory_that_is_restored_into_cannot_be_moved_away() {
    let (folder, target) = target();
    let below = target.make_directory(b"a").unwrap().make_directory(b"b").unwrap();
    assert!(fs::rename(folder.path().join(r"a\b"), folder.path().join("c")).is_err());
    below.create_file(b"file").unwrap();
    assert!(folder.path().join(r"a\b\file").exists());
    drop(below);
    fs::rename(folder.path().join(r"a\b"), folder.path().join("c")).unwrap();
}

#[test]
fn times_and_read_only_come_back_and_long_paths_are_no_limit() {
    let (_folder, target) = target();
    let mut below = target;
    for _ in 0..10 {
        below = below.make_directory(&[b'x'; 40]).unwrap();
    }
    let file = below.create_file(b"file").unwrap();
    let mtime = Time { seconds: 1_500_000_000, nanoseconds: 700 };
    let entry = Entry { mtime, attributes: READ_ONLY, ..Entry::new(Kind::File) };
    let wanted = Wanted { entry: &entry, xattrs: &[] };
    let left_out = finish_file(&file, &wanted, &USUAL, &mut PrincipalIds::default());
    assert!(left_out.is_empty(), "{left_out:?}");
    assert_eq!(stat_file(&file).unwrap().mtime, mtime);
    assert_eq!(stat_file(&file).unwrap().attributes & READ_ONLY, READ_ONLY);
    let directory = Entry { mtime, ..Entry::new(Kind::Directory) };
    let wanted = Wanted { entry: &directory, xattrs: &[] };
    assert!(finish_directory(&below, &wanted, &USUAL, &mut PrincipalIds::default()).is_empty());
    assert_eq!(below.as_directory().full_stat_self().unwrap().basic.mtime, mtime);
}

#[test]
fn names_do_not_leave_the_target() {
    let (_folder, target) = target();
    for name in [&b".."[..], b"a/b", br"..\x", b"C:", b"file:stream", b""] {
        assert!(target.create_file(name).is_err(), "{name:?}");
        assert!(target.make_directory(name).is_err(), "{name:?}");
    }
    assert_eq!(target.open_below(&[b"none"]).unwrap_err().kind(), ErrorKind::NotFound);
}
