//! What goes over a connection: frames, messages, and the streams that carry them. PROTOCOL.md section 9.
//!
//! Nothing here knows QUIC: a [`Link`] is anything that opens bidirectional streams, a connection of quinn or a pipe in memory.

mod client;
mod error_code;
mod frame;
mod link;
mod memory;
mod message;

pub use client::{AskError, ClientLink, Control, GetStream, Got, PutStream, WatchStream};
pub use error_code::ErrorCode;
pub use frame::{Frame, FrameError};
pub use link::{Frames, Link, LinkError, Stream};
pub use memory::{give_back, take as take_memory};
pub use message::{
    Account, Changed, Commit, CommitDone, Damaged, Durable, Enrol, ErrorMessage, FactorOffer, Get, Have,
    HaveBits, Hello, Ids, Invite, KeyBlobs, LineageItem, LineageList, Lineages, Log, LogEntries, Message,
    ObjectItem, ObjectStatus, Objects, Offer, OpenSession, Prove, Put, PutItem, Received, Register,
    Registered, Released, SessionOpened, SnapshotItem, SnapshotList, Snapshots, Touch, Watch, Welcome,
    WireLimits,
};

/// Name of the protocol in the TLS handshake. Another number is another protocol.
pub const ALPN: &[u8] = b"backstore/1";
/// Number within the protocol; grows with every addition.
pub const MINOR: u32 = 1;
/// Features this side has, a bit each; both sides use the intersection. None so far.
pub const FEATURES: u64 = 0;
/// UDP port of a server.
pub const PORT: u16 = 4287;
/// Label of the exported keying material that a proof of the password signs.
pub const CHANNEL_BINDING_LABEL: &[u8] = b"EXPORTER-backstore-login";
