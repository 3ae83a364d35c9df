//! Makes a tree from a basis and the changes to it, in key order; without a basis, from nothing.
//!
//! Nodes of the basis that no change touches are taken over whole, at the highest level possible, without being read. That is
//! sound only where the new tree is certain to split as the old did: the builder has no open node below, and the node ends at a
//! boundary given by its last key alone, on its level and all below.

use super::builder::{Boundaries, Built, TreeBuilder};
use super::cursor::{hint, open, open_child};
use super::node::{Item, Items};
use super::{NodeReader, Root};
use crate::codec::Malformed;
use crate::entry::Entry;
use crate::keys::IdKeys;

/// A tree in the making.
#[derive(Clone)]
pub struct TreeEditor<R> {
    reader: R,
    boundaries: Boundaries,
    builder: TreeBuilder,
    /// The part of the basis that is still to be taken over, from the root down.
    rest: Vec<Rest>,
}

/// What is left of one node of the basis: the item read ahead, and those after it.
#[derive(Clone)]
struct Rest {
    ahead: Option<(Vec<u8>, Item)>,
    items: Items,
}

impl Rest {
    fn new<E: From<Malformed>>(items: Items) -> Result<Self, E> {
        let mut rest = Self { ahead: None, items };
        rest.advance::<E>()?;
        Ok(rest)
    }

    fn advance<E: From<Malformed>>(&mut self) -> Result<(), E> {
        self.ahead = self.items.read()?.map(|item| (self.items.key().to_vec(), item));
        Ok(())
    }
}

impl<R: NodeReader> TreeEditor<R> {
    /// A tree that starts empty.
    pub fn empty(reader: R, keys: &IdKeys) -> Self {
        Self::with_boundaries(reader, keys, Boundaries::new(keys))
    }

    pub(super) fn with_boundaries(reader: R, keys: &IdKeys, boundaries: Boundaries) -> Self {
        let builder = TreeBuilder::with_boundaries(keys, boundaries.clone());
        Self { reader, boundaries, builder, rest: Vec::new() }
    }

    /// A tree that is `basis` but for what is put and removed.
    pub fn from_basis(reader: R, keys: &IdKeys, basis: Root) -> Result<Self, R::Error> {
        let mut editor = Self::empty(reader, keys);
        editor.start_from(basis)?;
        Ok(editor)
    }

    pub(super) fn start_from(&mut self, basis: Root) -> Result<(), R::Error> {
        let node = open(&self.reader, basis)?;
        self.rest.push(Rest::new::<R::Error>(Items::start(node))?);
        Ok(())
    }

    /// Inserts or replaces an entry; its key is greater than that of every call before.
    pub fn put(&mut self, key: Vec<u8>, entry: Entry) -> Result<(), R::Error> {
        self.keep_before(Some(&key))?;
        self.drop_key(&key)?;
        self.builder.push(key, entry);
        Ok(())
    }

    /// Leaves out an entry of the basis; its key is greater than that of every call before.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), R::Error> {
        self.keep_before(Some(key))?;
        self.drop_key(key)
    }

    /// Leaves out everything of the basis from here on up to, but not including, `end`.
    pub fn remove_before(&mut self, end: &[u8]) -> Result<(), R::Error> {
        while self.descend(Some(end), false)? {
            let Some(rest) = self.rest.last_mut() else { break };
            match &rest.ahead {
                Some((key, _)) if key[..] < *end => rest.advance::<R::Error>()?,
                Some(_) | None => break,
            }
        }
        Ok(())
    }

    /// Takes over the basis up to, but not including, `end`.
    pub fn keep_until(&mut self, end: &[u8]) -> Result<(), R::Error> {
        self.keep_before(Some(end))
    }

    /// Takes over the rest of the basis and completes the tree.
    pub fn finish(&mut self) -> Result<Root, R::Error> {
        self.keep_before(None)?;
        Ok(self.builder.finish())
    }

    /// How many entries the tree has and the sizes of all its files, once it is complete.
    pub fn totals(&self) -> (u64, u64) {
        self.builder.totals()
    }

    /// Nodes completed since the last call, children before parents; nodes taken over from the basis are not among them.
    pub fn take_built(&mut self) -> Vec<Built> {
        self.builder.take_built()
    }

    fn keep_before(&mut self, end: Option<&[u8]>) -> Result<(), R::Error> {
        while self.descend(end, true)? {
            let Some(rest) = self.rest.last_mut() else { break };
            let before_end = |key: &[u8]| end.is_none_or(|end| key < end);
            match rest.ahead.take() {
                Some((key, Item::Entry(entry))) if before_end(&key) => {
                    self.builder.push(key, *entry);
                    rest.advance::<R::Error>()?;
                }
                ahead => {
                    rest.ahead = ahead;
                    break;
                }
            }
        }
        Ok(())
    }

    fn drop_key(&mut self, key: &[u8]) -> Result<(), R::Error> {
        if let Some(rest) = self.rest.last_mut()
            && rest.ahead.as_ref().is_some_and(|(ahead, item)| ahead == key && matches!(item, Item::Entry(_)))
        {
            rest.advance::<R::Error>()?;
        }
        Ok(())
    }

    /// Goes to the next entry of the basis, taking over whole nodes that end before `end` on the way if `keep`; false if there is none.
    fn descend(&mut self, end: Option<&[u8]>, keep: bool) -> Result<bool, R::Error> {
        while let Some(rest) = self.rest.last() {
            let (key, child) = match &rest.ahead {
                Some((_, Item::Entry(_))) => return Ok(true),
                Some((key, Item::Child(child))) => (key, *child),
                None => {
                    self.rest.pop();
                    continue;
                }
            };
            let level = rest.items.node().level();
            let before_end = end.is_none_or(|end| key[..] < *end);
            if (before_end && !keep) || self.reader.is_lost(&child.node) {
                self.rest_mut()?.advance::<R::Error>()?;
            } else if before_end && self.splits_as_before(level, key) {
                let key = key.clone();
                self.rest_mut()?.advance::<R::Error>()?;
                self.builder.push_child(level, key, child);
            } else {
                hint(&self.reader, &rest.items);
                let node = open_child(&self.reader, rest.items.node(), child)?;
                self.rest_mut()?.advance::<R::Error>()?;
                self.rest.push(Rest::new::<R::Error>(Items::start(node))?);
            }
        }
        Ok(false)
    }

    /// Whether the child of the current node of `level` that ends with `key` will be a node of the new tree too.
    fn splits_as_before(&self, level: u8, key: &[u8]) -> bool {
        let is_last = self.rest.iter().rev().enumerate().all(|(above, rest)| {
            if above == 0 { rest.items.next_index() == rest.items.node().len() } else { rest.ahead.is_none() }
        });
        // The last node of a level ends without a boundary, and may have one item only. Below an inner node may be one that is lost.
        !is_last
            && (level == 1 || !self.reader.has_lost())
            && self.builder.is_aligned_below(level)
            && (0..level).all(|below| self.boundaries.ends_after(below, key))
    }

    fn rest_mut(&mut self) -> Result<&mut Rest, R::Error> {
        self.rest.last_mut().ok_or(R::Error::from(Malformed { what: "place in the basis", offset: 0 }))
    }
}
