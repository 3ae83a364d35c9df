//! Backups of real trees, as far as what is compared and read is concerned.

mod clocks;
mod counts;
mod moved;
mod unchanged;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use backstore_protocol::entry::{Content, Entry};
use backstore_protocol::ids::LineageId;
use backstore_protocol::path::ArchivePath;
use backstore_protocol::tree::{Cursor, Root};

use super::basis::BasisNodes;
use super::{BackupReport, Basis, Lost};
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

    /// All entries of a tree.
    fn entries(&self, root: Root) -> Vec<(ArchivePath, Entry)> {
        let archive = self.archive();
        let nodes = BasisNodes { reader: Arc::clone(&archive.reader), lost: Arc::new(Lost::default()) };
        let mut cursor = Cursor::start(nodes, root).unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = cursor.next_entry().unwrap() {
            entries.push((ArchivePath::from_key(cursor.key()).unwrap(), entry));
        }
        entries
    }

    /// Asserts that the newest snapshot says of every file what a backup of `source` without a basis says, which may have bundled files otherwise.
    #[track_caller]
    fn assert_is_as_fresh(&self) {
        self.back_up_roots("fresh", 2, &[&self.path("source")]);
        let of = |number| {
            let mut entries = self.entries(self.newest_of(number).header.root);
            let hashed = entries.iter_mut().filter(|(_, entry)| entry.content_hash.is_some());
            hashed.for_each(|(_, entry)| entry.content = Content::None);
            entries
        };
        let (found, fresh) = (of(1), of(2));
        found.iter().zip(&fresh).for_each(|(found, fresh)| assert_eq!(found, fresh));
        assert_eq!(found.len(), fresh.len());
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
