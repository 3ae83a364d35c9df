//! Windows: by paths, with what the standard library tells.
//!
//! Not by handles yet, so a directory that is replaced by a link between two calls may be followed. File numbers, owners and changed
//! metadata are not told: hard links become separate files, and a file whose size and times stayed counts as unchanged.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use backstore_protocol::entry::{Kind, Time};

use super::{DeviceId, FullStat, Listed, Stat, component};
use crate::paths::{name_to_archive, name_to_native};

/// A directory that was there when it was opened.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

/// Memory for listings; not needed here.
#[derive(Debug, Default)]
pub struct ListBuffer(());

impl Directory {
    /// Opens a directory by its path. Links on the way are followed, but not if the path itself is one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        if kind(&found) != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Opens the directory `name` in this one.
    pub fn open_child(&self, name: &[u8]) -> io::Result<Self> {
        Self::open(&self.child(name)?)
    }

    /// Calls `each` with every name, in the file system's order, until it fails.
    pub fn list(
        &mut self,
        _buffer: &mut ListBuffer,
        mut each: impl FnMut(Listed<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let kind = entry.metadata().ok().map(|found| kind(&found));
            each(Listed { name: &name_to_archive(&entry.file_name()), kind, inode: 0 })?;
        }
        Ok(())
    }

    /// Metadata of the file `name`, of a link its own.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(stat(&fs::symlink_metadata(self.child(name)?)?))
    }

    /// All metadata of the file `name`, of a link its own.
    pub fn full_stat(&self, name: &[u8]) -> io::Result<FullStat> {
        Ok(full_stat(&fs::symlink_metadata(self.child(name)?)?))
    }

    /// All metadata of this directory.
    pub fn full_stat_self(&self) -> io::Result<FullStat> {
        Ok(full_stat(&fs::symlink_metadata(&self.path)?))
    }

    /// Opens a file for reading, also while others write, rename or delete it.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .share_mode(SHARE_READ_WRITE_DELETE)
            .custom_flags(OPEN_REPARSE_POINT | SEQUENTIAL_SCAN)
            .open(self.child(name)?)
    }

    /// The target of a link.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(name_to_archive(fs::read_link(self.child(name)?)?.as_os_str()).into_owned())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in it.
    pub(crate) fn child(&self, name: &[u8]) -> io::Result<PathBuf> {
        let native = name_to_native(component(name)?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(self.path.join(native))
    }
}

/// Whether the start of a file is in memory, or the system does not tell: this one does not.
pub fn has_in_memory(_file: &File) -> bool {
    true
}

/// Nothing: the system reads ahead as it finds right.
pub fn read_ahead(_file: &File, _length: u64) {}

/// Appends at most `max` bytes of what comes next in a file; how many, 0 at the end.
pub fn append(mut file: &File, bytes: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    append_with(bytes, max, |room| io::Read::read(&mut file, room))
}

/// Appends at most `max` bytes from byte `offset` on, wherever the file stands; how many, 0 at the end.
pub fn append_at(file: &File, bytes: &mut Vec<u8>, max: usize, offset: u64) -> io::Result<usize> {
    append_with(bytes, max, |room| std::os::windows::fs::FileExt::seek_read(file, room, offset))
}

fn append_with(
    bytes: &mut Vec<u8>,
    max: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let start = bytes.len();
    bytes.resize(start + max, 0);
    let count = read(&mut bytes[start..]);
    bytes.truncate(start + count.as_ref().copied().unwrap_or(0));
    count
}

/// Metadata of an open file.
pub fn stat_file(file: &File) -> io::Result<Stat> {
    Ok(stat(&file.metadata()?))
}

/// All metadata of an open file.
pub fn full_stat_file(file: &File) -> io::Result<FullStat> {
    Ok(full_stat(&file.metadata()?))
}

fn full_stat(found: &Metadata) -> FullStat {
    let btime = Some(time(found.creation_time()));
    FullStat { basic: stat(found), btime, mount: None, is_mount_root: false }
}

fn stat(found: &Metadata) -> Stat {
    let kind = kind(found);
    let mtime = time(found.last_write_time());
    Stat {
        kind,
        mode: 0,
        owner: None,
        group: None,
        size: if kind == Kind::File { found.file_size() } else { 0 },
        allocated: found.file_size(),
        mtime,
        ctime: mtime,
        inode: 0,
        device: DeviceId::from_numbers(0, 0),
        nlink: 1,
        attributes: found.file_attributes(),
        special: (0, 0),
    }
}

fn kind(found: &Metadata) -> Kind {
    let file_type = found.file_type();
    // Links of both kinds; junctions count as links to directories.
    if file_type.is_symlink_dir() || file_type.is_symlink_file() {
        Kind::Symlink
    } else if file_type.is_dir() {
        Kind::Directory
    } else {
        Kind::File
    }
}

/// A time in ticks of 100 ns since 1601.
fn time(ticks: u64) -> Time {
    const TICKS_PER_SECOND: u64 = 10_000_000;
    const SECONDS_1601_TO_1970: i64 = 11_644_473_600;
    let seconds = (ticks / TICKS_PER_SECOND) as i64 - SECONDS_1601_TO_1970;
    Time { seconds, nanoseconds: (ticks % TICKS_PER_SECOND) as u32 * 100 }
}

const SHARE_READ_WRITE_DELETE: u32 = 7;
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
const SEQUENTIAL_SCAN: u32 = 0x0800_0000;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::machine::time_from;

    #[test]
    fn a_tree_is_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "four").unwrap();
        fs::create_dir(folder.path().join("Über")).unwrap();
        let mut directory = Directory::open(folder.path()).unwrap();
        let mut names = Vec::new();
        let listed = directory.list(&mut ListBuffer::default(), |listed| {
            names.push((listed.name.to_vec(), listed.kind));
            Ok(())
        });
        listed.unwrap();
        names.sort();
        let expected =
            [(b"file".to_vec(), Some(Kind::File)), ("Über".as_bytes().to_vec(), Some(Kind::Directory))];
        assert_eq!(names, expected);
        let stat = directory.stat(b"file").unwrap();
        assert_eq!((stat.kind, stat.size), (Kind::File, 4));
        assert_eq!(
            stat.mtime,
            time_from(fs::metadata(folder.path().join("file")).unwrap().modified().unwrap())
        );
        let mut file = directory.open_file(b"file").unwrap();
        assert!(stat_file(&file).unwrap().is_unchanged_since(&stat));
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "four");
        assert!(directory.open_child("Über".as_bytes()).is_ok());
    }

    #[test]
    fn names_do_not_leave_their_directory() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        for name in [&b".."[..], b"a/b", br"..\x", b"C:", b"file:stream", b""] {
            assert_eq!(directory.stat(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
            assert_eq!(
                directory.open_file(name).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{name:?}"
            );
        }
        assert_eq!(directory.stat(b"none").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(folder.path().join("file"), "x").unwrap();
        assert!(directory.open_child(b"file").is_err());
    }
}
