//! What counts as unchanged, and what is read all the same.

use std::fs;
use std::time::Duration;

use super::write;
use crate::scan::Exclusions;
use crate::testing::Computer;

fn computer() -> Computer {
    let computer = Computer::new();
    write(&computer.path("source"), &[("a/small", b"123456"), ("b/large", &[7; 200_000]), ("c/empty", b"")]);
    computer.back_up();
    computer
}

/// A file that was changed in the last moment before a scan, or during it, may have been changed again in the same tick of the clock.
#[test]
fn what_is_younger_than_the_scan_is_read_again() {
    let computer = computer();
    let run = |compared_ns| {
        let source = computer.path("source");
        let (report, told) = computer.back_up_with("files", 1, &[&source], |_, basis| {
            basis.unwrap().compared_ns = compared_ns;
        });
        assert_eq!(told, Vec::<String>::new());
        assert!(report.is_unchanged);
        assert_eq!(report.changes.new.all() + report.changes.changed.all(), 0);
        report.bytes_read
    };
    assert_eq!(run(0), 200_006);
    assert_eq!(run(i64::MAX), 0);
}

#[test]
fn every_file_is_read_again_in_a_period() {
    let computer = computer();
    let run = |every| {
        let source = computer.path("source");
        let (report, _) = computer.back_up_with("files", 1, &[&source], |plan, basis| {
            let basis = basis.unwrap();
            // Clean, and compared a minute ago.
            basis.compared_ns = i64::MAX;
            plan.reread_every = every;
        });
        (report.bytes_read, report.is_unchanged)
    };
    assert_eq!(run(None), (0, true));
    assert_eq!(run(Some(Duration::from_secs(1))), (0, true), "the clock went back");
    let source = computer.path("source");
    let (report, _) = computer.back_up_with("files", 1, &[&source], |plan, _| {
        plan.reread_every = Some(Duration::from_nanos(1));
    });
    assert_eq!((report.bytes_read, report.is_unchanged), (200_006, true));
}

/// A directory that cannot be sorted keeps what the basis has of it, and is named.
#[test]
fn a_directory_that_cannot_be_listed_keeps_its_files() {
    let mut computer = computer();
    fs::write(computer.path("source/a/second with a long name"), b"new").unwrap();
    fs::write(computer.path("source/c/new"), b"new").unwrap();
    fs::write(computer.path("file"), b"").unwrap();
    computer.sort_bytes_max = 30;
    let source = computer.path("source");
    let (report, told) = computer.back_up_with("files", 1, &[&source], |plan, _| {
        plan.rules.sort_room.folder = computer.path("file");
    });
    // The names of `a` do not fit, those of others do.
    assert_eq!((report.changes.removed.all(), report.totals.errors, told.len()), (0, 1, 1));
    assert!(told.iter().any(|line| line.contains("/source/a: its files cannot be listed")), "{told:?}");
    assert!(told.iter().any(|line| line.contains(&computer.path("file").display().to_string())), "{told:?}");
    let (report, told) = computer.back_up_with("files", 1, &[&source], |_, _| {});
    assert_eq!((report.totals.files, report.changes.removed.all(), told), (5, 0, Vec::new()));
}

/// Whoever excludes a folder is told of all that was in it, not of the folder alone.
#[test]
fn what_is_newly_excluded_is_counted_whole() {
    let computer = Computer::new();
    write(
        &computer.path("source"),
        &[("keep/x", b"1"), ("node/deep/x", b"2"), ("node/y", b"3"), ("nodes/z", b"4")],
    );
    computer.back_up();
    let source = computer.path("source");
    let (report, told) = computer.back_up_with("files", 1, &[&source], |plan, _| {
        plan.rules.exclusions = Exclusions::new(["node/"], &[]).unwrap();
    });
    assert_eq!(report.changes.removed.all(), 4);
    assert_eq!(told, ["4 files that were backed up before are now excluded; earlier snapshots keep them"]);
}
