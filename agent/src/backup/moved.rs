//! Directories that were renamed: where the basis has what is in them.
//!
//! A directory is known again by its mount, its inode and the moment it was made. When it is somewhere else than in the basis and gone from
//! there, what is in it is compared with what the basis has at the old place, file by file and as strictly as ever, and what is
//! unchanged is neither read nor sent. So a wrong guess costs nothing but time.
//!
//! Nothing is kept between runs. The basis is searched only when a directory turns up that is older than the basis and not in it, which
//! new ones are not; then all its directories are remembered by a hash, with their place in the tree.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use backstore_platform::paths::to_native;
use backstore_platform::walk::{Directory, Stat};
use backstore_protocol::entry::{Entry, Kind, Time};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::path::{ArchivePath, child_key, key_name};
use backstore_protocol::tree::{Cursor, Items, NodeReader, Root};
use backstore_vfs::objects::ReadError;

use super::basis::{Basis, BasisNodes, absent_if_lost};

/// What is known of renamed directories.
pub(super) struct Moved {
    nodes: BasisNodes,
    basis: Option<(Root, Time)>,
    index: Option<Index>,
    /// New place, joined, and the old one, of directories whose content has not been passed yet.
    renamed: BTreeMap<Vec<u8>, ArchivePath>,
}

/// What the basis has in the old place of a directory, in order of names.
pub(super) struct OldFiles {
    cursor: Cursor<BasisNodes>,
    nodes: BasisNodes,
    prefix: Vec<u8>,
    ahead: Option<(Box<[u8]>, Entry)>,
}

/// Where the directories of a basis are, by the hash of what they are known by.
struct Index {
    leaves: Vec<ObjectId>,
    /// Hash, number of the leaf, position in it; sorted.
    places: Vec<(u64, u32, u32)>,
}

/// Directories remembered, 16 bytes each; of those beyond, renamed ones are read again.
const DIRECTORIES_MAX: usize = 1 << 19;
/// Renamed directories still to come; likewise.
const RENAMED_MAX: usize = 4096;

/// What a directory is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    mount: u32,
    inode: u64,
    made: Time,
}

impl Moved {
    pub(super) fn new(nodes: BasisNodes, basis: Option<&Basis>) -> Self {
        let basis = basis.map(|basis| {
            let finished = basis.header.finished_at;
            let nanoseconds = (finished.rem_euclid(1000) * 1_000_000) as u32;
            (basis.header.root, Time { seconds: finished.div_euclid(1000), nanoseconds })
        });
        Self { nodes, basis, index: None, renamed: BTreeMap::new() }
    }

    /// A directory is not what the basis has at its path, if that has anything: looks where it was.
    pub(super) fn look_for(
        &mut self,
        path: &ArchivePath,
        parent: &Directory,
        stat: &Stat,
        mount: u32,
    ) -> Result<(), ReadError> {
        let Some((root, basis_finished)) = self.basis else { return Ok(()) };
        if stat.inode == 0 || self.renamed.len() >= RENAMED_MAX {
            return Ok(());
        }
        let made =
            parent.full_stat(path.name()).ok().filter(|found| found.basic.identity() == stat.identity());
        // A directory that was made since then cannot be in the basis.
        let Some(made) = made.and_then(|found| found.btime).filter(|made| *made <= basis_finished) else {
            return Ok(());
        };
        let identity = Identity { mount, inode: stat.inode, made };
        if self.index.is_none() {
            self.index = Some(Index::of(&self.nodes, root)?);
        }
        let Some(index) = &self.index else { return Ok(()) };
        if let Some(old) = index.find(&identity, &self.nodes)?
            && old != *path
            && !is_there(&old, stat)
        {
            self.renamed.insert(path.joined().to_vec(), old);
        }
        Ok(())
    }

    /// What the basis has in the old place of this directory, from the file `first` on; nothing if it was not moved. Called in the order of paths.
    pub(super) fn files_of(
        &mut self,
        path: &ArchivePath,
        first: &[u8],
    ) -> Result<Option<OldFiles>, ReadError> {
        let joined = path.joined();
        while let Some((new, _)) = self.renamed.first_key_value() {
            let is_passed = &new[..] < joined && !is_below(joined, new);
            if !is_passed {
                break;
            }
            self.renamed.pop_first();
        }
        let (Some((root, _)), Some(old)) = (self.basis, self.old_path(joined)) else { return Ok(None) };
        OldFiles::new(&self.nodes, root, &old, first)
    }

    /// Where a directory was: in the nearest renamed directory above it, or that itself.
    fn old_path(&self, joined: &[u8]) -> Option<ArchivePath> {
        if self.renamed.is_empty() {
            return None;
        }
        let ends = (1..=joined.len()).rev().filter(|end| joined.get(*end).is_none_or(|byte| *byte == 0));
        ends.map(|end| joined.split_at(end)).find_map(|(above, rest)| {
            let old = self.renamed.get(above)?;
            ArchivePath::from_joined(&[old.joined(), rest].concat()).ok()
        })
    }
}

/// Whether `joined` is the path `above` or lies below it.
fn is_below(joined: &[u8], above: &[u8]) -> bool {
    joined.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == 0)
}

