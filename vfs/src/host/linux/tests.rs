//! Real mounts. Without a usable /dev/fuse they are skipped, loudly, and fail where `CI` is set.

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
        zone: "UTC".into(),
        root,
        is_partial: false,
        entries: 10,
        bytes: 123_456_789,
    }
}

fn mount_with(
    archive: TestArchive,
    roots: &[Root],
    options: &MountOptions,
    reading: &ReaderOptions,
) -> Mounted {
    let reader = ObjectReader::new(archive.source(), archive.keys(), reading).unwrap();
    let model = Arc::new(Snapshots::new(&reader, Owner::default()).unwrap());
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

#[test]
fn a_mount_equals_its_source() {
    if obstacle().is_some() {
        return;
    }
    let folder = TempDir::new().unwrap();
    ugly_folder(folder.path());
    let mut archive = TestArchive::new();
    add_folder(&mut archive, folder.path()).unwrap();
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let mut expected = describe(folder.path());
    let mut found = describe(&mounted.version(1));
    // A version's own directory belongs to whoever mounts.
    expected.remove(Path::new(""));
    found.remove(Path::new(""));
    assert!(expected.len() > 320);
    for (path, line) in &expected {
        assert_eq!(found.get(path), Some(line), "{path:?}");
    }
    assert_eq!(found.len(), expected.len());
    let sparse = mounted.version(1).join("sparse");
    assert!(fs::metadata(&sparse).unwrap().blocks() * 512 < 100_000);
    let sparse = File::open(sparse).unwrap();
    let data = seek(&sparse, SeekFrom::Data(0)).unwrap();
    assert!(
        (900_000..=1_000_000).contains(&data) && seek(&sparse, SeekFrom::Hole(data)).unwrap() >= 1_009_000
    );
    assert_eq!(seek(&sparse, SeekFrom::Data(2_000_000)), Err(Errno::NXIO));
    assert_eq!(errno(fs::metadata(mounted.version(1).join("loop"))), Some(Errno::LOOP));
    assert_eq!(errno(fs::metadata(mounted.version(1).join("not there"))), Some(Errno::NOENT));
    assert_eq!(fs::read_dir(mounted.version(1).join("inside")).unwrap().count(), 2);
}

#[test]
fn every_change_is_refused() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", vec![1; 2000]);
    directory(&mut archive, "/d");
    let root = archive.finish();
    let options = MountOptions { xattrs: true, ..MountOptions::default() };
    let mounted = mount_with(archive, &[root], &options, &ReaderOptions::default());
    let top = mounted.version(1);
    let (f, d, new) = (top.join("f"), top.join("d"), top.join("new"));
    let open = |options: &mut fs::OpenOptions, path: &Path| options.open(path).map(drop);
    let rustix = |result: rustix::io::Result<()>| result.map_err(io::Error::from);
    let time = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let attempts: Vec<(&str, io::Result<()>)> = vec![
        ("write", open(fs::OpenOptions::new().write(true), &f)),
        ("read and write", open(fs::OpenOptions::new().read(true).write(true), &f)),
        ("append", open(fs::OpenOptions::new().append(true), &f)),
        ("truncate", open(fs::OpenOptions::new().write(true).truncate(true), &f)),
        ("truncate by path", rustix(rustix::fs::open(&f, rustix::fs::OFlags::RDWR, Mode::empty()).map(drop))),
        ("create", open(fs::OpenOptions::new().write(true).create_new(true), &new)),
        ("create in the folder", File::create(mounted.point.path().join("new")).map(drop)),
        ("mkdir", fs::create_dir(&new)),
        ("mkdir in the folder", fs::create_dir(mounted.point.path().join("new"))),
        ("mknod", rustix(mknodat(CWD, &new, FileType::Fifo, Mode::RWXU, 0))),
        ("symlink", symlink("x", &new)),
        ("link", fs::hard_link(&f, &new)),
        ("unlink", fs::remove_file(&f)),
        ("rmdir", fs::remove_dir(&d)),
        ("rmdir of a version", fs::remove_dir(&top)),
        ("rename", fs::rename(&f, &new)),
        ("rename of a version", fs::rename(&top, mounted.point.path().join("new"))),
        ("chmod", fs::set_permissions(&f, fs::Permissions::from_mode(0o777))),
        ("chown", std::os::unix::fs::chown(&f, Some(1), None)),
        ("utimens", rustix(rustix::fs::utimensat(CWD, &f, &times, rustix::fs::AtFlags::empty()))),
        ("setxattr", rustix(rustix::fs::setxattr(&f, "user.x", b"y", XattrFlags::empty()))),
        ("removexattr", rustix(rustix::fs::removexattr(&f, "user.x"))),
        ("access for writing", rustix(rustix::fs::access(&f, rustix::fs::Access::WRITE_OK))),
    ];
    for (name, result) in attempts {
        assert_eq!(errno(result), Some(Errno::ROFS), "{name}");
    }
    assert_eq!(fs::read(&f).unwrap(), [1; 2000]);
}

