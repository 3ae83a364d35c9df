//! The walk over the version: what is to be made, in which order, and what is left as it is.
//!
//! Of each directory first its files, then the directories in it with everything below them, then its links: so nothing that is restored can
//! come by a link of the archive even where a file system or our own mistake would let it. Only the directories on the way to where the walk stands
//! are kept in mind, however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use backstore_platform::create::TargetDirectory;
use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::path::ArchivePath;
use backstore_vfs::stream::Wanted;

use super::directory::{Directory, Origin, made_up_directory};
use super::existing::{Decision, Way, decide_directory, decide_file};
use super::filter::Verdict;
use super::links::{Group, Groups, Made, Name};
use super::listing::Listing;
use super::places::Item;
use super::run::{RestoreReport, Run};

/// Something to be made.
pub(super) enum Task<'a> {
    /// A directory, even if nothing comes into it.
    Directory(Arc<Directory<'a>>),
    /// A file, link, pipe, socket or device.
    File(Box<FileTask<'a>>),
}

/// Something to be made that is not a directory.
pub(super) struct FileTask<'a> {
    pub(super) directory: Arc<Directory<'a>>,
    /// The name it gets.
    pub(super) name: Vec<u8>,
    /// Its own name, if that is another.
    pub(super) archived_name: Option<Vec<u8>>,
    /// Its content is elsewhere if that comes in turn.
    pub(super) entry: Entry,
    pub(super) way: Way,
    /// The other names of the file that wait for this one.
    pub(super) first_of: Option<Arc<Group<'a>>>,
    /// The file that this is to be one more name of.
    pub(super) further_of: Option<Arc<Group<'a>>>,
}

impl Task<'_> {
    /// Counts it as done: for a preview.
    pub(super) fn count_only(&self, run: &Run<'_>) {
        run.count(|report| match self {
            Self::Directory(_) => report.directories += 1,
            Self::File(task) => task.count(report),
        });
    }
}

impl FileTask<'_> {
    /// Counts it as done.
    pub(super) fn count(&self, report: &mut RestoreReport) {
        if self.entry.kind == Kind::File {
            report.files += 1;
            report.bytes += self.entry.size;
        } else {
            report.others += 1;
        }
        report.renamed += u64::from(self.archived_name.is_some());
        report.replaced += u64::from(self.way == Way::Instead);
    }

    /// What it is in the archive.
    pub(super) fn path(&self) -> ArchivePath {
        let name = self.archived_name.as_ref().unwrap_or(&self.name);
        self.directory.path.join(name).unwrap_or_else(|_| self.directory.path.clone())
    }
}

/// A directory that the walk is in.
struct Frame<'a> {
    directory: Arc<Directory<'a>>,
    /// For a look at what is there; nothing in a new one.
    there: Option<Arc<TargetDirectory>>,
    listing: Listing,
    pass: Pass,
    has_directories: bool,
    has_links: bool,
    /// Everything in it is restored that is not excluded.
    is_whole: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Files,
    Directories,
    Links,
}

impl Pass {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Directory | Kind::ImpliedDirectory => Self::Directories,
            Kind::Symlink => Self::Links,
            Kind::File | Kind::Fifo | Kind::Socket | Kind::CharacterDevice | Kind::BlockDevice => Self::Files,
        }
    }
}

type Place<'a> = (Arc<Directory<'a>>, Option<Arc<TargetDirectory>>);

