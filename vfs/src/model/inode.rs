//! Inode numbers, and what each stands for: SEMANTICS.md section 4.
//!
//! A number is a hash of what it stands for, so it is the same after mounting again, and unchanged files have one number in all
//! versions. The table holds only what the system still refers to, in about 100 bytes each: the leaf and the index in it, from which the entry is
//! read again when it is needed.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, LazyLock, Mutex};

use backstore_protocol::entry::{Content, Entry, Extent, Principal, PrincipalId, Time};
use backstore_protocol::ids::{ObjectId, SnapshotId};
use backstore_protocol::keys::derive;
use bytes::Bytes;

use super::folder::Folder;
use super::version::NamedVersion;
use super::views::View;
use crate::sync::lock;

/// Number of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The folder itself.
    pub const ROOT: Self = Self(1);
}

/// Numbers below this are not drawn.
const RESERVED: u64 = 1024;
/// Set in the numbers of directories only.
const DIRECTORY_BIT: u64 = 1 << 62;
const NUMBER_BITS: u32 = 62;

/// Where an entry is found again.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In a leaf, which is shared by all that were found in it.
    Leaf(Arc<ObjectId>, u16),
    /// By its key: nobody has looked at the version's tree yet.
    Key(Arc<Vec<u8>>),
}

/// What an inode stands for.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A version's directory.
    Version(Arc<NamedVersion>),
    /// A directory in a version, with its path as keys are made of it.
    Directory { version: Arc<NamedVersion>, path: Arc<[u8]>, place: Place },
    /// Anything else in a version.
    File { version: Arc<NamedVersion>, place: Place },
    /// A made-up directory in the folder of a set.
    View(Arc<Folder>, View),
    /// A made-up link.
    Link { target: Bytes, time: Time },
    /// A made-up file.
    Text { bytes: Bytes, time: Time },
}

impl Node {
    /// The version it was found in.
    fn version(&self) -> Option<&NamedVersion> {
        match self {
            Self::Version(version) | Self::Directory { version, .. } | Self::File { version, .. } => {
                Some(version)
            }
            Self::View(..) | Self::Link { .. } | Self::Text { .. } => None,
        }
    }
}

static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| derive("inode", b""));

/// 128 bits of a hash of what an inode stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    number: u64,
    check: u64,
    is_directory: bool,
}

impl Identity {
    fn of(tag: u8, is_directory: bool, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&KEY);
        hasher.update(&[tag]);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let hash = hasher.finalize();
        let (number, rest) = hash.as_bytes().split_at(8);
        let number_of =
            |bytes: &[u8]| bytes.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte));
        Self { number: number_of(number), check: number_of(rest), is_directory }
    }

    /// That of a made-up link; `place` is what it is in.
    pub(super) fn link(place: &[u8], name: &[u8], target: &[u8]) -> Self {
        Self::of(b'l', false, &[place, name, target])
    }

    /// That of a made-up directory other than the mount's own.
    pub(super) fn view(place: &[u8]) -> Self {
        Self::of(b'v', true, &[place])
    }

    /// That of a made-up file; `place` is what it is in. With another content it is another file.
    pub(super) fn text(place: &[u8], name: &[u8], bytes: &[u8]) -> Self {
        Self::of(b't', false, &[place, name, bytes])
    }

    /// That of a directory of a version; the path of the version's own directory is empty.
    pub(super) fn directory(version: &SnapshotId, path: &[u8]) -> Self {
        Self::of(b'd', true, &[version.as_bytes(), path])
    }

    /// That of anything else: the same in every version in which path, metadata and content are the same. Hard links have their group
    /// instead of the path.
    pub(super) fn file(version: &NamedVersion, key: &[u8], entry: &Entry) -> Self {
        let mut visible = Vec::with_capacity(192);
        put_visible(entry, &mut visible);
        let lineage = version.version.lineage.as_bytes();
        if entry.nlink > 1 {
            let group = [u64::from(entry.mount), entry.inode].map(u64::to_le_bytes).concat();
            Self::of(b'h', false, &[lineage, &group, &visible])
        } else {
            Self::of(b'f', false, &[lineage, key, &visible])
        }
    }

    /// The number it is given first.
    pub(super) fn ino(&self) -> Ino {
        self.draw(0, NUMBER_BITS)
    }

    fn draw(&self, attempt: u64, bits: u32) -> Ino {
        // An odd step comes by every number before it comes by one again.
        let drawn = self.number.wrapping_add((self.check | 1).wrapping_mul(attempt));
        let number = drawn & ((1 << bits) - 1);
        let number = if number < RESERVED { number + RESERVED } else { number };
        Ino(if self.is_directory { number | DIRECTORY_BIT } else { number })
    }
}

