//! Flipped bits, lost packs, cut files: named by a check, never handed out, healed by the next backup.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use backstore_protocol::object::{ObjectKind, SealedObject};
use backstore_protocol::store::ReadFailure;
use bytes::Bytes;

use super::world::World;
use crate::disk::fault::Image;
use crate::disk::{Disk, Folder};
use crate::index::test_store::TestStore;
use crate::testing::*;
use crate::vault::Drive;
use crate::{Access, CheckReport, Finding, Problem, Vault, VaultError};

/// Everything there is in `vault()`: account and object.
fn objects() -> Vec<(u64, SealedObject)> {
    let first =
        [data(1, 3000), data(2, 5000), data(3, 100), node(10, 0, &[1, 2]), node(11, 1, &[3, 10]), body(12)];
    let map = SealedObject { kind: ObjectKind::Map, ..node(13, 0, &[1, 3]) };
    let second = [data(1, 3000), data(4, 2000), node(14, 0, &[4]), body(15)];
    first.into_iter().chain([map]).map(|object| (1, object)).chain(second.map(|object| (2, object))).collect()
}

fn put_all(vault: &Vault) -> Result<(), VaultError> {
    for (number, object) in objects() {
        vault.account(account_number(number)).put(DEVICE, vec![object])?.wait()?;
    }
    Ok(())
}

/// A closed vault with some of everything.
fn world() -> World {
    let mut world = World::new();
    let vault = world.open().expect("opens");
    put_all(&vault).expect("a disk without faults");
    commit(&vault.account(account_number(1)), head(1, 1, 11, 12)).expect("committed");
    commit(&vault.account(account_number(2)), head(2, 1, 14, 15)).expect("committed");
    vault.control().put(b"key", Some(b"value")).expect("control state");
    vault.close().expect("closed");
    world
}

fn check(vault: &Vault, repair: bool) -> CheckReport {
    vault.check(|_| ControlFlow::Continue(()), repair).expect("a check")
}

/// Objects that are handed out; each is what was stored or `Damaged`.
fn readable(vault: &Vault, context: &str) -> Vec<(u64, bool)> {
    let mut readable = Vec::new();
    for (number, object) in objects() {
        let account = vault.account(account_number(number));
        let mut found = None;
        account.read(&[object.id], &mut |_, read| found = Some(read)).expect("readable");
        match found.expect("each is handed over") {
            Ok(read) => {
                assert_eq!(read, object, "{context}");
                readable.push((number, true));
            }
            Err(failure) => {
                assert_eq!(failure, ReadFailure::Damaged, "{context}");
                let held = account.have(&[object.id]).expect("an index");
                assert_eq!(held, [false], "{context}: what cannot be read is not held");
                assert!(account.damaged().expect("an index").contains(&object.id), "{context}");
                readable.push((number, false));
            }
        }
    }
    readable
}

/// Puts everything again, repairs, and expects all to be well.
fn heal(world: &mut World, vault: Vault, context: &str) {
    put_all(&vault).unwrap_or_else(|error| panic!("{context}: {error}"));
    let _ = check(&vault, true);
    assert!(readable(&vault, context).iter().all(|(_, whole)| *whole), "{context}");
    assert_eq!(check(&vault, false).findings, [], "{context}: after repair");
    for number in [1, 2] {
        assert_eq!(vault.account(account_number(number)).damaged().expect("an index"), [], "{context}");
    }
    vault.close().unwrap_or_else(|error| panic!("{context}: {error}"));
    let lineages = |vault: &Vault| {
        [1, 2].map(|number| vault.account(account_number(number)).lineages().expect("an index").len())
    };
    let vault = world.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(lineages(&vault), [1, 1], "{context}");
    assert_eq!(vault.control().get(b"key").expect("an index"), Some(b"value".to_vec()), "{context}");
    assert_eq!(check(&vault, false).findings, [], "{context}: after reopening");
    drop(vault);
    world.index = TestStore::default();
    let vault = world.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(readable(&vault, context).iter().all(|(_, whole)| *whole), "{context}: with a new index");
    assert_eq!(check(&vault, false).findings, [], "{context}: with a new index");
}

