//! Snapshots of the archive, verified and opened.

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError};

use backstore_protocol::ids::{DeviceId, LineageId, SnapshotId};
use backstore_protocol::snapshot::{Body, Header};
use backstore_protocol::store::{LineageInfo, StoredSnapshot};
use backstore_vfs::objects::Want;
use backstore_vfs::view::View;

use super::{Archive, ArchiveError};

/// A snapshot whose signature was checked, with its body.
#[derive(Debug, Clone)]
pub struct OpenedSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Body,
    /// When it arrived, by the destination's clock.
    pub received_at: i64,
    /// Something it needs is damaged.
    pub is_damaged: bool,
}

/// A lineage and what its newest snapshot says of it.
#[derive(Debug, Clone)]
pub struct LineageSummary {
    /// What the destination knows.
    pub info: LineageInfo,
    /// Its newest snapshot; where what that says is damaged, the newest that can be opened.
    pub head: OpenedSnapshot,
    /// The name of the device that made it.
    pub device_name: String,
    /// Its newest snapshots, as the destination holds them: so many as the archive was opened for.
    pub newest: Vec<StoredSnapshot>,
}

/// The lineages of an account.
#[derive(Debug, Default)]
pub struct Lineages {
    /// By the name of their set.
    pub readable: Vec<LineageSummary>,
    /// Why others cannot be read.
    pub damaged: Vec<ArchiveError>,
}

/// Snapshots of one lineage, newest first, a page at a time.
pub struct Snapshots<'a> {
    archive: &'a Archive,
    lineage: LineageId,
    before: u64,
    page: std::vec::IntoIter<StoredSnapshot>,
    is_done: bool,
}

/// Snapshots asked for at once.
const PAGE: usize = 128;
/// Snapshots that are tried until one can be opened.
const TRIED_MAX: usize = 64;

impl Archive {
    /// All lineages of the account that are backup sets. Damage to one keeps nobody from the others.
    pub fn lineages(&self) -> Result<Lineages, ArchiveError> {
        let mut lineages = Lineages::default();
        for (info, newest) in self.newest_of_each()? {
            let Some(head) = newest.first() else { continue };
            let head = match self.open_snapshot(head) {
                Err(error @ ArchiveError::Read(_)) if error.is_damage() => self.open_older(&info, error),
                opened => opened,
            };
            match head {
                Ok(head) => {
                    let device_name = self.device_name(head.header.device);
                    lineages.readable.push(LineageSummary { info, head, device_name, newest });
                }
                Err(error) if error.is_damage() => lineages.damaged.push(error),
                Err(error) => return Err(error),
            }
        }
        let name = |lineage: &LineageSummary| (lineage.head.body.set.clone(), lineage.device_name.clone());
        lineages.readable.sort_by_cached_key(name);
        Ok(lineages)
    }

    /// The newest snapshot but the last that can be opened; without one the damage to the last.
    fn open_older(&self, info: &LineageInfo, damage: ArchiveError) -> Result<OpenedSnapshot, ArchiveError> {
        for stored in self.snapshots(info.lineage).take(TRIED_MAX).skip(1) {
            match self.open_snapshot(&stored?) {
                Err(error) if error.is_damage() => {}
                opened => return opened,
            }
        }
        Err(damage)
    }

    /// Whether a lineage holds what its device said of versions, and is no backup set.
    pub fn is_tag_lineage(&self, info: &LineageInfo) -> bool {
        info.lineage == self.keys.ids.tag_lineage(info.device)
    }

    /// What the account calls a device; its id if it does not know it.
    pub fn device_name(&self, device: DeviceId) -> String {
        let log = self.log();
        log.device(device).map_or_else(|| device.to_string(), |device| device.name.clone())
    }

    /// The newest snapshots of each lineage; their bodies are on their way.
    fn newest_of_each(&self) -> Result<Vec<(LineageInfo, Vec<StoredSnapshot>)>, ArchiveError> {
        let overview = self.overview.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (mut infos, mut known) = match overview {
            Some(overview) => (overview.lineages, overview.newest),
            None => (self.source.lineages()?, Vec::new()),
        };
        infos.retain(|info| !self.is_tag_lineage(info));
        let mut all = Vec::new();
        // Of several, one will be chosen by what their heads say.
        let count = if infos.len() == 1 { self.snapshots_at_once } else { 1 };
        for info in infos {
            let is_it = |(lineage, newest): &(LineageId, Vec<StoredSnapshot>)| {
                *lineage == info.lineage && newest.len() as u64 >= info.snapshots.min(count as u64)
            };
            let newest = match known.iter().position(is_it) {
                Some(place) => known.swap_remove(place).1,
                None => self.source.snapshots(info.lineage, u64::MAX, count)?,
            };
            all.push((info, newest));
        }
        let stored = all.iter().flat_map(|(_, newest)| newest);
        let headers = stored.filter_map(|stored| Header::decode(&stored.header).ok());
        self.reader.prefetch(headers.map(|header| Want::Body(header.body)));
        Ok(all)
    }

    /// The snapshots of a lineage, newest first.
    pub fn snapshots(&self, lineage: LineageId) -> Snapshots<'_> {
        Snapshots { archive: self, lineage, before: u64::MAX, page: Vec::new().into_iter(), is_done: false }
    }

    /// A snapshot's tree.
    pub fn view(&self, snapshot: &OpenedSnapshot) -> View {
        View::new(Arc::clone(&self.reader), snapshot.header.root)
    }

    /// Checks who signed a header.
    pub fn verify(&self, stored: &StoredSnapshot) -> Result<Header, ArchiveError> {
        let header =
            Header::decode(&stored.header).map_err(backstore_protocol::snapshot::HeaderError::from)?;
        let log = self.log();
        let device = log.device(header.device).ok_or(ArchiveError::UnknownDevice(header.device))?;
        if header.account != self.account {
            return Err(backstore_protocol::snapshot::HeaderError::Signature(header.device).into());
        }
        header.verify(&stored.header, &device.sign)?;
        Ok(header)
    }

    /// Verifies and opens a snapshot.
    pub fn open_snapshot(&self, stored: &StoredSnapshot) -> Result<OpenedSnapshot, ArchiveError> {
        let header = self.verify(stored)?;
        self.open_verified(stored, header)
    }

    fn open_verified(&self, stored: &StoredSnapshot, header: Header) -> Result<OpenedSnapshot, ArchiveError> {
        let bytes = self.reader.body(&header.body)?;
        let body = Body::decode(&bytes).map_err(backstore_vfs::objects::ReadError::from)?;
        let (id, received_at, is_damaged) = (stored.id, stored.received_at, stored.is_damaged);
        Ok(OpenedSnapshot { id, header, body, received_at, is_damaged })
    }
}

impl Iterator for Snapshots<'_> {
    type Item = Result<StoredSnapshot, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(stored) = self.page.next() {
            return Some(Ok(stored));
        }
        if self.is_done {
            return None;
        }
        let page = match self.archive.source.snapshots(self.lineage, self.before, PAGE) {
            Ok(page) => page,
            Err(error) => {
                self.is_done = true;
                return Some(Err(error.into()));
            }
        };
        let last = page.last().map(|stored| Header::decode(&stored.header));
        match last {
            Some(Ok(header)) if header.sequence < self.before => self.before = header.sequence,
            Some(Ok(_)) | None => self.is_done = true,
            Some(Err(error)) => {
                self.is_done = true;
                return Some(Err(backstore_protocol::snapshot::HeaderError::from(error).into()));
            }
        }
        self.page = page.into_iter();
        self.page.next().map(Ok)
    }
}
