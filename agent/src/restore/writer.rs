//! One thread that makes files: content, then metadata, then its place.

use std::fs::File;
use std::io;
use std::sync::Arc;

use backstore_platform::create::{Existing, TargetDirectory, Temporary, Wanted, finish_file, prepare_file};
use backstore_platform::metadata::PrincipalIds;
use backstore_platform::walk::{DeviceId, stat_file};
use backstore_protocol::entry::{Content, Kind};
use backstore_vfs::objects::Recovery;
use crossbeam_channel::Receiver;

use super::content::{OwnRuns, Run as Part, Xattrs};
use super::direct::Staging;
use super::directory::Directory;
use super::existing::Way;
use super::fill::{Filled, Sink, fill};
use super::links::{Further, Made};
use super::names::free_name;
use super::planner::FileTask;
use super::run::{RestoreReport, Run};

/// Work for one thread.
#[derive(Default)]
pub(super) struct Batch<'a> {
    pub(super) jobs: Vec<Job<'a>>,
    /// Contents of its files, one after the other.
    pub(super) parts: Vec<Part>,
}

/// One thing to make.
pub(super) enum Job<'a> {
    Directory(Arc<Directory<'a>>),
    /// A file with the next so many parts of the batch.
    Whole(Box<FileTask<'a>>, usize),
    /// A file whose parts come. Without its end nobody sends any more.
    Large(Box<FileTask<'a>>, Receiver<Vec<Part>>),
}

/// A thread that writes.
pub(super) struct Writer<'a> {
    run: &'a Run<'a>,
    ids: PrincipalIds,
    done: RestoreReport,
    staging: Staging,
}

/// A file that is being made.
enum Output<'d> {
    /// Under the name it is to have, or had to get.
    Placed { file: File, name: Vec<u8> },
    /// Under another, until it is complete.
    Apart(Temporary<'d>),
}

impl Output<'_> {
    fn file(&self) -> &File {
        match self {
            Self::Placed { file, .. } => file,
            Self::Apart(temporary) => temporary.file(),
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(run: &'a Run<'a>) -> Self {
        Self {
            run,
            ids: PrincipalIds::default(),
            done: RestoreReport::default(),
            staging: Staging::default(),
        }
    }

    /// Makes everything in a batch.
    pub(super) fn write(&mut self, batch: Batch<'a>) {
        let mut parts = batch.parts.into_iter();
        for job in batch.jobs {
            if self.run.is_ending() {
                break;
            }
            match job {
                Job::Directory(directory) => {
                    // If it cannot be made, that has been told.
                    let _ = directory.handle();
                }
                Job::Whole(task, count) => {
                    let mut own = parts.by_ref().take(count);
                    self.make(task, &mut own);
                    own.for_each(drop);
                }
                Job::Large(task, received) => {
                    let mut is_ended = false;
                    let messages = std::iter::from_fn(|| {
                        let message = received.recv().ok().filter(|parts| !parts.is_empty());
                        // Without the end, there would be more to come.
                        is_ended |= message.is_none();
                        message
                    });
                    self.make(task, &mut messages.flatten());
                }
            }
        }
        self.run.add(&std::mem::take(&mut self.done));
    }

    fn make(&mut self, task: Box<FileTask<'a>>, parts: &mut dyn Iterator<Item = Part>) {
        match task.entry.kind {
            Kind::File => match &task.further_of {
                Some(group) => {
                    let group = Arc::clone(group);
                    match group.further(task) {
                        Further::Link(made, task) => self.link(&made, &task),
                        Further::Copy(task) => self.copy(&task),
                        Further::Later => {}
                    }
                }
                None => self.file(&task, parts),
            },
            Kind::Symlink => self.symlink(&task),
            Kind::Fifo | Kind::Socket | Kind::CharacterDevice | Kind::BlockDevice => self.special(&task),
            Kind::Directory | Kind::ImpliedDirectory => {}
        }
    }

    /// A regular file, and the names that waited for it.
    fn file(&mut self, task: &FileTask<'a>, parts: &mut dyn Iterator<Item = Part>) {
        let made = self.content(task, parts);
        let Some(group) = &task.first_of else { return };
        for waiting in group.settle(made.clone()) {
            match &made {
                Some(made) => self.link(made, &waiting),
                None => self.copy(&waiting),
            }
        }
    }

    /// A regular file that is read by itself.
    fn copy(&mut self, task: &FileTask<'a>) {
        let content = self.run.plan.view.file(&task.entry);
        if self.content(task, &mut OwnRuns::new(content).flatten()).is_some() {
            self.done.unlinked += 1;
        }
    }

    fn content(&mut self, task: &FileTask<'a>, parts: &mut dyn Iterator<Item = Part>) -> Option<Made<'a>> {
        let Ok(directory) = task.directory.handle() else {
            self.done.errors += 1;
            return None;
        };
        let output = match self.open(task, &directory) {
            Ok(output) => output,
            Err(error) => {
                self.run.failed(&task.path(), "cannot be made", &error);
                return None;
            }
        };
        // Attributes such as no-copy-on-write can only be set while it is empty.
        let policy = &self.run.plan.policy;
        if task.entry.attributes != 0 {
            prepare_file(output.file(), &Wanted { entry: &task.entry, xattrs: &[] }, policy);
        }
        let mut sink = Sink::new(output.file(), task.entry.size, &mut self.staging);
        let filled =
            match fill(self.run, &mut sink, task.entry.size, parts).and_then(|filled| sink.end(filled)) {
                Ok(filled) => filled,
                Err(error) => {
                    discard(&directory, output);
                    self.run.failed(&task.path(), "cannot be written", &error);
                    return None;
                }
            };
        match filled {
            Filled::Whole => self.finish(task, output),
            Filled::Cut => {
                discard(&directory, output);
                None
            }
            Filled::Holed { missing, first, error } => {
                let size = task.entry.size;
                if error.recovery() == Recovery::Stop || missing >= size || task.way == Way::Instead {
                    discard(&directory, output);
                    self.run.unread(&task.path(), "not restored: ", &error);
                } else {
                    let what = format!(
                        "{missing} of its {size} bytes, the first at byte {first}, are missing, and zero in what was restored of it: "
                    );
                    self.run.unread(&task.path(), &what, &error);
                }
                None
            }
            Filled::Misfit { length } => {
                discard(&directory, output);
                let what = format!(
                    "not restored: the archive has {length} bytes of it and says {}",
                    task.entry.size
                );
                self.run.problem(&task.path(), &what);
                None
            }
        }
    }

    fn open<'d>(&self, task: &FileTask<'a>, directory: &'d TargetDirectory) -> io::Result<Output<'d>> {
        let apart = || directory.create_temporary(self.run.context.machine).map(Output::Apart);
        match task.way {
            Way::New => {}
            Way::Instead => return apart(),
            Way::Again => {
                let Some(file) = directory.open_existing_file(&task.name)? else { return apart() };
                file.set_len(0)?;
                return Ok(Output::Placed { file, name: task.name.clone() });
            }
        }
        let (file, name) = free_name(&self.run.plan.date, &task.name, |name| directory.create_file(name))?;
        Ok(Output::Placed { file, name })
    }

    /// Gives a file with its content its metadata and its place.
    fn finish(&mut self, task: &FileTask<'a>, output: Output<'_>) -> Option<Made<'a>> {
        let xattrs = Xattrs::read(self.run.plan.view.reader(), &task.entry);
        xattrs.problems.iter().for_each(|problem| self.run.problem(&task.path(), problem));
        let pairs = xattrs.pairs();
        let wanted = Wanted { entry: &task.entry, xattrs: &pairs };
        let left_out = finish_file(output.file(), &wanted, &self.run.plan.policy, &mut self.ids);
        self.done.leave_out(&left_out);
        let identity =
            task.first_of.as_ref().and_then(|_| stat_file(output.file()).ok()).map(|stat| stat.identity());
        let name = match output {
            Output::Placed { name, .. } => name,
            Output::Apart(temporary) => {
                if let Err(error) = temporary.put_in_place(&task.name, Existing::Replace) {
                    self.run.failed(&task.path(), "cannot be put in its place", &error);
                    return None;
                }
                task.name.clone()
            }
        };
        self.done_with(task, &name);
        identity.map(|identity| made(task, name, identity))
    }

    fn done_with(&mut self, task: &FileTask<'a>, name: &[u8]) {
        task.count(&mut self.done);
        self.done.renamed += u64::from(name != task.name);
    }

    /// One more name of a file; if that cannot be, a file of its own.
    fn link(&mut self, made: &Made<'a>, task: &FileTask<'a>) {
        let Ok(directory) = task.directory.handle() else {
            self.done.errors += 1;
            return;
        };
        match self.try_link(made, task, &directory) {
            Ok(name) => self.done_with(task, &name),
            Err(_) => self.copy(task),
        }
    }

    fn try_link(
        &self,
        made: &Made<'a>,
        task: &FileTask<'a>,
        directory: &TargetDirectory,
    ) -> io::Result<Vec<u8>> {
        let opened;
        let alive = made.directory.upgrade().and_then(|directory| directory.handle().ok());
        let source: &TargetDirectory = if let Some(alive) = &alive {
            alive
        } else {
            let base = self.run.plan.base.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let names: Vec<&[u8]> = made.names.iter().map(Vec::as_slice).collect();
            opened = base.open_below(&names)?;
            &opened
        };
        let link = |name: &[u8]| directory.create_hard_link(name, source, &made.name, made.identity);
        if task.way == Way::New {
            return free_name(&self.run.plan.date, &task.name, link).map(|((), name)| name);
        }
        replace(self.run, directory, &task.name, link)?;
        Ok(task.name.clone())
    }

    fn symlink(&mut self, task: &FileTask<'a>) {
        let Content::Inline(target) = &task.entry.content else {
            return self.run.problem(&task.path(), "not restored: where the link leads cannot be read");
        };
        self.make_named(task, |directory, name| directory.create_link(name, target));
    }

    fn special(&mut self, task: &FileTask<'a>) {
        let entry = &task.entry;
        let policy = &self.run.plan.policy;
        let mut left_out = None;
        let is_made = self.make_named(task, |directory, name| {
            left_out = directory.create_special(name, entry.kind, entry.device, policy)?;
            // What is not made is no error, and has no metadata.
            if left_out.is_some() { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
        });
        if let (false, Some(left_out)) = (is_made, left_out) {
            self.done.leave_out(&[left_out]);
        }
    }

    /// Makes what is not opened, with its metadata. [`io::ErrorKind::Unsupported`] is not told.
    fn make_named(
        &mut self,
        task: &FileTask<'a>,
        mut make: impl FnMut(&TargetDirectory, &[u8]) -> io::Result<()>,
    ) -> bool {
        let Ok(directory) = task.directory.handle() else {
            self.done.errors += 1;
            return false;
        };
        let xattrs = Xattrs::read(self.run.plan.view.reader(), &task.entry);
        xattrs.problems.iter().for_each(|problem| self.run.problem(&task.path(), problem));
        let (pairs, run) = (xattrs.pairs(), self.run);
        let wanted = Wanted { entry: &task.entry, xattrs: &pairs };
        let ids = &mut self.ids;
        let mut make_and_finish = |name: &[u8]| {
            make(&directory, name)?;
            directory.finish_named(name, &wanted, &run.plan.policy, ids)
        };
        let made = if task.way == Way::New {
            free_name(&run.plan.date, &task.name, make_and_finish)
        } else {
            let mut left_out = Vec::new();
            let name = task.name.clone();
            replace(run, &directory, &task.name, |name| {
                left_out = make_and_finish(name)?;
                Ok(())
            })
            .map(|()| (left_out, name))
        };
        match made {
            Ok((left_out, name)) => {
                self.done.leave_out(&left_out);
                self.done_with(task, &name);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(error) => {
                self.run.failed(&task.path(), "cannot be made", &error);
                false
            }
        }
    }
}

fn made<'a>(task: &FileTask<'a>, name: Vec<u8>, identity: (DeviceId, u64)) -> Made<'a> {
    let directory = Arc::downgrade(&task.directory);
    Made { directory, names: task.directory.names().into(), name, identity }
}

/// Makes something under a name of its own, and puts it in its place when it is complete.
fn replace(
    run: &Run<'_>,
    directory: &TargetDirectory,
    name: &[u8],
    make: impl FnOnce(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = TargetDirectory::temporary_name(run.context.machine);
    let placed = make(&temporary).and_then(|()| directory.put_in_place(&temporary, name, Existing::Replace));
    // It is still there if that failed, or if both are names of one file.
    match directory.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => placed.and(Err(error)),
        Ok(()) | Err(_) => placed,
    }
}

/// Removes a file that was not completed. If that fails it stays, marked as unfinished.
fn discard(directory: &TargetDirectory, output: Output<'_>) {
    if let Output::Placed { name, .. } = output {
        let _ = directory.remove_file(&name);
    }
}
