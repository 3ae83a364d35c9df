//! The versions of a backup set by the names that a mount gives them, and which of them is meant.

use std::io;

use backstore_protocol::ids::{DeviceId, ObjectId, SnapshotId};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::snapshot::Body;
use backstore_protocol::tree::Root;
use backstore_vfs::model::{FolderOptions, Snapshots, Version};
use backstore_vfs::moment::{Moment, is_version_name};
use backstore_vfs::objects::{ReadError, Want};
use backstore_vfs::view::View;
use chrono_tz::Tz;

use super::ReadingError;
use crate::archive::{Archive, ArchiveError, LineageSummary, Lineages};

/// A version as its verified header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its name: that of its folder in a mount.
    pub name: String,
    /// Its snapshot.
    pub id: SnapshotId,
    /// Its number in the lineage.
    pub sequence: u64,
    /// The snapshot before it.
    pub previous: SnapshotId,
    /// Who made it.
    pub device: DeviceId,
    /// Its tree.
    pub root: Root,
    /// Its body.
    pub body: ObjectId,
    /// When it began, by the device's clock: milliseconds since 1970.
    pub started_at: i64,
    /// When it was complete, likewise.
    pub finished_at: i64,
    /// When it arrived, by the destination's clock, likewise.
    pub received_at: i64,
    /// Entries of its tree.
    pub entries: u64,
    /// Sizes of its files.
    pub bytes: u64,
    /// It was made before all was backed up.
    pub is_partial: bool,
    /// The destination knows that something of it is damaged.
    pub is_damaged: bool,
}

/// The versions of one set.
pub struct Versions<'a> {
    /// The archive they are in.
    pub archive: &'a Archive,
    /// The set's lineage.
    pub lineage: LineageSummary,
    /// The time zone its dates are shown in: that of its newest version.
    pub zone: Tz,
}

/// Bodies asked for at once.
const BODIES_AT_ONCE: usize = 64;

impl<'a> Versions<'a> {
    /// Of a lineage.
    pub fn new(archive: &'a Archive, lineage: LineageSummary) -> Self {
        let zone = lineage.head.body.zone.parse().unwrap_or(Tz::UTC);
        Self { archive, lineage, zone }
    }

    /// Of the set that is meant: by its name, by its device, by the paths that it selects, or the only one.
    ///
    /// Sets of this device come before those of others. For each path there is a list of what it may mean.
    pub fn choose(
        archive: &'a Archive,
        set: Option<&str>,
        device: Option<&str>,
        paths: &[Vec<&ArchivePath>],
    ) -> Result<Self, ReadingError> {
        Self::choose_from(archive, &mut archive.lineages()?, set, device, paths)
    }

    /// The same, of these. What is not among them may be among those that are damaged: then the damage is the error, and is taken out.
    pub fn choose_from(
        archive: &'a Archive,
        all: &mut Lineages,
        set: Option<&str>,
        device: Option<&str>,
        paths: &[Vec<&ArchivePath>],
    ) -> Result<Self, ReadingError> {
        let chosen = Self::choose_readable(archive, &all.readable, set, device, paths);
        match (chosen, all.damaged.pop()) {
            (
                Err(ReadingError::NoSuchSet { .. } | ReadingError::Archive(ArchiveError::Empty)),
                Some(damage),
            ) => Err(damage.into()),
            (chosen, _) => chosen,
        }
    }

    fn choose_readable(
        archive: &'a Archive,
        all: &[LineageSummary],
        set: Option<&str>,
        device: Option<&str>,
        paths: &[Vec<&ArchivePath>],
    ) -> Result<Self, ReadingError> {
        if all.is_empty() {
            return Err(ArchiveError::Empty.into());
        }
        let is_set = |lineage: &LineageSummary| set.is_none_or(|set| lineage.head.body.set == set);
        let is_device = |lineage: &LineageSummary| match device {
            Some(name) => lineage.device_name == name || lineage.head.header.device.to_string() == name,
            None => lineage.head.header.device == archive.device,
        };
        let mut fitting: Vec<_> =
            all.iter().filter(|lineage| is_set(lineage) && is_device(lineage)).collect();
        if fitting.is_empty() && device.is_none() {
            fitting = all.iter().filter(|lineage| is_set(lineage)).collect();
        }
        if fitting.len() > 1 && !paths.is_empty() {
            let has = |lineage: &LineageSummary| {
                paths.iter().all(|meanings| meanings.iter().any(|path| selects(lineage, path)))
            };
            let having: Vec<_> = fitting.iter().copied().filter(|lineage| has(lineage)).collect();
            fitting = if having.is_empty() { fitting } else { having };
        }
        match fitting[..] {
            [one] => Ok(Self::new(archive, one.clone())),
            [] => {
                let asked = match (set, device) {
                    (Some(set), Some(device)) => format!("{set:?} of device {device:?}"),
                    (Some(set), None) => format!("{set:?}"),
                    (None, device) => format!("of device {:?}", device.unwrap_or_default()),
                };
                Err(ReadingError::NoSuchSet { asked, known: names(all.iter()) })
            }
            _ => Err(ReadingError::WhichSet { known: names(fitting.into_iter()) }),
        }
    }

