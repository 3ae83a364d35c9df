//! What became of every path over all versions: an index on this computer's disk, made from the differences between versions as they come.
//!
//! It answers for `history` and `deleted` in a mount without reading a version. It costs what differs between versions, is derived, and may be deleted
//! at any time; so it is made anew whenever something about it is doubtful. Partial versions are not in it: what is not in them was not
//! deleted. What of a version cannot be read counts as gone from it, and such an index is made anew when it is opened again.

mod feed;
mod rows;
mod seal;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use backstore_protocol::entry::Entry;
use backstore_protocol::ids::SnapshotId;
use backstore_protocol::keys::Keys;
use backstore_protocol::path::ArchivePath;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::objects::ReadError;
use crate::sync::{read, write};
use rows::{PROGRESS, Progress};
use seal::{PathHash, RowSeal};

pub use feed::Fed;
pub use rows::NameFlags;
pub use search::{FOUND_MAX, FoundFile, PastPath, Pattern};

/// The index of one backup set.
pub struct History {
    folder: PathBuf,
    seal: RowSeal,
    store: RwLock<Store>,
}

struct Store {
    database: Database,
    keyspace: Keyspace,
    progress: Option<Progress>,
}

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Another process has it.
    #[error("the index of what became of files is in use by {COPIES_MAX} other processes")]
    InUse,
    /// It is damaged, or the disk is.
    #[error("the index of what became of files in {} cannot be used: {detail}", folder.display())]
    Unusable {
        /// Where it is.
        folder: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A version cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What a path was from a version on.
#[derive(Debug, Clone, PartialEq)]
pub struct PastState {
    /// That version's sequence.
    pub sequence: u64,
    /// What it was; nothing if it was not there.
    pub entry: Option<Entry>,
}

/// A sequence, and the path and entry that there were from it on.
type KeyedState = (u64, Option<(Vec<u8>, Entry)>);

/// A name that was ever in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastName {
    /// Where it comes among the others.
    pub order: u64,
    /// It.
    pub name: Vec<u8>,
    /// What it was.
    pub flags: NameFlags,
}

/// Processes that may have an index of a set at a time.
pub const COPIES_MAX: usize = 3;
/// Bytes of tables that are kept in memory.
const CACHE_BYTES: u64 = 8 << 20;
/// Rows in memory before they become a table.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Orders of names are below this.
pub const ORDER_MAX: u64 = 1 << 60;

impl History {
    /// Opens the index in `folder`, or makes one there. One that is damaged is made anew. Several processes ([`COPIES_MAX`]) have one each.
    ///
    /// # Errors
    ///
    /// [`HistoryError::InUse`], or what the disk says.
    pub fn open(folder: &Path, keys: &Keys) -> Result<Self, HistoryError> {
        let mut copies = (0..COPIES_MAX).map(|number| folder.join(number.to_string()));
        let is_free = |opened: &Result<Self, _>| !matches!(opened, Err(HistoryError::InUse));
        let opened = copies.by_ref().map(|copy| Self::open_copy(&copy, keys)).find(is_free);
        opened.unwrap_or(Err(HistoryError::InUse))
    }

    /// Opens the index in `folder` if there is one that knows versions and nobody else has it.
    pub fn open_made(folder: &Path, keys: &Keys) -> Option<Self> {
        let copies = (0..COPIES_MAX).map(|number| folder.join(number.to_string()));
        let mut made =
            copies.filter(|copy| copy.is_dir()).filter_map(|copy| Self::open_copy(&copy, keys).ok());
        made.find(|history| history.indexed_to().is_some())
    }

    fn open_copy(folder: &Path, keys: &Keys) -> Result<Self, HistoryError> {
        fs::create_dir_all(folder).map_err(|error| HistoryError::Unusable {
            folder: folder.to_owned(),
            detail: error.to_string(),
        })?;
        let store = match Store::open(folder) {
            Err(HistoryError::Unusable { .. }) => Store::open_anew(folder)?,
            opened => opened?,
        };
        let history = Self { folder: folder.to_owned(), seal: RowSeal::new(keys), store: RwLock::new(store) };
        if history.is_doubtful() {
            history.clear()?;
        }
        Ok(history)
    }

