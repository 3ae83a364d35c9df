//! From files that changed to a tree: contents are read, bundled and sent by many threads, entries go into the tree in key order.
//!
//! Entries wait in a queue until all they refer to has an id. Small files are bundled in the order of the queue, whatever order they are
//! read in; so the same files always make the same objects. Everything that waits is bounded, and [`Pipeline::put`] waits when it is too
//! much.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use backstore_platform::metadata::{PrincipalCache, RawXattr};
use backstore_platform::walk::{Directory, FullStat, Stat};
use backstore_protocol::entry::{Content, Entry, Kind, Xattr};
use backstore_protocol::ids::ContentHash;
use backstore_protocol::keys::Keys;
use backstore_protocol::limits::{
    BUNDLE_BYTES_MAX, BUNDLE_FILE_BYTES_MAX, INLINE_BYTES_MAX, XATTR_INLINE_BYTES_MAX,
};
use backstore_protocol::tree::{Built, Root, TreeEditor};

use super::BackupError;
use super::basis::BasisNodes;
use super::bundling::{Bundling, SmallFile};
use super::chunks::{BasisChunks, KnownChunks};
use super::large::{Cut, Cutting, LargeEnd, LargeFile, STEP_BYTES};
use super::mapping::Mapping;
use super::objects::{Objects, Part};
use super::pool::{Pool, Urgency};
use super::queue::{Edit, Item, Need, Queue, State};
use super::read::{Batch, FileRead, Outcome, Task, read_batch};
use super::report::{Events, Progress};
use super::upload::{Told, Upload};

/// A file that is new or has changed.
pub(super) struct Changed {
    pub(super) key: Vec<u8>,
    pub(super) directory: Arc<Directory>,
    /// Empty for the directory itself.
    pub(super) name: Box<[u8]>,
    pub(super) stat: Stat,
    pub(super) mount: u32,
    /// It is not selected, but leads to a root.
    pub(super) implied: bool,
    /// What the basis has under this key, if that is whole.
    pub(super) basis: Option<Box<Entry>>,
    /// The basis has something under this key, be it whole or not.
    pub(super) in_basis: bool,
}

/// What workers tell.
enum Done {
    Read(u64, Batch),
    Cut(u64, Box<LargeFile>),
}

