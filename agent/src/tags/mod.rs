//! Words that versions are given after they were made, and that are taken away again: PROTOCOL.md section 8.
//!
//! A snapshot is signed and final, so what is said of it later has a history of its own: each device has one, its tag lineage, whose newest snapshot
//! says everything that the device has ever said. Only the account can read it and add to it, and no destination knows that it is anything else
//! than a backup; one that withholds what was said last shows what was said before.

mod own;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstore_platform::machine::Machine;
use backstore_protocol::entry::Time;
use backstore_protocol::ids::SnapshotId;
use backstore_protocol::store::{LineageInfo, Recovery};

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

/// What a device said of tags that is not known.
#[derive(Debug, thiserror::Error)]
#[error(
    "what {device} said of tags{} cannot be read, and {}",
    if *has_older { " last" } else { "" },
    if *has_older { "what it had said before is shown" } else { "is not shown" }
)]
pub struct Unread {
    /// Who said it.
    pub device: String,
    /// What the device had said before is known.
    pub has_older: bool,
    /// Why.
    pub source: ArchiveError,
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
    /// No version of a set has it.
    #[error("no version of set {set} has the tag {tag:?}")]
    NoneTagged {
        /// The set.
        set: String,
        /// What they have not got.
        tag: String,
    },
    /// It cannot be one.
    #[error("{0}")]
    NotATag(String),
    /// There is no room for more.
    #[error(
        "this computer has given and taken {SAID_MAX} tags, and there is no room for more; another computer of the account can tag"
    )]
    TooMany,
}

/// Whether a word can be a tag; if not, why.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let is_control = |c: char| c.is_control() || c == '/';
    if ["", ".", ".."].contains(&tag) || tag.len() > TAG_BYTES_MAX || tag.chars().any(is_control) {
        return Err(format!(
            "{tag:?} is not a tag: it has 1 to {TAG_BYTES_MAX} bytes, no `/` and no control characters"
        ));
    }
    Ok(())
}

impl Tags {
    /// Reads what the devices have said whose tag lineages are among `lineages`. What of it is damaged is as if it had not been said, and is named.
    ///
    /// # Errors
    ///
    /// The destination does not answer: nothing is known then, rather than that nothing was said.
    pub fn read(archive: &Archive, lineages: &[LineageInfo]) -> Result<(Self, Vec<Unread>), ArchiveError> {
        let (mut tags, mut unread) = (Self::default(), Vec::new());
        for info in lineages.iter().filter(|info| archive.is_tag_lineage(info)) {
            let device = || archive.device_name(info.device);
            match Own::read(archive, info.device) {
                Ok(own) => {
                    own.said().for_each(|(key, said)| tags.add(key, said));
                    let damage = own.newer_is_damaged;
                    unread.extend(damage.map(|source| Unread { device: device(), has_older: true, source }));
                }
                Err(source) if source.is_damage() => {
                    unread.push(Unread { device: device(), has_older: false, source });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((tags, unread))
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

/// How often it is tried again because another process of this computer was faster.
const CONFLICTS_MAX: usize = 5;

/// Says that versions have a tag, or have not got it any more. Durable when it returns.
///
/// # Errors
///
/// [`TagError`]; nothing was said then.
pub fn say(
    archive: &Archive,
    machine: &dyn Machine,
    snapshots: &[SnapshotId],
    tag: &str,
    is_given: bool,
) -> Result<(), TagError> {
    check_tag(tag).map_err(TagError::NotATag)?;
    let keys: Vec<_> = snapshots.iter().map(|snapshot| (*snapshot, tag.to_owned())).collect();
    let mut conflicts = 0;
    loop {
        let lineages = archive.source.lineages().map_err(ArchiveError::from)?;
        let (tags, _) = Tags::read(archive, &lineages)?;
        // Clocks differ, and this has to hold from now on.
        let last = keys.iter().filter_map(|key| tags.last(key)).max().map(just_after);
        let at = last.map_or(machine.now(), |last| last.max(machine.now()));
        let mut own = Own::read(archive, archive.device)?;
        keys.iter().try_for_each(|key| own.say(key, Said { at, is_given }))?;
        match own.commit(archive, machine) {
            Err(TagError::Archive(ArchiveError::Store(error)))
                if error.recovery() == Recovery::LookAtHead && conflicts < CONFLICTS_MAX =>
            {
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
