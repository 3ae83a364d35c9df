//! Real mounts. Without a usable /dev/fuse they are skipped, loudly, and fail where `CI` is set.

mod content;
mod economy;
mod failing;
mod hostile;
mod metadata;
mod point;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use backstore_protocol::entry::{Entry, Kind};
use backstore_protocol::ids::{LineageId, ObjectId, SnapshotId};
use backstore_protocol::object::ObjectKind;
use backstore_protocol::path::{ArchivePath, child_key};
use backstore_protocol::store::ReadFailure;
use backstore_protocol::tree::Root;
use rustix::fs::{CWD, FileType, Mode, SeekFrom, XattrFlags, mknodat, seek};
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::host::Thumbnails;
use crate::model::FolderOptions;
use crate::objects::{ObjectReader, ReaderOptions};
use crate::random_tree::noise;
use crate::test_archive::{MemorySource, Part, TestArchive};

/// Why no mount can be tested here, if so.
fn obstacle() -> Option<String> {
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let reason = device.err().map(|error| format!("/dev/fuse: {error}"));
    let reason = reason.or((!rustix::process::geteuid().is_root()).then(|| "not root".to_owned()));
    if let Some(reason) = &reason {
        eprintln!("SKIPPED, no mount was tested: {reason}");
        assert!(std::env::var_os("CI").is_none(), "mounts must be tested in CI: {reason}");
    }
    reason
}

/// Versions of an archive, mounted.
struct Mounted {
    archive: TestArchive,
    point: TempDir,
    handle: MountHandle,
    reader: Arc<ObjectReader>,
}

fn version(sequence: u64, root: Root) -> Version {
    Version {
        id: SnapshotId::from_bytes([sequence as u8; 32]),
        lineage: LineageId::ZERO,
        sequence,
        started_at: 1_000_000_000_000 + 1000 * sequence as i64,
        received_at: 1_000_000_000_000 + 1000 * sequence as i64,
        zone: "UTC".into(),
        root,
        is_partial: false,
        entries: 10,
        bytes: 123_456_789,
        tags: Box::default(),
    }
}

fn mount_with(
    archive: TestArchive,
    roots: &[Root],
    options: &MountOptions,
    reading: &ReaderOptions,
) -> Mounted {
    let reader = ObjectReader::new(archive.source(), archive.keys(), reading).unwrap();
    let model = Arc::new(Snapshots::new(&reader, FolderOptions::default()).unwrap());
    model.set_versions(roots.iter().zip(1..).map(|(root, sequence)| version(sequence, *root)).collect());
    let point = TempDir::new().unwrap();
    let handle = mount(model, point.path(), options).unwrap();
    Mounted { archive, point, handle, reader }
}

fn mounted(archive: TestArchive, roots: &[Root]) -> Mounted {
    mount_with(archive, roots, &MountOptions::default(), &ReaderOptions::default())
}

impl Mounted {
    /// The directory of a version.
    fn version(&self, sequence: u64) -> PathBuf {
        self.point.path().join(format!("2001-09-09_01-46-{:02}", 40 + sequence))
    }

    fn source(&self) -> Arc<MemorySource> {
        self.archive.source()
    }
}

fn unix(path: &str) -> ArchivePath {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.fold(ArchivePath::unix_root(), |path, name| path.join(name.as_bytes()).unwrap())
}

fn file(archive: &mut TestArchive, path: &str, bytes: Vec<u8>) {
    archive.add(&unix(path), Entry { mode: 0o644, ..Entry::new(Kind::File) }, &[Part::Data(bytes)]);
}

fn directory(archive: &mut TestArchive, path: &str) {
    archive.add(&unix(path), Entry { mode: 0o755, ..Entry::new(Kind::Directory) }, &[]);
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

/// Everything that can be seen of a tree, by path: what two trees are compared by.
fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(
        root: &Path,
        path: &Path,
        links: &mut BTreeMap<u64, PathBuf>,
        out: &mut BTreeMap<PathBuf, String>,
    ) {
        let metadata = fs::symlink_metadata(path).unwrap();
        let kind = metadata.file_type();
        let content = if kind.is_file() {
            format!("{}", blake3::hash(&fs::read(path).unwrap()))
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(path).unwrap())
        } else {
            String::new()
        };
        let nlink = if kind.is_dir() { 1 } else { metadata.nlink() };
        let first = links
            .entry(metadata.ino())
            .or_insert_with(|| path.strip_prefix(root).unwrap().to_owned())
            .clone();
        let size = if kind.is_dir() { 0 } else { metadata.size() };
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        // The mount's own top has the version's time.
        let times = if path == root { [0; 4] } else { times };
        let line = format!(
            "{kind:?} {:o} {}:{} {size} {nlink} {first:?} {:x} {times:?} {content}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            if kind.is_char_device() || kind.is_block_device() { metadata.rdev() } else { 0 },
        );
        out.insert(path.strip_prefix(root).unwrap().to_owned(), line);
        if kind.is_dir() {
            let mut items: Vec<_> = fs::read_dir(path).unwrap().map(|item| item.unwrap().path()).collect();
            items.sort();
            items.iter().for_each(|item| walk(root, item, links, out));
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut BTreeMap::new(), &mut out);
    out
}

/// A folder with every kind of file there is.
fn ugly_folder(root: &Path) {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let long = "l".repeat(255);
    for folder in ["a", "a/b", "empty", "a/b/c", &long] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    for (name, size) in [
        ("a/inline", 100),
        ("a/512", 512),
        ("a/513", 513),
        ("a/bundled", 60_000),
        ("a/b/large", 3_000_000),
        ("zero", 0),
    ] {
        fs::write(root.join(name), noise(size, size as u64)).unwrap();
    }
    for number in 0..300u32 {
        fs::write(root.join(format!("a/b/c/{number:04}")), noise(100 + 37 * number as usize, number.into()))
            .unwrap();
    }
    let odd: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    for bytes in odd.chunks(50) {
        fs::write(root.join(OsStr::from_bytes(bytes)), bytes).unwrap();
    }
    fs::hard_link(root.join("a/bundled"), root.join("hard link")).unwrap();
    symlink("../nowhere/\u{fc}", root.join("dangling")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("a/b", root.join("inside")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    sparse.write_all_at(&noise(9000, 1), 1_000_000).unwrap();
    let node =
        |name: &str, kind, device| mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device);
    node("fifo", FileType::Fifo, 0).unwrap();
    node("socket", FileType::Socket, 0).unwrap();
    // Containers may not make devices.
    for (name, kind) in [("null", FileType::CharacterDevice), ("block", FileType::BlockDevice)] {
        let _ = node(name, kind, rustix::fs::makedev(259, 70_000));
    }
    fs::set_permissions(root.join("a/inline"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::lchown(root.join("dangling"), Some(1234), Some(4321)).unwrap();
    for (name, seconds) in [("a/512", -1_000_000_000), ("a/513", 4_000_000_000), ("empty", 1)] {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 999_999_999 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, root.join(name), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
}

/// A directory of `count` files without content, `/d`.
fn wide(count: usize) -> (TestArchive, Root) {
    let mut archive = TestArchive::new();
    directory(&mut archive, "/d");
    for number in 0..count {
        archive.add_raw(child_key(b"/\0d", format!("file-{number:06}").as_bytes()), Entry::new(Kind::Fifo));
    }
    let root = archive.finish();
    (archive, root)
}

fn root_owner() -> Arc<backstore_protocol::entry::Principal> {
    let id = backstore_protocol::entry::PrincipalId::Unix(0);
    Arc::new(backstore_protocol::entry::Principal { id, name: Box::default() })
}
