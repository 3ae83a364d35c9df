//! Reads a tree in key order, from any key on.

use std::sync::Arc;

use super::node::{Child, Items, Node};
use super::{NodeReader, Root};
use crate::codec::Malformed;
use crate::entry::Entry;
use crate::ids::ObjectId;
use crate::limits::TREE_DEPTH_MAX;

/// A place in a tree, before some entry.
pub struct Cursor<R> {
    reader: R,
    /// From the root down; the last is a leaf unless the cursor stands before a child not yet opened.
    path: Vec<Items>,
    /// The node opened last: the leaf of the entry read last.
    leaf: ObjectId,
}

impl<R: NodeReader> Cursor<R> {
    /// Before the first entry.
    pub fn start(reader: R, root: Root) -> Result<Self, R::Error> {
        let node = open(&reader, root)?;
        Ok(Self { reader, path: vec![Items::start(node)], leaf: root.node })
    }

    /// Before the first entry whose key is at least `key`.
    pub fn seek(reader: R, root: Root, key: &[u8]) -> Result<Self, R::Error> {
        let mut node = open(&reader, root)?;
        let mut leaf = root.node;
        let mut path = Vec::new();
        loop {
            let mut items = Items::seek(Arc::clone(&node), key)?;
            if node.level() == 0 {
                path.push(items);
                return Ok(Self { reader, path, leaf });
            }
            // The first child whose last key is not before `key` holds the place; if there is none, the end is it.
            let child = items.read_child()?;
            path.push(items);
            match child {
                None => return Ok(Self { reader, path, leaf }),
                Some(child) => {
                    node = open_child(&reader, &node, child)?;
                    leaf = child.node;
                }
            }
        }
    }

    /// The next entry; its key is then in [`Cursor::key`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, R::Error> {
        while let Some(items) = self.path.last_mut() {
            if items.node().level() == 0 {
                if let Some(entry) = items.read_entry()? {
                    return Ok(Some(entry));
                }
            } else if let Some(child) = items.read_child()? {
                hint(&self.reader, items);
                let node = open_child(&self.reader, items.node(), child)?;
                self.leaf = child.node;
                self.path.push(Items::start(node));
                continue;
            }
            if self.path.len() == 1 {
                return Ok(None);
            }
            self.path.pop();
        }
        Ok(None)
    }

    /// Key of the entry read last.
    pub fn key(&self) -> &[u8] {
        self.path.last().map_or(&[], Items::key)
    }

    /// The leaf that holds the entry read last, and the entry's index in it: where [`Items::at`] finds it again.
    pub fn place(&self) -> (ObjectId, usize) {
        (self.leaf, self.path.last().map_or(0, |items| items.next_index().saturating_sub(1)))
    }

    /// Tells the reader which leaves come after the one the cursor stands in.
    pub fn hint(&self) {
        if let Some(parent) = self.path.len().checked_sub(2).and_then(|at| self.path.get(at)) {
            soon_after(&self.reader, parent);
        }
    }
}

/// The entry with exactly this key.
pub fn lookup<R: NodeReader>(reader: R, root: Root, key: &[u8]) -> Result<Option<Entry>, R::Error> {
    let mut cursor = Cursor::seek(reader, root, key)?;
    let found = cursor.next_entry()?;
    Ok(found.filter(|_| cursor.key() == key))
}

/// Children that a reader is told of before they are needed.
const AHEAD: usize = 8;

/// Tells the reader which children come next, when a few of those told before are used up.
pub(super) fn hint<R: NodeReader>(reader: &R, items: &Items) {
    if items.next_index() % (AHEAD / 2) == 1 {
        soon_after(reader, items);
    }
}

fn soon_after<R: NodeReader>(reader: &R, items: &Items) {
    let mut items = items.clone();
    let mut ids = Vec::with_capacity(AHEAD);
    while ids.len() < AHEAD
        && let Ok(Some(child)) = items.read_child()
    {
        ids.push(child.node);
    }
    if !ids.is_empty() {
        reader.soon(&ids);
    }
}

pub(super) fn open<R: NodeReader>(reader: &R, root: Root) -> Result<Arc<Node>, R::Error> {
    let node = reader.node(&root.node)?;
    if node.level() == root.level && usize::from(root.level) < TREE_DEPTH_MAX {
        Ok(node)
    } else {
        Err(Malformed { what: "level of the root", offset: 0 }.into())
    }
}

/// Opens a child, which must be of the level right below: a node that lies about its level cannot make a loop.
pub(super) fn open_child<R: NodeReader>(
    reader: &R,
    parent: &Node,
    child: Child,
) -> Result<Arc<Node>, R::Error> {
    let node = reader.node(&child.node)?;
    if node.level() + 1 == parent.level() && !node.is_empty() {
        Ok(node)
    } else {
        Err(Malformed { what: "level of a child", offset: 0 }.into())
    }
}
