//! Memory that packs are read into, used again: the first touch of a fresh page costs more than reading into it.
//!
//! One store serves the process. A piece comes back when the last object in it is dropped.

use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::disk::{DiskFile, read_bulk, read_up_to};
use crate::limits::{BLOCK, CONTENT_BYTES_MAX};

/// Free pieces, the one given back last at the end: it is still in the processor's caches.
static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Pieces that are kept.
const FREE_MAX: usize = 6;
/// Bytes of a piece: any record, or neighbours that are read in one go. Of a new one, pages that are never used take no memory.
const PIECE_BYTES: usize = CONTENT_BYTES_MAX + 512 * 1024;
/// Less than this is read into memory of its own.
const SMALL_BYTES_MAX: usize = 256 * 1024;

/// A part of a file.
struct Piece {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Piece {
    fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { bytes: free.unwrap_or_else(|| vec![0; PIECE_BYTES]), from: 0, to: 0 }
    }
}

/// Reads `length` bytes from `offset` on, fewer only at the file's end; what `is_bulk` will hardly be read again soon.
pub(super) fn read(file: &dyn DiskFile, offset: u64, length: usize, is_bulk: bool) -> io::Result<Bytes> {
    let block = BLOCK as usize;
    // As whole blocks, at an address and offset that are multiples of one.
    let before = (offset % BLOCK) as usize;
    let blocks = (before + length).next_multiple_of(block);
    if length <= SMALL_BYTES_MAX || blocks + block > PIECE_BYTES {
        let mut bytes = vec![0; length];
        let read = read_up_to(file, &mut bytes, offset)?;
        bytes.truncate(read);
        return Ok(bytes.into());
    }
    let mut piece = Piece::take();
    let aligned = piece.bytes.as_ptr().align_offset(block).min(block);
    let read = if is_bulk {
        let target = &mut piece.bytes[aligned..aligned + blocks];
        read_bulk(file, target, offset - before as u64)?.saturating_sub(before).min(length)
    } else {
        let target = &mut piece.bytes[aligned + before..][..length];
        read_up_to(file, target, offset)?
    };
    piece.from = aligned + before;
    piece.to = piece.from + read;
    Ok(Bytes::from_owner(piece))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::real::RealDisk;
    use crate::disk::{Disk, Folder, Mode};

    fn check(folder: &Path) {
        let content: Vec<u8> = (0..3_000_001u32).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect();
        std::fs::write(folder.join("a.data"), &content).expect("written");
        let file = RealDisk::new(folder).open(Folder::Root, "a.data", Mode::Read).expect("opened");
        for is_bulk in [false, true] {
            for (offset, length) in [
                (0, 1),
                (1, 300_000),
                (4096, 300_000),
                (4095, 2_000_000),
                (2_500_000, 600_000),
                (9_000_000, 300_000),
                (7, 5 << 20),
            ] {
                let from = offset.min(content.len());
                let to = (offset + length).min(content.len());
                let read = read(&*file, offset as u64, length, is_bulk).expect("read");
                assert!(read == content[from..to], "{offset} {length} {is_bulk}");
            }
        }
    }

    #[test]
    fn any_part_is_read_as_it_is_in_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        check(folder.path());
    }

    #[test]
    fn what_is_held_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, byte) in [("a.data", 1), ("b.data", 2)] {
            std::fs::write(folder.path().join(name), vec![byte; 1 << 20]).expect("written");
        }
        let disk = RealDisk::new(folder.path());
        let open = |name| disk.open(Folder::Root, name, Mode::Read).expect("opened");
        let whole = read(&*open("a.data"), 0, 1 << 20, true).expect("read");
        let held = whole.slice(1000..1010);
        drop(whole);
        for _ in 0..3 {
            read(&*open("b.data"), 0, 1 << 20, true).expect("read");
        }
        assert_eq!(held, [1; 10][..]);
    }
}
