//! The backup sets that a mount shows: one at its top from the start, the others when somebody looks into them.
//!
//! One thread waits for what is new, in whichever set: each wait takes one of the few streams that a server gives a client.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::store::LineageInfo;
use backstore_vfs::model::{BackupSet, LinkRoots, OpenSet, Snapshots, Version};

use super::front::Front;
use super::past::{self, Offer};
use super::versions::Versions;
use crate::archive::{Archive, ArchiveError, LineageSummary, Lineages};
use crate::home::Home;
use crate::tags::{Tags, Unread};

/// The sets of an archive.
pub(super) struct Sets {
    archive: Arc<Archive>,
    home: Home,
    model: Arc<Snapshots>,
    front: Arc<Front>,
    /// Absolute links into a set lead to the same place in their own version.
    stays_inside: bool,
    known: Mutex<HashMap<LineageId, LineageSummary>>,
    followed: Mutex<HashMap<LineageId, Arc<Followed>>>,
    tags: Mutex<KnownTags>,
}

/// What was said of tags, and the heads of the lineages that say it.
#[derive(Default)]
struct KnownTags {
    heads: Vec<SnapshotId>,
    tags: Arc<Tags>,
}

/// A set whose versions are shown.
struct Followed {
    versions: Mutex<Versions>,
    /// Takes versions to index.
    offer: Offer,
}

