//! What no scan enters, whatever a set selects.

use std::path::Path;

use backstore_platform::mounts::MountTable;
use backstore_platform::walk::{DeviceId, Directory};

/// BackStore's own folders, by what they are rather than by their path.
pub fn never_enter<'a>(folders: impl Iterator<Item = &'a Path>) -> Vec<(DeviceId, u64)> {
    folders
        .filter_map(|folder| Directory::open(folder).ok()?.full_stat_self().ok())
        .map(|stat| stat.basic.identity())
        .collect()
}

/// File systems that the kernel makes up, and mounts of our own.
pub fn pseudo_devices() -> Vec<DeviceId> {
    // Where the system does not tell its mounts, nothing is known to be made up.
    let table = MountTable::read().unwrap_or_default();
    table.iter().filter(|mount| mount.is_pseudo() || mount.is_own()).map(|mount| mount.device).collect()
}
