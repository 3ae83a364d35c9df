//! The bytes of a file, from whatever its content is made of: inline, extents or a map.
//!
//! [`Place`] walks a content's stretches from any offset; [`read`] gives the runs of a range; [`ContentReader`] is the two for
//! one file. A map that lies about levels or lengths is refused where it is noticed: it cannot make a loop or a file longer
//! than its entry says.

use std::sync::Arc;

use backstore_protocol::codec::Malformed;
use backstore_protocol::entry::{Content, Entry, Extent, ObjectRef};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::map::{MapNode, Piece};
use bytes::Bytes;

use crate::objects::{ObjectReader, ReadError, Wait, Want};

/// Bytes of a file, or the absence of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// These bytes.
    Data(Bytes),
    /// So many bytes that were never written and read as zero.
    Hole(u64),
}

impl Run {
    /// Bytes of the file that it covers.
    pub fn length(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Hole(length) => *length,
        }
    }
}

/// A part of a file that lies in one object or one hole. Chunks that follow each other in their bundle as in the file are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where it starts in the file.
    pub start: u64,
    /// What it is.
    pub extent: Extent,
}

impl Stretch {
    /// Where it ends in the file.
    pub const fn end(&self) -> u64 {
        self.start + self.extent.length()
    }
}

/// A place in a content that is made of objects, between two stretches or inside one.
#[derive(Debug, Clone, Default)]
pub struct Place {
    offset: u64,
    /// From the map's root down: a node, where it starts in the file, how far its pieces are used up.
    map: Vec<Level>,
}

#[derive(Debug, Clone)]
struct Level {
    node: Arc<MapNode>,
    start: u64,
    used: u64,
}

/// Map nodes told to the reader before they are needed.
const MAP_NODES_AHEAD: usize = 4;

impl Place {
    /// At byte `offset` of the file.
    pub const fn at(offset: u64) -> Self {
        Self { offset, map: Vec::new() }
    }

    /// The stretch that holds the byte here, whole; the place is then at its end. Nothing at the end of the file or of a content
    /// that is not made of objects.
    pub fn next(
        &mut self,
        reader: &ObjectReader,
        content: &Content,
        size: u64,
        wait: Wait,
    ) -> Result<Option<Stretch>, ReadError> {
        if self.offset >= size {
            return Ok(None);
        }
        let stretch = match content {
            Content::None | Content::Inline(_) => None,
            Content::Unread => return Err(ReadError::Unread),
            Content::Extents(extents) => stretch_at(extents, self.offset),
            Content::Map(root) => Some(self.next_of_map(reader, root, size, wait)?),
        };
        if let Some(stretch) = &stretch {
            self.offset = stretch.end();
        }
        Ok(stretch)
    }

    fn next_of_map(
        &mut self,
        reader: &ObjectReader,
        root: &ObjectId,
        size: u64,
        wait: Wait,
    ) -> Result<Stretch, ReadError> {
        if self.map.is_empty() {
            let node = reader.map_node(root, wait)?;
            if node.length() != size {
                return Err(lie("length of a map"));
            }
            self.map.push(Level { node, start: 0, used: self.offset });
        }
        loop {
            let Some(level) = self.map.last_mut() else { return Err(lie("map")) };
            let pieces = level.node.from_offset(0);
            let at = pieces.len() - level.node.from_offset(level.used).len();
            let Some((within, piece)) = pieces.get(at).copied() else {
                self.map.pop();
                continue;
            };
            let start = level.start + within;
            let Piece::Child { node, length } = piece else {
                let Some((first, extent)) = joined(pieces.len(), at, |index| extent_of(&pieces[index].1))
                else {
                    return Err(lie("map"));
                };
                let within = pieces[first].0;
                level.used = within + extent.length();
                return Ok(Stretch { start: level.start + within, extent });
            };
            let child = open_child(reader, level, &node, length, wait)?;
            level.used = within + length;
            let used = self.offset.saturating_sub(start);
            self.map.push(Level { node: child, start, used });
        }
    }
}

/// What a piece of a map's lowest level is made of.
const fn extent_of(piece: &Piece) -> Option<Extent> {
    match piece {
        Piece::Chunk(chunk) => {
            Some(Extent::Data { object: chunk.object, offset: chunk.offset, length: chunk.length })
        }
        Piece::Hole(length) => Some(Extent::Hole { length: *length }),
        Piece::Child { .. } => None,
    }
}

/// The extent at `at` of `count`, with those before and behind it that go on in the same object, and the number of the first of them.
fn joined(count: usize, at: usize, extent: impl Fn(usize) -> Option<Extent>) -> Option<(usize, Extent)> {
    let (mut first, mut whole) = (at, extent(at)?);
    while first > 0
        && let Some(longer) = extent(first - 1).and_then(|before| join(&before, &whole))
    {
        (first, whole) = (first - 1, longer);
    }
    for next in at + 1..count {
        let Some(longer) = extent(next).and_then(|after| join(&whole, &after)) else { break };
        whole = longer;
    }
    Some((first, whole))
}

