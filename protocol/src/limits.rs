//! Every bound of the stored formats and the wire, in one place.
//!
//! A decoder checks the bound before it allocates. Names end in the unit and `MAX`.

/// Longest name of one file, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Deepest path, in components below the root.
pub const PATH_DEPTH_MAX: usize = 2048;
/// Longest key of a path in the tree.
pub const KEY_BYTES_MAX: usize = 32 * 1024;
/// Content up to this size lies in the entry itself.
pub const INLINE_BYTES_MAX: usize = 512;
/// Longest target of a symbolic link.
pub const SYMLINK_BYTES_MAX: usize = 32 * 1024;
/// More extents than this become a map.
pub const EXTENTS_MAX: usize = 16;
/// Extended attributes of one entry.
pub const XATTRS_MAX: usize = 256;
/// Longest name of an extended attribute.
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// All inline xattr values of one entry together; larger values become objects.
pub const XATTR_INLINE_BYTES_MAX: usize = 4096;
/// Longest name of an owner or group.
pub const PRINCIPAL_NAME_BYTES_MAX: usize = 255;
/// Longest Windows security identifier.
pub const SID_BYTES_MAX: usize = 68;

/// Items of one tree node.
pub const NODE_ITEMS_MAX: usize = 1024;
/// Weight of one tree node: see PROTOCOL.md section 3.
pub const NODE_WEIGHT_MAX: usize = 256 * 1024;
/// What an item weighs besides its key and content.
pub const ITEM_WEIGHT: usize = 64;
/// References of one node.
pub const NODE_REFS_MAX: usize = 4096;
/// Levels of a tree or map.
pub const TREE_DEPTH_MAX: usize = 16;
/// Items of one map node.
pub const MAP_ITEMS_MAX: usize = 1024;
/// Items between two restart points of a tree node.
pub const RESTART_ITEMS: usize = 16;

/// Files from this size on are cut into chunks; smaller ones are bundled whole.
pub const BUNDLE_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A bundle never grows beyond this: sealed without compression it is exactly 2 MiB.
pub const BUNDLE_BYTES_MAX: usize = 2 * 1024 * 1024 - 104;
/// Mean size of a bundle, a power of two.
pub const BUNDLE_BYTES_MEAN: u64 = 1024 * 1024;

/// Largest plaintext of one object: sealed without compression it is exactly 4 MiB.
pub const OBJECT_PLAIN_MAX: usize = 4 * 1024 * 1024 - 104;
/// Largest sealed object.
pub const OBJECT_SEALED_MAX: usize = 5 * 1024 * 1024;
/// Smallest sealed data object.
pub const DATA_SEALED_MIN: usize = 4096;
/// Smallest sealed object of any other class.
pub const OTHER_SEALED_MIN: usize = 512;

/// Errors named in a snapshot's body; the rest are counted there and marked in the tree.
pub const BODY_ERRORS_MAX: usize = 1000;
/// Bytes of one text in a body: a name, a path, a message.
pub const BODY_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Roots, mounts and tags of a body.
pub const BODY_LIST_MAX: usize = 4096;
/// Heads of other lineages a header may carry.
pub const SEEN_HEADS_MAX: usize = 64;
/// Largest stored snapshot header.
pub const HEADER_BYTES_MAX: usize = 344 + SEEN_HEADS_MAX * 56 + 64;
/// Largest entry of the account log.
pub const LOG_ENTRY_BYTES_MAX: usize = 16 * 1024;
/// Entries of an account log that a client reads.
pub const LOG_ENTRIES_MAX: usize = 100_000;
/// Epochs of a keyring.
pub const EPOCHS_MAX: usize = 4096;

/// Largest frame that carries objects, after its length field.
pub const FRAME_BYTES_MAX: usize = 9 * 1024 * 1024;
/// Largest frame of any other type.
pub const CONTROL_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest header of a frame.
pub const FRAME_HEADER_BYTES_MAX: usize = u16::MAX as usize;
/// References and sealed bytes of one batch.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Objects of one batch.
pub const BATCH_ITEMS_MAX: usize = 1024;
/// Ids of one request.
pub const IDS_MAX: usize = 8192;
/// Snapshots of one page of a list.
pub const SNAPSHOTS_PAGE_MAX: usize = 512;
/// Operation streams a client may have open at once: the upload's back-pressure.
pub const STREAMS_MAX: u32 = 16;
