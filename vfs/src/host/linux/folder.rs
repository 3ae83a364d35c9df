//! A real folder as a snapshot of a test archive.

use std::collections::HashMap;
use std::ffi::{CStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use backstore_protocol::entry::{Content, Entry, Kind, Principal, PrincipalId, Time, Xattr};
use backstore_protocol::limits::XATTR_INLINE_BYTES_MAX;
use backstore_protocol::path::ArchivePath;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::test_archive::{Part, TestArchive};

/// Puts all that is in `folder` right below `/`. Owners have no names.
pub fn add_folder(archive: &mut TestArchive, folder: &Path) -> io::Result<()> {
    let mut mounts = HashMap::new();
    let root = ArchivePath::unix_root();
    let (entry, parts) = read(archive, folder, &mut mounts)?;
    archive.add(&root, entry, &parts);
    add_below(archive, folder, &root, &mut mounts)
}

fn add_below(
    archive: &mut TestArchive,
    folder: &Path,
    path: &ArchivePath,
    mounts: &mut HashMap<u64, u32>,
) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(folder)?.map(|item| Ok(item?.file_name())).collect::<io::Result<_>>()?;
    names.sort_by(|a: &OsString, b| a.as_bytes().cmp(b.as_bytes()));
    let mut folders = Vec::new();
    for name in names {
        let place = folder.join(&name);
        let (entry, parts) = read(archive, &place, mounts)?;
        let path = path.join(name.as_bytes()).map_err(io::Error::other)?;
        let is_directory = entry.kind.is_directory();
        archive.add(&path, entry, &parts);
        if is_directory {
            folders.push((place, path));
        }
    }
    folders.into_iter().try_for_each(|(place, path)| add_below(archive, &place, &path, mounts))
}

fn read(
    archive: &mut TestArchive,
    path: &Path,
    mounts: &mut HashMap<u64, u32>,
) -> io::Result<(Entry, Vec<Part>)> {
    let metadata = fs::symlink_metadata(path)?;
    let mut entry = Entry::new(kind(&metadata));
    let next = mounts.len() as u32;
    entry.mount = *mounts.entry(metadata.dev()).or_insert(next);
    entry.inode = metadata.ino();
    entry.mode = (metadata.mode() & 0o7777) as u16;
    let unix = |id| Arc::new(Principal { id: PrincipalId::Unix(id), name: Box::default() });
    (entry.owner, entry.group) = (unix(metadata.uid()), unix(metadata.gid()));
    entry.mtime = Time { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() as u32 };
    entry.ctime = Time { seconds: metadata.ctime(), nanoseconds: metadata.ctime_nsec() as u32 };
    if !entry.kind.is_directory() {
        entry.nlink = metadata.nlink() as u32;
    }
    if entry.kind.is_device() {
        entry.device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    }
    entry.xattrs = xattrs(archive, path)?;
    let parts = match entry.kind {
        Kind::File => parts(path, metadata.len())?,
        Kind::Symlink => vec![Part::Data(fs::read_link(path)?.into_os_string().into_vec())],
        Kind::Directory
        | Kind::ImpliedDirectory
        | Kind::Fifo
        | Kind::Socket
        | Kind::CharacterDevice
        | Kind::BlockDevice => Vec::new(),
    };
    Ok((entry, parts))
}

fn kind(metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    let kinds = [
        (kind.is_dir(), Kind::Directory),
        (kind.is_symlink(), Kind::Symlink),
        (kind.is_fifo(), Kind::Fifo),
        (kind.is_socket(), Kind::Socket),
        (kind.is_char_device(), Kind::CharacterDevice),
        (kind.is_block_device(), Kind::BlockDevice),
    ];
    kinds.into_iter().find(|(is_it, _)| *is_it).map_or(Kind::File, |(_, kind)| kind)
}

fn parts(path: &Path, size: u64) -> io::Result<Vec<Part>> {
    let file = File::open(path)?;
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < size {
        let data = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno.into()),
        };
        if data > at {
            parts.push(Part::Hole(data - at));
        }
        if data == size {
            break;
        }
        at = seek(&file, SeekFrom::Hole(data))?.min(size);
        let mut bytes = vec![0; (at - data) as usize];
        file.read_exact_at(&mut bytes, data)?;
        parts.push(Part::Data(bytes));
    }
    Ok(parts)
}

fn xattrs(archive: &mut TestArchive, path: &Path) -> io::Result<Vec<Xattr>> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let mut xattrs = Vec::new();
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        let size = value.len() as u64;
        let is_small = value.len() <= XATTR_INLINE_BYTES_MAX / 8;
        let value = if is_small { Content::Inline(value.into()) } else { archive.value(&value) };
        xattrs.push(Xattr { name: name.to_bytes().into(), size, value });
    }
    xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(xattrs)
}
