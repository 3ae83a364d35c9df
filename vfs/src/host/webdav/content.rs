//! What `dav-server` is given for one request: a file or directory that was found already, so that it never asks for anything else.
//!
//! It makes an empty directory of one that cannot be listed, and zeroes of what is missing at the end of a read. So directories are listed
//! before it is asked, and a read gives bytes or fails.

use std::fmt;
use std::io::SeekFrom;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backstore_protocol::entry::Time;
use bytes::{Buf, Bytes, BytesMut};
use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavFileSystem, DavMetaData, FsError, FsFuture, FsResult, FsStream, OpenOptions,
    ReadDirMeta,
};
use futures_util::stream;

use super::tree::{Entry, Target, Tree};
use crate::content::Run;
use crate::model::{Attributes, FileKind, Problem};
use crate::objects::Wait;
use crate::requests::RequestCounts;

/// Where answers come from.
#[derive(Clone)]
pub(super) struct Backend {
    pub(super) tree: Arc<Tree>,
    pub(super) requests: Arc<RequestCounts>,
}

/// Bytes that are read at a time: what a slow reader makes us hold.
pub(super) const READ_BYTES: u64 = 1 << 20;
/// The last second that HTTP has a date for: the end of 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

impl Backend {
    /// Asks at once for what is in memory, and else from a thread that may wait for the destination.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        ask: impl Fn(&Tree, Wait) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        match ask(&self.tree, Wait::Not) {
            Err(Problem::NotInMemory) => {
                self.requests.waited.one();
                let tree = Arc::clone(&self.tree);
                let answered = tokio::task::spawn_blocking(move || ask(&tree, Wait::UntilDeadline));
                answered.await.unwrap_or(Err(Problem::Invalid))
            }
            result => result,
        }
    }

    /// Some bytes of a file from `offset` on, which is before its end.
    pub(super) async fn read(&self, target: &Target, offset: u64, length: u64) -> Result<Bytes, Problem> {
        self.requests.reads.one();
        let length = length.min(READ_BYTES);
        let steps = match target {
            Target::Found(steps) => steps.clone(),
            Target::Notice(bytes, _) => {
                let end = offset.saturating_add(length).min(bytes.len() as u64);
                return Ok(bytes.slice(offset.min(end) as usize..end as usize));
            }
        };
        let ino = target.attributes().ino;
        let reading = self
            .ask(move |tree, wait| {
                let _held = &steps;
                tree.model.read(ino, offset, length, wait)
            })
            .await?;
        let bytes = joined(reading.runs);
        self.requests.bytes_read.add(bytes.len() as u64);
        // There is nothing to be read before the end only if the archive contradicts itself.
        if bytes.is_empty() { Err(Problem::NothingThere) } else { Ok(bytes) }
    }
}

fn joined(mut runs: Vec<Run>) -> Bytes {
    if let [Run::Data(_)] = &runs[..]
        && let Some(Run::Data(bytes)) = runs.pop()
    {
        return bytes;
    }
    let mut joined = BytesMut::with_capacity(runs.iter().map(Run::length).sum::<u64>() as usize);
    for run in runs {
        match run {
            Run::Data(bytes) => joined.extend_from_slice(&bytes),
            Run::Hole(length) => joined.resize(joined.len() + length as usize, 0),
        }
    }
    joined.freeze()
}

/// What one request is about.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) backend: Backend,
    pub(super) target: Target,
    /// Of a directory, what is listed.
    pub(super) entries: Arc<Vec<Entry>>,
    /// Of a file, bytes that were read already, and where they are.
    pub(super) first: Option<(u64, Bytes)>,
}

impl DavFileSystem for Subject {
    fn open<'a>(&'a self, _: &'a DavPath, options: OpenOptions) -> FsFuture<'a, Box<dyn DavFile>> {
        let is_read_only = !(options.write || options.append || options.truncate || options.create);
        let file = OpenFile { subject: self.clone(), position: 0 };
        Box::pin(async move {
            if is_read_only { Ok(Box::new(file) as Box<dyn DavFile>) } else { Err(FsError::Forbidden) }
        })
    }

    fn read_dir<'a>(
        &'a self,
        _: &'a DavPath,
        _: ReadDirMeta,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        let entries = Arc::clone(&self.entries);
        let all = (0..entries.len())
            .map(move |at| Ok(Box::new(Listed(entries[at].clone())) as Box<dyn DavDirEntry>));
        Box::pin(async move { Ok(Box::pin(stream::iter(all)) as FsStream<_>) })
    }

    fn metadata<'a>(&'a self, _: &'a DavPath) -> FsFuture<'a, Box<dyn DavMetaData>> {
        Box::pin(async move { Ok(Box::new(Metadata(self.target.attributes())) as Box<dyn DavMetaData>) })
    }
}

