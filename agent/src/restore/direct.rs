//! Writing a large file past the system's cache.
//!
//! What is restored is seldom read soon: to keep all of a large file in the system's cache costs memory that was long free, dear to touch on virtual machines, and
//! throws out what is in use. So its bytes are collected in memory that is used again and again, and go from there to the disk. Where the system or the
//! file system does not do that, they are written as usual. What this is not: a way to make bytes durable, since names and sizes are not.

use std::fs::File;
use std::io::{self, IoSlice};

use backstore_platform::durable;

/// Files above this size are written past the cache.
pub(super) const DIRECT_BYTES_MIN: u64 = 16 << 20;
/// Bytes that are written at once. With a quarter of it a restore took a fifth longer: nothing comes to the disk while the next are collected.
const PIECE_BYTES: usize = 4 << 20;
/// Offsets, lengths and addresses are multiples of this.
const BLOCK: usize = 4096;

/// Memory that parts of files are collected in, kept by the thread that writes. Takes none before it is used.
#[derive(Default)]
pub(super) struct Staging(Vec<u8>);

impl Staging {
    fn room(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; PIECE_BYTES + BLOCK];
        }
        let aligned = self.0.as_ptr().align_offset(BLOCK).min(BLOCK);
        &mut self.0[aligned..aligned + PIECE_BYTES]
    }
}

/// A file that is written from its start to its end.
pub(super) struct DirectFile<'a> {
    file: &'a File,
    room: &'a mut [u8],
    /// Where in the file the first byte of the room belongs: a multiple of [`BLOCK`].
    start: u64,
    /// What of the room is to be written.
    from: usize,
    to: usize,
    /// Nothing has spoken against it yet.
    is_possible: bool,
}

impl<'a> DirectFile<'a> {
    /// Nothing is written before there are enough bytes, and all only after [`DirectFile::finish`].
    pub(super) fn new(file: &'a File, staging: &'a mut Staging) -> Self {
        Self { file, room: staging.room(), start: 0, from: 0, to: 0, is_possible: true }
    }

    /// The next bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room.len() - self.to));
            self.room[self.to..self.to + now.len()].copy_from_slice(now);
            self.to += now.len();
            bytes = later;
            if self.to == self.room.len() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// So many of the next bytes are never written.
    pub(super) fn skip(&mut self, length: u64) -> io::Result<()> {
        self.flush()?;
        let at = (self.start + self.to as u64).saturating_add(length);
        self.from = (at % BLOCK as u64) as usize;
        self.to = self.from;
        self.start = at - self.from as u64;
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()
    }

    /// Writes what was collected: whole blocks past the cache, what is before and behind them through it.
    fn flush(&mut self) -> io::Result<()> {
        let first = self.from.next_multiple_of(BLOCK).min(self.to);
        let last = (self.to / BLOCK * BLOCK).max(first);
        self.put(self.from, first)?;
        self.put_blocks(first, last)?;
        self.put(last, self.to)?;
        // The next bytes begin a block, or there are none but behind a hole.
        self.start += last as u64;
        (self.from, self.to) = (self.to - last, self.to - last);
        Ok(())
    }

    fn put_blocks(&mut self, from: usize, to: usize) -> io::Result<()> {
        if from == to || !self.is_possible || !durable::set_direct(self.file, true) {
            return self.put(from, to);
        }
        let written = self.put(from, to);
        let is_usual = durable::set_direct(self.file, false);
        debug_assert!(is_usual, "what was turned on can be turned off");
        match written {
            // This file system wants something else; what may be written of it is written again.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_possible = false;
                self.put(from, to)
            }
            written => written,
        }
    }

    fn put(&self, from: usize, to: usize) -> io::Result<()> {
        let slices = &mut [IoSlice::new(&self.room[from..to])];
        durable::write_all_at(self.file, slices, self.start + from as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A part of a file: written, or skipped.
    type Step = (bool, usize);

    fn check(steps: &[Step], is_possible: bool) {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("file");
        let file = File::create_new(&path).unwrap();
        let (mut staging, mut expected) = (Staging::default(), Vec::new());
        let mut direct = DirectFile::new(&file, &mut staging);
        direct.is_possible = is_possible;
        for (number, (is_data, length)) in steps.iter().enumerate() {
            if *is_data {
                let bytes: Vec<u8> = (0..*length).map(|at| (at % 251 + number) as u8 | 1).collect();
                bytes.chunks(700_001).for_each(|part| direct.write(part).unwrap());
                expected.extend_from_slice(&bytes);
            } else {
                direct.skip(*length as u64).unwrap();
                expected.resize(expected.len() + length, 0);
            }
        }
        direct.finish().unwrap();
        file.set_len(expected.len() as u64).unwrap();
        let mut found = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut found).unwrap();
        assert!(found == expected, "{steps:?}");
    }

    #[test]
    fn every_byte_gets_to_its_place() {
        for is_possible in [true, false] {
            check(&[], is_possible);
            check(&[(true, 1)], is_possible);
            check(&[(true, PIECE_BYTES)], is_possible);
            check(&[(true, 2 * PIECE_BYTES + 1)], is_possible);
            check(&[(true, 5000), (false, 3), (true, 10), (false, 1), (true, 9000)], is_possible);
            check(&[(false, 4095), (true, PIECE_BYTES), (false, 12_288), (false, 7)], is_possible);
            check(&[(false, 100_000), (true, 3 * PIECE_BYTES - 5), (true, 5), (true, 77)], is_possible);
        }
    }
}
