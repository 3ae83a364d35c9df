//! The two ends over the loopback interface.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig};

use bytes::Bytes;

use super::lists::overview;
use super::tls::server_config;
use super::*;
use crate::ids::{DeviceId, LineageId, SnapshotId, VaultId};
use crate::store::{Refusal, StoreError};
use crate::wire::{
    ALPN, ClientLink, Control, ErrorCode, ErrorMessage, FEATURES, Frame, Frames, LineageItem, LineageList,
    Lineages, Log, LogEntries, MINOR, Message, SnapshotItem, SnapshotList, Snapshots, Welcome, WireLimits,
};

/// A server that speaks this protocol, and how to connect to it; inside a runtime.
fn server(alpn: &[u8]) -> (Endpoint, Connecting) {
    let identity = Identity::from_seed(&[1; 32]);
    let mut config = server_config(&identity).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
    let endpoint = Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = endpoint.local_addr().unwrap().to_string();
    let connecting = Connecting {
        server: ServerAddress::parse(&address).unwrap(),
        fingerprint: fingerprint(&identity.public_key()),
        identity: Identity::from_seed(&[2; 32]),
    };
    (endpoint, connecting)
}

/// Whether a client can connect to a server of a protocol.
fn connect(alpn: &[u8]) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (endpoint, connecting) = server(alpn);
        let accept = async {
            let incoming = endpoint.accept().await.unwrap();
            incoming.await
        };
        let (_accepted, connected) = tokio::join!(accept, connecting.connect());
        connected.map(|_| ())
    })
}

#[test]
fn another_version_of_the_protocol_is_named_as_such() {
    assert!(connect(ALPN).is_ok());
    let refused = connect(b"backstore/2").unwrap_err();
    assert!(matches!(refused, StoreError::Refused { reason: Refusal::Unsupported, .. }), "{refused}");
    assert!(refused.to_string().contains("another version of the protocol"), "{refused}");
}

/// How many of `count` clients can connect one after the other, each staying, to a listener that validates addresses beyond `handshakes_max`.
fn connected(count: usize, handshakes_max: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let identity = Identity::from_seed(&[1; 32]);
        let options = ListenerOptions { handshakes_max, ..ListenerOptions::default() };
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &identity, options).unwrap();
        let connecting = Connecting {
            server: ServerAddress::parse(&listener.local_address().unwrap().to_string()).unwrap(),
            fingerprint: fingerprint(&identity.public_key()),
            identity: Identity::from_seed(&[2; 32]),
        };
        let accepted = tokio::spawn(async move {
            let mut all = Vec::new();
            while all.len() < count {
                all.push(listener.accept().await.unwrap().handshake().await);
            }
            all
        });
        let mut links = Vec::new();
        for _ in 0..count {
            links.extend(connecting.connect().await.ok());
        }
        accepted.abort();
        links.len()
    })
}

/// A server with many clients let nobody in any more: the answer that asks for a proof of the address was not understood.
#[test]
fn who_has_to_prove_an_address_connects_too() {
    assert_eq!(connected(5, 64), 5);
    assert_eq!(connected(5, 2), 5);
    assert_eq!(connected(2, 0), 2);
}

/// A tail of lengths and bytes.
fn list(items: &[&[u8]]) -> Bytes {
    items.iter().flat_map(|item| [&(item.len() as u32).to_le_bytes()[..], item].concat()).collect()
}

/// A server that answers an overview's questions, but not before all of them have come.
async fn answer_when_all_is_asked(listener: &Listener, lineage: LineageId) -> Vec<u8> {
    let link = listener.accept().await.unwrap().handshake().await.unwrap().link;
    let mut control = Frames::new(link.accept().await.unwrap());
    let mut asked: Vec<Frame> = Vec::new();
    while asked.len() < 5 {
        asked.push(control.receive().await.unwrap().unwrap());
    }
    let welcome = Welcome {
        minor: MINOR,
        features: FEATURES,
        limits: WireLimits::default(),
        server_time: 0,
        vault: VaultId::from_bytes([1; 16]),
        account: None,
        objects: 0,
    };
    control.send(&welcome, &[]).await.unwrap();
    control.send(&LogEntries { entries: 2, more: false }, &[list(&[b"one", b"two"])]).await.unwrap();
    let item = LineageItem {
        lineage,
        device: DeviceId::from_bytes([2; 16]),
        head: SnapshotId::from_bytes([3; 32]),
        sequence: 7,
        received_at: 0,
        confirmed_at: 0,
        snapshots: 8,
    };
    control.send(&LineageList { lineages: vec![item] }, &[]).await.unwrap();
    let unknown = ErrorMessage { code: ErrorCode::NotFound as u16, detail: String::new() };
    control.send(&unknown, &[]).await.unwrap();
    let snapshots = vec![SnapshotItem { received_at: 9, is_damaged: false }];
    control.send(&SnapshotList { snapshots }, &[list(&[b"header"])]).await.unwrap();
    // One more question is answered by what is meant for it.
    asked.push(control.receive().await.unwrap().unwrap());
    control.send(&LogEntries { entries: 1, more: false }, &[list(&[b"three"])]).await.unwrap();
    let _ = control.receive().await;
    asked.iter().map(|frame| frame.kind).collect()
}

#[test]
fn all_of_an_overview_is_asked_before_the_first_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (known, unknown) = (LineageId::from_bytes([5; 16]), LineageId::from_bytes([6; 16]));
    runtime.block_on(async {
        let identity = Identity::from_seed(&[1; 32]);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, &identity, ListenerOptions::default()).unwrap();
        let connecting = Connecting {
            server: ServerAddress::parse(&listener.local_address().unwrap().to_string()).unwrap(),
            fingerprint: fingerprint(&identity.public_key()),
            identity: Identity::from_seed(&[2; 32]),
        };
        let asking = async {
            let link = connecting.connect().await.unwrap();
            let control = Control::begin(&link, &keeper::hello("test")).await.unwrap();
            let control = tokio::sync::Mutex::new(control);
            let live = keeper::Live { number: 1, link: ClientLink(link), control };
            let (overview, has_more) = overview(&live, &[unknown, known], 10).await.unwrap();
            assert_eq!(overview.log, [Bytes::from("one"), Bytes::from("two")]);
            assert_eq!((overview.lineages.len(), overview.lineages[0].sequence), (1, 7));
            let [(lineage, newest)] = &overview.newest[..] else { panic!("{:?}", overview.newest) };
            assert_eq!((*lineage, &*newest[0].header), (known, &b"header"[..]));
            assert!(!has_more);
            let next: (LogEntries, Bytes) =
                live.control.lock().await.ask(&Log { from: 2 }, &[]).await.unwrap();
            assert_eq!(next.0.entries, 1);
        };
        let (kinds, ()) = tokio::join!(answer_when_all_is_asked(&listener, known), asking);
        let asked = [Log::KIND, Lineages::KIND, Snapshots::KIND, Snapshots::KIND, Log::KIND];
        assert_eq!(kinds[1..], asked);
    });
}
