//! Real trees with every ugly case, compared with what the standard library says of them.

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Dev, Mode, OFlags, mkdirat, openat};
use tempfile::TempDir;

use super::*;
use crate::machine::time_from;
use crate::testing::{child, is_ordinary_user, make_fifo, skip, ugly_names, world_readable_folder};

fn folder() -> (TempDir, Directory) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path()).unwrap();
    (folder, directory)
}

fn names(directory: &mut Directory) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let listed = directory.list(&mut ListBuffer::default(), |listed| {
        names.push(listed.name.to_vec());
        Ok(())
    });
    listed.unwrap();
    names.sort();
    names
}

/// Compares what the standard library says of `path` with both kinds of metadata.
#[track_caller]
fn same_as_std(path: &std::path::Path, found: &Stat, full: &FullStat) {
    assert_eq!(full.basic, *found);
    let expected = fs::symlink_metadata(path).unwrap();
    let kind = match expected.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Symlink,
        kind if kind.is_fifo() => Kind::Fifo,
        kind if kind.is_socket() => Kind::Socket,
        kind if kind.is_char_device() => Kind::CharacterDevice,
        kind if kind.is_block_device() => Kind::BlockDevice,
        kind => panic!("{kind:?}"),
    };
    assert_eq!(found.kind, kind);
    assert_eq!(u32::from(found.mode), expected.mode() & 0o7777);
    assert_eq!((found.owner, found.group), (Some(expected.uid()), Some(expected.gid())));
    assert_eq!((found.size, found.allocated), (expected.len(), expected.blocks() * 512));
    assert_eq!(found.mtime, Time { seconds: expected.mtime(), nanoseconds: expected.mtime_nsec() as u32 });
    assert_eq!(found.ctime, Time { seconds: expected.ctime(), nanoseconds: expected.ctime_nsec() as u32 });
    assert_eq!(full.btime, expected.created().ok().map(time_from));
    assert_eq!((found.inode, u64::from(found.nlink)), (expected.ino(), expected.nlink()));
    let numbers = |device: u64| (rustix::fs::major(device as Dev), rustix::fs::minor(device as Dev));
    assert_eq!((found.device.numbers(), found.special), (numbers(expected.dev()), numbers(expected.rdev())));
}

#[test]
fn every_name_is_listed_and_found() {
    let (folder, mut directory) = folder();
    for name in ugly_names() {
        fs::write(child(folder.path(), &name), &name).unwrap();
    }
    assert_eq!(names(&mut directory), ugly_names());
    assert_eq!(names(&mut directory), ugly_names(), "a second time");
    for name in ugly_names() {
        let (stat, full) = (directory.stat(&name).unwrap(), directory.full_stat(&name).unwrap());
        same_as_std(&child(folder.path(), &name), &stat, &full);
        let mut content = Vec::new();
        directory.open_file(&name).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, name);
    }
}

#[test]
fn listings_beyond_one_buffer_are_whole() {
    let (folder, mut directory) = folder();
    let expected: Vec<_> = (0..5000).map(|at| format!("{at:0>200}").into_bytes()).collect();
    for name in &expected {
        File::create(child(folder.path(), name)).unwrap();
    }
    assert_eq!(names(&mut directory), expected);
}

#[test]
fn every_kind_is_told() {
    let (folder, mut directory) = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "x").unwrap();
    fs::hard_link(path("file"), path("link")).unwrap();
    fs::create_dir(path("directory")).unwrap();
    fs::set_permissions(path("directory"), fs::Permissions::from_mode(0o1751)).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    symlink("loop", path("loop")).unwrap();
    make_fifo(&path("fifo"));
    let _socket = UnixListener::bind(path("socket")).unwrap();
    let devices = make_devices(&directory);
    let mut kinds = Vec::new();
    let listed = directory.list(&mut ListBuffer::default(), |listed| {
        kinds.push((listed.name.to_vec(), listed.kind, listed.inode));
        Ok(())
    });
    listed.unwrap();
    assert_eq!(kinds.len(), 7 + devices);
    for (name, kind, inode) in kinds {
        let stat = directory.stat(&name).unwrap();
        same_as_std(&child(folder.path(), &name), &stat, &directory.full_stat(&name).unwrap());
        // Listings of some file systems tell no kinds, but never wrong ones.
        assert_eq!(kind.unwrap_or(stat.kind), stat.kind);
        assert_eq!(inode, stat.inode);
    }
    assert_eq!(directory.stat(b"link").unwrap().identity(), directory.stat(b"file").unwrap().identity());
    assert_eq!(directory.read_link(b"loop").unwrap(), b"loop");
    let itself = directory.full_stat_self().unwrap();
    same_as_std(folder.path(), &itself.basic, &itself);
    let file = directory.open_file(b"file").unwrap();
    same_as_std(&path("file"), &stat_file(&file).unwrap(), &full_stat_file(&file).unwrap());
}

