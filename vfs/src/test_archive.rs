//! A small archive in memory, for tests and measurements: made file by file, read through a source that fails on demand.
//!
//! It cuts, bundles and seals by the rules of PROTOCOL.md, but on one thread and with everything in memory: it is not how backups are
//! made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use backstore_protocol::bundle::{BundleRule, is_compressible};
use backstore_protocol::chunker::{Chunker, ChunkerConfig};
use backstore_protocol::codec::Malformed;
use backstore_protocol::content_hash::{ContentHasher, chunk_hash, content_hash};
use backstore_protocol::entry::{Content, Entry, Extent, Kind, ObjectRef, PrincipalId};
use backstore_protocol::envelope::{Class, Compression};
use backstore_protocol::ids::{DomainId, LineageId, ObjectId};
use backstore_protocol::keys::{Keyring, Keys};
use backstore_protocol::limits::{BUNDLE_FILE_BYTES_MAX, EXTENTS_MAX, INLINE_BYTES_MAX};
use backstore_protocol::map::{Chunk, MapBuilder, Piece};
use backstore_protocol::object::{NodeBytes, ObjectKind, SealedObject, data_id};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::store::{LineageInfo, ReadFailure, Source, StoreError, StoredSnapshot};
use backstore_protocol::tree::{Built, Node, NodeReader, Root, TreeEditor};
use bytes::Bytes;

use crate::sync::{lock, wait};

/// A part of a file as it is put into an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Data(Vec<u8>),
    /// So many bytes never written.
    Hole(u64),
}

/// Makes snapshots, one after the other, into one [`MemorySource`].
pub struct TestArchive {
    keys: Keys,
    source: Arc<MemorySource>,
    chunker: Box<dyn Chunker>,
    bundle_below: u64,
    level: i32,
    entries: BTreeMap<Vec<u8>, Entry>,
    bundles: [OpenBundle; 2],
}

struct OpenBundle {
    rule: BundleRule,
    bytes: Vec<u8>,
    files: Vec<(Vec<u8>, u32)>,
}

impl TestArchive {
    /// An archive that is cut as real ones are.
    pub fn new() -> Self {
        Self::with(ChunkerConfig::default(), BUNDLE_FILE_BYTES_MAX)
    }

    /// An archive whose chunks are so small that small files have maps: chunks of about 256 bytes, from 1 KiB on.
    pub fn fine() -> Self {
        Self::with(ChunkerConfig::FastCdcKeyed { min: 64, average: 256, max: 1024 }, 1024)
    }

    fn with(chunker: ChunkerConfig, bundle_below: u64) -> Self {
        let keys = Keyring::new(DomainId::ZERO, [7; 32], [9; 32]).keys();
        let bundle = || OpenBundle { rule: BundleRule::new(&keys.ids), bytes: Vec::new(), files: Vec::new() };
        Self {
            chunker: chunker.chunker(&keys.ids).expect("parameters of a test archive are sane"),
            bundles: [bundle(), bundle()],
            source: Arc::default(),
            bundle_below,
            level: 3,
            entries: BTreeMap::new(),
            keys,
        }
    }

    /// Its keys.
    pub fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// Where its objects are.
    pub fn source(&self) -> Arc<MemorySource> {
        Arc::clone(&self.source)
    }

    /// Puts a path with these attributes and this content, whose size becomes that of the entry. In key order, files are bundled as in real
    /// archives.
    pub fn add(&mut self, path: &ArchivePath, mut entry: Entry, parts: &[Part]) {
        entry.size = parts
            .iter()
            .map(|part| match part {
                Part::Data(bytes) => bytes.len() as u64,
                Part::Hole(length) => *length,
            })
            .sum();
        let key = path.key();
        match (entry.kind, parts) {
            (Kind::Symlink, [Part::Data(bytes)]) => entry.content = Content::Inline(bytes.as_slice().into()),
            (Kind::File, []) => entry.content = Content::Inline(Box::new([])),
            (Kind::File, [Part::Data(bytes)]) if bytes.len() <= INLINE_BYTES_MAX => {
                entry.content = Content::Inline(bytes.as_slice().into());
            }
            (Kind::File, [Part::Data(bytes)]) if entry.size < self.bundle_below => {
                self.bundle(&key, &mut entry, bytes)
            }
            (Kind::File, _) => self.cut(&mut entry, parts),
            (_, _) => assert!(parts.is_empty(), "a {:?} has no content", entry.kind),
        }
        self.entries.insert(key, entry);
    }

