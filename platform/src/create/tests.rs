//! Restoring into folders that others write to, from entries that lie; and metadata there and back.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use backstore_protocol::entry::{Kind, Principal, PrincipalId};
use proptest::prelude::*;
use rustix::fs::{XattrFlags, lsetxattr};
use tempfile::TempDir;

use super::*;
use crate::machine::{Machine, System};
use crate::metadata::{PrincipalCache, PrincipalIds, Subject, XattrReader, attributes, entry_from};
use crate::testing::{child, is_ordinary_user, is_root, make_fifo, skip, ugly_names, world_readable_folder};
use crate::walk::{Directory, stat_file};

/// What a restore does without being asked for more.
const USUAL: Policy = Policy {
    modes: Modes::Archived,
    owners: Owners::Current,
    xattrs: true,
    times: true,
    attributes: true,
    privileged: false,
};
/// Everything.
const PRIVILEGED: Policy = Policy { owners: Owners::ById, privileged: true, ..USUAL };

/// A folder with `target`, which is restored into, and `outside`, which nothing may reach.
fn folders() -> (TempDir, TargetDirectory) {
    let folder = world_readable_folder();
    fs::create_dir(folder.path().join("target")).unwrap();
    fs::create_dir(folder.path().join("outside")).unwrap();
    fs::write(folder.path().join("outside/secret"), "secret").unwrap();
    let target = TargetDirectory::open(&folder.path().join("target"), Links::Follow).unwrap();
    (folder, target)
}

fn entry(kind: Kind, mode: u16) -> Entry {
    Entry { mode, mtime: Time { seconds: 1_500_000_000, nanoseconds: 7 }, ..Entry::new(kind) }
}

fn wanted(entry: &Entry) -> Wanted<'_> {
    Wanted { entry, xattrs: &[] }
}

fn parts(left_out: &[LeftOut]) -> Vec<(Part, &'static str)> {
    let reason = |reason: &Reason| match reason {
        Reason::NotAsked => "not asked",
        Reason::NotPermitted => "not permitted",
        Reason::NotSupported => "not supported",
        Reason::Clamped { .. } => "clamped",
        Reason::Failed(_) => "failed",
    };
    left_out.iter().map(|left_out| (left_out.part, reason(&left_out.reason))).collect()
}

#[track_caller]
fn mode(file: &fs::File) -> u16 {
    stat_file(file).unwrap().mode
}

// ---- What must not be possible ----

#[test]
fn names_do_not_leave_their_directory() {
    let (folder, target) = folders();
    for name in [&b""[..], b".", b"..", b"../outside/x", b"/etc/x", b"a/b", b"a\0b"] {
        let refused = |error: io::Error| assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
        refused(target.create_file(name).unwrap_err());
        refused(target.open_existing_file(name).unwrap_err());
        refused(target.make_directory(name).unwrap_err());
        refused(target.open_directory(name).unwrap_err());
        refused(target.open_below(&[b"a", name]).unwrap_err());
        refused(target.create_link(name, b"x").unwrap_err());
        refused(target.create_special(name, Kind::Fifo, (0, 0), &USUAL).unwrap_err());
        refused(
            target
                .create_hard_link(
                    name,
                    &target,
                    b"x",
                    stat_file(&fs::File::open("/").unwrap()).unwrap().identity(),
                )
                .unwrap_err(),
        );
        refused(
            target
                .create_hard_link(
                    b"x",
                    &target,
                    name,
                    stat_file(&fs::File::open("/").unwrap()).unwrap().identity(),
                )
                .unwrap_err(),
        );
        refused(target.remove_file(name).unwrap_err());
        refused(target.remove_directory(name).unwrap_err());
        refused(target.create_temporary(&System).unwrap().put_in_place(name, Existing::Replace).unwrap_err());
        refused(
            target
                .finish_named(name, &wanted(&entry(Kind::Fifo, 0)), &USUAL, &mut PrincipalIds::default())
                .unwrap_err(),
        );
    }
    assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(folder.path().join("target")).unwrap().count(), 0);
}

