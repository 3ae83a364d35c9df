//! Which account this device belongs to, and where its archives are.

use std::path::PathBuf;

use backstore_protocol::base32;
use backstore_protocol::ids::{AccountId, DomainId, Fingerprint, VaultId};
use backstore_protocol::quic::{ServerAddress, fingerprint_text};
use serde::{Deserialize, Serialize};

use super::{Home, HomeError};

/// `state/account.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AccountFile {
    /// The account's id.
    pub account: String,
    /// Its name at the destination.
    pub name: String,
    /// Scope of its ids.
    pub domain: String,
    /// Entries of the account log this device has seen.
    pub log_length: u64,
    /// Hash of the last of them.
    pub log_head: String,
    /// Where archives go.
    pub destination: DestinationFile,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum DestinationFile {
    /// A `backstored` server.
    #[serde(rename_all = "kebab-case")]
    Server {
        /// Host and port.
        address: String,
        /// The fingerprint it must have.
        fingerprint: String,
    },
    /// A folder with a vault.
    #[serde(rename_all = "kebab-case")]
    Folder {
        /// The folder, escaped as for a terminal if it is not plain text.
        path: String,
        /// The vault that is to be in it.
        vault: String,
        /// The account's number in it.
        number: u64,
    },
}

const FILE: &str = "account.toml";

impl AccountFile {
    /// The account of this device.
    pub fn load(home: &Home) -> Result<Option<Self>, HomeError> {
        let path = home.state_path(FILE);
        let Some(text) = home.read_text(&path)? else { return Ok(None) };
        toml::from_str(&text)
            .map(Some)
            .map_err(|error| HomeError::Unusable { path, problem: error.to_string() })
    }

    /// Keeps it.
    pub fn save(&self, home: &Home) -> Result<(), HomeError> {
        let text = toml::to_string(self).map_err(|error| HomeError::Unusable {
            path: home.state_path(FILE),
            problem: error.to_string(),
        })?;
        home.write_state(FILE, text.as_bytes())
    }

    /// Forgets it.
    pub fn remove(home: &Home) -> Result<(), HomeError> {
        let path = home.state_path(FILE);
        std::fs::remove_file(&path).map_err(|source| HomeError::Io { action: "remove", path, source })
    }

    /// The account's id.
    pub fn account_id(&self, home: &Home) -> Result<AccountId, HomeError> {
        AccountId::parse(&self.account).ok_or_else(|| unusable(home, "account"))
    }

    /// Scope of its ids.
    pub fn domain_id(&self, home: &Home) -> Result<DomainId, HomeError> {
        DomainId::parse(&self.domain).ok_or_else(|| unusable(home, "domain"))
    }
}

impl DestinationFile {
    /// A server.
    pub fn server(address: &ServerAddress, fingerprint: &Fingerprint) -> Self {
        Self::Server { address: address.to_string(), fingerprint: fingerprint_text(fingerprint) }
    }

    /// A folder.
    pub fn folder(path: &std::path::Path, vault: VaultId, number: u64) -> Self {
        let path = backstore_platform::paths::name_to_archive(path.as_os_str()).into_owned();
        let path = backstore_platform::paths::Printable(&path).to_string();
        Self::Folder { path, vault: vault.to_string(), number }
    }

    /// Its address and fingerprint, if it is a server.
    pub fn as_server(&self, home: &Home) -> Result<Option<(ServerAddress, Fingerprint)>, HomeError> {
        let Self::Server { address, fingerprint } = self else { return Ok(None) };
        let address = ServerAddress::parse(address).ok_or_else(|| unusable(home, "address"))?;
        let fingerprint = base32::decode(fingerprint).and_then(|bytes| Fingerprint::from_slice(&bytes));
        Ok(Some((address, fingerprint.ok_or_else(|| unusable(home, "fingerprint"))?)))
    }

    /// Its folder, vault and account number, if it is a folder.
    pub fn as_folder(&self, home: &Home) -> Result<Option<(PathBuf, VaultId, u64)>, HomeError> {
        let Self::Folder { path, vault, number } = self else { return Ok(None) };
        let path = backstore_platform::paths::from_printable(path).ok_or_else(|| unusable(home, "path"))?;
        let path = PathBuf::from(backstore_platform::paths::text_to_native(&path).into_owned());
        let vault = VaultId::parse(vault).ok_or_else(|| unusable(home, "vault"))?;
        Ok(Some((path, vault, *number)))
    }
}

impl std::fmt::Display for DestinationFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server { address, .. } => write!(f, "backstore://{address}"),
            Self::Folder { path, .. } => f.write_str(path),
        }
    }
}

fn unusable(home: &Home, field: &str) -> HomeError {
    HomeError::Unusable { path: home.state_path(FILE), problem: format!("{field} is not well formed") }
}
