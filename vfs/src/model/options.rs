//! How a folder is shown.

use std::sync::Arc;

use backstore_protocol::ids::LineageId;

use super::{LinkRoots, Owner};

/// A backup set, as far as the filesystem needs to know it.
#[derive(Debug, Clone)]
pub struct BackupSet {
    /// Its history.
    pub lineage: LineageId,
    /// What it is called.
    pub name: String,
    /// The device it belongs to.
    pub device: String,
    /// Links into these roots lead to the same place in their own version.
    pub links: LinkRoots,
    /// When its newest version began: milliseconds since 1970.
    pub newest_at: i64,
}

impl Default for BackupSet {
    fn default() -> Self {
        let (name, device, links) = Default::default();
        Self { lineage: LineageId::from_bytes([0; 16]), name, device, links, newest_at: 0 }
    }
}

/// How a folder is shown.
#[derive(Clone)]
pub struct FolderOptions {
    /// Who things belong to that have no owner of their own.
    pub owner: Owner,
    /// Versions are named by their time in UTC.
    pub utc: bool,
    /// The backup set.
    pub set: BackupSet,
    /// Where the archive is.
    pub place: String,
    /// The time, in milliseconds since 1970: what `yesterday` is counted from.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self {
            owner: Owner::default(),
            utc: false,
            set: BackupSet::default(),
            place: String::new(),
            now: Arc::new(|| chrono::Utc::now().timestamp_millis()),
        }
    }
}
