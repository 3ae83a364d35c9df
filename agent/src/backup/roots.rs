//! Whether the roots are what they were: a disk that is not mounted must not look like a deletion.

use std::sync::Arc;

use backstore_platform::mounts::{Mount, MountTable};
use backstore_platform::paths::{Printable, name_to_archive, to_native};
use backstore_platform::walk::{Directory, FullStat};
use backstore_protocol::entry::Entry;
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
    /// Another file system is mounted on it than before.
    #[error(
        "another file system is mounted at {root} than when it was backed up last: is it the right disk? If it is meant to be there, say --accept-root-change"
    )]
    OtherDisk {
        /// The root.
        root: String,
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
    let point = name_to_archive(now.point.as_os_str());
    if *point == before.path[..] {
        let found = Directory::open(&native).and_then(|root| root.full_stat_self());
        return match found {
            Ok(found) if native == now.point && is_other_disk(&entry, &found, now) => {
                Err(RootChange::OtherDisk { root: root.to_string() }.into())
            }
            Ok(_) | Err(_) => Ok(()),
        };
    }
    let shown = |path: &[u8]| Printable(path).to_string();
    Err(RootChange::Elsewhere { root: root.to_string(), before: shown(&before.path), now: shown(&point) }
        .into())
}

/// Whether the topmost directory of a file system is one that was made at another time. What lives in memory is made anew at every start.
fn is_other_disk(before: &Entry, now: &FullStat, mount: &Mount) -> bool {
    let is_made_anew = ["tmpfs", "ramfs", "overlay"].contains(&&*mount.file_system);
    let (Some(made), Some(made_before)) = (now.btime, before.btime) else { return false };
    !is_made_anew && (made, now.basic.inode) != (made_before, before.inode)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use backstore_platform::walk::{DeviceId, MountId};
    use backstore_protocol::entry::{Kind, Time};

    use super::*;

    #[test]
    fn a_disk_is_known_by_its_topmost_directory() {
        let folder = tempfile::tempdir().unwrap();
        let now = Directory::open(folder.path()).unwrap().full_stat_self().unwrap();
        let now = FullStat { btime: Some(Time { seconds: 5, nanoseconds: 6 }), ..now };
        let check = |made: Option<Time>, inode: u64, file_system: &str| {
            let mut before = Entry::new(Kind::Directory);
            (before.btime, before.inode) = (made, inode);
            let mount = Mount {
                id: MountId(1),
                point: Path::new("/disk").into(),
                file_system: file_system.to_owned(),
                source: "/dev/sdb1".to_owned(),
                device: DeviceId::from_numbers(8, 17),
                is_read_only: false,
            };
            is_other_disk(&before, &now, &mount)
        };
        let inode = now.basic.inode;
        let earlier = Some(Time { seconds: 5, nanoseconds: 5 });
        assert!(!check(now.btime, inode, "ext4"));
        assert!(check(earlier, inode, "ext4"));
        assert!(check(now.btime, inode + 1, "ext4"));
        assert!(!check(None, inode, "ext4"), "a file system that does not tell is taken for the same");
        assert!(!check(earlier, inode, "tmpfs"));
    }
}
