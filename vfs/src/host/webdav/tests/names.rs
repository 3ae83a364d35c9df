//! Names, links, and directories that are too large.

use std::collections::{HashMap, HashSet};

use backstore_protocol::ids::LineageId;
use proptest::prelude::*;

use super::super::names;
use super::*;
use crate::model::{BackupSet, OpenSet};
use crate::random_tree::{File, any_tree, build};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_file_is_served_under_the_name_it_is_listed_by(mut files in any_tree()) {
        let mut archive = TestArchive::fine();
        let root = build(&mut archive, &mut files);
        let served = served(&archive, root);
        let expected: HashMap<Vec<u8>, _> = files.iter().map(|file| (file.path.key(), file)).collect();
        let mut found = HashSet::new();
        let mut directories = vec![(TOP.to_owned(), ArchivePath::unix_root())];
        while let Some((shown, path)) = directories.pop() {
            let listed = served.list(&shown);
            let mut folded: Vec<_> = listed.keys().map(|name| names::folded(name)).collect();
            folded.sort();
            folded.dedup();
            prop_assert_eq!(folded.len(), listed.len(), "one name for two on Windows: {:?}", listed);
            for (name, is_directory) in listed {
                let below = format!("{shown}/{name}");
                // No two of a random tree collide but by case, so that the archived name can be told.
                let raw = names::archived(&name).unwrap();
                let path = path.join(&raw).unwrap();
                let Some(file) = expected.get(&path.key()) else {
                    prop_assert!(name.contains("~2"), "{}", name);
                    continue;
                };
                prop_assert_eq!(file.entry.kind.is_directory(), is_directory);
                found.insert(path.key());
                if is_directory {
                    directories.push((below, path));
                } else {
                    let answer = served.get(&below);
                    prop_assert_eq!((answer.status, answer.is_whole), (200, true), "{}", below);
                    prop_assert!(answer.body == file.bytes(), "{}", below);
                }
            }
        }
        let is_file = |file: &&File| file.path.depth() > 0 && file.entry.kind == Kind::File;
        for file in files.iter().filter(is_file) {
            // What lies below a directory with another name is walked as well, but under that name.
            let is_renamed = above(&file.path).any(|path| has_twin(&files, &path));
            prop_assert!(is_renamed || found.contains(&file.path.key()), "{:?} is not there", file.path);
        }
    }
}

/// A path and all above it but the root.
fn above(path: &ArchivePath) -> impl Iterator<Item = ArchivePath> {
    std::iter::successors(Some(path.clone()), ArchivePath::parent).take_while(|path| path.depth() > 0)
}

/// Whether its directory has another name that differs in case only.
fn has_twin(files: &[File], path: &ArchivePath) -> bool {
    let place = |path: &ArchivePath| (path.parent(), names::folded(&names::shown(path.name())));
    files
        .iter()
        .any(|other| other.path.depth() > 0 && other.path != *path && place(&other.path) == place(path))
}

#[test]
fn names_that_differ_in_case_are_told_apart() {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    for (name, content) in [
        ("Makefile", "1"),
        ("makefile", "2"),
        ("MAKEFILE", "3"),
        ("a.Txt", "4"),
        ("A.txt", "5"),
        ("A~2.txt", "6"),
    ] {
        file(&mut archive, name, content.as_bytes());
    }
    let root = archive.finish();
    let served = served(&archive, root);
    let expected = [
        ("A.txt", "5"),
        ("A~2.txt", "6"),
        ("MAKEFILE", "3"),
        ("Makefile~2", "1"),
        ("a~3.Txt", "4"),
        ("makefile~3", "2"),
    ];
    let listed = served.list(TOP);
    assert_eq!(listed.into_keys().collect::<Vec<_>>(), expected.map(|(name, _)| name));
    for (name, content) in expected {
        assert_eq!(served.get(&format!("{TOP}/{name}")).text(), content, "{name}");
    }
    for other in ["Makefile", "makefile", "a.Txt", "makefile~2"] {
        assert_eq!(served.get(&format!("{TOP}/{other}")).status, 404, "{other} is listed under another name");
    }
}

