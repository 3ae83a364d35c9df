//! The signed history of an account: who may do what. PROTOCOL.md section 8, "Account log".

use serde::{Deserialize, Serialize};

use crate::codec::{Malformed, from_postcard, to_postcard};
use crate::ids::{AccountId, BoxPublicKey, DeviceId, FactorId, LogHash, SigningPublicKey};
use crate::limits::{LOG_ENTRIES_MAX, LOG_ENTRY_BYTES_MAX};
use crate::seal_box::{KdfProfile, SigningKey, verify};

/// What an entry of the log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The account begins.
    Genesis {
        /// Its id.
        account: AccountId,
        /// The key that signs every entry.
        authority: SigningPublicKey,
        /// By which a wrong keyring is noticed.
        key_check: [u8; 32],
        /// How the keyring can be opened; 1: by the account's password.
        mode: u8,
    },
    /// A device may act for the account.
    DeviceAdd(DeviceKeys),
    /// A secret that opens the keyring.
    FactorPut {
        /// Its id.
        factor: FactorId,
        /// What keyrings are sealed to.
        public: BoxPublicKey,
        /// How the password is stretched; a [`KdfProfile`] by number.
        profile: u8,
        /// With which salt.
        salt: [u8; 16],
        /// Proves the password.
        proof: SigningPublicKey,
    },
}

/// The public keys of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKeys {
    /// Its id.
    pub device: DeviceId,
    /// Its identity on the wire.
    pub tls: SigningPublicKey,
    /// Signs its snapshots.
    pub sign: SigningPublicKey,
    /// Receives keyrings.
    pub seal: BoxPublicKey,
    /// Its name as the user gave it.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LogEntry {
    sequence: u64,
    previous: LogHash,
    at: i64,
    what: What,
}

/// Why a log is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// An entry is not well formed.
    #[error("account log: entry {sequence}: {source}")]
    Malformed {
        /// Number of the entry.
        sequence: u64,
        /// What is wrong.
        source: Malformed,
    },
    /// An entry does not follow the one before, or a number is missing.
    #[error("account log: entry {0} does not continue the one before")]
    Chain(u64),
    /// An entry was not signed by the account's authority.
    #[error("account log: entry {0} is not signed by the account's authority")]
    Signature(u64),
    /// An entry contradicts an earlier one.
    #[error("account log: entry {0} contradicts an earlier one")]
    Contradiction(u64),
}

/// An account as its log describes it, entry by entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountState {
    /// The account; nothing before the first entry.
    pub account: Option<AccountId>,
    /// The key that signs the log.
    pub authority: Option<SigningPublicKey>,
    /// By which a wrong keyring is noticed.
    pub key_check: [u8; 32],
    /// Its devices, in the order they came.
    pub devices: Vec<DeviceKeys>,
    /// Its factors, the current ones.
    pub factors: Vec<Factor>,
    /// Entries read.
    pub length: u64,
    /// Hash of the last.
    pub head: LogHash,
}

/// A secret that opens the keyring, as the log describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    /// Its id.
    pub factor: FactorId,
    /// What keyrings are sealed to.
    pub public: BoxPublicKey,
    /// How the password is stretched.
    pub profile: KdfProfile,
    /// With which salt.
    pub salt: [u8; 16],
    /// Proves the password.
    pub proof: SigningPublicKey,
}

const SIGNATURE: usize = 64;
const CONTEXT: &[u8] = b"backstore 2026 v1 account-log\0";