    /// Whether rows may be there that nobody knows of.
    fn is_doubtful(&self) -> bool {
        let store = read(&self.store);
        match store.progress {
            Some(progress) => progress.is_under_way || progress.has_gaps,
            None => store.keyspace.first_key_value().is_some(),
        }
    }

    /// Begins anew.
    fn clear(&self) -> Result<(), HistoryError> {
        let mut store = write(&self.store);
        store.progress = None;
        self.guarded(|| store.keyspace.clear())
    }

    /// The newest version that it knows, by its sequence.
    pub fn indexed_to(&self) -> Option<u64> {
        read(&self.store).progress.map(|progress| progress.sequence)
    }

    /// The same, by its snapshot.
    pub fn indexed_snapshot(&self) -> Option<SnapshotId> {
        read(&self.store).progress.map(|progress| progress.snapshot)
    }

    /// What became of a path, oldest first. `path` has the form that keys are made of.
    pub fn states(&self, path: &[u8]) -> Result<Vec<PastState>, HistoryError> {
        let states = self.keyed_states(&self.seal.path(path))?.into_iter();
        let state =
            |(sequence, known): KeyedState| PastState { sequence, entry: known.map(|(_, entry)| entry) };
        Ok(states.map(state).collect())
    }

    /// What a path was from a sequence on that is among its states.
    pub fn state_from(&self, path: &[u8], sequence: u64) -> Result<PastState, HistoryError> {
        let state = self.states(path)?.into_iter().find(|state| state.sequence == sequence);
        state.ok_or_else(|| self.damaged())
    }

    /// What became of a file, oldest first: while its path was a directory, it was not there.
    pub fn file_states(&self, path: &[u8]) -> Result<Vec<PastState>, HistoryError> {
        let mut states: Vec<PastState> = Vec::new();
        for PastState { sequence, entry } in self.states(path)? {
            let entry = entry.filter(|entry| !entry.kind.is_directory());
            if entry.is_some() || states.last().is_some_and(|last| last.entry.is_some()) {
                states.push(PastState { sequence, entry });
            }
        }
        Ok(states)
    }

    /// The same, with the path.
    fn keyed_states(&self, path: &PathHash) -> Result<Vec<KeyedState>, HistoryError> {
        let prefix = rows::states_prefix(path);
        let mut states = Vec::new();
        self.scan(&prefix, &prefix, |key, value| {
            let sequence = rows::sequence_of(key)?;
            if value.is_empty() {
                states.push((sequence, None));
                return Some(true);
            }
            let (key, entry) = rows::decode_entry(&self.seal.open(key, value)?)?;
            let path = ArchivePath::from_key(&key).ok()?;
            states.push((sequence, Some((path.joined().to_vec(), entry))));
            Some(true)
        })?;
        Ok(states)
    }

    /// Names that were ever in a directory, from an order on, until `each` returns false.
    pub fn names(
        &self,
        directory: &[u8],
        from: u64,
        mut each: impl FnMut(PastName) -> bool,
    ) -> Result<(), HistoryError> {
        let prefix = rows::names_prefix(&self.seal.path(directory));
        let start = [&prefix[..], &(from << 4).to_be_bytes()].concat();
        self.scan(&prefix, &start, |key, value| Some(each(self.past_name(&prefix, key, value)?)))
    }

    /// What is known of one name in a directory.
    pub fn name(&self, directory: &[u8], path: &[u8]) -> Result<Option<NameFlags>, HistoryError> {
        let key = rows::name_key(&self.seal.path(directory), &self.seal.path(path));
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let opened = self.seal.open(&key, &value).ok_or_else(|| self.damaged())?;
        NameFlags::decode(&opened).map(|(flags, _)| Some(flags)).ok_or_else(|| self.damaged())
    }

