//! Sealing to people and passwords: factors, boxes and the proof of a password. PROTOCOL.md section 6.

use argon2::{Algorithm, Argon2, Params, Version};
use ring::signature::{Ed25519KeyPair, KeyPair};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::envelope::{self, Class, Compression, Label, OpenError};
use crate::ids::{AccountId, BoxPublicKey, FactorId, SigningPublicKey};
use crate::keys::{SealKeys, derive};

/// How hard a password is to guess: the cost of one try. A profile's numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum KdfProfile {
    /// 256 MiB, 3 passes, 4 lanes.
    Standard = 1,
    /// 64 MiB, 3 passes, 4 lanes: for machines of 1 GiB. Nothing weaker is accepted.
    Floor = 2,
    /// 1 GiB, 2 passes, 4 lanes: for secrets of little entropy.
    High = 3,
}

impl KdfProfile {
    /// The profile with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Standard,
            2 => Self::Floor,
            3 => Self::High,
            _ => return None,
        })
    }

    const fn memory_kib_and_passes(self) -> (u32, u32) {
        match self {
            Self::Standard => (256 * 1024, 3),
            Self::Floor => (64 * 1024, 3),
            Self::High => (1024 * 1024, 2),
        }
    }
}

/// What is derived from a password; deriving it takes long on purpose.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PasswordKeys {
    key_encryption: [u8; 32],
    proof_seed: [u8; 32],
}

impl PasswordKeys {
    /// Stretches a password. Fails only when the machine lacks the memory of the profile.
    pub fn derive(
        password: &[u8],
        salt: &[u8; 16],
        profile: KdfProfile,
        factor: FactorId,
    ) -> Result<Self, OutOfMemory> {
        let (memory, passes) = profile.memory_kib_and_passes();
        let params = Params::new(memory, passes, 4, Some(64))
            .expect("the numbers of a profile are within Argon2's bounds");
        let mut stretched = Zeroizing::new([0; 80]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut stretched[..64])
            .map_err(|_| OutOfMemory { kib: memory })?;
        stretched[64..].copy_from_slice(factor.as_bytes());
        Ok(Self {
            key_encryption: derive("factor kek", &stretched[..]),
            proof_seed: derive("login proof", &stretched[..]),
        })
    }

    /// The public key that proves the password: the destination keeps it.
    pub fn proof_public_key(&self) -> SigningPublicKey {
        SigningKey::from_seed(&self.proof_seed).public_key()
    }

    /// Signs a challenge that is bound to this connection.
    pub fn prove(&self, challenge: &[u8]) -> [u8; 64] {
        SigningKey::from_seed(&self.proof_seed).sign(PROOF_CONTEXT, challenge)
    }

    /// Wraps a factor's private half.
    pub fn wrap(&self, factor: &BoxKey) -> Vec<u8> {
        let mut wrapped = Vec::new();
        let plain = Zeroizing::new(factor.0.to_bytes());
        envelope::seal(
            &self.seal_keys(),
            FACTOR_LABEL,
            &factor_envelope_id(&factor.public_key()),
            &plain[..],
            Compression::None,
            &mut wrapped,
        );
        wrapped
    }

    /// Unwraps the private half of the factor with this public key; a wrong password fails at the commitment.
    pub fn unwrap(&self, public: &BoxPublicKey, wrapped: &[u8]) -> Result<BoxKey, OpenError> {
        let mut plain = Zeroizing::new(Vec::new());
        envelope::open(&self.seal_keys(), FACTOR_LABEL, &factor_envelope_id(public), wrapped, &mut plain)?;
        let bytes: [u8; 32] = plain[..].try_into().map_err(|_| OpenError::Inner("length of a factor"))?;
        let key = BoxKey::from_bytes(bytes);
        if key.public_key() == *public { Ok(key) } else { Err(OpenError::Id) }
    }

    fn seal_keys(&self) -> SealKeys {
        SealKeys::new("factor", &self.key_encryption)
    }
}

/// The machine has not the memory that stretching a password takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stretching the password needs {} MiB of memory", kib / 1024)]
pub struct OutOfMemory {
    kib: u32,
}

const FACTOR_LABEL: Label = Label { class: Class::Factor, kind: 0, epoch: 0, generation: 0 };
const PROOF_CONTEXT: &[u8] = b"backstore 2026 v1 login-proof\0";

fn factor_envelope_id(public: &BoxPublicKey) -> [u8; 32] {
    derive("factor id", public.as_bytes())
}

/// An X25519 private key: of a device or a factor.
#[derive(Clone)]
pub struct BoxKey(StaticSecret);

impl BoxKey {
    /// The key with these bytes, which are random.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Its public half.
    pub fn public_key(&self) -> BoxPublicKey {
        BoxPublicKey::from_bytes(PublicKey::from(&self.0).to_bytes())
    }

    /// Opens what was sealed to this key.
    pub fn open(
        &self,
        account: AccountId,
        what: Boxed,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let public = self.public_key();
        let (ephemeral, envelope) = sealed.split_at_checked(32).ok_or(OpenError::Length(sealed.len()))?;
        let ephemeral = BoxPublicKey::from_slice(ephemeral).ok_or(OpenError::Length(sealed.len()))?;
        let keys = box_keys(&self.0, &ephemeral, &ephemeral, &public, account)
            .ok_or(OpenError::Inner("public key"))?;
        let mut plain = Zeroizing::new(Vec::new());
        envelope::open(&keys, what.label(), &derive("seal id", public.as_bytes()), envelope, &mut plain)?;
        Ok(plain)
    }
}