    /// The newest `count` of them, newest first.
    pub fn newest(&self, count: usize) -> Result<Vec<VersionInfo>, ReadingError> {
        let mut versions: Vec<VersionInfo> = Vec::new();
        for stored in self.archive.snapshots(self.lineage.info.lineage) {
            let stored = stored?;
            let header = self.archive.verify(&stored)?;
            // Names count those of the same second from the oldest on, so all of a second are needed.
            let second = |milliseconds: i64| milliseconds.div_euclid(1000);
            let is_enough = versions.len() >= count
                && versions.last().is_none_or(|last| second(last.started_at) != second(header.started_at));
            if is_enough {
                break;
            }
            versions.push(VersionInfo {
                name: String::new(),
                id: stored.id,
                sequence: header.sequence,
                previous: header.previous,
                device: header.device,
                root: header.root,
                body: header.body,
                started_at: header.started_at,
                finished_at: header.finished_at,
                received_at: stored.received_at,
                entries: header.entries,
                bytes: header.bytes,
                is_partial: header.is_partial,
                is_damaged: stored.is_damaged,
            });
        }
        self.name(&mut versions).map_err(ReadingError::Thread)?;
        versions.truncate(count);
        Ok(versions)
    }

    /// All of them, newest first.
    pub fn all(&self) -> Result<Vec<VersionInfo>, ReadingError> {
        self.newest(usize::MAX)
    }

    /// The version that `text` means; without it the newest complete one, or the newest while there is none.
    pub fn at(&self, text: Option<&str>, now: i64) -> Result<VersionInfo, ReadingError> {
        let text = text.map_or("latest", str::trim);
        let is_latest = text.eq_ignore_ascii_case("latest");
        if is_latest
            && let [newest] = &self.newest(1)?[..]
            && !newest.is_partial
        {
            return Ok(newest.clone());
        }
        let mut all = self.all()?;
        let found = if is_latest {
            all.iter().position(|version| !version.is_partial).or(if all.is_empty() { None } else { Some(0) })
        } else {
            let by_name = |version: &VersionInfo| {
                version.name == text || version.name.strip_suffix("_partial") == Some(text)
            };
            match all.iter().position(by_name) {
                Some(at) => Some(at),
                None if is_version_name(text) && Moment::parse(text, self.zone, now).is_err() => None,
                None => {
                    let moment = Moment::parse(text, self.zone, now)?;
                    all.iter()
                        .position(|version| moment.fits(&version.id, version.started_at, version.received_at))
                }
            }
        };
        match found {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(ReadingError::NoSuchVersion {
                set: self.lineage.head.body.set.clone(),
                when: if is_latest { "yet".to_owned() } else { format!("that {text:?} means") },
                there_are: extent(&all),
            }),
        }
    }

    /// A version's tree.
    pub fn view(&self, version: &VersionInfo) -> View {
        View::new(std::sync::Arc::clone(&self.archive.reader), version.root)
    }

    /// A version's body.
    pub fn body(&self, version: &VersionInfo) -> Result<Body, ReadingError> {
        let bytes = self.archive.reader.body(&version.body)?;
        Ok(Body::decode(&bytes).map_err(ReadError::from)?)
    }

    /// The bodies of versions, in their order, many of them fetched at once.
    pub fn bodies(&self, versions: &[VersionInfo]) -> impl Iterator<Item = Result<Body, ReadingError>> {
        versions.chunks(BODIES_AT_ONCE).flat_map(|some| {
            self.archive.reader.prefetch(some.iter().map(|version| Want::Body(version.body)));
            some.iter().map(|version| self.body(version))
        })
    }

    /// The name of the device that made a version.
    pub fn device_name(&self, version: &VersionInfo) -> String {
        self.archive.device_name(version.device)
    }

    /// Asks the mount's own model for the names, so that they are the same there and here.
    fn name(&self, versions: &mut [VersionInfo]) -> io::Result<()> {
        let model = Snapshots::new(&self.archive.reader, FolderOptions::default())?;
        let zone = self.zone.name();
        model.set_versions(versions.iter().map(|version| self.model(version, zone)).collect());
        versions.sort_by_key(|version| std::cmp::Reverse(version.sequence));
        for (version, name) in versions.iter_mut().zip(model.version_names()) {
            version.name = name;
        }
        Ok(())
    }

    /// A version as a mount shows it.
    pub fn model(&self, version: &VersionInfo, zone: &str) -> Version {
        Version {
            id: version.id,
            lineage: self.lineage.info.lineage,
            sequence: version.sequence,
            started_at: version.started_at,
            received_at: version.received_at,
            zone: zone.into(),
            root: version.root,
            is_partial: version.is_partial,
            entries: version.entries,
            bytes: version.bytes,
            // They are in the body, and nothing here depends on them.
            tags: Box::default(),
        }
    }
}

fn selects(lineage: &LineageSummary, path: &ArchivePath) -> bool {
    let roots = lineage.head.body.roots.iter().filter_map(|root| ArchivePath::from_joined(root).ok());
    roots.into_iter().any(|root| root.contains(path) || path.contains(&root))
}

fn names<'a>(lineages: impl Iterator<Item = &'a LineageSummary>) -> String {
    let name = |lineage: &LineageSummary| format!("{} (of {})", lineage.head.body.set, lineage.device_name);
    lineages.map(name).collect::<Vec<_>>().join(", ")
}

fn extent(newest_first: &[VersionInfo]) -> String {
    match newest_first {
        [] => "it has none".to_owned(),
        [one] => format!("it has {}", one.name),
        [newest, .., oldest] => {
            format!("it has {} from {} to {}", newest_first.len(), oldest.name, newest.name)
        }
    }
}
