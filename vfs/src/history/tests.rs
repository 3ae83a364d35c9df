//! The index against what the versions themselves say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstore_protocol::entry::Kind;
use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::tree::Root;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::change::Change;
use crate::model::Version;
use crate::objects::{ObjectReader, ReaderOptions};
use crate::test_archive::{Part, TestArchive};

/// Paths below `/`, and what is there: nothing for a directory, else a content.
type Tree = BTreeMap<Vec<&'static str>, Option<u8>>;

fn any_version() -> impl Strategy<Value = Tree> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let path = prop::collection::vec(name, 1..4);
    prop::collection::vec((path, prop::option::weighted(0.7, 0..3u8)), 0..12).prop_map(|files| {
        let mut tree = Tree::new();
        for (path, content) in files {
            // What is above something is a directory.
            let above = |depth: usize| path[..depth].to_vec();
            if (1..path.len()).any(|depth| tree.get(&above(depth)).is_some_and(Option::is_some))
                || tree.keys().any(|other| other.len() > path.len() && other.starts_with(&path))
            {
                continue;
            }
            (1..path.len()).for_each(|depth| _ = tree.insert(above(depth), None));
            tree.insert(path, content);
        }
        tree
    })
}

fn path_of(names: &[&str]) -> ArchivePath {
    names.iter().fold(ArchivePath::unix_root(), |path, name| path.join(name.as_bytes()).unwrap())
}

fn build(archive: &mut TestArchive, tree: &Tree) -> Root {
    archive.add(&ArchivePath::unix_root(), Entry::new(Kind::Directory), &[]);
    let mut paths: Vec<_> = tree.iter().map(|(names, content)| (path_of(names), content)).collect();
    paths.sort_by_key(|(path, _)| path.key());
    for (path, content) in paths {
        match content {
            None => archive.add(&path, Entry::new(Kind::Directory), &[]),
            Some(content) => archive.add(&path, Entry::new(Kind::File), &[Part::Data(vec![*content; 9])]),
        }
    }
    archive.finish()
}

fn version(sequence: u64, root: Root) -> Version {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&sequence.to_be_bytes());
    Version {
        id: SnapshotId::from_bytes(id),
        lineage: LineageId::from_bytes([5; 16]),
        sequence,
        started_at: 1000 * sequence as i64,
        received_at: 1000 * sequence as i64,
        zone: "UTC".into(),
        root,
        is_partial: false,
        entries: 0,
        bytes: 0,
        tags: Box::default(),
    }
}

struct World {
    archive: TestArchive,
    reader: Arc<ObjectReader>,
    versions: Vec<Version>,
    folder: TempDir,
}

impl World {
    fn new(trees: &[Tree]) -> Self {
        let mut archive = TestArchive::new();
        let roots: Vec<_> = trees.iter().map(|tree| build(&mut archive, tree)).collect();
        let versions = roots.into_iter().zip(1..).map(|(root, at)| version(10 * at, root)).collect();
        let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
        Self { archive, reader, versions, folder: TempDir::new().unwrap() }
    }

    fn open(&self) -> History {
        History::open(&self.folder.path().join("index"), &self.archive.keys()).unwrap()
    }

    fn feed(&self, history: &History) -> u64 {
        history.feed(&self.reader, &self.versions, || true).unwrap().versions
    }
}

/// What became of a path, from the trees: the contents it had, with the sequences from which on.
fn states_of(trees: &[Tree], path: &[&str]) -> Vec<(u64, Option<u8>)> {
    let mut states: Vec<(u64, Option<u8>)> = Vec::new();
    for (tree, at) in trees.iter().zip(1..) {
        let content = tree.get(path).copied().flatten();
        if states.last().map_or(content.is_some(), |(_, last)| *last != content) {
            states.push((10 * at, content));
        }
    }
    states
}

/// The same with directories.
fn check_all_kinds(found: &[PastState], trees: &[Tree], path: &[&str]) {
    let found: Vec<_> = found
        .iter()
        .map(|state| (state.sequence, state.entry.as_ref().map(|entry| entry.kind.is_directory())))
        .collect();
    let mut expected: Vec<(u64, Option<Option<u8>>)> = Vec::new();
    for (tree, at) in trees.iter().zip(1..) {
        let what = tree.get(path).copied();
        if expected.last().map_or(what.is_some(), |(_, last)| *last != what) {
            expected.push((10 * at, what));
        }
    }
    let expected: Vec<_> =
        expected.into_iter().map(|(at, what)| (at, what.map(|content| content.is_none()))).collect();
    assert_eq!(found, expected, "{path:?}");
}

