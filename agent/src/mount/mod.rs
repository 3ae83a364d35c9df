//! Every version of a backup set as one folder, served from its start to its end.
//!
//! [`serve`] mounts and returns when the folder answers; [`Serving::until_unmounted`] stays with it. `sets` decides what is shown and follows what
//! is new, `versions` lists a set's versions, `front` is what shows them, `past` indexes what became of files, `record` remembers what is mounted, so
//! that [`unmount`] can clear up after a process that was killed.

mod background;
mod front;
mod past;
mod record;
mod sets;
mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, thread};

use backstore_platform::machine::Machine;
use backstore_vfs::host::{self, MountError, Unmounted, webdav};
use backstore_vfs::model::{FolderOptions, Snapshots};

use crate::archive::{Archive, ArchiveError, ArchiveOptions, LineageSummary};
use crate::cached::Keep;
use crate::home::{Home, HomeError};
use crate::reading::{self, ReadingError};
use front::Front;
pub use front::Via;
use record::{Record, Records};
use sets::{Sets, backup_set};
use versions::Versions;

/// What is to be mounted, and how.
#[derive(Debug, Clone)]
pub struct MountRequest {
    /// How, and where.
    pub via: Via,
    /// Which backup set; the only one without.
    pub set: Option<String>,
    /// Versions are named by their time in UTC.
    pub utc: bool,
    /// Absolute links into the set lead to the same place in their own version.
    pub stays_inside: bool,
}

/// Why an archive could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountProblem {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is no such set.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// The mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The agent's own files.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A system call failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A folder that is being served.
pub struct Serving {
    front: Arc<Front>,
    /// Removed with the mount.
    record: Record,
    /// What people are told.
    pub text: String,
}

/// The means to end a mount from elsewhere.
#[derive(Clone)]
pub struct Stopper(Arc<Front>);

/// How long a server that is gone is tried: long enough for one that starts again, and short enough for whoever waits for a read.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);

/// Mounts a set of this account's archive. The newest page of its versions is there at once, older ones come while it is used.
///
/// # Errors
///
/// [`MountProblem`]; nothing is left mounted then, and a folder that was made is gone again.
pub fn serve(
    home: &Home,
    machine: &Arc<dyn Machine>,
    request: &MountRequest,
) -> Result<Serving, MountProblem> {
    let records = Records::new(home);
    let Via::Folder { point, .. } = &request.via else {
        return start(home, machine, request, &records, false);
    };
    let was_made = make_point(point)?;
    let served = start(home, machine, request, &records, was_made);
    if served.is_err() && was_made {
        // It is empty, or somebody put something there and keeps it.
        let _ = fs::remove_dir(point);
    }
    served
}

fn start(
    home: &Home,
    machine: &Arc<dyn Machine>,
    request: &MountRequest,
    records: &Records,
    was_made: bool,
) -> Result<Serving, MountProblem> {
    let snapshots_at_once = versions::PAGE;
    let options = ArchiveOptions {
        patience_max: SERVER_PATIENCE,
        snapshots_at_once,
        keep: Keep::All,
        ..ArchiveOptions::read()
    };
    let archive = Arc::new(Archive::open(home, machine, &options)?);
    let mut lineages = archive.lineages()?;
    let chosen = reading::Versions::choose_from(&archive, &mut lineages, request.set.as_deref(), None, &[])?;
    let summary = chosen.lineage;
    let shown = FolderOptions {
        owner: host::this_user(),
        utc: request.utc,
        set: backup_set(&summary, request.stays_inside),
        place: archive.place.clone(),
        ..FolderOptions::default()
    };
    let model = Arc::new(Snapshots::new(&archive.reader, shown).map_err(ArchiveError::Threads)?);
    let mut versions = Versions::new(&archive, home, &summary, Arc::default());
    model.set_versions(versions.first_page()?);
    let front = Arc::new(Front::open(&model, &**machine, &request.via)?);
    let sets = Sets::new(&archive, home, &model, &front, request.stays_inside);
    sets.show(lineages.readable);
    let place = answering(&front)?;
    sets.follow(summary.info.lineage, versions).map_err(ArchiveError::Threads)?;
    let watching = thread::Builder::new().name("versions".into());
    watching.spawn(move || sets.watch()).map_err(ArchiveError::Threads)?;
    let text = text(&front, &place, &summary, &model);
    let record = match &*front {
        Front::Folder(_) => records.add(&place, was_made, None, &text)?,
        Front::Webdav(_, ending) => records.add(&place, false, Some(ending), &text)?,
    };
    Ok(Serving { front, record, text })
}

