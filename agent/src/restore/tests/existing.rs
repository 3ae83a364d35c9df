//! Files that are there already, paths, versions, filters, interruption.

use std::fs;

use super::*;
use crate::reading::ReadingError;
use crate::testing::{describe, set_mtime};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// A computer whose source has `report.pdf`, `same` and `folder/inner`, and a target in which all but `same` differ.
fn with_conflicts() -> Computer {
    let computer = Computer::new();
    let source = computer.path("source");
    fs::create_dir(source.join("folder")).unwrap();
    for (name, text) in [("report.pdf", "archived"), ("same", "same"), ("folder/inner", "archived too")] {
        fs::write(source.join(name), text).unwrap();
        set_mtime(&source.join(name), 1_500_000_000, 123);
    }
    std::os::unix::fs::symlink("nowhere", source.join("link")).unwrap();
    let target = computer.path("target/source");
    fs::create_dir_all(target.join("folder")).unwrap();
    for (name, text) in
        [("report.pdf", "mine"), ("same", "same"), ("folder/inner", "mine too"), ("link", "a file")]
    {
        fs::write(target.join(name), text).unwrap();
    }
    set_mtime(&target.join("same"), 1_500_000_000, 123);
    computer
}

#[test]
fn existing_files_are_kept_and_the_others_get_a_date() {
    let computer = with_conflicts();
    for again in [0, 1] {
        let (report, told) = there_and_back(&computer, &How::default());
        assert_eq!(told, Vec::<String>::new());
        let target = computer.path("target/source");
        assert_eq!(
            names(&target),
            [
                "folder",
                "link",
                "link (2026-11-22 14-30-05)",
                "report (2026-11-22 14-30-05).pdf",
                "report.pdf",
                "same"
            ]
        );
        assert_eq!(read(&target.join("report.pdf")), "mine");
        assert_eq!(read(&target.join("report (2026-11-22 14-30-05).pdf")), "archived");
        assert_eq!(read(&target.join("folder/inner")), "mine too");
        assert_eq!(read(&target.join("folder/inner (2026-11-22 14-30-05)")), "archived too");
        let expected = if again == 0 { (2, 1, 3, 1) } else { (0, 0, 0, 4) };
        assert_eq!((report.files, report.others, report.renamed, report.present), expected);
    }
}

#[test]
fn existing_files_are_replaced_or_left_alone() {
    let computer = with_conflicts();
    let target = computer.path("target/source");
    let (report, told) = there_and_back(&computer, &How { existing: Existing::Skip, ..How::default() });
    assert_eq!((report.files, report.skipped, report.present, told.len()), (0, 3, 1, 0));
    assert_eq!(read(&target.join("report.pdf")), "mine");
    fs::create_dir(target.join("x")).unwrap();
    let (report, told) = there_and_back(&computer, &How { existing: Existing::Overwrite, ..How::default() });
    assert_eq!((report.files, report.others, report.replaced, told.len()), (2, 1, 3, 0));
    assert_eq!(names(&target), ["folder", "link", "report.pdf", "same", "x"], "what is not archived stays");
    fs::remove_dir(target.join("x")).unwrap();
    set_mtime(&target, fs_seconds(&computer.path("source")).0, fs_seconds(&computer.path("source")).1);
    assert_eq!(describe(&target), describe(&computer.path("source")));
}

fn fs_seconds(path: &Path) -> (i64, u32) {
    use std::os::unix::fs::MetadataExt;
    let found = fs::symlink_metadata(path).unwrap();
    (found.mtime(), found.mtime_nsec() as u32)
}

/// A directory is no file, and the other way round.
#[test]
fn a_directory_is_never_replaced_by_a_file() {
    let computer = Computer::new();
    fs::write(computer.path("source/a"), "file").unwrap();
    fs::create_dir(computer.path("source/b")).unwrap();
    fs::write(computer.path("source/b/in"), "x").unwrap();
    let target = computer.path("target/source");
    fs::create_dir_all(target.join("a")).unwrap();
    fs::write(target.join("a/mine"), "mine").unwrap();
    fs::write(target.join("b"), "mine").unwrap();
    let (report, told) = there_and_back(&computer, &How { existing: Existing::Overwrite, ..How::default() });
    assert_eq!((report.errors, told.len()), (1, 1), "{told:?}");
    assert!(told[0].contains("never replaced"), "{told:?}");
    assert_eq!(read(&target.join("a/mine")), "mine");
    assert_eq!(read(&target.join("b/in")), "x");
}

#[test]
fn an_interrupted_restore_is_finished_by_the_next() {
    let computer = Computer::new();
    for number in 0..900 {
        let folder = computer.path(&format!("source/{}", number % 7));
        let _ = fs::create_dir(&folder);
        fs::write(folder.join(number.to_string()), vec![b'x'; number * 10]).unwrap();
    }
    fs::write(computer.path("source/large"), vec![7; 3 << 20]).unwrap();
    fs::hard_link(computer.path("source/1/1"), computer.path("source/6/link")).unwrap();
    for number in 0..7 {
        set_mtime(&computer.path(&format!("source/{number}")), 1_400_000_000, 5);
    }
    let how = How { interrupted_after: 200, ..How::default() };
    let (report, told) = there_and_back(&computer, &how);
    assert_eq!((report.ended, told.len(), report.errors), (Some(Ended::Interrupted), 0, 0));
    assert!(report.files < 902, "{report:?}");
    let (again, told) = there_and_back(&computer, &How::default());
    assert_eq!((again.ended, told.len(), again.renamed), (None, 0, 0));
    assert_eq!(again.present, report.files);
    assert_eq!(again.files + again.present, 902);
    assert_eq!(describe(&computer.path("target/source")), describe(&computer.path("source")));
}

