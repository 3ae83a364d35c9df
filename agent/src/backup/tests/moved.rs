//! Renamed directories: their files are neither read nor sent again, and the tree is what a backup from nothing makes of it.
//!
//! These need a file system that knows when files were made, as all usual ones do.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::write;
use crate::testing::Computer;

/// Directories of small files, one large, one with several names.
fn fill(folder: &Path, seed: u8) {
    for directory in 0..4u8 {
        for file in 0..25u8 {
            write(folder, &[(&format!("{directory}/deep/file {file}"), &[seed, directory, file])]);
        }
    }
    write(folder, &[("large", &vec![seed; 300_000])]);
    fs::hard_link(folder.join("0/deep/file 0"), folder.join("1/another name")).unwrap();
}

/// Makes a tree, backs it up, changes it, and backs it up again. So many bytes may be read.
#[track_caller]
fn check(make: impl Fn(&Path), change: impl Fn(&Path), bytes_read: u64) {
    let computer = Computer::new();
    let source = computer.path("source");
    make(&source);
    computer.back_up_settled();
    change(&source);
    let report = computer.back_up_settled();
    assert_eq!(report.bytes_read, bytes_read);
    computer.assert_is_as_fresh();
    // What was found by its old place is at home in the new one.
    let again = computer.back_up_settled();
    assert_eq!(
        (again.bytes_read, again.changes.new.all() + again.changes.changed.all(), again.is_unchanged),
        (0, 0, true)
    );
}

fn rename(folder: &Path, from: &str, to: &str) {
    fs::rename(folder.join(from), folder.join(to)).unwrap();
}

#[test]
fn a_renamed_directory_is_not_read() {
    for (from, to) in [("before", "zafter"), ("zbefore", "after")] {
        check(
            |source| fill(&source.join(from), 1),
            |source| {
                rename(source, from, to);
                // Its inode and its files' are as they were: nothing else tells that it was there before.
                assert!(!source.join(from).exists());
            },
            0,
        );
    }
}

#[test]
fn a_directory_moved_elsewhere_is_not_read() {
    check(
        |source| {
            fill(&source.join("a/b/c"), 1);
            fill(&source.join("x/y"), 2);
        },
        |source| {
            rename(source, "a/b/c", "x/y/c");
            // Where it came from may go.
            fs::remove_dir_all(source.join("a")).unwrap();
            fs::create_dir_all(source.join("new/deeper")).unwrap();
            rename(source, "x/y/0", "new/deeper/0");
        },
        0,
    );
}

#[test]
fn directories_that_change_places_are_not_read() {
    check(
        |source| {
            fill(&source.join("a"), 1);
            fill(&source.join("b"), 2);
        },
        |source| {
            rename(source, "a", "temporary");
            rename(source, "b", "a");
            rename(source, "temporary", "b");
        },
        0,
    );
}

#[test]
fn a_directory_moved_into_what_was_in_it_is_not_read() {
    check(
        |source| fill(&source.join("a/b"), 1),
        |source| {
            write(source, &[("a/own", b"")]);
            rename(source, "a/b", "b");
            rename(source, "a", "b/a");
        },
        0,
    );
}

#[test]
fn what_changed_in_a_renamed_directory_is_read() {
    check(
        |source| fill(&source.join("a"), 1),
        |source| {
            rename(source, "a", "b");
            write(source, &[("b/0/deep/file 7", b"1234"), ("b/0/deep/new", b"56"), ("b/3/new/x", b"7")]);
            fs::remove_file(source.join("b/1/deep/file 3")).unwrap();
            fs::remove_file(source.join("b/1/deep/file 4")).unwrap();
            write(source, &[("b/1/deep/file 4/is a directory now", b"8")]);
            // A directory with an old name that is another one, and one of its files with the old content.
            fs::remove_dir_all(source.join("b/2")).unwrap();
            write(source, &[("b/2/deep/file 0", &[1, 2, 0]), ("b/2/other", b"9")]);
        },
        4 + 2 + 1 + 1 + 3 + 1,
    );
}

#[test]
fn a_new_directory_at_the_old_place_is_read() {
    check(
        |source| fill(&source.join("a"), 1),
        |source| {
            rename(source, "a", "b");
            write(source, &[("a/0/deep/file 0", b"1"), ("a/large", b"2")]);
        },
        2,
    );
}

/// A copy has the names and the times, but not the inodes: it is read.
#[test]
fn a_copy_is_read() {
    check(
        |source| write(&source.join("a"), &[("x", b"123"), ("y/z", b"45")]),
        |source| {
            let run = Command::new("cp").arg("-a").args([source.join("a"), source.join("b")]).status();
            assert!(run.unwrap().success());
            fs::remove_dir_all(source.join("a")).unwrap();
        },
        5,
    );
}

/// What was outside of what is backed up is nowhere in the basis, however old it is.
#[test]
fn a_directory_from_outside_is_read() {
    check(
        |source| {
            fill(&source.join("a"), 1);
            write(source, &[("../outside/x", b"123")]);
        },
        |source| rename(source, "../outside", "inside"),
        3,
    );
}

/// A set that follows its root.
#[test]
fn a_renamed_root_is_not_read() {
    let computer = Computer::new();
    fill(&computer.path("source"), 1);
    computer.back_up_settled();
    rename(&computer.path("."), "source", "elsewhere");
    let (report, told) = computer.back_up_with("files", 1, &[&computer.path("elsewhere")], |_, basis| {
        basis.unwrap().compared_ns = i64::MAX;
    });
    assert_eq!((report.bytes_read, report.totals.files, told), (0, 102, Vec::new()));
}
