//! The versions that a mount shows: the newest page at once, older ones in the background, new ones as they come.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::snapshot::{Body, Header};
use backstore_protocol::store::StoredSnapshot;
use backstore_vfs::model::Version;
use backstore_vfs::objects::{ReadError, Recovery, Want};

use crate::archive::{Archive, ArchiveError, LineageSummary};

/// Opens the archive again, to learn of devices that came to the account.
type Reopen = Box<dyn Fn() -> Result<Archive, ArchiveError> + Send>;

/// Shows versions; whether those are all there are.
pub(super) type Show<'a> = dyn Fn(Vec<Version>, bool) + 'a;

/// Versions of a lineage.
pub(super) struct Versions {
    archive: Archive,
    reopen: Reopen,
    lineage: LineageId,
    /// The time zone of the newest version, for those whose body is damaged.
    zone: String,
    /// The first page, until it is shown.
    newest: Vec<StoredSnapshot>,
    /// Newest first.
    shown: Vec<Version>,
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
/// How long one wait for new snapshots takes.
const WATCH_PATIENCE: Duration = Duration::from_secs(60);
/// Before the destination is asked again after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Versions {
    pub(super) fn new(archive: Archive, summary: &LineageSummary, reopen: Reopen) -> Self {
        Self {
            archive,
            reopen,
            lineage: summary.info.lineage,
            zone: summary.head.body.zone.clone(),
            newest: summary.newest.clone(),
            shown: Vec::new(),
            older: None,
            refused: 0,
        }
    }

    /// The archive they are in.
    pub(super) const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The newest versions, as many as one answer of the destination brings.
    pub(super) fn first_page(&mut self) -> Result<Vec<Version>, ArchiveError> {
        let newest = std::mem::take(&mut self.newest);
        let page = self.page_of(newest, u64::MAX, &HashMap::new())?;
        (self.shown, self.older) = (page.versions, page.next);
        Ok(self.shown.clone())
    }

    /// Shows older versions as they become known and new ones as they come, until the process ends.
    pub(super) fn follow(mut self, show: &Show<'_>) {
        let mut seen = 0;
        loop {
            match self.step(&mut seen, show) {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "the list of versions stays as it is for now");
                    thread::sleep(RETRY_AFTER);
                }
            }
        }
    }

    fn step(&mut self, seen: &mut u64, show: &Show<'_>) -> Result<(), ArchiveError> {
        if self.older.is_some() {
            return self.read_older(show);
        }
        let count = self.archive.source.watch(*seen, WATCH_PATIENCE)?;
        if count != *seen && self.read_newer()? {
            show(self.shown.clone(), true);
        }
        *seen = count;
        Ok(())
    }

    /// Reads older versions, and shows them each time there are twice as many: naming them all takes time too.
    fn read_older(&mut self, show: &Show<'_>) -> Result<(), ArchiveError> {
        let enough = 2 * self.shown.len();
        while let Some(before) = self.older
            && self.shown.len() < enough
        {
            let page = self.page(before, &HashMap::new())?;
            self.shown.extend(page.versions);
            self.older = page.next.filter(|_| self.shown.len() < VERSIONS_MAX);
        }
        show(self.shown.clone(), self.older.is_none());
        Ok(())
    }

    /// Reads what is new; whether anything has changed. If versions have gone too, all are listed again.
    fn read_newer(&mut self) -> Result<bool, ArchiveError> {
        let known: HashMap<_, _> = self.shown.iter().map(|version| (version.id, version.clone())).collect();
        let mut newer = Vec::new();
        let mut before = Some(u64::MAX);
        while let Some(start) = before {
            let page = self.page(start, &known)?;
            newer.extend(page.versions.into_iter().filter(|version| !known.contains_key(&version.id)));
            before = page.next.filter(|_| !page.has_known && newer.len() < VERSIONS_MAX);
        }
        let held = self.archive.source.lineages()?;
        let held = held.iter().find(|info| info.lineage == self.lineage).map_or(0, |info| info.snapshots);
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
                self.archive.log = (self.reopen)()?.log;
                self.archive.verify(stored)
            }
            verified => verified,
        }
    }

    fn version(&self, stored: &StoredSnapshot, header: &Header) -> Result<Version, ArchiveError> {
        let body = self.archive.reader.body(&header.body);
        let zone = match body.and_then(|bytes| Ok(Body::decode(&bytes).map_err(ReadError::from)?.zone)) {
            Ok(zone) => zone,
            Err(error) if error.recovery() == Recovery::SkipIt => {
                tracing::warn!(snapshot = %stored.id, %error, "the description of a version is damaged");
                self.zone.clone()
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
        })
    }
}

fn sequence_of(stored: &StoredSnapshot) -> Option<u64> {
    Header::decode(&stored.header).ok().map(|header| header.sequence)
}
