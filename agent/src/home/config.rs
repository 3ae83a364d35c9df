//! `config/config.toml`: the backup sets.
//!
//! ```toml
//! [[set]]
//! name = "home"
//! lineage = "0123456789abcdef0123456789abcdef"    # its history at the destination; never change it
//! roots = ["/home/alice"]
//! exclude = ["*.tmp", "/home/alice/Downloads/"]
//! ```

use std::path::{Path, PathBuf};

use backstore_platform::paths::{Printable, from_printable, name_to_archive, text_to_native, to_archive};
use backstore_platform::private_file::replace;
use backstore_protocol::ids::LineageId;
use serde::{Deserialize, Serialize};

use super::{Home, HomeError};
use crate::backup::REREAD_DAYS;
use crate::cached::CACHE_BYTES_MIN;
use crate::scan::{Exclusions, default_exclusions};

/// The configuration as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Backup sets.
    #[serde(rename = "set")]
    pub sets: Vec<SetConfig>,
    /// How objects are made and sent.
    pub upload: UploadConfig,
    /// How files are looked at.
    pub scan: ScanConfig,
    /// What is kept of a server's archive on this computer.
    pub cache: CacheConfig,
}

/// A backup set as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetConfig {
    /// Its name.
    pub name: String,
    /// Its lineage, in hexadecimal digits.
    pub lineage: String,
    /// What it selects. Bytes that are no plain text are escaped as on a terminal.
    pub roots: Vec<String>,
    /// Patterns of what is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Files of such patterns, a line each; read at every backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_file: Vec<String>,
    /// A directory that holds a file of one of these names is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_if_present: Vec<String>,
    /// Files larger than so many bytes are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_larger_than: Option<u64>,
    /// Do not enter other file systems.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one_file_system: bool,
    /// Leave nothing out by default.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_default_exclusions: bool,
    /// IANA name of the time zone that its dates are shown in; that of the computer when the set was made.
    pub zone: String,
}

/// How files are looked at, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScanConfig {
    /// Files that seem unchanged are read again in so many days, some by every backup; 0 for never.
    pub reread_days: u32,
    /// Threads that read files; 0 for one on spinning disks and over networks, all elsewhere.
    pub readers: usize,
}

impl Default for ScanConfig {
    fn default() -> Self {
        Self { reread_days: REREAD_DAYS, readers: 0 }
    }
}

/// How objects are made and sent, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UploadConfig {
    /// zstd level, 1 to 19.
    pub compression_level: i32,
    /// Threads that read, hash, compress and seal; 0 for as many as there are cores.
    pub workers: usize,
    /// How long a server that cannot be reached is tried, in seconds.
    pub retry_seconds: u64,
    /// One object in so many is opened again after sealing; 1 for every one.
    pub verify_every: u64,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self { compression_level: 3, workers: 0, retry_seconds: 60, verify_every: 16 }
    }
}

/// What is kept of a server's archive on this computer, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CacheConfig {
    /// MiB on the disk for what mounts and other commands have read; 0 for none.
    pub size_mib: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { size_mib: 2048 }
    }
}

impl CacheConfig {
    /// Bytes on the disk.
    pub fn bytes_max(&self) -> u64 {
        self.size_mib << 20
    }

    fn is_usable(&self) -> bool {
        self.size_mib == 0 || (CACHE_BYTES_MIN >> 20..=CACHE_MIB_MAX).contains(&self.size_mib)
    }
}

/// The largest cache: its index in memory can come to 160 MiB.
const CACHE_MIB_MAX: u64 = 65_536;

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The file does not say what it should.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
    /// A set's value is wrong.
    #[error("backup set {set:?}: {problem}")]
    Set {
        /// The set.
        set: String,
        /// What is wrong.
        problem: String,
    },
    /// No set has this name.
    #[error("there is no backup set {name:?}")]
    NoSuchSet {
        /// The name.
        name: String,
    },
}

