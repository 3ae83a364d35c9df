//! Tree nodes that will be needed soon: the leaves that come next, when directories are being listed in the order of the tree.
//!
//! Who walks a tree (`find`, `ls -R`, `cp -r`) lists directories in the order of their keys, or nearly so. A first listing has a few
//! leaves fetched. Each time listings have come past the middle of what was fetched, that guess is confirmed, and several times
//! as many are fetched, in one call; a listing elsewhere begins again with a few. So a walk of a whole tree takes few round
//! trips and does not wait for them, and who only looks around fetches little that is not needed.

use std::collections::VecDeque;
use std::sync::Mutex;

use backstore_protocol::codec::Malformed;
use backstore_protocol::ids::ObjectId;
use backstore_protocol::tree::{Items, Root};

use crate::objects::{ObjectReader, ReadError, Wait, Want};
use crate::sync::lock;

/// Leaves that are fetched because of a first listing.
const LEAVES_MIN: usize = 8;
/// Leaves of any window. In memory they are some megabytes.
const LEAVES_MAX: usize = 256;
/// How much wider each confirmed window is than the one before.
const GROWTH: usize = 4;
/// Walks that are followed at a time.
const WALKS_MAX: usize = 8;

/// Follows walks through trees.
#[derive(Default)]
pub(super) struct Ahead {
    /// The one that went on last is the last.
    walks: Mutex<VecDeque<Window>>,
}

/// What was fetched for one walk.
struct Window {
    root: ObjectId,
    /// The keys it covers.
    from: Vec<u8>,
    to: Vec<u8>,
    /// A listing beyond this key confirms it.
    middle: Vec<u8>,
    leaves: usize,
}

/// A leaf and its last key.
type Leaf = (Vec<u8>, ObjectId);

impl Ahead {
    /// A listing begins, or goes on, at `key`: has fetched what comes after it, unless that has been done.
    pub(super) fn listed(&self, reader: &ObjectReader, root: Root, key: &[u8]) {
        let Some(count) = self.due(root, key) else { return };
        let leaves = leaves_from(reader, root, key, count.min(reader.nodes_ahead_max()));
        // The leaf with the key itself comes first; somebody needs it right now.
        let ahead = leaves.iter().skip(1).map(|(_, id)| Want::Tree(*id));
        if let (Some((middle, _)), Some((to, _))) = (leaves.get(leaves.len() / 2), leaves.last())
            && reader.prefetch(ahead)
        {
            let (from, to, middle) = (key.to_vec(), to.clone(), middle.clone());
            self.note(Window { root: root.node, from, to, middle, leaves: count });
        }
    }

    /// How many leaves are to be fetched now.
    fn due(&self, root: Root, key: &[u8]) -> Option<usize> {
        let walks = lock(&self.walks);
        match walks.iter().rev().find(|window| window.covers(root, key)) {
            None => Some(LEAVES_MIN),
            Some(window) if *key > window.middle[..] => Some((GROWTH * window.leaves).min(LEAVES_MAX)),
            Some(_) => None,
        }
    }

    fn note(&self, newer: Window) {
        let mut walks = lock(&self.walks);
        // It goes on with those that it begins in.
        walks.retain(|window| window.root != newer.root || !window.contains(&newer.from));
        if walks.len() >= WALKS_MAX {
            walks.pop_front();
        }
        walks.push_back(newer);
    }
}

impl Window {
    fn covers(&self, root: Root, key: &[u8]) -> bool {
        self.root == root.node && self.contains(key)
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.from[..] <= *key && *key <= self.to[..]
    }
}

/// Up to `count` leaves from the one with `key` on, as far as the nodes above them are in memory.
fn leaves_from(reader: &ObjectReader, root: Root, key: &[u8], count: usize) -> Vec<Leaf> {
    let (mut leaves, mut from) = (Vec::new(), key.to_vec());
    while leaves.len() < count {
        let before = leaves.len();
        // What cannot be read here is reported to whoever needs it.
        if add_leaves(reader, root, &from, count, &mut leaves).is_err() || leaves.len() == before {
            break;
        }
        // The first key after another is that with a zero byte more.
        from = leaves.last().map(|(last, _)| [&last[..], &[0]].concat()).unwrap_or_default();
    }
    leaves
}

/// Adds the leaves below one node of level 1.
fn add_leaves(
    reader: &ObjectReader,
    root: Root,
    from: &[u8],
    count: usize,
    leaves: &mut Vec<Leaf>,
) -> Result<(), ReadError> {
    let mut node = reader.tree_node(&root.node, Wait::Not)?;
    while node.level() > 1 {
        let Some(child) = Items::seek(node.clone(), from)?.read_child()? else { return Ok(()) };
        let below = reader.tree_node(&child.node, Wait::Not)?;
        if below.level() + 1 != node.level() {
            return Err(Malformed { what: "level of a child", offset: 0 }.into());
        }
        node = below;
    }
    if node.level() == 1 {
        let mut items = Items::seek(node, from)?;
        while leaves.len() < count
            && let Some(child) = items.read_child()?
        {
            leaves.push((items.key().to_vec(), child.node));
        }
    }
    Ok(())
}