/// Two extents as one, if the second goes on where the first ends.
fn join(before: &Extent, after: &Extent) -> Option<Extent> {
    let (
        Extent::Data { object, offset, length },
        Extent::Data { object: next, offset: next_offset, length: next_length },
    ) = (*before, *after)
    else {
        return None;
    };
    let follows = object == next && offset.checked_add(length) == Some(next_offset);
    let length = length
        .checked_add(next_length)
        .filter(|length| follows && offset.checked_add(*length).is_some_and(|end| end <= object.length))?;
    Some(Extent::Data { object, offset, length })
}

/// Opens a child, which must be of the level right below and as long as its parent says.
fn open_child(
    reader: &ObjectReader,
    parent: &Level,
    id: &ObjectId,
    length: u64,
    wait: Wait,
) -> Result<Arc<MapNode>, ReadError> {
    let coming = parent.node.from_offset(parent.used).iter().skip(1).take(MAP_NODES_AHEAD);
    reader.prefetch(coming.filter_map(|(_, piece)| match piece {
        Piece::Child { node, .. } => Some(Want::Map(*node)),
        Piece::Chunk(_) | Piece::Hole(_) => None,
    }));
    let child = reader.map_node(id, wait)?;
    if child.level() + 1 == parent.node.level() && child.length() == length {
        Ok(child)
    } else {
        Err(lie("level or length of a map node"))
    }
}

fn lie(what: &'static str) -> ReadError {
    Malformed { what, offset: 0 }.into()
}

fn stretch_at(extents: &[Extent], offset: u64) -> Option<Stretch> {
    let mut end = 0;
    let at = extents.iter().position(|extent| {
        end += extent.length();
        offset < end
    })?;
    let (first, extent) = joined(extents.len(), at, |index| extents.get(index).copied())?;
    let before: u64 = extents[first..=at].iter().map(Extent::length).sum();
    Some(Stretch { start: end - before, extent })
}

/// What a [`read`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The bytes asked for, in order; fewer only at the end of the file.
    pub runs: Vec<Run>,
    /// The stretches that the data is part of, each with its object.
    pub touched: Vec<(Stretch, Bytes)>,
}

