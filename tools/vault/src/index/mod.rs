//! The derived lookup table of a vault: FORMAT.md section 10. Everything in it can be made from the packs again.

pub(crate) mod change;
pub(crate) mod fjall;
pub(crate) mod memory;
pub(crate) mod rows;
#[cfg(test)]
pub(crate) mod test_store;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use backstore_protocol::ids::ObjectId;

use crate::error::VaultError;
use crate::ids::AccountNumber;
use change::Change;
use rows::ObjectRow;

/// A key and its new value, or none if it goes away.
pub(crate) type Row = (Vec<u8>, Option<Vec<u8>>);

/// What a scan does with each row.
pub(crate) type EachRow<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Why a store of rows did not do what was asked.
#[derive(Debug, Clone)]
pub(crate) enum MetaFault {
    /// There is no space. Rows that were written stay visible.
    Full,
    /// Another process, or another part of this one, has it open.
    Locked,
    /// It is damaged: make it anew.
    Damaged(String),
}

/// Ordered rows with atomic batches: the seam below which the index may be something else.
pub(crate) trait MetaStore: Send + Sync {
    /// The value under a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaFault>;

    /// Rows whose keys start with `prefix` and are not below `from`, in order, until `each` breaks.
    fn scan(&self, prefix: &[u8], from: &[u8], each: &mut EachRow<'_>) -> Result<(), MetaFault>;

    /// Takes all rows or none. Visible at once, durable after [`MetaStore::flush`], and never before an earlier batch is.
    fn write(&self, rows: Vec<Row>);

    /// Makes what was written durable.
    fn flush(&self) -> Result<(), MetaFault>;

    /// Bytes that were written and are not durable.
    fn unflushed_bytes(&self) -> usize;
}

/// Where the rows of an index are kept while the vault is closed.
pub(crate) trait IndexHome {
    /// Opens the rows that are there, or none.
    fn open(&self) -> Result<Arc<dyn MetaStore>, MetaFault>;

    /// Removes all rows.
    fn clear(&self) -> Result<(), VaultError>;

    /// How a message names it.
    fn folder(&self) -> &Path;
}

/// The index of an open vault.
pub(crate) struct Index {
    /// Until it is closed.
    store: RwLock<Option<Arc<dyn MetaStore>>>,
    /// Its folder, for messages and for the mark that it is damaged.
    folder: PathBuf,
    /// Rows are read, changed and written by one at a time.
    changing: Mutex<()>,
    health: Mutex<Health>,
    /// The health has changed.
    ill: Condvar,
}

/// Whether an index can be used.
#[derive(Default)]
struct Health {
    /// What was found first.
    damage: Option<String>,
    is_closed: bool,
}

impl Index {
    pub(crate) fn new(store: Arc<dyn MetaStore>, folder: &Path) -> Self {
        Self {
            store: RwLock::new(Some(store)),
            folder: folder.to_owned(),
            changing: Mutex::new(()),
            health: Mutex::default(),
            ill: Condvar::new(),
        }
    }

    fn store(&self) -> Result<Arc<dyn MetaStore>, VaultError> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(VaultError::Closed)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found damaged, if anything was.
    pub(crate) fn damage(&self) -> Option<String> {
        self.health().damage.clone()
    }

    /// Waits until damage is found, or the index is closed without.
    pub(crate) fn wait_for_damage(&self) -> Option<String> {
        let is_well = |health: &mut Health| health.damage.is_none() && !health.is_closed;
        let health = self.ill.wait_while(self.health(), is_well).unwrap_or_else(PoisonError::into_inner);
        health.damage.clone().filter(|_| !health.is_closed)
    }

    /// Gives the store free, whoever still has a handle of the vault.
    pub(crate) fn close(&self) {
        self.take_store();
    }

