//! The contents of many files in order: what restore and verify read.
//!
//! [`ContentStream`] takes files in the order in which they will be used and gives their bytes in that order. It looks ahead by a window of
//! opened bytes (32 MiB unless told otherwise), asks for each object once although many files lie in it, has objects opened on all
//! cores, and holds no more than the window. Best fed in tree order: then neighbours share bundles.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use backstore_protocol::entry::{Content, Extent, ObjectRef};
use backstore_protocol::ids::ObjectId;
use bytes::Bytes;

use crate::content::{Place, Stretch};
use crate::objects::{ObjectReader, ReadError, Ticket, Wait, Want};

/// A file whose content is wanted.
#[derive(Debug, Clone)]
pub struct Wanted<T> {
    /// Whatever the caller needs to know it by.
    pub tag: T,
    /// What it is made of; [`Content::None`] to have it listed in its turn without its bytes.
    pub content: Content,
    /// Bytes it has.
    pub size: u64,
}

/// What comes out of a [`ContentStream`]: a start, then the runs of that file, then the next start.
#[derive(Debug)]
pub enum Event<T> {
    /// The next file begins.
    Start(T),
    /// Its next bytes.
    Data(Bytes),
    /// The next part of it is a hole of this length.
    Hole(u64),
    /// Its next bytes cannot be read. What follows belongs behind them.
    Failed {
        /// How many bytes.
        length: u64,
        /// Why.
        error: ReadError,
    },
}

/// Opened bytes that a stream holds unless told otherwise.
pub const WINDOW_BYTES: u64 = 32 << 20;
/// Events that are planned ahead.
const PLANNED_MAX: usize = 16 * 1024;

/// Gives the contents of many files in order.
pub struct ContentStream<T, I> {
    reader: Arc<ObjectReader>,
    files: I,
    /// The file whose stretches are being planned.
    planning: Option<Planning>,
    planned: VecDeque<Planned<T>>,
    held: HashMap<ObjectId, Held>,
    held_bytes: u64,
    window_bytes: u64,
}

struct Planning {
    content: Content,
    size: u64,
    place: Place,
    offset: u64,
}

enum Planned<T> {
    Start(T),
    Inline(Bytes),
    Stretch(Stretch),
    Failed(u64, ReadError),
}

/// An object that planned stretches lie in.
struct Held {
    ticket: Ticket,
    object: ObjectRef,
    /// Stretches that are still to come.
    uses: usize,
    /// Other files may lie in it too.
    is_shared: bool,
}

impl<T, I: Iterator<Item = Wanted<T>>> ContentStream<T, I> {
    /// The contents of `files`, holding `window_bytes` of opened objects at most (and one object more).
    pub fn new(reader: &Arc<ObjectReader>, files: I, window_bytes: u64) -> Self {
        Self {
            reader: Arc::clone(reader),
            files,
            planning: None,
            planned: VecDeque::new(),
            held: HashMap::new(),
            held_bytes: 0,
            window_bytes,
        }
    }

    /// Bytes of objects that are held or on their way.
    pub const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Plans ahead, in large steps so that many objects are asked for together.
    fn plan(&mut self) {
        let is_low =
            self.held_bytes <= self.window_bytes / 4 * 3 && self.planned.len() <= PLANNED_MAX / 4 * 3;
        if !is_low && !self.planned.is_empty() {
            return;
        }
        while self.held_bytes < self.window_bytes && self.planned.len() < PLANNED_MAX {
            let Some(planning) = &mut self.planning else {
                let Some(file) = self.files.next() else { return };
                self.start(file);
                continue;
            };
            match planning.place.next(&self.reader, &planning.content, planning.size, Wait::UntilDeadline) {
                Ok(Some(stretch)) => {
                    planning.offset = stretch.end();
                    self.hold(&stretch);
                    self.planned.push_back(Planned::Stretch(stretch));
                }
                Ok(None) => self.planning = None,
                Err(error) => {
                    let rest = planning.size - planning.offset;
                    self.planned.push_back(Planned::Failed(rest, error));
                    self.planning = None;
                }
            }
        }
    }

    fn start(&mut self, file: Wanted<T>) {
        self.planned.push_back(Planned::Start(file.tag));
        match file.content {
            Content::None => {}
            Content::Inline(bytes) if bytes.is_empty() => {}
            Content::Inline(bytes) => self.planned.push_back(Planned::Inline(Bytes::from(bytes))),
            Content::Extents(_) | Content::Map(_) | Content::Unread => {
                self.planning = Some(Planning {
                    content: file.content,
                    size: file.size,
                    place: Place::default(),
                    offset: 0,
                });
            }
        }
    }

    fn hold(&mut self, stretch: &Stretch) {
        let Extent::Data { object, length, .. } = stretch.extent else { return };
        let held = self.held.entry(object.id).or_insert_with(|| {
            self.held_bytes += u64::from(object.length);
            Held { ticket: self.reader.begin_in_turn(Want::Data(object)), object, uses: 0, is_shared: false }
        });
        held.uses += 1;
        held.is_shared |= length != object.length;
    }

    fn give(&mut self, stretch: &Stretch) -> Event<T> {
        let Extent::Data { object, offset, length } = stretch.extent else {
            return Event::Hole(stretch.extent.length());
        };
        let failed = |error| Event::Failed { length: u64::from(length), error };
        let Some(held) = self.held.get_mut(&object.id) else {
            return failed(ReadError::Withheld { id: object.id });
        };
        let whole = held.ticket.data(object);
        held.uses -= 1;
        if held.uses == 0 {
            self.let_go(&object.id, whole.as_ref().ok());
        }
        let range = offset as usize..offset as usize + length as usize;
        match whole {
            Ok(bytes) if range.end <= bytes.len() => Event::Data(bytes.slice(range)),
            Ok(_) => failed(ReadError::Mismatch { id: object.id, what: "length" }),
            Err(error) => failed(error),
        }
    }

    fn let_go(&mut self, id: &ObjectId, bytes: Option<&Bytes>) {
        let Some(held) = self.held.remove(id) else { return };
        self.held_bytes -= u64::from(held.object.length);
        if let (true, Some(bytes)) = (held.is_shared, bytes) {
            // A file beyond the window may lie in it too.
            self.reader.keep(held.object, bytes);
        }
    }
}

impl<T, I: Iterator<Item = Wanted<T>>> Iterator for ContentStream<T, I> {
    type Item = Event<T>;

    fn next(&mut self) -> Option<Event<T>> {
        self.plan();
        Some(match self.planned.pop_front()? {
            Planned::Start(tag) => Event::Start(tag),
            Planned::Inline(bytes) => Event::Data(bytes),
            Planned::Stretch(stretch) => self.give(&stretch),
            Planned::Failed(length, error) => Event::Failed { length, error },
        })
    }
}

#[cfg(test)]
mod tests;
