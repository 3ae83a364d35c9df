//! What a verification has found so far: damaged objects, and the files of which versions need them.

use std::collections::{BTreeMap, HashMap};

use backstore_protocol::ids::ObjectId;
use backstore_vfs::objects::ReadError;
use serde::{Deserialize, Serialize};

/// What was found. Kept between runs, so that one that goes on where another was cut off reports all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Damaged objects, by their ids: what is wrong with each.
    pub objects: BTreeMap<String, String>,
    /// Files that need them.
    pub files: Vec<DamagedFile>,
    /// Damaged files in all; more than are named.
    pub file_count: u64,
    /// Parts of trees and versions that cannot be read: what they hold is unknown.
    pub lost: Vec<LostPart>,
    /// Files looked at.
    pub files_seen: u64,
    /// Bytes of files read and compared.
    pub bytes_read: u64,
    /// Versions looked at, and finished.
    pub versions: u64,
    /// Contents that are damaged, of files that may come again.
    #[serde(skip)]
    contents: HashMap<u64, String>,
    /// Damaged files that the next older version may have too, by set and key.
    #[serde(skip)]
    open: HashMap<Vec<u8>, Vec<usize>>,
}

/// A file whose content is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedFile {
    /// The set.
    pub set: String,
    /// Its key in the tree.
    pub key: Vec<u8>,
    /// The newest version that has it.
    pub newest: String,
    /// The oldest.
    pub oldest: String,
    /// What is wrong.
    pub what: String,
    /// Older versions may have it too.
    is_open: bool,
}

/// A part of a version that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPart {
    /// The set.
    pub set: String,
    /// The version.
    pub version: String,
    /// What is wrong.
    pub what: String,
}

/// Objects, files and parts that are named; the rest are counted.
const NAMED_MAX: usize = 10_000;

impl Findings {
    /// Whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.objects.is_empty() && self.file_count == 0 && self.lost.is_empty()
    }

    /// A file of a version is damaged.
    pub(super) fn file(&mut self, set: &str, key: &[u8], content: u64, version: &str, error: &Damage) {
        if let Some(id) = error.object {
            self.object(id, &error.what);
        }
        let is_named = |at: &usize| self.files[*at].newest == version;
        if self.open.get(key).is_some_and(|files| files.iter().any(is_named)) {
            // Another part of it.
            return;
        }
        self.file_count += 1;
        if self.contents.len() < NAMED_MAX {
            self.contents.insert(content, error.what.clone());
        }
        if self.files.len() < NAMED_MAX {
            self.open.entry(key.to_vec()).or_default().push(self.files.len());
            self.files.push(DamagedFile {
                set: set.to_owned(),
                key: key.to_vec(),
                newest: version.to_owned(),
                oldest: version.to_owned(),
                what: error.what.clone(),
                is_open: true,
            });
        }
    }

    /// A part of a version cannot be read.
    pub(super) fn lost(&mut self, set: &str, version: &str, error: &ReadError) {
        let damage = Damage::from(error);
        if let Some(id) = damage.object
            && !self.object(id, &damage.what)
        {
            // Named with the first version that needs it.
            return;
        }
        self.part(set, version, damage.what);
    }

    /// Something else is wrong with a version.
    pub(super) fn part(&mut self, set: &str, version: &str, what: String) {
        if self.lost.len() < NAMED_MAX {
            self.lost.push(LostPart { set: set.to_owned(), version: version.to_owned(), what });
        }
    }

    /// What is wrong with a content that was found to be damaged.
    pub(super) fn known_content(&self, content: u64) -> Option<&String> {
        self.contents.get(&content)
    }

    /// The older version of a pair has something else at this key: what was damaged there begins with the newer one.
    pub(super) fn ends(&mut self, key: &[u8]) {
        for at in self.open.remove(key).into_iter().flatten() {
            self.files[at].is_open = false;
        }
    }

    /// `version` has all that is still open.
    pub(super) fn reaches(&mut self, version: &str) {
        for at in self.open.values().flatten() {
            version.clone_into(&mut self.files[*at].oldest);
        }
    }

    /// A set is done: nothing is open any more.
    pub(super) fn close(&mut self) {
        self.open.clear();
        self.files.iter_mut().for_each(|file| file.is_open = false);
    }

    /// After reading it back: what is open is found again.
    pub(super) fn reopen(&mut self) {
        self.open.clear();
        for (at, file) in self.files.iter().enumerate().filter(|(_, file)| file.is_open) {
            self.open.entry(file.key.clone()).or_default().push(at);
        }
    }

    /// Notes a damaged object; true if it was not known.
    fn object(&mut self, id: ObjectId, what: &str) -> bool {
        let id = id.to_string();
        if self.objects.contains_key(&id) {
            return false;
        }
        if self.objects.len() < NAMED_MAX {
            self.objects.insert(id, what.to_owned());
        }
        true
    }
}

/// What is wrong with something that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) object: Option<ObjectId>,
    pub(super) what: String,
}

impl From<&ReadError> for Damage {
    fn from(error: &ReadError) -> Self {
        let object = match error {
            ReadError::Failed { id, .. }
            | ReadError::Sealed { id, .. }
            | ReadError::Mismatch { id, .. }
            | ReadError::Withheld { id } => Some(*id),
            ReadError::Malformed(_)
            | ReadError::Unread
            | ReadError::Timeout { .. }
            | ReadError::Source(_)
            | ReadError::NotInMemory => None,
        };
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { object, what: format!("{error}{cause}") }
    }
}