/// What a sealed box holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Boxed {
    /// A keyring.
    Keyring = 1,
    /// The seed of the account's authority key.
    Authority = 2,
}

impl Boxed {
    const fn label(self) -> Label {
        Label { class: Class::SealedBox, kind: self as u8, epoch: 0, generation: 0 }
    }
}

/// Seals to a public key. `ephemeral` is 32 fresh random bytes. Fails for a public key that is none.
pub fn seal_to(
    recipient: &BoxPublicKey,
    account: AccountId,
    what: Boxed,
    plain: &[u8],
    ephemeral: [u8; 32],
) -> Option<Vec<u8>> {
    let secret = StaticSecret::from(ephemeral);
    let public = BoxPublicKey::from_bytes(PublicKey::from(&secret).to_bytes());
    let keys = box_keys(&secret, recipient, &public, recipient, account)?;
    let mut envelope = Vec::new();
    let id = derive("seal id", recipient.as_bytes());
    envelope::seal(&keys, what.label(), &id, plain, Compression::None, &mut envelope);
    Some([&public.as_bytes()[..], &envelope].concat())
}

fn box_keys(
    ours: &StaticSecret,
    theirs: &BoxPublicKey,
    ephemeral: &BoxPublicKey,
    recipient: &BoxPublicKey,
    account: AccountId,
) -> Option<SealKeys> {
    let shared = ours.diffie_hellman(&PublicKey::from(*theirs.as_bytes()));
    if !shared.was_contributory() {
        return None;
    }
    let mut material = Zeroizing::new([0; 128]);
    material[..32].copy_from_slice(ephemeral.as_bytes());
    material[32..64].copy_from_slice(recipient.as_bytes());
    material[64..96].copy_from_slice(shared.as_bytes());
    material[96..112].copy_from_slice(account.as_bytes());
    let key = Zeroizing::new(derive("seal", &material[..]));
    Some(SealKeys::new("sealed", &key[..]))
}

/// An Ed25519 private key: of a device or of the account's authority.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of a seed, which is random.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are the seed of a key"))
    }

    /// Its public half.
    pub fn public_key(&self) -> SigningPublicKey {
        SigningPublicKey::from_slice(self.0.public_key().as_ref())
            .expect("an Ed25519 public key has 32 bytes")
    }

    /// Signs `context ‖ message`.
    pub fn sign(&self, context: &[u8], message: &[u8]) -> [u8; 64] {
        let signature = self.0.sign(&[context, message].concat());
        signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// Whether `signature` is that of `key` over `context ‖ message`.
pub fn verify(key: &SigningPublicKey, context: &[u8], message: &[u8], signature: &[u8]) -> bool {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key.as_bytes())
        .verify(&[context, message].concat(), signature)
        .is_ok()
}

/// Whether `signature` proves the password to whoever holds its public key.
pub fn verify_proof(key: &SigningPublicKey, challenge: &[u8], signature: &[u8]) -> bool {
    verify(key, PROOF_CONTEXT, challenge, signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        AccountId::from_bytes([5; 16])
    }

    #[test]
    fn a_box_opens_for_its_recipient_only() {
        let (ours, other) = (BoxKey::from_bytes([1; 32]), BoxKey::from_bytes([2; 32]));
        let sealed = seal_to(&ours.public_key(), account(), Boxed::Keyring, b"secret", [3; 32]).unwrap();
        assert_eq!(ours.open(account(), Boxed::Keyring, &sealed).unwrap()[..], *b"secret");
        assert_eq!(other.open(account(), Boxed::Keyring, &sealed), Err(OpenError::Commitment));
        assert!(ours.open(AccountId::ZERO, Boxed::Keyring, &sealed).is_err());
        assert!(ours.open(account(), Boxed::Authority, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(ours.open(account(), Boxed::Keyring, &changed).is_err(), "byte {at}");
        }
        assert!(ours.open(account(), Boxed::Keyring, &sealed[..31]).is_err());
    }

    #[test]
    fn a_public_key_without_a_secret_is_refused() {
        assert_eq!(seal_to(&BoxPublicKey::ZERO, account(), Boxed::Keyring, b"secret", [3; 32]), None);
        let ours = BoxKey::from_bytes([1; 32]);
        assert!(ours.open(account(), Boxed::Keyring, &[0; 700]).is_err());
    }

    #[test]
    fn only_the_password_unwraps_its_factor() {
        let factor = BoxKey::from_bytes([7; 32]);
        let id = FactorId::from_bytes([1; 16]);
        let keys = |password: &[u8]| PasswordKeys::derive(password, &[9; 16], KdfProfile::Floor, id).unwrap();
        let right = keys(b"right");
        let wrapped = right.wrap(&factor);
        assert_eq!(right.unwrap(&factor.public_key(), &wrapped).unwrap().to_bytes(), factor.to_bytes());
        let wrong = keys(b"wrong");
        assert_eq!(wrong.unwrap(&factor.public_key(), &wrapped).err(), Some(OpenError::Commitment));
        assert!(verify_proof(&right.proof_public_key(), b"challenge", &right.prove(b"challenge")));
        assert!(!verify_proof(&right.proof_public_key(), b"challenge", &wrong.prove(b"challenge")));
        assert!(!verify_proof(&right.proof_public_key(), b"another", &right.prove(b"challenge")));
    }
}