#[test]
fn a_healthy_vault_is_not_changed_by_a_repair() {
    let mut world = world();
    let content = |world: &World| {
        let mut files = BTreeMap::new();
        for folder in [Folder::Root, Folder::Packs, Folder::Quarantine] {
            for name in world.disk.names(folder) {
                files.insert((folder, name.clone()), world.disk.content(folder, &name));
            }
        }
        files
    };
    let (files, rows) = (content(&world), world.index.rows());
    let steps = world.disk.steps();
    let vault = world.open().expect("opens");
    let report = check(&vault, true);
    assert_eq!(report.findings, []);
    assert!(report.is_healthy() && report.packs >= 3 && report.records >= 17, "{report:?}");
    vault.close().expect("closed");
    assert_eq!(world.disk.steps(), steps, "not even a sync");
    assert!(content(&world) == files && world.index.rows() == rows);
}

#[test]
fn a_check_can_be_interrupted() {
    let vault = world().open().expect("opens");
    let mut told = Vec::new();
    let whole = vault.check(
        |progress| {
            told.push(progress);
            ControlFlow::Continue(())
        },
        false,
    );
    assert!(whole.expect("a check").is_healthy());
    assert!(told.is_sorted_by_key(|progress| progress.bytes), "{told:?}");
    assert!(told.last().is_some_and(|last| last.bytes == last.bytes_total && last.bytes > 0), "{told:?}");
    let interrupted = vault.check(|_| ControlFlow::Break(()), false);
    assert!(matches!(interrupted, Err(VaultError::Interrupted)), "{interrupted:?}");
}

#[test]
fn every_flipped_bit_is_named_and_heals() {
    let clean = world();
    let mut problems = BTreeMap::<Problem, u32>::new();
    for pack in clean.disk.names(Folder::Packs) {
        let size = clean.disk.content(Folder::Packs, &pack).len();
        // All of the first record and of the footer's end, and a part of everything else.
        let places = (0..size).filter(|at| at % 41 == 0 || (4096..4300).contains(at) || at + 40 > size);
        for at in places {
            let context = format!("{pack}, byte {at} of {size}");
            let mut world = clean.clone_of_disk();
            world.index = TestStore::default();
            drop(world.open().expect("opens"));
            world.disk.tamper(Folder::Packs, &pack, |bytes| bytes[at] ^= 1 << (at % 8));
            let vault = world.open().unwrap_or_else(|error| panic!("{context}: {error}"));
            let report = check(&vault, false);
            let named = report.findings.iter().find(|finding| finding.pack.as_deref() == Some(&pack));
            let finding = named.unwrap_or_else(|| panic!("{context}: {report:?}"));
            *problems.entry(finding.problem).or_default() += 1;
            let unread = readable(&vault, &context).iter().filter(|(_, whole)| !whole).count();
            assert!(unread <= 1, "{context}: one flipped bit costs one object at most");
            if unread > 0 {
                assert!(
                    report.findings.iter().any(|finding| finding.object.is_some()),
                    "{context}: {report:?}"
                );
            }
            if at % 3 == 0 {
                heal(&mut world, vault, &context);
            }
        }
    }
    let kinds: Vec<_> = problems.keys().copied().collect();
    assert_eq!(
        kinds,
        [Problem::PackHeader, Problem::Footer, Problem::Record, Problem::NoRecord],
        "{problems:?}"
    );
}

