//! Real backups of a folder that is edited at random, against a plain model of what was there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backstore_platform::machine::{Machine, System};
use backstore_platform::paths::to_archive;
use backstore_platform::process::Interrupts;
use backstore_protocol::entry::{Kind, Time};
use proptest::prelude::*;

use backstore_vfs::history::COPIES_MAX;

use super::indexed::{IndexProgress, Indexed};
use super::verify::{Ended, Findings, Position, Scope, Verification, VerifyProgress};
use super::*;
use crate::archive::Archive;
use crate::home::Home;
use crate::scan::PathPattern;
use crate::testing::Computer;

/// A clock that goes on by a minute each time a version is made.
struct Clock(AtomicI64);

impl Machine for Clock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
    fn now(&self) -> Time {
        System.now()
    }
    fn monotonic(&self) -> Duration {
        System.monotonic()
    }
    fn random(&self, bytes: &mut [u8]) {
        System.random(bytes);
    }
}

/// A computer whose backups are a minute apart.
struct Bench {
    computer: Computer,
    clock: Arc<Clock>,
}

/// 2026-11-22 14:30:05 UTC.
const BEGIN_MS: i64 = 1_795_357_805_000;
const STEP_MS: i64 = 60_000;

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(Clock(AtomicI64::new(BEGIN_MS)));
        Self { computer: Computer::with(clock.clone()), clock }
    }

    fn source(&self) -> PathBuf {
        self.computer.path("source").canonicalize().unwrap()
    }

    fn archive(&self) -> Archive {
        self.computer.archive()
    }

    fn back_up(&self) {
        self.clock.0.fetch_add(STEP_MS, Ordering::Relaxed);
        let report = self.computer.back_up_roots("docs", 7, &[&self.source()]);
        assert_eq!(report.totals.errors, 0);
    }
}

/// A state of a file: newest and oldest version, how many, size and mode.
type Known = (String, String, u64, Option<(u64, u32)>);
/// What a file was: content and permission bits.
type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

#[derive(Debug, Clone)]
enum Edit {
    Write(u8, u8),
    Large(u8, u8),
    Remove(u8),
    Mode(u8, bool),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..12u8, 0..4u8).prop_map(|(file, content)| Edit::Write(file, content)),
        1 => (0..12u8, 0..3u8).prop_map(|(file, content)| Edit::Large(file, content)),
        2 => (0..12u8).prop_map(Edit::Remove),
        1 => (0..12u8, any::<bool>()).prop_map(|(file, private)| Edit::Mode(file, private)),
    ]
}

/// Files are in three folders; each name comes in all of them.
fn path_of(root: &Path, file: u8) -> PathBuf {
    root.join(format!("d{}", file % 3)).join(format!("f{}.txt", file / 3))
}

