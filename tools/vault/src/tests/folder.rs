//! A vault in a folder behaves as the protocol wants a destination to.

use std::sync::Arc;

use backstore_protocol::ids::{DeviceId, ObjectId, SnapshotId};
use backstore_protocol::seal_box::SigningKey;
use backstore_protocol::snapshot::Header;
use backstore_protocol::store::{Destination, SessionRequest, Source, StoreError};
use backstore_protocol::tree::Root;

use super::basics::{create, reopen};
use crate::FolderDestination;
use crate::testing::*;

fn destination(vault: crate::Vault) -> FolderDestination {
    FolderDestination::new(Arc::new(vault), account_number(1), DEVICE)
}

fn request(fencing: u64) -> SessionRequest {
    SessionRequest { lineage: lineage(1), basis: None, fencing }
}

fn signed(sequence: u64, previous: SnapshotId, device: DeviceId, root: ObjectId, body: ObjectId) -> Vec<u8> {
    let header = Header {
        is_partial: false,
        account: Default::default(),
        device,
        lineage: lineage(1),
        generation: 1,
        epoch: 1,
        sequence,
        fencing: 3,
        previous,
        parent: previous,
        root: Root { node: root, level: 0 },
        body,
        started_at: 0,
        finished_at: 0,
        account_log_head: Default::default(),
        domain: Default::default(),
        entries: 0,
        bytes: 0,
        seen_heads: Vec::new(),
    };
    header.sign(&SigningKey::from_seed(&[1; 32]))
}

#[test]
fn a_session_puts_syncs_commits_and_touches() {
    let dir = tempfile::tempdir().expect("a folder");
    let destination = destination(create(dir.path()));
    let session = destination.open_session(&request(0)).expect("a session");
    assert_eq!(session.opened(), &Default::default());
    for name in 0..40 {
        session.put(vec![data(name, 1 << 20)]).expect("taken");
    }
    assert_eq!(session.have(&[id(0), id(39), id(40)]).expect("an answer"), [true, true, false]);
    let names: Vec<u64> = (0..40).collect();
    session.put(vec![node(100, 0, &names), body(101)]).expect("taken");
    session.sync().expect("durable");
    let first = signed(1, SnapshotId::ZERO, DEVICE, id(100), id(101));
    let committed = session.commit(&first).expect("committed");
    assert_eq!(committed.id, Header::id(&first));
    assert_eq!(session.commit(&first).expect("again"), committed);
    assert_eq!(session.touch(committed.id).expect("touched").id, committed.id);
    assert!(matches!(session.touch(SnapshotId::ZERO), Err(StoreError::Conflict { .. })));

    let session = destination.open_session(&request(3)).expect("a session");
    assert_eq!((session.opened().head, session.opened().fencing), (Some(committed.id), 3));
    assert_eq!(session.opened().objects, 42);
    assert!(matches!(destination.open_session(&request(2)), Err(StoreError::Fenced)));
    let missing = session.put(vec![node(102, 0, &[77])]);
    assert!(matches!(missing, Err(StoreError::Missing { ids }) if ids == [id(77)]));
    let stranger = signed(2, committed.id, DeviceId::from_bytes([9; 16]), id(100), id(101));
    assert!(matches!(session.commit(&stranger), Err(StoreError::Refused { .. })));
    assert!(matches!(session.commit(&first[1..]), Err(StoreError::Refused { .. })));

    let page = destination.snapshots(lineage(1), u64::MAX, 5).expect("snapshots");
    assert_eq!(page.iter().map(|snapshot| &snapshot.header[..]).collect::<Vec<_>>(), [&first[..]]);
    let mut count = 0;
    let ids: Vec<_> = names.iter().map(|name| id(*name)).collect();
    destination
        .read(&ids, &mut |at, object| {
            count += 1;
            assert_eq!(object, Ok(data(at as u64, 1 << 20)));
        })
        .expect("readable");
    assert_eq!(count, 40);
}

#[test]
fn the_account_log_only_grows_at_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let destination = destination(create(dir.path()));
    let log = |destination: &FolderDestination, from| {
        let entries = destination.account_log(from).expect("a log");
        entries.iter().map(|entry| entry.to_vec()).collect::<Vec<_>>()
    };
    destination.account().append_log(0, &[b"genesis", b"device"]).expect("appended");
    destination.account().append_log(2, &[b"factor"]).expect("appended");
    let stale = destination.account().append_log(2, &[b"other"]);
    assert!(matches!(stale, Err(crate::VaultError::LogMoved { length: 3 })), "{stale:?}");
    drop(destination);
    let destination = self::destination(reopen(dir.path()));
    assert_eq!(log(&destination, 0), [&b"genesis"[..], b"device", b"factor"]);
    assert_eq!(log(&destination, 2), [b"factor"]);
    let other = FolderDestination::new(Arc::clone(&destination.vault), account_number(2), DEVICE);
    assert_eq!(log(&other, 0), Vec::<Vec<u8>>::new());
}
