//! Backup, restore and the command line: the `backstore` program as a library.
//!
//! Start at [`backup`] to see what a backup does, at [`restore`] for a restore, at [`archive`] for what reading starts from, at [`cli`] for what users type.

pub mod archive;
pub mod backup;
pub mod cached;
pub mod cli;
pub mod enrol;
pub mod home;
pub mod mount;
pub mod reading;
pub mod restore;
pub mod scan;
pub mod tags;
#[cfg(test)]
mod testing;
pub mod trial;
