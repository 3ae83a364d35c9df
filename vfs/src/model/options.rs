//! How a folder is shown.

use std::sync::Arc;

use super::{LinkRoots, Owner};

/// How a folder is shown.
#[derive(Clone)]
pub struct FolderOptions {
    /// Who things belong to that have no owner of their own.
    pub owner: Owner,
    /// Versions are named by their time in UTC.
    pub utc: bool,
    /// Links into these roots lead to the same place in their own version.
    pub links: LinkRoots,
    /// What the backup set is called.
    pub set: String,
    /// The device it belongs to.
    pub device: String,
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
            links: LinkRoots::default(),
            set: String::new(),
            device: String::new(),
            place: String::new(),
            now: Arc::new(|| chrono::Utc::now().timestamp_millis()),
        }
    }
}