/// What a killed process leaves: files and directories without their metadata.
#[test]
fn what_was_begun_is_recognised_and_made_whole() {
    use std::os::unix::fs::PermissionsExt;
    let computer = Computer::new();
    fs::create_dir(computer.path("source/folder")).unwrap();
    fs::write(computer.path("source/folder/file"), "whole content").unwrap();
    let target = computer.path("target/source");
    fs::create_dir_all(target.join("folder")).unwrap();
    fs::write(target.join("folder/file"), "whole").unwrap();
    let mark = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mark(&target.join("folder/file"), 0o1600);
    mark(&target.join("folder"), 0o1700);
    mark(&target, 0o1700);
    let (report, told) = there_and_back(&computer, &How::default());
    assert_eq!((report.files, report.renamed, report.directories, told.len()), (1, 0, 2, 0));
    assert_eq!(describe(&target), describe(&computer.path("source")));
}

#[test]
fn filters_choose_and_make_no_directory_in_vain() {
    let computer = Computer::new();
    for name in ["a/x.txt", "a/y.bin", "b/z.bin", "c/d/w.txt", "c/keep/1", "c/keep/2.tmp"] {
        let path = computer.path("source").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let how = How {
        include: vec!["*.txt".to_owned(), "keep/".to_owned()],
        exclude: vec!["*.tmp".to_owned()],
        ..How::default()
    };
    let preview = there_and_back(
        &computer,
        &How {
            is_dry_run: true,
            include: how.include.clone(),
            exclude: how.exclude.clone(),
            ..How::default()
        },
    )
    .0;
    assert!(!computer.path("target/source").exists());
    let (report, _) = there_and_back(&computer, &how);
    let target = computer.path("target/source");
    assert_eq!((report.files, preview.files), (3, 3));
    assert_eq!(names(&target), ["a", "c"]);
    assert_eq!(names(&target.join("a")), ["x.txt"]);
    assert_eq!(names(&target.join("c/keep")), ["1"]);
}

#[test]
fn paths_and_versions_that_are_not_there_are_said_with_what_is() {
    let computer = Computer::new();
    fs::create_dir(computer.path("source/Documents")).unwrap();
    fs::write(computer.path("source/Documents/report"), "1").unwrap();
    computer.back_up();
    let archive = computer.archive();
    let ask = |request: &Request| select(&archive, request, 1_800_000_000_000);
    let path = |name: &str| Request { paths: vec![computer.path(name)], ..Request::default() };
    let error = ask(&path("source/documents/report")).unwrap_err().to_string();
    assert!(
        error.contains("\"documents\" is not in") && error.contains("nearest are \"Documents\""),
        "{error}"
    );
    let error = ask(&Request { set: Some("x".to_owned()), ..Request::default() }).unwrap_err().to_string();
    assert!(error.contains("there are: files (of computer)"), "{error}");
    let error = ask(&Request { at: Some("1999-01-01".to_owned()), ..Request::default() }).unwrap_err();
    assert!(matches!(error, RestoreError::Reading(ReadingError::NoSuchVersion { .. })), "{error}");
    let found = ask(&path("source/Documents/report")).unwrap();
    // The same path as a mount shows it.
    let version = found.date().replacen(' ', "_", 1);
    let pasted = Path::new("/backstore")
        .join(&version)
        .join(computer.path("source/Documents").strip_prefix("/").unwrap());
    let by_mount = ask(&Request { paths: vec![pasted.clone()], ..Request::default() }).unwrap();
    assert_eq!(by_mount.version.id, found.version.id);
    assert_eq!(by_mount.paths[0].name(), b"Documents");
    let both = Request { paths: vec![pasted], at: Some("latest".to_owned()), ..Request::default() };
    assert!(matches!(ask(&both), Err(RestoreError::Usage(_))));
}

#[test]
fn the_set_is_the_one_that_has_the_path() {
    let computer = Computer::new();
    fs::create_dir(computer.path("other")).unwrap();
    fs::write(computer.path("other/file"), "1").unwrap();
    computer.back_up();
    computer.back_up_roots("others", 2, &[&computer.path("other")]);
    let archive = computer.archive();
    let ask = |request: Request| select(&archive, &request, 0);
    let found = ask(Request { paths: vec![computer.path("other/file")], ..Request::default() }).unwrap();
    assert_eq!(found.lineage.head.body.set, "others");
    let error = ask(Request::default()).unwrap_err();
    assert!(
        matches!(&error, RestoreError::Reading(ReadingError::WhichSet { known }) if known.contains("files") && known.contains("others")),
        "{error}"
    );
}

/// Everything goes under its full path, with the directories above the roots as they were.
#[test]
fn everything_keeps_its_full_path() {
    let computer = Computer::new();
    fs::write(computer.path("source/file"), "1").unwrap();
    computer.back_up();
    let archive = computer.archive();
    let selected = select(&archive, &Request::default(), 0).unwrap();
    assert!(selected.is_everything);
    let items = items_at_full_path(&selected.paths, &[]);
    let target = computer.path("target");
    let (report, told) = restore_items(selected.view(&archive), items, &target, &How::default());
    assert_eq!((report.files, report.errors, told.len()), (1, 0, 0));
    let restored = target.join(computer.path("source").strip_prefix("/").unwrap());
    assert_eq!(describe(&restored), describe(&computer.path("source")));
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode(restored.parent().unwrap()), mode(&computer.path("")));
}
