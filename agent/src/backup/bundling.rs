//! The two streams of small files, and where their bundles end.

use backstore_protocol::bundle::BundleRule;
use backstore_protocol::ids::ContentHash;
use backstore_protocol::keys::IdKeys;

use super::objects::{Objects, Part};
use super::pool::Buffers;

/// Small files being bundled: compressible ones, and others.
pub(super) struct Bundling {
    streams: [Stream; 2],
    buffers: Buffers,
}

struct Stream {
    rule: BundleRule,
    open: Option<Open>,
}

struct Open {
    number: u64,
    bytes: Vec<u8>,
    /// Place in the queue of its first member.
    first: u64,
}

/// A bundle that is complete.
pub(super) type Complete = (u64, Vec<u8>);

/// Entries that may come between the first and the last member of a bundle: they all wait for it.
const SPAN_MAX: u64 = 8192;

impl Bundling {
    pub(super) fn new(keys: &IdKeys, buffers: Buffers) -> Self {
        let stream = || Stream { rule: BundleRule::new(keys), open: None };
        Self { streams: [stream(), stream()], buffers }
    }

    /// Adds a file, whose place in the queue is `place`; bundles that are complete go to `complete`.
    pub(super) fn add(
        &mut self,
        file: &SmallFile<'_>,
        place: u64,
        objects: &mut Objects,
        complete: &mut Vec<Complete>,
    ) -> Part {
        for stream in &mut self.streams {
            if stream.open.as_ref().is_some_and(|open| open.first + SPAN_MAX < place) {
                stream.end(objects, complete);
            }
        }
        let stream = &mut self.streams[usize::from(!file.is_compressible)];
        if stream.rule.ends_before(file.owner, file.bytes.len()) {
            stream.end(objects, complete);
        }
        let open = stream.open.get_or_insert_with(|| Open {
            number: objects.begin(),
            bytes: self.buffers.take(),
            first: place,
        });
        let part =
            Part { object: open.number, offset: open.bytes.len() as u32, length: file.bytes.len() as u32 };
        open.bytes.extend_from_slice(file.bytes);
        if stream.rule.ends_after(file.hash.as_bytes(), file.bytes.len()) {
            stream.end(objects, complete);
        }
        part
    }

    /// Ends both streams' bundles.
    pub(super) fn end(&mut self, objects: &mut Objects, complete: &mut Vec<Complete>) {
        for stream in &mut self.streams {
            stream.end(objects, complete);
        }
    }
}

/// A file to be bundled.
pub(super) struct SmallFile<'a> {
    pub(super) owner: (u64, u64),
    pub(super) hash: ContentHash,
    pub(super) bytes: &'a [u8],
    pub(super) is_compressible: bool,
}

impl Stream {
    fn end(&mut self, objects: &mut Objects, complete: &mut Vec<Complete>) {
        if let Some(open) = self.open.take() {
            self.rule.end();
            objects.close(open.number);
            complete.push((open.number, open.bytes));
        }
    }
}
