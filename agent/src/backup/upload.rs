//! The way of a bundle to its destination: identified, asked for, sealed, sent; and of nodes behind what they refer to.
//!
//! Workers identify and seal. One thread asks which objects are there, many in one question. Another gathers what is sealed into batches and
//! hands them over, in the order it is told: whoever tells it of a node has seen all the node refers to handed over before.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use backstore_protocol::bundle::is_compressible;
use backstore_protocol::compression::{Contents, compressed_length};
use backstore_protocol::entry::ObjectRef;
use backstore_protocol::envelope::{Class, Compression, OpenError};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::keys::Keys;
use backstore_protocol::limits::{BATCH_ITEMS_MAX, IDS_MAX};
use backstore_protocol::object::{NodeBytes, ObjectKind, SealedObject, body_id, data_id, node_id};
use backstore_protocol::store::{Session, StoreError};

use super::pool::{Buffers, Queues, Urgency};

/// What the upload tells.
pub(super) enum Told {
    /// The id of a bundle is known.
    Identified(u64, ObjectRef),
    /// A bundle is on its way, or was there already; the sealed bytes that are new.
    Passed { number: u64, plain: usize, stored: Option<usize> },
    /// A node is sealed and on its way.
    NodeSent { stored: usize },
    /// The destination failed, or something did not open again.
    Failed(UploadError),
}

/// Why objects did not get to their destination.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The destination said so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was sealed did not open again to what it was made of: memory, the processor or a library cannot be trusted.
    #[error(
        "object {id} did not come out right when it was sealed: this computer's memory or processor may be faulty"
    )]
    Verification {
        /// Which.
        id: ObjectId,
        /// What opening it said; nothing if it opened to something else.
        source: Option<OpenError>,
    },
}

/// How objects are made.
#[derive(Debug, Clone, Copy)]
pub struct SealOptions {
    /// zstd level.
    pub compression_level: i32,
    /// One data object in so many is opened again and compared; 1 for every one.
    pub verify_every: u64,
}

/// The upload of one backup.
pub(super) struct Upload {
    shared: Arc<Shared>,
    questions: Option<Sender<Question>>,
    objects: Option<Sender<Item>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    session: Arc<dyn Session>,
    keys: Arc<Keys>,
    options: SealOptions,
    queues: Queues,
    buffers: Buffers,
    told: Sender<Told>,
}

struct Question {
    number: u64,
    object: ObjectRef,
    plain: Vec<u8>,
    contents: Contents,
}

enum Item {
    Object(SealedObject),
    Node(NodeBytes, ObjectId),
    Flush(Sender<()>),
}

/// Bytes gathered into one batch.
const BATCH_BYTES: usize = 2 << 20;
/// Bytes that are worth a batch when nothing else waits.
const BATCH_BYTES_MIN: usize = 512 << 10;
/// Sealed objects that wait for the thread that sends them.
const OBJECTS_WAITING_MAX: usize = 4;
/// Ids remembered as sent, so that equal bundles are sent once even before they are durable.
const SENT_MAX: usize = 65_536;
/// Objects smaller than this are copied to be exactly as long as they are.
const COPY_BYTES_MAX: usize = 1 << 20;

