//! For each decoder: read bytes and, if it accepts them, write what it read again. One value has one encoding, so the two are equal.
//!
//! Shared by the golden, the hostile and the fuzz tests. What is signed or sealed in a format is signed or sealed here, so that changed bytes
//! get past that to the decoder.

use std::sync::Arc;

use backstore_protocol::account_log::{AccountState, What};
use backstore_protocol::envelope::{self, Class, Compression, Label};
use backstore_protocol::ids::{AccountId, DomainId, LogHash, ObjectId};
use backstore_protocol::keys::{Keyring, SealKeys, derive};
use backstore_protocol::map::{MapNode, encode_map};
use backstore_protocol::object::{NodeBytes, ObjectKind};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::seal_box::{BoxKey, Boxed, SigningKey, seal_to};
use backstore_protocol::snapshot::{Body, Header};
use backstore_protocol::tree::{Items, Node, encode_inner, encode_leaf};
use backstore_protocol::wire::{self, Frame, Message};
use backstore_protocol::{base32, entry};
use bytes::Bytes;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use serde::{Deserialize, Serialize};

/// Reads, and writes again what was accepted.
pub(crate) type Recode = fn(&[u8]) -> Option<Vec<u8>>;

/// Every format by the folder its fixtures are in.
pub(crate) const FORMATS: [(&str, Recode); 14] = [
    ("base32", base32),
    ("body", body),
    ("box", sealed_box),
    ("entry", one_entry),
    ("envelope", sealed),
    ("frame", frame),
    ("header", header),
    ("inner", inner),
    ("joined", joined),
    ("key", key),
    ("keyring", keyring),
    ("log", log),
    ("node", node),
    ("object", object),
];

/// Keys of every envelope among the fixtures.
const ENVELOPE_MATERIAL: [u8; 32] = [9; 32];
/// Id they are sealed under.
pub(crate) const ENVELOPE_ID: [u8; 32] = [7; 32];
/// Who opens the boxes among the fixtures.
pub(crate) const RECIPIENT: [u8; 32] = [5; 32];
/// Whose fresh key they were sealed with.
pub(crate) const EPHEMERAL: [u8; 32] = [6; 32];
/// Whose boxes they are.
pub(crate) const ACCOUNT: AccountId = AccountId::from_bytes([4; 16]);
/// Signs headers and the account log.
pub(crate) const SEED: [u8; 32] = [3; 32];
const SIGNATURE: usize = 64;

pub(crate) fn base32(bytes: &[u8]) -> Option<Vec<u8>> {
    // Upper case is read too, since people type it.
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.to_ascii_lowercase() == **text)?;
    base32::decode(text).map(|bytes| base32::encode(&bytes).into_bytes())
}

pub(crate) fn body(bytes: &[u8]) -> Option<Vec<u8>> {
    Body::decode(bytes).ok().map(|body| body.encode())
}

pub(crate) fn keyring(bytes: &[u8]) -> Option<Vec<u8>> {
    Keyring::decode(bytes).ok().map(|keyring| keyring.encode().to_vec())
}

pub(crate) fn key(bytes: &[u8]) -> Option<Vec<u8>> {
    ArchivePath::from_key(bytes).ok().map(|path| path.key())
}

pub(crate) fn joined(bytes: &[u8]) -> Option<Vec<u8>> {
    let path = ArchivePath::from_joined(bytes).ok()?;
    assert_eq!(ArchivePath::from_key(&path.key()), Ok(path.clone()), "a path and its key are one");
    let text = path.to_string();
    assert!(!text.is_empty(), "every path can be shown");
    Some(path.joined().to_vec())
}

/// A stored header, whose signature may be any.
pub(crate) fn header(stored: &[u8]) -> Option<Vec<u8>> {
    let header = Header::decode(stored).ok()?;
    let again = header.sign(&SigningKey::from_seed(&SEED));
    Some(with_signature_of(stored, &again[..again.len() - SIGNATURE]))
}

fn with_signature_of(stored: &[u8], signed: &[u8]) -> Vec<u8> {
    [signed, &stored[stored.len() - SIGNATURE..]].concat()
}

/// An entry of the account log as PROTOCOL.md section 8 has it.
#[derive(Serialize, Deserialize)]
struct LogEntry {
    sequence: u64,
    previous: LogHash,
    at: i64,
    what: What,
}

