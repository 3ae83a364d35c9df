//! Which set, which version, which paths: what a command line means in the archive that there is.

use std::path::PathBuf;
use std::sync::Arc;

use backstore_platform::paths::Printable;
use backstore_protocol::path::ArchivePath;
use backstore_protocol::snapshot::Body;
use backstore_vfs::view::View;
use chrono::{TimeZone, Utc};
use chrono_tz::Tz;

use super::RestoreError;
use crate::archive::{Archive, LineageSummary};
use crate::reading::{Place, ReadingError, VersionInfo, Versions, missing};

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
    pub version: VersionInfo,
    /// Its body.
    pub body: Body,
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
        self.date_as("%Y-%m-%d %H-%M-%S")
    }

    /// The version's date for people.
    pub fn shown_date(&self) -> String {
        self.date_as("%Y-%m-%d %H:%M:%S")
    }

    fn date_as(&self, form: &str) -> String {
        match Utc.timestamp_millis_opt(self.version.started_at).single() {
            Some(time) => time.with_timezone(&self.zone).format(form).to_string(),
            None => format!("@{}", self.version.started_at.div_euclid(1000)),
        }
    }

    /// The version's tree.
    pub fn view(&self, archive: &Archive) -> View {
        View::new(Arc::clone(&archive.reader), self.version.root)
    }
}

/// Finds what is asked for. `now` is in milliseconds since 1970.
pub fn select(archive: &Archive, request: &Request, now: i64) -> Result<Selected, RestoreError> {
    let places: Vec<Place> = request.paths.iter().map(|path| Place::parse(path)).collect::<Result<_, _>>()?;
    let meanings: Vec<Vec<&ArchivePath>> = places.iter().map(|place| place.meanings().collect()).collect();
    let versions = Versions::choose(archive, request.set.as_deref(), None, &meanings)?;
    let (paths, named) = meant(&places, &roots(&versions.lineage.head.body)?)?;
    let at = match (&request.at, &named) {
        (Some(at), Some(named)) if at != named => {
            return Err(RestoreError::Usage(format!(
                "a path is of the version {named}, and --at says {at}: leave one of them out"
            )));
        }
        (at, named) => named.as_deref().or(at.as_deref()),
    };
    let version = versions.at(at, now)?;
    let body = versions.body(&version)?;
    let (lineage, zone) = (versions.lineage, versions.zone);
    let mut selected = Selected { lineage, version, body, paths, is_everything: false, zone };
    if selected.paths.is_empty() || selected.paths.iter().any(|path| path.parent().is_none()) {
        selected.is_everything = true;
        selected.paths = roots(&selected.body)?;
    } else {
        let view = selected.view(archive);
        selected.paths.iter().try_for_each(|path| check_there(&view, path, &selected))?;
    }
    Ok(selected)
}

fn roots(body: &Body) -> Result<Vec<ArchivePath>, RestoreError> {
    let root = |joined: &Vec<u8>| ArchivePath::from_joined(joined);
    let roots: Result<Vec<_>, _> = body.roots.iter().map(root).collect();
    Ok(roots.map_err(backstore_vfs::objects::ReadError::from)?)
}

/// The paths in the version, and the version that those from a mount name. A path that lies in a root is what it says, whatever its names look like.
fn meant(
    places: &[Place],
    roots: &[ArchivePath],
) -> Result<(Vec<ArchivePath>, Option<String>), RestoreError> {
    let mut version: Option<&String> = None;
    let mut paths = Vec::new();
    for place in places {
        let is_literal = roots.iter().any(|root| root.contains(&place.path));
        let place = place.pasted.as_deref().filter(|_| !is_literal).unwrap_or(place);
        if let (Some(one), Some(other)) = (version, &place.version)
            && one != other
        {
            return Err(RestoreError::Usage(format!(
                "the paths are of two versions, {one} and {other}: restore them one after the other"
            )));
        }
        version = version.or(place.version.as_ref());
        paths.push(place.path.clone());
    }
    Ok((paths, version.cloned()))
}

/// Says what is missing of a path, and what there is instead.
fn check_there(view: &View, path: &ArchivePath, selected: &Selected) -> Result<(), RestoreError> {
    if view.resolve(path)?.is_some() {
        return Ok(());
    }
    let mut nearest = missing(view, path)?;
    if selected.version.is_partial {
        nearest.push_str("; the version is partial, a later one may have it");
    }
    Err(ReadingError::NoSuchPath {
        path: Printable(path.to_string().as_bytes()).to_string(),
        version: selected.version.name.clone(),
        nearest,
    }
    .into())
}
