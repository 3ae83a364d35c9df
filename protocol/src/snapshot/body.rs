//! The part of a snapshot that only the account can read.

use serde::{Deserialize, Serialize};

use crate::chunker::ChunkerConfig;
use crate::codec::{Malformed, from_postcard, list_max, to_postcard};
use crate::limits::{BODY_ERRORS_MAX, BODY_LIST_MAX, BODY_TEXT_BYTES_MAX, KEY_BYTES_MAX};

/// A snapshot's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Name of the backup set.
    pub set: String,
    /// The operating system: `linux`, `macos`, `windows`.
    pub system: String,
    /// Name of the computer.
    pub host: String,
    /// IANA name of the time zone that dates of this set are shown in.
    pub zone: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Selected roots, as archive paths in their joined form (PROTOCOL.md section 1).
    #[serde(deserialize_with = "list_max::<_, _, BODY_LIST_MAX>")]
    pub roots: Vec<Vec<u8>>,
    /// Mounts that entries name by their ordinal.
    #[serde(deserialize_with = "list_max::<_, _, BODY_LIST_MAX>")]
    pub mounts: Vec<Mount>,
    /// How large files were cut.
    pub chunker: ChunkerConfig,
    /// Words the user gave it.
    #[serde(deserialize_with = "list_max::<_, _, BODY_LIST_MAX>")]
    pub tags: Vec<String>,
    /// What the scan found.
    pub totals: Totals,
    /// How it differs from its parent.
    pub changes: Changes,
    /// The first files that could not be read whole.
    #[serde(deserialize_with = "list_max::<_, _, BODY_ERRORS_MAX>")]
    pub errors: Vec<FileError>,
    /// How far a partial snapshot has come.
    pub cursor: Option<Cursor>,
    /// When the scan began, in nanoseconds since 1970 by the device's clock. A file that changed at or after this moment may have changed
    /// without a trace since.
    pub scan_started_ns: i64,
}

/// A file system that was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its number in entries.
    pub ordinal: u32,
    /// Where it was mounted: a path of its system, as raw bytes.
    pub path: Vec<u8>,
    /// Type of the file system.
    pub kind: String,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Directories, implied ones included.
    pub directories: u64,
    /// Everything else.
    pub others: u64,
    /// Sizes of all files.
    pub bytes: u64,
    /// Files that could not be read whole, were changing or lost metadata.
    pub errors: u64,
    /// Files left out by exclusions.
    pub excluded: u64,
}

/// How a snapshot differs from its parent; all of it is new if it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Paths that the parent has not got.
    pub new: Counts,
    /// Paths of the parent that are not what they were: PROTOCOL.md section 8 says what counts.
    pub changed: Counts,
    /// Paths of the parent that are no longer there.
    pub removed: Counts,
    /// Sizes of the files that are new, of another kind or of other content.
    pub bytes: u64,
    /// Plain bytes of the data objects that were sent because they were not stored yet.
    pub bytes_new: u64,
    /// Sealed bytes of all objects that were sent, nodes included and the body not.
    pub bytes_stored: u64,
}

/// Entries by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories, implied ones included.
    pub directories: u64,
    /// Everything else.
    pub others: u64,
}

impl Counts {
    /// Entries of any kind.
    pub const fn all(&self) -> u64 {
        self.files.saturating_add(self.directories).saturating_add(self.others)
    }
}

/// A file that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileError {
    /// Its key in the tree.
    pub key: Vec<u8>,
    /// What went wrong, for people.
    pub what: String,
}

/// Where a partial snapshot stopped: up to and including `key` it is new, after it it is its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The last key that is new.
    pub key: Vec<u8>,
}

impl Body {
    /// Its bytes, to be sealed.
    pub fn encode(&self) -> Vec<u8> {
        to_postcard(self)
    }

    /// Reads what [`Body::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let body: Self = from_postcard(bytes, "snapshot body")?;
        let texts = [&body.set, &body.system, &body.host, &body.zone, &body.agent_version];
        let short = texts.into_iter().chain(&body.tags).all(|text| text.len() <= BODY_TEXT_BYTES_MAX);
        let keys =
            body.errors.iter().map(|error| &error.key).chain(body.cursor.as_ref().map(|cursor| &cursor.key));
        if short && keys.into_iter().all(|key| key.len() <= KEY_BYTES_MAX) {
            Ok(body)
        } else {
            Err(Malformed { what: "snapshot body", offset: 0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(tags: usize, errors: usize) -> Body {
        let text = || "text".to_owned();
        Body {
            set: text(),
            system: text(),
            host: text(),
            zone: text(),
            agent_version: text(),
            roots: Vec::new(),
            mounts: Vec::new(),
            chunker: ChunkerConfig::default(),
            tags: vec![text(); tags],
            totals: Totals::default(),
            changes: Changes::default(),
            errors: vec![FileError { key: vec![0], what: text() }; errors],
            cursor: None,
            scan_started_ns: 0,
        }
    }

    #[test]
    fn lists_reach_their_limits_and_no_further() {
        let full = body(BODY_LIST_MAX, BODY_ERRORS_MAX);
        assert_eq!(Body::decode(&full.encode()), Ok(full));
        assert!(Body::decode(&body(BODY_LIST_MAX + 1, 0).encode()).is_err());
        assert!(Body::decode(&body(0, BODY_ERRORS_MAX + 1).encode()).is_err());
    }
}
