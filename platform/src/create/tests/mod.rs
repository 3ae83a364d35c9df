//! Restoring into real folders.

mod files;
mod hostile;
#[cfg(target_os = "linux")]
mod linux;
mod rights;

use std::fs;

use backstore_protocol::entry::Kind;
use tempfile::TempDir;

use super::*;
use crate::testing::world_readable_folder;
use crate::walk::stat_file;

/// What a restore does without being asked for more.
const USUAL: Policy = Policy {
    modes: Modes::Archived,
    owners: Owners::Current,
    xattrs: true,
    times: true,
    attributes: true,
    privileged: false,
};
/// Everything.
const PRIVILEGED: Policy = Policy { owners: Owners::ById, privileged: true, ..USUAL };

/// A folder with `target`, which is restored into, and `outside`, which nothing may reach.
fn folders() -> (TempDir, TargetDirectory) {
    let folder = world_readable_folder();
    fs::create_dir(folder.path().join("target")).unwrap();
    fs::create_dir(folder.path().join("outside")).unwrap();
    fs::write(folder.path().join("outside/secret"), "secret").unwrap();
    let target = TargetDirectory::open(&folder.path().join("target"), Links::Follow).unwrap();
    (folder, target)
}

fn entry(kind: Kind, mode: u16) -> Entry {
    Entry { mode, mtime: Time { seconds: 1_500_000_000, nanoseconds: 7 }, ..Entry::new(kind) }
}

fn wanted(entry: &Entry) -> Wanted<'_> {
    Wanted { entry, xattrs: &[] }
}

fn parts(left_out: &[LeftOut]) -> Vec<(Part, &'static str)> {
    let reason = |reason: &Reason| match reason {
        Reason::NotAsked => "not asked",
        Reason::NotPermitted => "not permitted",
        Reason::NotSupported => "not supported",
        Reason::Clamped { .. } => "clamped",
        Reason::Failed(_) => "failed",
    };
    left_out.iter().map(|left_out| (left_out.part, reason(&left_out.reason))).collect()
}

#[track_caller]
fn mode(file: &fs::File) -> u16 {
    stat_file(file).unwrap().mode
}
