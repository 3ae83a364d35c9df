//! What the tests of several parts share: a world of its own for each test, with computers, servers and disks in it.
//!
//! The programs run as processes, the way users run them; what they print and how they end is what is tested. Nothing here sleeps: whoever waits reads a
//! line that is printed, or waits for a process to end.

pub mod computer;
pub mod link;
pub mod server;
pub mod tree;
pub mod web;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where the programs are.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// The agent.
    pub backstore: &'static str,
    /// The server.
    pub backstored: &'static str,
}

/// A folder for one test, removed at its end.
pub struct World {
    /// The programs under test.
    pub programs: Programs,
    folder: TempDir,
}

impl World {
    /// An empty world.
    ///
    /// # Panics
    ///
    /// As everything here, when the system does not do what a test needs.
    pub fn new(programs: Programs) -> Self {
        Self { programs, folder: tempfile::Builder::new().prefix("backstore-test-").tempdir().unwrap() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder in it, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

/// Says loudly that a test was not run. Where tests are meant to be complete, that is a failure.
///
/// # Panics
///
/// When `CI` is set.
pub fn skipped(test: &str, because: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} was skipped although CI is set: {because}");
    eprintln!("\n*** SKIPPED {test}: {because}\n");
}

/// All files below a folder, in the order of their paths.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    files.sort();
    files
}

/// The versions that a mount lists, oldest first: all else in it are links.
pub fn versions(point: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(point).unwrap().map(|entry| entry.unwrap());
    let versions = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut versions: Vec<_> = versions.map(|entry| entry.path()).collect();
    versions.sort();
    versions
}
