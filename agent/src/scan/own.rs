//! What no scan enters, whatever a set selects.

use std::path::{Path, PathBuf};

use backstore_platform::mounts::MountTable;
use backstore_platform::walk::{DeviceId, Directory};

/// BackStore's own folders and those in them, by what they are rather than by their path: they may be mounted elsewhere as well.
pub fn never_enter<'a>(folders: impl Iterator<Item = &'a Path>) -> Vec<(DeviceId, u64)> {
    let within = |folder: &Path| {
        let entries = folder.read_dir().map_or_else(|_| Vec::new(), |entries| entries.flatten().collect());
        entries
            .into_iter()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
    };
    let mut own: Vec<PathBuf> = folders.map(Path::to_path_buf).collect();
    own.extend(own.clone().iter().flat_map(|folder| within(folder).take(WITHIN_MAX)));
    own.iter()
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

/// Folders looked for in one of BackStore's own.
const WITHIN_MAX: usize = 64;