/// Everything about an entry that can be seen from outside.
fn put_visible(entry: &Entry, out: &mut Vec<u8>) {
    out.push(entry.kind as u8);
    out.extend_from_slice(&entry.mode.to_le_bytes());
    out.extend_from_slice(&entry.attributes.to_le_bytes());
    put_principal(&entry.owner, out);
    put_principal(&entry.group, out);
    put_time(entry.mtime, out);
    put_time(entry.ctime, out);
    put_time(entry.btime.unwrap_or_default(), out);
    out.extend_from_slice(&entry.size.to_le_bytes());
    out.extend_from_slice(&entry.nlink.to_le_bytes());
    out.extend_from_slice(&entry.device.0.to_le_bytes());
    out.extend_from_slice(&entry.device.1.to_le_bytes());
    for xattr in &entry.xattrs {
        out.extend_from_slice(&(xattr.name.len() as u64).to_le_bytes());
        out.extend_from_slice(&xattr.name);
        out.extend_from_slice(&xattr.size.to_le_bytes());
        put_content(&xattr.value, out);
    }
    match entry.content_hash {
        Some(hash) => out.extend_from_slice(hash.as_bytes()),
        None => put_content(&entry.content, out),
    }
}

fn put_time(time: Time, out: &mut Vec<u8>) {
    out.extend_from_slice(&time.seconds.to_le_bytes());
    out.extend_from_slice(&time.nanoseconds.to_le_bytes());
}

fn put_principal(principal: &Principal, out: &mut Vec<u8>) {
    match &principal.id {
        PrincipalId::None => out.push(0),
        PrincipalId::Unix(id) => {
            out.push(1);
            out.extend_from_slice(&id.to_le_bytes());
        }
        PrincipalId::Sid(sid) => {
            out.push(2);
            out.push(sid.len() as u8);
            out.extend_from_slice(sid);
        }
    }
}

fn put_content(content: &Content, out: &mut Vec<u8>) {
    match content {
        Content::None => out.push(0),
        Content::Inline(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
        Content::Extents(extents) => {
            out.push(2);
            extents.iter().for_each(|extent| put_extent(extent, out));
        }
        Content::Map(id) => {
            out.push(3);
            out.extend_from_slice(id.as_bytes());
        }
        Content::Unread => out.push(4),
    }
}

fn put_extent(extent: &Extent, out: &mut Vec<u8>) {
    match extent {
        Extent::Data { object, offset, length } => {
            out.extend_from_slice(object.id.as_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
        }
        Extent::Hole { length } => out.extend_from_slice(&length.to_le_bytes()),
    }
}

/// The inodes that the system refers to.
pub(super) struct Inodes {
    table: Mutex<HashMap<Ino, Record, BuildHasherDefault<AsItIs>>>,
    number_bits: u32,
}

/// Hashes numbers that are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        // The table looks at the highest bits too, which all directories have in common.
        self.0 = number.rotate_left(32) ^ number;
    }
}

struct Record {
    check: u64,
    lookups: u64,
    node: Node,
}

impl Inodes {
    pub(super) fn new() -> Self {
        Self { table: Mutex::default(), number_bits: NUMBER_BITS }
    }

    /// Numbers that collide often.
    #[cfg(test)]
    fn narrow(number_bits: u32) -> Self {
        Self { table: Mutex::default(), number_bits }
    }

    /// The number of what has this identity; counts as one lookup.
    pub(super) fn remember(&self, identity: &Identity, node: Node) -> Ino {
        let mut table = lock(&self.table);
        for attempt in 0.. {
            let ino = identity.draw(attempt, self.number_bits);
            match table.entry(ino) {
                Slot::Vacant(slot) => {
                    slot.insert(Record { check: identity.check, lookups: 1, node });
                    return ino;
                }
                Slot::Occupied(mut slot) if slot.get().check == identity.check => {
                    let record = slot.get_mut();
                    record.lookups += 1;
                    // The newest version is the one whose leaves stay longest.
                    let sequence = |node: &Node| node.version().map(|version| version.version.sequence);
                    if sequence(&node) > sequence(&record.node) {
                        record.node = node;
                    }
                    return ino;
                }
                Slot::Occupied(_) => {}
            }
        }
        unreachable!("there are more numbers than inodes")
    }

    /// What an inode stands for, if the system refers to it.
    pub(super) fn get(&self, ino: Ino) -> Option<Node> {
        lock(&self.table).get(&ino).map(|record| record.node.clone())
    }

    /// The number that the system knows this identity by, if it does.
    pub(super) fn known(&self, identity: &Identity) -> Option<Ino> {
        let ino = identity.draw(0, self.number_bits);
        lock(&self.table).get(&ino).filter(|record| record.check == identity.check).map(|_| ino)
    }

    /// The system has dropped `lookups` of its references; true if it has no more.
    pub(super) fn forget(&self, ino: Ino, lookups: u64) -> bool {
        let mut table = lock(&self.table);
        let Slot::Occupied(mut slot) = table.entry(ino) else { return false };
        let record = slot.get_mut();
        record.lookups = record.lookups.saturating_sub(lookups);
        let is_gone = record.lookups == 0;
        if is_gone {
            slot.remove();
        }
        is_gone
    }

