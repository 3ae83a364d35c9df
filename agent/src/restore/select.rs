//! Which set, which version, which paths: what a command line means in the archive that there is.

use std::path::{Path, PathBuf};

use backstore_platform::mounts::MountTable;
use backstore_platform::paths::{Printable, absolute, to_archive};
use backstore_protocol::path::ArchivePath;
use backstore_vfs::view::View;
use chrono::{LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

use super::RestoreError;
use super::mounted::{Mounted, split, time_and_number};
use crate::archive::{Archive, ArchiveError, LineageSummary, Moment, OpenedSnapshot};

/// What somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Name of the set.
    pub set: Option<String>,
    /// Which version.
    pub at: Option<String>,
    /// Paths as they were typed; none for everything.
    pub paths: Vec<PathBuf>,
}

/// What that is.
#[derive(Debug)]
pub struct Selected {
    /// The set.
    pub lineage: LineageSummary,
    /// The version.
    pub snapshot: OpenedSnapshot,
    /// The paths, all of which are there; without any asked for, the roots.
    pub paths: Vec<ArchivePath>,
    /// Everything the version has.
    pub is_everything: bool,
    /// The set's time zone.
    pub zone: Tz,
}

impl Selected {
    /// The version's date, as it comes into names of files.
    pub fn date(&self) -> String {
        date(self.snapshot.header.started_at, self.zone, "%Y-%m-%d %H-%M-%S")
    }

    /// The version's date for people.
    pub fn shown_date(&self) -> String {
        shown_date(self.snapshot.header.started_at, self.zone)
    }
}

/// A typed path, and what it means if it was pasted from a mount.
struct Typed {
    literal: ArchivePath,
    mounted: Option<(Mounted, ArchivePath)>,
}

/// Finds what is asked for. `now` is in milliseconds since 1970.
pub fn select(archive: &Archive, request: &Request, now: i64) -> Result<Selected, RestoreError> {
    let mounts = MountTable::read().unwrap_or_default();
    let typed: Vec<Typed> =
        request.paths.iter().map(|path| read_path(path, &mounts)).collect::<Result<_, _>>()?;
    let lineage = choose_set(archive, request.set.as_deref(), &typed)?;
    let zone: Tz = lineage.head.body.zone.parse().unwrap_or(Tz::UTC);
    let roots = roots(&lineage.head)?;
    let (paths, version) = meant(&typed, &roots)?;
    let snapshot = match (&request.at, version) {
        (Some(at), Some(version)) if *at != version => {
            return Err(RestoreError::Usage(format!(
                "a path is of the version {version}, and --at says {at}: leave one of them out"
            )));
        }
        (_, Some(version)) => named_version(archive, &lineage, &version, zone)?,
        (Some(at), None) => version_at(archive, &lineage, at, zone, now)?,
        (None, None) => version_at(archive, &lineage, "latest", zone, now)?,
    };
    let mut selected = Selected { lineage, snapshot, paths, is_everything: false, zone };
    let view = archive.view(&selected.snapshot);
    if selected.paths.is_empty() || selected.paths.iter().any(|path| path.parent().is_none()) {
        selected.is_everything = true;
        selected.paths = self::roots(&selected.snapshot)?;
    } else {
        selected.paths.iter().try_for_each(|path| check_there(&view, path, &selected))?;
    }
    Ok(selected)
}

fn read_path(path: &Path, mounts: &MountTable) -> Result<Typed, RestoreError> {
    let full = absolute(path).map_err(|source| RestoreError::Target { path: path.to_owned(), source })?;
    let mounted = split(&full, mounts)
        .map(|mounted| to_archive(&mounted.path).map(|path| (mounted, path)))
        .transpose()?;
    Ok(Typed { literal: to_archive(&full)?, mounted })
}

fn roots(snapshot: &OpenedSnapshot) -> Result<Vec<ArchivePath>, RestoreError> {
    let root = |joined: &Vec<u8>| ArchivePath::from_joined(joined);
    let roots: Result<Vec<_>, _> = snapshot.body.roots.iter().map(root).collect();
    Ok(roots.map_err(backstore_vfs::objects::ReadError::from)?)
}

