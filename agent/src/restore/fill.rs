//! The content of one file, written into it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::atomic::Ordering;

use backstore_vfs::objects::ReadError;

use super::content::Run as Part;
use super::direct::{DIRECT_BYTES_MIN, DirectFile, Staging};
use super::run::Run;

/// How writing a content ended.
pub(super) enum Filled {
    Whole,
    /// So many bytes, the first of them here, could not be read.
    Holed {
        missing: u64,
        first: u64,
        error: ReadError,
    },
    /// It has another length than its entry says.
    Misfit {
        length: u64,
    },
    /// The restore ends.
    Cut,
}

/// Where the content of a file goes.
pub(super) enum Sink<'a> {
    Usual(&'a File),
    Direct(&'a File, DirectFile<'a>),
}

impl<'a> Sink<'a> {
    pub(super) fn new(file: &'a File, size: u64, staging: &'a mut Staging) -> Self {
        if size > DIRECT_BYTES_MIN {
            Self::Direct(file, DirectFile::new(file, staging))
        } else {
            Self::Usual(file)
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Usual(file) => file.write_all(bytes),
            Self::Direct(_, direct) => direct.write(bytes),
        }
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        match self {
            Self::Usual(file) => {
                let length = i64::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
                file.seek(SeekFrom::Current(length)).map(drop)
            }
            Self::Direct(_, direct) => direct.skip(length),
        }
    }

    fn set_length(&self, size: u64) -> io::Result<()> {
        match self {
            Self::Usual(file) | Self::Direct(file, _) => file.set_len(size),
        }
    }

    /// What was collected is written, unless the file will be discarded.
    pub(super) fn end(self, filled: Filled) -> io::Result<Filled> {
        match (self, &filled) {
            (Self::Direct(_, direct), Filled::Whole | Filled::Holed { .. }) => direct.finish()?,
            (Self::Usual(_) | Self::Direct(..), _) => {}
        }
        Ok(filled)
    }
}

/// Writes a content. Holes are not written, so they take no space.
pub(super) fn fill(
    run: &Run<'_>,
    sink: &mut Sink<'_>,
    size: u64,
    parts: &mut dyn Iterator<Item = Part>,
) -> io::Result<Filled> {
    let (mut at, mut missing) = (0u64, 0u64);
    let mut first: Option<(u64, ReadError)> = None;
    let mut ends_in_hole = false;
    for part in parts {
        ends_in_hole = match part {
            Part::Data(bytes) => {
                sink.write(&bytes)?;
                at += bytes.len() as u64;
                run.context.progress.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                false
            }
            Part::Hole(length) | Part::Failed(length, _) => {
                if let Part::Failed(_, error) = part {
                    missing += length;
                    first.get_or_insert((at, error));
                }
                at = at.saturating_add(length);
                sink.skip(length)?;
                true
            }
        };
        if at > WHOLE_LOOK_BYTES && run.is_ending() {
            return Ok(Filled::Cut);
        }
    }
    if run.is_ending() && at != size {
        return Ok(Filled::Cut);
    }
    if at != size {
        return Ok(Filled::Misfit { length: at });
    }
    if ends_in_hole {
        sink.set_length(size)?;
    }
    Ok(first.map_or(Filled::Whole, |(first, error)| Filled::Holed { missing, first, error }))
}

/// In a file beyond this size it is looked at whether the restore is to end.
const WHOLE_LOOK_BYTES: u64 = 1 << 20;
