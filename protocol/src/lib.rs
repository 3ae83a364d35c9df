//! What the agent, the server and the mount agree on.
//!
//! Words, ids, limits, stored formats, sealing, wire frames and sessions, as PROTOCOL.md in this folder specifies them. Nothing here does I/O,
//! asks for the time or for randomness, or knows an operating system; `quic` alone, behind a feature, touches the network.

pub mod account_log;
pub mod base32;
pub mod bundle;
pub mod chunker;
pub mod codec;
pub mod compression;
pub mod content_hash;
pub mod entry;
pub mod envelope;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod map;
pub mod object;
pub mod path;
#[cfg(feature = "quic")]
pub mod quic;
pub mod seal_box;
pub mod snapshot;
pub mod store;
pub mod tree;
pub mod wire;
