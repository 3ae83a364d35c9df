//! On what kind of storage the roots of a set lie.

use std::fmt;
use std::path::PathBuf;

use backstore_platform::mounts::{MountTable, Storage};

/// How files are best read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// The system does not tell: as from solid state.
    Unknown,
    /// Nothing moves: many at once.
    Solid,
    /// Over a network: one after the other.
    Network,
    /// From a spinning disk: one after the other.
    Spinning,
}

impl Reading {
    /// That of the slowest storage among those that roots lie on. What is mounted below them is not looked at.
    pub fn of(roots: &[PathBuf]) -> Self {
        let table = MountTable::read().unwrap_or_default();
        let of_root = |root: &PathBuf| {
            let native = root.canonicalize().unwrap_or_else(|_| root.clone());
            let Some(mount) = table.of_path(&native) else { return Self::Unknown };
            match mount.storage() {
                _ if mount.is_network() => Self::Network,
                Storage::Rotational => Self::Spinning,
                Storage::SolidState => Self::Solid,
                Storage::Unknown => Self::Unknown,
            }
        };
        roots.iter().map(of_root).max().unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "storage of unknown kind",
            Self::Solid => "solid-state storage",
            Self::Network => "a network file system",
            Self::Spinning => "a spinning disk",
        })
    }
}
