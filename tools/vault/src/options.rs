//! How a vault is opened.

use std::path::PathBuf;
use std::sync::Arc;

use crate::limits::LANES_MAX;
use backstore_platform::machine::Machine;

/// What a vault is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To write and read. One process at a time.
    Write,
    /// To read, while another process may write. Nothing in the vault's folder is changed.
    Read,
}

/// How a vault is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// The vault's folder.
    pub dir: PathBuf,
    /// Where indexes are kept. Those of this vault go to a folder in it named by the vault's id.
    pub index: PathBuf,
    /// To write or only to read.
    pub access: Access,
    /// Packs of data objects that are written at the same time, 1 to [`LANES_MAX`].
    pub lanes: usize,
    /// Memory for new rows of the index, in bytes.
    pub memtable_bytes: usize,
    /// Memory for what was read from the index, in bytes.
    pub cache_bytes: u64,
    /// Clock and random numbers.
    pub machine: Arc<dyn Machine>,
}

impl OpenOptions {
    /// For a vault in a folder that one computer uses: little memory.
    pub fn folder(dir: PathBuf, index: PathBuf, access: Access, machine: Arc<dyn Machine>) -> Self {
        Self { dir, index, access, lanes: 1, memtable_bytes: 2 << 20, cache_bytes: 8 << 20, machine }
    }

    /// For the vault of a server, whose index lies in the vault's folder.
    pub fn server(dir: PathBuf, machine: Arc<dyn Machine>) -> Self {
        let index = dir.join("index");
        Self {
            dir,
            index,
            access: Access::Write,
            lanes: 2,
            memtable_bytes: 32 << 20,
            cache_bytes: 256 << 20,
            machine,
        }
    }

    pub(crate) fn lanes_within_limits(&self) -> usize {
        self.lanes.clamp(1, LANES_MAX)
    }
}
