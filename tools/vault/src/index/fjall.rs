//! Rows in fjall: those that are new in memory, the others in sorted tables.
//!
//! fjall's journal is not used. A journal damaged in the middle would lose rows from the middle, and replaying a full one takes a second; the
//! packs are our journal. So rows collect here and become a table of their own, whole or not at all.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::{fs, io};

use fjall::config::{BlockSizePolicy, CompressionPolicy, PartitioningPolicy, PinningPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::memory::Rows;
use super::{EachRow, MetaFault, MetaStore, Row};
use crate::error::is_full;

/// Rows in a fjall database.
pub(crate) struct FjallStore {
    database: Database,
    keyspace: Keyspace,
    memory: RwLock<Memory>,
    flushing: Mutex<()>,
}

#[derive(Default)]
struct Memory {
    active: Rows,
    /// Being written; older than `active`, newer than the tables.
    frozen: Option<Arc<Rows>>,
}

impl FjallStore {
    /// Opens the database in `folder`, or makes one there. `cache_bytes` bounds what it keeps of its tables in memory.
    pub(crate) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, MetaFault> {
        verify_versions(folder)?;
        let open = || {
            let database = Database::builder(folder)
                .cache_size(cache_bytes)
                .worker_threads(1)
                .max_cached_files(Some(64))
                .open()?;
            let keyspace = database.keyspace("rows", keyspace_options)?;
            Ok(Self { database, keyspace, memory: RwLock::default(), flushing: Mutex::new(()) })
        };
        guarded(open)
    }

    fn memory(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_mut(&self) -> std::sync::RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn ingest<'a>(&self, rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Result<(), MetaFault> {
        guarded(|| {
            let mut ingestion = self.keyspace.start_ingestion()?;
            for (key, value) in rows {
                match value {
                    Some(value) => ingestion.write(key, value)?,
                    None => ingestion.write_tombstone(key)?,
                }
            }
            ingestion.finish()?;
            // A compaction that met damage has ended its thread and says so only here.
            self.database.persist(PersistMode::Buffer)
        })
    }
}

impl MetaStore for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaFault> {
        {
            let memory = self.memory();
            let new =
                memory.active.get(key).or_else(|| memory.frozen.as_ref().and_then(|rows| rows.get(key)));
            if let Some(value) = new {
                return Ok(value.clone());
            }
        }
        guarded(|| Ok(self.keyspace.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], each: &mut EachRow<'_>) -> Result<(), MetaFault> {
        // The table iterator is made while the rows in memory cannot move into tables.
        let (new, tables) = {
            let memory = self.memory();
            let mut new = Rows::default();
            for rows in memory.frozen.as_deref().into_iter().chain([&memory.active]) {
                new.extend(rows.range(prefix, from).map(|(key, value)| (key.clone(), value.clone())));
            }
            let start = from.max(prefix).to_vec();
            (new, guarded(|| Ok(self.keyspace.range::<Vec<u8>, _>(start..)))?)
        };
        let mut tables = tables.map(|guard| guard.into_inner());
        let mut next_table = || {
            guarded(|| tables.next().transpose()).map(|row| row.filter(|(key, _)| key.starts_with(prefix)))
        };
        let mut new = new.iter().peekable();
        let mut table_row = next_table()?;
        loop {
            let take_new = match (new.peek(), &table_row) {
                (None, None) => return Ok(()),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((new_key, _)), Some((table_key, _))) => new_key.as_slice() <= &**table_key,
            };
            let flow = if take_new {
                let Some((key, value)) = new.next() else { return Ok(()) };
                if table_row.as_ref().is_some_and(|(table_key, _)| **table_key == key[..]) {
                    table_row = next_table()?;
                }
                value.as_deref().map_or(ControlFlow::Continue(()), |value| each(key, value))
            } else {
                let Some((key, value)) = table_row.take() else { return Ok(()) };
                table_row = next_table()?;
                each(&key, &value)
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    fn write(&self, rows: Vec<Row>) {
        self.memory_mut().active.extend(rows);
    }

    fn flush(&self) -> Result<(), MetaFault> {
        let _guard = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let frozen = {
            let mut memory = self.memory_mut();
            if memory.active.is_empty() {
                return Ok(());
            }
            let frozen = Arc::new(std::mem::take(&mut memory.active));
            memory.frozen = Some(Arc::clone(&frozen));
            frozen
        };
        let result = self.ingest(frozen.iter().map(|(key, value)| (key.as_slice(), value.as_deref())));
        let mut memory = self.memory_mut();
        memory.frozen = None;
        if result.is_err() {
            let newer = std::mem::take(&mut memory.active);
            memory.active = Arc::unwrap_or_clone(frozen);
            memory.active.extend(newer.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        result
    }

    fn unflushed_bytes(&self) -> usize {
        self.memory().active.bytes()
    }
}

/// Filters and block indexes are partitioned and cached in parts, so that a small cache serves a large index.
fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .data_block_size_policy(BlockSizePolicy::all(4096))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .index_block_pinning_policy(PinningPolicy::all(false))
}

/// A damaged database makes fjall return errors or panic; both are damage. No state of ours is left half changed by it.
fn guarded<T>(action: impl FnOnce() -> fjall::Result<T>) -> Result<T, MetaFault> {
    match catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fjall::Error::Locked)) => Err(MetaFault::Locked),
        Ok(Err(error)) => {
            let source =
                std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
            let io_error = match &error {
                fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => Some(error),
                _ => source,
            };
            match io_error {
                Some(error) if is_full(error) => Err(MetaFault::Full),
                _ => Err(MetaFault::Damaged(error.to_string())),
            }
        }
        Err(panic) => {
            let text =
                panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(MetaFault::Damaged(format!("fjall panicked: {}", text.unwrap_or("without a message"))))
        }
    }
}

/// fjall does not check the files that say which tables there are; a flipped bit in one can hide rows. The file `current` beside each has its
/// hash.
fn verify_versions(folder: &Path) -> Result<(), MetaFault> {
    let trees = match fs::read_dir(folder.join("keyspaces")) {
        Ok(trees) => trees,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(MetaFault::Damaged(error.to_string())),
    };
    for tree in trees {
        let tree = tree.map_err(|error| MetaFault::Damaged(error.to_string()))?.path();
        if !version_is_whole(&tree) {
            return Err(MetaFault::Damaged(format!(
                "{} is not what was written",
                tree.join("current").display()
            )));
        }
    }
    Ok(())
}

fn version_is_whole(tree: &Path) -> bool {
    let Ok(current) = fs::read(tree.join("current")) else { return false };
    let mut fields = crate::pack::Fields(&current);
    let parsed =
        (|| Some((fields.u64()?, u128::from_le_bytes(fields.take()?), fields.u8()?, fields.end()?)))();
    let Some((version, hash, 0, ())) = parsed else { return false };
    let content = fs::read(tree.join(format!("v{version}")));
    content.is_ok_and(|content| xxhash_rust::xxh3::xxh3_128(&content) == hash)
}
