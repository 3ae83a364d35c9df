//! Looking into an archive without a mount: which versions there are, what is in them, what differs, and whether it is whole.
//!
//! All of it streams: memory does not grow with the number of files, but with that of the paths found in all versions. Nothing here prints; `cli` does.

mod deleted;
mod difference;
mod error;
mod history;
mod indexed;
mod matches;
mod missing;
mod place;
#[cfg(test)]
mod tests;
pub mod verify;
mod versions;

pub use backstore_vfs::change::Change;
pub use deleted::{Deleted, Gone};
pub use difference::{Difference, Differences};
pub use error::ReadingError;
pub use history::{History, State};
pub use indexed::IndexProgress;
pub use matches::{AllMatches, Match, Matches, Query};
pub use missing::missing;
pub use place::Place;
pub use versions::{VersionInfo, Versions};
