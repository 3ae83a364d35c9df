//! Linux: metadata of every kind of file, archived, restored and archived again; access lists and flags.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use backstore_protocol::entry::{Entry, Kind, Time};
use rustix::fs::{XattrFlags, lsetxattr};

use super::super::*;
use super::{PRIVILEGED, USUAL, entry, folders, mode, parts, wanted};
use crate::metadata::{PrincipalCache, PrincipalIds, Subject, XattrReader, attributes, entry_from};
use crate::testing::{is_ordinary_user, is_root, make_fifo, skip};
use crate::walk::{Directory, stat_file};

#[track_caller]
fn there_and_back(source: &Directory, name: &[u8], target: &TargetDirectory, policy: &Policy) {
    let mut ids = PrincipalIds::default();
    let archived = archive(source, name);
    let xattrs: Vec<_> = archived.1.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let wanted = Wanted { entry: &archived.0, xattrs: &xattrs };
    let left_out = match archived.0.kind {
        Kind::File => {
            let file = target.create_file(name).unwrap();
            prepare_file(&file, &wanted, policy);
            (&file).write_all(&vec![1; archived.0.size as usize]).unwrap();
            finish_file(&file, &wanted, policy, &mut ids)
        }
        Kind::Directory => finish_directory(&target.make_directory(name).unwrap(), &wanted, policy, &mut ids),
        Kind::Symlink => {
            target.create_link(name, &source.read_link(name).unwrap()).unwrap();
            target.finish_named(name, &wanted, policy, &mut ids).unwrap()
        }
        kind => {
            assert!(target.create_special(name, kind, archived.0.device, policy).unwrap().is_none());
            target.finish_named(name, &wanted, policy, &mut ids).unwrap()
        }
    };
    assert!(left_out.is_empty(), "{left_out:?}");
    assert_eq!(archive(target.as_directory(), name), archived, "{}", String::from_utf8_lossy(name));
}

type Archived = (Entry, Vec<(Vec<u8>, Vec<u8>)>);

fn archive(directory: &Directory, name: &[u8]) -> Archived {
    let full = directory.full_stat(name).unwrap();
    let stat = full.basic;
    let mut entry = entry_from(&full, 0, &mut PrincipalCache::default());
    let mut reader = XattrReader::default();
    let (read, flags) = match stat.kind {
        Kind::File => {
            let file = directory.open_file(name).unwrap();
            (reader.read(Subject::File(&file)), attributes(Subject::File(&file), &stat))
        }
        Kind::Directory => {
            let child = directory.open_child(name).unwrap();
            (reader.read(Subject::Directory(&child)), attributes(Subject::Directory(&child), &stat))
        }
        _ => (reader.read(Subject::Named(directory, name)), 0),
    };
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    entry.attributes = flags;
    // What no restore can set, and what has to differ.
    (entry.ctime, entry.btime, entry.inode) = (Time::default(), None, 0);
    (entry, read.found.into_iter().map(|xattr| (xattr.name.into(), xattr.value.into())).collect())
}

/// As root it is other system calls that refuse than as an ordinary user.
#[test]
fn metadata_there_and_back() {
    is_ordinary_user("create::tests::linux::metadata_there_and_back");
    metadata_there_and_back_as_this_user();
}

