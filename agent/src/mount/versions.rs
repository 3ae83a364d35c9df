//! The versions of a set that a mount shows: the newest page at once, older ones after it, new ones as they come.

use std::collections::HashMap;
use std::sync::Arc;

use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::snapshot::{Body, Header};
use backstore_protocol::store::StoredSnapshot;
use backstore_vfs::model::Version;
use backstore_vfs::objects::{ReadError, Recovery, Want};

use crate::archive::{Archive, ArchiveError, LineageSummary};
use crate::home::Home;
use crate::tags::Tags;

/// Shows versions; whether those are all there are.
pub(super) type Show<'a> = dyn Fn(Vec<Version>, bool) + 'a;

/// Versions of a lineage.
pub(super) struct Versions {
    archive: Arc<Archive>,
    home: Home,
    lineage: LineageId,
    /// The time zone of the newest version, for those whose body is damaged.
    zone: String,
    /// How many there were at first.
    held: u64,
    /// What is known of the first page, until it is shown.
    newest: Vec<StoredSnapshot>,
    /// Newest first, with the tags that they were made with.
    shown: Vec<Version>,
    /// What was said of their tags later.
    tags: Arc<Tags>,
    /// Where the older ones begin that are not known yet.
    older: Option<u64>,
    /// Snapshots that cannot be shown.
    refused: u64,
}

/// A page of a listing.
struct Page {
    versions: Vec<Version>,
    /// Where the next one begins.
    next: Option<u64>,
    /// Something in it was known before.
    has_known: bool,
}

/// Snapshots of a page.
pub(super) const PAGE: usize = 128;
/// Versions that are shown at most: the newest.
const VERSIONS_MAX: usize = 200_000;

impl Versions {
    pub(super) fn new(
        archive: &Arc<Archive>,
        home: &Home,
        summary: &LineageSummary,
        tags: Arc<Tags>,
    ) -> Self {
        Self {
            archive: Arc::clone(archive),
            home: home.clone(),
            lineage: summary.info.lineage,
            zone: summary.head.body.zone.clone(),
            held: summary.info.snapshots,
            newest: summary.newest.clone(),
            shown: Vec::new(),
            tags,
            older: None,
            refused: 0,
        }
    }

    /// The newest versions, as many as one answer of the destination brings.
    pub(super) fn first_page(&mut self) -> Result<Vec<Version>, ArchiveError> {
        let newest = std::mem::take(&mut self.newest);
        let page = if newest.len() as u64 >= self.held.min(PAGE as u64) {
            self.page_of(newest, u64::MAX, &HashMap::new())?
        } else {
            self.page(u64::MAX, &HashMap::new())?
        };
        (self.shown, self.older) = (page.versions, page.next);
        Ok(self.tagged())
    }

    /// Reads older versions until all are known, and shows them each time there are twice as many: naming them all takes time too.
    pub(super) fn read_older(&mut self, show: &Show<'_>) -> Result<(), ArchiveError> {
        let mut enough = 2 * self.shown.len();
        while let Some(before) = self.older {
            let page = self.page(before, &HashMap::new())?;
            self.shown.extend(page.versions);
            self.older = page.next.filter(|_| self.shown.len() < VERSIONS_MAX);
            if self.shown.len() >= enough && self.older.is_some() {
                enough = 2 * self.shown.len();
                show(self.tagged(), false);
            }
        }
        show(self.tagged(), true);
        Ok(())
    }

    /// The versions with all their tags.
    fn tagged(&self) -> Vec<Version> {
        let mut versions = self.shown.clone();
        for version in &mut versions {
            let tags = self.tags.of(version.id, version.tags.iter().map(|tag| &**tag));
            version.tags = tags.into_iter().map(String::into_boxed_str).collect();
        }
        versions
    }

    /// Shows what is new and no more what is gone; `held` is how many the destination has. Versions that are not known yet come first.
    pub(super) fn refresh(&mut self, held: u64, show: &Show<'_>) -> Result<(), ArchiveError> {
        if self.older.is_some() {
            self.read_older(show)?;
        }
        if self.read_newer(held)? {
            show(self.tagged(), true);
        }
        Ok(())
    }

    /// Shows what was said of tags, unless it is shown already.
    pub(super) fn show_tags(&mut self, tags: &Arc<Tags>, show: &Show<'_>) {
        if !Arc::ptr_eq(&self.tags, tags) {
            self.tags = Arc::clone(tags);
            show(self.tagged(), self.older.is_none());
        }
    }