#[test]
fn new_versions_appear_in_a_mount() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", noise(2_000_000, 1));
    let first = archive.finish();
    file(&mut archive, "/f", noise(2_000_000, 2));
    let second = archive.finish();
    let mounted = mounted(archive, &[first]);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(mounted.point.path())
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["2001-09-09_01-46-41", "latest"]);
    assert_eq!(names(), ["2001-09-09_01-46-41", "latest"]);
    assert_eq!(errno(fs::metadata(mounted.version(2))), Some(Errno::NOENT));
    let open = File::open(mounted.version(1).join("f")).unwrap();
    assert_eq!(fs::read(mounted.point.path().join("latest/f")).unwrap(), noise(2_000_000, 1));
    mounted.handle.set_versions(vec![version(1, first), version(2, second)]);
    assert_eq!(names(), ["2001-09-09_01-46-41", "2001-09-09_01-46-42", "latest"]);
    assert_eq!(fs::read(mounted.point.path().join("latest/f")).unwrap(), noise(2_000_000, 2));
    mounted.handle.set_versions(vec![version(2, second)]);
    assert_eq!(names(), ["2001-09-09_01-46-42", "latest"]);
    assert_eq!(errno(fs::metadata(mounted.version(1))), Some(Errno::NOENT));
    let mut bytes = vec![0; 2_000_000];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, noise(2_000_000, 1), "what is open stays");
    mounted.handle.set_versions(Vec::new());
    assert!(names().is_empty());
}

#[test]
fn mapped_reads_equal_pread() {
    if obstacle().is_some() {
        return;
    }
    let mut bytes = noise(6_000_000, 1);
    bytes[2_000_000..3_500_000].fill(0);
    let mut archive = TestArchive::new();
    let parts = [
        Part::Data(bytes[..2_000_000].to_vec()),
        Part::Hole(1_500_000),
        Part::Data(bytes[3_500_000..].to_vec()),
    ];
    archive.add(&unix("/f"), Entry { mode: 0o644, ..Entry::new(Kind::File) }, &parts);
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let path = mounted.version(1).join("f");
    let open = File::open(&path).unwrap();
    let check = |range: std::ops::Range<usize>| {
        let mut buffer = vec![9; range.len()];
        open.read_exact_at(&mut buffer, range.start as u64).unwrap();
        assert_eq!(buffer, bytes[range]);
    };
    thread::scope(|scope| {
        for reader in 0..4usize {
            let check = &check;
            scope.spawn(move || {
                for step in 0..300usize {
                    let at = (step * 7_654_321 + reader * 1_234_567) % 5_990_000;
                    check(at..at + 1 + (step * 31) % 9000);
                }
            });
        }
    });
    // `cp` and `cmp` map, seek holes and read in their own ways.
    let copy = TempDir::new().unwrap();
    let copied = copy.path().join("f");
    for program in [["cp", "--sparse=always"], ["cp", "--reflink=never"]] {
        let status = Command::new(program[0]).arg(program[1]).arg(&path).arg(&copied).status().unwrap();
        assert!(status.success());
        assert_eq!(blake3::hash(&fs::read(&copied).unwrap()), blake3::hash(&bytes));
    }
    let mut direct = vec![0; 6_000_001];
    assert_eq!(open.read_at(&mut direct, 0).unwrap_or_default().min(6_000_000), 6_000_000);
    assert_eq!(direct[..6_000_000], bytes[..]);
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

fn ls(path: &Path) -> usize {
    let output = Command::new("ls").arg("-l").arg(path).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success());
    output.stdout.iter().filter(|byte| **byte == b'\n').count() - 1
}

