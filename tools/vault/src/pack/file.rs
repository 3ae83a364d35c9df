//! A pack's file, and the packs of a vault by their numbers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use backstore_protocol::ids::VaultId;

use super::record::{HEADER_SIZE, PackKey, RecordFault, RecordHeader, content_hash};
use crate::disk::{Disk, DiskFile, Folder, Mode, read_exact_at, read_up_to};
use crate::error::VaultError;
use crate::ids::{PackId, PackNumber};
use crate::limits::OPEN_PACKS_MAX;

/// A pack that is open.
pub(crate) struct Pack {
    pub(crate) id: PackId,
    pub(crate) key: PackKey,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// A record and its content, as they are stored.
pub(crate) struct StoredRecord {
    pub(crate) header: RecordHeader,
    pub(crate) content: Vec<u8>,
}

impl Pack {
    /// The header of the record at `offset`, if one is there.
    pub(crate) fn header(&self, offset: u64) -> io::Result<Result<RecordHeader, RecordFault>> {
        let mut bytes = [0; HEADER_SIZE];
        let read = read_up_to(&*self.file, &mut bytes, offset)?;
        Ok(RecordHeader::decode(&bytes[..read], &self.key, offset))
    }

    /// The record at `offset`, if one is there and its hash is right.
    pub(crate) fn record(&self, offset: u64) -> io::Result<Option<StoredRecord>> {
        let Ok(header) = self.header(offset)? else { return Ok(None) };
        let mut references = vec![0; header.references as usize * 32];
        let mut content = vec![0; header.length as usize];
        let start = offset + HEADER_SIZE as u64;
        let has_all = read_up_to(&*self.file, &mut references, start)? == references.len()
            && read_up_to(&*self.file, &mut content, start + references.len() as u64)? == content.len();
        let is_whole = has_all && content_hash(&references, &content) == header.content_hash;
        Ok(is_whole.then_some(StoredRecord { header, content }))
    }

    /// The references of the record at `offset`, which a valid header announces. Their hash is not checked: that takes the content.
    pub(crate) fn references(&self, offset: u64, header: &RecordHeader) -> io::Result<Vec<u8>> {
        let mut references = vec![0; header.references as usize * 32];
        read_exact_at(&*self.file, &mut references, offset + HEADER_SIZE as u64)?;
        Ok(references)
    }
}

/// The packs of a vault. Files are opened when they are needed; a bounded number stays open.
pub(crate) struct Packs {
    disk: Arc<dyn Disk>,
    vault: VaultId,
    known: RwLock<BTreeMap<PackNumber, PackId>>,
    open: Mutex<OpenPacks>,
    /// Closed packs that somebody writes to again.
    claimed: Mutex<HashSet<PackNumber>>,
}

#[derive(Default)]
struct OpenPacks {
    packs: HashMap<PackNumber, (Arc<Pack>, u64)>,
    uses: u64,
}

impl Packs {
    pub(crate) fn new(disk: Arc<dyn Disk>, vault: VaultId) -> Self {
        Self { disk, vault, known: RwLock::default(), open: Mutex::default(), claimed: Mutex::default() }
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn vault(&self) -> VaultId {
        self.vault
    }

    /// Adds a pack that was found or made.
    pub(crate) fn add(&self, id: PackId) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id.number, id);
    }

    /// Forgets a pack whose file is gone.
    pub(crate) fn remove(&self, number: PackNumber) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).packs.remove(&number);
    }

    /// Forgets all packs and closes their files: others may be there under the same names.
    pub(crate) fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).packs.clear();
    }

    /// Asks to write to a pack that was closed. Only the first who asks may, until the vault is opened again: who continues a pack and who mends it
    /// would write to the same place.
    pub(crate) fn claim(&self, number: PackNumber) -> bool {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).insert(number)
    }

    /// How a message names a pack.
    pub(crate) fn path(&self, id: PackId) -> std::path::PathBuf {
        self.disk.path(Folder::Packs, &id.to_string())
    }

    /// The pack with this number, open to be read. `None` if there is none.
    pub(crate) fn get(&self, number: PackNumber) -> Result<Option<Arc<Pack>>, VaultError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        if let Some((pack, used)) = open.packs.get_mut(&number) {
            *used = uses;
            return Ok(Some(Arc::clone(pack)));
        }
        let id = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
        let Some(id) = id else { return Ok(None) };
        let file = match self.disk.open(Folder::Packs, &id.to_string(), Mode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VaultError::disk("open", self.path(id), error)),
        };
        let pack = Arc::new(self.pack(id, file));
        if open.packs.len() >= OPEN_PACKS_MAX {
            let oldest = open.packs.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number);
            oldest.and_then(|number| open.packs.remove(&number));
        }
        open.packs.insert(number, (Arc::clone(&pack), uses));
        Ok(Some(pack))
    }

    /// A pack over an open file.
    pub(crate) fn pack(&self, id: PackId, file: Arc<dyn DiskFile>) -> Pack {
        Pack { id, key: PackKey::new(self.vault, id), file }
    }
}