/// The makings of a snapshot.
pub(super) struct Pipeline<'a> {
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
pub(super) struct SoFar {
    pub(super) root: Root,
    pub(super) totals: (u64, u64),
    /// After this key comes the basis.
    pub(super) last_key: Vec<u8>,
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
const PLAIN_MAX: usize = 16 << 20;
/// Large files being cut at once, and known.
const CUTTING_MAX: usize = 3;
const LARGES_MAX: usize = 64;
/// A file is worth looking for holes when so many bytes are not allocated.
const HOLE_BYTES_MIN: u64 = 64 * 1024;

impl<'a> Pipeline<'a> {
    #[expect(clippy::too_many_arguments, reason = "everything a backup is made of, once")]
    pub(super) fn new(
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

    /// Takes in a file that is new or has changed. Keys increase from call to call, also over [`Pipeline::remove`].
    pub(super) fn put(&mut self, changed: Changed) -> Result<(), BackupError> {
        let Changed { key, directory, name, stat, mount, implied, basis, in_basis } = changed;
        let linked = stat.kind == Kind::File && stat.nlink > 1;
        let group = (mount, stat.inode);
        if linked && self.queue.join_links(group, stat.nlink) {
            self.queue.push(Item { key, basis, in_basis, state: State::Linked(group) });
            return self.go_on();
        }
        let place = self.queue.push(Item { key, basis, in_basis, state: State::Reading });
        let task = Task { place, directory, name, stat, mount, implied };
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
        self.go_on()
    }

    /// Takes a path of the basis out.
    pub(super) fn remove(&mut self, key: Vec<u8>) -> Result<(), BackupError> {
        self.queue.push(Item { key, basis: None, in_basis: true, state: State::Absent });
        self.go_on()
    }

    /// Waits until everything is in the tree and on its way, and completes the tree.
    pub(super) fn finish(&mut self) -> Result<(Root, (u64, u64)), BackupError> {
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
    pub(super) fn so_far(&mut self) -> Result<Option<SoFar>, BackupError> {
        let Some(last_key) = self.last_key.clone() else { return Ok(None) };
        // A bundle may be half full and wait for more members: nothing that is in the tree lies in one of those.
        let begun = self.objects.next();
        while !self.objects.closed_passed_before(begun) {
            self.wait()?;
        }
        let mut fork = self.editor.clone();
        let root = fork.finish()?;
        self.send_nodes();
        for built in fork.take_built() {
            self.upload.node(built.id, built.bytes);
        }
        self.upload.flush();
        self.take_told()?;
        Ok(Some(SoFar { root, totals: fork.totals(), last_key }))
    }

    /// Sends an object that belongs to no file.
    pub(super) fn send(&self, object: backstore_protocol::object::SealedObject) {
        self.upload.sealed(object);
        self.upload.flush();
    }

    /// Ends all threads.
    pub(super) fn close(self) {
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
        self.take_told()?;
        self.edit_tree()
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

    fn take_batch(&mut self, batch: Batch) -> Result<(), BackupError> {
        let Batch { bytes, files, planned } = batch;
        self.plain -= planned as usize;
        Progress::add(&self.events.progress().bytes_read, bytes.len() as u64);
        let mut complete = Vec::new();
        for (task, outcome) in files {
            match outcome {
                Outcome::Read(read) => self.take_small(task.place, *read, &bytes, &mut complete),
                Outcome::Vanished => self.set_state(task.place, State::Absent),
                Outcome::Grown => self.add_large(task.place, task),
                Outcome::Failed(error) => self.take_failure(&task, &error),
            }
        }
        self.cutting.buffers.give(bytes);
        self.pass_on(complete);
        Ok(())
    }

    fn take_small(&mut self, place: u64, read: FileRead, bytes: &[u8], complete: &mut Vec<(u64, Vec<u8>)>) {
        let FileRead { mut entry, range, hash, is_compressible, xattrs, problems } = read;
        let mut needs = self.store_xattrs(&mut entry, xattrs);
        let Some(item) = self.queue.get_mut(place) else { return };
        for problem in problems {
            self.events.problem(&item.key, &problem.to_string());
        }
        if entry.changing {
            self.events.problem(&item.key, "it changed while it was read, and is stored as it was read last");
        }
        if let Some(hash) = hash {
            entry.content_hash = Some(hash);
            match item.basis.as_ref().filter(|basis| has_content(basis, entry.size, hash)) {
                Some(basis) => entry.content = basis.content.clone(),
                None => {
                    let owner = (principal_number(&entry.owner), principal_number(&entry.group));
                    let file = SmallFile { owner, hash, bytes: &bytes[range], is_compressible };
                    let part = self.bundling.add(&file, place, &mut self.objects, complete);
                    self.objects.add_use(part.object);
                    needs.push(Need { xattr: None, parts: vec![part] });
                }
            }
        }
        item.state = State::Known(Box::new(entry), needs);
    }

    fn take_failure(&mut self, task: &Task, error: &std::io::Error) {
        let Some(item) = self.queue.get_mut(task.place) else { return };
        let kept = if item.basis.is_some() { "; what the snapshot before has is kept" } else { "" };
        self.events.problem(&item.key, &format!("cannot be read: {error}{kept}"));
        item.state = match (item.basis.take(), task.stat.kind) {
            (Some(mut basis), Kind::File) => {
                basis.stale = true;
                State::Known(basis, Vec::new())
            }
            (Some(_), _) => State::Keep,
            (None, Kind::File) => {
                let stat = FullStat { basic: task.stat, btime: None, mount: None, is_mount_root: false };
                let mut entry =
                    backstore_platform::metadata::entry_from(&stat, task.mount, &mut self.principals);
                entry.content = Content::Unread;
                State::Known(Box::new(entry), Vec::new())
            }
            (None, _) => State::Absent,
        };
    }

    fn set_state(&mut self, place: u64, state: State) {
        if let Some(item) = self.queue.get_mut(place) {
            item.state = state;
        }
    }

    /// Puts small xattr values into the entry and large ones into objects.
    fn store_xattrs(&mut self, entry: &mut Entry, xattrs: Vec<RawXattr>) -> Vec<Need> {
        let mut inline = 0;
        let mut needs = Vec::new();
        for (position, RawXattr { name, value }) in xattrs.into_iter().enumerate() {
            let size = value.len() as u64;
            let fits = value.len() <= INLINE_BYTES_MAX && inline + value.len() <= XATTR_INLINE_BYTES_MAX;
            let value = if fits {
                inline += value.len();
                Content::Inline(value)
            } else {
                let parts = value.chunks(BUNDLE_BYTES_MAX).map(|bytes| self.store_value(bytes)).collect();
                needs.push(Need { xattr: Some(position), parts });
                Content::None
            };
            entry.xattrs.push(Xattr { name, size, value });
        }
        needs
    }

    fn store_value(&mut self, bytes: &[u8]) -> Part {
        let number = self.objects.begin();
        self.objects.add_use(number);
        self.objects.close(number);
        let mut plain = self.cutting.buffers.take();
        plain.extend_from_slice(bytes);
        self.pass_on(vec![(number, plain)]);
        Part { object: number, offset: 0, length: bytes.len() as u32 }
    }

    fn end_bundles(&mut self) {
        let mut complete = Vec::new();
        self.bundling.end(&mut self.objects, &mut complete);
        self.pass_on(complete);
    }

    fn pass_on(&mut self, complete: Vec<(u64, Vec<u8>)>) {
        for (number, plain) in complete {
            self.plain += plain.len();
            self.upload.bundle(number, plain);
        }
    }

    fn add_large(&mut self, place: u64, task: Task) {
        let basis = self.queue.get_mut(place).and_then(|item| match item.basis.as_ref()?.content {
            Content::Map(map) => Some(map),
            Content::None | Content::Inline(_) | Content::Extents(_) | Content::Unread => None,
        });
        let basis = basis
            .map(|map| BasisChunks::new(Arc::clone(&self.basis.reader), Arc::clone(&self.basis.lost), map));
        let file = LargeFile::new(task, Arc::clone(&self.cutting), KnownChunks::new(basis));
        let mapping = Mapping::new(&self.keys.ids);
        self.larges.insert(place, Large { file: Some(Box::new(file)), mapping, end: None });
    }

    /// Has the first large files cut on.
    fn cut_on(&mut self) {
        let busy = self.larges.values().any(|large| large.file.is_none());
        let mut may_begin = !busy || self.plain + STEP_BYTES <= PLAIN_MAX;
        for (place, large) in
            self.larges.iter_mut().filter(|(_, large)| large.end.is_none()).take(CUTTING_MAX)
        {
            if !may_begin || large.mapping.waiting() > QUEUE_MAX {
                continue;
            }
            let Some(mut file) = large.file.take() else { continue };
            self.plain += STEP_BYTES;
            may_begin = self.plain + STEP_BYTES <= PLAIN_MAX;
            let (place, tell) = (*place, self.tell_done.clone());
            self.pool.queues.run(Urgency::Then, move |workspace| {
                file.step(workspace);
                let _ = tell.send(Done::Cut(place, file));
            });
        }
    }

    fn take_cut(&mut self, place: u64, mut file: Box<LargeFile>) -> Result<(), BackupError> {
        self.plain -= STEP_BYTES;
        let Some(large) = self.larges.get_mut(&place) else { return Ok(()) };
        let mut complete = Vec::new();
        let mut failure = None;
        for cut in file.cut.drain(..) {
            match cut {
                Cut::Restart => large.mapping.restart(),
                Cut::Hole(length) => large.mapping.hole(length),
                Cut::Chunk(hash, known) => {
                    Progress::add(&self.events.progress().bytes_read, u64::from(known.length));
                    large.mapping.chunk(hash, known);
                }
                Cut::Bundle(bundle, bytes) => {
                    let number = self.objects.begin();
                    self.objects.close(number);
                    self.large_bundles.insert(number, (place, bundle));
                    complete.push((number, bytes));
                }
                Cut::End(end) => large.end = Some(end),
                Cut::Vanished => failure = Some(None),
                Cut::Failed(error) => failure = Some(Some(error)),
            }
        }
        match failure {
            None => {
                large.file = Some(file);
                self.pass_on(complete);
                self.advance_large(place);
            }
            Some(error) => {
                self.pass_on(complete);
                self.larges.remove(&place);
                match error {
                    Some(error) => self.take_failure(&file.task, &error),
                    None => self.set_state(place, State::Absent),
                }
            }
        }
        Ok(())
    }

    /// Takes what can be into a large file's map; with the last of it the entry is known.
    fn advance_large(&mut self, place: u64) {
        let Some(large) = self.larges.get_mut(&place) else { return };
        large.mapping.advance(large.end.is_some());
        let after = self.objects.next();
        self.nodes.extend(large.mapping.take_built().into_iter().map(|built| (after, built)));
        if large.end.is_none() || large.mapping.waiting() > 0 {
            return;
        }
        let Some(mut large) = self.larges.remove(&place) else { return };
        let Some(end) = large.end.take() else { return };
        let LargeEnd { read, hash } = *end;
        let (content, hash) = large.mapping.finish(read.entry.size, hash);
        let built = large.mapping.take_built();
        let basis = self.queue.get_mut(place).and_then(|item| item.basis.as_ref());
        let same = basis.filter(|basis| hash.is_some_and(|hash| has_content(basis, read.entry.size, hash)));
        let same = same.map(|basis| basis.content.clone());
        let mut read = read;
        read.entry.content_hash = hash;
        if same.is_none() {
            self.nodes.extend(built.into_iter().map(|built| (after, built)));
        }
        // Equal content keeps its map, whose nodes are there.
        read.entry.content = same.unwrap_or(content);
        self.take_small(place, FileRead { hash: None, ..read }, &[], &mut Vec::new());
    }
}

/// Whether an entry of the basis has this content.
fn has_content(basis: &Entry, size: u64, hash: ContentHash) -> bool {
    basis.kind == Kind::File && basis.size == size && basis.content_hash == Some(hash)
}

/// A number that is equal for equal owners.
fn principal_number(principal: &backstore_protocol::entry::Principal) -> u64 {
    use backstore_protocol::entry::PrincipalId;
    match &principal.id {
        PrincipalId::None => u64::MAX,
        PrincipalId::Unix(id) => u64::from(*id),
        PrincipalId::Sid(sid) => {
            sid.iter().fold(1 << 32, |number, byte| number.rotate_left(7) ^ u64::from(*byte))
        }
    }
}