fn apply(root: &Path, files: &mut Files, edit: &Edit) {
    use std::os::unix::fs::PermissionsExt;
    let mut put = |file: u8, content: Vec<u8>| {
        let path = path_of(root, file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        // Times are no part of the model: they are the same for ever.
        let opened = fs::File::options().write(true).open(&path).unwrap();
        opened.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        files.insert(path, (content, mode));
    };
    match *edit {
        Edit::Write(file, content) => put(file, vec![content; usize::from(content) * 700]),
        Edit::Large(file, content) => {
            // Nothing that can be compressed.
            let mut state = u32::from(content) + 1;
            let noise = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                (state >> 8) as u8
            });
            put(file, noise.take(1_300_000).collect());
        }
        Edit::Remove(file) => {
            let path = path_of(root, file);
            if files.remove(&path).is_some() {
                fs::remove_file(&path).unwrap();
            }
        }
        Edit::Mode(file, private) => {
            let path = path_of(root, file);
            if let Some((_, mode)) = files.get_mut(&path) {
                *mode = if private { 0o600 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

fn change(old: Option<&(Vec<u8>, u32)>, new: Option<&(Vec<u8>, u32)>) -> Option<Change> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Removed),
        (Some(old), Some(new)) if old.0 != new.0 => Some(Change::Content),
        (Some(old), Some(new)) => (old.1 != new.1).then_some(Change::Metadata),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn versions_differences_and_matches_are_those_of_a_model(
        steps in prop::collection::vec(prop::collection::vec(any_edit(), 1..6), 2..6)
    ) {
        let bench = Bench::new();
        let root = bench.source();
        let mut files = Files::new();
        // Newest last; a backup of what has not changed makes no version.
        let mut model: Vec<Files> = Vec::new();
        apply(&root, &mut files, &Edit::Write(0, 1));
        for edits in &steps {
            edits.iter().for_each(|edit| apply(&root, &mut files, edit));
            bench.back_up();
            model.push(files.clone());
        }
        let archive = bench.archive();
        let versions = Versions::choose(&archive, Some("docs"), None, &[]).unwrap();
        let all = versions.all().unwrap();
        let moment = |version: &VersionInfo| ((version.started_at - BEGIN_MS) / STEP_MS) as usize - 1;
        let states: Vec<&Files> = all.iter().map(|version| &model[moment(version)]).collect();
        prop_assert_eq!(*states.last().unwrap(), &model[0]);
        prop_assert_eq!(states[0], model.last().unwrap());

        check_differences(&versions, &all, &states);
        let home = &bench.computer.home;
        let check_histories = || (0..12).for_each(|file| {
            check_history(&versions, home, &path_of(&root, file), &all, &states);
        });
        // Without an index, with one of some versions, and with one of all.
        check_histories();
        Indexed::up_to_date(&versions, home, &all[all.len() / 2..], &IndexProgress::default()).unwrap();
        check_histories();
        check_matches(&versions, home, &all, &states);
        let progress = IndexProgress::default();
        Indexed::up_to_date(&versions, home, &all, &progress).unwrap();
        prop_assert_eq!(progress.begun.into_inner(), progress.versions.into_inner());
        prop_assert!(Indexed::as_it_is(&versions, home, &all).is_some_and(|index| index.knows(&all[0])));
        check_histories();
        check_verify(&versions, &all);
    }
}

fn check_differences(versions: &Versions<'_>, all: &[VersionInfo], states: &[&Files]) {
    for (old, old_files) in all.iter().zip(states) {
        for (new, new_files) in all.iter().zip(states) {
            let (old, new) = (versions.view(old), versions.view(new));
            let found: BTreeMap<String, Change> = Differences::new(&old, &new, None)
                .unwrap()
                .map(|found| found.unwrap())
                .filter(|found| !found.path.to_string().ends_with(|c: char| c.is_ascii_digit()))
                .map(|found| (found.path.to_string(), found.change))
                .collect();
            let expected: BTreeMap<String, Change> = old_files
                .keys()
                .chain(new_files.keys())
                .filter_map(|path| {
                    let change = change(old_files.get(path), new_files.get(path))?;
                    Some((path.to_str().unwrap().to_owned(), change))
                })
                .collect();
            assert_eq!(found, expected);
            let Some(folder) = old_files.keys().next().and_then(|path| path.parent()) else { continue };
            let below = to_archive(folder).unwrap();
            let count = Differences::new(&old, &new, Some(&below)).unwrap().count();
            let is_below = |path: &&String| path.starts_with(folder.to_str().unwrap());
            let files = expected.keys().filter(is_below).count();
            // The folder itself may be gone, and nothing else but files is in it.
            assert!((files..=files + 1).contains(&count), "{files} {count}");
        }
    }
}

fn check_history(versions: &Versions<'_>, home: &Home, path: &Path, all: &[VersionInfo], states: &[&Files]) {
    let history = History::new(versions, home, to_archive(path).unwrap()).unwrap();
    let found: Vec<_> = history
        .map(|state| state.unwrap())
        .map(|state| {
            let entry = state.entry.map(|entry| (entry.size, u32::from(entry.mode)));
            (state.newest.name, state.oldest.name, state.versions, entry)
        })
        .collect();
    let mut expected: Vec<Known> = Vec::new();
    let mut last: Option<Option<&(Vec<u8>, u32)>> = None;
    for (version, files) in all.iter().zip(states) {
        let now = files.get(path);
        if let (Some(before), Some(open)) = (last, expected.last_mut())
            && before == now
        {
            open.1.clone_from(&version.name);
            open.2 += 1;
        } else {
            let entry = now.map(|(content, mode)| (content.len() as u64, *mode));
            expected.push((version.name.clone(), version.name.clone(), 1, entry));
        }
        last = Some(now);
    }
    if expected.last().is_some_and(|oldest| oldest.3.is_none()) {
        expected.pop();
    }
    assert_eq!(found, expected, "{}", path.display());
}

fn check_matches(versions: &Versions<'_>, home: &Home, all: &[VersionInfo], states: &[&Files]) {
    let query = Query { pattern: PathPattern::new("f[12].*").unwrap(), kind: Some(Kind::File) };
    let is_match = |path: &&PathBuf| {
        path.to_str().unwrap().ends_with(['f', '1', '2', 't'])
            && ["f1.txt", "f2.txt"].contains(&path.file_name().unwrap().to_str().unwrap())
    };
    let newest: Vec<_> = Matches::new(&versions.view(&all[0]), &query)
        .unwrap()
        .map(|found| found.unwrap().0.to_string())
        .collect();
    let expected: Vec<_> =
        states[0].keys().filter(is_match).map(|path| path.to_str().unwrap().to_owned()).collect();
    assert_eq!(newest, expected);

    // As if none had been partial, some, or all.
    for partial in [0, 0b0110_1101, 0b1001_0010, 0b1010_0101, 0xff] {
        let mut all = all.to_vec();
        all.iter_mut().enumerate().for_each(|(at, version)| version.is_partial = partial >> at & 1 != 0);
        let index = Home::at(&home.cache_path().join(partial.to_string()));
        let mut found: Vec<_> = AllMatches::new(versions, &index, &all, &query, &IndexProgress::default())
            .unwrap()
            .map(|found| found.unwrap())
            .map(|found| {
                let mode = u32::from(found.entry.mode);
                (found.version, found.path.to_string(), found.entry.size, mode)
            })
            .collect();
        found.sort();
        let mut seen = std::collections::HashSet::new();
        let mut expected = Vec::new();
        let mut in_turn: Vec<_> = states.iter().enumerate().collect();
        in_turn.sort_by_key(|(at, _)| all[*at].is_partial);
        for (at, files) in in_turn {
            for (path, (content, mode)) in files.iter().filter(|(path, _)| is_match(path)) {
                if seen.insert((path, content, mode)) {
                    expected.push((at, path.to_str().unwrap().to_owned(), content.len() as u64, *mode));
                }
            }
        }
        expected.sort();
        assert_eq!(found, expected, "partial {partial:b}");
    }
}

/// Without a place of its own for the index, what is asked for is answered all the same.
#[test]
fn without_a_usable_index_files_are_found_too() {
    let bench = Bench::new();
    let root = bench.source();
    let mut files = Files::new();
    apply(&root, &mut files, &Edit::Write(1, 1));
    bench.back_up();
    let archive = bench.archive();
    let versions = Versions::choose(&archive, None, None, &[]).unwrap();
    let all = versions.all().unwrap();
    let query = Query { pattern: PathPattern::new("f*").unwrap(), kind: Some(Kind::File) };
    let home = &bench.computer.home;
    let find = || {
        let progress = IndexProgress::default();
        let found = AllMatches::new(&versions, home, &all, &query, &progress).unwrap();
        assert_eq!(found.map(|found| found.unwrap().version).collect::<Vec<_>>(), [0]);
    };
    let folder = home.history_path(&versions.lineage.info.lineage.to_string());
    let others: Vec<_> = (0..COPIES_MAX)
        .map(|_| backstore_vfs::history::History::open(&folder, &archive.keys).unwrap())
        .collect();
    find();
    drop(others);
    fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    fs::write(folder.parent().unwrap(), "no folder").unwrap();
    find();
}

fn verify(
    versions: &Versions<'_>,
    scope: Scope,
    interrupts: &Interrupts,
    position: &mut Position,
) -> (Findings, Ended) {
    let progress = VerifyProgress::default();
    let verification = Verification { versions, scope, machine: &System, interrupts, progress: &progress };
    let mut findings = Findings::default();
    let ended = verification.run(&mut findings, position, &mut |_, _| {}).unwrap();
    (findings, ended)
}

fn check_verify(versions: &Versions<'_>, all: &[VersionInfo]) {
    for scope in [Scope::Full, Scope::sample(1 << 20, 3), Scope::parse_slice("1/2").unwrap()] {
        let (findings, ended) = verify(versions, scope, &Interrupts::none(), &mut Position::default());
        assert!(ended == Ended::Done && findings.is_whole(), "{findings:?}");
        assert_eq!(findings.versions, all.len() as u64);
    }
}

/// A flipped byte in the data is found, named with all versions that need it, and the run that is interrupted goes on.
#[test]
fn damage_is_named_with_its_files_and_versions() {
    let bench = Bench::new();
    let root = bench.source();
    let mut files = Files::new();
    apply(&root, &mut files, &Edit::Large(0, 1));
    apply(&root, &mut files, &Edit::Write(1, 3));
    bench.back_up();
    apply(&root, &mut files, &Edit::Write(1, 2));
    bench.back_up();
    apply(&root, &mut files, &Edit::Remove(0));
    bench.back_up();
    let packs = fs::read_dir(bench.computer.path("vault/packs")).unwrap().map(|entry| entry.unwrap().path());
    for pack in packs.filter(|path| path.extension().is_some_and(|kind| kind == "data")) {
        let mut bytes = fs::read(&pack).unwrap();
        // In the middle: of the large file, which is most of it.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(&pack, bytes).unwrap();
    }
    let archive = bench.archive();
    let versions = Versions::choose(&archive, None, None, &[]).unwrap();
    let all = versions.all().unwrap();
    let (findings, ended) = verify(&versions, Scope::Full, &Interrupts::none(), &mut Position::default());
    assert_eq!(ended, Ended::Done);
    assert_eq!((findings.objects.len(), findings.file_count), (1, 1), "{findings:?}");
    let damaged = &findings.files[0];
    assert_eq!(damaged.key, to_archive(&path_of(&root, 0)).unwrap().key());
    assert_eq!((&damaged.newest, &damaged.oldest), (&all[1].name, &all[2].name));
    assert!(findings.lost.is_empty());

    // As it is kept between two runs: from the second version on.
    let kept = serde_json::to_string(&Findings::default()).unwrap();
    let mut findings: Findings = serde_json::from_str(&kept).unwrap();
    let mut position = Position { sequence: all[1].sequence, newest: all[0].sequence, key: Vec::new() };
    let (interrupts, progress) = (Interrupts::none(), VerifyProgress::default());
    let verification = Verification {
        versions: &versions,
        scope: Scope::Full,
        machine: &System,
        interrupts: &interrupts,
        progress: &progress,
    };
    assert_eq!(verification.run(&mut findings, &mut position, &mut |_, _| {}).unwrap(), Ended::Done);
    assert_eq!((findings.versions, findings.file_count), (2, 1));
    assert_eq!((&findings.files[0].newest, &findings.files[0].oldest), (&all[1].name, &all[2].name));
}
