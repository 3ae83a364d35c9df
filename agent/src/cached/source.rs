//! A source that looks into the object cache first.

use std::sync::Arc;
use std::time::Duration;

use backstore_protocol::ids::{LineageId, ObjectId};
use backstore_protocol::object::{ObjectKind, SealedObject};
use backstore_protocol::store::{LineageInfo, Overview, ReadFailure, Source, StoreError, StoredSnapshot};
use bytes::Bytes;

use super::objects::ObjectCache;

/// What of that which is fetched is kept on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing, and nothing is looked for there: the destination is to be asked.
    Nothing,
    /// Nodes and bodies: who reads everything once would drive out what is read often.
    Nodes,
    /// All of it.
    All,
}

/// A source, and the objects of it that are here.
pub struct CachedSource {
    inner: Arc<dyn Source>,
    cache: Arc<ObjectCache>,
    keep: Keep,
}

impl CachedSource {
    /// Puts `cache` before `inner`.
    pub fn new(inner: Arc<dyn Source>, cache: Arc<ObjectCache>, keep: Keep) -> Self {
        Self { inner, cache, keep }
    }

    /// Gives an object from the cache, if it is there.
    fn give(
        &self,
        place: usize,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> bool {
        let found = self.cache.get(&ids[place]);
        found.map(|object| each(place, Ok(object))).is_some()
    }

    fn is_kept(&self, object: &SealedObject) -> bool {
        match object.kind {
            ObjectKind::Tree | ObjectKind::Map | ObjectKind::Body => self.keep != Keep::Nothing,
            ObjectKind::Data => self.keep == Keep::All,
        }
    }
}

impl Source for CachedSource {
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
        let mut missing: Vec<_> = (0..ids.len()).collect();
        missing.retain(|place| !self.give(*place, ids, each));
        // A round trip is ahead: it pays to look whether another process has fetched it meanwhile.
        if !missing.is_empty() && self.cache.refresh() {
            missing.retain(|place| !self.give(*place, ids, each));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let asked: Vec<_> = missing.iter().map(|place| ids[*place]).collect();
        let mut answered = vec![false; asked.len()];
        let outcome = self.inner.read(&asked, &mut |at, found| {
            let (Some(place), Some(answered)) = (missing.get(at), answered.get_mut(at)) else { return };
            *answered = true;
            if let Ok(object) = &found
                && object.id == ids[*place]
                && self.is_kept(object)
            {
                self.cache.put(object);
            }
            each(*place, found);
        });
        outcome.or_else(|error| {
            // Without the server, what came to the disk just now is all there is.
            self.cache.refresh_now();
            let left = missing.iter().zip(answered).filter(|(_, answered)| !answered);
            let lost = left.filter(|(place, _)| !self.give(**place, ids, each)).count();
            if lost == 0 { Ok(()) } else { Err(error) }
        })
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        self.inner.account_log(from)
    }

    fn overview(&self, expected: &[LineageId], count: usize) -> Result<Overview, StoreError> {
        self.inner.overview(expected, count)
    }

    fn forget(&self, id: &ObjectId) -> bool {
        let was_here = self.cache.forget(id);
        self.inner.forget(id) || was_here
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        self.inner.watch(seen, patience)
    }
}

#[cfg(test)]
mod tests {
    use backstore_protocol::entry::{Content, ObjectRef};
    use backstore_vfs::objects::{ObjectReader, ReaderOptions, Wait};
    use backstore_vfs::test_archive::{MemorySource, TestArchive};
    use tempfile::TempDir;

    use super::super::objects::CacheOptions;
    use super::*;

    /// A source with some objects, and a folder for caches of it.
    struct Scene {
        archive: TestArchive,
        objects: Vec<ObjectRef>,
        folder: TempDir,
    }

    fn scene() -> Scene {
        let mut archive = TestArchive::new();
        let objects = (0..20_u8).map(|number| match archive.value(&bytes_of(number)) {
            Content::Extents(extents) => extents[0].object().expect("data"),
            other => panic!("{other:?}"),
        });
        let objects = objects.collect();
        Scene { archive, objects, folder: tempfile::tempdir().unwrap() }
    }

    /// Some short, some long.
    fn bytes_of(number: u8) -> Vec<u8> {
        let mut bytes = vec![0; if number.is_multiple_of(2) { 5000 } else { 400_000 }];
        blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut bytes);
        bytes
    }

    impl Scene {
        fn cache(&self) -> Arc<ObjectCache> {
            let options = CacheOptions {
                refresh_every: Duration::ZERO,
                free_bytes_min: 0,
                ..CacheOptions::new(64 << 20)
            };
            Arc::new(ObjectCache::open(self.folder.path().to_owned(), options).unwrap())
        }

