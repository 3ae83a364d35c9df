//! Backup, restore and the command line: the `backstore` program as a library.

pub mod backup;
pub mod scan;
