//! Compares two trees; equal nodes are skipped without being read, so the cost is that of what differs.

use std::cmp::Ordering;
use std::sync::Arc;

use super::cursor::{open, open_child};
use super::node::{Item, Items};
use super::{NodeReader, Root};
use crate::codec::Malformed;
use crate::entry::Entry;
use crate::ids::ObjectId;

/// A path whose entries differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its key.
    pub key: Vec<u8>,
    /// Its entry in the first tree, if it is there.
    pub old: Option<Box<Entry>>,
    /// Its entry in the second tree, if it is there.
    pub new: Option<Box<Entry>>,
}

/// Walks the differences of two trees in key order.
pub struct Diff<R> {
    reader: R,
    old: Side,
    new: Side,
}

/// An entry and its key.
type Keyed = (Vec<u8>, Box<Entry>);

/// What is left to compare of one tree.
struct Side {
    path: Vec<Frame>,
}

struct Frame {
    id: ObjectId,
    ahead: Option<(Vec<u8>, Item)>,
    items: Items,
}

impl Frame {
    fn new(id: ObjectId, items: Items) -> Result<Self, Malformed> {
        let mut frame = Self { id, ahead: None, items };
        frame.advance()?;
        Ok(frame)
    }

    fn advance(&mut self) -> Result<(), Malformed> {
        self.ahead = self.items.read()?.map(|item| (self.items.key().to_vec(), item));
        Ok(())
    }

    fn is_untouched(&self) -> bool {
        self.items.next_index() == 1
    }
}

impl<R: NodeReader> Diff<R> {
    /// The differences from `old` to `new`.
    pub fn new(reader: R, old: Root, new: Root) -> Result<Self, R::Error> {
        if old == new {
            let none = || Side { path: Vec::new() };
            return Ok(Self { reader, old: none(), new: none() });
        }
        let side = |root: Root| -> Result<Side, R::Error> {
            let node = open(&reader, root)?;
            Ok(Side { path: vec![Frame::new(root.node, Items::start(node))?] })
        };
        let (old, new) = (side(old)?, side(new)?);
        Ok(Self { reader, old, new })
    }

    /// The next path that differs.
    pub fn next_difference(&mut self) -> Result<Option<Difference>, R::Error> {
        loop {
            self.old.settle();
            self.new.settle();
            if self.skip_equal()? {
                continue;
            }
            let (old_level, new_level) = (self.old.level(), self.new.level());
            // An unopened child on one side is opened before entries are compared: the higher one first.
            if old_level.max(new_level) > Some(0) {
                if old_level >= new_level {
                    self.old.descend(&self.reader)?
                } else {
                    self.new.descend(&self.reader)?
                }
                continue;
            }
            let order = match (self.old.key(), self.new.key()) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.cmp(new),
            };
            let old = if order.is_le() { self.old.take()? } else { None };
            let new = if order.is_ge() { self.new.take()? } else { None };
            match (old, new) {
                (Some((_, old)), Some((_, new))) if old == new => {}
                (Some((key, old)), new) => {
                    return Ok(Some(Difference { key, old: Some(old), new: new.map(|(_, new)| new) }));
                }
                (None, Some((key, new))) => return Ok(Some(Difference { key, old: None, new: Some(new) })),
                (None, None) => return Ok(None),
            }
        }
    }

    /// Steps over a subtree that both sides are about to enter, or one has just entered; true if there was one.
    fn skip_equal(&mut self) -> Result<bool, R::Error> {
        let (Some(old), Some(new)) = (self.old.next_node(), self.new.next_node()) else { return Ok(false) };
        if old == new {
            self.old.step_over()?;
            self.new.step_over()?;
            return Ok(true);
        }
        if self.old.entered() == Some(new) {
            self.old.path.pop();
            self.new.step_over()?;
            return Ok(true);
        }
        if self.new.entered() == Some(old) {
            self.new.path.pop();
            self.old.step_over()?;
            return Ok(true);
        }
        Ok(false)
    }
}

impl Side {
    /// Leaves nodes that are used up.
    fn settle(&mut self) {
        while self.path.last().is_some_and(|frame| frame.ahead.is_none()) {
            self.path.pop();
        }
    }

    /// Level of the node whose item is next: 0 when that is an entry.
    fn level(&self) -> Option<u8> {
        self.path.last().map(|frame| frame.items.node().level())
    }

    fn key(&self) -> Option<&[u8]> {
        self.path.last()?.ahead.as_ref().map(|(key, _)| &key[..])
    }

    /// The child about to be entered, or the node entered with nothing of it read.
    fn next_node(&self) -> Option<ObjectId> {
        match self.path.last()?.ahead.as_ref()? {
            (_, Item::Child(child)) => Some(child.node),
            (_, Item::Entry(_)) => self.entered(),
        }
    }

    /// The node this side has just entered, if nothing of it is used yet.
    fn entered(&self) -> Option<ObjectId> {
        self.path.last().filter(|frame| frame.is_untouched()).map(|frame| frame.id)
    }

    fn step_over(&mut self) -> Result<(), Malformed> {
        match self.path.last_mut() {
            Some(frame) if matches!(frame.ahead, Some((_, Item::Child(_)))) => frame.advance(),
            Some(_) => {
                self.path.pop();
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn descend<R: NodeReader>(&mut self, reader: &R) -> Result<(), R::Error> {
        let Some(frame) = self.path.last_mut() else { return Ok(()) };
        let Some((_, Item::Child(child))) = frame.ahead else {
            return Err(Malformed { what: "inner node", offset: 0 }.into());
        };
        let parent = Arc::clone(frame.items.node());
        frame.advance()?;
        let node = open_child(reader, &parent, child)?;
        self.path.push(Frame::new(child.node, Items::start(node))?);
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Keyed>, Malformed> {
        let Some(frame) = self.path.last_mut() else { return Ok(None) };
        let taken = frame.ahead.take();
        frame.advance()?;
        Ok(match taken {
            Some((key, Item::Entry(entry))) => Some((key, entry)),
            Some((_, Item::Child(_))) | None => None,
        })
    }
}
