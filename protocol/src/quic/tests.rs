//! The two ends over the loopback interface.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig};

use super::tls::server_config;
use super::*;
use crate::store::{Refusal, StoreError};
use crate::wire::ALPN;

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
