//! The protocol over QUIC: the only part of this crate that touches the network, the clock and tokio.
//!
//! [`QuicDestination`] is the client; [`Listener`] accepts connections for a server. Both sides show Ed25519 raw public keys: no
//! certificate is ever parsed.

mod client;
mod connect;
mod enrol;
mod keeper;
mod link;
mod listener;
mod lists;
mod outage;
mod session;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

pub use client::QuicDestination;
pub use connect::{Connecting, ServerAddress, fingerprint_text};
pub use enrol::Enrolment;
pub use keeper::ClientOptions;
pub use link::{QuicLink, QuicStream};
pub use listener::{Accepted, Incoming, Listener, ListenerOptions};
pub use tls::{Identity, fingerprint};
