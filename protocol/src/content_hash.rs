//! Identity of a file's content, whatever its extents, and of a chunk: PROTOCOL.md sections 2 and 4.

use crate::codec::Write;
use crate::ids::{ChunkHash, ContentHash};
use crate::keys::IdKeys;

/// Hashes a file's runs of data and holes as they are read.
pub struct ContentHasher {
    data: blake3::Hasher,
    layout: blake3::Hasher,
    layout_key: [u8; 32],
    data_run: u64,
    hole_run: u64,
    is_sparse: bool,
}

impl ContentHasher {
    /// A hasher of an account.
    pub fn new(keys: &IdKeys) -> Self {
        Self {
            data: blake3::Hasher::new_keyed(&keys.content),
            layout: blake3::Hasher::new(),
            layout_key: keys.layout,
            data_run: 0,
            hole_run: 0,
            is_sparse: false,
        }
    }

    /// Adds data after what came before.
    pub fn data(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.end_hole();
        self.data.update(bytes);
        self.data_run += bytes.len() as u64;
    }

    /// Adds a hole after what came before; neighbouring holes are one.
    pub fn hole(&mut self, length: u64) {
        self.hole_run += length;
    }

    /// The hash of everything added.
    pub fn finish(mut self) -> ContentHash {
        self.end_hole();
        let data = self.data.finalize();
        let hash = if self.is_sparse {
            // The layout is hashed on its own first, so that its length needs no memory.
            let mut hasher = blake3::Hasher::new_keyed(&self.layout_key);
            hasher.update(data.as_bytes()).update(self.layout.finalize().as_bytes());
            hasher.finalize()
        } else {
            data
        };
        ContentHash::from_slice(hash.as_bytes()).expect("a hash is longer than a content hash")
    }

    fn end_hole(&mut self) {
        if self.hole_run > 0 {
            let mut pair = Vec::with_capacity(20);
            pair.put_varint(std::mem::take(&mut self.data_run));
            pair.put_varint(std::mem::take(&mut self.hole_run));
            self.layout.update(&pair);
            self.is_sparse = true;
        }
    }
}

/// The hash of a file without holes.
pub fn content_hash(keys: &IdKeys, data: &[u8]) -> ContentHash {
    ContentHash::from_slice(blake3::keyed_hash(&keys.content, data).as_bytes())
        .expect("a hash is longer than a content hash")
}

/// The hash of one chunk.
pub fn chunk_hash(keys: &IdKeys, data: &[u8]) -> ChunkHash {
    ChunkHash::from_slice(blake3::keyed_hash(&keys.chunk, data).as_bytes())
        .expect("a hash is longer than a chunk hash")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DomainId;
    use crate::keys::Keyring;

    enum Run<'a> {
        Data(&'a [u8]),
        Hole(u64),
    }

    fn hash(runs: &[Run<'_>]) -> ContentHash {
        let mut hasher = ContentHasher::new(&Keyring::new(DomainId::ZERO, [1; 32], [0; 32]).keys().ids);
        for run in runs {
            match run {
                Run::Data(bytes) => hasher.data(bytes),
                Run::Hole(length) => hasher.hole(*length),
            }
        }
        hasher.finish()
    }

    #[test]
    fn only_content_counts() {
        use Run::{Data, Hole};
        let keys = Keyring::new(DomainId::ZERO, [1; 32], [0; 32]).keys().ids;
        assert_eq!(hash(&[Data(b"ab"), Data(b""), Data(b"c")]), content_hash(&keys, b"abc"));
        assert_eq!(hash(&[Hole(3), Hole(4), Data(b"x")]), hash(&[Hole(7), Data(b"x")]));
        let different = [
            hash(&[Data(b"x")]),
            hash(&[Data(b"x"), Hole(1)]),
            hash(&[Hole(1), Data(b"x")]),
            hash(&[Hole(2), Data(b"x")]),
            hash(&[Data(b"x"), Hole(1), Data(b"x")]),
            hash(&[Data(b"xx"), Hole(1)]),
            hash(&[Hole(10 << 30)]),
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(!different[at + 1..].contains(one), "{at}");
        }
    }
}