#[test]
fn a_second_ls_costs_nothing() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(10_000);
    let mounted = mounted(archive, &[root]);
    let path = mounted.version(1).join("d");
    assert_eq!(ls(&path), 10_000);
    let first = mounted.handle.requests();
    // `ls` reads with a buffer of 32 KiB; a line takes 152 bytes and the name, rounded up to 8. One more for the end.
    let pages = 10_000u64.div_ceil(32_768 / (152 + 16)) + 1;
    assert!(first.listings <= pages + 1 && first.lookups <= 2 && first.attributes <= 4, "{pages}: {first:?}");
    assert!(first.directories_opened <= 1 && first.xattrs <= 2, "{first:?}");
    assert_eq!(ls(&path), 10_000);
    let second = mounted.handle.requests();
    assert_eq!((second.listings, second.lookups), (first.listings, first.lookups));
    assert_eq!((second.directories_opened, second.xattrs), (first.directories_opened, first.xattrs));
    assert!(second.attributes - first.attributes <= 1, "the folder's own attributes hold for a second only");
}

#[test]
fn a_second_cat_reads_nothing() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/small", noise(3000, 1));
    file(&mut archive, "/large", noise(4_000_000, 2));
    let first = archive.finish();
    file(&mut archive, "/small", noise(3000, 1));
    file(&mut archive, "/large", noise(4_000_000, 2));
    file(&mut archive, "/third", noise(3000, 3));
    let second = archive.finish();
    let mounted = mounted(archive, &[first, second]);
    for name in ["small", "large"] {
        let expected = fs::read(mounted.version(1).join(name)).unwrap();
        let reads = mounted.handle.requests().reads;
        assert_eq!(fs::read(mounted.version(1).join(name)).unwrap(), expected);
        assert_eq!(
            fs::read(mounted.version(2).join(name)).unwrap(),
            expected,
            "the same inode, the same pages"
        );
        assert_eq!(mounted.handle.requests().reads, reads);
    }
}

#[test]
fn diff_of_two_versions_reads_nothing_equal() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    let mut make = |last| {
        directory(&mut archive, "/d");
        (0..50).for_each(|number| file(&mut archive, &format!("/d/{number:02}"), noise(2000, number)));
        file(&mut archive, "/d/last", noise(2000, last));
        archive.finish()
    };
    let roots = [make(100), make(101)];
    let mounted = mounted(archive, &roots);
    let output =
        Command::new("diff").arg("-rq").args([mounted.version(1), mounted.version(2)]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.lines().count() == 1 && told.contains("last"), "{told}");
    assert_eq!(mounted.handle.requests().reads, 2);
}

#[test]
fn random_reads_fetch_each_chunk_once() {
    if obstacle().is_some() {
        return;
    }
    let bytes = noise(24 << 20, 1);
    let mut archive = TestArchive::new();
    file(&mut archive, "/disk", bytes.clone());
    let root = archive.finish();
    // So small a cache that only the page cache can hold what was fetched.
    let reading =
        ReaderOptions { data_cache_bytes: 3 << 20, ahead_bytes_max: 1 << 20, ..ReaderOptions::default() };
    let mounted = mount_with(archive, &[root], &MountOptions::default(), &reading);
    let disk = File::open(mounted.version(1).join("disk")).unwrap();
    mounted.source().take_calls();
    let mut buffer = [0; 4096];
    let pages = 24 << 8;
    // Every page, each some megabytes from the one before.
    for page in (1..=pages).map(|step| step * 1571 % pages) {
        let before = mounted.handle.requests();
        disk.read_exact_at(&mut buffer, page * 4096).unwrap();
        assert_eq!(buffer, bytes[page as usize * 4096..][..4096]);
        // Where the pages before are there already the kernel reads more than was asked for, and nothing is left to push.
        let bytes = mounted.handle.requests().bytes_read - before.bytes_read;
        if (1..64 << 10).contains(&bytes) {
            while mounted.handle.requests().pushes == before.pushes {
                thread::yield_now();
            }
        }
    }
    // A page that two chunks share is asked for by itself, when its chunks may be gone from the cache.
    let chunks = mounted.source().ids(ObjectKind::Data);
    let asked: usize = chunks.iter().map(|id| mounted.source().times_asked(id)).sum();
    assert!(asked <= 3 * chunks.len(), "{asked} fetches of {} chunks", chunks.len());
    // What lies in one object and one map node is pushed together.
    let together = chunks.len() + mounted.source().ids(ObjectKind::Map).len();
    assert!(mounted.handle.requests().reads <= 2 * together as u64, "{:?}", mounted.handle.requests());
}

