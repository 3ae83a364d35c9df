//! From files that changed to a tree: contents are read, bundled and sent by many threads, entries go into the tree in key order.
//!
//! Entries wait in a queue until all they refer to has an id. Small files are bundled in the order of the queue, whatever order they are
//! read in; so the same files always make the same objects. Everything that waits is bounded, and [`Pipeline::put`] waits when it is too
//! much.

mod large;
mod small;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use backstore_platform::metadata::PrincipalCache;
use backstore_protocol::compression::Contents;
use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::ids::ContentHash;
use backstore_protocol::keys::Keys;
use backstore_protocol::limits::BUNDLE_FILE_BYTES_MAX;
use backstore_protocol::snapshot::Changes;
use backstore_protocol::tree::{Built, Root, TreeEditor};

use crate::backup::BackupError;
use crate::backup::basis::BasisNodes;
use crate::backup::bundling::Bundling;
use crate::backup::differences::{Changed, Differences};
use crate::backup::large::{Cutting, LargeEnd, LargeFile};
use crate::backup::mapping::Mapping;
use crate::backup::objects::Objects;
use crate::backup::pool::{Pool, Urgency};
use crate::backup::queue::{Edit, Item, Queue, State};
use crate::backup::read::{Batch, Task, read_batch};
use crate::backup::report::{Events, Progress};
use crate::backup::upload::{Told, Upload};

/// What workers tell.
enum Done {
    Read(u64, Batch),
    Cut(u64, Box<LargeFile>),
}

/// The makings of a snapshot.
pub(in crate::backup) struct Pipeline<'a> {
    events: &'a Events<'a>,
    keys: Arc<Keys>,
    basis: BasisNodes,
    editor: TreeEditor<BasisNodes>,
    pool: Pool,
    upload: Upload,
    cutting: Arc<Cutting>,
    done: Receiver<Done>,
    tell_done: Sender<Done>,
    told: Receiver<Told>,
    queue: Queue,
    objects: Objects,
    bundling: Bundling,
    /// Small files for the next job.
    tasks: Vec<Task>,
    tasks_bytes: u64,
    reads: Reads,
    larges: BTreeMap<u64, Large>,
    /// Which large file a bundle belongs to, and its number there.
    large_bundles: HashMap<u64, (u64, u64)>,
    /// Nodes, each with the number of objects that have to have passed before it.
    nodes: VecDeque<(u64, Built)>,
    /// Plain bytes that threads hold.
    plain: usize,
    principals: PrincipalCache,
    last_key: Option<Vec<u8>>,
}

/// A tree before everything is in it.
pub(in crate::backup) struct SoFar {
    pub(in crate::backup) root: Root,
    pub(in crate::backup) totals: (u64, u64),
    /// After this key comes the basis.
    pub(in crate::backup) last_key: Vec<u8>,
}

/// Jobs that read small files.
#[derive(Default)]
struct Reads {
    begun: u64,
    next: u64,
    ready: BTreeMap<u64, Batch>,
}

struct Large {
    /// Here, or with a worker.
    file: Option<Box<LargeFile>>,
    mapping: Mapping,
    end: Option<Box<LargeEnd>>,
}

/// Files of one job, and bytes.
const TASKS_MAX: usize = 256;
const TASKS_BYTES_MAX: u64 = 1 << 20;
/// Entries that wait.
const QUEUE_MAX: usize = 16 * 1024;
/// Plain bytes that threads hold, beyond open bundles.
const PLAIN_MAX: usize = 10 << 20;
/// Large files being cut at once, and known.
const CUTTING_MAX: usize = 3;
const LARGES_MAX: usize = 64;
/// A file is worth looking for holes when so many bytes are not allocated.
const HOLE_BYTES_MIN: u64 = 64 * 1024;

/// Keys increase from call to call.
impl Differences for Pipeline<'_> {
    fn put(&mut self, changed: Changed) -> Result<(), BackupError> {
        let Changed { key, directory, name, stat, mount, implied, basis, in_basis } = changed;
        let linked = stat.kind == Kind::File && stat.nlink > 1;
        let group = (mount, stat.inode);
        let mut task = Task { place: 0, directory, name, stat, mount, implied };
        if linked && self.queue.join_links(group, stat.nlink) {
            self.queue.push(Item { key, basis, in_basis, state: State::Linked(group, Box::new(task)) });
            return self.go_on();
        }
        task.place = self.queue.push(Item { key, basis, in_basis, state: State::Reading });
        self.read(task);
        self.go_on()
    }

    fn put_known(
        &mut self,
        key: Vec<u8>,
        entry: Entry,
        basis: Option<Box<Entry>>,
        in_basis: bool,
    ) -> Result<(), BackupError> {
        let state = State::Known(Box::new(entry), Vec::new());
        self.queue.push(Item { key, basis, in_basis, state });
        self.go_on()
    }

    fn remove(&mut self, key: Vec<u8>, kind: Kind) -> Result<(), BackupError> {
        self.queue.push(Item { key, basis: None, in_basis: true, state: State::Removed(kind) });
        self.go_on()
    }
}

