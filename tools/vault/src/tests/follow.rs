//! Readers that follow a vault while it is written, and afterwards.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::world::World;
use crate::index::test_store::TestStore;
use crate::testing::*;
use crate::vault::Drive;
use crate::{Access, OpenOptions, Vault};

/// A reader with an index of its own.
fn reader_of(world: &World, index: &TestStore) -> Vault {
    world.through(index).open_with(Access::Read, Drive::Inline).expect("opens")
}

/// The last sequence of the lineage that a vault shows; all that its snapshots need can be read.
fn shown(vault: &Vault) -> u64 {
    let account = vault.account(account_number(1));
    let snapshots = account.snapshots(lineage(1), u64::MAX, 128).expect("snapshots");
    for snapshot in &snapshots {
        let sequence =
            (1..200).find(|sequence| head(1, *sequence, 0, 0).id == snapshot.id).expect("it was made");
        for name in names(sequence) {
            assert!(read(&account, name).is_ok(), "snapshot {sequence} needs {name}");
        }
    }
    snapshots.len() as u64
}

/// What the snapshot with a sequence is made of: two data objects, a node, a body.
fn names(sequence: u64) -> [u64; 4] {
    [1, 2, 3, 4].map(|name| 10 * sequence + name)
}

fn put(vault: &Vault, sequence: u64, length: usize) {
    let [first, second, root, described] = names(sequence);
    let objects =
        vec![data(first, length), data(second, length / 2), node(root, 0, &[first, second]), body(described)];
    let _ = vault.account(account_number(1)).put(DEVICE, objects).expect("received");
}

fn commit_it(vault: &Vault, sequence: u64) {
    let [.., root, described] = names(sequence);
    commit(&vault.account(account_number(1)), head(1, sequence, root, described)).expect("committed");
}

#[derive(Debug, Clone)]
enum Step {
    Put {
        length: usize,
    },
    Commit,
    Sync,
    /// Closes the vault and opens it again.
    Close,
    /// Opens it again after a power cut.
    Kill,
    /// The reader looks.
    Look,
    /// The reader ends, and another goes on with its index.
    NextReader,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (100..40_000_usize).prop_map(|length| Step::Put { length }),
        3 => Just(Step::Commit),
        1 => Just(Step::Sync),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        4 => Just(Step::Look),
        1 => Just(Step::NextReader),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever a writer does, a look shows every snapshot that was committed before it and all that those need, and never less than before.
    #[test]
    fn a_look_shows_what_was_committed(steps in steps()) {
        let mut world = World::new();
        let mut vault = Some(world.open().expect("opens"));
        let index = TestStore::default();
        let mut reader = reader_of(&world, &index);
        let (mut committed, mut waits) = (0, false);
        for step in steps {
            let writer = vault.as_ref().expect("open");
            match step {
                Step::Put { length } if !waits => {
                    put(writer, committed + 1, length);
                    waits = true;
                }
                Step::Commit if waits => {
                    commit_it(writer, committed + 1);
                    (committed, waits) = (committed + 1, false);
                }
                Step::Put { .. } | Step::Commit => {}
                Step::Sync => writer.core().sync().expect("synced"),
                Step::Close => {
                    vault.take().expect("open").close().expect("closed");
                    vault = Some(world.open().expect("opens"));
                }
                Step::Kill => {
                    // Nobody ends anything; the disk stays as it is.
                    std::mem::forget(vault.take());
                    vault = Some(world.open().expect("opens"));
                    waits = false;
                }
                Step::Look => {
                    reader.catch_up().expect("caught up");
                    prop_assert_eq!(shown(&reader), committed);
                }
                Step::NextReader => {
                    drop(reader);
                    reader = reader_of(&world, &index);
                    prop_assert_eq!(shown(&reader), committed);
                }
            }
        }
        vault.take().expect("open").close().expect("closed");
        reader.catch_up().expect("caught up");
        prop_assert_eq!(world.through(&index).rows(), world.rebuilt_rows());
    }
}

fn options(dir: &Path, access: Access) -> OpenOptions {
    OpenOptions::folder(dir.join("vault"), dir.join("index"), access, TestMachine::new(1))
}

#[test]
fn a_reader_follows_on_a_real_disk_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let writer = super::basics::create(dir.path());
    put(&writer, 1, 50_000);
    commit_it(&writer, 1);
    let reader = Vault::open(options(dir.path(), Access::Read)).expect("opens");
    assert_eq!(shown(&reader), 1);
    let mut seen = reader.watch(u64::MAX, Duration::ZERO).expect("a number");
    assert_eq!(reader.watch(seen, Duration::ZERO).expect("a number"), seen, "nothing came");
    for sequence in 2..5 {
        put(&writer, sequence, 3_000_000);
        commit_it(&writer, sequence);
        // Who commits is told before those who read are.
        while shown(&reader) < sequence {
            seen = reader.watch(seen, Duration::from_secs(600)).expect("a number");
        }
    }
    writer.close().expect("closed");
    reader.catch_up().expect("caught up");
    assert_eq!(shown(&reader), 4);
    assert_eq!(reader.report().index_rebuilt, None);
}

#[test]
fn a_reader_makes_its_index_anew_where_it_does_not_fit_any_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let writer = super::basics::create(dir.path());
    put(&writer, 1, 50_000);
    commit_it(&writer, 1);
    writer.close().expect("closed");
    let packs = dir.path().join("vault/packs");
    let older: Vec<_> = fs::read_dir(&packs)
        .expect("packs")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("a pack")))
        .collect();
    let writer = super::basics::reopen(dir.path());
    put(&writer, 2, 50_000);
    commit_it(&writer, 2);
    writer.close().expect("closed");
    let reader = Vault::open(options(dir.path(), Access::Read)).expect("opens");
    assert_eq!(shown(&reader), 2);
    // An older copy of the vault comes back.
    fs::remove_dir_all(&packs).expect("packs");
    fs::create_dir(&packs).expect("packs");
    older.into_iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("a pack"));
    let seen = reader.watch(u64::MAX, Duration::ZERO).expect("a number");
    assert_ne!(seen, 0, "what is shown has changed");
    assert_eq!(shown(&reader), 1);
}