/// Device nodes where this user may make them; how many.
#[cfg(target_os = "linux")]
fn make_devices(directory: &Directory) -> usize {
    use rustix::fs::{FileType, makedev, mknodat};
    if !crate::testing::is_root() {
        return 0;
    }
    mknodat(directory, "character", FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).unwrap();
    mknodat(directory, "block", FileType::BlockDevice, Mode::RUSR, makedev(4000, 1_000_000)).unwrap();
    assert_eq!(directory.stat(b"character").unwrap().special, (1, 3));
    assert_eq!(directory.stat(b"block").unwrap().special, (4000, 1_000_000));
    2
}

#[cfg(not(target_os = "linux"))]
fn make_devices(_: &Directory) -> usize {
    0
}

#[test]
fn links_are_never_followed() {
    let (folder, directory) = folder();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("real")).unwrap();
    fs::write(path("real/secret"), "secret").unwrap();
    symlink("real", path("directory")).unwrap();
    symlink("real/secret", path("file")).unwrap();
    assert!(directory.open_child(b"directory").is_err());
    assert!(directory.open_file(b"file").is_err());
    assert!(Directory::open(&path("directory")).is_err());
    assert_eq!(directory.read_link(b"directory").unwrap(), b"real");
    // On the way to a root they are: the user named it so.
    fs::create_dir(path("real/inner")).unwrap();
    assert!(Directory::open(&path("directory/inner")).is_ok());
}

#[test]
fn names_do_not_leave_their_directory() {
    let (folder, directory) = folder();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/b"), "x").unwrap();
    for name in [&b""[..], b".", b"..", b"a/b", b"/etc/passwd", b"a\0"] {
        let refused = |error: io::Error| assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
        directory.stat(name).map(drop).unwrap_or_else(refused);
        refused(directory.open_file(name).unwrap_err());
        refused(directory.open_child(name).unwrap_err());
        refused(directory.read_link(name).unwrap_err());
    }
}

