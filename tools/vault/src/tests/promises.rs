//! Promises of FORMAT.md that no other test would miss.

use backstore_protocol::ids::VaultId;

use super::world::World;
use crate::disk::Folder;
use crate::ids::{PackClass, PackId};
use crate::index::test_store::TestStore;
use crate::limits::BLOCK;
use crate::pack::record::{HEADER_SIZE, PackKey, RecordHeader, RecordKind, make_check_right};
use crate::testing::*;
use crate::vault::Drive;
use crate::{Access, OpenOptions, READERS_MAX, Recovery, Vault, VaultError};

/// The vault of [`World`].
const VAULT: VaultId = VaultId::from_bytes([0x77; 16]);

/// Some of everything, and nothing was closed.
fn killed() -> World {
    let mut world = World::new();
    let vault = world.open().expect("opens");
    fill(&vault);
    let killed = world.after_kill();
    drop(vault);
    killed
}

fn fill(vault: &Vault) {
    let account = vault.account(account_number(1));
    let objects = vec![data(1, 9000), data(2, 3000), node(3, 0, &[1, 2]), node(4, 1, &[3]), body(5)];
    account.put(DEVICE, objects).expect("received").wait().expect("durable");
    commit(&account, head(1, 1, 4, 5)).expect("committed");
}

fn check(vault: &Vault) {
    let account = vault.account(account_number(1));
    (1..=5).for_each(|name| assert!(read(&account, name).is_ok(), "{name}"));
    assert_eq!(account.snapshots(lineage(1), u64::MAX, 10).expect("snapshots").len(), 1);
}

fn packs(world: &World) -> Vec<PackId> {
    world.disk.names(Folder::Packs).iter().map(|name| PackId::parse(name).expect("a pack")).collect()
}

fn contents(world: &World) -> Vec<(String, Vec<u8>)> {
    let of = |folder| {
        let names = world.disk.names(folder).into_iter();
        names.map(move |name| (name.clone(), world.disk.content(folder, &name))).collect::<Vec<_>>()
    };
    [Folder::Root, Folder::Packs, Folder::Quarantine].into_iter().flat_map(of).collect()
}

#[test]
fn what_newer_software_wrote_is_refused_and_not_touched() {
    for pack in packs(&killed()) {
        for (at, value) in [(3, 2), (4, 99), (4, 18), (6, 0x80)] {
            let mut world = killed();
            let key = PackKey::new(VAULT, pack);
            world.disk.tamper(Folder::Packs, &pack.to_string(), |bytes| {
                let header = &mut bytes[BLOCK as usize..];
                header[at] = value;
                make_check_right(header, &key, BLOCK);
            });
            let before = contents(&world);
            for access in [Access::Write, Access::Read] {
                world.index = TestStore::default();
                let refused = world.open_with(access, Drive::Inline).err();
                assert!(matches!(refused, Some(VaultError::Newer { .. })), "{pack}, byte {at}: {refused:?}");
            }
            assert!(contents(&world) == before, "{pack}, byte {at}: something was changed");
        }
    }
}

#[test]
fn an_unknown_feature_is_refused_and_not_touched() {
    let mut world = killed();
    let name = world.disk.names(Folder::Root).remove(0);
    world.disk.tamper(Folder::Root, &name, |bytes| {
        for copy in [0, 4096] {
            bytes[copy + 24] = 1;
            let hash = blake3::hash(&bytes[copy..copy + 64]);
            bytes[copy + 64..copy + 96].copy_from_slice(hash.as_bytes());
        }
    });
    let before = contents(&world);
    let refused = world.open().err();
    assert!(matches!(refused, Some(VaultError::Newer { .. })), "{refused:?}");
    assert!(contents(&world) == before);
}

