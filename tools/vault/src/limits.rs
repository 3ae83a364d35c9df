//! Every bound of the vault that the protocol does not set, in one place.

/// A group of durable records shares no block of this size with later ones: FORMAT.md section 3.
pub(crate) const BLOCK: u64 = 4096;
/// No pack grows to this size, so that a place in it fits 32 bits.
pub(crate) const PACK_BYTES_MAX: u64 = 1 << 30;
/// Records of one pack; its footer then has at most 4 MiB.
pub(crate) const PACK_RECORDS_MAX: usize = 65_536;
/// Gaps one footer lists; more are left out.
pub(crate) const FOOTER_GAPS_MAX: usize = 4096;
/// Content of any record.
pub(crate) const CONTENT_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Key of the control state.
pub const CONTROL_KEY_BYTES_MAX: usize = 256;
/// Value of the control state.
pub const CONTROL_VALUE_BYTES_MAX: usize = 64 * 1024;
/// One batch of changes of the control state, as it is stored.
pub const CONTROL_BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Damaged objects that are listed for an account.
pub const DAMAGED_MAX: usize = 1_000_000;
/// Processes that read one vault through one index folder.
pub const READERS_MAX: usize = 8;
/// Data lanes.
pub const LANES_MAX: usize = 16;

/// Received bytes that wait to be appended; `put` waits when there are more.
pub(crate) const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Received objects that are not indexed yet; `put` waits when there are more.
pub(crate) const PENDING_OBJECTS_MAX: usize = 65_536;
/// Bytes appended in one go.
pub(crate) const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Unsynced bytes of a lane that are synced even if nobody waits for them.
pub(crate) const UNSYNCED_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// First space set aside for a pack; it doubles up to [`RESERVE_BYTES_MAX`].
pub(crate) const RESERVE_BYTES_MIN: u64 = 1024 * 1024;
/// Most space set aside at once.
pub(crate) const RESERVE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Objects whose places in a pack are no further apart than this are read in one go.
pub(crate) const READ_GAP_MAX: u64 = 256 * 1024;
/// Bytes read in one go, one large object aside.
pub(crate) const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Who asks for so much at once reads on and does not come back soon.
pub(crate) const BULK_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// Packs held open for reading.
pub(crate) const OPEN_PACKS_MAX: usize = 128;
/// Entries of packs taken over into the index in one go.
pub(crate) const CATCH_UP_ENTRIES_MAX: usize = 524_288;
/// Memory for rows of the index that such entries became; more are written to the disk.
pub(crate) const CATCH_UP_ROWS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Findings, affected snapshots and quarantined ranges a check lists; the rest is counted.
pub const FINDINGS_MAX: usize = 10_000;
/// Damaged objects, and as many places, that a check knows apart; with more it is on the safe side. They take 18 bytes each.
pub(crate) const CHECK_MARKS_MAX: usize = 4 << 20;