const LOG_CONTEXT: &[u8] = b"backstore 2026 v1 account-log\0";

/// A stored entry of an account log, whose signature may be any: the first of a log, or the one after the first.
pub(crate) fn log(stored: &[u8]) -> Option<Vec<u8>> {
    let authority = SigningKey::from_seed(&SEED);
    let signed = &stored[..stored.len().checked_sub(SIGNATURE)?];
    let resigned = [signed, &authority.sign(LOG_CONTEXT, signed)].concat();
    let mut state = AccountState::default();
    if signed.first() != Some(&0) {
        state.append(&genesis()).expect("a good entry");
    }
    let before = state.clone();
    if state.append(&resigned).is_err() {
        assert_eq!(state, before, "a refused entry changes nothing");
        return None;
    }
    let entry: LogEntry = postcard::from_bytes(signed).expect("an accepted entry is one");
    assert_eq!(before.next(&authority, entry.at, entry.what.clone()), resigned);
    let again = postcard::to_allocvec(&entry).expect("memory");
    Some(with_signature_of(stored, &again))
}

/// The first entry of the log among the fixtures.
pub(crate) fn genesis() -> Vec<u8> {
    let authority = SigningKey::from_seed(&SEED);
    let what =
        What::Genesis { account: ACCOUNT, authority: authority.public_key(), key_check: [8; 32], mode: 1 };
    AccountState::default().next(&authority, 1_795_000_000_000, what)
}

/// `kind ‖ level ‖ count u32 ‖ references ‖ payload`: what a node's id is the hash of.
pub(crate) fn node(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = bytes.split_first_chunk::<6>()?;
    let count = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
    let length = count.checked_mul(ObjectId::SIZE).filter(|length| *length <= rest.len())?;
    let (references, payload) = rest.split_at(length);
    let references: Vec<_> =
        references.chunks_exact(ObjectId::SIZE).filter_map(ObjectId::from_slice).collect();
    let payload = Bytes::copy_from_slice(payload);
    match ObjectKind::from_number(head[0])? {
        ObjectKind::Tree => tree_node(head[1], &references, payload),
        ObjectKind::Map => {
            let node = MapNode::parse(head[1], &references, &payload).ok()?;
            let pieces: Vec<_> = node.from_offset(0).iter().map(|(_, piece)| *piece).collect();
            Some(node_message(&encode_map(node.level(), &pieces)))
        }
        ObjectKind::Data | ObjectKind::Body => None,
    }
}

/// What the id of a node is the hash of.
pub(crate) fn node_message(node: &NodeBytes) -> Vec<u8> {
    let mut message = vec![node.kind as u8, node.level];
    message.extend_from_slice(&(node.references.len() as u32).to_le_bytes());
    node.references.iter().for_each(|id| message.extend_from_slice(id.as_bytes()));
    message.extend_from_slice(&node.payload);
    message
}

fn tree_node(level: u8, references: &[ObjectId], payload: Bytes) -> Option<Vec<u8>> {
    let node = Arc::new(Node::parse(level, references, payload).ok()?);
    // Lookups meet nodes that nobody has validated: they may fail, and nothing else.
    for index in [0, 1, 15, 16, node.len() / 2, node.len()] {
        if let Ok(mut items) = Items::at(Arc::clone(&node), index) {
            let _read = items.read();
            let found = Items::seek(Arc::clone(&node), items.key());
            let _read = found.and_then(|mut items| items.read());
        }
    }
    node.validate().ok()?;
    let mut items = Items::start(node);
    let again = if level == 0 {
        let mut entries = Vec::new();
        while let Some(entry) = items.read_entry().expect("a valid node") {
            entries.push((items.key().to_vec(), entry));
        }
        encode_leaf(&entries)
    } else {
        let mut children = Vec::new();
        while let Some(child) = items.read_child().expect("a valid node") {
            children.push((items.key().to_vec(), child));
        }
        encode_inner(level, &children)
    };
    Some(node_message(&again))
}