#[test]
fn links_below_the_target_are_never_followed() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    symlink("../outside", path("parent")).unwrap();
    symlink("../outside/secret", path("file")).unwrap();
    symlink("../outside/new", path("dangling")).unwrap();
    fs::create_dir(path("real")).unwrap();
    symlink("../../outside", path("real/deep")).unwrap();

    assert!(target.open_directory(b"parent").is_err());
    assert!(target.open_below(&[b"parent"]).is_err());
    assert!(target.open_below(&[b"real", b"deep"]).is_err());
    assert!(target.open_below(&[b"real"]).is_ok());
    for name in [&b"parent"[..], b"file", b"dangling"] {
        assert_eq!(target.create_file(name).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(target.make_directory(name).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(target.open_existing_file(name).unwrap().is_none());
    }
    // Replacing replaces the link, not what it leads to.
    let temporary = target.create_temporary(&System).unwrap();
    temporary.file().write_all(b"new").unwrap();
    temporary.put_in_place(b"file", Existing::Replace).unwrap();
    assert_eq!(fs::read(path("file")).unwrap(), b"new");
    assert_eq!(fs::read(folder.path().join("outside/secret")).unwrap(), b"secret");
    assert!(!folder.path().join("outside/new").exists());
}

#[test]
fn links_on_the_way_to_the_target_are_followed_only_if_the_user_named_them() {
    let (folder, _) = folders();
    symlink("target", folder.path().join("link")).unwrap();
    fs::create_dir(folder.path().join("target/inner")).unwrap();
    for (path, has_link) in [("target", false), ("target/inner", false), ("link", true), ("link/inner", true)]
    {
        let path = folder.path().join(path);
        assert!(TargetDirectory::open(&path, Links::Follow).is_ok());
        assert_eq!(TargetDirectory::open(&path, Links::Refuse).is_err(), has_link, "{path:?}");
        // The same where the system has no call for it.
        let stepwise = unix::stepwise(
            rustix::fs::CWD,
            std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()),
            rustix::fs::OFlags::NOFOLLOW,
        );
        assert_eq!(stepwise.is_err(), has_link, "{path:?}");
    }
    assert!(TargetDirectory::open(&folder.path().join("outside/secret"), Links::Refuse).is_err());
    assert!(TargetDirectory::open(Path::new("/"), Links::Refuse).is_ok());
}

#[test]
fn a_parent_swapped_for_a_link_leads_nowhere() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let inner = target.make_directory(b"inner").unwrap();
    fs::rename(path("inner"), path("moved")).unwrap();
    symlink("../outside", path("inner")).unwrap();
    inner.create_file(b"file").unwrap();
    assert!(path("moved/file").exists(), "what is open stays what it is");
    assert!(!folder.path().join("outside/file").exists());
    assert!(target.open_directory(b"inner").is_err());
}

