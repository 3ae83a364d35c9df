//! Small files that will be read soon: those after one that was read, once several near it were.
//!
//! Programs that read a tree open files in about the order of keys, and neighbours in that order share bundles. So a thread of its own
//! has the objects of the next files fetched, and gives the files' bytes to whoever takes spare ones: on Linux they go into the page
//! cache, and reading those files then costs no request at all. One file near the end of each step is left out, so that reading it
//! tells that the next step is due.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::{io, thread};

use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::tree::{Cursor, Items};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::inode::{Identity, Inodes, Place};
use super::version::NamedVersion;
use super::{Spare, SpareTaker};
use crate::content::{self, Run};
use crate::objects::{ObjectReader, ReadError, Wait, Want};
use crate::sync::lock;

/// Larger files are fetched when they are read.
const FILE_BYTES_MAX: u64 = 512 << 10;
/// Files read in one leaf before anything is fetched for it.
const READS_MIN: u32 = 3;
/// Leaves that are watched at a time.
const LEAVES_MAX: usize = 16;
/// Bytes of files in one step: in the first for a leaf, and at most.
const STEP_BYTES_MIN: u64 = 1 << 20;
const STEP_BYTES_MAX: u64 = 8 << 20;
/// A step begins when less than so many entries are left of the one before.
const MARGIN: u16 = 32;
/// Steps that wait for the thread; more are dropped.
const STEPS_MAX: usize = 16;

/// Watches what is read.
pub(super) struct Neighbours {
    leaves: Arc<Mutex<Leaves>>,
    steps: Sender<Step>,
    taker: Arc<Mutex<Option<SpareTaker>>>,
}

/// Leaves in which files were read, most recent last.
#[derive(Default)]
struct Leaves(VecDeque<Leaf>);

struct Leaf {
    id: ObjectId,
    reads: u32,
    /// Entries before this index have been looked at.
    ahead_to: u16,
    /// Where a step went that came to the end of this leaf.
    continued_in: Option<ObjectId>,
    step_bytes: u64,
}

struct Step {
    version: Arc<NamedVersion>,
    leaf: ObjectId,
    from: u16,
    bytes: u64,
}

impl Neighbours {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn new(reader: &Arc<ObjectReader>, inodes: &Arc<Inodes>) -> io::Result<Self> {
        let (steps, waiting) = bounded(STEPS_MAX);
        let leaves: Arc<Mutex<Leaves>> = Arc::default();
        let taker: Arc<Mutex<Option<SpareTaker>>> = Arc::default();
        let follower = Follower {
            reader: Arc::clone(reader),
            inodes: Arc::clone(inodes),
            leaves: Arc::clone(&leaves),
            taker: Arc::clone(&taker),
        };
        thread::Builder::new().name("neighbours".into()).spawn(move || follower.follow(&waiting))?;
        Ok(Self { leaves, steps, taker })
    }

    /// From now on spare bytes go to `taker`.
    pub(super) fn set_taker(&self, taker: SpareTaker) {
        *lock(&self.taker) = Some(taker);
    }

    /// A file is being read.
    pub(super) fn read(&self, version: &Arc<NamedVersion>, place: &Place, entry: &Entry) {
        if !is_small(entry) {
            return;
        }
        let mut leaves = lock(&self.leaves);
        let leaf = leaves.recent(*place.leaf);
        leaf.reads += 1;
        if leaf.reads < READS_MIN || place.index.saturating_add(MARGIN) < leaf.ahead_to {
            return;
        }
        let (leaf, from) = match leaf.continued_in {
            None => {
                let from = leaf.ahead_to.max(place.index + 1);
                (leaf, from)
            }
            Some(next) => {
                let next = leaves.recent(next);
                if next.ahead_to > MARGIN {
                    return;
                }
                let from = next.ahead_to;
                (next, from)
            }
        };
        let step = Step { version: Arc::clone(version), leaf: leaf.id, from, bytes: leaf.step_bytes };
        // Until the thread says how far it came, no other step begins here.
        leaf.ahead_to = u16::MAX;
        leaf.step_bytes = (2 * leaf.step_bytes).min(STEP_BYTES_MAX);
        if self.steps.try_send(step).is_err() {
            leaf.ahead_to = from;
        }
    }
}

impl Leaves {
    /// The record of a leaf, made if there is none, as the most recent one.
    fn recent(&mut self, id: ObjectId) -> &mut Leaf {
        let known = self.0.iter().position(|leaf| leaf.id == id).and_then(|at| self.0.remove(at));
        if self.0.len() >= LEAVES_MAX {
            self.0.pop_front();
        }
        let new = Leaf { id, reads: 0, ahead_to: 0, continued_in: None, step_bytes: STEP_BYTES_MIN };
        let at = self.0.len();
        self.0.push_back(known.unwrap_or(new));
        &mut self.0[at]
    }
}

fn is_small(entry: &Entry) -> bool {
    entry.kind == Kind::File
        && entry.size <= FILE_BYTES_MAX
        && matches!(entry.content, Content::Extents(_) | Content::Inline(_))
}

