//! Making and reading a vault's superblock: FORMAT.md section 2.

use std::io::{self, IoSlice};

use backstore_protocol::ids::VaultId;

use crate::disk::{Disk, Folder, Mode, read_up_to};
use crate::error::VaultError;
use crate::ids::PackId;
use crate::pack::header::{HEADER_BLOCK, HeaderFault, Superblock, decode_pack_header};

/// The superblock's file.
pub(crate) const NAME: &str = "vault";

/// Writes the superblock of a new vault and makes it durable.
pub(crate) fn create(disk: &dyn Disk, superblock: &Superblock) -> Result<(), VaultError> {
    let path = || disk.path(Folder::Root, NAME);
    let file = match disk.open(Folder::Root, NAME, Mode::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(VaultError::AlreadyAVault { path: disk.path(Folder::Root, "") });
        }
        result => result.map_err(|error| VaultError::disk("make", path(), error))?,
    };
    let block = superblock.encode();
    let written =
        file.write_at(&mut [IoSlice::new(&block), IoSlice::new(&block)], 0).and_then(|()| file.sync());
    written.map_err(|error| VaultError::disk("write to", path(), error))?;
    disk.sync_names(Folder::Root).map_err(|error| VaultError::disk("sync", path(), error))
}

/// What was found of a superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundSuperblock {
    pub(crate) vault: VaultId,
    /// Which of the two copies are as they were written.
    pub(crate) whole: [bool; 2],
}

/// Reads the superblock. Without either copy, the packs are asked.
pub(crate) fn read(disk: &dyn Disk) -> Result<FoundSuperblock, VaultError> {
    let path = disk.path(Folder::Root, NAME);
    let mut bytes = vec![0; 2 * HEADER_BLOCK];
    let read = match disk.open(Folder::Root, NAME, Mode::Read) {
        Ok(file) => read_up_to(&*file, &mut bytes, 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    };
    let read = read.map_err(|error| VaultError::disk("read", path.clone(), error))?;
    bytes.truncate(read);
    let copies: Vec<_> = bytes.chunks(HEADER_BLOCK).map(Superblock::decode).collect();
    if let Some(Ok(superblock)) = copies.iter().find(|copy| copy.is_ok()) {
        let is_whole = |n: usize| copies.get(n) == Some(&Ok(*superblock));
        return Ok(FoundSuperblock { vault: superblock.vault, whole: [is_whole(0), is_whole(1)] });
    }
    if copies.contains(&Err(HeaderFault::Newer)) {
        return Err(VaultError::Newer { path, what: "its superblock".into() });
    }
    match from_packs(disk) {
        Some(vault) => Ok(FoundSuperblock { vault, whole: [false, false] }),
        None if read == 0 => Err(VaultError::NotAVault { path: disk.path(Folder::Root, "") }),
        None => Err(VaultError::SuperblockDamaged { path }),
    }
}

/// The vault that the first readable pack names.
fn from_packs(disk: &dyn Disk) -> Option<VaultId> {
    let mut names = disk.list(Folder::Packs).ok()?;
    names.sort_unstable();
    names.iter().find_map(|(name, _)| {
        let id = PackId::parse(name)?;
        let file = disk.open(Folder::Packs, name, Mode::Read).ok()?;
        let mut block = vec![0; HEADER_BLOCK];
        read_up_to(&*file, &mut block, 0).ok()?;
        decode_pack_header(&block).ok().filter(|(_, named)| *named == id).map(|(vault, _)| vault)
    })
}

/// Writes the copies that are not whole again. Without the time of its making, which only they knew.
pub(crate) fn repair(disk: &dyn Disk, found: &FoundSuperblock) -> Result<(), VaultError> {
    let path = || disk.path(Folder::Root, NAME);
    let failed = |error| VaultError::disk("write to", path(), error);
    let file = match disk.open(Folder::Root, NAME, Mode::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return create(disk, &Superblock { vault: found.vault, created: 0 });
        }
        result => result.map_err(failed)?,
    };
    let mut block = Superblock { vault: found.vault, created: 0 }.encode();
    if let Some(good) = found.whole.iter().position(|is_whole| *is_whole) {
        crate::disk::read_exact_at(&*file, &mut block, (good * HEADER_BLOCK) as u64).map_err(failed)?;
    }
    for (number, _) in found.whole.iter().enumerate().filter(|(_, is_whole)| !**is_whole) {
        file.write_at(&mut [IoSlice::new(&block)], (number * HEADER_BLOCK) as u64).map_err(failed)?;
        // One after the other: a crash in between must not cost the good copy.
        file.sync().map_err(failed)?;
    }
    Ok(())
}