impl Upload {
    pub(super) fn start(
        session: Arc<dyn Session>,
        keys: Arc<Keys>,
        options: SealOptions,
        queues: Queues,
        buffers: Buffers,
        told: Sender<Told>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { session, keys, options, queues, buffers, told });
        let (questions, asked) = unbounded();
        let (objects, gathered) = bounded(OBJECTS_WAITING_MAX);
        let asker = {
            let (shared, objects) = (Arc::clone(&shared), objects.clone());
            std::thread::Builder::new().name("ask".into()).spawn(move || shared.ask(&asked, &objects))?
        };
        let sender = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("send".into()).spawn(move || shared.send(&gathered))?
        };
        Ok(Self { shared, questions: Some(questions), objects: Some(objects), threads: vec![asker, sender] })
    }

    /// Takes a bundle; tells its id, then that it has passed.
    pub(super) fn bundle(&self, number: u64, plain: Vec<u8>, contents: Contents) {
        let (shared, questions) = (Arc::clone(&self.shared), self.questions.clone());
        self.shared.queues.run(Urgency::First, move |_| {
            let id = data_id(&shared.keys.ids, &plain);
            let object = ObjectRef { id, length: plain.len() as u32 };
            let _ = shared.told.send(Told::Identified(number, object));
            if let Some(questions) = questions {
                let _ = questions.send(Question { number, object, plain, contents });
            }
        });
    }

    /// Sends a node; everything it refers to has passed.
    pub(super) fn node(&self, id: ObjectId, bytes: NodeBytes) {
        self.item(Item::Node(bytes, id));
    }

    /// Sends an object that is sealed already.
    pub(super) fn sealed(&self, object: SealedObject) {
        self.item(Item::Object(object));
    }

    /// Waits until everything passed so far was handed to the session.
    pub(super) fn flush(&self) {
        let (done, is_done) = bounded(1);
        self.item(Item::Flush(done));
        let _ = is_done.recv();
    }

    fn item(&self, item: Item) {
        if let Some(objects) = &self.objects {
            let _ = objects.send(item);
        }
    }

    /// Ends its threads.
    pub(super) fn finish(mut self) {
        self.questions = None;
        self.objects = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Asks for bundles in groups: all that wait when the last question is answered.
    fn ask(self: &Arc<Self>, asked: &Receiver<Question>, objects: &Sender<Item>) {
        let is_empty = self.session.opened().objects == 0;
        let mut sent: HashSet<ObjectId> = HashSet::new();
        let mut count = 0;
        while let Ok(first) = asked.recv() {
            let group: Vec<_> = std::iter::once(first).chain(asked.try_iter().take(IDS_MAX - 1)).collect();
            let held = if is_empty {
                vec![false; group.len()]
            } else {
                let ids: Vec<_> = group.iter().map(|question| question.object.id).collect();
                match self.session.have(&ids) {
                    Ok(held) => held,
                    Err(error) => {
                        let _ = self.told.send(Told::Failed(error.into()));
                        return;
                    }
                }
            };
            for (question, held) in group.into_iter().zip(held) {
                if sent.len() == SENT_MAX {
                    sent.clear();
                }
                if held || !sent.insert(question.object.id) {
                    self.pass(question.number, question.plain, None);
                    continue;
                }
                count += 1;
                let verify = count % self.options.verify_every == 0;
                let (shared, objects) = (Arc::clone(self), objects.clone());
                self.queues.run(Urgency::First, move |workspace| {
                    shared.seal(question, verify, &mut workspace.sealed, &objects)
                });
            }
        }
    }

    fn pass(&self, number: u64, plain: Vec<u8>, stored: Option<usize>) {
        let length = plain.len();
        self.buffers.give(plain);
        let _ = self.told.send(Told::Passed { number, plain: length, stored });
    }

    fn seal(&self, question: Question, verify: bool, sealed: &mut Vec<u8>, objects: &Sender<Item>) {
        let Question { number, object, plain, contents } = question;
        let level = self.options.compression_level;
        let compression = match contents {
            _ if !shrinks(&plain) => Compression::None,
            Contents::Files => Compression::Zstd(level),
            Contents::Chunks => Compression::ZstdChunks(level),
        };
        self.keys.seal(
            Class::Data,
            ObjectKind::Data as u8,
            object.id.as_bytes(),
            &plain,
            compression,
            sealed,
        );
        if verify {
            let mut opened = self.buffers.take();
            let result = self.keys.open(
                Class::Data,
                ObjectKind::Data as u8,
                object.id.as_bytes(),
                sealed,
                &mut opened,
            );
            let right = result.is_ok() && data_id(&self.keys.ids, &opened) == object.id && opened == plain;
            self.buffers.give(opened);
            if !right {
                let _ = self
                    .told
                    .send(Told::Failed(UploadError::Verification { id: object.id, source: result.err() }));
                return;
            }
        }
        let stored = sealed.len();
        let bytes = if stored < COPY_BYTES_MAX {
            Bytes::copy_from_slice(sealed)
        } else {
            self.buffers.lend(std::mem::replace(sealed, self.buffers.take()))
        };
        let sealed = SealedObject {
            id: object.id,
            kind: ObjectKind::Data,
            level: 0,
            references: Bytes::new(),
            sealed: bytes,
        };
        // Handed over before it is told: a node that refers to it comes after it.
        let _ = objects.send(Item::Object(sealed));
        self.pass(number, plain, Some(stored));
    }

    /// Gathers sealed objects into batches and hands them to the session.
    fn send(&self, items: &Receiver<Item>) {
        let mut batch: Vec<SealedObject> = Vec::new();
        let mut bytes = 0;
        while let Ok(item) = items.recv() {
            let mut flushed = None;
            match item {
                Item::Object(object) => {
                    bytes += object.size();
                    batch.push(object);
                }
                Item::Node(node, id) => match seal_node(&self.keys, node, id, self.options.compression_level)
                {
                    Ok(object) => {
                        let _ = self.told.send(Told::NodeSent { stored: object.sealed.len() });
                        bytes += object.size();
                        batch.push(object);
                    }
                    Err(error) => {
                        let _ = self.told.send(Told::Failed(error));
                        return;
                    }
                },
                Item::Flush(done) => flushed = Some(done),
            }
            let is_full = bytes >= BATCH_BYTES || batch.len() == BATCH_ITEMS_MAX;
            let is_due = flushed.is_some() || (bytes >= BATCH_BYTES_MIN && items.is_empty());
            if !batch.is_empty() && (is_full || is_due) {
                bytes = 0;
                if let Err(error) = self.session.put(std::mem::take(&mut batch)) {
                    let _ = self.told.send(Told::Failed(error.into()));
                    return;
                }
            }
            if let Some(done) = flushed {
                let _ = done.send(());
            }
        }
    }
}