        fn source(&self) -> Arc<MemorySource> {
            self.archive.source()
        }

        fn reader(&self, cache: &Arc<ObjectCache>, keep: Keep) -> Arc<ObjectReader> {
            let source = CachedSource::new(self.source(), Arc::clone(cache), keep);
            let options = ReaderOptions { data_cache_bytes: 0, ..ReaderOptions::default() };
            ObjectReader::new(Arc::new(source), self.archive.keys(), &options).unwrap()
        }

        #[track_caller]
        fn read_all(&self, reader: &ObjectReader) {
            for (number, object) in (0..).zip(&self.objects) {
                let bytes = reader.data(*object, Wait::UntilDeadline).unwrap();
                assert!(bytes == bytes_of(number), "object {number}");
            }
        }

        fn times_asked(&self) -> usize {
            self.source().take_calls().iter().map(Vec::len).sum()
        }
    }

    #[test]
    fn what_was_read_once_is_not_asked_for_again() {
        let scene = scene();
        let cache = scene.cache();
        scene.read_all(&scene.reader(&cache, Keep::All));
        assert_eq!(scene.times_asked(), 20);
        cache.flush();
        let other = scene.cache();
        scene.source().die();
        for cache in [&cache, &other] {
            scene.read_all(&scene.reader(cache, Keep::All));
        }
        drop((cache, other));
        scene.read_all(&scene.reader(&scene.cache(), Keep::Nodes));
        assert_eq!(scene.times_asked(), 0);
    }

    #[test]
    fn caches_that_are_open_see_what_the_others_fetch() {
        let scene = scene();
        let (first, second) = (scene.cache(), scene.cache());
        scene.read_all(&scene.reader(&first, Keep::All));
        first.flush();
        scene.times_asked();
        scene.read_all(&scene.reader(&second, Keep::All));
        assert_eq!(scene.times_asked(), 0);
    }

    #[test]
    fn what_others_fetched_just_now_serves_while_the_server_is_gone() {
        let scene = scene();
        let options = CacheOptions { refresh_every: Duration::MAX, ..CacheOptions::new(64 << 20) };
        let late = Arc::new(ObjectCache::open(scene.folder.path().to_owned(), options).unwrap());
        let cache = scene.cache();
        scene.read_all(&scene.reader(&cache, Keep::All));
        cache.flush();
        scene.source().die();
        scene.read_all(&scene.reader(&late, Keep::All));
    }

    #[test]
    fn who_reads_much_once_keeps_nodes_only() {
        let scene = scene();
        let cache = scene.cache();
        scene.read_all(&scene.reader(&cache, Keep::Nodes));
        cache.flush();
        assert_eq!(ObjectCache::bytes_in(scene.folder.path()), 0);
        assert_eq!(scene.times_asked(), 20);
        scene.read_all(&scene.reader(&cache, Keep::Nodes));
        assert_eq!(scene.times_asked(), 20, "data is not kept");
    }

    /// What does not open is no error as long as the destination has it right.
    #[test]
    fn a_wrong_object_in_the_cache_is_fetched_again() {
        let scene = scene();
        let cache = scene.cache();
        let (source, wrong) = (scene.source(), scene.objects[3].id);
        let right = source.get(&wrong).unwrap();
        let mut sealed = right.sealed.to_vec();
        sealed[100] ^= 1;
        // Its checksum is right: it was wrong already when it came.
        cache.put(&SealedObject { sealed: sealed.into(), ..right });
        cache.flush();
        let reader = scene.reader(&cache, Keep::All);
        scene.read_all(&reader);
        cache.flush();
        assert_eq!(source.times_asked(&wrong), 1);
        drop((reader, cache));
        source.die();
        scene.read_all(&scene.reader(&scene.cache(), Keep::All));
    }

    #[test]
    fn a_failure_that_was_kept_ends_with_its_cause() {
        let scene = scene();
        let cache = scene.cache();
        let (source, object) = (scene.source(), scene.objects[4]);
        let mut wrong = source.get(&object.id).unwrap();
        let mut sealed = wrong.sealed.to_vec();
        sealed[100] ^= 1;
        wrong.sealed = sealed.into();
        source.replace(object.id, wrong);
        let reader = scene.reader(&cache, Keep::All);
        for _ in 0..3 {
            reader.data(object, Wait::UntilDeadline).unwrap_err();
            cache.flush();
        }
        source.heal();
        assert_eq!(reader.data(object, Wait::UntilDeadline).unwrap(), bytes_of(4));
    }
}
