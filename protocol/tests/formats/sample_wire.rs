//! Samples of the wire: a frame of every type, and of every form its message has.

use std::fmt::Debug;

use backstore_protocol::ids::{
    BoxPublicKey, DeviceId, FactorId, InviteToken, LineageId, ObjectId, SigningPublicKey, SnapshotId, VaultId,
};
use backstore_protocol::seal_box::SigningKey;
use backstore_protocol::wire::{self, ErrorCode, Frame, Message};
use bytes::Bytes;

use crate::fixtures::{noise, noise_array};
use crate::golden::Sample;
use crate::recode::{ACCOUNT, FRAME_KINDS, SEED, genesis};
use crate::sample_snapshot;

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = enrolment();
    samples.extend(control());
    samples.extend(operations());
    samples
}

fn sample<M: Message + PartialEq + Debug + 'static>(name: &str, message: M, tail: &[u8]) -> Sample {
    let encoded = [&Frame::start(&message, tail.len())[..], tail].concat();
    let tail = tail.to_vec();
    Sample::new(format!("frame/{:02}-{name}", M::KIND), encoded, move |bytes| {
        let frame = Frame::decode(&Bytes::copy_from_slice(bytes)).unwrap();
        assert_eq!(frame.tail, tail);
        assert_eq!(frame.message::<M>().as_ref(), Ok(&message));
    })
}

#[test]
fn every_frame_type_has_a_sample() {
    let samples = samples();
    for kind in FRAME_KINDS {
        assert!(samples.iter().any(|sample| sample.encoded[4] == *kind), "{kind}");
    }
}

fn snapshot(label: &str) -> SnapshotId {
    SnapshotId::from_bytes(noise_array(label))
}

fn lineage() -> LineageId {
    LineageId::from_bytes(noise_array("lineage"))
}

fn account() -> wire::Account {
    wire::Account { account: ACCOUNT, device: DeviceId::from_bytes(noise_array("device")) }
}

fn ids(count: usize) -> Vec<u8> {
    noise("ids", 32 * count)
}

/// Each a u32 length and the bytes.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    items.iter().flat_map(|item| [&(item.len() as u32).to_le_bytes()[..], item].concat()).collect()
}

fn enrolment() -> Vec<Sample> {
    let hello =
        wire::Hello { minor: 1, features: u64::MAX, agent_version: "0.1.0".to_owned(), client_time: -1 };
    let welcome = wire::Welcome {
        minor: 1,
        features: 0,
        limits: wire::WireLimits::default(),
        server_time: 1_795_000_000_000,
        vault: VaultId::from_bytes(noise_array("vault")),
        account: None,
        objects: 0,
    };
    let known = wire::Welcome { account: Some(account()), objects: u64::MAX, ..welcome.clone() };
    let keys = wire::KeyBlobs {
        factor: FactorId::from_bytes(noise_array("factor")),
        public: BoxPublicKey::from_bytes(noise_array("public")),
        proof: SigningPublicKey::from_bytes(noise_array("proof")),
        wrapped: noise("wrapped", 512),
        keyring: noise("keyring", 544),
        authority: noise("authority", 544),
    };
    let offered = wire::FactorOffer { factor: keys.factor, profile: 1, salt: noise_array("salt") };
    let offer = wire::Offer { account: Some(ACCOUNT), factors: vec![offered; 2] };
    let error =
        |code: ErrorCode, detail: &str| wire::ErrorMessage { code: code as u16, detail: detail.to_owned() };
    let invite =
        wire::Invite { account: "alice".to_owned(), token: InviteToken::from_bytes(noise_array("token")) };
    vec![
        sample("hello", hello, b""),
        sample("welcome-unknown", welcome, b""),
        sample("welcome", known, b""),
        sample("error", error(ErrorCode::Missing, "two objects"), &ids(2)),
        sample("error-bare", error(ErrorCode::StorageFailed, ""), b""),
        sample("invite", invite, b""),
        sample("offer-new", wire::Offer { account: None, factors: Vec::new() }, b""),
        sample("offer", offer, b""),
        sample(
            "register",
            wire::Register { entries: 2, keys: keys.clone() },
            &list(&[genesis(), noise("entry", 300)]),
        ),
        sample("registered", wire::Registered { account: account() }, b""),
        sample("prove", wire::Prove { factor: keys.factor, signature: noise("signature", 64) }, b""),
        sample("released", wire::Released { keys }, b""),
        sample("enrol", wire::Enrol { entries: 1 }, &list(&[noise("entry", 300)])),
    ]
}

