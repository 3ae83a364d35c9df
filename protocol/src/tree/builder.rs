//! Makes the nodes of a tree from its items in key order, with a few open nodes in memory.

use super::Root;
use super::node::{Child, encode_inner, encode_leaf};
use crate::entry::Entry;
use crate::ids::ObjectId;
use crate::keys::IdKeys;
use crate::limits::{ITEM_WEIGHT, NODE_ITEMS_MAX, NODE_REFS_MAX, NODE_WEIGHT_MAX};
use crate::object::NodeBytes;

/// Says after which keys nodes end.
#[derive(Clone)]
pub struct Boundaries {
    key: [u8; 32],
    /// Bits of one byte of the hash that are zero at a boundary: all of them, but for tests of deep trees.
    mask: u8,
}

impl Boundaries {
    /// The boundaries of an account.
    pub fn new(keys: &IdKeys) -> Self {
        Self { key: keys.boundary, mask: 0xff }
    }

    /// Boundaries so frequent that few items make a deep tree.
    #[cfg(test)]
    pub(super) fn frequent(keys: &IdKeys, mask: u8) -> Self {
        Self { key: keys.boundary, mask }
    }

    /// Whether a node of `level` may end after the item with this key.
    pub fn ends_after(&self, level: u8, key: &[u8]) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[level]).update(key);
        hasher.finalize().as_bytes()[7] & self.mask == 0
    }
}

/// A node that is complete.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its id.
    pub id: ObjectId,
    /// Its bytes.
    pub bytes: NodeBytes,
}

/// An open node of one level.
#[derive(Clone)]
struct Open<T> {
    items: Vec<(Vec<u8>, T)>,
    weight: usize,
    references: usize,
}

impl<T> Open<T> {
    const fn new() -> Self {
        Self { items: Vec::new(), weight: 0, references: 0 }
    }

    /// Whether another item of this weight and number of references would be too much.
    fn is_full_for(&self, weight: usize, references: usize) -> bool {
        !self.items.is_empty()
            && (self.items.len() + 1 > NODE_ITEMS_MAX
                || self.weight + weight > NODE_WEIGHT_MAX
                || self.references + references > NODE_REFS_MAX)
    }

    fn push(&mut self, key: Vec<u8>, value: T, weight: usize, references: usize) {
        self.items.push((key, value));
        self.weight += weight;
        self.references += references;
    }

    fn take(&mut self) -> Vec<(Vec<u8>, T)> {
        self.weight = 0;
        self.references = 0;
        std::mem::take(&mut self.items)
    }
}

/// Builds a tree bottom-up. Nodes leave it children first, through [`TreeBuilder::take_built`].
#[derive(Clone)]
pub struct TreeBuilder {
    keys: IdKeys,
    boundaries: Boundaries,
    leaf: Open<Entry>,
    /// Open nodes of levels 1, 2, …
    inner: Vec<Open<Child>>,
    built: Vec<Built>,
    /// Entries and bytes of the whole tree, once it is complete.
    totals: (u64, u64),
}

impl TreeBuilder {
    /// An empty tree of an account.
    pub fn new(keys: &IdKeys) -> Self {
        Self::with_boundaries(keys, Boundaries::new(keys))
    }

    pub(super) fn with_boundaries(keys: &IdKeys, boundaries: Boundaries) -> Self {
        Self {
            boundaries,
            keys: keys.clone(),
            leaf: Open::new(),
            inner: Vec::new(),
            built: Vec::new(),
            totals: (0, 0),
        }
    }

    /// Appends an entry; its key is greater than all before.
    pub fn push(&mut self, key: Vec<u8>, entry: Entry) {
        let weight = entry.weight(&key);
        let mut references = 0;
        entry.for_each_reference(|_| references += 1);
        if self.leaf.is_full_for(weight, references) {
            self.end_leaf();
        }
        let ends = self.boundaries.ends_after(0, &key);
        self.leaf.push(key, entry, weight, references);
        if ends && self.leaf.items.len() >= 2 {
            self.end_leaf();
        }
    }

