//! Which directory is next, and threads that list ahead.
//!
//! Directories are consumed in the order of their joined paths, which is the order of keys. All that are known and not yet
//! consumed are kept by path; threads take the first that nobody has begun. A directory's subdirectories become known when it has
//! been listed, always behind it, so the first known one is the next one.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use backstore_platform::walk::{DeviceId, Directory, ListBuffer, Stat};
use backstore_protocol::path::ArchivePath;

use super::list::Names;
use super::{Enter, Listing, Roots, ScanRules};

/// Gives the directories of a tree in key order.
pub struct Scanner {
    shared: Arc<Shared>,
    /// The rest of a large directory that is being consumed.
    rest: Option<(Names, DeviceId)>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    rules: ScanRules,
    state: Mutex<State>,
    /// There is something to list, or nothing ever will be.
    work: Condvar,
    /// Something has been listed.
    listed: Condvar,
}

#[derive(Default)]
struct State {
    /// Known directories that nobody lists yet, by joined path.
    waiting: BTreeMap<Box<[u8]>, Waiting>,
    /// Directories being listed, or listed and not consumed.
    begun: BTreeMap<Box<[u8]>, Option<Done>>,
    /// Files in listings that are not consumed.
    files_ahead: usize,
    stopped: bool,
}

/// Of these there is one for each subdirectory of the directories on the way to the current one, so they are small.
struct Waiting {
    parent: Parent,
    /// The file system it is on.
    device: DeviceId,
}

enum Parent {
    /// A root, already open.
    Open(Directory),
    /// A directory in one that is open.
    In(Arc<Directory>),
}

struct Done {
    listing: Listing,
    /// Set if the directory is so large that it comes in parts.
    rest: Option<(Names, DeviceId)>,
}

/// Files listed ahead of the one who asks, at most, give or take a directory.
const FILES_AHEAD_MAX: usize = 16 * 1024;
/// Directories begun ahead, at most.
const DIRECTORIES_AHEAD_MAX: usize = 1024;

impl Scanner {
    /// Starts `threads` threads on the trees below these roots.
    pub fn start(roots: Roots, rules: ScanRules, threads: usize) -> Self {
        let waiting = roots.directories.into_iter().map(|(path, directory, stat)| {
            (path.joined().into(), Waiting { parent: Parent::Open(directory), device: stat.device })
        });
        let begun = roots
            .implied
            .into_iter()
            .map(|listing| (listing.path.joined().into(), Some(Done { listing, rest: None })));
        let state = State { waiting: waiting.collect(), begun: begun.collect(), ..State::default() };
        let shared = Arc::new(Shared {
            rules,
            state: Mutex::new(state),
            work: Condvar::new(),
            listed: Condvar::new(),
        });
        let thread = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("scan-{number}")).spawn(move || shared.run())
        };
        // With fewer threads than wished for it is slower; with none, the one who asks lists itself.
        let threads = (0..threads).map_while(|number| thread(number).ok()).collect();
        Self { shared, rest: None, threads }
    }

    /// The next directory, or the next part of one; nothing when all have been given.
    pub fn next_listing(&mut self) -> Option<Listing> {
        if let Some((mut names, device)) = self.rest.take() {
            let listing = names.next_listing(&self.shared.rules, |child| self.shared.enter(child, device));
            let mut state = self.shared.lock();
            self.shared.add_children(&mut state, &listing);
            drop(state);
            if listing.more {
                self.rest = Some((names, device));
            }
            return Some(listing);
        }
        let mut state = self.shared.lock();
        loop {
            let begun = state.begun.first_key_value().map(|(path, done)| (path.clone(), done.is_some()));
            let waiting_first = match (&begun, state.waiting.first_key_value()) {
                (Some((begun, _)), Some((waiting, _))) => waiting < begun,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if waiting_first {
                // Threads may be busy further behind, or there are none: do not wait for them.
                let (path, waiting) = state.waiting.pop_first()?;
                state.begun.insert(path.clone(), None);
                drop(state);
                self.shared.list(path, waiting, &mut ListBuffer::default());
                state = self.shared.lock();
                continue;
            }
            match begun {
                None => return None,
                Some((path, true)) => {
                    let done = state.begun.remove(&path).flatten()?;
                    state.files_ahead = state.files_ahead.saturating_sub(done.listing.files.len());
                    self.shared.work.notify_all();
                    self.rest = done.rest;
                    return Some(done.listing);
                }
                Some((_, false)) => {
                    state = self.shared.listed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut buffer = ListBuffer::default();
        let mut state = self.lock();
        while !state.stopped {
            let may_begin = state.files_ahead < FILES_AHEAD_MAX && state.begun.len() < DIRECTORIES_AHEAD_MAX;
            match if may_begin { state.waiting.pop_first() } else { None } {
                Some((path, waiting)) => {
                    state.begun.insert(path.clone(), None);
                    drop(state);
                    self.list(path, waiting, &mut buffer);
                    state = self.lock();
                }
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn list(&self, key: Box<[u8]>, waiting: Waiting, buffer: &mut ListBuffer) {
        let Waiting { parent, device } = waiting;
        let Ok(path) = ArchivePath::from_joined(&key) else {
            unreachable!("only paths become known");
        };
        let opened = match parent {
            Parent::Open(directory) => Ok(directory),
            Parent::In(parent) => parent.open_child(path.name()),
        };
        let done = match opened {
            Err(error) => {
                let files = Vec::new();
                let listing =
                    Listing { path, directory: None, files, excluded: 0, error: Some(error), more: false };
                Done { listing, rest: None }
            }
            Ok(directory) => {
                let mut names = Names::read(path, directory, &self.rules, buffer);
                let listing = names.next_listing(&self.rules, |child| self.enter(child, device));
                let rest = listing.more.then_some((names, device));
                Done { listing, rest }
            }
        };
        let mut state = self.lock();
        self.add_children(&mut state, &done.listing);
        state.files_ahead += done.listing.files.len();
        state.begun.insert(key, Some(done));
        drop(state);
        self.listed.notify_all();
        self.work.notify_all();
    }

    /// Makes the subdirectories of a listing known.
    fn add_children(&self, state: &mut State, listing: &Listing) {
        let Some(directory) = &listing.directory else { return };
        for file in listing.files.iter().filter(|file| file.enter == Enter::Yes) {
            // A path that is too long or too deep for an archive is reported by whoever consumes the listing.
            if let (Ok(path), Ok(stat)) = (listing.path.join(&file.name), &file.stat) {
                let waiting = Waiting { parent: Parent::In(Arc::clone(directory)), device: stat.device };
                state.waiting.insert(path.joined().into(), waiting);
            }
        }
    }

    fn enter(&self, child: &Stat, parent: DeviceId) -> Enter {
        let rules = &self.rules;
        if rules.never_enter.contains(&child.identity()) {
            Enter::Own
        } else if rules.pseudo.contains(&child.device) {
            Enter::Pseudo
        } else if rules.one_file_system && child.device != parent {
            Enter::OtherFileSystem
        } else {
            Enter::Yes
        }
    }
}

/// What listing a directory that is no longer one gives.
pub fn has_vanished(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
