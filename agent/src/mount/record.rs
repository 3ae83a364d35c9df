//! What is mounted: one small file for each mount, held by a lock while its process lives.
//!
//! The mount table of the system is the truth; this only tells which folders were made for a mount, so that whoever ends it,
//! or finds it dead, can remove them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use backstore_platform::lock::Lock;
use backstore_platform::private_file::{make_private_directory, write_secret};
use serde::{Deserialize, Serialize};

use super::front::Ending;
use crate::home::{Home, HomeError};

/// All records of one home.
pub(super) struct Records {
    folder: PathBuf,
}

/// `state/mounts/PID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Content {
    /// The mount point, as the hexadecimal digits of its bytes: paths need not be text. Of a server, its address.
    point: String,
    /// The folder was made for the mount.
    made: bool,
    /// What people are told of it.
    text: String,
    /// Of a server, what ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<StoredEnding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StoredEnding {
    address: SocketAddr,
    secret: String,
}

/// The record of a mount of this process.
pub(super) struct Record {
    path: PathBuf,
    point: PathBuf,
    content: Content,
    _lock: Option<Lock>,
}

/// Between two looks at whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Records {
    pub(super) fn new(home: &Home) -> Self {
        Self { folder: home.state_path("mounts") }
    }

    /// Remembers a mount of this process. What a process that was killed left of this point is taken over.
    pub(super) fn add(
        &self,
        point: &Path,
        was_made: bool,
        ending: Option<&Ending>,
        text: &str,
    ) -> Result<Record, HomeError> {
        make_private_directory(&self.folder)?;
        let left = self.take_dead(point);
        let made = was_made || left.iter().any(|left| left.made);
        let ending = ending
            .map(|Ending { address, secret }| StoredEnding { address: *address, secret: secret.clone() });
        let content = Content { point: digits(point), made, text: text.to_owned(), ending };
        let path = self.folder.join(format!("{}.json", std::process::id()));
        let unusable = |problem: String| HomeError::Unusable { path: path.clone(), problem };
        let text = serde_json::to_vec(&content).map_err(|error| unusable(error.to_string()))?;
        let lock =
            Lock::acquire(&path.with_extension("lock")).map_err(|error| unusable(error.to_string()))?;
        // After a power cut nothing is mounted.
        let _written = write_secret(&path, &text)?;
        Ok(Record { path, point: point.to_owned(), content, _lock: Some(lock) })
    }

    /// What people are told of the mount of a process.
    pub(super) fn text_of(&self, pid: u32) -> Option<String> {
        let text = fs::read(self.folder.join(format!("{pid}.json"))).ok()?;
        serde_json::from_slice(&text).ok().map(|content: Content| content.text)
    }

    /// What ends the servers of this home.
    pub(super) fn endings(&self) -> Vec<Ending> {
        let endings = self.all().filter_map(|(_, content)| content.ending);
        endings.map(|StoredEnding { address, secret }| Ending { address, secret }).collect()
    }

    /// Whether a process lives that has something there.
    pub(super) fn is_alive(&self, point: &Path) -> bool {
        self.of(point).any(|(path, _)| is_held(&path))
    }

    /// Clears what is left of a mount that was taken away, as soon as its process has ended or `patience` has.
    pub(super) fn clear(&self, point: &Path, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.is_alive(point) && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
        if self.take_dead(point).iter().any(|left| left.made) {
            remove_point(point);
        }
    }

    /// Removes the records of a point whose processes are gone.
    fn take_dead(&self, point: &Path) -> Vec<Content> {
        let dead: Vec<_> = self.of(point).filter(|(path, _)| !is_held(path)).collect();
        dead.into_iter()
            .map(|(path, content)| {
                remove_files(&path);
                content
            })
            .collect()
    }

    /// The records of a point.
    fn of(&self, point: &Path) -> impl Iterator<Item = (PathBuf, Content)> {
        let digits = digits(point);
        self.all().filter(move |(_, content)| content.point == digits)
    }

    /// All records.
    fn all(&self) -> impl Iterator<Item = (PathBuf, Content)> + use<> {
        let files = fs::read_dir(&self.folder).into_iter().flatten();
        let paths = files.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).filter_map(
            |path| {
                let content = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
                Some((path, content))
            },
        )
    }
}

impl Record {
    /// The mount is gone: removes the folder that was made for it, and the record.
    pub(super) fn clear(self) {
        if self.content.made {
            remove_point(&self.point);
        }
        remove_files(&self.path);
    }
}

/// Whether the process of a record lives.
fn is_held(record: &Path) -> bool {
    let lock = record.with_extension("lock");
    let is_held = Lock::acquire(&lock).is_err();
    if !is_held && !record.exists() {
        // The process has just removed both, and looking made the lock again.
        let _ = fs::remove_file(lock);
    }
    is_held
}

fn remove_files(record: &Path) {
    // What stays is found dead by the next mount there.
    let _ = fs::remove_file(record);
    let _ = fs::remove_file(record.with_extension("lock"));
}

fn remove_point(point: &Path) {
    if let Err(error) = fs::remove_dir(point) {
        tracing::debug!(%error, "the mount point stays");
    }
}

fn digits(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_cleared_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(&Home::at(folder.path()));
        let point = folder.path().join("a point");
        fs::create_dir(&point).unwrap();
        let mut killed = records.add(&point, true, None, "text").unwrap();
        assert_eq!(records.of(&point).count(), 1);
        assert_eq!(records.text_of(std::process::id()).as_deref(), Some("text"));
        assert!(records.take_dead(&point).is_empty(), "it lives");
        records.clear(&point, Duration::ZERO);
        assert!(point.exists(), "it lives");
        // The system takes the locks of a process away with it.
        killed._lock = None;
        let next = records.add(&point, false, None, "").unwrap();
        assert!(next.content.made, "the folder was made for the one that was killed");
        next.clear();
        assert!(!point.exists());
        assert_eq!(fs::read_dir(&records.folder).unwrap().count(), 0);
    }

    /// A mount that ended while another process looked at it left an empty lock behind.
    #[test]
    fn looking_at_a_record_that_goes_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(&Home::at(folder.path()));
        let record = records.add(folder.path(), false, None, "").unwrap();
        let path = record.path.clone();
        assert!(is_held(&path));
        record.clear();
        assert!(!is_held(&path));
        assert_eq!(fs::read_dir(&records.folder).unwrap().count(), 0);
    }

    #[test]
    fn folders_of_others_and_full_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(&Home::at(folder.path()));
        let point = folder.path().join("point");
        fs::create_dir(&point).unwrap();
        records.add(&point, false, None, "").unwrap().clear();
        assert!(point.exists());
        fs::write(point.join("file"), b"x").unwrap();
        records.add(&point, true, None, "text").unwrap().clear();
        assert!(point.join("file").exists());
    }
}