/// What the index says, checked against the trees.
fn check(history: &History, trees: &[Tree]) {
    let all: BTreeSet<_> = trees.iter().flat_map(|tree| tree.keys().cloned()).collect();
    let is_gone = |path: &Vec<&'static str>| {
        let was_file = trees.iter().any(|tree| tree.get(path).is_some_and(Option::is_some));
        was_file && !trees.last().is_some_and(|tree| tree.get(path).is_some_and(Option::is_some))
    };
    for path in &all {
        let joined = path_of(path);
        let states = history.file_states(joined.joined()).unwrap();
        let found: Vec<_> = states
            .iter()
            .map(|state| {
                let entry = state.entry.as_ref();
                assert!(entry.is_none_or(|entry| entry.size == 9));
                (state.sequence, entry.is_some())
            })
            .collect();
        let expected = states_of(trees, path);
        let there: Vec<_> =
            expected.iter().map(|(sequence, content)| (*sequence, content.is_some())).collect();
        assert_eq!(found, there, "{path:?}");
        check_all_kinds(&history.states(joined.joined()).unwrap(), trees, path);
        for (state, other) in states.iter().zip(&states[1.min(states.len())..]) {
            assert!(Change::of(state.entry.as_ref(), other.entry.as_ref()).is_some());
        }
    }
    let mut directories: Vec<Vec<&'static str>> = all.iter().cloned().collect();
    directories.push(Vec::new());
    for directory in directories {
        let joined = path_of(&directory);
        let below = |path: &&Vec<&'static str>| path.starts_with(&directory) && path.len() > directory.len();
        let gone = all.iter().filter(below).filter(|path| is_gone(path)).count();
        assert_eq!(history.gone_below(joined.joined()).unwrap(), gone as u64, "{directory:?}");
        let mut names = BTreeMap::new();
        let mut last = None;
        history
            .names(joined.joined(), 0, |name| {
                assert!(last.replace(name.order) < Some(name.order) && name.order < ORDER_MAX);
                names.insert(String::from_utf8(name.name).unwrap(), name.flags);
                true
            })
            .unwrap();
        let children = all.iter().filter(below).filter(|path| path.len() == directory.len() + 1);
        let expected: BTreeMap<_, _> = children
            .map(|path| {
                let had = |is_it: fn(&Option<u8>) -> bool| {
                    trees.iter().any(|tree| tree.get(path).is_some_and(is_it))
                };
                let is_file = trees.last().unwrap().get(path).is_some_and(Option::is_some);
                let flags = NameFlags {
                    was_directory: had(Option::is_none),
                    was_file: had(Option::is_some),
                    is_file,
                };
                assert_eq!(history.name(joined.joined(), path_of(path).joined()).unwrap(), Some(flags));
                (path[directory.len()].to_owned(), flags)
            })
            .collect();
        assert_eq!(names, expected, "{directory:?}");
        for (pair, at) in trees.windows(2).zip(2..) {
            let found = history.changed_names([10 * at].into_iter(), joined.joined()).unwrap();
            let found: BTreeSet<_> =
                found.into_values().map(|name| String::from_utf8(name.name).unwrap()).collect();
            let is_changed = |(path, content): &(&Vec<&'static str>, &Option<u8>)| {
                content.is_some() && pair[0].get(*path) != Some(*content) && below(path)
            };
            let changed = pair[1].iter().filter(is_changed).map(|(path, _)| path[directory.len()].to_owned());
            assert_eq!(found, changed.collect::<BTreeSet<_>>(), "{directory:?} in version {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_index_says_what_the_versions_say(
        trees in prop::collection::vec(any_version(), 1..7),
        at_once in 1..4u64,
        reopens in any::<bool>(),
    ) {
        let world = World::new(&trees);
        let mut history = world.open();
        let mut fed = 0;
        while fed < trees.len() as u64 {
            let mut left = at_once;
            let goes_on = || { left = left.saturating_sub(1); left > 0 || at_once == 1 };
            let count = history.feed(&world.reader, &world.versions[..(fed + at_once).min(trees.len() as u64) as usize], goes_on).unwrap();
            fed += count.versions.max(1);
            if reopens {
                drop(history);
                history = world.open();
            }
        }
        world.feed(&history);
        prop_assert_eq!(history.indexed_to(), Some(10 * trees.len() as u64));
        check(&history, &trees);
        prop_assert_eq!(world.feed(&history), 0, "nothing is taken twice");
    }
}

fn tree(files: &[(&'static str, u8)]) -> Tree {
    files.iter().map(|(name, content)| (vec![*name], Some(*content))).collect()
}

#[test]
fn few_processes_have_one_each() {
    let world = World::new(&[tree(&[("a", 1)])]);
    let all: Vec<_> = (0..COPIES_MAX).map(|_| world.open()).collect();
    assert!(all.iter().all(|history| world.feed(history) == 1));
    let another = History::open(&world.folder.path().join("index"), &world.archive.keys());
    assert!(matches!(another, Err(HistoryError::InUse)));
    drop(all);
    assert_eq!(world.feed(&world.open()), 0, "it is kept");
}

#[test]
fn without_the_newest_that_it_knew_it_begins_anew() {
    let trees = [tree(&[("a", 1)]), tree(&[("b", 1)]), tree(&[("a", 2)])];
    let mut world = World::new(&trees);
    let history = world.open();
    world.versions.truncate(2);
    assert_eq!(world.feed(&history), 2);
    let all = World::new(&trees);
    // The second is gone, the third is new.
    let left = [all.versions[0].clone(), all.versions[2].clone()];
    assert_eq!(history.feed(&all.reader, &left, || true).unwrap().versions, 2);
    let states = history.states(path_of(&["a"]).joined()).unwrap();
    assert_eq!(states.iter().map(|state| state.sequence).collect::<Vec<_>>(), [10, 30]);
    assert!(history.states(path_of(&["b"]).joined()).unwrap().is_empty());
}

#[test]
fn a_version_that_could_not_be_read_is_taken_whole_later() {
    let trees = [tree(&[("a", 1), ("b", 1)]), tree(&[("b", 2)])];
    let world = World::new(&trees);
    let history = world.open();
    world.archive.source().die();
    assert!(matches!(history.feed(&world.reader, &world.versions, || true), Err(HistoryError::Read(_))));
    world.archive.source().heal();
    drop(history);
    let history = world.open();
    assert_eq!(world.feed(&history), 2);
    check(&history, &trees);
}

/// Versions of which something is lost keep nobody from knowing the others.
#[test]
fn what_of_a_version_is_lost_counts_as_gone_until_it_is_opened_again() {
    let trees = [tree(&[("a", 1)]), tree(&[("a", 1), ("b", 1)]), tree(&[("a", 2), ("b", 1)])];
    let world = World::new(&trees);
    let lost = world.versions[1].root.node;
    world.archive.source().withhold(lost);
    let history = world.open();
    let fed = history.feed(&world.reader, &world.versions, || true).unwrap();
    assert_eq!((fed.versions, fed.unreadable.len()), (2, 1), "{fed:?}");
    let states = |history: &History, name| {
        let states = history.states(path_of(&[name]).joined()).unwrap();
        states.into_iter().map(|state| (state.sequence, state.entry.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(states(&history, "a"), [(10, true), (30, true)]);
    assert_eq!(states(&history, "b"), [(30, true)]);
    drop(history);

    // Parts of a version are lost: a source that cannot be asked is no loss.
    world.archive.source().heal();
    let history = world.open();
    assert_eq!(world.feed(&history), 3, "it is made anew");
    assert_eq!(states(&history, "b"), [(20, true)]);
    check(&history, &trees);
    drop(history);
    assert_eq!(world.feed(&world.open()), 0, "it is kept");
}

#[test]
fn what_is_damaged_is_made_anew() {
    let trees = [tree(&[("a", 1)]), tree(&[("b", 1)])];
    let world = World::new(&trees);
    drop(world.open());
    let folder = world.folder.path().join("index");
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                fs::write(&path, b"no such thing").unwrap();
            }
        }
    }
    let history = world.open();
    assert_eq!(world.feed(&history), 2);
    check(&history, &trees);
}

#[test]
fn no_name_lies_open_on_the_disk() {
    let name = "a name that nobody else should know";
    let world = World::new(&[BTreeMap::from([(vec![name], Some(1))]), tree(&[("b", 1)])]);
    let history = world.open();
    world.feed(&history);
    assert_eq!(history.gone_below(ArchivePath::unix_root().joined()).unwrap(), 1);
    drop(history);
    let mut folders = vec![world.folder.path().to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = fs::read(&path).unwrap();
            bytes += content.len();
            let part = &name.as_bytes()[2..14];
            assert!(!content.windows(part.len()).any(|window| window == part), "{}", path.display());
        }
    }
    assert!(bytes > 200);
}