/// A footer says that all it lists was durable. One that says it was not is not believed; the records are read.
#[test]
fn a_footer_of_what_was_not_durable_is_none() {
    let mut world = World::new();
    let vault = world.open().expect("opens");
    fill(&vault);
    vault.close().expect("closed");
    let pack = packs(&world).into_iter().find(|pack| pack.class == PackClass::Meta).expect("a pack of nodes");
    let name = pack.to_string();
    let key = PackKey::new(VAULT, pack);
    let size = world.disk.content(Folder::Packs, &name).len();
    let change_footer = |world: &World| {
        world.disk.tamper(Folder::Packs, &name, |bytes| {
            let trailer = bytes.len() - 16;
            let offset = u64::from_le_bytes(bytes[trailer..trailer + 8].try_into().expect("8 bytes"));
            let header = &mut bytes[offset as usize..][..HEADER_SIZE];
            let footer = RecordHeader::decode(header, &key, offset).expect("a footer");
            assert_eq!(footer.kind, RecordKind::Footer);
            header[120..128].fill(0);
            make_check_right(header, &key, offset);
        });
    };
    world.index = TestStore::default();
    check(&world.open().expect("opens"));
    assert_eq!(world.disk.content(Folder::Packs, &name).len(), size, "the footer is good");
    change_footer(&world);
    world.index = TestStore::default();
    check(&world.open().expect("opens"));
    assert!(world.disk.content(Folder::Packs, &name).len() > size, "there is a new footer behind it");
}

#[test]
fn torn_bytes_are_kept_as_they_are() {
    let mut world = killed();
    let pack = packs(&world).into_iter().find(|pack| pack.class == PackClass::Data).expect("a pack of data");
    let torn = sealed(77, 5000);
    let mut offset = 0;
    world.disk.tamper(Folder::Packs, &pack.to_string(), |bytes| {
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1;
        offset = used.next_multiple_of(BLOCK as usize);
        bytes.resize(bytes.len().max(offset + torn.len()), 0);
        bytes[offset..offset + torn.len()].copy_from_slice(&torn);
    });
    let vault = world.open().expect("opens");
    check(&vault);
    let [copy] = vault.report().quarantined.as_slice() else { panic!("{:?}", vault.report()) };
    assert!(!copy.is_damage);
    let kept = world.disk.content(Folder::Quarantine, &world.disk.names(Folder::Quarantine)[0]);
    assert!(kept.windows(torn.len()).any(|part| part == torn), "{} bytes were kept", kept.len());
    let pack = world.disk.content(Folder::Packs, &pack.to_string());
    assert!(pack[offset..offset + torn.len()] == torn, "nothing was cut off the pack");
}

#[test]
fn a_quota_counts_what_is_stored_and_what_is_on_its_way() {
    let mut world = World::new();
    let vault = world.open().expect("opens");
    let (account, other) = (vault.account(account_number(1)), vault.account(account_number(2)));
    account.set_quota(Some(20_000));
    let put = |name, length| account.put(DEVICE, vec![data(name, length)]).map(drop);
    put(1, 9000).expect("received");
    put(2, 9000).expect("received");
    for _ in 0..2 {
        let refused = put(3, 9000);
        assert!(matches!(&refused, Err(VaultError::Quota { quota: 20_000, .. })), "{refused:?}");
        assert_eq!(refused.expect_err("refused").recovery(), Recovery::GiveUp);
        vault.core().sync().expect("synced");
    }
    assert!(!has(&account, 3), "nothing of it is kept");
    put(2, 9000).expect("what is held costs nothing");
    other.put(DEVICE, vec![data(3, 90_000)]).expect("received").wait().expect("another account has its own");
    account.set_quota(Some(40_000));
    put(3, 9000).expect("received");
    account.set_quota(None);
    put(4, 90_000).expect("received");
    vault.close().expect("closed");
}

#[test]
fn so_many_read_at_once_and_no_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let writer = super::basics::create(dir.path());
    fill(&writer);
    let options = OpenOptions::folder(
        dir.path().join("vault"),
        dir.path().join("index"),
        Access::Read,
        TestMachine::new(1),
    );
    let mut readers: Vec<_> =
        (0..READERS_MAX).map(|_| Vault::open(options.clone()).expect("opens")).collect();
    readers.iter().for_each(check);
    let refused = Vault::open(options.clone()).err();
    assert!(matches!(refused, Some(VaultError::TooManyReaders)), "{refused:?}");
    readers.pop();
    check(&Vault::open(options).expect("there is room again"));
}
