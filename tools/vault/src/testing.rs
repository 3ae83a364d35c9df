//! What tests of this crate share: a clock and randomness of their own, and objects.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use backstore_protocol::entry::Time;
use backstore_protocol::ids::{DeviceId, LineageId, ObjectId, SnapshotId};
use backstore_protocol::object::{ObjectKind, SealedObject};
use backstore_protocol::store::ReadFailure;
use bytes::Bytes;

use crate::{Account, AccountNumber, Commit, SnapshotHead, VaultError};
use backstore_platform::machine::Machine;

/// A clock that moves with every look, and numbers that follow from a seed.
pub(crate) struct TestMachine {
    now: AtomicI64,
    draws: AtomicU64,
    seed: u64,
}

impl TestMachine {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(1_790_000_000_000), draws: AtomicU64::new(0), seed })
    }
}

impl Machine for TestMachine {
    fn now_ms(&self) -> i64 {
        self.now.fetch_add(1, Ordering::Relaxed)
    }

    fn now(&self) -> Time {
        let ms = self.now_ms();
        Time { seconds: ms / 1000, nanoseconds: (ms % 1000) as u32 * 1_000_000 }
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms() as u64)
    }

    fn random(&self, bytes: &mut [u8]) {
        let draw = self.draws.fetch_add(1, Ordering::Relaxed);
        pseudo_random(self.seed, draw, bytes);
    }
}

/// Bytes that follow from two numbers.
pub(crate) fn pseudo_random(seed: u64, draw: u64, bytes: &mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&draw.to_le_bytes());
    hasher.finalize_xof().fill(bytes);
}

pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([0xd1; 16]);

pub(crate) fn account_number(number: u64) -> AccountNumber {
    AccountNumber::new(number).expect("not 0")
}

/// The id of an object that tests know by a number.
pub(crate) fn id(name: u64) -> ObjectId {
    let mut bytes = [0; 32];
    pseudo_random(0x1d, name, &mut bytes);
    ObjectId::from_bytes(bytes)
}

pub(crate) fn sealed(name: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    pseudo_random(0x5ea1, name, &mut bytes);
    bytes.into()
}

pub(crate) fn data(name: u64, length: usize) -> SealedObject {
    SealedObject {
        id: id(name),
        kind: ObjectKind::Data,
        level: 0,
        references: Bytes::new(),
        sealed: sealed(name, length),
    }
}

pub(crate) fn body(name: u64) -> SealedObject {
    SealedObject { kind: ObjectKind::Body, ..data(name, 600) }
}

pub(crate) fn node(name: u64, level: u8, references: &[u64]) -> SealedObject {
    let mut ids: Vec<_> = references.iter().map(|name| id(*name)).collect();
    ids.sort_unstable();
    ids.dedup();
    let references: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
    SealedObject { kind: ObjectKind::Tree, level, references: references.into(), ..data(name, 700) }
}

pub(crate) fn lineage(name: u64) -> LineageId {
    let mut bytes = [0; 16];
    pseudo_random(0x11, name, &mut bytes);
    LineageId::from_bytes(bytes)
}

/// The snapshot with a sequence, in the lineage of that name.
pub(crate) fn head(lineage_name: u64, sequence: u64, root: u64, body: u64) -> SnapshotHead {
    let snapshot = |sequence: u64| {
        let mut bytes = [0; 32];
        pseudo_random(lineage_name, sequence, &mut bytes);
        SnapshotId::from_bytes(bytes)
    };
    SnapshotHead {
        id: snapshot(sequence),
        lineage: lineage(lineage_name),
        sequence,
        fencing: 1,
        previous: (sequence > 1).then(|| snapshot(sequence - 1)),
        root: id(root),
        body: id(body),
    }
}

pub(crate) fn commit(account: &Account, head: SnapshotHead) -> Result<(), VaultError> {
    let header = header(&head);
    account.commit(&Commit { device: DEVICE, head, header: &header }).map(|_| ())
}

/// A stored header, as far as a vault cares.
pub(crate) fn header(head: &SnapshotHead) -> Vec<u8> {
    let mut bytes = vec![0; 408];
    pseudo_random(7, head.sequence, &mut bytes);
    bytes
}

/// Reads one object.
pub(crate) fn read(account: &Account, name: u64) -> Result<SealedObject, ReadFailure> {
    let mut result = None;
    account.read(&[id(name)], &mut |_, object| result = Some(object)).expect("readable");
    result.expect("each object is handed over")
}

/// Whether the account has one object.
pub(crate) fn has(account: &Account, name: u64) -> bool {
    account.have(&[id(name)]).expect("an index")[0]
}