    /// Puts an entry as it is, whatever it says.
    pub fn add_raw(&mut self, key: Vec<u8>, entry: Entry) {
        self.entries.insert(key, entry);
    }

    /// Seals a value of its own, such as that of a large xattr.
    pub fn value(&mut self, bytes: &[u8]) -> Content {
        let object = self.seal_data(bytes);
        Content::Extents(Box::new([Extent::Data { object, offset: 0, length: object.length }]))
    }

    /// Completes a snapshot of what was added since the last one.
    pub fn finish(&mut self) -> Root {
        self.seal_bundle(0);
        self.seal_bundle(1);
        let mut editor = TreeEditor::empty(NoBasis, &self.keys.ids);
        for (key, entry) in std::mem::take(&mut self.entries) {
            editor.put(key, entry).expect("without a basis nothing is read");
            for built in editor.take_built() {
                self.store_node(built);
            }
        }
        let root = editor.finish().expect("without a basis nothing is read");
        for built in editor.take_built() {
            self.store_node(built);
        }
        root
    }

    /// Seals a node as it is, whatever it says, and gives its id.
    pub fn store_raw_node(&mut self, bytes: NodeBytes) -> ObjectId {
        let id = bytes.id(&self.keys.ids);
        self.store_node(Built { id, bytes });
        id
    }

    fn bundle(&mut self, key: &[u8], entry: &mut Entry, bytes: &[u8]) {
        let unix_id =
            |id: &PrincipalId| if let PrincipalId::Unix(id) = id { u64::from(*id) } else { u64::MAX };
        let owner = (unix_id(&entry.owner.id), unix_id(&entry.group.id));
        let stream = usize::from(!is_compressible(bytes));
        if self.bundles[stream].rule.ends_before(owner, bytes.len()) {
            self.seal_bundle(stream);
        }
        let hash = content_hash(&self.keys.ids, bytes);
        entry.content_hash = Some(hash);
        let bundle = &mut self.bundles[stream];
        bundle.files.push((key.to_vec(), bundle.bytes.len() as u32));
        bundle.bytes.extend_from_slice(bytes);
        if bundle.rule.ends_after(hash.as_bytes(), bytes.len()) {
            // The entry of the last file is stored only after this call.
            self.entries.insert(key.to_vec(), entry.clone());
            self.seal_bundle(stream);
            if let Some(stored) = self.entries.remove(key) {
                *entry = stored;
            }
        }
    }

    fn seal_bundle(&mut self, stream: usize) {
        let files = std::mem::take(&mut self.bundles[stream].files);
        let bytes = std::mem::take(&mut self.bundles[stream].bytes);
        if files.is_empty() {
            return;
        }
        let object = self.seal_data(&bytes);
        for (key, offset) in files {
            let entry = self.entries.get_mut(&key).expect("a bundled file has an entry");
            entry.content =
                Content::Extents(Box::new([Extent::Data { object, offset, length: entry.size as u32 }]));
            if !Entry::has_content_hash(&entry.content) {
                entry.content_hash = None;
            }
        }
    }