#[test]
fn links_are_shown_as_what_they_lead_to() {
    let mut archive = TestArchive::new();
    for path in ["/", "/d", "/d/e"] {
        directory(&mut archive, path);
    }
    file(&mut archive, "/d/e/file", b"content");
    archive.add(&unix("/fifo"), Entry::new(Kind::Fifo), &[]);
    for (path, target) in [
        ("/to-file", "d/e/file"),
        ("/d/up", "../to-file"),
        ("/d/absolute", "/d/./e//file"),
        ("/d/e/around", "../../d/up"),
        ("/to-directory", "d"),
        ("/d/e/to-top", "../.."),
        ("/self", "self"),
        ("/a-loop", "b-loop"),
        ("/b-loop", "./a-loop"),
        ("/nowhere", "d/x"),
        ("/out", "../README.txt"),
        ("/d/out", "../../latest/d/e/file"),
        ("/through-file", "d/e/file/x"),
        ("/to-fifo", "fifo"),
    ] {
        link(&mut archive, path, target);
    }
    // One link more than are followed.
    for number in 0..=40 {
        let target = if number == 0 { "d/e/file".to_owned() } else { format!("chain-{:02}", number - 1) };
        link(&mut archive, &format!("/chain-{number:02}"), &target);
    }
    let root = archive.finish();
    let served = served(&archive, root);
    let mut expected: BTreeMap<_, _> =
        [("d", true), ("to-file", false)].map(|(name, is)| (name.to_owned(), is)).into();
    expected.extend((0..40).map(|number| (format!("chain-{number:02}"), false)));
    assert_eq!(served.list(TOP), expected);
    assert_eq!(served.list(&format!("{TOP}/d")).into_keys().collect::<Vec<_>>(), ["absolute", "e", "up"]);
    for path in
        ["to-file", "d/up", "d/absolute", "d/e/around", "chain-39", "to-directory/e/file", "to-directory/up"]
    {
        let answer = served.get(&format!("{TOP}/{path}"));
        assert_eq!((answer.status, &*answer.text()), (200, "content"), "{path}");
    }
    // Found by name, listed nowhere: a tree without an end would be copied for ever.
    assert_eq!(served.get(&format!("{TOP}/d/e/to-top/d/e/to-top/to-file")).text(), "content");
    for path in
        ["self", "a-loop", "b-loop", "nowhere", "out", "d/out", "through-file", "to-fifo", "fifo", "chain-40"]
    {
        assert_eq!(served.get(&format!("{TOP}/{path}")).status, 404, "{path}");
    }
}

#[test]
fn made_up_links_are_directories() {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    file(&mut archive, "/x", b"of the version");
    let root = archive.finish();
    let served = served(&archive, root);
    let listed = served.list("");
    let expected = [(TOP, true), ("README.txt", false), ("by-time", true), ("latest", true)];
    assert_eq!(listed, expected.map(|(name, is)| (name.to_owned(), is)).into());
    let day = "by-time/2001/2001-09/2001-09-09";
    assert_eq!(served.list(day).into_keys().collect::<Vec<_>>(), ["01-46-41"]);
    // Times and beginnings of ids are found as they are typed.
    for place in ["latest", &format!("{day}/01-46-41"), "2001-09-09", "2001-09-09T01:46:41Z", "01010101"] {
        assert_eq!(served.get(&format!("{place}/x")).text(), "of the version", "{place}");
    }
    assert!(served.get("README.txt").text().contains("latest"));
    assert!(served.get(".backstore/status.json").text().contains("\"format\": 1"));
    // It shows new versions at once.
    served.handle.set_versions(vec![version(1, root), version(2, root)]);
    assert_eq!(served.list("").len(), 5);
    assert_eq!(served.get("2001-09-09_01-46-42/x").status, 200);
}

