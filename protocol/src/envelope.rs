//! Sealing and opening one object: PROTOCOL.md section 7.
//!
//! A key is used once: it comes from the salt, which is a keyed hash of everything that is sealed. So equal inputs give equal
//! objects, no randomness and no counter can fail, and the 32-byte commitment pins the key.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use subtle::ConstantTimeEq;

use crate::compression::{Contents, compress};
use crate::keys::{Keys, SealKeys};
use crate::limits::{DATA_SEALED_MIN, OBJECT_PLAIN_MAX, OBJECT_SEALED_MAX, OTHER_SEALED_MIN};

/// What a sealed object is for; part of what its key is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// A data object.
    Data = 1,
    /// A snapshot's body.
    Body = 2,
    /// Something sealed to a public key.
    SealedBox = 3,
    /// The private half of a factor.
    Factor = 4,
    /// A device's own keys at rest.
    DeviceKeys = 5,
    /// A tree or map node.
    Node = 7,
    /// A local cache.
    LocalCache = 8,
}

/// Who sealed it, and what the referrer expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its class.
    pub class: Class,
    /// Kind written inside, by the class.
    pub kind: u8,
    /// Epoch of the key.
    pub epoch: u32,
    /// Generation of the keyring.
    pub generation: u32,
}

/// Why an object does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No sealed object has this length.
    #[error("length {0} is not that of a sealed object")]
    Length(usize),
    /// It is of another version, suite, class or generation than its referrer says.
    #[error("header is not that of class {expected:?}")]
    Header {
        /// What its referrer expects.
        expected: Class,
    },
    /// It was sealed in an epoch whose key this keyring lacks.
    #[error("sealed in epoch {0}, whose key is not in the keyring")]
    Epoch(u32),
    /// Sealed with another key or for another id.
    #[error("key commitment differs: sealed with another key or under another id")]
    Commitment,
    /// Bytes were changed.
    #[error("authentication failed: bytes were changed")]
    Tag,
    /// What was sealed is not well formed.
    #[error("sealed content is malformed: {0}")]
    Inner(&'static str),
    /// Content and id do not belong together.
    #[error("content is not that of its id")]
    Id,
}

/// Offset of the ciphertext.
const SEALED_AT: usize = 72;
const INNER: usize = 16;
const TAG: usize = 16;
/// Envelope bytes around the stored payload.
pub const OVERHEAD: usize = SEALED_AT + INNER + TAG;
const MAGIC: [u8; 4] = [0x8b, b'B', b'K', 1];
const SUITE: u8 = 1;

/// Whether the payload is worth compressing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Store as it is.
    None,
    /// zstd at this level, unless that does not make it smaller.
    Zstd(i32),
    /// The same of [`Contents::Chunks`].
    ZstdChunks(i32),
}

/// Bytes the sealed object of `stored` payload bytes has: rounded so that few sizes occur (Padmé).
pub fn sealed_length(class: Class, stored: usize) -> usize {
    let floor = if matches!(class, Class::Data) { DATA_SEALED_MIN } else { OTHER_SEALED_MIN };
    padme(OVERHEAD + stored).max(floor)
}

fn padme(length: usize) -> usize {
    let exponent = length.max(2).ilog2();
    let keep = exponent.ilog2() + 1;
    let step = 1usize << exponent.saturating_sub(keep);
    length.next_multiple_of(step)
}