impl Config {
    /// Reads and checks the configuration; an absent one is empty.
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        let path = home.config_path();
        let Some(text) = home.read_text(&path)? else { return Ok(Self::default()) };
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.clone(),
            problem: error.to_string().trim().to_owned(),
        })?;
        config.check(&path)?;
        Ok(config)
    }

    /// Writes it.
    pub fn save(&self, home: &Home) -> Result<(), ConfigError> {
        let path = home.config_path();
        self.check(&path)?;
        let malformed = |problem: String| ConfigError::Malformed { path: path.clone(), problem };
        let text = toml::to_string_pretty(self).map_err(|error| malformed(error.to_string()))?;
        home.prepare()?;
        let _durability = replace(&path, text.as_bytes()).map_err(HomeError::from)?;
        Ok(())
    }

    /// The set of this name.
    pub fn set(&self, name: &str) -> Result<&SetConfig, ConfigError> {
        self.sets
            .iter()
            .find(|set| set.name == name)
            .ok_or_else(|| ConfigError::NoSuchSet { name: name.to_owned() })
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let malformed = |problem: &str| {
            Err(ConfigError::Malformed { path: path.to_owned(), problem: problem.to_owned() })
        };
        if !(1..=19).contains(&self.upload.compression_level) {
            return malformed("upload.compression-level has to be between 1 and 19");
        }
        if self.upload.verify_every == 0 || self.upload.workers > 256 {
            return malformed("upload.verify-every has to be at least 1, upload.workers at most 256");
        }
        if self.scan.readers > 256 {
            return malformed("scan.readers has to be at most 256");
        }
        if !self.cache.is_usable() {
            return malformed("cache.size-mib has to be 0 or between 64 and 65536");
        }
        for (at, set) in self.sets.iter().enumerate() {
            set.check()?;
            if self.sets[..at].iter().any(|other| other.name == set.name || other.lineage == set.lineage) {
                return malformed(&format!("two sets have the name {:?} or its lineage", set.name));
            }
        }
        Ok(())
    }
}

impl SetConfig {
    /// Checks all values.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |problem: String| Err(ConfigError::Set { set: self.name.clone(), problem });
        let plain = |c: char| c.is_alphanumeric() || "._- ".contains(c);
        if self.name.is_empty()
            || self.name.len() > 64
            || self.name.starts_with(['.', ' ', '-'])
            || !self.name.chars().all(plain)
        {
            return wrong("a name has 1 to 64 letters, digits, spaces, `.`, `_` or `-`, and begins with a letter or digit".to_owned());
        }
        if LineageId::parse(&self.lineage).is_none() {
            return wrong("lineage is not an id".to_owned());
        }
        if self.zone.parse::<chrono_tz::Tz>().is_err() {
            return wrong(format!("{:?} is not a time zone like Europe/Berlin or UTC", self.zone));
        }
        if self.roots.is_empty() {
            return wrong("it has no roots".to_owned());
        }
        self.root_paths()?;
        self.exclusions(&[])?;
        Ok(())
    }

    /// Its lineage.
    pub fn lineage_id(&self) -> LineageId {
        LineageId::parse(&self.lineage).unwrap_or_default()
    }

    /// What it selects.
    pub fn root_paths(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let wrong = |problem: String| ConfigError::Set { set: self.name.clone(), problem };
        self.roots
            .iter()
            .map(|root| {
                let bytes =
                    from_printable(root).ok_or_else(|| wrong(format!("root {root:?} is not well formed")))?;
                let path = PathBuf::from(text_to_native(&bytes).into_owned());
                to_archive(&path).map_err(|error| wrong(error.to_string()))?;
                Ok(path)
            })
            .collect()
    }

    /// A root as it is written here.
    pub fn root_text(path: &Path) -> String {
        Printable(&name_to_archive(path.as_os_str())).to_string()
    }

    /// Its exclusions; `extra` patterns come from its files.
    pub fn exclusions(&self, extra: &[String]) -> Result<Exclusions, ConfigError> {
        let wrong = |problem: String| ConfigError::Set { set: self.name.clone(), problem };
        let roots: Result<Vec<_>, _> = self.root_paths()?.iter().map(|path| to_archive(path)).collect();
        let roots = roots.map_err(|error| wrong(error.to_string()))?;
        let defaults: Vec<_> =
            if self.no_default_exclusions { Vec::new() } else { default_exclusions(&roots).collect() };
        let own = self.exclude.iter().chain(extra).map(String::as_str);
        Exclusions::new(own.chain(defaults), &roots).map_err(|error| wrong(error.to_string()))
    }

    /// The patterns in its files: a line each, `#` begins a comment.
    pub fn patterns_in_files(&self) -> Result<Vec<String>, ConfigError> {
        let mut patterns = Vec::new();
        for file in &self.exclude_file {
            let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Set {
                set: self.name.clone(),
                problem: format!("exclusion file {file:?} cannot be read: {error}"),
            })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            patterns.extend(lines.map(str::to_owned));
        }
        Ok(patterns)
    }
}