fn control() -> Vec<Sample> {
    let header = sample_snapshot::header().sign(&SigningKey::from_seed(&SEED));
    let open = wire::OpenSession { lineage: lineage(), basis: None, fencing: 0 };
    let opened = wire::SessionOpened { head: None, fencing: 0, objects: 0, damaged: 0 };
    let item = wire::LineageItem {
        lineage: lineage(),
        device: account().device,
        head: snapshot("head"),
        sequence: 7,
        received_at: 1_795_000_000_000,
        confirmed_at: -1,
        snapshots: 7,
    };
    let listed = |is_damaged| wire::SnapshotItem { received_at: 1_795_000_000_000, is_damaged };
    let list_of = |snapshots: &[_]| wire::SnapshotList { snapshots: snapshots.to_vec() };
    let asked = wire::Snapshots { lineage: lineage(), before: u64::MAX, count: 512 };
    vec![
        sample("open-session-new", open, b""),
        sample("open-session", wire::OpenSession { basis: Some(snapshot("basis")), fencing: 3, ..open }, b""),
        sample("session-opened-new", opened, b""),
        sample(
            "session-opened",
            wire::SessionOpened { head: Some(snapshot("head")), fencing: 3, objects: 300, damaged: 2 },
            b"",
        ),
        sample("damaged-first", wire::Damaged { after: None }, b""),
        sample("damaged", wire::Damaged { after: Some(ObjectId::from_bytes(noise_array("after"))) }, b""),
        sample("ids", wire::Ids { more: true }, &ids(3)),
        sample("ids-none", wire::Ids { more: false }, b""),
        sample("commit", wire::Commit {}, &header),
        sample("commit-done", wire::CommitDone { snapshot: snapshot("head"), received_at: i64::MAX }, b""),
        sample("touch", wire::Touch { head: snapshot("head") }, b""),
        sample("lineages", wire::Lineages {}, b""),
        sample("lineage-list", wire::LineageList { lineages: vec![item; 2] }, b""),
        sample("lineage-list-none", wire::LineageList { lineages: Vec::new() }, b""),
        sample("snapshots", asked, b""),
        sample("snapshot-list", list_of(&[listed(false), listed(true)]), &list(&[header.clone(), header])),
        sample("snapshot-list-none", list_of(&[]), b""),
        sample("log", wire::Log { from: 300 }, b""),
        sample("log-entries", wire::LogEntries { entries: 1, more: true }, &list(&[genesis()])),
    ]
}

fn operations() -> Vec<Sample> {
    let id = ObjectId::from_bytes(noise_array("object"));
    let data = wire::PutItem { kind: 1, level: 0, references: 0, sealed: 300, id };
    let node = wire::PutItem { kind: 2, level: 15, references: 3, sealed: 100, ..data };
    let held = wire::ObjectItem { index: 0, status: 0, kind: 2, level: 1, references: 3, sealed: 100 };
    let missing = wire::ObjectItem { index: 8191, status: 1, kind: 0, level: 0, references: 0, sealed: 0 };
    let damaged = wire::ObjectItem { index: 1, status: 2, ..missing };
    vec![
        sample("have", wire::Have {}, &ids(5)),
        sample("have-bits", wire::HaveBits { count: 11 }, &[0b1010_0101, 0b0000_0101]),
        sample("put", wire::Put { sequence: 300, items: vec![data, node] }, &noise("put", 300 + 96 + 100)),
        sample("put-empty", wire::Put { sequence: 0, items: Vec::new() }, b""),
        sample("received", wire::Received { sequence: u64::MAX }, b""),
        sample("durable", wire::Durable { sequence: 300 }, b""),
        sample("get", wire::Get {}, &ids(2)),
        sample("objects", wire::Objects { items: vec![held, missing, damaged] }, &noise("objects", 96 + 100)),
        sample("watch", wire::Watch {}, b""),
        sample("changed", wire::Changed { count: 300 }, b""),
    ]
}
