//! A snapshot's tree: an ordered map from path to entry, whose shape depends on its content alone.
//!
//! PROTOCOL.md section 3 is the specification. [`TreeEditor`] makes trees, from nothing or from a basis; [`Cursor`] reads them;
//! [`Diff`] compares two and looks only at what differs. None of them does I/O: nodes come from a [`NodeReader`] and go to
//! whoever drains the editor.

mod builder;
mod cursor;
mod diff;
mod editor;
mod entry_codec;
mod node;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use builder::{Boundaries, Built, TreeBuilder};
pub use cursor::{Cursor, lookup};
pub use diff::{Diff, Difference};
pub use editor::TreeEditor;
pub use node::{Child, Item, Items, Node, encode_inner, encode_leaf};

use crate::codec::Malformed;
use crate::ids::ObjectId;

/// Where nodes come from: a cache over a source, or a map in tests.
pub trait NodeReader {
    /// Why a node could not be had.
    type Error: From<Malformed>;

    /// The tree node with this id.
    fn node(&self, id: &ObjectId) -> Result<Arc<Node>, Self::Error>;

    /// Whether any node of the tree is known to be lost.
    fn has_lost(&self) -> bool {
        false
    }

    /// Whether this node is known to be lost. An editor leaves it and all below it out, so that whoever still has the files puts them again.
    fn is_lost(&self, _id: &ObjectId) -> bool {
        false
    }

    /// A hint that these nodes are likely to be asked for soon, in this order.
    fn soon(&self, _ids: &[ObjectId]) {}
}

impl<R: NodeReader + ?Sized> NodeReader for &R {
    type Error = R::Error;

    fn node(&self, id: &ObjectId) -> Result<Arc<Node>, Self::Error> {
        (**self).node(id)
    }

    fn has_lost(&self) -> bool {
        (**self).has_lost()
    }

    fn is_lost(&self, id: &ObjectId) -> bool {
        (**self).is_lost(id)
    }

    fn soon(&self, ids: &[ObjectId]) {
        (**self).soon(ids);
    }
}

/// The root of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Root {
    /// The root node.
    pub node: ObjectId,
    /// Its level.
    pub level: u8,
}
