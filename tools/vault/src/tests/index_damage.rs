//! Whatever happens to an index on a real disk, the answers stay right: it is made anew, at opening or after the first error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::testing::*;
use crate::{Access, OpenOptions, Recovery, Vault, VaultError};

fn options(dir: &Path) -> OpenOptions {
    let (vault, index) = (dir.join("vault"), dir.join("index"));
    OpenOptions {
        memtable_bytes: 3000,
        ..OpenOptions::folder(vault, index, Access::Write, TestMachine::new(1))
    }
}

/// Adds to a vault so that its index has several tables.
fn fill(vault: &Vault, round: u64) {
    let account = vault.account(account_number(1));
    for name in round * 100..round * 100 + 60 {
        let objects = vec![data(name, 50), node(10_000 + name, 0, &[name])];
        account.put(DEVICE, objects).expect("received").wait().expect("durable");
    }
    account.put(DEVICE, vec![body(20_000)]).expect("received").wait().expect("durable");
    commit(&account, head(1, round + 1, 10_000 + round * 100, 20_000)).expect("committed");
    vault.control().put(b"round", Some(&[round as u8])).expect("control state");
}

/// Whether a vault with so many rounds answers right. An error of the index is none.
fn check(vault: &Vault, rounds: u64) -> Result<(), VaultError> {
    let account = vault.account(account_number(1));
    for round in 0..rounds {
        let names: Vec<u64> = (round * 100..round * 100 + 60).collect();
        let ids: Vec<_> = names.iter().map(|name| id(*name)).collect();
        assert_eq!(account.have(&ids)?, vec![true; 60]);
        let mut whole = 0;
        account.read(&ids, &mut |at, object| {
            assert_eq!(object, Ok(data(names[at], 50)));
            whole += 1;
        })?;
        assert_eq!(whole, 60);
    }
    assert_eq!(account.have(&[id(77_777)])?, [false]);
    assert_eq!(account.lineages()?.iter().map(|lineage| lineage.snapshots).collect::<Vec<_>>(), [rounds]);
    assert_eq!(account.snapshots(lineage(1), u64::MAX, 100)?.len() as u64, rounds);
    assert_eq!(account.usage()?.objects, rounds * 120 + 1);
    assert_eq!(account.damaged()?, []);
    assert_eq!(vault.control().get(b"round")?, Some(vec![rounds as u8 - 1]));
    Ok(())
}

/// Opens, and once more if the index turns out to be damaged. Returns whether it was made anew.
fn open_and_check(dir: &Path, rounds: u64, context: &str) -> bool {
    let vault = Vault::open(options(dir)).unwrap_or_else(|error| panic!("{context}: {error}"));
    match check(&vault, rounds) {
        Ok(()) => vault.report().index_rebuilt.is_some(),
        Err(error) => {
            assert_eq!(error.recovery(), Recovery::Reopen, "{context}: {error}");
            drop(vault);
            let vault = Vault::open(options(dir)).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(vault.report().index_rebuilt.is_some(), "{context}");
            check(&vault, rounds).unwrap_or_else(|error| panic!("{context}: made anew, but {error}"));
            true
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_all(&path, &target)
        } else {
            fs::copy(&path, &target).map(|_| ()).expect("a copy")
        }
    }
}

/// A vault with two rounds, closed, and its index as it was after the first.
fn closed_vault() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    Vault::create(&dir.path().join("vault"), &*TestMachine::new(0)).expect("a new vault");
    let vault = Vault::open(options(dir.path())).expect("opens");
    fill(&vault, 0);
    vault.close().expect("closed");
    let older = dir.path().join("older");
    copy_all(&dir.path().join("index"), &older);
    let vault = Vault::open(options(dir.path())).expect("opens");
    fill(&vault, 1);
    vault.close().expect("closed");
    (dir, older)
}

