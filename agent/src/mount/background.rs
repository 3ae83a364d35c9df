//! Reading that nobody waits for: it goes in small steps, each when nothing else is on its way.

use std::sync::Arc;
use std::time::Duration;

use backstore_protocol::ids::{LineageId, ObjectId};
use backstore_protocol::object::SealedObject;
use backstore_protocol::store::{LineageInfo, ReadFailure, Source, StoreError, StoredSnapshot};
use bytes::Bytes;

/// A source for what is done in the background.
pub(super) struct Background<C> {
    source: Arc<dyn Source>,
    calm: C,
}

/// Objects of one step: of nodes, less than a megabyte. Whoever comes meanwhile has that before them at most.
const STEP_OBJECTS: usize = 32;

impl<C: Fn() + Send + Sync> Background<C> {
    /// Reads from `source` whenever `calm` has returned: it waits while others read, but not for ever.
    pub(super) fn new(source: Arc<dyn Source>, calm: C) -> Self {
        Self { source, calm }
    }
}

impl<C: Fn() + Send + Sync> Source for Background<C> {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        self.source.lineages()
    }

    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError> {
        self.source.snapshots(lineage, before, count)
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        for (step, ids) in ids.chunks(STEP_OBJECTS).enumerate() {
            (self.calm)();
            self.source.read(ids, &mut |at, found| each(step * STEP_OBJECTS + at, found))?;
        }
        Ok(())
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        self.source.account_log(from)
    }

    fn forget(&self, id: &ObjectId) -> bool {
        self.source.forget(id)
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        self.source.watch(seen, patience)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use backstore_vfs::objects::{ObjectReader, ReaderOptions, Wait};
    use backstore_vfs::test_archive::TestArchive;

    use super::*;

    #[test]
    fn what_is_done_in_the_background_goes_in_small_steps_when_it_is_calm() {
        let mut archive = TestArchive::new();
        let objects: Vec<_> = (0..100_u32)
            .map(|number| match archive.value(&number.to_le_bytes().repeat(200)) {
                backstore_protocol::entry::Content::Extents(extents) => extents[0].object().unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        let source = archive.source();
        // At each step: the calls since the one before.
        let steps = Arc::new(Mutex::new(Vec::new()));
        let (seen, watched) = (Arc::clone(&steps), Arc::clone(&source));
        let calm = move || seen.lock().unwrap().push(watched.take_calls());
        let background = Background::new(source.clone(), calm);
        let ids: Vec<_> = objects.iter().map(|object| object.id).collect();
        let mut came = Vec::new();
        background.read(&ids, &mut |at, found| came.push((at, found.unwrap().id))).unwrap();
        came.sort_unstable();
        assert!(came.into_iter().eq(ids.iter().copied().enumerate()));
        let steps = std::mem::take(&mut *steps.lock().unwrap());
        let lengths: Vec<Vec<usize>> =
            steps.iter().map(|calls| calls.iter().map(Vec::len).collect()).collect();
        assert_eq!(lengths, [vec![], vec![32], vec![32], vec![32]]);
    }

    /// A reader in the background asks for nothing while another waits for an object.
    #[test]
    fn the_background_waits_for_who_reads() {
        let mut archive = TestArchive::new();
        let mut object = |bytes: &[u8]| match archive.value(&bytes.repeat(1000)) {
            backstore_protocol::entry::Content::Extents(extents) => extents[0].object().unwrap(),
            other => panic!("{other:?}"),
        };
        let (wanted, other) = (object(b"wanted"), object(b"in the background"));
        let source = archive.source();
        let reader = ObjectReader::new(source.clone(), archive.keys(), &ReaderOptions::default()).unwrap();
        source.stick_at(wanted.id);
        std::thread::scope(|scope| {
            let reads = scope.spawn(|| reader.data(wanted, Wait::UntilDeadline));
            source.wait_for_calls(&[wanted.id]);
            let (begun, is_begun) = std::sync::mpsc::channel();
            let calm = {
                let reader = Arc::clone(&reader);
                move || {
                    begun.send(()).unwrap();
                    reader.wait_for_calm(Duration::MAX);
                }
            };
            let background: Arc<dyn Source> = Arc::new(Background::new(source.clone(), calm));
            let slow = ObjectReader::new(background, archive.keys(), &ReaderOptions::small()).unwrap();
            let in_background = scope.spawn(move || slow.data(other, Wait::UntilDeadline));
            is_begun.recv().unwrap();
            assert_eq!(source.times_asked(&other.id), 0);
            source.heal();
            reads.join().unwrap().unwrap();
            in_background.join().unwrap().unwrap();
        });
        let order: Vec<_> = source.take_calls().concat();
        assert_eq!(order, [wanted.id, other.id]);
    }
}
