//! Small files that will be read soon: the others of a directory, when its files are being read one after the other.
//!
//! Who reads a tree (`grep -r`, `cp -r`, a build) lists a directory and then reads its files. Once that is seen, a thread of its own
//! has the objects of a directory's files fetched as soon as it is listed, and gives the files' bytes to whoever takes spare ones: on
//! Linux they go into the page cache, and reading those files then costs no request at all. One file of each step is left
//! out: that it is read confirms the guess and tells that the next step is due. Guesses that are not confirmed end it.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::path::split_key;
use backstore_protocol::tree::Cursor;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::inode::{Identity, Inodes};
use super::version::NamedVersion;
use super::watch::{Step, Taken, Watch};
use super::{Spare, TakerSlot};
use crate::content::{self, Run};
use crate::objects::{ObjectReader, ReadError, Wait, Want};
use crate::sync::lock;

/// Larger files are fetched when they are read.
const FILE_BYTES_MAX: u64 = 512 << 10;
/// Entries that one step looks at.
const STEP_ENTRIES_MAX: usize = 1024;
/// Steps that wait for the thread; more are dropped.
const STEPS_MAX: usize = 16;

/// Watches what is listed and read.
pub(super) struct Neighbours {
    watch: Arc<Mutex<Watch>>,
    steps: Sender<Step>,
}

impl Neighbours {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn new(
        reader: &Arc<ObjectReader>,
        inodes: &Arc<Inodes>,
        taker: &TakerSlot,
    ) -> io::Result<Self> {
        let (steps, waiting) = bounded(STEPS_MAX);
        let watch: Arc<Mutex<Watch>> = Arc::default();
        let follower = Follower {
            reader: Arc::clone(reader),
            inodes: Arc::clone(inodes),
            watch: Arc::clone(&watch),
            taker: Arc::clone(taker),
        };
        thread::Builder::new().name("neighbours".into()).spawn(move || follower.follow(&waiting))?;
        Ok(Self { watch, steps })
    }

    /// A file is being read.
    pub(super) fn read(&self, version: &Arc<NamedVersion>, key: &[u8], entry: &Entry) {
        if let Ok((directory, _)) = split_key(key)
            && is_small(entry)
        {
            // The lock is given back before anything is sent: whoever finds the queue full takes it again.
            let step = lock(&self.watch).read(version, directory, key);
            self.send(step);
        }
    }

    /// A directory has been listed from its start.
    pub(super) fn listed(&self, version: &Arc<NamedVersion>, directory: &[u8]) {
        let step = lock(&self.watch).listed(version, directory);
        self.send(step);
    }

    fn send(&self, step: Option<Step>) {
        if let Some(step) = step
            && let Err(refused) = self.steps.try_send(step)
        {
            let step = refused.into_inner();
            lock(&self.watch).taken(&step, Taken { came_to: step.after.clone(), due: None });
        }
    }
}

fn is_small(entry: &Entry) -> bool {
    entry.kind == Kind::File
        && entry.size > 0
        && entry.size <= FILE_BYTES_MAX
        && matches!(entry.content, Content::Extents(_) | Content::Inline(_))
}

/// What the thread works with.
struct Follower {
    reader: Arc<ObjectReader>,
    inodes: Arc<Inodes>,
    watch: Arc<Mutex<Watch>>,
    taker: TakerSlot,
}

/// A small file of the directory.
struct Neighbour {
    key: Vec<u8>,
    entry: Entry,
    identity: Identity,
}

impl Follower {
    fn follow(&self, steps: &Receiver<Step>) {
        for step in steps {
            let mut files = Vec::new();
            let mut came_to = step.after.clone();
            // What cannot be read here is reported when somebody needs it.
            let _ = self.find(&step, &mut files, &mut came_to);
            let due = files.len().saturating_sub(16).max(files.len() / 2);
            let due_key = files.get(due).map(|file: &Neighbour| file.key.clone());
            lock(&self.watch).taken(&step, Taken { came_to, due: due_key });
            files.into_iter().enumerate().filter(|(at, _)| *at != due).for_each(|(_, file)| self.give(&file));
        }
    }

    /// Finds the small files of the directory, and has their objects fetched and those of files after it, until they are enough.
    fn find(
        &self,
        step: &Step,
        files: &mut Vec<Neighbour>,
        came_to: &mut Option<Vec<u8>>,
    ) -> Result<(), ReadError> {
        let prefix = [&step.directory[..], &[0, 0]].concat();
        let from = step.after.as_ref().map_or_else(|| prefix.clone(), |after| [&after[..], &[0]].concat());
        let mut cursor =
            Cursor::seek(self.reader.nodes(Wait::UntilDeadline), step.version.version.root, &from)?;
        cursor.hint();
        let (mut bytes, mut last) = (0, None);
        for _ in 0..STEP_ENTRIES_MAX {
            let Some(entry) = cursor.next_entry()? else { break };
            let key = cursor.key();
            let is_inside = key.starts_with(&prefix);
            if is_small(&entry) {
                let identity = is_inside.then(|| Identity::file(&step.version, key, &entry));
                if identity.as_ref().is_some_and(|identity| self.inodes.known(identity).is_none()) {
                    // Its part of the listing is still to come.
                    break;
                }
                self.fetch(&entry, &mut last);
                bytes += entry.size;
                if let Some(identity) = identity {
                    files.push(Neighbour { key: key.to_vec(), entry, identity });
                }
            }
            if is_inside {
                *came_to = Some(key.to_vec());
            }
            if bytes >= step.bytes {
                break;
            }
        }
        Ok(())
    }

    fn fetch(&self, entry: &Entry, last: &mut Option<ObjectId>) {
        entry.content.for_each_reference(&mut |object| {
            // Neighbours mostly lie in the same object.
            if *last != Some(object.id) {
                *last = Some(object.id);
                self.reader.prefetch([Want::Data(object)]);
            }
        });
    }

    /// Gives a file's bytes to the taker, if the system knows the file.
    fn give(&self, file: &Neighbour) {
        let Some(taker) = lock(&self.taker).clone() else { return };
        if let Some(ino) = self.inodes.known(&file.identity)
            && let Some(bytes) = self.bytes(&file.entry)
        {
            taker(Spare { ino, offset: 0, bytes, size: file.entry.size });
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
