//! Words that versions are given after they were made, and that are taken away again: PROTOCOL.md section 8.
//!
//! A snapshot is signed and final, so what is said of it later has a history of its own: each device has one, its tag lineage, whose newest snapshot
//! says everything that the device has ever said. Only the account can read it, nobody can take a word back unseen, and no destination knows
//! that it is anything else than a backup.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstore_platform::machine::Machine;
use backstore_protocol::chunker::ChunkerConfig;
use backstore_protocol::entry::{Content, Entry, Kind, Time};
use backstore_protocol::ids::{DeviceId, SnapshotId};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::snapshot::{Body, Changes, Header, HeaderError, Totals};
use backstore_protocol::store::{LineageInfo, Recovery, Session, SessionRequest, StoreError};
use backstore_protocol::tree::{Root, TreeBuilder};
use backstore_vfs::objects::{self, ReadError};
use backstore_vfs::view::View;

use crate::archive::{Archive, ArchiveError};
use crate::backup::{UploadError, seal_body, seal_node};

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

/// What one device has said, as it is stored.
#[derive(Default)]
struct Own {
    head: Option<(SnapshotId, Header)>,
    /// By snapshot and tag.
    said: BTreeMap<(SnapshotId, String), Said>,
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

/// Whether a lineage holds what its device said of versions, and is no backup set.
pub fn is_tag_lineage(archive: &Archive, info: &LineageInfo) -> bool {
    info.lineage == archive.keys.ids.tag_lineage(info.device)
}

impl Tags {
    /// Reads what the devices have said whose tag lineages are among `lineages`. What is damaged or forged is as if it had not been said.
    ///
    /// # Errors
    ///
    /// What the destination says, if it cannot be asked.
    pub fn read(archive: &Archive, lineages: &[LineageInfo]) -> Result<Self, ArchiveError> {
        let mut tags = Self::default();
        for info in lineages.iter().filter(|info| is_tag_lineage(archive, info)) {
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

impl Own {
    fn read(archive: &Archive, device: DeviceId) -> Result<Self, ArchiveError> {
        let lineage = archive.keys.ids.tag_lineage(device);
        let newest = match archive.source.snapshots(lineage, u64::MAX, 1) {
            Ok(newest) => newest,
            Err(StoreError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let Some(stored) = newest.first() else { return Ok(Self::default()) };
        let header = archive.verify(stored)?;
        if (header.lineage, header.device) != (lineage, device) {
            return Err(HeaderError::Signature(device).into());
        }
        let view = View::new(std::sync::Arc::clone(&archive.reader), header.root);
        let mut said = BTreeMap::new();
        for found in view.walk_all()?.take(SAID_MAX) {
            let (path, entry) = found?;
            // What a later version may add here is none of ours.
            said.extend(decode(&path, &entry));
        }
        Ok(Self { head: Some((stored.id, header)), said })
    }

    /// Makes the next snapshot of this device's tag lineage.
    fn commit(&self, archive: &Archive, machine: &dyn Machine) -> Result<(), TagError> {
        let head = self.head.as_ref();
        let lineage = archive.keys.ids.tag_lineage(archive.device);
        let id = head.map(|(id, _)| *id);
        let destination = archive.destination.as_ref().ok_or_else(|| ArchiveError::from(read_only()))?;
        let fencing = head.map_or(0, |(_, header)| header.fencing);
        let request = SessionRequest { lineage, basis: id, fencing };
        let session = destination.open_session(&request).map_err(ArchiveError::from)?;
        if session.opened().head != id {
            let conflict = StoreError::Conflict { head: session.opened().head };
            return Err(ArchiveError::from(conflict).into());
        }
        let (root, entries, bytes) = self.put_tree(archive, &*session)?;
        let body = seal_body(&archive.keys, &body(entries).encode());
        let now = machine.now_ms();
        let header = Header {
            is_partial: false,
            account: archive.account,
            device: archive.device,
            lineage,
            generation: archive.keys.generation(),
            epoch: archive.keys.epoch(),
            sequence: head.map_or(1, |(_, header)| header.sequence + 1),
            fencing: session.opened().fencing,
            previous: id.unwrap_or(SnapshotId::ZERO),
            parent: id.unwrap_or(SnapshotId::ZERO),
            root,
            body: body.id,
            started_at: now,
            finished_at: now,
            account_log_head: archive.log_head(),
            domain: archive.domain,
            entries,
            bytes,
            seen_heads: Vec::new(),
        };
        let committed = session
            .put(vec![body])
            .and_then(|()| session.sync())
            .and_then(|()| session.commit(&header.sign(&archive.secrets.signing())));
        committed.map_err(ArchiveError::from)?;
        Ok(())
    }

    /// Sends the tree; its root, entries and bytes.
    fn put_tree(&self, archive: &Archive, session: &dyn Session) -> Result<(Root, u64, u64), TagError> {
        let mut entries: Vec<_> = self.said.iter().filter_map(|(key, said)| encode(key, *said)).collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut builder = TreeBuilder::new(&archive.keys.ids);
        entries.into_iter().for_each(|(key, entry)| builder.push(key, entry));
        let root = builder.finish();
        // A node has 256 KiB at most, and a batch 8 MiB.
        const NODES_AT_ONCE: usize = 16;
        let mut batch = Vec::new();
        for built in builder.take_built() {
            batch.push(seal_node(&archive.keys, built.bytes, built.id, NODE_COMPRESSION)?);
            if batch.len() == NODES_AT_ONCE {
                session.put(std::mem::take(&mut batch)).map_err(ArchiveError::from)?;
            }
        }
        if !batch.is_empty() {
            session.put(batch).map_err(ArchiveError::from)?;
        }
        let (entries, bytes) = builder.totals();
        Ok((root, entries, bytes))
    }
}

/// zstd level of nodes.
const NODE_COMPRESSION: i32 = 3;
/// Names the lineage for people who look at it by other means; it is no set.
const SET: &str = "tags";

fn body(entries: u64) -> Body {
    Body {
        set: SET.to_owned(),
        system: backstore_platform::system::NAME.to_owned(),
        host: backstore_platform::system::host_name(),
        zone: "UTC".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        roots: Vec::new(),
        mounts: Vec::new(),
        chunker: ChunkerConfig::default(),
        tags: Vec::new(),
        totals: Totals { files: entries, ..Totals::default() },
        changes: Changes::default(),
        errors: Vec::new(),
        cursor: None,
        scan_started_ns: 0,
    }
}

fn read_only() -> StoreError {
    StoreError::Protocol { detail: "the archive was opened for reading".to_owned() }
}

const GIVEN: &[u8] = b"+";
const TAKEN: &[u8] = b"-";

/// The key and entry that say it.
fn encode((snapshot, tag): &(SnapshotId, String), said: Said) -> Option<(Vec<u8>, Entry)> {
    let path =
        ArchivePath::unix_root().join(snapshot.to_string().as_bytes()).ok()?.join(tag.as_bytes()).ok()?;
    let content = if said.is_given { GIVEN } else { TAKEN };
    let mut entry = Entry::new(Kind::File);
    (entry.mtime, entry.size, entry.content) =
        (said.at, content.len() as u64, Content::Inline(content.into()));
    Some((path.key(), entry))
}

/// What an entry says; nothing if it is none of these.
fn decode(path: &ArchivePath, entry: &Entry) -> Option<((SnapshotId, String), Said)> {
    let components: Vec<&[u8]> = path.components().collect();
    let [_, snapshot, tag] = components[..] else { return None };
    let snapshot = SnapshotId::parse(std::str::from_utf8(snapshot).ok()?)?;
    let tag = std::str::from_utf8(tag).ok().filter(|tag| check_tag(tag).is_ok())?;
    let Content::Inline(content) = &entry.content else { return None };
    let is_given = match &content[..] {
        GIVEN => true,
        TAKEN => false,
        _ => return None,
    };
    Some(((snapshot, tag.to_owned()), Said { at: entry.mtime, is_given }))
}

impl From<ReadError> for TagError {
    fn from(error: ReadError) -> Self {
        Self::Archive(error.into())
    }
}

#[cfg(test)]
mod tests;