#[test]
fn a_blocked_read_does_not_block_others() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    let ids: Vec<_> = (0..40u64)
        .inspect(|number| {
            file(&mut archive, &format!("/{number:02}"), noise(300_000, *number));
        })
        .collect();
    file(&mut archive, "/small", vec![5; 100]);
    let root = archive.finish();
    let options = MountOptions { workers: 4, event_loops: 2, ..MountOptions::default() };
    let mounted = mount_with(archive, &[root], &options, &ReaderOptions::default());
    let top = mounted.version(1);
    assert_eq!(fs::read_dir(&top).unwrap().count(), 41);
    mounted.source().stick();
    let barrier = Barrier::new(9);
    thread::scope(|scope| {
        let readers: Vec<_> = ids[..8]
            .iter()
            .map(|number| {
                let (top, barrier) = (&top, &barrier);
                scope.spawn(move || {
                    let mut open = File::open(top.join(format!("{number:02}"))).unwrap();
                    barrier.wait();
                    let mut bytes = Vec::new();
                    open.read_to_end(&mut bytes).map(|_| bytes)
                })
            })
            .collect();
        barrier.wait();
        // More readers wait than there are workers; what is in memory is answered all the same.
        for _ in 0..50 {
            assert_eq!(fs::read(top.join("small")).unwrap(), [5; 100]);
            assert_eq!(fs::read_dir(&top).unwrap().count(), 41);
            assert_eq!(errno(fs::metadata(top.join("nothing"))), Some(Errno::NOENT));
        }
        mounted.source().heal();
        for (reader, number) in readers.into_iter().zip(&ids) {
            assert_eq!(reader.join().unwrap().unwrap(), noise(300_000, *number));
        }
    });
}

#[test]
fn a_dead_source_is_an_error_in_time() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", noise(300_000, 1));
    let root = archive.finish();
    let reading = ReaderOptions { deadline: Duration::from_millis(50), ..ReaderOptions::default() };
    let mounted = mount_with(archive, &[root], &MountOptions::default(), &reading);
    mounted.source().stick();
    assert_eq!(
        errno(fs::read_dir(mounted.version(1)).and_then(|mut items| items.next().unwrap())),
        Some(Errno::IO)
    );
    assert_eq!(errno(fs::metadata(mounted.version(1).join("f"))), Some(Errno::IO));
    mounted.source().heal();
    while fs::metadata(mounted.version(1).join("f")).is_err() {}
    mounted.source().die();
    assert_eq!(errno(fs::read(mounted.version(1).join("f"))), Some(Errno::IO));
    mounted.source().heal();
    assert_eq!(fs::read(mounted.version(1).join("f")).unwrap(), noise(300_000, 1));
    // And with a reader that hangs, the folder can still be taken away.
    mounted.source().stick();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Clean);
}

#[test]
fn damage_is_an_error_of_its_file() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/good", noise(300_000, 1));
    let good = archive.source().ids(ObjectKind::Data);
    file(&mut archive, "/bad", noise(300_000, 2));
    let bad: Vec<ObjectId> =
        archive.source().ids(ObjectKind::Data).into_iter().filter(|id| !good.contains(id)).collect();
    let root = archive.finish();
    bad.iter().for_each(|id| archive.source().fail(*id, ReadFailure::Damaged));
    let mounted = mounted(archive, &[root]);
    assert_eq!(errno(fs::read(mounted.version(1).join("bad"))), Some(Errno::IO));
    assert_eq!(fs::read(mounted.version(1).join("good")).unwrap(), noise(300_000, 1));
    assert_eq!(fs::metadata(mounted.version(1).join("bad")).unwrap().len(), 300_000);
}

