//! The folder of an index: one for who writes, some for those who read, each held by a lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use backstore_platform::lock::{Lock, LockError};
use backstore_protocol::ids::VaultId;

use crate::error::VaultError;
use crate::index::fjall::FjallStore;
use crate::index::{DAMAGED_MARK, IndexHome, MetaFault, MetaStore};
use crate::limits::READERS_MAX;
use crate::options::{Access, OpenOptions};

/// A folder for an index that nobody else uses while this is held.
pub(crate) struct Slot {
    folder: PathBuf,
    cache_bytes: u64,
    _lock: Lock,
}

impl Slot {
    /// Takes the folder for an index of a vault.
    pub(crate) fn take(options: &OpenOptions, vault: VaultId) -> Result<Self, VaultError> {
        let base = options.index.join(vault.to_string());
        let cache_bytes = options.cache_bytes;
        match options.access {
            Access::Write => {
                Self::try_take(base.join("write"), cache_bytes)?.ok_or(VaultError::Locked { path: base })
            }
            Access::Read => {
                for number in 0..READERS_MAX {
                    if let Some(slot) = Self::try_take(base.join(format!("read-{number}")), cache_bytes)? {
                        return Ok(slot);
                    }
                }
                Err(VaultError::TooManyReaders)
            }
        }
    }

    fn try_take(folder: PathBuf, cache_bytes: u64) -> Result<Option<Self>, VaultError> {
        let made = fs::create_dir_all(&folder);
        made.map_err(|error| VaultError::disk("make", folder.clone(), error))?;
        let lock = lock(&folder.join("lock"))?;
        Ok(lock.map(|lock| Self { folder, cache_bytes, _lock: lock }))
    }

    fn rows(&self) -> PathBuf {
        self.folder.join("rows")
    }
}

impl IndexHome for Slot {
    fn open(&self) -> Result<Arc<dyn MetaStore>, MetaFault> {
        if let Ok(detail) = fs::read_to_string(self.folder.join(DAMAGED_MARK)) {
            return Err(MetaFault::Damaged(detail));
        }
        Ok(Arc::new(FjallStore::open(&self.rows(), self.cache_bytes)?))
    }

    fn clear(&self) -> Result<(), VaultError> {
        let ignore_absent = |result: io::Result<()>, path: PathBuf| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VaultError::disk("remove", path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        };
        ignore_absent(fs::remove_dir_all(self.rows()), self.rows())?;
        let mark = self.folder.join(DAMAGED_MARK);
        ignore_absent(fs::remove_file(&mark), mark)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Locks a file, which is made if need be. `None` if another process has it locked.
pub(crate) fn lock(path: &Path) -> Result<Option<Lock>, VaultError> {
    match Lock::acquire(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { .. }) => Ok(None),
        Err(LockError::File { action, path, source }) => Err(VaultError::disk(action, path, source)),
    }
}
