//! Identifiers: each its own type, so that one cannot be taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Bytes of this id.
            pub const SIZE: usize = $size;
            /// All bits zero: stands for "none" where a format says so.
            pub const ZERO: Self = Self([0; $size]);

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// The id at the start of `bytes`, if there are enough.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Some(Self(bytes.get(..$size)?.try_into().ok()?))
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// The id written as hexadecimal digits, in either case.
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.as_bytes();
                if digits.len() != 2 * $size {
                    return None;
                }
                let mut bytes = [0; $size];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let high = char::from(pair[0]).to_digit(16)?;
                    let low = char::from(pair[1]).to_digit(16)?;
                    *byte = (high * 16 + low) as u8;
                }
                Some(Self(bytes))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ZERO
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

byte_id!(
    /// Names an object: keyed hash of what it holds, so equal contents have equal ids.
    ObjectId, 32);
byte_id!(
    /// Names one version of a lineage: hash of its stored header.
    SnapshotId, 32);
byte_id!(
    /// Hash of a stored entry of the account log.
    LogHash, 32);
byte_id!(
    /// Owner of archives, made by the first device.
    AccountId, 16);
byte_id!(
    /// One enrolled computer.
    DeviceId, 16);
byte_id!(
    /// History of one backup set.
    LineageId, 16);
byte_id!(
    /// Scope within which equal contents have equal ids.
    DomainId, 16);
byte_id!(
    /// One storage engine instance, made with it.
    VaultId, 16);
byte_id!(
    /// A way to open the keyring: a password, a recovery code.
    FactorId, 16);
byte_id!(
    /// Keyed hash of a file's content, independent of how it was cut.
    ContentHash, 16);
byte_id!(
    /// Keyed hash of one chunk of a large file.
    ChunkHash,
    16
);
byte_id!(
    /// Secret of an invitation, single use.
    InviteToken, 20);
byte_id!(
    /// First bytes of the hash of a server's public key.
    Fingerprint, 20);
byte_id!(
    /// Ed25519 public key.
    SigningPublicKey, 32);
byte_id!(
    /// X25519 public key.
    BoxPublicKey, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trip() {
        let id = AccountId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(AccountId::parse(&id.to_string()), Some(id));
        assert_eq!(AccountId::parse(&id.to_string().to_uppercase()), Some(id));
    }

    #[test]
    fn malformed_text_is_refused() {
        let text = AccountId::ZERO.to_string();
        for bad in [
            "",
            "0",
            &text[1..],
            &format!("{text}00"),
            &text.replacen('0', "g", 1),
            &text.replacen('0', "é", 1),
        ] {
            assert_eq!(AccountId::parse(bad), None, "{bad}");
        }
    }
}