    /// Names in a directory that the versions with these sequences added or changed, and the directories that such are in, by their order. The
    /// first version added everything, and is not asked for.
    pub fn changed_names(
        &self,
        sequences: impl Iterator<Item = u64>,
        directory: &[u8],
    ) -> Result<BTreeMap<u64, PastName>, HistoryError> {
        let directory = self.seal.path(directory);
        let mut names: BTreeMap<u64, PastName> = BTreeMap::new();
        for sequence in sequences {
            let prefix = rows::changes_prefix(sequence, &directory);
            self.scan(&prefix, &prefix, |key, value| {
                let found = self.past_name(&prefix, key, value)?;
                let known = names.entry(found.order).or_insert_with(|| found.clone());
                known.flags.was_directory |= found.flags.was_directory;
                known.flags.was_file |= found.flags.was_file;
                Some(true)
            })?;
        }
        Ok(names)
    }

    /// The name in a row.
    fn past_name(&self, prefix: &[u8], key: &[u8], value: &[u8]) -> Option<PastName> {
        let opened = self.seal.open(key, value)?;
        let (flags, name) = NameFlags::decode(&opened)?;
        let order = u64::from_be_bytes(*key[prefix.len()..].first_chunk()?) >> 4;
        Some(PastName { order, name: name.to_vec(), flags })
    }

    /// How many files below a directory are gone.
    pub fn gone_below(&self, directory: &[u8]) -> Result<u64, HistoryError> {
        let value = self.get(&rows::gone_key(&self.seal.path(directory)))?;
        Ok(rows::count(value.as_deref()))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, HistoryError> {
        let store = read(&self.store);
        self.guarded(|| Ok(store.keyspace.get(key)?.map(|value| value.to_vec())))
    }

    /// Hands over rows from a key on. `each` gives nothing for a damaged row, and false when it has enough.
    fn scan(
        &self,
        prefix: &[u8],
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Option<bool>,
    ) -> Result<(), HistoryError> {
        let store = read(&self.store);
        let mut rows = self.guarded(|| Ok(store.keyspace.range(from.to_vec()..)))?;
        loop {
            let row = self.guarded(|| rows.next().map(|row| row.into_inner()).transpose())?;
            let Some((key, value)) = row.filter(|(key, _)| key.starts_with(prefix)) else { return Ok(()) };
            if !each(&key, &value).ok_or_else(|| self.damaged())? {
                return Ok(());
            }
        }
    }

    fn damaged(&self) -> HistoryError {
        HistoryError::Unusable { folder: self.folder.clone(), detail: "a row is damaged".into() }
    }

    fn guarded<T>(&self, action: impl FnOnce() -> fjall::Result<T>) -> Result<T, HistoryError> {
        guarded(&self.folder, action)
    }
}

impl Store {
    fn open(folder: &Path) -> Result<Self, HistoryError> {
        let (database, keyspace, progress) = guarded(folder, || {
            let database = Database::builder(folder)
                .cache_size(CACHE_BYTES)
                .worker_threads(1)
                .max_cached_files(Some(32))
                .open()?;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
            let keyspace = database.keyspace("rows", options)?;
            let progress = keyspace.get(PROGRESS)?;
            Ok((database, keyspace, progress))
        })?;
        let progress = progress.and_then(|bytes| Progress::decode(&bytes));
        Ok(Self { database, keyspace, progress })
    }

    fn open_anew(folder: &Path) -> Result<Self, HistoryError> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HistoryError::Unusable { folder: folder.to_owned(), detail: error.to_string() })
            }
            Ok(()) | Err(_) => Self::open(folder),
        }
    }
}

/// A damaged database makes fjall return errors or panic.
fn guarded<T>(folder: &Path, action: impl FnOnce() -> fjall::Result<T>) -> Result<T, HistoryError> {
    let detail = match catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(fjall::Error::Locked)) => return Err(HistoryError::InUse),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it is damaged".to_owned(),
    };
    Err(HistoryError::Unusable { folder: folder.to_owned(), detail })
}