#[test]
fn what_is_damaged_names_the_snapshots_that_need_it() {
    let mut world = world();
    let vault = world.open().expect("opens");
    let place = vault.core().index.object(account_number(1), &id(2)).expect("an index").expect("held").place;
    drop(vault);
    let pack =
        world.disk.names(Folder::Packs).into_iter().find(|name| name.ends_with(".data")).expect("a pack");
    world.disk.tamper(Folder::Packs, &pack, |bytes| bytes[place.offset as usize + 1000] ^= 1);
    let vault = world.open().expect("opens");
    let report = check(&vault, false);
    let finding = &report.findings[0];
    assert_eq!((finding.problem, finding.object, finding.is_repaired), (Problem::Record, Some(id(2)), false));
    assert_eq!((&finding.pack, finding.offset), (&Some(pack), Some(u64::from(place.offset))));
    let affected: Vec<_> =
        report.affected.iter().map(|snapshot| (snapshot.account.get(), snapshot.id)).collect();
    assert_eq!(affected, [(1, head(1, 1, 11, 12).id)]);
    // Nobody has read it yet; a repair makes the vault ask for it.
    assert!(has(&vault.account(account_number(1)), 2));
    let report = check(&vault, true);
    assert!(report.findings[0].is_repaired && report.quarantined.len() == 1);
    assert!(!has(&vault.account(account_number(1)), 2));
    let account = vault.account(account_number(1));
    let head = crate::SnapshotHead { previous: Some(head(1, 1, 11, 12).id), ..head(1, 2, 11, 12) };
    let refused = commit(&account, head);
    assert!(matches!(refused, Err(VaultError::Damaged { id: bad }) if bad == id(2)), "{refused:?}");
    let refused = account.confirm(lineage(1), crate::testing::head(1, 1, 11, 12).id).map(|_| ());
    assert!(matches!(refused, Err(VaultError::Damaged { id: bad }) if bad == id(2)), "{refused:?}");
    account.put(DEVICE, vec![data(2, 5000)]).expect("received").wait().expect("durable");
    commit(&account, head).expect("healed");
}

#[test]
fn lost_packs_cost_what_was_kept_once() {
    let clean = world();
    for pack in clean.disk.names(Folder::Packs) {
        for with_index in [true, false] {
            let context = format!("{pack}, with index: {with_index}");
            let mut world = clean.clone_of_disk();
            world.index = TestStore::default();
            if with_index {
                drop(world.open().expect("opens"));
            }
            world.disk.delete(Folder::Packs, &pack);
            let vault = world.open().unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(vault.report().lost_packs.len(), usize::from(with_index), "{context}");
            if with_index {
                let lost: Vec<_> = readable(&vault, &context).iter().map(|(_, whole)| !whole).collect();
                // 1, 2, 3 · 10, 11, 12, 13 of the first account; 1, 4 · 14, 15 of the second.
                let kept_once_in_meta = [3, 6];
                for (at, is_lost) in lost.iter().enumerate() {
                    let is_data = [0, 1, 2, 7, 8].contains(&at);
                    let expected = match pack.rsplit('.').next() {
                        Some("data") => is_data,
                        Some("meta") => kept_once_in_meta.contains(&at),
                        _ => false,
                    };
                    assert_eq!(*is_lost, expected, "{context}: object {at}");
                }
            }
            for number in [1, 2] {
                let lineages = vault.account(account_number(number)).lineages().expect("an index");
                assert_eq!(lineages.len(), 1, "{context}: snapshots are kept twice");
            }
            heal(&mut world, vault, &context);
        }
    }
}

#[test]
fn a_pack_that_goes_away_while_the_vault_is_open_is_noticed() {
    let clean = world();
    for pack in clean.disk.names(Folder::Packs) {
        let mut world = clean.clone_of_disk();
        let vault = world.open().expect("opens");
        assert!(readable(&vault, &pack).iter().all(|(_, whole)| *whole), "files are open from now on");
        world.disk.delete(Folder::Packs, &pack);
        let report = check(&vault, false);
        let lost = |finding: &Finding| finding.problem == Problem::PackLost;
        assert_eq!(
            report.findings.iter().find(|finding| lost(finding)).and_then(|finding| finding.pack.as_ref()),
            Some(&pack)
        );
        assert_eq!(report.affected.is_empty(), pack.ends_with("copy"), "{pack}: {report:?}");
        assert!(check(&vault, true).findings.iter().all(|finding| finding.is_repaired), "{pack}");
        heal(&mut world, vault, &pack);
    }
}