/// Whether the same directory is still there: then it has not moved, but is seen twice, as with a bind mount.
fn is_there(path: &ArchivePath, stat: &Stat) -> bool {
    let found = || {
        let parent = Directory::open(&to_native(&path.parent()?).ok()?).ok()?;
        parent.stat(path.name()).ok()
    };
    found().is_some_and(|found| found.identity() == stat.identity())
}

impl OldFiles {
    fn new(
        nodes: &BasisNodes,
        root: Root,
        path: &ArchivePath,
        first: &[u8],
    ) -> Result<Option<Self>, ReadError> {
        let key = child_key(path.joined(), first);
        let cursor = absent_if_lost(nodes, Cursor::seek(nodes.clone(), root, &key))?;
        let prefix = path.children_prefix();
        Ok(cursor.map(|cursor| Self { cursor, nodes: nodes.clone(), prefix, ahead: None }))
    }

    /// What it has under this name; names increase from call to call.
    pub(super) fn take(&mut self, name: &[u8]) -> Result<Option<Entry>, ReadError> {
        loop {
            match self.ahead.take() {
                Some((ahead, entry)) if *ahead == *name => return Ok(Some(entry)),
                Some((ahead, entry)) if *ahead > *name => {
                    self.ahead = Some((ahead, entry));
                    return Ok(None);
                }
                Some(_) | None => {}
            }
            // A node that is lost is stepped over.
            let Some(next) = absent_if_lost(&self.nodes, self.cursor.next_entry())? else { continue };
            let Some(entry) = next.filter(|_| self.cursor.key().starts_with(&self.prefix)) else {
                return Ok(None);
            };
            self.ahead = Some((key_name(self.cursor.key()).into(), entry));
        }
    }
}

impl Index {
    fn of(nodes: &BasisNodes, root: Root) -> Result<Self, ReadError> {
        let mut index = Self { leaves: Vec::new(), places: Vec::new() };
        let Some(mut cursor) = absent_if_lost(nodes, Cursor::start(nodes.clone(), root))? else {
            return Ok(index);
        };
        while index.places.len() < DIRECTORIES_MAX {
            match absent_if_lost(nodes, cursor.next_entry())? {
                None => {}
                Some(None) => break,
                Some(Some(entry)) => {
                    if let Some(identity) = identity_of(&entry) {
                        let (leaf, position) = cursor.place();
                        if index.leaves.last() != Some(&leaf) {
                            index.leaves.push(leaf);
                        }
                        index.places.push((hash(&identity), index.leaves.len() as u32 - 1, position as u32));
                    }
                }
            }
        }
        index.places.sort_unstable();
        Ok(index)
    }

    fn find(&self, identity: &Identity, nodes: &BasisNodes) -> Result<Option<ArchivePath>, ReadError> {
        let wanted = hash(identity);
        let start = self.places.partition_point(|(hash, _, _)| *hash < wanted);
        for (_, leaf, position) in self.places[start..].iter().take_while(|(hash, _, _)| *hash == wanted) {
            let Some(id) = self.leaves.get(*leaf as usize) else { continue };
            let Some(node) = absent_if_lost(nodes, nodes.node(id))? else { continue };
            let mut items = Items::at(node, *position as usize)?;
            let entry = items.read_entry()?;
            if entry.and_then(|entry| identity_of(&entry)).as_ref() == Some(identity) {
                return Ok(Some(ArchivePath::from_key(items.key())?));
            }
        }
        Ok(None)
    }
}

fn identity_of(entry: &Entry) -> Option<Identity> {
    let made = entry.btime.filter(|_| entry.kind == Kind::Directory && entry.inode != 0)?;
    Some(Identity { mount: entry.mount, inode: entry.inode, made })
}

fn hash(identity: &Identity) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Lost;
    use super::*;
    use crate::testing::Computer;

    /// A number that a new directory has taken over, the same number on another mount or computer: neither is the old directory.
    #[test]
    fn a_directory_is_known_by_mount_inode_and_birth_together() {
        let computer = Computer::new();
        std::fs::create_dir_all(computer.path("source/a/b")).unwrap();
        computer.back_up();
        let basis = computer.newest();
        let archive = computer.archive();
        let nodes = BasisNodes { reader: Arc::clone(&archive.reader), lost: Arc::new(Lost::default()) };
        let index = Index::of(&nodes, basis.header.root).unwrap();
        let path =
            backstore_platform::paths::to_archive(&computer.path("source/a/b").canonicalize().unwrap());
        let path = path.unwrap();
        let entry = backstore_protocol::tree::lookup(nodes.clone(), basis.header.root, &path.key());
        let known =
            identity_of(&entry.unwrap().unwrap()).expect("this file system knows when files were made");
        let find = |identity: Identity| index.find(&identity, &nodes).unwrap();
        assert_eq!(find(known), Some(path));
        assert_eq!(find(Identity { inode: known.inode + 1, ..known }), None);
        assert_eq!(find(Identity { mount: known.mount + 1, ..known }), None);
        let later = Time { nanoseconds: (known.made.nanoseconds + 1) % 1_000_000_000, ..known.made };
        assert_eq!(find(Identity { made: later, ..known }), None);
    }

    #[test]
    fn paths_are_below_whole_names_only() {
        assert!(is_below(b"/\0a\0b", b"/\0a") && is_below(b"/\0a", b"/\0a"));
        assert!(!is_below(b"/\0ab", b"/\0a") && !is_below(b"/", b"/\0a"));
    }
}