/// Walks all items of a plan.
pub(super) struct Planner<'a> {
    run: &'a Run<'a>,
    items: std::slice::Iter<'a, Item>,
    item: Option<&'a Item>,
    /// Directories above items, by their names: finished only at the end, since the next item may be in them too.
    above: HashMap<Vec<Vec<u8>>, Place<'a>>,
    frames: Vec<Frame<'a>>,
    groups: Groups<'a>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(run: &'a Run<'a>, base: Arc<Directory<'a>>) -> Self {
        let mut above = HashMap::new();
        above.insert(Vec::new(), (base, run.plan.base.clone()));
        Self {
            run,
            items: run.plan.items.iter(),
            item: None,
            above,
            frames: Vec::new(),
            groups: Groups::default(),
        }
    }

    /// Begins the next item.
    fn begin(&mut self, item: &'a Item) -> Option<Task<'a>> {
        self.item = Some(item);
        let entry = match self.run.plan.view.resolve(&item.path) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                self.run.problem(&item.path, "it is not in this version");
                return None;
            }
            Err(error) => {
                self.run.unread(&item.path, "", &error);
                return None;
            }
        };
        let is_directory = entry.kind.is_directory();
        let verdict = item.path.parent().map_or(Verdict::Through, |parent| {
            self.run.plan.filter.verdict(&parent, item.path.name(), is_directory, false)
        });
        let (directory, there) = self.directory_above(item)?;
        match (item.names.last(), verdict) {
            (_, Verdict::Out) => None,
            (Some(name), _) => {
                self.plan(&directory, there.as_deref(), name.clone(), item.path.clone(), entry, verdict)
            }
            (None, _) => {
                let is_whole = self.run.plan.filter.is_all();
                self.enter(directory, there, &item.path, is_whole);
                None
            }
        }
    }

    /// The directory that an item goes into; those on the way are made with what the archive knows of them, and never changed.
    fn directory_above(&mut self, item: &Item) -> Option<Place<'a>> {
        let count = item.names.len().saturating_sub(1);
        let mut place = self.above.get(&Vec::new()).cloned()?;
        for depth in 1..=count {
            let names = item.names[..depth].to_vec();
            if let Some(known) = self.above.get(&names) {
                place = known.clone();
                continue;
            }
            let archived = item.above.get(depth - 1).cloned().flatten();
            let found = archived.as_ref().map(|path| self.run.plan.view.resolve(path));
            let entry = match found {
                Some(Ok(Some(entry))) if entry.kind.is_directory() => entry,
                Some(Err(error)) => {
                    self.run.unread(&item.path, "a directory above it: ", &error);
                    return None;
                }
                Some(Ok(_)) | None => made_up_directory(),
            };
            let name = &item.names[depth - 1];
            let decided = place.1.as_deref().map(|there| decide_directory(self.run, there, name));
            let origin = match decided {
                None => Origin::New,
                Some(Ok(Decision::Make(Origin::Updated | Origin::Kept, None))) => Origin::Kept,
                Some(Ok(Decision::Make(origin @ (Origin::New | Origin::Unfinished), None))) => origin,
                Some(Ok(_)) => {
                    let shown = String::from_utf8_lossy(name);
                    self.run.problem(
                        &item.path,
                        &format!(
                            "{shown:?} above it is no directory here but a link or a file, which is never followed or replaced: say --to or --map"
                        ),
                    );
                    return None;
                }
                Some(Err(error)) => {
                    self.run.failed(&item.path, "the directory above it cannot be looked at", &error);
                    return None;
                }
            };
            let there = self.look(place.1.as_deref(), name, origin, &item.path)?;
            let path = archived.unwrap_or_else(|| item.path.clone());
            place = (place.0.below(name.clone(), path, entry, origin), there);
            self.above.insert(names, place.clone());
        }
        Some(place)
    }

    /// Opens an existing directory to look at what is in it; nothing in it if it is new.
    fn look(
        &self,
        parent: Option<&TargetDirectory>,
        name: &[u8],
        origin: Origin,
        path: &ArchivePath,
    ) -> Option<Option<Arc<TargetDirectory>>> {
        let Some(parent) = parent.filter(|_| !origin.is_new()) else { return Some(None) };
        match parent.open_directory(name) {
            Ok(there) => Some(Some(Arc::new(there))),
            Err(error) => {
                self.run.failed(path, "the directory cannot be opened, nothing in it was restored", &error);
                None
            }
        }
    }

    /// What becomes of one name of a directory.
    fn plan(
        &mut self,
        directory: &Arc<Directory<'a>>,
        there: Option<&TargetDirectory>,
        name: Vec<u8>,
        path: ArchivePath,
        entry: Entry,
        verdict: Verdict,
    ) -> Option<Task<'a>> {
        if entry.kind.is_directory() {
            let decided = match there {
                None => Ok(Decision::Make(Origin::New, None)),
                Some(there) => decide_directory(self.run, there, &name),
            };
            let (origin, new_name) = self.made(decided, &path)?;
            let is_renamed = new_name.is_some();
            let name = new_name.unwrap_or(name);
            let there = self.look(there, &name, origin, &path)?;
            // What was not selected is only on the way.
            let origin = match (origin, entry.kind) {
                (Origin::Updated, Kind::ImpliedDirectory) => Origin::Kept,
                (origin, _) => origin,
            };
            self.run.count(|report| {
                report.renamed += u64::from(is_renamed);
                report.replaced += u64::from(origin == Origin::Instead);
            });
            let directory = directory.below(name, path.clone(), entry, origin);
            self.enter(Arc::clone(&directory), there, &path, verdict == Verdict::In);
            return (verdict == Verdict::In && origin != Origin::Kept).then_some(Task::Directory(directory));
        }
        let of_file = self.groups.name(&entry);
        let decided = match there {
            None => Ok(Decision::Make(Way::New, None)),
            Some(there) => decide_file(self.run, there, &name, &entry),
        };
        if let Ok(Decision::Make(..)) = decided {
        } else if let Name::First(group) = &of_file {
            let is_exact = matches!(decided, Ok(Decision::Present { is_exact: true }));
            // Nothing waits yet: only the walk adds names, and it stands here.
            group.settle(there.filter(|_| is_exact).and_then(|there| made_before(directory, there, &name)));
        }
        let (way, new_name) = self.made(decided, &path)?;
        let archived_name = new_name.as_ref().map(|_| name.clone());
        let (first_of, further_of) = match of_file {
            Name::Only => (None, None),
            Name::First(group) => (Some(group), None),
            Name::Further(group) => (None, Some(group)),
        };
        let name = new_name.unwrap_or(name);
        let directory = Arc::clone(directory);
        Some(Task::File(Box::new(FileTask {
            directory,
            name,
            archived_name,
            entry,
            way,
            first_of,
            further_of,
        })))
    }

    /// What a decision leaves to be made; the rest is counted.
    fn made<W>(
        &self,
        decided: std::io::Result<Decision<W>>,
        path: &ArchivePath,
    ) -> Option<(W, Option<Vec<u8>>)> {
        match decided {
            Ok(Decision::Make(way, name)) => return Some((way, name)),
            Ok(Decision::Present { .. }) => self.run.count(|report| report.present += 1),
            Ok(Decision::Skip) => self.run.count(|report| report.skipped += 1),
            Ok(Decision::Blocked(why)) => self.run.problem(path, why),
            Err(error) => self.run.failed(path, "what is there cannot be looked at", &error),
        }
        None
    }

    fn enter(
        &mut self,
        directory: Arc<Directory<'a>>,
        there: Option<Arc<TargetDirectory>>,
        path: &ArchivePath,
        is_whole: bool,
    ) {
        self.frames.push(Frame {
            directory,
            there,
            listing: Listing::new(&self.run.plan.view, path),
            pass: Pass::Files,
            has_directories: false,
            has_links: false,
            is_whole,
        });
    }

    /// One name of the directory that the walk is in.
    fn step(&mut self) -> Option<Task<'a>> {
        let frame = self.frames.last_mut()?;
        let (name, entry) = match frame.listing.next() {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                if frame.pass == Pass::Files {
                    let path = frame.directory.path.clone();
                    self.run.unread(&path, "a part of the directory cannot be read: ", &error);
                }
                return None;
            }
            None => {
                frame.next_pass();
                if frame.pass == Pass::Files {
                    self.frames.pop();
                }
                return None;
            }
        };
        let pass = Pass::of(entry.kind);
        frame.has_directories |= pass == Pass::Directories;
        frame.has_links |= pass == Pass::Links;
        if pass != frame.pass {
            return None;
        }
        let (directory, there) = (Arc::clone(&frame.directory), frame.there.clone());
        let Ok(path) = frame.listing.path().join(&name) else {
            self.run.problem(&directory.path, "a path in it is too long");
            return None;
        };
        let (within, is_whole) = (frame.listing.path(), frame.is_whole);
        let verdict = self.run.plan.filter.verdict(within, &name, entry.kind.is_directory(), is_whole);
        let goes_elsewhere = self.item.is_some_and(|item| item.without.contains(&path));
        if verdict == Verdict::Out || goes_elsewhere {
            return None;
        }
        self.plan(&directory, there.as_deref(), name, path, entry, verdict)
    }
}

