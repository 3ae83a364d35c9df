//! The storage engine of a destination: packs that keep sealed objects, and an index that finds them.
//!
//! Start at [`Vault`]; what is on disk and why it survives is in FORMAT.md beside `src`. [`Account`] puts, reads and commits; [`FolderDestination`] makes a
//! vault in a folder look like any destination. What this crate never does: look into sealed bytes, delete objects, or speak to a network.

mod account;
mod check;
mod control;
mod core;
mod disk;
mod error;
mod folder;
mod follow;
mod ids;
mod index;
mod limits;
mod options;
mod pack;
mod receipt;
mod recover;
pub mod registry;
mod slot;
mod superblock;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vault;
mod watch;
mod writer;

pub use account::{Account, Commit};
pub use check::{AffectedSnapshot, CheckProgress, CheckReport, Finding, Problem};
pub use control::Control;
pub use error::{Recovery, VaultError};
pub use folder::{FolderDestination, snapshot_head};
pub use ids::{AccountNumber, PackNumber};
pub use index::rows::Usage;
pub use limits::{
    CONTROL_BATCH_BYTES_MAX, CONTROL_KEY_BYTES_MAX, CONTROL_VALUE_BYTES_MAX, DAMAGED_MAX, FINDINGS_MAX,
    LANES_MAX, READERS_MAX,
};
pub use options::{Access, OpenOptions};
pub use pack::snapshot::SnapshotHead;
pub use receipt::Receipt;
pub use recover::OpenReport;
pub use recover::seal::Quarantined;
pub use vault::Vault;
