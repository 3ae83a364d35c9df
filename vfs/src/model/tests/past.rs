//! What became of files, as directories.

use tempfile::TempDir;

use super::*;
use crate::history::History;

/// A file with a time of its own.
fn timed(archive: &mut TestArchive, path: &ArchivePath, content: &[u8], second: i64) {
    let mtime = Time { seconds: second, nanoseconds: 0 };
    archive.add(path, Entry { mtime, ..Entry::new(Kind::File) }, &file(content));
}

struct World {
    snapshots: Snapshots,
    versions: Vec<Version>,
    archive: TestArchive,
    history: Arc<History>,
    _folder: TempDir,
}

/// Four versions: `/d/a.txt` is changed, touched, and changed back; `/d/b` and `/gone/deep/x` are there at first only; `/d/c` comes in the third.
fn world() -> World {
    let mut archive = TestArchive::new();
    let odd = unix("/d").join(b"n\xff").unwrap();
    let drive = ArchivePath::root(b"C:").unwrap();
    let mut versions = Vec::new();
    for sequence in 1..=4 {
        for path in ["/", "/d"] {
            archive.add(&unix(path), Entry::new(Kind::Directory), &[]);
        }
        archive.add(&drive, Entry::new(Kind::Directory), &[]);
        timed(&mut archive, &drive.join(b"win").unwrap(), b"win", 1);
        let (content, second): (&[u8], i64) =
            [(&b"one"[..], 1), (b"two", 2), (b"two", 3), (b"one", 4)][sequence as usize - 1];
        timed(&mut archive, &unix("/d/a.txt"), content, second);
        if sequence == 1 {
            timed(&mut archive, &unix("/d/b"), b"bee", 1);
            timed(&mut archive, &odd, b"odd", 1);
            for path in ["/gone", "/gone/deep"] {
                archive.add(&unix(path), Entry::new(Kind::Directory), &[]);
            }
            timed(&mut archive, &unix("/gone/deep/x"), b"ex", 1);
        }
        if sequence >= 3 {
            timed(&mut archive, &unix("/d/c"), b"sea", 3);
        }
        let root = archive.finish();
        versions.push(at(sequence, root));
    }
    let folder = TempDir::new().unwrap();
    let history = Arc::new(History::open(folder.path(), &archive.keys()).unwrap());
    let snapshots = snapshots(&archive, versions.clone());
    history.feed(snapshots.reader(), &versions, || true).unwrap();
    snapshots.set_history(Arc::clone(&history));
    World { snapshots, versions, archive, history, _folder: folder }
}

