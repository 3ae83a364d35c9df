//! Every message by its type number. A released message never changes: an extension is another one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::{
    AccountId, BoxPublicKey, DeviceId, FactorId, InviteToken, LineageId, ObjectId, SigningPublicKey,
    SnapshotId, VaultId,
};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_ITEMS_MAX, HEADER_BYTES_MAX, IDS_MAX, LOG_ENTRY_BYTES_MAX, NODE_REFS_MAX,
    OBJECT_SEALED_MAX, SNAPSHOTS_PAGE_MAX, STREAMS_MAX,
};
use crate::object::ObjectKind;

/// A message: its type number, and what its tail has to be.
pub trait Message: Serialize + DeserializeOwned {
    /// Type of its frame.
    const KIND: u8;

    /// Whether header and tail belong together; checked after decoding, before anything is done.
    fn fits_tail(&self, tail: &[u8]) -> bool {
        tail.is_empty()
    }
}

pub(super) const KIND_PUT: u8 = 42;
pub(super) const KIND_OBJECTS: u8 = 46;

macro_rules! message {
    ($kind:literal, $name:ident) => {
        impl Message for $name {
            const KIND: u8 = $kind;
        }
    };
    ($kind:expr, $name:ident, |$this:ident, $tail:ident| $fits:expr) => {
        impl Message for $name {
            const KIND: u8 = $kind;

            fn fits_tail(&self, $tail: &[u8]) -> bool {
                let $this = self;
                $fits
            }
        }
    };
}

/// The client begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The client's number within the protocol.
    pub minor: u32,
    /// Its features.
    pub features: u64,
    /// Its version, for people.
    pub agent_version: String,
    /// Its clock: milliseconds since 1970.
    pub client_time: i64,
}
message!(1, Hello);

/// The server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The server's number within the protocol.
    pub minor: u32,
    /// Features both have.
    pub features: u64,
    /// Limits it keeps to.
    pub limits: WireLimits,
    /// Its clock: milliseconds since 1970.
    pub server_time: i64,
    /// Its vault.
    pub vault: VaultId,
    /// The account and device whose key the client showed; nothing if it knows neither.
    pub account: Option<Account>,
    /// Objects the account has.
    pub objects: u64,
}
message!(2, Welcome);

/// Limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireLimits {
    /// References of a node.
    pub references: u32,
    /// Ids of a request.
    pub ids: u32,
    /// Bytes of a batch.
    pub batch_bytes: u32,
    /// Objects of a batch.
    pub batch_items: u32,
    /// Bytes of a sealed object.
    pub object_bytes: u32,
    /// Operation streams open at once.
    pub streams: u32,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            references: NODE_REFS_MAX as u32,
            ids: IDS_MAX as u32,
            batch_bytes: BATCH_BYTES_MAX as u32,
            batch_items: BATCH_ITEMS_MAX as u32,
            object_bytes: OBJECT_SEALED_MAX as u32,
            streams: STREAMS_MAX,
        }
    }
}

/// Who the server takes a client for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
}

/// Something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMessage {
    /// What, by number: see [`ErrorCode`](super::ErrorCode).
    pub code: u16,
    /// More about it, for people; at most 1,024 bytes.
    pub detail: String,
}
message!(3, ErrorMessage, |this, tail| this.detail.len() <= 1024 && is_id_list(tail));

/// An unknown device shows its invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The account's name on this server.
    pub account: String,
    /// The invitation.
    pub token: InviteToken,
}
message!(10, Invite, |this, tail| this.account.len() <= 255 && tail.is_empty());

/// What the invitation leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The account, if its first device has been enrolled; else the client makes it.
    pub account: Option<AccountId>,
    /// Its factors, one of which has to be proven.
    pub factors: Vec<FactorOffer>,
}
message!(11, Offer);

/// A factor that can be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactorOffer {
    /// Its id.
    pub factor: FactorId,
    /// How the password is stretched, by number.
    pub profile: u8,
    /// With which salt.
    pub salt: [u8; 16],
}

/// The first device makes the account. Tail: its first log entries, each a u32 length and the stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Entries in the tail.
    pub entries: u32,
    /// What a later device needs to open the keyring.
    pub keys: KeyBlobs,
}
message!(12, Register, |this, tail| this.entries <= 16 && is_list(tail, this.entries, LOG_ENTRY_BYTES_MAX));