#[test]
fn hard_links_go_only_to_what_was_made_here() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let made = stat_file(&target.create_file(b"made").unwrap()).unwrap().identity();
    target.create_hard_link(b"second", &target, b"made", made).unwrap();
    assert_eq!(fs::metadata(path("second")).unwrap().ino(), made.1);
    assert_eq!(
        target.create_hard_link(b"second", &target, b"made", made).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );

    // A link put in its place, and a file of somebody else.
    fs::remove_file(path("made")).unwrap();
    symlink("../outside/secret", path("made")).unwrap();
    assert_eq!(
        target.create_hard_link(b"third", &target, b"made", made).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    fs::remove_file(path("made")).unwrap();
    fs::rename(folder.path().join("outside/secret"), path("made")).unwrap();
    assert_eq!(
        target.create_hard_link(b"third", &target, b"made", made).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(!path("third").exists());
}

#[test]
fn hard_links_of_every_kind_as_any_user() {
    is_ordinary_user("create::tests::hard_links_of_every_kind_as_any_user");
    hard_links_of_every_kind();
}

fn hard_links_of_every_kind() {
    let (_folder, target) = folders();
    let inner = target.make_directory(b"inner").unwrap();
    drop(target.create_file(b"file").unwrap());
    target.create_link(b"link", b"nowhere").unwrap();
    let mut names = vec![&b"file"[..], b"link"];
    if cfg!(target_os = "linux") {
        assert!(target.create_special(b"fifo", Kind::Fifo, (0, 0), &USUAL).unwrap().is_none());
        assert!(target.create_special(b"socket", Kind::Socket, (0, 0), &USUAL).unwrap().is_none());
        names.extend([&b"fifo"[..], b"socket"]);
    }
    for name in names {
        let made = target.stat(name).unwrap().unwrap();
        inner.create_hard_link(b"second", &target, name, made.identity()).unwrap();
        let second = inner.stat(b"second").unwrap().unwrap();
        assert_eq!((second.identity(), second.kind, second.nlink), (made.identity(), made.kind, 2));
        inner.remove_file(b"second").unwrap();
    }
}

#[test]
fn what_needs_privilege_is_left_out_unless_asked_for() {
    let (_folder, target) = folders();
    let mut ids = PrincipalIds::default();
    for kind in [Kind::CharacterDevice, Kind::BlockDevice] {
        let left_out = target.create_special(b"device", kind, (1, 3), &USUAL).unwrap().expect("not made");
        assert_eq!(parts(&[left_out]), [(Part::Device, "not asked")]);
        assert!(target.stat(b"device").unwrap().is_none());
    }
    let file = target.create_file(b"file").unwrap();
    let all_bits = entry(Kind::File, 0o7755);
    let xattrs = [
        (&b"security.capability"[..], &b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
        (b"trusted.t", b"t"),
    ];
    let left_out = finish_file(&file, &Wanted { entry: &all_bits, xattrs: &xattrs }, &USUAL, &mut ids);
    let expected = [
        (Part::SpecialMode, "not asked"),
        (Part::PrivilegedXattr, "not asked"),
        (Part::PrivilegedXattr, "not asked"),
    ];
    assert_eq!(parts(&left_out), expected);
    assert_eq!(mode(&file), 0o755);
    // Asked for, but the owner is not the archived one: a file that acts for its owner would act for the wrong one.
    let wrong_owner = Policy { owners: Owners::Current, ..PRIVILEGED };
    let left_out = finish_file(&file, &wanted(&all_bits), &wrong_owner, &mut ids);
    assert_eq!(parts(&left_out), [(Part::SpecialMode, "not permitted")]);
    assert_eq!(mode(&file), 0o1755);
    // Sticky protects what is in a directory that all may write to, so it stays.
    let directory = target.make_directory(b"tmp").unwrap();
    assert!(
        finish_directory(&directory, &wanted(&entry(Kind::Directory, 0o1777)), &USUAL, &mut ids).is_empty()
    );
    assert_eq!(target.stat(b"tmp").unwrap().unwrap().mode, 0o1777);
    let left_out = finish_directory(&directory, &wanted(&entry(Kind::Directory, 0o3777)), &USUAL, &mut ids);
    assert_eq!(parts(&left_out), [(Part::SpecialMode, "not asked")]);
}

#[test]
fn an_ordinary_user_gets_what_it_may_have() {
    if !is_ordinary_user("create::tests::an_ordinary_user_gets_what_it_may_have") {
        return;
    }
    let (_folder, target) = folders();
    let roots = Arc::new(Principal { id: PrincipalId::Unix(0), name: b"root"[..].into() });
    let archived = Entry { owner: roots.clone(), group: roots, ..entry(Kind::File, 0o6750) };
    let file = target.create_file(b"file").unwrap();
    let xattrs = [(&b"trusted.t"[..], &b"t"[..])];
    let left_out = finish_file(
        &file,
        &Wanted { entry: &archived, xattrs: &xattrs },
        &PRIVILEGED,
        &mut PrincipalIds::default(),
    );
    let expected = [
        (Part::Owner, "not permitted"),
        (Part::Group, "not permitted"),
        (Part::SpecialMode, "not permitted"),
        (Part::PrivilegedXattr, "not permitted"),
    ];
    let mut found = parts(&left_out);
    found.sort_unstable();
    if cfg!(target_os = "linux") {
        assert_eq!(found, expected);
        let device = target
            .create_special(b"device", Kind::BlockDevice, (8, 0), &PRIVILEGED)
            .unwrap()
            .expect("not made");
        assert_eq!(parts(&[device]), [(Part::Device, "not permitted")]);
    }
    assert_eq!(mode(&file), 0o750);
    assert_eq!(stat_file(&file).unwrap().mtime, archived.mtime);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Whatever is archived and asked for, nobody gets a right that the archive does not give.
    #[test]
    fn no_mode_is_broader_than_archived(
        archived in 0u16..=0o7777, is_directory in any::<bool>(), mask in 0u16..=0o777, masked in any::<bool>(),
        privileged in any::<bool>(), existing in 0u16..=0o777,
    ) {
        let (_folder, target) = folders();
        let policy = Policy { modes: if masked { Modes::Masked(mask) } else { Modes::Archived }, privileged, ..USUAL };
        let expected = if masked { archived & 0o777 & !mask } else { archived & 0o777 };
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        let entry = entry(kind, archived);
        let found = if is_directory {
            let directory = target.make_directory(b"x").unwrap();
            rustix::fs::fchmod(&directory, rustix::fs::Mode::from_raw_mode(existing.into())).unwrap();
            finish_directory(&directory, &wanted(&entry), &policy, &mut PrincipalIds::default());
            directory.as_directory().full_stat_self().unwrap().basic.mode
        } else {
            let file = target.create_file(b"x").unwrap();
            prop_assert_eq!(mode(&file) & !0o600, 0, "before it is finished");
            finish_file(&file, &wanted(&entry), &policy, &mut PrincipalIds::default());
            mode(&file)
        };
        prop_assert_eq!(found & !archived, 0);
        prop_assert_eq!(found & 0o777, expected);
        // So that the folder can be removed.
        rustix::fs::chmodat(&target, "x", rustix::fs::Mode::RWXU, rustix::fs::AtFlags::empty()).unwrap();
    }
}

/// user::rwx user:1000:rwx group::--- mask::rwx other::---, as the kernel encodes it.
const OPEN_ACL: &[u8] = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\0\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

#[cfg(target_os = "linux")]
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
    assert_eq!(mode(&file), 0o600, "the list is without effect as long as the group has no rights");
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

// ---- What has to work ----

#[test]
fn a_file_replaces_another_in_one_step_or_not_at_all() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(folder.path().join("target")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::write(path("file"), "old").unwrap();
    fs::create_dir(path("directory")).unwrap();
    let temporary = |content: &str| {
        let temporary = target.create_temporary(&System).unwrap();
        assert_eq!(mode(temporary.file()), 0o600);
        temporary.file().write_all(content.as_bytes()).unwrap();
        temporary
    };
    assert_eq!(
        temporary("x").put_in_place(b"file", Existing::Keep).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "old");
    temporary("new").put_in_place(b"file", Existing::Replace).unwrap();
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "new");
    temporary("first").put_in_place(b"another", Existing::Keep).unwrap();
    assert!(temporary("x").put_in_place(b"directory", Existing::Replace).is_err());
    drop(temporary("x"));
    assert_eq!(names(), ["another", "directory", "file"]);
}

#[test]
fn a_taken_temporary_name_is_not_used() {
    /// Always the same, as no machine is.
    struct Stuck;
    impl Machine for Stuck {
        fn now_ms(&self) -> i64 {
            0
        }
        fn now(&self) -> Time {
            Time::default()
        }
        fn monotonic(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
        fn random(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }
    let (_folder, target) = folders();
    let _first = target.create_temporary(&Stuck).unwrap();
    assert_eq!(target.create_temporary(&Stuck).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn going_on_with_a_file_touches_no_other_name() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    fs::write(path("ours"), "half").unwrap();
    fs::hard_link(folder.path().join("outside/secret"), path("shared")).unwrap();
    make_fifo(&path("fifo"));
    fs::create_dir(path("directory")).unwrap();
    assert!(target.open_existing_file(b"ours").unwrap().is_some());
    for name in ["shared", "fifo", "directory"] {
        assert!(target.open_existing_file(name.as_bytes()).unwrap().is_none(), "{name}");
    }
    assert_eq!(target.open_existing_file(b"none").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn every_name_and_depth_can_be_made() {
    let (folder, target) = folders();
    for name in ugly_names() {
        drop(target.create_file(&name).unwrap());
        assert!(child(&folder.path().join("target"), &name).exists());
    }
    let name = [b'd'; 255];
    let mut deep = target.make_directory(b"deep").unwrap();
    let mut names = vec![&b"deep"[..]];
    for _ in 0..30 {
        deep = deep.make_directory(&name).unwrap();
        names.push(&name);
    }
    let file = deep.create_file(b"file").unwrap();
    let again = target.open_below(&names).unwrap();
    assert_eq!(again.stat(b"file").unwrap(), Some(stat_file(&file).unwrap()));
    let path = names.iter().fold(folder.path().join("target"), |path, name| child(&path, name));
    for links in [Links::Follow, Links::Refuse] {
        assert!(TargetDirectory::open(&path, links).unwrap().stat(b"file").unwrap().is_some());
    }
}

/// Archives the metadata of one file as the agent does, restores it, and archives that.
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
#[cfg(target_os = "linux")]
#[test]
fn metadata_there_and_back() {
    is_ordinary_user("create::tests::metadata_there_and_back");
    metadata_there_and_back_as_this_user();
}

#[cfg(target_os = "linux")]
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

#[test]
fn owners_are_found_by_name_or_number() {
    if !is_root() {
        return;
    }
    let (_folder, target) = folders();
    let mut ids = PrincipalIds::default();
    let principal = |id, name: &[u8]| Arc::new(Principal { id: PrincipalId::Unix(id), name: name.into() });
    let mut check = |owner: &Arc<Principal>, owners, expected: u32| {
        let archived =
            Entry { owner: owner.clone(), group: principal(4_321, b""), ..entry(Kind::File, 0o640) };
        let file = target.create_file(b"file").unwrap();
        let policy = Policy { owners, ..USUAL };
        assert!(finish_file(&file, &wanted(&archived), &policy, &mut ids).is_empty());
        let stat = stat_file(&file).unwrap();
        assert_eq!(stat.owner, Some(expected), "{owner:?} {owners:?}");
        assert_eq!(stat.group, Some(if owners == Owners::Current { 0 } else { 4_321 }));
        assert_eq!(stat.mode, 0o640);
        target.remove_file(b"file").unwrap();
    };
    let daemon = PrincipalIds::default().user(b"daemon").expect("every Unix has a daemon");
    check(&principal(7_777, b"daemon"), Owners::ByName, daemon);
    check(&principal(7_777, b"daemon"), Owners::ById, 7_777);
    check(&principal(7_777, b"daemon"), Owners::Current, 0);
    check(&principal(7_777, b"nobody here has this name"), Owners::ByName, 7_777);
    check(&Arc::default(), Owners::ByName, 0);
}

#[test]
fn a_time_the_file_system_cannot_keep_is_said() {
    let (folder, target) = folders();
    for seconds in [i64::from(u32::MAX) + 1, 20_000_000_000, 1 << 40, -1, -(1 << 32), -(1 << 40)] {
        let file = target.create_file(b"file").unwrap();
        let archived = Entry { mtime: Time { seconds, nanoseconds: 1 }, ..entry(Kind::File, 0o600) };
        let left_out = finish_file(&file, &wanted(&archived), &USUAL, &mut PrincipalIds::default());
        let kept = stat_file(&file).unwrap().mtime;
        match &left_out[..] {
            [] => assert_eq!(kept, archived.mtime),
            [LeftOut { part: Part::Times, reason: Reason::Clamped { kept: said }, .. }] => {
                assert!(*said == kept && kept.seconds != seconds, "{said:?} {kept:?}");
            }
            others => panic!("{seconds} on {}: {others:?}", folder.path().display()),
        }
        target.remove_file(b"file").unwrap();
    }
}

#[test]
fn what_is_not_asked_for_stays() {
    let (_folder, target) = folders();
    let nothing = Policy {
        modes: Modes::Masked(0o077),
        owners: Owners::Current,
        xattrs: false,
        times: false,
        attributes: false,
        privileged: false,
    };
    let file = target.create_file(b"file").unwrap();
    let before = stat_file(&file).unwrap();
    let archived = Entry { attributes: u32::MAX, ..entry(Kind::File, 0o7777) };
    let wanted = Wanted { entry: &archived, xattrs: &[(b"user.x", b"1")] };
    prepare_file(&file, &wanted, &nothing);
    let left_out = finish_file(&file, &wanted, &nothing, &mut PrincipalIds::default());
    assert_eq!(parts(&left_out), [(Part::Xattr, "not asked")]);
    assert_eq!(left_out[0].name.as_deref(), Some(&b"user.x"[..]));
    let after = stat_file(&file).unwrap();
    assert_eq!((after.mtime, after.mode, after.owner), (before.mtime, 0o700, before.owner));

    let implied = target.make_directory(b"implied").unwrap();
    let entry = entry(Kind::ImpliedDirectory, 0o755);
    assert!(
        finish_directory(
            &implied,
            &Wanted { entry: &entry, xattrs: &[] },
            &PRIVILEGED,
            &mut PrincipalIds::default()
        )
        .is_empty()
    );
    assert_eq!(target.stat(b"implied").unwrap().unwrap().mode, 0o700);
}

#[test]
fn an_existing_directory_becomes_as_archived() {
    let (folder, target) = folders();
    let directory = target.make_directory(b"directory").unwrap();
    let path = folder.path().join("target/directory");
    if lsetxattr(&path, "user.stray", b"x", XattrFlags::empty()).is_err() {
        return skip(&format!("{} has no extended attributes", path.display()));
    }
    lsetxattr(&path, "user.both", b"old", XattrFlags::empty()).unwrap();
    let entry = entry(Kind::Directory, 0o750);
    let wanted = Wanted { entry: &entry, xattrs: &[(b"user.both", b"new")] };
    assert!(finish_directory(&directory, &wanted, &USUAL, &mut PrincipalIds::default()).is_empty());
    let found = XattrReader::default().read(Subject::Directory(directory.as_directory())).found;
    assert_eq!((found.len(), &*found[0].name, &*found[0].value), (1, &b"user.both"[..], &b"new"[..]));
}

#[cfg(target_os = "linux")]
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

#[test]
fn a_swapped_name_gets_no_metadata() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let mut ids = PrincipalIds::default();
    let archived = entry(Kind::Symlink, 0o777);
    let mut finish = |name: &[u8]| target.finish_named(name, &wanted(&archived), &USUAL, &mut ids).map(drop);
    target.create_link(b"link", b"x").unwrap();
    finish(b"link").unwrap();
    fs::remove_file(path("link")).unwrap();
    assert_eq!(finish(b"link").unwrap_err().kind(), ErrorKind::NotFound);
    fs::rename(folder.path().join("outside/secret"), path("link")).unwrap();
    assert!(finish(b"link").is_err());
    fs::remove_file(path("link")).unwrap();
    symlink("foreign", folder.path().join("outside/foreign")).unwrap();
    fs::hard_link(folder.path().join("outside/foreign"), path("link")).unwrap();
    assert_eq!(finish(b"link").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_was_left_out_is_counted() {
    let mut counts = LeftOutCounts::default();
    assert_eq!(counts.iter().count(), 0);
    for part in Part::ALL {
        counts.add(&LeftOut { part, name: None, reason: Reason::NotAsked });
    }
    counts.add(&LeftOut { part: Part::Xattr, name: None, reason: Reason::NotAsked });
    let mut twice = counts;
    twice.add_all(&counts);
    assert_eq!((twice.of(Part::Xattr), twice.of(Part::Owner), twice.iter().count()), (4, 2, Part::ALL.len()));
    assert!(Part::ALL.iter().enumerate().all(|(at, part)| *part as usize == at));
}
