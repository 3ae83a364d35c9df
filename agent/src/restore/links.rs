//! Names of one file: the first that comes is written, the others become links to it, and to nothing that this restore has not made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use backstore_platform::walk::DeviceId;
use backstore_protocol::entry::{Entry, Kind};

use super::directory::Directory;
use super::planner::FileTask;
use super::run::lock;

/// A file with several names.
pub(super) struct Group<'a> {
    state: Mutex<State<'a>>,
}

enum State<'a> {
    /// Its first name is still to come; these wait for it.
    Planned(Vec<FileTask<'a>>),
    Made(Made<'a>),
    /// There is nothing to link to: each name becomes a file of its own.
    Absent,
}

/// A file that is there.
#[derive(Clone)]
pub(super) struct Made<'a> {
    /// Its directory, as long as something is going on in it.
    pub(super) directory: Weak<Directory<'a>>,
    /// Names that lead there.
    pub(super) names: Arc<[Vec<u8>]>,
    /// Its name there.
    pub(super) name: Vec<u8>,
    /// Which file it is.
    pub(super) identity: (DeviceId, u64),
}

/// What a further name has to do.
pub(super) enum Further<'a> {
    /// Link to this.
    Link(Made<'a>, Box<FileTask<'a>>),
    /// Become a file of its own.
    Copy(Box<FileTask<'a>>),
    /// Nothing yet: it comes when the first one is there.
    Later,
}

impl<'a> Group<'a> {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Planned(Vec::new())) })
    }

    /// The first name is there, or is not going to be. Gives the names that waited.
    pub(super) fn settle(&self, made: Option<Made<'a>>) -> Vec<FileTask<'a>> {
        let settled = made.map_or(State::Absent, State::Made);
        match std::mem::replace(&mut *lock(&self.state), settled) {
            State::Planned(waiting) => waiting,
            State::Made(_) | State::Absent => Vec::new(),
        }
    }

    /// What a further name has to do now.
    pub(super) fn further(&self, task: Box<FileTask<'a>>) -> Further<'a> {
        match &mut *lock(&self.state) {
            State::Planned(waiting) => {
                waiting.push(*task);
                Further::Later
            }
            State::Made(made) => Further::Link(made.clone(), task),
            State::Absent => Further::Copy(task),
        }
    }
}

/// What a name is to its file.
pub(super) enum Name<'a> {
    /// The only one, as far as this restore goes.
    Only,
    First(Arc<Group<'a>>),
    Further(Arc<Group<'a>>),
}

/// The files with several names that the walk has met.
#[derive(Default)]
pub(super) struct Groups<'a> {
    known: HashMap<(u32, u64), Known<'a>>,
}

struct Known<'a> {
    group: Arc<Group<'a>>,
    /// Names that are still to come.
    left: u32,
}

/// Files with several names that are kept in mind; the names of more become files of their own.
const GROUPS_MAX: usize = 1 << 20;

impl<'a> Groups<'a> {
    /// What the next name, with this entry, is.
    pub(super) fn name(&mut self, entry: &Entry) -> Name<'a> {
        if entry.kind != Kind::File || entry.nlink < 2 || entry.inode == 0 {
            return Name::Only;
        }
        let key = (entry.mount, entry.inode);
        if let Some(known) = self.known.get_mut(&key) {
            let group = Arc::clone(&known.group);
            known.left = known.left.saturating_sub(1);
            if known.left == 0 {
                self.known.remove(&key);
            }
            return Name::Further(group);
        }
        if self.known.len() >= GROUPS_MAX {
            return Name::Only;
        }
        let group = Group::new();
        self.known.insert(key, Known { group: Arc::clone(&group), left: entry.nlink - 1 });
        Name::First(group)
    }
}