/// The entry before the one that [`one_entry`] reads, so that there is something to be relative to.
pub(crate) fn entry_before() -> (Vec<u8>, entry::Entry) {
    use entry::{Content, Extent, ObjectRef, Principal, PrincipalId, Xattr};
    let principal = |id, name: &[u8]| Arc::new(Principal { id, name: name.into() });
    let data = |length: u32| Extent::Data { object: OBJECTS[length as usize / 1000 - 1], offset: 0, length };
    let map = Content::Map(OBJECTS[2].id);
    const OBJECTS: [ObjectRef; 3] = [
        ObjectRef { id: ObjectId::from_bytes([1; 32]), length: 1000 },
        ObjectRef { id: ObjectId::from_bytes([2; 32]), length: 2000 },
        ObjectRef { id: ObjectId::from_bytes([3; 32]), length: 0 },
    ];
    let entry = entry::Entry {
        mode: 0o644,
        owner: principal(PrincipalId::Unix(1000), b"alice"),
        group: principal(PrincipalId::Unix(100), b"users"),
        mtime: entry::Time { seconds: 1_795_000_000, nanoseconds: 5 },
        mount: 1,
        inode: 77,
        size: 3000,
        xattrs: vec![Xattr { name: b"user.big".as_slice().into(), size: 9, value: map }],
        content: Content::Extents([data(1000), data(2000)].into()),
        content_hash: Some(backstore_protocol::ids::ContentHash::from_bytes([9; 16])),
        ..entry::Entry::new(entry::Kind::File)
    };
    (b"/\0\0a".to_vec(), entry)
}

/// `varint shared ‖ bytes rest` of the key `/b` after `/a`.
const SECOND_KEY: [u8; 3] = [3, 1, b'b'];

/// The bytes of one entry in a leaf, after [`entry_before`].
pub(crate) fn one_entry(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = encode_leaf(&[entry_before()]);
    let (head, table) = (&first.payload[1..first.payload.len() - 4], [0; 4]);
    let payload = [&[2], head, &SECOND_KEY, bytes, &table].concat();
    let node = Arc::new(Node::parse(0, &first.references, payload.into()).ok()?);
    node.validate().ok()?;
    let mut items = Items::at(node, 1).ok()?;
    let entry = items.read_entry().ok()??;
    Some(encode_entry(entry))
}

/// What [`one_entry`] reads.
pub(crate) fn encode_entry(entry: entry::Entry) -> Vec<u8> {
    let first = encode_leaf(&[entry_before()]);
    let both = encode_leaf(&[entry_before(), (b"/\0\0b".to_vec(), entry)]);
    assert_eq!(both.references, first.references, "the entry refers to what the one before does");
    both.payload[first.payload.len() - 4 + SECOND_KEY.len()..both.payload.len() - 4].to_vec()
}

/// The classes of an envelope.
pub(crate) const CLASSES: [Class; 7] = [
    Class::Data,
    Class::Body,
    Class::SealedBox,
    Class::Factor,
    Class::DeviceKeys,
    Class::Node,
    Class::LocalCache,
];

/// The label of the fixture of a class.
pub(crate) const fn label(class: Class) -> Label {
    Label { class, kind: class as u8 + 1, epoch: 2, generation: 1 }
}

/// The keys it is sealed with.
pub(crate) fn seal_keys() -> SealKeys {
    SealKeys::new("fixture", &ENVELOPE_MATERIAL)
}

/// An envelope, sealed with [`seal_keys`] under [`ENVELOPE_ID`].
pub(crate) fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let class = CLASSES.into_iter().find(|class| Some(&(*class as u8)) == bytes.get(5))?;
    let mut plain = Vec::new();
    envelope::open(&seal_keys(), label(class), &ENVELOPE_ID, bytes, &mut plain).ok()?;
    let mut again = Vec::new();
    for compression in [Compression::Zstd(3), Compression::None] {
        envelope::seal(&seal_keys(), label(class), &ENVELOPE_ID, &plain, compression, &mut again);
        if again == bytes {
            break;
        }
    }
    Some(again)
}

/// An object of [`fixture_keyring`]: its id, then the envelope. Of a node it is not compared whether the id is that of its bytes.
pub(crate) fn object(bytes: &[u8]) -> Option<Vec<u8>> {
    let (id, sealed) = bytes.split_first_chunk::<32>()?;
    let keys = fixture_keyring().keys();
    let (mut plain, mut again) = (Vec::new(), Vec::new());
    let (class, kind) = OBJECT_KINDS
        .into_iter()
        .find(|(class, kind)| keys.open(*class, *kind as u8, id, sealed, &mut plain).is_ok())?;
    keys.seal(class, kind as u8, id, &plain, Compression::None, &mut again);
    Some([&id[..], &again].concat())
}

