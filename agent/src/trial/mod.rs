//! A trial: a private vault and a private home that last as long as the command `backstore try` runs.
//!
//! [`TrialPlace`] is the folder they are in, made and removed; [`estimate()`] says beforehand how much room they need. What is done with them is
//! in `cli::trial`, by the same code as real backups.

mod estimate;
mod place;
#[cfg(test)]
mod tests;

pub use estimate::{Estimate, estimate};
pub use place::{TrialError, TrialPlace};
