//! What is remembered of a set's lineage: its head as this device saw it last, and how the last backup ended.

use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::snapshot::Changes;
use serde::{Deserialize, Serialize};

use super::{Home, HomeError};

/// `state/lineages/ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct LineageState {
    /// The newest snapshot seen, in hexadecimal digits; empty without.
    pub head: String,
    /// Its sequence.
    pub sequence: u64,
    /// When the scan began that last found nothing but what the head has, in nanoseconds since 1970; nothing if that was the head's own.
    pub confirmed_ns: Option<i64>,
    /// When a backup was last complete or confirmed, by this computer's clock: milliseconds since 1970.
    pub last_success_at: Option<i64>,
    /// When a backup last began, likewise.
    pub last_run_at: Option<i64>,
    /// What ended the last one early, or was wrong with it.
    pub last_problem: Option<String>,
    /// Files that could not be read whole the last time.
    pub last_errors: u64,
    /// What the last backup that came to an end changed.
    pub last_changes: Option<Changes>,
}

/// Reads and writes what is remembered.
pub struct LineageMemory<'a> {
    home: &'a Home,
    lineage: LineageId,
}

impl<'a> LineageMemory<'a> {
    /// Of one lineage.
    pub fn new(home: &'a Home, lineage: LineageId) -> Self {
        Self { home, lineage }
    }

    /// What is remembered; nothing known if it cannot be read, since it can be learned anew.
    pub fn load(&self) -> LineageState {
        let text = self.home.read_text(&self.home.state_path(&self.name())).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Remembers.
    pub fn save(&self, state: &LineageState) -> Result<(), HomeError> {
        let text = serde_json::to_vec_pretty(state).map_err(|error| HomeError::Unusable {
            path: self.home.state_path(&self.name()),
            problem: error.to_string(),
        })?;
        self.home.write_state(&self.name(), &text)
    }

    /// The file that says one backup of it runs.
    pub fn lock_path(&self) -> std::path::PathBuf {
        self.home.state_path(&format!("lineages/{}.lock", self.lineage))
    }

    fn name(&self) -> String {
        format!("lineages/{}.json", self.lineage)
    }
}

impl LineageState {
    /// The newest snapshot seen.
    pub fn head_id(&self) -> Option<SnapshotId> {
        SnapshotId::parse(&self.head)
    }
}