#[test]
fn xattrs_are_off_by_default() {
    if obstacle().is_some() {
        return;
    }
    let make = |xattrs| {
        let mut archive = TestArchive::new();
        let xattr = backstore_protocol::entry::Xattr {
            name: Box::new(*b"user.note"),
            size: 3,
            value: backstore_protocol::entry::Content::Inline(Box::new(*b"abc")),
        };
        archive.add(&unix("/f"), Entry { xattrs: vec![xattr], ..Entry::new(Kind::File) }, &[]);
        let root = archive.finish();
        mount_with(
            archive,
            &[root],
            &MountOptions { xattrs, ..MountOptions::default() },
            &ReaderOptions::default(),
        )
    };
    let mut buffer = [0; 64];
    let off = make(false);
    let path = off.version(1).join("f");
    for _ in 0..5 {
        assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut buffer[..]), Err(Errno::OPNOTSUPP));
        assert_eq!(rustix::fs::listxattr(&path, &mut buffer[..]), Err(Errno::OPNOTSUPP));
    }
    assert!(off.handle.requests().xattrs <= 2, "the kernel asks once");
    let on = make(true);
    let path = on.version(1).join("f");
    assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut buffer[..]), Ok(3));
    assert_eq!(buffer[..3], *b"abc");
    assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut buffer[..2]), Err(Errno::RANGE));
    assert_eq!(rustix::fs::getxattr(&path, "user.none", &mut buffer[..]), Err(Errno::NODATA));
    assert_eq!(rustix::fs::listxattr(&path, &mut buffer[..]), Ok(10));
    assert_eq!(buffer[..10], *b"user.note\0");
}

#[test]
fn mounting_reads_nothing() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1000);
    let roots: Vec<_> = (0..100).map(|_| root).collect();
    let mounted = mounted(archive, &roots);
    assert_eq!(fs::read_dir(mounted.point.path()).unwrap().count(), 101);
    assert_eq!(mounted.source().take_calls().len(), 0);
    assert_eq!(mounted.reader.counters(), crate::objects::ReaderCounters::default());
    let space = rustix::fs::statvfs(mounted.point.path()).unwrap();
    assert_eq!((space.f_blocks * space.f_frsize / 4096, space.f_bfree), (123_456_789u64.div_ceil(4096), 0));
}

#[test]
fn the_mount_table_names_us() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1);
    let mounted = mounted(archive, &[root]);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = mounted.handle.mount_point().to_str().unwrap();
    let line = table.lines().find(|line| line.contains(path)).unwrap();
    assert!(line.contains(" - fuse.backstore backstore "), "{line}");
    for option in ["ro", "nosuid", "nodev", "noatime"] {
        assert!(line.split(' ').nth(5).unwrap().split(',').any(|given| given == option), "{option}: {line}");
    }
}

#[test]
fn bad_mount_points_are_refused() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1);
    let mounted = mounted(archive, &[root]);
    let model = Arc::clone(&mounted.handle.model);
    let folder = TempDir::new().unwrap();
    let attempt = |path: &Path, options: &MountOptions| mount(Arc::clone(&model), path, options);
    let options = MountOptions::default();
    assert!(matches!(attempt(mounted.point.path(), &options), Err(MountError::AlreadyMounted { .. })));
    assert!(matches!(attempt(&folder.path().join("none"), &options), Err(MountError::PointMissing { .. })));
    assert!(matches!(
        attempt(&folder.path().join("none/below"), &options),
        Err(MountError::PointMissing { .. })
    ));
    fs::write(folder.path().join("file"), b"x").unwrap();
    assert!(matches!(
        attempt(&folder.path().join("file"), &options),
        Err(MountError::PointNotDirectory { .. })
    ));
    assert!(matches!(
        attempt(&folder.path().join("file/below"), &options),
        Err(MountError::PointNotDirectory { .. })
    ));
    assert!(matches!(attempt(folder.path(), &options), Err(MountError::PointNotEmpty { .. })));
    let over = attempt(folder.path(), &MountOptions { allow_nonempty: true, ..options }).unwrap();
    assert!(fs::metadata(folder.path().join("latest")).is_ok());
    assert_eq!(over.unmount().unwrap(), Unmounted::Clean);
    assert_eq!(over.unmount().unwrap(), Unmounted::Clean, "twice does no harm");
    assert!(fs::metadata(folder.path().join("file")).is_ok());
}

/// Set for the process that mounts and is killed.
const VICTIM: &str = "BACKSTORE_TEST_VICTIM_MOUNT";

/// Not a test of its own: run by [`a_dead_mount_is_replaced`] in another process, it mounts and waits to be killed.
#[test]
fn victim_of_a_dead_mount_is_replaced() {
    let Some(point) = std::env::var_os(VICTIM) else { return };
    let (archive, root) = wide(1);
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let model = Arc::new(Snapshots::new(&reader, Owner::default()).unwrap());
    model.set_versions(vec![version(1, root)]);
    let handle = mount(model, Path::new(&point), &MountOptions::default()).unwrap();
    println!("mounted");
    handle.wait();
}

