//! Finding the records of a pack without a footer: from header to header, and past what is no record to the next one.

use std::io;
use std::ops::ControlFlow;

use super::block_end;
use super::file::Pack;
use super::record::{HEADER_SIZE, RECORD_MAGIC, RecordFault, RecordHeader};
use crate::disk::read_up_to;

/// What a scan meets, in the order of offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record with a right header that lies in the file as a whole. Its content was not looked at.
    Record {
        /// Where it begins.
        offset: u64,
        /// Its header.
        header: RecordHeader,
    },
    /// Bytes, some of them not zero, or zeros where none belong, that are no record.
    Gap {
        /// Where they begin.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// A record that newer software wrote.
    Newer {
        /// What is not known.
        what: String,
    },
}

/// What a scan makes of zeros where a record could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// Records may come behind them.
    Skip,
    /// Nothing was written from there on yet.
    End,
}

/// Tells `each` what lies between two offsets, until it breaks. Returns the offset behind the last byte that is not zero, and behind every
/// record that a header announces, although it may not be there as a whole.
pub(crate) fn scan(
    pack: &Pack,
    (from, to): (u64, u64),
    zeros: Zeros,
    each: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> io::Result<u64> {
    let mut window = Window { pack, start: 0, bytes: Vec::new(), end: to, announced: 0 };
    let mut offset = from;
    while offset < to {
        if let Some(next) = visit(&mut window, offset, each)? {
            offset = next;
            continue;
        }
        let padded = block_end(offset);
        if padded > offset
            && window.is_zero(offset, padded)?
            && let Some(next) = visit(&mut window, padded, each)?
        {
            offset = next;
            continue;
        }
        if zeros == Zeros::End && window.is_zero(offset, padded)? && window.has_no_header(padded)? {
            return Ok(offset.max(window.announced));
        }
        let (next, used) = window.next_record(offset + 1)?;
        let gap_end = next.unwrap_or(used.max(offset));
        if gap_end > offset && each(Found::Gap { offset, length: gap_end - offset }).is_break() {
            return Ok(gap_end);
        }
        match next {
            Some(next) => offset = next,
            None => return Ok(gap_end.max(window.announced)),
        }
    }
    Ok(offset.min(to).max(window.announced))
}

/// Hands over the record at `offset`, if one is there, and returns where it ends, or the end of everything after a break.
fn visit(
    window: &mut Window<'_>,
    offset: u64,
    each: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> io::Result<Option<u64>> {
    let found = match window.header(offset)? {
        Ok(header) if offset + header.size() <= window.end => Found::Record { offset, header },
        Ok(header) => {
            window.announced = window.announced.max(offset + header.size());
            return Ok(None);
        }
        Err(RecordFault::NotARecord) => return Ok(None),
        Err(RecordFault::Newer(what)) => Found::Newer { what },
    };
    let end = match &found {
        Found::Record { header, .. } => offset + header.size(),
        Found::Gap { .. } | Found::Newer { .. } => window.end,
    };
    Ok(Some(if each(found).is_break() { window.end } else { end }))
}

/// A part of the pack that is in memory.
struct Window<'a> {
    pack: &'a Pack,
    start: u64,
    bytes: Vec<u8>,
    end: u64,
    /// Where records end that do not fit.
    announced: u64,
}

impl Window<'_> {
    /// The bytes from `offset` on, at least `count` of them unless the pack ends before.
    fn bytes(&mut self, offset: u64, count: usize, size: usize) -> io::Result<&[u8]> {
        let is_inside = offset >= self.start && offset + count as u64 <= self.start + self.bytes.len() as u64;
        if !is_inside {
            let left = self.end.saturating_sub(offset);
            self.bytes.resize(left.min(size as u64) as usize, 0);
            let read = read_up_to(&*self.pack.file, &mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = offset;
        }
        Ok(&self.bytes[(offset - self.start) as usize..])
    }

    fn header(&mut self, offset: u64) -> io::Result<Result<RecordHeader, RecordFault>> {
        let key = self.pack.key;
        let bytes = self.bytes(offset, HEADER_SIZE, SMALL_WINDOW)?;
        Ok(RecordHeader::decode(bytes, &key, offset))
    }

    /// Whether there are zeros in place of a header.
    fn has_no_header(&mut self, offset: u64) -> io::Result<bool> {
        let bytes = self.bytes(offset, HEADER_SIZE, SMALL_WINDOW)?;
        Ok(is_zero(&bytes[..bytes.len().min(HEADER_SIZE)]))
    }

    /// Whether all bytes between two offsets of one block are zero.
    fn is_zero(&mut self, from: u64, to: u64) -> io::Result<bool> {
        let count = (to.min(self.end) - from.min(self.end)) as usize;
        let bytes = self.bytes(from, count, SMALL_WINDOW)?;
        Ok(bytes.len() >= count && is_zero(&bytes[..count]))
    }

    /// Where the next record at or behind `from` begins, and else, or besides, where the last byte before it that is not zero ends.
    fn next_record(&mut self, from: u64) -> io::Result<(Option<u64>, u64)> {
        let mut offset = from;
        let mut used = if self.is_zero(from - 1, from)? { 0 } else { from };
        while offset < self.end {
            let (start, end, key) = (offset, self.end, self.pack.key);
            let bytes = self.bytes(offset, HEADER_SIZE.max(LARGE_WINDOW), LARGE_WINDOW)?;
            // A header at the very end of the window is tried again as the first of the next one.
            let reaches_end = start + bytes.len() as u64 >= end;
            let tried = if reaches_end { bytes.len() } else { bytes.len().saturating_sub(HEADER_SIZE - 1) };
            if tried == 0 {
                break;
            }
            // Space that is set aside is large, and reads as zeros.
            if is_zero(&bytes[..tried]) {
                offset += tried as u64;
                continue;
            }
            let (mut at, mut announced) = (0, 0);
            while let Some(step) = bytes[at..tried].iter().position(|byte| *byte == RECORD_MAGIC[0]) {
                at += step;
                let candidate = start + at as u64;
                match RecordHeader::decode(&bytes[at..], &key, candidate) {
                    Ok(header) if candidate + header.size() <= end => return Ok((Some(candidate), used)),
                    Err(RecordFault::Newer(_)) => return Ok((Some(candidate), used)),
                    Ok(header) => {
                        announced = announced.max(candidate + header.size());
                        at += 1;
                    }
                    Err(RecordFault::NotARecord) => at += 1,
                }
            }
            if let Some(last) = bytes[..tried].iter().rposition(|byte| *byte != 0) {
                used = start + last as u64 + 1;
            }
            self.announced = self.announced.max(announced);
            offset += tried as u64;
        }
        Ok((None, used))
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Several at a time, so that the compiler compares them at once.
    bytes.chunks(64).all(|part| part.iter().fold(0, |seen, byte| seen | byte) == 0)
}

const SMALL_WINDOW: usize = 16 * 1024;
const LARGE_WINDOW: usize = 1024 * 1024;
