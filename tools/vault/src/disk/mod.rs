//! The files of a vault's folder: the seam under which a test's disk can stop, fill up and lose what was not synced.

#[cfg(test)]
pub(crate) mod fault;
pub(crate) mod real;

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

/// Where in the vault's folder a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Folder {
    /// The folder itself.
    Root,
    /// Its packs.
    Packs,
    /// Copies of bytes that are no records.
    Quarantine,
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is there.
    Read,
    /// It is there; it may be written.
    Write,
    /// It is not there yet.
    Create,
}

/// The folder of a vault.
pub(crate) trait Disk: Send + Sync {
    /// How a message names a file.
    fn path(&self, folder: Folder, name: &str) -> PathBuf;

    /// Names and sizes of the files in a folder, in any order.
    fn list(&self, folder: Folder) -> io::Result<Vec<(String, u64)>>;

    /// Opens or makes a file. The name of a new one is durable after [`Disk::sync_names`].
    fn open(&self, folder: Folder, name: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes the names in a folder durable.
    fn sync_names(&self, folder: Folder) -> io::Result<()>;
}

/// A file of a vault. All methods may be called from several threads.
pub(crate) trait DiskFile: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Reads from `offset` on; returns how many bytes, 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`], of much that will hardly be read again soon: it need not stay in the system's cache. Offset, length and address of
    /// the buffer are multiples of 4096.
    fn read_bulk_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    /// Writes all buffers, one behind the other, from `offset` on. After an error some of the bytes may be there.
    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Sets space aside if the system can; it reads as zeros.
    fn reserve(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Cuts off everything from `size` on.
    fn cut(&self, size: u64) -> io::Result<()>;

    /// Makes its bytes durable, and its length. After an error nothing is known about either.
    fn sync(&self) -> io::Result<()>;
}

/// Reads exactly `buffer.len()` bytes.
pub(crate) fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let read = read_up_to(file, buffer, offset)?;
    if read == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// As [`read_up_to`], by [`DiskFile::read_bulk_at`].
pub(crate) fn read_bulk(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let read = file.read_bulk_at(buffer, offset)?;
    // Less comes at the end of the file, or for reasons of the system's.
    Ok(read + read_up_to(file, &mut buffer[read..], offset + read as u64)?)
}

/// Reads as many bytes as `buffer` holds or the file has.
pub(crate) fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
