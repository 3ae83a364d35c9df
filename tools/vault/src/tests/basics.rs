//! What a vault does on a real disk when nothing goes wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstore_protocol::store::ReadFailure;

use crate::testing::*;
use crate::{Access, OpenOptions, Vault, VaultError};

fn options(dir: &Path, access: Access) -> OpenOptions {
    OpenOptions::folder(dir.join("vault"), dir.join("index"), access, TestMachine::new(1))
}

pub(super) fn create(dir: &Path) -> Vault {
    Vault::create(&dir.join("vault"), &*TestMachine::new(0)).expect("a new vault");
    Vault::open(options(dir, Access::Write)).expect("opens")
}

pub(super) fn reopen(dir: &Path) -> Vault {
    Vault::open(options(dir, Access::Write)).expect("opens")
}

#[test]
fn what_was_put_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a folder");
    let vault = create(dir.path());
    let account = vault.account(account_number(7));
    let objects = vec![data(1, 10_000), data(2, 500_000), node(3, 0, &[1, 2]), node(4, 1, &[3]), body(5)];
    account.put(DEVICE, objects.clone()).expect("received").wait().expect("durable");
    commit(&account, head(1, 1, 4, 5)).expect("committed");
    vault.close().expect("closed");
    for _ in 0..2 {
        let vault = reopen(dir.path());
        let account = vault.account(account_number(7));
        for (name, object) in (1..).zip(&objects) {
            assert_eq!(read(&account, name).as_ref(), Ok(object));
        }
        let other = vault.account(account_number(8));
        assert!(!has(&other, 1));
        assert_eq!(read(&other, 1), Err(ReadFailure::Missing));
        let lineages = account.lineages().expect("lineages");
        assert_eq!(lineages.len(), 1);
        assert_eq!((lineages[0].sequence, lineages[0].head), (1, head(1, 1, 4, 5).id));
        let snapshots = account.snapshots(lineage(1), u64::MAX, 10).expect("snapshots");
        assert_eq!(snapshots.len(), 1);
        assert_eq!(snapshots[0].header, header(&head(1, 1, 4, 5)));
        assert_eq!(account.usage().expect("usage").objects, 5);
        assert_eq!(vault.report().index_rebuilt, None);
        vault.close().expect("closed");
    }
}

#[test]
fn a_node_needs_its_references() {
    let dir = tempfile::tempdir().expect("a folder");
    let vault = create(dir.path());
    let account = vault.account(account_number(7));
    let refused = account.put(DEVICE, vec![data(1, 5000), node(3, 0, &[1, 2])]);
    assert!(matches!(&refused, Err(VaultError::Missing { ids }) if *ids == [id(2)]), "{refused:?}");
    assert!(!has(&account, 1), "nothing of a refused batch is kept");
    let other = vault.account(account_number(8));
    other.put(DEVICE, vec![data(2, 5000)]).expect("received").wait().expect("durable");
    let refused = account.put(DEVICE, vec![data(1, 5000), node(3, 0, &[1, 2])]);
    assert!(matches!(refused, Err(VaultError::Missing { .. })), "another account's object does not count");
    let _ = account.put(DEVICE, vec![data(2, 5000)]).expect("received");
    account.put(DEVICE, vec![data(1, 5000), node(3, 0, &[1, 2])]).expect("received").wait().expect("durable");
    let refused = commit(&account, head(1, 1, 3, 9));
    assert!(matches!(refused, Err(VaultError::Missing { ids }) if ids == [id(9)]));
}

#[test]
fn lineages_go_on_one_by_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let vault = create(dir.path());
    let account = vault.account(account_number(7));
    let _ = account.put(DEVICE, vec![node(1, 0, &[]), body(2)]).expect("received");
    let refused = commit(&account, head(1, 2, 1, 2));
    assert!(matches!(refused, Err(VaultError::Conflict { head: None })), "{refused:?}");
    for sequence in 1..=5 {
        commit(&account, head(1, sequence, 1, 2)).expect("committed");
        commit(&account, head(1, sequence, 1, 2)).expect("again the same answer");
    }
    let refused = commit(&account, crate::SnapshotHead { id: head(9, 9, 1, 2).id, ..head(1, 5, 1, 2) });
    assert!(matches!(refused, Err(VaultError::Conflict { head: Some(_) })), "{refused:?}");
    let fenced = commit(&account, crate::SnapshotHead { fencing: 0, ..head(1, 6, 1, 2) });
    assert!(matches!(fenced, Err(VaultError::Fenced { fencing: 1 })), "{fenced:?}");
    let page = |before, count| {
        let page = account.snapshots(lineage(1), before, count).expect("snapshots");
        page.into_iter().map(|snapshot| snapshot.id).collect::<Vec<_>>()
    };
    let ids = |sequences: &[u64]| sequences.iter().map(|n| head(1, *n, 1, 2).id).collect::<Vec<_>>();
    assert_eq!(page(u64::MAX, 2), ids(&[5, 4]));
    assert_eq!(page(4, 2), ids(&[3, 2]));
    assert_eq!(page(2, 2), ids(&[1]));
    assert_eq!(page(1, 2), ids(&[]));
    let before = account.lineages().expect("lineages")[0].confirmed_at;
    account.confirm(lineage(1), head(1, 5, 1, 2).id).expect("confirmed");
    assert!(account.lineages().expect("lineages")[0].confirmed_at > before);
    let stale = account.confirm(lineage(1), head(1, 4, 1, 2).id);
    assert!(matches!(stale, Err(VaultError::Conflict { .. })));
}

