//! Whether the roots are what they were: a disk that is not mounted must not look like a deletion.

use std::sync::Arc;

use backstore_platform::mounts::MountTable;
use backstore_platform::paths::{Printable, name_to_archive, to_native};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::tree::{Cursor, lookup};

use super::BackupError;
use super::basis::{Basis, BasisNodes};

/// A root looks as if what was backed up were not there.
#[derive(Debug, thiserror::Error)]
pub enum RootChange {
    /// It holds nothing, and did before.
    #[error(
        "{root} is empty, but was not when it was backed up last: is its disk mounted? If it is meant to be empty, say --accept-root-change"
    )]
    Empty {
        /// The root.
        root: String,
    },
    /// It lies on another file system than before.
    #[error(
        "{root} was on the file system mounted at {before} when it was backed up last, and now is on that at {now}: is its disk mounted? If it is meant to be there, say --accept-root-change"
    )]
    Elsewhere {
        /// The root.
        root: String,
        /// Mount point before.
        before: String,
        /// Mount point now.
        now: String,
    },
}

/// Compares roots that both the basis and the set have.
pub(super) fn check_roots(
    roots: &[ArchivePath],
    basis: &Basis,
    nodes: &BasisNodes,
    table: &MountTable,
) -> Result<(), BackupError> {
    for root in roots.iter().filter(|root| basis.body.roots.iter().any(|known| known == root.joined())) {
        check_mount(root, basis, nodes, table)?;
        check_content(root, basis, nodes)?;
    }
    Ok(())
}

fn check_mount(
    root: &ArchivePath,
    basis: &Basis,
    nodes: &BasisNodes,
    table: &MountTable,
) -> Result<(), BackupError> {
    let Ok(native) = to_native(root) else { return Ok(()) };
    let Some(now) = table.of_path(&native) else { return Ok(()) };
    // A part of the basis that is lost says nothing.
    let Ok(Some(entry)) = lookup(nodes.clone(), basis.header.root, &root.key()) else { return Ok(()) };
    let Some(before) = basis.body.mounts.iter().find(|mount| mount.ordinal == entry.mount) else {
        return Ok(());
    };
    let now = name_to_archive(now.point.as_os_str());
    if *now == before.path[..] {
        return Ok(());
    }
    let shown = |path: &[u8]| Printable(path).to_string();
    Err(RootChange::Elsewhere { root: root.to_string(), before: shown(&before.path), now: shown(&now) }
        .into())
}

fn check_content(root: &ArchivePath, basis: &Basis, nodes: &BasisNodes) -> Result<(), BackupError> {
    let Ok(native) = to_native(root) else { return Ok(()) };
    let is_empty = native.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty {
        return Ok(());
    }
    let prefix = root.children_prefix();
    let had = Cursor::seek(nodes.clone(), basis.header.root, &prefix)
        .and_then(|mut cursor| Ok(cursor.next_entry()?.is_some() && cursor.key().starts_with(&prefix)));
    match had {
        Ok(true) => Err(RootChange::Empty { root: root.to_string() }.into()),
        Ok(false) | Err(_) => Ok(()),
    }
}

/// Mounts as they are now; none where the system does not tell.
pub(super) fn mount_table() -> Arc<MountTable> {
    Arc::new(MountTable::read().unwrap_or_default())
}