fn restore(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    fs::remove_dir_all(dir.join("index")).expect("the index can go");
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

#[test]
fn any_damaged_file_of_the_index_is_noticed_or_does_not_matter() {
    let (dir, _) = closed_vault();
    let files: BTreeMap<_, _> = files_below(&dir.path().join("index"))
        .into_iter()
        .map(|path| (path.clone(), fs::read(&path).expect("a file")))
        .collect();
    assert!(files.len() > 10, "{:?}", files.keys());
    let mut rebuilt = 0;
    for (path, bytes) in &files {
        // A journal is mostly space that was set aside.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![("deleted".into(), None)];
        for length in [0, 1, used / 2, used.saturating_sub(1)] {
            damages.push((format!("cut to {length}"), Some(bytes[..length.min(used)].to_vec())));
        }
        for part in 0..12 {
            let mut flipped = bytes.clone();
            let at = used * part / 12;
            if at < used {
                flipped[at] ^= 0x10;
                damages.push((format!("bit flipped at {at} of {used}"), Some(flipped)));
            }
        }
        let mut zeroed = bytes.clone();
        zeroed[used / 3..used * 2 / 3].fill(0);
        damages.push(("middle zeroed".into(), Some(zeroed)));
        let mut garbage = vec![0; used.max(64)];
        pseudo_random(0xbad, used as u64, &mut garbage);
        damages.push(("garbage".into(), Some(garbage)));
        for (what, damage) in damages {
            restore(dir.path(), &files);
            match damage {
                Some(bytes) => fs::write(path, bytes).expect("a file"),
                None => fs::remove_file(path).expect("a file"),
            }
            rebuilt += u32::from(open_and_check(dir.path(), 2, &format!("{} {what}", path.display())));
        }
    }
    assert!(rebuilt > 60, "only {rebuilt} kinds of damage were noticed");
}

#[test]
fn a_lost_or_emptied_index_is_made_anew() {
    let (dir, _) = closed_vault();
    fs::remove_dir_all(dir.path().join("index")).expect("the index can go");
    open_and_check(dir.path(), 2, "deleted");
    let vault = Vault::open_with_new_index(options(dir.path())).expect("opens");
    assert_eq!(vault.report().index_rebuilt.as_deref(), Some("asked for"));
    check(&vault, 2).expect("a new index");
    let other = Vault::open_with_new_index(options(dir.path()));
    assert!(matches!(other, Err(VaultError::Locked { .. })), "it is in use");
    check(&vault, 2).expect("nothing happened to it");
    drop(vault);
    for folder in fs::read_dir(dir.path().join("index")).expect("an index") {
        let write = folder.expect("an entry").path().join("write");
        fs::remove_dir_all(write.join("rows")).expect("rows");
        fs::create_dir(write.join("rows")).expect("rows");
    }
    open_and_check(dir.path(), 2, "emptied");
}

#[test]
fn an_older_index_catches_up() {
    let (dir, older) = closed_vault();
    fs::remove_dir_all(dir.path().join("index")).expect("the index can go");
    copy_all(&older, &dir.path().join("index"));
    assert!(!open_and_check(dir.path(), 2, "older"), "it is a start");
}

#[test]
fn a_newer_index_than_the_packs_is_made_anew() {
    let (dir, _) = closed_vault();
    let packs = dir.path().join("packs");
    copy_all(&dir.path().join("vault/packs"), &packs);
    let vault = Vault::open(options(dir.path())).expect("opens");
    fill(&vault, 2);
    vault.close().expect("closed");
    fs::remove_dir_all(dir.path().join("vault/packs")).expect("packs");
    copy_all(&packs, &dir.path().join("vault/packs"));
    assert!(open_and_check(dir.path(), 2, "an older copy of the packs came back"));
}

#[test]
fn the_index_of_another_vault_is_not_used() {
    let (dir, _) = closed_vault();
    let (other, _) = closed_vault();
    let id = |dir: &Path| Vault::open(options(dir)).expect("opens").id().to_string();
    let (id, other_id) = (id(dir.path()), id(other.path()));
    // The test's machine draws the same id again; that is the point here.
    assert_eq!(id, other_id);
    let vault = Vault::open(options(other.path())).expect("opens");
    fill(&vault, 2);
    vault.close().expect("closed");
    fs::remove_dir_all(dir.path().join("index")).expect("the index can go");
    copy_all(&other.path().join("index"), &dir.path().join("index"));
    open_and_check(dir.path(), 2, "another vault's index");
}

/// Damage that comes while the vault is open and written to.
#[test]
fn a_vault_in_use_is_opened_again_with_all_that_was_acknowledged() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 4] = [
        ("flipped", |path| {
            let mut bytes = fs::read(path).expect("a file");
            let middle = bytes.len() / 2;
            bytes.get_mut(middle).into_iter().for_each(|byte| *byte ^= 4);
            fs::write(path, bytes).expect("a file");
        }),
        ("zeroed", |path| fs::write(path, vec![0; fs::read(path).expect("a file").len()]).expect("a file")),
        ("emptied", |path| fs::write(path, b"").expect("a file")),
        ("deleted", |path| fs::remove_file(path).expect("a file")),
    ];
    let mut found = 0;
    for (what, damage) in damages {
        let (dir, _) = closed_vault();
        let mut options = options(dir.path());
        options.cache_bytes = 0;
        let vault = Vault::open(options.clone()).expect("opens");
        vault.account(account_number(1)).set_quota(Some(1 << 40));
        files_below(&dir.path().join("index"))
            .iter()
            .filter(|path| is_rows(path))
            .for_each(|path| damage(path));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| vault.wait_for_damage());
            let acknowledged = put_until_damaged(&vault);
            if vault.core().index.damage().is_none() {
                // Nobody has met it: then nothing wrong was said.
                check_and_more(&vault, &acknowledged)
                    .unwrap_or_else(|error| assert!(error.is_of_index(), "{what}: {error}"));
            }
            let is_found = vault.core().index.damage().is_some();
            found += u32::from(is_found);
            let again = vault.open_again().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(again.report().index_rebuilt.is_some(), "{what}");
            check_and_more(&again, &acknowledged)
                .unwrap_or_else(|error| panic!("{what}: made anew, but {error}"));
            let quota = again.core().quotas.read().expect("no panic").get(&account_number(1)).copied();
            assert_eq!(quota, Some(1 << 40), "{what}");
            let old = vault.account(account_number(1)).have(&[id(1)]);
            assert!(matches!(old, Err(VaultError::Closed)), "{what}: {old:?}");
            let locked = Vault::open(options.clone()).err();
            assert!(matches!(locked, Some(VaultError::Locked { .. })), "{what}: {locked:?}");
            again.close().unwrap_or_else(|error| panic!("{what}: {error}"));
            // What waits ends in any case; it may have looked only when the vault was closed.
            assert!(is_found || waiting.join().expect("no panic").is_none(), "{what}");
        });
        drop(vault);
        assert!(!open_and_check(dir.path(), 2, what), "{what}: the new one is whole");
    }
    assert!(found >= 3, "only {found} kinds of damage were met");
}

fn is_rows(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "rows") && !path.ends_with("lock")
}

/// Puts one object after the other until the index refuses; what is durable.
fn put_until_damaged(vault: &Vault) -> Vec<u64> {
    let account = vault.account(account_number(2));
    let mut acknowledged = Vec::new();
    for name in 50_000..50_400 {
        match account.put(DEVICE, vec![data(name, 100)]).and_then(crate::Receipt::wait) {
            Ok(()) => acknowledged.push(name),
            Err(error) => {
                assert!(error.is_of_index(), "{error}");
                break;
            }
        }
    }
    acknowledged
}

fn check_and_more(vault: &Vault, acknowledged: &[u64]) -> Result<(), VaultError> {
    check(vault, 2)?;
    let account = vault.account(account_number(2));
    let ids: Vec<_> = acknowledged.iter().map(|name| id(*name)).collect();
    account.read(&ids, &mut |at, object| assert_eq!(object, Ok(data(acknowledged[at], 100))))
}