/// How long one wait for new snapshots takes.
const WATCH_PATIENCE: Duration = Duration::from_secs(60);
/// Before the destination is asked again after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Sets {
    /// Shows these sets, each when somebody looks into it.
    pub(super) fn new(
        archive: &Arc<Archive>,
        home: &Home,
        model: &Arc<Snapshots>,
        front: &Arc<Front>,
        stays_inside: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            archive: Arc::clone(archive),
            home: home.clone(),
            model: Arc::clone(model),
            front: Arc::clone(front),
            stays_inside,
            known: Mutex::default(),
            followed: Mutex::default(),
            tags: Mutex::default(),
        })
    }

    /// Shows `sets` with these.
    pub(super) fn show(self: &Arc<Self>, summaries: Vec<LineageSummary>) {
        let sets = summaries.iter().map(|summary| backup_set(summary, self.stays_inside)).collect();
        let summaries = summaries.into_iter().map(|summary| (summary.info.lineage, summary));
        lock(&self.known).extend(summaries);
        let all = Arc::clone(self);
        let open: OpenSet = Arc::new(move |lineage| all.open(lineage).map_err(|error| Arc::new(error) as _));
        self.model.set_sets(sets, &open);
        self.front.made_up_changed();
    }

    /// Follows a set whose first versions are shown.
    pub(super) fn follow(self: &Arc<Self>, lineage: LineageId, versions: Versions) -> io::Result<()> {
        let offer = past::start(&self.home, &self.archive, &self.model, &self.front, lineage)?;
        let followed = Arc::new(Followed { versions: Mutex::new(versions), offer });
        lock(&self.followed).insert(lineage, Arc::clone(&followed));
        let all = Arc::clone(self);
        thread::Builder::new().name("older".into()).spawn(move || {
            let (mut versions, show) = (lock(&followed.versions), all.shower(lineage, &followed));
            // What was said while the first of them were read.
            versions.show_tags(&all.tags(), &show);
            let older = versions.read_older(&show);
            drop(versions);
            if let Err(error) = older {
                // Whenever there is something new, that is tried again.
                tracing::warn!(%error, "older versions are not shown yet");
            }
        })?;
        Ok(())
    }

    /// Makes the versions of a set known, since somebody looks into it.
    fn open(self: &Arc<Self>, lineage: LineageId) -> Result<(), ArchiveError> {
        let summary = lock(&self.known).get(&lineage).cloned();
        let Some(summary) = summary.filter(|_| !lock(&self.followed).contains_key(&lineage)) else {
            return Ok(());
        };
        let mut versions = Versions::new(&self.archive, &self.home, &summary, self.tags());
        self.front.set_versions_of(lineage, versions.first_page()?);
        self.follow(lineage, versions).map_err(ArchiveError::Threads)
    }

    /// What shows the versions of a set.
    fn shower(&self, lineage: LineageId, followed: &Followed) -> impl Fn(Vec<Version>, bool) {
        let (front, offer) = (Arc::clone(&self.front), followed.offer.clone());
        move |versions, is_all| {
            if is_all {
                // Whoever took them may have ended.
                let _ = offer.send(versions.clone());
            }
            front.set_versions_of(lineage, versions);
        }
    }

    /// Shows what comes and goes, until the process ends.
    pub(super) fn watch(self: &Arc<Self>) {
        // No count is this one, so the first answer comes at once: tags were not read yet.
        let mut seen = u64::MAX;
        loop {
            let count = self.archive.source.watch(seen, WATCH_PATIENCE).map_err(ArchiveError::from);
            match count
                .and_then(|count| if count == seen { Ok(count) } else { self.refresh().map(|()| count) })
            {
                Ok(count) => seen = count,
                Err(error) => {
                    tracing::warn!(%error, "the list of versions stays as it is for now");
                    thread::sleep(RETRY_AFTER);
                }
            }
        }
    }

    /// What is known of tags.
    fn tags(&self) -> Arc<Tags> {
        Arc::clone(&lock(&self.tags).tags)
    }

    /// Reads what was said of tags, if a device has said more. Nobody who looks into a set waits for it.
    fn read_tags(&self, lineages: &[LineageInfo]) -> Result<(), ArchiveError> {
        let heads: Vec<_> = lineages.iter().map(|info| info.head).collect();
        if lock(&self.tags).heads == heads {
            return Ok(());
        }
        let log = self.archive.log();
        if lineages.iter().any(|info| log.device(info.device).is_none()) {
            self.archive.renew_log(&self.home)?;
        }
        let (tags, unread) = Tags::read(&self.archive, lineages)?;
        for Unread { device, has_older, source } in unread {
            tracing::warn!(device, has_older, error = %source, "what a device said of tags is not all shown");
        }
        *lock(&self.tags) = KnownTags { heads, tags: Arc::new(tags) };
        Ok(())
    }

    /// Versions first: they do not wait for tags, whatever becomes of these.
    fn refresh(self: &Arc<Self>) -> Result<(), ArchiveError> {
        let all = self.archive.source.lineages()?;
        let (saying, infos): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|info| self.archive.is_tag_lineage(info));
        let is_new = |lineage: &LineageId| !lock(&self.known).contains_key(lineage);
        if infos.iter().any(|info| is_new(&info.lineage)) {
            self.archive.renew_log(&self.home)?;
            let Lineages { readable, damaged } = self.archive.lineages()?;
            for error in damaged {
                tracing::warn!(%error, "a backup set cannot be shown");
            }
            self.show(readable.into_iter().filter(|summary| is_new(&summary.info.lineage)).collect());
        }
        for (lineage, followed) in self.all_followed() {
            let held = infos.iter().find(|info| info.lineage == lineage).map_or(0, |info| info.snapshots);
            lock(&followed.versions).refresh(held, &self.shower(lineage, &followed))?;
        }
        self.read_tags(&saying)?;
        let tags = self.tags();
        for (lineage, followed) in self.all_followed() {
            lock(&followed.versions).show_tags(&tags, &self.shower(lineage, &followed));
        }
        Ok(())
    }

    fn all_followed(&self) -> Vec<(LineageId, Arc<Followed>)> {
        lock(&self.followed).iter().map(|(lineage, set)| (*lineage, Arc::clone(set))).collect()
    }
}

/// A set as the folder shows it.
pub(super) fn backup_set(summary: &LineageSummary, stays_inside: bool) -> BackupSet {
    let body = &summary.head.body;
    let roots = body.roots.iter().map(|root| &root[..]).filter(|_| stays_inside);
    BackupSet {
        lineage: summary.info.lineage,
        name: body.set.clone(),
        device: summary.device_name.clone(),
        links: LinkRoots::new(roots),
        newest_at: summary.head.header.started_at,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is known of the sets is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
