//! Bytes on their way from the archive into a file: runs, and values of extended attributes.

use std::borrow::Cow;
use std::sync::Arc;

use backstore_platform::metadata::XATTR_VALUES_BYTES_MAX;
use backstore_platform::paths::Printable;
use backstore_protocol::entry::{Content, Entry};
use backstore_vfs::content::ContentReader;
use backstore_vfs::objects::{ObjectReader, ReadError};
use bytes::Bytes;

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) enum Run {
    /// These bytes.
    Data(Bytes),
    /// So many bytes that were never written.
    Hole(u64),
    /// So many bytes that cannot be read.
    Failed(u64, ReadError),
}

/// The extended attributes of an entry with their values.
pub(super) struct Xattrs<'a> {
    values: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    /// Those that could not be read.
    pub(super) problems: Vec<String>,
}

impl<'a> Xattrs<'a> {
    /// Reads them; most are in the entry.
    pub(super) fn read(reader: &Arc<ObjectReader>, entry: &'a Entry) -> Self {
        let mut xattrs = Self { values: Vec::new(), problems: Vec::new() };
        for xattr in &entry.xattrs {
            let value = match &xattr.value {
                Content::Inline(bytes) => Ok(Some(Cow::Borrowed(&**bytes))),
                Content::None | Content::Extents(_) | Content::Map(_) | Content::Unread => {
                    let content = ContentReader::of(reader, &xattr.value, xattr.size);
                    content.read_all(XATTR_VALUES_BYTES_MAX).map(|bytes| bytes.map(Cow::Owned))
                }
            };
            let name = Printable(&xattr.name);
            match value {
                Ok(Some(value)) => xattrs.values.push((&xattr.name, value)),
                Ok(None) => xattrs.problems.push(format!("its extended attribute {name} is too large")),
                Err(error) => {
                    xattrs.problems.push(format!("its extended attribute {name} cannot be read: {error}"));
                }
            }
        }
        xattrs
    }

    /// Names and values.
    pub(super) fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        self.values.iter().map(|(name, value)| (*name, &**value)).collect()
    }
}

/// Reads one file by itself, a few MiB at a time: for what comes out of turn.
pub(super) struct OwnRuns {
    content: ContentReader,
    offset: u64,
}

const STEP_BYTES: u64 = 4 << 20;

impl OwnRuns {
    pub(super) const fn new(content: ContentReader) -> Self {
        Self { content, offset: 0 }
    }
}

impl Iterator for OwnRuns {
    type Item = Vec<Run>;

    fn next(&mut self) -> Option<Vec<Run>> {
        let left = self.content.size().saturating_sub(self.offset);
        if left == 0 {
            return None;
        }
        let step = left.min(STEP_BYTES);
        let read = self.content.read_runs(self.offset, step, backstore_vfs::objects::Wait::UntilDeadline);
        self.offset += step;
        Some(match read {
            Ok(reading) => reading
                .runs
                .into_iter()
                .map(|run| match run {
                    backstore_vfs::content::Run::Data(bytes) => Run::Data(bytes),
                    backstore_vfs::content::Run::Hole(length) => Run::Hole(length),
                })
                .collect(),
            Err(error) => vec![Run::Failed(step, error)],
        })
    }
}
