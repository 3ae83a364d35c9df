//! Windows: holes are neither found nor made yet; sparse files are read and written whole.

use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;

use super::HoleMade;

pub(super) fn data_from(_file: &File, offset: u64) -> io::Result<Option<u64>> {
    Ok(Some(offset))
}

pub(super) fn hole_from(_file: &File, _offset: u64) -> io::Result<u64> {
    Ok(u64::MAX)
}

pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<HoleMade> {
    let zeros = [0; 64 * 1024];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let part = (end - at).min(zeros.len() as u64) as usize;
        match file.seek_write(&zeros[..part], at)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => at += written as u64,
        }
    }
    Ok(HoleMade::Zeros)
}
