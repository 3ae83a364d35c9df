//! Attributes of every namespace that this user may set, on every kind of file.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use backstore_protocol::limits::XATTRS_MAX;
use rustix::fs::{XattrFlags, lsetxattr};
use tempfile::TempDir;

use super::*;
use crate::testing::{is_root, make_fifo, skip};

/// A folder on a file system that has extended attributes.
fn folder() -> Option<(TempDir, Directory)> {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path()).unwrap();
    if lsetxattr(folder.path(), "user.probe", b"", XattrFlags::empty()).is_err() {
        skip(&format!("{} has no extended attributes", folder.path().display()));
        return None;
    }
    rustix::fs::lremovexattr(folder.path(), "user.probe").unwrap();
    Some((folder, directory))
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{name} of {path:?}: {error}"));
}

#[track_caller]
fn check(subject: Subject<'_>, expected: &[(&str, &[u8])]) {
    let read = XattrReader::default().read(subject);
    let found: Vec<_> =
        read.found.iter().map(|xattr| (str::from_utf8(&xattr.name).unwrap(), &xattr.value[..])).collect();
    assert_eq!(found, expected);
    assert!(read.problems.is_empty(), "{:?}", read.problems);
}

/// user::rw- user:1000:r-- group::r-- mask::r-- other::---, as the kernel encodes it.
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

#[test]
fn attributes_of_every_kind_and_namespace_are_read() {
    let Some((folder, directory)) = folder() else { return };
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "x").unwrap();
    fs::create_dir(path("directory")).unwrap();
    symlink("nowhere", path("link")).unwrap();
    make_fifo(&path("fifo"));
    let file = File::open(path("file")).unwrap();
    let child = directory.open_child(b"directory").unwrap();
    check(Subject::File(&file), &[]);
    check(Subject::Directory(&child), &[]);
    check(Subject::Named(&directory, b"link"), &[]);
    check(Subject::Named(&directory, b"fifo"), &[]);

    let large = vec![7; 2000];
    set(&path("file"), "user.b", b"");
    set(&path("file"), "user.a", b"\0\xff");
    set(&path("file"), "user.large", &large);
    set(&path("directory"), "user.a", b"1");
    check(
        Subject::Named(&directory, b"file"),
        &[("user.a", b"\0\xff"), ("user.b", b""), ("user.large", &large)],
    );
    check(Subject::File(&file), &[("user.a", b"\0\xff"), ("user.b", b""), ("user.large", &large)]);

    if cfg!(target_os = "linux") {
        set(&path("file"), "system.posix_acl_access", ACL);
        set(&path("directory"), "system.posix_acl_default", ACL);
        check(Subject::Directory(&child), &[("system.posix_acl_default", ACL), ("user.a", b"1")]);
    }
    if cfg!(target_os = "linux") && is_root() {
        let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        for name in ["link", "fifo"] {
            set(&path(name), "trusted.t", b"t");
            set(&path(name), "security.s", b"s");
            check(Subject::Named(&directory, name.as_bytes()), &[("security.s", b"s"), ("trusted.t", b"t")]);
        }
        set(&path("file"), "trusted.t", b"t");
        set(&path("file"), "security.capability", capability);
        check(
            Subject::File(&file),
            &[
                ("security.capability", capability),
                ("system.posix_acl_access", ACL),
                ("trusted.t", b"t"),
                ("user.a", b"\0\xff"),
                ("user.b", b""),
                ("user.large", &large),
            ],
        );
    }
}

#[test]
fn what_is_gone_is_a_problem_and_no_panic() {
    let Some((folder, directory)) = folder() else { return };
    let read = XattrReader::default().read(Subject::Named(&directory, b"gone"));
    assert!(
        matches!(&read.problems[..], [XattrProblem::List { source }] if source.kind() == io::ErrorKind::NotFound)
    );
    let read = XattrReader::default().read(Subject::Named(&directory, b"../x"));
    assert!(
        matches!(&read.problems[..], [XattrProblem::List { source }] if source.kind() == io::ErrorKind::InvalidInput)
    );
    drop(folder);
}

/// One attribute more than archives store; where the file system has no room for so many, as ext4, as many as fit.
#[test]
fn too_many_attributes_are_cut_and_reported() {
    let Some((folder, _)) = folder() else { return };
    let path = folder.path().join("file");
    let file = File::create(&path).unwrap();
    let mut set = 0;
    while set <= XATTRS_MAX && lsetxattr(&path, format!("user.{set:03}"), b"", XattrFlags::empty()).is_ok() {
        set += 1;
    }
    let read = XattrReader::default().read(Subject::File(&file));
    assert_eq!(read.found.len(), set.min(XATTRS_MAX));
    assert!(read.found.is_sorted_by(|a, b| a.name < b.name));
    if set > XATTRS_MAX {
        assert!(matches!(read.problems[..], [XattrProblem::TooMany { count }] if count == set));
    } else {
        assert!(read.problems.is_empty());
    }
}

#[test]
fn an_entry_has_what_the_stat_says() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path()).unwrap();
    fs::write(folder.path().join("file"), "four").unwrap();
    fs::hard_link(folder.path().join("file"), folder.path().join("second")).unwrap();
    fs::create_dir(folder.path().join("directory")).unwrap();
    let mut principals = PrincipalCache::default();
    let full = directory.full_stat(b"file").unwrap();
    let (entry, stat) = (entry_from(&full, 3, &mut principals), full.basic);
    assert_eq!((entry.kind, entry.size, entry.nlink, entry.mount), (Kind::File, 4, 2, 3));
    assert_eq!((entry.inode, entry.mode, entry.device), (stat.inode, stat.mode, (0, 0)));
    assert_eq!((entry.mtime, entry.ctime, entry.btime), (stat.mtime, stat.ctime, full.btime));
    assert_eq!(entry.owner.id, backstore_protocol::entry::PrincipalId::Unix(stat.owner.unwrap()));
    assert_eq!(entry.group.id, backstore_protocol::entry::PrincipalId::Unix(stat.group.unwrap()));

    let full = directory.full_stat(b"directory").unwrap();
    let directory = full.basic;
    assert_eq!(entry_from(&full, 0, &mut principals).size, 0);
    let implied = implied_directory_from(&directory, &mut principals);
    assert_eq!(
        (implied.kind, implied.mode, implied.owner),
        (Kind::ImpliedDirectory, directory.mode, entry.owner)
    );
    assert_eq!((implied.inode, implied.mtime.seconds), (0, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn inode_flags_are_read_where_there_are_some() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("file")).unwrap();
    let directory = Directory::open(folder.path()).unwrap();
    let stat = crate::walk::stat_file(&file).unwrap();
    let before = attributes(Subject::File(&file), &stat);
    assert_eq!(before & !linux_flags::KEPT, 0);
    assert_eq!(attributes(Subject::Named(&directory, b"file"), &stat), 0);
    let set = ioctl_getflags(&file)
        .and_then(|flags| ioctl_setflags(&file, flags | IFlags::NODUMP | IFlags::NOATIME));
    if set.is_err() {
        return skip(&format!("{} has no inode flags", folder.path().display()));
    }
    assert_eq!(
        attributes(Subject::File(&file), &stat),
        before | linux_flags::NO_DUMP | linux_flags::NO_ACCESS_TIME
    );
    // A pseudo file system has none, and that is no failure.
    let proc = File::open("/proc/self/stat").unwrap();
    assert_eq!(attributes(Subject::File(&proc), &stat), 0);
}
