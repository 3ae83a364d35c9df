//! What one device has said of tags, as its tag lineage holds it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_protocol::chunker::ChunkerConfig;
use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::ids::{DeviceId, SnapshotId};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::snapshot::{Body, Changes, Header, HeaderError, Totals};
use backstore_protocol::store::{Session, SessionRequest, StoreError};
use backstore_protocol::tree::{Root, TreeBuilder};
use backstore_vfs::view::View;

use super::{SAID_MAX, Said, TagError, check_tag};
use crate::archive::{Archive, ArchiveError};
use crate::backup::{seal_body, seal_node};

/// What one device has said, as it is stored.
#[derive(Default)]
pub(super) struct Own {
    head: Option<(SnapshotId, Header)>,
    /// By their keys; also those that a later version of this program may have put there.
    entries: BTreeMap<Vec<u8>, Entry>,
    /// The entries are of an older snapshot than the head, because of this.
    pub(super) newer_is_damaged: Option<ArchiveError>,
}

/// Snapshots that are tried, newest first, until one can be read: each has what the one before it had.
const TRIED_MAX: usize = 16;

impl Own {
    /// What `device` has said.
    pub(super) fn read(archive: &Archive, device: DeviceId) -> Result<Self, ArchiveError> {
        let lineage = archive.keys.ids.tag_lineage(device);
        let stored = match archive.source.snapshots(lineage, u64::MAX, TRIED_MAX) {
            Ok(stored) => stored,
            Err(StoreError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let (mut head, mut damage) = (None, None);
        for stored in stored {
            let header = archive.verify(&stored)?;
            if (header.lineage, header.device) != (lineage, device) {
                return Err(HeaderError::Signature(device).into());
            }
            let entries = read_entries(archive, header.root);
            head.get_or_insert((stored.id, header));
            match entries {
                Ok(entries) => return Ok(Self { head, entries, newer_is_damaged: damage }),
                Err(error) if error.is_damage() => damage = damage.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        damage.map_or_else(|| Ok(Self::default()), Err)
    }

    /// All it says.
    pub(super) fn said(&self) -> impl Iterator<Item = ((SnapshotId, String), Said)> {
        self.entries.iter().filter_map(|(key, entry)| decode(&ArchivePath::from_key(key).ok()?, entry))
    }

    /// Says something more.
    pub(super) fn say(&mut self, key: &(SnapshotId, String), said: Said) -> Result<(), TagError> {
        let (path, entry) = encode(key, said)
            .ok_or_else(|| TagError::NotATag(format!("{:?} is not a tag: it cannot be a name", key.1)))?;
        self.entries.insert(path, entry);
        if self.entries.len() > SAID_MAX { Err(TagError::TooMany) } else { Ok(()) }
    }

    /// Makes the next snapshot of this device's tag lineage.
    pub(super) fn commit(&self, archive: &Archive, machine: &dyn Machine) -> Result<(), TagError> {
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
        let mut builder = TreeBuilder::new(&archive.keys.ids);
        self.entries.iter().for_each(|(key, entry)| builder.push(key.clone(), entry.clone()));
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

/// The entries of a tree. Of too many there is one more than can be said, so that nothing is written over what was not read.
fn read_entries(archive: &Archive, root: Root) -> Result<BTreeMap<Vec<u8>, Entry>, ArchiveError> {
    let view = View::new(Arc::clone(&archive.reader), root);
    let found = view.walk_all()?.take(SAID_MAX + 1);
    found.map(|found| found.map(|(path, entry)| (path.key(), entry)).map_err(ArchiveError::from)).collect()
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
pub(super) fn encode((snapshot, tag): &(SnapshotId, String), said: Said) -> Option<(Vec<u8>, Entry)> {
    let path =
        ArchivePath::unix_root().join(snapshot.to_string().as_bytes()).ok()?.join(tag.as_bytes()).ok()?;
    let content = if said.is_given { GIVEN } else { TAKEN };
    let mut entry = Entry::new(Kind::File);
    (entry.mtime, entry.size, entry.content) =
        (said.at, content.len() as u64, Content::Inline(content.into()));
    Some((path.key(), entry))
}

/// What an entry says; nothing if it is none of these.
pub(super) fn decode(path: &ArchivePath, entry: &Entry) -> Option<((SnapshotId, String), Said)> {
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
