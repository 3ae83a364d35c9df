//! Who may use a vault: accounts, invitations, devices and what opens a keyring, kept in the control state.
//!
//! The same for a server and for a vault in a folder. Nothing here opens what it keeps: proofs are checked against public keys, logs against
//! their signatures. A later way of login replaces [`Registry::prove`] and what it releases, not what is stored of accounts and devices.

mod rows;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use backstore_protocol::account_log::{AccountState, LogError};
use backstore_protocol::codec::from_postcard;
use backstore_protocol::ids::{AccountId, DeviceId, FactorId, InviteToken, SigningPublicKey};
use backstore_protocol::seal_box::verify_proof;
use backstore_protocol::wire::KeyBlobs;

use crate::account::Account;
use crate::control::Control;
use crate::core::Core;
use crate::error::VaultError;
use crate::ids::AccountNumber;
use crate::vault::Vault;
use rows::{AccountRow, DeviceRow, InviteRow, Row};

/// The accounts of a vault.
pub struct Registry {
    core: Arc<Core>,
    control: Control,
}

/// Accounts and devices change one at a time, in whichever handle.
static CHANGES: Mutex<()> = Mutex::new(());

/// An account as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its name here.
    pub name: String,
    /// Its number in the vault.
    pub number: AccountNumber,
    /// Its id, once its first device has enrolled.
    pub account: Option<AccountId>,
    /// When it was made: milliseconds since 1970.
    pub created_at: i64,
    /// Invitations that were not used and have not expired.
    pub invitations: u64,
}