/// Reads `length` bytes of a content from `offset` on, or up to its end. All objects are asked for before the first is waited for,
/// so keep `length` to some megabytes.
pub fn read(
    reader: &ObjectReader,
    content: &Content,
    size: u64,
    offset: u64,
    length: u64,
    wait: Wait,
) -> Result<Reading, ReadError> {
    let end = size.min(offset.saturating_add(length));
    let mut reading = Reading::default();
    if offset >= end {
        return Ok(reading);
    }
    if let Content::Inline(bytes) = content {
        let part = bytes.get(offset as usize..end as usize).ok_or(lie("inline length"))?;
        reading.runs.push(Run::Data(Bytes::copy_from_slice(part)));
        return Ok(reading);
    }
    let mut place = Place::at(offset);
    let mut asked = Vec::new();
    while place.offset < end {
        let Some(stretch) = place.next(reader, content, size, wait)? else { return Err(lie("content")) };
        let ticket = stretch.extent.object().map(|object| reader.begin_now(Want::Data(object)));
        asked.push((stretch, ticket));
    }
    // Those that are not in memory go on being fetched, all of them, although the first ends the attempt.
    let mut missing = None;
    for (stretch, ticket) in asked {
        let from = offset.max(stretch.start) - stretch.start;
        let to = end.min(stretch.end()) - stretch.start;
        let (Extent::Data { object, .. }, Some(mut ticket)) = (stretch.extent, ticket) else {
            reading.runs.push(Run::Hole(to - from));
            continue;
        };
        let bytes = match wait {
            Wait::Not => ticket.data_now(object),
            Wait::UntilDeadline => Ok(ticket.data(object)?),
        };
        match bytes {
            Ok(bytes) => {
                let whole = stretch_bytes(&stretch, &bytes)?;
                reading.runs.push(Run::Data(whole.slice(from as usize..to as usize)));
                reading.touched.push((stretch, bytes));
            }
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    missing.map_or(Ok(reading), Err)
}

/// The bytes of a stretch, from those of its object.
pub(crate) fn stretch_bytes(stretch: &Stretch, object: &Bytes) -> Result<Bytes, ReadError> {
    match stretch.extent {
        Extent::Data { offset, length, .. } => {
            let range = offset as usize..offset as usize + length as usize;
            if range.end <= object.len() { Ok(object.slice(range)) } else { Err(lie("extent")) }
        }
        Extent::Hole { .. } => Err(lie("extent")),
    }
}

/// The objects that bytes `from` to `to` of a content are in, as far as that is known without waiting.
pub(crate) fn objects_in(
    reader: &ObjectReader,
    content: &Content,
    size: u64,
    from: u64,
    to: u64,
) -> (Vec<ObjectRef>, u64) {
    let mut place = Place::at(from);
    let mut objects = Vec::new();
    while place.offset < to
        && let Ok(Some(stretch)) = place.next(reader, content, size, Wait::Not)
    {
        objects.extend(stretch.extent.object());
    }
    (objects, place.offset)
}

/// The objects that hold bytes from `from` on and nothing from `to` on, and no part of another file, as far as that is known without
/// waiting; and where the last of them ends.
pub(crate) fn objects_within(
    reader: &ObjectReader,
    content: &Content,
    size: u64,
    from: u64,
    to: u64,
) -> (Vec<ObjectRef>, u64) {
    let mut place = Place::at(from);
    let (mut objects, mut end) = (Vec::new(), from);
    while let Ok(Some(stretch)) = place.next(reader, content, size, Wait::Not)
        && stretch.end() <= to
    {
        end = stretch.end();
        let whole = |object: &ObjectRef| u64::from(object.length) == stretch.extent.length();
        objects.extend(stretch.extent.object().filter(whole));
    }
    (objects, end)
}

/// Reads one file.
pub struct ContentReader {
    reader: Arc<ObjectReader>,
    content: Content,
    size: u64,
}

/// Bytes that [`ContentReader::read`] asks for at a time.
const STEP_BYTES: u64 = 8 << 20;

impl ContentReader {
    /// A reader of an entry's content.
    pub fn new(reader: &Arc<ObjectReader>, entry: &Entry) -> Self {
        Self { reader: Arc::clone(reader), content: entry.content.clone(), size: entry.size }
    }

    /// A reader of any content, such as that of an xattr.
    pub fn of(reader: &Arc<ObjectReader>, content: &Content, size: u64) -> Self {
        Self { reader: Arc::clone(reader), content: content.clone(), size }
    }

    /// Bytes of the file.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What the file is made of.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Fills `buffer` from byte `offset` on; gives how much there was, less than all only at the end.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let step = STEP_BYTES.min((buffer.len() - filled) as u64);
            let reading = self.read_runs(offset + filled as u64, step, Wait::UntilDeadline)?;
            if reading.runs.is_empty() {
                break;
            }
            for run in reading.runs {
                let target = &mut buffer[filled..filled + run.length() as usize];
                match run {
                    Run::Data(bytes) => target.copy_from_slice(&bytes),
                    Run::Hole(_) => target.fill(0),
                }
                filled += target.len();
            }
        }
        Ok(filled)
    }

    /// The runs of `length` bytes from `offset` on; see [`read`].
    pub fn read_runs(&self, offset: u64, length: u64, wait: Wait) -> Result<Reading, ReadError> {
        read(&self.reader, &self.content, self.size, offset, length, wait)
    }

    /// All bytes, of a content of at most `bytes_max`; nothing if it is larger.
    pub fn read_all(&self, bytes_max: usize) -> Result<Option<Vec<u8>>, ReadError> {
        if self.size > bytes_max as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; self.size as usize];
        let length = self.read(0, &mut bytes)?;
        if length == bytes.len() { Ok(Some(bytes)) } else { Err(lie("length of a content")) }
    }

    /// Where the next data at or after `offset` starts; nothing if only holes follow.
    pub fn next_data(&self, offset: u64) -> Result<Option<u64>, ReadError> {
        self.seek(offset, |extent| matches!(extent, Extent::Data { .. }))
    }

    /// Where the next hole at or after `offset` starts; the end of the file counts as one.
    pub fn next_hole(&self, offset: u64) -> Result<u64, ReadError> {
        Ok(self.seek(offset, |extent| matches!(extent, Extent::Hole { .. }))?.unwrap_or(self.size))
    }

    fn seek(&self, offset: u64, is_wanted: impl Fn(&Extent) -> bool) -> Result<Option<u64>, ReadError> {
        if matches!(self.content, Content::Inline(_)) {
            let data =
                Extent::Data { object: ObjectRef { id: ObjectId::ZERO, length: 0 }, offset: 0, length: 0 };
            return Ok(is_wanted(&data).then_some(offset).filter(|offset| *offset < self.size));
        }
        let mut place = Place::at(offset);
        while let Some(stretch) = place.next(&self.reader, &self.content, self.size, Wait::UntilDeadline)? {
            if is_wanted(&stretch.extent) {
                return Ok(Some(stretch.start.max(offset)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
