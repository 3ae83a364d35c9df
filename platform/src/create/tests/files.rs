//! Making files of every name, replacing them, and going on with them.

use std::fs;
use std::io::{ErrorKind, Write};

use backstore_protocol::entry::Time;

use super::super::*;
use super::{folders, mode};
use crate::machine::{Machine, System};
use crate::testing::{child, make_fifo, ugly_names};
use crate::walk::stat_file;

#[test]
fn a_file_replaces_another_in_one_step_or_not_at_all() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(folder.path().join("target")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::write(path("file"), "old").unwrap();
    fs::create_dir(path("directory")).unwrap();
    let temporary = |content: &str| {
        let temporary = target.create_temporary(&System).unwrap();
        assert_eq!(mode(temporary.file()), 0o1600);
        temporary.file().write_all(content.as_bytes()).unwrap();
        temporary
    };
    assert_eq!(
        temporary("x").put_in_place(b"file", Existing::Keep).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "old");
    temporary("new").put_in_place(b"file", Existing::Replace).unwrap();
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "new");
    temporary("first").put_in_place(b"another", Existing::Keep).unwrap();
    assert!(temporary("x").put_in_place(b"directory", Existing::Replace).is_err());
    drop(temporary("x"));
    assert_eq!(names(), ["another", "directory", "file"]);
}

#[test]
fn a_taken_temporary_name_is_not_used() {
    /// Always the same, as no machine is.
    struct Stuck;
    impl Machine for Stuck {
        fn now_ms(&self) -> i64 {
            0
        }
        fn now(&self) -> Time {
            Time::default()
        }
        fn monotonic(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
        fn random(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }
    let (_folder, target) = folders();
    let _first = target.create_temporary(&Stuck).unwrap();
    assert_eq!(target.create_temporary(&Stuck).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn going_on_with_a_file_touches_no_other_name() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    fs::write(path("ours"), "half").unwrap();
    fs::hard_link(folder.path().join("outside/secret"), path("shared")).unwrap();
    make_fifo(&path("fifo"));
    fs::create_dir(path("directory")).unwrap();
    assert!(target.open_existing_file(b"ours").unwrap().is_some());
    for name in ["shared", "fifo", "directory"] {
        assert!(target.open_existing_file(name.as_bytes()).unwrap().is_none(), "{name}");
    }
    assert_eq!(target.open_existing_file(b"none").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn every_name_and_depth_can_be_made() {
    let (folder, target) = folders();
    for name in ugly_names() {
        drop(target.create_file(&name).unwrap());
        assert!(child(&folder.path().join("target"), &name).exists());
    }
    let name = [b'd'; 255];
    let mut deep = target.make_directory(b"deep").unwrap();
    let mut names = vec![&b"deep"[..]];
    for _ in 0..30 {
        deep = deep.make_directory(&name).unwrap();
        names.push(&name);
    }
    let file = deep.create_file(b"file").unwrap();
    let again = target.open_below(&names).unwrap();
    assert_eq!(again.stat(b"file").unwrap(), Some(stat_file(&file).unwrap()));
    let path = names.iter().fold(folder.path().join("target"), |path, name| child(&path, name));
    for links in [Links::Follow, Links::Refuse] {
        assert!(TargetDirectory::open(&path, links).unwrap().stat(b"file").unwrap().is_some());
    }
}

/// Archives the metadata of one file as the agent does, restores it, and archives that.
#[test]
fn what_was_left_out_is_counted() {
    let mut counts = LeftOutCounts::default();
    assert_eq!(counts.iter().count(), 0);
    for part in Part::ALL {
        counts.add(&LeftOut { part, name: None, reason: Reason::NotAsked });
    }
    counts.add(&LeftOut { part: Part::Xattr, name: None, reason: Reason::NotAsked });
    let mut twice = counts;
    twice.add_all(&counts);
    assert_eq!((twice.of(Part::Xattr), twice.of(Part::Owner), twice.iter().count()), (4, 2, Part::ALL.len()));
    assert!(Part::ALL.iter().enumerate().all(|(at, part)| *part as usize == at));
}
