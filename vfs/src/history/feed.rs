//! Taking versions into the index, oldest first: of the first all of it, of each other what differs from the one before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use backstore_protocol::entry::Entry;
use backstore_protocol::path::ArchivePath;
use backstore_protocol::tree::{Cursor, Diff, Root};

use super::rows::{self, NameFlags, PROGRESS, Progress};
use super::seal::PathHash;
use super::{History, HistoryError};
use crate::change::Change;
use crate::model::Version;
use crate::objects::{Nodes, ObjectReader, ReadError, Wait};
use crate::sync::{read, write};

/// Rows that are written at once.
const ROWS_AT_ONCE: usize = 4096;
/// Directories whose counts are collected before they are written.
const COUNTS_AT_ONCE: usize = 65_536;

/// What was taken into an index.
#[derive(Debug, Default)]
pub struct Fed {
    /// Versions.
    pub versions: u64,
    /// Parts of them that could not be read, and count as gone.
    pub unreadable: Vec<ReadError>,
}

/// Unreadable parts that are told of.
const UNREADABLE_MAX: usize = 64;

/// An entry of the newer version, and of the older one.
struct Changed {
    key: Vec<u8>,
    old: Option<Box<Entry>>,
    new: Option<Box<Entry>>,
}

/// What differs, or everything there is. A node that cannot be had is one error, and the others follow.
enum Changes {
    First(Cursor<Nodes>),
    Next(Diff<Nodes>),
}

impl Changes {
    fn new(nodes: Nodes, before: Option<Progress>, root: Root) -> Result<Self, ReadError> {
        Ok(match before {
            None => Self::First(Cursor::start(nodes, root)?),
            Some(before) => Self::Next(Diff::new(nodes, before.root, root)?),
        })
    }

    fn next(&mut self) -> Result<Option<Changed>, ReadError> {
        match self {
            Self::First(cursor) => Ok(cursor.next_entry()?.map(|entry| Changed {
                key: cursor.key().to_vec(),
                old: None,
                new: Some(Box::new(entry)),
            })),
            Self::Next(diff) => Ok(diff.next_difference()?.map(|found| Changed {
                key: found.key,
                old: found.old,
                new: found.new,
            })),
        }
    }
}

/// Rows on their way.
#[derive(Default)]
struct Batch {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// By how many the gone files below directories become more.
    gone: HashMap<PathHash, i64>,
    /// Directories above what the version added or changed; nothing for the first version, which added everything.
    changed: Option<HashSet<PathHash>>,
}

impl Fed {
    fn pass_over(&mut self, error: ReadError) -> Result<(), HistoryError> {
        if error.ends_walk() {
            return Err(error.into());
        }
        if self.unreadable.len() < UNREADABLE_MAX {
            self.unreadable.push(error);
        }
        Ok(())
    }
}

