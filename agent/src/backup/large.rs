//! A large or sparse file, read and cut in steps, one after the other, by whichever worker is free.

use std::fs::File;
use std::io;
use std::sync::Arc;

use backstore_platform::metadata::{Subject, attributes, entry_from};
use backstore_platform::sparse::{Run, runs_from};
use backstore_platform::walk::{FullStat, Stat, append_at, full_stat_file};
use backstore_protocol::bundle::BundleRule;
use backstore_protocol::chunker::Chunker;
use backstore_protocol::content_hash::{ContentHasher, chunk_hash};
use backstore_protocol::entry::Kind;
use backstore_protocol::ids::{ChunkHash, ContentHash};
use backstore_protocol::keys::IdKeys;

use super::chunks::{Known, KnownChunks, Place};
use super::pool::{Buffers, Workspace};
use super::read::{FileRead, Task};

/// A file being cut; travels between the one who asks for steps and the workers.
pub(super) struct LargeFile {
    pub(super) task: Task,
    shared: Arc<Cutting>,
    known: KnownChunks,
    file: Option<File>,
    /// Metadata at the start of the current attempt.
    before: Stat,
    attempt: usize,
    /// How far the file has been cut, or found to be a hole.
    offset: u64,
    /// End of the data run at `offset`; equal to it if there is none.
    data_end: u64,
    /// The open bundle, and behind it what was read and is not cut yet: a new chunk is in its bundle without being moved.
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are the open bundle.
    bundled: usize,
    /// Where the part of `buffer` begins that is not cut yet; behind chunks that are known already it is not where the bundle ends.
    uncut: usize,
    hasher: ContentHasher,
    rule: BundleRule,
    bundle_number: u64,
    /// What the last step found.
    pub(super) cut: Vec<Cut>,
}

/// What all large files of a backup share.
pub(super) struct Cutting {
    pub(super) ids: IdKeys,
    pub(super) chunker: Box<dyn Chunker>,
    pub(super) buffers: Buffers,
}

/// The next part of a file, or the end of it.
pub(super) enum Cut {
    /// The file begins anew: what came before does not count.
    Restart,
    /// A hole.
    Hole(u64),
    /// A chunk and where it is.
    Chunk(ChunkHash, Known),
    /// A bundle is complete; its number in the file, and its bytes.
    Bundle(u64, Vec<u8>),
    /// All of it has been read.
    End(Box<LargeEnd>),
    /// It is no longer there.
    Vanished,
    /// It cannot be read on.
    Failed(io::Error),
}

/// What is known once a file has been read to its end.
pub(super) struct LargeEnd {
    /// Metadata and xattrs, without content.
    pub(super) read: FileRead,
    pub(super) hash: ContentHash,
}

/// Bytes of a file that one step reads.
pub(super) const STEP_BYTES: usize = 1 << 20;
/// Bytes read at once, more or less: few enough to be in the processor's cache while they are cut, hashed and copied.
const READ_BYTES: usize = 256 << 10;
/// How often a file is read again because it changed meanwhile.
const ATTEMPTS_MAX: usize = 3;
/// A run of data that is not worth stopping a step for a hole after it.
const HOLES_A_STEP_MAX: usize = 4096;

impl LargeFile {
    pub(super) fn new(task: Task, shared: Arc<Cutting>, known: KnownChunks) -> Self {
        Self {
            before: task.stat,
            task,
            known,
            file: None,
            attempt: 0,
            offset: 0,
            data_end: 0,
            buffer: Vec::new(),
            bundled: 0,
            uncut: 0,
            hasher: ContentHasher::new(&shared.ids),
            rule: BundleRule::new(&shared.ids),
            bundle_number: 0,
            cut: Vec::new(),
            shared,
        }
    }

    /// Reads and cuts the next few MiB. What it found is then in `cut`, which the caller has emptied.
    pub(super) fn step(&mut self, workspace: &mut Workspace) {
        if let Err(error) = self.try_step(workspace) {
            self.file = None;
            let vanished = error.kind() == io::ErrorKind::NotFound;
            self.cut.push(if vanished { Cut::Vanished } else { Cut::Failed(error) });
        }
    }