    fn cut(&mut self, entry: &mut Entry, parts: &[Part]) {
        let mut pieces = Vec::new();
        let mut hasher = ContentHasher::new(&self.keys.ids);
        let mut bundle = ChunkBundle { rule: BundleRule::new(&self.keys.ids), bytes: Vec::new(), chunks: 0 };
        for part in parts {
            match part {
                Part::Hole(0) => {}
                Part::Hole(length) => {
                    hasher.hole(*length);
                    match pieces.last_mut() {
                        Some(Piece::Hole(before)) => *before += length,
                        _ => pieces.push(Piece::Hole(*length)),
                    }
                }
                Part::Data(bytes) => {
                    hasher.data(bytes);
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        let (chunk, after) = rest.split_at(self.chunker.cut(rest).min(rest.len()));
                        self.bundle_chunk(chunk, &mut bundle, &mut pieces);
                        rest = after;
                    }
                }
            }
        }
        self.seal_chunks(&mut bundle, &mut pieces);
        entry.content = if pieces.len() > EXTENTS_MAX { self.map(&pieces) } else { extents(&pieces) };
        entry.content_hash = Entry::has_content_hash(&entry.content).then(|| hasher.finish());
    }

    /// Puts a chunk into its file's open bundle; its piece gets the bundle's id when that is sealed.
    fn bundle_chunk(&mut self, chunk: &[u8], bundle: &mut ChunkBundle, pieces: &mut Vec<Piece>) {
        if bundle.rule.ends_before((0, 0), chunk.len()) {
            self.seal_chunks(bundle, pieces);
        }
        let hash = chunk_hash(&self.keys.ids, chunk);
        let object = ObjectRef { id: ObjectId::ZERO, length: 0 };
        let (offset, length) = (bundle.bytes.len() as u32, chunk.len() as u32);
        pieces.push(Piece::Chunk(Chunk { object, offset, length, hash }));
        bundle.bytes.extend_from_slice(chunk);
        bundle.chunks += 1;
        if bundle.rule.ends_after(hash.as_bytes(), chunk.len()) {
            self.seal_chunks(bundle, pieces);
        }
    }

    fn seal_chunks(&mut self, bundle: &mut ChunkBundle, pieces: &mut [Piece]) {
        if bundle.chunks == 0 {
            return;
        }
        let sealed = self.seal_data(&std::mem::take(&mut bundle.bytes));
        let chunks = pieces.iter_mut().rev().filter_map(|piece| match piece {
            Piece::Chunk(chunk) => Some(chunk),
            Piece::Hole(_) | Piece::Child { .. } => None,
        });
        chunks.take(std::mem::take(&mut bundle.chunks)).for_each(|chunk| chunk.object = sealed);
    }

    fn map(&mut self, pieces: &[Piece]) -> Content {
        let mut builder = MapBuilder::new(&self.keys.ids);
        pieces.iter().for_each(|piece| builder.push(*piece));
        let root = builder.finish();
        for built in builder.take_built() {
            self.store_node(built);
        }
        Content::Map(root)
    }

    fn seal_data(&mut self, plain: &[u8]) -> ObjectRef {
        let id = data_id(&self.keys.ids, plain);
        if !self.source.has(&id) {
            let mut sealed = Vec::new();
            let compression = Compression::Zstd(self.level);
            self.keys.seal(
                Class::Data,
                ObjectKind::Data as u8,
                id.as_bytes(),
                plain,
                compression,
                &mut sealed,
            );
            let object = SealedObject {
                id,
                kind: ObjectKind::Data,
                level: 0,
                references: Bytes::new(),
                sealed: sealed.into_boxed_slice().into(),
            };
            self.source.put(object);
        }
        ObjectRef { id, length: plain.len() as u32 }
    }

    fn store_node(&mut self, built: Built) {
        let NodeBytes { kind, level, references, payload } = built.bytes;
        let mut sealed = Vec::new();
        let compression = Compression::Zstd(self.level);
        self.keys.seal(Class::Node, kind as u8, built.id.as_bytes(), &payload, compression, &mut sealed);
        let references: Vec<u8> = references.iter().flat_map(|id| *id.as_bytes()).collect();
        self.source.put(SealedObject {
            id: built.id,
            kind,
            level,
            references: references.into(),
            sealed: sealed.into(),
        });
    }
}

/// Chunks of one file that are sealed together.
struct ChunkBundle {
    rule: BundleRule,
    bytes: Vec<u8>,
    /// How many of the file's last chunks are in it.
    chunks: usize,
}

impl Default for TestArchive {
    fn default() -> Self {
        Self::new()
    }
}

fn extents(pieces: &[Piece]) -> Content {
    if pieces.is_empty() {
        return Content::Inline(Box::new([]));
    }
    let extent = |piece: &Piece| match *piece {
        Piece::Chunk(chunk) => {
            Extent::Data { object: chunk.object, offset: chunk.offset, length: chunk.length }
        }
        Piece::Hole(length) | Piece::Child { length, .. } => Extent::Hole { length },
    };
    Content::Extents(pieces.iter().map(extent).collect())
}

/// A tree from nothing reads nothing.
struct NoBasis;

impl NodeReader for NoBasis {
    type Error = Malformed;

    fn node(&self, _: &ObjectId) -> Result<Arc<Node>, Malformed> {
        Err(Malformed { what: "node of no basis", offset: 0 })
    }
}

/// Objects in memory, and how reading them goes wrong.
#[derive(Default)]
pub struct MemorySource {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    objects: HashMap<ObjectId, SealedObject>,
    failures: HashMap<ObjectId, ReadFailure>,
    withheld: HashSet<ObjectId>,
    replaced: HashMap<ObjectId, SealedObject>,
    stuck: HashSet<ObjectId>,
    is_stuck: bool,
    is_dead: bool,
    /// Objects of each call so far.
    calls: Vec<Vec<ObjectId>>,
}

