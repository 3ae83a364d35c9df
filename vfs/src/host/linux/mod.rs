//! Linux: FUSE through `fuser`, without libfuse.
//!
//! `mount_point` looks where, `system` mounts and unmounts, `filesystem` translates requests into calls of the model, `workers` answer what is not in
//! memory, `alert` keeps the processors awake for them, `push` puts spare bytes into the page cache, `readers` tells who may read.

mod alert;
mod answers;
mod edges;
mod filesystem;
#[cfg(any(test, feature = "test-archive"))]
mod folder;
mod mount_point;
mod page;
mod push;
mod readers;
mod system;
#[cfg(test)]
mod tests;
mod users;
mod workers;

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use std::{fs, io, thread};

use backstore_protocol::ids::LineageId;
use fuser::{INodeNo, Notifier, Session};

#[cfg(any(test, feature = "test-archive"))]
pub use folder::add_folder;

use super::{MountError, MountOptions, Requests, Unmounted};
use crate::model::{Changed, Owner, Snapshots, Version};
use crate::requests::RequestCounts;
use crate::sync::{lock, wait, wait_while};
use filesystem::FuseFilesystem;

/// A mounted folder. Dropping it unmounts.
pub struct MountHandle {
    model: Arc<Snapshots>,
    path: PathBuf,
    /// The device number that files in the mount have.
    device: u64,
    notifier: Notifier,
    requests: Arc<RequestCounts>,
    session: Arc<Served>,
}

/// Whether the session is still served.
#[derive(Default)]
struct Served {
    has_ended: Mutex<bool>,
    ended: Condvar,
}

/// How long the end of a session is waited for once the kernel has let go of the mount.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Mounts `model` at `path`, an empty directory, and returns when it answers there. Nothing is read from the destination for it.
pub fn mount(model: Arc<Snapshots>, path: &Path, options: &MountOptions) -> Result<MountHandle, MountError> {
    let path = mount_point::prepare(path, options.allow_nonempty)?;
    let requests: Arc<RequestCounts> = Arc::default();
    model.set_request_counts(&requests);
    let (pusher, to_push) = push::channel();
    let filesystem = FuseFilesystem::new(&model, options, &requests, pusher).map_err(MountError::Thread)?;
    let session = system::mount(filesystem, &path, options)?;
    let notifier = session.notifier();
    let pages = Arc::new(push::Pages::new(notifier.clone(), &requests));
    let store = Arc::clone(&pages);
    model.set_spare_taker(Arc::new(move |spare| store.store(&spare)));
    let served = to_push.start(pages).and_then(|()| serve(session));
    // The first answer needs nothing but the loops, which run.
    let answer = served.and_then(|session| Ok((session, fs::metadata(&path)?.dev())));
    let (session, device) = answer.map_err(|source| {
        // Whatever is left of the mount goes away with the process.
        let _ = system::unmount(&path);
        MountError::Refused { path: path.clone(), source }
    })?;
    system::read_further_ahead(device);
    Ok(MountHandle { model, path, device, notifier, requests, session })
}

/// Who this process acts as.
pub fn this_user() -> Owner {
    Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// Takes away what any process mounted at `path`, which ends that process's mount; gives the mount point's path without links. One that
/// is in use is an error, unless `even_in_use`: then it is detached. A mount whose process is gone is always taken away.
///
/// # Errors
///
/// [`MountError::NotMounted`] if nothing of ours is mounted there, [`MountError::OfAnotherUser`], [`MountError::Busy`], or what the system
/// says.
pub fn take_away(path: &Path, even_in_use: bool) -> Result<PathBuf, MountError> {
    let path = mount_point::of_mounted(path)?;
    let me = this_user().uid;
    if let Some(uid) = mount_point::user_of(&path).filter(|uid| me != 0 && *uid != me) {
        return Err(MountError::OfAnotherUser { path, uid });
    }
    if even_in_use || mount_point::is_dead(&path) {
        system::detach(&path)?;
    } else if system::unmount_unused(&path)? == system::Use::Busy {
        return Err(MountError::Busy { users: users::of(&path), path });
    }
    Ok(path)
}

/// Serves requests until the mount ends.
fn serve(session: Session<FuseFilesystem>) -> io::Result<Arc<Served>> {
    let served: Arc<Served> = Arc::default();
    let ended = Arc::clone(&served);
    thread::Builder::new().name("fuse".into()).spawn(move || {
        if let Err(error) = session.run() {
            tracing::warn!(%error, "the mount ended with an error");
        }
        *lock(&ended.has_ended) = true;
        ended.ended.notify_all();
    })?;
    Ok(served)
}

impl MountHandle {
    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.path
    }

    /// What the system has asked for so far.
    pub fn requests(&self) -> Requests {
        self.requests.get()
    }

    /// Shows these versions from now on, and tells the kernel what it must forget.
    pub fn set_versions(&self, versions: Vec<Version>) {
        self.show(self.model.set_versions(versions));
    }

    /// The same for the versions of another set.
    pub fn set_versions_of(&self, lineage: LineageId, versions: Vec<Version>) {
        self.show(self.model.set_versions_of(lineage, versions));
    }

    fn show(&self, changed: Changed) {
        for (directory, name) in changed.names {
            self.tell(self.notifier.inval_entry(INodeNo(directory.0), OsStr::new(&name)));
        }
        for directory in changed.directories {
            // Its attributes, and the listing that the kernel keeps.
            self.tell(self.notifier.inval_inode(INodeNo(directory.0), 0, 0));
        }
    }

    /// Tells the kernel that made-up directories list something else.
    pub fn made_up_changed(&self) {
        for directory in self.model.made_up_directories() {
            self.tell(self.notifier.inval_inode(INodeNo(directory.0), 0, 0));
        }
    }

    fn tell(&self, result: io::Result<()>) {
        if let Err(error) = result
            && !self.has_ended()
        {
            tracing::warn!(%error, "the kernel could not be told that the folder has changed");
        }
    }

    /// Takes the folder away. If it is in use, it is detached: see [`Unmounted::Detached`].
    pub fn unmount(&self) -> Result<Unmounted, MountError> {
        // Somebody else may have unmounted it, and mounted something else there.
        let is_there = || fs::metadata(&self.path).is_ok_and(|metadata| metadata.dev() == self.device);
        if self.has_ended() || !is_there() {
            return Ok(self.outcome());
        }
        system::unmount(&self.path)?;
        Ok(self.outcome())
    }

    /// Waits until the folder is unmounted, by [`MountHandle::unmount`] or from outside, and nobody uses it any more.
    pub fn wait(&self) {
        let mut has_ended = lock(&self.session.has_ended);
        while !*has_ended {
            has_ended = wait(&self.session.ended, has_ended);
        }
    }

    fn has_ended(&self) -> bool {
        *lock(&self.session.has_ended)
    }

    fn outcome(&self) -> Unmounted {
        let patience = if system::is_connected(self.device) { Duration::ZERO } else { END_PATIENCE };
        let has_ended = lock(&self.session.has_ended);
        let has_ended = wait_while(&self.session.ended, has_ended, patience, |has_ended| !*has_ended);
        if *has_ended { Unmounted::Clean } else { Unmounted::Detached }
    }
}

impl Drop for MountHandle {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!(%error, "the folder stays mounted");
        }
    }
}
