//! Making bytes survive a power cut, and moving many of them at a place in a file.
//!
//! What callers may rely on: after [`sync_bytes`] the bytes written before are durable, and so is as much of the file's length as
//! is needed to read them; after [`sync_folder`] that says [`Durability::Full`], so are the names in the folder. A failed sync is
//! never to be tried again: the system may have dropped what it could not write, and then claims success. What this is not: a way
//! to replace a file in one step; that is made of these where it is needed.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

/// What the system really promised about the names in a folder.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// They survive a power cut.
    Full,
    /// This system or file system cannot tell: soon after it was made or replaced, a file may vanish with a power cut or be the one before.
    NameNotSynced,
}

/// Whether space was set aside.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The range belongs to the file and reads as zeros; writing to it needs no further space.
    Made,
    /// The system or the file system cannot do that; the file is as it was.
    NotSupported,
}

/// Makes the bytes of `file` durable, and its length as far as reading them needs it.
///
/// # Errors
///
/// What the system says. It must not be called for the same file again then.
pub fn sync_bytes(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Tells the system that bytes of `file` which are durable will not be read soon, so that their memory can serve what is written next. A hint: where it is
/// not understood nothing happens.
pub fn let_go(file: &File) {
    system::let_go(file);
}

/// Makes the bytes of `file` and everything about it but its name durable.
///
/// # Errors
///
/// As [`sync_bytes`].
pub fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Makes the names in `folder` durable: of files made, renamed or removed there.
///
/// # Errors
///
/// As [`sync_bytes`].
pub fn sync_folder(folder: &Path) -> io::Result<Durability> {
    system::sync_folder(folder)
}

/// Sets `length` bytes from `offset` on aside for `file` and makes it that long. Bytes that are there stay.
///
/// # Errors
///
/// [`io::ErrorKind::StorageFull`] when there is not enough space, or what the system says.
pub fn reserve(file: &File, offset: u64, length: u64) -> io::Result<Reservation> {
    system::reserve(file, offset, length)
}

/// Reads into `buffer` from `offset` on, without moving the file's cursor where the system can; returns how many bytes, 0 at the end.
///
/// # Errors
///
/// What the system says.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match system::read_at(file, buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Opens a file to be read past the system's cache: offsets, lengths and addresses then have to be multiples of 4096. Nothing where the system or the file
/// system does not do that.
pub fn open_direct(path: &Path) -> Option<File> {
    system::open_direct(path)
}

/// Has what is written to `file` from now on go past the system's cache, or through it again. Past it, offsets, lengths and addresses have to be multiples of
/// what the file system wants, mostly 4096; else writing fails with [`io::ErrorKind::InvalidInput`]. Whether it is as asked for.
#[must_use]
pub fn set_direct(file: &File, is_direct: bool) -> bool {
    system::set_direct(file, is_direct)
}

/// Writes all `buffers`, one behind the other, from `offset` on. The slices are used up.
///
/// # Errors
///
/// What the system says; some of the bytes may have been written then.
pub fn write_all_at(file: &File, mut buffers: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut buffers, 0);
    while !buffers.is_empty() {
        let count = buffers.len().min(SLICES_MAX);
        match system::write_at(file, &buffers[..count], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut buffers, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Slices a single call takes on every supported system.
const SLICES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options =
            File::options().read(true).write(true).create_new(true).open(folder.path().join("file"));
        (folder, options.expect("a new file"))
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().expect("metadata").len() as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += read_at(file, &mut bytes[filled..], filled as u64).expect("readable");
        }
        bytes
    }

    #[test]
    fn more_slices_than_one_call_takes_arrive_in_order() {
        let (_folder, file) = file();
        let parts: Vec<Vec<u8>> =
            (0..3000u32).map(|n| n.to_le_bytes()[..(n % 5).min(4) as usize].to_vec()).collect();
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        write_all_at(&file, &mut slices, 7).expect("writable");
        assert_eq!(content(&file), [vec![0; 7], parts.concat()].concat());
    }

    #[test]
    fn reserved_space_reads_as_zeros_and_keeps_what_is_there() {
        let (_folder, file) = file();
        write_all_at(&file, &mut [IoSlice::new(b"kept")], 0).expect("writable");
        let expected = match reserve(&file, 0, 5000).expect("enough space") {
            Reservation::Made => [b"kept".to_vec(), vec![0; 4996]].concat(),
            Reservation::NotSupported => b"kept".to_vec(),
        };
        assert_eq!(content(&file), expected);
    }

    #[test]
    fn syncs_succeed_on_a_real_file_system() {
        let (folder, file) = file();
        sync_bytes(&file).expect("bytes");
        sync_file(&file).expect("file");
        let durability = sync_folder(folder.path()).expect("folder");
        assert_eq!(durability == Durability::Full, cfg!(unix));
    }
}