/// Who walks the tree comes to an end: the mounted set, which `sets` has a link to, is found there and not listed.
#[test]
fn the_mounted_set_is_not_listed_below_itself() {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    file(&mut archive, "/x", b"of the version");
    let root = archive.finish();
    let served = served(&archive, root);
    let set = |number: u8, name: &str| BackupSet {
        lineage: LineageId::from_bytes([number; 16]),
        name: name.to_owned(),
        device: "laptop".to_owned(),
        ..BackupSet::default()
    };
    // The mounted one has the lineage of nothing else.
    let mounted = BackupSet { lineage: LineageId::ZERO, ..set(0, "main") };
    served.handle.model.set_sets(vec![mounted, set(2, "other")], &(Arc::new(|_| Ok(())) as OpenSet));
    assert_eq!(served.list("sets").into_keys().collect::<Vec<_>>(), ["laptop"]);
    assert_eq!(served.list("sets/laptop").into_keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(served.get("sets/laptop/main/latest/x").text(), "of the version");
    assert_eq!(served.list("sets/laptop/other").into_keys().collect::<Vec<_>>(), ["README.txt", "by-time"]);
}

#[test]
fn a_directory_that_is_too_large_says_so() {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    directory(&mut archive, "/d");
    let name = |number: usize| format!("f{number:03}");
    for number in 0..30 {
        file(&mut archive, &format!("/d/{}", name(number)), &[number as u8]);
    }
    file(&mut archive, "/d/F000", b"listed");
    file(&mut archive, "/d/f000~2", b"not listed: after f000 and more than ten");
    file(&mut archive, "/d/zz", b"last");
    let root = archive.finish();
    let few = WebdavOptions { listed_max: 10, ..options() };
    let served = serve_with(&archive, root, &few, &ReaderOptions::default());
    let listed = served.list(&format!("{TOP}/d"));
    let mut expected =
        vec!["F000".to_owned(), "README - not all is listed.txt".to_owned(), "f000~3".to_owned()];
    expected.insert(2, "f000~2".to_owned());
    expected.extend((1..=7).map(name));
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!(listed.into_keys().collect::<Vec<_>>(), sorted);
    let notice = served.get(&format!("{TOP}/d/README - not all is listed.txt"));
    assert_eq!((notice.status, notice.is_whole), (200, true));
    for word in ["more entries", "backstore ls", "backstore restore"] {
        assert!(notice.text().contains(word), "{}", notice.text());
    }
    for number in 8..30 {
        assert_eq!(served.get(&format!("{TOP}/d/{}", name(number))).body, [number as u8]);
    }
    assert_eq!(served.get(&format!("{TOP}/d/zz")).text(), "last");
    assert_eq!(served.get(&format!("{TOP}/d/f000~3")).body, [0]);
    assert_eq!(
        served.get(&format!("{TOP}/README - not all is listed.txt")).status,
        404,
        "all is listed there"
    );
}

#[test]
fn windows_is_told_of_fewer_entries() {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/");
    let long = |number: usize| format!("{number:04} a name of some length.docx");
    for number in 0..1500 {
        file(&mut archive, &format!("/{}", long(number)), b"x");
    }
    let root = archive.finish();
    let served = served(&archive, root);
    let windows = ("User-Agent", "Microsoft-WebDAV-MiniRedir/10.0.22631");
    let answer = served.ask("PROPFIND", TOP, &[("Depth", "1"), windows], "");
    assert_eq!((answer.status, answer.is_whole, answer.hrefs().len()), (207, true, 1 + 1 + 1000));
    assert!(answer.body.len() < 1_000_000, "{} bytes, which it does not take", answer.body.len());
    assert!(answer.text().contains("README"));
    assert_eq!(served.get(&format!("{TOP}/README - not all is listed.txt")).status, 200);
    assert_eq!(served.list(TOP).len(), 1500, "all others are told of all");
    assert_eq!(served.get(&format!("{TOP}/{}", long(1499))).text(), "x");
}