/// What is kept for whoever proves a factor; the destination cannot open any of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBlobs {
    /// The factor.
    pub factor: FactorId,
    /// Its public half.
    pub public: BoxPublicKey,
    /// What proves it.
    pub proof: SigningPublicKey,
    /// Its private half, wrapped under the password.
    pub wrapped: Vec<u8>,
    /// The keyring, sealed to it.
    pub keyring: Vec<u8>,
    /// The authority's seed, sealed to it.
    pub authority: Vec<u8>,
}

/// Enrolment is complete and durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Who the server takes the client for from now on.
    pub account: Account,
}
message!(13, Registered);

/// A later device proves the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    /// Which factor.
    pub factor: FactorId,
    /// Signature over the channel binding, 64 bytes.
    pub signature: Vec<u8>,
}
message!(14, Prove, |this, tail| this.signature.len() == 64 && tail.is_empty());

/// What the proof releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// To be opened with the password.
    pub keys: KeyBlobs,
}
message!(15, Released);

/// A later device joins. Tail: the log entry that adds it, as in [`Register`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// Entries in the tail.
    pub entries: u32,
}
message!(16, Enrol, |this, tail| this.entries == 1 && is_list(tail, 1, LOG_ENTRY_BYTES_MAX));

/// Starts writing to a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// Which.
    pub lineage: LineageId,
    /// The snapshot the backup starts from.
    pub basis: Option<SnapshotId>,
    /// The fencing number the device knows.
    pub fencing: u64,
}
message!(20, OpenSession);

/// What the session starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOpened {
    /// The lineage's head.
    pub head: Option<SnapshotId>,
    /// Its fencing number.
    pub fencing: u64,
    /// Objects the account has.
    pub objects: u64,
    /// Damaged objects; [`Damaged`] lists them.
    pub damaged: u64,
}
message!(21, SessionOpened);

/// Asks for a page of damaged objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The last id of the page before.
    pub after: Option<ObjectId>,
}
message!(22, Damaged);

/// A page of ids, sorted. Tail: the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// More follow.
    pub more: bool,
}
message!(23, Ids, |_this, tail| is_id_list(tail));

/// Makes a snapshot. Tail: the stored header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {}
message!(24, Commit, |_this, tail| tail.len() <= HEADER_BYTES_MAX);

/// A commit, or a confirmation, is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitDone {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// When it was received, by the server's clock: milliseconds since 1970.
    pub received_at: i64,
}
message!(25, CommitDone);

/// Confirms that nothing has changed since a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The session's lineage's head.
    pub head: SnapshotId,
}
message!(26, Touch);

/// Asks for the account's lineages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineages {}
message!(28, Lineages);

/// The account's lineages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageList {
    /// One each; at most 512.
    pub lineages: Vec<LineageItem>,
}
message!(29, LineageList, |this, tail| this.lineages.len() <= 512 && tail.is_empty());

/// A lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageItem {
    /// Which.
    pub lineage: LineageId,
    /// Who made its head.
    pub device: DeviceId,
    /// Its head.
    pub head: SnapshotId,
    /// The head's sequence.
    pub sequence: u64,
    /// When the head was received.
    pub received_at: i64,
    /// When it was last confirmed.
    pub confirmed_at: i64,
    /// Snapshots it has.
    pub snapshots: u64,
}

/// Asks for snapshots, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// Of this lineage.
    pub lineage: LineageId,
    /// With a sequence below this.
    pub before: u64,
    /// So many at most.
    pub count: u32,
}
message!(30, Snapshots);

/// Snapshots, newest first. Tail: their stored headers, each a u32 length and the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotList {
    /// One each.
    pub snapshots: Vec<SnapshotItem>,
}
message!(31, SnapshotList, |this, tail| this.snapshots.len() <= SNAPSHOTS_PAGE_MAX
    && is_list(tail, this.snapshots.len() as u32, HEADER_BYTES_MAX));

/// What the server knows of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotItem {
    /// When it was received.
    pub received_at: i64,
    /// Something it needs is damaged.
    pub is_damaged: bool,
}

/// Asks for the account log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// From this entry on.
    pub from: u64,
}
message!(32, Log);

/// A page of the account log. Tail: entries, each a u32 length and the stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntries {
    /// Entries in the tail.
    pub entries: u32,
    /// More follow.
    pub more: bool,
}
message!(33, LogEntries, |this, tail| is_list(tail, this.entries, LOG_ENTRY_BYTES_MAX));

/// Asks which objects are held. Tail: the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {}
message!(40, Have, |_this, tail| is_id_list(tail));