#[test]
fn what_changes_under_the_walk_is_noticed() {
    let (folder, mut directory) = folder();
    let path = |name: &str| folder.path().join(name);
    for name in ["vanishing", "replaced", "piped"] {
        fs::write(path(name), "x").unwrap();
    }
    fs::create_dir(path("swapped")).unwrap();
    fs::create_dir(path("removed")).unwrap();
    let mut removed = directory.open_child(b"removed").unwrap();
    assert_eq!(names(&mut directory).len(), 5);
    let before = directory.stat(b"replaced").unwrap();

    fs::remove_file(path("vanishing")).unwrap();
    assert_eq!(directory.stat(b"vanishing").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(directory.open_file(b"vanishing").unwrap_err().kind(), ErrorKind::NotFound);

    fs::rename(path("swapped"), path("kept")).unwrap();
    symlink("/etc", path("swapped")).unwrap();
    assert!(directory.open_child(b"swapped").is_err());

    fs::remove_dir(path("removed")).unwrap();
    let outcome = removed.list(&mut ListBuffer::default(), |listed| panic!("{listed:?}"));
    assert!(outcome.is_ok() || outcome.unwrap_err().kind() == ErrorKind::NotFound);

    fs::write(path("new"), "y").unwrap();
    fs::rename(path("new"), path("replaced")).unwrap();
    assert!(!stat_file(&directory.open_file(b"replaced").unwrap()).unwrap().is_unchanged_since(&before));

    // Waiting for a writer would hang the test.
    fs::remove_file(path("piped")).unwrap();
    make_fifo(&path("piped"));
    let opened = directory.open_file(b"piped").unwrap();
    assert_eq!(stat_file(&opened).unwrap().kind, Kind::Fifo);
}

#[test]
fn paths_may_be_longer_than_paths_may_be() {
    let (folder, mut directory) = folder();
    let name = [b'd'; 255];
    let mut path = folder.path().to_owned();
    for _ in 0..40 {
        mkdirat(&directory, &name[..], Mode::RWXU).unwrap();
        directory = directory.open_child(&name).unwrap();
        path = child(&path, &name);
    }
    drop(File::from(openat(&directory, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap()));
    assert_eq!(names(&mut directory), [b"file"]);
    assert_eq!(
        Directory::open(&path).unwrap().full_stat_self().unwrap(),
        directory.full_stat_self().unwrap()
    );
    assert_eq!(Directory::open(&path.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Directory::open(&path.join("file")).unwrap_err().kind(), ErrorKind::NotADirectory);
}

#[test]
fn times_outside_the_usual_are_exact() {
    let (folder, directory) = folder();
    let moments = [
        UNIX_EPOCH - Duration::new(2_000_000_000, 1),
        UNIX_EPOCH - Duration::new(0, 1),
        UNIX_EPOCH + Duration::new(4_294_967_296, 999_999_999),
        UNIX_EPOCH + Duration::new(8_000_000_000, 123_456_789),
    ];
    for (at, moment) in moments.into_iter().enumerate() {
        let file = File::create(folder.path().join(at.to_string())).unwrap();
        file.set_times(FileTimes::new().set_modified(moment)).unwrap();
        // A file system that keeps less than that says so to `std` as well.
        let kept: SystemTime = file.metadata().unwrap().modified().unwrap();
        assert_eq!(directory.stat(at.to_string().as_bytes()).unwrap().mtime, time_from(kept));
        if kept != moment {
            skip(&format!("the file system of {} keeps {kept:?} for {moment:?}", folder.path().display()));
        }
    }
}

#[test]
fn holes_show_in_the_allocated_bytes() {
    let (folder, directory) = folder();
    File::create(folder.path().join("sparse")).unwrap().set_len(10 << 20).unwrap();
    let stat = directory.stat(b"sparse").unwrap();
    assert!(stat.size == 10 << 20 && stat.allocated < stat.size, "{stat:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn mount_points_are_told() {
    let root = Directory::open("/".as_ref()).unwrap();
    let proc = root.full_stat(b"proc").unwrap();
    assert!(proc.is_mount_root && proc.mount.is_some());
    assert_ne!(proc.basic.device, root.full_stat_self().unwrap().basic.device);
    assert!(!Directory::open("/proc".as_ref()).unwrap().full_stat(b"self").unwrap().is_mount_root);
}

#[cfg(target_os = "linux")]
#[test]
fn reading_leaves_access_times_alone() {
    let (folder, directory) = folder();
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    // Older than the content, so that any reading would note itself even on a file system mounted with relatime.
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::open(&path).unwrap().set_times(FileTimes::new().set_accessed(long_ago)).unwrap();
    directory.open_file(b"file").unwrap().read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), long_ago);
}

#[test]
fn unreadable_files_are_errors_and_others_files_are_readable() {
    if !is_ordinary_user("walk::tests::unreadable_files_are_errors_and_others_files_are_readable") {
        return;
    }
    let folder = world_readable_folder();
    let directory = Directory::open(folder.path()).unwrap();
    for name in ["file", "directory"] {
        let path = folder.path().join(name);
        if name == "file" {
            fs::write(&path, "x").unwrap()
        } else {
            fs::create_dir(&path).unwrap()
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    assert_eq!(directory.open_file(b"file").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(directory.open_child(b"directory").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(directory.stat(b"file").unwrap().kind, Kind::File);
    // Only the owner may leave the access time alone; for others reading has to work all the same.
    let others = Directory::open("/etc".as_ref()).unwrap();
    let mut content = Vec::new();
    others.open_file(b"passwd").unwrap().read_to_end(&mut content).unwrap();
    assert!(!content.is_empty());
}

#[test]
fn asking_for_a_file_leaves_it_as_it_was() {
    let (folder, directory) = folder();
    fs::write(folder.path().join("file"), [7; 10_000]).unwrap();
    let mut file = directory.open_file(b"file").unwrap();
    // Whether it is in memory is the system's affair; it is read in any case, from its start.
    let _ = has_in_memory(&file);
    read_ahead(&file, 10_000);
    read_ahead(&file, 0);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [7; 10_000]);
}