/// Seals `plain` under `id`, into `out`, which is cleared first.
pub fn seal(
    keys: &SealKeys,
    label: Label,
    id: &[u8; 32],
    plain: &[u8],
    compression: Compression,
    out: &mut Vec<u8>,
) {
    assert!(plain.len() <= OBJECT_PLAIN_MAX, "an object of {} bytes was to be sealed", plain.len());
    out.clear();
    out.resize(SEALED_AT + INNER, 0);
    let compressed = match compression {
        Compression::None => false,
        Compression::Zstd(level) => compress(level, Contents::Files, plain, out),
        Compression::ZstdChunks(level) => compress(level, Contents::Chunks, plain, out),
    };
    if !compressed {
        out.truncate(SEALED_AT + INNER);
        out.extend_from_slice(plain);
    }
    let stored = out.len() - SEALED_AT - INNER;
    out[SEALED_AT..SEALED_AT + INNER].copy_from_slice(&inner(label.kind, compressed, plain.len(), stored));
    let header = header(label);
    let mut hasher = blake3::Hasher::new_keyed(&keys.salt);
    hasher.update(&header).update(id).update(&out[SEALED_AT..]);
    let mut salt = [0; 24];
    hasher.finalize_xof().fill(&mut salt);
    let (key, commitment) = object_key(keys, &header, &salt, id);
    out[..16].copy_from_slice(&header);
    out[16..40].copy_from_slice(&salt);
    out[40..72].copy_from_slice(&commitment);
    out.resize(sealed_length(label.class, stored) - TAG, 0);
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::empty(),
            &mut out[SEALED_AT..],
        )
        .expect("an object is far below the cipher's length limit");
    out.extend_from_slice(tag.as_ref());
}

/// Opens `sealed` in place of `buffer`'s old content and leaves the plaintext there.
///
/// The caller still has to compare the id of the plaintext with `id`.
pub fn open(
    keys: &SealKeys,
    label: Label,
    id: &[u8; 32],
    sealed: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), OpenError> {
    // What is longer is refused, so not copied whole.
    let some = &sealed[..sealed.len().min(OBJECT_SEALED_MAX + 1)];
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        scratch.extend_from_slice(some);
        if let Payload::Within(range) = open_in_place(keys, label, id, scratch, buffer)? {
            buffer.clear();
            buffer.extend_from_slice(&scratch[range]);
        }
        Ok(())
    })
}

/// Where the plaintext of an object is that was opened where it lay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// In these bytes of what was sealed.
    Within(Range<usize>),
    /// It was compressed, and is in the buffer in place of that's old content.
    InBuffer,
}

/// Opens `sealed` where it lies, which is of no other use afterwards. Only what was compressed needs `buffer`.
///
/// The caller still has to compare the id of the plaintext with `id`.
pub fn open_in_place(
    keys: &SealKeys,
    label: Label,
    id: &[u8; 32],
    sealed: &mut [u8],
    buffer: &mut Vec<u8>,
) -> Result<Payload, OpenError> {
    let length = sealed.len();
    if !(SEALED_AT + INNER + TAG..=OBJECT_SEALED_MAX).contains(&length) {
        return Err(OpenError::Length(length));
    }
    if sealed[..16] != header(label) {
        return Err(OpenError::Header { expected: label.class });
    }
    let salt: &[u8; 24] = sealed[16..40].try_into().map_err(|_| OpenError::Length(length))?;
    let (key, commitment) = object_key(keys, &header(label), salt, id);
    if !bool::from(commitment[..].ct_eq(&sealed[40..72])) {
        return Err(OpenError::Commitment);
    }
    let opened = key
        .open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut sealed[SEALED_AT..])
        .map_err(|_| OpenError::Tag)?;
    let (payload, plain, is_compressed) = read_inner(label, length, opened)?;
    if is_compressed {
        buffer.clear();
        decompress(payload, plain, buffer)?;
        return Ok(Payload::InBuffer);
    }
    if payload.len() != plain {
        return Err(OpenError::Inner("lengths"));
    }
    Ok(Payload::Within(SEALED_AT + INNER..SEALED_AT + INNER + plain))
}

