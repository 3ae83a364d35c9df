//! Restoring real backups, and hostile archives.

mod existing;
mod hostile;
mod trees;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backstore_platform::create::{Modes, Owners, Policy};

use super::*;
use crate::archive::Archive;
use crate::testing::{Computer, Told};

/// What a restore does unless told otherwise.
const USUAL: Policy = Policy {
    modes: Modes::Archived,
    owners: Owners::ByName,
    xattrs: true,
    times: true,
    attributes: true,
    privileged: false,
};

/// How a test restores.
struct How {
    existing: Existing,
    policy: Policy,
    include: Vec<String>,
    exclude: Vec<String>,
    is_dry_run: bool,
    /// After so many files it is interrupted.
    interrupted_after: u64,
}

impl Default for How {
    fn default() -> Self {
        Self {
            existing: Existing::Rename,
            policy: USUAL,
            include: Vec::new(),
            exclude: Vec::new(),
            is_dry_run: false,
            interrupted_after: u64::MAX,
        }
    }
}

/// Restores items of a view into a folder.
fn restore_items(view: View, items: Vec<Item>, to: &Path, how: &How) -> (RestoreReport, Vec<String>) {
    let plan = RestorePlan {
        view,
        items,
        base: Some(Arc::new(open_target(to).unwrap())),
        existing: how.existing,
        policy: how.policy,
        filter: Filter::new(&how.include, &how.exclude).unwrap(),
        date: "2026-11-22 14-30-05".to_owned(),
        writers: 2,
        is_dry_run: how.is_dry_run,
    };
    let (told, progress) = (Told::default(), Progress::default());
    let is_interrupted = || progress.files.load(Ordering::Relaxed) >= how.interrupted_after;
    let context = RestoreContext {
        machine: &backstore_platform::machine::System,
        monitor: &told,
        progress: &progress,
        is_interrupted: &is_interrupted,
    };
    let report = restore(&plan, &context).unwrap();
    (report, told.lines())
}

/// Restores paths of the newest version of an archive into a folder, by their names.
fn restore_paths(archive: &Archive, paths: &[&Path], to: &Path, how: &How) -> (RestoreReport, Vec<String>) {
    let request =
        Request { paths: paths.iter().map(|path| path.to_path_buf()).collect(), ..Request::default() };
    let selected = select(archive, &request, 0).unwrap();
    restore_items(selected.view(archive), items_by_name(&selected.paths).unwrap(), to, how)
}

/// Backs a computer's `source` up and restores it to `target/source`.
fn there_and_back(computer: &Computer, how: &How) -> (RestoreReport, Vec<String>) {
    computer.back_up();
    restore_paths(&computer.archive(), &[&computer.path("source")], &computer.path("target"), how)
}