    /// Reads what is new; whether anything has changed. If versions have gone too, all are listed again.
    fn read_newer(&mut self, held: u64) -> Result<bool, ArchiveError> {
        let known: HashMap<_, _> = self.shown.iter().map(|version| (version.id, version.clone())).collect();
        let mut newer = Vec::new();
        let mut before = Some(u64::MAX);
        while let Some(start) = before {
            let page = self.page(start, &known)?;
            newer.extend(page.versions.into_iter().filter(|version| !known.contains_key(&version.id)));
            before = page.next.filter(|_| !page.has_known && newer.len() < VERSIONS_MAX);
        }
        let expected = (self.shown.len() + newer.len()) as u64 + self.refused;
        if held < expected && self.shown.len() < VERSIONS_MAX {
            return self.list_again(&known);
        }
        let has_changed = !newer.is_empty();
        newer.append(&mut self.shown);
        newer.truncate(VERSIONS_MAX);
        self.shown = newer;
        Ok(has_changed)
    }

    fn list_again(&mut self, known: &HashMap<SnapshotId, Version>) -> Result<bool, ArchiveError> {
        let mut all = Vec::new();
        self.refused = 0;
        let mut before = Some(u64::MAX);
        while let Some(start) = before {
            let page = self.page(start, known)?;
            all.extend(page.versions);
            before = page.next.filter(|_| all.len() < VERSIONS_MAX);
        }
        let has_changed = all != self.shown;
        self.shown = all;
        Ok(has_changed)
    }

    /// The versions before a sequence, newest first. The bodies of those that are not `known` are asked for together.
    fn page(&mut self, before: u64, known: &HashMap<SnapshotId, Version>) -> Result<Page, ArchiveError> {
        let stored = self.archive.source.snapshots(self.lineage, before, PAGE)?;
        self.page_of(stored, before, known)
    }

    fn page_of(
        &mut self,
        stored: Vec<StoredSnapshot>,
        before: u64,
        known: &HashMap<SnapshotId, Version>,
    ) -> Result<Page, ArchiveError> {
        let mut headers = Vec::with_capacity(stored.len());
        let mut next = None;
        let mut may_renew = true;
        for stored in stored {
            let header = match self.verify(&stored, &mut may_renew) {
                Ok(header) => header,
                Err(error @ (ArchiveError::Header(_) | ArchiveError::UnknownDevice(_))) => {
                    tracing::warn!(snapshot = %stored.id, %error, "a version is not shown");
                    self.refused += u64::from(!known.contains_key(&stored.id));
                    next = sequence_of(&stored).filter(|sequence| *sequence < before).or(next);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A destination that repeats itself must not keep us for ever.
            next = Some(header.sequence).filter(|sequence| *sequence < before);
            headers.push((stored, header));
        }
        let bodies = headers.iter().filter(|(stored, _)| !known.contains_key(&stored.id));
        self.archive.reader.prefetch(bodies.map(|(_, header)| Want::Body(header.body)));
        let has_known = headers.iter().any(|(stored, _)| known.contains_key(&stored.id));
        let versions = headers.into_iter().map(|(stored, header)| match known.get(&stored.id) {
            Some(version) => Ok(version.clone()),
            None => self.version(&stored, &header),
        });
        Ok(Page { versions: versions.collect::<Result<_, _>>()?, next, has_known })
    }

    /// Checks who signed a snapshot; a device that is not known may have come since the archive was opened.
    fn verify(&mut self, stored: &StoredSnapshot, may_renew: &mut bool) -> Result<Header, ArchiveError> {
        match self.archive.verify(stored) {
            Err(ArchiveError::UnknownDevice(_)) if std::mem::take(may_renew) => {
                self.archive.renew_log(&self.home)?;
                self.archive.verify(stored)
            }
            verified => verified,
        }
    }

    fn version(&self, stored: &StoredSnapshot, header: &Header) -> Result<Version, ArchiveError> {
        let body = self.archive.reader.body(&header.body);
        let body = body.and_then(|bytes| Body::decode(&bytes).map_err(ReadError::from));
        let (zone, tags) = match body {
            Ok(body) => (body.zone, body.tags),
            Err(error) if error.recovery() == Recovery::SkipIt => {
                tracing::warn!(snapshot = %stored.id, %error, "the description of a version is damaged");
                (self.zone.clone(), Vec::new())
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Version {
            id: stored.id,
            lineage: header.lineage,
            sequence: header.sequence,
            started_at: header.started_at,
            received_at: stored.received_at,
            zone: zone.into(),
            root: header.root,
            is_partial: header.is_partial,
            entries: header.entries,
            bytes: header.bytes,
            tags: tags.into_iter().map(String::into_boxed_str).collect(),
        })
    }
}

fn sequence_of(stored: &StoredSnapshot) -> Option<u64> {
    Header::decode(&stored.header).ok().map(|header| header.sequence)
}
