//! Sorting the names of a directory, however many: in memory up to a bound, beyond it in sorted runs in a file without a name.
//!
//! The file holds names of this computer, on this computer, for its owner alone, and is gone when it is closed: it is not sealed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::ops::Range;
use std::path::PathBuf;

use backstore_platform::private_file::scratch_file;
use backstore_platform::walk::append_at;

/// Where names are sorted.
#[derive(Debug, Clone)]
pub struct SortRoom {
    /// The folder for what does not fit in memory.
    pub folder: PathBuf,
    /// Bytes of memory for the names of one directory.
    pub bytes_max: usize,
}

/// Memory for the names of one directory, unless a test wants less: some 64,000 names.
pub const SORT_BYTES_MAX: usize = 2 << 20;

/// Takes names in any order.
pub(super) struct NameSorter<'a> {
    room: &'a SortRoom,
    names: InMemory,
    spilled: Option<Spilled>,
}

/// Gives names in order, each once.
pub(super) struct SortedNames {
    source: Source,
    last: Vec<u8>,
    /// The next one, if it has been looked at already.
    ahead: Option<Vec<u8>>,
}

enum Source {
    Memory(InMemory, usize),
    File(Merge),
}

/// Names one after the other, and where each is.
#[derive(Default)]
struct InMemory {
    bytes: Vec<u8>,
    places: Vec<Range<u32>>,
}

/// Sorted runs, one after the other in a file.
struct Spilled {
    file: File,
    runs: Vec<Range<u64>>,
}

/// Runs merged at once, and bytes read ahead of each.
const RUNS_MAX: usize = 64;
const READ_BYTES: usize = 16 * 1024;

impl<'a> NameSorter<'a> {
    pub(super) fn new(room: &'a SortRoom) -> Self {
        Self { room, names: InMemory::default(), spilled: None }
    }

    /// Takes a name of at most 64 KiB.
    pub(super) fn add(&mut self, name: &[u8]) -> io::Result<()> {
        if !self.names.places.is_empty() && self.names.memory() + name.len() > self.room.bytes_max {
            self.spill()?;
        }
        let start = self.names.bytes.len() as u32;
        self.names.bytes.extend_from_slice(name);
        self.names.places.push(start..self.names.bytes.len() as u32);
        Ok(())
    }

    /// All names, in order.
    pub(super) fn finish(mut self) -> io::Result<SortedNames> {
        if self.spilled.is_some() {
            self.spill()?;
        }
        let source = match self.spilled {
            Some(spilled) => Source::File(Merge::new(spilled)?),
            None => {
                self.names.sort();
                Source::Memory(self.names, 0)
            }
        };
        Ok(SortedNames { source, last: Vec::new(), ahead: None })
    }

    /// Writes what is in memory as a run.
    fn spill(&mut self) -> io::Result<()> {
        self.names.sort();
        let mut spilled = match self.spilled.take() {
            // So the files open and the memory for reading stay bounded, whatever there is to sort.
            Some(spilled) if spilled.runs.len() >= RUNS_MAX => self.merged(spilled)?,
            Some(spilled) => spilled,
            None => self.new_file()?,
        };
        let names = &self.names;
        let mut run = RunWriter::new(&mut spilled.file)?;
        names.places.iter().try_for_each(|place| run.add(names.name(place)))?;
        spilled.runs.push(run.finish()?);
        self.names.clear();
        self.spilled = Some(spilled);
        Ok(())
    }

    /// All runs as one, in another file.
    fn merged(&self, spilled: Spilled) -> io::Result<Spilled> {
        let mut target = self.new_file()?;
        let mut merge = Merge::new(spilled)?;
        let mut run = RunWriter::new(&mut target.file)?;
        let mut name = Vec::new();
        while merge.next_into(&mut name)? {
            run.add(&name)?;
        }
        target.runs.push(run.finish()?);
        Ok(target)
    }

    fn new_file(&self) -> io::Result<Spilled> {
        let file = scratch_file(&self.room.folder).map_err(io::Error::other)?;
        Ok(Spilled { file, runs: Vec::new() })
    }
}

impl SortedNames {
    /// None.
    pub(super) fn empty() -> Self {
        Self { source: Source::Memory(InMemory::default(), 0), last: Vec::new(), ahead: None }
    }

    /// Puts the next name in place of `name`; false after the last.
    pub(super) fn next_into(&mut self, name: &mut Vec<u8>) -> io::Result<bool> {
        if let Some(ahead) = self.ahead.take() {
            *name = ahead;
            return Ok(true);
        }
        loop {
            let found = match &mut self.source {
                Source::Memory(names, next) => match names.places.get(*next) {
                    Some(place) => {
                        *next += 1;
                        name.clear();
                        name.extend_from_slice(names.name(place));
                        true
                    }
                    None => false,
                },
                Source::File(merge) => merge.next_into(name)?,
            };
            // A file system may give a name twice while the directory changes. No name is empty.
            if !found || *name != self.last {
                self.last.clone_from(name);
                return Ok(found);
            }
        }
    }

    /// Whether there is another name.
    pub(super) fn has_more(&mut self) -> io::Result<bool> {
        if self.ahead.is_none() {
            let mut name = Vec::new();
            self.ahead = self.next_into(&mut name)?.then_some(name);
        }
        Ok(self.ahead.is_some())
    }
}

impl InMemory {
    fn memory(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<Range<u32>>()
    }

    fn name(&self, place: &Range<u32>) -> &[u8] {
        &self.bytes[place.start as usize..place.end as usize]
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |place: &Range<u32>| &bytes[place.start as usize..place.end as usize];
        self.places.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }
}

