//! How this computer comes to belong to an account: at a server by invitation, in a folder by having it.

mod invitation;
mod password;

use std::path::Path;
use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_protocol::account_log::{AccountState, LogError, What};
use backstore_protocol::ids::{AccountId, DomainId, FactorId};
use backstore_protocol::keys::Keyring;
use backstore_protocol::quic::{Connecting, Enrolment};
use backstore_protocol::seal_box::{
    BoxKey, Boxed, KdfProfile, OutOfMemory, PasswordKeys, SigningKey, seal_to,
};
use backstore_protocol::store::{Refusal, StoreError};
use backstore_protocol::wire::KeyBlobs;
use backstore_vault::registry::{Registry, RegistryError};
use backstore_vault::{Access, OpenOptions, Vault, VaultError};
use zeroize::Zeroizing;

pub use invitation::Invitation;
pub use password::{PasswordError, PasswordSource};

use crate::home::{AccountFile, DestinationFile, DeviceSecrets, Home, HomeError};

/// Why enrolling failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A file of the agent's own.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The destination.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault in a folder.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The registry of a vault in a folder.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The password was not given.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The machine is too small.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The account log does not hold.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
    /// What the destination keeps of the account does not fit together.
    #[error("the destination's account is not in order: {0}")]
    Inconsistent(&'static str),
    /// This computer already belongs to an account.
    #[error("this computer already belongs to account {name:?} at {destination}")]
    AlreadyEnrolled {
        /// The account.
        name: String,
        /// The destination.
        destination: String,
    },
}

/// The name of the one account of a vault in a folder.
const FOLDER_ACCOUNT: &str = "default";

/// What a login needs besides the destination.
pub struct Login<'a> {
    /// The agent's files.
    pub home: &'a Home,
    /// Time and randomness.
    pub machine: Arc<dyn Machine>,
    /// Where the password comes from.
    pub password: &'a PasswordSource,
    /// The name of this computer.
    pub device_name: String,
}

/// An account whose secrets are at hand.
struct Opened {
    account: AccountId,
    domain: DomainId,
    keyring: Keyring,
    log: AccountState,
}

