//! A vault in a folder, read while another process writes to it.
//!
//! An opened vault shows what was there when it was opened. This looks at the vault's packs now and then, and opens it again when they have changed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use backstore_protocol::ids::{LineageId, ObjectId};
use backstore_protocol::object::SealedObject;
use backstore_protocol::store::{LineageInfo, ReadFailure, Source, StoreError, StoredSnapshot};
use bytes::Bytes;

use crate::archive::ArchiveError;

/// Opens the vault again.
type Open = Box<dyn Fn() -> Result<Arc<dyn Source>, ArchiveError> + Send + Sync>;

/// Reads a vault in a folder as it is now.
pub(super) struct FollowedFolder {
    packs: PathBuf,
    open: Open,
    current: RwLock<Arc<dyn Source>>,
    seen: Mutex<Seen>,
}

/// What was seen of the packs.
struct Seen {
    /// How often the vault was opened again.
    count: u64,
    /// The packs at the last look.
    packs: Option<Packs>,
    /// The packs when it was opened last, and when that was.
    opened: Packs,
    opened_at: Instant,
}

/// The shortest time between two looks at the packs.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);
/// Looking takes this part of the time at most.
const LOOK_SHARE: u32 = 100;
/// While packs go on changing the vault is opened no more often.
const OPEN_EVERY: Duration = Duration::from_secs(10);

impl FollowedFolder {
    /// Follows the vault in `folder`, which was opened as `source` after `packs` was taken; `open` opens it again.
    pub(super) fn new(folder: &Path, packs: Packs, source: Arc<dyn Source>, open: Open) -> Self {
        let seen = Seen { count: 1, packs: None, opened: packs, opened_at: Instant::now() };
        Self { packs: packs_of(folder), open, current: RwLock::new(source), seen: Mutex::new(seen) }
    }

    fn current(&self) -> Arc<dyn Source> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the packs once, and opens the vault again if they have changed and are quiet; how often it was opened.
    fn look(&self, now: Instant) -> Result<u64, StoreError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let packs = Packs::in_folder(&self.packs);
        let is_quiet = seen.packs.replace(packs) == Some(packs);
        let is_long_ago = now.duration_since(seen.opened_at) >= OPEN_EVERY;
        if seen.opened == packs || !(is_quiet || is_long_ago) {
            return Ok(seen.count);
        }
        seen.opened_at = now;
        let source = (self.open)().map_err(into_store_error)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = source;
        seen.opened = packs;
        seen.count += 1;
        Ok(seen.count)
    }
}

fn into_store_error(error: ArchiveError) -> StoreError {
    match error {
        ArchiveError::Store(error) => error,
        other => StoreError::Protocol { detail: other.to_string() },
    }
}

/// A number that changes when a pack of a vault comes, goes or grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packs(u64);

impl Packs {
    /// Those of the vault in `folder` as they are now.
    pub(super) fn of(folder: &Path) -> Self {
        Self::in_folder(&packs_of(folder))
    }

    /// Where there is no folder there are none.
    fn in_folder(packs: &Path) -> Self {
        let files = fs::read_dir(packs).into_iter().flatten().filter_map(Result::ok);
        let numbers = files.map(|file| {
            let mut hasher = DefaultHasher::new();
            file.file_name().hash(&mut hasher);
            let metadata = file.metadata().ok();
            metadata.map(|metadata| (metadata.len(), metadata.modified().ok())).hash(&mut hasher);
            hasher.finish()
        });
        // Listings have no order.
        Self(numbers.fold(0, u64::wrapping_add))
    }
}

fn packs_of(folder: &Path) -> PathBuf {
    folder.join("packs")
}

impl Source for FollowedFolder {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        self.current().lineages()
    }

    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError> {
        self.current().snapshots(lineage, before, count)
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        self.current().read(ids, each)
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        self.current().account_log(from)
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let begun = Instant::now();
            let count = self.look(begun)?;
            let now = Instant::now();
            if count != seen || now >= deadline {
                return Ok(count);
            }
            let pause = LOOK_EVERY_MIN.max(LOOK_SHARE * (now - begun));
            thread::sleep(pause.min(deadline - now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A vault that is never asked anything.
    struct Nothing;

    impl Source for Nothing {
        fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
            Ok(Vec::new())
        }
        fn snapshots(&self, _: LineageId, _: u64, _: usize) -> Result<Vec<StoredSnapshot>, StoreError> {
            Ok(Vec::new())
        }
        fn read(
            &self,
            _: &[ObjectId],
            _: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
        ) -> Result<(), StoreError> {
            Ok(())
        }
        fn account_log(&self, _: u64) -> Result<Vec<Bytes>, StoreError> {
            Ok(Vec::new())
        }
        fn watch(&self, seen: u64, _: Duration) -> Result<u64, StoreError> {
            Ok(seen)
        }
    }

    #[test]
    fn a_vault_is_opened_again_when_its_packs_have_changed_and_are_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let packs = folder.path().join("packs");
        fs::create_dir(&packs).unwrap();
        let opened = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&opened);
        let open = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Arc::new(Nothing) as Arc<dyn Source>)
        };
        let followed =
            FollowedFolder::new(folder.path(), Packs::of(folder.path()), Arc::new(Nothing), Box::new(open));
        let start = Instant::now();
        let looks = |count: usize, from: Duration| {
            for _ in 0..count {
                followed.look(start + from).unwrap();
            }
            opened.load(Ordering::Relaxed)
        };
        assert_eq!(looks(3, Duration::ZERO), 0);
        fs::write(packs.join("1"), b"a").unwrap();
        assert_eq!(looks(1, Duration::ZERO), 0, "it may still be written");
        assert_eq!(looks(3, Duration::ZERO), 1);
        for number in 0..5 {
            fs::write(packs.join("1"), vec![0; 100 + number]).unwrap();
            assert_eq!(looks(1, Duration::ZERO), 1, "it is being written");
        }
        fs::write(packs.join("1"), [0; 7]).unwrap();
        assert_eq!(looks(1, 2 * OPEN_EVERY), 2, "even so it is opened from time to time");
        fs::remove_file(packs.join("1")).unwrap();
        assert_eq!(looks(2, 2 * OPEN_EVERY), 3);
    }
}
