//! From the names of a URL to what the model has: directories without two names for one, and links followed.
//!
//! WebDAV has no links. Those that are made up lead to versions and made-up directories and are shown as these. An archived one that leads
//! to a file of its version is shown as that file; one that leads to a directory is found by name and not listed, so that whoever walks
//! the tree comes to an end.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::directory::{Directory, NOTICE};
use super::names;
use crate::cache::Cache;
use crate::model::{Attributes, FileKind, Ino, Problem, Snapshots};
use crate::objects::Wait;
use crate::sync::lock;

/// The model as names that every client can use.
pub(super) struct Tree {
    pub(super) model: Arc<Snapshots>,
    /// Names that are shown otherwise than they say, of directories that never change.
    directories: Mutex<Cache<Ino, Arc<Directory>>>,
    /// What was found last, so that what is known of it is not forgotten between two requests.
    recent: Mutex<Cache<Ino, Arc<Held>>>,
    /// Entries of a directory that are listed.
    listed_max: usize,
    /// The same for Windows.
    pub(super) listed_max_windows: usize,
}

/// Something of the model; it is remembered there for as long as this lives.
pub(super) struct Held {
    model: Arc<Snapshots>,
    pub(super) attributes: Attributes,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.model.forget(self.attributes.ino, 1);
    }
}

/// Directories from the folder down, and at the end what was found.
type Steps = Vec<Arc<Held>>;

/// Archived names and what they are; whether there are more.
type Lines = (Vec<(Vec<u8>, Arc<Held>)>, bool);

/// What a URL stands for.
#[derive(Clone)]
pub(super) enum Target {
    /// A file or directory; the directories above it, and it.
    Found(Steps),
    /// What says that a directory has more entries than are listed.
    Notice(Bytes, Attributes),
}

/// An entry of a listing.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) attributes: Attributes,
}

/// Links that are followed one after the other.
const LINKS_MAX: usize = 40;
/// Names that are looked up for one link.
const LOOKUPS_MAX: usize = 1024;
/// Bytes of directories' names that are remembered.
const DIRECTORIES_BYTES_MAX: usize = 8 << 20;
/// What was found last.
const RECENT_MAX: usize = 1024;

impl Target {
    pub(super) fn attributes(&self) -> Attributes {
        match self {
            Self::Found(steps) => steps[steps.len() - 1].attributes,
            Self::Notice(_, attributes) => *attributes,
        }
    }
}

impl Tree {
    pub(super) fn new(model: &Arc<Snapshots>, listed_max: usize, listed_max_windows: usize) -> Self {
        Self {
            model: Arc::clone(model),
            directories: Mutex::new(Cache::new(DIRECTORIES_BYTES_MAX)),
            recent: Mutex::new(Cache::new(RECENT_MAX)),
            listed_max,
            listed_max_windows,
        }
    }

    /// What these names lead to, from the folder on.
    pub(super) fn find(&self, path: &[String], wait: Wait) -> Result<Target, Problem> {
        let mut steps = vec![self.held(self.model.attributes(Ino::ROOT, wait)?)];
        for (at, name) in path.iter().enumerate() {
            let above = &steps[steps.len() - 1];
            if above.attributes.kind != FileKind::Directory {
                return Err(Problem::NotFound);
            }
            if name == NOTICE
                && at + 1 == path.len()
                && let Some((bytes, attributes)) = self.directory(above, wait)?.notice(above)
            {
                return Ok(Target::Notice(bytes, attributes));
            }
            let raw = self.raw_name(above, name, wait)?.ok_or(Problem::NotFound)?;
            let found = self.lookup(above, &raw, wait)?;
            steps = self.resolved(steps, found, wait)?.ok_or(Problem::NotFound)?;
        }
        let found = &steps[steps.len() - 1];
        lock(&self.recent).insert(found.attributes.ino, Arc::clone(found), 1);
        Ok(Target::Found(steps))
    }

    /// What is listed of a directory.
    pub(super) fn list(&self, target: &Target, is_windows: bool, wait: Wait) -> Result<Vec<Entry>, Problem> {
        let Target::Found(steps) = target else { return Err(Problem::NotADirectory) };
        let above = &steps[steps.len() - 1];
        let (lines, has_more) = self.lines(above, wait)?;
        let directory = Directory::new(self, above, lines.iter().map(|(name, _)| &name[..]), has_more, wait)?;
        let mut entries = Vec::with_capacity(lines.len());
        for (name, held) in lines {
            if let Some(attributes) = self.listed_as(steps, held, wait)? {
                entries.push(Entry { name: directory.shown(&name), attributes });
            }
        }
        let listed_max = if is_windows { self.listed_max_windows } else { usize::MAX };
        let is_cut = has_more || entries.len() > listed_max;
        entries.truncate(listed_max);
        if let Some((_, attributes)) = directory.notice(above).filter(|_| is_cut) {
            entries.insert(0, Entry { name: NOTICE.to_owned(), attributes });
        }
        Ok(entries)
    }

    /// As what an entry is listed; some are not.
    fn listed_as(&self, steps: &Steps, held: Arc<Held>, wait: Wait) -> Result<Option<Attributes>, Problem> {
        let link = held.attributes;
        if link.kind != FileKind::Symlink {
            return Ok(is_shown(link.kind).then_some(link));
        }
        let is_archived = self.model.is_archived(link.ino);
        match self.resolved(steps.clone(), held, wait) {
            Ok(found) => Ok(found
                .map(|found| found[found.len() - 1].attributes)
                .filter(|found| found.kind == FileKind::File || !is_archived)
                // Who walks the tree would come back to where they are.
                .filter(|found| steps.iter().all(|step| step.attributes.ino != found.ino))),
            Err(Problem::NotInMemory) => Err(Problem::NotInMemory),
            // It is there, and whoever opens it is told that it cannot be read.
            Err(_) => Ok(Some(Attributes { kind: FileKind::File, ..link })),
        }
    }

