//! How a folder is shown: to the system as a file system, or to programs as WebDAV.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_protocol::ids::LineageId;
use backstore_vfs::host::webdav::{self, Secret, WebdavHandle, WebdavOptions};
use backstore_vfs::host::{self, MountError, MountHandle, MountOptions, Requests, Unmounted};
use backstore_vfs::model::{Snapshots, Version};

/// How a set is to be shown.
#[derive(Debug, Clone)]
pub enum Via {
    /// As a file system.
    Folder {
        /// Where: an absolute path. Made if it is missing, and then removed again when the mount ends.
        point: PathBuf,
        /// How.
        options: MountOptions,
    },
    /// As WebDAV, to this computer.
    Webdav {
        /// The port; 0 is any that is free.
        port: u16,
    },
}

/// What shows a folder.
pub(super) enum Front {
    Folder(MountHandle),
    Webdav(WebdavHandle, Ending),
}

/// What ends a server from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) address: SocketAddr,
    pub(super) secret: String,
}

impl Front {
    /// Shows `model`.
    pub(super) fn open(model: &Arc<Snapshots>, machine: &dyn Machine, via: &Via) -> Result<Self, MountError> {
        let model = Arc::clone(model);
        match via {
            Via::Folder { point, options } => Ok(Self::Folder(host::mount(model, point, options)?)),
            Via::Webdav { port } => {
                let stop = draw(machine);
                let secret = stop.text();
                let options = WebdavOptions { port: *port, ..WebdavOptions::new(draw(machine), stop) };
                let handle = webdav::serve(model, &options)?;
                let address = handle.address();
                Ok(Self::Webdav(handle, Ending { address, secret }))
            }
        }
    }

    pub(super) fn requests(&self) -> Requests {
        match self {
            Self::Folder(handle) => handle.requests(),
            Self::Webdav(handle, _) => handle.requests(),
        }
    }

    pub(super) fn set_versions_of(&self, lineage: LineageId, versions: Vec<Version>) {
        match self {
            Self::Folder(handle) => handle.set_versions_of(lineage, versions),
            Self::Webdav(handle, _) => handle.set_versions_of(lineage, versions),
        }
    }

    /// Tells whoever keeps listings that made-up directories list something else.
    pub(super) fn made_up_changed(&self) {
        match self {
            Self::Folder(handle) => handle.made_up_changed(),
            // Clients keep nothing without asking.
            Self::Webdav(..) => {}
        }
    }

    /// Takes it away.
    pub(super) fn stop(&self) -> Result<Unmounted, MountError> {
        match self {
            Self::Folder(handle) => handle.unmount(),
            Self::Webdav(handle, _) => {
                handle.stop();
                Ok(Unmounted::Clean)
            }
        }
    }

    /// Waits until it is gone, and nobody uses it any more.
    pub(super) fn wait(&self) {
        match self {
            Self::Folder(handle) => handle.wait(),
            Self::Webdav(handle, _) => handle.wait(),
        }
    }
}

fn draw(machine: &dyn Machine) -> Secret {
    let mut bytes = [0; Secret::BYTES];
    machine.random(&mut bytes);
    Secret::new(bytes)
}

/// What a server is called where mount points have paths: its address without the secret.
pub(super) fn place_of(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The place of the server that a URL leads to, whatever the path; nothing if it is no URL of ours.
pub(super) fn place_in(url: &str) -> Option<String> {
    let rest = ["http://", "dav://"].iter().find_map(|scheme| url.strip_prefix(scheme))?;
    let address = rest.split('/').next()?.replace("localhost", "127.0.0.1");
    address.parse().ok().map(place_of)
}

/// How to open it, for people.
pub(super) fn how_to_open(handle: &WebdavHandle) -> String {
    let url = handle.url();
    let rest = url.trim_start_matches("http:");
    format!(
        "open it in a file manager as dav:{rest}\n  \
         in Finder by Go, Connect to Server: {url}\n  \
         on Windows by: net use * {url}\n  \
         whoever knows this address can read everything: it is a password"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_any_url_in_it() {
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/abcd/latest", "dav://localhost:8080/x"] {
            assert_eq!(place_in(url).as_deref(), Some("http://127.0.0.1:8080"), "{url}");
        }
        for other in ["/backstore", "http://", "http://127.0.0.1", "https://127.0.0.1:8080", "http://x:80"] {
            assert_eq!(place_in(other), None, "{other}");
        }
    }
}