/// Seals a node and opens it again: every one, since a whole directory hangs on it.
pub(crate) fn seal_node(
    keys: &Keys,
    node: NodeBytes,
    id: ObjectId,
    compression_level: i32,
) -> Result<SealedObject, UploadError> {
    let NodeBytes { kind, level, references, payload } = node;
    let mut sealed = Vec::new();
    let compression = Compression::Zstd(compression_level);
    keys.seal(Class::Node, kind as u8, id.as_bytes(), &payload, compression, &mut sealed);
    let mut opened = Vec::new();
    let result = keys.open(Class::Node, kind as u8, id.as_bytes(), &sealed, &mut opened);
    if result.is_err() || node_id(&keys.ids, kind, level, &references, &opened) != id {
        return Err(UploadError::Verification { id, source: result.err() });
    }
    let references = references.iter().flat_map(|id| *id.as_bytes()).collect();
    Ok(SealedObject { id, kind, level, references, sealed: sealed.into() })
}

/// Seals a snapshot's body.
pub(crate) fn seal_body(keys: &Keys, body: &[u8]) -> SealedObject {
    let id = body_id(&keys.ids, body);
    let mut sealed = Vec::new();
    let kind = ObjectKind::Body;
    keys.seal(Class::Body, kind as u8, id.as_bytes(), body, Compression::Zstd(3), &mut sealed);
    SealedObject { id, kind, level: 0, references: Bytes::new(), sealed: sealed.into() }
}

/// Whether compressing a bundle promises to make it smaller: by how often bytes repeat, and, if that says no, by compressing a little
/// of it.
fn shrinks(plain: &[u8]) -> bool {
    const SAMPLE: usize = 16 * 1024;
    let places = [0, plain.len() / 2, plain.len().saturating_sub(SAMPLE)];
    places.into_iter().any(|start| {
        let sample = &plain[start..plain.len().min(start + SAMPLE)];
        is_compressible(sample) || compressed_length(sample, 1) < sample.len() / 32 * 31
    })
}