    /// Those of made-up directories.
    pub(super) fn views(&self) -> Vec<Ino> {
        let table = lock(&self.table);
        let views = table.iter().filter(|(_, record)| matches!(record.node, Node::View(..)));
        views.map(|(ino, _)| *ino).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.table).len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use backstore_protocol::entry::{Kind, ObjectRef, Xattr};
    use backstore_protocol::ids::ContentHash;

    use super::super::version::tests::version;
    use super::*;

    fn named(sequence: u64) -> Arc<NamedVersion> {
        Arc::new(NamedVersion { version: version(sequence, 0), name: sequence.to_string() })
    }

    #[test]
    fn colliding_inodes_are_drawn_again() {
        let inodes = Inodes::narrow(11);
        let identities: Vec<_> =
            (0..900u32).map(|number| Identity::of(b'x', number % 2 == 0, &[&number.to_le_bytes()])).collect();
        let numbers: Vec<_> =
            identities.iter().map(|identity| inodes.remember(identity, Node::Version(named(1)))).collect();
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 900);
        let again: Vec<_> =
            identities.iter().map(|identity| inodes.remember(identity, Node::Version(named(1)))).collect();
        assert_eq!(numbers, again);
        for (ino, identity) in numbers.iter().zip(&identities) {
            assert_eq!(ino.0 & DIRECTORY_BIT != 0, identity.is_directory);
            assert!(ino.0 & !DIRECTORY_BIT >= RESERVED && *ino != Ino::ROOT);
        }
    }

    #[test]
    fn forgotten_inodes_are_dropped() {
        let inodes = Inodes::new();
        let identity = Identity::of(b'x', false, &[]);
        let ino = inodes.remember(&identity, Node::Version(named(1)));
        inodes.remember(&identity, Node::Version(named(1)));
        inodes.forget(ino, 1);
        assert!(inodes.get(ino).is_some());
        inodes.forget(ino, 1);
        assert!(inodes.get(ino).is_none() && inodes.len() == 0);
        inodes.forget(ino, 5);
    }

    #[test]
    fn the_newest_version_answers_for_what_is_shared() {
        let inodes = Inodes::new();
        let identity = Identity::of(b'x', false, &[]);
        let at = |sequence: u64| Node::File {
            version: named(sequence),
            place: Place::Leaf(Arc::new(ObjectId::ZERO), sequence as u16),
        };
        for sequence in [2, 5, 3] {
            inodes.remember(&identity, at(sequence));
        }
        let Some(Node::File { place: Place::Leaf(_, index), .. }) = inodes.get(identity.ino()) else {
            panic!("a file")
        };
        assert_eq!(index, 5);
    }

    #[test]
    fn whatever_is_visible_makes_another_inode() {
        let base = Entry { content_hash: Some(ContentHash::ZERO), size: 5, ..Entry::new(Kind::File) };
        let time = Time { seconds: 1, nanoseconds: 0 };
        let unix = |id| Arc::new(Principal { id: PrincipalId::Unix(id), name: Box::default() });
        let xattr = |value: &[u8]| Xattr {
            name: Box::new(*b"user.x"),
            size: value.len() as u64,
            value: Content::Inline(value.into()),
        };
        let entries = [
            base.clone(),
            Entry { mode: 1, ..base.clone() },
            Entry { kind: Kind::Fifo, ..base.clone() },
            Entry { owner: unix(1), ..base.clone() },
            Entry { group: unix(1), ..base.clone() },
            Entry { mtime: time, ..base.clone() },
            Entry { ctime: time, ..base.clone() },
            Entry { size: 6, ..base.clone() },
            Entry { nlink: 2, ..base.clone() },
            Entry { nlink: 2, inode: 1, ..base.clone() },
            Entry { device: (1, 0), ..base.clone() },
            Entry { device: (0, 1), ..base.clone() },
            Entry { xattrs: vec![xattr(b"a")], ..base.clone() },
            Entry { xattrs: vec![xattr(b"b")], ..base.clone() },
            Entry { content_hash: Some(ContentHash::from_bytes([1; 16])), ..base.clone() },
            Entry { content_hash: None, content: Content::Inline(Box::new(*b"a")), ..base.clone() },
            Entry { content_hash: None, content: Content::Inline(Box::new(*b"b")), ..base.clone() },
        ];
        let version = named(1);
        let inos: HashSet<_> =
            entries.iter().map(|entry| Identity::file(&version, b"k", entry).ino()).collect();
        assert_eq!(inos.len(), entries.len());
        let object = ObjectRef { id: ObjectId::ZERO, length: 9 };
        let invisible = Entry {
            inode: 77,
            mount: 3,
            content: Content::Extents(Box::new([Extent::Data { object, offset: 1, length: 5 }])),
            ..base.clone()
        };
        let ino =
            |version: &NamedVersion, key: &[u8], entry: &Entry| Identity::file(version, key, entry).ino();
        assert_eq!(ino(&version, b"k", &base), ino(&named(2), b"k", &invisible));
        assert_ne!(ino(&version, b"k", &base), ino(&version, b"l", &base));
        let linked = Entry { nlink: 2, ..base };
        assert_eq!(ino(&version, b"k", &linked), ino(&version, b"l", &linked));
    }
}