/// Reads bytes of a damaged node as references would find objects that never were, and miss them for ever.
#[test]
fn a_new_index_does_not_believe_damaged_nodes() {
    let clean = world();
    let place = {
        let vault = clean.clone_of_disk().open().expect("opens");
        vault.core().index.object(account_number(1), &id(10)).expect("an index").expect("held").place
    };
    let mut world = clean.clone_of_disk();
    let pack =
        world.disk.names(Folder::Packs).into_iter().find(|name| name.ends_with(".meta")).expect("a pack");
    world.disk.tamper(Folder::Packs, &pack, |bytes| bytes[place.offset as usize + 144] ^= 1);
    world.index = TestStore::default();
    let vault = world.open().expect("opens");
    let account = vault.account(account_number(1));
    assert_eq!(account.damaged().expect("an index"), [id(10)]);
    let affected: Vec<_> = vault.affected().expect("an index").iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(affected, [head(1, 1, 11, 12).id]);
    heal(&mut world, vault, "a flipped reference");
}

/// Whoever writes meanwhile is not taken for damage.
#[test]
fn a_check_beside_a_writer_finds_nothing() {
    let mut world = world();
    let vault = world.open_with(Access::Write, Drive::Threads).expect("opens");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let account = vault.account(account_number(3));
            for round in 0..60 {
                let name = 1000 + 10 * round;
                let objects = vec![
                    data(name, 4000),
                    node(name + 1, 0, &[name]),
                    node(name + 2, 1, &[name + 1]),
                    body(name + 3),
                ];
                let _ = account.put(DEVICE, objects).expect("received");
                commit(&account, head(3, round + 1, name + 2, name + 3)).expect("committed");
                vault.control().put(&[round as u8 % 3], Some(b"value")).expect("control state");
            }
            is_done.store(true, Ordering::Relaxed);
        });
        let mut checks = 0;
        while !is_done.load(Ordering::Relaxed) || checks == 0 {
            assert_eq!(check(&vault, checks % 2 == 1).findings, []);
            checks += 1;
        }
    });
    assert_eq!(check(&vault, false).findings, []);
}

#[test]
fn packs_that_were_cut_cost_what_was_cut_off() {
    let clean = world();
    for pack in clean.disk.names(Folder::Packs) {
        let size = clean.disk.content(Folder::Packs, &pack).len();
        for length in [0, 1, 4096, 4100, size / 2, size - 1] {
            let context = format!("{pack} cut to {length} of {size}");
            let mut world = clean.clone_of_disk();
            world.index = TestStore::default();
            drop(world.open().expect("opens"));
            world.disk.tamper(Folder::Packs, &pack, |bytes| bytes.truncate(length));
            let vault = world.open().unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(vault.report().index_rebuilt.is_some(), "{context}");
            heal(&mut world, vault, &context);
        }
    }
}

#[test]
fn a_damaged_index_row_is_found_and_made_right() {
    let clean = world();
    let key = crate::index::rows::object_key(account_number(1), &id(1));
    let row = clean.index.rows()[&key].clone();
    let mut elsewhere = row.clone();
    elsewhere[4] ^= 0x40;
    for damage in [None, Some(elsewhere)] {
        let context = format!("{damage:?}");
        let mut world = clean.clone_of_disk();
        world.index = TestStore::default();
        drop(world.open().expect("opens"));
        world.index.tamper(|rows| match &damage {
            None => drop(rows.remove(&key)),
            Some(value) => drop(rows.insert(key.clone(), value.clone())),
        });
        let vault = world.open().expect("opens");
        let report = check(&vault, false);
        assert!(report.findings.iter().any(|finding| finding.object == Some(id(1))), "{context}: {report:?}");
        let _ = check(&vault, true);
        let _ = check(&vault, true);
        assert_eq!(read(&vault.account(account_number(1)), 1), Ok(data(1, 3000)), "{context}");
        assert_eq!(check(&vault, false).findings, [], "{context}");
    }
}

