//! Windows.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::windows::fs::FileExt;
use std::path::Path;

use super::{Durability, Reservation};

/// A folder cannot be synced here.
pub(super) fn sync_folder(_folder: &Path) -> io::Result<Durability> {
    Ok(Durability::NameNotSynced)
}

/// There is no such hint here.
pub(super) fn let_go(_file: &File) {}

/// Setting the length aside without writing zeros needs a privilege; growing by writing works everywhere.
pub(super) fn reserve(_file: &File, _offset: u64, _length: u64) -> io::Result<Reservation> {
    Ok(Reservation::NotSupported)
}

pub(super) fn open_direct(_path: &Path) -> Option<File> {
    None
}

pub(super) fn set_direct(_file: &File, is_direct: bool) -> bool {
    !is_direct
}

pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    match file.seek_read(buffer, offset) {
        // Reading behind the end is an error here; elsewhere it is an end.
        Err(error) if error.raw_os_error() == Some(ERROR_HANDLE_EOF) => Ok(0),
        result => result,
    }
}

/// There is no positioned write of several slices: one at a time, the caller goes on.
pub(super) fn write_at(file: &File, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    buffers.first().map_or(Ok(0), |buffer| file.seek_write(buffer, offset))
}

const ERROR_HANDLE_EOF: i32 = 38;