impl History {
    /// Takes over those of `versions`, of one set and in any order, that it does not know yet. `goes_on` is asked before each.
    ///
    /// # Errors
    ///
    /// The source does not answer, or the index is damaged; it begins anew with the next call then, or where it was.
    pub fn feed(
        &self,
        reader: &Arc<ObjectReader>,
        versions: &[Version],
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Fed, HistoryError> {
        let mut complete: Vec<_> = versions.iter().filter(|version| !version.is_partial).collect();
        complete.sort_by_key(|version| version.sequence);
        let known = read(&self.store).progress;
        // Without the newest that it knows it cannot tell what differs from it.
        let fits = known.is_none_or(|known| {
            !known.is_under_way && complete.iter().any(|version| version.id == known.snapshot)
        });
        if !fits {
            self.clear()?;
        }
        let mut fed = Fed::default();
        for version in complete {
            let before = read(&self.store).progress;
            if before.is_some_and(|before| before.sequence >= version.sequence) {
                continue;
            }
            if !goes_on() {
                break;
            }
            self.take(reader, before, version, &mut fed)?;
        }
        Ok(fed)
    }

    fn take(
        &self,
        reader: &Arc<ObjectReader>,
        before: Option<Progress>,
        version: &Version,
        fed: &mut Fed,
    ) -> Result<(), HistoryError> {
        let mut changes = match Changes::new(reader.nodes(Wait::UntilDeadline), before, version.root) {
            Ok(changes) => changes,
            // The next version is compared with the one before this.
            Err(error) => return fed.pass_over(error),
        };
        let mut after = Progress {
            sequence: version.sequence,
            snapshot: version.id,
            root: version.root,
            is_under_way: false,
            has_gaps: before.is_some_and(|before| before.has_gaps) || !fed.unreadable.is_empty(),
        };
        self.note(Progress { is_under_way: true, ..before.unwrap_or(after) })?;
        let changed = before.map(|_| HashSet::new());
        let mut batch = Batch { changed, ..Batch::default() };
        loop {
            let changed = match changes.next() {
                Ok(Some(changed)) => changed,
                Ok(None) => break,
                Err(error) => {
                    after.has_gaps = true;
                    fed.pass_over(error)?;
                    continue;
                }
            };
            self.add(&mut batch, &changed, version.sequence)?;
            if batch.rows.len() >= ROWS_AT_ONCE {
                self.write_rows(&mut batch)?;
            }
            if batch.gone.len() >= COUNTS_AT_ONCE {
                self.write_counts(&mut batch)?;
            }
        }
        self.write_counts(&mut batch)?;
        self.write_rows(&mut batch)?;
        fed.versions += 1;
        self.note(after)
    }

    /// Adds what became of one path.
    fn add(&self, batch: &mut Batch, changed: &Changed, sequence: u64) -> Result<(), HistoryError> {
        let path = ArchivePath::from_key(&changed.key).map_err(ReadError::from)?;
        let parent = path.parent();
        let directory = self.seal.path(parent.as_ref().map_or(&[], |parent| parent.joined()));
        let hash = self.seal.path(path.joined());
        let name_key = rows::name_key(&directory, &hash);
        let is_file = |entry: &&Entry| !entry.kind.is_directory();
        let (old, new) = (changed.old.as_deref(), changed.new.as_deref());
        if Change::of(old, new).is_none() {
            return Ok(());
        }
        let new_file = new.filter(is_file);
        // A name of the version that is being taken is in one batch only.
        let known = match old {
            None => self.name_at(&name_key)?,
            Some(old) => NameFlags {
                was_directory: old.kind.is_directory() || self.name_at(&name_key)?.was_directory,
                was_file: !old.kind.is_directory() || self.name_at(&name_key)?.was_file,
                is_file: !old.kind.is_directory(),
            },
        };
        let flags = NameFlags {
            was_directory: known.was_directory || new.is_some_and(|entry| entry.kind.is_directory()),
            was_file: known.was_file || new_file.is_some(),
            is_file: new_file.is_some(),
        };
        if flags != known {
            let value = self.seal.seal(&name_key, &flags.encode(path.name()));
            batch.rows.push((name_key, value));
        }
        if new_file.is_some() {
            self.add_change(batch, &path, flags, sequence);
        }
        let key = rows::state_key(&hash, sequence);
        let entry = new.map(|entry| self.seal.seal(&key, &rows::encode_entry(&changed.key, entry)));
        batch.rows.push((key, entry.unwrap_or_default()));
        let gone = i64::from(flags.was_file && !flags.is_file) - i64::from(known.was_file && !known.is_file);
        let mut above = parent.filter(|_| gone != 0);
        while let Some(directory) = above {
            *batch.gone.entry(self.seal.path(directory.joined())).or_default() += gone;
            above = directory.parent();
        }
        Ok(())
    }

    /// Adds what a version added or changed, with the directories above that are not there yet.
    fn add_change(&self, batch: &mut Batch, path: &ArchivePath, flags: NameFlags, sequence: u64) {
        let Some(changed) = &mut batch.changed else { return };
        let mut below = (path.clone(), flags);
        loop {
            let parent = below.0.parent();
            let directory = self.seal.path(parent.as_ref().map_or(&[], |parent| parent.joined()));
            let key = rows::change_key(sequence, &directory, &self.seal.path(below.0.joined()));
            let value = self.seal.seal(&key, &below.1.encode(below.0.name()));
            batch.rows.push((key, value));
            let Some(parent) = parent.filter(|_| changed.insert(directory)) else { return };
            below = (parent, NameFlags { was_directory: true, ..NameFlags::default() });
        }
    }

    fn name_at(&self, key: &[u8]) -> Result<NameFlags, HistoryError> {
        let Some(value) = self.get(key)? else { return Ok(NameFlags::default()) };
        let opened = self.seal.open(key, &value).ok_or_else(|| self.damaged())?;
        NameFlags::decode(&opened).map(|(flags, _)| flags).ok_or_else(|| self.damaged())
    }

    fn write_counts(&self, batch: &mut Batch) -> Result<(), HistoryError> {
        for (directory, more) in std::mem::take(&mut batch.gone) {
            let key = rows::gone_key(&directory);
            let known = rows::count(self.get(&key)?.as_deref());
            batch.rows.push((key, known.saturating_add_signed(more).to_be_bytes().to_vec()));
        }
        self.write_rows(batch)
    }

    fn write_rows(&self, batch: &mut Batch) -> Result<(), HistoryError> {
        let store = read(&self.store);
        let rows = std::mem::take(&mut batch.rows);
        self.guarded(|| {
            let mut together = store.database.batch();
            for (key, value) in rows {
                together.insert(&store.keyspace, key, value);
            }
            together.commit()
        })
    }

    fn note(&self, progress: Progress) -> Result<(), HistoryError> {
        let mut store = write(&self.store);
        self.guarded(|| store.keyspace.insert(PROGRESS, progress.encode()))?;
        store.progress = Some(progress);
        Ok(())
    }
}
