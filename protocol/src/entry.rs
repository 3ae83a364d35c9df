//! One path's metadata and content, as stored in a leaf: PROTOCOL.md section 2.

use std::sync::Arc;

use crate::ids::{ContentHash, ObjectId};
use crate::limits::{EXTENTS_MAX, INLINE_BYTES_MAX, ITEM_WEIGHT, SYMLINK_BYTES_MAX};

/// What kind of file an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A regular file.
    File = 0,
    /// A selected directory.
    Directory = 1,
    /// An ancestor of a root, there so that the root has a place; restore never changes it.
    ImpliedDirectory = 2,
    /// A symbolic link; its target is the content.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A Unix socket.
    Socket = 5,
    /// A character device.
    CharacterDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

impl Kind {
    /// The kind with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::File,
            1 => Self::Directory,
            2 => Self::ImpliedDirectory,
            3 => Self::Symlink,
            4 => Self::Fifo,
            5 => Self::Socket,
            6 => Self::CharacterDevice,
            7 => Self::BlockDevice,
            _ => return None,
        })
    }

    /// Whether it may have entries below it.
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::ImpliedDirectory)
    }

    /// Whether it is a character or block device.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::CharacterDevice | Self::BlockDevice)
    }

    /// Whether it has content: a file's bytes or a link's target.
    pub const fn has_content(self) -> bool {
        matches!(self, Self::File | Self::Symlink)
    }
}

/// A moment: seconds since 1970, before it negative, and nanoseconds below 10⁹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after them.
    pub nanoseconds: u32,
}

/// Who owns a file: its system's own id, and the name that went with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Principal {
    /// The id.
    pub id: PrincipalId,
    /// The name of that id when it was backed up; empty if it had none.
    pub name: Box<[u8]>,
}

/// An owner or group as its system knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PrincipalId {
    /// The system has no such thing, or did not tell.
    #[default]
    None,
    /// A Unix user or group id.
    Unix(u32),
    /// A Windows security identifier in its binary form.
    Sid(Box<[u8]>),
}

/// An object and the length of its plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Which object.
    pub id: ObjectId,
    /// Bytes of its plaintext; 0 for a node.
    pub length: u32,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// `length` bytes of an object's plaintext from `offset` on.
    Data {
        /// The object they are in.
        object: ObjectRef,
        /// Where they start in it.
        offset: u32,
        /// How many; never 0.
        length: u32,
    },
    /// `length` bytes that were never written and read as zero.
    Hole {
        /// How many; never 0.
        length: u64,
    },
}

impl Extent {
    /// Bytes it covers.
    pub const fn length(&self) -> u64 {
        match self {
            Self::Data { length, .. } => *length as u64,
            Self::Hole { length } => *length,
        }
    }
}

/// The bytes of a file, a link target or an xattr value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Content {
    /// It has none.
    #[default]
    None,
    /// The bytes themselves.
    Inline(Box<[u8]>),
    /// Up to 16 extents.
    Extents(Box<[Extent]>),
    /// The id of a map node that lists more extents.
    Map(ObjectId),
    /// The file could not be read, and no earlier version was known.
    Unread,
}

impl Content {
    /// Calls `each` with every reference, in order, with repetitions.
    pub fn for_each_reference(&self, each: &mut impl FnMut(ObjectRef)) {
        match self {
            Self::Extents(extents) => extents.iter().filter_map(Extent::object).for_each(each),
            Self::Map(id) => each(ObjectRef { id: *id, length: 0 }),
            Self::None | Self::Inline(_) | Self::Unread => {}
        }
    }
}

/// A named extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Xattr {
    /// Its name, with the system's namespace.
    pub name: Box<[u8]>,
    /// Bytes of the value.
    pub size: u64,
    /// The value.
    pub value: Content,
}

