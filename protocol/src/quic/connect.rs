//! Finding a server and shaking hands with it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TokioRuntime};

use super::link::QuicLink;
use super::tls::{Found, Identity, client_config, fingerprint};
use super::transport::{CLIENT_WINDOW, endpoint_config, fit_windows, socket, transport};
use crate::ids::Fingerprint;
use crate::store::{Refusal, StoreError};
use crate::wire::PORT;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl ServerAddress {
    /// Reads `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; nothing if it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
        let fine = !host.is_empty()
            && !host.chars().any(|c| c.is_whitespace() || c.is_control() || "/#?@".contains(c));
        fine.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Who connects to whom.
#[derive(Clone)]
pub struct Connecting {
    /// Where the server is.
    pub server: ServerAddress,
    /// The fingerprint it must have.
    pub fingerprint: Fingerprint,
    /// The key this side shows.
    pub identity: Identity,
}

/// One attempt takes no longer than this.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Kept alive through a NAT.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

impl Connecting {
    /// Connects once, trying each of the server's addresses.
    pub async fn connect(&self) -> Result<QuicLink, StoreError> {
        let unreachable =
            |detail: String| StoreError::Unreachable { server: self.server.to_string(), detail };
        let addresses = tokio::net::lookup_host((self.server.host.as_str(), self.server.port)).await;
        let addresses: Vec<_> = addresses.map_err(|error| unreachable(error.to_string()))?.collect();
        let mut last = unreachable("the name has no address".to_owned());
        for address in addresses {
            match self.connect_to(address).await {
                Ok(link) => return Ok(link),
                Err(error @ StoreError::WrongFingerprint { .. }) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<QuicLink, StoreError> {
        let unreachable =
            |detail: String| StoreError::Unreachable { server: self.server.to_string(), detail };
        let found = Found::default();
        let config = client_config(&self.identity, self.fingerprint, Arc::clone(&found))
            .map_err(|error| unreachable(error.to_string()))?;
        let crypto = QuicClientConfig::try_from(config).map_err(|error| unreachable(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport(Some(KEEP_ALIVE), CLIENT_WINDOW));
        let any: SocketAddr = if address.is_ipv6() { ([0u16; 8], 0).into() } else { ([0u8; 4], 0).into() };
        let socket = socket(any).map_err(|error| unreachable(error.to_string()))?;
        let endpoint = Endpoint::new(endpoint_config(None), None, socket, Arc::new(TokioRuntime))
            .map_err(|error| unreachable(error.to_string()))?;
        // The name is not sent and not checked: the key is.
        let connecting = endpoint
            .connect_with(config, address, "backstore")
            .map_err(|error| unreachable(error.to_string()))?;
        let connected = tokio::time::timeout(HANDSHAKE_PATIENCE, connecting).await;
        match connected {
            Ok(Ok(connection)) => {
                fit_windows(&connection);
                Ok(QuicLink(connection))
            }
            Ok(Err(error)) if is_another_protocol(&error) => {
                Err(StoreError::Refused { reason: Refusal::Unsupported, detail: self.server.to_string() })
            }
            Ok(Err(error)) => {
                Err(self.wrong_fingerprint(&found).unwrap_or_else(|| unreachable(error.to_string())))
            }
            Err(_) => Err(unreachable(format!(
                "no answer from {address} within {} s",
                HANDSHAKE_PATIENCE.as_secs()
            ))),
        }
    }

    fn wrong_fingerprint(&self, found: &Found) -> Option<StoreError> {
        let key = (*found.lock().unwrap_or_else(std::sync::PoisonError::into_inner))?;
        let found = fingerprint(&key);
        (found != self.fingerprint).then(|| StoreError::WrongFingerprint {
            server: self.server.to_string(),
            expected: fingerprint_text(&self.fingerprint),
            found: fingerprint_text(&found),
        })
    }
}

/// Whether a handshake failed because the server does not speak this protocol.
fn is_another_protocol(error: &quinn::ConnectionError) -> bool {
    /// The TLS alert `no_application_protocol`.
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    match error {
        quinn::ConnectionError::ConnectionClosed(closed) => {
            closed.error_code == quinn::TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL)
        }
        quinn::ConnectionError::TransportError(error) => {
            error.code == quinn::TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL)
        }
        quinn::ConnectionError::VersionMismatch => true,
        quinn::ConnectionError::ApplicationClosed(_)
        | quinn::ConnectionError::Reset
        | quinn::ConnectionError::TimedOut
        | quinn::ConnectionError::LocallyClosed
        | quinn::ConnectionError::CidsExhausted => false,
    }
}

/// A fingerprint as invitations write it: Base32 (RFC 4648) in lower case, 32 characters.
pub fn fingerprint_text(fingerprint: &Fingerprint) -> String {
    crate::base32::encode(fingerprint.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("nas", "nas:4287"),
            ("nas.example:99", "nas.example:99"),
            ("192.0.2.1", "192.0.2.1:4287"),
            ("[::1]", "[::1]:4287"),
            ("[2001:db8::7]:5", "[2001:db8::7]:5"),
        ] {
            assert_eq!(ServerAddress::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            ":",
            ":5",
            "nas:",
            "nas:0",
            "nas:70000",
            "nas:x",
            "::1",
            "[::1",
            "[nas]",
            "[::1]5",
            "a b",
            "a/b",
        ] {
            assert_eq!(ServerAddress::parse(text), None, "{text}");
        }
    }
}