/// Writes one run at the end of a file: of each name its length, two bytes, and itself.
struct RunWriter<'a> {
    file: BufWriter<&'a mut File>,
    start: u64,
    length: u64,
}

impl<'a> RunWriter<'a> {
    fn new(file: &'a mut File) -> io::Result<Self> {
        let start = file.seek(io::SeekFrom::End(0))?;
        Ok(Self { file: BufWriter::with_capacity(64 * 1024, file), start, length: 0 })
    }

    fn add(&mut self, name: &[u8]) -> io::Result<()> {
        let length = u16::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(name)?;
        self.length += 2 + u64::from(length);
        Ok(())
    }

    fn finish(mut self) -> io::Result<Range<u64>> {
        self.file.flush()?;
        Ok(self.start..self.start + self.length)
    }
}

/// The names of several runs in one order, with repetitions.
struct Merge {
    file: File,
    runs: Vec<Run>,
    /// The next name of each run that has one.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

/// What is left of a run.
struct Run {
    unread: Range<u64>,
    buffer: Vec<u8>,
    used: usize,
}

impl Merge {
    fn new(Spilled { file, runs }: Spilled) -> io::Result<Self> {
        let mut runs: Vec<Run> =
            runs.into_iter().map(|unread| Run { unread, buffer: Vec::new(), used: 0 }).collect();
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            let mut name = Vec::new();
            if run.next_into(&file, &mut name)? {
                heads.push(Reverse((name, number)));
            }
        }
        Ok(Self { file, runs, heads })
    }

    fn next_into(&mut self, name: &mut Vec<u8>) -> io::Result<bool> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(false) };
        let Reverse((first, number)) = &mut *head;
        std::mem::swap(name, first);
        if !self.runs[*number].next_into(&self.file, first)? {
            PeekMut::pop(head);
        }
        Ok(true)
    }
}

impl Run {
    fn next_into(&mut self, file: &File, name: &mut Vec<u8>) -> io::Result<bool> {
        name.clear();
        if !self.fill(file, 2)? {
            return Ok(false);
        }
        let length = usize::from(u16::from_le_bytes([self.buffer[self.used], self.buffer[self.used + 1]]));
        if !self.fill(file, 2 + length)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        name.extend_from_slice(&self.buffer[self.used + 2..self.used + 2 + length]);
        self.used += 2 + length;
        Ok(true)
    }

    /// Reads until `wanted` bytes are there; false if the run has ended.
    fn fill(&mut self, file: &File, wanted: usize) -> io::Result<bool> {
        if self.buffer.len() - self.used >= wanted {
            return Ok(true);
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        while self.buffer.len() < wanted {
            let left = self.unread.end - self.unread.start;
            if left == 0 {
                return Ok(false);
            }
            let wanted = left.min(READ_BYTES as u64) as usize;
            let read = append_at(file, &mut self.buffer, wanted, self.unread.start)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.start += read as u64;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn sorted<'a>(names: impl IntoIterator<Item = &'a [u8]>, bytes_max: usize) -> (Vec<Vec<u8>>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let room = SortRoom { folder: folder.path().join("cache"), bytes_max };
        let mut sorter = NameSorter::new(&room);
        names.into_iter().for_each(|name| sorter.add(name).unwrap());
        let is_spilled = sorter.spilled.is_some();
        let mut sorted = sorter.finish().unwrap();
        let mut found = Vec::new();
        let mut name = Vec::new();
        while sorted.has_more().unwrap() {
            assert!(sorted.next_into(&mut name).unwrap());
            found.push(name.clone());
        }
        assert!(!sorted.next_into(&mut name).unwrap());
        if let Ok(mut left) = folder.path().join("cache").read_dir() {
            assert!(left.next().is_none(), "a file is left");
        }
        (found, is_spilled)
    }

    proptest! {
        /// Whatever the bound, the order is that of a plain sort, each name once.
        #[test]
        fn names_come_as_from_a_plain_sort(
            names in vec(vec(1u8..6, 1..5), 0..400),
            bytes_max in 0usize..600,
        ) {
            let mut expected = names.clone();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(sorted(names.iter().map(|name| &name[..]), bytes_max).0, expected);
        }
    }

    /// More runs than are merged at once, so that runs are merged into longer ones on the way; names of all lengths.
    #[test]
    fn many_runs_are_merged_on_the_way() {
        let mut state = 7u64;
        let names: Vec<Vec<u8>> = (0..100_000u64)
            .map(|number| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut name = format!("{:x}-{number}", state >> 33).into_bytes();
                name.resize(name.len() + (state >> 60) as usize * 15, b'x');
                name
            })
            .collect();
        let (found, is_spilled) = sorted(names.iter().map(|name| &name[..]), 40_000);
        assert!(is_spilled);
        let mut expected = names;
        expected.sort();
        assert_eq!(found.len(), expected.len());
        assert!(found == expected);
        assert!(!sorted([&b"b"[..], b"a"], 100).1, "few names stay in memory");
    }

    /// A folder that cannot be written to is an error of its own: never one that looks as if the directory had vanished.
    #[test]
    fn a_folder_that_cannot_be_used_is_told() {
        let room = SortRoom { folder: "/dev/null/cache".into(), bytes_max: 1 };
        let mut sorter = NameSorter::new(&room);
        sorter.add(b"a").unwrap();
        let error = sorter.add(b"b").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
        assert!(error.to_string().contains("/dev/null/cache"), "{error}");
    }
}
