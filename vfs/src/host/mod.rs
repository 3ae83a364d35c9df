//! Hosts: what shows the model to an operating system. The only place with conditions on the system.
//!
//! Linux has FUSE. Elsewhere [`mount`] says that mounting is not there yet; [`webdav`] works everywhere.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{io, thread};

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(target_os = "linux")]
mod linux;
pub mod webdav;

#[cfg(not(target_os = "linux"))]
pub use fallback::{MountHandle, mount, take_away, this_user};
#[cfg(target_os = "linux")]
pub use linux::{MountHandle, mount, take_away, this_user};

#[cfg(all(target_os = "linux", any(test, feature = "test-archive")))]
pub use linux::add_folder;

pub use crate::requests::Requests;

/// What programs may read that look at every file unasked: thumbnailers and indexers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Thumbnails {
    /// Everything.
    All,
    /// Thumbnailers files of at most 1 MiB, indexers nothing.
    #[default]
    Small,
    /// Nothing.
    None,
}

/// How a folder is mounted.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// Every user may look, by the permission bits of the files.
    pub allow_other: bool,
    /// Extended attributes can be read. Costs two calls for every file in `ls -l`.
    pub xattrs: bool,
    /// What thumbnailers and indexers may read.
    pub thumbnails: Thumbnails,
    /// The mount point may have files in it, which cannot be seen while it is used.
    pub allow_nonempty: bool,
    /// Threads that take requests from the system. They never wait for the destination.
    pub event_loops: usize,
    /// Threads that answer what is not in memory: so many requests may wait for the destination at a time.
    pub workers: usize,
}

impl Default for MountOptions {
    fn default() -> Self {
        let event_loops = thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
        Self {
            allow_other: false,
            xattrs: false,
            thumbnails: Thumbnails::default(),
            allow_nonempty: false,
            event_loops,
            workers: 16,
        }
    }
}

/// How a mount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// It is gone.
    Clean,
    /// It was in use: the folder is gone from the file tree, and whoever has files open keeps them until they are closed.
    Detached,
}

/// A process that uses a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountUser {
    /// Its process id.
    pub pid: u32,
    /// What it is called.
    pub name: String,
    /// What it uses: its working directory or a file, seen from it.
    pub path: PathBuf,
}

/// Users of a mount that are named in a message.
const USERS_NAMED_MAX: usize = 5;

fn users_text(users: &[MountUser]) -> String {
    if users.is_empty() {
        return " by a process that this user may not see".to_owned();
    }
    let mut text = String::new();
    for user in users.iter().take(USERS_NAMED_MAX) {
        let separator = if text.is_empty() { " by " } else { ", " };
        text.push_str(&format!("{separator}{} ({}): {}", user.name, user.pid, user.path.display()));
    }
    if users.len() > USERS_NAMED_MAX {
        text.push_str(&format!(" and {} more", users.len() - USERS_NAMED_MAX));
    }
    text
}

/// Why a folder could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// This system has no host yet.
    #[error("mounting is not available on {system} yet; `restore` and `ls` work")]
    NoHost {
        /// The system.
        system: &'static str,
    },
    /// The kernel offers no FUSE.
    #[error(
        "/dev/fuse is not there: `modprobe fuse` loads the kernel module; a container has to be given the device"
    )]
    NoDevice,
    /// This process may not use FUSE.
    #[error("/dev/fuse may not be used by this user")]
    DeviceForbidden(#[source] io::Error),
    /// Who is not root needs a program to mount.
    #[error(
        "`fusermount3` is not installed, which mounting needs where it is not done by root (package fuse3)"
    )]
    NoFusermount,
    /// The system does not let this user show a mount to others.
    #[error(
        "other users may see a mount of this user only where /etc/fuse.conf has the line `user_allow_other`"
    )]
    OthersForbidden,
    /// Who is not root can mount only where they may write.
    #[error("cannot mount at {}: this user may not write there", path.display())]
    PointForbidden {
        /// The mount point.
        path: PathBuf,
    },
    /// The mount point does not exist.
    #[error("{} does not exist", path.display())]
    PointMissing {
        /// It.
        path: PathBuf,
    },
    /// The mount point is something else.
    #[error("{} is not a directory", path.display())]
    PointNotDirectory {
        /// It.
        path: PathBuf,
    },
    /// The mount point has files in it.
    #[error("{} is not empty; its files could not be seen", path.display())]
    PointNotEmpty {
        /// It.
        path: PathBuf,
    },
    /// An archive is mounted there.
    #[error("a BackStore archive is mounted at {} already", path.display())]
    AlreadyMounted {
        /// Where.
        path: PathBuf,
    },
    /// The mount point cannot be looked at.
    #[error("cannot use {} as a mount point", path.display())]
    PointUnusable {
        /// It.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot mount at {}", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No archive is mounted there.
    #[error("no BackStore archive is mounted at {}", path.display())]
    NotMounted {
        /// Where.
        path: PathBuf,
    },
    /// Another user has mounted it.
    #[error("{} was mounted by the user with number {uid}: only they and root can unmount it", path.display())]
    OfAnotherUser {
        /// Where.
        path: PathBuf,
        /// The user.
        uid: u32,
    },
    /// Somebody uses the mount.
    #[error("{} is in use{}", path.display(), users_text(users))]
    Busy {
        /// Where.
        path: PathBuf,
        /// The processes that do, as far as they can be seen.
        users: Vec<MountUser>,
    },
    /// The mount could not be taken away.
    #[error("cannot unmount {}: {detail}", path.display())]
    Unmount {
        /// Where.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// There can be no server.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}