impl Login<'_> {
    /// Fails if this computer belongs to an account already.
    pub fn check_free(&self) -> Result<(), EnrolError> {
        match AccountFile::load(self.home)? {
            Some(known) => Err(EnrolError::AlreadyEnrolled {
                name: known.name,
                destination: known.destination.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Enrols at a server; true if that made the account.
    pub fn at_server(&self, invitation: &Invitation) -> Result<bool, EnrolError> {
        self.check_free()?;
        let secrets = self.secrets()?;
        let connecting = Connecting {
            server: invitation.server.clone(),
            fingerprint: invitation.fingerprint,
            identity: secrets.identity(),
        };
        let enrolment = Enrolment::connect(connecting, env!("CARGO_PKG_VERSION"))?;
        let offer = enrolment.invite(&invitation.account, invitation.token)?;
        let is_new = offer.account.is_none();
        let opened = match offer.account {
            None => {
                let password = self.password.choose(&invitation.account)?;
                let (opened, log, keys) = self.make_account(&secrets, &password)?;
                enrolment.register(&log, keys)?;
                opened
            }
            Some(_) => {
                let factor = offer.factors.first().ok_or(EnrolError::Inconsistent("it has no password"))?;
                let profile = KdfProfile::from_number(factor.profile).ok_or(EnrolError::Inconsistent(
                    "its password is stretched in a way this version does not know",
                ))?;
                let password = self.password.ask(&invitation.account)?;
                let derived =
                    PasswordKeys::derive(password.as_bytes(), &factor.salt, profile, factor.factor)?;
                let keys = enrolment
                    .prove(factor.factor, derived.prove(&enrolment.channel_binding()))
                    .map_err(|error| match error {
                        StoreError::Refused { reason: Refusal::WrongPassword, .. } => {
                            EnrolError::WrongPassword
                        }
                        other => other.into(),
                    })?;
                let mut log = AccountState::default();
                loop {
                    let (entries, more) = enrolment.log(log.length)?;
                    entries.iter().try_for_each(|entry| log.append(entry))?;
                    if !more || entries.is_empty() {
                        break;
                    }
                }
                let (mut opened, authority) = open_account(log, &derived, &keys)?;
                let entry = self.add_device(&mut opened.log, &authority, &secrets)?;
                enrolment.enrol(entry)?;
                opened
            }
        };
        let destination = DestinationFile::server(&invitation.server, &invitation.fingerprint);
        self.keep(&secrets, &opened, invitation.account.clone(), destination)?;
        Ok(is_new)
    }

    /// Enrols with the vault in a folder; true if that made the account.
    pub fn in_folder(&self, folder: &Path) -> Result<bool, EnrolError> {
        self.check_free()?;
        let secrets = self.secrets()?;
        self.home.prepare()?;
        let options = OpenOptions::folder(
            folder.to_owned(),
            self.home.index_path(),
            Access::Write,
            Arc::clone(&self.machine),
        );
        let vault = Vault::open(options)?;
        let enrolled = self.in_vault(&vault, &secrets, || self.password.choose(FOLDER_ACCOUNT));
        let (opened, number, is_new) = enrolled?;
        let id = vault.id();
        vault.close()?;
        self.keep(&secrets, &opened, FOLDER_ACCOUNT.to_owned(), DestinationFile::folder(folder, id, number))?;
        Ok(is_new)
    }

    fn in_vault(
        &self,
        vault: &Vault,
        secrets: &DeviceSecrets,
        choose: impl FnOnce() -> Result<Zeroizing<String>, PasswordError>,
    ) -> Result<(Opened, u64, bool), EnrolError> {
        let registry = Registry::new(vault);
        let number = registry.create_account(FOLDER_ACCOUNT, self.machine.now_ms())?;
        let tls = secrets.identity().public_key();
        let is_new = registry.account(FOLDER_ACCOUNT)?.is_none_or(|(_, account)| account.is_none());
        if is_new {
            let (opened, log, keys) = self.make_account(secrets, &choose()?)?;
            let log: Vec<&[u8]> = log.iter().map(|entry| &entry[..]).collect();
            registry.register(FOLDER_ACCOUNT, None, &tls, &log, Some(&keys))?;
            return Ok((opened, number.get(), true));
        }
        let log = registry.state(number)?;
        let factor = *log.factors.first().ok_or(EnrolError::Inconsistent("it has no password"))?;
        let keys = registry
            .keys(number, factor.factor)?
            .ok_or(EnrolError::Inconsistent("its keyring is not there"))?;
        let password = self.password.ask(FOLDER_ACCOUNT)?;
        let derived = PasswordKeys::derive(password.as_bytes(), &factor.salt, factor.profile, factor.factor)?;
        let (mut opened, authority) = open_account(log, &derived, &keys)?;
        let entry = self.add_device(&mut opened.log, &authority, secrets)?;
        registry.enrol(number, None, &tls, &entry)?;
        Ok((opened, number.get(), false))
    }

    /// The secrets of this device, made if there are none.
    fn secrets(&self) -> Result<DeviceSecrets, EnrolError> {
        if let Some(secrets) = DeviceSecrets::load(self.home)?
            && secrets.name() == self.device_name
        {
            return Ok(secrets);
        }
        let secrets = DeviceSecrets::new(self.device_name.clone(), &*self.machine);
        secrets.save(self.home)?;
        Ok(secrets)
    }

    /// Makes an account: its authority, keyring and factor, and the log that says so.
    fn make_account(
        &self,
        secrets: &DeviceSecrets,
        password: &str,
    ) -> Result<(Opened, Vec<Vec<u8>>, KeyBlobs), EnrolError> {
        let account = AccountId::from_bytes(self.random());
        let domain = DomainId::from_bytes(self.random());
        let authority_seed = Zeroizing::new(self.random::<32>());
        let authority = SigningKey::from_seed(&authority_seed);
        let keyring = Keyring::new(domain, self.random(), self.random());
        let factor = FactorId::from_bytes(self.random());
        let salt: [u8; 16] = self.random();
        let profile = KdfProfile::Standard;
        let derived = PasswordKeys::derive(password.as_bytes(), &salt, profile, factor)?;
        let key = BoxKey::from_bytes(self.random());
        let public = key.public_key();
        let proof = derived.proof_public_key();
        let mut log = AccountState::default();
        let mut stored = Vec::new();
        for what in [
            What::Genesis {
                account,
                authority: authority.public_key(),
                key_check: keyring.check_value(),
                mode: 1,
            },
            What::FactorPut { factor, public, profile: profile as u8, salt, proof },
            What::DeviceAdd(secrets.public()),
        ] {
            let entry = log.next(&authority, self.machine.now_ms(), what);
            log.append(&entry)?;
            stored.push(entry);
        }
        let seal = |what: Boxed, plain: &[u8]| {
            seal_to(&public, account, what, plain, self.random()).expect("a key made right here is one")
        };
        let keys = KeyBlobs {
            factor,
            public,
            proof,
            wrapped: derived.wrap(&key),
            keyring: seal(Boxed::Keyring, &keyring.encode()),
            authority: seal(Boxed::Authority, &authority_seed[..]),
        };
        Ok((Opened { account, domain, keyring, log }, stored, keys))
    }

    fn add_device(
        &self,
        log: &mut AccountState,
        authority: &SigningKey,
        secrets: &DeviceSecrets,
    ) -> Result<Vec<u8>, EnrolError> {
        let entry = log.next(authority, self.machine.now_ms(), What::DeviceAdd(secrets.public()));
        log.append(&entry)?;
        Ok(entry)
    }

    fn keep(
        &self,
        secrets: &DeviceSecrets,
        opened: &Opened,
        name: String,
        destination: DestinationFile,
    ) -> Result<(), EnrolError> {
        self.home.prepare()?;
        secrets.save_keyring(self.home, opened.account, &opened.keyring, &*self.machine)?;
        let file = AccountFile {
            account: opened.account.to_string(),
            name,
            domain: opened.domain.to_string(),
            log_length: opened.log.length,
            log_head: opened.log.head.to_string(),
            destination,
        };
        // Last: with this file the computer counts as enrolled.
        Ok(file.save(self.home)?)
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.machine.random(&mut bytes);
        bytes
    }
}

/// Opens what a password releases, and checks it against the log.
fn open_account(
    log: AccountState,
    derived: &PasswordKeys,
    keys: &KeyBlobs,
) -> Result<(Opened, SigningKey), EnrolError> {
    let account = log.account.ok_or(EnrolError::Inconsistent("its log is empty"))?;
    let factor = log.factors.iter().find(|factor| factor.factor == keys.factor);
    if factor.is_none_or(|factor| factor.public != keys.public) {
        return Err(EnrolError::Inconsistent("its log does not know the key that the keyring is sealed to"));
    }
    let key = derived.unwrap(&keys.public, &keys.wrapped).map_err(|_| EnrolError::WrongPassword)?;
    let open = |what: Boxed, sealed: &[u8]| {
        key.open(account, what, sealed).map_err(|_| EnrolError::Inconsistent("its keyring does not open"))
    };
    let keyring = Keyring::decode(&open(Boxed::Keyring, &keys.keyring)?)
        .map_err(|_| EnrolError::Inconsistent("its keyring is malformed"))?;
    if keyring.check_value() != log.key_check {
        return Err(EnrolError::Inconsistent("its keyring is not the one its log names"));
    }
    let seed = open(Boxed::Authority, &keys.authority)?;
    let seed: &[u8; 32] =
        seed[..].try_into().map_err(|_| EnrolError::Inconsistent("its authority key is malformed"))?;
    let authority = SigningKey::from_seed(seed);
    if log.authority != Some(authority.public_key()) {
        return Err(EnrolError::Inconsistent("its authority key is not the one its log names"));
    }
    Ok((Opened { account, domain: keyring.domain(), keyring, log }, authority))
}
