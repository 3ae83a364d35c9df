//! Recognising who reads a tree, directory after directory, from what is listed and read.
//!
//! Pure bookkeeping: `neighbours` does what the steps say.

use std::collections::VecDeque;
use std::sync::Arc;

use backstore_protocol::ids::SnapshotId;

use super::version::NamedVersion;

/// Something to be fetched ahead: small files of a directory, after one of them or from the start.
pub(super) struct Step {
    pub(super) version: Arc<NamedVersion>,
    /// The directory's path, as keys are made of it.
    pub(super) directory: Box<[u8]>,
    /// Key of the file after which to start.
    pub(super) after: Option<Vec<u8>>,
    /// How many bytes of files.
    pub(super) bytes: u64,
}

/// How far a step came.
pub(super) struct Taken {
    /// The last entry that was looked at.
    pub(super) came_to: Option<Vec<u8>>,
    /// The file that was left out.
    pub(super) due: Option<Vec<u8>>,
}

/// What was seen of late.
#[derive(Default)]
pub(super) struct Watch {
    /// Directories in a row of which several files were read.
    streak: u32,
    /// Guesses in a row that nothing has confirmed.
    unconfirmed: u32,
    /// The most recent one is the last.
    directories: VecDeque<Directory>,
}

struct Directory {
    version: SnapshotId,
    path: Box<[u8]>,
    reads: u32,
    is_busy: bool,
    came_to: Option<Vec<u8>>,
    due: Option<Vec<u8>>,
    step_bytes: u64,
}

/// Directories that are watched at a time.
const DIRECTORIES_MAX: usize = 64;
/// Files read in one directory before anything is fetched because of it alone.
const READS_MIN: u32 = 3;
/// Directories in a row after which the next one is guessed.
const STREAK_MIN: u32 = 2;
/// Guesses that may stay unconfirmed.
const UNCONFIRMED_MAX: u32 = 6;
/// Bytes of a directory's first step, and of any.
const STEP_BYTES_MIN: u64 = 1 << 20;
const STEP_BYTES_MAX: u64 = 8 << 20;

impl Watch {
    /// The file `key` of a directory is being read.
    pub(super) fn read(&mut self, version: &Arc<NamedVersion>, directory: &[u8], key: &[u8]) -> Option<Step> {
        let guesses = self.guesses();
        let found = self.recent(version, directory);
        found.reads += 1;
        let is_second = found.reads == 2;
        let confirms = is_second || found.due.as_deref() == Some(key);
        let is_due = match (&found.came_to, &found.due) {
            (None, _) => found.reads >= READS_MIN || guesses,
            (Some(came_to), None) => key > &came_to[..],
            (Some(_), Some(due)) => key >= &due[..],
        };
        let after = found.came_to.clone().filter(|came_to| key < &came_to[..]).or(Some(key.to_vec()));
        let step = (is_due && !found.is_busy).then(|| found.step(version, after));
        self.streak += u32::from(is_second);
        if confirms {
            self.unconfirmed = 0;
        }
        step
    }

    /// A directory has been listed from its start.
    pub(super) fn listed(&mut self, version: &Arc<NamedVersion>, directory: &[u8]) -> Option<Step> {
        if !self.guesses() {
            return None;
        }
        self.unconfirmed += 1;
        if self.unconfirmed > UNCONFIRMED_MAX {
            (self.streak, self.unconfirmed) = (0, 0);
            return None;
        }
        let found = self.recent(version, directory);
        // What was listed before has been fetched then, or nobody wanted it.
        (found.came_to.is_none() && !found.is_busy).then(|| found.step(version, None))
    }

    /// A step has been taken.
    pub(super) fn taken(&mut self, step: &Step, taken: Taken) {
        let found = self.recent(&step.version, &step.directory);
        found.is_busy = false;
        found.came_to = taken.came_to;
        found.due = taken.due;
    }

    fn guesses(&self) -> bool {
        self.streak >= STREAK_MIN
    }

