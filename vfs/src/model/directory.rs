//! Directories of a version: finding a name and listing, without ever loading one whole.
//!
//! The children of a directory are one range of keys. A listing that goes on from where it stopped seeks to the key after the
//! last one; marks on the way make going back cheap.

use std::sync::Arc;

use backstore_protocol::entry::Entry;
use backstore_protocol::ids::ObjectId;
use backstore_protocol::path::{ArchivePath, check_name, child_key};
use backstore_protocol::tree::{Cursor, Root, lookup};

use super::Problem;
use super::inode::Place;
use super::paths::{UNIX_ROOT, above};
use super::version::NamedVersion;
use crate::objects::{Nodes, ObjectReader, ReadError, Wait};

/// A directory in a version: its path as keys are made of it; of the version's own directory, empty.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) version: Arc<NamedVersion>,
    pub(super) path: Arc<[u8]>,
}

/// An entry and where it is.
pub(super) struct Found {
    pub(super) key: Vec<u8>,
    pub(super) entry: Entry,
    pub(super) place: Place,
}

impl Directory {
    /// The entry of `name` in this directory.
    pub(super) fn find(
        &self,
        reader: &Arc<ObjectReader>,
        name: &[u8],
        wait: Wait,
    ) -> Result<Option<Found>, ReadError> {
        if !self.path.is_empty() {
            return self.point(reader, child_of(&self.path, name), wait);
        }
        if let Some(found) = self.point(reader, child_of(UNIX_ROOT, name), wait)? {
            return Ok(Some(found));
        }
        let is_root = name != UNIX_ROOT && ArchivePath::root(name).is_ok();
        self.point(reader, is_root.then(|| child_key(&[], name)), wait)
    }

    fn point(
        &self,
        reader: &Arc<ObjectReader>,
        key: Option<Vec<u8>>,
        wait: Wait,
    ) -> Result<Option<Found>, ReadError> {
        let Some(key) = key else { return Ok(None) };
        let mut cursor = Cursor::seek(reader.nodes(wait), self.version.version.root, &key)?;
        let Some(entry) = cursor.next_entry()?.filter(|_| cursor.key() == key) else { return Ok(None) };
        let (leaf, index) = cursor.place();
        Ok(Some(Found { key, entry, place: Place::Leaf(Arc::new(leaf), index as u16) }))
    }

    /// The path that keys of its children are made of.
    pub(super) fn key_path(&self) -> &[u8] {
        if self.path.is_empty() { UNIX_ROOT } else { &self.path }
    }

    /// A key before those of all its children and after all before them.
    pub(super) fn first_key(&self) -> Vec<u8> {
        [self.key_path(), &[0, 0]].concat()
    }

    /// The path of an entry of this directory, from its key.
    pub(super) fn path_of(key: &[u8]) -> Vec<u8> {
        ArchivePath::from_key(key).map(|path| path.joined().to_vec()).unwrap_or_default()
    }

    /// The path of the directory above; of a version's own directory and what is right below it, empty.
    pub(super) fn parent_path(&self) -> &[u8] {
        above(&self.path)
    }
}

/// The key of `name`, if a file can be called so there.
fn child_of(parent: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let key = child_key(parent, name);
    let fits = check_name(name).is_ok() && key.len() <= backstore_protocol::limits::KEY_BYTES_MAX;
    fits.then_some(key)
}

/// Walks the entries of a directory in the order in which they are listed.
pub(super) struct Entries {
    nodes: Nodes,
    root: Root,
    cursor: Cursor<Nodes>,
    prefix: Vec<u8>,
    /// The version's own directory: after the children of `/` come the other roots.
    is_top: bool,
    leaf: Arc<ObjectId>,
}

impl Entries {
    /// The entries of `directory` after the one with key `after`, or all.
    pub(super) fn open(
        reader: &Arc<ObjectReader>,
        directory: &Directory,
        after: Option<&[u8]>,
        wait: Wait,
    ) -> Result<Self, ReadError> {
        let is_top = directory.path.is_empty();
        let prefix = match after {
            Some([0, ..]) => ROOTS.to_vec(),
            _ => directory.first_key(),
        };
        // The first key after another is that with a zero byte more.
        let from = after.map_or_else(|| prefix.clone(), |after| [after, &[0]].concat());
        let (nodes, root) = (reader.nodes(wait), directory.version.version.root);
        let cursor = Cursor::seek(nodes.clone(), root, &from)?;
        Ok(Self { nodes, root, cursor, prefix, is_top, leaf: Arc::new(ObjectId::ZERO) })
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Problem> {
        loop {
            let entry = self.cursor.next_entry()?;
            let name = self.cursor.key().strip_prefix(&self.prefix[..]);
            let (Some(entry), Some(name)) = (entry, name) else {
                if self.is_top && self.prefix != ROOTS {
                    self.prefix = ROOTS.to_vec();
                    self.cursor = Cursor::seek(self.nodes.clone(), self.root, ROOTS)?;
                    continue;
                }
                return Ok(None);
            };
            if self.prefix == ROOTS {
                ArchivePath::root(name)?;
                if name == UNIX_ROOT || self.is_hidden(name)? {
                    continue;
                }
            } else {
                check_name(name)?;
            }
            let (leaf, index) = self.cursor.place();
            if *self.leaf != leaf {
                self.leaf = Arc::new(leaf);
            }
            let place = Place::Leaf(Arc::clone(&self.leaf), index as u16);
            return Ok(Some(Found { key: self.cursor.key().to_vec(), entry, place }));
        }
    }

    /// Whether a child of `/` has the name of this root.
    fn is_hidden(&self, name: &[u8]) -> Result<bool, ReadError> {
        let Some(key) = child_of(UNIX_ROOT, name) else { return Ok(false) };
        Ok(lookup(self.nodes.clone(), self.root, &key)?.is_some())
    }
}

const ROOTS: &[u8] = &[0];

/// The name at the end of an entry's key.
pub(super) fn name_of(key: &[u8]) -> &[u8] {
    backstore_protocol::path::key_name(key)
}
