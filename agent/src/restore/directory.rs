//! A directory of the target: made when the first thing in it is, and given its metadata when the last one is done.
//!
//! Whatever is still to be made in a directory holds on to it, and a directory to the one above it; so the end of the last holder is the moment
//! to finish it, whichever thread that is on. Only directories in which something is going on are open.

use std::io;
use std::sync::{Arc, Mutex};

use backstore_platform::create::{Modes, Policy, TargetDirectory, Wanted, finish_directory};
use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::path::ArchivePath;

use super::content::Xattrs;
use super::names::free_name;
use super::run::{Run, lock};

/// Where a directory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is made.
    New,
    /// It is made, and what is no directory goes for it.
    Instead,
    /// An earlier restore has made it and not finished it.
    Unfinished,
    /// It is there, and gets its archived metadata.
    Updated,
    /// It is there, and stays as it is.
    Kept,
}

impl Origin {
    /// Nothing can be in it yet.
    pub(super) const fn is_new(self) -> bool {
        matches!(self, Self::New | Self::Instead)
    }
}

/// A directory that things are restored into.
pub(super) struct Directory<'a> {
    run: &'a Run<'a>,
    above: Option<Above<'a>>,
    /// What it is in the archive.
    pub(super) path: ArchivePath,
    entry: Entry,
    state: Mutex<State>,
}

struct Above<'a> {
    directory: Arc<Directory<'a>>,
    name: Vec<u8>,
    origin: Origin,
}

enum State {
    Untouched,
    Open { handle: Arc<TargetDirectory>, name: Vec<u8> },
    Failed,
}

/// It could not be made, which has been told.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotMade;

impl<'a> Directory<'a> {
    /// The directory that everything goes into.
    pub(super) fn base(run: &'a Run<'a>) -> Arc<Self> {
        let open =
            |handle: &Arc<TargetDirectory>| State::Open { handle: Arc::clone(handle), name: Vec::new() };
        let state = run.plan.base.as_ref().map_or(State::Untouched, open);
        Arc::new(Self {
            run,
            above: None,
            path: ArchivePath::unix_root(),
            entry: Entry::new(Kind::ImpliedDirectory),
            state: Mutex::new(state),
        })
    }

    /// The directory `name` in this one.
    pub(super) fn below(
        self: &Arc<Self>,
        name: Vec<u8>,
        path: ArchivePath,
        entry: Entry,
        origin: Origin,
    ) -> Arc<Self> {
        let above = Above { directory: Arc::clone(self), name, origin };
        Arc::new(Self { run: self.run, above: Some(above), path, entry, state: Mutex::new(State::Untouched) })
    }

    /// Opens it, and makes it first if it is new.
    pub(super) fn handle(&self) -> Result<Arc<TargetDirectory>, NotMade> {
        let mut state = lock(&self.state);
        match &*state {
            State::Open { handle, .. } => return Ok(Arc::clone(handle)),
            State::Failed => return Err(NotMade),
            State::Untouched => {}
        }
        let Some(above) = &self.above else { return Err(NotMade) };
        let made = above.directory.handle().and_then(|parent| {
            self.make(&parent, above).map_err(|error| {
                self.run.failed(
                    &self.path,
                    "the directory cannot be made, nothing in it was restored",
                    &error,
                );
                NotMade
            })
        });
        match made {
            Ok((handle, name)) => {
                let handle = Arc::new(handle);
                *state = State::Open { handle: Arc::clone(&handle), name };
                Ok(handle)
            }
            Err(NotMade) => {
                *state = State::Failed;
                Err(NotMade)
            }
        }
    }

    fn make(&self, parent: &TargetDirectory, above: &Above<'a>) -> io::Result<(TargetDirectory, Vec<u8>)> {
        let name = &above.name;
        match above.origin {
            Origin::Unfinished | Origin::Updated | Origin::Kept => {
                return Ok((parent.open_directory(name)?, name.clone()));
            }
            Origin::Instead => parent.remove_file(name)?,
            Origin::New => {}
        }
        let made = free_name(&self.run.plan.date, name, |name| parent.make_directory(name))?;
        self.run.count(|report| report.renamed += u64::from(made.1 != *name));
        Ok(made)
    }

    /// Names that lead to it from the base, once it is open.
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        let Some(above) = &self.above else { return Vec::new() };
        let mut names = above.directory.names();
        names.push(match &*lock(&self.state) {
            State::Open { name, .. } => name.clone(),
            State::Untouched | State::Failed => above.name.clone(),
        });
        names
    }

    fn finish(&self, handle: &TargetDirectory) {
        let plan = self.run.plan;
        // Of a directory that was not selected only what lets people in is known.
        let is_selected = self.entry.kind == Kind::Directory;
        let policy = Policy { times: plan.policy.times && is_selected, ..plan.policy };
        let entry = Entry { kind: Kind::Directory, ..self.entry.clone() };
        let xattrs = Xattrs::read(plan.view.reader(), &entry);
        xattrs.problems.iter().for_each(|problem| self.run.problem(&self.path, problem));
        let wanted = Wanted { entry: &entry, xattrs: &xattrs.pairs() };
        let left_out = finish_directory(handle, &wanted, &policy, &mut self.run.ids());
        self.run.count(|report| {
            report.directories += 1;
            report.leave_out(&left_out);
        });
    }
}

impl Drop for Directory<'_> {
    fn drop(&mut self) {
        let is_finished_here = match &self.above {
            None => false,
            Some(above) => match above.origin {
                Origin::New | Origin::Instead | Origin::Unfinished | Origin::Updated => true,
                Origin::Kept => false,
            },
        };
        // Of a restore that ends early nobody knows what is still missing in it: it stays marked as unfinished.
        if !is_finished_here || self.run.is_ending() {
            return;
        }
        let state = std::mem::replace(&mut *lock(&self.state), State::Failed);
        if let State::Open { handle, .. } = state {
            self.finish(&handle);
        }
    }
}

/// A directory that the archive knows nothing of, above something that was mapped elsewhere.
pub(super) fn made_up_directory() -> Entry {
    Entry { mode: 0o755, ..Entry::new(Kind::ImpliedDirectory) }
}

/// The mode that an archived one becomes.
pub(super) const fn mode_of(entry: &Entry, policy: &Policy) -> u16 {
    match policy.modes {
        Modes::Archived => entry.mode & 0o777,
        Modes::Masked(mask) => entry.mode & 0o777 & !mask,
    }
}