    /// The record of a directory, made if there is none, as the most recent one.
    fn recent(&mut self, version: &NamedVersion, path: &[u8]) -> &mut Directory {
        let is_it = |known: &Directory| known.version == version.version.id && *known.path == *path;
        let known = self.directories.iter().rposition(is_it).and_then(|at| self.directories.remove(at));
        if self.directories.len() >= DIRECTORIES_MAX {
            self.directories.pop_front();
        }
        let at = self.directories.len();
        self.directories.push_back(known.unwrap_or_else(|| Directory {
            version: version.version.id,
            path: path.into(),
            reads: 0,
            is_busy: false,
            came_to: None,
            due: None,
            step_bytes: STEP_BYTES_MIN,
        }));
        &mut self.directories[at]
    }
}

impl Directory {
    fn step(&mut self, version: &Arc<NamedVersion>, after: Option<Vec<u8>>) -> Step {
        let bytes = self.step_bytes;
        self.is_busy = true;
        self.step_bytes = (2 * bytes).min(STEP_BYTES_MAX);
        Step { version: Arc::clone(version), directory: self.path.clone(), after, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::tests::version;
    use super::*;

    fn named() -> Arc<NamedVersion> {
        Arc::new(NamedVersion { version: version(1, 0), name: String::new() })
    }

    fn key(directory: &str, number: u32) -> Vec<u8> {
        format!("{directory}\0\0{number:03}").into_bytes()
    }

    #[test]
    fn one_file_or_two_are_no_reason() {
        let (mut watch, version) = (Watch::default(), named());
        let mut read =
            |number| watch.read(&version, b"d", &key("d", number)).map(|step| (step.after, step.bytes));
        assert_eq!(read(7), None);
        assert_eq!(read(3), None);
        assert_eq!(read(4), Some((Some(key("d", 4)), STEP_BYTES_MIN)));
        assert_eq!(read(5), None, "while the step is under way");
    }

    #[test]
    fn the_file_left_out_is_the_sign_for_the_next_step() {
        let (mut watch, version) = (Watch::default(), named());
        let mut steps: Vec<_> =
            (0..3).filter_map(|number| watch.read(&version, b"d", &key("d", number))).collect();
        let step = steps.pop().unwrap();
        watch.taken(&step, Taken { came_to: Some(key("d", 100)), due: Some(key("d", 90)) });
        assert!(watch.read(&version, b"d", &key("d", 50)).is_none());
        let next = watch.read(&version, b"d", &key("d", 90)).unwrap();
        assert_eq!((next.after, next.bytes), (Some(key("d", 100)), 2 * STEP_BYTES_MIN));
    }

    #[test]
    fn a_streak_makes_listings_enough_until_guesses_fail() {
        let (mut watch, version) = (Watch::default(), named());
        assert!(watch.listed(&version, b"a").is_none());
        for directory in ["a", "b"] {
            (0..2).for_each(|number| {
                assert!(watch.read(&version, directory.as_bytes(), &key(directory, number)).is_none())
            });
        }
        for number in 0..20 {
            let directory = format!("confirmed {number}");
            let step = watch.listed(&version, directory.as_bytes()).unwrap();
            assert_eq!(step.after, None);
            watch.taken(&step, Taken { came_to: Some(key(&directory, 9)), due: Some(key(&directory, 5)) });
            // The others are in the page cache.
            watch.read(&version, directory.as_bytes(), &key(&directory, 5));
        }
        let guessed = (0..20)
            .filter(|number| watch.listed(&version, format!("only listed {number}").as_bytes()).is_some());
        assert_eq!(guessed.count(), UNCONFIRMED_MAX as usize);
    }

    #[test]
    fn few_directories_are_watched() {
        let (mut watch, version) = (Watch::default(), named());
        for number in 0..1000u32 {
            watch.read(&version, &number.to_le_bytes(), b"k");
            assert!(watch.directories.len() <= DIRECTORIES_MAX);
        }
    }
}