/// The label's epoch as the sealed bytes say it, before anything is checked.
pub fn epoch_of(sealed: &[u8]) -> Result<u32, OpenError> {
    let bytes = sealed.get(8..12).ok_or(OpenError::Length(sealed.len()))?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

impl Keys {
    /// Seals an object of the current epoch.
    pub fn seal(
        &self,
        class: Class,
        kind: u8,
        id: &[u8; 32],
        plain: &[u8],
        compression: Compression,
        out: &mut Vec<u8>,
    ) {
        let label = Label { class, kind, epoch: self.epoch(), generation: self.generation() };
        let keys = self
            .seal_keys(class, label.epoch)
            .expect("a keyring has an epoch, and keys for every class of object");
        seal(keys, label, id, plain, compression, out);
    }

    /// Opens an object of any epoch of the keyring.
    pub fn open(
        &self,
        class: Class,
        kind: u8,
        id: &[u8; 32],
        sealed: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let epoch = epoch_of(sealed)?;
        let keys = self.seal_keys(class, epoch).ok_or(OpenError::Epoch(epoch))?;
        open(keys, Label { class, kind, epoch, generation: self.generation() }, id, sealed, buffer)
    }

    /// As [`Keys::open`], where it lies: see [`open_in_place`].
    pub fn open_in_place(
        &self,
        class: Class,
        kind: u8,
        id: &[u8; 32],
        sealed: &mut [u8],
        buffer: &mut Vec<u8>,
    ) -> Result<Payload, OpenError> {
        let epoch = epoch_of(sealed)?;
        let keys = self.seal_keys(class, epoch).ok_or(OpenError::Epoch(epoch))?;
        open_in_place(keys, Label { class, kind, epoch, generation: self.generation() }, id, sealed, buffer)
    }
}

fn header(label: Label) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = SUITE;
    header[5] = label.class as u8;
    header[8..12].copy_from_slice(&label.epoch.to_le_bytes());
    header[12..].copy_from_slice(&label.generation.to_le_bytes());
    header
}

fn inner(kind: u8, compressed: bool, plain: usize, stored: usize) -> [u8; INNER] {
    let mut inner = [0; INNER];
    inner[0] = u8::from(compressed);
    inner[1] = kind;
    inner[4..8].copy_from_slice(&(plain as u32).to_le_bytes());
    inner[8..12].copy_from_slice(&(stored as u32).to_le_bytes());
    inner
}

fn object_key(keys: &SealKeys, header: &[u8; 16], salt: &[u8; 24], id: &[u8; 32]) -> (LessSafeKey, [u8; 32]) {
    let mut hasher = blake3::Hasher::new_keyed(&keys.encryption);
    hasher.update(header).update(salt).update(id);
    let mut derived = zeroize::Zeroizing::new([0; 64]);
    hasher.finalize_xof().fill(&mut derived[..]);
    let mut commitment = [0; 32];
    commitment.copy_from_slice(&derived[32..]);
    let key = UnboundKey::new(&CHACHA20_POLY1305, &derived[..32]).expect("the key has the cipher's length");
    (LessSafeKey::new(key), commitment)
}

/// The stored payload, how long the plaintext is, and whether the payload is that compressed.
fn read_inner(label: Label, sealed: usize, opened: &[u8]) -> Result<(&[u8], usize, bool), OpenError> {
    let number =
        |at: usize| u32::from_le_bytes([opened[at], opened[at + 1], opened[at + 2], opened[at + 3]]) as usize;
    let (plain, stored) = (number(4), number(8));
    let compressed = opened[0] == 1;
    if opened[..INNER] != inner(label.kind, compressed, plain, stored) {
        return Err(OpenError::Inner("fields"));
    }
    if plain > OBJECT_PLAIN_MAX
        || stored > opened.len() - INNER
        || sealed_length(label.class, stored) != sealed
    {
        return Err(OpenError::Inner("lengths"));
    }
    let (payload, padding) = opened[INNER..].split_at(stored);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(OpenError::Inner("padding"));
    }
    Ok((payload, plain, compressed))
}

thread_local! {
    /// Ciphertext being opened: fresh memory is dear, so each thread keeps its own.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn decompress(payload: &[u8], plain: usize, buffer: &mut Vec<u8>) -> Result<(), OpenError> {
    let malformed = OpenError::Inner("compressed data");
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(ready) => ready,
            None => decompressor.insert(zstd::bulk::Decompressor::new().map_err(|_| malformed)?),
        };
        buffer.reserve(plain);
        let length = decompressor.decompress_to_buffer(payload, buffer).map_err(|_| malformed)?;
        if length == plain { Ok(()) } else { Err(malformed) }
    })
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKeys")
    }
}