#[test]
fn a_lost_superblock_copy_is_written_again() {
    let clean = world();
    let original = clean.disk.content(Folder::Root, "vault");
    for at in [10, 4096 + 10] {
        let mut world = clean.clone_of_disk();
        world.disk.tamper(Folder::Root, "vault", |bytes| bytes[at] ^= 4);
        let vault = world.open().expect("the other copy is enough");
        assert_eq!(check(&vault, false).findings[0].problem, Problem::Superblock);
        let _ = check(&vault, true);
        assert_eq!(world.disk.content(Folder::Root, "vault"), original);
    }
    let mut world = clean.clone_of_disk();
    world.disk.delete(Folder::Root, "vault");
    let vault = world.open().expect("the packs name the vault");
    let _ = check(&vault, true);
    assert_eq!(check(&vault, false).findings, []);
    assert!(readable(&vault, "superblock deleted").iter().all(|(_, whole)| *whole));
}

/// Objects are made by clients. One that contains the bytes of records must not become them when its own header is damaged.
#[test]
fn bytes_inside_an_object_never_pass_for_a_record() {
    let mut world = world();
    let pack =
        world.disk.names(Folder::Packs).into_iter().find(|name| name.ends_with(".data")).expect("a pack");
    let bytes = world.disk.content(Folder::Packs, &pack);
    let vault = world.open().expect("opens");
    let copied = SealedObject { sealed: Bytes::from(bytes[4096..9000].to_vec()), ..data(50, 1) };
    vault.account(account_number(9)).put(DEVICE, vec![copied]).expect("received").wait().expect("durable");
    let place = vault.core().index.object(account_number(9), &id(50)).expect("an index").expect("held").place;
    let mut crashed = world.after_power_cut(Image::All, 100);
    let pack = crashed
        .disk
        .names(Folder::Packs)
        .into_iter()
        .find(|name| name.starts_with(&format!("{:08x}", place.pack.0)));
    let pack = pack.expect("a pack");
    crashed.disk.tamper(Folder::Packs, &pack, |bytes| bytes[place.offset as usize + 8] ^= 1);
    let before: Vec<_> =
        crashed.disk.list(Folder::Packs).expect("packs").into_iter().map(|(name, _)| name).collect();
    let vault = crashed.open().expect("opens");
    assert!(!has(&vault.account(account_number(9)), 50));
    for (name, number) in [(1, 9), (2, 9), (1, 3), (2, 2)] {
        assert!(!has(&vault.account(account_number(number)), name), "{name} of account {number}");
    }
    assert_eq!(vault.account(account_number(1)).usage().expect("an index").objects, 7, "of {before:?}");
    assert_eq!(vault.report().quarantined.len(), 1, "{:?}", vault.report());
}

#[test]
fn what_only_a_read_past_the_cache_gets_wrong_is_not_damaged() {
    let mut world = World::new();
    let vault = world.open().expect("opens");
    let objects: Vec<_> = (1..=3).map(|name| data(name, 2 << 20)).collect();
    let account = vault.account(account_number(1));
    for object in &objects {
        account.put(DEVICE, vec![object.clone()]).expect("taken").wait().expect("durable");
    }
    world.disk.set_bulk_lies();
    let ids: Vec<_> = objects.iter().map(|object| object.id).collect();
    let mut found = vec![None; ids.len()];
    account.read(&ids, &mut |index, read| found[index] = Some(read)).expect("readable");
    let found: Vec<_> =
        found.into_iter().map(|read| read.expect("handed over").expect("not damaged")).collect();
    assert_eq!(found, objects);
    assert_eq!(check(&vault, false).findings, []);
}
