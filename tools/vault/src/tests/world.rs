//! A vault on a disk and an index that can crash, driven on one thread so that every run takes the same steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstore_protocol::ids::VaultId;

use crate::disk::Disk;
use crate::disk::fault::{FaultDisk, Image};
use crate::index::test_store::TestStore;
use crate::pack::file::Packs;
use crate::pack::header::Superblock;
use crate::recover::open_index;
use crate::superblock;
use crate::testing::TestMachine;
use crate::vault::{Drive, Parts};
use crate::writer::PackSizes;
use crate::{Access, OpenOptions, Vault, VaultError};

/// What a vault lives on.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) disk: FaultDisk,
    pub(super) index: TestStore,
    /// Each opening draws other numbers.
    openings: u64,
}

impl World {
    /// An empty vault.
    pub(super) fn new() -> Self {
        let world = Self::default();
        let superblock = Superblock { vault: VaultId::from_bytes([0x77; 16]), created: 0 };
        superblock::create(&world.disk, &superblock).expect("a disk without faults");
        world
    }

    /// Opens the vault with small packs and a small memory for rows.
    pub(super) fn open(&mut self) -> Result<Vault, VaultError> {
        self.open_with(Access::Write, Drive::Inline)
    }

    pub(super) fn open_with(&mut self, access: Access, drive: Drive) -> Result<Vault, VaultError> {
        self.openings += 1;
        let options = OpenOptions {
            memtable_bytes: 4096,
            ..OpenOptions::folder(
                "/nowhere".into(),
                "/nowhere".into(),
                access,
                TestMachine::new(self.openings),
            )
        };
        let found = superblock::read(&self.disk)?;
        let packs = Arc::new(Packs::new(Arc::new(self.disk.clone()) as Arc<dyn Disk>, found.vault));
        let (index, recovered) = open_index(&packs, &self.index, access)?;
        let sizes = PackSizes { data: 100_000, meta: 40_000, records: 30 };
        Vault::assemble(Parts { packs, index, recovered, sizes }, &options, drive)
    }

    /// The same disk, seen through another index.
    pub(super) fn through(&self, index: &TestStore) -> Self {
        Self { index: index.clone(), ..self.clone() }
    }

    /// The world after a power cut. `flushes_lost` are states of the index that did not make it to its disk.
    pub(super) fn after_power_cut(&self, image: Image, flushes_lost: usize) -> Self {
        Self {
            disk: self.disk.image(image),
            index: self.index.after_crash(flushes_lost),
            openings: self.openings,
        }
    }

    /// The world after the process was killed.
    pub(super) fn after_kill(&self) -> Self {
        Self { disk: self.disk.after_kill(), index: self.index.after_crash(0), openings: self.openings }
    }

    /// The same bytes on another disk.
    pub(super) fn clone_of_disk(&self) -> Self {
        Self { disk: self.disk.after_kill(), index: self.index.after_crash(0), openings: self.openings }
    }

    /// The rows of an index made from the packs alone, but for those about packs and the vault itself.
    pub(super) fn rebuilt_rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut copy =
            Self { disk: self.disk.after_kill(), index: TestStore::default(), openings: self.openings };
        copy.disk.set_capacity(None);
        drop(copy.open().expect("opens"));
        copy.rows()
    }

    /// The rows of the index, but for those about packs and the vault itself.
    pub(super) fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.index.rows().into_iter().filter(|(key, _)| !matches!(key[0], b'p' | b'v')).collect()
    }
}