impl AccountState {
    /// Reads a whole log.
    pub fn replay<'a>(stored: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, LogError> {
        let mut state = Self::default();
        for entry in stored {
            state.append(entry)?;
        }
        Ok(state)
    }

    /// Makes the stored form of the next entry.
    pub fn next(&self, authority: &SigningKey, at: i64, what: What) -> Vec<u8> {
        let mut stored = to_postcard(&LogEntry { sequence: self.length, previous: self.head, at, what });
        stored.extend_from_slice(&authority.sign(CONTEXT, &stored));
        stored
    }

    /// Checks the next entry and takes it in; after an error the state is as before.
    pub fn append(&mut self, stored: &[u8]) -> Result<(), LogError> {
        let sequence = self.length;
        let malformed = |source| LogError::Malformed { sequence, source };
        if stored.len() > LOG_ENTRY_BYTES_MAX
            || stored.len() < SIGNATURE
            || sequence >= LOG_ENTRIES_MAX as u64
        {
            return Err(malformed(Malformed { what: "length", offset: stored.len() }));
        }
        let (signed, signature) = stored.split_at(stored.len() - SIGNATURE);
        let entry: LogEntry = from_postcard(signed, "entry").map_err(malformed)?;
        if entry.sequence != sequence || entry.previous != self.head {
            return Err(LogError::Chain(sequence));
        }
        let authority = match (&entry.what, self.authority) {
            (What::Genesis { authority, .. }, None) => *authority,
            (What::Genesis { .. }, Some(_)) => return Err(LogError::Contradiction(sequence)),
            (_, Some(authority)) => authority,
            (_, None) => return Err(LogError::Chain(sequence)),
        };
        if !verify(&authority, CONTEXT, signed, signature) {
            return Err(LogError::Signature(sequence));
        }
        self.take(entry.what)?;
        self.length += 1;
        self.head = LogHash::from_bytes(*blake3::hash(stored).as_bytes());
        Ok(())
    }

    /// The device with this id.
    pub fn device(&self, id: DeviceId) -> Option<&DeviceKeys> {
        self.devices.iter().find(|device| device.device == id)
    }

    fn take(&mut self, what: What) -> Result<(), LogError> {
        let contradiction = LogError::Contradiction(self.length);
        match what {
            What::Genesis { account, authority, key_check, mode } => {
                if mode != 1 {
                    return Err(contradiction);
                }
                self.account = Some(account);
                self.authority = Some(authority);
                self.key_check = key_check;
            }
            What::DeviceAdd(keys) => {
                let taken =
                    self.devices.iter().any(|known| known.device == keys.device || known.tls == keys.tls);
                if taken || keys.name.is_empty() || keys.name.len() > 255 {
                    return Err(contradiction);
                }
                self.devices.push(keys);
            }
            What::FactorPut { factor, public, profile, salt, proof } => {
                let profile = KdfProfile::from_number(profile).ok_or(contradiction)?;
                self.factors.retain(|known| known.factor != factor);
                self.factors.push(Factor { factor, public, profile, salt, proof });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> What {
        What::DeviceAdd(DeviceKeys {
            device: DeviceId::from_bytes([number; 16]),
            tls: SigningPublicKey::from_bytes([number; 32]),
            sign: SigningPublicKey::ZERO,
            seal: BoxPublicKey::ZERO,
            name: format!("laptop {number}"),
        })
    }

    fn log(key: &SigningKey) -> Vec<Vec<u8>> {
        let genesis = What::Genesis {
            account: AccountId::from_bytes([1; 16]),
            authority: key.public_key(),
            key_check: [2; 32],
            mode: 1,
        };
        let mut state = AccountState::default();
        [genesis, device(1), device(2)]
            .into_iter()
            .map(|what| {
                let stored = state.next(key, 5, what);
                state.append(&stored).expect("a good entry");
                stored
            })
            .collect()
    }

    fn replay(log: &[Vec<u8>]) -> Result<AccountState, LogError> {
        AccountState::replay(log.iter().map(|entry| &entry[..]))
    }

    #[test]
    fn a_log_tells_its_devices() {
        let state = replay(&log(&SigningKey::from_seed(&[1; 32]))).unwrap();
        assert_eq!((state.length, state.devices.len()), (3, 2));
        assert_eq!(state.device(DeviceId::from_bytes([2; 16])).unwrap().name, "laptop 2");
    }

    #[test]
    fn entries_cannot_be_left_out_swapped_changed_or_forged() {
        let key = SigningKey::from_seed(&[1; 32]);
        let good = log(&key);
        let without: Vec<_> = [&good[..1], &good[2..]].concat();
        assert_eq!(replay(&without), Err(LogError::Chain(1)));
        assert_eq!(replay(&good[1..]), Err(LogError::Chain(0)));
        let swapped = [good[0].clone(), good[2].clone(), good[1].clone()];
        assert_eq!(replay(&swapped), Err(LogError::Chain(1)));
        for at in 0..good[1].len() {
            let mut changed = good.clone();
            changed[1][at] ^= 1;
            assert!(replay(&changed).is_err(), "byte {at}");
        }
        let mut state = replay(&good).unwrap();
        let forged = state.next(&SigningKey::from_seed(&[2; 32]), 6, device(3));
        assert_eq!(state.append(&forged), Err(LogError::Signature(3)));
        let twice = state.next(&key, 6, device(2));
        assert_eq!(state.append(&twice), Err(LogError::Contradiction(3)));
        let again = state.next(
            &key,
            6,
            What::Genesis {
                account: AccountId::ZERO,
                authority: key.public_key(),
                key_check: [0; 32],
                mode: 1,
            },
        );
        assert_eq!(state.append(&again), Err(LogError::Contradiction(3)));
        let weak = What::FactorPut {
            factor: FactorId::ZERO,
            public: BoxPublicKey::ZERO,
            profile: 9,
            salt: [0; 16],
            proof: SigningPublicKey::ZERO,
        };
        let weak = state.next(&key, 6, weak);
        assert_eq!(state.append(&weak), Err(LogError::Contradiction(3)));
        assert_eq!(state.length, 3);
    }
}
