//! What a file looks like from outside, in words of no particular system: SEMANTICS.md section 3.

use backstore_protocol::entry::{Content, Entry, Extent, Kind, Principal, PrincipalId, Time};

use super::inode::Ino;

/// What kind of file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// What `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of its content.
    pub size: u64,
    /// 512-byte blocks of data.
    pub blocks: u64,
    /// Names it has.
    pub nlink: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// When the content changed last.
    pub mtime: Time,
    /// When content or metadata changed last.
    pub ctime: Time,
    /// When it was made, if that is known.
    pub btime: Option<Time>,
}

/// Who things belong to that have no Unix owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

const BLOCK: u64 = 512;

impl Attributes {
    /// Those of a directory that is in no archive.
    pub(super) const fn made_up_directory(ino: Ino, owner: Owner, time: Time) -> Self {
        Self {
            ino,
            kind: FileKind::Directory,
            mode: 0o755,
            uid: owner.uid,
            gid: owner.gid,
            size: 0,
            blocks: 0,
            nlink: 1,
            device: (0, 0),
            mtime: time,
            ctime: time,
            btime: None,
        }
    }

    /// Those of a link that is in no archive.
    pub(super) const fn made_up_link(ino: Ino, owner: Owner, time: Time, size: u64) -> Self {
        let directory = Self::made_up_directory(ino, owner, time);
        Self { kind: FileKind::Symlink, mode: 0o777, size, ..directory }
    }

    /// Those of a file that is in no archive.
    pub(super) const fn made_up_file(ino: Ino, owner: Owner, time: Time, size: u64) -> Self {
        let directory = Self::made_up_directory(ino, owner, time);
        Self { kind: FileKind::File, mode: 0o644, size, blocks: size.div_ceil(BLOCK), ..directory }
    }

    /// Those of an entry. Implied directories have the time of the snapshot, `implied`.
    pub(super) fn of_entry(ino: Ino, entry: &Entry, nobody: Owner, implied: Time) -> Self {
        let kind = match entry.kind {
            Kind::File => FileKind::File,
            Kind::Directory | Kind::ImpliedDirectory => FileKind::Directory,
            Kind::Symlink => FileKind::Symlink,
            Kind::Fifo => FileKind::Fifo,
            Kind::Socket => FileKind::Socket,
            Kind::CharacterDevice => FileKind::CharacterDevice,
            Kind::BlockDevice => FileKind::BlockDevice,
        };
        let is_implied = entry.kind == Kind::ImpliedDirectory;
        Self {
            ino,
            kind,
            mode: mode(entry, kind),
            uid: unix_id(&entry.owner).unwrap_or(nobody.uid),
            gid: unix_id(&entry.group).unwrap_or(nobody.gid),
            size: entry.size,
            blocks: data_bytes(entry).div_ceil(BLOCK),
            nlink: if kind == FileKind::Directory { 1 } else { entry.nlink },
            device: entry.device,
            mtime: if is_implied { implied } else { entry.mtime },
            ctime: if is_implied { implied } else { entry.ctime },
            btime: entry.btime,
        }
    }
}

/// A system without permission bits has no Unix owners either.
fn mode(entry: &Entry, kind: FileKind) -> u16 {
    match (unix_id(&entry.owner), entry.mode, kind) {
        (None, 0, FileKind::Directory) => 0o755,
        (None, 0, _) => 0o644,
        (_, mode, _) => mode,
    }
}

fn unix_id(principal: &Principal) -> Option<u32> {
    match principal.id {
        PrincipalId::Unix(id) => Some(id),
        PrincipalId::None | PrincipalId::Sid(_) => None,
    }
}

/// Bytes that are not in holes. What is in a map counts whole: its holes are known to the map only.
fn data_bytes(entry: &Entry) -> u64 {
    match &entry.content {
        Content::Extents(extents) => extents
            .iter()
            .map(|extent| match extent {
                Extent::Data { length, .. } => u64::from(*length),
                Extent::Hole { .. } => 0,
            })
            .sum(),
        Content::None | Content::Unread => 0,
        Content::Inline(_) | Content::Map(_) => entry.size,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn files_of_other_systems_have_usable_attributes() {
        let owner = Owner { uid: 7, gid: 8 };
        let sid = Arc::new(Principal { id: PrincipalId::Sid(Box::new([1, 2])), name: Box::default() });
        let of = |kind| {
            let entry = Entry { owner: Arc::clone(&sid), group: Arc::clone(&sid), ..Entry::new(kind) };
            let found = Attributes::of_entry(Ino::ROOT, &entry, owner, Time::default());
            (found.mode, found.uid, found.gid)
        };
        assert_eq!(of(Kind::Directory), (0o755, 7, 8));
        assert_eq!(of(Kind::File), (0o644, 7, 8));
        let unix = Arc::new(Principal { id: PrincipalId::Unix(0), name: Box::default() });
        let entry = Entry { owner: Arc::clone(&unix), group: unix, ..Entry::new(Kind::File) };
        let found = Attributes::of_entry(Ino::ROOT, &entry, owner, Time::default());
        assert_eq!((found.mode, found.uid), (0, 0), "a file that nobody may read stays so");
    }
}