impl<'a> Pipeline<'a> {
    #[expect(clippy::too_many_arguments, reason = "everything a backup is made of, once")]
    pub(in crate::backup) fn new(
        events: &'a Events<'a>,
        keys: Arc<Keys>,
        basis: BasisNodes,
        editor: TreeEditor<BasisNodes>,
        pool: Pool,
        upload: Upload,
        told: Receiver<Told>,
        cutting: Arc<Cutting>,
    ) -> Self {
        let (tell_done, done) = unbounded();
        let bundling = Bundling::new(&keys.ids, cutting.buffers.clone());
        Self {
            events,
            keys,
            basis,
            editor,
            pool,
            upload,
            cutting,
            done,
            tell_done,
            told,
            queue: Queue::default(),
            objects: Objects::default(),
            bundling,
            tasks: Vec::new(),
            tasks_bytes: 0,
            reads: Reads::default(),
            larges: BTreeMap::new(),
            large_bundles: HashMap::new(),
            nodes: VecDeque::new(),
            plain: 0,
            principals: PrincipalCache::default(),
            last_key: None,
        }
    }

    /// Has a file read, sooner or later.
    fn read(&mut self, task: Task) {
        let Task { place, stat, .. } = task;
        let holes = stat.size.saturating_sub(stat.allocated);
        if stat.kind == Kind::File && (stat.size >= BUNDLE_FILE_BYTES_MAX || holes >= HOLE_BYTES_MIN) {
            self.add_large(place, task);
        } else {
            self.tasks_bytes += if stat.kind == Kind::File { stat.size } else { 0 };
            self.tasks.push(task);
            if self.tasks.len() >= TASKS_MAX || self.tasks_bytes >= TASKS_BYTES_MAX {
                self.begin_read();
            }
        }
    }

    /// Waits until everything is in the tree and on its way, and completes the tree.
    pub(in crate::backup) fn finish(&mut self) -> Result<(Root, (u64, u64)), BackupError> {
        self.begin_read();
        while self.queue.len() > 0 {
            self.wait()?;
        }
        self.end_bundles();
        while self.objects.unpassed() > 0 {
            self.wait()?;
        }
        let root = self.editor.finish()?;
        self.take_nodes();
        self.send_nodes();
        self.upload.flush();
        self.take_told()?;
        Ok((root, self.editor.totals()))
    }

    /// The tree as far as it is complete, after which comes the basis; and the last key that is new. Everything it needs is on its way.
    pub(in crate::backup) fn so_far(&mut self) -> Result<Option<SoFar>, BackupError> {
        let Some(last_key) = self.last_key.clone() else { return Ok(None) };
        // A bundle may be half full and wait for more members: nothing that is in the tree lies in one of those. Nothing more goes into the
        // tree meanwhile, since it would need objects that have not passed.
        let begun = self.objects.next();
        while !self.objects.closed_passed_before(begun) {
            self.wait_for_one()?;
        }
        let mut fork = self.editor.clone();
        let root = fork.finish()?;
        // Nodes that were held back by a bundle that is still open do not need it.
        let held_back = std::mem::take(&mut self.nodes).into_iter().map(|(_, built)| built);
        for built in held_back.chain(fork.take_built()) {
            self.upload.node(built.id, built.bytes);
        }
        self.upload.flush();
        self.take_told()?;
        Ok(Some(SoFar { root, totals: fork.totals(), last_key }))
    }

    /// How the tree differs from the basis so far.
    pub(in crate::backup) fn changes(&self) -> Changes {
        self.events.progress().with_sent(&self.queue.tally)
    }

    /// Sends an object that belongs to no file.
    pub(in crate::backup) fn send(&self, object: backstore_protocol::object::SealedObject) {
        self.upload.sealed(object);
        self.upload.flush();
    }

    /// Ends all threads.
    pub(in crate::backup) fn close(self) {
        self.upload.finish();
        self.pool.finish();
    }

    /// Lets work go on without waiting for it, unless too much waits.
    fn go_on(&mut self) -> Result<(), BackupError> {
        self.cut_on();
        while let Ok(done) = self.done.try_recv() {
            self.take_done(done)?;
        }
        self.take_told()?;
        self.edit_tree()?;
        while self.plain > PLAIN_MAX || self.queue.len() > QUEUE_MAX || self.larges.len() > LARGES_MAX {
            self.wait()?;
        }
        Ok(())
    }