/// Names of a directory in the order of their bytes.
fn sorted(snapshots: &Snapshots, path: &str) -> Vec<Vec<u8>> {
    let found = find(snapshots, path).unwrap_or_else(|problem| panic!("{path}: {problem}"));
    let mut names: Vec<_> = list(snapshots, found.ino).into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

fn texts(snapshots: &Snapshots, path: &str) -> Vec<String> {
    sorted(snapshots, path).iter().map(|name| name.escape_ascii().to_string()).collect()
}

fn bytes_of(snapshots: &Snapshots, path: &str) -> Vec<u8> {
    content(snapshots, find(snapshots, path).unwrap().ino).unwrap()
}

const FIRST: &str = "1970-01-12_14-46-50";
const SECOND: &str = "1970-01-12_14-47-00";
const THIRD: &str = "1970-01-12_14-47-10";
const FOURTH: &str = "1970-01-12_14-47-20";

#[test]
fn history_has_every_content_of_a_file() {
    let world = world();
    let snapshots = &world.snapshots;
    assert_eq!(texts(snapshots, ".backstore/history"), ["C:", "d", "gone"]);
    assert_eq!(texts(snapshots, ".backstore/history/d"), ["a.txt", "b", "c", "n\\xff"]);
    let file = find(snapshots, ".backstore/history/d/a.txt").unwrap();
    assert_eq!(file.kind, FileKind::Directory);
    let listed: Vec<_> = list(snapshots, file.ino);
    let names: Vec<_> = listed.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    assert_eq!(names, [FOURTH, SECOND, FIRST].map(|version| format!("a ({version}).txt")), "newest first");
    for (version, expected) in [(FIRST, b"one"), (SECOND, b"two"), (FOURTH, b"one")] {
        let path = format!(".backstore/history/d/a.txt/a ({version}).txt");
        assert_eq!(bytes_of(snapshots, &path), expected);
        let there = find(snapshots, &format!("{version}/d/a.txt")).unwrap();
        assert_eq!(find(snapshots, &path).unwrap(), there, "the same file under another name");
    }
    assert_eq!(bytes_of(snapshots, &format!(".backstore/history/C:/win/win ({FIRST})")), b"win");
    for name in ["nothing", "a.txt/a.txt", "a.txt/a (1970-01-12_14-47-10).txt", "b/x", ".."] {
        let found = find(snapshots, &format!(".backstore/history/d/{name}"));
        assert!(matches!(found, Err(Problem::NotFoundYet)), "{name}");
    }
}

#[test]
fn deleted_has_the_last_version_of_what_is_gone() {
    let world = world();
    let snapshots = &world.snapshots;
    assert_eq!(texts(snapshots, ".backstore/deleted"), ["d", "gone"], "only ways to what is gone");
    assert_eq!(texts(snapshots, ".backstore/deleted/d"), ["b", "n\\xff"]);
    assert_eq!(texts(snapshots, ".backstore/deleted/gone"), ["deep"]);
    assert_eq!(bytes_of(snapshots, ".backstore/deleted/gone/deep/x"), b"ex");
    let there = find(snapshots, &format!("{FIRST}/d/b")).unwrap();
    assert_eq!(find(snapshots, ".backstore/deleted/d/b").unwrap(), there);
    for name in ["a.txt", "c", "d", ""] {
        assert!(matches!(
            find(snapshots, &format!(".backstore/deleted/d/{name}")),
            Err(Problem::NotFoundYet)
        ));
    }
}

#[test]
fn what_no_version_holds_any_more_is_not_shown() {
    let world = world();
    world.snapshots.set_versions(world.versions[1..].to_vec());
    let snapshots = &world.snapshots;
    assert_eq!(
        texts(snapshots, ".backstore/history/d/a.txt"),
        [SECOND, FOURTH].map(|version| format!("a ({version}).txt"))
    );
    assert!(texts(snapshots, ".backstore/deleted/d").is_empty());
    assert!(texts(snapshots, ".backstore/history/d/b").is_empty());
    // What began in a version that is gone is found in the next that still has it.
    world.snapshots.set_versions(vec![world.versions[2].clone()]);
    assert_eq!(texts(snapshots, ".backstore/history/d/a.txt"), ["a (1970-01-12_14-47-10).txt"]);
    assert_eq!(bytes_of(snapshots, ".backstore/history/d/a.txt/a (1970-01-12_14-47-10).txt"), b"two");
}

#[test]
fn changes_are_what_a_version_added_or_changed() {
    let world = world();
    let snapshots = &world.snapshots;
    let changes = ".backstore/changes";
    assert_eq!(texts(snapshots, changes), [FIRST, SECOND, THIRD, FOURTH]);
    let first = find(snapshots, &format!("{changes}/{FIRST}")).unwrap();
    let target = snapshots.read_link(first.ino, WAIT).unwrap();
    assert_eq!(target, format!("../../{FIRST}").as_bytes(), "it added everything");
    assert_eq!(texts(snapshots, &format!("{changes}/{SECOND}")), ["d"]);
    assert_eq!(texts(snapshots, &format!("{changes}/{SECOND}/d")), ["a.txt"]);
    assert_eq!(texts(snapshots, &format!("{changes}/{THIRD}/d")), ["a.txt", "c"]);
    let changed = find(snapshots, &format!("{changes}/{SECOND}/d/a.txt")).unwrap();
    assert_eq!(changed, find(snapshots, &format!("{SECOND}/d/a.txt")).unwrap());
    for path in ["x", "1970-01-12_14-46-51", &format!("{SECOND}/d/c"), &format!("{FOURTH}/d/c")] {
        assert!(matches!(find(snapshots, &format!("{changes}/{path}")), Err(Problem::NotFoundYet)), "{path}");
    }
    // Versions between that are gone leave their changes to the next one.
    snapshots.set_versions(vec![world.versions[0].clone(), world.versions[3].clone()]);
    assert_eq!(texts(snapshots, changes), [FIRST, FOURTH]);
    assert_eq!(texts(snapshots, &format!("{changes}/{FOURTH}/d")), ["a.txt", "c"]);
    assert_eq!(bytes_of(snapshots, &format!("{changes}/{FOURTH}/d/c")), b"sea");
}

#[test]
fn what_is_looked_for_is_found_in_the_newest_version_that_has_it() {
    let world = world();
    let snapshots = &world.snapshots;
    let found = |pattern: &str| {
        let ino = find(snapshots, &format!(".backstore/search/{pattern}")).unwrap().ino;
        let link = |(name, attributes): (Vec<u8>, Attributes)| {
            let target = snapshots.read_link(attributes.ino, WAIT).unwrap();
            assert_eq!(snapshots.lookup(ino, &name, WAIT).unwrap().attributes, attributes);
            (String::from_utf8_lossy(&name).into_owned(), String::from_utf8_lossy(&target).into_owned())
        };
        assert_eq!(list_in_steps(snapshots, ino, 1).unwrap(), list(snapshots, ino));
        list(snapshots, ino).into_iter().map(link).collect::<Vec<_>>()
    };
    let to = |name: &str, target: String| (name.to_owned(), format!("../../../{target}"));
    assert_eq!(found("*.TXT"), []);
    assert_eq!(found("*.txt"), [to("a.txt", format!("{FOURTH}/d/a.txt"))]);
    assert_eq!(found("x"), [to("x", format!("{FIRST}/gone/deep/x"))]);
    assert_eq!(found("{b,win}"), [to("b", format!("{FIRST}/d/b")), to("win", format!("{FOURTH}/C:/win"))]);
    assert_eq!(found("nothing*"), []);
    assert!(names_of_bytes(snapshots, find(snapshots, ".backstore/search").unwrap().ino).is_empty());
    for name in ["[", ".hidden", &"x".repeat(300)] {
        assert!(matches!(find(snapshots, &format!(".backstore/search/{name}")), Err(Problem::NotFoundYet)));
    }
    // A name that several files have.
    let mut archive = TestArchive::new();
    for path in ["/a", "/b", "/c"] {
        archive.add(&unix(path), Entry::new(Kind::Directory), &[]);
        timed(&mut archive, &unix(&format!("{path}/n.txt")), path.as_bytes(), 1);
    }
    let versions = vec![at(1, archive.finish())];
    let folder = TempDir::new().unwrap();
    let history = Arc::new(History::open(folder.path(), &archive.keys()).unwrap());
    let snapshots = super::snapshots(&archive, versions.clone());
    history.feed(snapshots.reader(), &versions, || true).unwrap();
    snapshots.set_history(history);
    assert_eq!(texts(&snapshots, ".backstore/search/n.*"), ["n.txt", "n~2.txt", "n~3.txt"]);
}

#[test]
fn every_directory_leads_to_its_history() {
    let world = world();
    let snapshots = &world.snapshots;
    let target = |path: &str| {
        let found = find(snapshots, path).unwrap();
        assert_eq!(found.kind, FileKind::Symlink);
        String::from_utf8(snapshots.read_link(found.ino, WAIT).unwrap()).unwrap()
    };
    assert_eq!(target(&format!("{FIRST}/.versions")), "../.backstore/history");
    assert_eq!(target(&format!("{FIRST}/d/.versions")), "../../.backstore/history/d");
    assert_eq!(target(&format!("{FIRST}/gone/deep/.deleted")), "../../../.backstore/deleted/gone/deep");
    assert_eq!(target("history"), ".backstore/history");
    assert_eq!(target("deleted"), ".backstore/deleted");
    let d = find(snapshots, &format!("{FIRST}/d")).unwrap();
    assert!(names_of_bytes(snapshots, d.ino).iter().all(|name| !name.starts_with(b".")), "not listed");
}

fn names_of_bytes(snapshots: &Snapshots, ino: Ino) -> Vec<Vec<u8>> {
    list(snapshots, ino).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn listings_of_the_past_continue_anywhere() {
    let world = world();
    let changes = format!("changes/{THIRD}/d");
    for path in ["history", "history/d", "history/d/a.txt", "deleted", "deleted/d", "changes", &changes] {
        let ino = find(&world.snapshots, &format!(".backstore/{path}")).unwrap().ino;
        let whole = list(&world.snapshots, ino);
        for at_once in [1, 2] {
            assert_eq!(list_in_steps(&world.snapshots, ino, at_once).unwrap(), whole, "{path}");
        }
        for (name, attributes) in whole {
            assert_eq!(world.snapshots.lookup(ino, &name, WAIT).unwrap().attributes, attributes);
        }
    }
}

#[test]
fn the_past_is_told_without_reading_a_version() {
    let world = world();
    let reader =
        ObjectReader::new(world.archive.source(), world.archive.keys(), &ReaderOptions::default()).unwrap();
    let snapshots = Snapshots::new(&reader, options_of_folder()).unwrap();
    snapshots.set_versions(world.versions.clone());
    snapshots.set_history(Arc::clone(&world.history));
    world.archive.source().take_calls();
    for path in ["history/d/a.txt", "deleted/d", "deleted/gone/deep"] {
        let ino = find(&snapshots, &format!(".backstore/{path}")).unwrap().ino;
        assert!(!list(&snapshots, ino).is_empty());
        let soon = snapshots.list(ino, 2, Wait::Not, &mut |_| true);
        assert!(matches!(soon, Err(Problem::NotInMemory)), "the index is on a disk");
    }
    assert_eq!(world.archive.source().take_calls().len(), 0);
}

#[test]
fn without_an_index_there_is_no_past() {
    let world = world();
    let snapshots = snapshots(&world.archive, world.versions.clone());
    for path in ["history", "deleted", "changes", ".backstore/history", ".backstore/changes"] {
        assert!(matches!(find(&snapshots, path), Err(Problem::NotFoundYet)), "{path}");
    }
    assert!(matches!(find(&snapshots, &format!("{FIRST}/.versions")), Err(Problem::NotFoundYet)));
    assert!(!names(&snapshots, Ino::ROOT).contains(&"history".to_owned()));
}
