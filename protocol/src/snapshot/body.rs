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
