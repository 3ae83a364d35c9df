//! Released bytes are frozen: a vault of version 1, as it was written then, is read for ever, and the same work gives the same bytes.
//!
//! `fixtures/v1` is what [`write_all`] leaves. It is never written again: a change that needs that is another version.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use backstore_protocol::object::{ObjectKind, SealedObject};

use super::world::World;
use crate::disk::Folder;
use crate::disk::fault::Image;
use crate::testing::*;
use crate::{Access, OpenOptions, SnapshotHead, Vault};

fn map(name: u64, references: &[u64]) -> SealedObject {
    SealedObject { kind: ObjectKind::Map, ..node(name, 0, references) }
}

/// Objects of each kind.
fn objects() -> Vec<SealedObject> {
    let small = [data(1, 3000), data(2, 41), data(3, 9000)];
    small
        .into_iter()
        .chain([map(4, &[1, 3]), node(10, 0, &[2, 4]), node(11, 1, &[10]), body(12), body(13)])
        .collect()
}

fn second_head() -> SnapshotHead {
    head(1, 2, 10, 13)
}

/// Every kind of record: objects, snapshots, control records that set and remove, marks, footers of packs that were closed, continued and sealed after a
/// crash, a torn tail, and an object that was damaged and came again.
fn write_all() -> World {
    let mut world = World::new();
    let vault = world.open().expect("opens");
    let account = vault.account(account_number(1));
    let (first, rest) = (objects()[..3].to_vec(), objects()[3..].to_vec());
    account.put(DEVICE, first).expect("received").wait().expect("durable");
    account.put(DEVICE, rest).expect("received").wait().expect("durable");
    commit(&account, head(1, 1, 11, 12)).expect("committed");
    vault
        .control()
        .put_all([(b"a".to_vec(), Some(b"one".to_vec())), (b"b".to_vec(), Some(Vec::new()))])
        .expect("set");
    vault.close().expect("closed");

    let vault = world.open().expect("opens");
    let account = vault.account(account_number(1));
    commit(&account, second_head()).expect("its root gets a second copy");
    account.confirm(lineage(1), second_head().id).expect("confirmed");
    vault.control().put(b"a", None).expect("removed");
    let other = vault.account(account_number(u64::from(u32::MAX) + 7));
    other.put(DEVICE, vec![data(1, 3000)]).expect("received").wait().expect("durable");
    let _ = other.put(DEVICE, vec![data(20, 500)]).expect("received");
    let mut world = world.after_power_cut(Image::All, 0);

    let torn =
        world.disk.names(Folder::Packs).into_iter().find(|name| name.ends_with(".data")).expect("a pack");
    world.disk.tamper(Folder::Packs, &torn, |bytes| {
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("records");
        bytes.truncate(used - 100);
    });
    drop(world.open().expect("seals"));
    world.disk.tamper(Folder::Packs, &torn, |bytes| bytes[4096 + 200] ^= 1);
    let vault = world.open().expect("opens");
    let account = vault.account(account_number(1));
    vault.check(|_| ControlFlow::Continue(()), true).expect("a check");
    assert!(!has(&account, 1));
    account.put(DEVICE, vec![data(1, 3000)]).expect("received").wait().expect("durable");
    vault.close().expect("closed");
    world
}

type Files = BTreeMap<String, Vec<u8>>;

/// What is on the disk, by path.
fn files_of(world: &World) -> Files {
    let folders = [(Folder::Root, ""), (Folder::Packs, "packs/"), (Folder::Quarantine, "quarantine/")];
    let mut files = Files::new();
    for (folder, path) in folders {
        for name in world.disk.names(folder) {
            files.insert(format!("{path}{name}"), world.disk.content(folder, &name));
        }
    }
    files
}

fn files_below(root: &Path, path: &str, files: &mut Files) {
    for entry in fs::read_dir(root.join(path)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.path().is_dir() {
            files_below(root, &path, files);
        } else {
            files.insert(path, fs::read(entry.path()).expect("a file"));
        }
    }
}

fn write_files(root: &Path, files: &Files) {
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

fn fixture() -> Files {
    let mut files = Files::new();
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/fixtures/v1"), "", &mut files);
    files
}

/// Everything that [`write_all`] has stored and nothing else.
fn check_contents(vault: &Vault) {
    let account = vault.account(account_number(1));
    for object in objects() {
        let mut found = None;
        account.read(&[object.id], &mut |_, read| found = Some(read)).expect("readable");
        assert_eq!(found, Some(Ok(object)));
    }
    assert_eq!(account.have(&[id(20), id(77)]).expect("an index"), [false, false]);
    let snapshots = account.snapshots(lineage(1), u64::MAX, 100).expect("an index");
    let heads: Vec<_> = snapshots
        .iter()
        .map(|snapshot| (snapshot.id, snapshot.is_damaged, snapshot.header.to_vec()))
        .collect();
    let second = second_head();
    let first = head(1, 1, 11, 12);
    assert_eq!(heads, [(second.id, false, header(&second)), (first.id, false, header(&first))]);
    let lineages = account.lineages().expect("an index");
    assert_eq!(
        lineages.iter().map(|lineage| (lineage.lineage, lineage.head)).collect::<Vec<_>>(),
        [(lineage(1), second.id)]
    );
    let other = vault.account(account_number(u64::from(u32::MAX) + 7));
    assert_eq!(read(&other, 1), Ok(data(1, 3000)));
    assert_eq!(
        (account.usage().expect("an index").objects, other.usage().expect("an index").objects),
        (8, 1)
    );
    let control = vault.control();
    assert_eq!(control.get(b"a").expect("an index"), None);
    assert_eq!(control.get(b"b").expect("an index"), Some(Vec::new()));
}

#[test]
fn a_vault_of_version_1_is_read_for_ever() {
    let dir = tempfile::tempdir().expect("a folder");
    let (folder, index) = (dir.path().join("vault"), dir.path().join("index"));
    write_files(&folder, &fixture());
    for access in [Access::Read, Access::Write, Access::Write] {
        let options = OpenOptions::folder(folder.clone(), index.clone(), access, TestMachine::new(99));
        let vault = Vault::open(options).expect("opens");
        check_contents(&vault);
        let report = vault.check(|_| ControlFlow::Continue(()), access == Access::Write).expect("a check");
        assert_eq!(report.findings, []);
        vault.close().expect("closed");
        let mut files = Files::new();
        files_below(&folder, "", &mut files);
        files.remove("lock");
        assert!(files == fixture(), "looking at it changes nothing");
    }
    // It can be written to as well.
    let options = OpenOptions::folder(folder, index, Access::Write, TestMachine::new(99));
    let vault = Vault::open(options).expect("opens");
    let account = vault.account(account_number(1));
    account.put(DEVICE, vec![body(30)]).expect("received").wait().expect("durable");
    commit(&account, SnapshotHead { previous: Some(second_head().id), ..head(1, 3, 11, 30) })
        .expect("committed");
    vault.close().expect("closed");
}

#[test]
fn the_same_work_gives_the_same_bytes() {
    let files = files_of(&write_all());
    let names: Vec<_> = files.iter().map(|(path, bytes)| (path, bytes.len())).collect();
    assert!(names.iter().map(|(_, size)| size).sum::<usize>() < 200_000, "{names:?}");
    if files != fixture() {
        let there = std::env::temp_dir().join(format!("vault-v1-{}", std::process::id()));
        write_files(&there, &files);
        panic!("the bytes of version 1 have changed; see what is written now in {}", there.display());
    }
}
