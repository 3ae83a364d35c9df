//! One snapshot's tree as a library sees it: no mount, no inodes, no versions.
//!
//! Restore, `ls`, `find`, `diff` and verify are made of [`View::resolve`], [`View::children`] and [`View::walk`] here, and of
//! `stream` for the contents.

use std::sync::Arc;

use backstore_protocol::entry::Entry;
use backstore_protocol::path::{ArchivePath, check_name, prefix_end};
use backstore_protocol::tree::{Cursor, Diff, Root, lookup};

use crate::content::ContentReader;
use crate::objects::{Nodes, ObjectReader, ReadError, Wait};

/// A snapshot's tree.
#[derive(Clone)]
pub struct View {
    reader: Arc<ObjectReader>,
    root: Root,
}

/// A name in a directory and what it stands for.
pub type Child = (Vec<u8>, Entry);

impl View {
    /// The tree below `root`.
    pub const fn new(reader: Arc<ObjectReader>, root: Root) -> Self {
        Self { reader, root }
    }

    /// What reads its objects.
    pub const fn reader(&self) -> &Arc<ObjectReader> {
        &self.reader
    }

    /// The entry of `path`, if there is one.
    pub fn resolve(&self, path: &ArchivePath) -> Result<Option<Entry>, ReadError> {
        lookup(self.nodes(), self.root, &path.key())
    }

    /// Reads one file of it.
    pub fn file(&self, entry: &Entry) -> ContentReader {
        ContentReader::new(&self.reader, entry)
    }

    /// The roots it has: `/`, or drives and shares.
    pub fn roots(&self) -> Result<Children, ReadError> {
        Children::within(self, vec![0])
    }

    /// What is in the directory `path`, in the byte order of names.
    pub fn children(&self, path: &ArchivePath) -> Result<Children, ReadError> {
        Children::within(self, path.children_prefix())
    }

    /// `path` and everything below it, in key order: all of a directory's entries, then what lies below each of them.
    pub fn walk(&self, path: &ArchivePath) -> Result<Walk, ReadError> {
        let first = self.resolve(path)?.map(|entry| (path.clone(), entry));
        let prefix = path.subtree_prefix();
        let cursor = Cursor::seek(self.nodes(), self.root, &prefix)?;
        cursor.hint();
        Ok(Walk { first, cursor: Some(cursor), end: Some(prefix_end(&prefix)) })
    }

    /// Every entry there is, in key order.
    pub fn walk_all(&self) -> Result<Walk, ReadError> {
        Ok(Walk { first: None, cursor: Some(Cursor::start(self.nodes(), self.root)?), end: None })
    }

    /// What differs from this tree to `newer`, in key order. Equal parts are not read.
    pub fn diff(&self, newer: &Self) -> Result<Diff<Nodes>, ReadError> {
        Diff::new(self.nodes(), self.root, newer.root)
    }

    fn nodes(&self) -> Nodes {
        self.reader.nodes(Wait::UntilDeadline)
    }
}

/// Walks the entries of one directory.
pub struct Children {
    cursor: Option<Cursor<Nodes>>,
    prefix: Vec<u8>,
}

impl Children {
    fn within(view: &View, prefix: Vec<u8>) -> Result<Self, ReadError> {
        let cursor = Cursor::seek(view.nodes(), view.root, &prefix)?;
        cursor.hint();
        Ok(Self { cursor: Some(cursor), prefix })
    }

    fn advance(&mut self) -> Result<Option<Child>, ReadError> {
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        let Some(entry) = cursor.next_entry()? else { return Ok(None) };
        match cursor.key().strip_prefix(&self.prefix[..]) {
            None => Ok(None),
            Some(name) if self.prefix == [0] => Ok(Some((ArchivePath::root(name)?.name().to_vec(), entry))),
            Some(name) => {
                check_name(name)?;
                Ok(Some((name.to_vec(), entry)))
            }
        }
    }
}

/// After an error there is nothing more.
impl Iterator for Children {
    type Item = Result<Child, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let child = self.advance().transpose();
        if !matches!(child, Some(Ok(_))) {
            self.cursor = None;
        }
        child
    }
}

/// Walks entries in key order.
pub struct Walk {
    first: Option<(ArchivePath, Entry)>,
    cursor: Option<Cursor<Nodes>>,
    end: Option<Vec<u8>>,
}

impl Walk {
    fn advance(&mut self) -> Result<Option<(ArchivePath, Entry)>, ReadError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        let Some(entry) = cursor.next_entry()? else { return Ok(None) };
        if self.end.as_ref().is_some_and(|end| cursor.key() >= &end[..]) {
            return Ok(None);
        }
        Ok(Some((ArchivePath::from_key(cursor.key())?, entry)))
    }
}

/// A node that cannot be had is one error, and the walk goes on after it. A node that does not keep to the format ends the walk.
impl Iterator for Walk {
    type Item = Result<(ArchivePath, Entry), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if matches!(item, None | Some(Err(ReadError::Malformed(_)))) {
            self.cursor = None;
        }
        item
    }
}

#[cfg(test)]
mod tests;