/// A device and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The account's number in the vault.
    pub number: AccountNumber,
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// The key it shows on the wire.
    pub tls: SigningPublicKey,
    /// It may no longer do anything.
    pub is_revoked: bool,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is not one an account may have.
    #[error(
        "{name:?} cannot be an account's name: use 1 to 64 letters, digits, `.`, `_`, `-` and `@`, beginning with a letter or digit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is no such account.
    #[error("there is no account {name:?}")]
    NoAccount {
        /// The name.
        name: String,
    },
    /// The invitation is unknown, used, expired, or for another account.
    #[error("the invitation is unknown, already used or expired")]
    BadInvitation,
    /// The account has been made already, or not yet.
    #[error("the account's first device has {}enrolled", if *is_enrolled { "already " } else { "not yet " })]
    Enrolled {
        /// Whether it has.
        is_enrolled: bool,
    },
    /// The proof of the password is wrong.
    #[error("wrong password")]
    WrongPassword,
    /// The log does not continue what is stored, or does not name the device that brings it.
    #[error("the enrolment is not right: {0}")]
    Log(#[from] LogError),
    /// The log does not say what it has to.
    #[error("the enrolment is not right: its log does not {0}")]
    Incomplete(&'static str),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// How long an invitation is good for, unless said otherwise: a week.
pub const INVITATION_MS: i64 = 7 * 24 * 3600 * 1000;
/// Accounts of one vault that can be listed.
pub const ACCOUNTS_MAX: usize = 1 << 20;

impl Registry {
    /// The registry of a vault.
    pub fn new(vault: &Vault) -> Self {
        Self { core: Arc::clone(vault.core()), control: vault.control() }
    }

    fn in_vault(&self, number: AccountNumber) -> Account {
        Account::new(Arc::clone(&self.core), number)
    }

    /// The account of this name, made if it is not there.
    pub fn create_account(&self, name: &str, now: i64) -> Result<AccountNumber, RegistryError> {
        check_name(name)?;
        let _guard = CHANGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(row) = self.account_row(name)? {
            return Ok(row.number());
        }
        let mut last = 0;
        self.each::<AccountRow>(b"", |_, row| last = last.max(row.number))?;
        let row = AccountRow { number: last + 1, account: None, created_at: now };
        self.control.put(&AccountRow::key(name.as_bytes()), Some(&row.encode()))?;
        Ok(row.number())
    }

    /// Makes an invitation to an account that is there. `token` is random.
    pub fn invite(&self, name: &str, token: InviteToken, expires_at: i64) -> Result<(), RegistryError> {
        let row =
            self.account_row(name)?.ok_or_else(|| RegistryError::NoAccount { name: name.to_owned() })?;
        let invite = InviteRow { number: row.number, expires_at };
        // Only its hash is kept: whoever reads the vault cannot use it.
        self.control.put(&invite_key(&token), Some(&invite.encode()))?;
        Ok(())
    }

    /// All accounts, by name.
    pub fn accounts(&self, now: i64) -> Result<Vec<AccountInfo>, RegistryError> {
        let mut accounts = Vec::new();
        self.each::<AccountRow>(b"", |name, row| {
            let name = String::from_utf8_lossy(name).into_owned();
            let (number, account, created_at) = (row.number(), row.account, row.created_at);
            accounts.push(AccountInfo { name, number, account, created_at, invitations: 0 });
        })?;
        self.each::<InviteRow>(b"", |_, invite| {
            let mut open = accounts.iter_mut().filter(|known| known.number.get() == invite.number);
            if let Some(account) = open.next().filter(|_| invite.expires_at > now) {
                account.invitations += 1;
            }
        })?;
        Ok(accounts)
    }

    /// The devices of an account, in no particular order.
    pub fn devices(&self, number: AccountNumber) -> Result<Vec<DeviceInfo>, RegistryError> {
        let mut devices = Vec::new();
        self.each::<DeviceRow>(b"", |tls, row| {
            if row.number == number.get()
                && let Some(tls) = SigningPublicKey::from_slice(tls)
            {
                devices.push(row.info(tls));
            }
        })?;
        Ok(devices)
    }

    /// The device with this key on the wire.
    pub fn device(&self, tls: &SigningPublicKey) -> Result<Option<DeviceInfo>, RegistryError> {
        let row = self.get::<DeviceRow>(tls.as_bytes())?;
        Ok(row.map(|row| row.info(*tls)))
    }

    /// Shuts a device out, for good: its key on the wire opens nothing from the next connection on. Whether there is such a device.
    pub fn revoke(&self, tls: &SigningPublicKey) -> Result<bool, RegistryError> {
        let _guard = CHANGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(row) = self.get::<DeviceRow>(tls.as_bytes())? else { return Ok(false) };
        let revoked = DeviceRow { is_revoked: true, ..row };
        self.control.put(&DeviceRow::key(tls.as_bytes()), Some(&revoked.encode()))?;
        Ok(true)
    }

    /// The account of this name and its number, if there is one.
    pub fn account(&self, name: &str) -> Result<Option<(AccountNumber, Option<AccountId>)>, RegistryError> {
        Ok(self.account_row(name)?.map(|row| (row.number(), row.account)))
    }

    /// The account an invitation is for.
    pub fn check_invitation(
        &self,
        name: &str,
        token: &InviteToken,
        now: i64,
    ) -> Result<AccountNumber, RegistryError> {
        let row = self.account_row(name)?.ok_or(RegistryError::BadInvitation)?;
        let stored = self.control.get(&invite_key(token))?;
        let invite = stored.map(|bytes| InviteRow::decode(&bytes)).transpose()?;
        match invite {
            Some(invite) if invite.number == row.number && invite.expires_at > now => Ok(row.number()),
            Some(_) | None => Err(RegistryError::BadInvitation),
        }
    }

    /// The account as its log describes it.
    pub fn state(&self, number: AccountNumber) -> Result<AccountState, RegistryError> {
        let log = self.in_vault(number).log(0)?;
        Ok(AccountState::replay(log.iter().map(|entry| &entry[..]))?)
    }

    /// Makes an account complete: its first device brings its log and what opens the keyring. The invitation, if there is one, is used up.
    pub fn register(
        &self,
        name: &str,
        invitation: Option<&InviteToken>,
        tls: &SigningPublicKey,
        log: &[&[u8]],
        keys: Option<&KeyBlobs>,
    ) -> Result<DeviceInfo, RegistryError> {
        let _guard = CHANGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut row =
            self.account_row(name)?.ok_or_else(|| RegistryError::NoAccount { name: name.to_owned() })?;
        if row.account.is_some() {
            return Err(RegistryError::Enrolled { is_enrolled: true });
        }
        let state = AccountState::replay(log.iter().copied())?;
        let account = state.account.ok_or(RegistryError::Incomplete("begin an account"))?;
        let device = added_device(&state, 0, tls)?;
        if let Some(keys) = keys
            && !state.factors.iter().any(|factor| {
                factor.factor == keys.factor && factor.public == keys.public && factor.proof == keys.proof
            })
        {
            return Err(RegistryError::Incomplete("name the factor that opens the keyring"));
        }
        row.account = Some(account);
        let device_row = DeviceRow { number: row.number, account, device, is_revoked: false };
        let mut changes = vec![
            (AccountRow::key(name.as_bytes()), Some(row.encode())),
            (DeviceRow::key(tls.as_bytes()), Some(device_row.encode())),
        ];
        if let Some(keys) = keys {
            changes.push((keys_key(row.number(), keys.factor), Some(keys.encode())));
        }
        changes.extend(invitation.map(|token| (invite_key(token), None)));
        self.in_vault(row.number()).append_log_with(0, log, changes)?;
        Ok(device_row.info(*tls))
    }

    /// Releases what opens the keyring to whoever proves a factor: `signature` over `challenge`.
    pub fn prove(
        &self,
        number: AccountNumber,
        factor: FactorId,
        challenge: &[u8],
        signature: &[u8],
    ) -> Result<KeyBlobs, RegistryError> {
        let keys = self.keys(number, factor)?.ok_or(RegistryError::WrongPassword)?;
        if verify_proof(&keys.proof, challenge, signature) {
            Ok(keys)
        } else {
            Err(RegistryError::WrongPassword)
        }
    }

    /// What opens the keyring, for whoever holds the vault itself.
    pub fn keys(&self, number: AccountNumber, factor: FactorId) -> Result<Option<KeyBlobs>, RegistryError> {
        self.get_key(&keys_key(number, factor))
    }

    /// Adds a later device by the log entry that it brings. The invitation, if there is one, is used up.
    pub fn enrol(
        &self,
        number: AccountNumber,
        invitation: Option<&InviteToken>,
        tls: &SigningPublicKey,
        entry: &[u8],
    ) -> Result<DeviceInfo, RegistryError> {
        let _guard = CHANGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut state = self.state(number)?;
        let account = state.account.ok_or(RegistryError::Enrolled { is_enrolled: false })?;
        let (length, devices) = (state.length, state.devices.len());
        state.append(entry)?;
        let device = added_device(&state, devices, tls)?;
        let row = DeviceRow { number: number.get(), account, device, is_revoked: false };
        let mut changes = vec![(DeviceRow::key(tls.as_bytes()), Some(row.encode()))];
        changes.extend(invitation.map(|token| (invite_key(token), None)));
        self.in_vault(number).append_log_with(length, &[entry], changes)?;
        Ok(row.info(*tls))
    }

    fn account_row(&self, name: &str) -> Result<Option<AccountRow>, RegistryError> {
        self.get::<AccountRow>(name.as_bytes())
    }

    fn get<T: Row>(&self, key: &[u8]) -> Result<Option<T>, RegistryError> {
        self.get_key(&T::key(key))
    }

    fn get_key<T: Row>(&self, key: &[u8]) -> Result<Option<T>, RegistryError> {
        let stored = self.control.get(key)?;
        Ok(stored.map(|bytes| T::decode(&bytes)).transpose()?)
    }

    fn each<T: Row>(&self, prefix: &[u8], mut each: impl FnMut(&[u8], T)) -> Result<(), RegistryError> {
        let prefix = T::key(prefix);
        let table = T::key(b"").len();
        let mut failed = None;
        let mut count = 0;
        self.control.scan(&prefix, |key, value| {
            count += 1;
            match T::decode(value) {
                Ok(row) if count <= ACCOUNTS_MAX => {
                    each(&key[table..], row);
                    ControlFlow::Continue(())
                }
                Ok(_) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The one device that the entries after the first `before` devices add; it has to be the one with this key.
fn added_device(
    state: &AccountState,
    before: usize,
    tls: &SigningPublicKey,
) -> Result<DeviceId, RegistryError> {
    match state.devices.get(before..) {
        Some([device]) if device.tls == *tls => Ok(device.device),
        _ => Err(RegistryError::Incomplete("add the device that brings it, and no other")),
    }
}

fn check_name(name: &str) -> Result<(), RegistryError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= 64 && name.chars().all(fine) {
        Ok(())
    } else {
        Err(RegistryError::Name { name: name.to_owned() })
    }
}

fn invite_key(token: &InviteToken) -> Vec<u8> {
    InviteRow::key(blake3::hash(token.as_bytes()).as_bytes())
}

fn keys_key(number: AccountNumber, factor: FactorId) -> Vec<u8> {
    KeyBlobs::key(&[&number.get().to_be_bytes()[..], factor.as_bytes()].concat())
}

fn decode<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, VaultError> {
    from_postcard(bytes, "row of the registry").map_err(|source| VaultError::Registry { source })
}