/// Which class each kind of object is sealed as.
const OBJECT_KINDS: [(Class, ObjectKind); 4] = [
    (Class::Data, ObjectKind::Data),
    (Class::Node, ObjectKind::Tree),
    (Class::Node, ObjectKind::Map),
    (Class::Body, ObjectKind::Body),
];

/// What is encrypted in an envelope of a node: `inner ‖ stored ‖ padding`.
pub(crate) fn inner(bytes: &[u8]) -> Option<Vec<u8>> {
    const LABEL: Label = label(Class::Node);
    let stored_length = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?) as usize;
    let stored = bytes.get(16..)?.get(..stored_length).unwrap_or_default();
    let mut header = [0x8b, b'B', b'K', 1, 1, LABEL.class as u8, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0].to_vec();
    let mut hasher = blake3::Hasher::new_keyed(&derive("salt fixture", &ENVELOPE_MATERIAL));
    let mut salt = [0; 24];
    hasher
        .update(&header)
        .update(&ENVELOPE_ID)
        .update(&bytes[..16])
        .update(stored)
        .finalize_xof()
        .fill(&mut salt);
    let mut hasher = blake3::Hasher::new_keyed(&derive("enc fixture", &ENVELOPE_MATERIAL));
    let mut both = [0; 64];
    hasher.update(&header).update(&salt).update(&ENVELOPE_ID).finalize_xof().fill(&mut both);
    let (key, commitment) = both.split_at(32);
    let cipher = ChaCha20Poly1305::new_from_slice(key).expect("a key of 32 bytes");
    header.extend_from_slice(&salt);
    header.extend_from_slice(commitment);
    header.extend_from_slice(&cipher.encrypt(&[0; 12].into(), bytes).expect("memory"));

    let mut plain = Vec::new();
    envelope::open(&seal_keys(), LABEL, &ENVELOPE_ID, &header, &mut plain).ok()?;
    let is_compressed = bytes[0] == 1;
    if !is_compressed {
        let mut again = Vec::new();
        envelope::seal(&seal_keys(), LABEL, &ENVELOPE_ID, &plain, Compression::None, &mut again);
        assert_eq!(again, header, "an envelope that opens is sealed the same way");
    }
    let mut again = vec![u8::from(is_compressed), LABEL.kind, 0, 0];
    again.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    again.extend_from_slice(&(stored_length as u32).to_le_bytes());
    again.extend_from_slice(&[0; 4]);
    again.extend_from_slice(stored);
    again.resize(envelope::sealed_length(LABEL.class, stored_length) - 72 - 16, 0);
    Some(again)
}

/// A box sealed to [`RECIPIENT`] with [`EPHEMERAL`].
pub(crate) fn sealed_box(bytes: &[u8]) -> Option<Vec<u8>> {
    let recipient = BoxKey::from_bytes(RECIPIENT);
    [Boxed::Keyring, Boxed::Authority].into_iter().find_map(|what| {
        let plain = recipient.open(ACCOUNT, what, bytes).ok()?;
        seal_to(&recipient.public_key(), ACCOUNT, what, &plain, EPHEMERAL)
    })
}

/// The keyring of the fixtures.
pub(crate) fn fixture_keyring() -> Keyring {
    Keyring::new(DomainId::from_bytes([1; 16]), [2; 32], [3; 32])
}

macro_rules! messages {
    ($($name:ident)*) => {
        /// A frame of any type.
        pub(crate) fn frame(bytes: &[u8]) -> Option<Vec<u8>> {
            let frame = Frame::decode(&Bytes::copy_from_slice(bytes)).ok()?;
            match frame.kind {
                $(<wire::$name as Message>::KIND => message::<wire::$name>(&frame),)*
                _ => None,
            }
        }

        /// Types of all frames.
        pub(crate) const FRAME_KINDS: &[u8] = &[$(<wire::$name as Message>::KIND),*];
    };
}

messages! {
    Hello Welcome ErrorMessage Invite Offer Register Registered Prove Released Enrol OpenSession SessionOpened Damaged Ids Commit CommitDone
    Touch Lineages LineageList Snapshots SnapshotList Log LogEntries Have HaveBits Put Received Durable Get Objects Watch Changed
}

fn message<M: Message>(frame: &Frame) -> Option<Vec<u8>> {
    let message: M = frame.message().ok()?;
    Some([&Frame::start(&message, frame.tail.len())[..], &frame.tail].concat())
}