#[test]
fn a_dead_mount_is_replaced() {
    if obstacle().is_some() {
        return;
    }
    let point = TempDir::new().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host::linux::tests::victim_of_a_dead_mount_is_replaced", "--nocapture"])
        .env(VICTIM, point.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    let mut output = victim.stdout.take().unwrap();
    while !String::from_utf8_lossy(&told).contains("mounted") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&told));
        told.push(byte[0]);
    }
    assert!(fs::metadata(point.path().join("latest")).is_ok());
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(rustix::fs::statfs(point.path()).unwrap_err(), Errno::NOTCONN);
    let (archive, root) = wide(3);
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let model = Arc::new(Snapshots::new(&reader, Owner::default()).unwrap());
    model.set_versions(vec![version(1, root)]);
    let handle = mount(model, point.path(), &MountOptions::default()).unwrap();
    assert_eq!(fs::read_dir(point.path().join("latest/d")).unwrap().count(), 3);
    drop(handle);
    assert_eq!(fs::read_dir(point.path()).unwrap().count(), 0);
}

#[test]
fn a_busy_mount_is_detached() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", noise(3_000_000, 1));
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let mut open = File::open(mounted.version(1).join("f")).unwrap();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Detached);
    assert_eq!(fs::read_dir(mounted.point.path()).unwrap().count(), 0);
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, noise(3_000_000, 1), "whoever has it open goes on reading");
    drop(open);
    mounted.handle.wait();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Clean);
}

#[test]
fn an_unmount_from_outside_ends_the_mount() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1);
    let mounted = mounted(archive, &[root]);
    assert!(Command::new("umount").arg(mounted.point.path()).status().unwrap().success());
    mounted.handle.wait();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Clean);
    let (archive, root) = wide(1);
    let dropped = self::mounted(archive, &[root]);
    let point = dropped.point.path().to_owned();
    let Mounted { handle, point: folder, .. } = dropped;
    drop(handle);
    assert_eq!(fs::read_dir(&point).unwrap().count(), 0, "dropping the handle unmounts");
    folder.close().unwrap();
}

#[test]
fn other_users_are_kept_out() {
    if obstacle().is_some() {
        return;
    }
    let make = |allow_other| {
        let mut archive = TestArchive::new();
        file(&mut archive, "/open", b"open".to_vec());
        let secret = Entry { mode: 0o600, owner: root_owner(), ..Entry::new(Kind::File) };
        archive.add(&unix("/secret"), secret, &[Part::Data(b"secret".to_vec())]);
        let root = archive.finish();
        mount_with(
            archive,
            &[root],
            &MountOptions { allow_other, ..MountOptions::default() },
            &ReaderOptions::default(),
        )
    };
    // Nobody's shell has to be able to reach the mount point.
    let as_nobody = |mounted: &Mounted, name: &str| {
        fs::set_permissions(mounted.point.path().parent().unwrap(), fs::Permissions::from_mode(0o1777))
            .unwrap_or_default();
        let path = mounted.version(1).join(name);
        let mut command = Command::new("cat");
        std::os::unix::process::CommandExt::uid(
            command.arg(path).stdout(Stdio::null()).stderr(Stdio::null()),
            65_534,
        );
        command.status().unwrap().success()
    };
    let closed = make(false);
    assert!(!as_nobody(&closed, "open") && fs::read(closed.version(1).join("open")).is_ok());
    let shared = make(true);
    assert!(as_nobody(&shared, "open") && !as_nobody(&shared, "secret"));
    assert_eq!(fs::read(shared.version(1).join("secret")).unwrap(), b"secret");
}

fn root_owner() -> Arc<backstore_protocol::entry::Principal> {
    let id = backstore_protocol::entry::PrincipalId::Unix(0);
    Arc::new(backstore_protocol::entry::Principal { id, name: Box::default() })
}

#[test]
fn names_of_every_byte_are_listed() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    let mut expected: Vec<Vec<u8>> =
        (1..=255u8).filter(|byte| !matches!(byte, b'/' | b'.')).map(|byte| vec![byte, b'x']).collect();
    expected.push(vec![b'n'; 1000]);
    expected.sort();
    for name in &expected {
        archive.add_raw(child_key(b"/", name), Entry::new(Kind::Fifo));
    }
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let found: Vec<_> =
        fs::read_dir(mounted.version(1)).unwrap().map(|item| item.unwrap().file_name().into_vec()).collect();
    assert_eq!(found, expected);
}