/// One path of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777`.
    pub mode: u16,
    /// The file changed while it was read, and is stored as read last.
    pub changing: bool,
    /// The file could not be read; content is that of an earlier snapshot.
    pub stale: bool,
    /// Attribute bits of its system.
    pub attributes: u32,
    /// Owner.
    pub owner: Arc<Principal>,
    /// Group.
    pub group: Arc<Principal>,
    /// When the content changed last.
    pub mtime: Time,
    /// When content or metadata changed last.
    pub ctime: Time,
    /// When the file was made, if the system knows.
    pub btime: Option<Time>,
    /// Bytes of the content, holes included.
    pub size: u64,
    /// Names this file had, at least 1.
    pub nlink: u32,
    /// Which of the snapshot's mounts it was on.
    pub mount: u32,
    /// Number of the file on that mount.
    pub inode: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Its bytes.
    pub content: Content,
    /// Identity of its content; there if that is extents or a map.
    pub content_hash: Option<ContentHash>,
}

impl Entry {
    /// An entry of this kind with nothing else known.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            mode: 0,
            changing: false,
            stale: false,
            attributes: 0,
            owner: Arc::default(),
            group: Arc::default(),
            mtime: Time::default(),
            ctime: Time::default(),
            btime: None,
            size: 0,
            nlink: 1,
            mount: 0,
            inode: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            content: Content::None,
            content_hash: None,
        }
    }

    /// What it counts towards the limit of a node: PROTOCOL.md section 3.
    pub fn weight(&self, key: &[u8]) -> usize {
        let content = |content: &Content| match content {
            Content::Inline(bytes) => bytes.len(),
            Content::Extents(extents) => 8 * extents.len(),
            Content::None | Content::Map(_) | Content::Unread => 0,
        };
        let xattrs: usize = self.xattrs.iter().map(|xattr| xattr.name.len() + content(&xattr.value)).sum();
        key.len() + ITEM_WEIGHT + content(&self.content) + xattrs
    }

    /// Calls `each` with every reference of its content and xattrs, in order, with repetitions.
    pub fn for_each_reference(&self, mut each: impl FnMut(ObjectRef)) {
        self.content.for_each_reference(&mut each);
        for xattr in &self.xattrs {
            xattr.value.for_each_reference(&mut each);
        }
    }

    /// Whether content of this form has a content hash.
    pub const fn has_content_hash(content: &Content) -> bool {
        match content {
            Content::None | Content::Inline(_) | Content::Unread => false,
            Content::Extents(_) | Content::Map(_) => true,
        }
    }

    /// Whether both hold the same bytes, however they were cut. Small content that one has inline and the other not counts as
    /// different.
    pub fn same_content(&self, other: &Self) -> bool {
        self.size == other.size
            && match (self.content_hash, other.content_hash) {
                (Some(ours), Some(theirs)) => ours == theirs,
                (None, None) => self.content == other.content,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }

    /// The longest inline content an entry of this kind may have.
    pub const fn inline_max(kind: Kind) -> usize {
        if matches!(kind, Kind::Symlink) { SYMLINK_BYTES_MAX } else { INLINE_BYTES_MAX }
    }
}

impl Extent {
    /// The object its bytes are in.
    pub const fn object(&self) -> Option<ObjectRef> {
        match self {
            Self::Data { object, .. } => Some(*object),
            Self::Hole { .. } => None,
        }
    }
}

/// Whether a list of extents may be stored: none empty, none outside its object, no neighbouring holes, `size` in all.
pub fn extents_fit(extents: &[Extent], size: u64) -> bool {
    if extents.is_empty() || extents.len() > EXTENTS_MAX {
        return false;
    }
    let mut total = 0u64;
    let mut after_hole = false;
    for extent in extents {
        let hole = match *extent {
            Extent::Data { object, offset, length } => {
                if length == 0 || u64::from(offset) + u64::from(length) > u64::from(object.length) {
                    return false;
                }
                false
            }
            Extent::Hole { length } => {
                if length == 0 || after_hole {
                    return false;
                }
                true
            }
        };
        after_hole = hole;
        let Some(sum) = total.checked_add(extent.length()) else { return false };
        total = sum;
    }
    total == size
}
