//! A restore: find the version, walk its tree, read contents in order, write files on several threads, finish directories as they complete.
//!
//! [`restore`] is the whole of it. The walk decides what becomes of each file, with a look at what is there already; contents come from
//! `vfs`, each object fetched once; batches of whole files go to threads that write them. What is made lies in open directories that this
//! restore made or found, so nothing leaves the target: README of `platform` says how. Each file is finished before it gets its mark of
//! completion, so a restore that was cut off finds its own files again and makes the rest.

mod batch;
mod content;
mod direct;
mod directory;
mod error;
mod existing;
mod fill;
mod filter;
mod links;
mod listing;
mod names;
mod places;
mod planner;
mod run;
mod select;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;

use backstore_platform::create::{Policy, TargetDirectory};
use backstore_platform::machine::Machine;
use backstore_vfs::view::View;

pub use error::RestoreError;
pub use filter::Filter;
pub use places::{Item, Mapping, items_at_full_path, items_by_name};
pub use run::{Ended, Monitor, Progress, RestoreReport};
pub use select::{Request, Selected, select};

/// What to do with a file that is there already and differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Keep it, and give the restored one the version's date in its name.
    Rename,
    /// Put the restored one in its place.
    Overwrite,
    /// Keep it, and restore nothing.
    Skip,
}

/// What is restored, and how.
pub struct RestorePlan {
    /// The version.
    pub view: View,
    /// What of it, and where to.
    pub items: Vec<Item>,
    /// The directory that places are below; nothing if it is not there yet and nothing is to be made.
    pub base: Option<Arc<TargetDirectory>>,
    /// Files that are there already.
    pub existing: Existing,
    /// Metadata that is set.
    pub policy: Policy,
    /// What of the items is left out.
    pub filter: Filter,
    /// The version's date, as it comes into names.
    pub date: String,
    /// Threads that write files.
    pub writers: usize,
    /// Look what would be done, and do nothing.
    pub is_dry_run: bool,
}

/// What a restore works with.
pub struct RestoreContext<'a> {
    /// Time and randomness.
    pub machine: &'a dyn Machine,
    /// Who is told.
    pub monitor: &'a dyn Monitor,
    /// Figures while it runs.
    pub progress: &'a Progress,
    /// Whether the user wants it to end.
    pub is_interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// Restores. Files that cannot be written whole are told to the monitor and counted.
pub fn restore(plan: &RestorePlan, context: &RestoreContext<'_>) -> Result<RestoreReport, RestoreError> {
    let started = context.machine.monotonic();
    let run = run::Run::new(plan, context);
    let base = directory::Directory::base(&run);
    let planner = planner::Planner::new(&run, base);
    if plan.is_dry_run {
        planner.for_each(|wanted| wanted.tag.count_only(&run));
    } else {
        batch::write_all(&run, planner)?;
    }
    Ok(run.into_report(context.machine.monotonic() - started))
}

/// Opens the directory that a restore goes into, made first if it is not there.
pub fn open_target(folder: &Path) -> Result<TargetDirectory, RestoreError> {
    let failed = |source| RestoreError::Target { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    TargetDirectory::open(folder, backstore_platform::create::Links::Follow).map_err(failed)
}