    /// Follows links until `found` is a file or directory; nothing if it is something else, or they lead nowhere.
    fn resolved(&self, mut steps: Steps, found: Arc<Held>, wait: Wait) -> Result<Option<Steps>, Problem> {
        let (mut found, mut top, mut links) = (found, 0, 0);
        // Names that are still to be looked up, the next one last.
        let mut names: Vec<Vec<u8>> = Vec::new();
        for _ in 0..LOOKUPS_MAX {
            match found.attributes.kind {
                FileKind::Symlink if links == LINKS_MAX => return Ok(None),
                FileKind::Symlink => {
                    links += 1;
                    let Some(base) = self.top_of(&steps, &found) else { return Ok(None) };
                    top = base;
                    let target = self.model.read_link(found.attributes.ino, wait)?;
                    if target.starts_with(b"/") {
                        steps.truncate(top + 1);
                    }
                    let parts = target.split(|byte| *byte == b'/').rev();
                    names.extend(
                        parts
                            .filter(|part| !matches!(*part, b"" | b"."))
                            .map(<[u8]>::to_vec)
                            .take(LOOKUPS_MAX),
                    );
                }
                kind if is_shown(kind) && names.is_empty() => {
                    steps.push(found);
                    return Ok(Some(steps));
                }
                FileKind::Directory => steps.push(Arc::clone(&found)),
                FileKind::File
                | FileKind::Fifo
                | FileKind::Socket
                | FileKind::CharacterDevice
                | FileKind::BlockDevice => return Ok(None),
            }
            while names.last().is_some_and(|name| name == b"..") {
                names.pop();
                if steps.len() <= top + 1 {
                    return Ok(None);
                }
                steps.pop();
            }
            let Some(name) = names.pop() else { return Ok(Some(steps)) };
            found = match self.lookup(&steps[steps.len() - 1], &name, wait) {
                Ok(found) => found,
                Err(Problem::NotFound | Problem::NotFoundYet | Problem::NotADirectory) => return Ok(None),
                Err(problem) => return Err(problem),
            };
        }
        Ok(None)
    }

    /// Where the directory is that a link must not lead out of: of an archived one, that of its version.
    fn top_of(&self, steps: &Steps, link: &Held) -> Option<usize> {
        if !self.model.is_archived(link.attributes.ino) {
            return Some(0);
        }
        steps.iter().position(|step| self.model.is_archived(step.attributes.ino))
    }

    /// The archived name of what is shown as `name`.
    fn raw_name(&self, above: &Arc<Held>, name: &str, wait: Wait) -> Result<Option<Vec<u8>>, Problem> {
        match self.directory(above, wait) {
            // People type times and patterns as they are.
            Ok(_) if !self.model.is_archived(above.attributes.ino) && names::archived(name).is_none() => {
                Ok(Some(name.as_bytes().to_vec()))
            }
            Ok(directory) => Ok(directory.archived(name)),
            Err(problem @ (Problem::NotInMemory | Problem::NotADirectory)) => Err(problem),
            // A part of it cannot be read. What is found without it can be.
            Err(problem) => match names::archived(name) {
                Some(raw) if self.lookup(above, &raw, wait).is_ok() => Ok(Some(raw)),
                Some(_) | None => Err(problem),
            },
        }
    }

    /// The names of a directory that are shown otherwise than they say.
    fn directory(&self, above: &Arc<Held>, wait: Wait) -> Result<Arc<Directory>, Problem> {
        let ino = above.attributes.ino;
        if let Some(known) = lock(&self.directories).get(&ino) {
            return Ok(known);
        }
        let (lines, has_more) = self.lines(above, wait)?;
        let names = lines.iter().map(|(name, _)| &name[..]);
        let directory = Arc::new(Directory::new(self, above, names, has_more, wait)?);
        if self.model.is_archived(ino) {
            lock(&self.directories).insert(ino, Arc::clone(&directory), directory.bytes());
        }
        Ok(directory)
    }

    /// The first entries of a directory, as many as are listed, and whether there are more.
    fn lines(&self, above: &Held, wait: Wait) -> Result<Lines, Problem> {
        let (mut lines, mut has_more) = (Vec::new(), false);
        self.model.list(above.attributes.ino, 0, wait, &mut |line| {
            if matches!(line.name, b"." | b"..") {
                return true;
            }
            has_more = lines.len() == self.listed_max;
            if !has_more {
                lines.push((line.name.to_vec(), self.held(line.attributes)));
            }
            !has_more
        })?;
        Ok((lines, has_more))
    }

    pub(super) fn lookup(&self, above: &Held, name: &[u8], wait: Wait) -> Result<Arc<Held>, Problem> {
        Ok(self.held(self.model.lookup(above.attributes.ino, name, wait)?.attributes))
    }

    fn held(&self, attributes: Attributes) -> Arc<Held> {
        Arc::new(Held { model: Arc::clone(&self.model), attributes })
    }
}

const fn is_shown(kind: FileKind) -> bool {
    matches!(kind, FileKind::File | FileKind::Directory)
}
