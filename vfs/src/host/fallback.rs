//! Systems without a host: mounting fails, and says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstore_protocol::ids::LineageId;

use super::{MountError, MountOptions, Requests, Unmounted};
use crate::model::{Owner, Snapshots, Version};

/// A mounted folder. There is none on this system.
#[derive(Debug)]
pub enum MountHandle {}

/// Fails: there is no host for this system yet.
pub fn mount(_: Arc<Snapshots>, _: &Path, _: &MountOptions) -> Result<MountHandle, MountError> {
    Err(MountError::NoHost { system: std::env::consts::OS })
}

/// Who this process acts as, where users have numbers.
pub fn this_user() -> Owner {
    Owner::default()
}

/// Fails: there is no host for this system yet.
pub fn take_away(_: &Path, _: bool) -> Result<PathBuf, MountError> {
    Err(MountError::NoHost { system: std::env::consts::OS })
}

impl MountHandle {
    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        match *self {}
    }

    /// What the system has asked for so far.
    pub fn requests(&self) -> Requests {
        match *self {}
    }

    /// Shows these versions from now on.
    pub fn set_versions(&self, _: Vec<Version>) {
        match *self {}
    }

    /// The same for the versions of another set.
    pub fn set_versions_of(&self, _: LineageId, _: Vec<Version>) {
        match *self {}
    }

    /// Tells the system that made-up directories list something else.
    pub fn made_up_changed(&self) {
        match *self {}
    }

    /// Takes the folder away.
    pub fn unmount(&self) -> Result<Unmounted, MountError> {
        match *self {}
    }

    /// Waits until the folder is unmounted.
    pub fn wait(&self) {
        match *self {}
    }
}
