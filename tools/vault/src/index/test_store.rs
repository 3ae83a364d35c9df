//! Rows in memory that survive closing, and what a crash leaves of them: the state after some flush.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{EachRow, IndexHome, MetaFault, MetaStore, Row};
use crate::error::VaultError;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows in memory. Clones are the same rows.
#[derive(Clone, Default)]
pub(crate) struct TestStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Default)]
struct Inner {
    live: Rows,
    unflushed: usize,
    /// After each flush.
    flushed: Vec<Rows>,
}

impl TestStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All rows.
    pub(crate) fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.inner().live.clone()
    }

    /// What a crash leaves: the rows after the last flush, or after one that many flushes before.
    pub(crate) fn after_crash(&self, flushes_lost: usize) -> Self {
        let inner = self.inner();
        let kept = inner.flushed.len().saturating_sub(flushes_lost);
        let flushed = inner.flushed[..kept].to_vec();
        let live = flushed.last().cloned().unwrap_or_default();
        Self { inner: Arc::new(Mutex::new(Inner { live, unflushed: 0, flushed })) }
    }

    /// Changes rows behind the vault's back.
    pub(crate) fn tamper(&self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        change(&mut self.inner().live);
    }
}

impl MetaStore for TestStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaFault> {
        Ok(self.inner().live.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], each: &mut EachRow<'_>) -> Result<(), MetaFault> {
        let start = from.max(prefix).to_vec();
        let rows: Vec<_> = {
            let inner = self.inner();
            let range = inner.live.range(start..).take_while(|(key, _)| key.starts_with(prefix));
            range.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        for (key, value) in rows {
            if each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, rows: Vec<Row>) {
        let mut inner = self.inner();
        for (key, value) in rows {
            inner.unflushed += key.len() + value.as_ref().map_or(0, Vec::len);
            match value {
                Some(value) => inner.live.insert(key, value),
                None => inner.live.remove(&key),
            };
        }
    }

    fn flush(&self) -> Result<(), MetaFault> {
        let mut inner = self.inner();
        let live = inner.live.clone();
        inner.flushed.push(live);
        inner.unflushed = 0;
        Ok(())
    }

    fn unflushed_bytes(&self) -> usize {
        self.inner().unflushed
    }
}

impl IndexHome for TestStore {
    fn open(&self) -> Result<Arc<dyn MetaStore>, MetaFault> {
        Ok(Arc::new(self.clone()))
    }

    fn clear(&self) -> Result<(), VaultError> {
        *self.inner() = Inner::default();
        Ok(())
    }

    fn folder(&self) -> &Path {
        Path::new("/nowhere/index")
    }
}