/// The answer. Tail: a bit per id, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaveBits {
    /// Bits that count.
    pub count: u32,
}
message!(41, HaveBits, |this, tail| tail.len() == (this.count as usize).div_ceil(8)
    && this.count as usize <= IDS_MAX);

/// Sends objects. Tail: for each its references, then its sealed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Number of the batch in its session.
    pub sequence: u64,
    /// The objects, in the order of the tail.
    pub items: Vec<PutItem>,
}
message!(KIND_PUT, Put, |this, tail| {
    let sizes = this.items.iter().map(|item| object_size(item.kind, item.references, item.sealed));
    this.items.len() <= BATCH_ITEMS_MAX && tail.len() <= BATCH_BYTES_MAX && fits(sizes, tail)
});

/// An object being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutItem {
    /// Its kind by number.
    pub kind: u8,
    /// Level of a node.
    pub level: u8,
    /// Ids a node refers to.
    pub references: u16,
    /// Bytes of the envelope.
    pub sealed: u32,
    /// Its id.
    pub id: ObjectId,
}

/// A batch was verified and is visible to later nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Number of the batch.
    pub sequence: u64,
}
message!(43, Received);

/// A batch, and all before it, survives power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// Number of the batch.
    pub sequence: u64,
}
message!(44, Durable);

/// Asks for objects. Tail: the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {}
message!(45, Get, |_this, tail| is_id_list(tail));

/// Some of the objects asked for. Tail as in [`Put`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Objects {
    /// The objects, in the order of the tail.
    pub items: Vec<ObjectItem>,
}
message!(KIND_OBJECTS, Objects, |this, tail| {
    let sizes = this.items.iter().map(|item| match ObjectStatus::from_number(item.status) {
        Some(ObjectStatus::Held) => object_size(item.kind, item.references, item.sealed),
        Some(ObjectStatus::Missing | ObjectStatus::Damaged) if item.sealed == 0 && item.references == 0 => {
            Some(0)
        }
        Some(ObjectStatus::Missing | ObjectStatus::Damaged) | None => None,
    });
    this.items.len() <= IDS_MAX && fits(sizes, tail)
});

/// An object asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectItem {
    /// Its place in the request.
    pub index: u32,
    /// By number: see [`ObjectStatus`].
    pub status: u8,
    /// Its kind by number; 0 if it is not held.
    pub kind: u8,
    /// Level of a node.
    pub level: u8,
    /// Ids a node refers to.
    pub references: u16,
    /// Bytes of the envelope.
    pub sealed: u32,
}

/// Whether an object could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectStatus {
    /// Here it is.
    Held = 0,
    /// It is not held.
    Missing = 1,
    /// It is damaged.
    Damaged = 2,
}

impl ObjectStatus {
    /// The status with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Held,
            1 => Self::Missing,
            2 => Self::Damaged,
            _ => return None,
        })
    }
}

/// Asks to be told of new snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {}
message!(48, Watch);

/// A snapshot was committed, or, as the first one, where the count stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Grows with every commit of the account while the server runs.
    pub count: u64,
}
message!(49, Changed);

fn is_id_list(tail: &[u8]) -> bool {
    tail.len().is_multiple_of(ObjectId::SIZE) && tail.len() / ObjectId::SIZE <= IDS_MAX
}

/// Whether `tail` is `count` times a u32 length of at most `max` and so many bytes.
fn is_list(tail: &[u8], count: u32, max: usize) -> bool {
    let mut rest = tail;
    for _ in 0..count {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return false };
        let length = u32::from_le_bytes(*length) as usize;
        let Some(after) = after.get(length..).filter(|_| length <= max) else { return false };
        rest = after;
    }
    rest.is_empty()
}

fn object_size(kind: u8, references: u16, sealed: u32) -> Option<usize> {
    let kind = ObjectKind::from_number(kind)?;
    let fine = usize::from(references) <= NODE_REFS_MAX
        && (kind.is_node() || references == 0)
        && (1..=OBJECT_SEALED_MAX).contains(&(sealed as usize));
    fine.then_some(usize::from(references) * ObjectId::SIZE + sealed as usize)
}

fn fits(sizes: impl Iterator<Item = Option<usize>>, tail: &[u8]) -> bool {
    let mut sum = 0;
    for size in sizes {
        match size {
            Some(size) => sum += size,
            None => return false,
        }
    }
    sum == tail.len()
}