    /// Waits for the next result of any thread and takes it in.
    fn wait(&mut self) -> Result<(), BackupError> {
        self.wait_for_one()?;
        self.edit_tree()
    }

    /// Likewise, and leaves the tree as it is.
    fn wait_for_one(&mut self) -> Result<(), BackupError> {
        self.cut_on();
        let is_idle = self.reads.begun == self.reads.next
            && self.larges.values().all(|large| large.file.is_some() || large.end.is_some());
        if is_idle && self.objects.unpassed_closed() == 0 {
            // Nothing will come by itself: what waits, waits for members.
            if self.tasks.is_empty() { self.end_bundles() } else { self.begin_read() }
        }
        let (done, told) = (self.done.clone(), self.told.clone());
        select! {
            recv(done) -> done => if let Ok(done) = done { self.take_done(done)? },
            recv(told) -> told => match told {
                Ok(told) => self.take_one_told(told)?,
                Err(_) => return Err(BackupError::ThreadsEnded),
            },
        }
        self.take_told()
    }

    fn take_done(&mut self, done: Done) -> Result<(), BackupError> {
        match done {
            Done::Read(number, batch) => {
                self.reads.ready.insert(number, batch);
                while let Some(batch) = self.reads.ready.remove(&self.reads.next) {
                    self.reads.next += 1;
                    self.take_batch(batch)?;
                }
                Ok(())
            }
            Done::Cut(place, file) => self.take_cut(place, file),
        }
    }

    fn take_told(&mut self) -> Result<(), BackupError> {
        while let Ok(told) = self.told.try_recv() {
            self.take_one_told(told)?;
        }
        Ok(())
    }

    fn take_one_told(&mut self, told: Told) -> Result<(), BackupError> {
        match told {
            Told::Identified(number, object) => {
                self.objects.identified(number, object);
                if let Some((place, bundle)) = self.large_bundles.remove(&number)
                    && let Some(large) = self.larges.get_mut(&place)
                {
                    large.mapping.identified(bundle, object);
                    self.advance_large(place);
                }
            }
            Told::Passed { number, plain, stored } => {
                self.objects.passed(number);
                self.plain -= plain;
                if let Some(stored) = stored {
                    Progress::add(&self.events.progress().bytes_new, plain as u64);
                    Progress::add(&self.events.progress().bytes_stored, stored as u64);
                }
                self.send_nodes();
            }
            Told::NodeSent { stored } => {
                Progress::add(&self.events.progress().bytes_stored, stored as u64);
            }
            Told::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Moves entries that are complete into the tree.
    fn edit_tree(&mut self) -> Result<(), BackupError> {
        while let Some(edit) = self.queue.pop(&mut self.objects) {
            match edit {
                Edit::Put(key, entry) => {
                    self.last_key = Some(key.clone());
                    self.editor.put(key, *entry)?;
                }
                Edit::Remove(key) => {
                    self.editor.remove(&key)?;
                    self.last_key = Some(key);
                }
                Edit::Read(task) => self.read(*task),
                Edit::Nothing => {}
            }
        }
        self.take_nodes();
        self.send_nodes();
        Ok(())
    }

    fn take_nodes(&mut self) {
        let after = self.objects.next();
        self.nodes.extend(self.editor.take_built().into_iter().map(|built| (after, built)));
    }

    /// Sends the nodes whose objects have all passed.
    fn send_nodes(&mut self) {
        while self.nodes.front().is_some_and(|(after, _)| self.objects.passed_before(*after)) {
            if let Some((_, Built { id, bytes })) = self.nodes.pop_front() {
                self.upload.node(id, bytes);
            }
        }
    }

    fn begin_read(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let tasks = std::mem::take(&mut self.tasks);
        self.plain += self.tasks_bytes as usize;
        self.tasks_bytes = 0;
        let (number, keys, tell) = (self.reads.begun, Arc::clone(&self.keys), self.tell_done.clone());
        self.reads.begun += 1;
        let buffers = self.cutting.buffers.clone();
        self.pool.queues.run(Urgency::Then, move |workspace| {
            let batch = read_batch(tasks, buffers.take(), &keys.ids, workspace);
            let _ = tell.send(Done::Read(number, batch));
        });
    }

    fn end_bundles(&mut self) {
        let mut complete = Vec::new();
        self.bundling.end(&mut self.objects, &mut complete);
        self.pass_on(complete, Contents::Files);
    }

    fn pass_on(&mut self, complete: Vec<(u64, Vec<u8>)>, contents: Contents) {
        for (number, plain) in complete {
            self.plain += plain.len();
            self.upload.bundle(number, plain, contents);
        }
    }
}

/// Whether an entry of the basis has this content.
fn has_content(basis: &Entry, size: u64, hash: ContentHash) -> bool {
    basis.kind == Kind::File && basis.size == size && basis.content_hash == Some(hash)
}
