//! The keys of an account, and what is derived from them: PROTOCOL.md section 6.
//!
//! No type here shows its bytes by `Debug`, and all of them are wiped when dropped.

use blake3::Hasher;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::{Malformed, from_postcard, to_postcard};
use crate::envelope::Class;
use crate::ids::{DeviceId, DomainId, LineageId};
use crate::limits::EPOCHS_MAX;

/// Derives 32 bytes for the purpose `context` from key material that is never a password.
pub fn derive(context: &str, material: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new_derive_key(&format!("backstore 2026 v1 {context}"));
    hasher.update(material);
    *hasher.finalize().as_bytes()
}

/// The secrets of one generation of an account's archive. Whoever holds it reads everything.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Keyring {
    #[zeroize(skip)]
    domain: DomainId,
    generation: u32,
    root: [u8; 32],
    /// Epoch numbers from 1 on, without gaps, and their keys.
    epochs: Vec<(u32, [u8; 32])>,
}

impl Keyring {
    /// The first keyring of an account, from fresh random bytes.
    pub fn new(domain: DomainId, root: [u8; 32], epoch: [u8; 32]) -> Self {
        Self { domain, generation: 1, root, epochs: vec![(1, epoch)] }
    }

    /// Its bytes, to be sealed.
    pub fn encode(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new(to_postcard(self))
    }

    /// Reads what [`Keyring::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let keyring: Self = from_postcard(bytes, "keyring")?;
        let numbered = keyring.epochs.iter().zip(1..).all(|((number, _), expected)| *number == expected);
        if keyring.generation == 0
            || keyring.epochs.is_empty()
            || keyring.epochs.len() > EPOCHS_MAX
            || !numbered
        {
            return Err(Malformed { what: "keyring", offset: 0 });
        }
        Ok(keyring)
    }

    /// Scope of its ids.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// Its generation.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// A public value by which a wrong keyring is noticed at once.
    pub fn check_value(&self) -> [u8; 32] {
        let first = self.epochs.first().map_or([0; 32], |(_, key)| key.to_owned());
        let material = zeroize::Zeroizing::new([&self.root[..], &first, &self.scope()].concat());
        derive("key check", &material)
    }

    /// Everything derived from it that work with objects needs.
    pub fn keys(&self) -> Keys {
        let scope = self.scope();
        let root = zeroize::Zeroizing::new([&self.root[..], &scope].concat());
        let ids = IdKeys {
            data: derive("chunk-id data", &root),
            tree: derive("chunk-id tree", &root),
            body: derive("chunk-id body", &root),
            content: derive("content hash", &root),
            layout: derive("content layout", &root),
            table: derive("chunker tables", &root),
            bundle: derive("bundle cut", &root),
            chunk: derive("chunk hash", &root),
            boundary: derive("tree boundary", &root),
            map: derive("map boundary", &root),
            tags: derive("tag lineage", &root),
        };
        let epochs = self.epochs.iter().map(|(_, key)| EpochKeys::new(key, &scope)).collect();
        Keys { ids, generation: self.generation, epochs }
    }

    fn scope(&self) -> [u8; 20] {
        let mut scope = [0; 20];
        scope[..16].copy_from_slice(self.domain.as_bytes());
        scope[16..].copy_from_slice(&self.generation.to_le_bytes());
        scope
    }
}

/// Keys that name and cut; the same in every epoch, so that equal contents stay equal.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IdKeys {
    /// Ids of data objects.
    pub data: [u8; 32],
    /// Ids of nodes.
    pub tree: [u8; 32],
    /// Ids of snapshot bodies.
    pub body: [u8; 32],
    /// Content hashes.
    pub content: [u8; 32],
    /// Content hashes of sparse files.
    pub layout: [u8; 32],
    /// The chunker's gear table.
    pub table: [u8; 32],
    /// Hashes of chunks.
    pub chunk: [u8; 32],
    /// Where bundles end.
    pub bundle: [u8; 32],
    /// Where tree nodes end.
    pub boundary: [u8; 32],
    /// Where map nodes end.
    pub map: [u8; 32],
    /// Ids of tag lineages.
    pub tags: [u8; 32],
}

impl IdKeys {
    /// The lineage of what a device says of snapshots that exist already: which tags they have.
    pub fn tag_lineage(&self, device: DeviceId) -> LineageId {
        let hash = blake3::keyed_hash(&self.tags, device.as_bytes());
        LineageId::from_slice(&hash.as_bytes()[..LineageId::SIZE]).unwrap_or_default()
    }
}

/// Keys that seal one class of objects.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKeys {
    pub(crate) encryption: [u8; 32],
    pub(crate) salt: [u8; 32],
}

impl SealKeys {
    /// The pair for `purpose` from `material`.
    pub fn new(purpose: &str, material: &[u8]) -> Self {
        Self {
            encryption: derive(&format!("enc {purpose}"), material),
            salt: derive(&format!("salt {purpose}"), material),
        }
    }
}

#[derive(Clone, ZeroizeOnDrop)]
struct EpochKeys {
    data: SealKeys,
    node: SealKeys,
    body: SealKeys,
    local_cache: SealKeys,
}

impl EpochKeys {
    fn new(key: &[u8; 32], scope: &[u8]) -> Self {
        let material = zeroize::Zeroizing::new([&key[..], scope].concat());
        Self {
            data: SealKeys::new("data-chunk", &material),
            node: SealKeys::new("tree-chunk", &material),
            body: SealKeys::new("snapshot-body", &material),
            local_cache: SealKeys::new("local-cache", &material),
        }
    }
}

/// A keyring made ready for work.
#[derive(Clone)]
pub struct Keys {
    /// Keys that name and cut.
    pub ids: IdKeys,
    generation: u32,
    epochs: Vec<EpochKeys>,
}

impl Keys {
    /// The generation all its objects belong to.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The epoch that new objects are sealed in.
    pub fn epoch(&self) -> u32 {
        self.epochs.len() as u32
    }

    /// The keys for a class of objects in an epoch, if the keyring has them.
    pub fn seal_keys(&self, class: Class, epoch: u32) -> Option<&SealKeys> {
        let epoch = self.epochs.get(usize::try_from(epoch).ok()?.checked_sub(1)?)?;
        match class {
            Class::Data => Some(&epoch.data),
            Class::Node => Some(&epoch.node),
            Class::Body => Some(&epoch.body),
            Class::LocalCache => Some(&epoch.local_cache),
            Class::SealedBox | Class::Factor | Class::DeviceKeys => None,
        }
    }
}
