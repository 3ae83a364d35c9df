//! Backups of real trees, as far as what is compared and read is concerned.

mod moved;
mod unchanged;

use std::fs;
use std::path::Path;

use backstore_protocol::ids::LineageId;
use backstore_protocol::tree::Root;

use super::{BackupReport, Basis};
use crate::testing::Computer;

impl Computer {
    /// The newest snapshot of the set `files`.
    pub(super) fn newest(&self) -> Basis {
        self.newest_of(1)
    }

    fn newest_of(&self, number: u8) -> Basis {
        let archive = self.archive();
        let stored = archive.source.snapshots(LineageId::from_bytes([number; 16]), u64::MAX, 1).unwrap();
        let opened = archive.open_snapshot(&stored[0]).unwrap();
        let compared_ns = opened.body.scan_started_ns;
        Basis { id: opened.id, header: opened.header, body: opened.body, compared_ns }
    }

    /// The tree that a backup without a basis makes of `source`: equal if, and only if, every entry is.
    fn fresh_root(&self) -> Root {
        self.back_up_roots("fresh", 2, &[&self.path("source")]);
        self.newest_of(2).header.root
    }

    /// Backs up as if the files had been made long before the last backup, which a test has no time for.
    fn back_up_settled(&self) -> BackupReport {
        let (report, told) = self.back_up_with("files", 1, &[&self.path("source")], |_, basis| {
            if let Some(basis) = basis {
                basis.compared_ns = i64::MAX;
            }
        });
        assert_eq!(told, Vec::<String>::new());
        report
    }
}

/// Writes files, and the directories on the way, under a folder.
fn write(folder: &Path, files: &[(&str, &[u8])]) {
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