/// The set by its name; else the one that has the paths; else the only one. Of this computer, if it has any.
fn choose_set(
    archive: &Archive,
    name: Option<&str>,
    typed: &[Typed],
) -> Result<LineageSummary, RestoreError> {
    let all = archive.lineages()?;
    if all.is_empty() {
        return Err(ArchiveError::Empty.into());
    }
    let names = |sets: &[LineageSummary]| {
        let name = |set: &LineageSummary| format!("{} (of {})", set.head.body.set, set.device_name);
        sets.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let there = names(&all);
    let mut fitting = all;
    if let Some(name) = name {
        fitting.retain(|set| set.head.body.set == name);
        if fitting.is_empty() {
            return Err(RestoreError::NoSuchSet { name: name.to_owned(), there });
        }
    }
    if fitting.iter().any(|set| set.head.header.device == archive.device) {
        fitting.retain(|set| set.head.header.device == archive.device);
    }
    if fitting.len() > 1 && !typed.is_empty() {
        let mut having = Vec::new();
        for set in &fitting {
            let roots = roots(&set.head)?;
            let has =
                |path: &ArchivePath| roots.iter().any(|root| root.contains(path) || path.contains(root));
            let has_typed = |typed: &Typed| {
                has(&typed.literal) || typed.mounted.as_ref().is_some_and(|(_, path)| has(path))
            };
            if typed.iter().all(has_typed) {
                having.push(set.clone());
            }
        }
        if !having.is_empty() {
            fitting = having;
        }
    }
    match &mut fitting[..] {
        [_] => Ok(fitting.remove(0)),
        _ => Err(RestoreError::WhichSet { names: names(&fitting) }),
    }
}

/// The paths in the version, and the version that those from a mount name. A path that lies in a root is what it says, whatever its names look like.
fn meant(typed: &[Typed], roots: &[ArchivePath]) -> Result<(Vec<ArchivePath>, Option<String>), RestoreError> {
    let mut version: Option<String> = None;
    let mut paths = Vec::new();
    for typed in typed {
        let is_literal = roots.iter().any(|root| root.contains(&typed.literal));
        let Some((mounted, path)) = typed.mounted.as_ref().filter(|_| !is_literal) else {
            paths.push(typed.literal.clone());
            continue;
        };
        if let Some(other) = version.as_ref().filter(|version| **version != mounted.version) {
            return Err(RestoreError::Usage(format!(
                "the paths are of two versions, {other} and {}: restore them one after the other",
                mounted.version
            )));
        }
        version = Some(mounted.version.clone());
        paths.push(path.clone());
    }
    Ok((paths, version))
}

/// The newest complete version at or before a moment; if there is none, the newest partial one.
fn version_at(
    archive: &Archive,
    lineage: &LineageSummary,
    text: &str,
    zone: Tz,
    now: i64,
) -> Result<OpenedSnapshot, RestoreError> {
    let when = Moment::parse(text, zone, now).map_err(ArchiveError::from)?;
    let mut partial = None;
    let mut oldest = lineage.head.header.started_at;
    for stored in archive.snapshots(lineage.info.lineage) {
        let stored = stored?;
        let header = archive.verify(&stored)?;
        oldest = header.started_at;
        if !when.fits(&stored.id, header.started_at, stored.received_at) {
            continue;
        }
        if !header.is_partial {
            return Ok(archive.open_snapshot(&stored)?);
        }
        partial = partial.or(Some(stored));
    }
    match partial {
        Some(stored) => Ok(archive.open_snapshot(&stored)?),
        None => Err(no_such_version(lineage, &when.to_string(), oldest, zone)),
    }
}

/// The version that a mount calls so.
fn named_version(
    archive: &Archive,
    lineage: &LineageSummary,
    name: &str,
    zone: Tz,
) -> Result<OpenedSnapshot, RestoreError> {
    if name == "latest" {
        return version_at(archive, lineage, name, zone, 0);
    }
    let (time, number) = time_and_number(name);
    let second = second_of(time, zone);
    let mut same = Vec::new();
    let mut oldest = lineage.head.header.started_at;
    for stored in archive.snapshots(lineage.info.lineage) {
        let stored = stored?;
        let header = archive.verify(&stored)?;
        oldest = header.started_at;
        if Some(header.started_at.div_euclid(1000)) == second {
            same.push(stored);
        }
    }
    // Newest first here, and counted from the oldest.
    let at = same.len().checked_sub(number as usize);
    match at.and_then(|at| same.get(at)) {
        Some(stored) => Ok(archive.open_snapshot(stored)?),
        None => Err(no_such_version(lineage, &format!("called {name}"), oldest, zone)),
    }
}

/// The second since 1970 that a mount gives this name.
fn second_of(name: &str, zone: Tz) -> Option<i64> {
    if let Some(seconds) = name.strip_prefix('@') {
        return seconds.parse().ok();
    }
    let parse = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d_%H-%M-%S").ok();
    if let Some(time) = parse(name) {
        return zone.from_local_datetime(&time).earliest().map(|time| time.timestamp());
    }
    let is_first = name.get(13..14)? == "A";
    let time = parse(&format!("{}{}", name.get(..13)?, name.get(14..)?))?;
    match zone.from_local_datetime(&time) {
        LocalResult::Ambiguous(first, second) => Some(if is_first { first } else { second }.timestamp()),
        LocalResult::Single(_) | LocalResult::None => None,
    }
}

fn no_such_version(lineage: &LineageSummary, when: &str, oldest: i64, zone: Tz) -> RestoreError {
    RestoreError::NoSuchVersion {
        set: lineage.head.body.set.clone(),
        when: when.to_owned(),
        oldest: shown_date(oldest, zone),
        newest: shown_date(lineage.head.header.started_at, zone),
    }
}

fn shown_date(milliseconds: i64, zone: Tz) -> String {
    date(milliseconds, zone, "%Y-%m-%d %H:%M:%S")
}

fn date(milliseconds: i64, zone: Tz, form: &str) -> String {
    match Utc.timestamp_millis_opt(milliseconds).single() {
        Some(time) => time.with_timezone(&zone).format(form).to_string(),
        None => format!("@{}", milliseconds.div_euclid(1000)),
    }
}

/// Says what is missing of a path, and what there is instead.
fn check_there(view: &View, path: &ArchivePath, selected: &Selected) -> Result<(), RestoreError> {
    if view.resolve(path)?.is_some() {
        return Ok(());
    }
    let mut missing = path.clone();
    let within = loop {
        let Some(parent) = missing.parent() else { break missing.clone() };
        if view.resolve(&parent)?.is_some_and(|entry| entry.kind.is_directory()) {
            break parent;
        }
        missing = parent;
    };
    let names = view.children(&within)?.take(NAMES_COMPARED_MAX).filter_map(Result::ok).map(|(name, _)| name);
    let nearest = nearest(missing.name(), names);
    let partial = if selected.snapshot.header.is_partial {
        "; the version is partial, a later one may have it"
    } else {
        ""
    };
    Err(RestoreError::NoSuchPath {
        version: selected.shown_date(),
        wanted: Printable(path.to_string().as_bytes()).to_string(),
        missing: Printable(missing.name()).to_string(),
        within: Printable(within.to_string().as_bytes()).to_string(),
        nearest: match &nearest[..] {
            [] => partial.to_owned(),
            nearest => format!("; nearest are {}{partial}", nearest.join(", ")),
        },
    })
}

/// Names of a directory that a missing one is compared with.
const NAMES_COMPARED_MAX: usize = 20_000;
const NEAREST_MAX: usize = 3;

/// The names most like a missing one, best first.
fn nearest(missing: &[u8], names: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    let wanted = lower(missing);
    let mut found: Vec<(usize, Vec<u8>)> = names
        .filter_map(|name| {
            let other = lower(&name);
            let is_part = other.contains(&wanted) || wanted.contains(&other);
            let far = distance(&wanted, &other);
            (is_part || far <= 1 + wanted.chars().count() / 3).then_some((far, name))
        })
        .collect();
    found.sort();
    found.iter().take(NEAREST_MAX).map(|(_, name)| format!("{:?}", Printable(name).to_string())).collect()
}

/// Letters that have to be changed, added or removed; names beyond all bounds are simply far apart.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 80 || b.len() > 80 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let check = |missing: &str, expected: &[&str]| {
            let names = ["Documents", "documents.old", "Downloads", "x", "report.pdf"];
            let found = nearest(missing.as_bytes(), names.iter().map(|name| name.as_bytes().to_vec()));
            assert_eq!(found, expected.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>());
        };
        check("documents", &["Documents", "documents.old"]);
        check("Documnets", &["Documents"]);
        check("report", &["report.pdf"]);
        check("zebra", &[]);
    }

    #[test]
    fn names_of_versions_are_moments() {
        let zone: Tz = "Europe/Berlin".parse().unwrap();
        let check = |name: &str, expected: Option<&str>| {
            let expected =
                expected.map(|text| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp());
            assert_eq!(second_of(name, zone), expected, "{name}");
        };
        check("2026-11-22_14-30-05", Some("2026-11-22T14:30:05+01:00"));
        check("2026-10-25_02A-30-00", Some("2026-10-25T02:30:00+02:00"));
        check("2026-10-25_02B-30-00", Some("2026-10-25T02:30:00+01:00"));
        check("@5", Some("1970-01-01T00:00:05Z"));
        for name in ["", "latest", "2026-11-22_14A-30-05", "2026-13-22_14-30-05", "@x", "2026-11-22_1é-30-05"]
        {
            check(name, None);
        }
    }
}