impl Frame<'_> {
    /// Begins the next pass that has something to do; at the end it is again the first.
    fn next_pass(&mut self) {
        self.pass = match self.pass {
            Pass::Files if self.has_directories => Pass::Directories,
            Pass::Files | Pass::Directories if self.has_links => Pass::Links,
            Pass::Files | Pass::Directories | Pass::Links => Pass::Files,
        };
        self.listing = self.listing.again();
    }
}

impl<'a> Iterator for Planner<'a> {
    type Item = Wanted<Task<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.run.is_ending() {
                return None;
            }
            let task = if self.frames.is_empty() {
                let item = self.items.next()?;
                self.begin(item)
            } else {
                self.step()
            };
            if let Some(task) = task {
                return Some(self.wanted(task));
            }
        }
    }
}

impl<'a> Planner<'a> {
    /// The content that a task needs in its turn.
    fn wanted(&self, mut task: Task<'a>) -> Wanted<Task<'a>> {
        let (content, size) = match &mut task {
            Task::File(file) if file.entry.kind == Kind::File && file.further_of.is_none() => {
                let content = if self.run.plan.is_dry_run {
                    Content::None
                } else {
                    std::mem::take(&mut file.entry.content)
                };
                (content, file.entry.size)
            }
            Task::File(_) | Task::Directory(_) => (Content::None, 0),
        };
        Wanted { tag: task, content, size }
    }
}

/// A file of an earlier run of this restore, for its other names to link to.
fn made_before<'a>(directory: &Arc<Directory<'a>>, there: &TargetDirectory, name: &[u8]) -> Option<Made<'a>> {
    let identity = there.stat(name).ok()??.identity();
    Some(Made {
        directory: Arc::downgrade(directory),
        names: directory.names().into(),
        name: name.to_vec(),
        identity,
    })
}
