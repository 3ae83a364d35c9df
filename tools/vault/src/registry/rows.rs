//! The registry's rows in the control state: FORMAT.md section 14.

use backstore_protocol::codec::to_postcard;
use backstore_protocol::ids::{AccountId, DeviceId, SigningPublicKey};
use backstore_protocol::wire::KeyBlobs;
use serde::{Deserialize, Serialize};

use super::DeviceInfo;
use crate::error::VaultError;
use crate::ids::AccountNumber;

/// A row of one table.
pub(super) trait Row: Sized {
    /// What the keys of the table start with.
    const TABLE: &'static [u8];

    fn encode(&self) -> Vec<u8>;

    fn decode(bytes: &[u8]) -> Result<Self, VaultError>;

    /// The whole key of the row with this key in its table.
    fn key(key: &[u8]) -> Vec<u8> {
        [Self::TABLE, b"\0", key].concat()
    }
}

macro_rules! row {
    ($name:ty, $table:literal) => {
        impl Row for $name {
            const TABLE: &'static [u8] = $table;

            fn encode(&self) -> Vec<u8> {
                to_postcard(self)
            }

            fn decode(bytes: &[u8]) -> Result<Self, VaultError> {
                super::decode(bytes)
            }
        }
    };
}

/// By name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccountRow {
    pub(super) number: u64,
    pub(super) account: Option<AccountId>,
    pub(super) created_at: i64,
}
row!(AccountRow, b"account");

/// By BLAKE3 of the invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InviteRow {
    pub(super) number: u64,
    pub(super) expires_at: i64,
}
row!(InviteRow, b"invite");

/// By the device's key on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceRow {
    pub(super) number: u64,
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
    pub(super) is_revoked: bool,
}
row!(DeviceRow, b"device");

// By account number and factor.
row!(KeyBlobs, b"keys");

impl AccountRow {
    pub(super) fn number(&self) -> AccountNumber {
        AccountNumber::new(self.number).unwrap_or(AccountNumber::VAULT)
    }
}

impl DeviceRow {
    pub(super) fn info(&self, tls: SigningPublicKey) -> DeviceInfo {
        DeviceInfo {
            number: AccountNumber::new(self.number).unwrap_or(AccountNumber::VAULT),
            account: self.account,
            device: self.device,
            tls,
            is_revoked: self.is_revoked,
        }
    }
}