fn metadata_there_and_back_as_this_user() {
    use rustix::fs::{FileType, IFlags, Mode, ioctl_getflags, ioctl_setflags, makedev, mknodat};
    let (folder, target) = folders();
    let source = folder.path().join("outside");
    let path = |name: &str| source.join(name);
    let set = |name: &str, xattr: &str, value: &[u8]| {
        lsetxattr(path(name), xattr, value, XattrFlags::empty()).is_ok() || {
            skip(&format!("{xattr} on {}", path(name).display()));
            false
        }
    };
    let at = |name: &str, seconds: i64, nanoseconds: i64| {
        let stamp = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::Timestamps { last_access: stamp, last_modification: stamp };
        rustix::fs::utimensat(rustix::fs::CWD, path(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
    };
    fs::create_dir(path("directory")).unwrap();
    symlink("no\nwhere", path("link")).unwrap();
    make_fifo(&path("fifo"));
    mknodat(rustix::fs::CWD, path("socket"), FileType::Socket, Mode::RWXU, 0).unwrap();
    set("secret", "user.name", b"value\0\xff");
    set("secret", "user.empty", b"");
    set("directory", "user.name", b"of a directory");
    set("directory", "system.posix_acl_default", OPEN_ACL);
    // Not to be written even by the owner: its attributes have to come back all the same.
    fs::set_permissions(path("secret"), fs::Permissions::from_mode(0o467)).unwrap();
    fs::set_permissions(path("directory"), fs::Permissions::from_mode(0o1571)).unwrap();
    let flagged = fs::File::open(path("secret")).unwrap();
    let _ = ioctl_getflags(&flagged).and_then(|flags| ioctl_setflags(&flagged, flags | IFlags::NODUMP));
    for (at_nanoseconds, name) in ["secret", "directory", "link", "fifo", "socket"].into_iter().enumerate() {
        at(name, -1_000_000_000, at_nanoseconds as i64);
    }
    let reader = Directory::open(&source).unwrap();
    for name in ["secret", "directory", "link", "fifo", "socket"] {
        there_and_back(&reader, name.as_bytes(), &target, &USUAL);
        at(name, 5_000_000_000, 999_999_999);
        target.remove_file(name.as_bytes()).or_else(|_| target.remove_directory(name.as_bytes())).unwrap();
        there_and_back(&reader, name.as_bytes(), &target, &USUAL);
    }
    if !is_root() {
        return;
    }
    for name in ["secret", "directory", "link", "fifo"] {
        set(name, "trusted.t", b"t");
        set(name, "security.s", b"s");
        std::os::unix::fs::lchown(path(name), Some(12_345), Some(54_321)).unwrap();
    }
    mknodat(rustix::fs::CWD, path("device"), FileType::BlockDevice, Mode::RUSR, makedev(4000, 1_000_000))
        .unwrap();
    fs::set_permissions(path("secret"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(path("directory"), fs::Permissions::from_mode(0o3070)).unwrap();
    fs::set_permissions(path("fifo"), fs::Permissions::from_mode(0o004)).unwrap();
    set("secret", "security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let privileged = target.make_directory(b"privileged").unwrap();
    for name in ["secret", "directory", "link", "fifo", "device"] {
        there_and_back(&reader, name.as_bytes(), &privileged, &PRIVILEGED);
    }
}

/// user::rwx user:1000:rwx group::--- mask::rwx other::---, as the kernel encodes it.
const OPEN_ACL: &[u8] = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\0\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

#[test]
fn inherited_access_lists_give_nobody_access() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    if lsetxattr(folder.path().join("target"), "system.posix_acl_default", OPEN_ACL, XattrFlags::empty())
        .is_err()
    {
        return skip(&format!("{} has no access control lists", folder.path().display()));
    }
    let file = target.create_file(b"file").unwrap();
    let directory = target.make_directory(b"directory").unwrap();
    let inherited = XattrReader::default().read(Subject::File(&file)).found;
    assert_eq!(inherited.len(), 1, "the case that this is about: {inherited:?}");
    assert_eq!(mode(&file), 0o1600, "the list is without effect as long as the group has no rights");
    let mut ids = PrincipalIds::default();
    assert!(finish_file(&file, &wanted(&entry(Kind::File, 0o664)), &USUAL, &mut ids).is_empty());
    assert!(
        finish_directory(&directory, &wanted(&entry(Kind::Directory, 0o775)), &USUAL, &mut ids).is_empty()
    );
    assert_eq!(XattrReader::default().read(Subject::File(&file)).found, []);
    assert_eq!(XattrReader::default().read(Subject::Directory(directory.as_directory())).found, []);
    assert_eq!((mode(&file), fs::metadata(path("directory")).unwrap().mode() & 0o7777), (0o664, 0o775));

    // Archived ones come back, and with them the mode that they stand for.
    let entry = entry(Kind::File, 0o770);
    let with_acl = Wanted { entry: &entry, xattrs: &[(b"system.posix_acl_access", OPEN_ACL)] };
    let other = target.create_file(b"other").unwrap();
    assert!(finish_file(&other, &with_acl, &USUAL, &mut ids).is_empty());
    let found = XattrReader::default().read(Subject::File(&other)).found;
    assert_eq!(
        (found.len(), &*found[0].name, &*found[0].value),
        (1, &b"system.posix_acl_access"[..], OPEN_ACL)
    );
    assert_eq!(mode(&other), 0o770);
    // As the current user's own, the folder's rules hold.
    let masked = Policy { modes: Modes::Masked(0o022), ..USUAL };
    let plain = target.create_file(b"plain").unwrap();
    assert_eq!(parts(&finish_file(&plain, &with_acl, &masked, &mut ids)), [(Part::AccessList, "not asked")]);
    assert_eq!(mode(&plain), 0o750);
}

#[test]
fn flags_that_bind_the_administrator_need_asking() {
    use crate::metadata::linux_flags::{IMMUTABLE, NO_DUMP};
    let (folder, target) = folders();
    let file = target.create_file(b"file").unwrap();
    let archived = Entry { attributes: IMMUTABLE | NO_DUMP, ..entry(Kind::File, 0o600) };
    let left_out = finish_file(&file, &wanted(&archived), &USUAL, &mut PrincipalIds::default());
    if parts(&left_out).contains(&(Part::Attributes, "not supported")) {
        return skip(&format!("{} has no inode flags", folder.path().display()));
    }
    assert_eq!(parts(&left_out), [(Part::Attributes, "not asked")]);
    let flags = |file: &fs::File| attributes(Subject::File(file), &stat_file(file).unwrap());
    assert_eq!(flags(&file) & (IMMUTABLE | NO_DUMP), NO_DUMP);
    if !is_root() {
        return;
    }
    let left_out = finish_file(&file, &wanted(&archived), &PRIVILEGED, &mut PrincipalIds::default());
    let set = flags(&file) & IMMUTABLE;
    // Cleared before anything is asserted, so that the folder can be removed.
    rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty()).unwrap();
    if parts(&left_out).contains(&(Part::Attributes, "not permitted")) {
        return skip("this root may not make files immutable");
    }
    assert_eq!((parts(&left_out), set), (vec![], IMMUTABLE));
}