    /// As [`Index::close`], and waits until nobody is in the middle of something, so that the store can be opened again.
    pub(crate) fn close_and_wait(&self) {
        let store = self.take_store();
        while store.as_ref().is_some_and(|store| store.strong_count() > 0) {
            // Lookups end within milliseconds, and this happens once in the life of a disk.
            std::thread::sleep(CLOSE_POLL);
        }
    }

    fn take_store(&self) -> Option<Weak<dyn MetaStore>> {
        let store = self.store.write().unwrap_or_else(PoisonError::into_inner).take();
        self.health().is_closed = true;
        self.ill.notify_all();
        store.map(|store| Arc::downgrade(&store))
    }

    /// Goes on with the rows of another index, which ends.
    pub(crate) fn replace(&self, other: &Self) {
        let store = other.store.write().unwrap_or_else(PoisonError::into_inner).take();
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        *self.health() = Health::default();
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        self.store()?.get(key).map_err(|fault| self.fail(fault))
    }

    /// The value under a key as a row of its type. What does not parse is damage.
    pub(crate) fn read<T>(&self, key: &[u8], parse: fn(&[u8]) -> Option<T>) -> Result<Option<T>, VaultError> {
        match self.get(key)? {
            None => Ok(None),
            Some(value) => match parse(&value) {
                Some(row) => Ok(Some(row)),
                None => Err(self.malformed(key)),
            },
        }
    }

    /// Where an object is.
    pub(crate) fn object(
        &self,
        account: AccountNumber,
        id: &ObjectId,
    ) -> Result<Option<ObjectRow>, VaultError> {
        self.read(&rows::object_key(account, id), ObjectRow::decode)
    }

    pub(crate) fn scan(&self, prefix: &[u8], from: &[u8], each: &mut EachRow<'_>) -> Result<(), VaultError> {
        self.store()?.scan(prefix, from, each).map_err(|fault| self.fail(fault))
    }

    /// All rows with a prefix, as rows of their type.
    pub(crate) fn scan_rows<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        parse: impl Fn(&[u8], &[u8]) -> Option<T>,
        mut each: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), VaultError> {
        let mut malformed = None;
        self.scan(prefix, from, &mut |key, value| match parse(key, value) {
            Some(row) => each(row),
            None => {
                malformed = Some(key.to_vec());
                ControlFlow::Break(())
            }
        })?;
        malformed.map_or(Ok(()), |key| Err(self.malformed(&key)))
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Computes a change from rows as they are and writes it, while nobody else changes any.
    pub(crate) fn change<T>(
        &self,
        compute: impl FnOnce(&mut Change<'_>) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut change = Change::new(self);
        let result = compute(&mut change)?;
        let rows = change.finish()?;
        if !rows.is_empty() {
            self.store()?.write(rows);
        }
        Ok(result)
    }

    /// Makes what was written durable.
    pub(crate) fn flush(&self) -> Result<(), VaultError> {
        self.store()?.flush().map_err(|fault| self.fail(fault))
    }

    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.store().map_or(0, |store| store.unflushed_bytes())
    }

    /// Notes damage, so that the next opening makes the index anew.
    fn fail(&self, fault: MetaFault) -> VaultError {
        match fault {
            MetaFault::Full => VaultError::Full,
            MetaFault::Locked => VaultError::Locked { path: self.folder.clone() },
            MetaFault::Damaged(detail) => {
                // If the mark cannot be made, opening finds the damage again or the next use does.
                let _ = std::fs::write(self.folder.join(DAMAGED_MARK), &detail);
                self.health().damage.get_or_insert_with(|| detail.clone());
                self.ill.notify_all();
                VaultError::Index { path: self.folder.clone(), detail }
            }
        }
    }

    fn malformed(&self, key: &[u8]) -> VaultError {
        self.fail(MetaFault::Damaged(format!("a row under {} does not parse", key.escape_ascii())))
    }
}

const CLOSE_POLL: std::time::Duration = std::time::Duration::from_millis(1);
/// A file of this name in an index's folder says that the index was found damaged.
pub(crate) const DAMAGED_MARK: &str = "damaged";
