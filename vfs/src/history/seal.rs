//! Sealing the rows of the index: names and attributes of files do not lie open on the disk.
//!
//! ChaCha20-Poly1305 with the row's key as associated data. The nonce is the beginning of a keyed hash of key and content, so that it is another one
//! for every other content, and nothing has to be counted (the construction of RFC 5297, with BLAKE3 in place of CMAC).

use backstore_protocol::keys::{Keys, derive};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Seals and opens values of rows, and hashes what their keys are made of.
pub(super) struct RowSeal {
    cipher: LessSafeKey,
    nonces: [u8; 32],
    names: [u8; 32],
}

/// A keyed hash of a path.
pub(super) type PathHash = [u8; 16];

impl RowSeal {
    pub(super) fn new(keys: &Keys) -> Self {
        let of = |purpose: &str| derive(purpose, &keys.ids.tree);
        let cipher = UnboundKey::new(&CHACHA20_POLY1305, &of("history rows"));
        Self {
            cipher: LessSafeKey::new(cipher.expect("the key has the cipher's length")),
            nonces: of("history nonces"),
            names: of("history names"),
        }
    }

    /// What stands for a path in keys.
    pub(super) fn path(&self, joined: &[u8]) -> PathHash {
        let mut hash = PathHash::default();
        hash.copy_from_slice(&blake3::keyed_hash(&self.names, joined).as_bytes()[..16]);
        hash
    }

    /// Seals `plain` as the value of the row with this key.
    pub(super) fn seal(&self, key: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new_keyed(&self.nonces);
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(plain);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hasher.finalize().as_bytes()[..NONCE_LEN]);
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(key), &mut sealed[NONCE_LEN..])
            .expect("a row is far below the cipher's length limit");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens a value; nothing if it is not what was sealed under this key.
    pub(super) fn open(&self, key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.cipher.open_in_place(nonce, Aad::from(key), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}
