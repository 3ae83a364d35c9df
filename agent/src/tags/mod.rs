//! Words that versions are given after they were made, and that are taken away again: PROTOCOL.md section 8.
//!
//! A snapshot is signed and final, so what is said of it later has a history of its own: each device has one, its tag lineage, whose newest snapshot
//! says everything that the device has ever said. Only the account can read it, nobody can take a word back unseen, and no destination knows
//! that it is anything else than a backup.

mod own;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstore_platform::machine::Machine;
use backstore_protocol::entry::Time;
use backstore_protocol::ids::SnapshotId;
use backstore_protocol::store::{LineageInfo, Recovery};
use backstore_vfs::objects::{self, ReadError};

use crate::archive::{Archive, ArchiveError};
use crate::backup::UploadError;
use own::Own;

/// Longest tag.
pub const TAG_BYTES_MAX: usize = 255;
/// What one device can say: so many pairs of a version and a tag.
pub const SAID_MAX: usize = 50_000;

/// What all devices have said of all versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tags {
    said: HashMap<SnapshotId, BTreeMap<String, Said>>,
}

/// What was said last of a tag of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    at: Time,
    /// It has it; of two sayings at the same moment this holds.
    is_given: bool,
}

/// Why a version was not tagged.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What was to be sent went wrong.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// It has no such tag.
    #[error("version {version} has no tag {tag:?}")]
    NotTagged {
        /// The version.
        version: String,
        /// What it has not got.
        tag: String,
    },
    /// There is no room for more.
    #[error("this computer has given and taken {SAID_MAX} tags, and there is no room for more")]
    TooMany,
}

/// Whether a word can be a tag; if not, why.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let is_control = |c: char| c.is_control() || c == '/';
    if ["", ".", ".."].contains(&tag) || tag.len() > TAG_BYTES_MAX || tag.chars().any(is_control) {
        return Err(format!("{tag:?} is not a tag: it has 1 to {TAG_BYTES_MAX} bytes and no `/`"));
    }
    Ok(())
}

impl Tags {
    /// Reads what the devices have said whose tag lineages are among `lineages`. What is damaged or forged is as if it had not been said.
    ///
    /// # Errors
    ///
    /// What the destination says, if it cannot be asked.
    pub fn read(archive: &Archive, lineages: &[LineageInfo]) -> Result<Self, ArchiveError> {
        let mut tags = Self::default();
        for info in lineages.iter().filter(|info| archive.is_tag_lineage(info)) {
            match Own::read(archive, info.device) {
                Ok(own) => own.said.into_iter().for_each(|(key, said)| tags.add(key, said)),
                Err(error) if !concerns_only_it(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(device = %info.device, %error, "tags that a device gave later are not shown");
                }
            }
        }
        Ok(tags)
    }

    fn add(&mut self, (snapshot, tag): (SnapshotId, String), said: Said) {
        let known = self.said.entry(snapshot).or_default().entry(tag).or_insert(said);
        *known = said.max(*known);
    }

    /// The tags of a version, in order; `own` are those it was made with, which were said before all others.
    pub fn of<'a>(&self, snapshot: SnapshotId, own: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut tags: BTreeSet<String> = own.into_iter().map(str::to_owned).collect();
        for (tag, said) in self.said.get(&snapshot).into_iter().flatten() {
            if said.is_given {
                tags.insert(tag.clone());
            } else {
                tags.remove(tag);
            }
        }
        tags.into_iter().collect()
    }

    /// When something was last said of a tag of a version.
    fn last(&self, key: &(SnapshotId, String)) -> Option<Time> {
        Some(self.said.get(&key.0)?.get(&key.1)?.at)
    }
}

/// Whether nothing else suffers from what is wrong with a tag lineage.
fn concerns_only_it(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Header(_) | ArchiveError::UnknownDevice(_) => true,
        ArchiveError::Read(error) => error.recovery() == objects::Recovery::SkipIt,
        _ => false,
    }
}

/// How often it is tried again because another process of this computer was faster.
const CONFLICTS_MAX: usize = 5;

/// Says that a version has a tag, or has not got it any more. Durable when it returns.
///
/// # Errors
///
/// [`TagError`]; nothing was said then.
pub fn say(
    archive: &Archive,
    machine: &dyn Machine,
    snapshot: SnapshotId,
    tag: &str,
    is_given: bool,
) -> Result<(), TagError> {
    let key = (snapshot, tag.to_owned());
    let mut conflicts = 0;
    loop {
        let lineages = archive.source.lineages().map_err(ArchiveError::from)?;
        // Clocks differ, and this has to hold from now on.
        let last = Tags::read(archive, &lineages)?.last(&key).map(just_after);
        let at = last.map_or(machine.now(), |last| last.max(machine.now()));
        let mut own = Own::read(archive, archive.device)?;
        own.said.insert(key.clone(), Said { at, is_given });
        if own.said.len() > SAID_MAX {
            return Err(TagError::TooMany);
        }
        match own.commit(archive, machine) {
            Err(
                TagError::Archive(ArchiveError::Store(error)) | TagError::Upload(UploadError::Store(error)),
            ) if error.recovery() == Recovery::LookAtHead && conflicts < CONFLICTS_MAX => {
                conflicts += 1;
            }
            done => return done,
        }
    }
}

fn just_after(time: Time) -> Time {
    match time.nanoseconds {
        999_999_999.. => Time { seconds: time.seconds.saturating_add(1), nanoseconds: 0 },
        nanoseconds => Time { nanoseconds: nanoseconds + 1, ..time },
    }
}

impl From<ReadError> for TagError {
    fn from(error: ReadError) -> Self {
        Self::Archive(error.into())
    }
}