/// What the thread works with.
struct Follower {
    reader: Arc<ObjectReader>,
    inodes: Arc<Inodes>,
    leaves: Arc<Mutex<Leaves>>,
    taker: Arc<Mutex<Option<SpareTaker>>>,
}

/// How far a step came: entries before this index of this leaf.
struct Reached {
    leaf: ObjectId,
    index: u16,
    /// Entries of the leaf that the step began in, if it went on to another.
    left: Option<u16>,
}

/// A file of a step.
struct Neighbour {
    leaf: ObjectId,
    index: u16,
    key: Vec<u8>,
    entry: Entry,
}

/// The files of a step.
#[derive(Default)]
struct Found {
    files: Vec<Neighbour>,
    bytes: u64,
    last: Option<ObjectId>,
}

impl Follower {
    fn follow(&self, steps: &Receiver<Step>) {
        for step in steps {
            let mut found = Found::default();
            // What cannot be read here is reported when somebody needs it.
            let nowhere = Reached { leaf: step.leaf, index: step.from, left: None };
            let reached = self.find(&step, &mut found).unwrap_or(nowhere);
            self.note(&step, &reached);
            self.give(&step, found, &reached);
        }
    }

    /// Has the objects of small files fetched, from an entry on, in this leaf and the next, until they are enough.
    fn find(&self, step: &Step, found: &mut Found) -> Result<Reached, ReadError> {
        let leaf = self.reader.tree_node(&step.leaf, Wait::UntilDeadline)?;
        let entries = leaf.len() as u16;
        let mut items = Items::at(leaf, usize::from(step.from))?;
        while let Some(entry) = items.read_entry()? {
            let index = items.next_index() as u16;
            if found.add(&self.reader, (step.leaf, index - 1), items.key(), entry) >= step.bytes {
                return Ok(Reached { leaf: step.leaf, index, left: None });
            }
        }
        let after = [items.key(), &[0]].concat();
        let mut cursor =
            Cursor::seek(self.reader.nodes(Wait::UntilDeadline), step.version.version.root, &after)?;
        cursor.hint();
        let mut reached = Reached { leaf: step.leaf, index: entries, left: None };
        while let Some(entry) = cursor.next_entry()? {
            let (leaf, index) = cursor.place();
            if reached.left.is_some() && reached.leaf != leaf {
                break;
            }
            let index = index as u16;
            reached = Reached { leaf, index: index + 1, left: Some(entries) };
            if found.add(&self.reader, (leaf, index), cursor.key(), entry) >= step.bytes {
                break;
            }
        }
        Ok(reached)
    }

    fn note(&self, step: &Step, reached: &Reached) {
        let mut leaves = lock(&self.leaves);
        let first = leaves.recent(step.leaf);
        let Some(entries) = reached.left else {
            first.ahead_to = reached.index;
            return;
        };
        first.ahead_to = entries;
        first.continued_in = Some(reached.leaf);
        let next = leaves.recent(reached.leaf);
        next.reads = next.reads.max(READS_MIN);
        next.ahead_to = next.ahead_to.max(reached.index);
        next.step_bytes = next.step_bytes.max((2 * step.bytes).min(STEP_BYTES_MAX));
    }

    /// Gives the bytes of files that the system knows to the taker, but for the one whose reading tells that the next step is due.
    fn give(&self, step: &Step, found: Found, reached: &Reached) {
        let Some(taker) = lock(&self.taker).clone() else { return };
        let is_near_end = |file: &Neighbour| {
            file.leaf == reached.leaf && file.index.saturating_add(MARGIN) >= reached.index
        };
        let due = found.files.iter().position(is_near_end).unwrap_or(found.files.len().saturating_sub(1));
        for (_, file) in found.files.into_iter().enumerate().filter(|(at, _)| *at != due) {
            let identity = Identity::file(&step.version, &file.key, &file.entry);
            if let Some(ino) = self.inodes.known(&identity)
                && let Some(bytes) = self.bytes(&file.entry)
            {
                taker(Spare { ino, offset: 0, bytes, size: file.entry.size });
            }
        }
    }

    /// The bytes of a file that lies in one piece. Of others the objects are in memory now, which has to do.
    fn bytes(&self, entry: &Entry) -> Option<Bytes> {
        let (content, size) = (&entry.content, entry.size);
        let mut reading = content::read(&self.reader, content, size, 0, size, Wait::UntilDeadline).ok()?;
        match (reading.runs.pop(), reading.runs.is_empty()) {
            (Some(Run::Data(bytes)), true) => Some(bytes),
            (_, _) => None,
        }
    }
}

impl Found {
    /// Adds a small file and has its objects fetched; gives the bytes of all so far.
    fn add(&mut self, reader: &ObjectReader, place: (ObjectId, u16), key: &[u8], entry: Entry) -> u64 {
        if is_small(&entry) && entry.size > 0 {
            entry.content.for_each_reference(&mut |object| {
                // Neighbours mostly lie in the same object.
                if self.last != Some(object.id) {
                    self.last = Some(object.id);
                    reader.prefetch([Want::Data(object)]);
                }
            });
            self.bytes += entry.size;
            self.files.push(Neighbour { leaf: place.0, index: place.1, key: key.to_vec(), entry });
        }
        self.bytes
    }
}