    fn try_step(&mut self, workspace: &mut Workspace) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(self.task.directory.open_file(&self.task.name)?);
            self.begin();
        }
        let (mut bytes, mut holes) = (0, 0);
        while bytes < STEP_BYTES && holes < HOLES_A_STEP_MAX {
            if self.offset == self.data_end && !self.next_run(&mut holes)? {
                return self.end(workspace);
            }
            bytes += self.cut_one()?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        (self.offset, self.data_end) = (0, 0);
        self.hasher = ContentHasher::new(&self.shared.ids);
        if self.buffer.capacity() == 0 {
            self.buffer = self.shared.buffers.take();
        }
        self.forget_uncut();
    }

    fn forget_uncut(&mut self) {
        self.buffer.truncate(self.bundled);
        self.uncut = self.bundled;
    }

    /// Goes to the next run of data; false at the end.
    fn next_run(&mut self, holes: &mut usize) -> io::Result<bool> {
        let (Some(file), size) = (&self.file, self.before.size) else { return Ok(false) };
        let is_sparse = self.before.allocated < size;
        let mut runs = runs_from(file, self.offset, size);
        loop {
            let run = match (is_sparse, self.offset < size) {
                (_, false) => return Ok(false),
                (false, true) => Some(Ok(Run::Data { offset: self.offset, length: size - self.offset })),
                (true, true) => runs.next(),
            };
            match run.transpose()? {
                None => return Ok(false),
                Some(Run::Hole { length, .. }) => {
                    self.offset += length;
                    *holes += 1;
                    self.hasher.hole(length);
                    self.cut.push(Cut::Hole(length));
                }
                Some(Run::Data { length, .. }) => {
                    self.data_end = self.offset + length;
                    self.forget_uncut();
                    return Ok(true);
                }
            }
        }
    }

    /// Cuts one chunk off the run of data; its length.
    fn cut_one(&mut self) -> io::Result<usize> {
        let left = self.data_end - self.offset;
        let uncut = self.buffer.len() - self.uncut;
        if uncut < self.shared.chunker.max() && (uncut as u64) < left {
            self.fill(left)?;
        }
        let data = &self.buffer[self.uncut..];
        if data.is_empty() {
            // The file is shorter than it was: what is left of it will be seen when it is examined at the end.
            self.data_end = self.offset;
            self.before.size = self.offset;
            return Ok(0);
        }
        let length = self.shared.chunker.cut(data).clamp(1, data.len());
        let chunk = &data[..length];
        self.hasher.data(chunk);
        let hash = chunk_hash(&self.shared.ids, chunk);
        let known = match self.known.find(&hash, length, self.offset) {
            Some(known) => {
                self.uncut += length;
                known
            }
            None => self.bundle_chunk(hash, length),
        };
        self.cut.push(Cut::Chunk(hash, known));
        self.offset += length as u64;
        Ok(length)
    }

    /// Reads on until there is more than a whole chunk, or all of the run.
    fn fill(&mut self, left: u64) -> io::Result<()> {
        if self.uncut > self.bundled {
            self.buffer.drain(self.bundled..self.uncut);
            self.uncut = self.bundled;
        }
        let enough =
            (self.shared.chunker.max() + READ_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(file) = &self.file else { return Ok(()) };
        loop {
            let uncut = self.buffer.len() - self.uncut;
            if uncut >= enough {
                return Ok(());
            }
            match append_at(file, &mut self.buffer, enough - uncut, self.offset + uncut as u64) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a new chunk into the open bundle.
    fn bundle_chunk(&mut self, hash: ChunkHash, length: usize) -> Known {
        if self.rule.ends_before((0, 0), length) {
            self.end_bundle();
        }
        let place = Place::Bundled(self.bundle_number);
        let known = Known { place, offset: self.bundled as u32, length: length as u32 };
        if self.uncut > self.bundled {
            self.buffer.copy_within(self.uncut..self.uncut + length, self.bundled);
        }
        self.bundled += length;
        self.uncut += length;
        self.known.add(hash, known);
        if self.rule.ends_after(hash.as_bytes(), length) {
            self.end_bundle();
        }
        known
    }

    /// Passes the open bundle on; what is not cut yet moves to the next buffer.
    fn end_bundle(&mut self) {
        if self.bundled > 0 {
            let mut next = self.shared.buffers.take();
            next.extend_from_slice(&self.buffer[self.uncut..]);
            let mut bundle = std::mem::replace(&mut self.buffer, next);
            bundle.truncate(self.bundled);
            (self.bundled, self.uncut) = (0, 0);
            self.cut.push(Cut::Bundle(self.bundle_number, bundle));
            self.bundle_number += 1;
        }
    }

    /// Looks whether the file is still what it was; if not, reads it again.
    fn end(&mut self, workspace: &mut Workspace) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let after = full_stat_file(file)?;
        if after.basic.kind != Kind::File {
            return Err(io::Error::other("it is no longer a regular file"));
        }
        self.attempt += 1;
        let is_whole = after.basic.is_unchanged_since(&self.before);
        if !is_whole && self.attempt < ATTEMPTS_MAX {
            self.before = after.basic;
            self.cut.push(Cut::Restart);
            self.begin();
            return Ok(());
        }
        let read = self.describe(&after, !is_whole, workspace);
        self.end_bundle();
        self.rule = BundleRule::new(&self.shared.ids);
        let hasher = std::mem::replace(&mut self.hasher, ContentHasher::new(&self.shared.ids));
        self.cut.push(Cut::End(Box::new(LargeEnd { read, hash: hasher.finish() })));
        self.shared.buffers.give(std::mem::take(&mut self.buffer));
        self.file = None;
        Ok(())
    }

    fn describe(&self, stat: &FullStat, changing: bool, workspace: &mut Workspace) -> FileRead {
        let mut entry = entry_from(stat, self.task.mount, &mut workspace.principals);
        entry.changing = changing;
        entry.size = self.offset;
        let mut read = FileRead::without_content(entry);
        if let Some(file) = &self.file {
            read.entry.attributes = attributes(Subject::File(file), &stat.basic);
            let xattrs = workspace.xattrs.read(Subject::File(file));
            (read.xattrs, read.problems) = (xattrs.found, xattrs.problems);
        }
        read
    }
}
