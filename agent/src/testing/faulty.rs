//! Archives whose objects come with a fault.

use std::sync::Arc;
use std::time::Duration;

use backstore_protocol::ids::{LineageId, ObjectId};
use backstore_protocol::object::SealedObject;
use backstore_protocol::store::{LineageInfo, ReadFailure, Source, StoreError, StoredSnapshot};
use backstore_vfs::objects::{ObjectReader, ReaderOptions};
use bytes::Bytes;

use super::Computer;
use crate::archive::{Archive, ArchiveOptions};

/// A source that cannot give some objects.
struct Faulty {
    inner: Arc<dyn Source>,
    fault: Fault,
}

pub(crate) enum Fault {
    /// These are damaged.
    Damaged(Vec<ObjectId>),
    /// It does not answer.
    Unreachable,
}

impl Source for Faulty {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        self.inner.lineages()
    }

    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError> {
        self.inner.snapshots(lineage, before, count)
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        match &self.fault {
            Fault::Damaged(damaged) => self.inner.read(ids, &mut |at, found| {
                each(at, if damaged.contains(&ids[at]) { Err(ReadFailure::Damaged) } else { found });
            }),
            Fault::Unreachable => {
                Err(StoreError::Unreachable { server: "server".to_owned(), detail: "gone".to_owned() })
            }
        }
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        self.inner.account_log(from)
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        self.inner.watch(seen, patience)
    }
}

pub(crate) fn open(computer: &Computer) -> Archive {
    Archive::open(&computer.home, &computer.machine, &ArchiveOptions::write()).unwrap()
}

/// An archive whose objects come with a fault.
pub(crate) fn open_faulty(computer: &Computer, fault: Fault) -> Archive {
    let mut archive = open(computer);
    let source = Arc::new(Faulty { inner: Arc::clone(&archive.source), fault });
    archive.reader = ObjectReader::new(source, (*archive.keys).clone(), &ReaderOptions::small()).unwrap();
    archive
}