struct Listed(Entry);

impl DavDirEntry for Listed {
    fn name(&self) -> Vec<u8> {
        self.0.name.clone().into_bytes()
    }

    fn metadata(&'_ self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        Box::pin(async move { Ok(Box::new(Metadata(self.0.attributes)) as Box<dyn DavMetaData>) })
    }
}

struct OpenFile {
    subject: Subject,
    position: u64,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("position", &self.position).finish_non_exhaustive()
    }
}

impl OpenFile {
    async fn next(&mut self, count: usize) -> FsResult<Bytes> {
        let size = self.subject.target.attributes().size;
        let length = (count as u64).min(size.saturating_sub(self.position));
        if length == 0 {
            // Past the end: whoever asks for that must not be given anything.
            return Err(FsError::GeneralFailure);
        }
        let bytes = match self.subject.first.take() {
            Some((at, mut bytes)) if at == self.position => {
                bytes.truncate(length as usize);
                bytes
            }
            _ => self
                .subject
                .backend
                .read(&self.subject.target, self.position, length)
                .await
                .map_err(|problem| failure(&problem))?,
        };
        self.position += bytes.len() as u64;
        Ok(bytes)
    }
}

/// What a reader is told in the middle of a file. The connection ends with it.
fn failure(problem: &Problem) -> FsError {
    tracing::warn!(
        error = problem as &(dyn std::error::Error + 'static),
        "a file that is being read cannot be read"
    );
    FsError::GeneralFailure
}

impl DavFile for OpenFile {
    fn metadata(&'_ mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let metadata = Metadata(self.subject.target.attributes());
        Box::pin(async move { Ok(Box::new(metadata) as Box<dyn DavMetaData>) })
    }

    fn write_buf(&'_ mut self, _: Box<dyn Buf + Send>) -> FsFuture<'_, ()> {
        Box::pin(async { Err(FsError::Forbidden) })
    }

    fn write_bytes(&'_ mut self, _: Bytes) -> FsFuture<'_, ()> {
        Box::pin(async { Err(FsError::Forbidden) })
    }

    fn read_bytes(&'_ mut self, count: usize) -> FsFuture<'_, Bytes> {
        Box::pin(self.next(count))
    }

    fn seek(&'_ mut self, to: SeekFrom) -> FsFuture<'_, u64> {
        let size = self.subject.target.attributes().size;
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(offset) => size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        Box::pin(async move {
            self.position = place.ok_or(FsError::GeneralFailure)?;
            Ok(self.position)
        })
    }

    fn flush(&'_ mut self) -> FsFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[derive(Debug, Clone)]
struct Metadata(Attributes);

impl DavMetaData for Metadata {
    fn len(&self) -> u64 {
        self.0.size
    }

    fn modified(&self) -> FsResult<SystemTime> {
        Ok(http_time(self.0.mtime))
    }

    fn created(&self) -> FsResult<SystemTime> {
        Ok(http_time(self.0.btime.unwrap_or(self.0.mtime)))
    }

    fn is_dir(&self) -> bool {
        self.0.kind == FileKind::Directory
    }

    fn etag(&self) -> Option<String> {
        Some(etag(&self.0))
    }

    fn executable(&self) -> FsResult<bool> {
        Ok(self.0.kind == FileKind::File && self.0.mode & 0o111 != 0)
    }
}

/// What is another one for everything that differs in content or attributes, without its quotation marks.
pub(super) fn etag(attributes: &Attributes) -> String {
    // Made-up directories keep their number when they list something else.
    format!("{:x}-{:x}-{:x}", attributes.ino.0, attributes.size, attributes.mtime.seconds)
}

/// A time that HTTP has a date for: the nearest one.
fn http_time(time: Time) -> SystemTime {
    let seconds = u64::try_from(time.seconds).unwrap_or(0).min(SECONDS_MAX);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_http_has_no_date_for_become_the_nearest() {
        let since = |seconds| {
            let time = http_time(Time { seconds, nanoseconds: 5 });
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        for (seconds, expected) in
            [(i64::MIN, 0), (-1, 0), (0, 0), (1_700_000_000, 1_700_000_000), (i64::MAX, SECONDS_MAX)]
        {
            assert_eq!(since(seconds), expected);
        }
    }
}