#[test]
fn control_state_is_kept_and_the_last_value_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let vault = create(dir.path());
    let control = vault.control();
    control.put(b"a", Some(b"1")).expect("put");
    control.put(b"b", Some(b"2")).expect("put");
    control.put(b"a", Some(b"3")).expect("put");
    control.put(b"b", None).expect("put");
    control.put_all([(b"c1".to_vec(), Some(vec![])), (b"c2".to_vec(), Some(vec![5]))]).expect("put");
    vault.close().expect("closed");
    std::fs::remove_dir_all(dir.path().join("index")).expect("the index can go");
    let vault = reopen(dir.path());
    let control = vault.control();
    assert_eq!(control.get(b"a").expect("get"), Some(b"3".to_vec()));
    assert_eq!(control.get(b"b").expect("get"), None);
    let mut found = Vec::new();
    let each = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        std::ops::ControlFlow::Continue(())
    };
    control.scan(b"c", each).expect("scan");
    assert_eq!(found, [(b"c1".to_vec(), vec![]), (b"c2".to_vec(), vec![5])]);
}

#[test]
fn only_one_writes_and_nothing_is_made_by_opening() {
    let dir = tempfile::tempdir().expect("a folder");
    let missing = Vault::open(options(dir.path(), Access::Write)).err();
    assert!(matches!(missing, Some(VaultError::FolderMissing { .. })), "{missing:?}");
    std::fs::create_dir(dir.path().join("vault")).expect("a folder");
    let none = Vault::open(options(dir.path(), Access::Write)).err();
    assert!(matches!(none, Some(VaultError::NotAVault { .. })), "{none:?}");
    assert_eq!(std::fs::read_dir(dir.path().join("vault")).expect("a folder").count(), 0);
    let vault = create(dir.path());
    let second = Vault::open(options(dir.path(), Access::Write)).err();
    assert!(matches!(second, Some(VaultError::Locked { .. })), "{second:?}");
    let again = Vault::create(&dir.path().join("vault"), &*TestMachine::new(0)).err();
    assert!(matches!(again, Some(VaultError::AlreadyAVault { .. })), "{again:?}");
    let deep = Vault::create(&dir.path().join("no/vault"), &*TestMachine::new(0)).err();
    assert!(matches!(deep, Some(VaultError::FolderMissing { .. })), "{deep:?}");
    drop(vault);
    reopen(dir.path()).close().expect("closed");
}

#[test]
fn waiting_for_snapshots_ends_with_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let vault = Arc::new(create(dir.path()));
    let seen = vault.watch(u64::MAX, Duration::ZERO).expect("a number");
    assert_eq!(vault.watch(seen, Duration::ZERO).expect("a number"), seen);
    let waiting = Arc::clone(&vault);
    let waiter = std::thread::spawn(move || waiting.watch(seen, Duration::from_secs(600)).expect("a number"));
    let account = vault.account(account_number(7));
    let _ = account.put(DEVICE, vec![node(1, 0, &[]), body(2)]).expect("received");
    commit(&account, head(1, 1, 1, 2)).expect("committed");
    assert_ne!(waiter.join().expect("no panic"), seen);
}

#[test]
fn a_closed_vault_takes_no_space_for_what_may_come() {
    let dir = tempfile::tempdir().expect("a folder");
    for round in 0..3 {
        let vault = if round == 0 { create(dir.path()) } else { reopen(dir.path()) };
        let account = vault.account(account_number(7));
        account.put(DEVICE, vec![data(round, 5000)]).expect("received").wait().expect("durable");
        vault.close().expect("closed");
    }
    let packs: Vec<_> = std::fs::read_dir(dir.path().join("vault/packs"))
        .expect("packs")
        .map(|entry| entry.expect("an entry").metadata().expect("metadata").len())
        .collect();
    assert_eq!(packs.len(), 1, "a closed pack is continued: {packs:?}");
    assert!(packs[0] < 40_000, "{packs:?}");
}
