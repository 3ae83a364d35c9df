//! The server's end: takes connections; what they may do is decided above.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig, TokioRuntime, VarInt};

use super::link::{QuicLink, QuicStream};
use super::tls::{Identity, key_of_spki, server_config};
use super::transport::{SERVER_WINDOW, endpoint_config, fit_windows, socket, transport};
use crate::ids::SigningPublicKey;
use crate::wire::{CHANNEL_BINDING_LABEL, LinkError};

/// How many clients a listener takes.
#[derive(Debug, Clone, Copy)]
pub struct ListenerOptions {
    /// Connections at once; more are refused.
    pub connections_max: usize,
    /// Handshakes at once from addresses that have not been validated; beyond it a client has to show that it receives at its address.
    pub handshakes_max: usize,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self { connections_max: 10_000, handshakes_max: 64 }
    }
}

/// Listens for QUIC connections. Must be made and used inside a tokio runtime.
pub struct Listener {
    endpoint: Endpoint,
    options: ListenerOptions,
}

/// A connection whose handshake is complete.
pub struct Accepted {
    /// The connection.
    pub link: QuicLink,
    /// The key the client showed and holds.
    pub client: SigningPublicKey,
    /// Where it comes from.
    pub address: SocketAddr,
}

impl Listener {
    /// Listens at `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr, identity: &Identity, options: ListenerOptions) -> io::Result<Self> {
        let crypto = server_config(identity).map_err(io::Error::other)?;
        let crypto = QuicServerConfig::try_from(crypto).map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport(None, SERVER_WINDOW));
        config.max_incoming(options.connections_max.max(options.handshakes_max));
        config.incoming_buffer_size(64 * 1024);
        config.incoming_buffer_size_total(16 << 20);
        let endpoint = Endpoint::new(
            endpoint_config(Some(identity.reset_secret())),
            Some(config),
            socket(address)?,
            Arc::new(TokioRuntime),
        )?;
        Ok(Self { endpoint, options })
    }

    /// The address it listens at.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next client to shake hands with; nothing once the listener is closed.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let open = self.endpoint.open_connections();
            if open >= self.options.connections_max {
                incoming.refuse();
            } else if open >= self.options.handshakes_max
                && !incoming.remote_address_validated()
                && incoming.may_retry()
            {
                let _ = incoming.retry();
            } else {
                return Some(Incoming(incoming));
            }
        }
    }

    /// Ends all connections and waits a moment until their clients know.
    pub async fn close(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"stopped");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

/// A client that wants to connect.
pub struct Incoming(quinn::Incoming);

impl Incoming {
    /// Shakes hands.
    pub async fn handshake(self) -> Result<Accepted, LinkError> {
        let lost = |error: &dyn std::fmt::Display| LinkError::Lost(error.to_string());
        let connecting = self.0.accept().map_err(|error| lost(&error))?;
        let connection = tokio::time::timeout(Duration::from_secs(10), connecting)
            .await
            .map_err(|_| LinkError::Lost("handshake took longer than 10 s".to_owned()))?
            .map_err(|error| lost(&error))?;
        fit_windows(&connection);
        let identity = connection.peer_identity();
        let certificates = identity
            .as_deref()
            .and_then(|any| any.downcast_ref::<Vec<rustls::pki_types::CertificateDer<'static>>>());
        let client = certificates.and_then(|list| list.first()).and_then(|spki| key_of_spki(spki));
        let client = client.ok_or_else(|| LinkError::Lost("client showed no key".to_owned()))?;
        Ok(Accepted { address: connection.remote_address(), link: QuicLink(connection), client })
    }
}

impl QuicLink {
    /// The next stream the client opens; nothing once the connection has ended.
    pub async fn accept(&self) -> Option<QuicStream> {
        self.0.accept_bi().await.ok().map(QuicStream::new)
    }

    /// Ends the connection; `reason` is shown to people.
    pub fn close(&self, reason: &str) {
        self.0.close(VarInt::from_u32(1), reason.as_bytes());
    }

    /// A secret of this connection alone, the same at both ends: what a proof of the password signs.
    pub fn channel_binding(&self) -> [u8; 32] {
        let mut binding = [0; 32];
        // Fails only for lengths TLS cannot export.
        self.0
            .export_keying_material(&mut binding, CHANNEL_BINDING_LABEL, b"")
            .expect("TLS exports 32 bytes");
        binding
    }
}