/// Where it is, once it answers there.
fn answering(front: &Front) -> Result<PathBuf, MountProblem> {
    match front {
        Front::Folder(handle) => {
            let point = handle.mount_point().to_owned();
            let answers = fs::read_dir(&point).and_then(|mut names| names.next().transpose());
            answers.map_err(|source| MountProblem::Io { action: "list", path: point.clone(), source })?;
            Ok(point)
        }
        Front::Webdav(_, ending) => Ok(front::place_of(ending.address).into()),
    }
}

/// What people are told.
fn text(front: &Front, place: &Path, summary: &LineageSummary, model: &Snapshots) -> String {
    let count = summary.info.snapshots;
    let (done, at, how) = match front {
        Front::Folder(handle) => ("mounted", handle.mount_point().display().to_string(), String::new()),
        Front::Webdav(handle, _) => ("served", handle.url(), format!("\n  {}", front::how_to_open(handle))),
    };
    format!(
        "BACKSTORE {done} at {at}: {count} {} of set {}; newest {}; say backstore umount {}{how}",
        if count == 1 { "version" } else { "versions" },
        summary.head.body.set,
        model.version_names().first().map_or("none", String::as_str),
        place.display()
    )
}

/// Makes the mount point if there is nothing; whether it did.
fn make_point(point: &Path) -> Result<bool, MountProblem> {
    match fs::create_dir(point) {
        Ok(()) => Ok(true),
        // Whether it can be used is looked at later: a dead mount cannot even be looked at.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(MountProblem::Io { action: "make", path: point.to_owned(), source }),
    }
}

impl Serving {
    /// Something to end it with.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.front))
    }

    /// Waits until the folder is unmounted, by whomever, and removes what was made for it.
    pub fn until_unmounted(self) {
        self.front.wait();
        self.record.clear();
    }
}

impl Stopper {
    /// Takes the folder away; whether nobody uses it any more.
    pub fn stop(&self) -> bool {
        match self.0.stop() {
            Ok(Unmounted::Clean) => true,
            Ok(Unmounted::Detached) => false,
            Err(error) => {
                tracing::warn!(%error, "the folder stays mounted");
                false
            }
        }
    }
}

/// What people are told of the mount that a process of this home serves.
pub fn text_of(home: &Home, pid: u32) -> Option<String> {
    Records::new(home).text_of(pid)
}

/// How long the serving process is waited for once its mount is gone.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Takes away what is mounted at `point`, also after its process was killed; gives the path without links. A URL is a place too.
///
/// # Errors
///
/// [`MountError::NotMounted`], or [`MountError::Busy`] unless `even_in_use`.
pub fn unmount(home: &Home, point: &Path, even_in_use: bool) -> Result<PathBuf, MountProblem> {
    if let Some(place) = point.to_str().and_then(front::place_in) {
        return unserve(home, place.into());
    }
    let point = host::take_away(point, even_in_use)?;
    // Who uses a detached mount may go on for long.
    let patience = if even_in_use { Duration::ZERO } else { END_PATIENCE };
    Records::new(home).clear(&point, patience);
    Ok(point)
}

/// Where this home serves sets as WebDAV.
pub fn served_places(home: &Home) -> Vec<PathBuf> {
    Records::new(home).endings().iter().map(|ending| front::place_of(ending.address).into()).collect()
}

/// Whether a place is the URL of a server, not a folder.
pub fn is_served_place(place: &Path) -> bool {
    place.to_str().and_then(front::place_in).is_some()
}

/// Ends the server at `place`.
fn unserve(home: &Home, place: PathBuf) -> Result<PathBuf, MountProblem> {
    let records = Records::new(home);
    let endings = records.endings();
    let ending = endings.iter().find(|ending| Path::new(&front::place_of(ending.address)) == place);
    let Some(ending) = ending else { return Err(MountError::NotMounted { path: place }.into()) };
    if let Err(source) = webdav::stop(ending.address, &ending.secret)
        && records.is_alive(&place)
    {
        return Err(MountProblem::Io { action: "end", path: place, source });
    }
    records.clear(&place, END_PATIENCE);
    Ok(place)
}