impl MemorySource {
    /// Adds an object.
    pub fn put(&self, object: SealedObject) {
        lock(&self.state).objects.insert(object.id, object);
    }

    /// Whether an object is there.
    pub fn has(&self, id: &ObjectId) -> bool {
        lock(&self.state).objects.contains_key(id)
    }

    /// An object as it is stored.
    pub fn get(&self, id: &ObjectId) -> Option<SealedObject> {
        lock(&self.state).objects.get(id).cloned()
    }

    /// Ids of all objects of a kind, sorted.
    pub fn ids(&self, kind: ObjectKind) -> Vec<ObjectId> {
        let state = lock(&self.state);
        let mut ids: Vec<_> =
            state.objects.values().filter(|object| object.kind == kind).map(|object| object.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Sealed bytes of all objects.
    pub fn stored_bytes(&self) -> u64 {
        lock(&self.state).objects.values().map(|object| object.size() as u64).sum()
    }

    /// From now on this object fails so.
    pub fn fail(&self, id: ObjectId, failure: ReadFailure) {
        lock(&self.state).failures.insert(id, failure);
    }

    /// From now on this object is left out of answers.
    pub fn withhold(&self, id: ObjectId) {
        lock(&self.state).withheld.insert(id);
    }

    /// From now on `object` is given for `id`.
    pub fn replace(&self, id: ObjectId, object: SealedObject) {
        lock(&self.state).replaced.insert(id, object);
    }

    /// From now on calls that ask for this object do not return.
    pub fn stick_at(&self, id: ObjectId) {
        lock(&self.state).stuck.insert(id);
    }

    /// From now on calls do not return.
    pub fn stick(&self) {
        lock(&self.state).is_stuck = true;
    }

    /// From now on calls fail at once.
    pub fn die(&self) {
        lock(&self.state).is_dead = true;
    }

    /// Everything works again, stuck calls too.
    pub fn heal(&self) {
        let mut state = lock(&self.state);
        state.failures.clear();
        state.withheld.clear();
        state.replaced.clear();
        state.stuck.clear();
        (state.is_stuck, state.is_dead) = (false, false);
        self.changed.notify_all();
    }

    /// Waits until a call has been made that asks for all of `ids`, or several calls together.
    pub fn wait_for_calls(&self, ids: &[ObjectId]) {
        let mut state = lock(&self.state);
        while !ids.iter().all(|id| state.calls.iter().flatten().any(|asked| asked == id)) {
            state = wait(&self.changed, state);
        }
    }

    /// How often an object was asked for.
    pub fn times_asked(&self, id: &ObjectId) -> usize {
        lock(&self.state).calls.iter().flatten().filter(|asked| *asked == id).count()
    }

    /// The objects of each call so far; forgets them.
    pub fn take_calls(&self) -> Vec<Vec<ObjectId>> {
        std::mem::take(&mut lock(&self.state).calls)
    }
}

impl Source for MemorySource {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        Ok(Vec::new())
    }

    fn snapshots(&self, _: LineageId, _: u64, _: usize) -> Result<Vec<StoredSnapshot>, StoreError> {
        Ok(Vec::new())
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        state.calls.push(ids.to_vec());
        self.changed.notify_all();
        while state.is_stuck || ids.iter().any(|id| state.stuck.contains(id)) {
            state = wait(&self.changed, state);
        }
        if state.is_dead {
            return Err(StoreError::Unreachable { server: "test".into(), detail: "dead".into() });
        }
        // The last first: a source may answer in any order.
        let answers: Vec<_> = (0..ids.len())
            .rev()
            .filter(|at| !state.withheld.contains(&ids[*at]))
            .map(|at| {
                let id = &ids[at];
                let object = state.replaced.get(id).or_else(|| state.objects.get(id)).cloned();
                let failure = state.failures.get(id).copied();
                (at, failure.map_or(object.ok_or(ReadFailure::Missing), Err))
            })
            .collect();
        drop(state);
        answers.into_iter().for_each(|(at, answer)| each(at, answer));
        Ok(())
    }

    fn account_log(&self, _: u64) -> Result<Vec<Bytes>, StoreError> {
        Ok(Vec::new())
    }

    fn watch(&self, seen: u64, _: Duration) -> Result<u64, StoreError> {
        Ok(seen)
    }
}
