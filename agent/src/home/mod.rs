//! The agent's own files: what the user sets, who this device is, what it remembers.
//!
//! ```text
//! config/config.toml      backup sets
//! state/device            secret keys of this device, readable by its user only
//! state/keyring           the account's keyring, sealed to the device
//! state/account.toml      account and destination
//! state/lineages/ID.json  what is remembered of a set's lineage
//! cache/index/            indexes of vaults in folders
//! cache/nodes/            nodes of a server's archive, for backups; sealed as they are there
//! cache/objects/          objects of a server's archive, for whoever reads it; likewise
//! ```

mod account;
mod config;
mod device;
mod lineage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backstore_platform::paths::{Directories, NoHome};
use backstore_platform::private_file::{PrivateFileError, make_private_directory, replace};

pub use account::{AccountFile, DestinationFile};
pub use config::{Config, ConfigError, SetConfig};
pub use device::{DeviceSecrets, device_name};
pub use lineage::{LineageMemory, LineageState};

/// Where the agent's files are.
#[derive(Debug, Clone)]
pub struct Home {
    directories: Directories,
}

/// Why a file of the agent's own could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is no place for them.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// A secret or state file.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A file that does not say what it should.
    #[error("{} is not usable: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A system call failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No account yet.
    #[error("this computer belongs to no account yet")]
    NotEnrolled,
}

impl Home {
    /// The home of this user.
    pub fn locate() -> Result<Self, HomeError> {
        Ok(Self { directories: Directories::locate()? })
    }

    /// A home in a folder of its own.
    pub fn at(folder: &Path) -> Self {
        let directories = Directories {
            config: folder.join("config"),
            state: folder.join("state"),
            cache: folder.join("cache"),
        };
        Self { directories }
    }

    /// The file with the backup sets.
    pub fn config_path(&self) -> PathBuf {
        self.directories.config.join("config.toml")
    }

    /// A file of state.
    pub fn state_path(&self, name: &str) -> PathBuf {
        self.directories.state.join(name)
    }

    /// Where indexes of vaults in folders are kept.
    pub fn index_path(&self) -> PathBuf {
        self.directories.cache.join("index")
    }

    /// The file that keeps nodes of a server's archive.
    pub fn node_cache_path(&self, domain: &str) -> PathBuf {
        self.directories.cache.join("nodes").join(domain)
    }

    /// The folder that keeps what was read of a server's archive.
    pub fn object_cache_path(&self, domain: &str) -> PathBuf {
        self.directories.cache.join("objects").join(domain)
    }

    /// The folders that do so, of all archives.
    pub fn object_cache_paths(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.directories.cache.join("objects")).into_iter().flatten();
        folders.filter_map(|folder| Some(folder.ok()?.path())).collect()
    }

    /// The folder of the index of what became of a set's files.
    pub fn history_path(&self, lineage: &str) -> PathBuf {
        self.directories.cache.join("history").join(lineage)
    }

    /// The folder of what can be made again.
    pub fn cache_path(&self) -> &Path {
        &self.directories.cache
    }

    /// The folders that must never be backed up into themselves.
    pub fn own_folders(&self) -> [&Path; 2] {
        [&self.directories.state, &self.directories.cache]
    }

    /// Makes the folders.
    pub fn prepare(&self) -> Result<(), HomeError> {
        for folder in [&self.directories.config, &self.directories.state, &self.directories.cache] {
            make_private_directory(folder)?;
        }
        Ok(())
    }

    /// Replaces a small state file.
    fn write_state(&self, name: &str, content: &[u8]) -> Result<(), HomeError> {
        let path = self.state_path(name);
        if let Some(folder) = path.parent() {
            make_private_directory(folder)?;
        }
        // Losing the newest of it to a power cut costs a comparison, no data.
        let _durability = replace(&path, content)?;
        Ok(())
    }

    fn read_text(&self, path: &Path) -> Result<Option<String>, HomeError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HomeError::Io { action: "read", path: path.to_owned(), source }),
        }
    }
}
