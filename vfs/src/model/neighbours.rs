//! Small files that will be read soon: those after one that was opened, once several near it were.
//!
//! Programs that read a tree open files in about the order of keys, and neighbours in that order share bundles. So the objects of
//! the next files are fetched before those are opened, by a thread of its own, since finding them means reading entries.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use backstore_protocol::entry::{Content, Entry};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::tree::{Cursor, Items, Root};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::inode::Place;
use crate::objects::{ObjectReader, ReadError, Wait, Want};
use crate::sync::lock;

/// Larger files are fetched when they are read.
const FILE_BYTES_MAX: u64 = 512 << 10;
/// Files opened in one leaf before anything is fetched for it.
const OPENS_MIN: u32 = 3;
/// Leaves that are watched at a time.
const LEAVES_MAX: usize = 16;
/// Bytes of objects that one step fetches: the first for a leaf, and at most.
const STEP_BYTES_MIN: u64 = 1 << 20;
const STEP_BYTES_MAX: u64 = 8 << 20;
/// A step begins when less than so many entries are left of the one before.
const MARGIN: u16 = 32;
/// Steps that wait for the thread; more are dropped.
const STEPS_MAX: usize = 16;

/// Watches what is opened.
pub(super) struct Neighbours {
    leaves: Arc<Mutex<VecDeque<Leaf>>>,
    steps: Sender<Step>,
}

/// A leaf in which files were opened, most recent last.
struct Leaf {
    id: ObjectId,
    opens: u32,
    /// Entries before this index have been looked at.
    ahead_to: u16,
    step_bytes: u64,
}

struct Step {
    root: Root,
    leaf: ObjectId,
    from: u16,
    bytes: u64,
}

impl Neighbours {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn new(reader: &Arc<ObjectReader>) -> io::Result<Self> {
        let (steps, waiting) = bounded(STEPS_MAX);
        let leaves: Arc<Mutex<VecDeque<Leaf>>> = Arc::default();
        let (reader, watched) = (Arc::clone(reader), Arc::clone(&leaves));
        thread::Builder::new()
            .name("neighbours".into())
            .spawn(move || follow(&reader, &watched, &waiting))?;
        Ok(Self { leaves, steps })
    }

    /// A file was opened.
    pub(super) fn opened(&self, root: Root, place: &Place, entry: &Entry) {
        if entry.size > FILE_BYTES_MAX || !matches!(entry.content, Content::Extents(_) | Content::Inline(_)) {
            return;
        }
        let mut leaves = lock(&self.leaves);
        let leaf = recent(&mut leaves, *place.leaf);
        leaf.opens += 1;
        if leaf.opens < OPENS_MIN || place.index + MARGIN < leaf.ahead_to {
            return;
        }
        let from = leaf.ahead_to.max(place.index + 1);
        let step = Step { root, leaf: *place.leaf, from, bytes: leaf.step_bytes };
        // Until the thread says how far it came, no other step begins here.
        leaf.ahead_to = u16::MAX;
        leaf.step_bytes = (2 * leaf.step_bytes).min(STEP_BYTES_MAX);
        if self.steps.try_send(step).is_err() {
            leaf.ahead_to = from;
        }
    }
}

/// The record of a leaf, made if there is none, moved to the end.
fn recent(leaves: &mut VecDeque<Leaf>, id: ObjectId) -> &mut Leaf {
    let known = leaves.iter().position(|leaf| leaf.id == id).and_then(|at| leaves.remove(at));
    if leaves.len() >= LEAVES_MAX {
        leaves.pop_front();
    }
    let at = leaves.len();
    leaves.push_back(known.unwrap_or(Leaf { id, opens: 0, ahead_to: 0, step_bytes: STEP_BYTES_MIN }));
    &mut leaves[at]
}

fn follow(reader: &Arc<ObjectReader>, leaves: &Mutex<VecDeque<Leaf>>, steps: &Receiver<Step>) {
    for step in steps {
        // What cannot be read here is reported when somebody needs it.
        let reached = take_step(reader, &step).unwrap_or(Reached { leaf: step.leaf, index: step.from });
        let mut leaves = lock(leaves);
        if reached.leaf == step.leaf {
            recent(&mut leaves, step.leaf).ahead_to = reached.index;
        } else {
            recent(&mut leaves, step.leaf).ahead_to = u16::MAX;
            let next = recent(&mut leaves, reached.leaf);
            next.opens = next.opens.max(OPENS_MIN);
            next.ahead_to = next.ahead_to.max(reached.index);
            next.step_bytes = next.step_bytes.max((2 * step.bytes).min(STEP_BYTES_MAX));
        }
    }
}

/// How far a step came: entries of this leaf before this index.
struct Reached {
    leaf: ObjectId,
    index: u16,
}

/// Has the objects of small files fetched, from an entry on, in this leaf and the next, until they are enough.
fn take_step(reader: &Arc<ObjectReader>, step: &Step) -> Result<Reached, ReadError> {
    let nodes = reader.nodes(Wait::UntilDeadline);
    let mut items = Items::at(reader.tree_node(&step.leaf, Wait::UntilDeadline)?, usize::from(step.from))?;
    let mut batch = Batch { last: None, bytes: 0, enough: step.bytes };
    while let Some(entry) = items.read_entry()? {
        if batch.add(reader, &entry) {
            return Ok(Reached { leaf: step.leaf, index: items.next_index() as u16 });
        }
    }
    let after = [items.key(), &[0]].concat();
    let mut cursor = Cursor::seek(nodes, step.root, &after)?;
    cursor.hint();
    let mut reached = Reached { leaf: step.leaf, index: u16::MAX };
    while let Some(entry) = cursor.next_entry()? {
        let (leaf, index) = cursor.place();
        let is_beyond = reached.leaf != step.leaf && reached.leaf != leaf;
        reached = Reached { leaf, index: index as u16 + 1 };
        if is_beyond || batch.add(reader, &entry) {
            break;
        }
    }
    Ok(reached)
}

struct Batch {
    last: Option<ObjectId>,
    bytes: u64,
    enough: u64,
}

impl Batch {
    /// Has an entry's objects fetched; true when that was enough.
    fn add(&mut self, reader: &ObjectReader, entry: &Entry) -> bool {
        if entry.size <= FILE_BYTES_MAX {
            entry.content.for_each_reference(&mut |object| {
                // Only extents have lengths. Neighbours mostly lie in the same object.
                if object.length > 0 && self.last != Some(object.id) {
                    self.last = Some(object.id);
                    self.bytes += u64::from(object.length);
                    reader.prefetch([Want::Data(object)]);
                }
            });
        }
        self.bytes >= self.enough
    }
}
