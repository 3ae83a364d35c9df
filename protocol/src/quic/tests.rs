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
