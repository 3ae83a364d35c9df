//! Holes in files: finding them when reading, making them when writing.
//!
//! Worth asking for only when a file has fewer bytes allocated than its size. A hole reads as zeros, so nothing depends on the answer but speed and
//! space: what a system does not tell counts as data.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as host;
#[cfg(all(test, unix))]
mod tests;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as host;

use std::fs::File;
use std::io;

/// A stretch of a file, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Bytes that were written.
    Data {
        /// Where it starts.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Bytes that never were, and read as zero.
    Hole {
        /// Where it starts.
        offset: u64,
        /// How many.
        length: u64,
    },
}

/// The runs of a file: they follow each other, cover its first `size` bytes, and no hole follows a hole.
///
/// Each step moves the file's position, so read the data by offset. If the file changes meanwhile, the runs still cover `size`, but may be of the
/// file before or after: compare its metadata when done.
#[derive(Debug)]
pub struct Runs<'a> {
    file: &'a File,
    at: u64,
    size: u64,
    /// Found with the run before.
    next_data: Option<Run>,
}

/// The runs of the first `size` bytes of `file`.
pub fn runs(file: &File, size: u64) -> Runs<'_> {
    runs_from(file, 0, size)
}

/// The runs of the first `size` bytes of `file` from `offset` on.
pub fn runs_from(file: &File, offset: u64, size: u64) -> Runs<'_> {
    Runs { file, at: offset, size, next_data: None }
}

impl Iterator for Runs<'_> {
    type Item = io::Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(data) = self.next_data.take() {
            return Some(Ok(data));
        }
        if self.at >= self.size {
            return None;
        }
        let found = self.find();
        if found.is_err() {
            // After an error nothing more can be said.
            self.at = self.size;
        }
        Some(found)
    }
}

impl Runs<'_> {
    /// The run at `at`, which is where data ended. A hole there ends at data, which is remembered.
    fn find(&mut self) -> io::Result<Run> {
        let (at, size) = (self.at, self.size);
        let start = host::data_from(self.file, at)?.unwrap_or(size).clamp(at, size);
        if start == size {
            self.at = size;
            return Ok(Run::Hole { offset: at, length: size - at });
        }
        let end = host::hole_from(self.file, start)?.min(size);
        // A hole punched this very moment would make the data empty; all of the rest counts as data then.
        let end = if end > start { end } else { size };
        self.at = end;
        let data = Run::Data { offset: start, length: end - start };
        if start == at {
            return Ok(data);
        }
        self.next_data = Some(data);
        Ok(Run::Hole { offset: at, length: start - at })
    }
}

/// What became of a hole that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum HoleMade {
    /// It takes no space.
    Sparse,
    /// It reads as zeros and takes space: the system or file system has no holes here.
    Zeros,
}

/// Makes `length` bytes at `offset` read as zeros, if possible without taking space, and the file at least that long.
///
/// In a new file this is not needed: what is not written before the length is set is a hole where there are such.
pub fn make_hole(file: &File, offset: u64, length: u64) -> io::Result<HoleMade> {
    let end = offset.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?;
    let size = file.metadata()?.len();
    let inside = length.min(size.saturating_sub(offset));
    let made = if inside == 0 { Ok(HoleMade::Sparse) } else { host::punch(file, offset, inside) };
    if end > size {
        file.set_len(end)?;
    }
    made
}