    /// Appends a whole node of `level - 1` as it is. Allowed only when [`TreeBuilder::is_aligned_below`] that level and the node
    /// ends at a boundary of all levels below.
    pub(super) fn push_child(&mut self, level: u8, key: Vec<u8>, child: Child) {
        let index = usize::from(level) - 1;
        while self.inner.len() <= index {
            self.inner.push(Open::new());
        }
        let weight = key.len() + ITEM_WEIGHT;
        if self.inner[index].is_full_for(weight, 1) {
            self.end_inner(level);
        }
        let ends = self.boundaries.ends_after(level, &key);
        let open = &mut self.inner[index];
        open.push(key, child, weight, 1);
        if ends && open.items.len() >= 2 {
            self.end_inner(level);
        }
    }

    /// Whether no node of a level below `level` is open.
    pub(super) fn is_aligned_below(&self, level: u8) -> bool {
        level == 0
            || (self.leaf.items.is_empty()
                && self.inner.iter().take(usize::from(level) - 1).all(|open| open.items.is_empty()))
    }

    /// Nodes completed since the last call, children before parents.
    pub fn take_built(&mut self) -> Vec<Built> {
        std::mem::take(&mut self.built)
    }

    /// How many entries the tree has and the sizes of all its files, once it is complete.
    pub fn totals(&self) -> (u64, u64) {
        self.totals
    }

    /// Completes the tree. The last nodes are there to be taken.
    pub fn finish(&mut self) -> Root {
        let nothing_above = self.inner.iter().all(|open| open.items.is_empty());
        if !self.leaf.items.is_empty() || nothing_above {
            let root = self.end_leaf_as_last();
            if nothing_above {
                return root;
            }
        }
        for level in 1.. {
            let index = level - 1;
            let above = self.inner.iter().skip(level).any(|open| !open.items.is_empty());
            let items = self.inner[index].take();
            if items.is_empty() {
                continue;
            }
            if let ([(_, only)], false) = (&items[..], above) {
                // A level of one node is the root.
                self.totals = (only.entries, only.bytes);
                return Root { node: only.node, level: level as u8 - 1 };
            }
            let (key, child) = self.build_inner(level as u8, items);
            if !above {
                self.totals = (child.entries, child.bytes);
                return Root { node: child.node, level: level as u8 };
            }
            self.push_child(level as u8 + 1, key, child);
        }
        unreachable!("the top level has items until the root is returned")
    }

    fn end_leaf_as_last(&mut self) -> Root {
        let items = self.leaf.take();
        let (key, child) = self.build_leaf(&items);
        self.totals = (child.entries, child.bytes);
        let root = Root { node: child.node, level: 0 };
        if let Some(key) = key
            && self.inner.iter().any(|open| !open.items.is_empty())
        {
            self.push_child(1, key, child);
        }
        root
    }

    fn end_leaf(&mut self) {
        let items = self.leaf.take();
        let (key, child) = self.build_leaf(&items);
        if let Some(key) = key {
            self.push_child(1, key, child);
        }
    }

    fn end_inner(&mut self, level: u8) {
        let items = self.inner[usize::from(level) - 1].take();
        let (key, child) = self.build_inner(level, items);
        self.push_child(level + 1, key, child);
    }

    fn build_leaf(&mut self, items: &[(Vec<u8>, Entry)]) -> (Option<Vec<u8>>, Child) {
        let bytes = encode_leaf(items);
        let files = items.iter().filter(|(_, entry)| entry.kind.has_content());
        let child = Child {
            node: bytes.id(&self.keys),
            entries: items.len() as u64,
            bytes: files.fold(0, |sum, (_, entry)| sum.saturating_add(entry.size)),
        };
        self.built.push(Built { id: child.node, bytes });
        (items.last().map(|(key, _)| key.clone()), child)
    }

    fn build_inner(&mut self, level: u8, mut items: Vec<(Vec<u8>, Child)>) -> (Vec<u8>, Child) {
        let bytes = encode_inner(level, &items);
        let child = Child {
            node: bytes.id(&self.keys),
            entries: items.iter().fold(0, |sum, (_, child)| sum.saturating_add(child.entries)),
            bytes: items.iter().fold(0, |sum, (_, child)| sum.saturating_add(child.bytes)),
        };
        self.built.push(Built { id: child.node, bytes });
        let last = items.pop().map(|(key, _)| key).unwrap_or_default();
        (last, child)
    }
}
